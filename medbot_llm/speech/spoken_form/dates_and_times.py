"""Dates, days of the week and times of the day."""

from __future__ import annotations

import re

from medbot_llm.speech.number_words import english_ordinal
from medbot_llm.speech.number_words import english_year
from medbot_llm.speech.spoken_form.patterns import DASH
from medbot_llm.speech.spoken_form.patterns import END_OF_SENTENCE
from medbot_llm.speech.spoken_form.patterns import GAP
from medbot_llm.speech.spoken_form.patterns import NO_DIGIT
from medbot_llm.speech.spoken_form.patterns import NO_LETTER
from medbot_llm.speech.spoken_form.quantities import quantity_pattern
from medbot_llm.speech.spoken_form.reader import Kind
from medbot_llm.speech.spoken_form.reader import Reader
from medbot_llm.speech.spoken_form.rule import rule

_MONTH_NAMES = (
    "January|February|March|April|May|June|July|August|September|October|November|December"
)
_MONTHS = _MONTH_NAMES.split("|")
_MONTH_OF = {month[:3]: number for number, month in enumerate(_MONTHS, start=1)}
_LAST_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MONTH_NAME = (
    rf"(?P<month>{_MONTH_NAMES}|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec){NO_LETTER}\.?"
)
_YEAR_BEHIND = rf"(?:,?[ ](?P<year>(?:19|20)[0-9]{{2}}){NO_DIGIT})?"
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WEEKDAY_OF = {day[:3]: day for day in WEEKDAYS}
_WEEKDAY_IN_BRACKETS = re.compile(rf"{GAP}[（(](?:週|周|星期)?([一二三四五六日])[)）]")
_DATE_BEFORE = re.compile(
    r"(?:在|於|于|自|從|从|到|至|日期|回診|复诊|今天|明天|昨天|\b(?:on|by|until|since|date|due|dated))"
    r"[ :：是]*$",
    re.IGNORECASE,
)
_DATE_AFTER = re.compile(
    rf"{GAP}(?:起|止|回診|复诊|上午|下午|早上|晚上|中午|[（(][一二三四五六日][)）])"
)
_RATIO_BEFORE = re.compile(r"(?:比例|比|稀釋|稀释|ratio|dilut\w{0,5})[ :：是為为of]*$", re.I)
_DAY_PART_BEFORE = re.compile(
    r"(?:早上|上午|中午|下午|傍晚|晚上|夜裡|夜里|夜間|夜间|凌晨|半夜|清晨|早晨|午夜|深夜|今晚|明早|今早|明晚|昨晚|每晚|早|晚)"
    r"[ ,，:：]{0,2}$"
)
_DAY_PARTS = (
    (1, "午夜"),
    (5, "凌晨"),
    (11, "早上"),
    (12, "上午"),
    (13, "中午"),
    (18, "下午"),
    (24, "晚上"),
)
"""The hour before which a part of the day ends."""
_AM_PM = rf"([AaPp]\.?[ ]?[Mm]{NO_LETTER}\.?)"


# Dates ---------------------------------------------------------------------------------------


