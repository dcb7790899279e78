"""The verifier's second line: a learned reader of one sentence against the label that it is about.

"Hardly anybody bothers with the evening one" breaks the label without a word that a rule could
wait for. A small language encoder (`encoder.py`), fine-tuned by `make verifier-train` on
`data/verifier/`, has read the labels of the task and what the formulary knows of its medicines,
and judges each sentence beside them. `verdicts.py` joins what it says with the rules.
"""

from __future__ import annotations

import importlib.resources
import math
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medbot_llm.domain import Language
from medbot_llm.domain import PatientGroup
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.knowledge.interactions import Interactions
from medbot_llm.knowledge.medicine import Medicine
from medbot_llm.knowledge.quantities import numbered
from medbot_llm.safety.claims import readable
from medbot_llm.safety.encoder import Context
from medbot_llm.safety.encoder import EncoderError
from medbot_llm.safety.encoder import SentenceEncoder
from medbot_llm.safety.encoder import load
from medbot_llm.safety.label_facts import LabelFacts
from medbot_llm.safety.label_facts import TaskFacts

FORMAT = 2
COMMAND = "make verifier-train"
HEADS = ("unsafe",)
FOODS_TOLD = 8
"""Of what a medicine must not be taken with, the gravest first."""
EFFECTS_TOLD = 6
_CODES = (
    "food",
    "time",
    "missed",
    "driving",
    "alcohol",
    "pregnancy",
    "breastfeeding",
    "children",
    "stop",
    "crush",
)
"""Fields of the formulary that are told as they are; docs/formulary.md says what they mean."""


@dataclass(frozen=True)
class Opinion:
    """What the model makes of a sentence.

    Attributes:
        logit: Of its being unsafe.
        reason: The likeliest reason, given that it is.
    """

    logit: float
    reason: str

    @property
    def probability(self) -> float:
        """Of its being unsafe, 0 to 1."""
        return 1 / (1 + math.exp(-self.logit))


class SecondOpinion:
    """Judges sentences. Nothing changes after it is made, so any thread may ask.

    Args:
        encoder: Scores unsafe and each reason.
        about: Where the numbers come from, and under "fusion" how they are joined with the rules.
    """

    def __init__(self, encoder: SentenceEncoder, about: dict[str, Any]) -> None:
        self._encoder = encoder
        self.about = about
        self.reasons = tuple(map(str, about["choices"]))

    @classmethod
    def load(cls, directory: Path | None = None) -> SecondOpinion:
        """Read the numbers; None: those of this package.

        Raises:
            EncoderError: A file is missing, damaged or of another format.
        """
        source = directory or importlib.resources.files("medbot_llm.resource") / "verifier"
        encoder, about = load(source, FORMAT, COMMAND, is_beside=True)
        if about["yes"] != list(HEADS):
            raise EncoderError(f"{source}: its heads are not those of the verifier")
        return cls(encoder, about)

    def context(self, told: str) -> Context:
        """Compute what is told of a task (`Telling.of`), once for all its sentences."""
        return self._encoder.context(told)

    def judge(self, sentence: str, context: Context | None) -> Opinion:
        """Judge a sentence beside a context; None: nothing is known."""
        return self._opinion(self._encoder.scores(as_read(sentence), context))

    def begin(self, sentence: str, context: Context | None) -> Callable[[], Opinion]:
        """Begin to judge a sentence; what is returned waits for it."""
        begun = self._encoder.begin(as_read(sentence), context)
        if begun is None:
            return lambda: self.judge(sentence, context)
        return lambda: self._opinion(begun.result())

    def _opinion(self, scores: npt.NDArray[np.float32]) -> Opinion:
        return Opinion(float(scores[0]), self.reasons[int(scores[1:].argmax())])


def as_read(sentence: str) -> str:
    """The form in which a sentence is judged: that in which the rules read it."""
    return readable(sentence)


class Telling:
    """Writes what the model is told of a task: the labels, and what the formulary adds to them.

    Args:
        formulary: None: labels alone.
        interactions: None: no foods are told.
    """

    def __init__(self, formulary: Formulary | None, interactions: Interactions | None) -> None:
        self._formulary = formulary
        self._interactions = interactions
        self._foods: list[str] = []
        if formulary is not None and interactions is not None:
            self._foods = [str(row["id"]) for row in formulary.tables["foods"]]

    def of(self, facts: TaskFacts, language: Language) -> str:
        """What is told of a task, in the words of a language and the codes of the formulary."""
        task = facts.task
        if task is None:
            return ""
        parts = [" . ".join(_of_label(label)) for label in facts.labels]
        if task.allergies:
            parts.append("allergy: " + ", ".join(task.allergies))
        if task.conditions:
            parts.append("condition: " + ", ".join(task.conditions))
        if task.patient_group is not PatientGroup.ADULT:
            parts.append(task.patient_group.value)
        # What a long list of medicines leaves no room for is at the end.
        for medicine in dict.fromkeys(label.medicine for label in facts.labels):
            if medicine is not None and medicine.is_full and self._formulary is not None:
                parts.append(" . ".join(self._of_medicine(medicine, self._formulary, language)))
        return numbered(" ; ".join(parts))

    def _of_medicine(
        self, medicine: Medicine, formulary: Formulary, language: Language
    ) -> Iterator[str]:
        yield medicine.name(language)
        yield "for " + (medicine.use.get(language) or medicine.use.get(Language.EN, ""))
        for field in _CODES:
            code = getattr(medicine, field)
            if code and code not in ("any", "none"):
                yield f"{field} {code.replace('_', ' ')}"
        if medicine.storage:
            yield "storage " + " ".join(medicine.storage).replace("_", " ")
        for field in ("common", "serious"):
            effects = [formulary.effect(one).names for one in getattr(medicine, field)]
            if effects:
                yield f"{field} " + ", ".join(
                    names.get(language) or names[Language.EN] for names in effects[:EFFECTS_TOLD]
                )
        foods = self._refused_foods(medicine)
        if foods:
            yield "not with " + ", ".join(foods).replace("_", " ")

    def _refused_foods(self, medicine: Medicine) -> list[str]:
        if self._interactions is None:
            return []
        findings = self._interactions.check([medicine.id], foods=self._foods).findings
        return [finding.between[1] for finding in findings[:FOODS_TOLD]]


def _of_label(label: LabelFacts) -> Iterator[str]:
    own = label.medication
    yield " ".join(filter(None, (own.name, own.name_zh)))
    for written in (own.strength, own.dose, own.route, own.frequency, own.instructions):
        if written.strip():
            yield written
