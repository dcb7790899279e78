"""A hospital's own medicines, from CSV, YAML or openFDA labels into a version of the formulary.

A file from another system has holes and slips in it. Each record is taken or rejected alone, and
what was rejected is reported with its number and the reasons; the version in use is not touched.
What is written is a whole new database, the version in use with the records laid over it, which
`medbot formulary use` then chooses.

A record whose id or name is known changes that medicine: what it gives is taken, the rest stays.
One that is new is a full medicine if it gives all that docs/formulary.md asks for; otherwise its
names and classes are known and nothing else, as for `names.yaml`.

From openFDA's labels only names, brands and classes are taken. Their text is prose: turning it
into doses and warnings would be guessing.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import threading
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields
from dataclasses import replace
from pathlib import Path
from typing import Any

from medbot_llm.domain import Language
from medbot_llm.knowledge.compiler import ID
from medbot_llm.knowledge.compiler import LIST_CODES
from medbot_llm.knowledge.compiler import MAX_NAME
from medbot_llm.knowledge.compiler import ONE_CODES
from medbot_llm.knowledge.compiler import Checker
from medbot_llm.knowledge.compiler import FormularyError
from medbot_llm.knowledge.compiler import Tables
from medbot_llm.knowledge.compiler import add_syllables
from medbot_llm.knowledge.compiler import derived
from medbot_llm.knowledge.compiler import parse_yaml
from medbot_llm.knowledge.formulary import Versions
from medbot_llm.knowledge.medicine import Medicine
from medbot_llm.knowledge.names import NameIndex
from medbot_llm.knowledge.names import name_rows

FORMATS = ("csv", "yaml", "openfda")
MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_YAML_BYTES = 16 * 1024 * 1024
MAX_CELL = 4000
"""Characters of one field of a record; names and codes have a few dozen."""
_CSV_LIMIT = 64 * 1024 * 1024

_LIST_SEPARATOR = re.compile(r"[;；|\n]")
_TEXT_COLUMNS = {
    f"{name}_{suffix}": (name, language.value)
    for name in ("name", "brand", "use", "advice")
    for suffix, language in (
        ("en", Language.EN),
        ("zh_hant", Language.ZH_HANT),
        ("zh_hans", Language.ZH_HANS),
    )
}
_LIST_COLUMNS = (
    "atc",
    "ingredients",
    "common",
    "serious",
    "lookalikes",
    "allergy_groups",
    "sources",
    *LIST_CODES,
)
_DOSE_COLUMNS = ("dose_route", "single_low", "single_high", "unit", "max_daily", "frequency")
COLUMNS = (
    "id",
    *_TEXT_COLUMNS,
    *_LIST_COLUMNS,
    "form",
    "route",
    "strengths",
    *_DOSE_COLUMNS,
    *ONE_CODES,
    "children_from",
    "days",
    "high_alert",
)
"""What a CSV may have; `id` or `name_en` must be there. Lists are separated by semicolons."""

_FIELD_OF_KEY = {"dose": "doses", "days": "storage_days"}
_csv_lock = threading.Lock()


@dataclass(frozen=True)
class Rejected:
    """A record that was not taken.

    Attributes:
        record: Its number in the file, from 1 (the line below the header, for CSV).
        name: What it calls itself, "" if nothing.
        reasons: All that is wrong with it.
    """

    record: int
    name: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        version: Name of the new version, "" if no record was taken and none was written.
        base: The version that it lies on.
        added: Ids of new medicines.
        changed: Ids of medicines that were known.
        rejected: What was not taken.
        notes: What is worth knowing, such as columns that were not read.
    """

    version: str
    base: str
    added: tuple[str, ...]
    changed: tuple[str, ...]
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...]


@dataclass
class _Record:
    """One record in the form of the YAML, as far as it could be read."""

    number: int
    name: str
    value: dict[str, Any]
    reasons: list[str]
    is_label: bool = False


