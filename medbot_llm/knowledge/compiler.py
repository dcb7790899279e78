"""From the YAML that people write to the database that the robot reads.

A wrong fact about a medicine must not get past this point, and whoever wrote it must find it
quickly. So the YAML is checked as a whole: every problem names file, entry, field and, where it
is a code, the codes that are allowed; all problems are told, not only the first. YAML itself is
read strictly (a key twice is an error, `yes` and `no` are words, an unfinished file is named).

```python
tables = compile_directory(Path("resource/formulary"))   # FormularyError with all .problems
write_database(tables, Path("formulary.sqlite"), source="packaged", digest="…")
tables, about = read_database(Path("formulary.sqlite"))  # FormularyError if it is damaged
```

The database holds one JSON document a row, the names beside them in a table that can be queried,
and in `meta` the version of this schema, what it was made from, when, and a digest of its rows: a
robot must notice a damaged file before it speaks from it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import math
import os
import re
import sqlite3
import sys
import tempfile
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from rapidfuzz import process
from rapidfuzz.distance import OSA

from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.knowledge.medicine import CODES
from medbot_llm.knowledge.medicine import Brand
from medbot_llm.knowledge.medicine import DoseRange
from medbot_llm.knowledge.medicine import Effect
from medbot_llm.knowledge.medicine import Form
from medbot_llm.knowledge.medicine import Medicine
from medbot_llm.knowledge.names import NameRow
from medbot_llm.knowledge.names import compact
from medbot_llm.knowledge.names import is_name
from medbot_llm.knowledge.names import name_rows
from medbot_llm.knowledge.names import syllable_table
from medbot_llm.text.language import to_script

SCHEMA_VERSION = 1
APPLICATION_ID = 0x4D454442
"""Marks our databases in SQLite's own header ("MEDB")."""

MAX_TEXT = 600
"""Characters of a spoken text; a longer one is a slip, and no one listens to it."""
MAX_NAME = 120
MAX_ADVICE = 3
MAX_CHILD_YEARS = 30
"""Some labels set the limit above the age of majority, until the skeleton is grown."""

ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
EFFECT_ID = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
ATC = re.compile(r"[A-Z]\d\d[A-Z]{2}\d\d")
ATC_PREFIX = re.compile(r"[A-Z](?:\d\d(?:[A-Z](?:[A-Z](?:\d\d)?)?)?)?")

LIST_CODES = ("storage",)
ONE_CODES = (
    "food",
    "time",
    "missed",
    "double",
    "driving",
    "alcohol",
    "pregnancy",
    "breastfeeding",
    "children",
    "elderly",
    "renal",
    "stop",
    "crush",
)
RULE_KINDS = ("drug_drug", "drug_food", "drug_condition", "drug_allergy", "duplicate")
RULE_SEVERITIES = ("contraindicated", "major", "moderate")
FRAMES = (
    "use",
    "common",
    "common_one",
    "common_live",
    "common_tell",
    "common_call",
    "common_emergency",
    "serious",
    "serious_tell",
    "serious_call",
    "serious_emergency",
    "children_from_years",
    "children_from_months",
    "fridge_unopened_days",
    "discard_after_opening_days",
)
TABLE_NAMES = ("classes", "allergy_groups", "conditions", "foods", "rules", "sources")
"""The tables that are kept as they were written, for `Formulary.tables`."""

