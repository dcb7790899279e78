"""E: the three users of two cores, each alone and all at once.

Each is a process, as the three nodes are, with the threads and the niceness of config/: an ear
with somebody who speaks nearly always, a voice that reads without an end, a model that writes
without one. The ear gets its sound from a thread that stands for the microphone's driver: one
block each 32 ms, into a queue as long as the product's.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from bench_voice_ours import Cores
from bench_voice_ours import Parts
from bench_voice_ours import WatchedEngine
from bench_voice_sounds import Studio
from bench_voice_sounds import room
from bench_voice_sounds import sentences
from bench_voice_sounds import voices_for
from tqdm import tqdm

from medbot_llm.domain import ChatMessage
from medbot_llm.domain import ChatRole
from medbot_llm.domain import Language
from medbot_llm.engines.base import CancelToken
from medbot_llm.engines.base import Sampling
from medbot_llm.speech.audio import RATE
from medbot_llm.speech.audio import Block
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.devices import BLOCK
from medbot_llm.speech.devices import QUEUE_S
from medbot_llm.speech.latency import percentile
from medbot_llm.speech.listener import Ear
from medbot_llm.speech.listener import EarSettings
from medbot_llm.speech.listener import Heard
from medbot_llm.speech.recognizer import Recognition
from medbot_llm.speech.vad import SileroVad

ALONE_S, TOGETHER_S, QUICK_S = 20.0, 40.0, 8.0
PAUSE_S = 1.3
TEXTS = (
    "脈優錠是降血壓的藥，每天早餐後吃一顆，配溫開水。",
    "如果起身的時候覺得頭暈，請先坐一下，動作慢一點。",
    "這個藥請放在三十度以下的地方，不要放在浴室裡。",
)


@dataclass
class Load:
    """What a process has done.

    Attributes:
        work: s of speech recognised or spoken, or tokens.
        took: s that it took.
        each: s of each careful recognition, of each sentence, of each first token.
    """

    work: float = 0.0
    took: float = 0.0
    each: list[float] = field(default_factory=list)
    dropped: int = 0
    blocks: int = 0
    longest_wait_s: float = 0.0
    turns: int = 0


class _Recognizer:
    """Measures another."""

    def __init__(self, inner: Any, load: Load) -> None:
        self._inner, self._load = inner, load

    def recognize(self, samples: Samples, *args: Any, **options: Any) -> Recognition:
        found = self._inner.recognize(samples, *args, **options)
        if options.get("careful", True):
            self._load.work += len(samples) / RATE
            self._load.took += found.took_s
            self._load.each.append(found.took_s)
        return found


class _Listener:
    """Counts turns."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def on_voice(self, started: float) -> None: ...
    def on_words(self, heard: Heard) -> None: ...
    def on_nothing(self) -> None: ...
    def on_problem(self, problem: str) -> None: ...

    def on_heard(self, heard: Heard) -> None:
        self._load.turns += not heard.is_partial


def _hear(pipe: Connection, cores: Cores, speech: Samples) -> None:
    parts, load = Parts(cores), Load()
    vocabulary = parts.vocabulary.repair(None)
    recognizer = parts.recognizer
    recognizer.recognize(speech[: 3 * RATE], Language.ZH_HANT)
    ear = Ear(
        _Recognizer(recognizer, load),
        SileroVad(),
        _Listener(load),
        EarSettings(),
        repair=vocabulary,
    )
    pipe.send("ready")
    seconds: float = pipe.recv()
    until = time.monotonic() + seconds
    blocks: queue.Queue[Block | None] = queue.Queue(maxsize=int(QUEUE_S * RATE / BLOCK))

    def capture() -> None:
        begun, step = time.monotonic(), 0
        while (now := time.monotonic()) < until:
            due = begun + (step + 1) * BLOCK / RATE
            time.sleep(max(0.0, due - now))
            start = step * BLOCK % (len(speech) - BLOCK)
            step += 1
            load.blocks += 1
            try:
                blocks.put_nowait(Block(speech[start : start + BLOCK], due - BLOCK / RATE))
            except queue.Full:
                load.dropped += 1
        blocks.put(None)

    threading.Thread(target=capture, daemon=True).start()
    while (block := blocks.get()) is not None:
        waited = time.monotonic() - block.captured_at - BLOCK / RATE
        load.longest_wait_s = max(load.longest_wait_s, waited)
        ear.feed(block)
    ear.close()
    pipe.send(load)


def _speak(pipe: Connection, cores: Cores) -> None:
    load, voice = Load(), Parts(cores).voice
    voice.synthesize(TEXTS[0], Language.ZH_HANT)
    pipe.send("ready")
    seconds: float = pipe.recv()
    until = time.monotonic() + seconds

    def read() -> None:
        # As the mouth does it: the priority of its own thread.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), cores.voice_niceness)
        step = 0
        while time.monotonic() < until:
            begun = time.monotonic()
            sound = voice.synthesize(TEXTS[step % len(TEXTS)], Language.ZH_HANT)
            took = time.monotonic() - begun
            step += 1
            load.work += sound.duration_s
            load.took += took
            load.each.append(took)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    pipe.send(load)


