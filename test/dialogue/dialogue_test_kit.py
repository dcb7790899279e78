"""A whole dialogue without ROS and without a model: session, worker and scripted engine, and a
listener that checks each reply while it comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from datetime import datetime
from functools import cache
from typing import Any

from medbot_llm.dialogue.plans import Plan
from medbot_llm.dialogue.policy import Policy
from medbot_llm.dialogue.policy import PolicySettings
from medbot_llm.dialogue.resources import DialogueResources
from medbot_llm.dialogue.session import DialogueSession
from medbot_llm.dialogue.session import Snapshot
from medbot_llm.domain import Alert
from medbot_llm.domain import ChatMessage
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import IdentityScan
from medbot_llm.domain import Language
from medbot_llm.domain import Medication
from medbot_llm.domain import ReplyChunk
from medbot_llm.domain import ReplyKind
from medbot_llm.domain import ScanResult
from medbot_llm.domain import ScanSource
from medbot_llm.domain import Scene
from medbot_llm.domain import Utterance
from medbot_llm.engines.base import CancelToken
from medbot_llm.engines.base import Engine
from medbot_llm.engines.base import EngineInfo
from medbot_llm.engines.base import ModelLoadError
from medbot_llm.engines.base import ProgressCallback
from medbot_llm.engines.base import Sampling
from medbot_llm.engines.scripted import Script
from medbot_llm.engines.scripted import ScriptedEngine
from medbot_llm.engines.worker import EngineWorker
from medbot_llm.engines.worker import Timeouts
from medbot_llm.safety.base import NoTriage
from medbot_llm.safety.base import NoVerifier
from medbot_llm.safety.base import TriageResult
from medbot_llm.safety.base import Verdict

PARTS = ("triage", "verifier", "phrases", "terms", "prompts")
"""Options of a robot that are parts of its resources."""
WAIT_S = 30.0
"""How long anything may take on a busy machine."""
LOOK_AGAIN_S = 0.02

TASK = DeliveryTask(
    task_id="T-1",
    scene=Scene.WARD,
    language=Language.EN,
    patient_id="P-556677",
    spoken_name="Mr Okonkwo",
    birth_date=date(1950, 3, 7),
    room="5A-12",
    bed="3",
    medications=(
        Medication(
            name="Zentoprazine 5 mg tablet",
            name_zh="森妥錠",
            generic_name="zentoprazine",
            strength="5 mg",
            dose="1 tablet",
            route="oral",
            frequency="once daily",
            instructions="after breakfast",
        ),
    ),
    allergies=("penicillamine",),
    conditions=("hyperkinesia",),
    notes="likes it quiet",
)
WRISTBAND = IdentityScan(
    ScanSource.WRISTBAND,
    ScanResult.MATCH,
    task_id="T-1",
    matched_identifiers=("patient_id", "name"),
)
LONG_REPLY = " ".join(f"Sentence number{'x' * n} goes on." for n in range(1, 200))
"""A reply that takes seconds at a few pieces a tenth of a second."""


def other_task(task_id: str = "T-2", **fields: Any) -> DeliveryTask:
    """Another delivery, to someone else."""
    medications = (Medication(name="Quorbitol 10 mg capsule"),)
    changes = {"patient_id": "P-998877", "spoken_name": "Ms Vasquez", "medications": medications}
    return replace(TASK, task_id=task_id, **{**changes, **fields})


def say(text: str, **fields: Any) -> Utterance:
    """English speech, unless told otherwise."""
    return Utterance(text, **{"language": Language.EN, "utterance_id": text[:40], **fields})


@cache
def safe_resources() -> DialogueResources:
    """The package's own words, rules and facts, read once."""
    return DialogueResources.load()


def resources(**parts: Any) -> DialogueResources:
    """The package's own words and facts, with a triage and a verifier that judge nothing unless
    they are given: most tests look at the dialogue alone."""
    return replace(safe_resources(), **{"triage": NoTriage(), "verifier": NoVerifier(), **parts})


