"""R = 0.6·rules + 0.4·teacher, and each part by its name, as evaluation and TRL call them.

`score` is for one answer, `Rewards.score_all` for many; `reward_function` makes a function with
TRL's signature, `f(prompts, completions, **columns)`. Where the teacher has no judgement of an
answer, its R is that of the rules alone; how many there were is logged, and `Rewards.missing`
counts them.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from functools import cache
from typing import Any
from typing import TypeVar

from medbot_llm.apps.json_lines import Record
from medbot_llm.apps.tasks import read_task
from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import Scene
from medbot_llm.domain import StringEnum
from medbot_training.rewards.escalation import NEEDS
from medbot_training.rewards.parts import RULE_PARTS
from medbot_training.rewards.parts import Context
from medbot_training.rewards.parts import RewardParts
from medbot_training.rewards.parts import Weights
from medbot_training.rewards.reading import take_apart
from medbot_training.rewards.rules import Rules
from medbot_training.rewards.teacher import Asked
from medbot_training.rewards.teacher import Teacher

logger = logging.getLogger(__name__)

NAMES = ("combined", "rules", "teacher", *RULE_PARTS)
"""What a recipe may name among its `reward_funcs`."""
OFFLINE = "offline: rewards are the rules' alone, no teacher is asked"

RewardFunction = Callable[..., "list[float | None]"]
E = TypeVar("E", bound=StringEnum)

_LAST_USER = re.compile(
    r"<\|im_start\|>user\n(.*?)<\|im_end\|>"
    r"|<\|start_header_id\|>user<\|end_header_id\|>\n*(.*?)<\|eot_id\|>",
    re.DOTALL,
)


@dataclass(frozen=True)
class Item:
    """One answer to be scored: what was asked, the whole completion, and what is known."""

    question: str
    completion: str
    context: Context


class Rewards:
    """Rules and teacher together. Any thread may ask.

    Args:
        rules: Score by rules.
        teacher: Marks answers; None: offline, which is logged in one line.
        weights: Of R; None: those of the rules' settings.
    """

    def __init__(
        self, rules: Rules, teacher: Teacher | None = None, weights: Weights | None = None
    ) -> None:
        self.rules = rules
        self.teacher = teacher
        self.weights = weights or rules.settings.weights
        self.missing = 0
        self.judged = 0
        self._lock = threading.Lock()
        if teacher is None:
            logger.warning(OFFLINE)

    def score(self, question: str, completion: str, context: Context | None = None) -> RewardParts:
        """Score one answer."""
        return self.score_all([Item(question, completion, context or Context())])[0]

    def score_all(self, items: Sequence[Item]) -> list[RewardParts]:
        """Score answers, in their order; the teacher is asked several at a time.

        Raises:
            TeacherError: The teacher refuses every question.
        """
        parts = [self.rules.score(i.question, i.completion, i.context) for i in items]
        if self.teacher is None:
            return parts
        judgements = self.teacher.judge_all([asked_of(item) for item in items])
        missing = sum(judgement is None for judgement in judgements)
        with self._lock:
            self.missing += missing
            self.judged += len(items) - missing
        if missing:
            failed = ", ".join(f"{k} {n}" for k, n in sorted(self.teacher.tally.failed.items()))
            logger.warning(
                "teacher: no judgement of %d of %d answers, the rules alone reward them "
                "(so far: %s)",
                missing,
                len(items),
                failed,
            )
        return [
            self._joined(part, None if judgement is None else judgement.score)
            for part, judgement in zip(parts, judgements, strict=True)
        ]

    def _joined(self, parts: RewardParts, teacher: float | None) -> RewardParts:
        return replace(parts, teacher=teacher, reward=joined(parts.rules, teacher, self.weights))


def joined(rules: float, teacher: float | None, weights: Weights) -> float:
    """R of a rules' score and a teacher's; of the rules alone where there is none."""
    if teacher is None:
        return rules
    total = weights.rules + weights.teacher
    return (weights.rules * rules + weights.teacher * teacher) / total


def asked_of(item: Item) -> Asked:
    """What the teacher is shown: the answer without its thought, and what is known."""
    context = item.context
    known: dict[str, Any] = {"patient_group": context.patient_group.value}
    if context.scene is not None:
        known["scene"] = context.scene.value
    if context.language is not None:
        known["language"] = context.language.value
    if context.reference:
        known["reference"] = context.reference
    if context.facts:
        known["facts"] = list(context.facts)
    if context.task is not None:
        # Of a patient the teacher is told nothing but the labels, allergies and illnesses.
        known["medicines"] = [
            {k: v for k, v in vars(medication).items() if v}
            for medication in context.task.medications
        ]
        known["allergies"] = list(context.task.allergies)
        known["conditions"] = list(context.task.conditions)
    parted = take_apart(item.completion, begins_in_thought=context.begins_in_thought)
    return Asked(item.question, parted.answer, known)


@cache
def _rules() -> Rules:
    return Rules()


def score(prompt: str, answer: str, context: Context | None = None) -> RewardParts:
    """Score one answer by the rules with their default settings."""
    return _rules().score(prompt, answer, context)


# As TRL calls them -------------------------------------------------------------------------------


def reward_function(
    name: str, rewards: Rewards, defaults: Context | None = None
) -> RewardFunction:
    """Make a function with TRL's signature that gives one part, by its name.

    Columns that it reads, each a list with an entry for every prompt: language (or lang), scene,
    patient_group, task, reference, facts, needs, alerted; or `meta` with these keys. What a record
    does not have is taken from defaults. "combined" logs all parts by `log_metric`.

    Raises:
        MedbotError: There is no part of this name.
    """
    if name not in NAMES:
        raise MedbotError(f"there is no reward '{name}'; there are {', '.join(NAMES)}")

    def function(
        prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
    ) -> list[float | None]:
        items = [
            Item(
                question_of(prompt),
                text_of(completion),
                context_of(_row(columns, index), prompt, defaults or Context()),
            )
            for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
        ]
        if name in ("combined", "teacher"):
            parts = rewards.score_all(items)
        else:
            parts = [rewards.rules.score(i.question, i.completion, i.context) for i in items]
        log_metric = columns.get("log_metric")
        if name == "combined" and callable(log_metric):
            for part, mean in means(parts).items():
                log_metric(f"parts/{part}", mean)
        return [_value(part, name) for part in parts]

    function.__name__ = name
    function.__qualname__ = name
    return function


def means(parts: Sequence[RewardParts]) -> dict[str, float]:
    """The mean of each part, and of the shares that say whether all is well."""
    if not parts:
        return {}
    found = {
        name: sum(getattr(part, name) for part in parts) / len(parts)
        for name in (*RULE_PARTS, "rules", "reward")
    }
    taught = [part.teacher for part in parts if part.teacher is not None]
    if taught:
        found["teacher"] = sum(taught) / len(taught)
    found["teacher_missing"] = 1 - len(taught) / len(parts)
    found["harmful"] = sum(part.safety < 0 for part in parts) / len(parts)
    return found


def _value(parts: RewardParts, name: str) -> float | None:
    value: float | None = getattr(parts, "reward" if name == "combined" else name)
    return value


def _row(columns: Mapping[str, Any], index: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, values in columns.items():
        if isinstance(values, (list, tuple)) and index < len(values):
            row[name] = values[index]
    meta = row.pop("meta", None)
    if isinstance(meta, Mapping):
        row = {**meta, **{k: v for k, v in row.items() if v is not None}}
    return row


def question_of(prompt: Any) -> str:
    """What the user said last, of a prompt as text or as messages."""
    if isinstance(prompt, str):
        turns = _LAST_USER.findall(prompt)
        return (turns[-1][0] or turns[-1][1]).strip() if turns else prompt
    for message in reversed(list(prompt)):
        if message.get("role") == "user":
            return _content(message)
    return ""


def text_of(completion: Any) -> str:
    """The text of a completion as text or as messages."""
    if isinstance(completion, str):
        return completion
    return "\n".join(_content(m) for m in completion if m.get("role") in ("assistant", None))


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(p.get("text", "")) for p in parts if isinstance(p, Mapping))


def context_of(
    row: Mapping[str, Any], prompt: Any = "", defaults: Context | None = None
) -> Context:
    """What a record says beside prompt and answer; what it lacks, or words otherwise, is taken
    from defaults.

    Raises:
        MedbotError: Its task is none.
    """
    defaults = defaults or Context()
    language = _member(Language, row.get("language") or row.get("lang")) or defaults.language
    scene = _member(Scene, row.get("scene")) or defaults.scene
    group = _member(PatientGroup, row.get("patient_group")) or defaults.patient_group
    needs = row.get("needs")
    facts = row.get("facts")
    task = row.get("task")
    ends_in_thought = isinstance(prompt, str) and prompt.rstrip().endswith("<think>")
    return replace(
        defaults,
        language=language,
        scene=scene,
        patient_group=group,
        task=(
            read_task(Record(dict(task), "task"), language or Language.ZH_HANT)
            if isinstance(task, Mapping) and task
            else defaults.task
        ),
        reference=_text(row.get("reference")) or defaults.reference,
        facts=tuple(map(str, facts)) if isinstance(facts, (list, tuple)) else defaults.facts,
        needs=str(needs) if needs in NEEDS else defaults.needs,
        alerted=bool(row.get("alerted", defaults.alerted)),
        begins_in_thought=ends_in_thought or defaults.begins_in_thought,
    )


def _text(value: Any) -> str:
    return take_apart(value).answer if isinstance(value, str) else ""


def _member(kind: type[E], value: Any) -> E | None:
    """A member of an enumeration by its string; None where it is none of them."""
    if not isinstance(value, str):
        return None
    return next((m for m in kind if str(m.value).lower() == value.strip().lower()), None)
