"""A small convolutional network over word vectors: one of the two models of the second line.

It knows words that nobody wrote into the training set, because they lie near others that are in
it: the vectors come from the token embeddings of a language model, seen through a projection that
was learned together with the network. The vectors are derived from Qwen2.5-Coder-1.5B-Instruct
(Alibaba Cloud, licence Apache-2.0), changed: chosen by string, projected to few dimensions, and
rounded to eight bits. Each place of an utterance is a character (Chinese, with the word it stands
in) or a word, with what the rules' tables mark there; filters of one to five places look for
phrases, and the strongest find of each and a weighted mean say how urgent it sounds.

Trained by `make triage-train` (`tools/triage_net.py`); here is what applies it, with NumPy alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MAX_PLACES = 400
"""Places of an utterance that are looked at."""
WIDTHS = (1, 2, 3, 5)
"""Places that the filters span."""
REACH = 2
"""Places before and after one that the widest filter sees."""
LONGEST_WORD = 4
"""Characters of the longest Chinese string in the vocabulary."""
KINDS = 40
"""Kinds of places: see `places`."""
WORD_MARK = "_"
"""Begins the vocabulary's English words; without it a string is the inside of a word."""

_PUNCTUATION = ',.!?:;~"()-/%□'
_KIND_WORD, _KIND_PIECE, _KIND_NUMBER, _KIND_OTHER = 3, 4, 10, 20
_MAGNITUDES = (1, 2, 4, 9, 19, 49, 99, 299)
_HAN = r"\u3400-\u4dbf\u4e00-\u9fff"
_PLACE = re.compile(rf"([{_HAN}]+)|([a-z']+)|(\d+(?:\.\d+)?)|\S")

Floats = npt.NDArray[np.float32]
Marks = Sequence[tuple[str, int, int]]
"""What the rules' tables see: name, start, end."""


class Place(NamedTuple):
    """One place of an utterance.

    Attributes:
        start: Where it begins in the text.
        end: Where it ends.
        inner: Row of a character's vector, 0 for none.
        word: Row of the vector of the word that it is, or stands in; 0 for none.
        kind: What it is, below `KINDS`.
    """

    start: int
    end: int
    inner: int
    word: int
    kind: int


@dataclass(frozen=True)
class Vocabulary:
    """The strings that have vectors.

    Attributes:
        words: Row by string: Chinese words, English words with `WORD_MARK`, insides of words.
        characters: Row by single Chinese character, in the other table.
    """

    words: Mapping[str, int]
    characters: Mapping[str, int]

    @classmethod
    def of(cls, strings: Sequence[str]) -> Vocabulary:
        """Number the strings from 1; of the rows of 0 nothing is known."""
        single = [s for s in strings if len(s) == 1 and s >= "\u3400"]
        return cls(
            {string: row for row, string in enumerate(strings, start=1)},
            {string: row for row, string in enumerate(single, start=1)},
        )

    def places(self, text: str) -> list[Place]:
        """Part canonical text into places: Chinese by character, by the longest word first;
        words whole where they have a vector and else in the longest pieces; numbers by size."""
        found: list[Place] = []
        for match in _PLACE.finditer(text):
            if len(found) >= MAX_PLACES:
                break
            start, end = match.span()
            han, latin, number = match.groups()
            if han:
                found.extend(self._characters(han, start))
            elif latin:
                found.extend(self._pieces(latin, start))
            elif number:
                size = sum(float(number[:9]) > limit for limit in _MAGNITUDES)
                found.append(Place(start, end, 0, 0, _KIND_NUMBER + size))
            else:
                kind = _KIND_OTHER + 1 + _PUNCTUATION.find(match[0])
                found.append(Place(start, end, 0, 0, kind))
        return found[:MAX_PLACES] or [Place(0, 0, 0, 0, _KIND_OTHER)]

    def _characters(self, run: str, begin: int) -> Iterator[Place]:
        position = 0
        while position < len(run):
            size = next(
                (
                    size
                    for size in range(min(LONGEST_WORD, len(run) - position), 1, -1)
                    if run[position : position + size] in self.words
                ),
                1,
            )
            word = run[position : position + size]
            row = self.words.get(word, 0)
            for offset, char in enumerate(word):
                kind = 0 if len(word) == 1 else 1 if offset == 0 else 2
                start = begin + position + offset
                yield Place(start, start + 1, self.characters.get(char, 0), row, kind)
            position += len(word)

    def _pieces(self, word: str, begin: int) -> Iterator[Place]:
        whole = self.words.get(WORD_MARK + word)
        if whole is not None:
            yield Place(begin, begin + len(word), 0, whole, _KIND_WORD)
            return
        position = 0
        word = word[:MAX_PLACES]
        while position < len(word):
            mark = "" if position else WORD_MARK
            size, row = next(
                (
                    (n, self.words[mark + word[position : position + n]])
                    for n in range(min(len(word) - position, 16), 0, -1)
                    if mark + word[position : position + n] in self.words
                ),
                (1, 0),
            )
            start = begin + position
            yield Place(start, start + size, 0, row, _KIND_PIECE + bool(position))
            position += size


