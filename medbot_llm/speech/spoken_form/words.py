"""Latin words: short forms, letters that are spelled, names with digits, Roman numbers."""

from __future__ import annotations

import re
from string import ascii_letters

from medbot_llm.speech.spoken_form.patterns import END_OF_SENTENCE
from medbot_llm.speech.spoken_form.patterns import GAP
from medbot_llm.speech.spoken_form.patterns import HAN
from medbot_llm.speech.spoken_form.patterns import NO_CODE
from medbot_llm.speech.spoken_form.patterns import NO_LETTER
from medbot_llm.speech.spoken_form.patterns import NUMBER
from medbot_llm.speech.spoken_form.quantities import quantity_pattern
from medbot_llm.speech.spoken_form.reader import Kind
from medbot_llm.speech.spoken_form.reader import Reader
from medbot_llm.speech.spoken_form.rule import rule
from medbot_llm.speech.spoken_table import UnitKind

_TITLE = re.compile(rf"[Dd][Rr]\.{GAP}([{HAN}])(?![{HAN}])")
_ROMAN_BEFORE = re.compile(
    r"(?:第|\b(?:type|types|stage|grade|class|phase|factor|category|NYHA|level|part))[ ]?$", re.I
)
_ROMAN_AFTER = re.compile(rf"{GAP}(?:型|期|級|级|度|類|类|號|号)")
_ROMAN = {
    roman: value
    for value, roman in enumerate(
        ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"], start=1
    )
}
_MEASURED = frozenset(
    {"BP", "HR", "RR", "BT", "BW", "BH", "GCS", "MAP", "CVP", "NT", "PT", "SBP", "DBP"}
)
"""What is measured, so that the number behind it is one of its own: BP120, HR88."""
_TIME_OR_SLASH = re.compile(r"[0-9]{1,3}(?:[:：][0-9]{2}|/[0-9])")
_PERCENT_AHEAD = re.compile(rf"{NUMBER}{GAP}[%‰°]")
_ICD = re.compile(r"([0-9]{2})\.([0-9]+)")
_MIXED_INITIALISMS = frozenset({"pH", "mRNA", "eGFR", "HbA", "SpO", "PaO", "PaCO"})


# Short forms ---------------------------------------------------------------------------------


@rule(rf"(?:[A-Za-z]\.){{1,4}}[A-Za-z]{NO_LETTER}\.?")
def dotted(reader: Reader, found: re.Match[str]) -> int | None:
    """p.o., b.i.d.; U.S."""
    written, end = found[0], found.end()
    letters = written.replace(".", "").upper()
    if not reader.is_chinese and written.endswith(".") and END_OF_SENTENCE.match(reader.text, end):
        end -= 1
    meanings = reader.table.abbreviations.get(letters)
    if meanings:
        reader.say(meanings[-1].words[reader.language], Kind.PHRASE)
        return end
    if written.lower() in reader.table.short_forms or not written.isupper():
        return None
    reader.say(" ".join(letters), Kind.WORD)
    return end


@rule(r"[A-Za-z]{1,6}(?:[./][A-Za-z]{0,4})?\.?")
def short_form(reader: Reader, found: re.Match[str]) -> int | None:
    """e.g., w/o, etc., Dr."""
    written, end = found[0].casefold(), found.end()
    words = reader.table.short_forms.get(written)
    if words is None:
        return None
    if reader.is_chinese and (title := _TITLE.match(reader.text, found.start())):
        # Dr. 王 is 王醫師.
        reader.say(title[1] + reader.script("醫師", "医生"), Kind.WORD)
        return title.end()
    reader.say(words[reader.language], Kind.WORD)
    if reader.is_chinese:
        return end
    if written == "etc." and END_OF_SENTENCE.match(reader.text, end):
        return end - 1
    if written == "w/" and reader.char_at(end).isalpha():
        reader.add(" ")
    if written in ("e.g.", "i.e."):
        reader.pause()
    return end


short_form_before_text = short_form.at(r"[A-Za-z]{1,6}\.")
with_before_word = short_form.at(r"[Ww]/(?=[a-z])")


@rule(r"[A-Z]/[A-Z]" + NO_LETTER)
def two_letters(reader: Reader, found: re.Match[str]) -> int:
    """N/S."""
    reader.say(found[0].replace("/", " "), Kind.WORD)
    return found.end()


@rule(r"([A-Za-z]{3,20})\(s\)")
def plural_in_brackets(reader: Reader, found: re.Match[str]) -> int:
    """tablet(s)."""
    reader.pass_on(found[1] + "s")
    return found.end()


