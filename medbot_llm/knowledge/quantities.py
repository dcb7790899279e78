"""Read amounts, schedules and routes from words in any of the three languages.

一百毫克, "100 mg" and 0.1 g are one amount; 一天三次, TID, "every 8 hours" and 三餐飯後 are one
schedule. Everything here reads text that went through `numbered`, and gives plain numbers that a
label and a sentence can be compared by. Numbers that count nothing a dose is made of (clock times,
minutes, room and bed numbers, degrees, mmHg, days) are not amounts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from medbot_llm.text.normal import canonical
from medbot_llm.text.normal import chinese_value
from medbot_llm.text.normal import with_digits

ML_PER_TEASPOON = 5.0
ML_PER_TABLESPOON = 15.0
"""Metric kitchen measures, as on the measuring spoons that pharmacies give out."""

TOLERANCE = 0.011
"""Relative difference below which two amounts are the same: 33.3 mg is a third of 100 mg."""

_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_VALUE = rf"{_NUMBER}(?:\s?/\s?{_NUMBER})?"
_JOIN = r"\s*(?:-|~|–|—|到|至|或|或者|to|or)\s*"

_UNITS: tuple[tuple[str, str, float, str], ...] = (
    ("mg", "mass", 1.0, r"mgs?(?![a-z])|milligrams?|毫克|毫公克"),
    ("mcg", "mass", 0.001, r"mcgs?(?![a-z])|[μu]g(?![a-z])|micrograms?|微克"),
    ("g", "mass", 1000.0, r"g(?![a-z]|/(?!day|天|日))|gm(?![a-z])|grams?|公克|克"),
    ("ml", "volume", 1.0, r"mls?(?![a-z])|cc(?![a-z])|millilit(?:er|re)s?|毫升|西西"),
    ("l", "volume", 1000.0, r"lit(?:er|re)s?|公升|升"),
    ("teaspoon", "volume", ML_PER_TEASPOON, r"teaspoon(?:ful)?s?|tsp|茶匙"),
    ("tablespoon", "volume", ML_PER_TABLESPOON, r"tablespoon(?:ful)?s?|tbsp|汤匙"),
    (
        "unit",
        "activity",
        1.0,
        r"i\.?u\.?(?![a-z])|(?:international )?units?|u(?![a-z0-9])|(?:国际)?单位",
    ),
    ("percent", "percent", 1.0, r"%|percent"),
    ("meq", "charge", 1.0, r"meq|mmol|毫当量"),
    (
        "tablet",
        "count",
        1.0,
        r"(?:(?:more|extra|whole|full|single|small|white|entire|vaginal|chewable|dispersible|"
        r"effervescent|sublingual|film-coated|enteric-coated|of (?:the|these|your)) "
        r")?(?:tablets?|tabs?(?![a-z])|pills?|capsules?|caplets?|caps?(?![a-z])"
        r"|softgels?|lozenges?|pieces?(?= of (?:it|them))|pcs)|颗(?!栓)|粒|片(?!贴)|锭|丸|#",
    ),
    ("sachet", "sachet", 1.0, r"sachets?|packets?|包|小包"),
    ("drop", "drop", 1.0, r"drops?|gtts?|滴"),
    (
        "puff",
        "puff",
        1.0,
        r"puffs?|sprays?|inhalations?|actuations?|喷|吸(?!收)|(?<=按压\d)下|"
        r"下(?=$|[,。;!? ]|才|是|就|含|等于)",
    ),
    ("patch", "patch", 1.0, r"patch(?:es)?|片贴片|贴片|贴|张"),
    ("suppository", "suppository", 1.0, r"suppositor(?:y|ies)|颗栓剂?|枚|个栓剂"),
    (
        "ampoule",
        "ampoule",
        1.0,
        r"ampoules?|amps?(?![a-z])|vials?|pens?|syringes?|injections?|支|针|剂",
    ),
)
_UNIT_OF = {name: (kind, factor) for name, kind, factor, _ in _UNITS}
_AMOUNT = re.compile(
    rf"(?<![\d./a-z])(?<!\d,)(?P<low>{_VALUE})(?:{_JOIN}(?P<high>{_NUMBER}))?[\s-]*(?:个|整|大|小)?(?:"
    + "|".join(f"(?P<{name}>{pattern})" for name, _, _, pattern in _UNITS)
    + r")(?P<per>\s*(?:/|per |每)\s*(?:kg|公斤|dl|dose|剂|(?:\d+(?:\.\d+)?\s*)?(?:ml|毫升|cc)|"
    r"tablet|tab|颗|片|粒|day|天|日))?"
)
_WITHOUT_UNIT = re.compile(
    r"\b(?P<verb>taking|take|swallow|have|use|using)(?: just|"
    r" only)? (?P<low>\d+(?:\.\d+)?(?![\d.]*\d)|one)"
    r"(?: (?:to|or) (?P<high>\d+))?"
    r"(?= (?:each|at a time|every|in the|at (?:night|bedtime|once)|after|before|now|daily|a day|"
    r"once|twice|with"
    r"|instead|tonight|today|together|of (?:them|these|those|it)|whenever|when|if|until|more|to "
    r"(?:make|catch))\b|\s*$|[,.;!?])"
)
_A_DAY = re.compile(r"(?<![\w.,])(?P<low>\d+|one) (?:a|per|each|every) day\b")
_ONE_TABLET = re.compile(
    r"\b(?:take|swallow|use|is|give)(?: just| only)? an? (?:(?:\w+ )?(?:tablet|pill|capsule)|"
    r"(?:whole|full) one)\b"
    r"(?! (?:and a half|or 2))"
)
_OF_STRENGTH = re.compile(
    r"(?<![\w.,])(?P<low>\d+(?:\.\d+)?|one|(?:a )?single)(?: of (?:the|these|your))? "
    r"(?=\d+(?:\.\d+)?[ -]?(?:mg|mcg|g|milligrams?|micrograms?|grams?)[ -](?:strength )?"
    r"(?:tablet|capsule|pill|cap|tab)s?\b)"
)
"""Of "two 5 mg tablets", so many."""
_SAME_FOOD = re.compile(
    r"^\s*(?:of )?(?:cold |warm |plain |drinking |boiled |的?)?(?:water|juice|sugar|glucose|"
    r"carb|salt|protein|milk|soda|cola"
    r"|fluid|fibre|fiber|fat|toast|bread|candy|honey|水|温水|温开水|开水|果汁|糖|方糖|盐|牛奶|"
    r"葡萄糖|蛋白|面包|吐司|饼干|苹果|鸡蛋|蛋|水果"
    r"|心|头|口罩|面纸|卫生纸|笔|棉|纱布)"
)
"""What else comes in grams, millilitres and pieces: a glass of water, sugar for a low reading."""
_WATER_BEFORE = re.compile(r"(?:water|juice|水|果汁|饮料)[^.;，。]{0,12}$")
_NOT_AFTER = re.compile(r"(?:room|bed|ward|floor|number|no\.|bay|phone|第|房|床|分机)\s*$")


@dataclass(frozen=True)
class Amount:
    """An amount of medicine in a text.

    Attributes:
        low: Least, in the base unit of `kind`: mg, mL, or what is counted.
        high: Most; equal to `low` where it is no range.
        kind: mass, volume, activity, percent, charge, count (tablets, capsules), sachet, drop,
            puff, patch, suppository, ampoule.
        unit: Unit as read, e.g. "mcg".
        start: Offset of the amount in the text.
        end: Offset after it.
        per: What it is "per": "ml" in 5 mg/mL, "kg", "day"; "" nothing.
        per_size: How much of that: 5 in 250 mg/5 mL.
    """

    low: float
    high: float
    kind: str
    unit: str
    start: int
    end: int
    per: str = ""
    per_size: float = 1.0

    def agrees(self, values: Iterable[tuple[float, float]]) -> bool:
        """Tell whether the amount lies within one of some ranges of its own kind."""
        return any(
            low * (1 - TOLERANCE) <= self.low and self.high <= high * (1 + TOLERANCE)
            for low, high in values
        )

    def __str__(self) -> str:
        shown = {"mass": "mg", "volume": "mL", "activity": "units", "count": "tablets"}
        span = f"{self.low:g}" if self.low == self.high else f"{self.low:g}-{self.high:g}"
        return f"{span} {shown.get(self.kind, self.kind)}"


def numbered(text: str) -> str:
    """Give the canonical text with all counting words in digits, ready for the readers below."""
    # 一次半颗 is half a tablet at a time, not one and a half times.
    text = _HALF_EACH.sub("次0.5", _SPACED_NUMBER.sub("", canonical(text)))
    text = _HALF_A_GRAM.sub("0.5", _THREE_QUARTERS.sub("0.75 ", text))
    text = _ONE_PUFF.sub("1下", text)
    text = _NEIGHBOURS.sub(r"\1到\2", text)
    # 參 is a capital 3 where it counts; simplified, it is the 参 of other words.
    text = _QUARTER.sub(lambda m: f"{_SMALL[m[2]] / _SMALL[m[1]]:.2g}", text)
    text = with_digits(_CAPITAL_THREE.sub("三", text)).replace("⁄", "/")
    return _finish_numbers(text)


def read_amounts(text: str) -> list[Amount]:
    """Read the amounts of a numbered text, in order.

    Combined strengths (875/125 mg) give one amount a part. Water, sugar and the like are left
    out, and so is what stands after "room" or "bed".
    """
    found: list[Amount] = []
    for match in _AMOUNT.finditer(text):
        unit = next(name for name in _UNIT_OF if match[name])
        kind, factor = _UNIT_OF[unit]
        after, before = text[match.end() :], text[: match.start()]
        if (kind != "percent" and _SAME_FOOD.match(after)) or _NOT_AFTER.search(before):
            continue
        if kind == "volume" and _WATER_BEFORE.search(before):
            continue
        per, per_size = _per(match["per"])
        if per == "dl":
            continue
        if per in ("tablet", "tab", "颗", "片", "粒", "dose", "剂"):
            per = ""
        for value in _values(match["low"], kind):
            high = _float(match["high"]) if match["high"] else value
            found.append(
                Amount(
                    min(value, high) * factor,
                    max(value, high) * factor,
                    kind,
                    unit,
                    match.start(),
                    match.end(),
                    per,
                    per_size,
                )
            )
    taken = [(amount.start, amount.end) for amount in found]
    for match in _WITHOUT_UNIT.finditer(text):
        start = match.start("low")
        if not any(low <= start < high for low, high in taken):
            low = 1.0 if match["low"] == "one" else _float(match["low"])
            high = _float(match["high"]) if match["high"] else low
            found.append(Amount(low, high, "count", "", start, match.end()))
    for match in _A_DAY.finditer(text):
        low = 1.0 if match["low"] == "one" else _float(match["low"])
        found.append(Amount(low, low, "count", "", match.start(), match.end(), "day"))
    for match in _OF_STRENGTH.finditer(text):
        low = _float(match["low"]) if match["low"][0].isdigit() else 1.0
        found.append(Amount(low, low, "count", "tablet", match.start(), match.end()))
    for match in _ONE_TABLET.finditer(text):
        found.append(Amount(1.0, 1.0, "count", "tablet", match.start(), match.end()))
    return sorted(found, key=lambda amount: amount.start)


# Schedules ---------------------------------------------------------------------------------------

MORNING, NOON, EVENING, BEDTIME = "morning", "noon", "evening", "bedtime"
BEFORE_MEAL, AFTER_MEAL, WITH_MEAL, EMPTY = "before_meal", "after_meal", "with_meal", "empty"


@dataclass(frozen=True)
class Timing:
    """One statement of how often or when.

    Attributes:
        start: Offset in the text.
        end: Offset after it.
        per_day: Least and most times a day; None where it tells only when.
        every_day: "every day" without a number: at least once a day.
        slots: Times of the day.
        meal: Relation to meals, "" none.
        as_needed: Only when needed.
        at_most: A ceiling, not a schedule.
        interval: Stated as hours between doses.
    """

    start: int
    end: int
    per_day: tuple[float, float] | None = None
    every_day: bool = False
    slots: frozenset[str] = frozenset()
    meal: str = ""
    as_needed: bool = False
    at_most: bool = False
    interval: bool = False


_DAY = r"(?:每1?天|每日|1天|1日|天天|日)"
_FILL = (
    r"(?:(?:早上|早晨|晚上|中午|睡前|早餐后|早餐前|晚餐后|饭后|饭前|随餐|"
    r"空腹)(?!1次[,、和及]?(?:晚|睡))|都|要|只|需|固定|规律|按时|总共|共|分|各|吃|服用|服|用|"
    r"使用|最多|至多|不要超过|不超过|可以|能|点|擦|抹|涂|喷|吸|打|注射|贴|滴|下来|喂|塞|含|个|,|"
    r" )*"
)
_TIMES_EN = (
    r"(?:(?P<n>\d+)(?:\s*(?:-|to|or)\s*(?P<m>\d+))?\s*(?:times|x|×)|(?P<w>once|twice|thrice))"
)
_WORD_TIMES = {"once": 1.0, "twice": 2.0, "thrice": 3.0}
_CODES = {
    "qd": 1.0,
    "od": 1.0,
    "bid": 2.0,
    "tid": 3.0,
    "qid": 4.0,
    "qod": 0.5,
    "qw": 1 / 7,
    "qwk": 1 / 7,
    "q2w": 1 / 14,
    "q4w": 1 / 28,
    "qm": 1 / 30,
    "biw": 2 / 7,
    "tiw": 3 / 7,
}
_CODE = re.compile(
    r"(?<![a-z])(?P<code>qd|bid|tid|qid|qod|qwk|qw|q2w|q4w|qm|biw|tiw)(?:\s?(?P<more>ac|pc|hs|"
    r"prn|cc))?(?:\s?(?P<prn>prn))?(?![a-z])"
)
_TID_HS = re.compile(r"(?<![a-z])tid(?:\s?(?:ac|pc|cc))?\s?(?:&|and|\+|,)\s?(?:q?hs)(?![a-z])")
"""Three times and at bedtime is four times."""
_OTHER_CODE = re.compile(r"(?<![a-z])(?P<code>q?hs|qn|qam|qpm|prn|ac|pc|stat)(?![a-z])")
_EVERY_H = re.compile(
    r"(?<![a-z])(?:q\s?|every |each |per )(?P<n>\d+)(?:\s*(?:-|to|"
    r"or)\s*(?P<m>\d+))?\s*(?:h(?:ou)?rs?|h)(?:ly)?(?![a-z])"
    r"|(?<![\d.])(?P<n2>\d+)[- ]hourly|every (?P<n4>\d+)(?:th|rd|nd) hour"
    r"|每(?:隔|间隔)?(?P<n3>\d+)(?:(?:-|~|到|至)(?P<m3>\d+))?个?(?:小时|钟头)|"
    r"隔(?P<n5>\d+)个?(?:小时|钟头)(?=(?:吃|服|用|再)*[1一](?:次|颗|片|粒|锭))|every hour\b|"
    r"每个?小时|hourly\b"
    r"|(?<![\d.隔至少满前])(?P<n6>\d+(?:\.\d+)?)个?(?:小时|钟头|钟)(?:没退|没好|不退|后)?(?:就|"
    r"可以|又|能)?"
    r"(?:再|又)?(?:喂|塞|喷|推|吃|吞|打|滴)1(?:次|回|颗|粒|针|下)?"
    r"|每0\.5个?(?:小时|钟头)|(?:every|each) half(?: an)? hour"
)
_EVERY_LONG = re.compile(
    r"(?<![a-z])(?:q\s?|every |each |per )(?P<n>\d+)\s?(?P<u>d(?:ays?)?|w(?:ee)?ks?|w|"
    r"m(?:on)?ths?|m)(?![a-z])"
    r"|\b(?:(?:once )?every |each |once a |per )?(?P<f>fortnight)(?:ly)?\b|"
    r"(?P<mo>(?<!once )(?<!twice )\bmonthly\b"
    r"|\bevery month\b)|(?P<half>每(?:隔)?(?:0\.5|半)年|twice a year|every half year|(?:every|"
    r"each) 6 months)"
    r"|每(?:隔)?(?P<z>\d+|[一两二三四六八]|十二)个?(?P<zu>天|日|周|星期|礼拜|月)(?=[1一]?(?:次|针|片|张|贴|支|剂|打|换|用|吃|注射|$))"
)
_LONG_DAYS = {
    "d": 1.0,
    "天": 1.0,
    "日": 1.0,
    "w": 7.0,
    "周": 7.0,
    "星": 7.0,
    "礼": 7.0,
    "m": 30.0,
    "月": 30.0,
}
_DOTTED = re.compile(r"(?<![a-z])([a-z])\. ?([a-z])\. ?(?:([a-z])\.?)?(?![a-z])")
"""b.i.d. is bid."""
_DAYS_OF_WEEK = re.compile(
    r"(?:周|星期|礼拜|拜)(?P<zh>[一二三四五六日天1-6]"
    r"(?:[、,/和及 ]*(?:周|星期|礼拜)?[一二三四五六日天1-6])*)(?![天个周次])"
    r"|\b(?P<en>(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:days?)?s?"
    r"(?:(?:[ ,/&-]|and|every|on)+(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|"
    r"sun)(?:days?)?s?)*)\b"
)
_DAY_ZH = re.compile(r"[一二三四五六日天1-6](?![期])")
_DAY_EN = re.compile(r"\b(?:mon|tue|wed|thu|fri|sat|sun)")
_CLOCK_LIST = re.compile(
    r"^(?:at )?(?:\d{1,2}(?::\d{2})?(?: ?[ap]\.?m\.?| ?(?:点|时))?"
    r"(?:\s?(?:,|、|/|&|and|和|及|-)+\s?|$)){2,6}$"
)
"""08:00, 20:00; 8 am and 8 pm; 9-13-17-21."""
_PER_MEAL = re.compile(r"^([0-4](?:\.5)?)-([0-4](?:\.5)?)-([0-4](?:\.5)?)(?:-([0-4](?:\.5)?))?$")
"""1-0-1: the morning's, noon's, evening's and bedtime's tablets."""
_EVERY_H_NUMBERS = ("n", "n2", "n3", "n4", "n5", "n6")
_ZH_TIMES = re.compile(
    rf"{_DAY}{_FILL}(?P<n>\d+)(?:(?:-|~|到|至|或)(?P<m>\d+))?(?:次|回|顿|趟|遍)|"
    rf"(?P<n2>\d+)次\s*(?:/|"
    rf"每)\s*(?:天|日)"
)
_EN_TIMES = re.compile(
    rf"\b{_TIMES_EN}[ -]?(?:(?:a|per|each|every|in a|in one|in 1|/) ?(?:single )?day|daily)|"
    rf"\b(?P<d>1|one)(?: time)? (?:a|per|each) day"
    r"|\b(?P<t>\d+)(?: to (?P<u>\d+))? times (?:(?:within|in|over) 24 hours|(?:in|over|through|"
    r"across) "
    r"(?:the|a|one) day|between (?:midnight|dawn|morning|\w+) and)"
)
_ZH_WEEK = re.compile(
    r"(?:每1?个?|1个?)(?P<p>周|星期|礼拜|月)(?:只|各|要|吃|服|用|打|贴|换|注射|服用|使用|固定|"
    r"抹|擦|涂|滴|喷|吸|塞|"
    r",)*(?P<n>[一1-9])(?:次|回(?!诊))"
    r"|(?<![\d每])(?P<i>[2-9])天(?:才|再|吃|服用?|用|打|贴|换)*1(?:次|针|颗|粒|片|张)|"
    r"每(?P<k>\d)个?(?:周|星期|"
    r"礼拜)(?:[^,。;]{0,6})?1次|每(?P<j>\d)天(?:[^,。;]{0,6})?1(?:次|片|张|贴|支|针|颗|"
    r"粒)|隔(?:1|一)?(?:天|日)(?!再|"
    r"就|早|晚|下午|中午|星期|礼拜|周)(?:[^,。;]{0,4}(?:吃|服|用|1(?:次|颗|粒|片|锭|针|滴)|打|"
    r"点|换|休息)|$)"
    r"|每隔(?:1|一)(?:天|日)"
)
_EN_WEEK = re.compile(
    rf"\b{_TIMES_EN}[ -](?:a|per|each|every) ?(?P<p>week|month)|\b(?P<o>once|twice)[ "
    rf"-](?P<q>weekly|monthly)"
    r"|every (?:other|second|2nd) day|(?:on )?alternate days|every (?P<j>\d+) days|every "
    r"(?P<k>\d+) weeks"
    r"|\ba week (?:between|apart)\b"
    r"|(?<!once )(?<!twice )(?<!-)\bweekly\b|every week\b|(?:one|1) day (?:a|each|per) week|"
    r"same day (?:of )?(?:each|every) week"
)
_MEALS_3 = re.compile(
    r"(?:3餐|3顿(?!药)|每餐|餐餐|每顿饭?)(?:饭|餐)?(?P<zh>前|后|间|中|随餐|饭前|饭后|餐前|餐后|"
    r"都)?(?P<hs>(?:各?1?(?:次|颗|片|粒|锭))?[,]?(?:和|及|与|跟|加|、|,|以及|还有)(?:临)?睡前)?"
    r"|(?P<en>before|after|with|at)(?: each of (?:your|the)| each| every| all(?: the| your)?|"
    r" your| all)? ?(?:3 meals|"
    r"(?<=each )meals?|(?<=every )meals?)(?P<hs2>(?:,? and| plus) (?:at )?(?:bedtime|before "
    r"bed))?"
    r"|早[、,]?(?:中|午)[、,]?晚(?:[、,和及]?睡前(?P<hs3>))?|早上[、,]中午[、,]?(?:和|及|与|"
    r"跟)?晚上"
    r"|(?:in the )?morning,? (?:noon|midday|afternoon|lunchtime),? and (?:at |in the )?(?:night|"
    r"evening|bedtime)"
    r"|breakfast,? lunch,? and (?:dinner|supper)"
)
_TWO_SLOTS = re.compile(
    r"早(?:餐|饭)?(?:后|前)?(?:[、和及与跟,]|1次[,、])?晚(?:餐|饭)?(?:后|前)?(?!点|1点)(?:各|都|"
    r"1次|饭|餐|吃|服|用|点|擦|,|。|$)|早上?(?:和|及|与|跟|、)晚上?|(?:白天|早上)(?:和|跟|"
    r"、)?晚上各"
    r"|(?:in the |every |each )?mornings? and (?:at |in the |every |each |1 in the |one in the |"
    r"again (?:in the |at |every ))?(?:nights?|evenings?|bedtime)"
    r"|breakfast and (?:after |before |with )?(?:dinner|supper)"
    r"|早上?(?:起来|饭后|餐后)?(?:吃|服|用|打)?1(?:颗|粒|片|锭|包|针|次)[,、]?(?:和|跟)?晚上?(?:睡前|饭后|餐后)?(?:再|又|也)?(?:吃|服|用|打)?1(?:颗|粒|片|锭|包|针|次)"
    r"|(?:\b(?:after|with|at|before|in|on) (?:the )?)?\b(?:breakfast|morning|waking)\b,?(?: and|"
    r" then| plus|,) (?:then )?(?:one|1|"
    r"another)(?: more| other)?"
    r"(?: tablet| capsule| pill)? (?:after|with|at|before|in|for) (?:the )?(?:dinner|supper|"
    r"night|bedtime|evening|bed)"
)
_SLOTS = (
    (
        MORNING,
        re.compile(
            r"(?<!今天)(?<!明天)(?<!昨天)(?<!隔天)早(?:上|晨)(?!好)|清晨|晨起|起床后|早(?:餐|"
            r"饭)(?:前|后)?"
            r"|(?:(?<!good )(?<!this )(?<!tomorrow )(?<!yesterday )(?<!next ))(?:in the |every |"
            r"each |the )mornings?|\bmorning (?=tablet|pill|dose|capsule|one\b|medicine)|"
            r"breakfast|"
            r"on waking|\bat dawn\b|qam"
        ),
    ),
    (NOON, re.compile(r"中午|午(?:餐|饭)(?:前|后)?|at noon|midday|lunch(?:time)?")),
    (
        EVENING,
        re.compile(
            r"(?<!今天)(?<!昨天)(?<!明天)晚(?:上|间)(?!好)|傍晚|每晚|晚(?:餐|饭)(?:前|后)?"
            r"|(?:in the |every |each )evenings?|dinner|supper|(?:at|every|each) nights?\b|"
            r"\bnightly|qpm|qn"
        ),
    ),
    (
        BEDTIME,
        re.compile(
            r"睡前|睡觉前|就寝前?|临睡|bedtime|before (?:going to )?(?:bed|sleep)|before you "
            r"(?:go to )?(?:bed|sleep)"
        ),
    ),
)
_MEAL = (
    (
        EMPTY,
        re.compile(
            r"空腹|空着?肚子?|empty stomach|\bfasting\b|without food|饭前1小时|"
            r"1 hour before (?:food|meals?|"
            r"eating)"
        ),
    ),
    (
        BEFORE_MEAL,
        re.compile(
            r"(?:饭|餐)前|用餐前|吃饭前|进食前|before (?:(?:each|every|your|the|a|any|all) "
            r")?(?:meals?|food|eating|breakfast|lunch|dinner|supper|you eat)|"
            r"(?<![a-z])ac(?![a-z])"
        ),
    ),
    (
        AFTER_MEAL,
        re.compile(
            r"(?:饭|餐)后|用餐后|吃(?:饱|完)(?:[早午晚中正]?[饭餐])?(?:(?:以|之)?后再?|再|就|马上)|"
            r"[早午晚中][饭餐](?:吃|用)(?:完|过|饱)(?:饭|了)?(?:(?:以|之)?后再?|再|就|马上)?|"
            r"\b(?:cleared|emptied|finished) (?:the|your) plate\b|after (?:(?:each|every|"
            r"your|the|a|all) "
            r")?(?:meals?|food|eating|breakfast|lunch|dinner|supper|you(?:'ve| have)? "
            r"eat(?:en)?)|\b(?:once|when) you(?:'ve| have) (?:had|eaten|finished) (?:your |the )?"
            r"(?:meal|food|breakfast|lunch|dinner|supper)|(?<![a-z])pc(?![a-z])"
        ),
    ),
    (
        WITH_MEAL,
        re.compile(
            r"随[饭餐]|配(?:饭|食物|餐)|(?:跟|随)着?(?:[早午晚中正]?[饭餐]|食物)(?!分|隔|错|无)|"
            r"\bwith (?:your |the |a )?(?:main|big|large|good|"
            r"heavy|full|hot|"
            r"evening|midday) (?:meal|dinner|lunch|breakfast|supper)|"
            r"in the middle of (?:a|the|your) "
            r"(?:big )?meal|和(?:食物|饭|餐点?)(?:1|一)?起|与食物|边吃饭|用餐时|with "
            r"(?:(?:each|every|your|the|a|some|all) )?(?:meals?|food|breakfast|lunch|dinner|"
            r"supper|snack)"
        ),
    ),
)
_EACH = re.compile(r"every|each|nightly|每")
_EACH_BEFORE = re.compile(r"(?:每天|每日|每|天天|every |each )(?:的)?$")
_EVERY_DAY = re.compile(
    r"每天|每日|天天|每晚|每早|夜夜|\bdaily\b|(?:every|each) (?:single )?(?:day|morning|night|"
    r"evening)\b|"
    r"\bday in,? day out\b|\bmonday (?:right )?(?:through )?to sunday\b|\b(?:seven|"
    r"7) days a week\b|"
    r"(?:周|星期|礼拜)[一1]到(?:周|星期|礼拜)?[日天7]"
)
_AS_NEEDED = re.compile(
    r"需要(?:的?时|才|再|的时候)|必要(?:的?时|的时候)|有需要|(?:痛|疼|发烧|不舒服|痒|"
    r"喘)(?:起来)?(?:的?时候?|才|再)|(?<![a-z])prn(?![a-z])"
    r"|(?:as|when|if|only when|whenever) (?:you )?need(?:ed)?(?: it)?|if (?:it is "
    r")?(?:necessary|required)|for (?:pain|fever)\b|when (?:you (?:have|are in) )?pain"
)
_CEILING = re.compile(r"最多|至多|超过")
_AT_MOST = re.compile(
    r"(?:最多|至多|不超过|不要超过|不能超过|不可超过|别超过|勿超过|上限|以内|no more than|up to|"
    r"at most|not more than|maximum(?: of)?|max|do not exceed|"
    r"don't exceed|never exceed|never more than|not exceed(?:ing)?|do not (?:take|use) more "
    r"than|don't (?:take|use) more than|limit of|more than)\s*"
    r"(?:of |is |吃|服用|服|用|,|:|为|是|1天|每天|1日|每日|24小时|内)*$"
)


def read_timings(text: str) -> list[Timing]:
    """Read what a numbered text says of how often and when, in order.

    Whether it speaks of taking a medicine, and not of measuring or feeling something, is for the
    caller to tell.
    """
    reader = _TimingReader(text)
    reader.read_codes_and_intervals()
    reader.read_counts()
    reader.read_moments()
    return sorted(reader.found, key=lambda timing: timing.start)


class _TimingReader:
    """Collects timings; what says how often is read first, and its words say nothing else."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.found: list[Timing] = []

    def read_codes_and_intervals(self) -> None:
        """BID, "every 8 hours", 每週一次."""
        for match in _TID_HS.finditer(self._text):
            self._add(match, 4.0, slots=[MORNING, NOON, EVENING, BEDTIME])
        for match in _CODE.finditer(self._text):
            per_day = _CODES[match["code"]]
            slots = [BEDTIME] if match["more"] == "hs" and per_day == 1 else []
            self._add(match, per_day, slots=slots, as_needed="prn" in match[0])
        for match in _EVERY_H.finditer(self._text):
            first = next(filter(None, (match[name] for name in _EVERY_H_NUMBERS)), None)
            first = first or ("0.5" if re.search(r"0\.5|half", match[0]) else "1")
            second = match["m"] or match["m3"]
            if float(first) > 0:
                high = 24 / float(second) if second and float(second) > 0 else None
                self._add(match, 24 / float(first), high, interval=True)
        for match in _EVERY_LONG.finditer(self._text):
            self._add(match, 1 / _days_between(match))
        for match in _ZH_WEEK.finditer(self._text):
            self._add(match, _per_week(match))
        for match in _EN_WEEK.finditer(self._text):
            self._add(match, _per_week_en(match))

    def read_counts(self) -> None:
        """一天三次, "twice a day", 三餐飯後, 早晚."""
        for match in _ZH_TIMES.finditer(self._text):
            number = float(match["n"] or match["n2"])
            most = float(match["m"]) if match["m"] else None
            self._add(match, number, most)
        for match in _EN_TIMES.finditer(self._text):
            if match["d"]:
                self._add(match, 1.0)
            elif match["t"]:
                self._add(match, float(match["t"]), float(match["u"]) if match["u"] else None)
            else:
                number = _WORD_TIMES[match["w"]] if match["w"] else float(match["n"])
                self._add(match, number, float(match["m"]) if match["m"] else None)
        for match in _MEALS_3.finditer(self._text):
            bedtime = any(match[group] is not None for group in ("hs", "hs2", "hs3"))
            slots = [MORNING, NOON, EVENING, *([BEDTIME] if bedtime else [])]
            self._add(match, 4.0 if bedtime else 3.0, slots=slots)
        for match in _TWO_SLOTS.finditer(self._text):
            self._add(match, 2.0, slots=[MORNING, EVENING])
        for match in _OTHER_CODE.finditer(self._text):
            code = match["code"]
            if code in ("hs", "qhs", "qn", "qam", "qpm"):
                slot = {"qam": MORNING, "qpm": EVENING, "qn": EVENING}.get(code, BEDTIME)
                self._add(match, 1.0, slots=[slot])

    def read_moments(self) -> None:
        """Times of the day, meals, "every day" and "as needed"."""
        for slot, pattern in _SLOTS:
            for match in pattern.finditer(self._text):
                if not self._is_taken(match):
                    daily = bool(_EACH.match(match[0])) or bool(
                        _EACH_BEFORE.search(self._text[: match.start()])
                    )
                    self.found.append(
                        Timing(
                            match.start(), match.end(), every_day=daily, slots=frozenset([slot])
                        )
                    )
        for meal, pattern in _MEAL:
            for match in pattern.finditer(self._text):
                if not any(t.meal and t.start <= match.start() < t.end for t in self.found):
                    self.found.append(Timing(match.start(), match.end(), meal=meal))
        for match in _EVERY_DAY.finditer(self._text):
            if not self._is_taken(match):
                self.found.append(Timing(match.start(), match.end(), every_day=True))
        for match in _AS_NEEDED.finditer(self._text):
            self.found.append(Timing(match.start(), match.end(), as_needed=True))

    def _is_taken(self, match: re.Match[str]) -> bool:
        return any(
            t.per_day and t.start < match.end() and match.start() < t.end for t in self.found
        )

    def _add(
        self,
        match: re.Match[str],
        low: float,
        high: float | None = None,
        *,
        slots: Iterable[str] = (),
        as_needed: bool = False,
        interval: bool = False,
    ) -> None:
        if self._is_taken(match):
            return
        most = low if high is None else high
        is_ceiling = _AT_MOST.search(self._text[: match.start()]) or _CEILING.search(match[0])
        self.found.append(
            Timing(
                match.start(),
                match.end(),
                (min(low, most), max(low, most)),
                slots=frozenset(slots),
                as_needed=as_needed,
                at_most=bool(is_ceiling),
                interval=interval,
            )
        )


