"""How far into a text its sound has come.

What a person has heard of a sentence decides what the history may hold, so the answer errs on the
side of less: a word counts once all of it has sounded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medbot_llm.speech.audio import Samples

_HAN = (
    r"\u3005-\u3007\u3041-\u30ff\u3105-\u312f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\U00020000-\U0003134f"
)
_WORD = re.compile(rf"[{_HAN}]|(?:(?![{_HAN}_])\w)+(?:[.,:'’/-](?:(?![{_HAN}_])\w)+)*")
"""A Chinese character, or a word or number in other letters: "0.5", "don't", "HLA-B"."""
_LETTER_WEIGHT = 0.4
"""A letter of an English word, as a share of the time of a syllable (five letters make two)."""
_DIGIT_WEIGHT = 1.5
"""A digit and its place: 五十, "fifty"."""
_PAUSE_WEIGHT = 1.0
_PAUSES = frozenset("，、；：。！？…—,;:.!?")

_FRAME_S = 0.01
_SHORTEST_PAUSE_S = 0.06
_SEARCH_S = 0.4
"""How far from where a clause should end, by its share of the text, the pause is looked for."""
_PAUSE_LEVEL = 0.03
"""Below this share of the loudest frame (-30 dB) it is a pause."""
_VOICE_LEVEL = 0.005
"""Above this share of the peak (-46 dB) it is voice: soft beginnings such as "f" stay in."""


def weight(text: str) -> float:
    """How long a text takes to be said, in syllables of Chinese, roughly."""
    return sum(map(_character_weight, text))


def words_within(text: str, share: float) -> int:
    """Where the last word ends that is over when this share (0 to 1) of the text's time is."""
    if share >= 1.0:
        return len(text)
    ends = [match.end() for match in _WORD.finditer(text)]
    if not ends:
        return 0
    # The marks behind the last word are a pause, and no part of the voice.
    spent = share * weight(text[: ends[-1]]) + 1e-6
    heard, said, start = 0, 0.0, 0
    for end in ends:
        said += weight(text[start:end])
        if said > spent:
            break
        heard = start = end
    return heard


def voiced_span(samples: Samples, peak: float) -> tuple[int, int]:
    """The first sample of the voice and the one behind its last; (0, 0) for silence.

    Args:
        samples: What may hold a voice.
        peak: The largest sample of all that was said together.
    """
    loud = np.flatnonzero(np.abs(samples) > peak * _VOICE_LEVEL)
    return (int(loud[0]), int(loud[-1]) + 1) if len(loud) else (0, 0)


@dataclass(frozen=True)
class Stretch:
    """Clauses that were said together, and the samples that hold them.

    Attributes:
        clauses: How many of the clauses; more than one where no pause parts them.
        samples: Up to the end of the pause behind them.
        voice_from, voice_to: Where in `samples` the voice is.
    """

    clauses: int
    samples: Samples
    voice_from: int
    voice_to: int


def part_at_pauses(samples: Samples, rate: int, clauses: Sequence[str]) -> list[Stretch]:
    """Find the clauses again in the sound of all of them.

    Each is expected where its share of the text says, and ends in the nearest real pause; where
    there is none it stays joined to the next.
    """
    peak = float(np.max(np.abs(samples)))
    first, last = voiced_span(samples, peak)
    pauses = _pauses(samples, rate)
    weights = [weight(clause) for clause in clauses]
    total = sum(weights) or 1.0
    ends: list[tuple[int, int]] = []
    said, after = 0.0, first
    for number, one in enumerate(weights[:-1], 1):
        said += one
        expected = first + said / total * (last - first)
        near = [
            pause for pause in pauses if after < pause < last and _is_near(pause, expected, rate)
        ]
        if near:
            after = min(near, key=lambda pause: abs(pause - expected))
            ends.append((number, after))
    stretches, clause_from, sample_from = [], 0, 0
    for clause_to, sample_to in [*ends, (len(clauses), len(samples))]:
        part = samples[sample_from:sample_to]
        stretches.append(Stretch(clause_to - clause_from, part, *voiced_span(part, peak)))
        clause_from, sample_from = clause_to, sample_to
    return stretches


def _character_weight(char: str) -> float:
    if char.isdigit():
        return _DIGIT_WEIGHT
    if char in _PAUSES:
        return _PAUSE_WEIGHT
    if char > "\u2e7f" and char.isalnum():
        return 1.0
    return _LETTER_WEIGHT if char.isalnum() or char == " " else 0.0


def _is_near(pause: int, expected: float, rate: int) -> bool:
    return abs(pause - expected) <= _SEARCH_S * rate


def _pauses(samples: Samples, rate: int) -> list[int]:
    """Where the pauses end, in samples."""
    size = max(1, int(_FRAME_S * rate))
    count = len(samples) // size
    frames = np.abs(samples[: count * size]).reshape(count, size).max(axis=1, initial=0.0)
    is_quiet = frames <= _PAUSE_LEVEL * frames.max(initial=0.0)
    edges = np.diff(np.concatenate(([False], is_quiet, [False])).astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    is_long = (ends - starts) * _FRAME_S >= _SHORTEST_PAUSE_S
    return [int(end) * size for end in ends[is_long]]
