"""Weak evidence: how far each statement of a sentence is borne out by the label.

The rules of `dosing.py` block where a sentence cannot agree with the label. Much that is wrong can
be read as agreeing ("two in the morning" of a label that says two a day), and much that is right
says what no label writes. Here every amount, time, meal, duration, handling and purpose is graded
instead, and `verdicts.py` weighs the grades together with what the learned reader thinks.

A sign is a name: what the statement is of, and its grade.

    right     the label says so                    denied_right   "not" stands before what it says
    wrong     the label says otherwise             denied_wrong   "not" before what it does not say
    silent    the label says nothing of the kind
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from functools import partial
from itertools import pairwise

from medbot_llm.knowledge.quantities import AFTER_MEAL
from medbot_llm.knowledge.quantities import BEDTIME
from medbot_llm.knowledge.quantities import BEFORE_MEAL
from medbot_llm.knowledge.quantities import EMPTY
from medbot_llm.knowledge.quantities import EVENING
from medbot_llm.knowledge.quantities import MORNING
from medbot_llm.knowledge.quantities import NOON
from medbot_llm.knowledge.quantities import Amount
from medbot_llm.knowledge.quantities import Timing
from medbot_llm.knowledge.quantities import routes_agree
from medbot_llm.safety.claims import Sentence
from medbot_llm.safety.dosing import EPSILON
from medbot_llm.safety.dosing import Statements
from medbot_llm.safety.dosing import expected_meal
from medbot_llm.safety.dosing import is_on_day
from medbot_llm.safety.dosing import is_sum
from medbot_llm.safety.dosing import states_nothing
from medbot_llm.safety.dosing import weekdays
from medbot_llm.safety.grading import NOT_SO
from medbot_llm.safety.grading import grade
from medbot_llm.safety.grading import says_nothing_else
from medbot_llm.safety.handling import grade_delivery
from medbot_llm.safety.handling import grade_handling
from medbot_llm.safety.handling import grade_sides
from medbot_llm.safety.handling import grade_storage
from medbot_llm.safety.label_facts import DOSE_KINDS
from medbot_llm.safety.label_facts import LABELS_KEPT
from medbot_llm.safety.label_facts import SOLIDS
from medbot_llm.safety.label_facts import LabelFacts
from medbot_llm.safety.label_facts import Ranges
from medbot_llm.safety.purposes import claims_of

REASONS = {
    "amount": "wrong_dose_stated",
    "pair": "wrong_dose_stated",
    "number": "wrong_dose_stated",
    "called": "wrong_drug_stated",
    "handling": "wrong_route",
    "side": "wrong_route",
    "route": "wrong_route",
    "storage": "unsafe_storage",
}
"""Of what a sign speaks, and the reason for which it blocks; others are of time."""
_GOOD = ("right", "denied_wrong")
_BAD = ("wrong", "denied_right", "loose_day")

_DAY = re.compile(
    r"\b(?:daily|a day|per day|each day|every day|(?:whole|entire|full|the) day|day's)\b|"
    r"全天|整天|1天|每天|每日|1日"
)
_EACH = re.compile(
    r"\b(?:once|twice|\d times|each time|at a time|every|apiece|each|morning|evening|night|noon|"
    r"breakfast|dinner)\b|次|各|早|晚|餐|每(?!天|日)"
)
_TOTAL = re.compile(
    r"\b(?:total|totals|in all|altogether|adds? up|sum|together|makes?)\b|共|合计|加起来|合起来|总"
)
_APIECE = re.compile(
    r"^(?:[\s,]|的|of the|of)*(?:tablets?|capsules?|pills?|puffs?|each|apiece|strength|a piece|"
    r"per|规格|1[颗粒片锭])|^\s*(?:锭|片|胶囊|[颗粒])|^的"
)
"""Behind the strength of one."""
_GAP = 18
SOON_AFTER_MEAL = 60.0
"""Minutes."""
MOST_COUNTED = 9
"""Of more, and without a unit, nobody speaks as a number of tablets."""
_MASSES = frozenset({"mass", "activity"})
_COUNTS = SOLIDS | {"puff", "drop"}
_EQUALS = re.compile(r"是|等于|含|有|\b(?:is|are|makes?|equals?|holds?|means?)\b")
_DOSED = re.compile(rf"{_DAY.pattern}|{_EACH.pattern}|吃|服|用|吞|打|\b(?:take|swallow|use|is)\b")
_COUNT_OF = re.compile(r"(?<![\d.])(?P<n>\d+(?:\.\d+)?|one|single|half)(?: (?:of|the|your|a))* $")
_WORDS = {"one": 1.0, "single": 1.0, "half": 0.5}
_NUMBER = re.compile(r"(?<![\d./:a-z])(?<!\d,)\d+(?:\.\d+)?(?![\d.]*[%:/\d]|[a-z])")
_COUNTS_ELSE = re.compile(
    r"^ ?(?:st|nd|rd|th|am|pm|o'clock|hours?|minutes?|mins?|days?|weeks?|months?|years?|times?|"
    r"degrees?|medicines?|kinds?|things?|of (?:you|us)|people|or so|meals?|"
    r"点|分|小时|天|日|周|月|年|岁|次|回|度|号|种|样|位|个(?:小时|月|人|礼拜|星期|半)|杯|口|步|瓶|"
    r"餐|顿|床|楼|分钟|秒|种药|半|边|只|侧|眼|耳|公斤|度|倍|成| \d| ?kg| ?mmhg| tablets| spoons?)"
)
_READING = re.compile(
    r"(?:第|\b(?:days?|number|above|below|over|under|reaches|reading (?:is|of)|between)|血糖|血压|"
    r"体重|心跳|体温|烧到|超过|到|bed|room|号)[^\d,.;]{0,6}$"
)
"""Before what is measured and not taken."""
_CLOCK = re.compile(
    r"\bat (?P<at>\d{1,2}|noon|midnight|midday)\b(?! ?(?:mg|a time|%))|"
    r"(?P<zh>\d{1,2})点|\b(?P<hm>\d{1,2}):\d\d|\b(?P<ap>\d{1,2}) ?(?:am|pm|o'clock)\b"
)
_ASTIR = re.compile(
    r"\b(?:(?:get|gets|getting|got|be|are|being) up|wak(?:e|es|ing)(?: up)?|urinat\w+|the toilet|"
    r"the bathroom|sleep\w*|awake)\b[^.;,]{0,12}$"
)
_ASTIR_ZH = re.compile(r"^[^,。;]{0,4}(?:起床|起夜|起来|上厕所|尿|睡不|醒)")
_ONLY = re.compile(
    r"\b(?:only|just|nothing (?:at|in|else)|single|one big|never (?:at|in)|no (?:evening|morning|"
    r"night|other))\b|只|就(?:好|够|行|可以)|不用了?|其他时间|免"
)
_NEED = re.compile(
    r"\b(?:only|just) (?:on|when|if|at the first)\b|\bwhenever\b|\bfirst sign\b|\bas needed\b|"
    r"\b(?:on|for) (?:the )?(?:nights?|days?) (?:when|that|you)\b|\bfor (?:bad|rough) (?:days|"
    r"nights)\b|\bwhen (?:it|you|your) (?:hurts?|feels?|itch\w*|ach\w*|cough\w*|need)\b"
    r"|(?:痛|疼|痒|喘|咳|晕|吐|烧|难受|不舒服|发作|低落|睡不着|拉|塞|抽筋|犯)[^,。;]{0,6}(?:再|才|"
    r"的?那天|时)(?:再|才)?(?:吃|服|用|打|点|滴|喷|吸|擦|含|塞|贴)|需要(?:时|的时候)(?:再|才)?"
)
_REGULAR = re.compile(
    r"\b(?:around|round) the clock\b|\bor not\b|\bno matter\b|\bregardless\b|\bday in day out\b|"
    r"\bas a (?:routine|habit)\b|\bregularly\b|\bevery (?:single )?(?:day|night|morning)\b|"
    r"\bprevents?\b|\bkeeps? (?:(?!\b(?:away|out|locked|safe)\b)[^.;,]){0,24}\bfrom\b|"
    r"不管[^,。;]{0,8}[不没]|固定|天天|必须|不必等|预防|按时|"
    r"每天早晚|有没有[^,。;]{0,6}都"
)
_DURATION = re.compile(
    r"(?<![\d.])(?P<n>\d+(?:\.\d+)?|an?(?: full| whole| good)?|half an)[ -]?"
    r"(?P<unit>minutes?|mins?|hours?|hrs?|h|days?|weeks?|months?)\b|"
    r"(?P<zn>\d+(?:\.\d+)?) ?个?(?P<zu>分钟|小时|钟头|天|周|星期|礼拜|月)(?!后?回诊)"
)
_CYCLE = re.compile(
    r"(?P<on>\d+) days? on\b[^.;]{0,12}?(?P<off>\d+)(?: days?)? off|"
    r"(?:吃|服|用|喝|连续|连服)(?P<zon>\d+)(?:天|日)[^。;\d]{0,6}[停休][^\d]{0,3}(?P<zoff>\d+)"
)
_UNITS = {
    "mi": 1.0, "h": 60.0, "d": 1440.0, "w": 10080.0, "mo": 43200.0,
    "分": 1.0, "小": 60.0, "钟": 60.0, "天": 1440.0, "周": 10080.0, "星": 10080.0,
    "礼": 10080.0, "月": 43200.0,
}  # fmt: skip
_NO_SLOTS: frozenset[str] = frozenset()
_USUAL_SLOTS = {
    2.0: frozenset({MORNING, EVENING}),
    3.0: frozenset({MORNING, NOON, EVENING}),
    4.0: frozenset({MORNING, NOON, EVENING, BEDTIME}),
}
"""When it is taken so often a day, where the label does not say when."""
_UNFED = frozenset({EMPTY, BEFORE_MEAL})
_SOON = {"": 1.0, "a": 1.0, "an": 1.0, "half an": 0.5}
_EITHER_WAY = re.compile(
    r"\bwith or without\b|饭前、?饭后(?:都|皆)|空腹、?(?:或|还是)?饭后都|\bbefore or after\b|"
    r"前后都|前或后|前、?后皆|不拘"
)
_MISSED = re.compile(
    r"漏|忘|没(?:有)?(?:吃|打|喝|用|点|吸|喂)|\b(?:miss\w*|forg[eo]t\w*|skipp\w+|slept through)\b"
)
_AS_EVER = re.compile(
    r"照(?:常|平常|旧|样|原)|还是|仍|平常|\b(?:usual|normal|regular|as (?:always|ever)|"
    r"just (?:the|your|one|1|a single))\b"
)
_ANY_MEAL = re.compile(
    r"\bwith or without (?:food|meals?|breakfast|dinner)\b|[饭餐]前、?(?:或|和)?[饭餐]后(?:都|皆)|"
    r"空腹、?(?:或|还是)?饭后都|\bbefore or after (?:food|meals?|eating|breakfast|lunch|dinner)\b"
)
_HOURS_AFTER = re.compile(r"(?:hours? (?:and a half )?|小时)(?:以|之)?$")
_APART_FROM_MEALS = re.compile(
    r"before .{0,24}\bor\b.{0,24}after|(?:饭|餐)前.{0,12}或.{0,8}(?:饭|餐)后|"
    r"\d ?(?:h|hours?) after|(?:饭|餐)后\d个?小时(?!内)"
)
"""A label that wants hours between a meal and the dose."""
_HOURS_LATER = re.compile(r"^(?:的?\d+|半)个?小时(?!内)|^ (?:by )?(?:\d|an|two) hours?")


def signs_of(statements: Statements) -> frozenset[str]:
    """The signs of a sentence; none where there is no label."""
    if not statements.facts.labels:
        return frozenset()
    graders = (
        _amounts,
        _pairs,
        _numbers,
        _times,
        _moments,
        _meals,
        _needs,
        _durations,
        _cycles,
        _routes,
        _usual,
        grade_handling,
        grade_sides,
        grade_storage,
        grade_delivery,
        _purposes,
    )
    return frozenset(sign for grade in graders for sign in grade(statements))


def reason_of(signs: frozenset[str]) -> str:
    """The reason for which the gravest of some signs blocks a sentence, "" where none would."""
    for sign in sorted(signs):
        subject, _, grade = sign.partition("_")
        if grade in _BAD:
            return REASONS.get(subject, "wrong_frequency")
    return ""


def bear_out(signs: frozenset[str]) -> bool:
    """Whether all of them speak for the sentence."""
    return all(sign.partition("_")[2] in _GOOD for sign in signs)


def says_only_graded(statements: Statements, signs: frozenset[str]) -> bool:
    """Whether every statement of a sentence is borne out, and nothing else is said."""
    if not bear_out(signs):
        return False
    text = statements.sentence.text
    others = [
        match.span()
        for subject, pattern in (("need", _NEED), ("duration", _DURATION), ("number", _NUMBER))
        if any(sign.startswith(subject) for sign in signs)
        for match in pattern.finditer(text)
    ]
    return says_nothing_else(statements, others)


def are_doubtful(signs: frozenset[str]) -> bool:
    """Whether some of them speak against the sentence."""
    return bool(reason_of(signs))


# Amounts -----------------------------------------------------------------------------------------


def _has(amount: Amount, ranges: Ranges) -> bool | None:
    kinds = SOLIDS if amount.kind in SOLIDS else {amount.kind}
    known = [bounds for kind in kinds for bounds in ranges.get(kind, [])]
    return amount.agrees(known) if known else None


def _amounts(statements: Statements) -> Iterator[str]:
    """Amounts as the dose of the label, or of its day; what is only its strength is "loose"."""
    sentence = statements.sentence
    # "Half a tablet is 25 mg" states no dose.
    equal = [
        (count.start, mass.end)
        for count, mass in _paired(statements)
        if _EQUALS.search(sentence.text[count.end : mass.start])
        or (count.low == 1 and not _DOSED.search(sentence.before(count.start)))
    ]
    for amount in _counted(statements):
        if amount.kind not in DOSE_KINDS or amount.per in ("kg", "ml"):
            continue
        if any(first <= amount.start and amount.end <= last for first, last in equal):
            continue
        said = _Said.of(amount, sentence)
        grades = list(
            grade(
                "amount",
                statements,
                amount.start,
                amount.end,
                partial(said.is_dose, sentence.text),
            )
        )
        if grades == ["amount_wrong"] and any(
            _has(amount, label.single) for label in statements.about(amount.start, amount.end)
        ):
            grades = ["amount_loose_day" if said.of_day else "amount_loose"]
        yield from grades


@dataclass(frozen=True)
class _Said:
    """An amount, and whether a day's, a dose's or a sum is meant."""

    amount: Amount
    of_day: bool
    of_dose: bool
    is_total: bool

    @classmethod
    def of(cls, amount: Amount, sentence: Sentence) -> _Said:
        clause = sentence.clause(amount.start)
        of_day = amount.per == "day" or bool(_DAY.search(clause))
        of_dose = not of_day or bool(_EACH.search(clause))
        return cls(amount, of_day, of_dose, bool(_TOTAL.search(clause)))

    def is_dose(self, text: str, label: LabelFacts) -> bool | None:
        """Whether the label has it."""
        daily, dose = _has(self.amount, label.daily), _has(self.amount, label.dose)
        if _has(self.amount, label.limits):
            return True
        if self.is_total and is_sum(self.amount, label, text):
            return True
        if ((self.of_day or self.is_total) and daily) or (self.of_dose and dose):
            return True
        return None if daily is None and dose is None else False


def _counted(statements: Statements) -> Iterator[Amount]:
    """The amounts of a sentence, and the number right before a name: "one zonisamide"."""
    yield from statements.amounts
    taken = [(amount.start, amount.end) for amount in statements.amounts]
    for start, _, _ in statements.mentions:
        match = _COUNT_OF.search(statements.sentence.text[max(0, start - 16) : start])
        if match is None:
            continue
        begin = max(0, start - 16) + match.start()
        if any(low <= begin < high for low, high in taken):
            continue
        number = _WORDS.get(match["n"]) or float(match["n"])
        if number > MOST_COUNTED:
            continue
        yield Amount(number, number, "count", "", begin, start)


def _pairs(statements: Statements) -> Iterator[str]:
    """A number of tablets and what is in them: "half a tablet, that is 80 mg"."""
    for first, second in _paired(statements):
        count, mass = (first, second) if second.kind in _MASSES else (second, first)
        is_each = count is second or bool(_APIECE.match(statements.sentence.text[mass.end :]))
        test = partial(_is_so_much, count, mass, is_each)
        yield from grade("pair", statements, first.start, second.end, test)


def _paired(statements: Statements) -> list[tuple[Amount, Amount]]:
    """Amounts side by side of which one counts and one weighs."""
    sentence = statements.sentence
    amounts = sorted(_counted(statements), key=lambda amount: amount.start)
    found: list[tuple[Amount, Amount]] = []
    for first, second in pairwise(amounts):
        between = sentence.text[first.end : second.start]
        if len(between) > _GAP or re.search(r"[.;。]", between):
            continue
        if any(first.end <= start < second.start for start, _, _ in statements.mentions):
            continue
        if {first.kind in _MASSES, second.kind in _MASSES} != {True, False}:
            continue
        if not {first.kind, second.kind} & _COUNTS:
            continue
        if found and found[-1][1] is first:
            # 10 tablets, 10 mg, 1 tablet: what stands in one clause belongs together.
            if sentence.clause_span(first.start) != sentence.clause_span(second.start):
                continue
            if sentence.clause_span(found[-1][0].start) != sentence.clause_span(first.start):
                found.pop()
        found.append((first, second))
    return found


def _is_so_much(count: Amount, mass: Amount, is_each: bool, label: LabelFacts) -> bool | None:
    """Whether so many hold so much; None where the label does not write a strength."""
    units = [s.low for s in label.strengths if s.kind == mass.kind]
    if not units or count.low != count.high:
        return None
    if len(units) > 1:
        units.append(sum(units))
    times = {1.0, *(t for t in (label.schedule.times_low, label.schedule.times_high) if t >= 1)}
    fits = {count.low * unit * many for unit in units for many in times}
    if count.low == 1 or is_each:
        fits |= set(units)
    return any(abs(mass.low - value) <= EPSILON * max(value, mass.low) for value in fits)


def _numbers(statements: Statements) -> Iterator[str]:
    """Numbers without a unit, where a dose is spoken of: "two hundred in the morning"."""
    sentence = statements.sentence
    text = sentence.text
    if not (statements.amounts or statements.timings or statements.mentions):
        return
    taken = [(a.start, a.end) for a in statements.amounts]
    taken += [(t.start, t.end) for t in statements.timings]
    taken += [(m.start(), m.end()) for m in _CLOCK.finditer(text)]
    taken += [(m.start(), m.end()) for m in _DURATION.finditer(text)]
    taken += [(start, end) for start, end, _ in statements.mentions]
    for match in _NUMBER.finditer(text):
        if any(low <= match.start() < high for low, high in taken):
            continue
        if _COUNTS_ELSE.match(text[match.end() :]) or _READING.search(text[: match.start()]):
            continue
        clause = sentence.clause(match.start())
        of_slot, of_day = bool(_EACH.search(clause)), bool(_DAY.search(clause))
        if not (of_slot or of_day or statements.mentions):
            continue
        test = partial(_is_number_of, match[0], of_slot, of_day)
        yield from grade("number", statements, match.start(), match.end(), test)


def _is_number_of(written: str, of_slot: bool, of_day: bool, label: LabelFacts) -> bool:
    """Whether a label writes a number, or has it as a dose or a day's amount in any unit."""
    if written in re.findall(r"\d+(?:\.\d+)?", label.text):
        return True
    ranges: tuple[Ranges, ...] = (label.dose, label.single, label.daily)
    if of_slot:
        ranges = (label.dose,)
    elif of_day:
        ranges = (label.daily,)
    return any(
        low * (1 - EPSILON) <= float(written) / factor <= high * (1 + EPSILON)
        for group in ranges
        for kind, bounds in group.items()
        for factor in ((1.0, 1000.0, 0.001) if kind == "mass" else (1.0,))
        for low, high in bounds
    )


# Times -------------------------------------------------------------------------------------------


def _times(statements: Statements) -> Iterator[str]:
    """How often, and at which time of the day."""
    for timing in statements.timings:
        if timing.per_day and not timing.at_most:
            test = partial(_is_as_often, *timing.per_day)
            yield from grade("times", statements, timing.start, timing.end, test)
        elif timing.every_day:
            yield from grade("daily", statements, timing.start, timing.end, _is_daily)
        if timing.slots and not timing.per_day and not _is_of_sleep(statements, timing):
            test = partial(_is_then, _merged(timing.slots))
            yield from grade("slot", statements, timing.start, timing.end, test)
    for match in weekdays(statements.sentence.text):
        test = partial(is_on_day, match[0])
        if any(test(label) is not None for label in statements.about(*match.span())):
            yield from grade("slot", statements, match.start(), match.end(), test)


def _is_of_sleep(statements: Statements, timing: Timing) -> bool:
    """Whether a time of the day is that of waking or of going to the toilet, not of a dose."""
    sentence = statements.sentence
    return bool(
        _ASTIR.search(sentence.before(timing.start)) or _ASTIR_ZH.match(sentence.after(timing.end))
    )


def _is_as_often(low: float, high: float, label: LabelFacts) -> bool | None:
    known = label.schedule.per_day
    if known is None:
        return None
    return known[0] - EPSILON <= low and high <= known[1] + EPSILON


def _is_daily(label: LabelFacts) -> bool | None:
    known = label.schedule
    if known.as_needed or known.per_day is None:
        return None
    return known.times_high >= 1 - EPSILON


def _is_then(said: frozenset[str], label: LabelFacts) -> bool | None:
    expected = _merged(
        label.expected_slots or _USUAL_SLOTS.get(label.schedule.times_high, _NO_SLOTS)
    )
    return said <= expected if expected else None


def _merged(slots: frozenset[str]) -> frozenset[str]:
    return frozenset(EVENING if slot == BEDTIME else slot for slot in slots)


def _moments(statements: Statements) -> Iterator[str]:
    """How many times of the day are listed of a medicine, beside how many its label has."""
    sentence = statements.sentence
    text = sentence.text
    clocks: dict[LabelFacts, set[str]] = {}
    slots: dict[LabelFacts, set[str]] = {}
    for match in _CLOCK.finditer(text):
        said = next(filter(None, match.groups())) + text[max(0, match.start() - 2) : match.start()]
        for label in statements.about(match.start(), match.end()):
            clocks.setdefault(label, set()).add(said)
    for timing in statements.timings:
        if (
            timing.per_day
            or states_nothing(sentence, timing.start, timing.end)
            or sentence.is_contrasted(timing.start)
            or NOT_SO.match(text[timing.end :])
        ):
            continue
        for label in statements.about(timing.start, timing.end):
            slots.setdefault(label, set()).update(_merged(timing.slots))
    grades = {
        _grade_of_moments(len(clocks.get(label, ())), len(slots.get(label, ())), label, text)
        for label in statements.targets
        if label.schedule.per_day and not label.schedule.as_needed
    }
    # Several medicines are told apart by their names; without them nobody knows which is meant.
    if statements.mentions or len(grades) == 1:
        yield from sorted(grades - {""})