_BARE_SLOTS = {
    "morning": MORNING,
    "am": MORNING,
    "noon": NOON,
    "evening": EVENING,
    "night": EVENING,
    "pm": EVENING,
    "bedtime": BEDTIME,
}
_BARE_SLOT = re.compile(r"(?<![\d: ]{2})\b(" + "|".join(_BARE_SLOTS) + r")\b")
"""A label writes "morning and noon" without the small words of a sentence."""


@dataclass(frozen=True)
class Schedule:
    """How often and when, put together from the statements of a label.

    `per_day` is None where the label does not say.
    """

    per_day: tuple[float, float] | None = None
    slots: frozenset[str] = frozenset()
    meal: str = ""
    as_needed: bool = False

    @property
    def times_low(self) -> float:
        return self.per_day[0] if self.per_day else 0.0

    @property
    def times_high(self) -> float:
        return self.per_day[1] if self.per_day else 0.0


def read_schedule(*texts: str) -> Schedule:
    """Read the schedule of a label; an earlier text wins where two of them speak of one thing."""
    per_day: tuple[float, float] | None = None
    slots: frozenset[str] = frozenset()
    meal, as_needed = "", False
    for number, text in enumerate(texts):
        written = _DOTTED.sub(r"\1\2\3", numbered(text))
        per_day = per_day or _of_weekdays(written)
        if number == 0 and per_day is None:
            # Bare numbers tell times where nothing but times is written.
            per_day = _of_clock(written)
        timings = read_timings(written)
        counted = [t.per_day for t in timings if t.per_day and not t.at_most]
        own_slots = frozenset(slot for t in timings for slot in t.slots) | frozenset(
            _BARE_SLOTS[word] for word in _BARE_SLOT.findall(written)
        )
        if per_day is None and counted:
            per_day = (min(c[0] for c in counted), max(c[1] for c in counted))
        elif per_day is None and own_slots:
            # 早餐後 alone, or "at bedtime" alone, is how a label writes once a day.
            per_day = (float(len(own_slots)), float(len(own_slots)))
        elif per_day is None and any(t.every_day for t in timings):
            per_day = (1.0, 1.0)
        slots = slots or own_slots
        meal = meal or next((t.meal for t in timings if t.meal), "")
        as_needed = as_needed or any(t.as_needed for t in timings)
    return Schedule(per_day, slots, meal, as_needed)


