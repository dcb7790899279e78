"""Answers to questions about the delivery: label first, then the formulary, in prepared words.

What is answered, to whom and when is the policy's to choose (`policy.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from medbot_llm.dialogue.advice import LABEL_ANSWERS
from medbot_llm.dialogue.advice import Advisor
from medbot_llm.dialogue.intents import Intent
from medbot_llm.dialogue.missed_dose import in_words
from medbot_llm.dialogue.phrases import Phrases
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.domain import Medication
from medbot_llm.domain import Scene
from medbot_llm.knowledge.label_terms import LabelTerms
from medbot_llm.knowledge.quantities import read_label_routes
from medbot_llm.knowledge.quantities import read_schedule

REASSURANCES = ("別擔心", "别担心", "Don't worry", "Do not worry")
WARNINGS = ("千萬不要", "千万不要", "Never", "never")
"""How sentences of the formulary on a missed dose begin and warn, so that nothing is said
twice."""
_STORAGE = re.compile(
    r"冷藏|冰箱|冷凍|冷冻|室溫|室温|避光|陰涼|阴凉|fridge|refrigerat|freez|room temp|protect from|"
    r"store|keep (?:cool|dry|in)|discard",
    re.IGNORECASE,
)
"""A label that says how the medicine is kept."""

_SWALLOWED_SO = re.compile(
    r"整[粒顆颗片錠锭]|[勿不](?:可|要|能)?(?:咬|磨|剝|剥|掰|壓碎|压碎)|嚼|含[在化服著着]|舌下|溶|泡|whole|crush|"
    r"chew|dissolv|melt|tongue|suck",
    re.IGNORECASE,
)
"""A label that says whether it is bitten, melts or is swallowed as it is."""
_BY_THE_LABEL = {
    Intent.STORAGE: _STORAGE,
    Intent.STORED_WRONG: _STORAGE,
    Intent.CRUSH: _SWALLOWED_SO,
}
"""Questions on which a label that says something is right, whatever the formulary knows of the
medicine: a syrup that was mixed here keeps otherwise."""


@dataclass(frozen=True)
class Answers:
    """Words for one language and scene."""

    phrases: Phrases
    terms: LabelTerms
    advisor: Advisor
    language: Language
    scene: Scene

    def say(self, key: str, **values: str) -> tuple[str, ...]:
        """Prepared words, filled."""
        return tuple(self.phrases.say(key, self.language, self.scene, **values))

    def labels(
        self, task: DeliveryTask, medications: Sequence[Medication] | None = None
    ) -> tuple[str, ...]:
        """What the labels say; None: of all medicines of the task."""
        return tuple(self.phrases.labels(task, self.language, self.terms, medications))

    def facts(
        self, task: DeliveryTask, intent: Intent, medications: Sequence[Medication]
    ) -> tuple[str, ...]:
        """What label and formulary say on a question; the label goes first, and alone where it
        says enough.
        """
        facts: tuple[str, ...] = ()
        if intent in LABEL_ANSWERS or intent is Intent.WHAT_FOR:
            facts = self.labels(task, medications)
        if intent is Intent.WITH_FOOD and any(_tells_meals(m) for m in medications):
            return facts
        if pattern := _BY_THE_LABEL.get(intent):
            told = [m for m in medications if pattern.search(m.instructions)]
            silent = [m for m in medications if m not in told]
            if told:
                own = self.advisor.facts(intent, silent, self.language) if silent else ()
                return (*self.labels(task, told), *own)
        own = self.advisor.facts(intent, medications, self.language)
        if intent is Intent.WITH_FOOD and not own:
            # A label that is silent on meals answers nothing.
            return ()
        return (*own, *facts) if intent is Intent.WHAT_FOR and own else (*facts, *own)

    def without_model(self, task: DeliveryTask) -> tuple[str, ...]:
        """What is said where the model cannot answer: never less than whom to ask."""
        return (
            *self.say("model_unavailable"),
            *self.say("label_says"),
            *self.labels(task),
        )

    def next_dose(self, task: DeliveryTask, medications: Sequence[Medication]) -> tuple[str, ...]:
        """Whether the next dose moves, where one was late."""
        words = self.labels(task, medications)
        if all(self._keeps_its_times(medication) for medication in medications):
            words = (*self.say("next_as_usual"), *words)
        return (*words, *self.say("unsure_ask"))

    def missed_dose(
        self,
        key: str,
        medication: Medication | None,
        *,
        rule: str = "",
        left_h: float | None = None,
    ) -> tuple[str, ...]:
        """Reassure, tell the rule, never double, whom to ask: always all four.

        Args:
            key: Of the prepared words that tell the rule, where `rule` is "".
            medication: That was missed; None: which one is not known.
            rule: The medicine's own, from the formulary.
            left_h: Time to the next dose, h, where the words tell it.
        """
        take = _verb(medication, self.language)
        values = {} if left_h is None else {"left": _hours(left_h, self.language)}
        told = (rule,) if rule else self.say(key, take=take, **values)
        said = told[0]
        reassured = said.startswith(REASSURANCES)
        warned = any(word in said for word in WARNINGS)
        return (
            *(() if reassured else self.say("reassure_missed")),
            *told,
            *(() if warned else self.say("never_double", take=take)),
            *self.say("unsure_ask"),
        )

    def _keeps_its_times(self, medication: Medication) -> bool:
        """Whether a medicine is used at the same times each day, however late one dose was."""
        schedule = read_schedule(medication.frequency, medication.instructions)
        _, is_arithmetic = self.advisor.missed_dose_rule(medication, self.language)
        return schedule.times_low >= 1 and not schedule.as_needed and is_arithmetic


def _tells_meals(medication: Medication) -> bool:
    """Whether the label says when to eat with it."""
    return bool(read_schedule(medication.frequency, medication.instructions).meal)


def _verb(medication: Medication | None, language: Language) -> str:
    """How the medicine is taken, in a word."""
    is_swallowed = medication is None or read_label_routes(
        medication.route, medication.name, medication.dose
    ) <= {"oral"}
    if language is Language.EN:
        return "take" if is_swallowed else "use"
    return "吃" if is_swallowed else "用"


def _hours(hours: float, language: Language) -> str:
    number = in_words(hours)
    if language is Language.EN:
        return f"{number} hour" if number == "1" else f"{number} hours"
    return f"{number} {'小時' if language is Language.ZH_HANT else '小时'}"