def _grade_of_moments(clocks: int, slots: int, label: LabelFacts, text: str) -> str:
    listed = clocks if clocks > 1 else max(slots, clocks)
    times = label.schedule.times_high
    if not listed or times < 1 - EPSILON:
        return ""
    if listed > times + EPSILON:
        return "moments_wrong"
    if abs(listed - times) < EPSILON:
        return "moments_right"
    if listed > 1:
        return "moments_few"
    return "only_wrong" if _ONLY.search(text) else ""


def _meals(statements: Statements) -> Iterator[str]:
    """Before, with or after food, and on an empty stomach."""
    text = statements.sentence.text
    if _EITHER_WAY.search(text):
        match = _ANY_MEAL.search(text)
        if match is not None and not states_nothing(statements.sentence, *match.span()):
            labels = statements.about(*match.span())
            if labels and all(_wants_one_way(label) for label in labels):
                yield "meal_wrong"
        return
    for timing in statements.timings:
        if not timing.meal:
            continue
        said = timing.meal
        is_apart = _HOURS_AFTER.search(text[: timing.start]) or _HOURS_LATER.match(
            text[timing.end :]
        )
        if said == AFTER_MEAL and is_apart:
            # Two hours after a meal the stomach is empty again.
            said = EMPTY
        yield from grade("meal", statements, timing.start, timing.end, partial(_is_fed_so, said))