# Routes ------------------------------------------------------------------------------------------

_EYE, _EAR, _NOSE = r"(?:眼睛?|眼内|结膜)", r"(?:耳朵?|耳道|耳内)", r"(?:鼻子?|鼻孔|鼻腔)"
_IN = (
    r"(?:in|into|to|up|inside)(?: (?:your|the|each|both|affected|one|left|right|a|his|her|"
    r"child's)){0,3}"
)
MOUTH = "mouth"
"""Said of whatever goes into the mouth; no route of a label."""
_ROUTES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "oral",
        re.compile(
            r"\bby mouth\b|\borally\b|\bper os\b|"
            r"(?<!you can )(?<!can't )(?<!cannot )(?<!trouble )(?<!able to )"
            r"(?<!difficulty )(?<!hard to )\bswallow(?:ed|ing)?\b(?! (?:safely|properly|"
            r"problems?|your|some))|"
            r"\bgo(?:es)? down (?:fine|well|easy|easily|nicely|a treat|with)\b|"
            r"\b(?:sip|munch|lick|nibble|slurp)(?:ped|ping)? (?:it|them|this|on|the|at)\b|"
            r"\blet (?:him|her|them) (?:munch|chew|suck|eat|drink|lick)\b|"
            r"\b(?:wash|chase|knock)(?:ed)? (?:it|them|this|the \w+) (?:down|back)\b|"
            r"\b(?:mix|stir|squeez|squirt|tip|pour|hid|empt|dissolv|sprinkl|shak|drop|melt|put|"
            r"pop)"
            r"\w*\b[^.;]{0,24}\b(?:juice|yogh?urt|honey|porridge|milk|marshmallow|jam|food|soup|a "
            r"spoon|cola|lemonade|pudding|ice ?cream|custard|tea|coffee|drinks?|your (?:water|"
            r"glass|cup|mug|"
            r"bottle))\b|\bdrink (?:it|this|what|whatever|the|"
            r"them|all|up)\b|\bgulp\b"
            r"|口服|吞服|吞下|(?<![会难])吞(?=\d|整|药|掉|进|了它|了就|也|就|$|[,。;!])|吞食|"
            r"整(?:颗|粒|片)吞|"
            r"喝(?:下|掉|药|了它|进)|(?<![能可])喝(?:也|完|就)(?!水)|(?:您|他|她|"
            r"孩子)喝(?=[,。;!]|$)|"
            r"嘴巴?(?:吃|吞)|服下|送服|咽下|"
            r"(?:[用配拿以兑加泡冲和])(?:着|点|些|在|进|到|半杯|1杯|1点|1口)?(?:温|冷|热|开|白|"
            r"冰)?(?:开)?水"
            r"[^,。;擦洗抹漱敷坐泡]{0,4}(?:吞|喝|送|服|咽|冲|化开|当)|倒(?:在|进|到)水|"
            r"当(?:饮料|软糖|糖|零食|点心)|"
            r"(?:加|撒|混|拌|倒|挤|放|掺)(?:1点|点)?(?:在|进|到|入)?[^,。;]{0,4}(?:粥|饭里|汤|"
            r"牛奶|果汁|布丁|优格|"
            r"酸奶|饮料|蜂蜜|豆浆|咖啡|茶)"
        ),
    ),
    (
        MOUTH,
        re.compile(
            r"\bon (?:the|your|his|her) tongue\b|\b(?:in|into) (?:your|the) mouth\b(?! ?piece)|"
            r"\beat (?:it|this|the \w+)\b|(?:可以|"
            r"能)吃(?=$|[,。;!的]|下|掉)|吃(?:下去|掉|进去)|放(?:在|进|到)嘴"
        ),
    ),
    (
        "throat",
        re.compile(
            r"\b(?:back of (?:the|your|his|her) throat|down (?:the|your|his|her) throat|"
            r"into (?:the|your|his|"
            r"her) throat)\b|(?:往|对着|朝)?喉咙(?:里|深处)?(?:喷|挤|滴|倒|灌)|"
            r"[喷挤滴倒灌](?:在|进|到|入)?喉咙|"
            r"抿(?:在)?嘴|(?:灌|挤|倒|塞|滴)(?:在|进|到|入)嘴|撬开嘴"
        ),
    ),
    (
        "lozenge",
        re.compile(
            r"(?:在)?(?:嘴|口)里?含|口含|含(?:着|到|在嘴|在口)|舌头上(?:慢慢)?[化溶]|"
            r"\bsuck (?:on )?(?:it|them|this|the)\b|\b(?:melt|dissolve) (?:on|in) (?:your|the|"
            r"his|her) "
            r"(?:tongue|mouth)\b"
        ),
    ),
    (
        "sublingual",
        re.compile(
            r"\bunder (?:your|the|his|her) tongue\b|\bsublingual(?:ly)?\b|舌(?:头)?(?:底)?下"
        ),
    ),
    (
        "ophthalmic",
        re.compile(
            rf"\b{_IN} eyes?\b|[点滴擦涂抹挤]{{1,2}}(?:药)?(?:\d滴)?(?:在|入|到|进|于|左|右|双|"
            rf"两)*[^,。;耳鼻]{{0,6}}{_EYE}|{_EYE}(?:里|内)?(?:各|每次)?[点滴]|点眼|"
            rf"[抹擦涂挤滴点]{{1,2}}[^,。;]{{0,6}}眼(?:皮|角|睑|头)|"
            rf"\b(?:drip|drop|smear|dab|put|rub|squeeze|apply|line|squirt|run|"
            rf"ribbon)\w*\b[^.;]{{0,40}}\b(?:eyes?|"
            rf"(?:lower |upper )?(?:eye)?lids?)\b(?! (?:drops?|ointment|doctor|clinic|test))|"
            rf"\beye "
            rf"drops?\b(?= (?:in|into))|\b(?:as|like) (?:an? )?eye (?:drops?|ointment)"
        ),
    ),
    (
        "otic",
        re.compile(
            rf"\b{_IN} ears?\b|[点滴倒放塞]{{1,2}}(?:药)?(?:\d滴)?(?:在|入|到|进|于|左|右|双|"
            rf"两)*[^,。;眼鼻]{{0,3}}{_EAR}|{_EAR}(?:里|内)?(?:各|每次)?[点滴]|"
            rf"\b(?:trickle|drip|drop|pour|put|squirt|"
            rf"run)\w*\b[^.;]{{0,30}}\bears?\b(?! (?:drops?|doctor))"
        ),
    ),
    (
        "nasal",
        re.compile(
            rf"\b{_IN} (?:nose|nostrils?)\b|\bnasally\b|[喷滴吸点塞](?:\d下)?(?:在|入|到|进|"
            rf"于)*[^,。;眼耳]{{0,3}}{_NOSE}|{_NOSE}(?:里|内)?(?:各|每次)?[喷滴吸]|"
            rf"对准{_NOSE}|\b(?:sniff|snort)\b|\bup (?:your|his|her|the|each) (?:nose|nostrils?)\b"
        ),
    ),
    (
        "inhaled",
        re.compile(
            r"\binhal(?:e|ing)\b|\bbreathe (?:it|the medicine|this) in\b|\bbreathe in (?:the|"
            r"it)\b|吸入(?!性)|吸\d(?:下|"
            r"喷|口)|用嘴(?:巴)?吸|吸(?:进|到)肺"
        ),
    ),
    (
        "topical",
        re.compile(
            r"\b(?:apply|rub|spread|smear|dab|massage)\b(?!ing? for)(?=[^.;]{0,40}\b(?:skin|"
            r"rash|area|joint|knee|back|arm|leg|hands?|face|patch|wound|spot)\b)"
            r"|\b(?:rub|spread|smear|dab|massage|slap|slather|"
            r"smooth)\w*\b[^.;]{0,40}\b(?:cheeks?|neck|forehead|"
            r"elbows?|feet|toes|wrinkles|chest|tummy|lips|scalp)\b|(?:抹|涂|"
            r"敷)[^,。;]{0,5}(?:脸|脖子|手|脚|腿|额|"
            r"膝|背|肚皮|太阳穴)|\bon(?:to)? (?:the|your) (?:skin|rash|affected area|wound)\b|"
            r"涂(?:抹|在|于|到|上|"
            r"一涂)|抹一抹|(?:皮肤|手|腿|肚皮|患部)上[涂抹擦]|抹(?:在|于|到|上)|擦(?:在|于|到)|"
            r"敷(?:在|于)|外用|外擦"
        ),
    ),
    ("transdermal", re.compile(r"\bstick (?:it|the patch|one|this)\b|贴(?:在|于|到)(?!心)")),
    (
        "rectal",
        re.compile(
            r"\b(?:in|into|up)(?: (?:your|the|his|her))? (?:rectum|anus|bottom|back passage|"
            r"behind|backside|bum)\b|"
            r"[推挤放送](?:在|进|到|入)(?:肛门|直肠|屁股)|"
            r"\brectally\b|\b(?:as|like) (?:an? )?suppositor|塞(?:在|入|进|"
            r"到)*[^,。;]{0,2}(?:肛门|直肠|屁股|屁眼)|肛门(?:内|里)?(?:塞|放|给)|肛塞|塞肛"
        ),
    ),
    (
        "vaginal",
        re.compile(
            r"下面[^,。;]{0,4}(?:挤|塞|抹|放)[^,。;]{0,2}进|\b(?:in|into)(?: (?:your|"
            r"the))? vagina\b|\bvaginally\b|塞(?:在|入|进|"
            r"到)*[^,。;]{0,2}阴道|阴道(?:内|里)?(?:塞|放|给)"
        ),
    ),
    ("subcutaneous", re.compile(r"\bunder (?:your|the) skin\b|\bsubcutaneous(?:ly)?\b|皮下")),
    (
        "intramuscular",
        re.compile(
            r"\b(?:in|into)(?: (?:your|the|a))? muscle\b|\bintramuscular(?:ly)?\b|肌肉注射|"
            r"(?:打|注|扎|戳|刺)[^,。;]{0,10}肌肉|肌肉(?:深处|里)?[打扎]|"
            r"\b(?:in|into)(?: (?:your|the|his|her|each))? (?:buttocks?|backside muscle)\b"
        ),
    ),
    (
        "intravenous",
        re.compile(
            r"\b(?:in|into|through)(?: (?:your|the|a))? vein\b|\bintravenous(?:ly)?\b|"
            r"(?:打|注|推|戳|扎|刺)[^,。;]{0,6}(?:血管|点滴管|点滴线|输液管)|"
            r"血管(?:直接)?[打推戳扎]|"
            r"\b(?:push|inject|run|squirt|put|flush)\w*\b[^.;]{0,24}\b(?:drip(?: line)?|iv|line|"
            r"cannula)\b|"
            r"静脉(?:注射|输注|点滴)|(?:打|注射?|推)(?:在|到|进|入)[^,。;]{0,3}(?:静脉|血管)|"
            r"打点滴|\biv "
            r"(?:drip|push|line)\b"
        ),
    ),
    (
        "injected",
        re.compile(
            r"\binject(?:ed|ing)?\b(?! ?(?:pen|site))|注射(?!部位|处|针|器|笔)|打(?:针|在肚|"
            r"在大腿|到肚)|用针(?:筒)?打"
        ),
    ),
)
_LABEL_ROUTES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("sublingual", re.compile(r"(?<![a-z])sl(?![a-z])|sublingual|under the tongue|舌下")),
    ("buccal", re.compile(r"buccal|颊")),
    (
        "oral",
        re.compile(
            r"(?<![a-z])p\.?o\.?(?![a-z])|oral(?!ly disinteg)|by mouth|口服|内服|per os|"
            r"(?<![a-z])ng(?![a-z])"
        ),
    ),
    ("ophthalmic", re.compile(r"ophth|eye|ocular|眼")),
    ("otic", re.compile(r"otic(?![a-z])|(?<![a-z])ears?(?![a-z])|aural|耳")),
    ("nasal", re.compile(r"nasal|nose|nostril|鼻")),
    ("inhaled", re.compile(r"inhal|(?<![a-z])inh(?![a-z])|nebuli|吸入|雾化|喷雾吸")),
    ("transdermal", re.compile(r"transdermal|patch|经皮|穿皮|贴片|贴布")),
    (
        "topical",
        re.compile(
            r"topical|(?<![a-z])ext(?![a-z])|external|(?<!under the )skin(?! test)|"
            r"(?<!sub)(?<!per)cutaneous|外用|涂|擦|患部|皮肤"
        ),
    ),
    (
        "rectal",
        re.compile(r"rectal|(?<![a-z])(?:pr|supp)(?![a-z])|suppositor|anal|直肠|肛|塞剂|栓剂"),
    ),
    ("vaginal", re.compile(r"vagin|pessar|(?<![a-z])(?:pv|vag)(?![a-z])|阴道")),
    ("subcutaneous", re.compile(r"subcut|(?<![a-z])s\.?[cq]\.?(?![a-z])|under the skin|皮下")),
    ("intramuscular", re.compile(r"intramusc|(?<![a-z])i\.?m\.?(?![a-z])|肌肉|肌注")),
    ("intravenous", re.compile(r"intraven|(?<![a-z])i\.?v\.?d?(?![a-z])|infusion|静脉|静注|点滴")),
    ("injected", re.compile(r"inject|注射|针剂")),
)
_FORM_ROUTES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("ophthalmic", re.compile(r"eye (?:drops?|ointment|gel)|ophthalmic|点眼|眼药|眼膏|眼用")),
    ("otic", re.compile(r"ear drops?|otic|耳滴|滴耳|耳药")),
    ("nasal", re.compile(r"nasal|nose|鼻喷|喷鼻|鼻用")),
    (
        "inhaled",
        re.compile(r"inhal|evohaler|turbuhaler|accuhaler|diskus|respimat|nebul|吸入|喷雾|定量"),
    ),
    ("rectal", re.compile(r"suppositor|enema|栓剂|塞剂|灌肠")),
    ("vaginal", re.compile(r"vaginal|pessar|阴道")),
    ("transdermal", re.compile(r"patch|贴片|贴布")),
    (
        "topical",
        re.compile(r"cream|ointment|lotion|(?<![a-z])gel(?![a-z])|乳膏|药膏|软膏|凝胶|乳液"),
    ),
    (
        "injected",
        re.compile(r"inject|insulin|flexpen|kwikpen|solostar|syringe|注射|针剂|胰岛素|预填"),
    ),
    ("sublingual", re.compile(r"sublingual|舌下")),
    (
        "oral",
        re.compile(
            r"tab(?:let)?s?(?![a-z])|caps?(?:ule)?s?(?![a-z])|syrup|suspension|oral|sachet|"
            r"powder|锭|胶囊|糖浆|口服|药水|颗粒|散剂"
        ),
    ),
)
INJECTED = frozenset({"subcutaneous", "intramuscular", "intravenous", "injected"})
_AGREEING = {
    "topical": frozenset({"topical", "transdermal"}),
    "transdermal": frozenset({"topical", "transdermal"}),
    "nasal": frozenset({"nasal", "inhaled"}),
    "inhaled": frozenset({"inhaled"}),
    "buccal": frozenset({"buccal", "sublingual"}),
    "injected": INJECTED,
    "subcutaneous": frozenset({"subcutaneous", "injected"}),
    "intramuscular": frozenset({"intramuscular", "injected"}),
    "intravenous": frozenset({"intravenous", "injected"}),
}
"""For each route of a label, the routes that may be said of it; itself where it is not listed."""


