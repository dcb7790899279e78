"""A sentence in pieces for the voice, the first one short: sound of it is there sooner.

The voice begins when its first piece is synthesised. So the first is the shortest that sounds
natural, and each later one at most about twice as long as the one before, so that it is ready
before that one has been said (synthesis takes about half the time of the sound on two cores).
"""

from __future__ import annotations

import re
from bisect import bisect_left

from medbot_llm.domain import Language

FIRST_AT_LEAST_HAN = 4
"""Chinese characters; "您好，" alone would be cut off from what follows."""
FIRST_AT_LEAST_WORDS = 2
"""English words."""
GROWTH = 2.0
"""How much longer than the piece before a later piece may be."""

_CLOSERS = "」』”’\"'）)】》〉］\\]"
_MARK = re.compile(
    rf"[，、；：。！？…]+[{_CLOSERS}]*\s*"
    rf"|[,;:!?][{_CLOSERS}]*(?:\s+|(?=[\u3400-\u9fff]))"
    rf"|\.[{_CLOSERS}]*\s+(?=[A-Z\u3400-\u9fff\"'“‘(])"
    r"|—+\s*|\s(?:–|--?)\s+"
)
"""Behind a mark that is followed by nothing of the same number, time or name: "1,000", "8:30" and
"0.5" have no space behind theirs."""
_CONJUNCTION = re.compile(
    r"(?<![0-9])\s(?=(?:and|but|or|because|when|while|until|unless|so that|then|if)\s)",
    re.IGNORECASE,
)
WORDS_BEFORE_CONJUNCTION = 4
"""Words that a clause has; fewer make a pair, such as bread and butter."""
_AFTER_SHORT_WORD = re.compile(r"(?:^|[\s(])(?:[A-Za-z]|Dr|Mr|Mrs|Ms|Prof|St|No|vs|approx)\.\s*$")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_WORD = re.compile(r"[A-Za-z0-9]+(?:[.,:/'’-][A-Za-z0-9]+)*")


def clauses(text: str, language: Language, *, longest: int) -> list[str]:
    """Cut a sentence at the ends of its clauses; joined, the pieces are the text.

    A piece is cut nowhere else, so one without a mark or a conjunction may be longer than
    `longest`.

    Args:
        longest: How long a later piece may grow, in Latin characters; a Chinese one counts for
            two, as it does in speaking time.
    """
    counts = _Counts(text)
    pieces: list[str] = []
    start = 0
    previous_end = 0
    allowed = 0.0
    for end in [*_ends(text, language), len(text)]:
        is_enough = counts.is_enough(start, previous_end)
        if is_enough and counts.weight(start, end) > allowed:
            # What comes last must not be left with less than a clause.
            if not counts.is_enough(previous_end, len(text)):
                break
            pieces.append(text[start:previous_end])
            allowed = min(float(longest), GROWTH * counts.weight(start, previous_end))
            start = previous_end
        previous_end = end
    return [*pieces, text[start:]] if start < len(text) else pieces


class _Counts:
    """How much is said between two places of a text, without counting it again for each."""

    def __init__(self, text: str) -> None:
        self._han = [found.start() for found in _HAN.finditer(text)]
        self._words = [found.start() for found in _WORD.finditer(text)]

    def is_enough(self, start: int, end: int) -> bool:
        """Whether a piece is long enough to be said by itself."""
        han = _between(self._han, start, end)
        words = _between(self._words, start, end)
        return han / FIRST_AT_LEAST_HAN + words / FIRST_AT_LEAST_WORDS >= 1

    def weight(self, start: int, end: int) -> int:
        return end - start + _between(self._han, start, end)


def _between(places: list[int], start: int, end: int) -> int:
    return bisect_left(places, end) - bisect_left(places, start)


def _ends(text: str, language: Language) -> list[int]:
    """Where a clause ends, in order."""
    ends = set()
    for found in _MARK.finditer(text):
        mark = found.group().strip()
        if mark in ("：", "，", "、") and _is_between_digits(text, found):
            continue
        if mark == "." and _AFTER_SHORT_WORD.search(text[max(0, found.start() - 8) : found.end()]):
            continue
        ends.add(found.end())
    if language is Language.EN:
        marks = sorted({0, *ends})
        words = [found.start() for found in _WORD.finditer(text)]
        for found in _CONJUNCTION.finditer(text):
            start = marks[bisect_left(marks, found.end()) - 1]
            if _between(words, start, found.end()) >= WORDS_BEFORE_CONJUNCTION:
                ends.add(found.end())
    return sorted(ends)


def _is_between_digits(text: str, found: re.Match[str]) -> bool:
    """Whether a full-width mark stands inside a number: ８：３０ or 1，000."""
    before = text[max(0, found.start() - 1) : found.start()]
    after = text[found.end() : found.end() + 1]
    return before.isdigit() and after.isdigit()
