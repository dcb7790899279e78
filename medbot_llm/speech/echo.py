"""Takes the robot's own voice out of what its microphone hears.

WebRTC's audio processing (BSD-3-Clause) does it, as livekit (Apache-2.0) brings it. What this
module adds is the time line: what was played and what was recorded come in pieces of any size,
from other threads or processes, each with a time; the canceller needs them side by side, sample by
sample, the played sound a little before its echo, in frames of 10 ms.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections import deque
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

import numpy as np

from medbot_llm.speech.audio import RATE
from medbot_llm.speech.audio import Block
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import Sound
from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.audio import level_dbfs
from medbot_llm.speech.resampling import Resampler

FRAME = RATE // 100
"""Samples of a frame; WebRTC knows no other length than 10 ms."""
LEAD_S = 0.04
"""How much earlier than it is audible the reference is shown to the canceller: by so much may
`audible_at` be too late. (An echo before its cause is never found; up to half a second after it
is.)"""
_NOTHING: Samples = np.zeros(0, np.float32)
MEMORY_S = 30.0
"""How far ahead of the microphone a reference may lie."""


CANCELLER_DELAY = 128
NOISE_DELAY = 96
"""By how much WebRTC's echo canceller and noise suppression are behind, samples (measured)."""

AUDIBLE_DBFS = -60.0
AUDIBLE_FOR_S = 0.5
"""The room goes on sounding for so long after the robot has stopped."""
REMOVED_DB = 10.0
EXPLAINED_SHARE = 0.3


_NEVER = -(10**15)