@dataclass(frozen=True)
class RouteSaid:
    """A way of taking that a text names: a code as in the formulary, or "injected"."""

    route: str
    start: int
    end: int


def read_routes(text: str) -> list[RouteSaid]:
    """Read the ways of taking that a numbered text speaks of, in order."""
    found = [
        RouteSaid(route, match.start(), match.end())
        for route, pattern in _ROUTES
        for match in pattern.finditer(text)
    ]
    return sorted(found, key=lambda said: said.start)


def read_label_routes(route: str, *fallbacks: str) -> frozenset[str]:
    """Read the route of a label; from its name and dose only where the field says nothing."""
    text = numbered(route)
    found = frozenset(code for code, pattern in _LABEL_ROUTES if pattern.search(text))
    if found:
        return found
    for fallback in fallbacks:
        text = numbered(fallback)
        for code, pattern in _FORM_ROUTES:
            if pattern.search(text):
                return frozenset({code})
    return frozenset()


def routes_agree(label: frozenset[str], said: str) -> bool:
    """Tell whether a route may be said of a medicine with the routes of its label."""
    if said == "throat":
        return bool(label & {"oral", "sublingual", "buccal"})
    if said == "lozenge":
        return bool(label & {"oral", "sublingual", "buccal"})
    if said == MOUTH:
        return bool(label & {"oral", "sublingual", "buccal", "inhaled"})
    if label & (INJECTED - {"injected"}):
        label = label - {"injected"}
    return any(said in _AGREEING.get(route, frozenset({route})) for route in label)


