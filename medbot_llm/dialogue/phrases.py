"""The robot's prepared words: what it says without a language model.

They greet, ask for the scan, hand over and refer to a human, and they stand in wherever the
model is down, is not asked, or is not to be trusted. `resource/phrases.yaml` has those of the
hand-over, `resource/answers.yaml` those that state rules, ask back and refuse; per language and,
where it matters, per scene. Both files are checked whole when they are read, so that no sentence
can fail to be filled at a bedside.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.domain import Medication
from medbot_llm.domain import Scene
from medbot_llm.knowledge.label_terms import LabelTerms
from medbot_llm.prompts.untrusted import neutralise
from medbot_llm.prompts.wording import OneOrEach
from medbot_llm.prompts.wording import Slots
from medbot_llm.prompts.wording import packaged_resources
from medbot_llm.prompts.wording import read_words
from medbot_llm.prompts.wording import slots

PHRASES_FILE = "phrases.yaml"
ANSWERS_FILE = "answers.yaml"

MAX_VALUE_CHARS = 400
"""Longest value that is put into a sentence; a label that is longer than this is read, not
heard."""

PHRASES: Mapping[str, Slots] = {
    "greeting": slots(is_list=True),
    "ask_identity_again": slots(is_list=True),
    "scan_unreadable": slots(is_list=True),
    "scan_mismatch": slots(is_list=True),
    "locked_answer": slots(is_list=True),
    "handover": slots(is_list=True),
    "handover_named": slots("name", is_list=True),
    "handover_for": slots("name", is_list=True),
    "medicine": slots("medicine", "how", is_list=True),
    "medicine_unlabelled": slots("medicine", is_list=True),
    "medicine_unnamed": slots(is_list=True),
    "handover_closing": slots(is_list=True),
    "no_medications": slots(is_list=True),
    "no_task": slots(is_list=True),
    "on_the_way": slots(is_list=True),
    "model_unavailable_locked": slots(is_list=True),
    "model_unavailable": slots(is_list=True),
    "label_says": slots(is_list=True),
    "too_long": slots(is_list=True),
    "not_heard": slots(is_list=True),
    "unsupported": slots(is_list=True),
    "stopped": slots(is_list=True),
    "resume": slots(is_list=True),
    "task_cancelled": slots(is_list=True),
    "task_changed": slots(is_list=True),
    "low_battery": slots(is_list=True),
    "compartment_fault": slots(is_list=True),
    "farewell": slots(is_list=True),
    "farewell_undelivered": slots(is_list=True),
}
"""Every phrase of `phrases.yaml` and the values that it must be given."""

STAFF = "staff"
"""The value that is filled in by itself: whom to ask in this scene."""

ANSWERS: Mapping[str, Slots] = {
    STAFF: slots(is_list=True),
    "reassure_missed": slots(is_list=True),
    "missed_rule": slots("take", is_list=True),
    "missed_take_now": slots("take", "left", is_list=True),
    "missed_skip": slots("take", "left", is_list=True),
    "never_double": slots("take", is_list=True),
    "unsure_ask": slots(STAFF, is_list=True),
    "missed_ask": slots(is_list=True),
    "next_as_usual": slots(is_list=True),
    "double_no": slots(STAFF, is_list=True),
    "stop_no": slots(STAFF, is_list=True),
    "change_no": slots(STAFF, is_list=True),
    "opioid_no": slots(STAFF, is_list=True),
    "repeat_no": slots(is_list=True),
    "taken_unsure": slots(STAFF, is_list=True),
    "doctor_no": slots(STAFF, is_list=True),
    "diagnosis_no": slots(is_list=True),
    "insult": slots(STAFF, is_list=True),
    "others_no": slots(is_list=True),
    "vomited_ask": slots(STAFF, is_list=True),
    "spoiled_ask": slots(STAFF, is_list=True),
    "share_no": slots(is_list=True),
    "fasting_ask": slots(STAFF, is_list=True),
    "identity_claim": slots(is_list=True),
    "no_scan_possible": slots(STAFF, is_list=True),
    "ask_staff": slots(STAFF, is_list=True),
    "fact_missing": slots(STAFF, is_list=True),
    "check_with_staff": slots(STAFF, is_list=True),
    "which_medicine": slots("candidates", is_list=True),
    "not_in_delivery": slots(STAFF, "what", is_list=True),
    "together_risk": slots(STAFF, "what", "medicine", "why", is_list=True),
    "together_nothing_known": slots(STAFF, "what", is_list=True),
    "together_unknown": slots(STAFF, is_list=True),
    "say_back_allergy": slots("what", is_list=True),
    "say_back_condition": slots("what", is_list=True),
    "say_back_taking": slots("what", is_list=True),
    "say_back_words": slots("what", is_list=True),
    "understood_as": slots("what", is_list=True),
    "keep_to_label": slots(STAFF, is_list=True),
    "confirm_again": slots(is_list=True),
    "misheard": slots(is_list=True),
    "noted": slots(is_list=True),
    "conflict_hold": slots("what", "medicine", "why", is_list=True),
    "conflict_hold_locked": slots(STAFF, is_list=True),
    "held": slots(STAFF, is_list=True),
    "released": slots(is_list=True),
    "scan_incomplete": slots(STAFF, is_list=True),
    "scan_wrong_place": slots(STAFF, is_list=True),
    "scan_wrong_source": slots(is_list=True),
    "scan_wrong_receiver": slots(STAFF, is_list=True),
    "scan_locked": slots(STAFF, is_list=True),
    "scan_waiting": slots(is_list=True),
    "identity_closed": slots(is_list=True),
    "not_understood_again": slots(STAFF, is_list=True),
    "not_understood_human": slots(is_list=True),
    "emergency_number": slots("number", is_list=True),
    "no_answer": slots(is_list=True),
    "hello": slots(is_list=True),
}
"""Every phrase of `answers.yaml`."""


class Phrases:
    """Says the prepared words.

    Args:
        directory: Holds `phrases.yaml` and `answers.yaml`; None: those of this package.

    Raises:
        WordingError: The file or a key is missing, or a placeholder is unknown; names file and
            key.
    """

    def __init__(self, directory: Path | None = None) -> None:
        source = packaged_resources() if directory is None else directory
        self._words: dict[str, Any] = {
            **read_words(source, PHRASES_FILE, _schema(PHRASES)),
            **read_words(source, ANSWERS_FILE, _schema(ANSWERS)),
        }

    def say(self, key: str, language: Language, scene: Scene, **values: str) -> list[str]:
        """Return the finished sentences of a phrase.

        Values are neutralised and put in as they are; `staff` fills itself. Raises KeyError for
        an unknown phrase, and ValueError if the values are not exactly those that `PHRASES` or
        `ANSWERS` names for it or one is empty: a sentence with a hole in it must not be spoken.
        """
        sentences = self._sentences(key, language, scene)
        wanted = (PHRASES.get(key) or ANSWERS[key]).required
        if STAFF in wanted:
            values[STAFF] = self._sentences(STAFF, language, scene)[0]
        filled = {name: neutralise(value, MAX_VALUE_CHARS) for name, value in values.items()}
        if filled.keys() != wanted or not all(filled.values()):
            raise ValueError(
                f"the phrase {key} needs {sorted(wanted)}, none empty; got {sorted(values)}"
            )
        return [_capitalised(sentence.format(**filled), language) for sentence in sentences]

    def handover(
        self, task: DeliveryTask, language: Language, terms: LabelTerms, *, to_patient: bool = True
    ) -> list[str]:
        """Return the sentences that hand a delivery over; only for a confirmed identity.

        Args:
            task: What is delivered.
            language: Language to speak.
            terms: Words the labels.
            to_patient: False if someone else takes it, who is not to be addressed by the
                patient's name.
        """
        if not task.medications:
            return self.say("no_medications", language, task.scene)
        name = neutralise(task.spoken_name, MAX_VALUE_CHARS)
        if not name:
            sentences = self.say("handover", language, task.scene)
        else:
            opening = "handover_named" if to_patient else "handover_for"
            sentences = self.say(opening, language, task.scene, name=name)
        sentences += self.labels(task, language, terms)
        return sentences + self.say("handover_closing", language, task.scene)

    def labels(
        self,
        task: DeliveryTask,
        language: Language,
        terms: LabelTerms,
        medications: Sequence[Medication] | None = None,
    ) -> list[str]:
        """Return one sentence for each medicine: its name and how it is taken, from the label
        alone. `medications` picks some of the task's; None: all."""
        sentences: list[str] = []
        for medication in task.medications if medications is None else medications:
            medicine = neutralise(terms.spoken_name(medication, language), MAX_VALUE_CHARS)
            how = neutralise(terms.describe(medication, language), MAX_VALUE_CHARS)
            if not medicine:
                sentences += self.say("medicine_unnamed", language, task.scene)
            elif not how:
                sentences += self.say(
                    "medicine_unlabelled", language, task.scene, medicine=medicine
                )
            else:
                sentences += self.say("medicine", language, task.scene, medicine=medicine, how=how)
        return sentences

    def _sentences(self, key: str, language: Language, scene: Scene) -> list[str]:
        words = self._words[key][language.value]
        return list(words[scene.value] if isinstance(words, Mapping) else words)


def _schema(phrases: Mapping[str, Slots]) -> dict[str, dict[str, OneOrEach]]:
    return {
        key: dict.fromkeys(Language.values(), OneOrEach(wanted, Scene.values()))
        for key, wanted in phrases.items()
    }


def _capitalised(sentence: str, language: Language) -> str:
    """Begin an English sentence with a capital, whatever value it begins with."""
    return sentence if language.is_chinese else sentence[:1].upper() + sentence[1:]
