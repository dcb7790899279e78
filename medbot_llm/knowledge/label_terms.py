"""Speak the label of a medicine in the language of the conversation, without understanding it.

A label says "1 tablet", "PO", "BID PC"; a patient should hear "每次 1 顆，口服，每天兩次，飯後".
This is a look-up, not a translation: a statement is put into words only if *all* of it is in the
table (`resource/label_terms.yaml`). "Do not take after meals" is not, though "after meals" is, and
stays as written. Numbers in digits are carried over as they stand and never computed with.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.domain import Medication
from medbot_llm.text.orders import without_orders

FILE_NAME = "label_terms.yaml"

_DIGITS = r"\d+(?:,\d{3})*(?:\.\d+)?(?:/\d+)?"
_RANGE = rf"{_DIGITS}(?:\s*[-–~～]\s*{_DIGITS})?"
# A full stop ends a statement only after a word, or "p.o. BID" and "Dr. Wang" would break.
_STATEMENT_END = re.compile(r"[;；。，、\n]|,(?!\d)|(?<=[a-z]{3})\.(?=\s+[A-Z]|\s*$)")
_BETWEEN = re.compile(r"[\s()（）]*")
_EN_JOIN = ", "
_ZH_JOIN = "，"


class LabelTermsError(MedbotError):
    """The table of label terms is missing or does not keep to its schema; names file and entry."""


@dataclass(frozen=True)
class _Term:
    """One entry of the table: how it is spotted and what it becomes."""

    pattern: re.Pattern[str]
    words: Mapping[Language, str]
    en_plural: str
    is_amount: bool
    is_glue: bool
    is_verb: bool


@dataclass(frozen=True)
class _Statement:
    """One statement of a label, worded or as written."""

    text: str
    is_amount: bool = False


class LabelTerms:
    """Words the labels of medicines.

    Args:
        directory: Holds `label_terms.yaml`; None: the one of this package.

    Raises:
        LabelTermsError: The file is missing or an entry is incomplete; the message names file
            and entry.
    """

    def __init__(self, directory: Path | None = None) -> None:
        source = (
            importlib.resources.files("medbot_llm.resource") if directory is None else directory
        )
        self._file = str(source / FILE_NAME)
        try:
            table = yaml.safe_load((source / FILE_NAME).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise LabelTermsError(f"{self._file}: cannot be read: {reason}") from error
        for key in ("numbers", "each_time", "terms", "compounds"):
            if not isinstance(table, dict) or key not in table:
                raise LabelTermsError(f"{self._file}: the key {key} is missing")
        self._numbers: dict[str, dict[Language, str]] = {}
        for entry in self._entries(table, "numbers"):
            words = self._in_all_languages(entry, f"numbers {entry['forms']}", needs_n=False)
            self._numbers.update((form.casefold(), words) for form in entry["forms"])
        self._each_time = self._in_all_languages(table["each_time"], "each_time", needs_n=False)
        for language, template in self._each_time.items():
            if "{dose}" not in template:
                raise LabelTermsError(f"{self._file}: each_time.{language} lacks {{dose}}")
        self._compounds = {str(k).casefold(): v for k, v in table["compounds"].items()}
        self._terms = [self._term(entry) for entry in self._entries(table, "terms")]

    def describe(self, medication: Medication, language: Language) -> str:
        """Return one sentence on how the medicine is taken, "" if the label says nothing about it.

        The order is dose, route, frequency, instructions. What the table does not know stays as
        written.
        """
        join = _ZH_JOIN if language.is_chinese else _EN_JOIN
        said: list[str] = []
        for field in (
            self._dose(medication.dose, language),
            self._statements(medication.route, language),
            self._statements(medication.frequency, language),
            self._statements(without_orders(medication.instructions), language),
        ):
            for statement in field:
                # "TID PC" and "after meals" say it twice; two equal numbers may be two facts.
                is_repeated = any(statement.text in earlier.split(join) for earlier in said)
                if not is_repeated or re.search(r"\d", statement.text):
                    said.append(statement.text)
        if not said:
            return ""
        sentence = join.join(said)
        if sentence[-1] in ".。!！?？":
            return sentence
        return sentence + ("。" if language.is_chinese else ".")

    def worded(self, medication: Medication, language: Language) -> Medication:
        """Return the medicine with dose, route, frequency and instructions in words of
        `language`."""
        join = _ZH_JOIN if language.is_chinese else _EN_JOIN

        def words(text: str) -> str:
            return join.join(statement.text for statement in self._statements(text, language))

        return replace(
            medication,
            dose=words(medication.dose),
            route=words(medication.route),
            frequency=words(medication.frequency),
            instructions=words(medication.instructions),
        )

    def worded_task(self, task: DeliveryTask, language: Language) -> DeliveryTask:
        """Return the task with all its labels in words of `language`."""
        worded = tuple(self.worded(medication, language) for medication in task.medications)
        return replace(task, medications=worded)

    def spoken_name(self, medication: Medication, language: Language) -> str:
        """Return the name to say, with its strength: in Chinese the Chinese one where there is
        one, else the label's.
        """
        chinese = medication.name_zh.strip()
        name = medication.name.strip() or medication.generic_name.strip() or chinese
        if language.is_chinese and chinese:
            name = chinese
        strength = medication.strength.strip()
        if not name or not strength:
            return name
        # "Norvasc 5mg tablet" has its 5 mg already.
        own = r"\s*".join(map(re.escape, re.findall(r"[\d.,]+|[^\d.,\s]+", strength)))
        if re.search(rf"(?<![\d.,/]){own}(?![\w.,/])", name, re.IGNORECASE):
            return name
        return f"{name} {strength}"

    def _dose(self, text: str, language: Language) -> list[_Statement]:
        statements = self._statements(text, language)
        if statements and statements[0].is_amount:
            wrapped = self._each_time[language].format(dose=statements[0].text)
            if language.is_chinese:
                wrapped = re.sub(r"(?<=[\u4e00-\u9fff]) (?=[\u4e00-\u9fff])", "", wrapped)
            statements[0] = _Statement(wrapped, is_amount=True)
        return statements

    def _statements(self, text: str, language: Language) -> list[_Statement]:
        found = []
        for part in _STATEMENT_END.split(text):
            written = part.strip()
            if written:
                found.append(self._worded_statement(written, language) or _Statement(written))
        return found

    def _worded_statement(self, written: str, language: Language) -> _Statement | None:
        """Word a statement that consists of known terms only; None for any other."""
        expanded = re.sub(
            r"[A-Za-z]+",
            lambda match: " ".join(self._compounds.get(match[0].casefold(), [match[0]])),
            written,
        )
        text = ""
        parts: list[tuple[_Term, str]] = []
        last: _Term | None = None
        is_amount = False
        position = 0
        while position < len(expanded):
            between = _BETWEEN.match(expanded, position)
            gap = between[0] if between else ""
            position += len(gap)
            if position == len(expanded):
                return _Statement(text + self._gap(gap, language), is_amount)
            matches = [
                (match, term)
                for term in self._terms
                if (match := term.pattern.match(expanded, position))
            ]
            if not matches:
                return None
            match, term = max(matches, key=lambda pair: pair[0].end())
            if gap.strip():
                text += self._gap(gap, language)
            elif last is not None and (last.is_glue or term.is_glue):
                text += " " if language is Language.EN else ""
            elif last is not None:
                text += _ZH_JOIN if language.is_chinese else _EN_JOIN
            words = self._fill(term, match, language)
            # Digits are set off from Chinese characters, as in "服用 2 顆".
            text += " " if re.search(r"[\u4e00-\u9fff]$", text) and words[0].isdigit() else ""
            text += words
            parts.append((term, words))
            is_amount = is_amount or (last is None and term.is_amount)
            last = term
            position = match.end()
        text = self._in_word_order(parts, language) or text
        return _Statement(text, is_amount) if text else None

    @staticmethod
    def _in_word_order(parts: list[tuple[_Term, str]], language: Language) -> str:
        """Order a verb and when: "take after meals" is 飯後服用. "" for any other statement."""
        if len(parts) != 2:
            return ""
        verbs = [words for term, words in parts if term.is_verb]
        times = [words for term, words in parts if not (term.is_verb or term.is_amount)]
        if len(verbs) != 1 or len(times) != 1:
            return ""
        return f"{times[0]}{verbs[0]}" if language.is_chinese else f"{verbs[0]} {times[0]}"

    @staticmethod
    def _gap(gap: str, language: Language) -> str:
        brackets = "".join(char for char in gap if not char.isspace())
        if language.is_chinese:
            return brackets.translate(str.maketrans("()", "（）"))
        return brackets.translate(str.maketrans("（）", "()")).replace("(", " (")

    def _fill(self, term: _Term, match: re.Match[str], language: Language) -> str:
        words = term.words[language]
        number = next((group for group in match.groups() if group is not None), None)
        if number is None:
            return words
        known = self._numbers.get(" ".join(number.casefold().split()))
        spoken = known[language] if known else number
        if language is Language.EN and term.en_plural and not self._is_at_most_one(number):
            words = term.en_plural
        if known and language.is_chinese:
            # Spaces set off digits; between Chinese characters they would be heard as a pause.
            words = words.replace(" {n}", "{n}").replace("{n} ", "{n}")
        return words.format(n=spoken)

    @staticmethod
    def _is_at_most_one(number: str) -> bool:
        return number.casefold().strip() in {"一", "one", "半", "half a"} or bool(
            re.fullmatch(r"1|0\.\d+|1/\d+", number.strip())
        )

    def _term(self, entry: dict[str, Any]) -> _Term:
        forms = entry["forms"]
        takes_n = "{n}" in forms[0]
        if any(("{n}" in form) != takes_n for form in forms):
            raise LabelTermsError(f"{self._file}: terms {forms}: all or none must have {{n}}")
        words = self._in_all_languages(entry, f"terms {forms}", needs_n=takes_n)
        # Longest first: alternatives of a pattern are tried in order.
        alternatives = sorted(map(self._form_pattern, forms), key=len, reverse=True)
        return _Term(
            pattern=re.compile("|".join(alternatives), re.IGNORECASE),
            words=words,
            en_plural=str(entry.get("en_plural", "")),
            is_amount=bool(entry.get("amount", False)),
            is_glue=bool(entry.get("glue", False)) or bool(entry.get("verb", False)),
            is_verb=bool(entry.get("verb", False)),
        )

    def _form_pattern(self, form: str) -> str:
        names = "|".join(
            rf"\b{re.escape(name)}\b" if name.isascii() else re.escape(name)
            for name in sorted(self._numbers, key=len, reverse=True)
        )
        # Statements lose a final full stop, so forms such as "p.o." do without it.
        pieces = re.split(r"(\{n\}|\s+)", form.removesuffix("."))
        pattern = ""
        for piece in pieces:
            if piece == "{n}":
                pattern += rf"\s*({_RANGE}|{names})\s*" if pattern else rf"({_RANGE}|{names})\s*"
            elif piece.isspace():
                pattern += r"\s*" if pattern.endswith(r"\s*") else r"\s+"
            else:
                pattern += re.escape(piece)
        pattern = pattern.replace(r"\s*\s+", r"\s*").replace(r"\s+\s*", r"\s*")
        before = r"(?<![A-Za-z0-9.])" if form[0].isascii() else ""
        after = r"(?![A-Za-z0-9/])" if form[-1].isascii() else ""
        return (
            rf"{before}{pattern}\.?{after}" if form.endswith(".") else f"{before}{pattern}{after}"
        )

    def _entries(self, table: dict[str, Any], key: str) -> list[dict[str, Any]]:
        entries = table[key]
        if not isinstance(entries, list):
            raise LabelTermsError(f"{self._file}: {key} must be a list")
        for position, entry in enumerate(entries, 1):
            forms = entry.get("forms") if isinstance(entry, dict) else None
            if (
                not isinstance(forms, list)
                or not forms
                or not all(isinstance(f, str) for f in forms)
            ):
                raise LabelTermsError(
                    f"{self._file}: {key}, entry {position}: forms must be texts"
                )
        return entries

    def _in_all_languages(
        self, entry: dict[str, Any], where: str, *, needs_n: bool
    ) -> dict[Language, str]:
        words = {}
        for language in Language:
            text = entry.get(language.value)
            if not isinstance(text, str) or not text.strip():
                raise LabelTermsError(f"{self._file}: {where}: {language} is missing or no text")
            if ("{n}" in text) != needs_n:
                problem = "lacks" if needs_n else "must not have"
                raise LabelTermsError(f"{self._file}: {where}: {language} {problem} {{n}}")
            words[language] = text
        return words