# Helpers -----------------------------------------------------------------------------------------

_SPACED_NUMBER = re.compile(r"(?<=[\u4e00-\u9fff]) +(?=\d)|(?<=\d) +(?=[\u4e00-\u9fff])")
"""每 72 小時 is 每72小時."""
_THREE_QUARTERS = re.compile(r"\bthree[ -]quarters of an? (?=gram|tablet|pill|milligram)")
_HALF_A_GRAM = re.compile(r"(?<=[颗粒片锭包支个])半(?=公?克(?!力))")
"""一片半克: one tablet has half a gram."""
_HALF_EACH = re.compile(r"(?<=[一1每])次半(?=[颗粒片锭包个汤茶匙])")
_NEIGHBOURS = re.compile(
    r"(?<![十百千\d一二三四五六七八九第])(一(?=[二两])|二(?=三)|两(?=三)|三(?=[四五])|四(?=五)|"
    r"五(?=六)|六(?=七)|七(?=八)|八(?=九))"
    r"([二两三四五六七八九])(?=个?(?:次|回|趟|颗|粒|片|滴|下|喷|遍|针|包|小时|天))"
)
"""七八回 is seven or eight times, not seventy-eight."""
_SMALL = {"一": 1, "二": 2, "三": 3, "四": 4, "1": 1, "2": 2, "3": 3, "4": 4}
_QUARTER = re.compile(r"([二三四234])分之([一二三123])(?=[颗粒片锭包克]|公克)")
_ONE_PUFF = re.compile(
    r"(?<=[各吸喷按压次])(?<!轻轻吸)(?<!慢慢吸)一下(?=$|[,.;!的])|"
    r"一下(?=(?:就是|是|含有?|有|等于|相当于)[\d零一二三四五六七八九十百千两半])"
)
"""One puff; 一下 is otherwise "for a moment"."""
_CAPITAL_THREE = re.compile(r"参(?=[次颗粒片锭包滴毫天])")
_ONE_DESCRIBED = re.compile(
    r"\bone (?=(?:whole|full|single|small|large|white|pink|blue|yellow|round|more|extra|"
    r"entire)+ (?:tablet|pill|capsule|dose)s?\b)"
)
_HALF_GRAM = re.compile(r"\bhalf an? (?=gram|milligram)|半(?=公克|克(?!力))")
_ONE_GRAM = re.compile(r"\ban? (?:single |full |whole )?(?=gram(?!s)|milligram(?!s))")
_RANGE_START = re.compile(r"([一二两三四五六七八九十])(?=(?:到|至|-|~|或)\d)")
_RANGE_START_EN = re.compile(r"\b(one|half|two|three|four)(?= (?:to|or) \d)")
_EN_VALUES = {"one": "1", "half": "0.5", "two": "2", "three": "3", "four": "4"}
_PERCENT = re.compile(r"百分之(?:(\d+(?:\.\d+)?)|([零一二三四五六七八九十百点]+))")
_FRACTION = re.compile(
    r"(?<![\d/.])(\d+ )?([13])/([234])(?=\s*(?:of an? |an? )?(?:tab|pill|cap|颗|粒|片|锭|#|"
    r"sachet|包))"
)
_WEEKLY_TIMES = re.compile(r"(?<=[周月期拜])([两二三四五六七])(?=次)")
_POINT = re.compile(
    r"(?<![\d.])(\d+|[一二两三四五六七八九十])点([零一二三四五六七八九])(?=西西|毫升|毫克|公克|"
    r"单位|颗|粒|片|cc|ml|mg)"
)
_MORE_COUNTED = re.compile(
    r"([一二两三四五六七八九])(?=(?:张|格|管|颗|粒|片|锭|包|支|针|西西|毫升|毫克|单位|滴|"
    r"喷)(?!十))|"
    r"([一两二三四五])(?=整?(?:整颗|整粒|整片|整锭|大颗|小颗|份|餐))|([两二三四五])(?=(?:份|餐|"
    r"大颗|小颗|整颗|粒药|种剂量|剂量|次份|次的))"
)


def _finish_numbers(text: str) -> str:
    text = _RANGE_START.sub(lambda m: f"{chinese_value(m[1]):g}", text)
    text = _ONE_DESCRIBED.sub("1 ", text)
    text = _ONE_GRAM.sub("1 ", _HALF_GRAM.sub("0.5 ", text))
    text = _RANGE_START_EN.sub(lambda m: _EN_VALUES[m[1]], text)
    text = _WEEKLY_TIMES.sub(lambda m: f"{chinese_value(m[1]):g}", text)
    text = _PERCENT.sub(lambda m: f"{m[1] or f'{chinese_value(m[2]) or 0:g}'}%", text)
    text = _MORE_COUNTED.sub(lambda m: f"{chinese_value(next(filter(None, m.groups()))):g}", text)
    text = _POINT.sub(
        lambda m: (
            f"{float(m[1]) if m[1].isdigit() else chinese_value(m[1]):g}.{chinese_value(m[2]):g}"
        ),
        text,
    )
    return _FRACTION.sub(lambda m: f"{int(m[1] or 0) + int(m[2]) / int(m[3]):g}", text)


def _float(written: str) -> float:
    return float(written.replace(",", ""))


def _values(written: str, kind: str) -> list[float]:
    parts = [_float(part) for part in written.split("/")]
    if kind in ("count", "sachet") and len(parts) == 2 and parts[1]:
        return [parts[0] / parts[1]]
    return parts


