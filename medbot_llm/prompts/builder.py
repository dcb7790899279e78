"""Build the prompts that the model sees from data files, the task and the robot's context.

The dialogue and the training code both use this builder, so that a model is asked on the robot
exactly as it was taught. It is pure: all files are read when it is made, there is no clock, and
equal arguments give equal text.

A system prompt has three parts, in this order:
(a) who the robot is and its rules, which depend on scene, patient group and language only;
(b) what it knows: the delivery data, or, while the identity is open, that it knows nothing yet;
(c) right now: place, stage of the trip and the like, so coarse that it seldom changes.
What changes rarely comes first because the engine keeps the longest common prefix of two prompts
in its cache.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from medbot_llm.domain import ChatMessage
from medbot_llm.domain import ChatRole
from medbot_llm.domain import CompartmentState
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.domain import Medication
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import RobotContext
from medbot_llm.domain import Scene
from medbot_llm.domain import SpeakerRole
from medbot_llm.domain import TripStage
from medbot_llm.domain import Utterance
from medbot_llm.prompts.untrusted import neutralise
from medbot_llm.prompts.wording import packaged_resources
from medbot_llm.prompts.wording import read_words
from medbot_llm.prompts.wording import slots

PROMPT_VERSION = 2
"""Counts up when this code builds other text from the same data files."""

LOW_BATTERY = 0.2
"""Charge below which the prompt mentions the battery, 0.0 to 1.0."""

# Longest text of each kind in a prompt, characters. Label text is cut only far beyond what a
# label can hold.
MAX_SHORT_CHARS = 60
MAX_LABEL_CHARS = 120
MAX_INSTRUCTIONS_CHARS = 240
MAX_NOTES_CHARS = 200
MAX_UTTERANCE_CHARS = 500
MAX_SPOKEN_CHARS = 1000
MAX_FACTS_CHARS = 600
# A context window of 2048 tokens must hold the prompt, some turns and the reply.
MAX_MEDICINES_CHARS = 900
MAX_LIST_ITEMS = 8

_DAY_PARTS = (
    (5, "night"),
    (8, "early_morning"),
    (11, "morning"),
    (13, "noon"),
    (18, "afternoon"),
    (22, "evening"),
    (24, "night"),
)
"""(hour at which it ends, name): a part of the day changes the prompt seven times a day, a clock
each minute."""

_SPEAKERS = (
    SpeakerRole.RELATIVE,
    SpeakerRole.NURSE,
    SpeakerRole.PHARMACIST,
    SpeakerRole.VISITOR,
)

_STAFF = slots(optional=("staff",))
_VALUE = slots("value")
_TEXT = slots()
_SCHEMA = {
    "rules": slots(optional=("staff",), is_list=True),
    "scenes": {
        scene: {
            "who": _TEXT,
            "staff": _TEXT,
            "scan": _TEXT,
            "groups": {group: _STAFF for group in PatientGroup.values()},
        }
        for scene in Scene.values()
    },
    "data": {
        "none": _TEXT,
        "closed": slots("scan"),
        "header": _TEXT,
        "footer": _TEXT,
        "name": _VALUE,
        "where": _VALUE,
        "medicine": _VALUE,
        "strength": _VALUE,
        "dose": _VALUE,
        "high_alert": _STAFF,
        "no_medicines": _STAFF,
        "more_medicines": slots("count", optional=("staff",)),
        "allergies": _VALUE,
        "conditions": _VALUE,
        "notes": _VALUE,
        "more": slots("count"),
    },
    "now": {
        "line": slots("facts"),
        "place": _VALUE,
        "low_battery": _TEXT,
        "trip_stages": {stage: _TEXT for stage in TripStage.values()},
        "compartments": {state: _TEXT for state in CompartmentState.values()},
        "day_parts": {name: _TEXT for _, name in _DAY_PARTS},
    },
    "reminder": _TEXT,
    "facts": _VALUE,
    "speakers": {role.value: _TEXT for role in _SPEAKERS},
    "opening": _TEXT,
}


class PromptBuilder:
    """Words the prompts of one set of data files.

    Args:
        directory: Holds `zh-Hant.yaml`, `zh-Hans.yaml` and `en.yaml`; None: those of this
            package. A hospital copies `resource/prompts/`, changes the words and names its
            directory here.

    Raises:
        WordingError: A file or key is missing, or a placeholder is unknown; the message names
            file and key.
    """

    def __init__(self, directory: Path | None = None) -> None:
        source = packaged_resources() / "prompts" if directory is None else directory
        self._words: dict[Language, dict[str, Any]] = {
            language: read_words(source, f"{language}.yaml", _SCHEMA) for language in Language
        }
        content = json.dumps(
            {str(language): words for language, words in self._words.items()},
            sort_keys=True,
            ensure_ascii=False,
        )
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        self._fingerprint = f"{PROMPT_VERSION}-{digest}"

    @property
    def fingerprint(self) -> str:
        """Names these words and this code, e.g. "1-0f3a…"; an adapter records what it was
        trained with."""
        return self._fingerprint

    def instructions(self, scene: Scene, patient_group: PatientGroup, language: Language) -> str:
        """Part (a): who the robot is and its rules. The prefix of every system prompt with these
        arguments."""
        words = self._words[language]
        place = words["scenes"][scene.value]
        staff = place["staff"]
        rules = "\n".join(words["rules"]).format(staff=staff)
        guidance = place["groups"][patient_group.value].format(staff=staff)
        return f"{place['who']}\n{rules}\n{guidance}\n"

    def system_prompt(
        self,
        *,
        scene: Scene,
        patient_group: PatientGroup,
        language: Language,
        task: DeliveryTask | None,
        context: RobotContext | None,
        disclose: bool,
    ) -> str:
        """Word the system prompt.

        Args:
            scene: Where the robot hands over; decides the rules and which scan confirms the
                identity.
            patient_group: Who the medicine is for.
            language: Language of the whole prompt and of the reply.
            task: What is delivered; None: no delivery is under way.
            context: Where the robot is and how it stands; None or unknown fields are left out.
            disclose: True once the identity is confirmed. False: nothing of the task gets into
                the prompt.

        `patient_id` and `birth_date` get into no prompt, not even where notes repeat them.
        """
        parts = [
            self.instructions(scene, patient_group, language),
            self._data(scene, language, task, disclose),
            self._now(language, context),
            # Small models heed the end of a prompt most: without it the 0.5B one drifts into
            # another language.
            self._words[language]["reminder"],
        ]
        return "\n".join(part for part in parts if part)

    def user_message(self, utterance: Utterance, language: Language | None = None) -> ChatMessage:
        """Word what a person said as a message of the user, harmless whatever was said.

        Anyone but the patient is named in front of the words. That label is in `language`, or
        else in the utterance's, or else in Chinese if the words have Chinese characters.
        """
        text = neutralise(utterance.text, MAX_UTTERANCE_CHARS)
        if utterance.role in _SPEAKERS:
            spoken = language or utterance.language or _guess_language(text)
            label = self._words[spoken]["speakers"][utterance.role.value]
            text = f"{label}{'' if spoken.is_chinese else ' '}{text}"
        return ChatMessage(ChatRole.USER, text)

    def conversation(
        self,
        system: str,
        turns: Iterable[tuple[ChatRole, str]],
        language: Language,
        facts: Sequence[str] = (),
    ) -> tuple[ChatMessage, ...]:
        """Put the system prompt and the turns into messages that every chat template accepts.

        Several templates demand that user and assistant take turns and that the user begins. So
        turns of the same role in a row are joined by a line break, and a robot that speaks first
        answers a stage direction.

        Args:
            system: From `system_prompt`.
            turns: Oldest first; the user's texts as from `user_message`, the assistant's as they
                were spoken.
            language: Language of the stage direction.
            facts: Sentences that answer the newest question; they go behind it, since what
                changes must not stand in the prompt's beginning, which the engine keeps.

        Raises ValueError for a system turn.
        """
        merged: list[tuple[ChatRole, str]] = []
        for role, text in turns:
            if role is ChatRole.SYSTEM:
                raise ValueError(
                    "a turn is the user's or the assistant's; there is one system prompt only"
                )
            # What was spoken may quote label text, so it is no more trusted than that.
            said = neutralise(text, MAX_SPOKEN_CHARS) if role is ChatRole.ASSISTANT else text
            if not merged and role is ChatRole.ASSISTANT:
                merged.append((ChatRole.USER, self._words[language]["opening"]))
            if merged and merged[-1][0] is role:
                merged[-1] = (role, f"{merged[-1][1]}\n{said}")
            else:
                merged.append((role, said))
        if facts and merged and merged[-1][0] is ChatRole.USER:
            told = neutralise(" ".join(facts), MAX_FACTS_CHARS)
            merged[-1] = (
                ChatRole.USER,
                f"{merged[-1][1]}\n{self._words[language]['facts'].format(value=told)}",
            )
        messages = [ChatMessage(role, text) for role, text in merged]
        return (ChatMessage(ChatRole.SYSTEM, system), *messages)

    def _data(
        self, scene: Scene, language: Language, task: DeliveryTask | None, disclose: bool
    ) -> str:
        words = self._words[language]["data"]
        place = self._words[language]["scenes"][scene.value]
        if task is None:
            return str(words["none"])
        if not disclose:
            return str(words["closed"].format(scan=place["scan"]))
        lines = []
        name = _private(task.spoken_name, task, MAX_SHORT_CHARS)
        if name:
            lines.append(words["name"].format(value=name))
        room_and_bed = [_private(text, task, MAX_SHORT_CHARS) for text in (task.room, task.bed)]
        where = " / ".join(text for text in room_and_bed if text)
        if where:
            lines.append(words["where"].format(value=where))
        lines += self._medicine_lines(task.medications, language, place["staff"])
        for key, items in (("allergies", task.allergies), ("conditions", task.conditions)):
            value = self._list(items, task, language)
            if value:
                lines.append(words[key].format(value=value))
        notes = _private(task.notes, task, MAX_NOTES_CHARS)
        if notes:
            lines.append(words["notes"].format(value=notes))
        bullets = [f"- {line}" for line in lines]
        return "\n".join([words["header"], *bullets, words["footer"]])

    def _medicine_lines(
        self, medications: Sequence[Medication], language: Language, staff: str
    ) -> list[str]:
        words = self._words[language]["data"]
        if not medications:
            return [words["no_medicines"].format(staff=staff)]
        lines: list[str] = []
        for medication in medications:
            line = words["medicine"].format(value=self._medicine(medication, language, staff))
            if lines and sum(map(len, lines)) + len(line) > MAX_MEDICINES_CHARS:
                # Said openly, or the model would take the list for complete.
                left_out = len(medications) - len(lines)
                lines.append(words["more_medicines"].format(count=left_out, staff=staff))
                break
            lines.append(line)
        return lines

    def _medicine(self, medication: Medication, language: Language, staff: str) -> str:
        words = self._words[language]["data"]
        name, name_zh, generic, strength, dose, route, frequency = (
            neutralise(text, MAX_LABEL_CHARS)
            for text in (
                medication.name,
                medication.name_zh,
                medication.generic_name,
                medication.strength,
                medication.dose,
                medication.route,
                medication.frequency,
            )
        )
        if language.is_chinese and name_zh:
            name, name_zh = name_zh, name
        aliases = [
            alias
            for alias in (name_zh, generic)
            if alias and alias.casefold() not in name.casefold()
        ]
        if len(aliases) > 1 and aliases[1].casefold() in aliases[0].casefold():
            aliases = aliases[:1]
        names = [text for text in (name, *aliases) if text]
        stated = " ".join(names)
        also = "（{}）" if language.is_chinese else " ({})"
        parts = [names[0] + "".join(also.format(alias) for alias in names[1:])] if names else []
        # "5 mg" is not stated by a name that says "15 mg".
        if strength and not re.search(rf"(?<![\d.,/]){re.escape(strength)}(?![\w.,/])", stated):
            parts.append(words["strength"].format(value=strength))
        if dose:
            parts.append(words["dose"].format(value=dose))
        parts += [route, frequency, neutralise(medication.instructions, MAX_INSTRUCTIONS_CHARS)]
        if medication.high_alert:
            parts.append(words["high_alert"].format(staff=staff))
        return ("；" if language.is_chinese else "; ").join(part for part in parts if part)

    def _list(self, items: Sequence[str], task: DeliveryTask, language: Language) -> str:
        texts = [text for item in items if (text := _private(item, task, MAX_SHORT_CHARS))]
        shown = texts[:MAX_LIST_ITEMS]
        if len(texts) > len(shown):
            shown.append(self._words[language]["data"]["more"].format(count=len(texts)))
        return ("、" if language.is_chinese else ", ").join(shown)

    def _now(self, language: Language, context: RobotContext | None) -> str:
        if context is None:
            return ""
        words = self._words[language]["now"]
        facts = []
        place = neutralise(context.place, MAX_SHORT_CHARS)
        if place:
            facts.append(words["place"].format(value=place))
        if context.trip_stage is not None:
            facts.append(words["trip_stages"][context.trip_stage.value])
        if context.compartment is not None:
            facts.append(words["compartments"][context.compartment.value])
        if context.battery is not None and 0.0 <= context.battery < LOW_BATTERY:
            facts.append(words["low_battery"])
        part = _day_part(context.local_time)
        if part:
            facts.append(words["day_parts"][part])
        if not facts:
            return ""
        return str(words["line"].format(facts=("，" if language.is_chinese else ", ").join(facts)))


def _private(text: str, task: DeliveryTask, max_chars: int) -> str:
    """Neutralise free text of a task, less the identifiers that people copy into it.

    Label text is left alone: there a digit that happens to equal an identifier is a dose.
    """
    # Cut last, or half an identifier could be left at the end.
    text = neutralise(text, 4 * max_chars)
    for identifier in _identifiers(task):
        text = re.sub(rf"(?<!\w){re.escape(identifier)}(?!\w)", "…", text, flags=re.IGNORECASE)
    return neutralise(text, max_chars)


def _identifiers(task: DeliveryTask) -> list[str]:
    found = []
    patient_id = neutralise(task.patient_id, MAX_LABEL_CHARS)
    # A shorter one is as likely to be a room, an age or an amount.
    if len(patient_id) >= 4:
        found.append(patient_id)
    born = task.birth_date
    if born is not None:
        for join in ("-", "/", "."):
            found.append(born.isoformat().replace("-", join))
            found.append(f"{born.year}{join}{born.month}{join}{born.day}")
        found.append(born.isoformat().replace("-", ""))
    return found


def _guess_language(text: str) -> Language:
    # Script alone decides between label languages; which Chinese it is matters little in a label.
    return Language.ZH_HANT if re.search(r"[\u4e00-\u9fff]", text) else Language.EN


def _day_part(local_time: str) -> str:
    """Name of the part of the day in an ISO 8601 time, "" if there is none."""
    try:
        # "Z" is not read by fromisoformat before Python 3.11.
        moment = datetime.fromisoformat(local_time.strip().removesuffix("Z"))
    except ValueError:
        return ""
    return next(name for end_hour, name in _DAY_PARTS if moment.hour < end_hour)
