"""What a person wants, told from the words by rules.

The policy plans by it: which facts answer, what must be said, whether a model may word it. The
patterns are data (`resource/intents.yaml`). Where no rule knows, the learned model that triages an
utterance has a guess (`guessed`), trained on `data/intents/`; where it is not sure, it is OTHER,
and goes the ordinary way.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.domain import StringEnum
from medbot_llm.text.language import to_script
from medbot_llm.text.normal import canonical
from medbot_llm.text.normal import with_digits

FILE_NAME = "intents.yaml"
_QUESTIONS = re.compile(
    r"[?？。!！;；，：:]|, |(?:還有|还有|另外|順便|顺便|以及|並且|并且)|"
    r"\b(?:and|also|plus)\b,? (?=(?:how|what|when|where|can|may|could|should|do|does|is|are|"
    r"which)\b)"
)
"""Where one question ends and the next may begin."""
_CLAUSES = re.compile(r"[?？。!！;；，,.]")
MAX_CHARS = 600
"""Of a longer utterance its end is looked at: a question comes last."""


class Intent(StringEnum):
    """What is wanted."""

    EMERGENCY_NUMBER = "emergency_number"
    CALL_STAFF = "call_staff"
    IDENTITY_CLAIM = "identity_claim"
    ALLERGY_SAID = "allergy_said"
    CONDITION_SAID = "condition_said"
    ALSO_TAKING = "also_taking"
    DOSE_SAID = "dose_said"
    VOMITED_DOSE = "vomited_dose"
    STORED_WRONG = "stored_wrong"
    SHARING = "sharing"
    FASTING = "fasting"
    UNSURE_TAKEN = "unsure_taken"
    MISSED_DOSE = "missed_dose"
    NEXT_DOSE = "next_dose"
    DOUBLE_DOSE = "double_dose"
    OTHER_PATIENT = "other_patient"
    STOP_MEDICINE = "stop_medicine"
    CHANGE_DOSE = "change_dose"
    OPIOID_REQUEST = "opioid_request"
    REPEAT_PILL = "repeat_pill"
    ARE_YOU_DOCTOR = "are_you_doctor"
    DIAGNOSIS = "diagnosis"
    SIDE_EFFECTS = "side_effects"
    ALCOHOL = "alcohol"
    DRIVING = "driving"
    BREASTFEEDING = "breastfeeding"
    PREGNANCY = "pregnancy"
    CRUSH = "crush"
    STORAGE = "storage"
    WITH_FOOD = "with_food"
    TOGETHER = "together"
    WHEN = "when"
    HOW_MUCH = "how_much"
    WHAT_FOR = "what_for"
    HOW_TO_TAKE = "how_to_take"
    WHAT_IS_IT = "what_is_it"
    REPEAT = "repeat"
    INSULT = "insult"
    FAREWELL = "farewell"
    GREETING = "greeting"
    OTHER = "other"


ABOUT_ONE_MEDICINE = frozenset(
    {
        Intent.WHEN,
        Intent.HOW_MUCH,
        Intent.HOW_TO_TAKE,
        Intent.WHAT_FOR,
        Intent.SIDE_EFFECTS,
        Intent.STORAGE,
        Intent.DRIVING,
        Intent.CRUSH,
    }
)
"""Questions that are about the medicine named in them, not about two things together."""


SURE_TO_INFORM, SURE = 0.5, 0.75
"""From which probability on a guess counts, for a question that facts answer and for all else: of
lines held out 0.77 are right from 0.5 on, 0.85 from 0.7 and 0.93 from 0.9."""
INFORMED = ABOUT_ONE_MEDICINE | {
    Intent.WHAT_IS_IT,
    Intent.WITH_FOOD,
    Intent.ALCOHOL,
    Intent.PREGNANCY,
    Intent.BREASTFEEDING,
    Intent.MISSED_DOSE,
    Intent.NEXT_DOSE,
}
"""Questions that facts and rules answer: a wrong guess tells something true beside the point."""


class Answer(StringEnum):
    """What a short answer to a question of the robot says."""

    YES = "yes"
    NO = "no"
    NEITHER = "neither"


class IntentsError(MedbotError):
    """The patterns are missing or broken; names file and entry."""


@dataclass(frozen=True)
class _Rule:
    intent: Intent
    any_of: tuple[re.Pattern[str], ...]
    none_of: tuple[re.Pattern[str], ...]
    names_other: bool
    names_allergen: bool


class Intents:
    """Tells intents.

    Args:
        file: The patterns; None: the packaged ones.

    Raises:
        IntentsError: The file can't be read, or an entry is wrong.
    """

    def __init__(self, file: Path | None = None) -> None:
        source = file or importlib.resources.files("medbot_llm.resource") / FILE_NAME
        where = str(file or FILE_NAME)
        try:
            tree = yaml.safe_load(source.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise IntentsError(f"{where}: can't be read: {reason}") from None
        try:
            self._rules = tuple(_rule(entry, where) for entry in tree["intents"])
            answers = {Answer(name): texts for name, texts in tree["answers"].items()}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise IntentsError(f"{where}: an entry is wrong: {error}") from None
        self._answers = {name: _patterns(texts, where) for name, texts in answers.items()}

    def of(
        self,
        text: str,
        *,
        names_other: bool = False,
        names_allergen: bool = False,
        without: Set[Intent] = frozenset(),
    ) -> Intent:
        """Tell the intent of an utterance.

        Args:
            text: What was said.
            names_other: A medicine or food that is not of the delivery is named in it. Some
                intents are only told then: "I take it at eight" says nothing of another one.
            names_allergen: Something is named in it that people are allergic to: "I came out in
                lumps" tells of an allergy only beside the name of a medicine.
            without: Intents that it can't be.
        """
        said = with_digits(canonical(text[-MAX_CHARS:]))
        for rule in self._rules:
            if rule.intent in without or (rule.names_other and not names_other):
                continue
            if rule.names_allergen and not names_allergen:
                continue
            if any(p.search(said) for p in rule.none_of):
                continue
            if any(p.search(said) for p in rule.any_of):
                return rule.intent
        return Intent.OTHER

    def each(self, text: str) -> list[Intent]:
        """Tell the intents of the single questions of an utterance, in order, OTHER left out."""
        parts = [part for part in _QUESTIONS.split(text[-MAX_CHARS:]) if part.strip()]
        found = [self.of(part) for part in parts]
        return [intent for intent in dict.fromkeys(found) if intent is not Intent.OTHER]

    def tells_of_taking(self, text: str) -> bool:
        """Whether a part of an utterance that names another medicine says that it is taken:
        "may I? I have it every day"."""
        return self.answer(text) is Answer.YES or any(
            self.of(part, names_other=True) is Intent.ALSO_TAKING
            for part in _CLAUSES.split(text[-MAX_CHARS:])
            if part.strip()
        )

    def answer(self, text: str) -> Answer:
        """Tell whether an utterance says yes or no to what the robot asked."""
        said = canonical(text)
        for name, patterns in self._answers.items():
            if any(p.search(said) for p in patterns):
                return name
        return Answer.NEITHER


def guessed(name: str, share: float, *, without: Set[Intent] = frozenset()) -> Intent:
    """What the learned model takes to be wanted; OTHER where it is not sure enough.

    Args:
        name: An intent; "" for no guess.
        share: Its probability, 0 to 1.
        without: Intents that it can't be.
    """
    if name not in Intent.values():
        return Intent.OTHER
    intent = Intent(name)
    least = SURE_TO_INFORM if intent in INFORMED else SURE
    return intent if share >= least and intent not in without else Intent.OTHER


def _rule(entry: dict[str, Any], where: str) -> _Rule:
    return _Rule(
        intent=Intent(entry["id"]),
        any_of=_patterns(entry["any"], where),
        none_of=_patterns(entry.get("not", []), where),
        names_other=bool(entry.get("names_other", False)),
        names_allergen=bool(entry.get("names_allergen", False)),
    )


def _patterns(texts: list[str], where: str) -> tuple[re.Pattern[str], ...]:
    patterns = []
    for text in texts:
        try:
            patterns.append(re.compile(to_script(text, Language.ZH_HANS)))
        except re.error as error:
            raise IntentsError(f"{where}: {text!r} is no regular expression: {error}") from None
    return tuple(patterns)
