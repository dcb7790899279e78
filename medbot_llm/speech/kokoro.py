"""Kokoro-82M through ONNX Runtime: phonemes and a voice → samples.

The model speaks what it is given with 0.4 to 0.5 s of silence in front and 1 s behind, and
nearly all of its time goes into the decoder, in proportion to the length of the sound: of a short
clause, two thirds of the time make silence. So it is run in two parts here. The first (2 % of the
time) gives what the decoder needs of each frame of 25 ms, its energy among it; the second, the
decoder, gets only the frames from the first that is speech to the last.

The decoder normalises each channel by its mean and variance over the whole sound. Without the
silence these would be others, and the speech with them: the last words of "您好。" came out 10 dB
softer. So its means become weighted ones, in which the few silent frames that are left count for
those that are not there. The speech is then the same to 0.5 dB (docs/performance.md).

The file is taken apart in memory (`onnx_parts.py`). A file of Kokoro in which the parts are not
found, another export for instance, is run whole.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.onnx_parts import FLOAT
from medbot_llm.speech.onnx_parts import INT64
from medbot_llm.speech.onnx_parts import Node
from medbot_llm.speech.onnx_parts import OnnxFile
from medbot_llm.speech.onnx_parts import Value

logger = logging.getLogger(__name__)

RATE = 24_000
"""Samples a second that Kokoro gives, Hz."""
FRAME = 600
"""Samples of one frame of the decoder's input."""
MAX_PHONEMES = 510
"""The model takes 512 tokens, two of which are at the ends."""
STYLE = 256
"""Numbers that describe a voice, for each length of a text one row of them."""
END = 0
"""Token at both ends of a text."""

SPEECH_ENERGY = -2.0
"""The model's own curve of energy has some -9 in silence and 2 to 9 in speech; it passes this
value where the sound passes -60 dBFS."""
LEAD_FRAMES = 4
TRAIL_FRAMES = 5
"""Silent ones that are kept before and behind the speech."""
_LEAD_WEIGHT = slice(0, 2)
_TRAIL_WEIGHT = slice(-4, -2)
"""Which frames count for those that are left out: silent ones, away from the speech."""

SILENT_MARKS = frozenset(' ;:,.!?—…"()“”')
"""Symbols of the vocabulary that are no sound."""

_QUIET = 3
"""ONNX Runtime's level of logging: errors only."""

_FRAMES, _PITCH, _ENERGY = (
    "/encoder/MatMul_1_output_0",
    "/encoder/Reshape_output_0",
    "/encoder/Reshape_1_output_0",
)
"""What lies between the parts: features, float32 (1, 512, frames); pitch and energy, (1, 2 ×
frames)."""
_WEIGHTS = ((1, 0), (2, 0), (20, 0), (120, 1))
"""Each layer's steps a frame, and those added at the end (the generator's padding)."""


class Speaker(Protocol):
    """Runs the model."""

    def speak(
        self, tokens: Sequence[int], style: npt.NDArray[np.float32], speed: float
    ) -> Samples:
        """Samples at RATE of one text.

        Args:
            tokens: With END at both ends.
            style: Shape (1, STYLE).
        """


