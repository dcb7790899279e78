"""Join the two lines of the verifier: what the rules found, and what the learned reader thinks.

A rule that knows what the model is not told stands, whatever the model thinks. Everything else is
decided by a logistic sum of the model's logit and the rule that blocks, each rule weighing what it
was found to be worth; weights and threshold are trained and chosen by `make verifier-train`, on
sentences about deliveries that nobody had read when the rules were written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medbot_llm.domain import MedbotError
from medbot_llm.safety.base import Verdict
from medbot_llm.safety.second_opinion import Opinion
from medbot_llm.safety.signs import bear_out
from medbot_llm.safety.signs import reason_of

NO_VERDICT = Verdict()
HARD = frozenset(
    {
        "claims_action_not_done",
        "contradicts_allergy",
        "contradicts_interaction",
        "discloses_other_patient",
    }
)
"""Reasons of rules that no model lifts: they rest on what it is not told, such as whether an alert
has gone out, what was said before, and which medicines do not go together."""


_OF_DOSING = frozenset({"wrong_dose_stated", "wrong_frequency", "wrong_route"})
_COMPARED = frozenset({"wrong_dose_stated", "wrong_frequency", "wrong_drug_stated"})
"""What the grades compare with the label, word by word."""


@dataclass(frozen=True)
class Ruled:
    """What the rules make of a sentence.

    Attributes:
        verdict: Theirs.
        agrees: It states amounts or times of the task's medicines, and all agree with the labels.
        signs: Weak evidence for and against it (`signs.py`).
        is_final: The model is not asked.
    """

    verdict: Verdict = NO_VERDICT
    agrees: bool = False
    is_final: bool = False
    signs: frozenset[str] = frozenset()


def final(reason: str, detail: str) -> Ruled:
    """A block of the rules that the model is not asked about."""
    return Ruled(Verdict(reason, detail), is_final=True)


class VerdictsError(MedbotError):
    """What was trained cannot be used."""


@dataclass(frozen=True)
class Verdicts:
    """The trained sum.

    Attributes:
        bias: Constant term.
        weights: By the names that `inputs` gives.
        threshold: Sum from which a sentence is blocked.
    """

    bias: float
    weights: Mapping[str, float]
    threshold: float

    @classmethod
    def from_numbers(cls, stored: Any) -> Verdicts:
        """Read what the trainer wrote.

        Raises:
            VerdictsError: It is not that.
        """
        try:
            weights = {str(name): float(value) for name, value in stored["weights"].items()}
            return cls(float(stored["bias"]), weights, float(stored["threshold"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise VerdictsError(
                f"the verifier's second line has no fusion ({error}); train it with: "
                "make verifier-train"
            ) from None

    def decide(self, ruled: Ruled, opinion: Opinion) -> Verdict:
        """Decide from both lines."""
        verdict = ruled.verdict
        if is_hard(verdict):
            return verdict
        values = inputs(ruled, opinion)
        total = self.bias + sum(self.weights.get(name, 0.0) * v for name, v in values.items())
        if total <= self.threshold:
            return Verdict()
        if verdict.blocked:
            return verdict
        return Verdict(
            reason_of(ruled.signs) or opinion.reason,
            f"sounds like it (learned model, {opinion.probability:.0%})",
        )


def is_hard(verdict: Verdict) -> bool:
    """Whether a block of the rules stands whatever the model thinks."""
    return verdict.is_sure or verdict.reason in HARD


def inputs(ruled: Ruled, opinion: Opinion) -> dict[str, float]:
    """What the sum is made of, by name; names that are left out are 0."""
    values = {"model": opinion.logit}
    is_of_dosing = opinion.reason in _OF_DOSING
    if is_of_dosing:
        values |= {"dosing": 1.0, "model_dosing": opinion.logit}
    if ruled.agrees:
        # Rules compare numbers better than a model does.
        kind = "agrees_dosing" if is_of_dosing else "agrees"
        values |= {kind: 1.0, f"model_{kind}": opinion.logit}
    is_compared = opinion.reason in _COMPARED or (
        opinion.reason == "double_dose" and "usual_right" in ruled.signs
    )
    if is_compared and not ruled.verdict.blocked and ruled.signs and bear_out(ruled.signs):
        values["borne_out"] = 1.0
    if ruled.verdict.blocked:
        values |= {"rules": 1.0, f"rules_{ruled.verdict.reason}": 1.0}
    return values | {f"sign_{sign}": 1.0 for sign in ruled.signs}
