"""What the tests of `medbot say`, `listen` and `voice` share: models that are loaded once, and
WAV files of every kind.
"""

from __future__ import annotations

import json
import struct
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from medbot_llm.domain import Language
from medbot_llm.speech.audio import Samples

TASK = {
    "scene": "ward",
    "language": "zh-Hant",
    "spoken_name": "林女士",
    "medications": [
        {
            "name": "Norvasc",
            "name_zh": "脈優錠",
            "strength": "5 mg",
            "dose": "1 tablet",
            "route": "oral",
            "frequency": "QD",
            "instructions": "早餐後服用",
        }
    ],
}
QUESTION = "請問這個降血壓藥什麼時候吃？"
QUESTIONS = {
    Language.ZH_HANT: (QUESTION, ("降血壓藥", "什麼時候")),
    Language.ZH_HANS: ("医生说这个药一天吃两次，对吗？", ("医生", "一天", "两次")),
    Language.EN: ("When should I take this blood pressure medicine?", ("when", "blood pressure")),
}


def need_voice_packages() -> None:
    """Skip the module where the set-up was told to leave voice out (MEDBOT_VOICE=0)."""
    for name in ("jieba", "faster_whisper"):
        pytest.importorskip(name, reason="voice is not installed (MEDBOT_VOICE=0)")


@cache
def real_recognizer():
    """Whisper base."""
    from medbot_llm.apps.voice_parts import load_recognizer

    return load_recognizer()


@cache
def real_voice():
    """Kokoro."""
    from medbot_llm.apps.voice_parts import load_synthesizer

    return load_synthesizer()


@cache
def real_vocabulary():
    """The words of ward and formulary."""
    from medbot_llm.apps.voice_parts import Vocabulary
    from medbot_llm.knowledge.formulary import Formulary

    return Vocabulary(Formulary.open(None))


@cache
def resources():
    """Words, rules and facts of the dialogue."""
    from medbot_llm.dialogue.resources import DialogueResources

    return DialogueResources.load()


def question(language: Language, folder: Path) -> Path:
    """A WAV file in which the question of that language is asked."""
    from medbot_llm.apps.sound_files import WavWriter

    path = folder / f"{language}.wav"
    if not path.exists():
        voice = real_voice()
        with WavWriter(path, voice.rate) as file:
            file.write(voice.synthesize(QUESTIONS[language][0], language).samples)
    return path


def task_file(folder: Path, language: Language = Language.ZH_HANT) -> Path:
    """A delivery, as JSON."""
    english = {"language": "en", "spoken_name": "Ms Lin"} if language is Language.EN else {}
    path = folder / f"task-{language}.json"
    text = json.dumps({**TASK, **english}, ensure_ascii=False, indent=2)
    if language is Language.EN:
        text = text.replace("早餐後服用", "after breakfast")
    path.write_text(text, encoding="utf-8")
    return path


def wav_bytes(
    samples: Samples,
    rate: int = 16_000,
    *,
    bits: int = 16,
    is_float: bool = False,
    channels: int = 1,
    is_extensible: bool = False,
    extra: bytes = b"",
) -> bytes:
    """A WAV file with these samples on every channel."""
    values = np.repeat(samples.astype(np.float64), channels)
    if is_float:
        data = values.astype(f"<f{bits // 8}").tobytes()
    elif bits == 8:
        data = np.clip(np.round(values * 128 + 128), 0, 255).astype(np.uint8).tobytes()
    else:
        whole = np.clip(values * 2.0**31, -(2.0**31), 2.0**31 - 1).astype("<i4")
        count = bits // 8
        data = whole.view(np.uint8).reshape(-1, 4)[:, 4 - count :].tobytes()
    tag = 3 if is_float else 1
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)
    if is_extensible:
        form = struct.pack("<H", 0xFFFE) + form[2:] + struct.pack("<HHIH", 22, bits, 0, tag)
        form += bytes.fromhex("0000000010008000 00aa00389b71")
    chunks = extra + b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def tone(seconds: float, rate: int = 16_000, hertz: float = 440.0) -> Samples:
    """A sine of half the full scale."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )
