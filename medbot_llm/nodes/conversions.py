"""ROS messages to the plain data of `domain`, and back: the one place where the two meet.

What comes in is checked here. A field that is missing or unknown gets its documented default, and
a line in `problems` says so; what cannot be served at all raises `MessageError`. Text is
neutralised and cut to length, since it is data that strangers can write (a name tag, a note, a
recogniser's output).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TypeVar
from typing import overload

from builtin_interfaces.msg import Time

from medbot_llm.dialogue.session import Snapshot
from medbot_llm.domain import Alert
from medbot_llm.domain import CompartmentState
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import IdentityScan
from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.domain import Medication
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import ReplyChunk
from medbot_llm.domain import RobotContext
from medbot_llm.domain import ScanResult
from medbot_llm.domain import ScanSource
from medbot_llm.domain import Scene
from medbot_llm.domain import SpeakerRole
from medbot_llm.domain import StringEnum
from medbot_llm.domain import TripStage
from medbot_llm.domain import Utterance
from medbot_llm.msg import Alert as AlertMsg
from medbot_llm.msg import DeliveryTask as DeliveryTaskMsg
from medbot_llm.msg import DialogueState as DialogueStateMsg
from medbot_llm.msg import IdentityScan as IdentityScanMsg
from medbot_llm.msg import Medication as MedicationMsg
from medbot_llm.msg import Response as ResponseMsg
from medbot_llm.msg import RobotContext as RobotContextMsg
from medbot_llm.msg import Speech as SpeechMsg
from medbot_llm.prompts.untrusted import MAX_SPEECH_CHARS
from medbot_llm.prompts.untrusted import neutralise

MAX_NAME_CHARS = 120
MAX_LABEL_CHARS = 300
MAX_NOTES_CHARS = 1000
MAX_LIST_ENTRIES = 30
ROLE_OF_SOURCE = {
    ScanSource.WRISTBAND: SpeakerRole.PATIENT,
    ScanSource.STAFF_BADGE: SpeakerRole.NURSE,
}

E = TypeVar("E", bound=StringEnum)


class MessageError(MedbotError):
    """A message that cannot be served."""


def task_from_msg(
    msg: DeliveryTaskMsg, default_scene: Scene, default_language: Language, problems: list[str]
) -> DeliveryTask | None:
    """Convert a delivery task; None for the message that withdraws the current one.

    Raises:
        MessageError: it has no id, or nothing to deliver.
    """
    task_id = neutralise(msg.task_id, MAX_NAME_CHARS)
    medications = tuple(
        _medication(m) for m in msg.medications[:MAX_LIST_ENTRIES] if m.name.strip()
    )
    if not task_id and not msg.medications:
        return None
    if not task_id:
        raise MessageError("a delivery task without task_id was refused; give each task an id")
    if not medications:
        raise MessageError(
            f"delivery task {task_id} was refused: it names no medication to deliver"
        )
    if len(medications) < len(msg.medications):
        problems.append(
            f"delivery task {task_id}: only {len(medications)} of {len(msg.medications)} "
            f"medications are taken up; each needs a name, and {MAX_LIST_ENTRIES} are the most"
        )
    return DeliveryTask(
        task_id=task_id,
        scene=_enum(Scene, msg.scene, default_scene, "scene", problems),
        language=_enum(Language, msg.language, default_language, "language", problems),
        patient_group=_enum(
            PatientGroup, msg.patient_group, PatientGroup.ADULT, "patient_group", problems
        ),
        patient_id=neutralise(msg.patient_id, MAX_NAME_CHARS),
        spoken_name=neutralise(msg.spoken_name, MAX_NAME_CHARS),
        birth_date=_date(msg.birth_date, problems),
        room=neutralise(msg.room, MAX_NAME_CHARS),
        bed=neutralise(msg.bed, MAX_NAME_CHARS),
        medications=medications,
        allergies=_texts(msg.allergies),
        conditions=_texts(msg.conditions),
        notes=neutralise(msg.notes, MAX_NOTES_CHARS),
    )


def context_from_msg(msg: RobotContextMsg, problems: list[str]) -> RobotContext:
    """Convert the robot's context; what is unknown stays unknown."""
    battery = float(msg.battery_percentage)
    return RobotContext(
        scene=_enum(Scene, msg.scene, None, "scene", problems),
        place=neutralise(msg.place, MAX_NAME_CHARS),
        trip_stage=_enum(TripStage, msg.trip_stage, None, "trip_stage", problems),
        battery=battery if 0.0 < battery <= 1.0 else None,
        compartment=_enum(
            CompartmentState, msg.compartment_state, None, "compartment_state", problems
        ),
        local_time=neutralise(msg.local_time, MAX_NAME_CHARS),
    )


def scan_from_msg(msg: IdentityScanMsg, problems: list[str]) -> IdentityScan:
    """Convert a scan. A result that is not known counts as unreadable: it opens nothing."""
    source = _enum(ScanSource, msg.source, ScanSource.WRISTBAND, "source", problems)
    default_role = ROLE_OF_SOURCE.get(source, SpeakerRole.UNKNOWN)
    result = _enum(ScanResult, msg.result, None, "result", problems)
    if result is None:
        problems.append("an identity scan without a known result counts as unreadable")
    return IdentityScan(
        source=source,
        result=result or ScanResult.UNREADABLE,
        task_id=neutralise(msg.task_id, MAX_NAME_CHARS),
        subject_id=neutralise(msg.subject_id, MAX_NAME_CHARS),
        subject_role=_enum(SpeakerRole, msg.subject_role, default_role, "subject_role", problems),
        matched_identifiers=_texts(msg.matched_identifiers),
        mismatched_identifiers=_texts(msg.mismatched_identifiers),
    )


