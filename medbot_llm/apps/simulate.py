"""`medbot simulate`: whole conversations without ROS, from JSON Lines to JSON Lines.

The real session, policy, triage, gate and verifier talk; only the topics are missing. So a
hospital can replay its own cases before a robot meets a patient.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from medbot_llm.apps.engine_options import add_engine_options
from medbot_llm.apps.engine_options import engine_of
from medbot_llm.apps.json_lines import Record
from medbot_llm.apps.json_lines import add_input
from medbot_llm.apps.json_lines import read_records
from medbot_llm.apps.json_lines import write_object
from medbot_llm.apps.tasks import matching_scan
from medbot_llm.apps.tasks import read_task
from medbot_llm.apps.tasks import scan_source
from medbot_llm.dialogue.resources import DialogueResources
from medbot_llm.dialogue.resources import ResourceSettings
from medbot_llm.dialogue.session import DialogueSession
from medbot_llm.dialogue.session import Snapshot
from medbot_llm.dialogue.utterances import SOMETHING_SAID
from medbot_llm.domain import Alert
from medbot_llm.domain import ChatMessage
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import IdentityScan
from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.domain import ReplyChunk
from medbot_llm.domain import RobotContext
from medbot_llm.domain import ScanResult
from medbot_llm.domain import ScanSource
from medbot_llm.domain import SpeakerRole
from medbot_llm.domain import StringEnum
from medbot_llm.domain import TripStage
from medbot_llm.domain import Utterance
from medbot_llm.engines.base import CancelToken
from medbot_llm.engines.base import Engine
from medbot_llm.engines.base import EngineInfo
from medbot_llm.engines.base import EngineUnavailableError
from medbot_llm.engines.base import ProgressCallback
from medbot_llm.engines.base import Sampling
from medbot_llm.engines.worker import EngineWorker
from medbot_llm.prompts.untrusted import MAX_SPEECH_CHARS
from medbot_llm.prompts.untrusted import neutralise
from medbot_llm.safety.base import Verdict
from medbot_llm.text.language import detect_language

TURN_TIMEOUT_S = 300.0
LOW_BATTERY = 0.1

_EPILOG = """\
a line of the input:
  {"id": "1",
   "task": {"scene": "ward", "language": "zh-Hant",
            "medications": [{"name": "Norvasc", "strength": "5 mg", "dose": "1 tablet",
                             "route": "oral", "frequency": "QD"}]},
   "turns": [{"who": "patient", "text": "這是什麼藥？"},
             {"who": "system_event", "event": "scan_ok"}]}
and of the output:
  {"id": "1", "opening": ["您好…"],
   "turns": [{"in": "這是什麼藥？", "replies": ["…"], "kind": "clarification",
              "stage": "identify", "identity": "unknown", "alerts": [], "blocked": []}, …]}

who: patient, relative, nurse, pharmacist, visitor, system_event
event: scan_ok, scan_mismatch, timeout, engine_fails, battery_low, staff_override
"""


class SystemEvent(StringEnum):
    """What can happen besides speech."""

    SCAN_OK = "scan_ok"
    SCAN_MISMATCH = "scan_mismatch"
    TIMEOUT = "timeout"
    ENGINE_FAILS = "engine_fails"
    BATTERY_LOW = "battery_low"
    STAFF_OVERRIDE = "staff_override"


def add_parser(subparsers: Any) -> None:
    """Add `medbot simulate`."""
    parser = subparsers.add_parser(
        "simulate",
        help="play whole conversations without ROS",
        description="Play whole conversations without ROS: JSON Lines in, JSON Lines out.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_input(parser, "one conversation a line")
    add_engine_options(parser)
    parser.add_argument("--region", default="tw", help="whose emergency numbers are told")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play every conversation of the input."""
    resources = DialogueResources.load(ResourceSettings(region=args.region))
    engine = SwitchableEngine(engine_of(args))
    worker = EngineWorker(engine)
    try:
        error = worker.load(lambda share: None).exception()
        if error is not None:
            raise error if isinstance(error, MedbotError) else MedbotError(str(error))
        for record in read_records(args.file):
            engine.fails = False
            write_object(simulate(record, worker, engine, resources))
    finally:
        worker.close()
    return 0


def simulate(
    record: Record, worker: EngineWorker, engine: SwitchableEngine, resources: DialogueResources
) -> dict[str, Any]:
    """Play one conversation.

    Raises:
        InputError: A field is wrong; names line and field.
    """
    task = read_task(record.record("task", required=True), _language(record))
    turns = [_Turn.read(turn, task) for turn in record.records("turns", required=True)]
    room = _Room()
    session = DialogueSession(worker, room, resources)
    session.start()
    try:
        session.context_changed(RobotContext(scene=task.scene, trip_stage=TripStage.ARRIVED))
        session.task_arrived(task)
        _settle(session)
        opening = room.take()
        played = []
        for turn in turns:
            turn.play(session, engine, task)
            _settle(session)
            heard = room.take()
            played.append(
                {
                    "in": turn.shown,
                    "replies": heard.replies,
                    "kind": heard.kind,
                    "stage": str(session.snapshot().stage),
                    "identity": str(session.snapshot().identity),
                    "alerts": heard.alerts,
                    "blocked": heard.blocked,
                }
            )
        return {"id": record.id, "opening": opening.replies, "turns": played}
    finally:
        session.close()


