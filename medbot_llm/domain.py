"""The plain data that every room of the house speaks of.

Nothing here knows ROS, a model or a file: values come in checked at the edges
(`nodes/conversions.py`, `apps/`) and are immutable from there on. Enumerations carry the same
strings as the constants in `msg/`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from dataclasses import field
from datetime import date
from enum import Enum


class MedbotError(Exception):
    """A problem worded for whoever runs the robot: one line that says what is wrong and what to
    do.
    """


class StringEnum(str, Enum):
    """An enumeration whose members are, and print as, their strings (enum.StrEnum is Python
    3.11+).
    """

    def __str__(self) -> str:
        return str(self.value)

    @classmethod
    def values(cls) -> tuple[str, ...]:
        """The strings of all members, in the order of their definition."""
        return tuple(str(member.value) for member in cls)


class Scene(StringEnum):
    """Where the robot hands over."""

    WARD = "ward"
    PHARMACY = "pharmacy"
    ER = "er"
    HOME = "home"


class PatientGroup(StringEnum):
    """Who the medicine is for, as far as it changes how the robot speaks and what it warns of."""

    ADULT = "adult"
    ELDERLY = "elderly"
    CHILD = "child"
    PREGNANT = "pregnant"


class Language(StringEnum):
    """The languages of the product, as BCP 47 tags."""

    ZH_HANT = "zh-Hant"
    ZH_HANS = "zh-Hans"
    EN = "en"

    @property
    def is_chinese(self) -> bool:
        return self is not Language.EN


class SpeakerRole(StringEnum):
    """Who is speaking, or was scanned."""

    PATIENT = "patient"
    RELATIVE = "relative"
    NURSE = "nurse"
    PHARMACIST = "pharmacist"
    VISITOR = "visitor"
    UNKNOWN = "unknown"


class TripStage(StringEnum):
    """Where the robot is on its way."""

    IDLE = "idle"
    EN_ROUTE = "en_route"
    ARRIVED = "arrived"
    HANDING_OVER = "handing_over"
    RETURNING = "returning"
    CHARGING = "charging"


class CompartmentState(StringEnum):
    """How the compartment with the medicine stands."""

    LOCKED = "locked"
    UNLOCKED = "unlocked"
    OPEN = "open"
    EMPTY = "empty"
    FAULT = "fault"


class ScanSource(StringEnum):
    """What the robot's scanner read."""

    WRISTBAND = "wristband"
    STAFF_BADGE = "staff_badge"
    PICKUP_CODE = "pickup_code"
    ID_CARD = "id_card"


class ScanResult(StringEnum):
    """What the scanner's comparison with the task gave."""

    MATCH = "match"
    MISMATCH = "mismatch"
    UNREADABLE = "unreadable"


class ReplyKind(StringEnum):
    """What a reply is for."""

    GREETING = "greeting"
    HANDOVER = "handover"
    ANSWER = "answer"
    CLARIFICATION = "clarification"
    EMERGENCY = "emergency"
    FALLBACK = "fallback"
    FAREWELL = "farewell"


class Severity(StringEnum):
    """How soon a human must come."""

    EMERGENCY = "emergency"
    NURSE = "nurse"
    INFO = "info"


class Stage(StringEnum):
    """Where the hand-over stands."""

    IDLE = "idle"
    APPROACH = "approach"
    IDENTIFY = "identify"
    HANDOVER = "handover"
    QUESTIONS = "questions"
    CONFIRM = "confirm"
    """Something was heard that would change what happens; it was said back and waits for yes or
    no."""
    HELD = "held"
    """The medicine must not be handed over before staff have looked at it."""
    LEAVE = "leave"


class Identity(StringEnum):
    """What is known of the person in front of the robot."""

    UNKNOWN = "unknown"
    CONFIRMED = "confirmed"
    MISMATCH = "mismatch"


class ModelStatus(StringEnum):
    """Whether the language model can word replies."""

    LOADING = "loading"
    READY = "ready"
    UNAVAILABLE = "unavailable"


