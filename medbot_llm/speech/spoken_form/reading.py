"""The way through a text, and the order in which the rules are tried.

The order is what counts where two rules fit: a date is tried before a range, an abbreviation
before a word.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Iterable
from functools import cache
from functools import lru_cache

from medbot_llm.domain import Language
from medbot_llm.speech.plain_letters import plain
from medbot_llm.speech.spoken_form import dates_and_times
from medbot_llm.speech.spoken_form import identifiers
from medbot_llm.speech.spoken_form import numbers
from medbot_llm.speech.spoken_form import prescriptions
from medbot_llm.speech.spoken_form import quantities
from medbot_llm.speech.spoken_form import signs
from medbot_llm.speech.spoken_form import slashes
from medbot_llm.speech.spoken_form import words
from medbot_llm.speech.spoken_form.patterns import GAP
from medbot_llm.speech.spoken_form.reader import Reader
from medbot_llm.speech.spoken_form.rule import Read
from medbot_llm.speech.spoken_form.rule import Rule

_AT_DIGIT = (
    numbers.decimal_comma,
    dates_and_times.iso_date,
    numbers.version,
    dates_and_times.date_with_year_last,
    identifiers.telephone,
    dates_and_times.clock_time,
    dates_and_times.hour_with_half_day,
    numbers.ratio,
    slashes.mixed_fraction,
    slashes.combination,
    slashes.slash,
    numbers.scheme,
    dates_and_times.named_date,
    numbers.ordinal,
    quantities.tablets_sign,
    quantities.percent,
    quantities.temperature,
    quantities.age,
    quantities.beats,
    quantities.quantity,
    quantities.quantity_in_han,
    numbers.number_with_word,
    identifiers.room,
    identifiers.number_and_letter,
    words.code_at_digit,
    numbers.list_number,
    numbers.number_or_range,
)
_AT_LETTER = (
    identifiers.web_address,
    identifiers.mail_address,
    identifiers.web_address_without_scheme,
    dates_and_times.named_date_month_first,
    dates_and_times.weekday_name,
    prescriptions.every_hours,
    prescriptions.days_of_week,
    prescriptions.compound,
    words.dotted,
    words.short_form,
    words.short_form_before_text,
    words.with_before_word,
    dates_and_times.half_day_first,
    identifiers.named_room,
    identifiers.number_abbreviated,
    prescriptions.for_days,
    prescriptions.times,
    words.two_letters,
    quantities.per_unit,
    words.roman,
    prescriptions.abbreviation,
    words.letters_before_quantity,
    words.letters_and_number,
    words.code,
    quantities.lone_unit,
    quantities.money,
    words.plural_in_brackets,
    words.word,
)
_AT_SIGN = (
    signs.bullet,
    identifiers.telephone_with_area,
    signs.minus,
    signs.from_to,
    quantities.money_sign,
    identifiers.number_mark,
    signs.power,
    prescriptions.for_days_with_sign,
    prescriptions.times_with_star,
    signs.parting,
    signs.comparison,
    signs.circled,
    signs.slash_sign,
    signs.dash,
    signs.middle_dot,
    signs.percent_sign,
    signs.degree_sign,
    quantities.lone_micro_unit,
    signs.dropped,
)

_START = re.compile(
    r"(?<![0-9.])\.(?=[0-9])|[0-9]|(?<![A-Za-z])[A-Za-z]|[µμ]"
    r"|[-–—−~～〜+±<>≤≥≦≧=≠≈≒×÷*/&@#$€£¥￥%‰°º˚^_`|\\(){}\[\]（）【】〔〕［］｛｝"
    r"→⇒➔➜←↑↓·‧・•●○■□▪◦◆◇★☆※™®©†‡§¶①-⑳⓪❶-❿√✓✔✗✘]"
)
"""Where a rule may fit."""
_DIGITS_AND_SPACE = re.compile(rf"[0-9]+{GAP}")

_Match = Callable[[str, int], "re.Match[str] | None"]
_Ready = list[tuple[_Match, Read]]


def spoken_form(text: str, language: Language) -> str:
    """Give the text in words that an engine for speech reads rightly.

    Args:
        text: A sentence or several, without marks for the eye (`dialogue.spoken.clean`); such
            marks are dropped all the same. Never raises, whatever the text.
        language: Decides the words. Chinese comes out in the script of `language`'s words, while
            the characters of the text stay as they are, and so do Latin names.

    Returns:
        The same text where nothing in it has to change.
    """
    reader = Reader(plain(text), language)
    text = reader.text
    place = 0
    while found := _START.search(text, place):
        if found.start() > place:
            reader.pass_on(text[place : found.start()])
        place = _read_at(reader, found.start())
    if place < len(text):
        reader.pass_on(text[place:])
    return reader.spoken()


def _read_at(reader: Reader, start: int) -> int:
    """Say what stands at a place and give where it ends."""
    text = reader.text
    reader.place = start
    reader.number_end = len(text)
    for match, read in _rules_at(text, start):
        found = match(text, start)
        if found and (end := read(reader, found)) is not None:
            return end
    reader.pass_on(text[start])
    return start + 1


def _rules_at(text: str, start: int) -> _Ready:
    char = text[start]
    if char == ".":
        return _digit_rules()
    if digits := _DIGITS_AND_SPACE.match(text, start):
        return _digit_rules_before(text[digits.end() : digits.end() + 1])
    if char.isalpha() and char not in "µμ":
        return _letter_rules()
    return _sign_rules()


def _ready(rules: Iterable[Rule]) -> _Ready:
    return [(_compiled(rule).match, rule.read) for rule in rules]


@cache
def _compiled(rule: Rule) -> re.Pattern[str]:
    return re.compile(rule.pattern) if isinstance(rule.pattern, str) else rule.pattern()


@cache
def _digit_rules() -> _Ready:
    return _ready(_AT_DIGIT)


@lru_cache(1024)
def _digit_rules_before(char: str) -> _Ready:
    """The rules for a number, by the character that stands behind it; "" is the end."""
    return _ready(rule for rule in _AT_DIGIT if rule.fits_before(char))


@cache
def _letter_rules() -> _Ready:
    return _ready(_AT_LETTER)


@cache
def _sign_rules() -> _Ready:
    return _ready(_AT_SIGN)
