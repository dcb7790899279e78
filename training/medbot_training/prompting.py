"""The messages of a record as the robot itself would put them to its model.

A record that brings its delivery task (`meta.task`, with the fields of `msg/DeliveryTask.msg`, and
if it likes `meta.context`) is worded by `medbot_llm`'s own PromptBuilder and LabelTerms, which the
dialogue uses: a model is asked on the robot exactly as it was taught. A record without a task
keeps the messages that it came with.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from medbot_llm.apps.json_lines import Record as JsonRecord
from medbot_llm.apps.tasks import read_task
from medbot_llm.domain import ChatRole
from medbot_llm.domain import CompartmentState
from medbot_llm.domain import Language
from medbot_llm.domain import RobotContext
from medbot_llm.domain import SpeakerRole
from medbot_llm.domain import TripStage
from medbot_llm.domain import Utterance
from medbot_llm.knowledge.label_terms import LabelTerms
from medbot_llm.prompts.builder import PromptBuilder
from medbot_training.data.records import Conversation
from medbot_training.data.records import Message
from medbot_training.data.records import Preference
from medbot_training.data.records import full_answer

ChatMessages = list[dict[str, str]]


class PromptMaker:
    """Words the prompts of records; made once, since the wording is read from files."""

    def __init__(self) -> None:
        self._builder = PromptBuilder()
        self._terms = LabelTerms()

    @property
    def fingerprint(self) -> str:
        """Names the prompts' words; an adapter records what it was trained with."""
        return self._builder.fingerprint

    def conversation(self, record: Conversation) -> ChatMessages:
        """All messages of a conversation, the last answer with its thinking."""
        messages = list(record.messages)
        if record.answer:
            messages[-1] = Message("assistant", full_answer(record))
        return self._worded(messages, record.meta, f"{record.origin}")

    def prompt(self, record: Conversation | Preference) -> ChatMessages:
        """The messages before the answer."""
        return self._worded(list(record.prompt), record.meta, f"{record.origin}")

    def _worded(
        self, messages: Sequence[Message], meta: Mapping[str, Any], where: str
    ) -> ChatMessages:
        if not isinstance(meta.get("task"), Mapping):
            return [{"role": m.role, "content": m.content} for m in messages]
        source = JsonRecord(dict(meta), where)
        language = source.one_of("language", Language, Language.ZH_HANT)
        task = read_task(source.record("task"), language)
        language = source.one_of("language", Language, task.language)
        system = self._builder.system_prompt(
            scene=task.scene,
            patient_group=task.patient_group,
            language=language,
            task=self._terms.worded_task(task, language),
            context=_context(source),
            # A record of the time before the scan says so; nothing of the task is in it then.
            disclose=meta.get("disclose", True) is not False,
        )
        role = source.one_of("speaker", SpeakerRole, SpeakerRole.PATIENT)
        turns = []
        for message in messages:
            if message.role == "user":
                said = Utterance(text=message.content, language=language, role=role)
                turns.append((ChatRole.USER, self._builder.user_message(said, language).content))
            elif message.role == "assistant":
                turns.append((ChatRole.ASSISTANT, message.content))
        facts = [str(fact) for fact in meta.get("facts") or ()]
        answered = bool(turns) and turns[-1][0] is ChatRole.ASSISTANT
        asked = turns[:-1] if answered else turns
        worded = self._builder.conversation(system, asked, language, facts=facts)
        found = [{"role": str(m.role), "content": m.content} for m in worded]
        if answered:
            # Not through the builder, which would cut and clean what is to be learnt.
            found.append({"role": "assistant", "content": turns[-1][1]})
        return found


def _context(source: JsonRecord) -> RobotContext | None:
    if not isinstance(source.fields.get("context"), Mapping):
        return None
    context = source.record("context")
    stage = context.text("trip_stage", "")
    compartment = context.text("compartment", "")
    battery = context.fields.get("battery")
    return RobotContext(
        place=context.text("place", ""),
        trip_stage=context.one_of("trip_stage", TripStage, TripStage.IDLE) if stage else None,
        compartment=(
            context.one_of("compartment", CompartmentState, CompartmentState.LOCKED)
            if compartment
            else None
        ),
        battery=float(battery) if isinstance(battery, (int, float)) else None,
        local_time=context.text("local_time", ""),
    )
