"""Microphone and loudspeaker: streams of PortAudio that come back by themselves.

A sound device of a robot fails in ways that its program must survive: it is not there yet at the
start, its plug falls out, another program holds it, the sound server restarts. Each stream has a
supervisor thread that opens it, watches it and opens it again, with growing pauses; what is wrong
is one line of text, told whenever it changes. The two directions know nothing of each other but
for one thing, `_PortAudio`: the library sees new devices only when it is started anew, and that
closes every stream of the process. So that is done only while none is open.

Known limit: while one direction is open and well, a device that was plugged in since for the other
one is not seen until the first closes too. A device that was there before comes back all the same.

Threads of a stream: PortAudio's own (the callback: copies, nothing else; ahead of other threads
where that is permitted), the supervisor, and for the microphone one that resamples and hands on.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty
from queue import SimpleQueue
from typing import Any

import numpy as np

from medbot_llm.speech.audio import RATE
from medbot_llm.speech.audio import Block
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.audio import level_dbfs
from medbot_llm.speech.resampling import Resampler

logger = logging.getLogger(__name__)

BLOCK = 512
"""Samples of a microphone block: a frame of the voice detector, 32 ms."""

MICROPHONE_PERIOD_S = 0.02
MICROPHONE_LATENCY_S = 0.2
"""What the driver may hold while this process gets no processor. It costs no delay: a period is
handed on as soon as it is there."""
LOUDSPEAKER_PERIOD_S = 0.02
LOUDSPEAKER_LATENCY_S = 0.1
"""Always full, so this is delay: of the first word and of falling silent."""
QUEUE_S = 5.0
"""Sound that may wait for `on_block` before it is dropped, s."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
DEAD_AFTER_S = 2.0
"""A stream whose callback has not been called for this long gives no sound any more."""
START_WITHIN_S = 5.0
"""The same for the first callback: a sound server may need two seconds for it."""
STEADY_AFTER_S = 5.0
"""A stream that ends sooner than this is tried again with a longer pause each time."""
SILENT_AFTER_S = 5.0
"""Digital silence, every sample zero, that no microphone in the air gives for this long."""
CLOSE_WITHIN_S = 1.8
LOCK_TIMEOUT_S = 5.0
_TICK_S = 0.1

AUDIO_NICENESS = -11
"""Of the threads that feed the devices; PulseAudio gives its own the same. On two cores with 17
programs that want them, a third fewer callbacks came over 0.1 s late (the rest wait for the
interpreter's lock or the sound server). Takes the right to it (root, or `nice` in limits.conf);
without, nothing changes."""

CLIPPED = 0.999
"""A sample from here on counts as clipped."""
_CLIPPING_MEMORY_S = 1.0

OTHER_RATES = (48_000, 44_100, 32_000, 96_000)
"""Tried after the wanted rate and the device's own, Hz."""
MOST_CHANNELS = 16
"""A device that says it has more is a sound server that gives as many as are asked for."""

# PortAudio's error codes (portaudio.h).
_INVALID_CHANNELS = -9998
_INVALID_RATE = -9997
_NOT_SUPPORTED = {
    _INVALID_CHANNELS,
    _INVALID_RATE,
    -9994,  # sample format
}
_BUSY = -9985
_GONE = {-9996, -9993}  # invalid device; "illegal combination of devices": it can't be opened

OnProblem = Callable[[str], None]


@dataclass(frozen=True)
class DeviceInfo:
    """A sound device as PortAudio lists it.

    Attributes:
        index: Changes when devices come and go; the name does not.
        inputs: Channels it can record; 0: none.
        outputs: Channels it can play; 0: none.
        rate: Its own sample rate, Hz.
    """

    index: int
    name: str
    driver: str
    inputs: int
    outputs: int
    rate: int
    is_default_input: bool
    is_default_output: bool


def list_devices() -> list[DeviceInfo]:
    """What there is now; while a stream is open, what there was when it was opened."""
    library = _load_sounddevice()
    with _port_audio.exclusive():
        _port_audio.refresh_if_unused(library)
        return _devices(library)


def _devices(library: Any) -> list[DeviceInfo]:
    drivers = library.query_hostapis()
    default_input, default_output = _default_index(library, 0), _default_index(library, 1)
    return [
        DeviceInfo(
            index=index,
            name=str(device["name"]),
            driver=str(drivers[device["hostapi"]]["name"]),
            inputs=int(device["max_input_channels"]),
            outputs=int(device["max_output_channels"]),
            rate=round(device["default_samplerate"]),
            is_default_input=index == default_input,
            is_default_output=index == default_output,
        )
        for index, device in enumerate(library.query_devices())
    ]


def _default_index(library: Any, direction: int) -> int:
    return int(library.default.device[direction])


def _load_sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise SpeechError(
            'sound devices need the package sounddevice: pip install "medbot_llm[voice]"'
        ) from error
    except OSError as error:
        raise SpeechError(
            f"sound devices need PortAudio: sudo apt install libportaudio2 ({error})"
        ) from error
    return sounddevice


def _hurry() -> None:
    """Let the calling thread go before others; Linux keeps niceness by thread."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), AUDIO_NICENESS)


class _PortAudio:
    """The PortAudio of this process: one thread at a time opens, closes or restarts it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open_streams = 0

    @contextmanager
    def exclusive(self, *, patiently: bool = False) -> Iterator[None]:
        """Raises SpeechError where another thread hangs in the library and patience has an end.

        PortAudio's list of streams is not safe for threads.
        """
        if not self._lock.acquire(timeout=-1 if patiently else LOCK_TIMEOUT_S):
            raise SpeechError("the sound system of this machine does not answer")
        try:
            yield
        finally:
            self._lock.release()

    def refresh_if_unused(self, library: Any) -> None:
        """Start PortAudio anew to see what was plugged in. Only within `exclusive`.

        sounddevice sends this process's stderr to nowhere meanwhile (some 0.1 s), because ALSA
        complains there about every kind of device that a machine has not got.
        """
        if self._open_streams:
            return
        try:
            library._terminate()
        except library.PortAudioError as error:
            # It was not running, since the last start failed.
            logger.debug("PortAudio cannot be stopped: %s", error)
        library._initialize()

    def opened(self) -> None:
        """A stream was made. Only within `exclusive`."""
        self._open_streams += 1

    def closed(self) -> None:
        """It is gone. Only within `exclusive`."""
        self._open_streams -= 1

    def leave_at_exit(self, library: Any) -> None:
        """Don't let the end of the program wait for a stream that hangs."""
        atexit.unregister(library._exit_handler)


_port_audio = _PortAudio()


class _Failure:
    """What goes wrong in a function of the caller's, over and over maybe, told as one thing."""

    MEMORY_S = 2.0

    def __init__(self, text: str) -> None:
        self._text = text
        self._newest: tuple[str, float] | None = None

    def happened(self, error: Exception) -> None:
        """Takes no lock, so that an audio callback may say it."""
        if not self.text:
            self._newest = f"{self._text}: {type(error).__name__}: {error}", time.monotonic()
        elif self._newest is not None:
            self._newest = self._newest[0], time.monotonic()

    @property
    def text(self) -> str:
        newest = self._newest
        return newest[0] if newest and time.monotonic() - newest[1] < self.MEMORY_S else ""


