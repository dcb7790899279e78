"""Text as it is written → sound, by one voice or by another where that fails.

```python
voice = build_synthesizer(model_folder, VoiceSettings(chinese="zf_xiaoyi"))
sound = voice.synthesize("請吃 Amlodipine 5 mg，一天兩次。", Language.ZH_HANT, speed=0.85)
```

The voices read the words of `spoken_form`, so whoever calls gives the text as it is written.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import tempfile
import threading
import wave
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from medbot_llm.domain import Language
from medbot_llm.speech import kokoro
from medbot_llm.speech.audio import Sound
from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.espeak import PROGRAM
from medbot_llm.speech.espeak import EspeakPhonemes
from medbot_llm.speech.espeak import EspeakSynthesizer
from medbot_llm.speech.kokoro import KokoroModel
from medbot_llm.speech.levelling import TAIL_S
from medbot_llm.speech.levelling import finished
from medbot_llm.speech.phonemes import CLAUSE_ENDS
from medbot_llm.speech.phonemes import SENTENCE_ENDS
from medbot_llm.speech.phonemes import Phonemizer
from medbot_llm.speech.phonemes import cut
from medbot_llm.speech.spoken_form import spoken_form

logger = logging.getLogger(__name__)

SLOWEST, FASTEST = 0.5, 2.0
"""Speeds that Kokoro was made for."""
MAX_CHARS = 4000
"""Of one text: five minutes of speech. The rest is left out."""
LONGEST_PART = 160
"""Phonemes that are spoken in one pass, some 7 s. The model takes 510, but its memory grows with
the length of a pass (`kokoro.py`), and is kept."""
CLAUSE_PAUSE_S = 0.15
WORD_PAUSE_S = 0.03
"""Silence between two parts that are spoken in passes of their own; between sentences it is
`TAIL_S`."""
FORM = 1
"""To be raised when the same text sounds otherwise than before, so that what is kept on disk is
not used any more."""

MAX_KEPT_BYTES = 32 << 20
"""Of sounds in memory: five minutes of Kokoro's."""
MAX_KEPT_CHARS = 200
"""Longer texts are hardly said twice."""


class Synthesizer(Protocol):
    """Reads texts aloud. Any thread may call it."""

    @property
    def rate(self) -> int:
        """Samples a second of what it gives, Hz."""

    def synthesize(self, text: str, language: Language, *, speed: float = 1.0) -> Sound:
        """Read a text as it is written.

        Args:
            language: The text's; words of the other one in it are read as such.
            speed: 1 is the voice's own; what is out of its range is brought into it.

        Returns:
            At one level (`levelling.py`), with 10 ms of silence in front and TAIL_S behind. Empty
            for a text without words.

        Raises:
            SpeechError: It can't be read; nothing else is raised.
        """


@dataclass(frozen=True)
class VoiceSettings:
    """Who speaks, and how fast.

    Attributes:
        chinese: Voice for Chinese texts, of those in the model's folder.
        english: Voice for English texts.
        speed: Of all speech, times that of each call.
        threads: Cores of one synthesis.
    """

    chinese: str = "zf_xiaoyi"
    english: str = "af_heart"
    speed: float = 1.0
    threads: int = 2

    def __post_init__(self) -> None:
        if not SLOWEST <= self.speed <= FASTEST:
            raise SpeechError(f"speed {self.speed:g} is not between {SLOWEST:g} and {FASTEST:g}")
        if not 1 <= self.threads <= 64:
            raise SpeechError(f"threads {self.threads} is not between 1 and 64")


