"""Two numbers with a slash: a fraction, a score, a blood pressure, a date, or two medicines."""

from __future__ import annotations

import re

from medbot_llm.speech.number_words import english_ordinal
from medbot_llm.speech.spoken_form.dates_and_times import is_date
from medbot_llm.speech.spoken_form.dates_and_times import is_dated
from medbot_llm.speech.spoken_form.dates_and_times import say_date
from medbot_llm.speech.spoken_form.dates_and_times import weekday_behind
from medbot_llm.speech.spoken_form.patterns import GAP
from medbot_llm.speech.spoken_form.patterns import NO_DIGIT
from medbot_llm.speech.spoken_form.patterns import NUMBER
from medbot_llm.speech.spoken_form.quantities import unit_at
from medbot_llm.speech.spoken_form.reader import Kind
from medbot_llm.speech.spoken_form.reader import Reader
from medbot_llm.speech.spoken_form.rule import rule
from medbot_llm.speech.spoken_table import UnitKind
from medbot_llm.speech.spoken_table import spoken_table

_COMMON_FRACTIONS = frozenset({(1, 2), (1, 3), (2, 3), (1, 4), (3, 4)})
_WRITTEN_FRACTIONS = frozenset(f"{above}/{below}" for above, below in _COMMON_FRACTIONS)
_MEASURE_NEXT = re.compile(
    rf"{GAP}(?:個|个|錠|锭|顆|颗|片|粒|包|匙|茶匙|湯匙|汤匙|杯|瓶|滴|支|劑|剂|天|小時|小时|毫升|毫克|單位|单位|份|量|碗)"
)
_HALF_NEXT = re.compile(rf"{GAP}(錠|锭|顆|颗|片|粒|包|匙|杯|瓶|滴|天)(?!劑|剂)")
_ARTICLE_NEXT = re.compile(r"[ ]an?[ ]")
_PAIN_BEFORE = re.compile(
    r"(?:疼痛|痛|分數|分数|評分|评分|pain|score|scale|NRS|VAS|level)"
    r"[ :：是為为約about isof指數数]*$",
    re.IGNORECASE,
)
_POINTS = re.compile(rf"{GAP}分(?![之鐘钟])")
_MMHG = re.compile(rf"{GAP}(?:mmHg|毫米汞柱)", re.IGNORECASE)


@rule(
    rf"([0-9]{{1,3}})(?:[ ]{{1,2}}|又[ ]?|-)([0-9])/([0-9]{{1,2}}){NO_DIGIT}(?!/)",
    behind="-0123456789又",
)
def mixed_fraction(reader: Reader, found: re.Match[str]) -> int | None:
    """1 1/2, 1又1/2."""
    numerator, denominator = int(found[2]), int(found[3])
    if not 0 < numerator < denominator <= 10:
        return None
    return _say_fraction(reader, found[1], numerator, denominator, found.end())


def _combination_pattern() -> re.Pattern[str]:
    return re.compile(
        rf"(?P<amounts>{NUMBER}(?:/{NUMBER}){{1,3}}){GAP}(?P<unit>{spoken_table().unit_pattern})"
        r"(?![A-Za-z0-9/])"
    )


@rule(_combination_pattern, behind="/.,")
def combination(reader: Reader, found: re.Match[str]) -> int | None:
    """5/160/12.5 mg: several medicines in one tablet, each with the unit."""
    unit = reader.table.unit(found["unit"])
    if unit is None or unit.kind is not UnitKind.MASS or found["amounts"] in _WRITTEN_FRACTIONS:
        return None
    one, many = unit.english
    for number, amount in enumerate(found["amounts"].split("/")):
        if number:
            reader.pause()
        words = reader.number(amount, counts=True)
        if reader.is_chinese:
            words += unit.chinese[reader.language]
        else:
            words += " " + (one if amount == "1" else many)
        reader.say(words, Kind.QUANTITY)
    return found.end()


