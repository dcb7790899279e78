"""How sound is made to begin, end, swell and sink without a click: ramps, limiter, tones."""

from __future__ import annotations

import math

import numpy as np

from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import Sound
from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.heard import voiced_span
from medbot_llm.speech.resampling import Resampler

RAMP_S = 0.010
"""How long a change of loudness takes: shorter clicks, longer is heard as a delay."""
_KNEE = 0.8
"""Up to here the limiter leaves a sample as it is (-1.9 dBFS)."""
_LEAD_S = 0.02
_PIECE = 4096
_LONGEST_SOUND_S = 120.0
"""No piece of text that is given to a voice at once takes this long."""

_EARCONS: dict[str, tuple[np.float32, tuple[tuple[float, float], ...]]] = {
    # Peak of the samples; of each note its frequency, Hz, and duration, s.
    "listening": (np.float32(0.08), ((660.0, 0.06), (880.0, 0.08))),
    "alarm": (np.float32(0.35), ((880.0, 0.15), (660.0, 0.15)) * 2),
}


class Fader:
    """A loudness that moves from one value to the next in a ramp."""

    def __init__(self, rate: int) -> None:
        self._ramp = max(1, round(RAMP_S * rate))
        self._gain = self._target = 0.0
        self._step = 0.0

    @property
    def gain(self) -> float:
        """Factor of the sample that was last shaped."""
        return self._gain

    def jump(self, gain: float) -> None:
        """Be this loud at once: where nothing sounds."""
        self._gain = self._target = gain

    def aim(self, gain: float) -> None:
        """Be this loud a ramp from now."""
        if gain != self._target:
            self._target = gain
            self._step = (gain - self._gain) / self._ramp

    def settle(self) -> None:
        """Nothing sounds: the ramp is over."""
        self._gain = self._target

    def shape(self, samples: Samples) -> None:
        """Give the next samples their loudness, in place."""
        count = 0
        if self._gain != self._target:
            left = math.ceil((self._target - self._gain) / self._step - 1e-6)
            count = min(left, len(samples))
            samples[:count] *= self._gain + self._step * np.arange(1, count + 1, dtype=np.float32)
            self._gain = self._target if count == left else self._gain + self._step * count
        if count < len(samples):
            samples[count:] *= self._gain


def faded_out(samples: Samples, gain: float, frames: int) -> Samples:
    """The samples, from this loudness to silence within `frames`."""
    part = samples[:frames]
    ramp = 1.0 - np.arange(1, len(part) + 1, dtype=np.float32) / frames
    return (part * (gain * ramp)).astype(np.float32)


def limit(samples: Samples) -> None:
    """Bend what is too loud, in place, so that louder speech does not clip: nothing reaches 1."""
    if not len(samples) or float(np.max(np.abs(samples))) <= _KNEE:
        return
    size = np.abs(samples)
    bent = _KNEE + (1.0 - _KNEE) * np.tanh((size - _KNEE) / (1.0 - _KNEE))
    np.copyto(samples, np.copysign(bent, samples), where=size > _KNEE)


def fit(sound: Sound, rate: int, longest_tail_s: float) -> Samples:
    """What a voice gave, at the rate of the loudspeaker, without long silence at its ends: silence
    in front would make the robot slow to answer.

    Raises:
        SpeechError: it is no sound that can be played.
    """
    samples = np.asarray(sound.samples, dtype=np.float32)
    if samples.ndim != 1 or sound.rate <= 0 or not bool(np.all(np.isfinite(samples))):
        raise SpeechError("the voice gave no valid sound")
    if len(samples) > _LONGEST_SOUND_S * sound.rate:
        raise SpeechError(f"the voice gave {sound.duration_s:.0f} s of sound for one sentence")
    if sound.rate != rate:
        samples = _resampled(samples, sound.rate, rate)
    first, last = voiced_span(samples, float(np.max(np.abs(samples), initial=0.0)))
    if last == 0:
        raise SpeechError("the voice gave silence")
    start = max(0, first - round(_LEAD_S * rate))
    end = min(len(samples), last + round(longest_tail_s * rate))
    # A copy: the silence that is cut off must not stay in memory, and is not ours to change.
    fitted: Samples = samples[start:end].copy()
    return fitted


def earcons(rate: int) -> dict[str, Samples]:
    """Short signals by name: "listening" and "alarm"."""
    return {
        name: np.concatenate([_note(hertz, seconds, rate) for hertz, seconds in notes]) * peak
        for name, (peak, notes) in _EARCONS.items()
    }


def factor(decibels: float) -> float:
    """What to multiply samples with."""
    return float(10.0 ** (decibels / 20.0))


def _note(hertz: float, seconds: float, rate: int) -> Samples:
    """A sine of full scale that swells and sinks within 10 ms."""
    place = np.arange(round(seconds * rate))
    edge = np.clip(np.minimum(place, place[::-1]) / (0.01 * rate), 0.0, 1.0)
    return (np.sin(2.0 * np.pi * hertz * place / rate) * edge).astype(np.float32)


def _resampled(samples: Samples, rate: int, wanted: int) -> Samples:
    resampler = Resampler(rate, wanted)
    count = round(len(samples) * wanted / rate)
    padding = max(0, resampler.input_for(count) - len(samples))
    padded = np.pad(samples, (0, padding))
    # In pieces: at once it would need a hundred times the memory of the sound.
    pieces = [resampler.push(padded[i : i + _PIECE]) for i in range(0, len(padded), _PIECE)]
    resampled: Samples = np.concatenate([np.zeros(0, np.float32), *pieces])
    return resampled[:count]
