"""Whether a missed dose may still be taken: the arithmetic of the half interval.

The rule: more than half the interval to the next dose left, take it now; else skip; never
double. The interval is the label's, the time left is what the person said, as a duration ("in
three hours") or as the clock time of the next dose. Medicines with a rule of their own are the
formulary's (`Medicine.missed`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from medbot_llm.knowledge.quantities import read_schedule
from medbot_llm.text.normal import canonical
from medbot_llm.text.normal import with_digits

HOURS_A_DAY = 24.0

_DURATION = re.compile(
    r"(\d+(?:\.\d+)?)\s*(?:个)?(?:多)?(?:半)?\s*(小时|钟头|hours?|hrs?|h\b|分钟|minutes?|mins?|天|日|days?)"
)
_UNITS = {"分": 1 / 60, "m": 1 / 60, "天": HOURS_A_DAY, "日": HOURS_A_DAY, "d": HOURS_A_DAY}
_NEXT = re.compile(
    r"(下[一1]?(?:次|顿|颗|个)|距离?|离|还有(?=\d|几|大约|差不多|大概|约|[一1两2](?:次|顿|个)|多久)|还剩|剩下|再过"
    r"|next|left|until|till|due|away|from now|to go|\bin \d)"
)
_AGO = re.compile(
    r"(过了|晚了?|已经|以前|之前|前(?!要)|迟了?|慢了?|拖了?|后才|late|ago|since|overdue|past|\bafter\b)"
)
_HOW_OFTEN = re.compile(r"(?:每隔?|隔|every |each )$")
_HOW_OFTEN_AFTER = re.compile(r"^(?:要|就|才)?(?:吃|服|打|用|1次|1回|1颗|一次|一回|1粒|1片)")
"""Around a duration that is the interval of the label: "one every eight hours"."""
_CLOCK = re.compile(
    r"(明天早上|明早|明天|昨天晚上|昨晚|昨夜|昨天早上|昨天|今天早上|今早|今天下午|今天晚上|早上|清晨|上午|中午|下午|傍晚|晚上|今晚|"
    r"夜里|半夜|凌晨|tonight|this morning)?\s*"
    r"(\d{1,2})(?:(?::|点)(\d{2}|半)(?:分)?)?\s*(a\.?m\.?|p\.?m\.?|o'?clock|点)?"
    r"(\s*(?:in the |this |at |last |tomorrow |yesterday )?(?:morning|afternoon|evening|night|"
    r"tonight))?"
)
_NOW_BEFORE = re.compile(
    r"(?:现在|目前|这会儿|拖到|等到|直到|\bnow|\bit is|\bit'?s)"
    r"(?:\s|,|都|才|是|已经|快要?|大约|大概|差不多|约|隔天|第二天|already|nearly|almost|gone|about|only|just|at)*$"
)
_NOW_AFTER = re.compile(r"^(?:了)?(?:才(?=想|记|发现|醒|知|看|注意|起来)|\s*now\b|\s*already\b)")
"""A clock time is the present one where "now" stands before it, or 才 or "now" behind it."""
_MISSED = re.compile(
    r"忘|漏|落下|没吃|没有吃|没打|没服|那(?:颗|粒|片|次|顿|餐|包|针)|该吃|应该|本来|原本|平常|平时|通常|的(?:药|我)|"
    r"\b(?:forgot\w*|miss\w*|meant|supposed|usually|normally|always|should|due|skipped|slipped|didn't)\b"
)
"""Near the clock time of a dose that was missed."""
_HOURS_IN_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_WORDS = {
    word: str(number)
    for number, word in enumerate((*_HOURS_IN_WORDS, "ten", "eleven", "twelve"), 1)
}
_NUMBER_WORD = re.compile(
    r"\b(?:" + "|".join([*list(_WORDS)[1:], r"one(?= (?:o'?clock|hour|in the|am|pm))"]) + r")\b"
)
_COUPLE_OF = re.compile(r"\ba couple of (?=hours|hrs)|\ban? (?=hour)")
_PAST_OR_TO = re.compile(r"\b(?:an? )?(half|quarter) (past|to) (\d{1,2})\b")
_ONE_OCLOCK = re.compile(r"(?<=[午上晨晚夜])一(?=点)")
_NAMED_TIMES = (
    (re.compile(r"\b(?:at )?(?:noon|midday)\b"), "12 pm"),
    (re.compile(r"\bmidnight\b"), "0:00"),
)
_AFTERNOON = re.compile(r"下午|傍晚|晚|昨夜|夜里|tonight|afternoon|evening|night|^p")
_FORENOON = re.compile(r"早|清晨|上午|凌晨|morning|^a")


@dataclass(frozen=True)
class MissedDose:
    """What is known of a missed dose.

    Attributes:
        interval_h: Time between two doses by the label, h; None: not known.
        left_h: Time to the next dose, h; None: not known.
        missed_at: Hour of the day of the dose that was missed, 0 to 24; None: not known.
    """

    interval_h: float | None
    left_h: float | None
    missed_at: float | None = None

    @property
    def may_be_taken(self) -> bool | None:
        """True: take it now; False: skip it; None: not known."""
        if self.interval_h is None or self.left_h is None:
            return None
        return self.left_h > self.interval_h / 2


def read_missed_dose(
    text: str, frequency: str, now: datetime | None, missed_at: float | None = None
) -> MissedDose:
    """Read what was said about the time to the next dose.

    Args:
        text: The utterance.
        frequency: As on the label.
        now: Local time, for clock times; None: not known.
        missed_at: When the dose was due, from what was said before, h.
    """
    times_a_day = read_schedule(frequency).per_day
    is_fixed = times_a_day is not None and times_a_day[0] == times_a_day[1] > 0
    interval = HOURS_A_DAY / times_a_day[0] if times_a_day is not None and is_fixed else None
    said = _in_digits(text)
    left = _hours_left(said, interval, now)
    missed, late = _lateness(said, missed_at)
    if left is None and interval is not None and late:
        # Where the half of the day is open, both must come to the same.
        lefts = [interval - hours for hours in late if hours <= interval]
        if len({hours > interval / 2 for hours in lefts}) == 1:
            left = lefts[0]
    if interval is not None and left is not None and left > interval:
        # The next dose is never further than one interval: this was misheard.
        left = None
    return MissedDose(interval, left, missed)


def tells_hours(text: str) -> bool:
    """Whether a text tells hours or a time of the day."""
    said = _in_digits(text)
    return bool(_DURATION.search(said)) or any(map(_is_clock, _CLOCK.finditer(said)))


def _in_digits(text: str) -> str:
    said = with_digits(canonical(text))
    for pattern, time in _NAMED_TIMES:
        said = pattern.sub(time, said)
    said = _COUPLE_OF.sub(lambda m: "2 " if "couple" in m[0] else "1 ", said)
    said = _NUMBER_WORD.sub(lambda m: _WORDS[m[0]], said)
    return _ONE_OCLOCK.sub("1", _PAST_OR_TO.sub(_clock_time, said))


def _clock_time(told: re.Match[str]) -> str:
    """ "Quarter to ten" in digits."""
    minutes = 30 if told[1] == "half" else 15
    hour = int(told[3])
    if told[2] == "past":
        return f"{hour}:{minutes}"
    return f"{(hour - 1) or 12}:{60 - minutes}"


def _hours_left(said: str, interval: float | None, now: datetime | None) -> float | None:
    for match in _DURATION.finditer(said):
        if _HOW_OFTEN.search(said[: match.start()]) or _HOW_OFTEN_AFTER.search(
            said[match.end() :]
        ):
            continue
        hours = float(match[1]) * _UNITS.get(match[2][0], 1.0)
        if "半" in match[0]:
            hours += 0.5
        around = said[max(0, match.start() - 14) : match.end() + 12]
        if _NEXT.search(around):
            return hours
        if _AGO.search(around) and interval is not None:
            return max(0.0, interval - hours)
        if len(said) <= len(match[0]) + 6:
            # A bare answer to "how many hours is it to the next dose?"
            return hours
    left = _hours_to_clock_time(said, now) if _NEXT.search(said) else None
    return left if left is not None and (interval is None or left <= interval) else None


def _lateness(said: str, missed_at: float | None) -> tuple[float | None, list[float]]:
    """When a dose was due, h, and how late it may be: of "the one at eight, and it is ten now".

    Several, where a time leaves the half of the day open.
    """
    clocks = [clock for clock in _CLOCK.finditer(said) if _is_clock(clock)]
    present = next((clock for clock in clocks if _is_now(clock)), None)
    others = [clock for clock in clocks if clock is not present]

    def is_missed(clock: re.Match[str]) -> bool:
        return bool(_MISSED.search(said[max(0, clock.start() - 32) : clock.end() + 32]))

    due = next(filter(is_missed, others), None)
    if due is None and missed_at is not None and clocks:
        # It goes on about the same dose: the one time that is told is the new present.
        current = _hour_of(present or clocks[0], missed_at)
        return missed_at, [] if current is None else [(current - missed_at) % HOURS_A_DAY]
    missed = None if due is None else _hour_of(due, None)
    current = None if present is None else _hour_of(present, missed)
    if due is None or present is None or missed is None or current is None:
        return missed, []
    late = (current - missed) % HOURS_A_DAY
    if _tells_half(due) or not _tells_half(present):
        return missed, [late if _tells_half(present) or _tells_half(due) else late % 12]
    return missed, [late % 12, late % 12 + 12]


def _is_now(clock: re.Match[str]) -> bool:
    said = clock.string
    return bool(
        _NOW_BEFORE.search(said[: clock.start()]) or _NOW_AFTER.search(said[clock.end() :])
    )


def _is_clock(clock: re.Match[str]) -> bool:
    """Whether a number is a time of the day."""
    before, behind = clock.string[: clock.start()], clock.string[clock.end() :]
    return bool(
        clock[1]
        or clock[3]
        or clock[4]
        or clock[5]
        or re.search(r"\b(?:at|it's|it is|till|until|by)\s*$", before)
        or re.match(r"\s*now\b", behind)
    )


def _hours_to_clock_time(said: str, now: datetime | None) -> float | None:
    spoken_of = [match.start() for match in _NEXT.finditer(said)]

    def distance(clock: re.Match[str]) -> int:
        # "The one at eight is missed; the next is at two": the time that follows "next".
        return min(abs(clock.start() - at) + 8 * (clock.start() < at) for at in spoken_of)

    told_now = next(filter(_is_now, filter(_is_clock, _CLOCK.finditer(said))), None)
    real = None if now is None else now.hour + now.minute / 60
    current = real
    if told_now:
        # Of "now four o'clock" the half of the day is that of the robot's own clock.
        after = None if real is None else real - HOURS_A_DAY / 4
        current = _hour_of(told_now, after)
    if current is None:
        return None
    clocks = [clock for clock in _CLOCK.finditer(said) if _is_clock(clock)]
    for clock in sorted(clocks, key=distance):
        if told_now and told_now.start() <= clock.start() < told_now.end():
            continue
        due = _hour_of(clock, current)
        if due is not None:
            return (due - current) % HOURS_A_DAY
    return None


def _hour_of(clock: re.Match[str], after: float | None) -> float | None:
    """The hour that a clock time tells; where it leaves the half of the day open, the one that
    comes next after `after`."""
    hour, minute = int(clock[2]), 30 if clock[3] == "半" else int(clock[3] or 0)
    if hour > HOURS_A_DAY or minute > 59:
        return None
    if hour < 12 and any(_AFTERNOON.search(part) for part in _parts(clock)):
        hour += 12
    told = hour + minute / 60
    is_open = not _tells_half(clock) and hour <= 12
    if is_open and after is not None and told <= after and told + 12 > after:
        told += 12
    return told


def _parts(clock: re.Match[str]) -> tuple[str, ...]:
    return tuple((clock[group] or "").strip() for group in (1, 4, 5))


def _tells_half(clock: re.Match[str]) -> bool:
    """Whether a clock time tells the half of the day."""
    return int(clock[2]) > 12 or any(
        _AFTERNOON.search(part) or _FORENOON.search(part) or part == "中午"
        for part in _parts(clock)
    )


def in_words(hours: float) -> str:
    """The number of hours to say, to the half hour; at least half an hour."""
    return f"{max(0.5, round(hours * 2) / 2):g}"
