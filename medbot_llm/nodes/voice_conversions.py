"""Messages of the voice to the plain data of `speech/`, and back.

The ear and the mouth count time by `time.monotonic()`, messages by ROS's clock: `RosTimes` tells
one from the other.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.clock import Clock
from rclpy.time import Time as RclpyTime

from medbot_llm.domain import Language
from medbot_llm.domain import ReplyChunk
from medbot_llm.domain import ReplyKind
from medbot_llm.msg import PlayedAudio as PlayedAudioMsg
from medbot_llm.msg import Response as ResponseMsg
from medbot_llm.msg import Speaking as SpeakingMsg
from medbot_llm.msg import Speech as SpeechMsg
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import Sound
from medbot_llm.speech.listener import Heard
from medbot_llm.speech.mouth import SpeakingState

MAX_REPLY_CHARS = 4000
LEAST_CONFIDENCE = 0.01
"""A confidence of 0 is taken for one that nobody filled in."""
_PCM = 32767.0


class RosTimes:
    """Monotonic seconds to ROS time, and back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def to_ros(self, monotonic_s: float) -> Time:
        """The stamp of a monotonic time, s; zero for NaN."""
        if math.isnan(monotonic_s):
            return Time()
        ahead_s = monotonic_s - time.monotonic()
        nanoseconds = self._clock.now().nanoseconds + round(ahead_s * 1e9)
        return RclpyTime(nanoseconds=max(0, nanoseconds)).to_msg()

    def to_monotonic(self, stamp: Time) -> float:
        """The monotonic time of a stamp, s; NaN for zero."""
        nanoseconds = int(RclpyTime.from_msg(stamp).nanoseconds)
        if nanoseconds == 0:
            return math.nan
        ahead_ns = nanoseconds - int(self._clock.now().nanoseconds)
        return time.monotonic() + ahead_ns / 1e9


def chunk_from_msg(msg: ResponseMsg) -> ReplyChunk:
    """Convert a chunk of a reply; what is unknown in it gets the most cautious value."""
    language = Language(msg.language) if msg.language in Language.values() else Language.ZH_HANT
    kind = ReplyKind(msg.kind) if msg.kind in ReplyKind.values() else ReplyKind.ANSWER
    return ReplyChunk(
        reply_id=msg.reply_id,
        sequence=int(msg.sequence),
        text=msg.text[:MAX_REPLY_CHARS],
        language=language,
        kind=kind,
        is_last=bool(msg.is_last),
        was_interrupted=bool(msg.was_interrupted),
        task_id=msg.task_id,
        utterance_id=msg.utterance_id,
    )


def speech_to_msg(heard: Heard, times: RosTimes) -> SpeechMsg:
    """Convert a turn of speech, or a first guess at it."""
    msg = SpeechMsg()
    msg.header.stamp = times.to_ros(time.monotonic())
    msg.utterance_id = heard.utterance_id
    msg.text = heard.text
    msg.language = str(heard.language)
    msg.confidence = max(heard.confidence, LEAST_CONFIDENCE)
    msg.is_partial = heard.is_partial
    msg.is_likely_end = heard.is_likely_end
    msg.start = times.to_ros(heard.started)
    msg.end = times.to_ros(heard.ended)
    if heard.repairs:
        msg.original_text = heard.original
        msg.guessed_words = [repair.meant for repair in heard.repairs if repair.matters]
    return msg


def speaking_to_msg(state: SpeakingState, times: RosTimes) -> SpeakingMsg:
    """Convert what the mouth does."""
    msg = SpeakingMsg()
    msg.header.stamp = times.to_ros(time.monotonic())
    msg.is_speaking = state.is_speaking
    msg.reply_id = state.reply_id
    msg.kind = str(state.kind) if state.kind is not None else ""
    msg.utterance_id = state.utterance_id
    msg.heard = state.heard
    msg.is_complete = state.is_complete
    msg.is_ducked = state.is_ducked
    msg.first_audio = times.to_ros(state.first_audio_at)
    return msg


def played_to_msg(
    sound: Sound, audible_at: float, ahead: Samples, times: RosTimes
) -> PlayedAudioMsg:
    """Convert sound that was played, and what will be, to 16 bit."""
    msg = PlayedAudioMsg()
    msg.header.stamp = times.to_ros(time.monotonic())
    msg.audible_at = times.to_ros(audible_at)
    msg.sample_rate = sound.rate
    # rosidl takes an array of the right type as it is; a list would be checked number by number.
    msg.samples.frombytes(_to_pcm(sound.samples))
    msg.ahead.frombytes(_to_pcm(ahead))
    return msg


def played_from_msg(msg: PlayedAudioMsg, times: RosTimes) -> tuple[Sound, float, Samples]:
    """The sound, when it is audible, monotonic s, and what will follow it."""
    sound = Sound(_from_pcm(msg.samples), int(msg.sample_rate))
    return sound, times.to_monotonic(msg.audible_at), _from_pcm(msg.ahead)


def _to_pcm(samples: Samples) -> bytes:
    pcm = np.clip(samples, -1.0, 1.0) * _PCM
    return pcm.astype("<i2").tobytes()


def _from_pcm(numbers: Any) -> Samples:
    samples: Samples = np.frombuffer(numbers, dtype=np.int16).astype(np.float32) / np.float32(_PCM)
    return samples