_MEDICINE_KEYS = frozenset(
    {
        *ONE_CODES,
        *LIST_CODES,
        "id",
        "atc",
        "ingredients",
        "names",
        "brands",
        "forms",
        "dose",
        "use",
    }
    | {"common", "serious", "high_alert", "lookalikes", "allergy_groups", "advice", "sources"}
    | {"children_from", "days"}
)
_NAME_KEYS = _MEDICINE_KEYS | {"classes", "kind"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the data."""

    file: str
    entry: str
    field: str
    message: str

    def __str__(self) -> str:
        return ": ".join(
            part for part in (self.file, self.entry, self.field, self.message) if part
        )


class FormularyError(MedbotError):
    """The formulary cannot be built or read.

    Attributes:
        problems: What is wrong with the data, () where the file itself is the problem.
    """

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


@dataclass
class Tables:
    """All that a formulary holds.

    Attributes:
        medicines: Full ones first, in the order of files and entries.
        effects: By id.
        statements: Field, code, language to the spoken sentence.
        frames: Name, language to a sentence with a gap.
        regional: Words of Taiwan and of the mainland.
        written: Rows of `TABLE_NAMES` as they were written, with zh-Hans added.
        lookalikes: Pairs of names that are mixed up.
        names: What `names.py` looks names up in.
        syllables: Characters by their readings, for homophones.
        warnings: What is doubtful but not wrong.
    """

    medicines: list[Medicine] = field(default_factory=list)
    effects: dict[str, Effect] = field(default_factory=dict)
    statements: dict[str, dict[str, dict[Language, str]]] = field(default_factory=dict)
    frames: dict[str, dict[Language, str]] = field(default_factory=dict)
    regional: dict[str, str] = field(default_factory=dict)
    written: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {name: [] for name in TABLE_NAMES}
    )
    lookalikes: list[tuple[str, str]] = field(default_factory=list)
    names: list[NameRow] = field(default_factory=list)
    syllables: dict[str, str] = field(default_factory=dict)
    warnings: list[Problem] = field(default_factory=list)


# Reading YAML ------------------------------------------------------------------------------------


class _DuplicateKeyError(yaml.YAMLError):
    """A mapping has a key twice; YAML itself would quietly take the last."""


FILES = (
    "allergies.yaml",
    "classes.yaml",
    "conditions.yaml",
    "effects.yaml",
    "foods.yaml",
    "interactions",
    "lookalikes.yaml",
    "medicines",
    "names.yaml",
    "sources.yaml",
    "statements.yaml",
)
"""What a whole formulary has."""

_FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _strict(base: Any) -> Any:
    """Derive a loader in which `yes` and `12:30` are words and a key twice is an error."""

    class Loader(base):  # type: ignore[misc]
        pass

    Loader.yaml_implicit_resolvers = {
        first: [
            (tag, pattern)
            for tag, pattern in resolvers
            if tag.rsplit(":", 1)[-1] in ("null", "float", "merge")
        ]
        for first, resolvers in base.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:bool", re.compile(r"^(?:true|false|True|False)$"), list("tTfF")
    )
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9]\d{0,17})$"), list("-+0123456789")
    )

    def construct(loader: Any, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = getattr(key_node, "value", None)
            if isinstance(key, str):
                if key in seen:
                    line = key_node.start_mark.line + 1
                    raise _DuplicateKeyError(f"the key {key} stands twice (line {line})")
                seen.add(key)
        loader.flatten_mapping(node)
        return dict(base.construct_mapping(loader, node, deep=True))

    Loader.add_constructor("tag:yaml.org,2002:map", construct)
    return Loader


_LOADER = _strict(_FastLoader)
_SAFE_LOADER = _strict(yaml.SafeLoader)
"""Written in Python: slower, but text that is nested too deep is an error and not a crash."""


def parse_yaml(text: str, is_trusted: bool = True) -> Any:
    """Read YAML strictly.

    Raises:
        ValueError: It is no YAML, has a key twice, or (not trusted) has references, with which a
            small file can stand for a huge one.
    """
    try:
        if is_trusted:
            return yaml.load(text, Loader=_LOADER)
        if "*" in text and any(
            isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.SafeLoader)
        ):
            raise ValueError("references (*name) are not allowed")
        return yaml.load(text, Loader=_SAFE_LOADER)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def content_hash(directory: Path) -> str:
    """Hash names and bytes of all YAML below the directory, and the version of the schema."""
    digest = hashlib.sha256(f"schema {SCHEMA_VERSION}\n".encode())
    # How names are looked up is in the database too, so that code counts as content.
    for code in ("compiler.py", "medicine.py", "name_words.py", "names.py"):
        digest.update(Path(__file__).with_name(code).read_bytes())
    for path in sorted(directory.rglob("*.yaml")):
        digest.update(f"{path.relative_to(directory).as_posix()}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


# Checking ----------------------------------------------------------------------------------------


class Checker:
    """Turns what was written into the tables, and notes all that is wrong with it."""

    def __init__(self, tables: Tables | None = None) -> None:
        self.tables = tables or Tables()
        self.problems: list[Problem] = []
        self._places: dict[str, str] = {}
        self._effect_places = dict.fromkeys(self.tables.effects, "the formulary")
        self._known_spellings: set[str] = set()
        self._regional: list[tuple[str, str]] = []
        self._set_regional()

    def note(self, file: str, entry: str, name: str, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(file, entry, name, message))

    def words(
        self, file: str, entry: str, name: str, value: object, limit: int = MAX_TEXT
    ) -> dict[Language, str]:
        """Check a text in en, zh-Hant and perhaps zh-Hans; make zh-Hans where it is left out."""
        if not isinstance(value, Mapping):
            self.note(file, entry, name, "must have en and zh-Hant")
            return {}
        found: dict[Language, str] = {}
        for key, text in value.items():
            if key not in Language.values():
                continue
            if not isinstance(text, str) or not text.strip():
                self.note(file, entry, f"{name}.{key}", "must be a text")
            elif len(text) > limit:
                self.note(
                    file, entry, f"{name}.{key}", f"has {len(text)} characters, more than {limit}"
                )
            else:
                found[Language(key)] = " ".join(text.split())
        for language in (Language.EN, Language.ZH_HANT):
            if language.value not in value:
                self.note(file, entry, name, f"{language} is missing")
        if Language.ZH_HANT in found and Language.ZH_HANS not in found:
            found[Language.ZH_HANS] = self.mainland(found[Language.ZH_HANT])
        return found

    def mainland(self, text: str) -> str:
        """Write a text of Taiwan as the mainland does: its words, then its script."""
        position = 0
        parts: list[str] = []
        while position < len(text):
            for taiwan, mainland in self._regional:
                if text.startswith(taiwan, position):
                    parts.append(mainland)
                    position += len(taiwan)
                    break
            else:
                parts.append(text[position])
                position += 1
        return to_script("".join(parts), Language.ZH_HANS)

    # files

    def statements(self, file: str, document: Mapping[str, Any]) -> None:
        """Take `statements.yaml`."""
        regional = document.get("regional", {})
        if isinstance(regional, Mapping):
            self.tables.regional = {str(key): str(value) for key, value in regional.items()}
        else:
            self.note(file, "", "regional", "must be a table of words")
        self._set_regional()
        given = document.get("statements")
        if not isinstance(given, Mapping):
            self.note(file, "", "statements", "is missing")
            given = {}
        for name in given:
            if name not in CODES:
                self.note(file, "statements", str(name), f"unknown field; {_allowed(CODES)}")
        for name, codes in CODES.items():
            texts = given.get(name, {})
            if not isinstance(texts, Mapping):
                self.note(file, "statements", name, "must be a table of codes")
                continue
            for code in codes:
                if code not in texts:
                    self.note(file, "statements", name, f"the code {code} is missing")
            for code, value in texts.items():
                if code not in codes:
                    self.note(file, "statements", name, f"'{code}' is no code; {_allowed(codes)}")
                    continue
                words = self.words(file, "statements", f"{name}.{code}", value)
                self.tables.statements.setdefault(name, {})[str(code)] = words
        frames = document.get("frames")
        frames = frames if isinstance(frames, Mapping) else {}
        for name in FRAMES:
            if name not in frames:
                self.note(file, "frames", name, "is missing")
                continue
            self.tables.frames[name] = self.words(file, "frames", name, frames[name])

    def effect(self, file: str, value: object, where: str) -> None:
        """Take one side effect."""
        if not isinstance(value, Mapping):
            self.note(file, where, "effects", "must be a table")
            return
        effect_id = value.get("id")
        if not isinstance(effect_id, str) or not EFFECT_ID.fullmatch(effect_id):
            self.note(file, where, "id", f"'{effect_id}' must be lower-case words joined by '_'")
            return
        entry = f"effect {effect_id}"
        for key in value:
            if key not in ("id", "act", *Language.values()):
                self.note(
                    file, entry, str(key), "unknown key; allowed: id, en, zh-Hant, zh-Hans, act"
                )
        act = self._code(file, entry, "act", value.get("act"))
        names = self.words(file, entry, "name", value, MAX_NAME)
        if effect_id in self._effect_places:
            if self.tables.effects[effect_id] != Effect(effect_id, names, act):
                place = self._effect_places[effect_id]
                self.note(file, entry, "id", f"is defined otherwise in {place}")
            return
        self._effect_places[effect_id] = file
        self.tables.effects[effect_id] = Effect(effect_id, names, act)

    def entries(
        self, file: str, document: object, key: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give the entries of a list with what to call each, and note what is no entry."""
        items = document.get(key) if isinstance(document, Mapping) else None
        if not isinstance(items, list):
            self.note(file, "", key, "must be a list")
            return
        for number, item in enumerate(items, start=1):
            if not isinstance(item, Mapping):
                self.note(file, f"entry {number}", "", "must be a table")
                continue
            yield str(item.get("id") or f"entry {number}"), dict(item)

    def written(self, file: str, table: str, key: str, document: object) -> None:
        """Take a table that rules speak of: classes, allergy groups, conditions, foods."""
        seen = {row["id"]: row["file"] for row in self.tables.written[table]}
        for entry, row in self.entries(file, document, key):
            row_id = row.get("id")
            if not isinstance(row_id, str) or not EFFECT_ID.fullmatch(row_id.replace("-", "_")):
                self.note(file, entry, "id", "must be lower-case words joined by '_' or '-'")
                continue
            if row_id in seen:
                self.note(file, entry, "id", f"stands twice (also in {seen[row_id]})")
                continue
            seen[row_id] = file
            row["file"] = file
            if table != "sources":
                row.update({k.value: v for k, v in self.words(file, entry, "name", row).items()})
            for name in ("terms", "atc", "drugs", "except", "drugs_atc"):
                if name in row:
                    row[name] = self._texts(file, entry, name, row[name])
            for name in ("atc", "drugs_atc"):
                for prefix in row.get(name, []):
                    if not ATC_PREFIX.fullmatch(prefix):
                        self.note(file, entry, name, f"'{prefix}' is no ATC code or part of one")
            self.tables.written[table].append(row)

    def rule(self, file: str, entry: str, row: dict[str, Any]) -> None:
        """Take one interaction rule; what it refers to is checked by `finish`."""
        if any(entry == known["id"] for known in self.tables.written["rules"]):
            self.note(file, entry, "id", "stands twice")
            return
        for name, allowed in (("kind", RULE_KINDS), ("severity", RULE_SEVERITIES)):
            if row.get(name) not in allowed:
                self.note(file, entry, name, f"'{row.get(name)}' is unknown; {_allowed(allowed)}")
        for side in ("a", "b"):
            if not isinstance(row.get(side), Mapping):
                if side == "a" or row.get("kind") != "duplicate":
                    self.note(file, entry, side, "is missing")
                row[side] = {}
        row["why"] = {
            key.value: text for key, text in self.words(file, entry, "why", row.get("why")).items()
        }
        row["file"] = file
        self.tables.written["rules"].append(row)

    # a medicine

    def medicine(
        self, file: str, value: Mapping[str, Any], is_full: bool = True
    ) -> Medicine | None:
        """Check one medicine; None and noted problems where it is wrong."""
        before = len(self.problems)
        entry = str(value.get("id") or "?")
        medicine_id = value.get("id")
        if not isinstance(medicine_id, str) or not ID.fullmatch(medicine_id):
            self.note(file, entry, "id", "must be lower-case words joined by '-'")
            return None
        if len(medicine_id) > MAX_NAME:
            self.note(file, f"{medicine_id[:30]}…", "id", "is too long")
            return None
        keys = _MEDICINE_KEYS if is_full else _NAME_KEYS
        for key in value:
            if key not in keys:
                self.note(file, entry, str(key)[:40], "unknown key")
        codes: dict[str, str] = {}
        for name in ONE_CODES:
            if name in value:
                codes[name] = self._code(file, entry, name, value[name])
            elif is_full:
                self.note(file, entry, name, f"is missing; {_allowed(CODES[name])}")
        storage = self._list(file, entry, "storage", value.get("storage", []))
        for code in storage:
            if code not in CODES["storage"]:
                self.note(
                    file, entry, "storage", f"'{code}' is no code; {_allowed(CODES['storage'])}"
                )
        atc = self._texts(file, entry, "atc", value.get("atc", []))
        for code in atc:
            if not (ATC.fullmatch(code) or (not is_full and ATC_PREFIX.fullmatch(code))):
                self.note(file, entry, "atc", f"'{code}' is no ATC code of level 5 (as C08CA01)")
        ingredients = self._texts(file, entry, "ingredients", value.get("ingredients", []))
        for ingredient in ingredients:
            if not ID.fullmatch(ingredient):
                self.note(file, entry, "ingredients", f"'{ingredient}' is no id")
        use = value.get("use")
        medicine = Medicine(
            id=medicine_id,
            atc=tuple(atc),
            ingredients=tuple(ingredients) or (medicine_id,),
            names=self._names(file, entry, value.get("names"), is_full),
            brands=self._brands(file, entry, value.get("brands", [])),
            forms=self._forms(file, entry, value.get("forms", [])),
            doses=self._doses(file, entry, value.get("dose", [])),
            use=self.words(file, entry, "use", use) if use or is_full else {},
            common=tuple(self._texts(file, entry, "common", value.get("common", []))),
            serious=tuple(self._texts(file, entry, "serious", value.get("serious", []))),
            storage=tuple(storage),
            storage_days=self._days(file, entry, value.get("days")),
            children_from=self._years(file, entry, value.get("children_from")),
            high_alert=self._truth(file, entry, "high_alert", value.get("high_alert", False)),
            lookalikes=tuple(self._texts(file, entry, "lookalikes", value.get("lookalikes", []))),
            allergy_groups=tuple(
                self._texts(file, entry, "allergy_groups", value.get("allergy_groups", []))
            ),
            classes=tuple(self._texts(file, entry, "classes", value.get("classes", []))),
            advice=self._advice(file, entry, value.get("advice", [])),
            sources=tuple(self._texts(file, entry, "sources", value.get("sources", []))),
            is_full=is_full,
            **codes,
        )
        if is_full:
            for name in ("atc", "forms", "storage", "common", "serious", "sources"):
                if not getattr(medicine, name):
                    self.note(file, entry, name, "is missing")
        if len(set(medicine.common) & set(medicine.serious)):
            both = ", ".join(sorted(set(medicine.common) & set(medicine.serious)))
            self.note(file, entry, "serious", f"{both} stands in common too")
        return medicine if len(self.problems) == before else None

    def add(self, file: str, medicine: Medicine) -> None:
        """Put a checked medicine into the tables; its id must be new."""
        if medicine.id in self._places:
            place = self._places[medicine.id]
            self.note(file, medicine.id, "id", f"stands twice (also in {place})")
            return
        self._places[medicine.id] = file
        self.tables.medicines.append(medicine)

    def references(self, file: str, medicine: Medicine) -> None:
        """Check that the effects, allergies and sources that a medicine cites are there."""
        for name, known in (
            ("common", self.tables.effects),
            ("serious", self.tables.effects),
            ("allergy_groups", {row["id"]: row for row in self.tables.written["allergy_groups"]}),
            ("classes", {row["id"]: row for row in self.tables.written["classes"]}),
            ("sources", {row["id"]: row for row in self.tables.written["sources"]}),
        ):
            for key in getattr(medicine, name):
                if key not in known:
                    self.note(file, medicine.id, name, f"'{key}' is unknown{_nearest(key, known)}")

    def finish(self) -> Tables:
        """Check what refers to what, derive classes and names, and give the tables."""
        tables = self.tables
        for medicine in tables.medicines:
            self.references(self._places.get(medicine.id, ""), medicine)
        # A medicine knows its classes and groups from before when tables are finished again.
        tables.medicines = derived(tables.medicines, tables.written)
        self._check_references_of_tables()
        tables.names = [row for medicine in tables.medicines for row in name_rows(medicine)]
        self._check_names()
        return tables

    # parts

    def _set_regional(self) -> None:
        self._regional = sorted(
            self.tables.regional.items(), key=lambda pair: len(pair[0]), reverse=True
        )

    def _code(self, file: str, entry: str, name: str, value: object) -> str:
        if value in (True, False):
            value = "yes" if value else "no"
        if value in CODES[name] and isinstance(value, str):
            return value
        self.note(file, entry, name, f"'{_short(value)}' is no code; {_allowed(CODES[name])}")
        return ""

    def _list(self, file: str, entry: str, name: str, value: object) -> list[Any]:
        if isinstance(value, list):
            return value
        self.note(file, entry, name, "must be a list")
        return []

    def _texts(self, file: str, entry: str, name: str, value: object) -> list[str]:
        texts = []
        for item in self._list(file, entry, name, value):
            if isinstance(item, (str, int, float)) and not isinstance(item, bool):
                text = " ".join(str(item).split())
                if text and len(text) <= MAX_NAME:
                    texts.append(text)
                    continue
            self.note(file, entry, name, f"'{_short(item)}' must be a short text")
        if len(set(texts)) != len(texts):
            twice = sorted({text for text in texts if texts.count(text) > 1})
            self.note(file, entry, name, f"{', '.join(twice)} stands twice")
        return texts

    def _names(
        self, file: str, entry: str, value: object, is_full: bool
    ) -> dict[Language, tuple[str, ...]]:
        if not isinstance(value, Mapping):
            self.note(file, entry, "names", "must have en and zh-Hant")
            return {}
        names: dict[Language, tuple[str, ...]] = {}
        for key, texts in value.items():
            if key not in Language.values():
                self.note(file, entry, f"names.{key}", f"unknown; {_allowed(Language.values())}")
                continue
            texts = [texts] if isinstance(texts, str) else texts
            found = self._texts(file, entry, f"names.{key}", texts)
            for name in found:
                if not is_name(name):
                    self.note(file, entry, f"names.{key}", f"'{_short(name)}' is no name")
            if found:
                names[Language(key)] = tuple(found)
        wanted = Language.values() if is_full else ("en",)
        for key in wanted:
            if Language(key) not in names:
                self.note(file, entry, "names", f"{key} is missing")
        return names

    def _brands(self, file: str, entry: str, value: object) -> tuple[Brand, ...]:
        brands = []
        for item in self._list(file, entry, "brands", value):
            if not isinstance(item, Mapping) or not item:
                self.note(file, entry, "brands", "each must be a table of languages")
                continue
            names: dict[Language, str] = {}
            for key, text in item.items():
                if key not in Language.values():
                    self.note(file, entry, "brands", f"'{key}'; {_allowed(Language.values())}")
                elif (
                    not isinstance(text, (str, int)) or not 0 < len(str(text).strip()) <= MAX_NAME
                ):
                    self.note(file, entry, f"brands.{key}", f"'{_short(text)}' must be a name")
                elif not is_name(str(text)):
                    self.note(file, entry, f"brands.{key}", f"'{_short(text)}' is no name")
                else:
                    names[Language(key)] = " ".join(str(text).split())
            if names:
                brands.append(Brand(names))
        return tuple(brands)

    def _forms(self, file: str, entry: str, value: object) -> tuple[Form, ...]:
        forms = []
        for item in self._list(file, entry, "forms", value):
            if not isinstance(item, Mapping):
                self.note(file, entry, "forms", "each must have form, route and strengths")
                continue
            for key in item:
                if key not in ("form", "route", "strengths"):
                    self.note(file, entry, f"forms.{key}", "unknown key")
            form = self._code(file, entry, "form", item.get("form"))
            route = self._code(file, entry, "route", item.get("route"))
            strengths = item.get("strengths", [])
            texts = self._texts(file, entry, "strengths", strengths)
            if form and route:
                forms.append(Form(form, route, tuple(texts)))
        return tuple(forms)

    def _doses(self, file: str, entry: str, value: object) -> tuple[DoseRange, ...]:
        doses = []
        for item in self._list(file, entry, "dose", value):
            if not isinstance(item, Mapping):
                self.note(file, entry, "dose", "each must be a table")
                continue
            for key in item:
                if key not in ("route", "single", "unit", "max_daily", "frequency", "use"):
                    self.note(file, entry, f"dose.{key}", "unknown key")
            route = self._code(file, entry, "route", item.get("route"))
            single = item.get("single")
            if not (
                isinstance(single, list) and len(single) == 2 and all(map(_is_number, single))
            ):
                self.note(file, entry, "dose.single", "must be two numbers, lowest and highest")
                continue
            low, high = float(single[0]), float(single[1])
            if not 0 <= low <= high:
                self.note(file, entry, "dose.single", f"{low:g} to {high:g} is no range")
            most = item.get("max_daily", 0)
            most = 0 if most is None else most
            if not _is_number(most) or float(most) < 0:
                self.note(file, entry, "dose.max_daily", f"'{_short(most)}' must be a number")
                continue
            unit = item.get("unit")
            if not isinstance(unit, str) or not 0 < len(unit) <= 20:
                self.note(file, entry, "dose.unit", f"'{_short(unit)}' must be a unit")
                continue
            frequencies = self._texts(file, entry, "dose.frequency", item.get("frequency", []))
            for code in frequencies:
                if code not in CODES["frequency"]:
                    allowed = _allowed(CODES["frequency"])
                    self.note(file, entry, "dose.frequency", f"'{code}' is no code; {allowed}")
            use = str(item.get("use", "") or "")
            doses.append(DoseRange(route, low, high, unit, float(most), tuple(frequencies), use))
        return tuple(doses)

    def _advice(self, file: str, entry: str, value: object) -> tuple[dict[Language, str], ...]:
        items = self._list(file, entry, "advice", value)
        if len(items) > MAX_ADVICE:
            self.note(file, entry, "advice", f"has {len(items)} sentences, at most {MAX_ADVICE}")
        return tuple(self.words(file, entry, "advice", item) for item in items)

    def _days(self, file: str, entry: str, value: object) -> int | None:
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 730:
            return value
        self.note(file, entry, "days", f"'{_short(value)}' must be a number of days")
        return None

    def _years(self, file: str, entry: str, value: object) -> float | None:
        if value is None:
            return None
        if _is_number(value) and 0 <= float(str(value)) <= MAX_CHILD_YEARS:
            return float(str(value))
        self.note(file, entry, "children_from", f"'{_short(value)}' must be a number of years")
        return None

    def _truth(self, file: str, entry: str, name: str, value: object) -> bool:
        if isinstance(value, bool):
            return value
        self.note(file, entry, name, f"'{_short(value)}' must be true or false")
        return False

    def _check_references_of_tables(self) -> None:
        written = self.tables.written
        ids = {name: {row["id"]: row for row in rows} for name, rows in written.items()}
        drugs = {medicine.id: medicine for medicine in self.tables.medicines}
        ingredients = {part for medicine in self.tables.medicines for part in medicine.ingredients}
        known_drugs = {*drugs, *ingredients}
        self._known_spellings = {
            compact(row.key)
            for medicine in self.tables.medicines
            for row in name_rows(medicine)
            if row.kind != "brand"
        }
        for table in ("classes", "allergy_groups"):
            for row in written[table]:
                for name in ("drugs", "except"):
                    for key in row.get(name, []):
                        if key not in known_drugs:
                            self._unknown(row, name, key, known_drugs)
                for cross in row.get("cross", []) or []:
                    group = cross.get("group") if isinstance(cross, Mapping) else None
                    if group not in ids["allergy_groups"]:
                        self._unknown(row, "cross", str(group), ids["allergy_groups"])
                    elif cross.get("severity") not in RULE_SEVERITIES:
                        severity = cross.get("severity")
                        self.note(
                            row["file"],
                            row["id"],
                            "cross",
                            f"severity '{severity}' is unknown; {_allowed(RULE_SEVERITIES)}",
                        )
        where: dict[str, Iterable[str]] = {
            "drugs": known_drugs,
            "except": known_drugs,
            "classes": ids["classes"],
            "foods": ids["foods"],
            "conditions": ids["conditions"],
            "allergies": ids["allergy_groups"],
        }
        for row in written["rules"]:
            for side in ("a", "b"):
                for name, keys in row[side].items():
                    if name not in where:
                        continue
                    for key in keys if isinstance(keys, list) else [keys]:
                        if key not in where[name]:
                            self._unknown(row, f"{side}.{name}", str(key), where[name])
            sources = row.get("source", [])
            for key in sources if isinstance(sources, list) else [sources]:
                if key not in ids["sources"]:
                    self._unknown(row, "source", str(key), ids["sources"])

    def _unknown(self, row: Mapping[str, Any], name: str, key: str, known: Iterable[str]) -> None:
        """Note what is not there; a drug that the formulary lacks may be meant, a slip not."""
        message = f"'{key}' is unknown{_nearest(key, known)}"
        if name.rsplit(".", 1)[-1] not in ("drugs", "except") or not ID.fullmatch(key):
            self.note(row["file"], row["id"], name, message)
        elif key.replace("-", "") not in self._known_spellings:
            problem = Problem(row["file"], row["id"], name, message)
            is_slip = any(OSA.distance(key, other, score_cutoff=1) <= 1 for other in known)
            (self.problems if is_slip else self.tables.warnings).append(problem)

    def _check_names(self) -> None:
        """Warn of a name that two medicines have: nothing can be concluded from it."""
        owners: dict[str, dict[str, NameRow]] = {}
        for row in self.tables.names:
            owners.setdefault(row.key, {}).setdefault(row.medicine, row)
        for key, rows in owners.items():
            if len(rows) == 1:
                continue
            generic = [row for row in rows.values() if row.kind == "generic"]
            kinds = ", ".join(f"{row.medicine} ({row.kind})" for row in rows.values())
            place = self._places.get(next(iter(rows)), "")
            if len(generic) > 1:
                self.note(place, generic[0].medicine, "names", f"'{key}' is also of {kinds}")
            elif not generic and all(row.kind == "brand" for row in rows.values()):
                self.tables.warnings.append(
                    Problem(place, next(iter(rows)), "brands", f"'{key}' is also of {kinds}")
                )


def derived(
    medicines: Sequence[Medicine], written: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[Medicine]:
    """Give each medicine its classes and allergy groups: by ATC, by name, by its ingredients."""
    by_id = {medicine.id: medicine for medicine in medicines}
    first = [
        replace(
            medicine,
            classes=_members(medicine, written["classes"], medicine.classes, "atc"),
            allergy_groups=_members(
                medicine, written["allergy_groups"], medicine.allergy_groups, "drugs_atc"
            ),
        )
        for medicine in medicines
    ]
    own = {medicine.id: medicine for medicine in first}
    out: dict[str, dict[str, set[str]]] = {
        name: {str(row["id"]): set(row.get("except", [])) for row in written[name]}
        for name in ("classes", "allergy_groups")
    }
    result = []
    for medicine in first:
        parts = [own[part] for part in medicine.ingredients if part in by_id]
        classes = dict.fromkeys(
            [*medicine.classes, *(key for part in parts for key in part.classes)]
        )
        groups = dict.fromkeys(
            [*medicine.allergy_groups, *(key for part in parts for key in part.allergy_groups)]
        )
        result.append(
            replace(
                medicine,
                classes=tuple(
                    key for key in classes if medicine.id not in out["classes"].get(key, ())
                ),
                allergy_groups=tuple(
                    key for key in groups if medicine.id not in out["allergy_groups"].get(key, ())
                ),
            )
        )
    return result


def _members(
    medicine: Medicine,
    rows: Sequence[Mapping[str, Any]],
    given: tuple[str, ...],
    atc_key: str,
) -> tuple[str, ...]:
    """The classes or groups that a medicine is in, those that were written first."""
    found = dict.fromkeys(given)
    for row in rows:
        prefixes = tuple(row.get(atc_key, []))
        is_in = medicine.id in row.get("drugs", []) or any(
            code.startswith(prefixes) for code in medicine.atc if prefixes
        )
        is_in = is_in or any(part in row.get("drugs", []) for part in medicine.ingredients)
        if is_in and medicine.id not in row.get("except", []):
            found[str(row["id"])] = None
    return tuple(found)


def check_directory(directory: Path, is_whole: bool = True) -> tuple[Tables, list[Problem]]:
    """Read and check all YAML of a formulary.

    Args:
        directory: Where the YAML is.
        is_whole: A file that is missing is a problem: without `classes.yaml` no rule would fire.

    Raises:
        FormularyError: There is no such directory.
    """
    if not directory.is_dir():
        raise FormularyError(f"there is no formulary in {directory}: it is no folder")
    checker = Checker()
    documents = dict(_documents(directory, checker))
    if is_whole:
        for name in FILES:
            if not (directory / name).exists():
                checker.note(name, "", "", "is missing")
    checker.statements("statements.yaml", documents.get("statements.yaml", {}))
    for name, table, key in (
        ("sources.yaml", "sources", "sources"),
        ("classes.yaml", "classes", "classes"),
        ("allergies.yaml", "allergy_groups", "allergy_groups"),
        ("conditions.yaml", "conditions", "conditions"),
        ("foods.yaml", "foods", "foods"),
    ):
        if name in documents:
            checker.written(name, table, key, documents[name])
    if "effects.yaml" in documents:
        for entry, effect in checker.entries("effects.yaml", documents["effects.yaml"], "effects"):
            checker.effect("effects.yaml", effect, entry)
    medicine_files = [name for name in documents if name.startswith("medicines/")]
    for name in medicine_files:
        document = documents[name]
        if document.get("effects"):
            for entry, effect in checker.entries(name, document, "effects"):
                checker.effect(name, effect, entry)
    for name in medicine_files:
        for _, value in checker.entries(name, documents[name], "medicines"):
            medicine = checker.medicine(name, value)
            if medicine is not None:
                checker.add(name, medicine)
    if "names.yaml" in documents:
        document = documents["names.yaml"]
        key = "names" if "names" in document else "medicines"
        for _, value in checker.entries("names.yaml", document, key):
            medicine = checker.medicine("names.yaml", value, is_full=False)
            if medicine is not None:
                checker.add("names.yaml", medicine)
    for name, document in documents.items():
        if name.startswith("interactions/"):
            for entry, row in checker.entries(name, document, "rules"):
                checker.rule(name, entry, row)
    for pair in documents.get("lookalikes.yaml", {}).get("pairs", []):
        if isinstance(pair, list) and len(pair) == 2:
            checker.tables.lookalikes.append((str(pair[0]), str(pair[1])))
        else:
            checker.note("lookalikes.yaml", "pairs", "", f"'{_short(pair)}' must be two names")
    tables = checker.finish()
    return tables, checker.problems


def compile_directory(directory: Path, is_whole: bool = True) -> Tables:
    """Read and check the YAML of a formulary, and give its tables with all that is derived.

    Args:
        directory: Where the YAML is.
        is_whole: See `check_directory`.

    Raises:
        FormularyError: Something is wrong; `problems` has all of it, the message the first.
    """
    tables, problems = check_directory(directory, is_whole)
    if problems:
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise FormularyError(f"{problems[0]}{more}; see 'medbot formulary check'", problems)
    add_syllables(tables)
    return tables


def add_syllables(tables: Tables) -> None:
    """Add what homophones are found by; slow, so only once the data is right."""
    tables.names, tables.syllables = syllable_table(tables.names)


def _documents(directory: Path, checker: Checker) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(directory.rglob("*.yaml")):
        name = path.relative_to(directory).as_posix()
        try:
            document = parse_yaml(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            checker.note(name, "", "", f"cannot be read: {error.strerror}")
            continue
        except UnicodeDecodeError:
            checker.note(name, "", "", "is not in UTF-8")
            continue
        except ValueError as error:
            checker.note(name, "", "", f"is no YAML: {error}")
            continue
        if not isinstance(document, dict):
            checker.note(name, "", "", "must be a table" if document else "is empty")
            continue
        yield name, document


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _allowed(codes: Iterable[str]) -> str:
    return f"allowed: {', '.join(codes)}"


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:40]}…"


def _nearest(key: str, known: Iterable[str]) -> str:
    """Name what was probably meant, "" if nothing is like it."""
    found = process.extractOne(
        key, list(known), scorer=OSA.normalized_similarity, score_cutoff=0.6
    )
    return f"; did you mean {found[0]}?" if found else ""


# The database ------------------------------------------------------------------------------------

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE medicine (
    position INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, is_full INTEGER NOT NULL,
    data TEXT NOT NULL);
CREATE TABLE name (
    position INTEGER PRIMARY KEY, key TEXT NOT NULL, medicine TEXT NOT NULL, kind TEXT NOT NULL,
    sounds TEXT NOT NULL);
CREATE INDEX name_key ON name (key);
CREATE TABLE effect (id TEXT PRIMARY KEY, data TEXT NOT NULL);
CREATE TABLE statement (
    field TEXT NOT NULL, code TEXT NOT NULL, language TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (field, code, language));
CREATE TABLE frame (name TEXT PRIMARY KEY, data TEXT NOT NULL);
CREATE TABLE written (
    position INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, data TEXT NOT NULL);
CREATE TABLE syllable (sound TEXT PRIMARY KEY, characters TEXT NOT NULL);
CREATE TABLE lookalike (position INTEGER PRIMARY KEY, a TEXT NOT NULL, b TEXT NOT NULL);
CREATE TABLE regional (taiwan TEXT PRIMARY KEY, mainland TEXT NOT NULL);
"""
_ROWS = {
    "medicine": "position, id, is_full, data",
    "name": "position, key, medicine, kind, sounds",
    "effect": "id, data",
    "statement": "field, code, language, text",
    "frame": "name, data",
    "written": "position, kind, id, data",
    "syllable": "sound, characters",
    "lookalike": "position, a, b",
    "regional": "taiwan, mainland",
}


@dataclass(frozen=True)
class About:
    """What a database says of itself.

    Attributes:
        schema: Version of the schema.
        source: What it was made from: "packaged", or the names of the imported file and its base.
        content: Hash of the data that it was made from.
        built_at: When, in UTC, ISO 8601.
        packaged: Hash of the packaged data that lies below an imported version.
    """

    schema: int
    source: str
    content: str
    built_at: str
    packaged: str = ""


def write_database(
    tables: Tables, path: Path, source: str, content: str, packaged: str = ""
) -> None:
    """Write the tables to a new SQLite file, whole or not at all.

    The file is written beside its place and renamed, so that another process never sees half of
    it, and two that build the same at once each put a whole one there.

    Raises:
        OSError: It cannot be written (no room, no permission).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    try:
        try:
            with closing(sqlite3.connect(temporary)) as connection:
                fill(connection, tables, source, content, packaged)
        except sqlite3.Error as error:
            raise OSError(None, f"cannot be written: {error}", str(path)) from error
        # SQLite's own file is private; another user's robot process may share the folder.
        os.chmod(temporary, 0o644)
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def fill(
    connection: sqlite3.Connection,
    tables: Tables,
    source: str,
    content: str,
    packaged: str = "",
) -> None:
    """Write the tables into an empty database."""
    rows = _rows_of(tables)
    with connection:
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        for table, columns in _ROWS.items():
            marks = ", ".join("?" * (columns.count(",") + 1))
            connection.executemany(
                f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows[table]
            )
        meta = {
            "schema": str(SCHEMA_VERSION),
            "source": source,
            "content": content,
            "packaged": packaged,
            "built_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "digest": _digest(rows),
        }
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())


