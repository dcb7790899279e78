"""The triage's second line: learned models, for ways of speaking that no rule foresees.

"The room keeps sliding" has no word that a rule could wait for, but a thousand other utterances
make it look more like danger than like chat. Two models judge it, and a weighted sum of their
logits is the judgement: a linear one of character n-grams, which knows phrases, and a small
convolutional network over word vectors (`sentence_net.py`), which knows words that lie near known
ones and what stands before what. Both also see the concepts and the cues of context that the rules
know (`triage_rules.Reading`), so that what they learned of one word for the chest holds for the
others. They were trained by `make triage-train` on `data/triage/`; here are only their numbers
(`resource/triage/second_line.npz`) and the few lines that apply them. The second line never
decides alone: `fusion.py` joins it with the rules.

The network's word vectors are derived from the token embeddings of Qwen2.5-Coder-1.5B-Instruct
(Alibaba Cloud, licence Apache-2.0).
"""

from __future__ import annotations

import importlib.resources
import io
import json
import math
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medbot_llm.domain import MedbotError
from medbot_llm.safety.sentence_net import ARRAYS as NET_ARRAYS
from medbot_llm.safety.sentence_net import Marks
from medbot_llm.safety.sentence_net import SentenceNet
from medbot_llm.text.normal import canonical
from medbot_llm.text.normal import with_digits

FILE_NAME = "second_line.npz"
FORMAT = 3

HASH_BITS = 17
"""Features of the two urgency heads: 2 to this power."""
CATEGORY_BITS = 14
"""Features of the category head; the same hashes, folded."""
LARGEST_LOGIT = 12.0

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]+")
_LATIN_RUN = re.compile(r"[a-z0-9.' ]*[a-z][a-z0-9.' ]*")
_WORD = re.compile(r"[a-z']+|\d+(?:\.\d+)?")
_COUNT = re.compile(r"(\d+(?:\.\d+)?)(?:多|几)? ?([a-z]+|[\u4e00-\u9fff])?")
_MAGNITUDES = (1, 2, 4, 9, 19, 49, 99, 299)


class SecondLineError(MedbotError):
    """The numbers of the second line are missing or not what this code applies."""


@dataclass(frozen=True)
class Judgement:
    """What the model makes of an utterance.

    Attributes:
        emergency: Probability that a human is needed now, 0 to 1.
        help: Probability that a human is needed now or soon, 0 to 1.
        category: The likeliest category, given that one is needed.
        emergency_logit: Logit of `emergency`.
        help_logit: Logit of `help`.
    """

    emergency: float
    help: float
    category: str
    emergency_logit: float
    help_logit: float


class SecondLine:
    """Judges utterances. Nothing changes after it is made, so any thread may ask.

    Args:
        urgency: Weights, float, shape (2 ** HASH_BITS, 2): emergency, help.
        urgency_bias: Shape (2,).
        calibration: For each head the weights of the linear model's logit and of the network's,
            and an offset; shape (2, 3).
        category: Weights, shape (2 ** CATEGORY_BITS, number of categories).
        category_bias: Shape (number of categories,).
        categories: Their names.
        about: Where the numbers come from.
        net: The network.
    """

    def __init__(
        self,
        urgency: npt.NDArray[np.float32],
        urgency_bias: npt.NDArray[np.float32],
        calibration: npt.NDArray[np.float32],
        category: npt.NDArray[np.float32],
        category_bias: npt.NDArray[np.float32],
        categories: tuple[str, ...],
        about: dict[str, Any],
        net: SentenceNet,
    ) -> None:
        self._urgency = urgency
        self._urgency_bias = urgency_bias
        self._calibration = calibration
        self._category = category
        self._category_bias = category_bias
        self._net = net
        self.categories = categories
        self.about = about
        """Where the numbers come from, and under "fusion" how they are joined with the rules."""

    @classmethod
    def load(cls, file: Path | None = None) -> SecondLine:
        """Read the numbers; None: those of this package.

        Raises:
            SecondLineError: The file is missing, damaged or of another format.
        """
        source = file or importlib.resources.files("medbot_llm.resource") / "triage" / FILE_NAME
        try:
            with np.load(io.BytesIO(source.read_bytes()), allow_pickle=False) as stored:
                about = json.loads(str(stored["about"]))
                if about.get("format") != FORMAT:
                    raise SecondLineError(
                        f"{source}: is of format {about.get('format')}, and {FORMAT} is read; "
                        "train it again with: make triage-train"
                    )
                numbers = {name: stored[name].astype(np.float32) for name in _ARRAYS}
                net = SentenceNet(
                    str(stored["net_strings"]).split("\n"),
                    about["marks"],
                    {name: stored[f"net_{name}"] for name in NET_ARRAYS},
                )
                _check(numbers, len(about["categories"]))
                categories = tuple(map(str, about["categories"]))
        except SecondLineError:
            raise
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            IndexError,
            EOFError,
            NotImplementedError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            reason = " ".join(str(error).split())
            raise SecondLineError(f"{source}: can't be read: {reason}") from None
        return cls(**numbers, categories=categories, about=about, net=net)

    def judge(self, text: str, concepts: Iterable[str] = (), marks: Marks = ()) -> Judgement:
        """Judge one utterance, in any of the languages.

        Args:
            text: What was said.
            concepts: What the rules' tables see in it, from `Reading.traits`.
            marks: Where they see it, from `Reading.marks`.
        """
        indices, values = features(text, concepts)
        if not len(indices):
            return Judgement(0.0, 0.0, self.categories[0], -LARGEST_LOGIT, -LARGEST_LOGIT)
        linear = values @ self._urgency[indices] + self._urgency_bias
        # Marks are places in the text as the rules read it, which is canonical.
        scores_of_net = self._net.scores(text if marks else with_digits(canonical(text)), marks)
        weights = self._calibration
        logits = linear * weights[:, 0] + scores_of_net[:2] * weights[:, 1] + weights[:, 2]
        folded = indices & ((1 << CATEGORY_BITS) - 1)
        scores = log_softmax(values @ self._category[folded] + self._category_bias)
        scores = scores + log_softmax(scores_of_net[2:])
        emergency, needed = (max(-LARGEST_LOGIT, min(LARGEST_LOGIT, float(x))) for x in logits)
        return Judgement(
            _probability(emergency),
            _probability(needed),
            self.categories[int(scores.argmax())],
            emergency,
            needed,
        )


