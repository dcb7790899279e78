"""What an answer is scored against, and what comes out: every part by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import Scene
from medbot_llm.domain import Severity


@dataclass(frozen=True)
class Context:
    """What is known beside question and answer. All of it is optional.

    Attributes:
        language: In which the answer is to be; None: in that of the question.
        scene: Where the robot stands, which decides whom to call; None: anywhere.
        patient_group: Who the medicine is for.
        task: What is delivered, for numbers and names; None: no delivery.
        reference: An answer that is known to be good.
        facts: Statements that the answer must agree with, and that it may state.
        needs: "emergency", "nurse" or "none" where a person has judged it; None: the triage tells.
        alerted: An alert has gone out, so that the answer may say so.
        thinking: The recipe wants a thought before the answer.
        begins_in_thought: The prompt ends with an open `<think>`.
    """

    language: Language | None = None
    scene: Scene | None = None
    patient_group: PatientGroup = PatientGroup.ADULT
    task: DeliveryTask | None = None
    reference: str = ""
    facts: tuple[str, ...] = ()
    needs: Severity | str | None = None
    alerted: bool = False
    thinking: bool = False
    begins_in_thought: bool = False


@dataclass(frozen=True)
class Finding:
    """Something in an answer that costs.

    Attributes:
        reason: Name of the rule, as docs/safety.md and reward_rules.md have it.
        detail: What in the answer, or missing from it.
        grade: "harm", "unfit" or "doubt".
    """

    reason: str
    detail: str
    grade: str


HARM, OMISSION, UNFIT, DOUBT = "harm", "omission", "unfit", "doubt"
"""Grades of a finding: it would hurt somebody; help that was needed is not called; it may not be
said so; only the learned reader thinks so."""


@dataclass(frozen=True)
class RewardParts:
    """The parts of one reward.

    Attributes:
        format: The thought is where it is wanted and nowhere else, 0 to 1.
        content: It answers, names the next step, agrees with what is known, 0 to 1.
        length: In the band, 0 to 1.
        language: In the language and script asked for, 0 to 1.
        safety: -1 would hurt, -0.5 leaves someone in danger alone, 0 to 1 how far it may be said.
        rules: All of these together, -1 to 1.
        teacher: 0 to 1; None: there is no judgement.
        reward: Rules and teacher together; rules alone where there is no judgement.
        need: "emergency", "nurse" or "none": what the question called for.
        escalates: "now", "conditional", "soft", "elsewhere", "refused" or "none".
        findings: What cost.
    """

    format: float
    content: float
    length: float
    language: float
    safety: float
    rules: float
    teacher: float | None = None
    reward: float = 0.0
    need: str = "none"
    escalates: str = "none"
    findings: tuple[Finding, ...] = ()

    def as_fields(self) -> dict[str, Any]:
        """All parts, as they are written to JSON Lines; numbers rounded to four places."""

        def rounded(value: float | None) -> float | None:
            return None if value is None else round(value, 4)

        return {
            **{name: rounded(getattr(self, name)) for name in (*RULE_PARTS, "rules", "teacher")},
            "reward": rounded(self.reward),
            "need": self.need,
            "escalates": self.escalates,
            "findings": [[f.reason, f.grade, f.detail] for f in self.findings],
        }


RULE_PARTS = ("format", "content", "length", "language", "safety")


@dataclass(frozen=True)
class Weights:
    """How parts are joined; a recipe may set each.

    Attributes:
        rules, teacher: Of R = rules·R_rules + teacher·R_teacher; scaled to sum to 1 (C14).
        format, length: Of the manners, scaled to sum to 1.
        manners: What a good content loses without any manners.
        language: What it loses in another language.
    """

    rules: float = 0.6
    teacher: float = 0.4
    format: float = 1.0
    length: float = 1.0
    manners: float = 0.3
    language: float = 0.7

    @classmethod
    def of(cls, values: Mapping[str, float]) -> Weights:
        """From a recipe. Raises ValueError for an unknown name or a value that can't be one."""
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            known = ", ".join(cls.__dataclass_fields__)
            raise ValueError(f"unknown weight {', '.join(unknown)}; known: {known}")
        return cls(**values)

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not 0 <= value < float("inf"):
                raise ValueError(f"weight {name} must be a number from 0 on, not {value!r}")
        if self.rules + self.teacher <= 0:
            raise ValueError("the weights of rules and teacher must not both be 0")
        if self.format + self.length <= 0:
            raise ValueError("the weights of format and length must not both be 0")
        for name in ("manners", "language"):
            if getattr(self, name) > 1:
                raise ValueError(f"weight {name} must be at most 1, not {getattr(self, name)!r}")


@dataclass(frozen=True)
class Band:
    """How long an answer is to be, s of speech: nothing is earned for more, or for less.

    Attributes:
        least, shortest: Below the first nothing is paid, from the second on all.
        longest, most: Up to the first all is paid, from the second on nothing.
    """

    least: float = 0.5
    shortest: float = 2.5
    longest: float = 30.0
    most: float = 75.0

    def __post_init__(self) -> None:
        if not 0 <= self.least < self.shortest <= self.longest < self.most:
            raise ValueError(
                "the band of lengths must rise: least < shortest <= longest < most, not "
                f"{self.least}, {self.shortest}, {self.longest}, {self.most}"
            )


SPOKEN = Band()
"""One to three spoken sentences (resource/prompts): half a minute at most."""
WRITTEN = Band(1.0, 5.0, 120.0, 300.0)
"""For answers that are read, not heard: up to some 480 Chinese characters or 300 words."""


@dataclass(frozen=True)
class RuleSettings:
    """What a recipe may choose for the rules.

    Attributes:
        weights: How the parts are joined.
        band: How long an answer is to be.
        second_line: The triage's and the verifier's learned models are asked too.
    """

    weights: Weights = field(default_factory=Weights)
    band: Band = SPOKEN
    second_line: bool = True
