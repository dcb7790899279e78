"""Numbers with what they measure: doses and units, shares, degrees, ages, money."""

from __future__ import annotations

import re
from functools import cache
from string import ascii_letters

from medbot_llm.speech.spoken_form.patterns import BEHIND_NUMBER
from medbot_llm.speech.spoken_form.patterns import COUNTED
from medbot_llm.speech.spoken_form.patterns import FROM_TO
from medbot_llm.speech.spoken_form.patterns import GAP
from medbot_llm.speech.spoken_form.patterns import NO_CODE
from medbot_llm.speech.spoken_form.patterns import NO_LETTER
from medbot_llm.speech.spoken_form.patterns import NUMBER
from medbot_llm.speech.spoken_form.patterns import range_of
from medbot_llm.speech.spoken_form.patterns import rises
from medbot_llm.speech.spoken_form.reader import Kind
from medbot_llm.speech.spoken_form.reader import Reader
from medbot_llm.speech.spoken_form.rule import rule
from medbot_llm.speech.spoken_table import Unit
from medbot_llm.speech.spoken_table import UnitKind
from medbot_llm.speech.spoken_table import spoken_table

_PER_HAN = (
    "小時|小时|分鐘|分钟|公斤|毫升|公升|天|日|次|分|週|周|月|升|顆|颗|錠|锭|片|包|支|瓶|劑|剂|噴|喷"
    "|滴|匙"
)
_PER_HAN_WORDS = {"分": ("分鐘", "分钟"), "月": ("個月", "个月")}
_ADJECTIVE_BEFORE = re.compile(
    r"[ ]?(?:[a-z]+-release |film-coated |oral |scored )?(?:tablet|tab|capsule|cap|pill|dose|vial|"
    r"patch|syringe|suppositor|sachet|ampoule|strip|bag|bottle|cup|glass|course|infusion)",
    re.IGNORECASE,
)
_MONEY = {
    "$": ("元", "元", " dollars"),
    "NT$": ("元", "元", " dollars"),
    "US$": ("美元", "美元", " US dollars"),
    "€": ("歐元", "欧元", " euros"),
    "£": ("英鎊", "英镑", " pounds"),
    "¥": ("元", "元", " yuan"),
    "￥": ("元", "元", " yuan"),
}


# Units ---------------------------------------------------------------------------------------


def _unit() -> str:
    return rf"(?P<unit>{spoken_table().unit_pattern})(?![A-Za-z0-9²³])"


@cache
def _unit_pattern() -> re.Pattern[str]:
    return re.compile(rf"{GAP}-?{_unit()}")


@cache
def quantity_pattern() -> re.Pattern[str]:
    """A number with its unit, or from … to."""
    return re.compile(rf"{FROM_TO}{GAP}(?P<hyphen>-?){_unit()}")


@cache
def _per_pattern() -> re.Pattern[str]:
    return re.compile(
        rf"(?:{GAP}/{GAP}|[ ]per[ ](?=[a-z]))(?:(?P<number>{NUMBER}){GAP})?"
        rf"(?:{_unit()}|(?P<han>{_PER_HAN}))"
    )


def unit_at(reader: Reader, place: int) -> tuple[Unit, int] | None:
    """The unit that stands behind a number, and where it ends."""
    found = _unit_pattern().match(reader.text, place)
    unit = reader.table.unit(found["unit"]) if found else None
    return (unit, found.end()) if found and unit else None


@rule(quantity_pattern, behind=ascii_letters + "µμ" + BEHIND_NUMBER)
def quantity(reader: Reader, found: re.Match[str]) -> int | None:
    """500 mg, 5-10 mL, 250 mg/5 mL, 10 mg/kg/day."""
    first, second = range_of(found)
    unit = reader.table.unit(found["unit"])
    if unit is None or (second is not None and not rises(first, second)):
        return None
    is_adjective = bool(found["hyphen"])
    return say_quantity(reader, first, second, unit, found.end(), is_adjective=is_adjective)


def say_quantity(
    reader: Reader,
    first: str,
    second: str | None,
    unit: Unit,
    end: int,
    *,
    is_adjective: bool = False,
) -> int:
    """Say a number, or from … to, with its unit and its shares.

    Args:
        end: Where the unit ends.
        is_adjective: Whether it stands before what it measures, so that its unit is one: a 500
            milligram tablet.

    Returns:
        Where the last share ends.
    """
    shares, end = _shares(reader, end)
    number = reader.range(first, second, counts=True)
    if reader.is_chinese:
        # The inner share is said last: 每天每公斤十毫克.
        share = "".join(reversed(shares))
        reader.say(share + number + unit.chinese[reader.language], Kind.QUANTITY)
        return end
    one, many = unit.english
    is_one = second is None and first.replace(",", "") in ("1", "1.0")
    is_adjective = is_adjective or (
        unit.kind is not UnitKind.COUNT
        and not shares
        and bool(_ADJECTIVE_BEFORE.match(reader.text, end))
    )
    name = one if is_one or is_adjective else many
    reader.say(f"{number} {name}{''.join(shares)}", Kind.QUANTITY)
    return end


def _shares(reader: Reader, end: int) -> tuple[list[str], int]:
    """What stands behind the slashes of 10 mg/kg/day, in words, and where it ends."""
    shares: list[str] = []
    while len(shares) < 4 and (found := _per_pattern().match(reader.text, end)):
        number = found["number"]
        name = _name_of_share(reader, found)
        if name is None:
            break
        amount = reader.number(number, counts=True) + reader.gap if number else ""
        shares.append(("每" if reader.is_chinese else " per ") + amount + name)
        end = found.end()
    return shares, end


