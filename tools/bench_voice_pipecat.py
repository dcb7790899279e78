"""The loop that `bench_voice.py` compares ours with, built from pipecat; runs in an environment of
its own (requirements/bench-voice.txt) and is asked over its standard input.

As pipecat's own examples build it: transport in, Whisper, user context with Silero VAD and the
default (Smart Turn v3) or the plain end of turn, a model behind an OpenAI-compatible server,
Kokoro, transport out, assistant context. Three things are not pipecat's: the transport has no
device (it is fed and drained in real time), Kokoro's Chinese phonemes come from misaki (the
phonemes of espeak-ng, pipecat's default, are not intelligible Mandarin), and a reply falls silent
after its first sound, to save time.

One line of JSON in, one out:
    {"wav": "…", "end_s": 3.1}  →  {"events": [["token", 1.23, "text"], …], "end": 5.0}
with the time of the monotonic clock in s. An empty line ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
import wave
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger
from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import Frame
from pipecat.frames.frames import InputAudioRawFrame
from pipecat.frames.frames import LLMFullResponseEndFrame
from pipecat.frames.frames import LLMFullResponseStartFrame
from pipecat.frames.frames import LLMTextFrame
from pipecat.frames.frames import OutputAudioRawFrame
from pipecat.frames.frames import StartFrame
from pipecat.frames.frames import TranscriptionFrame
from pipecat.frames.frames import TTSAudioRawFrame
from pipecat.frames.frames import VADUserStartedSpeakingFrame
from pipecat.frames.frames import VADUserStoppedSpeakingFrame
from pipecat.observers.base_observer import BaseObserver
from pipecat.observers.base_observer import FramePushed
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.aggregators.llm_response_universal import LLMUserAggregatorParams
from pipecat.services.kokoro.tts import KokoroTTSService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.whisper.stt import WhisperSTTService
from pipecat.transcriptions.language import Language
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_stop import TurnAnalyzerUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

IN_RATE, OUT_RATE = 16_000, 24_000
FEED_S = 0.02
STOP_S = 0.2
"""Silence after which Silero says that nobody speaks: pipecat's default."""
AUDIBLE = 0.01
"""Louder than this a sample counts as sound, -40 dBFS; as in bench_voice_ours.py."""
AFTER_AUDIO_S = 0.7
UNHEARD_S = 5.0
"""Time after which a piece of speech without a text has none."""
GIVE_UP_S = 25.0


class Events:
    """What happened in a turn, with its time."""

    def __init__(self) -> None:
        self.listed: list[tuple[str, float, str]] = []
        self.is_muted = False
        self.is_replying = False

    def note(self, name: str, text: str = "", at: float | None = None) -> None:
        self.listed.append((name, time.monotonic() if at is None else at, text))

    def count(self, name: str) -> int:
        return sum(event == name for event, _, _ in self.listed)

    def last(self, name: str) -> float:
        return max((at for event, at, _ in self.listed if event == name), default=float("nan"))


class Watch(BaseObserver):
    """Notes what passes through the pipeline, once each, at its source."""

    def __init__(self, events: Events, stt: Any, llm: Any) -> None:
        super().__init__()
        self._events, self._stt, self._llm = events, stt, llm

    async def on_push_frame(self, data: FramePushed) -> None:
        frame, source = data.frame, data.source
        if source is self._stt and isinstance(frame, TranscriptionFrame):
            self._events.note("text", frame.text)
        elif isinstance(frame, VADUserStartedSpeakingFrame):
            self._events.note("voice")
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            self._events.note("silence")
        elif source is self._llm:
            if isinstance(frame, LLMFullResponseStartFrame):
                self._events.is_replying = True
                self._events.is_muted = False
                self._events.note("asked")
            elif isinstance(frame, LLMTextFrame):
                self._events.note("token", frame.text)
            elif isinstance(frame, LLMFullResponseEndFrame):
                self._events.is_replying = False
                self._events.note("replied")


