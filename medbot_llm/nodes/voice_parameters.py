"""The parameters of `listener_node` and `speaker_node`, and the settings that they make."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from datetime import time as TimeOfDay
from typing import Any

from rclpy.node import Node

from medbot_llm.apps.voice_parts import RECOGNITION_MODEL
from medbot_llm.apps.voice_parts import VOICE_MODEL
from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.domain import Scene
from medbot_llm.domain import StringEnum
from medbot_llm.nodes.parameter_table import AUTOSTART
from medbot_llm.nodes.parameter_table import ParameterSpec
from medbot_llm.nodes.parameter_table import ParameterTable
from medbot_llm.safety.escalation import DEFAULT_REGION
from medbot_llm.speech.endpointing import EndSettings
from medbot_llm.speech.endpointing import TurnEnd
from medbot_llm.speech.listener import EarSettings
from medbot_llm.speech.listener import ListenMode
from medbot_llm.speech.mouth import MouthSettings
from medbot_llm.speech.synthesizer import VoiceSettings

_QUIET_HOURS = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)-([01]?\d|2[0-3]):([0-5]\d)")


class EchoControl(StringEnum):
    """How the robot's own voice is kept out of what it hears."""

    CANCEL = "cancel"
    HALF_DUPLEX = "half_duplex"
    NONE = "none"


DEVICE = ParameterSpec(
    "device", "", "Sound device: index, name, or a part of the name. Empty: the default."
)
_END = EndSettings()
LISTENER_PARAMETERS: tuple[ParameterSpec, ...] = (
    AUTOSTART,
    DEVICE,
    ParameterSpec("channel", -1, "Channel of the microphone, from 0; -1: all mixed.", -1, 63),
    ParameterSpec(
        "channels", 0, "Channels to open, for an array behind a sound server; 0: found out.", 0, 64
    ),
    ParameterSpec(
        "model", RECOGNITION_MODEL, "Whisper model: an id of `medbot models list`, or a folder."
    ),
    ParameterSpec(
        "compute_device", "cpu", "What runs the recognition.", choices=("cpu", "cuda", "auto")
    ),
    ParameterSpec(
        "compute_type",
        "int8",
        "Arithmetic of the recognition, as CTranslate2 names it.",
        choices=("int8", "int8_float16", "int8_float32", "float16", "float32", "default"),
    ),
    ParameterSpec("threads", 2, "CPU threads of the recognition.", 1, 64),
    ParameterSpec(
        "language",
        "zh-Hant",
        "Language until the dialogue says which.",
        choices=Language.values(),
    ),
    ParameterSpec(
        "may_switch_language",
        True,
        "Whether speech in another language than the conversation's is recognised as such.",
    ),
    ParameterSpec(
        "mode",
        "always",
        "When it listens: always; only where the robot has arrived (robot_context); only while "
        "push_to_talk holds true; never.",
        choices=ListenMode.values(),
    ),
    ParameterSpec(
        "echo",
        "cancel",
        "Against the robot's own voice: cancel it; be deaf while it speaks; nothing (headset).",
        choices=EchoControl.values(),
    ),
    ParameterSpec("suppress_noise", False, "Take steady noise away before recognition."),
    ParameterSpec("repair", True, "Repair by sound what was recognised."),
    ParameterSpec("partials", True, "Publish first guesses while somebody speaks."),
    ParameterSpec(
        "turn_end.strategy", "sentence", "What ends a turn of speech.", choices=TurnEnd.values()
    ),
    ParameterSpec("turn_end.silence_s", _END.silence_s, "Silence that ends a turn, s.", 0.2, 5.0),
    ParameterSpec(
        "turn_end.sentence_silence_s",
        _END.sentence_silence_s,
        "Silence that ends a turn after a finished question, s.",
        0.2,
        5.0,
    ),
    ParameterSpec(
        "turn_end.likely_end_s",
        _END.likely_end_s,
        "Silence after which recognition begins, s.",
        0.1,
        2.0,
    ),
    ParameterSpec("turn_end.longest_s", _END.longest_s, "Longest turn, s.", 3.0, 29.0),
    ParameterSpec(
        "voice_probability",
        0.5,
        "How sure the voice detector must be; higher in a noisy place.",
        0.05,
        0.99,
    ),
)

