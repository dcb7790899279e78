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
from medbot_llm.domain import Severity
from medbot_llm.domain import Utterance


@dataclass(frozen=True)
class TriageResult:
    """How urgently a human is needed for what was said.

    Attributes:
        severity: None where no one has to come.
        category: What it is about, e.g. "chest_pain".
        reason: Why, for a nurse to read.
    """

    severity: Severity | None = None
    category: str = "benign"
    reason: str = ""


class Triage(Protocol):
    """Judges every final utterance, before and without the model, in a few milliseconds."""

    name: str

    def assess(self, utterance: Utterance, task: DeliveryTask | None) -> TriageResult:
        """Tell whether a human is needed."""


@dataclass(frozen=True)
class Verdict:
    """Whether a sentence may be spoken, and if not, why.

    Attributes:
        reason: Name of the rule that blocks it, "" where it may be spoken.
        detail: What in the sentence offends, for the log.
    """

    reason: str = ""
    detail: str = ""

    @property
    def blocked(self) -> bool:
        return bool(self.reason)


class Verifier(Protocol):
    """Reads every finished sentence of the model before it is published."""

    name: str

    def check(self, sentence: str, language: Language, task: DeliveryTask | None) -> Verdict:
        """Tell whether the sentence agrees with the task and the rules."""


class NoTriage:
    """Finds no emergency in anything. Stands here until the rules are there."""

    name = "none"

    def assess(self, utterance: Utterance, task: DeliveryTask | None) -> TriageResult:
        """Never asks for a human."""
        return TriageResult()


class NoVerifier:
    """Blocks no sentence. Stands here until the rules are there."""

    name = "none"

    def check(self, sentence: str, language: Language, task: DeliveryTask | None) -> Verdict:
        """Let every sentence pass."""
        return Verdict()
