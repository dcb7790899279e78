"""The ROS 2 node that speaks: `response` in, the loudspeaker out.

A managed (lifecycle) node. Configuring loads the voice and has the words of an emergency spoken
ahead; activating opens the loudspeaker. It says what has been heard of each reply (`speaking`), so
that the dialogue remembers only that, and what it plays (`played_audio`), so that the listener can
take it out of what the microphone hears. A loudspeaker that is gone is waited for; a voice that
fails gives way to the fall-back voice.
"""

from __future__ import annotations

import math
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from medbot_llm.apps.voice_parts import load_synthesizer
from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import Scene
from medbot_llm.msg import DeliveryTask as DeliveryTaskMsg
from medbot_llm.msg import PlayedAudio as PlayedAudioMsg
from medbot_llm.msg import Response as ResponseMsg
from medbot_llm.msg import Speaking as SpeakingMsg
from medbot_llm.msg import Speech as SpeechMsg
from medbot_llm.msg import VoiceActivity as VoiceActivityMsg
from medbot_llm.nodes import qos
from medbot_llm.nodes.managed import ManagedNode
from medbot_llm.nodes.managed import logging_failures
from medbot_llm.nodes.managed import run_node
from medbot_llm.nodes.status import number
from medbot_llm.nodes.status import status
from medbot_llm.nodes.voice_conversions import RosTimes
from medbot_llm.nodes.voice_conversions import chunk_from_msg
from medbot_llm.nodes.voice_conversions import played_to_msg
from medbot_llm.nodes.voice_conversions import speaking_to_msg
from medbot_llm.nodes.voice_parameters import SpeakerParameters
from medbot_llm.safety.escalation import EmergencyWords
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import Sound
from medbot_llm.speech.devices import Loudspeaker
from medbot_llm.speech.latency import Latencies
from medbot_llm.speech.latency import OpenTurns
from medbot_llm.speech.mouth import Mouth
from medbot_llm.speech.mouth import SpeakingState