class KokoroSynthesizer:
    """Kokoro's voices for Chinese, English, and both in one sentence.

    Args:
        directory: The model's folder (`KokoroModel`).
        settings: Can be replaced at any time.
        espeak: How English sounds.

    Raises:
        SpeechError: The model or a voice can't be used, or a package is missing.
    """

    def __init__(
        self,
        directory: Path,
        settings: VoiceSettings | None = None,
        *,
        espeak: EspeakPhonemes | None = None,
    ) -> None:
        self.rate = kokoro.RATE
        settings = settings or VoiceSettings()
        self._phonemizer = Phonemizer(espeak)
        self._model = KokoroModel(directory, threads=settings.threads)
        self.settings = settings

    @property
    def settings(self) -> VoiceSettings:
        """Who speaks, and how fast. What was set for `threads` holds from the start on.

        Raises:
            SpeechError: When set: a voice can't be used.
        """
        return self._settings

    @settings.setter
    def settings(self, settings: VoiceSettings) -> None:
        for voice in (settings.chinese, settings.english):
            self._model.check_voice(voice)
        self._settings = settings

    @property
    def identity(self) -> str:
        """Tells apart what gives different sounds of the same text."""
        settings = self._settings
        return f"{self._model.identity} {settings.chinese} {settings.english} {settings.speed:g}"

    def voices(self) -> list[str]:
        """Names of the voices that are there."""
        return self._model.voices()

    def synthesize(self, text: str, language: Language, *, speed: float = 1.0) -> Sound:
        """See `Synthesizer`."""
        settings = self._settings
        speed = _in_range(settings.speed * speed)
        # Garbled messages must not end the speaker's thread, whatever they hold.
        try:
            runs = self._phonemizer.runs(_spoken(text, language), language)
        except SpeechError:
            raise
        except Exception as error:
            raise SpeechError(f"the text can't be read: {type(error).__name__}: {error}") from None
        sound = np.zeros(0, np.float32)
        pause_s = TAIL_S
        for run in runs:
            voice = settings.chinese if run.is_chinese else settings.english
            for part in cut(run.phonemes, LONGEST_PART):
                samples = finished(self._model.speak(part, voice, speed), self.rate)
                before = sound[: max(0, len(sound) - round((TAIL_S - pause_s) * self.rate))]
                sound = np.concatenate([before, samples])
                pause_s = _pause_s(part)
        return Sound(sound, self.rate)


class FallbackSynthesizer:
    """One voice, and another for the texts on which it fails.

    Args:
        first: The voice.
        second: Its substitute; its sound is brought to the rate of the first.
    """

    def __init__(self, first: Synthesizer, second: Synthesizer) -> None:
        self._first = first
        self._second = second
        self.problem = ""
        """Why the last text was not read by the first voice; "" if it was."""

    @property
    def rate(self) -> int:
        """Samples a second of what it gives, Hz."""
        return self._first.rate

    @property
    def identity(self) -> str:
        """Tells apart what gives different sounds of the same text."""
        return _identity(self._first)

    def synthesize(self, text: str, language: Language, *, speed: float = 1.0) -> Sound:
        """See `Synthesizer`."""
        try:
            sound = self._first.synthesize(text, language, speed=speed)
        except SpeechError as error:
            # Each new reason is worth a line; the same one at each sentence is not.
            if str(error) != self.problem:
                logger.warning("the fall-back voice speaks: %s", error)
            self.problem = str(error)
        else:
            self.problem = ""
            return sound
        try:
            sound = self._second.synthesize(text, language, speed=speed)
        except SpeechError as error:
            raise SpeechError(f"{self.problem}; and the fall-back voice: {error}") from None
        return _at_rate(sound, self.rate)


class CachedSynthesizer:
    """Says at once what was said before.

    In memory are the texts that were said last. On disk are fixed phrases only, since what is said
    otherwise may name a patient.

    Args:
        voice: Who speaks.
        max_bytes: Of the sounds in memory.
        folder: Where fixed phrases are kept beyond the process; None: nowhere.
        fixed: The fixed phrases. A clause of one is fixed, too.
    """

    def __init__(
        self,
        voice: Synthesizer,
        *,
        max_bytes: int = MAX_KEPT_BYTES,
        folder: Path | None = None,
        fixed: Iterable[str] = (),
    ) -> None:
        self._voice = voice
        self._max_bytes = max_bytes
        self._folder = folder
        self._fixed = "\n".join(dict.fromkeys(fixed))
        self._kept: OrderedDict[str, Sound] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def rate(self) -> int:
        """Samples a second of what it gives, Hz."""
        return self._voice.rate

    def synthesize(self, text: str, language: Language, *, speed: float = 1.0) -> Sound:
        """See `Synthesizer`."""
        text = text.strip()
        if len(text) > MAX_KEPT_CHARS:
            return self._voice.synthesize(text, language, speed=speed)
        before = _identity(self._voice)
        key = "\n".join([str(FORM), before, str(language), f"{speed:.3f}", text])
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        path = self._path(key, text)
        sound = _read(path) if path else None
        if sound is None or sound.rate != self.rate:
            sound = self._voice.synthesize(text, language, speed=speed)
            # What the substitute said must not be kept for the voice's own.
            if getattr(self._voice, "problem", "") or _identity(self._voice) != before:
                return sound
            if path and len(sound.samples):
                _write(path, sound)
        self._keep(key, sound)
        return sound

    def _path(self, key: str, text: str) -> Path | None:
        if self._folder is None or not text or text not in self._fixed:
            return None
        return self._folder / f"{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()}.wav"

    def _keep(self, key: str, sound: Sound) -> None:
        sound.samples.setflags(write=False)
        size = sound.samples.nbytes
        if size > self._max_bytes // 4:
            return
        with self._lock:
            previous = self._kept.pop(key, None)
            self._bytes += size - (previous.samples.nbytes if previous else 0)
            self._kept[key] = sound
            while self._bytes > self._max_bytes:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= dropped.samples.nbytes


