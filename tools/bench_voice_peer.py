"""Starts the loop built from pipecat (bench_voice_pipecat.py) and the server of its model."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench_voice_ours import Cores
from bench_voice_ours import Hearing
from bench_voice_ours import Parts
from bench_voice_ours import Turn
from bench_voice_ours import sampling
from bench_voice_sounds import ROOM_RMS
from bench_voice_sounds import Said
from bench_voice_sounds import write_wav

from medbot_llm.apps.voice_parts import RECOGNITION_MODEL
from medbot_llm.apps.voice_parts import VOICE_MODEL
from medbot_llm.domain import ChatMessage
from medbot_llm.domain import Language
from medbot_llm.speech.audio import RATE
from medbot_llm.speech.audio import Sound
from medbot_llm.speech.synthesizer import VoiceSettings

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv-bench-voice" / "bin" / "python"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 10.0


class PeerError(RuntimeError):
    """pipecat or its server cannot be used."""


def is_installed() -> bool:
    """Whether pipecat's environment is there."""
    return PYTHON.exists()


def environment() -> dict[str, str]:
    """That of this process without its Python, so that no package of ours gets in."""
    ours = ("PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "AMENT_PREFIX_PATH")
    return {name: value for name, value in os.environ.items() if name not in ours}


def stop(process: subprocess.Popen[str]) -> None:
    """End a process, by force if need be."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Server:
    """The same model file behind llama_cpp.server, with the same threads and window."""

    def __init__(self, model: Path, cores: Cores, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [
                *(PYTHON, "-m", "llama_cpp.server", "--model", model, "--port", str(port)),
                *("--n_ctx", str(cores.context), "--n_batch", str(cores.model_batch)),
                *("--n_threads", str(cores.model_threads)),
                *("--n_threads_batch", str(cores.model_threads), "--verbose", "false"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=environment(),
            text=True,
        )
        until = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.close()
                raise PeerError(f"llama_cpp.server does not start: see {log}")
            time.sleep(0.3)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/models", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def close(self) -> None:
        """End it."""
        stop(self._process)
        self._log.close()


class Pipecat:
    """The loop, as a process."""

    def __init__(
        self,
        parts: Parts,
        language: Language,
        log: Path,
        *,
        server: Server | None = None,
        prompt: Sequence[ChatMessage] = (),
        turn_end: str = "smart",
    ) -> None:
        """
        Args:
            server: Of its model; None: it only listens.
            prompt: What the conversation begins with, the system's instructions first.
            turn_end: "smart" for Smart Turn v3, or how much silence ends a turn, s.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="bench-voice-")
        folder = Path(self._folder.name)
        messages = [{"role": str(m.role), "content": m.content} for m in prompt]
        (folder / "prompt.json").write_text(
            json.dumps(messages or [{"role": "system", "content": "-"}]), encoding="utf-8"
        )
        kokoro = parts.store.resolve(VOICE_MODEL)
        voices = folder / "voices.npz"
        np.savez(
            voices,
            **{
                file.stem: np.fromfile(file, dtype="<f4").reshape(-1, 1, 256)
                for file in (kokoro.parent / "voices").glob("*.bin")
            },
        )
        voice = VoiceSettings.chinese if language.is_chinese else VoiceSettings.english
        ours = sampling()
        settings = {
            "temperature": ours.temperature,
            "top_p": ours.top_p,
            "max_tokens": ours.max_tokens,
            "seed": ours.seed,
            "extra": {
                "extra_body": {
                    "top_k": ours.top_k,
                    "min_p": ours.min_p,
                    "repeat_penalty": ours.repeat_penalty,
                }
            },
        }
        command: list[str | Path] = [
            *(PYTHON, ROOT / "tools" / "bench_voice_pipecat.py", "--language", str(language)),
            *("--whisper", _folder(parts.store.resolve(RECOGNITION_MODEL))),
            *("--kokoro", kokoro, "--voices", voices, "--voice", voice),
            *("--messages", folder / "prompt.json", "--sampling", json.dumps(settings)),
            *("--turn-end", turn_end),
        ]
        if server is not None:
            command += ["--server", server.url]
        self._log_file = log
        self._log = log.open("w")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment(),
            text=True,
        )
        self._wav = folder / "said.wav"
        self._receive()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise PeerError(f"pipecat's loop has ended: see {self._log_file}")
        return json.loads(line)

    def _play(self, said: Said) -> tuple[list[tuple[str, float, str]], float]:
        """What happened, and when the voice ended, by the clock of both."""
        write_wav(self._wav, Sound(said.samples, RATE))
        assert self._process.stdin is not None
        job = {"wav": str(self._wav), "end_s": said.end_s, "room_rms": ROOM_RMS}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        found = self._receive()
        return [(name, at, text) for name, at, text in found["events"]], found["end"]

    def ask(self, said: Said) -> Turn:
        """Say a question to it, and wait for its answer."""
        events, end = self._play(said)

        def last(name: str) -> float:
            return max((at for event, at, _ in events if event == name), default=math.nan) - end

        def first_after(name: str, since: float) -> float:
            found = [at - end for event, at, _ in events if event == name and at - end >= since]
            return min(found, default=math.nan)

        asked = last("asked")
        turn = Turn(said, kind="model")
        turn.heard = " ".join(text.strip() for name, _, text in events if name == "text")
        turn.pieces = sum(name == "text" for name, _, _ in events)
        turn.early_ends = sum(name == "turn" and at < end for name, at, _ in events)
        turn.recognised = last("text")
        # The turn is over, and its text goes to the model.
        turn.final_text = last("turn")
        turn.first_token = first_after("token", asked)
        turn.first_sentence = first_after("sentence", asked)
        turn.synthesised = first_after("synthesised", asked)
        turn.first_audio = first_after("audio", asked)
        turn.answer = next(
            (text for name, at, text in events if name == "sentence" and at - end >= asked), ""
        )
        return turn

    def hear(self, said: Said) -> Hearing:
        """Only listen."""
        events, end = self._play(said)
        return Hearing(
            said,
            [text.strip() for name, _, text in events if name == "text"],
            sum(name == "turn" and at < end for name, at, _ in events),
        )

    def close(self) -> None:
        """End it."""
        stop(self._process)
        self._log.close()
        self._folder.cleanup()


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent
