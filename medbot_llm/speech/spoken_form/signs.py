"""Signs: what compares, joins and parts, and what is only for the eye."""

from __future__ import annotations

import re
import unicodedata

from medbot_llm.speech.spoken_form.patterns import DASH
from medbot_llm.speech.spoken_form.patterns import GAP
from medbot_llm.speech.spoken_form.patterns import IS_HAN
from medbot_llm.speech.spoken_form.patterns import NUMBER
from medbot_llm.speech.spoken_form.reader import Kind
from medbot_llm.speech.spoken_form.reader import Reader
from medbot_llm.speech.spoken_form.rule import rule

_AT_LEAST = ("大於或等於", "大于或等于", "greater than or equal to")
_AT_MOST = ("小於或等於", "小于或等于", "less than or equal to")
_ABOUT = ("約", "约", "about")
_PLUS_OR_MINUS = ("正負", "正负", "plus or minus")
_WORDS = {
    **dict.fromkeys(("≥", "≧", ">="), _AT_LEAST),
    **dict.fromkeys(("≤", "≦", "<="), _AT_MOST),
    ">": ("大於", "大于", "greater than"),
    "<": ("小於", "小于", "less than"),
    **dict.fromkeys("≈≒~～", _ABOUT),
    **dict.fromkeys(("±", "+/-", "+-"), _PLUS_OR_MINUS),
    "×": ("乘以", "乘以", "times"),
    "÷": ("除以", "除以", "divided by"),
    "=": ("等於", "等于", "equals"),
    "≠": ("不等於", "不等于", "is not equal to"),
    "+": ("加", "加", "plus"),
    "&": ("和", "和", "and"),
    "@": ("在", "在", "at"),
    "↑": ("升高", "升高", "up"),
    "↓": ("降低", "降低", "down"),
}
"""Taiwan, mainland China, English."""
_NUMBER_NEXT = re.compile(r"[ ]?[.0-9]")
_DEGREES_AHEAD = re.compile(rf"{NUMBER}{GAP}(?:°|度)")


# Before and between numbers ------------------------------------------------------------------


@rule(r"[-−](?=\.?[0-9])")
def minus(reader: Reader, found: re.Match[str]) -> int | None:
    """The minus of a number below zero."""
    before = reader.char_at(found.start() - 1) or " "
    is_minus = found[0] == "−" and not before.isdigit()
    if reader.kind in (Kind.NUMBER, Kind.QUANTITY) and not reader.tail.endswith(
        ("，", ", ", "\n")
    ):
        return None
    if (
        before in " \t\n([（：:「，、=<>≥≤±"
        or is_minus
        or (IS_HAN.match(before) and _DEGREES_AHEAD.match(reader.text, found.end()))
    ):
        reader.minus_at = found.end()
        return found.end()
    return None


@rule(rf"{GAP}({DASH}){GAP}(?=\.?[0-9])")
def from_to(reader: Reader, found: re.Match[str]) -> int | None:
    """The dash of 5 mg–10 mg, 8:00-10:00, 11/26~11/30."""
    if reader.kind is Kind.QUANTITY or (reader.kind is Kind.NUMBER and found[1] in "~～〜"):
        reader.strip_end()
        reader.join_to()
    elif reader.kind is Kind.NUMBER:
        reader.pause()
    else:
        return None
    return found.end()


@rule(r"(>=|<=|\+/-|\+-|[≥≧≤≦><≈≒~～±×÷=≠+&@↑↓])")
def comparison(reader: Reader, found: re.Match[str]) -> int | None:
    """≥ 140, <3, ±2, A + B."""
    end = found.end()
    if found[1] in "<>~～" and not _NUMBER_NEXT.match(reader.text, end):
        return None
    reader.say(reader.pick(*_WORDS[found[1]]), Kind.SIGN)
    if reader.char_at(end) not in ("", " "):
        reader.add(reader.gap)
    return end


@rule(r"\^([-]?[0-9]{1,4})")
def power(reader: Reader, found: re.Match[str]) -> int:
    """^9, ^-1."""
    sign = reader.minus if found[1].startswith("-") else ""
    exponent = sign + reader.number(found[1].lstrip("-"))
    reader.add(f"的{exponent}次方" if reader.is_chinese else f" to the power of {exponent}")
    reader.kind = Kind.QUANTITY
    return found.end()


@rule(r"[①-⑳⓪❶-❿]")
def circled(reader: Reader, found: re.Match[str]) -> int | None:
    """①."""
    value = unicodedata.numeric(found[0], None)
    if value is None or value != int(value):
        return None
    reader.pause()
    reader.say(reader.number(str(int(value))), Kind.NUMBER)
    reader.pause()
    return found.end()


@rule(r"[%‰]")
def percent_sign(reader: Reader, found: re.Match[str]) -> int:
    """A percent sign without a number."""
    reader.say(reader.pick("百分比", "百分比", "percent"), Kind.WORD)
    return found.end()


@rule(r"[°º˚]")
def degree_sign(reader: Reader, found: re.Match[str]) -> int:
    """A degree sign without a number."""
    reader.say(reader.pick("度", "度", "degrees"), Kind.WORD)
    return found.end()


# Between words -------------------------------------------------------------------------------


@rule(r"/")
def slash_sign(reader: Reader, found: re.Match[str]) -> int:
    """頭痛/發燒; any other is a pause."""
    both = reader.char_at(found.start() - 1), reader.char_at(found.end())
    if reader.kind is Kind.TEXT and reader.is_chinese and all(map(IS_HAN.match, both)):
        reader.add("、")
    else:
        reader.pause()
    return found.end()


@rule(r"[-–—−]+")
def dash(reader: Reader, found: re.Match[str]) -> int:
    """TID-QID, COVID-19, X-ray; any other is a pause."""
    before, after = reader.char_at(found.start() - 1), reader.char_at(found.end())
    is_hyphen = found[0] == "-" and before.isalnum() and after.isalnum()
    if reader.kind is Kind.PHRASE and after.isalpha():
        reader.join_to()
    elif is_hyphen and before.isascii() != after.isascii():
        reader.pass_on(reader.gap)
    elif is_hyphen and before.isascii() and not (before + after).isdigit():
        has_digit = before.isdigit() or after.isdigit()
        reader.pass_on(" " if has_digit or reader.kind is Kind.WORD else "-")
    else:
        reader.pause()
    return found.end()


@rule(r"->|=>|-->|[→⇒➔➜←(){}\[\]（）【】〔〕［］｛｝|•●]")
def parting(reader: Reader, found: re.Match[str]) -> int:
    """Arrows and brackets part what they stand between."""
    reader.pause()
    return found.end()


@rule(r"[·‧・]")
def middle_dot(reader: Reader, found: re.Match[str]) -> int:
    if reader.is_chinese:
        reader.pause()
    else:
        reader.pass_on(" ")
    return found.end()


# Only for the eye ----------------------------------------------------------------------------


@rule(r"[-*•●○■□▪◦◆◇★☆‧·–—※][ \t]+")
def bullet(reader: Reader, found: re.Match[str]) -> int | None:
    """The mark of an item of a list."""
    return found.end() if reader.is_line_start(found.start()) else None


@rule(r"[*_`^\\#$~～〜<>™®©†‡§¶○■□▪◦◆◇★☆※√✓✔✗✘€£¥￥]")
def dropped(reader: Reader, found: re.Match[str]) -> int:
    """What nobody says; a low line between words is a space."""
    if found[0] == "_" and reader.char_at(found.start() - 1).isalnum():
        reader.pass_on(" ")
    return found.end()
