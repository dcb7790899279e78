"""Join the two lines of the triage: what the rules found, and what the learned model thinks.

The rules decide; the model raises what they did not see, and lowers only what they are not sure
of. A clear emergency of the rules is never lowered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from medbot_llm.domain import Severity
from medbot_llm.safety.base import TriageResult

EMERGENCY_FROM = 0.72
"""Probability of an emergency from which the model alone calls one."""
EMERGENCY_AGAINST_CONTEXT = 0.92
"""The same where the rules saw signs, but denied, over, asked about or somewhere else."""
HELP_FROM = 0.7
"""Probability of any need from which the model alone calls a nurse."""
HELP_AGAINST_CONTEXT = 0.85
DOUBT_BELOW = 0.12
"""Under this probability of an emergency, one that is not clear becomes a nurse's visit."""
NO_HELP_BELOW = 0.1
"""Under this probability of any need nobody is called for what is not clear."""

ANY_CAUSE = "several_signs"
"""The rule that sees danger and not its cause, so that the model names the category."""


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


class SecondOpinion(Protocol):
    """What the learned model says: `safety/second_line.py`."""

    @property
    def emergency(self) -> float:
        """Probability of an emergency."""

    @property
    def help(self) -> float:
        """Probability that anybody is needed."""

    @property
    def category(self) -> str:
        """The likeliest category."""


def fused(evidence: Evidence, opinion: SecondOpinion | None) -> TriageResult:
    """Decide from both lines.

    Args:
        evidence: Of the rules.
        opinion: Of the model; None without one: the rules decide alone.
    """
    category = evidence.category
    if evidence.rule == ANY_CAUSE and opinion is not None and opinion.category != "benign":
        category = opinion.category
    by_rules = TriageResult(evidence.severity, category, evidence.reason)
    if opinion is None or (evidence.severity is Severity.EMERGENCY and evidence.is_clear):
        return by_rules
    if evidence.severity is Severity.EMERGENCY:
        if opinion.emergency >= DOUBT_BELOW:
            return by_rules
        if opinion.help < NO_HELP_BELOW:
            return TriageResult()
        return TriageResult(Severity.NURSE, category, evidence.reason)
    needed = EMERGENCY_AGAINST_CONTEXT if evidence.is_harmless else EMERGENCY_FROM
    if opinion.emergency >= needed:
        return TriageResult(Severity.EMERGENCY, opinion.category, _by_model(opinion.emergency))
    if evidence.severity is Severity.NURSE:
        return by_rules if opinion.help >= NO_HELP_BELOW else TriageResult()
    needed = HELP_AGAINST_CONTEXT if evidence.is_harmless else HELP_FROM
    if opinion.help >= needed:
        return TriageResult(Severity.NURSE, opinion.category, _by_model(opinion.help))
    return by_rules


def _by_model(probability: float) -> str:
    return f"sounds like it (learned model, {probability:.0%}); no rule names it"