class SpeakerNode(ManagedNode):
    """Speaks the robot's replies. See README.md for its topics, services and parameters."""

    _settings: SpeakerParameters

    def __init__(self, **kwargs: Any) -> None:
        self._mouth: Mouth | None = None
        self._loudspeaker: Loudspeaker | None = None
        self._device_problem = ""
        self._voice_problem = ""
        self._voice_problem_at = -math.inf
        self._is_elderly = False
        self._prepared_scenes: set[Scene] = set()
        self._latencies = Latencies()
        self._turns = OpenTurns()
        super().__init__("speaker_node", SpeakerParameters, **kwargs)
        self._times = RosTimes(self.get_clock())

    @property
    def is_serving(self) -> bool:
        return self._loudspeaker is not None

    # --- lifecycle -------------------------------------------------------------------------------

    @logging_failures
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the voice, and have the words of an emergency ready."""
        settings = self._settings
        try:
            file = settings["emergency_words"]
            self._words = EmergencyWords(settings["region"], Path(file) if file else None)
            first = Language(settings["default_language"])
            self._languages = (first, *(other for other in Language if other is not first))
            fixed = [
                text for scene in Scene for text, _ in self._words.urgent(scene, self._languages)
            ]
            voice = load_synthesizer(settings["model"], settings.voice(), fixed=fixed)
            self._mouth = Mouth(voice, settings.mouth(self._is_elderly, datetime.now()), self)
        except MedbotError as error:
            self.get_logger().error(f"cannot be configured: {error}")
            return TransitionCallbackReturn.FAILURE
        self._prepare(Scene(settings["default_scene"]))
        self._speaking = self._advertise(SpeakingMsg, "speaking", qos.SPEAKING)
        self._played = self._advertise(PlayedAudioMsg, "played_audio", qos.SOUND)
        self._event_subscriptions = [
            self._subscribe(ResponseMsg, "response", self._on_response, qos.RESPONSES),
            self._subscribe(
                VoiceActivityMsg, "voice_activity", self._on_voice_activity, qos.EVENTS
            ),
            self._subscribe(SpeechMsg, "speech", self._on_speech, qos.EVENTS),
            self._subscribe(DeliveryTaskMsg, "delivery_task", self._on_task, qos.LATCHED),
        ]
        self._control_services = [self.create_service(Trigger, "~/stop", self._on_stop)]
        settings.is_configured = True
        return TransitionCallbackReturn.SUCCESS

    @logging_failures
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the loudspeaker."""
        assert self._mouth is not None
        result = super().on_activate(state)
        try:
            self._loudspeaker = Loudspeaker(
                self._mouth.render,
                rate=self._mouth.rate,
                device=self._settings.device(),
                on_problem=self._on_device,
            )
        except MedbotError as error:
            self.get_logger().error(f"cannot be activated: {error}")
            return TransitionCallbackReturn.FAILURE
        self._loudspeaker.start()
        self.on_speaking(SpeakingState())
        return result

    def _stop_serving(self) -> None:
        if self._mouth is not None:
            self._mouth.stop()
        if self._loudspeaker is not None:
            self._loudspeaker.close()
            self._loudspeaker = None

    def _release(self) -> None:
        if self._mouth is not None:
            self._mouth.close()
            self._mouth = None
        self._prepared_scenes.clear()
        super()._release()

    # --- messages in -----------------------------------------------------------------------------

    def _on_response(self, msg: ResponseMsg) -> None:
        assert self._mouth is not None
        self._note_answer(msg)
        self._mouth.say(chunk_from_msg(msg))

    def _on_voice_activity(self, msg: VoiceActivityMsg) -> None:
        mouth = self._mouth
        assert mouth is not None
        if msg.state == VoiceActivityMsg.STATE_VOICE:
            mouth.duck()
        elif msg.state == VoiceActivityMsg.STATE_WORDS:
            mouth.stop()
        elif msg.state in (VoiceActivityMsg.STATE_NOTHING, VoiceActivityMsg.STATE_DONE):
            mouth.unduck()
        elif msg.state == VoiceActivityMsg.STATE_LISTENING and self._settings["earcon"]:
            mouth.earcon("listening")

    def _on_speech(self, msg: SpeechMsg) -> None:
        if not msg.is_partial:
            ended = self._times.to_monotonic(msg.end)
            self._turns.heard(msg.utterance_id, ended, self._times.to_monotonic(msg.header.stamp))

    def _on_task(self, msg: DeliveryTaskMsg) -> None:
        self._is_elderly = msg.patient_group == str(PatientGroup.ELDERLY)
        self._configure_mouth()
        if msg.scene in Scene.values():
            self._prepare(Scene(msg.scene))

    def _prepare(self, scene: Scene) -> None:
        """Have the words of an emergency in this scene ready; what is ready already stays so."""
        if self._mouth is not None and scene not in self._prepared_scenes:
            self._prepared_scenes.add(scene)
            self._mouth.prepare(self._words.urgent(scene, self._languages))

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._mouth is None or not self.is_serving:
            response.success, response.message = False, "refused: the node is not active"
            return response
        heard = self._mouth.stop()
        response.success, response.message = True, f"stopped after: {heard.text}"
        return response

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        result = super()._on_parameters(changes)
        if result.successful and self._mouth is not None:
            try:
                self._configure_mouth({change.name: change.value for change in changes})
            except MedbotError as error:
                return SetParametersResult(successful=False, reason=str(error))
        return result

    def _configure_mouth(self, changes: dict[str, Any] | None = None) -> None:
        if self._mouth is not None:
            settings = self._settings.mouth(self._is_elderly, datetime.now(), changes)
            if settings != self._mouth.settings:
                self._mouth.configure(settings)

    # --- latency ---------------------------------------------------------------------------------

    def _note_answer(self, msg: ResponseMsg) -> None:
        """Note when the first sentence of an answer came, and the model's first token."""
        if msg.text:
            at = self._times.to_monotonic(msg.header.stamp)
            # Both are counted from the receipt of the speech, by the dialogue's own clock.
            after_token_s = msg.time_to_first_sentence - msg.time_to_first_token
            self._turns.answered(msg.utterance_id, at, after_token_s)

    # --- messages out: MouthListener, called on the mouth's thread -------------------------------

    def on_speaking(self, state: SpeakingState) -> None:
        """Publish what the voice does; note when an answer begins to sound."""
        times = self._turns.sounded(state.utterance_id, state.first_audio_at)
        if times is not None:
            self._latencies.add(times)
            self.get_logger().info(f"turn {times.utterance_id}, {times}")
        with self._context_may_end():
            self._speaking.publish(speaking_to_msg(state, self._times))

    def on_played(self, sound: Sound, audible_at: float, ahead: Samples) -> None:
        """Publish what is played, for the echo cancellation."""
        with self._context_may_end():
            self._played.publish(played_to_msg(sound, audible_at, ahead, self._times))

    def on_problem(self, problem: str) -> None:
        """Something could not be said."""
        self._voice_problem, self._voice_problem_at = problem, time.monotonic()
        self.get_logger().warning(problem)

    def _on_device(self, problem: str) -> None:
        """Called on the loudspeaker's thread."""
        if problem:
            self.get_logger().error(problem)
        elif self._device_problem:
            self.get_logger().info("the loudspeaker is well again")
        self._device_problem = problem

    # --- diagnostics -----------------------------------------------------------------------------

    def _on_tick(self) -> None:
        if self._mouth is not None:
            if self._loudspeaker is not None:
                self._mouth.output_latency_s = self._loudspeaker.latency_s
            # Quiet hours begin and end by the clock.
            self._configure_mouth()
        super()._on_tick()

    def _diagnose(self) -> DiagnosticArray:
        name, mouth, loudspeaker = self.get_fully_qualified_name(), self._mouth, self._loudspeaker
        array = DiagnosticArray()
        if mouth is None or loudspeaker is None:
            array.status = [
                status(f"{name}: loudspeaker", DiagnosticStatus.OK, "inactive", {}),
                status(f"{name}: voice latency", DiagnosticStatus.OK, "inactive", {}),
            ]
            return array
        figures = mouth.figures()
        values = {
            "output latency (s)": number(loudspeaker.latency_s),
            "underruns": str(loudspeaker.underruns),
            "gaps in replies": str(figures.gaps),
            "sentences not said": str(figures.failed_sentences),
            "chunks ignored": str(figures.ignored_chunks),
            "phrases ready": str(figures.prepared_phrases),
            "phrases to be made ready": str(figures.unprepared_phrases),
            "last problem": self._voice_problem or "none",
        }
        is_recent = time.monotonic() - self._voice_problem_at < 30.0
        if self._device_problem:
            level, message = DiagnosticStatus.ERROR, self._device_problem
        elif is_recent or self._recent_problem:
            level = DiagnosticStatus.WARN
            message = self._voice_problem if is_recent else self._recent_problem
        else:
            level, message = DiagnosticStatus.OK, "ready"
        array.status = [
            status(f"{name}: loudspeaker", level, message, values),
            status(
                f"{name}: voice latency",
                DiagnosticStatus.OK,
                f"{len(self._latencies)} turns",
                self._latencies.as_texts(),
            ),
        ]
        return array


def main(args: list[str] | None = None) -> int:
    """Run the node until Ctrl-C or SIGTERM."""
    return run_node(SpeakerNode, "speaker_node", args)


if __name__ == "__main__":
    sys.exit(main())