SPEAKER_PARAMETERS: tuple[ParameterSpec, ...] = (
    AUTOSTART,
    DEVICE,
    ParameterSpec(
        "model",
        VOICE_MODEL,
        "Voice: an id of `medbot models list`, a folder, or espeak-ng for the light one alone.",
    ),
    ParameterSpec("voice.chinese", VoiceSettings.chinese, "Voice of the model for Chinese."),
    ParameterSpec("voice.english", VoiceSettings.english, "Voice of the model for English."),
    ParameterSpec("threads", 2, "CPU threads of the synthesis.", 1, 64),
    ParameterSpec(
        "niceness", 5, "Priority of the synthesis; higher gives way to the model.", 0, 19
    ),
    ParameterSpec("speed", 1.0, "Rate of speech.", 0.5, 2.0, live=True),
    ParameterSpec(
        "elderly_speed", 0.85, "Rate of speech for an elderly patient.", 0.5, 2.0, live=True
    ),
    ParameterSpec(
        "elderly_louder_db", 6.0, "Louder for an elderly patient, dB.", 0.0, 24.0, live=True
    ),
    ParameterSpec("volume", 1.0, "Volume.", 0.0, 4.0, live=True),
    ParameterSpec(
        "emergency_volume",
        0.8,
        "Least volume of an emergency, also where the robot is muted.",
        0.1,
        4.0,
        live=True,
    ),
    ParameterSpec("mute", False, "Say nothing but emergencies.", live=True),
    ParameterSpec(
        "quiet_hours", "", 'Speak at quiet_volume in these hours, e.g. "22:00-06:00".', live=True
    ),
    ParameterSpec(
        "quiet_volume", 0.0, "Volume in quiet hours; 0: emergencies only.", 0.0, 1.0, live=True
    ),
    ParameterSpec(
        "duck_db", 12.0, "How much softer while somebody may be speaking, dB.", 0, 60, live=True
    ),
    ParameterSpec("duck_pauses", False, "Pause instead of speaking more softly.", live=True),
    ParameterSpec("earcon", True, "A soft tone when the robot begins to listen.", live=True),
    ParameterSpec(
        "region",
        DEFAULT_REGION,
        "As in dialogue_node: whose emergency words are made ready.",
    ),
    ParameterSpec("emergency_words", "", "As in dialogue_node."),
    ParameterSpec(
        "default_scene",
        "ward",
        "As in dialogue_node: the words of an emergency in this scene are made ready first.",
        choices=Scene.values(),
    ),
    ParameterSpec(
        "default_language",
        "zh-Hant",
        "As in dialogue_node: the words of an emergency in this language are made ready first.",
        choices=Language.values(),
    ),
)


class ListenerParameters(ParameterTable):
    """The parameters of `listener_node`."""

    def __init__(self, node: Node) -> None:
        super().__init__(node, LISTENER_PARAMETERS)

    def device(self) -> str | int | None:
        """The microphone."""
        return _device(self["device"])

    def ear(self) -> EarSettings:
        """How the ear listens."""
        return EarSettings(
            mode=ListenMode(self["mode"]),
            end=EndSettings(
                strategy=TurnEnd(self["turn_end.strategy"]),
                likely_end_s=self["turn_end.likely_end_s"],
                silence_s=self["turn_end.silence_s"],
                sentence_silence_s=self["turn_end.sentence_silence_s"],
                longest_s=self["turn_end.longest_s"],
            ),
            voice_probability=self["voice_probability"],
            silence_probability=min(0.35, self["voice_probability"]),
            half_duplex=self["echo"] == str(EchoControl.HALF_DUPLEX),
            may_switch_language=self["may_switch_language"],
        )


class SpeakerParameters(ParameterTable):
    """The parameters of `speaker_node`."""

    def __init__(self, node: Node) -> None:
        super().__init__(node, SPEAKER_PARAMETERS)

    def device(self) -> str | int | None:
        """The loudspeaker."""
        return _device(self["device"])

    def voice(self) -> VoiceSettings:
        """Who speaks."""
        return VoiceSettings(
            chinese=self["voice.chinese"],
            english=self["voice.english"],
            threads=self["threads"],
        )

    def mouth(
        self, is_elderly: bool, now: datetime, changes: Mapping[str, Any] | None = None
    ) -> MouthSettings:
        """How the robot speaks now, with `changes` that are about to be taken.

        Raises:
            MedbotError: quiet_hours cannot be read.
        """

        def value(name: str) -> Any:
            return (changes or {}).get(name, self[name])

        volume = float(value("volume"))
        if _is_quiet(value("quiet_hours"), now):
            volume = min(volume, float(value("quiet_volume")))
        return MouthSettings(
            volume=volume,
            emergency_volume=float(value("emergency_volume")),
            is_muted=value("mute"),
            is_elderly=is_elderly,
            speed=float(value("speed")),
            elderly_speed=float(value("elderly_speed")),
            elderly_louder_db=float(value("elderly_louder_db")),
            duck_db=float(value("duck_db")),
            duck_pauses=value("duck_pauses"),
            niceness=self["niceness"],
        )


def _device(name: str) -> str | int | None:
    text = name.strip()
    if not text:
        return None
    return int(text) if text.isdecimal() else text


def _is_quiet(hours: str, now: datetime) -> bool:
    if not hours.strip():
        return False
    found = _QUIET_HOURS.fullmatch(hours.replace(" ", ""))
    if found is None:
        raise MedbotError(f'quiet_hours is like "22:00-06:00", not {hours!r}')
    first = TimeOfDay(int(found[1]), int(found[2]))
    last = TimeOfDay(int(found[3]), int(found[4]))
    if first <= last:
        return first <= now.time() < last
    return now.time() >= first or now.time() < last
