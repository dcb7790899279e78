"""Numbers in the words of a language, from the digits as they are written.

The digits come as text and not as a float, so that nothing is rounded and "0.50" keeps its last
zero.
"""

from __future__ import annotations

from medbot_llm.domain import Language

_ZH_DIGITS = "零一二三四五六七八九"
_ZH_PLACES = ("", "十", "百", "千")
_ZH_GROUPS = {Language.ZH_HANT: ("", "萬", "億", "兆"), Language.ZH_HANS: ("", "万", "亿", "兆")}
_TWO = {Language.ZH_HANT: "兩", Language.ZH_HANS: "两"}
_POINT = {Language.ZH_HANT: "點", Language.ZH_HANS: "点"}

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["_", "_", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_EN_GROUPS = ("", " thousand", " million", " billion", " trillion")
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}

ENGLISH_NUMBER_WORDS = frozenset({*_ONES, *_TENS[2:]})

LONGEST = 15
"""Digits before the point that are read as one number; longer ones are read digit by digit."""


def digits_in_words(digits: str, language: Language) -> str:
    """Read each digit by itself; whatever is no digit is left out."""
    values = [int(char) for char in digits if char in "0123456789"]
    if language.is_chinese:
        return "".join(_ZH_DIGITS[value] for value in values)
    return " ".join(_ONES[value] for value in values)


def number_in_words(digits: str, language: Language, *, counts: bool = False) -> str:
    """Read a number such as "1,250", "0.5" or ".5".

    Args:
        counts: Whether a measure word follows, before which a Chinese 2 is 兩.
    """
    whole, _, fraction = digits.replace(",", "").partition(".")
    whole = whole or "0"
    # A zero in front is a code or a clock, and is said; so is a number that nobody could follow.
    is_read_singly = len(whole) > LONGEST or (len(whole) > 1 and whole[0] == "0")
    if is_read_singly:
        words = digits_in_words(whole, language)
    elif not language.is_chinese:
        words = _english(int(whole))
    elif whole == "2" and counts and not fraction:
        words = _TWO[language]
    else:
        words = _chinese(int(whole), language)
    if not fraction:
        return words
    if language.is_chinese:
        return words + _POINT[language] + digits_in_words(fraction, language)
    return f"{words} point {digits_in_words(fraction, language)}"


def english_ordinal(value: int) -> str:
    """Twenty-sixth for 26."""
    words = _english(value)
    start = max(words.rfind(" "), words.rfind("-")) + 1
    last = words[start:]
    if last in _ORDINALS:
        return words[:start] + _ORDINALS[last]
    return words[:start] + (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")


def english_year(year: int) -> str:
    """Twenty twenty-six for 2026, nineteen oh five for 1905, two thousand five for 2005."""
    century, rest = divmod(year, 100)
    if not 1100 <= year < 2100 or (century == 20 and rest < 10):
        return _english(year)
    if rest == 0:
        return f"{_english(century)} hundred"
    return f"{_english(century)} {'oh ' if rest < 10 else ''}{_english(rest)}"


def _chinese(value: int, language: Language) -> str:
    if value == 0:
        return _ZH_DIGITS[0]
    groups: list[int] = []
    while value:
        value, group = divmod(value, 10_000)
        groups.append(group)
    words = ""
    for place in range(len(groups) - 1, -1, -1):
        group = groups[place]
        if group == 0:
            continue
        name = _ZH_GROUPS[language][place]
        # 一萬零五十: a place left out in front is said as one 零.
        if words and group < 1000:
            words += _ZH_DIGITS[0]
        if group == 2 and name:
            words += _TWO[language] if not words or language is Language.ZH_HANT else "二"
        else:
            words += _chinese_group(group, language, leads=not words)
        words += name
    return words


def _chinese_group(group: int, language: Language, *, leads: bool) -> str:
    """Up to 9999; 12 that leads is 十二, and behind something 一十二."""
    words = ""
    was_left_out = False
    for place in range(3, -1, -1):
        digit = group // 10**place % 10
        if digit == 0:
            was_left_out = bool(words)
            continue
        if was_left_out:
            words += _ZH_DIGITS[0]
            was_left_out = False
        # Taiwan says 兩千兩百, the mainland 两千二百.
        is_two = digit == 2 and place >= 2
        says_pair = is_two and (language is Language.ZH_HANT or (leads and not words))
        if digit == 1 and place == 1 and leads and not words:
            words += _ZH_PLACES[1]
        else:
            words += (_TWO[language] if says_pair else _ZH_DIGITS[digit]) + _ZH_PLACES[place]
    return words


def _english(value: int) -> str:
    if value == 0:
        return _ONES[0]
    parts: list[str] = []
    place = 0
    while value:
        value, group = divmod(value, 1000)
        if group:
            parts.append(_english_group(group) + _EN_GROUPS[place])
        place += 1
    return " ".join(reversed(parts))


def _english_group(group: int) -> str:
    hundreds, rest = divmod(group, 100)
    words = [f"{_ONES[hundreds]} hundred"] if hundreds else []
    if rest >= 20:
        tens, ones = divmod(rest, 10)
        words.append(_TENS[tens] + (f"-{_ONES[ones]}" if ones else ""))
    elif rest:
        words.append(_ONES[rest])
    return " ".join(words)
