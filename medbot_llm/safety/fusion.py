"""Join the two lines of the triage: what the rules found, and what the learned model thinks.

A clear emergency of the rules stands, whatever the model thinks. Everything else is decided by a
logistic sum of both: the model's two logits, how urgent the rules find it and how sure they are,
and the contexts that they saw around its signs. The weights and thresholds are trained and chosen
by `make triage-train`, on utterances that were not read when the rules were written; it prints how
this way of fusing compares with the others that were tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medbot_llm.domain import MedbotError
from medbot_llm.domain import Severity
from medbot_llm.safety.base import TriageResult
from medbot_llm.safety.second_line import Judgement

ANY_CAUSE = "several_signs"
"""The rule that sees danger and not its cause, so that the model names the category."""


class FusionError(MedbotError):
    """What was trained cannot be used."""


@dataclass(frozen=True)
class Evidence:
    """What the rules found in an utterance.

    Attributes:
        severity: The most urgent there is, None for nothing.
        category: What it is about; "benign" for nothing.
        rule: Id of the rule that decided, "" for none.
        reason: Why, for a nurse.
        is_clear: Present, in no harmless context, and told by a rule that is sure by itself or by
            two rules.
        is_harmless: Signs were found that the words around them make harmless.
        contexts: The names of those contexts.
        sources: Where the deciding rule is from.
        agreeing: How many rules call an emergency.
        is_english: Nothing of it is Chinese; the model is not equally sure of itself in both.
        is_bounded: The deciding rule has read the whole utterance, and it is no emergency.
    """

    severity: Severity | None = None
    category: str = "benign"
    rule: str = ""
    reason: str = ""
    is_clear: bool = False
    is_harmless: bool = False
    contexts: frozenset[str] = frozenset()
    sources: str = ""
    agreeing: int = 0
    is_english: bool = False
    is_bounded: bool = False


NEVER_AN_EMERGENCY = frozenset(
    {"med_refusal", "dose_change_request", "side_effect_mild", "suspected_error"}
)
"""Categories of what a nurse is called for, and nobody runs."""


@dataclass(frozen=True)
class Head:
    """One logistic sum: is it an emergency; is anyone needed.

    Attributes:
        bias: Constant term.
        weights: By the names that `inputs` gives.
        threshold: Sum from which it is so.
    """

    bias: float
    weights: Mapping[str, float]
    threshold: float

    def excess(self, values: Mapping[str, float]) -> float:
        """How far the sum is above the threshold, in logits; negative below it."""
        total = self.bias + sum(self.weights.get(name, 0.0) * v for name, v in values.items())
        return total - self.threshold


@dataclass(frozen=True)
class Fusion:
    """The trained way of joining both lines."""

    emergency: Head
    help: Head

    @classmethod
    def from_numbers(cls, numbers: Any) -> Fusion:
        """Read it from what the trainer has stored with the model.

        Raises:
            FusionError: It is not whole.
        """
        try:
            return cls(*(_head(numbers[name]) for name in ("emergency", "help")))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FusionError(
                f"the second line has no fusion ({error}); train it with: make triage-train"
            ) from None

    def decide(self, evidence: Evidence, opinion: Judgement) -> TriageResult:
        """Decide from both lines."""
        is_named = evidence.severity is not None and evidence.rule != ANY_CAUSE
        category = evidence.category if is_named else opinion.category
        values = inputs(evidence, opinion)
        is_guess = evidence.severity is None
        is_emergency = self.emergency.excess(values) >= 0 and not evidence.is_bounded
        if category in NEVER_AN_EMERGENCY and not is_clear_emergency(evidence):
            # The model alone makes an emergency of it: then it is what the model takes it for.
            is_emergency = is_emergency and opinion.category not in NEVER_AN_EMERGENCY
            if is_emergency:
                reason = _reason(Evidence(), opinion.emergency)
                return TriageResult(Severity.EMERGENCY, opinion.category, reason, is_guess=True)
        if is_clear_emergency(evidence) or is_emergency:
            reason = _reason(evidence, opinion.emergency)
            return TriageResult(Severity.EMERGENCY, category, reason, is_guess=is_guess)
        if self.help.excess(values) >= 0:
            reason = _reason(evidence, opinion.help)
            return TriageResult(Severity.NURSE, category, reason, is_guess=is_guess)
        return TriageResult()


def is_clear_emergency(evidence: Evidence) -> bool:
    """Whether the rules' emergency stands whatever the model thinks."""
    return evidence.severity is Severity.EMERGENCY and evidence.is_clear


def _head(stored: Any) -> Head:
    weights = {str(name): float(value) for name, value in stored["weights"].items()}
    return Head(float(stored["bias"]), weights, float(stored["threshold"]))


def by_rules(evidence: Evidence) -> TriageResult:
    """What the rules alone decide."""
    return TriageResult(evidence.severity, evidence.category, evidence.reason)


def inputs(evidence: Evidence, opinion: Judgement) -> dict[str, float]:
    """What the sums are made of, by name; names that are left out are 0."""
    values = {
        "model_emergency": opinion.emergency_logit,
        "model_help": opinion.help_logit,
    }
    if evidence.is_english:
        values |= {"english": 1.0, "english_model_emergency": opinion.emergency_logit}
    if evidence.severity is not None:
        values[f"rules_{evidence.severity.value}"] = 1.0
        if evidence.is_clear:
            values[f"rules_{evidence.severity.value}_clear"] = 1.0
    elif evidence.is_harmless:
        values["rules_harmless"] = 1.0
    if evidence.agreeing > 1:
        values["rules_agreeing"] = 1.0
    for context in evidence.contexts:
        values[f"context_{context}"] = 1.0
    return values


def _reason(evidence: Evidence, probability: float) -> str:
    if evidence.severity is not None:
        return evidence.reason
    return f"sounds like it (learned model, {probability:.0%}); no rule names it"