class KokoroModel:
    """The model, its vocabulary and its voices, in a folder.

    ```
    *.onnx            inputs tokens int64 (1, n), style float32 (1, 256), speed float32 (1)
    vocab.json        {"vocab": {"a": 43, …}}
    voices/<name>.bin float32, 510 × 256
    ```

    Any thread may call it, several at once too.

    Args:
        directory: The folder.
        threads: Of ONNX Runtime, in one call.

    Raises:
        SpeechError: Something is missing, damaged or of another kind.
    """

    def __init__(self, directory: Path, *, threads: int = 2) -> None:
        self._voices = directory / "voices"
        self._styles: dict[str, npt.NDArray[np.float32]] = {}
        self.vocabulary = _vocabulary(directory / "vocab.json")
        self._sound = frozenset(
            token for symbol, token in self.vocabulary.items() if symbol not in SILENT_MARKS
        )
        files = sorted(directory.glob("*.onnx"))
        if len(files) != 1:
            found = ", ".join(file.name for file in files) or "none"
            raise SpeechError(f"{directory}: one .onnx file is needed, there is {found}")
        self.identity = f"{files[0].name} {files[0].stat().st_size}"
        """Tells this model from others."""
        started = time.monotonic()
        self._speaker = _speaker(files[0], threads)
        logger.info("loaded %s in %.1f s", files[0].name, time.monotonic() - started)

    def voices(self) -> list[str]:
        """Names of the voices that are there."""
        return sorted(file.stem for file in self._voices.glob("*.bin"))

    def check_voice(self, voice: str) -> None:
        """Read a voice if it was not read yet.

        Raises:
            SpeechError: It is missing or damaged.
        """
        self._styles_of(voice)

    def _styles_of(self, voice: str) -> npt.NDArray[np.float32]:
        """Shape (MAX_PHONEMES, STYLE): for each length of a text, how the voice speaks it."""
        if voice in self._styles:
            return self._styles[voice]
        path = self._voices / f"{voice}.bin"
        try:
            if Path(path.name) != Path(f"{voice}.bin") or not path.is_file():
                there = ", ".join(self.voices()) or "none"
                raise SpeechError(f"{voice!r} is no voice of {self._voices}; there are: {there}")
            data = path.read_bytes()
        except (OSError, ValueError) as error:
            raise SpeechError(f"{path}: {error}") from None
        whole = MAX_PHONEMES * STYLE * np.dtype(np.float32).itemsize
        if len(data) != whole:
            raise SpeechError(f"{path}: has {len(data)} bytes, and a voice has {whole}")
        style = np.frombuffer(data, dtype="<f4").astype(np.float32).reshape(MAX_PHONEMES, STYLE)
        # What is trained lies within some ±2; other numbers are another file, or a damaged one.
        if not np.isfinite(style).all() or float(np.abs(style).max()) > 100.0:
            raise SpeechError(f"{path}: is damaged: its numbers are none of a voice")
        self._styles[voice] = style
        return style

    def speak(self, phonemes: str, voice: str, speed: float) -> Samples:
        """Samples at RATE, with a short silence at either end; none where there is no sound.

        Args:
            phonemes: At most MAX_PHONEMES symbols of the vocabulary; others are left out.
            speed: 0.5 to 2.

        Raises:
            SpeechError: The model fails.
        """
        styles = self._styles_of(voice)
        inner = [self.vocabulary[char] for char in phonemes if char in self.vocabulary]
        inner = inner[:MAX_PHONEMES]
        if self._sound.isdisjoint(inner):
            return np.zeros(0, np.float32)
        style = styles[len(inner) - 1][None, :]
        try:
            samples = self._speaker.speak([END, *inner, END], style, speed)
        # ONNX Runtime raises bare exceptions of many kinds.
        except Exception as error:
            raise SpeechError(f"Kokoro failed: {_one_line(error)}") from None
        if not np.isfinite(samples).all():
            raise SpeechError("Kokoro failed: its samples are no numbers")
        return samples


class _WholeSpeaker:
    """A file that is run as it is."""

    def __init__(self, data: bytes, threads: int) -> None:
        self._session = _session(data, threads)
        names = {value.name: value.type for value in self._session.get_inputs()}
        self._tokens = "input_ids" if "input_ids" in names else "tokens"
        self._speed = np.dtype(np.float32 if "float" in names.get("speed", "float") else np.int64)

    def speak(
        self, tokens: Sequence[int], style: npt.NDArray[np.float32], speed: float
    ) -> Samples:
        feed = {
            self._tokens: np.array([tokens], np.int64),
            "style": style,
            # Some exports take whole numbers only.
            "speed": np.array([speed], np.float32).round().astype(self._speed)
            if self._speed.kind == "i"
            else np.array([speed], np.float32),
        }
        return _samples(self._session.run(None, feed)[0])


