"""The abbreviations of prescriptions: how often, when, how, for how long."""

from __future__ import annotations

import re

from medbot_llm.speech.spoken_form.dates_and_times import WEEKDAYS
from medbot_llm.speech.spoken_form.patterns import DASH
from medbot_llm.speech.spoken_form.patterns import NO_CODE
from medbot_llm.speech.spoken_form.patterns import NO_LETTER
from medbot_llm.speech.spoken_form.reader import CONTEXT
from medbot_llm.speech.spoken_form.reader import Kind
from medbot_llm.speech.spoken_form.reader import Reader
from medbot_llm.speech.spoken_form.rule import rule
from medbot_llm.speech.spoken_table import Abbreviation
from medbot_llm.speech.spoken_table import UnitKind
from medbot_llm.speech.spoken_table import When

_NEAR = 30
"""Characters around an abbreviation in which a prescription or an eye gives it its meaning."""
_DOSED = "mg|mcg|g|ml|cc|iu|u|units?|tabs?|caps?|tablets?|capsules?|puffs?|drops?|meq|#"
_HOW_OFTEN = "QD|BID|TID|QID|QOD|Q[0-9]{1,2}H|PRN|QHS"
_PRESCRIPTION = re.compile(
    rf"[0-9][ ]?(?:{_DOSED}|amps?|vials?|patch){NO_LETTER}"
    rf"|(?<![A-Za-z])(?:{_HOW_OFTEN}|QN|STAT|PO){NO_LETTER}"
    r"|服|吃|注射|給藥|给药|用法|劑量|剂量|每次|每日|每天|一天|點滴|打|顆|颗|錠|锭|片|膠囊|胶囊|毫克|毫升|"
    r"\b(?:take|taken|dose|inject|tablets?|capsules?|given|give)\b",
    re.IGNORECASE,
)
_DOSE_JUST_BEFORE = re.compile(
    rf"(?:[0-9][ ]?(?:{_DOSED}|顆|颗|錠|锭|片|包)"
    rf"|(?<![A-Za-z])(?:{_HOW_OFTEN}|PO|SC|IV|IM|SL|AC|PC))"
    r"[ ,，/]{0,2}$",
    re.IGNORECASE,
)
_DOSE_JUST_AFTER = re.compile(
    rf"[ ,，/]{{1,2}}(?:{_HOW_OFTEN}|HS|STAT|PC|AC){NO_LETTER}", re.IGNORECASE
)
_EYE = re.compile(
    rf"滴(?!注)|眼|gtt|(?<![A-Za-z])(?:drops?|eyes?|ophth\w*|OU|OS){NO_LETTER}", re.IGNORECASE
)
_COMPOUND_PARTS = ("QID", "BID", "TID", "QHS", "PRN", "QD", "AC", "PC", "CC", "HS")
_CHINESE_WEEKDAYS = "一二三四五六日"
_EVERY = {
    "H": ("小時", "小时", "hour"),
    "D": ("天", "天", "day"),
    "W": ("週", "周", "week"),
    "M": ("個月", "个月", "month"),
}


@rule(
    rf"[Qq]([0-9]{{1,2}})(?:{DASH}([0-9]{{1,2}}))?([HhDdWwMm])"
    rf"(?:{NO_CODE}|(?<=[Hh])(?=PRN|prn))"
)
def every_hours(reader: Reader, found: re.Match[str]) -> int | None:
    """Q6H, q4-6h, Q2D, Q2W, Q3M; Q6HPRN."""
    first, second, unit = found[1], found[2], found[3].upper()
    if found[3] == "m" or int(first) == 0:
        return None
    number = reader.range(first, second, counts=True)
    is_one = number in ("一", "one")
    name = reader.pick(*_EVERY[unit])
    if reader.is_chinese:
        words = f"每{'' if is_one and unit == 'D' else number}{name}一次"
    else:
        words = f"every {name}" if is_one else f"every {number} {name}s"
    reader.say(words, Kind.PHRASE)
    return found.end()


@rule(rf"QW([1-7](?:,?[1-7]){{0,6}}){NO_CODE}")
def days_of_week(reader: Reader, found: re.Match[str]) -> int:
    """QW135, the code of the health insurance for Monday, Wednesday and Friday."""
    days = [int(char) - 1 for char in found[1] if char.isdigit()]
    if reader.is_chinese:
        names = "、".join(_CHINESE_WEEKDAYS[day] for day in days)
    else:
        names = ", ".join(WEEKDAYS[day] for day in days)
    reader.say(reader.pick("每週", "每周", "every ") + names, Kind.PHRASE)
    return found.end()


