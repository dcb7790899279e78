"""WAV files in and out, piece by piece: an hour of eight channels takes no more memory than a
second.

Python's `wave` knows neither floats nor (before 3.12) the format that recorders with more than two
channels or 16 bits write, so reading is done here; writing is `wave`'s.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import uuid
import wave
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from medbot_llm.domain import MedbotError
from medbot_llm.speech.audio import RATE
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.devices import BLOCK
from medbot_llm.speech.resampling import Resampler

LEAST_RATE, MOST_RATE = 1_000, 1_000_000
"""Of a file, Hz; beyond them a header is broken."""
MOST_CHANNELS = 1024
_PIECE_FRAMES, _PIECE_BYTES = 8192, 1 << 20

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_COMPRESSED = {2: "ADPCM", 6: "A-law", 7: "µ-law", 17: "ADPCM", 49: "GSM", 80: "MPEG", 85: "MP3"}
_UNKNOWN_LENGTH = 0x7FFFF000
"""Writers that cannot go back give a data length of 0, or from here on."""
_STEP = 25
"""Rates are rounded to multiples of this before they are changed, Hz: at most 1.3 % at 1 kHz and
0.2 % at 8 kHz, which nobody hears, and all common rates are multiples. The resampler keeps a table
of 16000 / (greatest common divisor) rows."""


class SoundFileError(MedbotError):
    """A sound file can't be read; says why, without the file's name."""


class WavFile:
    """A WAV file that is read once, from its beginning. To be used in a `with`.

    Attributes:
        rate: Of the file, Hz.
        channels: Of the file; they are mixed.
    """

    def __init__(self, path: str | Path) -> None:
        """Raises SoundFileError where it is no WAV file, empty, damaged, or can't be read."""
        try:
            self._file: IO[bytes] = open(path, "rb")  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise SoundFileError(f"can't be read: {error.strerror}") from None
        try:
            self._read_header()
        except OSError as error:
            self._file.close()
            raise SoundFileError(f"can't be read: {error.strerror}") from None
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> WavFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def pieces(self) -> Iterator[Samples]:
        """The samples at the file's own rate, mono. Raises SoundFileError."""
        most = min(_PIECE_FRAMES, _PIECE_BYTES // self._frame_bytes) * self._frame_bytes
        left = self._data_bytes
        while left is None or left >= self._frame_bytes:
            wanted = most if left is None else min(most, left)
            try:
                data = self._file.read(wanted)
            except OSError as error:
                raise SoundFileError(f"can't be read: {error.strerror}") from None
            if left is not None:
                if len(data) < wanted:
                    raise SoundFileError(f"is cut short: {left - len(data)} bytes are missing")
                left -= len(data)
            count = len(data) // self._frame_bytes
            if not count:
                return
            yield self._decoded(data[: count * self._frame_bytes])

    def blocks(self) -> Iterator[Samples]:
        """The samples at RATE, BLOCK of them at a time, as a microphone gives them; silence fills
        the last one. Raises SoundFileError.
        """
        resampler = Resampler(max(_STEP, round(self.rate / _STEP) * _STEP), RATE)
        kept = np.zeros(0, np.float32)
        # What is in the resampler comes out behind a little silence.
        rest = np.zeros(int(resampler.delay_s * self.rate) + 1, np.float32)
        for piece in _followed_by(self.pieces(), rest):
            kept = np.concatenate((kept, resampler.push(piece)))
            whole = len(kept) // BLOCK * BLOCK
            yield from kept[:whole].reshape(-1, BLOCK)
            kept = kept[whole:]
        if len(kept):
            yield np.concatenate((kept, np.zeros(BLOCK - len(kept), np.float32)))

    # --- the header ------------------------------------------------------------------------------

    def _read_header(self) -> None:
        state = os.fstat(self._file.fileno())
        size = state.st_size if stat.S_ISREG(state.st_mode) else None
        head = self._file.read(12)
        if not head:
            raise SoundFileError("is empty")
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
            raise SoundFileError("is no WAV file")
        has_format = False
        at = 12
        while True:
            start = self._file.read(8)
            if len(start) < 8:
                what = "sound" if has_format else "format"
                raise SoundFileError(f"is damaged: there is no {what} in it")
            name, length = start[:4], int.from_bytes(start[4:], "little")
            at += 8
            if name == b"data":
                break
            if name == b"fmt ":
                self._read_format(self._file.read(min(length, 256)), length)
                has_format = True
                self._skip(length - min(length, 256) + length % 2)
            else:
                self._skip(length + length % 2)
            at += length + length % 2
        if not has_format:
            raise SoundFileError("is damaged: there is no format before its sound")
        left = None if size is None else size - at
        is_told = 0 < length < _UNKNOWN_LENGTH
        self._data_bytes = length if is_told else left
        if is_told and left is not None and left < length:
            raise SoundFileError(f"is cut short: {length - left} of {length} bytes are missing")
        if self._data_bytes is not None and self._data_bytes < self._frame_bytes:
            raise SoundFileError("holds no sound")

    def _skip(self, count: int) -> None:
        # Read, not sought: it may be a pipe.
        while count > 0:
            read = len(self._file.read(min(count, 1 << 16)))
            if not read:
                raise SoundFileError("is cut short: its header is not whole")
            count -= read

    def _read_format(self, data: bytes, length: int) -> None:
        if len(data) < 16 or len(data) < min(length, 256):
            raise SoundFileError("is cut short: its header is not whole")
        tag, channels, rate, _, frame_bytes, bits = struct.unpack("<HHIIHH", data[:16])
        if tag == _EXTENSIBLE and len(data) >= 26:
            tag = int.from_bytes(data[24:26], "little")
        if tag not in (_PCM, _FLOAT):
            name = _COMPRESSED.get(tag, f"format {tag}")
            raise SoundFileError(f"holds {name}; WAV files must hold PCM or floats")
        if not 1 <= channels <= MOST_CHANNELS:
            raise SoundFileError(f"is damaged: it has {channels} channels")
        if not LEAST_RATE <= rate <= MOST_RATE:
            raise SoundFileError(f"is damaged: its rate is {rate} Hz")
        sample_bytes, rest = divmod(frame_bytes, channels)
        sizes = (4, 8) if tag == _FLOAT else (1, 2, 3, 4)
        if rest or sample_bytes not in sizes or bits > 8 * sample_bytes:
            raise SoundFileError(
                f"is damaged: {bits} bits of {channels} channels in {frame_bytes} bytes"
            )
        self.rate: int = rate
        self.channels: int = channels
        self._is_float = tag == _FLOAT
        self._frame_bytes: int = frame_bytes

    def _decoded(self, data: bytes) -> Samples:
        sample_bytes = self._frame_bytes // self.channels
        values: Samples
        if self._is_float:
            floats = np.frombuffer(data, f"<f{sample_bytes}")
            values = np.nan_to_num(floats, nan=0.0, posinf=1.0, neginf=-1.0).astype(np.float32)
            values = np.clip(values, -1.0, 1.0)
        elif sample_bytes == 1:
            values = np.frombuffer(data, np.uint8).astype(np.float32) / 128.0 - 1.0
        elif sample_bytes == 2:
            values = np.frombuffer(data, "<i2").astype(np.float32) / 2.0**15
        else:
            if sample_bytes == 3:
                padded = np.zeros((len(data) // 3, 4), np.uint8)
                padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
                integers = padded.view("<i4").reshape(-1)
            else:
                integers = np.frombuffer(data, "<i4")
            values = (integers / 2.0**31).astype(np.float32)
        mixed: Samples = values.reshape(-1, self.channels).mean(axis=1, dtype=np.float32)
        return mixed


class WavWriter:
    """Writes 16 bit, mono. To be used in a `with`: the file has its name only when all of it is
    there, and what an error or Ctrl-C cuts short is gone.
    """

    def __init__(self, path: str | Path, rate: int) -> None:
        """For a file of this rate, Hz. Nothing is made of it before there is something to write:
        Ctrl-C between its making and the `with` would leave it there.
        """
        self.path = Path(path)
        self.rate = rate
        self.samples = 0
        """Written so far."""
        self._part: Path | None = None
        self._raw: IO[bytes] | None = None
        self._file: wave.Wave_write | None = None

    def write(self, samples: Samples) -> None:
        """Append. Raises MedbotError where it can't be written, with its name."""
        whole = np.rint(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2")
        try:
            self._opened().writeframesraw(whole.tobytes())
        except OSError as error:
            raise self._failure(error) from None
        self.samples += len(samples)

    @property
    def duration_s(self) -> float:
        return self.samples / self.rate

    def __enter__(self) -> WavWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with contextlib.suppress(OSError) if error else contextlib.nullcontext():
                file = self._file if error else self._opened()
                if file is not None:
                    file.close()
                if self._raw is not None:
                    self._raw.close()
                if self._part is not None and error is None:
                    os.replace(self._part, self.path)
                    self._part = None
        except OSError as problem:
            raise self._failure(problem) from None
        finally:
            if self._part is not None:
                with contextlib.suppress(OSError):
                    self._part.unlink(missing_ok=True)

    def _opened(self) -> wave.Wave_write:
        if self._file is not None:
            return self._file
        if self.path.exists() and not self.path.is_file():
            # A device or a pipe, which cannot be replaced.
            self._raw = self.path.open("wb")
        else:
            name = f".{self.path.name[:64]}.{uuid.uuid4().hex[:8]}.part"
            # Known before it is there, so that it is deleted whatever comes.
            self._part = self.path.with_name(name)
            self._raw = self._part.open("xb")
        file = wave.open(self._raw, "wb")  # noqa: SIM115 - closed by __exit__
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(self.rate)
        self._file = file
        return file

    def _failure(self, error: OSError) -> MedbotError:
        return MedbotError(f"{self.path}: can't be written: {error.strerror or error}")


def check_folder(path: str | Path) -> None:
    """See that a file could be written, before anything is done for it. Raises MedbotError."""
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise MedbotError(f"{path}: can't be written: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise MedbotError(f"{path}: can't be written: the folder {folder} is not writable")


def _followed_by(pieces: Iterator[Samples], last: Samples) -> Iterator[Samples]:
    yield from pieces
    yield last