def utterance_from_msg(msg: SpeechMsg, received_s: float, problems: list[str]) -> Utterance:
    """Convert speech. A confidence of 0 is one that was not filled in, as message comments say."""
    confidence = float(msg.confidence)
    return Utterance(
        text=neutralise(msg.text, MAX_SPEECH_CHARS),
        language=_enum(Language, msg.language, None, "language", problems),
        confidence=confidence if 0.0 < confidence <= 1.0 else None,
        role=_enum(SpeakerRole, msg.speaker_role, SpeakerRole.UNKNOWN, "speaker_role", problems),
        utterance_id=neutralise(msg.utterance_id, MAX_NAME_CHARS),
        received_s=received_s,
        guessed=_texts(msg.guessed_words),
    )


def response_to_msg(chunk: ReplyChunk, stamp: Time) -> ResponseMsg:
    """Convert a chunk of a reply."""
    msg = ResponseMsg()
    msg.header.stamp = stamp
    msg.reply_id = chunk.reply_id
    msg.sequence = chunk.sequence
    msg.text = chunk.text
    msg.language = str(chunk.language)
    msg.kind = str(chunk.kind)
    msg.is_last = chunk.is_last
    msg.was_interrupted = chunk.was_interrupted
    msg.task_id = chunk.task_id
    msg.utterance_id = chunk.utterance_id
    msg.time_to_first_token = chunk.times.time_to_first_token_s
    msg.time_to_first_sentence = chunk.times.time_to_first_sentence_s
    return msg


def alert_to_msg(alert: Alert, raised_at: Time, stamp: Time, repetition: int) -> AlertMsg:
    """Convert an alert."""
    msg = AlertMsg()
    msg.header.stamp = stamp
    msg.alert_id = alert.alert_id
    msg.severity = str(alert.severity)
    msg.category = alert.category
    msg.reason = alert.reason
    msg.scene = str(alert.scene)
    msg.place = alert.place
    msg.task_id = alert.task_id
    msg.words = alert.words
    msg.speaker_role = str(alert.role)
    msg.language = str(alert.language)
    msg.raised_at = raised_at
    msg.repetition = repetition
    return msg


def state_to_msg(snapshot: Snapshot, stamp: Time) -> DialogueStateMsg:
    """Convert the state of the conversation."""
    msg = DialogueStateMsg()
    msg.header.stamp = stamp
    msg.stage = str(snapshot.stage)
    msg.task_id = snapshot.task_id
    msg.scene = str(snapshot.scene)
    msg.language = str(snapshot.language)
    msg.identity = str(snapshot.identity)
    msg.model_status = str(snapshot.model_status)
    msg.replying = snapshot.replying
    msg.reply_id = snapshot.reply_id
    msg.queue_depth = snapshot.queue_depth
    msg.history_turns = snapshot.history_turns
    msg.open_alerts = list(snapshot.open_alerts)
    return msg


def _medication(msg: MedicationMsg) -> Medication:
    return Medication(
        name=neutralise(msg.name, MAX_NAME_CHARS),
        name_zh=neutralise(msg.name_zh, MAX_NAME_CHARS),
        generic_name=neutralise(msg.generic_name, MAX_NAME_CHARS),
        strength=neutralise(msg.strength, MAX_NAME_CHARS),
        dose=neutralise(msg.dose, MAX_NAME_CHARS),
        route=neutralise(msg.route, MAX_NAME_CHARS),
        frequency=neutralise(msg.frequency, MAX_NAME_CHARS),
        instructions=neutralise(msg.instructions, MAX_LABEL_CHARS),
        high_alert=bool(msg.high_alert),
    )


@overload
def _enum(kind: type[E], value: str, default: E, field: str, problems: list[str]) -> E: ...


@overload
def _enum(
    kind: type[E], value: str, default: None, field: str, problems: list[str]
) -> E | None: ...


def _enum(
    kind: type[E], value: str, default: E | None, field: str, problems: list[str]
) -> E | None:
    """The member that value names; the default for "" and, with a problem noted, for anything
    unknown.
    """
    text = value.strip()
    if not text:
        return default
    # People write zh-hant and Ward.
    for member in kind:
        if member.value.lower() == text.lower():
            return member
    used = "nothing" if default is None else f"{default}"
    problems.append(
        f"unknown {field} {neutralise(text, 40)!r} was taken as {used}; "
        f"it is one of {', '.join(kind.values())}"
    )
    return default


def _texts(values: Sequence[str]) -> tuple[str, ...]:
    cleaned = (neutralise(value, MAX_LABEL_CHARS) for value in values[:MAX_LIST_ENTRIES])
    return tuple(text for text in cleaned if text)


def _date(value: str, problems: list[str]) -> date | None:
    text = value.strip()
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        problems.append("a birth_date that is not an ISO 8601 date (1950-03-07) was left out")
        return None