@rule(rf"[IVX]{{1,4}}{NO_LETTER}")
def roman(reader: Reader, found: re.Match[str]) -> int | None:
    """Type II, 第 III 期."""
    value = _ROMAN.get(found[0])
    if value is None:
        return None
    if not _ROMAN_BEFORE.search(reader.before):
        is_english_i = value == 1 and not reader.is_chinese
        if is_english_i or not _ROMAN_AFTER.match(reader.text, found.end()):
            return None
    reader.say(reader.number(str(value)), Kind.NUMBER)
    return found.end()


# Letters with digits -------------------------------------------------------------------------


@rule(r"([A-Za-z]{1,20})(-?)(?=[0-9])")
def letters_before_quantity(reader: Reader, found: re.Match[str]) -> int | None:
    """Panadol500mg, BP120/80: the number is one of its own."""
    letters, at = found[1], found.end()
    is_own = letters.upper() in _MEASURED or bool(
        _TIME_OR_SLASH.match(reader.text, at) or _PERCENT_AHEAD.match(reader.text, at)
    )
    ahead = quantity_pattern().match(reader.text, at)
    if ahead and len(letters) > 1:
        unit = reader.table.unit(ahead["unit"])
        is_tight = ahead.start("unit") == ahead.end("first")
        is_dose = unit is not None and unit.kind in (UnitKind.MASS, UnitKind.VOLUME)
        is_own = is_own or is_tight or (len(letters) >= 4 and is_dose)
    if not is_own:
        return None
    reader.say(_spelled(reader, letters), Kind.WORD)
    if found[2]:
        reader.add(" ")
    return at


@rule(rf"([A-Za-z]{{1,20}})(-?)([0-9]{{1,10}}(?:\.[0-9]+)?)([A-Za-z]?){NO_CODE}")
def letters_and_number(reader: Reader, found: re.Match[str]) -> int:
    """B12, COVID-19, GLP-1, L3, A123, E11.9."""
    letters, hyphen, digits, after = found[1], found[2], found[3], found[4]
    # A row of three digits behind capitals is a code; behind a word it is a number.
    is_code = digits.isdigit() and len(digits) >= 3 and len(letters) <= 3 and not hyphen
    icd = _ICD.fullmatch(digits) if len(letters) == 1 else None
    if icd:
        number = reader.pick("點", "点", " point ").join(map(reader.digits, icd.groups()))
    elif is_code:
        number = reader.digits(digits)
    else:
        number = reader.number(digits)
    words = _spelled(reader, letters) + (" " if hyphen else reader.gap) + number
    if after:
        words += reader.gap + after.upper()
    reader.say(words, Kind.WORD)
    return found.end()


@rule(r"[A-Za-z0-9]+")
def code(reader: Reader, found: re.Match[str]) -> int | None:
    """H1N1, A1c, 5FU: letters and digits in turn."""
    runs = re.findall(r"[A-Za-z]+|[0-9]+", found[0])
    if len(runs) < 2:
        return None
    words = [_spelled(reader, run) if run[0].isalpha() else reader.row(run) for run in runs]
    reader.say(reader.gap.join(words), Kind.WORD)
    return found.end()


code_at_digit = code.at(r"[0-9]+[A-Za-z][A-Za-z0-9]*", behind=ascii_letters)


# Words and initialisms -----------------------------------------------------------------------


@rule(r"[A-Za-z]+(?:['’][A-Za-z]+)*")
def word(reader: Reader, found: re.Match[str]) -> int:
    """Any other word: as it is written, or letter by letter."""
    if _is_initialism(reader, found[0]):
        reader.say(" ".join(found[0].upper()), Kind.WORD)
    else:
        reader.pass_on(found[0])
    return found.end()


def _spelled(reader: Reader, letters: str) -> str:
    """A group of letters beside a number: a word, or letter by letter."""
    if len(letters) == 1 or _is_initialism(reader, letters):
        return " ".join(letters.upper())
    return letters


def _is_initialism(reader: Reader, letters: str) -> bool:
    if letters.upper() in reader.table.initialisms and (letters.isupper() or len(letters) == 1):
        return True
    if letters in _MIXED_INITIALISMS:
        return True
    if len(letters) < 2 or not letters.isupper() or letters in reader.table.words:
        return False
    if not any(vowel in letters for vowel in "AEIOUY"):
        return len(letters) <= 5
    return len(letters) <= 3 and not reader.is_all_capitals