class Feed(BaseInputTransport):
    """Takes recordings for a microphone."""

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def hear(self, samples: np.ndarray) -> None:
        await self.push_audio_frame(
            InputAudioRawFrame(
                audio=(np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes(),
                sample_rate=IN_RATE,
                num_channels=1,
            )
        )


class Drain(BaseOutputTransport):
    """Plays into nothing, as fast as a loudspeaker would."""

    def __init__(self, params: TransportParams, events: Events) -> None:
        super().__init__(params)
        self._events, self._free_at = events, 0.0

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        now = time.monotonic()
        samples = np.frombuffer(frame.audio, np.int16)
        loud = np.flatnonzero(np.abs(samples) > AUDIBLE * 32767)
        if len(loud) and not self._events.is_muted:
            self._events.note("audio", at=now + int(loud[0]) / frame.sample_rate)
            self._events.is_muted = True
        self._free_at = max(now, self._free_at) + len(samples) / frame.sample_rate
        await asyncio.sleep(self._free_at - now)
        return True


class Kokoro(KokoroTTSService):
    """pipecat's, with misaki's phonemes for Chinese; silent after a turn's first sound."""

    def __init__(self, events: Events, *, is_chinese: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._events, self._g2p = events, None
        if is_chinese:
            from misaki.zh import ZHG2P
            from opencc import OpenCC

            self._g2p, self._simplified = ZHG2P(), OpenCC("t2s")
            self._phonemes("你好。")
            original = self._kokoro.create_stream

            def create_stream(text: str, voice: str, lang: str, speed: float) -> Any:
                return original(self._phonemes(text), voice=voice, speed=speed, is_phonemes=True)

            self._kokoro.create_stream = create_stream

    def _phonemes(self, text: str) -> str:
        result = self._g2p(self._simplified.convert(text))
        return result[0] if isinstance(result, tuple) else result

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame, None]:
        self._events.note("sentence", text)
        if self._events.is_muted:
            silence = bytes(2 * round(FEED_S * self.sample_rate))
            yield TTSAudioRawFrame(
                audio=silence,
                sample_rate=self.sample_rate,
                num_channels=1,
                context_id=context_id,
            )
            return
        async for frame in super().run_tts(text, context_id):
            if isinstance(frame, TTSAudioRawFrame):
                self._events.note("synthesised")
            yield frame


def end_of_turn(kind: str) -> UserTurnStrategies:
    """Smart Turn v3, pipecat's default, or its plain silence."""
    if kind == "smart":
        stop = TurnAnalyzerUserTurnStopStrategy(turn_analyzer=LocalSmartTurnAnalyzerV3())
    else:
        stop = SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=float(kind))
    return UserTurnStrategies(stop=[stop])