def _wants_one_way(label: LabelFacts) -> bool:
    return bool(label.schedule.meal) and not _EITHER_WAY.search(label.text)


def _is_fed_so(said: str, label: LabelFacts) -> bool | None:
    expected = EMPTY if _APART_FROM_MEALS.search(label.text) else expected_meal(label)
    return (said in _UNFED) == (expected in _UNFED) if expected else None


def _needs(statements: Statements) -> Iterator[str]:
    """By the clock, or when it is needed."""
    text = statements.sentence.text
    for subject, pattern, test in (("need", _NEED, _at_need), ("regular", _REGULAR, _by_clock)):
        for match in pattern.finditer(text):
            yield from grade(subject, statements, match.start(), match.end(), test)


def _at_need(label: LabelFacts) -> bool | None:
    if label.schedule.as_needed:
        return True
    return False if label.schedule.per_day else None


def _by_clock(label: LabelFacts) -> bool | None:
    known = _at_need(label)
    return None if known is None else not known


@lru_cache(LABELS_KEPT)
def _minutes(text: str) -> frozenset[float]:
    found = set()
    for match in _DURATION.finditer(text):
        unit = match["unit"] or match["zu"]
        size = next(value for name, value in _UNITS.items() if unit.startswith(name))
        written = re.sub(r" (?:full|whole|good)", "", match["n"] or match["zn"])
        number = _SOON[written] if written in _SOON else float(written)
        found.add(number * size)
    return frozenset(found)


