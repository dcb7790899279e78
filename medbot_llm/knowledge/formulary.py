"""The formulary: what the robot knows about medicines, opened once and then read by any thread.

The packaged data is YAML; it is checked and made into an SQLite file once, in the cache of this
machine, under a name that holds the hash of the YAML. Where the disk can't be written it is made
in memory. A hospital's own data is a further file of the same kind (`medbot formulary import`);
`medbot formulary use` says which one is opened.

```
$MEDBOT_HOME, or ~/.cache/medbot
    formulary/packaged-<hash>.sqlite    made from the YAML of this package
    formulary/versions/<name>.sqlite    imported
    formulary/current                   name of the version in use; absent: the packaged one
```

```python
formulary = Formulary.open()
medicine = formulary.find("脈優錠 5 毫克")
formulary.facts(medicine, "missed", Language.ZH_HANT)
```
"""

from __future__ import annotations

import importlib.resources
import logging
import os
import re
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medbot_llm.domain import Language
from medbot_llm.knowledge.compiler import TABLE_NAMES
from medbot_llm.knowledge.compiler import About
from medbot_llm.knowledge.compiler import FormularyError
from medbot_llm.knowledge.compiler import Tables
from medbot_llm.knowledge.compiler import compile_directory
from medbot_llm.knowledge.compiler import content_hash
from medbot_llm.knowledge.compiler import read_database
from medbot_llm.knowledge.compiler import write_database
from medbot_llm.knowledge.medicine import CODES
from medbot_llm.knowledge.medicine import FACT_FIELDS
from medbot_llm.knowledge.medicine import Effect
from medbot_llm.knowledge.medicine import LookUp
from medbot_llm.knowledge.medicine import Medicine
from medbot_llm.knowledge.medicine import Mention
from medbot_llm.knowledge.names import NameIndex

__all__ = [
    "Effect",
    "Formulary",
    "FormularyError",
    "LookUp",
    "Medicine",
    "Mention",
    "Versions",
    "packaged_directory",
]

HOME_VARIABLE = "MEDBOT_HOME"
PACKAGED = "packaged"
KEPT_BUILDS = 3
"""Builds of the packaged data that stay in the cache; older ones are of older programs."""
MAX_EFFECTS = 4
"""Side effects in one sentence: nobody keeps more in mind."""
_ACTS = CODES["act"]
_VERSION = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

_log = logging.getLogger(__name__)


def packaged_directory() -> Path:
    """Return the folder of the packaged YAML."""
    return Path(str(importlib.resources.files("medbot_llm.resource") / "formulary"))


def default_home() -> Path:
    """Return the folder of the databases, in $MEDBOT_HOME or ~/.cache/medbot."""
    home = os.environ.get(HOME_VARIABLE, "").strip()
    if not home:
        return Path.home() / ".cache" / "medbot" / "formulary"
    root = Path(home).expanduser()
    if not root.is_absolute():
        raise FormularyError(f"{HOME_VARIABLE} must be an absolute path, not '{home}'")
    return root / "formulary"


class Versions:
    """The databases of this machine: the packaged one and those that were imported.

    Args:
        home: Where they are; None: `default_home()`.
        source: The YAML of the packaged one; None: that of this package, which must be whole.
    """

    def __init__(self, home: Path | None = None, source: Path | None = None) -> None:
        self._is_whole = source is None
        self.home = default_home() if home is None else home
        self.source = packaged_directory() if source is None else source

    @property
    def current(self) -> str:
        """The name of the version in use, "packaged" if none was chosen.

        Raises:
            FormularyError: The file that says it can't be read; the robot must not go on with
                other data than was chosen.
        """
        path = self.home / "current"
        try:
            name = path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return PACKAGED
        except (OSError, UnicodeDecodeError) as error:
            raise FormularyError(f"{path} cannot be read: {error}") from error
        if not _VERSION.fullmatch(name):
            raise FormularyError(
                f"{path} names no version; choose one by 'medbot formulary use VERSION'"
            )
        return name

    def names(self) -> tuple[str, ...]:
        """Return the names of the imported versions, the oldest first."""
        folder = self.home / "versions"
        names = [path.stem for path in folder.glob("*.sqlite") if _VERSION.fullmatch(path.stem)]
        return tuple(sorted(names, key=_natural))

    def path(self, name: str) -> Path:
        """Return where an imported version is.

        Raises:
            FormularyError: There is none of that name.
        """
        if not _VERSION.fullmatch(name) or name not in self.names():
            known = ", ".join((PACKAGED, *self.names()))
            raise FormularyError(f"there is no version '{name[:64]}'; there are: {known}")
        return self.home / "versions" / f"{name}.sqlite"

    def use(self, name: str) -> None:
        """Choose the version that is opened from now on; it must be whole."""
        path = self.home / "current"
        if name == PACKAGED:
            path.unlink(missing_ok=True)
            return
        read_database(self.path(name))
        temporary = path.with_name(f".current.{os.getpid()}")
        temporary.write_text(f"{name}\n", encoding="utf-8")
        os.replace(temporary, path)

    def add(self, tables: Tables, source: str, content: str, packaged: str) -> str:
        """Write a further version and return its name; nothing that exists is touched."""
        folder = self.home / "versions"
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".new.{os.getpid()}.{id(tables)}"
        try:
            write_database(tables, temporary, source, content, packaged)
            number = 1 + max((_number(name) for name in self.names()), default=0)
            while True:
                try:
                    # A link fails where another import has just taken the name; a rename does not.
                    os.link(temporary, folder / f"v{number}.sqlite")
                    return f"v{number}"
                except FileExistsError:
                    number += 1
        finally:
            temporary.unlink(missing_ok=True)

    def open_current(self) -> tuple[Tables, About]:
        """Read the version in use."""
        name = self.current
        return self.open_packaged() if name == PACKAGED else read_database(self.path(name))

    def open_packaged(self) -> tuple[Tables, About]:
        """Read the packaged data, from the cache if it is there, else built from YAML."""
        content = content_hash(self.source)
        path = self.home / f"packaged-{content[:16]}.sqlite"
        if path.exists():
            try:
                tables, about = read_database(path)
                if about.content == content:
                    return tables, about
                _log.warning("%s is of other data: building it again", path)
            except FormularyError as error:
                _log.warning("building it again: %s", error)
        return self.build(content)

    def build(self, content: str = "") -> tuple[Tables, About]:
        """Build the packaged data from YAML and put it into the cache if that can be written."""
        content = content or content_hash(self.source)
        tables = compile_directory(self.source, self._is_whole)
        path = self.home / f"packaged-{content[:16]}.sqlite"
        try:
            write_database(tables, path, PACKAGED, content)
            self._prune(path)
            return read_database(path)
        except (OSError, FormularyError) as error:
            _log.warning("the formulary is kept in memory only, not in %s: %s", self.home, error)
        import sqlite3
        from contextlib import closing

        from medbot_llm.knowledge.compiler import fill
        from medbot_llm.knowledge.compiler import read_connection

        with closing(sqlite3.connect(":memory:")) as connection:
            fill(connection, tables, PACKAGED, content)
            return read_connection(connection, "the formulary in memory")

    def _prune(self, kept: Path) -> None:
        def age(path: Path) -> float:
            try:
                return path.stat().st_mtime
            except OSError:
                return 0.0

        builds = sorted(self.home.glob("packaged-*.sqlite"), key=age, reverse=True)
        for path in builds[KEPT_BUILDS:]:
            if path != kept:
                path.unlink(missing_ok=True)