def import_file(path: Path, versions: Versions, form: str = "") -> ImportReport:
    """Import a file into a new version beside the others.

    Args:
        path: The file.
        versions: Where the databases are.
        form: One of `FORMATS`; "": by the file's name (.csv, .yaml, .yml, .json).

    Raises:
        FormularyError: The file as a whole cannot be read, or the version cannot be written.
    """
    form = form or _format_of(path)
    if form not in FORMATS:
        raise FormularyError(f"'{form}' is no format; there are: {', '.join(FORMATS)}")
    raw = _read(path, MAX_YAML_BYTES if form == "yaml" else MAX_FILE_BYTES)
    text = _decoded(path, raw)
    notes: list[str] = []
    base = versions.current
    tables, about = versions.open_current()
    records: Iterable[_Record]
    if form == "csv":
        records = _csv_records(path, text, notes)
    elif form == "yaml":
        records = _yaml_records(path, text, tables)
    else:
        records = _label_records(path, text, tables, notes)
    merger = _Merger(tables)
    for record in records:
        merger.take(record)
    if not merger.added and not merger.changed:
        return ImportReport("", base, (), (), tuple(merger.rejected), tuple(notes))
    content = hashlib.sha256(raw + about.content.encode()).hexdigest()
    try:
        version = versions.add(
            merger.finished(),
            f"{path.name} over {base}",
            content,
            about.packaged or about.content,
        )
    except OSError as error:
        raise FormularyError(
            f"the new version cannot be written to {versions.home}: {error.strerror or error}"
        ) from error
    return ImportReport(
        version,
        base,
        tuple(merger.added),
        tuple(merger.changed),
        tuple(merger.rejected),
        (*notes, *merger.notes),
    )


def _format_of(path: Path) -> str:
    forms = {".csv": "csv", ".yaml": "yaml", ".yml": "yaml", ".json": "openfda"}
    form = forms.get(path.suffix.lower(), "")
    if not form:
        raise FormularyError(
            f"the name of {path} does not tell its format; say --format {' or '.join(FORMATS)}"
        )
    return form


def _read(path: Path, limit: int) -> bytes:
    try:
        with open(path, "rb") as stream:
            raw = stream.read(limit + 1)
    except OSError as error:
        raise FormularyError(f"{path} cannot be read: {error.strerror}") from error
    if len(raw) > limit:
        raise FormularyError(f"{path} is larger than {limit // (1024 * 1024)} MB")
    if not raw.strip():
        raise FormularyError(f"{path} is empty")
    return raw