def _durations(statements: Statements) -> Iterator[str]:
    """Minutes, hours, days and weeks that the label writes, or writes otherwise."""
    sentence = statements.sentence
    taken = [(t.start, t.end) for t in statements.timings]
    for match in _DURATION.finditer(sentence.text):
        said = _minutes(match[0])
        # 1天 opens "a day three times", and "25 mcg an hour" is a rate.
        is_rate = any(0 <= match.start() - a.end <= 1 for a in statements.amounts)
        # "About half an hour after dinner" is after dinner.
        is_of_meal = max(said) <= SOON_AFTER_MEAL and any(
            t.meal == AFTER_MEAL and 0 <= match.start() - t.end <= 3 for t in statements.timings
        )
        if said == {1440.0} or is_rate or is_of_meal:
            continue
        if any(low <= match.start() < high for low, high in taken):
            continue
        test = partial(_lasts, said)
        yield from grade(
            "duration", statements, match.start(), match.end(), test, is_denied_behind=False
        )


def _lasts(said: frozenset[float], label: LabelFacts) -> bool | None:
    written = _minutes(label.text)
    per_day = label.schedule.times_high
    if per_day >= 1 and not label.schedule.as_needed:
        written |= {24 * 60 / per_day}
    return bool(said & written) if written else None


