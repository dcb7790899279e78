"""Which texts are nearly the same: MinHash, in memory that does not grow with their length.

A text is the set of its runs of three characters, in canonical form (one script, one width, one
case, no spaces or punctuation, so that a changed comma changes nothing). Two texts are as near as
the share of runs that they have in common (Jaccard). MinHash estimates that share from 64 numbers
a text; bands of four of them find the pairs worth comparing (Broder 1997; Leskovec, Rajaraman and
Ullman, Mining of Massive Datasets, chapter 3). The estimate has a standard error of 0.05.

A record takes 256 bytes here, so that a million take 256 MB.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from medbot_llm.text.normal import canonical

NUMBERS = 64
"""Hashes kept of each text."""
ROWS = 4
"""Of so many equal neighbours two texts are compared: 16 bands, which find 99.98 % at 0.8."""
RUN = 3
THRESHOLD = 0.8
"""Texts that share so much are near-duplicates."""
MAX_CHARS = 20_000
"""Of a longer text its beginning is taken."""

_ROUNDS = 256
"""At most so many texts of one band are compared with the rest of it."""
_AS_GOOD_AS = 0.95
"""What is so near to a text that has been compared is near to the same others."""
Words = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.uint32]

_seeds = np.random.default_rng(20261126)
_FACTORS: Words = _seeds.integers(1, 2**63, NUMBERS, dtype=np.uint64) | np.uint64(1)
_OFFSETS: Words = _seeds.integers(0, 2**63, NUMBERS, dtype=np.uint64)
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)
_SHIFT = np.uint64(32)


@dataclass(frozen=True)
class Pair:
    """Two texts that are nearly the same: their numbers, the earlier first, and their likeness."""

    first: int
    second: int
    likeness: float


def bare(text: str) -> str:
    """Canonical text without spaces and punctuation."""
    return "".join(char for char in canonical(text[:MAX_CHARS]) if char.isalnum())


def signature(text: str) -> Numbers:
    """The 64 numbers that stand for a text."""
    letters = bare(text) or "\0"
    codes = np.frombuffer(letters.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    if len(codes) < RUN:
        codes = np.concatenate([codes, np.zeros(RUN - len(codes), dtype=np.uint64)])
    count = len(codes) - RUN + 1
    runs = np.zeros(count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for place in range(RUN):
            runs = (runs ^ codes[place : place + count]) * _MIX[place]
            runs ^= runs >> _SHIFT
        runs = np.unique(runs)
        hashed = (runs[:, None] * _FACTORS[None, :] + _OFFSETS[None, :]) >> _SHIFT
    smallest: Numbers = hashed.min(axis=0).astype(np.uint32)
    return smallest


def likeness(first: Numbers, second: Numbers) -> float:
    """The estimated share of runs that two texts have in common, 0 to 1."""
    return float(np.mean(first == second))


class NearIndex:
    """Collects texts one by one, and then tells which are nearly the same."""

    def __init__(self) -> None:
        self._numbers = array("I")
        self.count = 0

    def add(self, text: str) -> int:
        """Take a text; its number, from 0."""
        self._numbers.frombytes(signature(text).tobytes())
        self.count += 1
        return self.count - 1

    def pairs(self, threshold: float = THRESHOLD) -> Iterator[Pair]:
        """Yield, for texts that are nearly the same as an earlier one, one such pair each.

        Every text comes at most once as `second`, with the nearest earlier text that was found.
        """
        best: dict[int, Pair] = {}
        for first, second, like in self._candidates(threshold):
            known = best.get(second)
            if known is None or (like, -first) > (known.likeness, -known.first):
                best[second] = Pair(first, second, like)
        yield from sorted(best.values(), key=lambda pair: pair.second)

    def groups(
        self, threshold: float = THRESHOLD, same: Iterable[tuple[int, int]] = ()
    ) -> list[int]:
        """For each text the smallest number of its group: near-duplicates, and theirs.

        Args:
            threshold: See THRESHOLD.
            same: Further pairs that belong together.
        """
        parents = list(range(self.count))

        def root(number: int) -> int:
            while parents[number] != number:
                parents[number] = parents[parents[number]]
                number = parents[number]
            return number

        near = ((first, second) for first, second, _ in self._candidates(threshold))
        for first, second in chain(same, near):
            low, high = sorted((root(first), root(second)))
            parents[high] = low
        return [root(number) for number in range(self.count)]

    def _candidates(self, threshold: float) -> Iterator[tuple[int, int, float]]:
        """Pairs that are near enough; of a large group not every pair, but enough to join it."""
        if not self.count:
            return
        table = np.frombuffer(self._numbers, dtype=np.uint32).reshape(self.count, NUMBERS)
        for start in range(0, NUMBERS, ROWS):
            band = table[:, start : start + ROWS].astype(np.uint64)
            keys = np.zeros(self.count, dtype=np.uint64)
            with np.errstate(over="ignore"):
                for place in range(ROWS):
                    keys = (keys ^ band[:, place]) * _MIX[place % len(_MIX)]
                    keys ^= keys >> _SHIFT
            order = np.argsort(keys, kind="stable")
            ranked = keys[order]
            edges = np.flatnonzero(np.diff(ranked)) + 1
            starts = np.concatenate([[0], edges])
            ends = np.concatenate([edges, [self.count]])
            for number in np.flatnonzero(ends - starts > 1):
                same = np.sort(order[starts[number] : ends[number]])
                yield from _near_in(table, same, threshold)


def _near_in(
    table: Numbers, same: npt.NDArray[np.int64], threshold: float
) -> Iterator[tuple[int, int, float]]:
    """Pairs among texts of one band: each with the first that it is near to."""
    left = same
    for _ in range(_ROUNDS):
        if len(left) < 2:
            return
        first, rest = left[0], left[1:]
        alike = np.mean(table[rest] == table[first], axis=1)
        is_near = alike >= threshold
        for second, like in zip(rest[is_near], alike[is_near], strict=True):
            yield int(first), int(second), float(like)
        left = rest[alike < _AS_GOOD_AS]