def _per(written: str | None) -> tuple[str, float]:
    if not written:
        return "", 1.0
    match = re.search(
        r"(\d+(?:\.\d+)?)?\s*([a-z]+|[\u4e00-\u9fff]+)$", written.replace("per ", "")
    )
    if match is None:
        return "", 1.0
    name = match[2].removeprefix("每")
    name = {"公斤": "kg", "毫升": "ml", "cc": "ml", "天": "day", "日": "day"}.get(name, name)
    return name, float(match[1] or 1)


def _of_weekdays(written: str) -> tuple[float, float] | None:
    """Doses a day of a label that names the days of the week."""
    match = _DAYS_OF_WEEK.search(written)
    if match is None or _EVERY_DAY.search(written):
        return None
    days = (
        {found[0] for found in _DAY_EN.finditer(match["en"])}
        if match["en"]
        else {found[0] for found in _DAY_ZH.finditer(match["zh"])}
    )
    return (len(days) / 7, len(days) / 7) if days else None


def _of_clock(written: str) -> tuple[float, float] | None:
    """Doses a day of a label that lists times of the day, or tablets meal by meal."""
    text = written.strip(" .。")
    meals = _PER_MEAL.match(text)
    if meals:
        times = sum(float(part or 0) > 0 for part in meals.groups())
        return (float(times), float(times)) if times else None
    if _CLOCK_LIST.match(text):
        times = len(re.findall(r"\d{1,2}(?::\d{2})?", text))
        return (float(times), float(times))
    return None