def _cycles(statements: Statements) -> Iterator[str]:
    """Days of taking and days of rest: "21 days on, 7 days off"."""
    text = statements.sentence.text
    for match in _CYCLE.finditer(text):
        test = partial(_has_cycle, _days_of(match))
        yield from grade("times", statements, match.start(), match.end(), test)


def _has_cycle(said: tuple[str, str], label: LabelFacts) -> bool | None:
    written = [_days_of(one) for one in _CYCLE.finditer(label.text)]
    return said in written if written else None


def _days_of(match: re.Match[str]) -> tuple[str, str]:
    return match["on"] or match["zon"], match["off"] or match["zoff"]


def _routes(statements: Statements) -> Iterator[str]:
    """By which way it is taken."""
    for said in statements.routes:
        test = partial(_is_way, said.route)
        yield from grade("route", statements, said.start, said.end, test)


def _usual(statements: Statements) -> Iterator[str]:
    """After a missed dose, the same amount as always."""
    text = statements.sentence.text
    doses = [amount for amount in statements.amounts if amount.kind in DOSE_KINDS]
    if not doses or not _MISSED.search(text) or not _AS_EVER.search(text):
        return
    if any(all(_has(dose, label.dose) for dose in doses) for label in statements.targets):
        yield "usual_right"


def _is_way(route: str, label: LabelFacts) -> bool | None:
    return routes_agree(label.routes, route) if label.routes else None


def _purposes(statements: Statements) -> Iterator[str]:
    """What the medicine is said to be or to be for."""
    for is_so, is_denied in claims_of(statements):
        grade = "silent" if is_so is None else "right" if is_so else "wrong"
        if is_denied and grade != "silent":
            grade = f"denied_{grade}"
        yield f"called_{grade}"