class ChatRole(StringEnum):
    """Who speaks in a chat prompt, as chat templates name it."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True)
class ChatMessage:
    """One message of a chat prompt, before any chat template."""

    role: ChatRole
    content: str


@dataclass(frozen=True)
class Medication:
    """One medicine of a delivery, worded as on its pharmacy label.

    Attributes:
        name: Name on the label, e.g. "Amlodipine 5 mg tablet".
        name_zh: Chinese name on the label, "" where there is none.
        generic_name: International non-proprietary name, "" where not given.
        strength: Active ingredient in one unit, with its unit, e.g. "5 mg".
        dose: Amount taken each time, with its unit, e.g. "1 tablet".
        route: Route of administration, e.g. "oral".
        frequency: How often, as prescribed, e.g. "once daily", "BID".
        instructions: Further label text.
        high_alert: On the hospital's high-alert list (ISMP).
    """

    name: str
    name_zh: str = ""
    generic_name: str = ""
    strength: str = ""
    dose: str = ""
    route: str = ""
    frequency: str = ""
    instructions: str = ""
    high_alert: bool = False


@dataclass(frozen=True)
class DeliveryTask:
    """What the robot delivers now, to whom and where. `spoken_name` and all medical fields stay
    unspoken until the identity is confirmed; `patient_id` and `birth_date` are never spoken."""

    task_id: str
    scene: Scene
    language: Language
    patient_group: PatientGroup = PatientGroup.ADULT
    patient_id: str = ""
    spoken_name: str = ""
    birth_date: date | None = None
    room: str = ""
    bed: str = ""
    medications: tuple[Medication, ...] = ()
    allergies: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    notes: str = ""


@dataclass(frozen=True)
class RobotContext:
    """Where the robot is and how it stands.

    Attributes:
        scene: Where it is now; None: as the task says.
        place: Name of the place as people there call it, "" unknown.
        trip_stage: Stage of the trip; None unknown.
        battery: Charge, 0.0 to 1.0; None unknown.
        compartment: State of the compartment; None unknown.
        local_time: Local time as ISO 8601; "" the host's clock.
    """

    scene: Scene | None = None
    place: str = ""
    trip_stage: TripStage | None = None
    battery: float | None = None
    compartment: CompartmentState | None = None
    local_time: str = ""


@dataclass(frozen=True)
class IdentityScan:
    """What the robot's scanner read, and what its comparison with the task gave."""

    source: ScanSource
    result: ScanResult
    task_id: str = ""
    subject_id: str = ""
    subject_role: SpeakerRole = SpeakerRole.UNKNOWN
    matched_identifiers: tuple[str, ...] = ()
    mismatched_identifiers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Utterance:
    """Something a person said, as a recognizer heard it.

    Attributes:
        text: What was heard.
        language: Language the recognizer told; None: tell it from the text.
        confidence: 0.0 to 1.0; None unknown.
        role: Who spoke.
        utterance_id: Id given by the recognizer, "" none.
        received_s: `time.monotonic()` when it reached the robot's core, s; NaN not stamped.
        guessed: Medicines and allergies in the text that were guessed from their sound.
    """

    text: str
    language: Language | None = None
    confidence: float | None = None
    role: SpeakerRole = SpeakerRole.UNKNOWN
    utterance_id: str = ""
    received_s: float = math.nan
    guessed: tuple[str, ...] = ()


@dataclass
class StageTimes:
    """When a reply passed each stage: `time.monotonic()` in s, NaN for a stage it never reached.

    One record follows a reply through the house; replies, diagnostics and the bench all read this
    one.
    """

    received: float = math.nan
    first_token: float = math.nan
    first_sentence: float = math.nan
    last_token: float = math.nan
    held_s: float = 0.0
    """For how long the model stood still for the voice, s."""
    tokens: int = 0
    """Tokens that the model generated for this reply."""

    @property
    def time_to_first_token_s(self) -> float:
        """0 where the model had begun before the last word was proven to be the last."""
        wait_s = self.first_token - self.received
        return 0.0 if wait_s < 0 else wait_s

    @property
    def time_to_first_sentence_s(self) -> float:
        return self.first_sentence - self.received

    @property
    def tokens_per_second(self) -> float:
        """Generation speed after the first token; NaN for fewer than two tokens."""
        span = self.last_token - self.first_token - self.held_s
        return (self.tokens - 1) / span if self.tokens > 1 and span > 0 else math.nan


@dataclass(frozen=True)
class ReplyChunk:
    """One sentence of a reply, or the end of it. Exactly one chunk of each reply has `is_last`;
    that one may be without text."""

    reply_id: str
    sequence: int
    text: str
    language: Language
    kind: ReplyKind
    is_last: bool = False
    was_interrupted: bool = False
    task_id: str = ""
    utterance_id: str = ""
    times: StageTimes = field(default_factory=StageTimes)


@dataclass(frozen=True)
class Alert:
    """A call for a human."""

    alert_id: str
    severity: Severity
    category: str
    reason: str
    scene: Scene
    place: str = ""
    task_id: str = ""
    words: str = ""
    role: SpeakerRole = SpeakerRole.UNKNOWN
    language: Language = Language.ZH_HANT