def log_softmax(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Make log probabilities of scores, along the last axis."""
    scores = scores - scores.max(axis=-1, keepdims=True)
    result: npt.NDArray[np.float32] = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    return result


def _check(numbers: dict[str, npt.NDArray[np.float32]], categories: int) -> None:
    wanted = {
        "urgency": (1 << HASH_BITS, 2),
        "urgency_bias": (2,),
        "calibration": (2, 3),
        "category": (1 << CATEGORY_BITS, categories),
        "category_bias": (categories,),
    }
    for name, shape in wanted.items():
        if numbers[name].shape != shape:
            raise ValueError(f"{name} has the shape {numbers[name].shape}, and {shape} is needed")


_ARRAYS = ("urgency", "urgency_bias", "calibration", "category", "category_bias")


def features(
    text: str, concepts: Iterable[str] = ()
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Give the hashed n-grams and concepts of a text: indices below 2 ** HASH_BITS, and values
    (sublinear counts; n-grams of length 1 together, concepts likewise). Used by the trainer too.
    """
    grams = Counter(map(_hashed, _grams(with_digits(canonical(text)))))
    seen = Counter(map(_hashed, concepts))
    indices = np.fromiter((*grams, *seen), np.int64, len(grams) + len(seen))
    values = [_unit(np.fromiter(counts.values(), np.float32)) for counts in (grams, seen)]
    return indices, np.concatenate(values)


def _hashed(token: str) -> int:
    return zlib.crc32(token.encode("utf-8", "replace")) & ((1 << HASH_BITS) - 1)


def _unit(counts: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    values = 1 + np.log(np.maximum(counts, 1))
    norm = float(np.sqrt((values * values).sum())) or 1.0
    return (values / norm).astype(np.float32)


def _probability(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def _grams(text: str) -> Iterator[str]:
    # Characters of Chinese, one to four, within a run: punctuation parts what is said.
    for run in _HAN.findall(text):
        padded = f"^{run}$"
        for size in (1, 2, 3, 4):
            for start in range(len(padded) - size + 1):
                yield padded[start : start + size]
    for run in _LATIN_RUN.findall(text):
        words = _WORD.findall(run)
        for first, second in pairwise(words):
            yield f"{first} {second}"
        for first, third in zip(words, words[2:], strict=False):
            yield f"{first} * {third}"
        for word in words:
            yield f"w:{word}"
            padded = f"<{word}>"
            for size in (3, 4, 5):
                for start in range(len(padded) - size + 1):
                    yield padded[start : start + size]
    for number, unit in _COUNT.findall(text):
        magnitude = sum(float(number[:9]) > limit for limit in _MAGNITUDES)
        yield f"n{magnitude}{unit or ''}"