class _SupervisedStream:
    """What both directions share: open, watch, tell what is wrong, open again.

    `is_open` and `problem` may be read from any thread at any time.
    """

    _what = ""
    _direction = 0  # as in sounddevice's pairs: 0 input, 1 output

    def __init__(self, device: str | int | None, on_problem: OnProblem) -> None:
        self._library = _load_sounddevice()
        self._device = device
        self._on_problem = on_problem
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._called_at: float | None = None
        self.is_open = False
        """Sound is flowing."""
        self.problem = ""
        """What is wrong, one line; empty when all is well."""

    def start(self) -> None:
        """Begin to try; returns at once. Whether it works is told by `on_problem`."""
        if self._closing.is_set():
            raise SpeechError(f"the {self._what} was closed")
        if self._thread is not None:
            raise SpeechError(f"the {self._what} was started already")
        self._thread = threading.Thread(target=self._supervise, name=self._what, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End within 2 s, also where the driver hangs: then its thread is left behind."""
        self._closing.set()
        self._wake.set()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        thread.join(CLOSE_WITHIN_S)
        if thread.is_alive():
            _port_audio.leave_at_exit(self._library)
            logger.warning("The %s hangs in its driver and is left behind.", self._what)

    # What the directions do differently.

    def _open_stream(self, device: DeviceInfo) -> Any:
        """A stream that is not started yet. Raises PortAudioError or SpeechError."""
        raise NotImplementedError

    def _complaint(self) -> str:
        """What is wrong with a stream that runs."""
        return ""

    # The supervisor's thread.

    def _supervise(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._closing.is_set():
            stream = None
            try:
                stream = self._open()
                if self._watch(stream):
                    pause = FIRST_PAUSE_S
            except Exception as error:
                self._tell(self._describe(error))
            finally:
                self.is_open = False
                if stream is not None:
                    self._dispose(stream)
            self._closing.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _open(self) -> Any:
        with _port_audio.exclusive():
            _port_audio.refresh_if_unused(self._library)
            device = self._find_device()
            # From here on, so that no callback of an older stream counts.
            self._called_at = None
            self._wake.clear()
            stream = self._open_stream(device)
            _port_audio.opened()
        try:
            stream.start()
        except BaseException:
            self._dispose(stream)
            raise
        return stream

    def _watch(self, stream: Any) -> bool:
        """Until it ends; whether it gave sound for some time."""
        opened_at = time.monotonic()
        while not self._closing.is_set():
            called_at = self._called_at
            if called_at is not None:
                self.is_open = True
                self._tell(self._complaint())
            now = time.monotonic()
            if called_at is None and now - opened_at > START_WITHIN_S:
                self._tell(f"the {self._what} opens but gives no sound")
                break
            if called_at is not None and now - called_at > DEAD_AFTER_S:
                self._tell(f"the {self._what} does not answer any more; it is opened again")
                break
            if not stream.active:
                self._tell(f"the {self._what} is gone; it is opened again")
                break
            if self._wake.wait(_TICK_S):
                self._wake.clear()
        return self.is_open and time.monotonic() - opened_at > STEADY_AFTER_S

    def _dispose(self, stream: Any) -> None:
        """May hang where the driver does; nobody waits for it then."""
        try:
            stream.abort()
        except Exception as error:
            logger.debug("Stopping the %s: %s", self._what, error)
        with _port_audio.exclusive(patiently=True):
            try:
                stream.close()
            except Exception as error:
                logger.debug("Closing the %s: %s", self._what, error)
            finally:
                _port_audio.closed()

    def _tell(self, problem: str) -> None:
        if problem == self.problem or self._closing.is_set():
            return
        self.problem = problem
        try:
            self._on_problem(problem)
        except Exception:
            logger.exception("Nobody took the problem of the %s", self._what)

    def _describe(self, error: Exception) -> str:
        if isinstance(error, SpeechError):
            return str(error)
        code = error.args[1] if len(error.args) > 1 else None
        named = "" if self._device is None else f' "{self._device}"'
        if code == _BUSY:
            return f"the {self._what}{named} is in use by another program"
        if code in _GONE:
            return f"the {self._what}{named} cannot be opened: it is gone, or its server is down"
        reason = str(error.args[0] if error.args else error)
        if len(error.args) > 2:
            reason += f" ({error.args[2][2]})"  # what the driver says
        return f"the {self._what}{named} cannot be opened: {reason}"

    def _find_device(self) -> DeviceInfo:
        devices = [
            device
            for device in _devices(self._library)
            if (device.outputs if self._direction else device.inputs)
        ]
        if not devices:
            raise SpeechError(f"no {self._what} found")
        wanted = self._device
        if wanted is None:
            default = _default_index(self._library, self._direction)
            found = [device for device in devices if device.index == default] or devices[:1]
        elif isinstance(wanted, int):
            found = [device for device in devices if device.index == wanted]
        else:
            name = wanted.casefold().strip()
            found = [device for device in devices if device.name.casefold() == name] or [
                device for device in devices if name in device.name.casefold()
            ]
        if len(found) == 1:
            return found[0]
        there_are = ", ".join(f"{device.index} {device.name}" for device in found or devices)
        if found:
            raise SpeechError(f'more than one {self._what} is called "{wanted}": {there_are}')
        raise SpeechError(f'there is no {self._what} "{wanted}"; there are: {there_are}')

    def _first_that_opens(
        self, kind: Callable[..., Any], rates: list[int], channels: list[int], **options: Any
    ) -> Any:
        """The first combination that the device supports, in the order of preference."""
        refused: Exception | None = None
        for count in dict.fromkeys(channels):
            for rate in dict.fromkeys(rates):
                period = MICROPHONE_PERIOD_S if self._direction == 0 else LOUDSPEAKER_PERIOD_S
                try:
                    return kind(
                        samplerate=rate,
                        channels=count,
                        blocksize=round(rate * period),
                        dtype="float32",
                        finished_callback=self._wake.set,
                        **options,
                    )
                except self._library.PortAudioError as error:
                    code = error.args[1] if len(error.args) > 1 else None
                    if code not in _NOT_SUPPORTED:
                        raise
                    refused = error
                    if code == _INVALID_CHANNELS:
                        break
        raise refused or SpeechError(f"the {self._what} has no channels")


class Microphone(_SupervisedStream):
    """Gives blocks of 512 samples at 16 kHz, from a thread of its own.

    Attributes:
        dropped_blocks: Blocks lost since the start: overflows of the driver (at least one each)
            and sound that `on_block` was too slow for.
        level: Root mean square of the newest block, dB relative to full scale.
        clipped: Share of samples at full scale within the last second.
    """

    _what = "microphone"
    _direction = 0

    def __init__(
        self,
        on_block: Callable[[Block], None],
        *,
        device: str | int | None = None,
        channel: int | None = None,
        channels: int | None = None,
        on_problem: OnProblem = lambda problem: None,
    ) -> None:
        """Raises SpeechError where sounddevice or PortAudio is not installed.

        Args:
            on_block: Called with each block; must not take longer than the block lasts (on
                average), and may be called once more while `close` runs, never after it.
            device: Index, name or part of a name (upper or lower case alike); None: the default.
            channel: Which channel to hear, from 0; None: all that the device gives, mixed. A
                device that can give one channel is asked for one.
            channels: How many channels to open; None: found out. A sound server does not tell how
                many its source has, and mixes them where it is asked for another number: to hear
                one channel of an array through PulseAudio, give the array's number here.
            on_problem: Called from the supervisor's thread with what is wrong, and with "" when
                all is well again.
        """
        super().__init__(device, on_problem)
        self._on_block = on_block
        self._channel = channel
        self._channels = channels
        self._queue: SimpleQueue[_Chunk | None] = SimpleQueue()
        self._queue_limit = round(QUEUE_S / MICROPHONE_PERIOD_S)
        self._lost_samples = 0
        self._overflows = 0
        self._silent_since: float | None = None
        self._failure = _Failure("what hears the microphone fails")
        self._reader: threading.Thread | None = None
        self.level = -120.0
        self.clipped = 0.0

    @property
    def dropped_blocks(self) -> int:
        """See the class."""
        return self._overflows + -(-self._lost_samples // BLOCK)

    def start(self) -> None:
        """Begin to try; returns at once. Whether it works is told by `on_problem`."""
        super().start()
        self._reader = threading.Thread(target=self._read, name="microphone reader", daemon=True)
        self._reader.start()

    def close(self) -> None:
        """End within 2 s, also where the driver hangs: then its thread is left behind."""
        started = time.monotonic()
        self._closing.set()
        self._queue.put(None)
        super().close()
        reader = self._reader
        if reader is not None and reader is not threading.current_thread():
            reader.join(max(0.1, CLOSE_WITHIN_S - (time.monotonic() - started)))

    def _open_stream(self, device: DeviceInfo) -> Any:
        channel, most = self._channel, device.inputs
        if channel is not None and channel >= most:
            raise SpeechError(
                f'microphone "{device.name}" has no channel {channel}: it has {most} (from 0)'
            )
        if self._channels is not None:
            counts = [self._channels]
        elif channel is None:
            counts = [1, 2, min(most, MOST_CHANNELS)]
        elif most <= MOST_CHANNELS:
            counts = [most, channel + 1]
        else:
            counts = [channel + 1]
        counts = [count for count in counts if count <= most]
        if channel is not None and self._channels is not None and channel >= self._channels:
            raise SpeechError(f"channel {channel} is not among {self._channels} channels (from 0)")
        stream_of = _StreamId()
        queue, limit = self._queue, self._queue_limit

        def callback(data: Samples, frames: int, times: Any, status: Any) -> None:
            # Copies and leaves: the driver waits for it.
            now = time.monotonic()
            if self._called_at is None:
                _hurry()
            self._called_at = now
            if status.input_overflow:
                self._overflows += 1
            if queue.qsize() >= limit:
                self._lost_samples += round(frames * RATE / stream_of.rate)
                return
            one = data[:, channel].copy() if channel is not None else data.mean(axis=1)
            age = times.currentTime - times.inputBufferAdcTime
            queue.put(_Chunk(one, stream_of, now, age))

        stream = self._first_that_opens(
            self._library.InputStream,
            [RATE, device.rate, *OTHER_RATES],
            counts,
            device=device.index,
            latency=MICROPHONE_LATENCY_S,
            callback=callback,
        )
        stream_of.rate = round(stream.samplerate)
        logger.info(
            'Microphone "%s": %d Hz, %d channel(s)', device.name, stream_of.rate, stream.channels
        )
        self._silent_since = None
        return stream

    def _complaint(self) -> str:
        if self._failure.text:
            return self._failure.text
        since = self._silent_since
        if since is not None and time.monotonic() - since > SILENT_AFTER_S:
            return "the microphone gives nothing but digital silence: is it muted?"
        return ""

    # The reader's thread.

    def _read(self) -> None:
        framer: _Framer | None = None
        while not self._closing.is_set():
            try:
                chunk = self._queue.get(timeout=1.0)
            except Empty:
                continue
            if chunk is None or self._closing.is_set():
                return
            if framer is None or framer.stream is not chunk.stream:
                framer = _Framer(chunk.stream)
            self._measure(chunk)
            for block in framer.push(chunk):
                self.level = level_dbfs(block.samples)
                try:
                    self._on_block(block)
                except Exception as error:
                    if not self._failure.text:
                        logger.exception("A block of the microphone")
                    self._failure.happened(error)

    def _measure(self, chunk: _Chunk) -> None:
        loudness = np.abs(chunk.samples)
        clipped = float(np.count_nonzero(loudness >= CLIPPED)) / max(1, len(loudness))
        weight = min(1.0, len(loudness) / chunk.stream.rate / _CLIPPING_MEMORY_S)
        self.clipped += weight * (clipped - self.clipped)
        if loudness.any():
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = chunk.arrived_at


class _StreamId:
    """Which stream a chunk is from, by identity, and its rate."""

    rate = RATE


@dataclass(frozen=True)
class _Chunk:
    """What one callback brought.

    Attributes:
        arrived_at: `time.monotonic()` of the callback, s.
        age: How long before that the first sample was captured, by PortAudio's clock, s.
    """

    samples: Samples
    stream: _StreamId
    arrived_at: float
    age: float


class _Framer:
    """Chunks of one stream → blocks at RATE, each with the time of its first sample.

    Callbacks come late, never early, and PortAudio's account of the age is of no use on every
    driver (through PulseAudio: younger than the chunk is long). So the time of the stream's first
    sample is estimated over all chunks: an earlier estimate counts at once, a later one slowly,
    fast enough for the drift of a quartz.
    """

    EARLIER_WEIGHT = 0.2
    LATER_WEIGHT = 0.01
    GAP_S = 0.25
    """Further off than this, samples were lost or the clock of the device stood still."""

    def __init__(self, stream: _StreamId) -> None:
        self.stream = stream
        self._resampler = Resampler(stream.rate, RATE)
        self._pending: Samples = np.zeros(0, np.float32)
        self._pushed = 0
        self._given = 0
        self._first_at: float | None = None

    def push(self, chunk: _Chunk) -> Iterator[Block]:
        self._keep_time(chunk)
        self._pushed += len(chunk.samples)
        new = self._resampler.push(chunk.samples)
        self._pending = np.concatenate((self._pending, new)) if len(self._pending) else new
        while len(self._pending) >= BLOCK:
            samples, self._pending = self._pending[:BLOCK], self._pending[BLOCK:]
            captured_at = (self._first_at or 0.0) + self._given / RATE
            self._given += BLOCK
            yield Block(samples, captured_at)

    def _keep_time(self, chunk: _Chunk) -> None:
        length = len(chunk.samples) / chunk.stream.rate
        age = chunk.age if length <= chunk.age < 1.0 else length
        first_at = chunk.arrived_at - age - self._pushed / chunk.stream.rate
        if self._first_at is None or abs(first_at - self._first_at) > self.GAP_S:
            self._first_at = first_at
            return
        error = first_at - self._first_at
        self._first_at += error * (self.EARLIER_WEIGHT if error < 0 else self.LATER_WEIGHT)


class Loudspeaker(_SupervisedStream):
    """Plays what `source` gives, from PortAudio's thread.

    Attributes:
        underruns: Times that the device had nothing to play because we were late.
        latency_s: From a sample's leaving `source` until it is to be heard.
    """

    _what = "loudspeaker"
    _direction = 1

    def __init__(
        self,
        source: Callable[[int], Samples],
        *,
        rate: int,
        device: str | int | None = None,
        on_problem: OnProblem = lambda problem: None,
    ) -> None:
        """Raises SpeechError where sounddevice or PortAudio is not installed.

        Args:
            source: Gives the next samples, as many as asked for, at once.
            rate: Of the source, Hz; played at the device's own rate where that is refused.
            device: Index, name or part of a name (upper or lower case alike); None: the default.
            on_problem: Called from the supervisor's thread with what is wrong, and with "" when
                all is well again.
        """
        super().__init__(device, on_problem)
        self._source = source
        self._rate = rate
        self._failure = _Failure("what the loudspeaker plays fails")
        self.underruns = 0
        self.latency_s = LOUDSPEAKER_LATENCY_S

    def _open_stream(self, device: DeviceInfo) -> Any:
        player: _Player | None = None

        def callback(data: Samples, frames: int, times: Any, status: Any) -> None:
            if self._called_at is None:
                _hurry()
            self._called_at = time.monotonic()
            if status.output_underflow:
                self.underruns += 1
            if self._closing.is_set() or player is None:
                data.fill(0)
                return
            try:
                data[:] = player.pull(frames)[:, None]
            except Exception as error:
                data.fill(0)
                # Told by the supervisor: here nobody may be waited for.
                self._failure.happened(error)

        stream = self._first_that_opens(
            self._library.OutputStream,
            [self._rate, device.rate, *OTHER_RATES],
            [1, 2, min(device.outputs, MOST_CHANNELS)],
            device=device.index,
            latency=LOUDSPEAKER_LATENCY_S,
            callback=callback,
        )
        player = _Player(self._source, Resampler(self._rate, round(stream.samplerate)))
        self.latency_s = float(stream.latency) + player.delay_s
        logger.info(
            'Loudspeaker "%s": %d Hz, %d channel(s)',
            device.name,
            round(stream.samplerate),
            stream.channels,
        )
        return stream

    def _complaint(self) -> str:
        return self._failure.text


class _Player:
    """Pulls from a source through a resampler."""

    def __init__(self, source: Callable[[int], Samples], resampler: Resampler) -> None:
        self._source = source
        self._resampler = resampler
        self._left: Samples = np.zeros(0, np.float32)
        self.delay_s = resampler.delay_s

    def pull(self, frames: int) -> Samples:
        """Exactly this many samples."""
        needed = self._resampler.input_for(frames - len(self._left))
        samples = self._source(needed)
        if len(samples) < needed:
            samples = np.concatenate((samples, np.zeros(needed - len(samples), np.float32)))
        ready = np.concatenate((self._left, self._resampler.push(samples)))
        self._left = ready[frames:].copy()
        return ready[:frames]
