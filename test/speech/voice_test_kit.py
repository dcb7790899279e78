"""Real voices and a real recogniser for the tests of synthesis, loaded once."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from medbot_llm.domain import Language
from medbot_llm.models.store import ModelStore
from medbot_llm.speech.audio import RATE
from medbot_llm.speech.audio import Sound

HANT, HANS, EN = Language.ZH_HANT, Language.ZH_HANS, Language.EN
MODEL = "kokoro-82m-v1.0-int8"


def need_voice_packages() -> None:
    """Skip the module where the set-up was told to leave voice out (MEDBOT_VOICE=0)."""
    for name in ("jieba", "faster_whisper"):
        pytest.importorskip(name, reason="voice is not installed (MEDBOT_VOICE=0)")


@cache
def kokoro_folder() -> Path:
    """The model of the catalog; fetched once."""
    return ModelStore().ensure(MODEL).main.parent


@cache
def kokoro_voice():
    """The real voice."""
    from medbot_llm.speech.synthesizer import KokoroSynthesizer
    from medbot_llm.speech.synthesizer import VoiceSettings

    return KokoroSynthesizer(kokoro_folder(), VoiceSettings(threads=1))


@cache
def _recognizer():
    from medbot_llm.speech.recognizer import WhisperRecognizer

    folder = ModelStore().ensure("whisper-base").main
    folder = folder if folder.is_dir() else folder.parent
    return WhisperRecognizer(folder, threads=1)


def heard(sound: Sound, language: Language) -> str:
    """What Whisper base hears, in small letters and without marks."""
    count = round(len(sound.samples) * RATE / sound.rate)
    # Averaged before it is thinned out, so that hiss above 8 kHz does not fold into the speech.
    smooth = np.convolve(sound.samples, np.full(2, 0.5), "same")
    places = np.arange(count) * (sound.rate / RATE)
    samples = np.interp(places, np.arange(len(smooth)), smooth)
    samples = np.concatenate([samples, np.zeros(RATE // 2)]).astype(np.float32)
    text = _recognizer().recognize(samples, language, may_switch=False).text
    return " ".join(re.findall(r"\w+", text.lower()))


def sounds_like(text: str) -> str:
    """Chinese characters as pinyin without tones: what was said, whichever way it is written."""
    from pypinyin import lazy_pinyin

    return " ".join(lazy_pinyin(text))


def share_understood(said: str, text: str) -> float:
    """Share of a Chinese text's syllables that were heard, in their order, 0 to 1: which of them
    Whisper mistakes differs with the processor's arithmetic.
    """
    wanted, found = (re.findall("[a-z]+", sounds_like(each)) for each in (text, said))
    blocks = SequenceMatcher(None, wanted, found, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / len(wanted)


def level_dbfs(sound: Sound) -> float:
    """Level of the speech, steps of 20 ms more than 30 dB below the loudest left out."""
    step = sound.rate // 50
    count = len(sound.samples) // step
    powers = np.square(sound.samples[: count * step]).reshape(count, step).mean(axis=1)
    return float(10 * np.log10(powers[powers > powers.max() * 1e-3].mean()))


def silences_s(sound: Sound) -> tuple[float, float]:
    """Silence before and behind the speech, below -50 dBFS, s."""
    loud = np.flatnonzero(np.abs(sound.samples) > 10 ** (-50 / 20))
    return loud[0] / sound.rate, (len(sound.samples) - 1 - loud[-1]) / sound.rate