class _Track:
    """Where pieces that follow each other lie on the common time line.

    Stamps jitter: an audio callback comes late by up to what its device holds ready, and then
    several come at once. Clocks drift apart. The canceller bears drift, but not seams. So a piece
    lies right behind the one before, unless its stamp is out of all reason, or those of some time
    agree that this is wrong. For drift, single samples are left out or put in.
    """

    JUMP = RATE * 150 // 1000
    """Further off than this, it is no jitter but a pause or a restart, samples."""
    AGREED_JUMP = RATE * 25 // 1000
    AGREEMENT = RATE * 3 // 10
    """Further off than AGREED_JUMP for so long, it is none either, samples."""
    TOLERATED = RATE * 15 // 1000
    MEMORY = 5 * RATE
    """Over which the error is averaged, samples."""
    CORRECTION_EVERY = RATE // 5
    """A seam of a single sample already costs some cancellation; this is enough for 300 ppm."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._error = 0.0
        self._nearest = 0
        self._disagreeing = 0
        self._uncorrected = 0

    def place(self, at: float, count: int) -> tuple[int, int]:
        """Position of the first sample, and how many samples the piece is to fill.

        Args:
            at: `time.monotonic()` of the first sample, s.
            count: How many it has.
        """
        measured = round(at * RATE)
        if self._next is None or abs(measured - self._next) > self.JUMP:
            self._jump_to(measured)
        elif self._is_agreed(measured - self._next, count):
            self._jump_to(self._next + self._nearest)
        start = self._next or 0
        self._error += min(1.0, count / self.MEMORY) * (measured - start - self._error)
        correction = 0
        self._uncorrected += count
        if abs(self._error) > self.TOLERATED and self._uncorrected >= self.CORRECTION_EVERY:
            correction = 1 if self._error > 0 else -1
            self._error -= correction
            self._uncorrected = 0
        self._next = start + count + correction
        return start, count + correction

    def _is_agreed(self, error: int, count: int) -> bool:
        """Whether all pieces of the last time were off, in the same direction."""
        if abs(error) <= self.AGREED_JUMP or error * self._nearest < 0:
            self._disagreeing = 0
            self._nearest = 0
            return False
        if self._nearest == 0 or abs(error) < abs(self._nearest):
            self._nearest = error
        self._disagreeing += count
        return self._disagreeing >= self.AGREEMENT

    def _jump_to(self, position: int) -> None:
        self._next = position
        self._error = 0.0
        self._nearest = 0
        self._disagreeing = 0


class _Reference:
    """What was played, on the time line; zeros where nothing was. Not safe for threads."""

    def __init__(self) -> None:
        self._samples: Samples = np.zeros(round(MEMORY_S * RATE), np.float32)
        self._read_to: int | None = None
        self._sure_to = self._written_to = _NEVER
        self.late_samples = 0
        self.blind_to = _NEVER
        """So far it had been read when something became known that was to be heard before, and
        that had not been foreseen."""

    def write(self, start: int, samples: Samples, sure: int) -> None:
        """What is played at a time is what was said last about it.

        The first `sure` samples are played, those behind them are foreseen. Who takes back what
        was sure, or foresees anew, takes back all that was told of the time behind.
        """
        if self._read_to is None:
            self._read_to = start
        end = start + len(samples)
        foreseen_to = self._written_to
        if start + sure < self._sure_to or len(samples) > sure:
            self._clear(end, foreseen_to)
            self._written_to = end
        else:
            self._written_to = max(end, foreseen_to)
        self._sure_to = start + sure
        late = min(len(samples), max(0, self._read_to - start))
        unforeseen = min(late, max(0, start + late - foreseen_to))
        self.late_samples += unforeseen
        if unforeseen:
            self.blind_to = self._read_to
        first = start + late
        last = min(end, self._read_to + len(self._samples))
        if first < last:
            self._samples[self._places(first, last)] = samples[late : late + last - first]

    def read(self, start: int, count: int) -> Samples:
        """Each sample once; what has been passed over is forgotten."""
        if self._read_to is None or start - self._read_to >= len(self._samples):
            self._samples.fill(0)
            self._read_to = start
        places = self._places(start, start + count)
        found: Samples = self._samples[places]
        self._clear(self._read_to, start + count)
        self._read_to = start + count
        return found

    def _clear(self, start: int, end: int) -> None:
        if start < end:
            self._samples[self._places(start, min(end, start + len(self._samples)))] = 0

    def _places(self, start: int, end: int) -> Any:
        return np.arange(start, end) % len(self._samples)


def _fit(samples: Samples, count: int) -> Samples:
    """The same sound in one sample more or less."""
    if len(samples) == count:
        return samples
    places = np.linspace(0, len(samples) - 1, count)
    return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)


@dataclass(frozen=True)
class EchoMeasure:
    """How a cleaned block and what the robot said belong together.

    Attributes:
        is_played: The robot was to be heard within the last half second.
        removed_db: How much quieter the canceller made the last 0.1 s.
        explained: Share of what remains, in power, that moved with what the robot said within the
            last 0.4 s, at the delay that fits best; 0 where nothing was played. Echo that was not
            cancelled gives 0.35 to 0.6 (reverb and a distorting loudspeaker included); a person
            under 0.2 nearly always, over an echo as well.
        is_blind: What was played just then became known too late, as on a machine that is
            overloaded: whose voice it is cannot be told.
    """

    is_played: bool
    removed_db: float
    explained: float
    is_blind: bool = False

    @property
    def is_echo(self) -> bool:
        """It is the robot rather than a person."""
        return self.is_played and (
            self.is_blind or self.removed_db >= REMOVED_DB or self.explained >= EXPLAINED_SHARE
        )


NOTHING_PLAYED = EchoMeasure(False, 0.0, 0.0)
REMEMBERED_BLOCKS = 64
BLIND_FOR_S = 0.5
"""After a reference that came too late: reverberation, and the canceller's finding its way."""


