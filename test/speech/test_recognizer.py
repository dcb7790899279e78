"""Recognition by the real Whisper base, and the guards against what nobody said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from voice_test_kit import EN
from voice_test_kit import HANS
from voice_test_kit import HANT
from voice_test_kit import _recognizer
from voice_test_kit import kokoro_voice
from voice_test_kit import need_voice_packages

from medbot_llm.domain import Language
from medbot_llm.speech.audio import RATE
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.recognizer import LONGEST_S
from medbot_llm.speech.recognizer import Doubt
from medbot_llm.speech.recognizer import WhisperRecognizer
from medbot_llm.speech.recognizer import doubt_of
from medbot_llm.speech.resampling import Resampler
from medbot_llm.speech.vad import FRAME
from medbot_llm.speech.vad import SileroVad

need_voice_packages()


def said(text: str, language: Language) -> Samples:
    sound = kokoro_voice().synthesize(text, language)
    return Resampler(sound.rate, RATE).push(sound.samples)


def test_the_script_is_that_of_the_session() -> None:
    samples = said("我昨天已經來過這裡了。", HANT)
    assert "過這" in _recognizer().recognize(samples, HANT).text
    assert "过这" in _recognizer().recognize(samples, HANS).text


def test_another_language_is_heard_as_such_only_where_it_may_be() -> None:
    samples = said("When should I take this medicine, before or after breakfast?", EN)
    free = _recognizer().recognize(samples, HANT)
    assert free.language is EN and "medicine" in free.text.lower()
    kept = _recognizer().recognize(samples, HANT, may_switch=False)
    assert kept.language is HANT


def test_chinese_in_an_english_session() -> None:
    samples = said("這個藥什麼時候吃比較好呢？", HANT)
    heard = _recognizer().recognize(samples, EN)
    assert heard.language is HANT and "吃" in heard.text


@pytest.mark.parametrize(
    ("name", "level"), [("silence", 0.0), ("hiss", 0.003), ("noise", 0.05), ("loud", 0.5)]
)
def test_nobody_is_heard_in_noise(name: str, level: float) -> None:
    """What the voice detector would let through at most: a fifth of a second of the two taken for
    voice.
    """
    noise = np.random.default_rng(1).normal(0, 1, 2 * RATE).astype(np.float32)
    heard = _recognizer().recognize(noise * level, HANT, voice_s=0.2)
    assert not heard.has_words or heard.confidence < 0.35, heard


def test_long_sound_is_cut_to_what_can_be_heard_at_once() -> None:
    heard = _recognizer().recognize(np.zeros(round(90 * RATE), np.float32), HANT)
    assert heard.took_s < 60 and LONGEST_S <= 30


@pytest.mark.parametrize("samples", [np.zeros(0, np.float32), np.zeros(100, np.float32)])
def test_next_to_no_sound_is_no_words(samples: Samples) -> None:
    assert not _recognizer().recognize(samples, HANT, voice_s=0.0).has_words


def test_no_gpl_library_comes_along(whisper_model: Path) -> None:
    """PyAV's wheel has x264 and x265 in it."""
    script = (
        "import sys; from pathlib import Path\n"
        "from medbot_llm.speech.recognizer import WhisperRecognizer\n"
        "WhisperRecognizer(Path(sys.argv[1]), threads=1)\n"
        "print(Path('/proc/self/maps').read_text())\n"
    )
    command = [sys.executable, "-c", script, str(whisper_model)]
    maps = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "ctranslate2" in maps
    assert "x264" not in maps and "x265" not in maps


def test_a_folder_without_a_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="medbot models pull whisper-base"):
        WhisperRecognizer(tmp_path)


def test_a_damaged_model_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"not a model" * 1000)
    with pytest.raises(SpeechError, match="cannot be loaded"):
        WhisperRecognizer(tmp_path)


@pytest.mark.parametrize(
    ("text", "confidence", "no_speech", "voice_s", "doubt"),
    [
        ("可以配牛奶吃嗎", 0.8, 0.1, 1.5, Doubt.NONE),
        ("字幕由志願者提供", 0.9, 0.1, 1.5, Doubt.PHANTOM),
        ("请不吝点赞 订阅 转发 打赏支持明镜与点点栏目", 0.9, 0.1, 3.0, Doubt.PHANTOM),
        ("Thanks for watching!", 0.9, 0.1, 1.0, Doubt.PHANTOM),
        ("Thank you.", 0.9, 0.1, 0.8, Doubt.NONE),
        ("Thank you.", 0.4, 0.1, 0.8, Doubt.PHANTOM),
        ("謝謝", 0.9, 0.1, 0.2, Doubt.PHANTOM),
        ("謝謝", 0.9, 0.1, 0.7, Doubt.NONE),
        ("我胸口痛", 0.2, 0.9, 1.0, Doubt.SILENT),
        ("我胸口痛", 0.5, 0.9, 1.0, Doubt.NONE),
        ("好好好好好好好好好好好好好好好好好好好好好好好好好好", 0.8, 0.1, 20.0, Doubt.LOOP),
        ("the the the the the the the the the", 0.8, 0.1, 20.0, Doubt.LOOP),
        ("這是一句在半秒之內沒有人說得完的很長的話", 0.8, 0.1, 0.3, Doubt.TOO_MUCH),
        ("Nobody can say as much as this in half a second", 0.8, 0.1, 0.3, Doubt.TOO_MUCH),
        ("", 0.8, 0.1, 1.0, Doubt.NONE),
    ],
)
def test_guards(
    text: str, confidence: float, no_speech: float, voice_s: float, doubt: Doubt
) -> None:
    assert doubt_of(text, confidence, no_speech, voice_s) is doubt


def test_the_voice_detector_tells_voice_from_noise() -> None:
    detector = SileroVad()
    voice = said("這個藥什麼時候吃比較好呢？", HANT)
    noise = np.random.default_rng(2).normal(0, 0.05, 2 * RATE).astype(np.float32)

    def share(samples: Samples) -> float:
        detector.reset()
        frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
        return float(np.mean([detector.probability(frame) > 0.5 for frame in frames]))

    assert share(voice) > 0.6 and share(noise) < 0.05


def test_a_voice_detector_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="cannot be loaded"):
        SileroVad(tmp_path / "none.onnx")