@rule(
    r"(?:(?:QD|BID|TID|QID|QHS|AC|PC|CC|HS|PRN){2,4}|(?:qd|bid|tid|qid)(?:ac|pc|hs|prn){1,2})"
    + NO_LETTER
)
def compound(reader: Reader, found: re.Match[str]) -> int | None:
    """BIDPC, TIDACHS, Q8HPRN: several abbreviations written as one."""
    rest = found[0].upper()
    parts = []
    while rest:
        part = next((p for p in _COMPOUND_PARTS if rest.startswith(p)), None)
        if part is None:
            return None
        parts.append(part)
        rest = rest[len(part) :]
    if len(parts) < 2:
        return None
    for part in parts:
        reader.say(reader.table.abbreviations[part][-1].words[reader.language], Kind.PHRASE)
    return found.end()


@rule(rf"[A-Za-z]{{2,6}}{NO_CODE}")
def abbreviation(reader: Reader, found: re.Match[str]) -> int | None:
    """BID, PO, PRN, where what stands around says that it is one: "bid" and "pc" are words too."""
    written = found[0]
    meanings = reader.table.abbreviations.get(written.upper())
    if meanings is None:
        return None
    is_in_dose = _is_in_dose(reader, *found.span())
    is_capital = written.isupper() or (written[0] in "Qq" and written[1:].isupper())
    # "tid" and "qhs" are no words.
    is_no_word = written[0] in "qQ" or written.lower() in ("tid", "prn")
    for meaning in meanings:
        if is_capital:
            fits = _fits(reader, meaning, *found.span(), is_in_dose=is_in_dose)
        else:
            fits = meaning.when is not When.EYE and (is_in_dose or is_no_word)
        if fits:
            reader.say(meaning.words[reader.language], Kind.PHRASE)
            return found.end()
    return None


def _is_in_dose(reader: Reader, start: int, end: int) -> bool:
    """Whether an amount or another abbreviation stands right beside it."""
    return bool(
        _DOSE_JUST_BEFORE.search(reader.text[max(0, start - CONTEXT) : start])
        or _DOSE_JUST_AFTER.match(reader.text, end)
        or reader.kind is Kind.PHRASE
    )


def _fits(
    reader: Reader, meaning: Abbreviation, start: int, end: int, *, is_in_dose: bool
) -> bool:
    """Whether an abbreviation in capitals has this meaning where it stands."""
    if meaning.when is When.ALWAYS:
        return True
    near = reader.text[max(0, start - _NEAR) : start] + " " + reader.text[end : end + _NEAR]
    if meaning.when is When.EYE:
        return bool(_EYE.search(near))
    return is_in_dose or bool(_PRESCRIPTION.search(near))


@rule(r"[xX][ ]?([0-9]{1,3})[ ]?(days?|d|D|天|日|weeks?|wks?|months?|doses?|times?)" + NO_LETTER)
def for_days(reader: Reader, found: re.Match[str]) -> int | None:
    """x3 days, x 7d."""
    unit = reader.table.unit("day" if found[2] in ("D", "天", "日") else found[2])
    if unit is None:
        return None
    number = reader.number(found[1], counts=True)
    if reader.is_chinese:
        reader.say(f"共{number}{unit.chinese[reader.language]}", Kind.PHRASE)
    else:
        one, many = unit.english
        start = "for " if unit.kind is UnitKind.TIME else ""
        reader.say(f"{start}{number} {one if found[1] == '1' else many}", Kind.QUANTITY)
    return found.end()


for_days_with_sign = for_days.at(r"×[ ]?([0-9]{1,3})[ ]?(天|日|days?|weeks?)")


@rule(r"[xX](?:(?=[ ]?[0-9])[ ]?|[ ](?=daily|a day|per day|weekly|a week))")
def times(reader: Reader, found: re.Match[str]) -> int:
    """2 x 500 mg; 3 x daily."""
    reader.say(reader.pick("乘以", "乘以", "times"), Kind.SIGN)
    reader.add(reader.gap)
    return found.end()


times_with_star = times.at(r"\*(?=[ ]?[0-9])(?<=[0-9A-Za-z]\*)[ ]?")
