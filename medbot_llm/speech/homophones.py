"""藥 or 要: both are yào, Whisper base mostly writes the commoner 要, and what stands around it
tells which was meant.

Nearly half of the Chinese texts that Whisper base gets wrong at a bedside are wrong in just this
("這個要怎麼吃", `make bench-voice`). The odds are a sum over the characters on both sides,
learned from the project's own utterances (`make homophones-train`; data/triage, data/verifier),
shipped as plain numbers. In doubt 要 stays.
"""

from __future__ import annotations

import importlib.resources
import json
import math
import re
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path

from medbot_llm.speech.audio import SpeechError

WEIGHTS_FILE = "medicine_or_want.json"
WANT, MEDICINE = "要", "药"
SURE = 0.9
"""From this probability on 要 becomes 药. On lines held out of the training 81 % of the 药 come
back, and 0.7 % of the 要 are spoiled (`make homophones-train` prints both)."""
REACH = 3
"""Characters that are looked at on each side."""
_NOT_SAID = re.compile(r"[\W_]+")


def contexts(chars: str, place: int) -> Iterator[str]:
    """Name what stands around a character of Simplified text without punctuation, in which every
    药 is written 要.
    """
    edge = "^" * REACH
    padded = edge + chars + edge
    at = place + REACH
    for size in range(1, REACH + 1):
        yield f"<{padded[at - size : at]}"
        yield f">{padded[at + 1 : at + 1 + size]}"
    yield f"{padded[at - 1]}_{padded[at + 1]}"
    yield f"{padded[at - 2 : at]}_{padded[at + 1]}"
    yield f"{padded[at - 1]}_{padded[at + 1 : at + 3]}"
    yield ""


class MedicineOrWant:
    """Tells 药 from 要 by its neighbours.

    Args:
        weights: Of each context, in nats for 药; that of "" is the bias.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights

    @classmethod
    def load(cls, file: Path | None = None) -> MedicineOrWant:
        """Read the package's weights, or others.

        Raises:
            SpeechError: the file is missing or broken.
        """
        where = file or importlib.resources.files("medbot_llm.resource") / "speech" / WEIGHTS_FILE
        try:
            weights = json.loads(where.read_text(encoding="utf-8"))
            return cls({str(name): float(weight) for name, weight in weights.items()})
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise SpeechError(
                f"{where} cannot be read as weights of 要 and 药: {error}"
            ) from error

    def medicine(self, simplified: str) -> list[tuple[int, float]]:
        """Places at which 要 stands for 药, with the probability of each."""
        if WANT not in simplified:
            return []
        said = [
            (place, char)
            for place, char in enumerate(simplified.replace(MEDICINE, WANT))
            if not _NOT_SAID.match(char)
        ]
        chars = "".join(char for _, char in said)
        found = []
        for index, (place, _) in enumerate(said):
            if simplified[place] == WANT:
                odds = sum(self._weights.get(name, 0.0) for name in contexts(chars, index))
                probability = 1 / (1 + math.exp(-odds))
                if probability >= SURE:
                    found.append((place, probability))
        return found
