"""The state of a reading, and how what is said is joined to what was said before.

Whether a comma, a space or nothing stands between two pieces decides what is heard: 八點 and 一顆
side by side are "8.1". A rule only says its words and what kind of thing they are (`Reader.say`);
all joining happens here.
"""

from __future__ import annotations

import re
from enum import Enum
from enum import auto

from medbot_llm.domain import Language
from medbot_llm.speech.number_words import ENGLISH_NUMBER_WORDS
from medbot_llm.speech.number_words import digits_in_words
from medbot_llm.speech.number_words import number_in_words
from medbot_llm.speech.spoken_form.patterns import GAP
from medbot_llm.speech.spoken_form.patterns import IS_HAN
from medbot_llm.speech.spoken_form.patterns import NUMERALS
from medbot_llm.speech.spoken_table import spoken_table

CONTEXT = 16
"""Characters before a number that may say what it is: a telephone number, a room, a pulse."""

_NUMERAL_AT_END = re.compile(f"[{NUMERALS}半]$|[{NUMERALS}][點点]$")
_NUMERAL_AT_START = re.compile(f"[{NUMERALS}半]")
_CLOCK_AT_END = re.compile(f"[{NUMERALS}][點点]$")
_MINUTES_AT_START = re.compile(rf"[{NUMERALS}]{{1,4}}[分刻](?!之)|半")
_MINUTES_NEXT = re.compile(rf"{GAP}(?:分(?!之)|刻)")
_CLOCK_THEN_COUNT = re.compile(
    rf"[點点][ ]?[{NUMERALS}半]{{1,3}}"
    "(?:顆|颗|粒|片|錠|锭|包|支|滴|噴|喷|次|毫|公|微|西西|單位|单位|瓶|匙)"
)
_MEASURE_AT_END = re.compile("[顆颗粒片錠锭枚丸包袋瓶滴噴喷支克升位次劑剂匙貼贴]$")
_WORD_AT_START = re.compile("[A-Za-z]+")
_ENGLISH_NUMBER_ENDS = ENGLISH_NUMBER_WORDS | {"hundred", "thousand", "million", "billion"}
_CHINESE_MARK = "，。、；：！？…「」『』（）《》"
_PUNCTUATION = re.compile(r"[，。、；：！？…,.;:!?\n]")


class Kind(Enum):
    """What was said last, as far as it decides how the next thing is joined to it."""

    TEXT = auto()
    NUMBER = auto()
    QUANTITY = auto()
    """A number with its unit, a share, a date or a time."""
    PHRASE = auto()
    """An abbreviation of a prescription, in words."""
    WORD = auto()
    SIGN = auto()
    """What joins its neighbours: plus, and, at least."""


_VALUES = (Kind.NUMBER, Kind.QUANTITY)