def _write(pipe: Connection, cores: Cores) -> None:
    parts, load = Parts(cores), Load()
    engine: WatchedEngine = parts.engine
    messages = [
        ChatMessage(ChatRole.SYSTEM, "你是醫院送藥機器人。" * 20),
        ChatMessage(ChatRole.USER, "請說一個很長的故事"),
    ]
    done = threading.Event()

    def generate() -> None:
        # All calls of llama.cpp from one thread, the load included.
        engine.load(lambda share: None)
        for _ in engine.stream(messages, Sampling(seed=1, max_tokens=8), CancelToken()):
            pass
        pipe.send("ready")
        seconds: float = pipe.recv()
        until = time.monotonic() + seconds
        seed = 0
        while time.monotonic() < until:
            seed += 1
            begun, times = time.monotonic(), []
            for _ in engine.stream(messages, Sampling(seed=seed, max_tokens=120), CancelToken()):
                times.append(time.monotonic())
                if times[-1] > until:
                    break
            if len(times) > 1:
                load.each.append(times[0] - begun)
                load.work += len(times) - 1
                load.took += times[-1] - times[0]
        engine.close()
        done.set()

    threading.Thread(target=generate, daemon=True).start()
    done.wait()
    pipe.send(load)


def sharing(studio: Studio, cores: Cores, *, quick: bool) -> None:
    """Each user of the cores alone, then all at once."""
    language = Language.ZH_HANT
    texts = sentences("recognition")[str(language)][:6]
    pieces: list[Samples] = []
    for text in texts:
        pieces += [studio.say(text, language, voices_for(language)[0]).samples]
        pieces += [room(round(PAUSE_S * RATE))]
    speech = np.concatenate(pieces)
    users: dict[str, tuple[Any, Sequence[Any]]] = {
        "recognition": (_hear, (cores, speech)),
        "synthesis": (_speak, (cores,)),
        "generation": (_write, (cores,)),
    }
    alone_s, together_s = (QUICK_S, QUICK_S) if quick else (ALONE_S, TOGETHER_S)
    bar = tqdm(total=len(users) + 1, desc="sharing")
    alone = {}
    for name, user in users.items():
        alone |= _run({name: user}, alone_s)
        bar.update()
    together = _run(users, together_s)
    bar.update()
    bar.close()
    _report(cores, alone, together)


def _run(users: dict[str, tuple[Any, Sequence[Any]]], seconds: float) -> dict[str, Load]:
    spawn = multiprocessing.get_context("spawn")
    running = {}
    try:
        for name, (target, arguments) in users.items():
            pipe, child = spawn.Pipe()
            process = spawn.Process(target=target, args=(child, *arguments), daemon=True)
            process.start()
            child.close()
            running[name] = (process, pipe)
        for _, pipe in running.values():
            assert pipe.recv() == "ready"
        for _, pipe in running.values():
            pipe.send(seconds)
        return {name: pipe.recv() for name, (_, pipe) in running.items()}
    except EOFError:
        raise RuntimeError("a process of the sharing part has ended early") from None
    finally:
        for process, _ in running.values():
            process.join(10)
            if process.is_alive():
                process.kill()


def _report(cores: Cores, alone: dict[str, Load], together: dict[str, Load]) -> None:
    def p95(load: Load) -> float:
        return percentile(sorted(load.each), 0.95)

    tqdm.write("")
    tqdm.write(
        f"threads: recognition {cores.recognition_threads}, voice {cores.voice_threads} "
        f"(niceness {cores.voice_niceness}), model {cores.model_threads}"
    )
    tqdm.write(f"  {'':<52} {'alone':>9} {'together':>9} {'ratio':>6}")

    def line(name: str, one: float, two: float) -> None:
        tqdm.write(f"  {name:<52} {one:>9.2f} {two:>9.2f} {two / max(one, 1e-9):>6.2f}")

    for name, what in (
        ("recognition", "s for a second of speech"),
        ("synthesis", "s for a second of sound"),
    ):
        rates = [load[name].took / max(load[name].work, 1e-9) for load in (alone, together)]
        line(f"{name}, {what}", *rates)
    line("recognition of a turn, p95, s", p95(alone["recognition"]), p95(together["recognition"]))
    speeds = [
        load["generation"].work / max(load["generation"].took, 1e-9) for load in (alone, together)
    ]
    line("generation, tokens/s", *speeds)
    for name, load in (("alone", alone["recognition"]), ("together", together["recognition"])):
        tqdm.write(
            f"  microphone, {name}: {load.dropped} of {load.blocks} blocks dropped, longest wait "
            f"{load.longest_wait_s * 1000:.0f} ms; {load.turns} turns"
        )
    tqdm.write("")
