"""The ROS 2 node that lets the robot talk: topics in, `DialogueSession` in the middle, topics out.

A managed (lifecycle) node. Configuring loads the model and says its progress; activating begins to
serve; deactivating cancels the running reply and says so in its last chunk; cleaning up frees the
memory. Callbacks only hand events over: the session's thread words the replies, the engine's
thread runs the model.

A model that cannot be loaded does not keep the node from serving, because what matters most needs
no model: replies are prepared words then, and diagnostics say ERROR. Set `require_model` to fail
instead.
"""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from std_msgs.msg import String
from std_srvs.srv import Trigger

from medbot_llm.dialogue.resources import DialogueResources
from medbot_llm.dialogue.session import DialogueSession
from medbot_llm.dialogue.session import Snapshot
from medbot_llm.dialogue.utterances import SOMETHING_SAID
from medbot_llm.domain import Alert
from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.domain import ReplyChunk
from medbot_llm.domain import Scene
from medbot_llm.domain import Utterance
from medbot_llm.engines.build import build_engine
from medbot_llm.engines.memory import return_freed_memory
from medbot_llm.engines.worker import EngineWorker
from medbot_llm.models.store import ModelStore
from medbot_llm.msg import Alert as AlertMsg
from medbot_llm.msg import AlertAck as AlertAckMsg
from medbot_llm.msg import Caption as CaptionMsg
from medbot_llm.msg import DeliveryTask as DeliveryTaskMsg
from medbot_llm.msg import DialogueState as DialogueStateMsg
from medbot_llm.msg import IdentityScan as IdentityScanMsg
from medbot_llm.msg import Response as ResponseMsg
from medbot_llm.msg import RobotContext as RobotContextMsg
from medbot_llm.msg import Speaking as SpeakingMsg
from medbot_llm.msg import Speech as SpeechMsg
from medbot_llm.msg import VoiceActivity as VoiceActivityMsg
from medbot_llm.nodes import conversions
from medbot_llm.nodes import qos
from medbot_llm.nodes.diagnostics import dialogue_diagnostics
from medbot_llm.nodes.managed import DIAGNOSTICS_PERIOD_S
from medbot_llm.nodes.managed import ManagedNode
from medbot_llm.nodes.managed import logging_failures
from medbot_llm.nodes.managed import run_node
from medbot_llm.nodes.parameters import DialogueParameters
from medbot_llm.prompts.untrusted import MAX_SPEECH_CHARS
from medbot_llm.prompts.untrusted import neutralise
from medbot_llm.safety.base import Verdict

LOAD_POLL_S = 0.1
LOAD_REPORT_STEP = 0.25
"""Share of the model between two lines of the log while it loads."""