async def serve(options: argparse.Namespace, answers: Any) -> None:
    """Build the pipeline, and play recordings through it until the input ends."""
    events = Events()
    is_chinese = options.language.startswith("zh")
    language = Language.ZH if is_chinese else Language.EN
    stt = WhisperSTTService(
        device="cpu",
        compute_type="int8",
        settings=WhisperSTTService.Settings(model=options.whisper, language=language),
    )
    system, *said_before = json.loads(options.messages.read_text(encoding="utf-8"))
    context = LLMContext(said_before)
    pair = LLMContextAggregatorPair(
        context,
        user_params=LLMUserAggregatorParams(
            vad_analyzer=SileroVADAnalyzer(params=VADParams(stop_secs=STOP_S)),
            user_turn_strategies=end_of_turn(options.turn_end),
        ),
    )
    user, assistant = pair.user(), pair.assistant()

    @user.event_handler("on_user_turn_stopped")
    async def turn_stopped(*args: Any) -> None:
        events.note("turn")

    feed = Feed(TransportParams(audio_in_enabled=True, audio_in_sample_rate=IN_RATE))
    drain = Drain(
        TransportParams(
            audio_out_enabled=True,
            audio_out_sample_rate=OUT_RATE,
            audio_out_auto_silence=False,
        ),
        events,
    )
    llm = OpenAILLMService(
        api_key="none",
        base_url=options.server or "http://127.0.0.1:9/v1",
        settings=OpenAILLMService.Settings(
            model="local",
            system_instruction=system["content"],
            **json.loads(options.sampling),
        ),
    )
    if options.server:
        tts = Kokoro(
            events,
            is_chinese=is_chinese,
            model_path=options.kokoro,
            voices_path=options.voices,
            settings=KokoroTTSService.Settings(
                voice=options.voice, language=Language.ZH if is_chinese else Language.EN_US
            ),
        )
        steps = [feed, stt, user, llm, tts, drain, assistant]
    else:
        steps = [feed, stt, user]
    worker = PipelineWorker(
        Pipeline(steps),
        params=PipelineParams(audio_in_sample_rate=IN_RATE, audio_out_sample_rate=OUT_RATE),
        observers=[Watch(events, stt, llm)],
        cancel_on_idle_timeout=False,
        idle_timeout_secs=None,
        enable_rtvi=False,
    )
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def pipeline_started(*args: Any) -> None:
        started.set()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await started.wait()
    loop = asyncio.get_running_loop()
    print(json.dumps({"ready": True}), file=answers, flush=True)
    while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        job = json.loads(line)
        # Each question finds the same prompt.
        context.set_messages(list(said_before))
        end = await play(job, feed, events, answers=bool(options.server))
        found = {"events": events.listed, "end": end}
        print(json.dumps(found), file=answers, flush=True)
    await worker.cancel()
    await running


async def play(job: dict[str, Any], feed: Feed, events: Events, *, answers: bool) -> float:
    """Feed a recording in real time, and the silence behind it until the answer sounds.

    Returns when its voice ended, s of the monotonic clock.
    """
    with wave.open(job["wav"], "rb") as file:
        data = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    rng = np.random.default_rng(0)
    size = round(FEED_S * IN_RATE)
    events.listed.clear()
    events.is_muted = events.is_replying = False
    begun = time.monotonic()
    end = begun + job["end_s"]
    step = 0
    while True:
        piece = data[step * size : (step + 1) * size]
        missing = size - len(piece)
        if missing:
            noise = rng.standard_normal(missing) * job["room_rms"]
            piece = np.concatenate([piece, noise]).astype(np.float32)
        step += 1
        await asyncio.sleep(max(0.0, begun + step * FEED_S - time.monotonic()))
        await feed.hear(piece)
        now = time.monotonic()
        if now > end + GIVE_UP_S:
            return end
        if now < end + AFTER_AUDIO_S:
            continue
        # What came before the last voice was the end of a part of the question only.
        turn, audio = events.last("turn"), events.last("audio")
        silence = events.last("silence")
        # A late text would be taken for an answer to the next recording.
        is_recognised = events.count("text") >= events.count("silence")
        is_recognised = is_recognised or now > silence + UNHEARD_S
        is_over = turn > events.last("voice") and now > turn + AFTER_AUDIO_S and is_recognised
        if is_over and not answers:
            return end
        if is_over and audio > turn and now > audio + AFTER_AUDIO_S and not events.is_replying:
            return end


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--language", required=True)
    parser.add_argument("--whisper", required=True, help="folder of the model")
    parser.add_argument("--kokoro", help="file of the model")
    parser.add_argument("--voices", help="file of the voices")
    parser.add_argument("--voice")
    parser.add_argument("--server", default="", help="of the model; none: only listen")
    parser.add_argument("--messages", type=Path, required=True, help="JSON: the context's start")
    parser.add_argument("--sampling", default="{}", help="JSON: settings of the model")
    parser.add_argument("--turn-end", default="smart", help="smart, or s of silence")
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    asyncio.run(serve(options, answers))


if __name__ == "__main__":
    main()