class _Likeness:
    """Whether a signal moves with the reference: coherence, at 21 delays of 16 ms each."""

    WINDOW = 1024
    HOP = 256
    DELAYS = 21
    MEMORY_S = 0.4
    BINS = slice(13, 256)
    """200 to 4000 Hz, where speech is."""

    def __init__(self) -> None:
        self._window = np.hanning(self.WINDOW).astype(np.float32)
        self._keep = float(np.exp(-self.HOP / RATE / self.MEMORY_S))
        self._signals: Samples = np.zeros((self.WINDOW, 2), np.float32)
        self._waiting: Samples = np.zeros((0, 2), np.float32)
        bins = self.BINS.stop - self.BINS.start
        self._past = np.zeros((self.DELAYS, bins), np.complex64)
        self._common = np.zeros((self.DELAYS, bins), np.complex64)
        self._reference_power = np.zeros((self.DELAYS, bins), np.float32)
        self._power = np.zeros(bins, np.float32)
        self.explained = 0.0

    def push(self, signal: Samples, reference: Samples) -> None:
        """Both equally long."""
        self._waiting = np.concatenate((self._waiting, np.stack((signal, reference), axis=1)))
        while len(self._waiting) >= self.HOP:
            new, self._waiting = self._waiting[: self.HOP], self._waiting[self.HOP :]
            self._signals = np.concatenate((self._signals[self.HOP :], new))
            self._hop()

    def _hop(self) -> None:
        spectra = np.fft.rfft(self._signals * self._window[:, None], axis=0)[self.BINS]
        signal, reference = spectra.astype(np.complex64).T
        self._past[1:] = self._past[:-1]
        self._past[0] = reference
        self._common *= self._keep
        self._common += signal * np.conj(self._past)
        self._reference_power *= self._keep
        self._reference_power += np.abs(self._past) ** 2
        self._power *= self._keep
        self._power += np.abs(signal) ** 2
        explained = np.abs(self._common) ** 2 / (self._reference_power + 1e-6)
        self.explained = float(explained.sum(axis=1).max() / (self._power.sum() + 1e-6))


def _energy(samples: Samples) -> float:
    return float(np.dot(samples, samples))