def new_policy(**settings: Any) -> Policy:
    """A policy of its own, on the package's words."""
    own = resources()
    return Policy(
        phrases=own.phrases,
        terms=own.terms,
        settings=PolicySettings(**settings),
        advisor=own.advisor,
        intents=own.intents,
        emergency_words=own.emergency_words,
        identity_rules=own.identity_rules,
        now=lambda: datetime(2026, 11, 23, 9, 0),
    )


def say_to(policy: Policy, utterance: Utterance, language: Language, **found: Any) -> Plan:
    """What a policy plans for an utterance in which triage found what is given, or nothing."""
    return policy.on_utterance(utterance, language, TriageResult(**found))


class Room:
    """Hears what the robot says, and notices at once when a reply is not as replies must be.

    Attributes:
        chunks: All chunks, in order.
        faults: What was wrong with them.
    """

    def __init__(self) -> None:
        self.chunks: list[ReplyChunk] = []
        self.alerts: list[Alert] = []
        self.states: list[Snapshot] = []
        self.blocked: list[tuple[str, Verdict]] = []
        self.faults: list[str] = []
        self._changed = threading.Condition()
        self._open: tuple[str, int] | None = None

    def on_reply(self, chunk: ReplyChunk) -> None:
        with self._changed:
            reply_id, expected = self._open or (chunk.reply_id, 0)
            if chunk.reply_id != reply_id:
                self.faults.append(f"{chunk.reply_id} began before {reply_id} had ended")
            if chunk.sequence != expected:
                self.faults.append(f"chunk {chunk.sequence} came where {expected} was due")
            if any(c.reply_id == chunk.reply_id and c.is_last for c in self.chunks):
                self.faults.append(f"a chunk of {chunk.reply_id} came after its last")
            if chunk.was_interrupted and not chunk.is_last:
                self.faults.append("a chunk before the last says that it was interrupted")
            if not chunk.text and not chunk.is_last:
                self.faults.append("a chunk before the last is empty")
            self._open = None if chunk.is_last else (chunk.reply_id, chunk.sequence + 1)
            self.chunks.append(chunk)
            self._changed.notify_all()

    def on_alert(self, alert: Alert) -> None:
        with self._changed:
            self.alerts.append(alert)
            self._changed.notify_all()

    def on_state(self, snapshot: Snapshot) -> None:
        with self._changed:
            self.states.append(snapshot)
            self._changed.notify_all()

    def on_blocked(self, sentence: str, verdict: Verdict) -> None:
        with self._changed:
            self.blocked.append((sentence, verdict))
            self._changed.notify_all()

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait until the condition holds; it is looked at whenever something was heard."""
        gives_up_at = time.monotonic() + WAIT_S
        with self._changed:
            while not condition():
                assert time.monotonic() < gives_up_at, f"{what}: not in time; {self.chunks[-5:]}"
                # Not everything that is waited for is heard.
                self._changed.wait(LOOK_AGAIN_S)

    @property
    def is_quiet(self) -> bool:
        """Whether no reply is under way that has begun."""
        return self._open is None

    def replies(self) -> list[list[ReplyChunk]]:
        """The chunks of each ended reply, in order."""
        ended: list[list[ReplyChunk]] = [[]]
        for chunk in list(self.chunks):
            ended[-1].append(chunk)
            if chunk.is_last:
                ended.append([])
        return ended[:-1]

    def answer_to(self, utterance_id: str) -> list[ReplyChunk]:
        """Wait for the reply to an utterance to end, and return it."""

        def found() -> list[ReplyChunk]:
            return next((r for r in self.replies() if r[0].utterance_id == utterance_id), [])

        self.wait(found, f"the answer to {utterance_id!r}")
        return found()

    def text(self) -> str:
        """All that was heard."""
        return " ".join(chunk.text for chunk in self.chunks)


class Robot:
    """One session on one engine, and the room it talks in."""

    def __init__(
        self,
        engine: Engine,
        timeouts: Timeouts | None = None,
        room: Room | None = None,
        **options: Any,
    ) -> None:
        self.engine = engine
        self.worker = EngineWorker(engine, timeouts or Timeouts(WAIT_S, WAIT_S))
        self.room = room or Room()
        parts = {name: options.pop(name) for name in PARTS if name in options}
        self.session = DialogueSession(
            self.worker,
            self.room,
            resources(**parts),
            clock=lambda: datetime(2026, 11, 23, 9, 0),
            **options,
        )

    def load(self) -> None:
        self.worker.load(lambda share: None).exception(WAIT_S)

    def scan_and_hear(self, scan: IdentityScan = WRISTBAND) -> None:
        """Let the scan open the hand-over, and hear it to its end."""
        self.session.identity_scanned(scan)
        self.room.wait(lambda: self.said(ReplyKind.HANDOVER), "the hand-over")
        self.settle()

    def said(self, kind: ReplyKind) -> list[list[ReplyChunk]]:
        """The ended replies of a kind."""
        return [reply for reply in self.room.replies() if reply[-1].kind is kind]

    def settle(self) -> None:
        """Wait until the dialogue has nothing left to do."""

        def is_settled() -> bool:
            now = self.session.snapshot()
            return not now.replying and now.queue_depth == 0 and self.room.is_quiet

        # An event of its own, so that whatever is being handled now is over when it was.
        before = len(self.room.states)
        self.session.prepare()
        self.room.wait(lambda: len(self.room.states) > before and is_settled(), "quiet")

    def ask(self, text: str, **fields: Any) -> list[ReplyChunk]:
        """Say something and hear the whole answer."""
        self.session.heard(say(text, **fields))
        return self.room.answer_to(text[:40])

    def close(self) -> None:
        self.session.close()
        self.worker.close()


@contextmanager
def robot_with(
    script: Script | Engine,
    *,
    task: DeliveryTask | None = TASK,
    scanned: bool = True,
    **options: Any,
) -> Iterator[Robot]:
    """A serving robot, by default past the scan; what it published is checked at the end."""
    engine = ScriptedEngine(script) if isinstance(script, Script) else script
    robot = Robot(engine, **options)
    try:
        robot.load()
        robot.session.start()
        if task is not None:
            robot.session.task_arrived(task)
            robot.room.wait(robot.room.replies, "the greeting")
            if scanned:
                robot.scan_and_hear(replace(WRISTBAND, task_id=task.task_id))
        yield robot
    finally:
        robot.close()
    assert robot.room.faults == []
    assert robot.room.is_quiet, "a reply never ended"


class BadEngine:
    """An engine of a test's own: it loads, and streams by the function it is given."""

    def __init__(
        self,
        stream: Callable[[Sequence[ChatMessage], CancelToken], Iterator[str]],
        prefill: Callable[[Sequence[ChatMessage], CancelToken], None] | None = None,
        load_error: Exception | None = None,
    ) -> None:
        self._stream = stream
        self._prefill = prefill
        self._load_error = load_error

    def load(self, progress: ProgressCallback) -> None:
        if self._load_error is not None:
            raise self._load_error

    def prefill(self, messages: Sequence[ChatMessage], cancel: CancelToken) -> None:
        if self._prefill is not None:
            self._prefill(messages, cancel)

    def stream(
        self, messages: Sequence[ChatMessage], sampling: Sampling, cancel: CancelToken
    ) -> Iterator[str]:
        return self._stream(messages, cancel)

    def set_adapter(self, path: str, scale: float) -> None:
        raise ModelLoadError("this engine takes no adapter")

    def info(self) -> EngineInfo:
        return EngineInfo("bad", "bad")

    def close(self) -> None:
        """Nothing to free."""
