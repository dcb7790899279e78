"""Voice activity: whether somebody speaks, 32 ms at a time.

Silero VAD v6 (MIT), as faster-whisper ships it, run frame by frame: the state of its recurrent
layer and the last 64 samples are carried from frame to frame, as its authors do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from medbot_llm.speech.audio import RATE
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import SpeechError

FRAME = 512
"""Samples of a frame at RATE; the model knows no other length."""
FRAME_S = FRAME / RATE
_CONTEXT = 64
_STATE_SHAPE = (1, 1, 128)


class VoiceDetector(Protocol):
    """Tells voice from everything else."""

    def probability(self, frame: Samples) -> float:
        """Probability that somebody speaks in the next FRAME samples, 0 to 1."""

    def reset(self) -> None:
        """Forget what came before."""


class SileroVad:
    """Silero VAD on one thread of ONNX Runtime."""

    def __init__(self, model: Path | None = None) -> None:
        """Raises SpeechError where the model is missing.

        Args:
            model: The ONNX file; None: the one in faster-whisper.
        """
        import onnxruntime

        path = model or shipped_model()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise SpeechError(
                f"the voice detector cannot be loaded from {path}: {error}"
            ) from error
        self.reset()

    def reset(self) -> None:
        """Forget what came before."""
        self._h = np.zeros(_STATE_SHAPE, np.float32)
        self._c = np.zeros(_STATE_SHAPE, np.float32)
        self._input = np.zeros((1, _CONTEXT + FRAME), np.float32)

    def probability(self, frame: Samples) -> float:
        """Probability that somebody speaks in the next FRAME samples, 0 to 1."""
        self._input[0, :_CONTEXT] = self._input[0, -_CONTEXT:]
        self._input[0, _CONTEXT:] = frame
        result, self._h, self._c = self._session.run(
            None, {"input": self._input, "h": self._h, "c": self._c}
        )
        return float(result[0])


def shipped_model() -> Path:
    """The model inside the installed faster-whisper. Raises SpeechError."""
    from importlib.util import find_spec

    # Found, not imported: faster-whisper brings half a second of imports that a VAD does not need.
    spec = find_spec("faster_whisper")
    if spec is None or spec.origin is None:
        raise SpeechError('faster-whisper is missing: pip install "medbot_llm[voice]"')
    found = sorted((Path(spec.origin).parent / "assets").glob("silero_vad*.onnx"))
    if not found:
        raise SpeechError("this faster-whisper has no Silero VAD: install faster-whisper 1.2")
    return found[-1]