class Formulary:
    """All medicines, looked up by name and put into words.

    Everything is in memory and nothing changes, so any thread may ask.

    Args:
        tables: What it holds.
        about: Where that comes from.
    """

    def __init__(self, tables: Tables, about: About | None = None) -> None:
        self.about = about
        self._tables = tables
        self._by_id = {medicine.id: medicine for medicine in tables.medicines}
        self._index = NameIndex(
            tables.medicines, tables.names, tables.syllables, tables.lookalikes
        )
        self._rows: dict[str, dict[str, Mapping[str, Any]]] = {
            name: {str(row["id"]): row for row in rows} for name, rows in tables.written.items()
        }
        self._members: dict[str, list[Medicine]] = {}
        for medicine in tables.medicines:
            for class_id in medicine.classes:
                self._members.setdefault(class_id, []).append(medicine)

    @classmethod
    def open(cls, database: Path | None = None) -> Formulary:
        """Open a database; None: the version in use, by default the packaged one.

        Raises:
            FormularyError: The database is missing, damaged or of another schema, or the packaged
                YAML is wrong.
        """
        if database is not None:
            return cls(*read_database(database))
        return cls(*Versions().open_current())

    @classmethod
    def from_directory(cls, directory: Path, is_whole: bool = True) -> Formulary:
        """Build one from YAML, in memory; files may be missing where it need not be whole.

        Raises:
            FormularyError: The YAML is wrong; `problems` says all that is.
        """
        return cls(compile_directory(directory, is_whole))

    # what is there

    @property
    def medicines(self) -> tuple[Medicine, ...]:
        """All medicines, also those that are only recognised (`is_full` False)."""
        return tuple(self._tables.medicines)

    def medicine(self, medicine_id: str) -> Medicine:
        """Return the medicine of an id; KeyError if there is none."""
        return self._by_id[medicine_id]

    @property
    def tables(self) -> Mapping[str, tuple[Mapping[str, Any], ...]]:
        """The tables that rules are made of, as written with zh-Hans added: classes,
        allergy_groups, conditions, foods, rules, sources."""
        return {name: tuple(self._tables.written[name]) for name in TABLE_NAMES}

    def in_class(self, class_id: str) -> tuple[Medicine, ...]:
        """Return the medicines of a class; () for one that is unknown or has none."""
        return tuple(self._members.get(class_id, ()))

    def class_name(self, class_id: str, language: Language) -> str:
        """Return the name of a class; KeyError if there is none."""
        return str(self._rows["classes"][class_id][language.value])

    def effect(self, effect_id: str) -> Effect:
        """Return a side effect; KeyError if there is none."""
        return self._tables.effects[effect_id]

    @property
    def effects(self) -> Mapping[str, Effect]:
        """All side effects by their ids."""
        return self._tables.effects

    # names

    def find(self, name: str) -> Medicine | None:
        """Return the medicine that a name or label says exactly; None if none or several."""
        return self._index.find(name)

    def look_up(self, heard: str, limit: int = 3) -> LookUp:
        """Return what a name that was heard may mean; a match only where it is certain."""
        return self._index.look_up(heard, limit)

    def mentions(self, text: str) -> tuple[Mention, ...]:
        """Return the medicines named in a text, with offsets into `canonical(text)`."""
        return self._index.mentions(text)

    def lookalikes(self, medicine: Medicine) -> tuple[Medicine, ...]:
        """Return the medicines that are known to be mixed up with this one."""
        return self._index.lookalikes(medicine)

    # words

    def statement(self, field: str, code: str, language: Language) -> str:
        """Return what a code says aloud; KeyError for a field or code that is unknown."""
        return self._tables.statements[field][code][language]

    def facts(self, medicine: Medicine, field: str, language: Language) -> str:
        """Return what is known of one field as finished sentences, "" if nothing is.

        Args:
            medicine: Of this formulary.
            field: One of `FACT_FIELDS`.
            language: The language of the sentences.

        Raises:
            KeyError: The field is unknown.
        """
        if field not in FACT_FIELDS:
            raise KeyError(field)
        if field == "use":
            words = medicine.use.get(language, "")
            return self._frame("use", language, use=words) if words else ""
        if field == "common":
            return self._common(medicine, language)
        if field == "serious":
            return self._serious(medicine, language)
        if field == "storage":
            return self._storage(medicine, language)
        if field == "advice":
            return _joined([words.get(language, "") for words in medicine.advice], language)
        if field == "children":
            return self._children(medicine, language)
        code = getattr(medicine, field)
        return self.statement(field, code, language) if code else ""

    def _frame(self, name: str, language: Language, **values: str) -> str:
        return self._tables.frames[name][language].format(**values)

    def _common(self, medicine: Medicine, language: Language) -> str:
        effects = self._effects_of(medicine.common)[:MAX_EFFECTS]
        if not effects:
            return ""
        name = "common" if len(effects) > 1 else "common_one"
        sentences = [self._frame(name, language, effects=_listed(effects, language))]
        for act in ("emergency", "call"):
            grave = [effect for effect in effects if effect.act == act]
            if grave:
                words = _listed(grave, language, _OR)
                sentences.append(self._frame(f"common_{act}", language, effects=words))
        if len(sentences) == 1:
            is_harmless = all(effect.act == "live" for effect in effects)
            sentences.append(self._frame(f"common_{'live' if is_harmless else 'tell'}", language))
        return _joined(sentences, language)

    def _serious(self, medicine: Medicine, language: Language) -> str:
        effects = self._effects_of(medicine.serious)
        # The gravest are said if there is no time for all.
        effects = sorted(effects, key=lambda effect: -_ACTS.index(effect.act))[:MAX_EFFECTS]
        if not effects:
            return ""
        act = max((effect.act for effect in effects), key=_ACTS.index)
        act = "tell" if act == "live" else act
        return _joined(
            [
                self._frame("serious", language, effects=_listed(effects, language)),
                self._frame(f"serious_{act}", language),
            ],
            language,
        )

    def _storage(self, medicine: Medicine, language: Language) -> str:
        sentences = []
        for code in medicine.storage:
            frame = f"{code}_days"
            if medicine.storage_days is not None and frame in self._tables.frames:
                sentences.append(self._frame(frame, language, days=str(medicine.storage_days)))
            else:
                sentences.append(self.statement("storage", code, language))
        return _joined(sentences, language)

    def _children(self, medicine: Medicine, language: Language) -> str:
        sentences = []
        if medicine.children:
            sentences.append(self.statement("children", medicine.children, language))
        years = medicine.children_from
        if years and medicine.children in ("yes", "specialist"):
            if years < 2 and years != int(years):
                months = f"{round(years * 12)}"
                sentences.append(self._frame("children_from_months", language, months=months))
            else:
                sentences.append(self._frame("children_from_years", language, years=f"{years:g}"))
        return _joined(sentences, language)

    def _effects_of(self, ids: Sequence[str]) -> list[Effect]:
        return [self._tables.effects[key] for key in ids]


_AND = {Language.EN: "and", Language.ZH_HANT: "和", Language.ZH_HANS: "和"}
_OR = {Language.EN: "or", Language.ZH_HANT: "或", Language.ZH_HANS: "或"}


def _listed(
    effects: Sequence[Effect], language: Language, word: Mapping[Language, str] = _AND
) -> str:
    """Join the names of effects as they are said."""
    names = [effect.names[language] for effect in effects]
    if len(names) == 1:
        return names[0]
    *first, last = names
    if language is Language.EN:
        # Commas inside a name would blur where the next begins.
        has_comma = any("," in name for name in names)
        joined = "; ".join(first) + ";" if has_comma else ", ".join(first)
        return f"{joined} {word[language]} {last}"
    if any("，" in name or "、" in name for name in names):
        return "；".join(names)
    return f"{'、'.join(first)}{word[language]}{last}"


def _joined(sentences: Sequence[str], language: Language) -> str:
    said = [sentence for sentence in sentences if sentence]
    return ("" if language.is_chinese else " ").join(said)


def _natural(name: str) -> tuple[int, str]:
    return (_number(name), name)


def _number(name: str) -> int:
    found = re.fullmatch(r"v(\d{1,9})", name)
    return int(found[1]) if found else 0