@rule(rf"([0-9]{{1,4}})/([0-9]{{1,4}}){NO_DIGIT}(?!/|\.[0-9])", behind="/")
def slash(reader: Reader, found: re.Match[str]) -> int | None:
    """1/2, 8/10, 120/80, 11/26: what it is shows in the numbers and in what stands around."""
    first, second = int(found[1]), int(found[2])
    end = found.end()
    if reader.char_at(found.start() - 1) == "/":
        return None
    measured = unit_at(reader, end)
    is_proper = 0 < first < second <= 10
    is_common = (first, second) in _COMMON_FRACTIONS
    if _PAIN_BEFORE.search(reader.before) and second in (5, 10, 100) and first <= second:
        return _say_score(reader, first, second, end)
    if measured and (is_common or (is_proper and measured[0].kind is not UnitKind.MASS)):
        return _say_fraction(reader, "", first, second, end)
    if is_proper and (
        _MEASURE_NEXT.match(reader.text, end) or (found[0] == "1/2" and not is_dated(reader, end))
    ):
        return _say_fraction(reader, "", first, second, end)
    if 60 <= first <= 300 and 30 <= second <= 200 and first > second:
        return _say_blood_pressure(reader, found)
    if is_date(first, second) and (not is_common or is_dated(reader, end)):
        say_date(reader, "", first, second)
        return weekday_behind(reader, end)
    if is_common:
        return _say_fraction(reader, "", first, second, end)
    reader.say(_over(reader, found), Kind.NUMBER)
    return end


def _over(reader: Reader, found: re.Match[str]) -> str:
    over = "，" if reader.is_chinese else " over "
    return reader.number(found[1]) + over + reader.number(found[2])


def _say_blood_pressure(reader: Reader, found: re.Match[str]) -> int:
    words = _over(reader, found)
    unit = _MMHG.match(reader.text, found.end())
    if unit is None:
        reader.say(words, Kind.NUMBER)
        return found.end()
    unit_words = "毫米汞柱" if reader.is_chinese else " millimeters of mercury"
    reader.say(words + unit_words, Kind.QUANTITY)
    return unit.end()


def _say_score(reader: Reader, score: int, full: int, end: int) -> int:
    """Five out of ten."""
    if not reader.is_chinese:
        words = f"{reader.number(str(score))} out of {reader.number(str(full))}"
        reader.say(words, Kind.QUANTITY)
        return end
    points = reader.number(str(score), counts=True)
    full_points = reader.script("滿分", "满分") + reader.number(str(full))
    reader.say(f"{points}分，{full_points}分", Kind.QUANTITY)
    unit = _POINTS.match(reader.text, end)
    return unit.end() if unit else end


# Fractions -----------------------------------------------------------------------------------


def _say_fraction(reader: Reader, whole: str, numerator: int, denominator: int, end: int) -> int:
    """Say a fraction with its unit; `whole` is what stands before it, or "".

    Returns:
        Where the unit ends, or `end` where there is none.
    """
    say = _chinese_fraction if reader.is_chinese else _english_fraction
    words, end = say(reader, whole, numerator, denominator, end)
    reader.say(words, Kind.QUANTITY)
    return end


def _english_fraction(
    reader: Reader, whole: str, numerator: int, denominator: int, end: int
) -> tuple[str, int]:
    measured = unit_at(reader, end)
    if (numerator, denominator) == (1, 2):
        is_half_a = not whole and _ARTICLE_NEXT.match(reader.text, end)
        words = f"{reader.number(whole)} and a half" if whole else "one half"
        words = "half" if is_half_a else words
    else:
        part = "quarter" if denominator == 4 else english_ordinal(denominator)
        words = f"{reader.number(str(numerator))} {part}{'s' if numerator > 1 else ''}"
        if whole:
            words = f"{reader.number(whole)} and {words}"
    if measured:
        unit, end = measured
        one, many = unit.english
        if whole:
            words += f" {many}"
        else:
            article = "an" if one[0] in "aeio" else "a"
            words = "half" if words == "one half" else f"{words} of"
            words += f" {article} {one}"
    return words, end


def _chinese_fraction(
    reader: Reader, whole: str, numerator: int, denominator: int, end: int
) -> tuple[str, int]:
    is_half = (numerator, denominator) == (1, 2)
    name = ""
    if measured := unit_at(reader, end):
        unit, end = measured
        name = unit.chinese[reader.language]
    elif is_half and (han := _HALF_NEXT.match(reader.text, end)):
        name, end = han[1], han.end()
    if is_half and name and whole:
        words = f"{reader.number(whole, counts=True)}{name[0]}半{name[1:]}"
        if len(name) > 1 and name[0] not in "顆粒片枚":
            words = f"{reader.number(whole)}又二分之一{name}"
    elif is_half and not whole and (name or _MEASURE_NEXT.match(reader.text, end)):
        words = f"半{name}"
    else:
        part = f"{reader.number(str(denominator))}分之{reader.number(str(numerator))}"
        words = (f"{reader.number(whole)}又{part}" if whole else part) + name
    return words, end