def read_database(path: Path) -> tuple[Tables, About]:
    """Read a database whole into memory, and check that it is the one that was written.

    Raises:
        FormularyError: There is none, it is of another schema, or it is damaged.
    """
    if not path.is_file():
        raise FormularyError(f"there is no formulary {path}")
    try:
        address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            return read_connection(connection, str(path))
    except (sqlite3.Error, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise FormularyError(f"the formulary {path} is damaged: {reason}") from error


def read_connection(connection: sqlite3.Connection, name: str) -> tuple[Tables, About]:
    """Read an open database; `name` is for messages."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        raise FormularyError(f"{name} is no formulary of this program")
    if version != SCHEMA_VERSION:
        raise FormularyError(
            f"{name} has schema {version}, and this program reads schema {SCHEMA_VERSION};"
            " build or import it again"
        )
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    rows = {
        table: connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2").fetchall()
        for table, columns in _ROWS.items()
    }
    if _digest(rows) != meta.get("digest"):
        raise FormularyError(f"the formulary {name} is damaged: its rows are not as written")
    about = About(
        version, meta["source"], meta["content"], meta["built_at"], meta.get("packaged", "")
    )
    return _tables_of(rows), about


def _digest(rows: Mapping[str, Sequence[Sequence[Any]]]) -> str:
    digest = hashlib.sha256()
    for table in _ROWS:
        for row in sorted(rows[table], key=lambda row: tuple(row[:3])):
            digest.update(repr(tuple(row)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _rows_of(tables: Tables) -> dict[str, list[tuple[Any, ...]]]:
    written = [
        (kind, str(row.get("id", "")), _json(row))
        for kind, table in tables.written.items()
        for row in table
    ]
    return {
        "medicine": [
            (position, medicine.id, int(medicine.is_full), _json(medicine_record(medicine)))
            for position, medicine in enumerate(tables.medicines)
        ],
        "name": [
            (position, row.key, row.medicine, row.kind, row.sounds)
            for position, row in enumerate(tables.names)
        ],
        "effect": [
            (effect.id, _json({**_plain(effect.names), "act": effect.act}))
            for effect in tables.effects.values()
        ],
        "statement": [
            (name, code, language.value, text)
            for name, codes in tables.statements.items()
            for code, words in codes.items()
            for language, text in words.items()
        ],
        "frame": [(name, _json(_plain(words))) for name, words in tables.frames.items()],
        "written": [(position, *row) for position, row in enumerate(written)],
        "syllable": list(tables.syllables.items()),
        "lookalike": [(i, *pair) for i, pair in enumerate(tables.lookalikes)],
        "regional": list(tables.regional.items()),
    }


def _tables_of(rows: Mapping[str, Sequence[Sequence[Any]]]) -> Tables:
    tables = Tables()
    tables.medicines = [medicine_from(json.loads(row[3])) for row in rows["medicine"]]
    tables.names = [NameRow(*row[1:]) for row in rows["name"]]
    for effect_id, data in rows["effect"]:
        record = json.loads(data)
        tables.effects[effect_id] = Effect(effect_id, _worded(record), record["act"])
    for name, code, language, text in rows["statement"]:
        tables.statements.setdefault(name, {}).setdefault(code, {})[Language(language)] = text
    tables.frames = {name: _worded(json.loads(data)) for name, data in rows["frame"]}
    for _, kind, _, data in rows["written"]:
        tables.written[kind].append(json.loads(data))
    tables.syllables = {row[0]: row[1] for row in rows["syllable"]}
    tables.lookalikes = [(row[1], row[2]) for row in rows["lookalike"]]
    tables.regional = {row[0]: row[1] for row in rows["regional"]}
    return tables


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _plain(words: Mapping[Language, Any]) -> dict[str, Any]:
    return {language.value: value for language, value in words.items()}


def _worded(record: Mapping[str, Any]) -> dict[Language, str]:
    return {Language(key): value for key, value in record.items() if key in Language.values()}


def medicine_record(medicine: Medicine) -> dict[str, Any]:
    """Give a medicine as plain values, for JSON."""
    record: dict[str, Any] = {}
    for item in fields(medicine):
        value = getattr(medicine, item.name)
        if item.name in ("names", "use"):
            value = _plain(value)
        elif item.name == "brands":
            value = [_plain(brand.names) for brand in value]
        elif item.name == "forms":
            value = [[form.form, form.route, list(form.strengths)] for form in value]
        elif item.name == "doses":
            value = [
                [d.route, d.single_low, d.single_high, d.unit, d.max_daily, d.frequencies, d.use]
                for d in value
            ]
        elif item.name == "advice":
            value = [_plain(words) for words in value]
        record[item.name] = value
    return record


def medicine_from(record: Mapping[str, Any]) -> Medicine:
    """Make a medicine of what `medicine_record` gave."""
    # Codes and ids stand in a thousand medicines; one string of each is enough.
    values: dict[str, Any] = {
        key: tuple(sys.intern(item) if isinstance(item, str) else item for item in value)
        if isinstance(value, list)
        else sys.intern(value)
        if isinstance(value, str)
        else value
        for key, value in record.items()
    }
    values["names"] = {Language(key): tuple(value) for key, value in record["names"].items()}
    values["use"] = _worded(record["use"])
    values["brands"] = tuple(Brand(_worded(brand)) for brand in record["brands"])
    values["forms"] = tuple(Form(form, route, tuple(s)) for form, route, s in record["forms"])
    values["doses"] = tuple(
        DoseRange(route, low, high, unit, most, tuple(frequencies), use)
        for route, low, high, unit, most, frequencies, use in record["doses"]
    )
    values["advice"] = tuple(_worded(words) for words in record["advice"])
    return Medicine(**values)