class EchoCanceller:
    """`played` may be called from another thread than `clean`; each from one at a time.

    It finds the delay and the room by itself, and keeps them: use one for the program's life. In
    the first two seconds of the first reply, and after the delay has changed, it may remove as
    little as 5 dB, and `echo_likely` tells most of what is left; then 20 to 30 dB, in a room with
    0.3 s of reverberation, and some 15 to 20 with 0.6 s.

    Attributes:
        delay_s: By how much the cleaned samples are behind; already in their `captured_at`.
        late_s: How much of what was played became known too late to be of use, since the start.
    """

    BLOCK_STEP = 32
    """Blocks must be a multiple of this long, samples."""

    def __init__(
        self,
        *,
        cancels_echo: bool = True,
        suppresses_noise: bool = False,
        cuts_low: bool = True,
    ) -> None:
        """Raises SpeechError where livekit is not installed.

        Args:
            cancels_echo: Off: only the rest is done.
            suppresses_noise: Of steady noise.
            cuts_low: High-pass against rumble and hum.
        """
        try:
            from livekit import rtc
        except ImportError as error:
            raise SpeechError(
                'echo cancellation needs the package livekit: pip install "medbot_llm[voice]"'
            ) from error
        self._rtc: Any = rtc
        self._processing = self._rtc.AudioProcessingModule(
            echo_cancellation=cancels_echo,
            noise_suppression=suppresses_noise,
            high_pass_filter=cuts_low,
            auto_gain_control=False,
        )
        self._cancels = cancels_echo
        if cancels_echo:
            self._processing.set_stream_delay_ms(round(LEAD_S * 1000))
        self._lock = threading.Lock()
        self._reference = _Reference()
        self._played = _Track()
        self._resampler: Resampler | None = None
        self._resampled_rate = 0
        self._recorded = _Track()
        self._waiting: Samples = np.zeros((0, 2), np.float32)
        """Recorded and played samples that no whole frame has come together of yet."""
        held = FRAME - self.BLOCK_STEP
        self._ready: Samples = np.zeros(held, np.float32)
        self._behind = held + CANCELLER_DELAY * cancels_echo + NOISE_DELAY * suppresses_noise
        self.delay_s = self._behind / RATE
        # The last blocks as they came, to compare what came of them.
        self._raw: Samples = np.zeros(self._behind, np.float32)
        self._loudness: deque[tuple[float, float]] = deque(maxlen=3)
        self._silent_for = 10 * RATE
        self._likeness = _Likeness()
        self._measures: OrderedDict[float, EchoMeasure] = OrderedDict()

    @property
    def late_s(self) -> float:
        """See the class."""
        return self._reference.late_samples / RATE

    def played(self, sound: Sound, audible_at: float, ahead: Samples = _NOTHING) -> None:
        """What the robot says. Best told before it is audible; too late is as if it was silent.

        Args:
            sound: A piece that is surely played.
            audible_at: `time.monotonic()` at which its first sample leaves the loudspeaker, s.
            ahead: What will follow it, at the same rate, unless the next piece says otherwise: on
                a busy machine that piece may come late.
        """
        if sound.rate != self._resampled_rate:
            self._resampler = Resampler(sound.rate, RATE)
            self._resampled_rate = sound.rate
        assert self._resampler is not None
        samples = self._resampler.push(sound.samples)
        # What is yet to come leaves no trace in the resampler, which gets it again.
        coming = copy.copy(self._resampler).push(ahead) if len(ahead) else ahead
        with self._lock:
            start, count = self._played.place(audible_at, len(samples))
            self._reference.write(start, np.concatenate((_fit(samples, count), coming)), count)

    def clean(self, block: Block) -> Block:
        """The same without echo, `delay_s` later. Raises SpeechError where livekit fails.

        Blocks must be a multiple of 32 samples long.
        """
        if len(block.samples) % self.BLOCK_STEP:
            raise ValueError(f"a block of {len(block.samples)} samples")
        count = len(block.samples)
        start, length = self._recorded.place(block.captured_at, count)
        with self._lock:
            found = self._reference.read(start + round(LEAD_S * RATE), length)
            is_blind = start < self._reference.blind_to + round(BLIND_FOR_S * RATE)
        reference = _fit(found, count)
        self._waiting = np.concatenate((self._waiting, np.stack((block.samples, reference), 1)))
        ready = [self._ready]
        while len(self._waiting) >= FRAME:
            frame, self._waiting = self._waiting[:FRAME], self._waiting[FRAME:]
            ready.append(self._process(frame[:, 0], frame[:, 1]))
        whole = np.concatenate(ready)
        cleaned, self._ready = whole[:count], whole[count:]
        captured_at = block.captured_at - self.delay_s
        measure = self._compare(block.samples, cleaned, reference)
        if is_blind:
            measure = replace(measure, is_played=True, is_blind=True)
        self._measures[captured_at] = measure
        if len(self._measures) > REMEMBERED_BLOCKS:
            self._measures.popitem(last=False)
        return Block(cleaned, captured_at)

    def measure(self, block: Block) -> EchoMeasure:
        """Of one of the last blocks that `clean` returned; of any other: nothing was played."""
        return self._measures.get(block.captured_at, NOTHING_PLAYED)

    def echo_likely(self, block: Block) -> bool:
        """Whether what remains in one of the last blocks that `clean` returned is the robot's own
        voice, rather than nothing or a person's, who may speak over it.
        """
        return self.measure(block).is_echo

    def _compare(self, recorded: Samples, cleaned: Samples, reference: Samples) -> EchoMeasure:
        raw = np.concatenate((self._raw, recorded))
        self._raw = raw[len(recorded) :]
        self._loudness.append((_energy(raw[: len(recorded)]), _energy(cleaned)))
        if level_dbfs(reference) > AUDIBLE_DBFS:
            self._silent_for = 0
        elif self._silent_for <= AUDIBLE_FOR_S * RATE:
            self._silent_for += len(reference)
            if self._silent_for > AUDIBLE_FOR_S * RATE:
                self._likeness = _Likeness()
        if self._silent_for > AUDIBLE_FOR_S * RATE:
            return NOTHING_PLAYED
        self._likeness.push(cleaned, reference)
        before = sum(energy for energy, _ in self._loudness)
        after = sum(energy for _, energy in self._loudness)
        removed = 10 * float(np.log10((before + 1e-9) / (after + 1e-9)))
        return EchoMeasure(True, removed, self._likeness.explained)

    def _process(self, recorded: Samples, played: Samples) -> Samples:
        frame = self._frame(recorded)
        try:
            if self._cancels:
                self._processing.process_reverse_stream(self._frame(played))
            self._processing.process_stream(frame)
        except RuntimeError as error:
            raise SpeechError(f"the echo canceller fails: {error}") from error
        processed: Samples = np.frombuffer(frame.data, np.int16) / np.float32(32768)
        return processed

    def _frame(self, samples: Samples) -> Any:
        whole = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
        return self._rtc.AudioFrame(bytearray(whole.tobytes()), RATE, 1, len(whole))
