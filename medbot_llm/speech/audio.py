"""Sound as the rest of the room passes it around: mono, float32, -1 to 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from medbot_llm.domain import MedbotError

RATE = 16_000
"""Samples a second that recognition works on (Whisper and Silero are trained on it), Hz."""

Samples: TypeAlias = npt.NDArray[np.float32]
"""Shape (n,), mono, -1 to 1."""


class SpeechError(MedbotError):
    """Hearing or speaking failed; worded for whoever runs the robot."""


@dataclass(frozen=True)
class Sound:
    """Samples and how fast they are to be played."""

    samples: Samples
    rate: int

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class Block:
    """Samples from the microphone, at RATE.

    Attributes:
        captured_at: `time.monotonic()` of the first sample, s.
    """

    samples: Samples
    captured_at: float


def level_dbfs(samples: Samples) -> float:
    """Root mean square, dB relative to full scale; -120 for silence."""
    if not len(samples):
        return -120.0
    mean_square = float(np.mean(np.square(samples, dtype=np.float64)))
    return max(-120.0, 10.0 * float(np.log10(mean_square + 1e-12)))
