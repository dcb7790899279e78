"""The ROS 2 node that listens: the microphone in, `speech` out.

A managed (lifecycle) node. Configuring loads the recogniser; activating opens the microphone. What
the robot itself says reaches the microphone too: it is taken out by echo cancellation with what
the speaker plays as the reference, and what is left is told by its text. A microphone that is gone
is waited for.
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn
from std_msgs.msg import Bool

from medbot_llm.apps.voice_parts import Vocabulary
from medbot_llm.apps.voice_parts import load_recognizer
from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.domain import Scene
from medbot_llm.domain import TripStage
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.msg import DeliveryTask as DeliveryTaskMsg
from medbot_llm.msg import DialogueState as DialogueStateMsg
from medbot_llm.msg import PlayedAudio as PlayedAudioMsg
from medbot_llm.msg import Response as ResponseMsg
from medbot_llm.msg import RobotContext as RobotContextMsg
from medbot_llm.msg import Speaking as SpeakingMsg
from medbot_llm.msg import Speech as SpeechMsg
from medbot_llm.msg import VoiceActivity as VoiceActivityMsg
from medbot_llm.nodes import qos
from medbot_llm.nodes.conversions import task_from_msg
from medbot_llm.nodes.managed import ManagedNode
from medbot_llm.nodes.managed import logging_failures
from medbot_llm.nodes.managed import run_node
from medbot_llm.nodes.status import number
from medbot_llm.nodes.status import status
from medbot_llm.nodes.voice_conversions import RosTimes
from medbot_llm.nodes.voice_conversions import played_from_msg
from medbot_llm.nodes.voice_conversions import speech_to_msg
from medbot_llm.nodes.voice_parameters import EchoControl
from medbot_llm.nodes.voice_parameters import ListenerParameters
from medbot_llm.speech.devices import Microphone
from medbot_llm.speech.echo import EchoCanceller
from medbot_llm.speech.listener import Ear
from medbot_llm.speech.listener import Heard
from medbot_llm.speech.listener import ListenMode
from medbot_llm.speech.repair import SoundRepair
from medbot_llm.speech.vad import SileroVad

PRESENT = (str(TripStage.ARRIVED), str(TripStage.HANDING_OVER))
"""Stages of the trip in which somebody stands before the robot."""
CLIPPING_SHARE = 0.05
"""Share of samples at full scale from which the microphone is too loud to be understood."""


class ListenerNode(ManagedNode):
    """Hears who stands before the robot. See README.md for its topics and parameters."""

    _settings: ListenerParameters

    def __init__(self, **kwargs: Any) -> None:
        self._ear: Ear | None = None
        self._microphone: Microphone | None = None
        self._echo: EchoCanceller | None = None
        self._vocabulary: Vocabulary | None = None
        self._device_problem = ""
        self._recognition_problem = ""
        self._turns = 0
        self._took_s = math.nan
        super().__init__("listener_node", ListenerParameters, **kwargs)
        self._times = RosTimes(self.get_clock())

    @property
    def is_serving(self) -> bool:
        return self._microphone is not None

    # --- lifecycle -------------------------------------------------------------------------------

    @logging_failures
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the recogniser, the voice detector and the words to repair by."""
        settings = self._settings
        language = Language(settings["language"])
        started = time.monotonic()
        try:
            recognizer = load_recognizer(
                settings["model"],
                threads=settings["threads"],
                device=settings["compute_device"],
                compute_type=settings["compute_type"],
                chinese=language if language.is_chinese else Language.ZH_HANT,
            )
            repair: SoundRepair | None = None
            if settings["repair"]:
                self._vocabulary = Vocabulary(Formulary.open(None))
                repair = self._vocabulary.repair(None)
            cancels = settings["echo"] == str(EchoControl.CANCEL)
            if cancels:
                self._echo = EchoCanceller(suppresses_noise=settings["suppress_noise"])
            elif settings["suppress_noise"]:
                self._echo = EchoCanceller(cancels_echo=False, suppresses_noise=True)
            self._ear = Ear(
                recognizer,
                SileroVad(),
                self,
                settings.ear(),
                language=language,
                repair=repair,
                clean=self._echo.clean if self._echo is not None else None,
                is_echo=self._echo.echo_likely if self._echo is not None and cancels else None,
            )
        except MedbotError as error:
            self.get_logger().error(f"cannot be configured: {error}")
            return TransitionCallbackReturn.FAILURE
        self.get_logger().info(f"the recogniser is ready after {time.monotonic() - started:.1f} s")
        self._speech = self._advertise(SpeechMsg, "speech", qos.EVENTS)
        self._activity = self._advertise(VoiceActivityMsg, "voice_activity", qos.EVENTS)
        self._event_subscriptions = [
            self._subscribe(SpeakingMsg, "speaking", self._on_speaking, qos.LATCHED),
            self._subscribe(ResponseMsg, "response", self._on_response, qos.RESPONSES),
            self._subscribe(PlayedAudioMsg, "played_audio", self._on_played, qos.SOUND),
            self._subscribe(DialogueStateMsg, "dialogue_state", self._on_state, qos.LATCHED),
            self._subscribe(RobotContextMsg, "robot_context", self._on_context, qos.LATCHED),
            self._subscribe(DeliveryTaskMsg, "delivery_task", self._on_task, qos.LATCHED),
            self._subscribe(Bool, "push_to_talk", self._on_button, qos.EVENTS),
        ]
        settings.is_configured = True
        return TransitionCallbackReturn.SUCCESS

    @logging_failures
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the microphone."""
        assert self._ear is not None
        result = super().on_activate(state)
        settings = self._settings
        try:
            self._microphone = Microphone(
                self._ear.feed,
                device=settings.device(),
                channel=settings["channel"] if settings["channel"] >= 0 else None,
                channels=settings["channels"] or None,
                on_problem=self._on_device,
            )
        except MedbotError as error:
            self.get_logger().error(f"cannot be activated: {error}")
            return TransitionCallbackReturn.FAILURE
        if settings["mode"] != str(ListenMode.OFF):
            self._microphone.start()
        return result

    def _stop_serving(self) -> None:
        if self._microphone is not None:
            self._microphone.close()
            self._microphone = None

    def _release(self) -> None:
        if self._ear is not None:
            self._ear.close()
            self._ear = None
        self._echo = None
        self._vocabulary = None
        super()._release()

    # --- messages in -----------------------------------------------------------------------------

    def _on_speaking(self, msg: SpeakingMsg) -> None:
        if self._ear is not None:
            self._ear.robot_speaks(msg.is_speaking)

    def _on_response(self, msg: ResponseMsg) -> None:
        # What is about to be said: an echo of it is told by its text.
        if self._ear is not None and msg.text:
            self._ear.robot_says(msg.text)

    def _on_played(self, msg: PlayedAudioMsg) -> None:
        if self._echo is not None:
            self._echo.played(*played_from_msg(msg, self._times))

    def _on_state(self, msg: DialogueStateMsg) -> None:
        if self._ear is not None and msg.language in Language.values():
            self._ear.set_language(Language(msg.language))

    def _on_context(self, msg: RobotContextMsg) -> None:
        if self._ear is None:
            return
        is_present = msg.trip_stage in PRESENT
        if is_present and not self._ear.is_present and self._mode is ListenMode.PRESENCE:
            self._tell(VoiceActivityMsg.STATE_LISTENING)
        self._ear.set_present(is_present)

    def _on_button(self, msg: Bool) -> None:
        ear = self._ear
        if ear is None or self._mode is ListenMode.OFF:
            return
        if msg.data:
            if not ear.is_pressed:
                self._tell(VoiceActivityMsg.STATE_LISTENING)
            ear.press()
        else:
            ear.release()

    def _on_task(self, msg: DeliveryTaskMsg) -> None:
        language = Language(self._settings["language"])
        task = task_from_msg(msg, Scene.WARD, language, [])
        if self._ear is not None and self._vocabulary is not None:
            self._ear.set_repair(self._vocabulary.repair(task))

    @property
    def _mode(self) -> ListenMode:
        return ListenMode(self._settings["mode"])

    # --- messages out: EarListener, called on the ear's threads ----------------------------------

    def on_voice(self, started: float) -> None:
        """Somebody begins to speak."""
        self._tell(VoiceActivityMsg.STATE_VOICE)

    def on_words(self, heard: Heard) -> None:
        """Somebody interrupts the robot."""
        self._tell(VoiceActivityMsg.STATE_WORDS, heard.utterance_id)

    def on_nothing(self) -> None:
        """It was no speech."""
        self._tell(VoiceActivityMsg.STATE_NOTHING)

    def on_heard(self, heard: Heard) -> None:
        """Publish speech."""
        is_guess = heard.is_partial and not heard.is_likely_end
        if is_guess and not self._settings["partials"]:
            return
        if not heard.is_partial:
            self._turns += 1
            self._took_s = heard.recognised - heard.ended
        with self._context_may_end():
            self._speech.publish(speech_to_msg(heard, self._times))
        if not heard.is_partial:
            self._tell(VoiceActivityMsg.STATE_DONE, heard.utterance_id)

    def on_problem(self, problem: str) -> None:
        """Recognition fails, or is well again."""
        if problem and problem != self._recognition_problem:
            self.get_logger().error(problem)
        self._recognition_problem = problem

    def _tell(self, state: str, utterance_id: str = "") -> None:
        msg = VoiceActivityMsg(state=state, utterance_id=utterance_id)
        msg.header.stamp = self._now()
        with self._context_may_end():
            self._activity.publish(msg)

    def _on_device(self, problem: str) -> None:
        """Called on the microphone's thread."""
        if problem:
            self.get_logger().error(problem)
        elif self._device_problem:
            self.get_logger().info("the microphone is well again")
        self._device_problem = problem

    # --- diagnostics -----------------------------------------------------------------------------

    def _diagnose(self) -> DiagnosticArray:
        name, microphone = f"{self.get_fully_qualified_name()}: microphone", self._microphone
        array = DiagnosticArray()
        if microphone is None:
            array.status = [status(name, DiagnosticStatus.OK, "inactive", {})]
            return array
        values = {
            "level (dBFS)": f"{microphone.level:.0f}",
            "clipped share": f"{microphone.clipped:.3f}",
            "blocks dropped": str(microphone.dropped_blocks),
            "turns": str(self._turns),
            "last recognition after the end (s)": number(self._took_s),
            "echo reference late (s)": number(self._echo.late_s) if self._echo else "",
            "mode": str(self._mode),
        }
        if self._mode is ListenMode.OFF:
            level, message = DiagnosticStatus.OK, "off: text only"
        elif self._device_problem or self._recognition_problem:
            level = DiagnosticStatus.ERROR
            message = self._device_problem or self._recognition_problem
        elif microphone.clipped > CLIPPING_SHARE:
            level, message = DiagnosticStatus.WARN, "the microphone is overdriven: turn it down"
        elif self._recent_problem:
            level, message = DiagnosticStatus.WARN, self._recent_problem
        else:
            level, message = DiagnosticStatus.OK, "listening"
        array.status = [status(name, level, message, values)]
        return array


def main(args: list[str] | None = None) -> int:
    """Run the node until Ctrl-C or SIGTERM."""
    return run_node(ListenerNode, "listener_node", args)


if __name__ == "__main__":
    sys.exit(main())
