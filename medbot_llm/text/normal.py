"""One form for text that is to be matched: script, width, case, and numbers in digits.

Speech recognisers and models write 二十顆, ２０ 顆, 20颗 and "twenty tablets" for one thing. Rules
and names are matched on the canonical form, and are brought to it themselves when they are read.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from medbot_llm.domain import Language
from medbot_llm.text.language import to_script

CANONICAL_KEPT = 1024
"""So many texts are kept in their form: one sentence is asked for by a dozen rules."""
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_HAN = r"\u3400-\u4dbf\u4e00-\u9fff"
_SPACE_IN_CHINESE = re.compile(rf"(?<=[{_HAN}，。！？、；：]) +(?=[{_HAN}，。！？、；：])")
_VARIANTS = str.maketrans("裏爲衆牀喫羣啓僞峯", "里为众床吃群启伪峰")
"""Older forms of characters; OpenCC leaves some of them."""
_APOSTROPHES = str.maketrans("’‘ʼ´`", "'''''")

# Chinese numbers ---------------------------------------------------------------------------------

_DIGITS = {c: i for i, c in enumerate("零一二三四五六七八九")} | {
    "〇": 0,
    "○": 0,
    "两": 2,
    "俩": 2,
    "仨": 3,
    "壹": 1,
    "贰": 2,
    "叁": 3,
    "肆": 4,
    "伍": 5,
    "陆": 6,
    "柒": 7,
    "捌": 8,
    "玖": 9,
}
_POWERS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000, "万": 10_000}
_CONTRACTED = {"廿": "二十", "卅": "三十"}
_NUMERAL = "零〇○一二三四五六七八九两俩仨壹贰叁肆伍陆柒捌玖十拾百佰千仟万廿卅"
_COUNTED = (
    "颗|粒|片|锭|枚|丸|毫克|公克|微克|毫升|公升|公斤|公分|克|升|斤|单位|国际单位|次|天|日|周|星期|礼拜|"
    "个|月|年|岁|小时|钟头|分钟|点|分|秒|度|针|剂|包|袋|瓶|罐|盒|排|滴|喷|吸|口|匙|汤匙|茶匙|杯|支|条|管|"
    "倍|成|贴|张|下|位|种|样|餐|顿|回|号|床|楼|毫|西西|mg|ml|mcg|cc|g|iu|%"
)
_NOT_NUMBERS = (
    r"万一|千万(?!颗|粒|片|单位)|十分(?!钟)|一下|一点(?!半|钟|\d)|一种|一样|一次性|一天到晚|三不五时"
    "|一个人|一口气|一位|一日游|百分|千方百计"
)
_CLOCK_AND_COUNT = re.compile(
    rf"((?:早上|上午|中午|下午|傍晚|晚上|夜里|凌晨|今晚|明早|每[天晚早])[{_NUMERAL}]+点)"
    r"(?=[一两二三四](?:颗|粒|片|锭|包|支|滴|喷|次))"
)
"""早上八点一颗 is one at eight, and no 8.1."""
_HALF_AFTER = re.compile(rf"([{_NUMERAL}]+|\d+(?:\.\d+)?)(?!点)({_COUNTED})半(?!夜|天前|身|路)")
_HALF = re.compile(
    r"半(?=(?:颗|粒|片|锭|包|瓶|杯|匙|支|倍|小时|个小时|钟头|天|日|年|个月|个|滴|贴)(?!夜))"
)
_HALF_AND = re.compile(rf"([{_NUMERAL}]+|\d+)又半")
_CHINESE_NUMBER = re.compile(
    rf"(?!{_NOT_NUMBERS})(?!零点[零一二三四五六七八九])(?<![第星期礼拜周初])"
    rf"([{_NUMERAL}]+(?:点[零〇一二三四五六七八九]+)?)"
    rf"(?=几?多?(?:{_COUNTED}))"
    rf"|((?:[一二两三四五六七八九]?[十百]|[一二两三四五六七八九]千)[{_NUMERAL}]*"
    r"(?:点[零〇一二三四五六七八九]+)?)(?!分(?!钟)|足|全|字|货|姓|计)"
    r"|([零〇一二三四五六七八九十]+点[零〇一二三四五六七八九]+)"
    r"|(?:(?<![零〇一二三四五六七八九\u4e00-\u9fff])|(?<=[压氧糖到剩]))"
    r"([一二三四五六七八九][零〇一二三四五六七八九]{1,3})(?![一二三四五六七八九\u4e00-\u9fff])"
)
"""A count of something; or a number of its own with tens, a decimal point, or digits in a row, as
readings are said (血压一八零)."""

# English numbers ---------------------------------------------------------------------------------

_ONES = {
    word: value
    for value, word in enumerate(
        re.findall(
            r"\w+",
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
            " fifteen sixteen seventeen eighteen nineteen",
        )
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2
    )
}
_WORD = "|".join([*_ONES, *_TENS, "hundred", "thousand"])
_ENGLISH_NUMBER = re.compile(
    rf"\b(?:{_WORD})(?:(?:[ -]|(?<=hundred) and | and (?=a half))(?:{_WORD}))*\b"
)
_ENGLISH_COUNTED = (
    "tablets?|tabs?|pills?|capsules?|caps?|drops?|puffs?|sprays?|mg|mcg|g|ml|milligrams?|grams?|"
    "micrograms?|millilit(?:re|er)s?|units?|doses?|times?|teaspoons?|tablespoons?|spoonfuls?|"
    "sachets?|patch(?:es)?|hours?|days?|weeks?|months?|years?|minutes?|of|bottles?|packs?|"
    "hundred|thousand|dozen|degrees?|point|a day|daily|and|or two"
)
_AND_A_HALF = re.compile(
    r"\b(\d+) and (?:a|one) half\b|\b(\d+) and 0\.5\b|\b(?:a|an|one) ([a-z]+) and a half\b"
)
_ENGLISH_HALF = re.compile(
    r"\b(?:one |a )?half (?:of )?(?:a |an |the |your )?"
    r"(?=(?:tablet|pill|capsule|teaspoon|tab|sachet|cup|glass|bottle|hour|day|dose)s?\b)"
)
_DOZEN = re.compile(r"\b(?:(half a)|an?|(\d+)) dozen\b")
_COUPLE = re.compile(r"\ba couple of (?=(?:tablet|pill|capsule|drop|puff|dose)s?\b)")
_POINT = re.compile(r"\b(\d+) point (\d(?:[ -]?\d)*)\b")


@lru_cache(CANONICAL_KEPT)
def canonical(text: str) -> str:
    """Give the text as it is matched: NFKC, lower case, Simplified characters, single spaces.

    Nothing that carries meaning goes: punctuation and digits stay. Invisible characters go,
    which could split a word, and the spaces that some recognisers put between characters.
    """
    text = unicodedata.normalize("NFKC", text)
    if not text.isascii():
        text = "".join(
            " " if char.isspace() else char
            for char in text
            if char.isspace() or unicodedata.category(char) not in _INVISIBLE_CATEGORIES
        )
        text = to_script(text, Language.ZH_HANS).translate(_VARIANTS).translate(_APOSTROPHES)
    text = " ".join(text.casefold().split())
    return _SPACE_IN_CHINESE.sub("", text)


def with_digits(text: str) -> str:
    """Write number words of canonical text in digits where they count something.

    二十颗 becomes 20颗, 一颗半 1.5颗, 七八颗 7-8颗, 三十八度五 38.5度, "twenty-five tablets"
    "25 tablets". A lone 一 or "one" stays unless something is counted by it: 一起 and "the red
    one" are no numbers.
    """
    if not text.isascii():
        text = _chinese_digits(text)
    return _english_digits(text)


def chinese_value(numeral: str) -> float | None:
    """The value of a Chinese numeral in Simplified characters (二百五十, 三点五), or None."""
    for short, whole in _CONTRACTED.items():
        numeral = numeral.replace(short, whole)
    whole, _, fraction = numeral.partition("点")
    if not whole or not all(c in _DIGITS or c in _POWERS for c in whole):
        return None
    if fraction and not all(c in _DIGITS for c in fraction):
        return None
    if not any(c in _POWERS for c in whole):
        value = float(int("".join(str(_DIGITS[c]) for c in whole)))
    else:
        total, section, digit, last_power = 0, 0, 0, 1
        for char in whole:
            if char in _DIGITS:
                digit = _DIGITS[char]
                if digit == 0:
                    last_power = 1
            elif char == "万":
                total += (section + digit) * 10_000
                section, digit, last_power = 0, 0, 10_000
            else:
                last_power = _POWERS[char]
                section += (digit or 1) * last_power
                digit = 0
        # 二百五 is 250, 一百零五 is 105.
        value = float(total + section + digit * (last_power // 10 if last_power >= 100 else 1))
    if fraction:
        value += int("".join(str(_DIGITS[c]) for c in fraction)) / 10 ** len(fraction)
    return value


def _chinese_digits(text: str) -> str:
    text = re.sub(rf"([{_NUMERAL}]+)度([一二三四五六七八九半])(?![十百])", _degrees, text)
    text = re.sub(r"(\d+)度([一二三四五六七八九])(?![十百])", _degrees, text)

    text = _CLOCK_AND_COUNT.sub(r"\1,", text)

    def value_of(match: re.Match[str]) -> str:
        numeral = next(group for group in match.groups() if group)
        if match[1] and len(numeral) == 2 and _is_about(numeral):
            return "-".join(str(_DIGITS[char]) for char in numeral)
        value = chinese_value(numeral)
        return match[0] if value is None else _written(value)

    text = _CHINESE_NUMBER.sub(value_of, text)
    text = _HALF_AND.sub(lambda m: _half_more(m[1]), text)
    text = _HALF_AFTER.sub(lambda m: _half_more(m[1]) + m[2], text)
    return _HALF.sub("0.5", text)


def _is_about(numeral: str) -> bool:
    """Whether two digits in a row mean from … to: 七八颗 are seven or eight."""
    first, second = (_DIGITS.get(char, 0) for char in numeral)
    return 0 < first == second - 1


def _degrees(match: re.Match[str]) -> str:
    whole = float(match[1]) if match[1].isdigit() else chinese_value(match[1])
    if whole is None:
        return match[0]
    tenth = 5 if match[2] == "半" else _DIGITS[match[2]]
    return f"{_written(whole)}.{tenth}度"


def _half_more(numeral: str) -> str:
    try:
        value: float | None = float(numeral)
    except ValueError:
        value = chinese_value(numeral)
    return numeral if value is None else _written(value + 0.5)


def _english_digits(text: str) -> str:
    if not re.search(r"[a-z]", text):
        return text
    text = _ENGLISH_HALF.sub("0.5 ", text)
    text = _ENGLISH_NUMBER.sub(_english_value, text)
    text = _AND_A_HALF.sub(lambda m: f"{m[1] or m[2]}.5" if m[1] or m[2] else f"1.5 {m[3]}", text)
    text = _DOZEN.sub(lambda m: "6" if m[1] else _written(12 * float(m[2] or 1)), text)
    text = _COUPLE.sub("2 ", text)
    return _POINT.sub(lambda m: f"{m[1]}.{re.sub('[ -]', '', m[2])}", text)


def _english_value(match: re.Match[str]) -> str:
    words = [word for word in re.split(r"[ -]", match[0]) if word != "and"]
    if words == ["one"] and not re.match(
        rf" (?:{_ENGLISH_COUNTED})\b", match.string[match.end() :]
    ):
        return match[0]
    if words in (["hundred"], ["thousand"]):
        if not re.search(r"\ba $", match.string[: match.start()]):
            return match[0]
        return "100" if words == ["hundred"] else "1000"
    groups: list[int] = []
    current = 0
    previous = ""
    for word in words:
        if word == "hundred":
            current = max(current, 1) * 100
        elif word == "thousand":
            current = max(current, 1) * 1000
        else:
            value = _ONES.get(word, _TENS.get(word, 0))
            # "twenty five" is one number; "five ten" and "twelve thirty" are two.
            joins = (previous in _TENS and 0 < value < 10) or previous in ("hundred", "thousand")
            if previous and not joins:
                groups.append(current)
                current = value
            else:
                current += value
        previous = word
    return " ".join(map(str, [*groups, current]))


def _written(value: float) -> str:
    return f"{value:g}" if value < 1e6 else str(int(value))