def _days_between(match: re.Match[str]) -> float:
    if match["f"]:
        return 14.0
    if match["mo"]:
        return 30.0
    if match["half"]:
        return 182.0
    written = match["n"] or match["z"]
    number = float(written) if written.isdigit() else (chinese_value(written) or 1.0)
    return max(1.0, number) * _LONG_DAYS[(match["u"] or match["zu"])[0]]


def _per_week(match: re.Match[str]) -> float:
    if match["p"]:
        number = 1.0 if match["n"] == "一" else float(match["n"])
        return number / (30 if match["p"] == "月" else 7)
    if match["k"]:
        return 1 / (7 * max(1.0, float(match["k"])))
    if match["j"] or match["i"]:
        return 1 / max(1.0, float(match["j"] or match["i"]))
    return 0.5


def _per_week_en(match: re.Match[str]) -> float:
    word, period = match["w"] or match["o"], match["p"] or match["q"]
    if period:
        number = _WORD_TIMES[word] if word else float(match["n"])
        return number / (30 if period.startswith("month") else 7)
    if match["j"]:
        return 1 / max(1.0, float(match["j"]))
    if match["k"]:
        return 1 / (7 * max(1.0, float(match["k"])))
    return 0.5 if "day" in match[0] and "week" not in match[0] else 1 / 7