def _language(record: Record) -> Language:
    """The language of a conversation whose task names none: that of what is said first."""
    said = (turn.text("text", "") for turn in record.records("turns"))
    first = next((text for text in said if SOMETHING_SAID.search(text)), "")
    return record.one_of("lang", Language, detect_language(first, Language.ZH_HANT))


class SwitchableEngine:
    """An engine that can be made to fail in the middle of a conversation."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.fails = False

    def load(self, progress: ProgressCallback) -> None:
        """Load the engine."""
        self._engine.load(progress)

    def prefill(self, messages: Sequence[ChatMessage], cancel: CancelToken) -> None:
        """Work through a prompt."""
        if not self.fails:
            self._engine.prefill(messages, cancel)

    def stream(
        self, messages: Sequence[ChatMessage], sampling: Sampling, cancel: CancelToken
    ) -> Iterator[str]:
        """Reply, or fail."""
        if self.fails:
            raise EngineUnavailableError("the engine was made to fail")
        yield from self._engine.stream(messages, sampling, cancel)

    def set_adapter(self, path: str, scale: float) -> None:
        """Swap the adapter."""
        self._engine.set_adapter(path, scale)

    def info(self) -> EngineInfo:
        """What is loaded."""
        return self._engine.info()

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()


@dataclass(frozen=True)
class _Turn:
    """One turn of the input."""

    shown: str
    utterance: Utterance | None = None
    event: SystemEvent | None = None
    role: SpeakerRole = SpeakerRole.UNKNOWN

    @classmethod
    def read(cls, record: Record, task: DeliveryTask) -> _Turn:
        who = record.text("who", "patient")
        if who == "system_event":
            name = record.text("event")
            if name not in SystemEvent.values():
                raise record.error(
                    f"event is one of {', '.join(SystemEvent.values())}, not {name!r}"
                )
            return cls(name, event=SystemEvent(name))
        if who not in SpeakerRole.values():
            known = ", ".join([*SpeakerRole.values(), "system_event"])
            raise record.error(f"who is one of {known}, not {who!r}")
        text = record.text("text")
        confidence = record.fields.get("confidence")
        if confidence is not None and not isinstance(confidence, (int, float)):
            raise record.error("confidence must be a number from 0 to 1")
        language = None
        if record.text("lang", ""):
            language = record.one_of("lang", Language, task.language)
        said = neutralise(text, MAX_SPEECH_CHARS) if text.strip() else ""
        return cls(text, Utterance(said, language, confidence, SpeakerRole(who)))

    def play(self, session: DialogueSession, engine: SwitchableEngine, task: DeliveryTask) -> None:
        if self.utterance is not None:
            session.heard(self.utterance)
        elif self.event is SystemEvent.TIMEOUT:
            session.silence()
        elif self.event is SystemEvent.ENGINE_FAILS:
            engine.fails = True
        elif self.event is SystemEvent.BATTERY_LOW:
            session.context_changed(
                RobotContext(scene=task.scene, trip_stage=TripStage.ARRIVED, battery=LOW_BATTERY)
            )
        elif self.event is not None:
            session.identity_scanned(scan_of(self.event, task))


@dataclass
class _Heard:
    replies: list[str] = field(default_factory=list)
    kind: str = ""
    alerts: list[dict[str, str]] = field(default_factory=list)
    blocked: list[dict[str, str]] = field(default_factory=list)


class _Room:
    """Hears what the robot says, turn by turn."""

    def __init__(self) -> None:
        self._heard = _Heard()

    def take(self) -> _Heard:
        heard, self._heard = self._heard, _Heard()
        return heard

    def on_reply(self, chunk: ReplyChunk) -> None:
        if chunk.text:
            self._heard.replies.append(chunk.text)
        self._heard.kind = str(chunk.kind)

    def on_alert(self, alert: Alert) -> None:
        self._heard.alerts.append(
            {
                "severity": str(alert.severity),
                "category": alert.category,
                "reason": alert.reason,
            }
        )

    def on_state(self, snapshot: Snapshot) -> None:
        """The stage is read after each turn."""

    def on_blocked(self, sentence: str, verdict: Verdict) -> None:
        self._heard.blocked.append(
            {"reason": verdict.reason, "detail": verdict.detail, "sentence": sentence}
        )


def _settle(session: DialogueSession) -> None:
    if not session.settled().wait(TURN_TIMEOUT_S):
        raise MedbotError(f"a turn did not end within {TURN_TIMEOUT_S:g} s")


def scan_of(event: SystemEvent, task: DeliveryTask) -> IdentityScan:
    """What the scanner reads at scan_ok, scan_mismatch or staff_override."""
    if event is SystemEvent.STAFF_OVERRIDE:
        return IdentityScan(
            ScanSource.STAFF_BADGE,
            ScanResult.MATCH,
            task.task_id,
            subject_role=SpeakerRole.NURSE,
            matched_identifiers=("staff_id",),
        )
    if event is SystemEvent.SCAN_MISMATCH:
        return IdentityScan(
            scan_source(task), ScanResult.MISMATCH, mismatched_identifiers=("patient_id",)
        )
    return matching_scan(task)