class Reader:
    """One text on its way from written to spoken.

    Attributes:
        text: The text as it is written.
        table: Units, abbreviations and words with a reading of their own.
        place: Where the rule that is tried now begins, in `text`.
        kind: What was said last.
        tail: The last characters of what was said.
        number_end: Where the number that is said now ends in `text`.
        minus_at: Where a number begins that a minus stands before; -1 for nowhere.
        called_until: Where the last telephone number ended; -1 before the first.
        is_all_capitals: Whether an English text is in capitals as a whole, so that they tell
            nothing.
        comma, to, gap: What stands between two parts in the language: a comma, "to", and what
            keeps two words apart.
        minus: What is said of a number below zero.
    """

    def __init__(self, text: str, language: Language) -> None:
        self.text = text
        self.language = language
        self.is_chinese = language.is_chinese
        self.is_taiwan = language is Language.ZH_HANT
        self.table = spoken_table()
        self.place = 0
        self.kind = Kind.TEXT
        self.tail = ""
        self.number_end = len(text)
        self.minus_at = -1
        self.called_until = -1
        self.is_all_capitals = (
            not self.is_chinese and not any(map(str.islower, text)) and text.count(" ") >= 2
        )
        self.comma = "，" if self.is_chinese else ", "
        self.to = "到" if self.is_chinese else " to "
        self.gap = "" if self.is_chinese else " "
        self.minus = self.pick("負", "负", "minus ")
        self._out: list[str] = []
        self._is_pause_due = False

    def spoken(self) -> str:
        """All that was said up to now."""
        return "".join(self._out)

    # What stands around the place ------------------------------------------------------------

    @property
    def before(self) -> str:
        """The text just before the place."""
        return self.text[max(0, self.place - CONTEXT) : self.place]

    def char_at(self, place: int) -> str:
        """The character there, "" outside the text."""
        return self.text[place : place + 1] if place >= 0 else ""

    def is_line_start(self, start: int) -> bool:
        before = self.text[max(0, start - 4) : start]
        line = before.rpartition("\n")[2]
        return not line.strip(" \t") and (line != before or start <= 4)

    # Words -----------------------------------------------------------------------------------

    def pick(self, hant: str, hans: str, en: str) -> str:
        """The words of the language: Taiwan, mainland China, English."""
        return self.script(hant, hans) if self.is_chinese else en

    def script(self, hant: str, hans: str) -> str:
        """The Chinese words of Taiwan or of the mainland."""
        return hant if self.is_taiwan else hans

    def number(self, digits: str, *, counts: bool = False) -> str:
        """The words of a number.

        Args:
            counts: Whether a measure word follows, before which a Chinese 2 is 兩.
        """
        return number_in_words(digits, self.language, counts=counts)

    @property
    def is_negative(self) -> bool:
        """Whether a minus stands before the number at the place and was not said yet."""
        return self.minus_at == self.place

    def digits(self, digits: str) -> str:
        """Each digit by itself."""
        return digits_in_words(digits, self.language)

    def row(self, digits: str) -> str:
        """The digits of a room or a code: three and more are read one by one."""
        return self.digits(digits) if len(digits) > 2 else self.number(digits)

    def range(self, first: str, second: str | None, *, counts: bool = False) -> str:
        """A number, or from … to."""
        words = self.number(first, counts=counts)
        if second is None:
            return words
        return words + self.to + self.number(second, counts=counts)

    # Saying ----------------------------------------------------------------------------------

    def say(self, words: str, kind: Kind) -> None:
        """Say words instead of what is written."""
        if not words:
            return
        if self.is_negative:
            self.minus_at = -1
            words = self.minus + words
        if self._is_pause_due:
            self._make_pause(words)
        if self.is_chinese:
            self._join_chinese(words, kind)
        else:
            self._join_english(words, kind)
        self.add(words)
        self.kind = kind

    def pass_on(self, chunk: str) -> None:
        """Say text as it is written."""
        stripped = chunk.lstrip(" \t")
        if self._is_pause_due:
            if not stripped:
                return
            self._make_pause(stripped)
            if self.tail and not self.tail.endswith("\n"):
                chunk = stripped
        elif self.kind is not Kind.TEXT and self.tail:
            chunk = self._joined_text(chunk, stripped)
        self.add(chunk)
        if stripped:
            self.kind = Kind.TEXT

    def pause(self) -> None:
        """Leave a pause before whatever is said next."""
        self._is_pause_due = True

    def add(self, piece: str) -> None:
        """Go on with what was said last, with nothing between."""
        if piece:
            self._out.append(piece)
            self.tail = (self.tail + piece)[-CONTEXT:]

    def strip_end(self) -> None:
        """Take the space at the end out of what was said."""
        while self._out:
            stripped = self._out[-1].rstrip()
            if stripped:
                self._out[-1] = stripped
                break
            self._out.pop()
        self.tail = self.tail.rstrip()

    def join_to(self) -> None:
        """Say "to" between what was said and what comes, as one range."""
        self.add(self.to)
        self.kind = Kind.TEXT

    # Joining ---------------------------------------------------------------------------------

    def _make_pause(self, following: str) -> None:
        """Say the pause that is due, unless a mark stands there already."""
        self._is_pause_due = False
        self.kind = Kind.TEXT
        self.strip_end()
        if not self.tail or _PUNCTUATION.match(self.tail[-1]) or _PUNCTUATION.match(following):
            if self.tail and following[:1].isalnum() and self.tail[-1] in ",.;:!?":
                self.add(" ")
            return
        self.add(self.comma)

    def _joined_text(self, chunk: str, stripped: str) -> str:
        if not self.is_chinese:
            if chunk[0].isalnum() and self.tail[-1].isalnum():
                return " " + chunk
            word = _WORD_AT_START.match(stripped)
            if word and self.kind is Kind.NUMBER and word[0].lower() in ENGLISH_NUMBER_WORDS:
                return ", " + stripped
            return chunk
        if not stripped or not IS_HAN.match(self.tail[-1]):
            return chunk
        if stripped[0] in _CHINESE_MARK:
            return stripped
        if not IS_HAN.match(stripped):
            return chunk
        if _CLOCK_THEN_COUNT.match(stripped):
            # 八點一顆 would be heard as 8.1.
            return stripped[0] + "，" + stripped[1:].lstrip(" ")
        if _NUMERAL_AT_START.match(stripped) and (
            (_NUMERAL_AT_END.search(self.tail) and not _MINUTES_AT_START.match(stripped))
            or self.kind is Kind.QUANTITY
            or (self.kind is Kind.PHRASE and chunk != stripped)
        ):
            # After a number 半 and 一 would be heard as a part of it.
            return "，" + stripped
        return stripped

    def _join_chinese(self, words: str, kind: Kind) -> None:
        before = self.tail.rstrip()
        if not before:
            return
        last = before[-1]
        has_space = before != self.tail
        if (
            self._needs_comma(before, words, kind)
            and not _PUNCTUATION.match(last)
            and last not in "（「到"
        ):
            self.strip_end()
            self.add("，")
        elif "\n" in self.tail[len(before) :]:
            return
        elif has_space and IS_HAN.match(words) and (IS_HAN.match(last) or last in _CHINESE_MARK):
            self.strip_end()
        elif not has_space and last.isascii() and last.isalnum() and words[0].isascii():
            self.add(" ")

    def _needs_comma(self, before: str, words: str, kind: Kind) -> bool:
        """Whether Chinese words would be heard as one with those before them."""
        if (
            _NUMERAL_AT_START.match(words)
            and _NUMERAL_AT_END.search(before)
            and not (_CLOCK_AT_END.search(before) and self._is_minutes(words))
        ):
            return True
        if kind in _VALUES:
            return self.kind in (Kind.QUANTITY, Kind.PHRASE) or (
                self.kind is Kind.WORD and _NUMERAL_AT_END.search(before) is not None
            )
        if kind is Kind.PHRASE:
            last = before[-1]
            return (
                self.kind in (Kind.NUMBER, Kind.QUANTITY, Kind.PHRASE)
                or (last.isascii() and last.isalnum())
                or _MEASURE_AT_END.search(before) is not None
            )
        return False

    def _is_minutes(self, words: str) -> bool:
        return bool(
            _MINUTES_AT_START.match(words) or _MINUTES_NEXT.match(self.text, self.number_end)
        )

    def _join_english(self, words: str, kind: Kind) -> None:
        before = self.tail.rstrip()
        if not before:
            return
        last_word = before[before.rfind(" ") + 1 :].rpartition("-")[2].lower()
        if kind in _VALUES and (
            self.kind in (Kind.NUMBER, Kind.QUANTITY, Kind.PHRASE)
            or last_word in _ENGLISH_NUMBER_ENDS
        ):
            self.strip_end()
            self.add(", ")
        elif before == self.tail and (before[-1].isalnum() or before[-1] in ")%,;"):
            self.add(" ")