class DialogueNode(ManagedNode):
    """Talks with whoever stands before the robot. See README.md for its topics, services and
    parameters.
    """

    _settings: DialogueParameters

    def __init__(self, **kwargs: Any) -> None:
        self._worker: EngineWorker | None = None
        self._session: DialogueSession | None = None
        self._resources: DialogueResources | None = None
        self._latched_subscriptions: list[Subscription] = []
        self._alert_times: dict[str, tuple[Time, float, int]] = {}
        self._load_share: float | None = None
        super().__init__("dialogue_node", DialogueParameters, **kwargs)

    @property
    def is_serving(self) -> bool:
        return self._session is not None

    # --- lifecycle -------------------------------------------------------------------------------

    @logging_failures
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and make the topics."""
        try:
            settings = self._settings.engine()
            self._resources = DialogueResources.load(self._settings.resources())
            store = ModelStore()
            engine = build_engine(settings, store.resolve, store.parts)
        except MedbotError as error:
            self.get_logger().error(f"cannot be configured: {error}")
            return TransitionCallbackReturn.FAILURE
        self._worker = EngineWorker(engine, self._settings.timeouts())
        if not self._load_model() and (self._settings["require_model"] or not self.context.ok()):
            self._worker.close()
            self._worker = None
            return TransitionCallbackReturn.FAILURE
        self._responses = self._advertise(ResponseMsg, "response", qos.RESPONSES)
        self._response_texts = self._advertise(String, "response_text", qos.RESPONSES)
        self._alerts = self._advertise(AlertMsg, "alert", qos.ALERTS)
        self._captions = self._advertise(CaptionMsg, "caption", qos.RESPONSES)
        self._states = self._advertise(DialogueStateMsg, "dialogue_state", qos.LATCHED)
        self._event_subscriptions = [
            self._serve(IdentityScanMsg, "identity_scan", self._on_scan, qos.EVENTS),
            self._serve(SpeechMsg, "speech", self._on_speech, qos.EVENTS),
            self._serve(String, "speech_text", self._on_speech_text, qos.EVENTS),
            self._serve(AlertAckMsg, "alert_ack", self._on_alert_ack, qos.EVENTS),
            self._serve(SpeakingMsg, "speaking", self._on_speaking, qos.EVENTS),
            self._serve(VoiceActivityMsg, "voice_activity", self._on_voice, qos.EVENTS),
        ]
        self._subscribe_latched()
        self._control_services = [
            self.create_service(Trigger, "~/interrupt", self._on_interrupt),
            self.create_service(Trigger, "~/reset", self._on_reset),
        ]
        self._settings.is_configured = True
        # Walking all tables takes the garbage collector 40 ms: not while an alert waits.
        gc.collect()
        gc.freeze()
        return_freed_memory()
        return TransitionCallbackReturn.SUCCESS

    @logging_failures
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to serve. The current task, if its publisher still offers it, is taken up at
        once.
        """
        assert self._worker is not None and self._resources is not None
        result = super().on_activate(state)
        self._session = DialogueSession(
            self._worker,
            self,
            self._resources,
            policy=self._settings.policy(),
            sampling=self._settings.sampling(),
            yield_to_voice_s=self._settings["yield_to_voice_s"],
        )
        self._session.start()
        # What was latched before came while nothing was served, and was refused: ask for it again.
        self._subscribe_latched()
        return result

    def _stop_serving(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
        self._alert_times.clear()

    def _release(self) -> None:
        self._resources = None
        gc.unfreeze()
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        for subscription in self._latched_subscriptions:
            self.destroy_subscription(subscription)
        self._latched_subscriptions = []
        super()._release()

    def _load_model(self) -> bool:
        """Load on the engine's thread; keep saying how far it is. False if it failed."""
        assert self._worker is not None
        share = 0.0
        reported = 0.0
        started = time.monotonic()

        def on_progress(done: float) -> None:
            nonlocal share
            share = done

        name = self._settings["model"] if self._settings["engine"] == "llama_cpp" else ""
        self.get_logger().info(f"loading the model {name}".rstrip())
        future = self._worker.load(on_progress)
        next_diagnostics = started
        while not _is_done(future, LOAD_POLL_S):
            if not self.context.ok():
                self._load_share = None
                return False
            if share - reported >= LOAD_REPORT_STEP:
                reported = share
                self.get_logger().info(f"loading the model: {share:.0%}")
            if time.monotonic() >= next_diagnostics:
                next_diagnostics += DIAGNOSTICS_PERIOD_S
                self._load_share = share
                self._publish_diagnostics()
        self._load_share = None
        error = future.exception()
        if error is not None:
            self.get_logger().error(f"no model: {error}. Prepared words take its place.")
            return False
        took_s = time.monotonic() - started
        self.get_logger().info(
            f"the model is ready after {took_s:.1f} s: {self._worker.info().model}"
        )
        return True

    # --- messages in -----------------------------------------------------------------------------

    def _serve(
        self,
        kind: type,
        topic: str,
        serve: Callable[[Any, DialogueSession], None],
        profile: QoSProfile,
    ) -> Subscription:
        """Subscribe with a function that is given the session."""

        def on_message(msg: Any) -> None:
            assert self._session is not None
            serve(msg, self._session)

        return self._subscribe(kind, topic, on_message, profile)

    def _subscribe_latched(self) -> None:
        for subscription in self._latched_subscriptions:
            self.destroy_subscription(subscription)
        self._latched_subscriptions = [
            # Where both have come, the executor takes them in this order: a task must not be
            # greeted for before it is known that the robot is still on its way.
            self._serve(RobotContextMsg, "robot_context", self._on_context, qos.LATCHED),
            self._serve(DeliveryTaskMsg, "delivery_task", self._on_task, qos.LATCHED),
        ]

    def _on_task(self, msg: DeliveryTaskMsg, session: DialogueSession) -> None:
        problems: list[str] = []
        task = conversions.task_from_msg(
            msg,
            Scene(self._settings["default_scene"]),
            Language(self._settings["default_language"]),
            problems,
        )
        self._note_problems(problems)
        session.task_arrived(task)

    def _on_context(self, msg: RobotContextMsg, session: DialogueSession) -> None:
        problems: list[str] = []
        context = conversions.context_from_msg(msg, problems)
        self._note_problems(problems)
        session.context_changed(context)

    def _on_scan(self, msg: IdentityScanMsg, session: DialogueSession) -> None:
        problems: list[str] = []
        scan = conversions.scan_from_msg(msg, problems)
        self._note_problems(problems)
        session.identity_scanned(scan)

    def _on_speech(self, msg: SpeechMsg, session: DialogueSession) -> None:
        problems: list[str] = []
        utterance = conversions.utterance_from_msg(msg, time.monotonic(), problems)
        self._caption_heard(utterance, is_final=not msg.is_partial)
        if msg.is_partial:
            if msg.is_likely_end:
                session.foresee(utterance)
            else:
                session.goes_on()
            return
        self._hear(utterance, session, problems)

    def _on_speech_text(self, msg: String, session: DialogueSession) -> None:
        text = neutralise(msg.data, MAX_SPEECH_CHARS)
        utterance = Utterance(text=text, received_s=time.monotonic())
        self._caption_heard(utterance, is_final=True)
        self._hear(utterance, session, [])

    def _hear(self, utterance: Utterance, session: DialogueSession, problems: list[str]) -> None:
        length, longest = len(utterance.text), self._settings["max_utterance_chars"]
        if not SOMETHING_SAID.search(utterance.text):
            problems.append("speech without words came in; the robot asks to hear it again")
        elif length > longest:
            problems.append(
                f"speech of {length} characters came in, and max_utterance_chars is {longest}; "
                "the robot asks for less at a time"
            )
        self._note_problems(problems)
        session.heard(utterance)

    def _on_speaking(self, msg: SpeakingMsg, session: DialogueSession) -> None:
        session.voice("robot", is_active=msg.is_speaking)
        if not msg.is_speaking and msg.reply_id and not msg.is_complete:
            session.heard_only(msg.reply_id, msg.heard)

    def _on_voice(self, msg: VoiceActivityMsg, session: DialogueSession) -> None:
        ends = (VoiceActivityMsg.STATE_NOTHING, VoiceActivityMsg.STATE_DONE)
        if msg.state == VoiceActivityMsg.STATE_WORDS:
            session.interrupt()
        elif msg.state == VoiceActivityMsg.STATE_VOICE or msg.state in ends:
            session.voice("person", is_active=msg.state not in ends)

    def _on_alert_ack(self, msg: AlertAckMsg, session: DialogueSession) -> None:
        for alert in session.acknowledge(msg.alert_id):
            by = neutralise(msg.acknowledged_by, conversions.MAX_NAME_CHARS) or "someone"
            self.get_logger().info(
                f"alert {alert.alert_id} ({alert.category}) acknowledged by {by}"
            )
            self._publish_alert(alert, acknowledged=True)

    def _on_interrupt(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        if self._session is None:
            response.success, response.message = False, "refused: the node is not active"
            return response
        reply_id = self._session.interrupt()
        response.success = bool(reply_id)
        response.message = f"reply {reply_id} stopped" if reply_id else "no reply to stop"
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._session is None:
            response.success, response.message = False, "refused: the node is not active"
            return response
        self._session.reset()
        response.success, response.message = True, "conversation and identity are forgotten"
        return response

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        result = super()._on_parameters(changes)
        if not result.successful or self._worker is None:
            return result
        values = {change.name: change.value for change in changes}
        if any(name.startswith("sampling.") for name in values) and self._session is not None:
            self._session.set_sampling(self._settings.sampling(values))
        if "adapter" in values or "adapter_scale" in values:
            path = values.get("adapter", self._settings["adapter"])
            scale = float(values.get("adapter_scale", self._settings["adapter_scale"]))
            self._worker.set_adapter(path, scale).add_done_callback(self._on_adapter_set)
        return result

    def _on_adapter_set(self, future: Future[None]) -> None:
        """Called on the engine's thread."""
        error = future.exception()
        session = self._session
        if error is not None:
            self._note_problems([f"the adapter was not changed: {error}"])
        if session is not None:
            session.prepare()

    # --- messages out: SessionListener, called on the session's threads --------------------------

    def on_reply(self, chunk: ReplyChunk) -> None:
        """Publish a chunk, and its text for those who know only strings."""
        with self._context_may_end():
            self._responses.publish(conversions.response_to_msg(chunk, self._now()))
            if chunk.text:
                self._response_texts.publish(String(data=chunk.text))
                self._caption(
                    CaptionMsg.SPEAKER_ROBOT,
                    f"{chunk.reply_id}/{chunk.sequence}",
                    chunk.text,
                    str(chunk.language),
                    is_final=True,
                )

    def _caption_heard(self, utterance: Utterance, *, is_final: bool) -> None:
        if utterance.text:
            self._caption(
                CaptionMsg.SPEAKER_PERSON,
                utterance.utterance_id,
                utterance.text,
                str(utterance.language or ""),
                is_final=is_final,
            )

    def _caption(
        self, speaker: str, caption_id: str, text: str, language: str, *, is_final: bool
    ) -> None:
        """Publish a line for the robot's screen."""
        msg = CaptionMsg(
            speaker=speaker,
            caption_id=caption_id,
            text=text,
            language=language,
            is_final=is_final,
        )
        msg.header.stamp = self._now()
        self._captions.publish(msg)

    def on_alert(self, alert: Alert) -> None:
        """Publish an alert for the first time."""
        self.get_logger().warning(
            f"alert {alert.alert_id}: {alert.severity}, {alert.category}: {alert.reason}"
        )
        self._publish_alert(alert)

    def on_blocked(self, sentence: str, verdict: Verdict) -> None:
        """The session has logged and counted it; diagnostics show the count."""

    def on_state(self, snapshot: Snapshot) -> None:
        """Publish where the conversation stands."""
        with self._context_may_end():
            self._states.publish(conversions.state_to_msg(snapshot, self._now()))

    def _publish_alert(self, alert: Alert, *, acknowledged: bool = False) -> None:
        raised_at, _, repetition = self._alert_times.get(alert.alert_id, (self._now(), 0.0, -1))
        repetition += not acknowledged
        msg = conversions.alert_to_msg(alert, raised_at, self._now(), max(repetition, 0))
        msg.acknowledged = acknowledged
        if acknowledged:
            self._alert_times.pop(alert.alert_id, None)
        else:
            self._alert_times[alert.alert_id] = (raised_at, time.monotonic(), repetition)
        with self._context_may_end():
            self._alerts.publish(msg)

    # --- diagnostics -----------------------------------------------------------------------------

    def _on_tick(self) -> None:
        session = self._session
        if session is not None:
            session.tick()
            due = time.monotonic() - self._settings["alert_repeat_s"]
            for alert in session.open_alerts:
                if self._alert_times.get(alert.alert_id, (None, math.inf, 0))[1] <= due:
                    self._publish_alert(alert)
        super()._on_tick()

    def _diagnose(self) -> DiagnosticArray:
        return dialogue_diagnostics(
            self.get_fully_qualified_name(),
            worker=self._worker,
            session=self._session,
            load_share=self._load_share,
            problem=self._recent_problem,
            resources=self._resources,
        )


def _is_done(future: Future[None], timeout_s: float) -> bool:
    try:
        future.exception(timeout=timeout_s)
    except FutureTimeout:
        return False
    return True


def main(args: list[str] | None = None) -> int:
    """Run the node until Ctrl-C or SIGTERM."""
    return run_node(DialogueNode, "dialogue_node", args)


if __name__ == "__main__":
    sys.exit(main())
