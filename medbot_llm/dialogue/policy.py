"""What may and must be said now: the hand-over as a small explicit state machine.

An event comes in, a `Plan` comes out (or none), and the state moves. A plan carries words that
would do by themselves; the language model is asked only where `use_model` is set, which is for
questions after a scan has confirmed the identity, and for small talk while there is no task.
Before the scan the robot speaks prepared words alone, so that there is nothing for a model to give
away.

    IDLE ──task──▶ APPROACH ──arrived──▶ IDENTIFY ──scan matches──▶ HANDOVER ──said──▶ QUESTIONS
    ──leaves──▶ LEAVE
                      └──(no trip stage known)──▶┘  ▲── other result: ask again
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from medbot_llm.dialogue.phrases import Phrases
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Identity
from medbot_llm.domain import IdentityScan
from medbot_llm.domain import Language
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import ReplyKind
from medbot_llm.domain import RobotContext
from medbot_llm.domain import ScanResult
from medbot_llm.domain import ScanSource
from medbot_llm.domain import Scene
from medbot_llm.domain import SpeakerRole
from medbot_llm.domain import Stage
from medbot_llm.domain import TripStage
from medbot_llm.domain import Utterance
from medbot_llm.knowledge.label_terms import LabelTerms

logger = logging.getLogger(__name__)

AT_THE_RECEIVER = frozenset({TripStage.ARRIVED, TripStage.HANDING_OVER})
ON_THE_WAY_BACK = frozenset({TripStage.RETURNING, TripStage.CHARGING})
AT_WORK = (Stage.IDENTIFY, Stage.HANDOVER, Stage.QUESTIONS)
SOMETHING_SAID = re.compile(r"\w")


@dataclass(frozen=True)
class Plan:
    """What is to be said now.

    Attributes:
        kind: What the reply is for.
        language: Its language.
        sentences: Prepared words that would do by themselves.
        use_model: Ask the language model to word the reply, and fall back on `sentences`.
    """

    kind: ReplyKind
    language: Language
    sentences: tuple[str, ...]
    use_model: bool = False


@dataclass(frozen=True)
class PolicySettings:
    """What a hospital sets for the hand-over.

    Attributes:
        default_scene: Where the robot is taken to be while no task says it.
        default_language: Language until someone speaks another one.
        min_confidence: Speech recognised with less than this is asked for again; 0 to 1.
        max_utterance_chars: Longer speech is asked for again, shorter.
    """

    default_scene: Scene = Scene.WARD
    default_language: Language = Language.ZH_HANT
    min_confidence: float = 0.35
    max_utterance_chars: int = 1000


class Policy:
    """Keeps the state of one hand-over and turns each event into a plan. Not thread-safe."""

    def __init__(self, phrases: Phrases, terms: LabelTerms, settings: PolicySettings) -> None:
        self._phrases = phrases
        self._terms = terms
        self._settings = settings
        self.stage = Stage.IDLE
        self.identity = Identity.UNKNOWN
        self.task: DeliveryTask | None = None
        self.context = RobotContext()
        self.language = settings.default_language

    @property
    def scene(self) -> Scene:
        """Where the robot is taken to be: the task knows best, then the robot, then the
        setting.
        """
        task = self.task
        if task is not None:
            return task.scene
        return self.context.scene or self._settings.default_scene

    @property
    def patient_group(self) -> PatientGroup:
        """Who the robot speaks with, as the task says."""
        return self.task.patient_group if self.task is not None else PatientGroup.ADULT

    @property
    def may_disclose(self) -> bool:
        """Whether the medicine and the patient may be spoken of."""
        return self.task is not None and self.identity is Identity.CONFIRMED

    def on_task(self, task: DeliveryTask | None) -> Plan | None:
        """Take up a task, or drop the current one for None."""
        had_listener = self.stage in AT_WORK
        self.task = task
        self.identity = Identity.UNKNOWN
        if task is None:
            self.stage = Stage.IDLE
            return self._prepared("task_cancelled", ReplyKind.FAREWELL) if had_listener else None
        self.language = task.language
        trip = self.context.trip_stage
        if trip is None or trip in AT_THE_RECEIVER:
            return self._greet()
        self.stage = Stage.APPROACH
        return None

    def on_context(self, context: RobotContext) -> Plan | None:
        """Note where the robot is; arriving greets, driving off says good-bye and locks."""
        before, now = self.context.trip_stage, context.trip_stage
        self.context = context
        if self.stage is Stage.APPROACH and now in AT_THE_RECEIVER:
            return self._greet()
        if now is before or now is None or self.stage not in AT_WORK:
            # A trip that stands as it stood is no news, whatever else changed: a scan may have
            # opened the hand-over at the dock.
            return None
        if now in AT_THE_RECEIVER:
            # It spoke with someone on its way, and comes only now to the one it was sent to.
            has_travelled = before is not None and before not in AT_THE_RECEIVER
            return self._greet() if has_travelled and self.stage is Stage.IDENTIFY else None
        is_delivered = self.stage is not Stage.IDENTIFY
        self.identity = Identity.UNKNOWN
        if not is_delivered and now not in ON_THE_WAY_BACK:
            self.stage = Stage.APPROACH
            return None
        self.stage = Stage.LEAVE
        key = "farewell" if is_delivered else "farewell_undelivered"
        return self._prepared(key, ReplyKind.FAREWELL)

    def on_scan(self, scan: IdentityScan) -> Plan | None:
        """Open the hand-over for a scan that matches this task, and for no other."""
        task = self.task
        if task is None or self.stage is Stage.LEAVE:
            logger.info("a scan was ignored: there is no task to hand over")
            return None
        if self.stage is Stage.APPROACH:
            # Someone is there to be scanned, whatever the trip says.
            self.stage = Stage.IDENTIFY
        if scan.result is ScanResult.UNREADABLE:
            return self._prepared("scan_unreadable", ReplyKind.CLARIFICATION)
        if scan.result is not ScanResult.MATCH or not _belongs_to(scan, task):
            self.identity = Identity.MISMATCH
            self.stage = Stage.IDENTIFY
            return self._prepared("scan_mismatch", ReplyKind.CLARIFICATION)
        if self.is_known(scan):
            return None
        self.identity = Identity.CONFIRMED
        self.stage = Stage.HANDOVER
        to_patient = scan.subject_role in (SpeakerRole.PATIENT, SpeakerRole.UNKNOWN)
        words = self._phrases.handover(task, self.language, self._terms, to_patient=to_patient)
        return Plan(ReplyKind.HANDOVER, self.language, tuple(words))

    def is_known(self, scan: IdentityScan) -> bool:
        """Whether a scan only says again what is confirmed: scanners read ten times a second."""
        return (
            self.may_disclose
            and scan.result is ScanResult.MATCH
            and self.task is not None
            and _belongs_to(scan, self.task)
        )

    def on_handover_said(self) -> None:
        """Open for questions once the hand-over words are out, whole or interrupted."""
        if self.stage is Stage.HANDOVER:
            self.stage = Stage.QUESTIONS

    def on_utterance(self, utterance: Utterance, language: Language) -> Plan:
        """Plan the answer to what a person said in `language`."""
        if not SOMETHING_SAID.search(utterance.text) or self._is_doubtful(utterance):
            # What was hardly heard does not tell a language either.
            return self._prepared("not_heard", ReplyKind.CLARIFICATION)
        self.language = language
        if len(utterance.text) > self._settings.max_utterance_chars:
            return self._prepared("too_long", ReplyKind.FALLBACK)
        if self.stage is Stage.LEAVE:
            return self._prepared("farewell", ReplyKind.FAREWELL)
        if self.task is not None and not self.may_disclose:
            if self.stage is Stage.APPROACH:
                # Whoever speaks is in front of the robot: ask for the scan as on arrival.
                return self._greet()
            return self._prepared("locked_answer", ReplyKind.CLARIFICATION)
        return Plan(ReplyKind.ANSWER, language, self.words_without_model(language), use_model=True)

    def words_without_model(self, language: Language) -> tuple[str, ...]:
        """What is said where the model cannot answer: never less than whom to ask."""
        if self.task is None:
            return tuple(self._phrases.say("no_task", language, self.scene))
        if not self.may_disclose:
            return tuple(self._phrases.say("model_unavailable_locked", language, self.scene))
        return (
            *self._phrases.say("model_unavailable", language, self.scene),
            *self._phrases.say("label_says", language, self.scene),
            *self._phrases.labels(self.task, language, self._terms),
        )

    def restart(self) -> Plan | None:
        """Forget who stands there and begin again with the same task."""
        self.identity = Identity.UNKNOWN
        task = self.task
        self.language = task.language if task is not None else self._settings.default_language
        return self._greet() if task is not None and self.stage is not Stage.APPROACH else None

    def _greet(self) -> Plan:
        self.stage = Stage.IDENTIFY
        return self._prepared("greeting", ReplyKind.GREETING)

    def _prepared(self, key: str, kind: ReplyKind) -> Plan:
        return Plan(kind, self.language, tuple(self._phrases.say(key, self.language, self.scene)))

    def _is_doubtful(self, utterance: Utterance) -> bool:
        confidence = utterance.confidence
        return confidence is not None and confidence < self._settings.min_confidence


def _belongs_to(scan: IdentityScan, task: DeliveryTask) -> bool:
    """Check the scanner's word against the task: a match for another task or patient opens
    nothing.
    """
    if scan.task_id and scan.task_id != task.task_id:
        return False
    if scan.mismatched_identifiers:
        return False
    # A wristband names its patient, whoever is said to have shown it.
    is_patient = scan.subject_role is SpeakerRole.PATIENT or scan.source is ScanSource.WRISTBAND
    other_id = bool(scan.subject_id and task.patient_id) and scan.subject_id != task.patient_id
    return not (is_patient and other_id)
