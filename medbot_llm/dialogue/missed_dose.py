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
    r"(下[一1]?(?:次|顿|颗|个)|距离?|离|还有|还剩|剩下|再过"
    r"|next|left|until|till|due|away|from now|to go|\bin \d)"
)
_AGO = re.compile(r"(过了|晚了|已经|以前|之前|前(?!要)|迟了|late|ago|since|overdue|past)")
_CLOCK = re.compile(
    r"(明天早上|明早|明天|早上|上午|中午|下午|傍晚|晚上|今晚|半夜|凌晨|tonight|this morning)?\s*"
    r"(\d{1,2})(?:(?::|点)(\d{2}|半)(?:分)?)?\s*(a\.?m\.?|p\.?m\.?|o'clock|点)?"
)
_NOW = re.compile(rf"(?:现在|目前|now|it is|it's)\s*(?:是|已经|already)?\s*{_CLOCK.pattern}")
_AFTERNOON = ("下午", "傍晚", "晚上", "今晚", "tonight")


@dataclass(frozen=True)
class MissedDose:
    """What is known of a missed dose.

    Attributes:
        interval_h: Time between two doses by the label, h; None: not known.
        left_h: Time to the next dose, h; None: not known.
    """

    interval_h: float | None
    left_h: float | None

    @property
    def may_be_taken(self) -> bool | None:
        """True: take it now; False: skip it; None: not known."""
        if self.interval_h is None or self.left_h is None:
            return None
        return self.left_h > self.interval_h / 2


def read_missed_dose(text: str, frequency: str, now: datetime | None) -> MissedDose:
    """Read what was said about the time to the next dose.

    Args:
        text: The utterance.
        frequency: As on the label.
        now: Local time, for clock times; None: not known.
    """
    times_a_day = read_schedule(frequency).per_day
    is_fixed = times_a_day is not None and times_a_day[0] == times_a_day[1] > 0
    interval = HOURS_A_DAY / times_a_day[0] if times_a_day is not None and is_fixed else None
    left = _hours_left(with_digits(canonical(text)), interval, now)
    if interval is not None and left is not None and left > interval:
        # The next dose is never further than one interval: this was misheard.
        left = None
    return MissedDose(interval, left)


def _hours_left(said: str, interval: float | None, now: datetime | None) -> float | None:
    for match in _DURATION.finditer(said):
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
    if not _NEXT.search(said):
        return None
    return _hours_to_clock_time(said, now)


def _hours_to_clock_time(said: str, now: datetime | None) -> float | None:
    spoken_of = [match.start() for match in _NEXT.finditer(said)]

    def distance(clock: re.Match[str]) -> int:
        # "The one at eight is missed; the next is at two": the time that follows "next".
        return min(abs(clock.start() - at) + 8 * (clock.start() < at) for at in spoken_of)

    told_now = _NOW.search(said)
    real = None if now is None else now.hour + now.minute / 60
    current = real
    if told_now:
        # Of "now four o'clock" the half of the day is that of the robot's own clock.
        after = None if real is None else real - HOURS_A_DAY / 4
        current = _hour_of(told_now, after)
    if current is None:
        return None
    clocks = [
        clock
        for clock in _CLOCK.finditer(said)
        if clock[1] or clock[3] or clock[4] or said[: clock.start()].endswith("at")
    ]
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
    part, hour = clock[1] or "", int(clock[2])
    minute = 30 if clock[3] == "半" else int(clock[3] or 0)
    half = clock[4] or ""
    if hour > HOURS_A_DAY or minute > 59:
        return None
    if hour < 12 and (part.startswith(_AFTERNOON) or half.startswith("p")):
        hour += 12
    told = hour + minute / 60
    is_open = not part and not half.startswith(("a", "p")) and hour <= 12
    if is_open and after is not None and told <= after and told + 12 > after:
        told += 12
    return told


def in_words(hours: float) -> str:
    """The number of hours to say, to the half hour; at least half an hour."""
    return f"{max(0.5, round(hours * 2) / 2):g}"
