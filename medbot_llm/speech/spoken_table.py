"""The table of units and abbreviations: how each is read (resource/speech/spoken_form.yaml)."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from enum import auto
from functools import cache
from typing import Any

import yaml

from medbot_llm.domain import Language
from medbot_llm.speech.audio import SpeechError

FILE_NAME = "speech/spoken_form.yaml"


class UnitKind(Enum):
    """What a unit measures, as far as it changes how a slash is read."""

    MASS = auto()
    VOLUME = auto()
    TIME = auto()
    COUNT = auto()
    OTHER = auto()


class When(Enum):
    """Where an abbreviation has its meaning."""

    ALWAYS = auto()
    PRESCRIPTION = auto()
    EYE = auto()


@dataclass(frozen=True)
class Unit:
    """A unit in words; `english` is one and more than one."""

    kind: UnitKind
    chinese: Mapping[Language, str]
    english: tuple[str, str]


@dataclass(frozen=True)
class Abbreviation:
    """One meaning of an abbreviation."""

    when: When
    words: Mapping[Language, str]


@dataclass(frozen=True)
class SpokenTable:
    """The table, ready for look-ups.

    Attributes:
        unit_pattern: A unit as it stands behind a number, as the source of a regular expression.
        lone_units: The forms, in small letters, that are read without a number too.
        abbreviations: By their capitals; the first meaning that fits is taken.
        short_forms: By their small letters, with their full stop where they have one.
    """

    unit_pattern: str
    lone_units: frozenset[str]
    abbreviations: Mapping[str, tuple[Abbreviation, ...]]
    initialisms: frozenset[str]
    words: frozenset[str]
    short_forms: Mapping[str, Mapping[Language, str]]
    _exact_units: Mapping[str, Unit]
    _units: Mapping[str, Unit]

    def unit(self, written: str) -> Unit | None:
        return self._exact_units.get(written) or self._units.get(written.casefold())


@cache
def spoken_table() -> SpokenTable:
    """The table of this package, read once.

    Raises:
        SpeechError: It is missing, or an entry is incomplete; the message names it.
    """
    source = importlib.resources.files("medbot_llm.resource") / FILE_NAME
    try:
        table = yaml.safe_load(source.read_text(encoding="utf-8"))
        return _table(table)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SpeechError(f"{FILE_NAME}: cannot be read: {reason}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise SpeechError(f"{FILE_NAME}: an entry is incomplete: {error!r}") from error


def _table(table: dict[str, Any]) -> SpokenTable:
    exact_units: dict[str, Unit] = {}
    units: dict[str, Unit] = {}
    lone: set[str] = set()
    for entry in table["units"]:
        one, many = entry["en"]
        unit = Unit(UnitKind[entry["kind"].upper()], _chinese(entry), (one, many))
        exact_units.update(dict.fromkeys(entry.get("exact", ()), unit))
        forms = [form.casefold() for form in entry.get("forms", ())]
        units.update(dict.fromkeys(forms, unit))
        if entry.get("alone"):
            lone.update(forms)
    abbreviations: dict[str, tuple[Abbreviation, ...]] = {}
    for entry in table["abbreviations"]:
        meaning = Abbreviation(When[entry["when"].upper()], _chinese(entry) | _english(entry))
        for form in entry["forms"]:
            abbreviations[form] = (*abbreviations.get(form, ()), meaning)
    short_forms = {
        form: _chinese(entry) | _english(entry)
        for entry in table["short_forms"]
        for form in entry["forms"]
    }
    return SpokenTable(
        unit_pattern=_alternatives(exact_units) + "|(?i:" + _alternatives(units) + ")",
        lone_units=frozenset(lone),
        abbreviations=abbreviations,
        initialisms=frozenset(table["initialisms"].split()),
        words=frozenset(table["words"].split()),
        short_forms=short_forms,
        _exact_units=exact_units,
        _units=units,
    )


def _chinese(entry: dict[str, Any]) -> dict[Language, str]:
    return {
        language: str(entry[language.value]) for language in (Language.ZH_HANT, Language.ZH_HANS)
    }


def _english(entry: dict[str, Any]) -> dict[Language, str]:
    return {Language.EN: str(entry["en"])}


def _alternatives(forms: Mapping[str, Unit]) -> str:
    # Longest first: alternatives are tried in order.
    return "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