def marks_by_place(
    places: Sequence[Place], marks: Iterable[tuple[str, int, int]], names: Mapping[str, int]
) -> list[tuple[int, int]]:
    """Which marks lie on which places: pairs of a place and the number of a name, none twice."""
    return sorted(
        {
            (number, names[name])
            for name, start, end in marks
            if name in names
            for number, place in enumerate(places)
            if place.start < end and place.end > start
        }
    )


ARRAYS = (
    "words",
    "characters",
    "scales",
    "kinds",
    "marks",
    "filters",
    "filters_bias",
    "attention",
    "hidden",
    "hidden_bias",
    "out",
    "out_bias",
)
"""What the network is made of; the first two are tables of eight-bit rows."""


class SentenceNet:
    """The network. Nothing changes after it is made, so any thread may ask.

    Args:
        strings: The vocabulary.
        marks: Names of the marks.
        numbers: The arrays of `ARRAYS`.

    Raises:
        ValueError: The arrays do not fit each other.
    """

    def __init__(
        self,
        strings: Sequence[str],
        marks: Sequence[str],
        numbers: Mapping[str, npt.NDArray[Any]],
    ) -> None:
        self.vocabulary = Vocabulary.of(strings)
        self.mark_names = {name: number for number, name in enumerate(marks)}
        # The tables stay in eight bits; only the rows that are looked up are widened.
        self._words = numbers["words"]
        self._characters = numbers["characters"]
        self.numbers = dict(numbers)
        """The arrays, as they are stored."""
        numbers = {name: numbers[name].astype(np.float32) for name in ARRAYS[2:]}
        self._scales: Floats = numbers["scales"]
        self._kinds: Floats = numbers["kinds"]
        self._marks: Floats = numbers["marks"]
        self._filters: Floats = numbers["filters"]
        self._filters_bias: Floats = numbers["filters_bias"]
        self._attention: Floats = numbers["attention"]
        self._hidden: Floats = numbers["hidden"]
        self._hidden_bias: Floats = numbers["hidden_bias"]
        self._out: Floats = numbers["out"]
        self._out_bias: Floats = numbers["out_bias"]
        self._check()

    def _check(self) -> None:
        size = self._words.shape[-1]
        filters = self._filters.shape[-1]
        wanted = {
            "words": (self._words, (len(self.vocabulary.words) + 1, size)),
            "characters": (self._characters, (len(self.vocabulary.characters) + 1, size)),
            "scales": (self._scales, (2, size)),
            "kinds": (self._kinds, (KINDS, size)),
            "marks": (self._marks, (len(self.mark_names), size)),
            "filters": (self._filters, ((2 * REACH + 1) * size, filters)),
            "filters_bias": (self._filters_bias, (filters,)),
            "attention": (self._attention, (filters,)),
            "hidden": (self._hidden, (2 * filters, len(self._hidden_bias))),
            "out": (self._out, (len(self._hidden_bias), len(self._out_bias))),
        }
        for name, (array, shape) in wanted.items():
            if array.shape != shape:
                raise ValueError(f"{name} has the shape {array.shape}, and {shape} is needed")

    def scores(self, text: str, marks: Marks) -> Floats:
        """The logits of emergency and help, and a score for each category."""
        places = self.vocabulary.places(text)
        rows = np.array([place[2:] for place in places])
        x = self._words[rows[:, 1]] * self._scales[0]
        x += self._characters[rows[:, 0]] * self._scales[1]
        x += self._kinds[rows[:, 2]]
        found = marks_by_place(places, marks, self.mark_names)
        if found:
            at, which = np.array(found).T
            np.add.at(x, at, self._marks[which])
        padded = np.pad(x, ((REACH, REACH), (0, 0)))
        wide = np.concatenate([padded[i : i + len(x)] for i in range(2 * REACH + 1)], axis=1)
        h = np.maximum(wide @ self._filters + self._filters_bias, 0)
        weights = h @ self._attention
        weights = np.exp(weights - weights.max())
        pooled = np.concatenate([h.max(axis=0), (weights / weights.sum()) @ h])
        inner = np.maximum(pooled @ self._hidden + self._hidden_bias, 0)
        result: Floats = inner @ self._out + self._out_bias
        return result