def is_date(month: int, day: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= _LAST_DAYS[month - 1]


def is_dated(reader: Reader, end: int) -> bool:
    """Whether what stands around says that a number is a date."""
    return bool(_DATE_BEFORE.search(reader.before) or _DATE_AFTER.match(reader.text, end))


def say_date(reader: Reader, year: str, month: int, day: int) -> None:
    """Say a date; `year` is as written, "" for none, and three digits are of the republic."""
    if reader.is_chinese:
        words = ""
        if year:
            words = (reader.number(year) if len(year) == 3 else reader.digits(year)) + "年"
        words += f"{reader.number(str(month))}月{reader.number(str(day))}日"
    else:
        words = f"{_MONTHS[month - 1]} {english_ordinal(day)}"
        if year:
            words += f", {english_year(int(year))}"
    reader.say(words, Kind.QUANTITY)


def weekday_behind(reader: Reader, end: int) -> int:
    """Say the day of the week in brackets behind a date: 11/26（四）; give where it ends."""
    found = _WEEKDAY_IN_BRACKETS.match(reader.text, end)
    if not found or not reader.is_chinese:
        return end
    reader.add("星期" + found[1])
    reader.pause()
    return found.end()


@rule(
    rf"([0-9]{{3,4}})([-/.])([0-9]{{1,2}})\2([0-9]{{1,2}}){NO_DIGIT}(?:T(?=[0-9]))?",
    behind="-/.",
)
def iso_date(reader: Reader, found: re.Match[str]) -> int | None:
    """2026-11-26, 2026/11/26, 115.11.26."""
    year, month, day = int(found[1]), int(found[3]), int(found[4])
    if not is_date(month, day) or (len(found[1]) == 3 and not 90 <= year <= 199):
        return None
    say_date(reader, found[1], month, day)
    return weekday_behind(reader, found.end())


@rule(rf"([0-9]{{1,2}})/([0-9]{{1,2}})/([0-9]{{4}}){NO_DIGIT}", behind="/")
def date_with_year_last(reader: Reader, found: re.Match[str]) -> int | None:
    """11/26/2026, 26/11/2026."""
    month, day = int(found[1]), int(found[2])
    if month > 12:
        month, day = day, month
    if not is_date(month, day):
        return None
    say_date(reader, found[3], month, day)
    return found.end()


@rule(
    rf"(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?(?:[ ]of)?[ ]{_MONTH_NAME}{_YEAR_BEHIND}",
    behind="JFMASONDsnrto",
)
def named_date(reader: Reader, found: re.Match[str]) -> int | None:
    """26 November, 26th of Nov, 2026."""
    month, day = _MONTH_OF[found["month"][:3]], int(found["day"])
    is_quantity = quantity_pattern().match(reader.text, found.start("day"))
    if not is_date(month, day) or (is_quantity and not found["year"]):
        return None
    say_date(reader, found["year"] or "", month, day)
    return found.end()


named_date_month_first = named_date.at(
    rf"{_MONTH_NAME}[ ](?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?(?![0-9A-Za-z:%]|[.,][0-9])"
    + _YEAR_BEHIND
)


@rule(rf"(Mon|Tues?|Wed|Thu(?:rs?)?|Fri)(?:\.(?=[ ]))?{NO_LETTER}")
def weekday_name(reader: Reader, found: re.Match[str]) -> int | None:
    """Tues."""
    if reader.is_chinese:
        return None
    reader.say(_WEEKDAY_OF[found[1][:3]], Kind.WORD)
    return found.end()


# Times ---------------------------------------------------------------------------------------


@rule(
    rf"([0-9]{{1,2}})[:：]([0-9]{{2}})(?:[:：]([0-9]{{2}}))?{NO_DIGIT}(?:[ ]?{_AM_PM})?",
    behind=":：",
)
def clock_time(reader: Reader, found: re.Match[str]) -> int | None:
    """8:00, 08:30:15, 2:30 p.m."""
    hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
    if hour > 24 or minute > 59 or _RATIO_BEFORE.search(reader.before):
        return None
    is_24 = found[1][0] == "0" or hour > 12
    _say_time(reader, hour, minute, second, _half_day(found[4]), is_24=is_24)
    return _behind_half_day(reader, found, 4)


@rule(
    rf"([0-9]{{1,2}})(?:{GAP}{DASH}{GAP}([0-9]{{1,2}}))?[ ]?{_AM_PM}",
    behind="AaPp-–—−~～〜",
)
def hour_with_half_day(reader: Reader, found: re.Match[str]) -> int | None:
    """8 am, 2-4 p.m."""
    first, second = int(found[1]), found[2]
    last = int(second) if second else first
    half_day = _half_day(found[3])
    if not 1 <= first <= 12 or not 1 <= last <= 12 or half_day is None:
        return None
    if second and not reader.is_chinese:
        words = f"{reader.range(str(first), second)} {half_day[0].upper()} M"
        reader.say(words, Kind.QUANTITY)
    else:
        _say_time(reader, first, 0, 0, half_day, is_24=False)
        if second:
            reader.add("到" + _clock_words(reader, last, 0))
    return _behind_half_day(reader, found, 3)


@rule(rf"(AM|PM|am|pm)[ ]?([0-9]{{1,2}})[:：]([0-9]{{2}}){NO_DIGIT}")
def half_day_first(reader: Reader, found: re.Match[str]) -> int | None:
    """PM 8:00, as it is written in Taiwan."""
    hour, minute = int(found[2]), int(found[3])
    if hour > 24 or minute > 59:
        return None
    _say_time(reader, hour, minute, 0, found[1].lower(), is_24=False)
    return found.end()


def _half_day(written: str | None) -> str | None:
    """Give "am" or "pm"."""
    return written.replace(".", "").replace(" ", "").lower() if written else None


def _behind_half_day(reader: Reader, found: re.Match[str], group: int) -> int:
    """The end of a time; the full stop of "a.m." stays where it ends the sentence too."""
    written, end = found[group], found.end()
    if written and written.endswith(".") and END_OF_SENTENCE.match(reader.text, end):
        return end - 1
    return end


def _say_time(
    reader: Reader, hour: int, minute: int, second: int, half_day: str | None, *, is_24: bool
) -> None:
    if half_day == "pm" and hour < 12:
        hour += 12
    if half_day == "am" and hour == 12:
        hour = 0
    is_sure = is_24 or half_day is not None
    in_words = _chinese_time if reader.is_chinese else _english_time
    reader.say(in_words(reader, hour % 24, minute, second, is_sure=is_sure), Kind.QUANTITY)


def _shown(hour: int) -> int:
    """The hour on the face of a clock: 2 for 14, so that 下午 14:30 is 下午兩點半."""
    return hour if 1 <= hour <= 12 else abs(hour - 12)


def _chinese_time(reader: Reader, hour: int, minute: int, second: int, *, is_sure: bool) -> str:
    part = ""
    is_noon = hour == 12 and minute == 0
    if (is_sure or is_noon) and not _DAY_PART_BEFORE.search(reader.tail.rstrip(" ")):
        part = next(name for end, name in _DAY_PARTS if hour < end)
    words = part + _clock_words(reader, _shown(hour), minute)
    if second:
        if words.endswith("半"):
            words = words[:-1] + "三十分"
        words += f"{reader.number(str(second))}秒"
    return words


def _clock_words(reader: Reader, hour: int, minute: int) -> str:
    words = reader.number(str(hour), counts=True) + reader.script("點", "点")
    if minute == 0:
        return words
    if minute == 30:
        return words + "半"
    zero = "零" if minute < 10 else ""
    return f"{words}{zero}{reader.number(str(minute))}分"


def _english_time(reader: Reader, hour: int, minute: int, second: int, *, is_sure: bool) -> str:
    words = reader.number(str(_shown(hour)))
    if minute == 0 and second == 0 and hour in (0, 12):
        return f"{words} {'noon' if hour else 'midnight'}"
    if minute:
        words += f" {'oh ' if minute < 10 else ''}{reader.number(str(minute))}"
    elif not is_sure and not second:
        words += " o'clock"
    if second:
        words += f" and {reader.number(str(second))} seconds"
    if is_sure:
        words += " P M" if hour >= 12 else " A M"
    return words
