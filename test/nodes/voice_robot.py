"""A robot with a voice: its three nodes on a sound server of the tests' own, a patient who speaks
with a synthetic voice, and, where it is wanted, a room that brings the robot's voice back.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from node_test_kit import NodeProcess
from node_test_kit import Place
from node_test_kit import Robot

sys.path.insert(0, str(Path(__file__).parents[1] / "speech"))

from sound_server import SoundServer
from sound_server import sound_server
from voice_test_kit import heard as recognised
from voice_test_kit import kokoro_voice

from medbot_llm.domain import Language
from medbot_llm.models.store import default_root
from medbot_llm.msg import Speech
from medbot_llm.msg import VoiceActivity
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import Sound

RATE = 48_000
PAUSE_S = 0.3
"""Silence in front of what the patient says, so that the stream is open by then."""


class VoiceRobot:
    """The nodes, what they tell, and the ways to speak to them."""

    def __init__(
        self,
        server: SoundServer,
        folder: Path,
        dialogue: Mapping[str, Any],
        listener: Mapping[str, Any],
    ) -> None:
        self.server = server
        place = Place.of_its_own()
        self.robot = Robot(place)
        nodes: dict[str, dict[str, Any]] = {
            "dialogue_node": {"timeouts.first_token_s": 120.0, "timeouts.between_tokens_s": 60.0},
            "listener_node": {"device": "robot_mic", **listener},
            "speaker_node": {"device": "robot_speaker"},
        }
        nodes["dialogue_node"] |= dialogue
        self.nodes = {
            name: NodeProcess(place, folder / f"{name}.log", {"autostart": True, **values}, name)
            for name, values in nodes.items()
        }
        self.voice = kokoro_voice()

    def wait_ready(self) -> None:
        """Wait until all three nodes serve."""
        robot = self.robot
        robot.wait_active()
        for what in ("loudspeaker", "microphone"):
            robot.wait(
                lambda what=what: (
                    robot.diagnostics.get(what) and robot.diagnostics[what].message != "inactive"
                ),
                f"the {what} to be open",
                120,
            )

        def is_prepared() -> bool:
            values = {v.key: v.value for v in robot.diagnostics["loudspeaker"].values}
            return values.get("phrases to be made ready") == "0"

        robot.wait(is_prepared, "the words of an emergency to be ready", 400)

    def wait_quiet(self, timeout_s: float = 120.0) -> None:
        """Wait until everything that was to be said has been said."""
        robot = self.robot

        def is_quiet() -> bool:
            if not (robot.responses and robot.speaking and robot.responses[-1].is_last):
                return False
            state = robot.speaking[-1]
            return not state.is_speaking and state.reply_id == robot.responses[-1].reply_id

        robot.wait(is_quiet, "the robot to be quiet", timeout_s)

    def spoken(self, text: str, language: Language) -> Sound:
        """What the patient's voice sounds like, with silence in front and behind."""
        sound = self.voice.synthesize(text, language)
        pause = np.zeros(round(PAUSE_S * sound.rate), np.float32)
        return Sound(np.concatenate([pause, sound.samples, pause]), sound.rate)

    def say(self, text: str, language: Language) -> None:
        """The patient speaks; returns when it is said."""
        self.server.play(self.spoken(text, language))

    def finals(self, since: int) -> list[Speech]:
        """Turns of speech from the since-th message on."""
        new = self.robot.speech[since:]
        # What tests publish themselves has no id.
        return [speech for speech in new if speech.utterance_id and not speech.is_partial]

    def ask(self, text: str, language: Language) -> tuple[Speech, str, Sound]:
        """The patient asks: what was heard, the text of the answer, and its sound."""
        replies = len(self.robot.responses)
        with self.server.recording(rate=RATE) as recorded:
            speech = self.be_answered(text, language)
        words = "".join(r.text for r in self.robot.responses[replies:])
        return speech, words, Sound(recorded[0], RATE)

    def be_answered(self, text: str, language: Language) -> Speech:
        """The patient says something, and the robot answers to the end of its reply; what was
        heard.
        """
        robot = self.robot
        before, noticed, replies = len(robot.speech), len(robot.activity), len(robot.responses)
        self.say(text, language)
        try:
            [speech] = robot.wait(lambda: self.finals(before), f"speech: {text}")
        except AssertionError as error:
            states = [activity.state for activity in robot.activity[noticed:]]
            guesses = [speech.text for speech in robot.speech[before:]]
            values = {v.key: v.value for v in robot.diagnostics["microphone"].values}
            raise AssertionError(f"{error}: {states}, {guesses}, {values}") from error
        self.wait_for_answer(speech, replies)
        return speech

    def wait_for_answer(self, speech: Speech, replies: int) -> None:
        """Wait until the answer to a turn has been said; it is among the replies from there on."""
        self.robot.wait(
            lambda: [
                r
                for r in self.robot.responses[replies:]
                if r.utterance_id == speech.utterance_id and r.is_last
            ],
            "the reply to end",
        )
        self.wait_quiet()

    def told(self, state: str, since: int) -> list[VoiceActivity]:
        """What the listener noticed of a kind, from the since-th message on."""
        return [activity for activity in self.robot.activity[since:] if activity.state == state]

    def close(self) -> dict[str, int]:
        """End everything; gives the exit status of each node."""
        statuses = {name: node.stop() for name, node in self.nodes.items()}
        self.robot.close()
        for name, node in self.nodes.items():
            print(f"--- log of {name} (exit {statuses[name]}):", node.log, sep="\n")
        return statuses