class _PartedSpeaker:
    """A file that is run in two parts.

    Raises:
        ValueError: The parts are not found in it.
    """

    def __init__(self, data: bytes, threads: int) -> None:
        between = (
            Value(_FRAMES, FLOAT, (1, 512, "frames")),
            Value(_PITCH, FLOAT, (1, "halves")),
            Value(_ENERGY, FLOAT, (1, "halves")),
        )
        style = Value("style", FLOAT, (1, STYLE))
        file = OnnxFile(data)
        first = file.part(
            [Value("tokens", INT64, (1, "tokens")), style, Value("speed", FLOAT, (1,))],
            between,
        )
        weights = [Value(_weight(n), FLOAT, (1, f"steps_{n}", 1)) for n, _ in _WEIGHTS]
        _weigh(file.nodes)
        second = file.part([*between, style, *weights], [Value("audio", FLOAT, ("samples",))])
        self._first = _session(first, threads)
        self._second = _session(second, threads)

    def speak(
        self, tokens: Sequence[int], style: npt.NDArray[np.float32], speed: float
    ) -> Samples:
        feed = {
            "tokens": np.array([tokens], np.int64),
            "style": style,
            "speed": np.array([speed], np.float32),
        }
        features, pitch, energy = self._first.run(None, feed)
        frames = features.shape[2]
        spoken = np.flatnonzero(energy[0].reshape(frames, 2).max(axis=1) > SPEECH_ENERGY)
        if not len(spoken):
            return np.zeros(0, np.float32)
        start = max(0, int(spoken[0]) - LEAD_FRAMES)
        end = min(frames, int(spoken[-1]) + 1 + TRAIL_FRAMES)
        weights = np.ones(end - start, np.float64)
        weights[_LEAD_WEIGHT] += start / 2
        weights[_TRAIL_WEIGHT] += (frames - end) / 2
        feed = {
            _FRAMES: features[:, :, start:end],
            _PITCH: pitch[:, 2 * start : 2 * end],
            _ENERGY: energy[:, 2 * start : 2 * end],
            "style": style,
        }
        for steps, added in _WEIGHTS:
            each = np.concatenate([np.repeat(weights, steps), weights[-1:].repeat(added)])
            feed[_weight(steps)] = (each / each.sum()).astype(np.float32)[None, :, None]
        return _samples(self._second.run(None, feed)[0])


def _weight(steps: int) -> str:
    return f"weights_{steps}"


def _weigh(nodes: list[Node]) -> None:
    """Make the decoder's means over time weighted ones.

    Raises:
        ValueError: They are not where they are in the known file.
    """
    found = dict.fromkeys((steps for steps, _ in _WEIGHTS), 0)
    for node in nodes:
        name = node.outputs[0]
        if node.op != "ReduceMean" or not name.startswith("/decoder/"):
            continue
        steps = _steps_of(name)
        node.op, node.rest = "MatMul", b""
        node.inputs = [node.inputs[0], _weight(steps)]
        found[steps] += 1
    if not all(found.values()):
        raise ValueError(f"means over time are not where they are known to be: {found}")


def _steps_of(name: str) -> int:
    """Steps a frame at the layer that a value's name tells."""
    if "/generator/" in name:
        block, _, number = name.split("/generator/")[1].split("/")[0].partition(".")
        if block == "resblocks":
            return 20 if int(number) < 3 else 120
        if block == "noise_res":
            return 20 if int(number) == 0 else 120
    # The decoder's last block doubles the steps.
    elif "/decode.3/norm2/" in name:
        return 2
    elif "/decode." in name or "/encode/" in name:
        return 1
    raise ValueError(f"{name} is unknown")


def _speaker(file: Path, threads: int) -> Speaker:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise SpeechError(f"{file}: {error}") from None
    try:
        try:
            parted = _PartedSpeaker(data, threads)
            _check(parted)
            return parted
        # ValueError: the parts are not there; what ONNX Runtime raises: they do not fit together.
        except Exception as error:
            logger.warning(
                "%s is another export than the known one and is run whole, which takes longer: %s",
                file.name,
                _one_line(error),
            )
        whole = _WholeSpeaker(data, threads)
        _check(whole)
        return whole
    except Exception as error:
        raise SpeechError(f"{file}: is no model of Kokoro: {_one_line(error)}") from None


def _check(speaker: Speaker) -> None:
    """Speak once, so that the first reply does not pay for what is set up at the first call."""
    samples = speaker.speak([END, 43, 4, END], np.zeros((1, STYLE), np.float32), 1.0)
    if not len(samples):
        raise ValueError("gives no samples")


def _session(data: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The arena keeps what the longest text needed, 110 MB for one of 6.5 s. Without it malloc does
    # not find its freed blocks of 10 to 30 MB again: 880 MB at the peak, and a quarter more time.
    options.enable_cpu_mem_arena = True
    # Waiting threads sleep: the language model needs the cores in between.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _QUIET
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _samples(audio: Any) -> Samples:
    return np.asarray(audio, dtype=np.float32).reshape(-1)


def _vocabulary(path: Path) -> dict[str, int]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        vocabulary = content.get("vocab", content)
        checked = {symbol: token for symbol, token in vocabulary.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise SpeechError(f"{path}: is no vocabulary of Kokoro: {_one_line(error)}") from None
    if not checked or not all(
        isinstance(symbol, str) and type(token) is int and token >= 0
        for symbol, token in checked.items()
    ):
        raise SpeechError(f"{path}: is no vocabulary of Kokoro: symbols and numbers are needed")
    return checked


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
