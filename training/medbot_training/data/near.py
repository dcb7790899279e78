"""Which texts are nearly the same: MinHash, in memory that does not grow with their length.

A text is the set of its runs of three characters, in canonical form (one script, one width, one
case, no spaces or punctuation, so that a changed comma changes nothing). Two texts are as near as
the share of runs that they have in common (Jaccard). MinHash estimates that share from 64 numbers
a text; bands of four of them find the pairs worth comparing (Broder 1997; Leskovec, Rajaraman and
Ullman, Mining of Massive Datasets, chapter 3). The estimate has a standard error of 0.05: what it
finds within three of them is compared run by run, so that what counts is the true share.

A record takes 264 bytes here, so that a million take 264 MB; its runs wait in a temporary file,
four bytes a character.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from tempfile import TemporaryFile

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
DOUBT = 0.15
"""Three standard errors of the estimate: a pair so far below the threshold may still be above."""
MAX_CHARS = 20_000
"""Of a longer text its beginning is taken."""

_ROUNDS = 256
"""At most so many texts of one band are compared with the rest of it."""
_AT_ONCE = 512
"""So many texts are compared with one in one go: of the longest that is 40 MB."""
_AS_GOOD_AS = 0.95
"""What is so near to a text that has been compared is near to the same others. In small bands
all but equal texts are compared themselves."""
Words = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.uint32]
Places = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]

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


def runs_of(text: str) -> Words:
    """The hashes of the runs of three characters that a text has, in order, each once."""
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
    return np.unique(runs)


def signature(text: str) -> Numbers:
    """The 64 numbers that stand for a text."""
    return _signature(runs_of(text))


def _signature(runs: Words) -> Numbers:
    with np.errstate(over="ignore"):
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
        self._ends = array("Q", [0])
        self._runs = TemporaryFile()  # noqa: SIM115 - open as long as the index is.
        self.count = 0

    def add(self, text: str) -> int:
        """Take a text; its number, from 0."""
        runs = runs_of(text)
        self._numbers.frombytes(_signature(runs).tobytes())
        self._runs.write(np.sort(runs.astype(np.uint32)).tobytes())
        self._ends.append(self._ends[-1] + len(runs))
        self.count += 1
        return self.count - 1

    def pairs(self, threshold: float = THRESHOLD) -> Iterator[Pair]:
        """Yield, for texts that are nearly the same as an earlier one, one such pair each.

        Every text comes at most once as `second`, with the nearest earlier text that was found.
        """
        best: dict[int, Pair] = {}
        runs = self._all_runs()
        # What an estimate already puts behind another pair is not compared.
        estimated = np.zeros(self.count)
        for first, seconds, alike in self._candidates(threshold):
            is_open = alike > estimated[seconds]
            seconds, alike = seconds[is_open], alike[is_open]
            likes = self._likeness(runs, first, seconds)
            is_near = likes >= threshold
            estimated[seconds[is_near]] = alike[is_near]
            for second, like in zip(seconds[is_near], likes[is_near], strict=True):
                known = best.get(int(second))
                if known is None or (like, -first) > (known.likeness, -known.first):
                    best[int(second)] = Pair(first, int(second), float(like))
        yield from sorted(best.values(), key=lambda pair: pair.second)

    def groups(
        self, threshold: float = THRESHOLD, same: Iterable[tuple[int, int]] = ()
    ) -> list[int]:
        """For each text the smallest number of its group: near-duplicates, and theirs.

        Args:
            threshold: See THRESHOLD.
            same: Further pairs that belong together.
        """
        parents: Places = np.arange(self.count)

        def roots(numbers: Places) -> Places:
            found = parents[numbers]
            while not np.array_equal(higher := parents[found], found):
                found = higher
            parents[numbers] = found
            return found

        def join(first: int, second: int) -> None:
            ends = roots(np.array([first, second]))
            parents[ends.max()] = ends.min()

        for first, second in same:
            join(first, second)
        runs = self._all_runs()
        for first, seconds, _ in self._candidates(threshold):
            others = seconds[roots(seconds) != roots(np.array([first]))]
            for second in others[self._likeness(runs, first, others) >= threshold].tolist():
                join(first, second)
        groups: list[int] = roots(np.arange(self.count)).tolist()
        return groups

    def _all_runs(self) -> Numbers:
        """The runs of all texts, as they lie in the file."""
        self._runs.flush()
        if not self._ends[-1]:
            return np.zeros(0, dtype=np.uint32)
        return np.asarray(np.memmap(self._runs, dtype=np.uint32, mode="r"))

    def _likeness(self, runs: Numbers, first: int, seconds: Places) -> Shares:
        """The true shares of runs that a text has in common with others."""
        mine, ends = runs[self._ends[first] : self._ends[first + 1]], self._ends
        pieces = [np.zeros(0)]
        for start in range(0, len(seconds), _AT_ONCE):
            numbers = seconds[start : start + _AT_ONCE].tolist()
            theirs = [runs[ends[number] : ends[number + 1]] for number in numbers]
            sizes = np.array([len(one) for one in theirs])
            letters = np.concatenate(theirs)
            places = np.minimum(np.searchsorted(mine, letters), len(mine) - 1)
            is_mine = (mine[places] == letters).astype(np.int64)
            common = np.add.reduceat(is_mine, np.cumsum(sizes) - sizes)
            pieces.append(common / (len(mine) + sizes - common))
        return np.concatenate(pieces)

    def _candidates(self, threshold: float) -> Iterator[tuple[int, Places, Shares]]:
        """Texts with others that may be near enough, and how near by estimate; of a large group
        not every pair, but enough to join it."""
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
                yield from _near_in(table, same, threshold - DOUBT)


def _near_in(table: Numbers, same: Places, least: float) -> Iterator[tuple[int, Places, Shares]]:
    """The texts of one band, each with those after it that it may be near to, by estimate."""
    left = same
    as_good_as = _AS_GOOD_AS if len(same) > _ROUNDS else 1.0
    for _ in range(_ROUNDS):
        if len(left) < 2:
            return
        first, rest = left[0], left[1:]
        alike = np.mean(table[rest] == table[first], axis=1)
        is_near = alike >= least
        yield int(first), rest[is_near], alike[is_near]
        left = rest[alike < as_good_as]