@contextlib.contextmanager
def voice_robot(
    folder: Path, dialogue: Mapping[str, Any], listener: Mapping[str, Any] | None = None
) -> Iterator[VoiceRobot]:
    """A robot with a voice, up and waiting; with these parameters of its nodes."""
    # The sound server's environment has a home of its own; the models stay where they are.
    home = str(default_root())
    before = os.environ.get("MEDBOT_HOME")
    os.environ["MEDBOT_HOME"] = home
    try:
        with sound_server() as server:
            robot = VoiceRobot(server, folder, dialogue, listener or {})
            try:
                robot.wait_ready()
                yield robot
            finally:
                statuses = robot.close()
            assert set(statuses.values()) == {0}, statuses
    finally:
        if before is None:
            del os.environ["MEDBOT_HOME"]
        else:
            os.environ["MEDBOT_HOME"] = before


class EchoingRoom:
    """Brings what the loudspeaker plays back into the microphone: some 40 ms later and softer, by
    the sound server itself. A program of ours in between could not keep its delay on a busy
    machine, as a room does. Reverberation is in test/speech/test_own_voice.py.
    """

    def __init__(self, server: SoundServer, *, gain_db: float = -10.0) -> None:
        self._server = server
        self._gain_db = gain_db

    def __enter__(self) -> EchoingRoom:
        loaded = self._server.run(
            *("pactl", "load-module", "module-loopback", "source=speaker.monitor", "sink=mic"),
            *("latency_msec=40", "source_dont_move=1", "sink_dont_move=1"),
        )
        self._module = loaded.stdout.decode().strip()
        inputs = self._server.run("pactl", "list", "sink-inputs").stdout.decode()
        for block in inputs.split("Sink Input #")[1:]:
            if f"Owner Module: {self._module}" in block:
                number = block.split()[0]
                volume = f"{self._gain_db:g}dB"
                self._server.run("pactl", "set-sink-input-volume", number, volume)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.run("pactl", "unload-module", self._module, check=False)


def words_in(sound: Sound, language: Language) -> str:
    """What a recogniser hears in a long recording, piece by piece."""
    piece = 20 * sound.rate
    parts = [sound.samples[i : i + piece] for i in range(0, len(sound.samples), piece)]
    return " ".join(recognised(Sound(part, sound.rate), language) for part in parts)


def loud_from_to(samples: Samples, rate: int = RATE, level: float = 0.003) -> tuple[float, float]:
    """When sound begins and ends in a recording, s."""
    frames = samples[: len(samples) // 480 * 480].reshape(-1, 480)
    loud = np.flatnonzero(np.sqrt(np.mean(frames**2, axis=1)) > level)
    return loud[0] * 480 / rate, (loud[-1] + 1) * 480 / rate


def until(condition: Callable[[], object], timeout_s: float = 30.0) -> bool:
    """Wait for a condition; False where it does not come."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False
