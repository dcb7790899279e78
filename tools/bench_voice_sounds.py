"""The sounds of the voice benchmark: sentences said by several voices, in babble, with pauses.

What was synthesised is kept under ~/.cache/medbot/bench-voice, so that a second run is quick.
"""

from __future__ import annotations

import hashlib
import re
import wave
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml

from medbot_llm.apps.voice_parts import VOICE_MODEL
from medbot_llm.apps.voice_parts import load_synthesizer
from medbot_llm.domain import Language
from medbot_llm.models.store import ModelStore
from medbot_llm.models.store import default_root
from medbot_llm.speech.audio import RATE
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import Sound
from medbot_llm.speech.heard import voiced_span
from medbot_llm.speech.resampling import Resampler
from medbot_llm.speech.synthesizer import FORM
from medbot_llm.speech.synthesizer import CachedSynthesizer
from medbot_llm.speech.synthesizer import VoiceSettings

SENTENCES = Path(__file__).with_name("bench_voice_sentences.yaml")

CHINESE_VOICES = ("zf_xiaobei", "zf_xiaoni", "zf_xiaoyi", "zm_yunjian", "zm_yunxi")
ENGLISH_VOICES = ("af_bella", "af_sarah", "am_michael", "am_fenrir", "bf_emma")
"""Those of the patients; the robot itself has others (`VoiceSettings`)."""
VOICE_RMS = 0.06
"""Level of what is said, -24 dBFS: half a metre from a microphone."""
ROOM_RMS = 0.0005
"""Noise of the room and the microphone, -66 dBFS, so that no silence is digital."""
BABBLE_VOICES = 6
LEAD_S = 0.5
"""Room before the first word."""
TAIL_S = 0.2
"""Room behind the last one: as much as the ear hands to the recogniser."""
_PAUSE = re.compile(r"\[([0-9.]+)\]\s*")


@dataclass(frozen=True)
class Said:
    """Somebody's sentence.

    Attributes:
        samples: At RATE.
        begin_s, end_s: Where the voice begins and ends, s.
    """

    text: str
    language: Language
    voice: str
    samples: Samples
    begin_s: float
    end_s: float


def sentences(part: str) -> dict[str, object]:
    """A part of the file of sentences, by language."""
    return yaml.safe_load(SENTENCES.read_text(encoding="utf-8"))[part]


def voices_for(language: Language) -> tuple[str, ...]:
    """Whose voices speak this language."""
    return CHINESE_VOICES if language.is_chinese else ENGLISH_VOICES


class Studio:
    """Says sentences, or has said them before."""

    def __init__(self) -> None:
        self._folder = default_root() / "bench-voice"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._store = ModelStore()

    @cached_property
    def _model_identity(self) -> str:
        path = self._store.resolve(VOICE_MODEL)
        return f"{path.name} {path.stat().st_size}"

    def say(self, text: str, language: Language, voice: str) -> Said:
        """A sentence at RATE and VOICE_RMS, with LEAD_S of room before it; [0.5] is a pause."""
        parts = _PAUSE.split(text)
        pieces: list[Samples] = []
        for index in range(0, len(parts), 2):
            is_last = index == len(parts) - 1
            piece = parts[index].strip()
            if not is_last and piece[-1] not in "，,":
                piece += "，" if language.is_chinese else ","
            pieces.append(self._piece(piece, language, voice))
            if not is_last:
                pieces.append(np.zeros(round(float(parts[index + 1]) * RATE), np.float32))
        spoken = np.concatenate(pieces)
        before, behind = np.zeros(round(LEAD_S * RATE)), np.zeros(round(TAIL_S * RATE))
        samples = np.concatenate([before, spoken, behind]).astype(np.float32)
        return Said(
            text=_PAUSE.sub("", text),
            language=language,
            voice=voice,
            samples=samples + room(len(samples)),
            begin_s=LEAD_S,
            end_s=LEAD_S + len(spoken) / RATE,
        )

    def _piece(self, text: str, language: Language, voice: str) -> Samples:
        """What is between two pauses, from its first voiced sample to its last."""
        key = "\n".join([str(FORM), self._model_identity, voice, str(language), text])
        path = self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.wav"
        if path.exists():
            samples = read_wav(path).samples
        else:
            sound = self._synthesizer(voice).synthesize(text, language)
            tail = np.zeros(sound.rate // 10, np.float32)
            samples = Resampler(sound.rate, RATE).push(np.concatenate([sound.samples, tail]))
            write_wav(path, Sound(samples, RATE))
        begin, end = voiced_span(samples, float(np.max(np.abs(samples))))
        samples = samples[begin:end]
        return (samples * (VOICE_RMS / rms(samples))).astype(np.float32)

    def _synthesizer(self, voice: str) -> CachedSynthesizer:
        # One voice at a time is kept: a model takes half a gigabyte.
        if getattr(self, "_loaded", ("",))[0] != voice:
            settings = (
                VoiceSettings(chinese=voice)
                if voice.startswith("z")
                else VoiceSettings(english=voice)
            )
            self._loaded = (voice, load_synthesizer(VOICE_MODEL, settings, store=self._store))
        return self._loaded[1]


def room(count: int, seed: int = 0) -> Samples:
    """So many samples of a quiet room."""
    return (np.random.default_rng(seed).standard_normal(count) * ROOM_RMS).astype(np.float32)


def rms(samples: Samples) -> float:
    """Root mean square of samples."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) or 1.0


def in_babble(said: Said, others: Sequence[Said], snr_db: float, seed: int) -> Samples:
    """A sentence in the voices of several others, `snr_db` louder than all of them together."""
    rng = np.random.default_rng(seed)
    count = len(said.samples)
    babble = np.zeros(count, np.float32)
    for index in rng.choice(len(others), BABBLE_VOICES, replace=False):
        voice = np.roll(np.resize(others[index].samples, max(count, 1)), rng.integers(count))
        babble += voice[:count]
    spoken = said.samples[round(said.begin_s * RATE) : round(said.end_s * RATE)]
    babble *= rms(spoken) / rms(babble) * 10 ** (-snr_db / 20)
    return np.clip(said.samples + babble, -1.0, 1.0).astype(np.float32)


def read_wav(path: Path) -> Sound:
    """A mono file of 16 bits."""
    with wave.open(str(path), "rb") as file:
        data = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return Sound(data.astype(np.float32) / 32768.0, file.getframerate())


def write_wav(path: Path, sound: Sound) -> None:
    """Write a mono file of 16 bits, whole or not at all."""
    part = path.with_suffix(".part")
    with wave.open(str(part), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.rate)
        scaled = np.clip(sound.samples, -1.0, 1.0) * 32767.0
        file.writeframes(scaled.round().astype("<i2").tobytes())
    part.replace(path)


def said_by_turns(
    studio: Studio, texts: Iterable[str], language: Language, progress: object = None
) -> list[Said]:
    """Each text by the next voice in turn."""
    voices = voices_for(language)
    listed = list(texts)
    found: dict[int, Said] = {}
    # Voice by voice, since each change loads the model anew.
    for place, voice in enumerate(voices):
        for index in range(place, len(listed), len(voices)):
            found[index] = studio.say(listed[index], language, voice)
            if progress is not None:
                progress.update()
    return [found[index] for index in range(len(listed))]