def _decoded(path: Path, raw: bytes) -> str:
    """Decode UTF-8; for another encoding say which it looks like."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FormularyError(f"{path} is in UTF-16; save it as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        guess = ""
        for name, encoding in (("Big5", "big5"), ("GB 18030", "gb18030")):
            try:
                raw.decode(encoding)
            except UnicodeDecodeError:
                continue
            guess = f" (it looks like {name})"
            break
        line = raw[: error.start].count(b"\n") + 1
        raise FormularyError(
            f"{path} is not in UTF-8, see line {line}{guess}; save it as UTF-8"
        ) from error
    if "\0" in text:
        raise FormularyError(f"{path} is no text: it has NUL characters")
    return text


# CSV ---------------------------------------------------------------------------------------------


def _csv_records(path: Path, text: str, notes: list[str]) -> Iterator[_Record]:
    header, *rows = _csv_rows(path, text)
    columns = [" ".join(cell.split()).casefold().replace(" ", "_") for cell in header]
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise FormularyError(f"{path}: the column {', '.join(twice)} stands twice")
    if "id" not in columns and "name_en" not in columns:
        raise FormularyError(
            f"{path}: the column name_en (or id) is missing; the first line must name the columns,"
            f" and there are: {', '.join(name for name in columns if name)[:300]}"
        )
    unknown = [name for name in columns if name and name not in COLUMNS]
    if unknown:
        notes.append(f"columns that were not read: {', '.join(unknown)[:300]}")
    for number, row in enumerate(rows, start=1):
        if not any(cell.strip() for cell in row):
            continue
        cells = {
            name: cell.strip()
            for name, cell in zip(columns, row, strict=False)
            if cell.strip() and name in COLUMNS
        }
        record = _Record(number, (cells.get("id") or cells.get("name_en", ""))[:60], {}, [])
        if len(row) > len(columns):
            record.reasons.append(f"has {len(row)} fields, and the header {len(columns)}")
        for name, cell in cells.items():
            if len(cell) > MAX_CELL:
                record.reasons.append(f"{name}: has {len(cell)} characters, more than {MAX_CELL}")
        if not record.reasons:
            record.value = _from_cells(cells, record.reasons)
        yield record


def _csv_rows(path: Path, text: str) -> list[list[str]]:
    # The limit of the module's reader is global: it is raised for the while, by one at a time.
    with _csv_lock:
        before = csv.field_size_limit(_CSV_LIMIT)
        try:
            first = text.split("\n", 1)[0]
            delimiter = max(",\t;", key=first.count)
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            return list(reader)
        except csv.Error as error:
            raise FormularyError(f"{path} is no CSV: {error}") from error
        finally:
            csv.field_size_limit(before)


def _from_cells(cells: Mapping[str, str], reasons: list[str]) -> dict[str, Any]:
    """Bring one line into the form of the YAML."""
    value: dict[str, Any] = {}
    for name, cell in cells.items():
        if name in ("id", *ONE_CODES):
            value[name] = cell
        elif name in _LIST_COLUMNS:
            value[name] = _items(cell)
        elif name in ("children_from", "days"):
            value[name] = _number(name, cell, reasons)
        elif name == "high_alert":
            truth = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
            if cell.casefold() in truth:
                value[name] = truth[cell.casefold()]
            else:
                reasons.append(f"high_alert: '{cell[:40]}' must be true or false")
    texts: dict[str, dict[str, str]] = {}
    for column, (name, language) in _TEXT_COLUMNS.items():
        if column in cells:
            texts.setdefault(name, {})[language] = cells[column]
    if "name" in texts:
        value["names"] = {language: _items(cell) for language, cell in texts["name"].items()}
    if "brand" in texts:
        value["brands"] = _brands({k: _items(cell) for k, cell in texts["brand"].items()})
    if "use" in texts:
        value["use"] = texts["use"]
    if "advice" in texts:
        value["advice"] = [texts["advice"]]
    if "form" in cells or "route" in cells:
        value["forms"] = [
            {
                "form": cells.get("form", ""),
                "route": cells.get("route", ""),
                "strengths": _items(cells.get("strengths", "")),
            }
        ]
    if "single_low" in cells or "single_high" in cells:
        low = cells.get("single_low") or cells.get("single_high", "")
        high = cells.get("single_high") or low
        value["dose"] = [
            {
                "route": cells.get("dose_route") or cells.get("route", ""),
                "single": [
                    _number("single_low", low, reasons),
                    _number("single_high", high, reasons),
                ],
                "unit": cells.get("unit", ""),
                "max_daily": _number("max_daily", cells.get("max_daily", "0"), reasons),
                "frequency": _items(cells.get("frequency", "")),
            }
        ]
    return value


def _items(cell: str) -> list[str]:
    return [item.strip() for item in _LIST_SEPARATOR.split(cell) if item.strip()]


def _brands(names: Mapping[str, list[str]]) -> list[dict[str, str]]:
    """Pair the brands of each language in their order."""
    count = max(map(len, names.values()))
    return [
        {language: items[index] for language, items in names.items() if index < len(items)}
        for index in range(count)
    ]


def _number(name: str, cell: str, reasons: list[str]) -> float | int | None:
    if not re.fullmatch(r"\d{1,9}(?:\.\d{1,6})?", cell):
        reasons.append(f"{name}: '{cell[:40]}' must be a number")
        return None
    return float(cell) if "." in cell else int(cell)


# YAML --------------------------------------------------------------------------------------------


def _yaml_records(path: Path, text: str, tables: Tables) -> Iterator[_Record]:
    try:
        document = parse_yaml(text, is_trusted=False)
    except ValueError as error:
        raise FormularyError(f"{path} is no YAML: {error}") from error
    items = document.get("medicines") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise FormularyError(f"{path}: the list 'medicines' is missing")
    effects = document.get("effects") or []
    checker = Checker(tables)
    for number, effect in enumerate(effects if isinstance(effects, list) else [], start=1):
        checker.effect(path.name, effect, f"effect {number}")
    if checker.problems:
        raise FormularyError(f"{checker.problems[0]}", checker.problems)
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            yield _Record(number, "", {}, ["must be a table"])
            continue
        reasons = [
            f"{key}: has {len(cell)} characters, more than {MAX_CELL}"
            for key, cell in item.items()
            if isinstance(cell, str) and len(cell) > MAX_CELL
        ]
        yield _Record(number, str(item.get("id", ""))[:60], dict(item), reasons)


# openFDA -----------------------------------------------------------------------------------------


def _label_records(path: Path, text: str, tables: Tables, notes: list[str]) -> Iterator[_Record]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise FormularyError(
            f"{path} is no JSON: {error.msg} at line {error.lineno}, column {error.colno}; is the"
            " file whole?"
        ) from error
    except RecursionError as error:
        raise FormularyError(f"{path} is no JSON of openFDA: it is nested too deep") from error
    results = document.get("results") if isinstance(document, dict) else None
    if not isinstance(results, list):
        raise FormularyError(f"{path}: the list 'results' of openFDA's labels is missing")
    notes.append("of openFDA's labels only names, brands and classes are taken")
    classes = {
        _singular(str(row.get("en", ""))): str(row["id"]) for row in tables.written["classes"]
    }
    for number, label in enumerate(results, start=1):
        found = label.get("openfda") if isinstance(label, dict) else None
        if not isinstance(found, dict):
            yield _Record(number, "", {}, ["has no table 'openfda'"], is_label=True)
            continue
        reasons: list[str] = []
        names = _label_texts(found, "generic_name", reasons)
        brands = _label_texts(found, "brand_name", reasons)
        record = _Record(number, (names or brands or [""])[0][:60], {}, reasons, is_label=True)
        if not names and not reasons:
            reasons.append("openfda.generic_name is missing")
        if not reasons:
            groups = {
                classes[key]
                for text in _label_texts(found, "pharm_class_epc", reasons)
                if (key := _singular(re.sub(r"\s*\[EPC\]$", "", text))) in classes
            }
            record.value = {
                "names": {"en": [_case(name).lower() for name in names]},
                "brands": [{"en": _case(brand)} for brand in brands],
                "classes": sorted(groups),
                "sources": ["label_us"],
            }
        yield record


def _label_texts(found: Mapping[str, Any], key: str, reasons: list[str]) -> list[str]:
    values = found.get(key, [])
    values = [values] if isinstance(values, str) else values
    if not isinstance(values, list):
        reasons.append(f"openfda.{key} must be a list of texts")
        return []
    texts: list[str] = []
    for value in values:
        if not isinstance(value, str) or not value.strip():
            reasons.append(f"openfda.{key} must be a list of texts")
        elif len(value) > MAX_NAME:
            reasons.append(f"openfda.{key}: has {len(value)} characters, more than {MAX_NAME}")
        else:
            texts.append(" ".join(value.split()))
    return list(dict.fromkeys(texts))


def _case(name: str) -> str:
    """Labels shout their names."""
    return name.title() if name.isupper() else name


def _singular(name: str) -> str:
    return " ".join(re.sub(r"(?<=[a-z])s\b", "", word) for word in name.casefold().split())


# Merging -----------------------------------------------------------------------------------------


class _Merger:
    """Lays records over the medicines of a version."""

    def __init__(self, tables: Tables) -> None:
        self.added: list[str] = []
        self.changed: list[str] = []
        self.rejected: list[Rejected] = []
        self.notes: list[str] = []
        self._tables = tables
        self._medicines = {medicine.id: medicine for medicine in tables.medicines}
        self._index = NameIndex(
            tables.medicines, tables.names, tables.syllables, tables.lookalikes
        )
        self._seen: dict[str, int] = {}
        self._new_names: dict[str, str] = {}

    def take(self, record: _Record) -> None:
        """Take a record, or note why not."""
        if not record.reasons:
            self._merge(record)
        if record.reasons:
            reasons = tuple(dict.fromkeys(record.reasons))
            self.rejected.append(Rejected(record.number, record.name, reasons))

    def finished(self) -> Tables:
        """Give the tables with all that follows from the medicines."""
        tables = self._tables
        tables.medicines = derived(list(self._medicines.values()), tables.written)
        tables.names = [row for medicine in tables.medicines for row in name_rows(medicine)]
        add_syllables(tables)
        return tables

    def _merge(self, record: _Record) -> None:
        value = record.value
        medicine_id = self._id_of(record)
        if record.reasons:
            return
        value["id"] = medicine_id
        is_repeated = medicine_id in self._seen
        if is_repeated and not record.is_label:
            record.reasons.append(
                f"id: {medicine_id} stands twice (also record {self._seen[medicine_id]})"
            )
            return
        known = self._medicines.get(medicine_id)
        if known is not None:
            # Names that are not given stay as they are, and one must be there to be checked.
            value.setdefault("names", {"en": list(known.names.get(Language.EN, (medicine_id,)))})
        medicine = self._checked(record, known)
        if medicine is None:
            return
        merged = _overlaid(known, medicine, value) if known is not None else medicine
        self._check_names(record, merged)
        if record.reasons:
            return
        self._seen.setdefault(medicine_id, record.number)
        self._medicines[medicine_id] = merged
        for row in name_rows(merged):
            self._new_names[row.key] = medicine_id
        if not is_repeated:
            (self.changed if known is not None else self.added).append(medicine_id)

    def _checked(self, record: _Record, known: Medicine | None) -> Medicine | None:
        """Check a record, as a full one if it is new and gives everything."""
        value = record.value
        checker = Checker(self._tables)
        medicine = checker.medicine("", value, is_full=False)
        if medicine is not None:
            checker.references("", medicine)
        if medicine is None or checker.problems:
            for problem in checker.problems:
                record.reasons.append(f"{problem.field}: {problem.message}".removeprefix(": "))
            if not checker.problems:
                record.reasons.append("cannot be read")
            return None
        if known is not None or record.is_label:
            return medicine
        whole = Checker(self._tables)
        full = whole.medicine("", value)
        if full is not None:
            return full
        lacks = list(dict.fromkeys(problem.field for problem in whole.problems))
        self.notes.append(
            f"record {record.number}: {medicine.id} is recognised by name only, since it lacks"
            f" {', '.join(lacks)}"
        )
        return medicine

    def _id_of(self, record: _Record) -> str:
        """Decide which medicine a record speaks of."""
        value = record.value
        names = value.get("names")
        english = names.get("en", []) if isinstance(names, Mapping) else []
        english = [english] if isinstance(english, str) else english
        wanted = [name for name in english if isinstance(name, str)]
        found = {medicine.id for name in wanted if (medicine := self._index.find(name))}
        found |= {self._new_names[key] for name in wanted if (key := name) in self._new_names}
        given = value.get("id")
        if isinstance(given, str) and given in self._medicines:
            found.add(given)
        if len(found) > 1:
            record.reasons.append(f"names: are of several medicines: {', '.join(sorted(found))}")
            return ""
        if found:
            return found.pop()
        if isinstance(given, str) and given:
            if not ID.fullmatch(given):
                record.reasons.append(f"id: '{given[:40]}' must be lower-case words joined by '-'")
            return given
        made = re.sub(r"[^a-z0-9]+", "-", wanted[0].casefold()).strip("-") if wanted else ""
        if not made:
            record.reasons.append("names: en is missing")
        return made

    def _check_names(self, record: _Record, medicine: Medicine) -> None:
        """A name must not be of another medicine: it would be found for the wrong one."""
        for name in medicine.all_names():
            other = self._index.find(name)
            if other is not None and other.id != medicine.id and _is_named(other, name):
                record.reasons.append(f"names: '{name}' is a name of {other.id}")


def _is_named(medicine: Medicine, name: str) -> bool:
    """Tell whether the name itself is of a medicine, and not only a label of it."""
    keys = {row.key for row in name_rows(medicine)}
    return any(key == name.casefold() for key in keys) or name in medicine.all_names()


def _overlaid(known: Medicine, given: Medicine, value: Mapping[str, Any]) -> Medicine:
    """Change of a known medicine what a record gives."""
    changes: dict[str, Any] = {}
    joined: dict[str, Callable[[Any, Any], tuple[Any, ...]]] = {
        "brands": lambda old, new: (*new, *(brand for brand in old if brand not in new)),
        "classes": lambda old, new: tuple(dict.fromkeys((*old, *new))),
        "sources": lambda old, new: tuple(dict.fromkeys((*old, *new))),
        "allergy_groups": lambda old, new: tuple(dict.fromkeys((*old, *new))),
    }
    names_of_fields = {item.name for item in fields(Medicine)}
    for key in value:
        name = _FIELD_OF_KEY.get(key, key)
        if name in ("id", "names") or name not in names_of_fields:
            continue
        new = getattr(given, name)
        changes[name] = joined[name](getattr(known, name), new) if name in joined else new
    names = dict(known.names)
    for language, texts in given.names.items():
        names[language] = tuple(dict.fromkeys((*texts, *known.names.get(language, ()))))
        if "id" in value and language is Language.EN and known.names.get(language):
            # A label's "amlodipine besylate" is no better name to say than amlodipine.
            names[language] = tuple(dict.fromkeys((*known.names[language], *texts)))
    changes["names"] = names
    return replace(known, **changes)
