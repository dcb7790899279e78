"""One robot's conversation: events in from any thread, replies out, sentence by sentence.

Callers only leave an event; one thread of the session's own takes them in order, asks the policy
for a plan and speaks it. Newest wins: an utterance, a scan, a new task, `interrupt` and `reset`
cancel the running reply at once, on the caller's thread, without waiting for their turn.

One turn, as in docs/architecture.md:

    triage ─▶ policy ─▶ prompt ─▶ engine ─▶ sentences ─▶ verifier ─▶ on_reply
"""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from medbot_llm.dialogue.history import History
from medbot_llm.dialogue.inbox import Event
from medbot_llm.dialogue.inbox import Inbox
from medbot_llm.dialogue.plans import Call
from medbot_llm.dialogue.plans import Plan
from medbot_llm.dialogue.policy import Policy
from medbot_llm.dialogue.policy import PolicySettings
from medbot_llm.dialogue.reply import Reply
from medbot_llm.dialogue.reply import ReplySpeaker
from medbot_llm.dialogue.resources import DialogueResources
from medbot_llm.dialogue.statistics import Figures
from medbot_llm.dialogue.statistics import Statistics
from medbot_llm.domain import Alert
from medbot_llm.domain import ChatMessage
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Identity
from medbot_llm.domain import IdentityScan
from medbot_llm.domain import Language
from medbot_llm.domain import ModelStatus
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import ReplyChunk
from medbot_llm.domain import ReplyKind
from medbot_llm.domain import RobotContext
from medbot_llm.domain import Scene
from medbot_llm.domain import Severity
from medbot_llm.domain import SpeakerRole
from medbot_llm.domain import Stage
from medbot_llm.domain import StageTimes
from medbot_llm.domain import Utterance
from medbot_llm.engines.base import Sampling
from medbot_llm.engines.worker import EngineWorker
from medbot_llm.safety.base import Brief
from medbot_llm.safety.base import Circumstances
from medbot_llm.safety.base import TriageResult
from medbot_llm.safety.base import Verdict
from medbot_llm.text.language import detect_language
from medbot_llm.text.language import to_script

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 5.0
LONGEST_VOICE_S = 60.0
"""A voice whose end was not told within this has ended: the node that tells it may have died."""
YIELD_TO_VOICE_S = 1.5
"""Two cores that word the second sentence and speak the first at once do both at half the speed,
and the patient waits for the first."""
MAX_OPEN_ALERTS = 50
"""Alerts that are repeated until someone acknowledges them; beyond that the least urgent go."""


@dataclass(frozen=True)
class Snapshot:
    """Where the conversation stands, as published on `dialogue_state`."""

    stage: Stage
    task_id: str
    scene: Scene
    language: Language
    identity: Identity
    model_status: ModelStatus
    replying: bool
    reply_id: str
    queue_depth: int
    history_turns: int
    open_alerts: tuple[str, ...]


class SessionListener(Protocol):
    """Who is told what the session does. Called on several threads; must be quick."""

    def on_reply(self, chunk: ReplyChunk) -> None:
        """A sentence is to be spoken now, or a reply has ended."""

    def on_alert(self, alert: Alert) -> None:
        """A human is needed."""

    def on_state(self, snapshot: Snapshot) -> None:
        """The conversation stands elsewhere than before."""

    def on_blocked(self, sentence: str, verdict: Verdict) -> None:
        """The verifier kept a sentence of the model from being spoken."""


class DialogueSession:
    """The facade of the dialogue: leave events here, hear replies through the listener."""

    def __init__(
        self,
        worker: EngineWorker,
        listener: SessionListener,
        resources: DialogueResources,
        *,
        policy: PolicySettings | None = None,
        sampling: Sampling | None = None,
        yield_to_voice_s: float = YIELD_TO_VOICE_S,
        clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        """
        Args:
            yield_to_voice_s: How long the model stands still at most, s, while the voice works
                out the first sound of a reply.
        """
        self._worker = worker
        self._listener = listener
        self._prompts = resources.prompts
        self._terms = resources.terms
        self._triage = resources.triage
        self._policy = Policy(
            phrases=resources.phrases,
            terms=resources.terms,
            settings=policy or PolicySettings(),
            advisor=resources.advisor,
            intents=resources.intents,
            emergency_words=resources.emergency_words,
            identity_rules=resources.identity_rules,
            now=clock,
        )
        self._sampling = sampling or Sampling()
        self._yield_to_voice_s = yield_to_voice_s
        self._clock = clock
        self._history = History()
        self._statistics = Statistics()
        self._speaker = ReplySpeaker(
            worker,
            resources.verifier,
            self._history,
            self._statistics,
            self._on_reply,
            listener.on_blocked,
        )
        self._inbox = Inbox()
        self._lock = threading.Lock()
        self._task_lock = threading.Lock()
        # Reentrant: a listener may ask for the state while it is told.
        self._state_lock = threading.RLock()
        self._reply: Reply | None = None
        self._event_number = 0
        self._latest_reply_id = ""
        self._latest_task: DeliveryTask | None = None
        self._open_alerts: dict[str, Alert] = {}
        self._unpublished: set[str] = set()
        self._system_prompts: dict[Language, str] = {}
        self._quiet_since = time.monotonic()
        self._voices: dict[str, float] = {}
        self._thread = threading.Thread(target=self._serve, name="dialogue", daemon=True)

    # --- events, from any thread -----------------------------------------------------------------

    def start(self) -> None:
        """Begin to serve, and prepare the prompt for whoever speaks first."""
        for language in (Language.ZH_HANT, Language.ZH_HANS):
            # The first conversion loads tables for a tenth of a second: not in a patient's turn.
            detect_language(to_script("藥", language), language)
        self._thread.start()
        self.prepare()

    def task_arrived(self, task: DeliveryTask | None) -> None:
        """Take up a task; None withdraws the current one. The same task again changes nothing."""
        with self._task_lock:
            if task == self._latest_task:
                return
            self._latest_task = task
            self._leave(Event("task", lambda: self._on_task(task), supersedes=True))

    def context_changed(self, context: RobotContext) -> None:
        """Note where the robot is and how it stands."""
        self._leave(Event("robot context", lambda: self._on_context(context), replaceable=True))

    def identity_scanned(self, scan: IdentityScan) -> None:
        """Note what the scanner read."""
        supersedes = not self._policy.is_known(scan)
        self._leave(Event("identity scan", lambda: self._on_scan(scan), supersedes=supersedes))

    def heard(self, utterance: Utterance) -> None:
        """Answer what a person said. Triage judges it here and now, whatever the dialogue is busy
        with.
        """
        if math.isnan(utterance.received_s):
            utterance = replace(utterance, received_s=time.monotonic())
        result = self._assess(utterance)
        sent = result.severity is not None and self._raise_alert(
            Call(result.severity, result.category, result.reason), utterance
        )
        self._leave(
            Event(
                "speech",
                lambda: self._on_utterance(utterance, result, sent=sent),
                utterance,
                supersedes=True,
                urgent=result.severity is Severity.EMERGENCY,
            )
        )

    def foresee(self, utterance: Utterance) -> None:
        """Have the model begin the answer to what a person has said if this is all of it: he fell
        silent, and may go on. Nothing is said and nothing changes until it is `heard`.
        """
        self._leave(Event("foresight", lambda: self._foresee(utterance), replaceable=True))

    def goes_on(self) -> None:
        """Note that the person speaks on: what was foreseen answers less than all of it, and the
        cores are wanted for hearing the rest.
        """
        self._leave(Event("foresight", self._worker.drop_foreseen, replaceable=True))

    def tick(self) -> None:
        """Act on silence that has lasted too long for where the hand-over stands. Call it about
        once a second.
        """
        timeout_s = self._policy.timeout_s
        with self._lock:
            is_replying = self._reply is not None
        now = time.monotonic()
        has_voice = any(now - since < LONGEST_VOICE_S for since in list(self._voices.values()))
        if timeout_s is None or is_replying or has_voice or len(self._inbox):
            return
        if now - self._quiet_since >= timeout_s:
            self.silence()

    def silence(self) -> None:
        """Take the present stage's time-out for over."""
        self._leave(
            Event("time-out", lambda: self._say(self._policy.on_timeout()), replaceable=True)
        )

    def settled(self) -> threading.Event:
        """An event that is set once everything left before is done with."""
        done = threading.Event()
        if not self._leave(Event("settled", done.set)):
            done.set()
        return done

    def voice(self, whose: str, *, is_active: bool) -> None:
        """Note that a voice, the robot's or a person's, sounds now: silence begins after it."""
        now = time.monotonic()
        self._voices[whose] = now if is_active else -math.inf
        self._quiet_since = now
        if whose == "robot" and is_active:
            self._worker.go_on()

    def heard_only(self, reply_id: str, heard: str) -> None:
        """Of a reply only this was heard: its voice was cut short. The rest was never said."""
        self._leave(Event("voice cut short", lambda: self._history.heard_only(reply_id, heard)))

    def interrupt(self) -> str:
        """Stop the running reply; returns its id, or "" where there was none to stop."""
        return self._interrupt()

    def reset(self) -> None:
        """Forget the conversation and who stands there, and begin again with the same task."""
        self._leave(Event("reset", self._on_reset, supersedes=True))

    def prepare(self) -> None:
        """Let the engine work through the prompt ahead of need, for instance after its adapter was
        swapped.
        """
        self._leave(Event("prompt preparation", self._prefill, replaceable=True))

    def acknowledge(self, alert_id: str) -> list[Alert]:
        """Close an alert, or every open one for ""; returns those that were open."""
        with self._lock:
            ids = [alert_id] if alert_id else list(self._open_alerts)
            closed = [self._open_alerts.pop(i) for i in ids if i in self._open_alerts]
        if closed:
            self._leave(Event("alert acknowledged", self._policy.emergency_over))
        self._tell_state()
        return closed

    def set_sampling(self, sampling: Sampling) -> None:
        """Choose tokens this way from the next reply on."""
        self._sampling = sampling

    def close(self) -> None:
        """Cancel the running reply, publish its end, and stop. Waits up to CLOSE_TIMEOUT_S."""
        self._inbox.close()
        self.interrupt()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_TIMEOUT_S)

    # --- readings, from any thread ---------------------------------------------------------------

    @property
    def open_alerts(self) -> tuple[Alert, ...]:
        """Alerts that no one has acknowledged, oldest first."""
        with self._lock:
            return tuple(self._open_alerts.values())

    @property
    def dropped_events(self) -> int:
        """Events lost because more came in than could be answered."""
        return self._inbox.dropped

    def figures(self) -> Figures:
        """Counts and times since the session began."""
        return self._statistics.read()

    def snapshot(self) -> Snapshot:
        """Where the conversation stands now."""
        with self._lock:
            replying = self._reply is not None
            open_alerts = tuple(self._open_alerts)
        policy = self._policy
        task = policy.task
        return Snapshot(
            stage=policy.stage,
            task_id=task.task_id if task is not None else "",
            scene=policy.scene,
            language=policy.language,
            identity=policy.identity,
            model_status=self._worker.status,
            replying=replying,
            reply_id=self._latest_reply_id,
            queue_depth=len(self._inbox),
            history_turns=len(self._history),
            open_alerts=open_alerts,
        )

    # --- the dialogue's thread -------------------------------------------------------------------

    def _leave(self, event: Event) -> bool:
        """Leave an event for the dialogue's thread; False once the session is closed."""
        is_left = self._inbox.leave(event)
        if is_left and event.supersedes:
            # By now the dialogue may have taken this very event, or a newer one: those replies
            # stay.
            self._interrupt(older_than=event.number)
        return is_left

    def _interrupt(self, older_than: float = math.inf) -> str:
        """Stop the running reply if it answers an event that came before that number."""
        with self._lock:
            reply, number = self._reply, self._event_number
        # Words of an emergency are said to their end.
        if reply is None or number >= older_than or reply.plan.kind is ReplyKind.EMERGENCY:
            return ""
        reply.cancel.cancel()
        return reply.reply_id

    def _serve(self) -> None:
        while (event := self._inbox.take()) is not None:
            with self._lock:
                self._event_number = event.number
            try:
                if event.overtaken and event.utterance is not None:
                    self._on_overtaken(event.utterance)
                else:
                    event.handle()
            except Exception as error:  # one bad event must not silence the robot
                logger.exception("the dialogue failed on: %s", event.name)
                self._statistics.note_error(f"{type(error).__name__}: {error}")
            self._quiet_since = time.monotonic()
            self._tell_state()

    def _on_task(self, task: DeliveryTask | None) -> None:
        self._history.clear()
        self._system_prompts.clear()
        self._say(self._policy.on_task(task))

    def _on_context(self, context: RobotContext) -> None:
        self._system_prompts.clear()
        self._say(self._policy.on_context(context))

    def _on_scan(self, scan: IdentityScan) -> None:
        self._say(self._policy.on_scan(scan))
        self._policy.on_handover_said()

    def _on_utterance(self, utterance: Utterance, result: TriageResult, *, sent: bool) -> None:
        language = self._language_of(utterance)
        try:
            plan = self._policy.on_utterance(utterance, language, result)
        except Exception as error:  # speech must be answered even if the policy fails
            logger.exception("the policy failed")
            self._statistics.note_error(f"policy: {type(error).__name__}: {error}")
            plan = self._policy.without_plan(language, result)
        if self._policy.task is None or self._policy.may_disclose:
            self._remember(self._history, utterance, language)
        self._say(plan, utterance, sent=sent)

    def _foresee(self, utterance: Utterance) -> None:
        if len(self._inbox):
            return
        language = self._language_of(utterance)
        plan = self._policy.foresee(utterance, language, self._assess(utterance))
        if plan.use_model and plan.call is None:
            history = copy(self._history)
            self._remember(history, utterance, language)
            messages = self._messages(plan.language, plan.facts, history)
            self._worker.foresee(messages, self._sampling)

    def _language_of(self, utterance: Utterance) -> Language:
        return utterance.language or detect_language(utterance.text, self._policy.language)

    def _assess(self, utterance: Utterance) -> TriageResult:
        """Triage an utterance. Where that fails, a human is told once that it does."""
        task = self._latest_task
        about = Circumstances(
            language=utterance.language,
            scene=self._policy.scene,
            patient_group=task.patient_group if task is not None else PatientGroup.ADULT,
            role=utterance.role,
        )
        try:
            return self._triage.assess(utterance.text, about)
        except Exception as error:  # speech must be answered even if its judge fails
            logger.exception("the triage failed")
            self._statistics.note_error(f"triage: {type(error).__name__}: {error}")
            self._raise_alert(Call(Severity.NURSE, "triage_failed", "the triage is broken"), None)
            return TriageResult()

    def _on_overtaken(self, utterance: Utterance) -> None:
        self._statistics.note_overtaken()
        if self._policy.task is None or self._policy.may_disclose:
            self._remember(self._history, utterance, self._policy.language)

    def _remember(self, history: History, utterance: Utterance, language: Language) -> None:
        text = self._prompts.user_message(utterance, language).content
        history.hear(text, language)

    def _on_reset(self) -> None:
        self._history.clear()
        self._system_prompts.clear()
        self._say(self._policy.restart())

    def _say(
        self, plan: Plan | None, utterance: Utterance | None = None, *, sent: bool = False
    ) -> None:
        """Speak a plan to its end, or until something newer ends it; then prepare the next turn's
        prompt.

        Args:
            plan: What to say; None: nothing.
            utterance: What it answers.
            sent: The alert that the plan calls for went out when the words were heard.
        """
        if plan is not None:
            if plan.call is not None:
                # What the triage has called for says nothing of a conflict with the medicine.
                if not sent or plan.call.category.endswith("_conflict"):
                    sent = self._raise_alert(plan.call, utterance) or sent
                plan = replace(plan, sentences=self._policy.call_words(plan, sent=sent))
            reply = Reply(
                plan,
                Brief(
                    task=self._policy.task,
                    may_disclose=self._policy.may_disclose,
                    alerted=sent,
                    said=(*plan.sentences, *plan.facts),
                    heard=utterance.text if utterance is not None else "",
                    instructions=self._prompts.instructions(
                        self._policy.scene, self._policy.patient_group, plan.language
                    ),
                ),
                utterance_id=utterance.utterance_id if utterance is not None else "",
                times=StageTimes(
                    received=utterance.received_s if utterance is not None else math.nan
                ),
            )
            with self._lock:
                self._reply = reply
                self._latest_reply_id = reply.reply_id
            if self._inbox.has_superseding:
                # What came since this event was taken found no reply to cancel.
                self.interrupt()
            self._tell_state()
            try:
                messages = self._messages(plan.language, plan.facts) if plan.use_model else ()
                self._speaker.speak(reply, messages, self._sampling)
            finally:
                with self._lock:
                    self._reply = None
        self._prefill()

    def _messages(
        self,
        language: Language,
        facts: tuple[str, ...] = (),
        history: History | None = None,
    ) -> tuple[ChatMessage, ...]:
        """The prompt: the filled scene prompt, which stays the same from turn to turn, the
        history, and behind the newest question the facts that answer it.
        """
        system = self._system_prompts.get(language)
        if system is None:
            policy, context = self._policy, self._policy.context
            if not context.local_time:
                context = replace(context, local_time=self._clock().isoformat(timespec="minutes"))
            system = self._system_prompts[language] = self._prompts.system_prompt(
                scene=policy.scene,
                patient_group=policy.patient_group,
                language=language,
                # A label that says QD is worded first: small models do not read prescriptions.
                task=self._terms.worded_task(policy.task, language) if policy.task else None,
                context=context,
                # The model is asked only after the scan; working through the task before it says
                # nothing.
                disclose=policy.task is not None,
            )
        turns = (self._history if history is None else history).turns(language)
        return self._prompts.conversation(system, turns, language, facts=facts)

    def _prefill(self) -> None:
        if len(self._inbox) == 0 and not self._inbox.is_closed:
            self._worker.prefill(self._messages(self._policy.language))
            self._speaker.prepare(self._policy.task, self._policy.language)

    # --- telling ---------------------------------------------------------------------------------

    def _raise_alert(self, call: Call, utterance: Utterance | None) -> bool:
        """Call for a human; False: the call could not be published, so nobody may be told that it
        was. It stays open, and is repeated, either way.
        """
        task, place = self._latest_task, self._policy.context.place
        where = [place, task.room if task else "", task.bed if task else ""]
        alert = Alert(
            alert_id=uuid.uuid4().hex[:12],
            severity=call.severity,
            category=call.category,
            reason=call.reason,
            scene=self._policy.scene,
            place=" / ".join(part for part in where if part),
            task_id=task.task_id if task else "",
            words=utterance.text if utterance is not None else "",
            role=utterance.role if utterance is not None else SpeakerRole.UNKNOWN,
            language=self._policy.language,
        )
        with self._lock:
            again = next((a for a in self._open_alerts.values() if _is_same(a, alert)), None)
            is_known = again is not None and again.alert_id not in self._unpublished
            if is_known and utterance is None:
                # A scanner that reads the same wristband ten times a second calls for one nurse.
                return True
            # Who says it again is heard again: the same alert goes out once more.
            alert = again or alert
            while len(self._open_alerts) >= MAX_OPEN_ALERTS and again is None:
                self._unpublished.discard(dropped := self._least_urgent_alert())
                self._open_alerts.pop(dropped)
            self._open_alerts[alert.alert_id] = alert
            self._unpublished.add(alert.alert_id)
        try:
            self._listener.on_alert(alert)
        except Exception:  # whoever listens must not silence the robot; the alert stays open
            logger.exception("an alert could not be published")
            return False
        with self._lock:
            self._unpublished.discard(alert.alert_id)
        return True

    def _least_urgent_alert(self) -> str:
        """The oldest alert that is no emergency, else the oldest."""
        alerts = list(self._open_alerts.values())
        mild = [alert for alert in alerts if alert.severity is not Severity.EMERGENCY]
        return (mild or alerts)[0].alert_id

    def _on_reply(self, chunk: ReplyChunk) -> None:
        if chunk.sequence == 0 and chunk.text and "robot" in self._voices:
            self._worker.hold(self._yield_to_voice_s)
        self._listener.on_reply(chunk)

    def _tell_state(self) -> None:
        # Read and told under one lock, so that no older state is told after a newer one.
        with self._state_lock:
            try:
                self._listener.on_state(self.snapshot())
            except Exception:  # whoever listens must not silence the robot
                logger.exception("the state could not be published")


def _is_same(one: Alert, other: Alert) -> bool:
    """Whether two alerts call for the same thing."""
    return (one.category, one.reason, one.task_id, one.words) == (
        other.category,
        other.reason,
        other.task_id,
        other.words,
    )
