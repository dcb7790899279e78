"""Find readings in what was said: blood sugar, oxygen, temperature, blood pressure, pulse.

"血糖四十八", "sats are 82 and dropping" and "it's still 46" after glucose tablets are signs of
their own. What a value means stands in `resource/triage/vital_signs.yaml`, with its source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_NUMBER = r"(?<![\d.])(\d{1,3}(?:\.\d{1,2})?)(?![\d.]*\d)"
_SAID = r"[^\d。!?;]{0,12}?"
_SAID_EN = r"(?:[ ,:=]+(?!per|for|if|target|above|below|under|over\b)[a-z'%’/]+){0,4}?[ ,:=]+"
_NOT_AFTER = (
    r"(?!\s*(?:颗|粒|片|包|次|天|日|岁|床|楼|号|点(?!\d)|分钟|小时|个|单位|元|块|毫|mg|ml|units?|times|days?|"
    r"hours?|minutes?|tablets?|pills?|years?|of|steps|\d|年|月|周|种|公斤|西西|cc))"
)

_AFTER = rf"{_NUMBER}{_NOT_AFTER}"
_SUGAR_EN = r"\b(?:sugars?|shugar|glucose|bgl?|hypo|cgm|dexcom|libre|meter|strip|machine)(?:'s)?"
_OXYGEN_EN = r"\b(?:spo2|sats?|saturations?|oxygen(?: level)?|o2)(?:'s)?"
_PRESSURE_EN = r"\b(?:blood pressure|bp|systolic|pressure)(?:'s)?"
_WORDS: dict[str, tuple[str, ...]] = {
    "glucose": (
        rf"(?:血糖(?:机|仪|计)?|糖值|(?<!体)(?<!量)[测验](?:出来|了|个|还是|又是){{1,3}}){_SAID}{_NUMBER}{_NOT_AFTER}(?!度|%)",
        rf"(?:果汁|吃了?糖|胰岛素){_SAID}(?:还是|只有|剩|才){_NUMBER}{_NOT_AFTER}(?!度|%)",
        rf"{_SUGAR_EN}{_SAID_EN}{_AFTER}",
        rf"{_SUGAR_EN}[ ]?{_AFTER}",
        rf"\b(?:glucose|sugar|juice)\b[^.!?\d]{{0,30}}\bstill {_NUMBER}{_NOT_AFTER}",
        rf"{_NUMBER},? (?:my|is my|was my|his|her) (?:glucose|sugar)",
        rf"{_NUMBER} on (?:the|my|his|her) (?:meter|glucometer|cgm|sugar)",
    ),
    "oxygen": (
        rf"(?:血氧|含氧|氧气?(?:浓度|饱和)|spo2|氧){_SAID}{_NUMBER}{_NOT_AFTER}",
        rf"{_OXYGEN_EN}(?:{_SAID_EN}|[ ]){_AFTER}",
        rf"(?:数字|数值|萤幕|监视器).{{0,8}}(?:掉到|降到|剩){_NUMBER}",
    ),
    "temperature": (
        rf"(?:体温|烧到|发烧|烧|量|耳温|额温|温度){_SAID}{_NUMBER}(?=度|c|$|[,。!?]|点|多|了)",
        rf"(?<![室气水])(?<!冰箱){_NUMBER}度",
        rf"\b(?:temp(?:erature)?|fever)(?:'s)?(?:{_SAID_EN}|[ ]){_NUMBER}{_NOT_AFTER}",
    ),
    "pressure": (
        rf"血压(?:计)?(?:[^\d。!?;药]{{0,8}}?){_NUMBER}{_NOT_AFTER}",
        rf"{_PRESSURE_EN}(?:{_SAID_EN}|[ ]){_AFTER}",
    ),
    "pulse": (
        rf"(?:心跳|心率|脉搏|心律){_SAID}{_NUMBER}{_NOT_AFTER}",
        rf"\b(?:heart ?rate|pulse|heartbeat|hr|bpm)(?:'s)?(?:{_SAID_EN}|[ ]){_NUMBER}{_NOT_AFTER}",
    ),
}
_PATTERNS = {kind: tuple(map(re.compile, patterns)) for kind, patterns in _WORDS.items()}
_FAHRENHEIT_FROM = 90
_MMOL_BELOW = 34
_MG_PER_MMOL = 18
_PLAUSIBLE = {
    "glucose": (18, 1200),
    "oxygen": (40, 100),
    "temperature": (30, 43),
    "pressure": (40, 300),
    "pulse": (15, 260),
}
_WEATHER = re.compile(r"外[头面]|室[温内外]|气温|冷气|冰箱|烤箱|水温|热死|outside|oven|weather")
_WEATHER_REACH = 10
"""Characters before a temperature in which its being no fever is said."""
_POINT = re.compile(r"(\d)点([一二三四五六七八九\d])(?!\d|十|分)")
_TENS = r"[二三四五六七八九]?十[一二三四五六七八九]?"
_PAIR = re.compile(
    rf"(血压[^\d一二三四五六七八九。]{{0,6}})([一二两]百(?:零[一二三四五六七八九]|{_TENS})?)"
    rf"(?=(?:[四五六七八九]十[一二三四五六七八九]?|一百(?:零[一二三四五六七八九]|{_TENS})?)(?![十百]))"
)
_DIGITS = {c: str(i) for i, c in enumerate("零一二三四五六七八九")}
_HAS_NUMBER = re.compile(r"\d")


@dataclass(frozen=True)
class VitalSign:
    """One reading, with the place where it was said.

    Attributes:
        kind: glucose, oxygen, temperature, pressure or pulse.
        value: In mg/dL, %, °C, mmHg or a minute.
        start: Where it begins in the text.
        end: Where it ends.
    """

    kind: str
    value: float
    start: int
    end: int


def with_points(text: str) -> str:
    """Write 3点一 as 3.1."""
    return _POINT.sub(lambda m: f"{m[1]}.{_DIGITS.get(m[2], m[2])}", text)


def with_pairs(text: str) -> str:
    """Part the two numbers of a blood pressure: 血压一百二十八十 is 120/80, not 200."""
    return _PAIR.sub(r"\1\2/", text)


def vital_signs(text: str) -> Iterator[VitalSign]:
    """Yield the plausible readings in text that is canonical and has its numbers in digits."""
    if not _HAS_NUMBER.search(text):
        return
    for kind, patterns in _PATTERNS.items():
        seen: set[int] = set()
        for pattern in patterns:
            for match in pattern.finditer(text):
                value = _in_unit(kind, float(match[1]))
                low, high = _PLAUSIBLE[kind]
                before = text[max(match.start() - _WEATHER_REACH, 0) : match.end()]
                if kind == "temperature" and _WEATHER.search(before):
                    continue
                if low <= value <= high and match.start(1) not in seen:
                    seen.add(match.start(1))
                    yield VitalSign(kind, value, match.start(), match.end())


def _in_unit(kind: str, value: float) -> float:
    if kind == "glucose" and value < _MMOL_BELOW:
        return value * _MG_PER_MMOL
    if kind == "temperature" and value >= _FAHRENHEIT_FROM:
        return (value - 32) / 1.8
    return value