def _name_of_share(reader: Reader, found: re.Match[str]) -> str | None:
    number, han = found["number"], found["han"]
    if han:
        return reader.script(*_PER_HAN_WORDS.get(han, (han, han))) if reader.is_chinese else None
    unit = reader.table.unit(found["unit"])
    if unit is None or (number and unit.kind is UnitKind.MASS):
        return None
    if reader.is_chinese:
        return unit.chinese[reader.language]
    one, many = unit.english
    return many if number and number != "1" else one


@rule(rf"{FROM_TO}{GAP}(?P<measure>{COUNTED})(?={GAP}/)")
def quantity_in_han(reader: Reader, found: re.Match[str]) -> int | None:
    """3 次/天, 60 次/分: the share is said first."""
    if not reader.is_chinese:
        return None
    shares, end = _shares(reader, found.end())
    if not shares:
        return None
    words = reader.range(*range_of(found), counts=True) + found["measure"]
    reader.say("".join(reversed(shares)) + words, Kind.QUANTITY)
    return end


@rule(rf"({NUMBER}){GAP}#{NO_CODE}", behind="#.,")
def tablets_sign(reader: Reader, found: re.Match[str]) -> int:
    """1#, as charts in Taiwan count tablets."""
    unit = reader.table.unit("tablet")
    assert unit is not None
    return say_quantity(reader, found[1], None, unit, found.end())


@rule(r"per[ ]([A-Za-zµμ0-9²]{1,8})" + NO_LETTER)
def per_unit(reader: Reader, found: re.Match[str]) -> int | None:
    """The "per kg" of 5 mg per kg."""
    unit = reader.table.unit(found[1])
    if unit is None:
        return None
    if reader.is_chinese:
        reader.say("每" + unit.chinese[reader.language], Kind.WORD)
    else:
        reader.say("per " + unit.english[0], Kind.WORD)
    return found.end()


@rule(rf"([A-Za-zµμ]{{2,6}}){NO_CODE}")
def lone_unit(reader: Reader, found: re.Match[str]) -> int | None:
    """A unit without a number: 以 mg 計算, mg/kg."""
    written = found[1]
    unit = reader.table.unit(written)
    if unit is None or written.casefold() not in reader.table.lone_units:
        return None
    if written[0].isupper() and written != "IU":
        return None
    shares, end = _shares(reader, found.end())
    name = unit.chinese[reader.language] if reader.is_chinese else unit.english[1]
    reader.say(name + "".join(shares), Kind.WORD)
    return end


lone_micro_unit = lone_unit.at(rf"([µμ][A-Za-z]{{1,4}}){NO_CODE}")


# Units with rules of their own ---------------------------------------------------------------


@rule(rf"{FROM_TO}{GAP}(?P<sign>[%‰])", behind="%‰" + BEHIND_NUMBER)
def percent(reader: Reader, found: re.Match[str]) -> int:
    """5%, 0.9‰."""
    words = reader.range(*range_of(found))
    is_thousand = found["sign"] == "‰"
    if reader.is_chinese:
        of = "千分之" if is_thousand else "百分之"
        words = of + ("百" if words == "一百" else words)
    else:
        words += " per thousand" if is_thousand else " percent"
    reader.say(words, Kind.QUANTITY)
    return found.end()


@rule(
    rf"{FROM_TO}{GAP}[°º˚]{GAP}(?P<scale>[CcFf]{NO_LETTER})?",
    behind="°º˚" + BEHIND_NUMBER,
)
def temperature(reader: Reader, found: re.Match[str]) -> int:
    """38.5 °C, 100°F, -4°."""
    first, second = range_of(found)
    scale = found["scale"]
    is_celsius = bool(scale) and scale in "Cc"
    if reader.is_chinese:
        below = "零下" if reader.is_negative else ""
        reader.minus_at = -1
        words = below + reader.range(first, second) + "度"
        if scale:
            name = reader.script(*(("攝氏", "摄氏") if is_celsius else ("華氏", "华氏")))
            words = words if reader.tail.rstrip(" ").endswith(name) else name + words
    else:
        is_one = first == "1" and second is None
        words = reader.range(first, second) + (" degree" if is_one else " degrees")
        if scale:
            words += " Celsius" if is_celsius else " Fahrenheit"
    reader.say(words, Kind.QUANTITY)
    return found.end()


@rule(rf"{FROM_TO}{GAP}(?:y/o|yo|Y/O){NO_LETTER}", behind="yY" + BEHIND_NUMBER)
def age(reader: Reader, found: re.Match[str]) -> int:
    """72 y/o."""
    first, second = range_of(found)
    is_one = first == "1" and second is None
    years = reader.pick("歲", "岁", " year old" if is_one else " years old")
    reader.say(reader.range(first, second, counts=True) + years, Kind.QUANTITY)
    return found.end()


@rule(rf"{FROM_TO}{GAP}(?:bpm|BPM){NO_LETTER}", behind="bB" + BEHIND_NUMBER)
def beats(reader: Reader, found: re.Match[str]) -> int:
    """72 bpm."""
    number = reader.range(*range_of(found), counts=True)
    words = reader.pick(f"每分鐘{number}下", f"每分钟{number}下", f"{number} beats per minute")
    reader.say(words, Kind.QUANTITY)
    return found.end()


_AMOUNT = r"[ ]?([0-9][0-9,]*(?:\.[0-9]+)?)"


@rule(rf"((?:NT|US)\$){_AMOUNT}")
def money(reader: Reader, found: re.Match[str]) -> int:
    """NT$100."""
    words = reader.number(found[2], counts=True) + reader.pick(*_MONEY[found[1]])
    reader.say(words, Kind.QUANTITY)
    return found.end()


money_sign = money.at(rf"([$€£¥￥]){_AMOUNT}")
