"""The triage's second line: a learned model, for ways of speaking that no rule foresees.

"The room keeps sliding" has no word that a rule could wait for, but it means what a thousand other
utterances mean. A small language encoder (`encoder.py`), pre-trained on many languages and
fine-tuned by `make triage-train` on `data/triage/`, judges the meaning. It never decides alone:
`fusion.py` joins it with the rules.
"""

from __future__ import annotations

import importlib.resources
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medbot_llm.domain import MedbotError
from medbot_llm.safety.encoder import EncoderError
from medbot_llm.safety.encoder import SentenceEncoder
from medbot_llm.safety.encoder import load

FORMAT = 5
COMMAND = "make triage-train"
LARGEST_LOGIT = 12.0
HEADS = ("emergency", "help")

_SAYS_SOMETHING = re.compile(r"\w")
_REPEATED = re.compile(r"(.{2,24}?)\1{2,}")
"""The same words three times and more, as a stuck recogniser gives them, are said once: of endless
repetition the model makes anything."""


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
        intent: What is likeliest wanted (`dialogue/intents.py`); "" for no guess.
        intent_share: Its probability among all that may be wanted, 0 to 1.
    """

    emergency: float
    help: float
    category: str
    emergency_logit: float
    help_logit: float
    intent: str = ""
    intent_share: float = 0.0


class SecondLine:
    """Judges utterances. Nothing changes after it is made, so any thread may ask.

    Args:
        encoder: Scores emergency, help, each category and each intent.
        calibration: Factor and offset of both logits, shape (2, 2).
        categories: Their names.
        intents: The same.
        about: Where the numbers come from, and under "fusion" how they are joined with the rules.
    """

    def __init__(
        self,
        encoder: SentenceEncoder,
        calibration: npt.NDArray[np.float32],
        categories: tuple[str, ...],
        intents: tuple[str, ...],
        about: dict[str, Any],
    ) -> None:
        self._encoder = encoder
        self._calibration = calibration
        self.categories = categories
        self.intents = intents
        self.about = about

    @classmethod
    def load(cls, directory: Path | None = None) -> SecondLine:
        """Read the numbers; None: those of this package.

        Raises:
            SecondLineError: A file is missing, damaged or of another format.
        """
        source = directory or importlib.resources.files("medbot_llm.resource") / "triage"
        try:
            encoder, about = load(source, FORMAT, COMMAND)
            calibration = np.array(about["calibration"], np.float32)
            if calibration.shape != (2, 2) or about["yes"] != list(HEADS):
                raise EncoderError(f"{source}: its heads are not those of the triage")
            categories, intents = (tuple(map(str, about[one])) for one in ("choices", "intents"))
            return cls(encoder, calibration, categories, intents, about)
        except EncoderError as error:
            raise SecondLineError(str(error)) from None
        except (ValueError, KeyError, TypeError) as error:
            raise SecondLineError(f"{source}: can't be used: {error}") from None

    def judge(self, text: str) -> Judgement:
        """Judge one utterance, canonical and with digits, in any of the languages."""
        text = _REPEATED.sub(r"\1", text)
        if not _SAYS_SOMETHING.search(text):
            return Judgement(0.0, 0.0, self.categories[0], -LARGEST_LOGIT, -LARGEST_LOGIT)
        scores = self._encoder.scores(text)
        logits = scores[:2] * self._calibration[:, 0] + self._calibration[:, 1]
        emergency, needed = (max(-LARGEST_LOGIT, min(LARGEST_LOGIT, float(x))) for x in logits)
        categories, intents = np.split(scores[2:], [len(self.categories)])
        shares = np.exp(intents - intents.max())
        likeliest = int(shares.argmax())
        return Judgement(
            _probability(emergency),
            _probability(needed),
            self.categories[int(categories.argmax())],
            emergency,
            needed,
            self.intents[likeliest],
            float(shares[likeliest] / shares.sum()),
        )


def _probability(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
