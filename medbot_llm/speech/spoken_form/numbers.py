"""Numbers that stand by themselves: counted, ordered, compared, from … to."""

from __future__ import annotations

import re

from medbot_llm.speech.number_words import english_ordinal
from medbot_llm.speech.number_words import english_year
from medbot_llm.speech.spoken_form.identifiers import is_called
from medbot_llm.speech.spoken_form.identifiers import is_identifier
from medbot_llm.speech.spoken_form.identifiers import is_telephone_range
from medbot_llm.speech.spoken_form.identifiers import telephone
from medbot_llm.speech.spoken_form.patterns import COUNTED
from medbot_llm.speech.spoken_form.patterns import FROM_TO
from medbot_llm.speech.spoken_form.patterns import GAP
from medbot_llm.speech.spoken_form.patterns import NO_DIGIT
from medbot_llm.speech.spoken_form.patterns import NO_LETTER
from medbot_llm.speech.spoken_form.patterns import range_of
from medbot_llm.speech.spoken_form.patterns import rises
from medbot_llm.speech.spoken_form.quantities import say_quantity
from medbot_llm.speech.spoken_form.quantities import unit_at
from medbot_llm.speech.spoken_form.reader import Kind
from medbot_llm.speech.spoken_form.reader import Reader
from medbot_llm.speech.spoken_form.rule import rule

_IS_COUNTED = re.compile(rf"{GAP}(?:{COUNTED})")
_DAY_COUNTED = re.compile(r"日(?:一次|後|后|內|内|份|量)")
_EVERY_BEFORE = re.compile(r"[每隔共連连達达](?:續|续)?[ ]?$")
_ORDER_BEFORE = re.compile(r"[第初][ \t]?$")
_MULTIPLIER = re.compile(rf"{GAP}([百千萬万億亿]{{1,2}})")
_YEAR_NEXT = re.compile(rf"{GAP}年")
_YEAR_BEFORE = re.compile(r"\b(?:in|since|year|until|from|during)[ ]$", re.IGNORECASE)


@rule(rf"0,([0-9]{{1,2}}){NO_DIGIT}(?!,)", behind=",")
def decimal_comma(reader: Reader, found: re.Match[str]) -> int:
    """0,5 mg, as much of Europe writes it."""
    digits = f"0.{found[1]}"
    if measured := unit_at(reader, found.end()):
        return say_quantity(reader, digits, None, *measured)
    reader.say(reader.number(digits), Kind.NUMBER)
    return found.end()


@rule(r"[0-9]+(?:\.[0-9]+){2,}", behind=".")
def version(reader: Reader, found: re.Match[str]) -> int:
    """1.2.3."""
    point = reader.pick("點", "点", " point ")
    reader.say(point.join(map(reader.number, found[0].split("."))), Kind.NUMBER)
    return found.end()


@rule(rf"([0-9]+):([0-9]+){NO_DIGIT}", behind=":")
def ratio(reader: Reader, found: re.Match[str]) -> int:
    """1:1000."""
    between = "比" if reader.is_chinese else " to "
    reader.say(reader.number(found[1]) + between + reader.number(found[2]), Kind.NUMBER)
    return found.end()


@rule(rf"[0-9]{{1,4}}(?:-[0-9]{{1,4}}){{2,9}}{NO_DIGIT}", behind="-")
def scheme(reader: Reader, found: re.Match[str]) -> int:
    """1-0-1, or any row of numbers: each by itself."""
    reader.say(reader.comma.join(map(reader.number, found[0].split("-"))), Kind.NUMBER)
    return found.end()


@rule(rf"([0-9]+)(?:st|nd|rd|th|ST|ND|RD|TH){NO_LETTER}", behind="snrtSNRT")
def ordinal(reader: Reader, found: re.Match[str]) -> int:
    """2nd."""
    if reader.is_chinese:
        prefix = "" if _ORDER_BEFORE.search(reader.before) else "第"
        reader.say(prefix + reader.number(found[1]), Kind.NUMBER)
    elif len(found[1]) < 10:
        reader.say(english_ordinal(int(found[1])), Kind.WORD)
    else:
        reader.say(reader.number(found[1]), Kind.NUMBER)
    return found.end()


@rule(r"([0-9]{1,4})-(?=[a-z]{3,})", behind="-")
def number_with_word(reader: Reader, found: re.Match[str]) -> int | None:
    """10-day, 3-pack: said without the hyphen."""
    if reader.is_chinese:
        return None
    reader.say(reader.number(found[1]), Kind.NUMBER)
    reader.add(" ")
    return found.end()


@rule(r"([0-9]{1,2})(?:\.(?![0-9])|[)）])[ ]?(?=\S)", behind=".)）")
def list_number(reader: Reader, found: re.Match[str]) -> int | None:
    """The number of an item of a list, at the start of a line."""
    if not reader.is_line_start(found.start()):
        return None
    reader.say(reader.number(found[1]), Kind.NUMBER)
    reader.pause()
    return found.end()


@rule(FROM_TO)
def number_or_range(reader: Reader, found: re.Match[str]) -> int | None:
    """A number by itself, or from … to."""
    first, second = range_of(found)
    end = found.end()
    if second is not None and is_telephone_range(reader, second):
        return telephone.read(reader, found)
    if second is not None and not rises(first, second):
        second, end = None, found.end("first")
    is_counted = bool(_IS_COUNTED.match(reader.text, end))
    if second is None:
        singly = _read_singly(reader, first, end, is_counted=is_counted)
        if singly is not None:
            reader.say(singly, Kind.NUMBER)
            return end
    counts = (
        is_counted
        or bool(_DAY_COUNTED.match(reader.text, end))
        or bool(_EVERY_BEFORE.search(reader.before))
    ) and not _ORDER_BEFORE.search(reader.before)
    reader.number_end = end
    words = reader.range(first, second, counts=counts)
    multiplier = _MULTIPLIER.match(reader.text, end) if reader.is_chinese else None
    if multiplier:
        words, end = words + multiplier[1], multiplier.end()
    reader.say(words, Kind.NUMBER)
    return end


def _read_singly(reader: Reader, digits: str, end: int, *, is_counted: bool) -> str | None:
    """The words of a year and of a number that is read digit by digit, None for any other."""
    if not digits.isdigit():
        return None
    length = len(digits)
    if length == 4 and _YEAR_NEXT.match(reader.text, end) and "1000" < digits < "2200":
        return reader.digits(digits) if reader.is_chinese else english_year(int(digits))
    if length >= 3 and not is_counted:
        if is_called(reader, digits, end):
            reader.called_until = end
            return reader.digits(digits)
        is_long = length >= 7 and not digits.endswith("000")
        if is_long or is_identifier(reader):
            return reader.digits(digits)
    if length == 4 and not reader.is_chinese and _YEAR_BEFORE.search(reader.before):
        return english_year(int(digits)) if "1900" <= digits < "2100" else None
    return None
