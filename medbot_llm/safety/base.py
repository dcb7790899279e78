"""Where safety stands in a turn: triage before everything, the verifier before every sentence.

The two protocols are the seams that the dialogue calls. `NoTriage` and `NoVerifier` judge nothing
and say so in `name`, which diagnostics show at WARN: a robot that runs with them must not stand at
a bed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import Scene
from medbot_llm.domain import Severity
from medbot_llm.domain import SpeakerRole


@dataclass(frozen=True)
class Circumstances:
    """Where something was said, and by whom.

    Attributes:
        language: Language of the words; None: tell it from them.
        scene: Where the robot stands.
        patient_group: Who the delivery is for.
        role: Who spoke.
    """

    language: Language | None = None
    scene: Scene = Scene.WARD
    patient_group: PatientGroup = PatientGroup.ADULT
    role: SpeakerRole = SpeakerRole.UNKNOWN


@dataclass(frozen=True)
class TriageResult:
    """How urgently a human is needed for what was said.

    Attributes:
        severity: EMERGENCY or NURSE; None where no one has to come.
        category: What it is about, e.g. "chest_pain"; docs/triage.md lists them.
        reason: Why, for a nurse to read.
        is_guess: No rule names it: the learned model alone says so.
        wants: What the learned model takes to be wanted (`dialogue/intents.py`), for the dialogue;
            "" for no guess.
        wants_share: How sure of that it is, 0 to 1.
    """

    severity: Severity | None = None
    category: str = "benign"
    reason: str = ""
    is_guess: bool = False
    wants: str = ""
    wants_share: float = 0.0


class Triage(Protocol):
    """Judges every final utterance, before and without the model, in a few milliseconds."""

    name: str

    def assess(self, text: str, about: Circumstances) -> TriageResult:
        """Tell whether a human is needed."""


@dataclass(frozen=True)
class Brief:
    """What a sentence is checked against.

    Attributes:
        task: What is delivered; None while there is no task.
        may_disclose: The identity is confirmed, so that medicine and patient may be spoken of.
        alerted: An alert has really gone out, so that the robot may say so.
        said: The plan's own words; what they state may be stated.
        heard: What the person has just said.
        instructions: The part of the prompt that a model must follow and never recite.
    """

    task: DeliveryTask | None = None
    may_disclose: bool = True
    alerted: bool = False
    said: tuple[str, ...] = ()
    heard: str = ""
    instructions: str = ""


@dataclass(frozen=True)
class Verdict:
    """Whether a sentence may be spoken, and if not, why.

    Attributes:
        reason: Name of the rule that blocks it, "" where it may be spoken.
        detail: What in the sentence offends, for the log.
        is_sure: The rule is right whatever a model makes of the sentence.
    """

    reason: str = ""
    detail: str = ""
    is_sure: bool = False

    @property
    def blocked(self) -> bool:
        return bool(self.reason)


class Verifier(Protocol):
    """Reads every finished sentence of the model before it is published."""

    name: str

    def prepare(self, task: DeliveryTask | None, language: Language) -> None:
        """Read a task before its first sentence comes."""

    def check(self, sentence: str, language: Language, brief: Brief) -> Verdict:
        """Tell whether the sentence agrees with the task, the formulary and the plan."""


class NoTriage:
    """Finds no emergency in anything. For tests of the dialogue alone."""

    name = "none"

    def assess(self, text: str, about: Circumstances) -> TriageResult:
        """Never asks for a human."""
        return TriageResult()


class NoVerifier:
    """Blocks no sentence. For tests of the dialogue alone."""

    name = "none"

    def prepare(self, task: DeliveryTask | None, language: Language) -> None:
        """Read nothing."""

    def check(self, sentence: str, language: Language, brief: Brief) -> Verdict:
        """Let every sentence pass."""
        return Verdict()
