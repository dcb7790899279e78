"""Speech as each voice gives it → as loud as any other, without silence or clicks at its ends.

A nurse who has set the volume once must hear an emergency as well as a greeting. So every sound
gets the same level, measured where there is speech, and its peaks are bent, not cut.
"""

from __future__ import annotations

import numpy as np

from medbot_llm.speech.audio import Samples

LEVEL_DBFS = -20.0
"""Root mean square of the speech, pauses left out. Some 18 dB below its peaks in most voices, so
that few are bent."""
LOUDEST = 0.9
"""No sample is beyond it, -0.9 dBFS."""
BENT_FROM = 0.6
"""Samples up to here stay as they are."""
MOST_GAIN_DB = 30.0
"""Not so much that a breath becomes a shout."""

LEAD_S = 0.01
TAIL_S = 0.35
"""Silence before and behind the speech, s. In front it would be waiting time; behind, the mouth
takes as much of it as a clause or a sentence wants."""
FADE_S = 0.004
STEP_S = 0.005
PAUSE_DB = -30.0
"""Steps that are this much below the loudest ones are no speech."""
END_DB = -38.0
"""Where it begins and ends: lower, since an s or an f is soft."""


def finished(samples: Samples, rate: int) -> Samples:
    """Trim and level one utterance; empty if it is silent.

    Args:
        samples: Any level.
        rate: Hz.
    """
    step = max(1, round(STEP_S * rate))
    count = len(samples) // step
    if not count:
        return np.zeros(0, np.float32)
    whole = samples[: count * step].astype(np.float64).reshape(count, step)
    powers = np.mean(np.square(whole), axis=1)
    # The loudest twentieth, so that a click does not count.
    loud = float(np.sort(powers)[-max(1, count // 20) :].mean())
    if loud < 1e-9:
        return np.zeros(0, np.float32)
    spoken = np.flatnonzero(powers > loud * 10 ** (END_DB / 10))
    first = max(0, int(spoken[0]) * step - round(LEAD_S * rate))
    last = min(len(samples), (int(spoken[-1]) + 2) * step)
    level = float(powers[powers > loud * 10 ** (PAUSE_DB / 10)].mean())
    gain = min(10 ** (LEVEL_DBFS / 20) / np.sqrt(level), 10 ** (MOST_GAIN_DB / 20))
    speech = samples[first:last].astype(np.float32) * np.float32(gain)
    fade = min(len(speech) // 2, max(1, round(FADE_S * rate)))
    ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    speech[:fade] *= ramp
    speech[len(speech) - fade :] *= ramp[::-1]
    tail = np.zeros(round(TAIL_S * rate), np.float32)
    return np.concatenate([_bent(speech), tail])


def _bent(samples: Samples) -> Samples:
    """Peaks below LOUDEST, by a curve without a corner."""
    room = LOUDEST - BENT_FROM
    over = np.maximum(np.abs(samples) - BENT_FROM, 0.0)
    kept = np.minimum(np.abs(samples), BENT_FROM)
    bent = np.minimum(kept + room * np.tanh(over / room), LOUDEST)
    return (np.sign(samples) * bent).astype(np.float32)