def build_synthesizer(
    directory: Path | None,
    settings: VoiceSettings | None = None,
    *,
    espeak: str = PROGRAM,
    folder: Path | None = None,
    fixed: Iterable[str] = (),
) -> CachedSynthesizer:
    """The robot's voice: Kokoro, espeak-ng where that fails, and a memory before both.

    Args:
        directory: Kokoro's folder; None: espeak-ng alone.
        settings: Who speaks.
        espeak: Name or path of the program.
        folder: For `CachedSynthesizer`.
        fixed: For `CachedSynthesizer`.

    Raises:
        SpeechError: Neither can be used.
    """
    problems = []
    voices: list[Synthesizer] = []
    if directory is not None:
        try:
            voices.append(KokoroSynthesizer(directory, settings, espeak=EspeakPhonemes(espeak)))
        except SpeechError as error:
            problems.append(str(error))
    try:
        voices.append(EspeakSynthesizer(espeak))
    except SpeechError as error:
        problems.append(str(error))
    if not voices:
        raise SpeechError("; ".join(problems))
    for problem in problems:
        logger.warning("a voice can't be used: %s", problem)
    voice = FallbackSynthesizer(*voices) if len(voices) > 1 else voices[0]
    return CachedSynthesizer(voice, folder=folder, fixed=fixed)


def _spoken(text: str, language: Language) -> str:
    text = text[:MAX_CHARS]
    try:
        return spoken_form(text, language)
    except Exception as error:
        # The words of most texts are as they are written; silence helps nobody.
        logger.warning("a text is read as it is written: %s: %s", type(error).__name__, error)
        return text


def _pause_s(phonemes: str) -> float:
    """Silence behind phonemes, by the mark at their end."""
    if phonemes.endswith(tuple(SENTENCE_ENDS)):
        return TAIL_S
    return CLAUSE_PAUSE_S if phonemes.endswith(tuple(CLAUSE_ENDS)) else WORD_PAUSE_S


def _in_range(speed: float) -> float:
    if not math.isfinite(speed):
        raise SpeechError(f"a speed of {speed} can't be spoken")
    return min(FASTEST, max(SLOWEST, speed))


def _identity(voice: Synthesizer) -> str:
    return str(getattr(voice, "identity", type(voice).__name__))


def _at_rate(sound: Sound, rate: int) -> Sound:
    if sound.rate == rate or not len(sound.samples):
        return Sound(sound.samples, rate)
    count = round(len(sound.samples) * rate / sound.rate)
    # Between 22.05 and 24 kHz straight lines do: nothing of a synthetic voice is near the limit.
    places = np.arange(count) * (sound.rate / rate)
    samples = np.interp(places, np.arange(len(sound.samples)), sound.samples)
    return Sound(samples.astype(np.float32), rate)


def _read(path: Path) -> Sound | None:
    try:
        with wave.open(str(path), "rb") as file:
            if file.getnchannels() != 1 or file.getsampwidth() != 2:
                return None
            rate, count = file.getframerate(), file.getnframes()
            data = file.readframes(count)
    except (OSError, EOFError, wave.Error):
        return None
    if not data or len(data) != 2 * count:
        return None
    return Sound(np.frombuffer(data, "<i2").astype(np.float32) / 32767.0, rate)


def _write(path: Path, sound: Sound) -> None:
    """Keep a sound; a disk that is full or read-only is no reason to be silent."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        with os.fdopen(handle, "wb") as target, wave.open(target, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(sound.rate)
            file.writeframes((sound.samples * 32767.0).round().astype("<i2").tobytes())
        os.replace(temporary, path)
    except OSError as error:
        logger.warning("%s: a phrase can't be kept: %s", path.parent, error)
        if temporary:
            with suppress(OSError):
                os.unlink(temporary)
