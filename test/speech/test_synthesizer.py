"""Text → sound by the real voices: understood, level, trimmed, bounded, and never an exception
other than SpeechError."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from voice_test_kit import EN
from voice_test_kit import HANS
from voice_test_kit import HANT
from voice_test_kit import heard
from voice_test_kit import kokoro_folder
from voice_test_kit import kokoro_voice
from voice_test_kit import level_dbfs
from voice_test_kit import need_voice_packages
from voice_test_kit import share_understood
from voice_test_kit import silences_s
from voice_test_kit import sounds_like

from medbot_llm.domain import Language
from medbot_llm.speech.audio import Sound
from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.espeak import EspeakPhonemes
from medbot_llm.speech.espeak import EspeakSynthesizer
from medbot_llm.speech.kokoro import KokoroModel
from medbot_llm.speech.kokoro import _WholeSpeaker
from medbot_llm.speech.levelling import LEVEL_DBFS
from medbot_llm.speech.levelling import LOUDEST
from medbot_llm.speech.levelling import TAIL_S
from medbot_llm.speech.levelling import finished
from medbot_llm.speech.synthesizer import LONGEST_PART
from medbot_llm.speech.synthesizer import CachedSynthesizer
from medbot_llm.speech.synthesizer import FallbackSynthesizer
from medbot_llm.speech.synthesizer import KokoroSynthesizer
from medbot_llm.speech.synthesizer import VoiceSettings
from medbot_llm.speech.synthesizer import build_synthesizer

need_voice_packages()

RATE = 24_000


class Counting:
    """A voice that says a tone as long as the text, and counts; fails for texts with "fail"."""

    def __init__(self, rate: int = RATE) -> None:
        self.rate = rate
        self.calls: list[str] = []
        self.identity = "counting"

    def synthesize(self, text: str, language: Language, *, speed: float = 1.0) -> Sound:
        self.calls.append(text)
        if "fail" in text:
            raise SpeechError("no voice today")
        time_s = np.arange(int(0.05 * len(text) * self.rate)) / self.rate
        return Sound((0.1 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32), self.rate)


@pytest.fixture(scope="module")
def voice() -> KokoroSynthesizer:
    return kokoro_voice()


@pytest.fixture
def model_copy(tmp_path: Path) -> Path:
    """The model's folder, its small files as copies that a test may damage."""
    source = kokoro_folder()
    folder = tmp_path / "kokoro"
    (folder / "voices").mkdir(parents=True)
    for file in source.glob("*.onnx"):
        (folder / file.name).symlink_to(file)
    shutil.copy(source / "vocab.json", folder)
    for name in ("zf_xiaobei", "zf_xiaoyi", "af_heart"):
        shutil.copy(source / "voices" / f"{name}.bin", folder / "voices")
    return folder


# Understood --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("您好，請先掃描您的手環，讓我確認身分。", HANT),
        ("這顆藥每天早上飯後吃一顆，配溫開水。", HANT),
        ("我马上请护理师过来。", HANS),
    ],
)
def test_chinese_is_understood(voice, text, language):
    said = heard(voice.synthesize(text, language), language)
    assert share_understood(said, text) >= 0.8, said


@pytest.mark.parametrize(
    ("text", "key_words"),
    [
        (
            "Take one tablet every morning after breakfast with a glass of water.",
            ["one tablet", "morning", "breakfast", "water"],
        ),
        ("If you feel dizzy, please sit down and call the nurse.", ["dizzy", "sit", "nurse"]),
    ],
)
def test_english_is_understood(voice, text, key_words):
    said = heard(voice.synthesize(text, EN), EN)
    for word in key_words:
        assert word in said, said


def test_drug_names_in_a_chinese_sentence_are_understood(voice):
    said = heard(voice.synthesize("您的 Insulin 要放在冰箱裡，Aspirin 要飯後吃。", HANT), HANT)
    assert "insulin" in said, said
    assert "aspirin" in said, said
    assert sounds_like("飯後") in sounds_like(said), said


def test_amounts_are_read_as_words(voice):
    said = sounds_like(heard(voice.synthesize("一次吃 100 mg。", HANT), HANT))
    assert "hao ke" in said or "mg" in said, said


# Level, silence, speed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language"), [("您好。", HANT), ("救命！", HANT), ("Hello.", EN)]
)
def test_sound_begins_at_once_and_ends_in_silence(voice, text, language):
    lead, tail = silences_s(voice.synthesize(text, language))
    assert lead <= 0.02
    assert TAIL_S - 0.02 <= tail <= TAIL_S + 0.08


def test_all_voices_are_equally_loud(voice):
    previous = voice.settings
    levels = {}
    try:
        for chinese in ("zf_xiaobei", "zf_xiaoyi", "zm_yunxi"):
            voice.settings = VoiceSettings(chinese=chinese)
            sound = voice.synthesize("請您不要動，護理師馬上就來。", HANT)
            levels[chinese] = level_dbfs(sound)
            assert np.abs(sound.samples).max() <= LOUDEST + 1e-6
    finally:
        voice.settings = previous
    levels["english"] = level_dbfs(voice.synthesize("Please do not move.", EN))
    levels["espeak"] = level_dbfs(EspeakSynthesizer().synthesize("Please do not move.", EN))
    assert all(abs(level - LEVEL_DBFS) < 1.5 for level in levels.values()), levels


def test_speed_changes_the_length_and_stays_in_its_range(voice):
    text = "請先掃描您的手環。"
    lengths = {
        speed: voice.synthesize(text, HANT, speed=speed).duration_s - TAIL_S
        for speed in (0.5, 0.85, 1.0, 2.0, 9.0)
    }
    assert lengths[0.5] > lengths[0.85] > lengths[1.0] > lengths[2.0] == lengths[9.0]
    assert lengths[0.85] == pytest.approx(lengths[1.0] / 0.85, rel=0.15)
    with pytest.raises(SpeechError, match="speed"):
        voice.synthesize(text, HANT, speed=float("nan"))


@pytest.mark.parametrize("settings", [{"speed": 0.1}, {"speed": 3.0}, {"threads": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(SpeechError):
        VoiceSettings(**settings)


def test_levelling_lifts_bends_and_trims_without_clicks():
    time_s = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * 200 * time_s).astype(np.float32)
    silence = np.zeros(RATE, np.float32)
    for gain in (0.02, 0.1, 1.0):
        done = finished(np.concatenate([silence, gain * tone, silence]), RATE)
        assert level_dbfs(Sound(done, RATE)) == pytest.approx(LEVEL_DBFS, abs=0.5)
        assert len(done) / RATE == pytest.approx(1.0 + TAIL_S, abs=0.05)
        assert np.abs(np.diff(done)).max() < 0.02
    spiky = 0.01 * tone
    spiky[::2400] = 1.0
    assert np.abs(finished(spiky, RATE)).max() <= LOUDEST + 1e-6
    assert not len(finished(silence, RATE))
    assert not len(finished(silence[:10], RATE))


# The model in two parts --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phonemes", "name"),
    [
        ("ni↗nxau↓.", "zf_xiaobei"),
        ("tˈAk wˈʌn tˈæblət, twˈIs ə dˈA!", "af_heart"),
        ("ʨʰi↓ŋ ni↗n ʂau↘ʈʰja↗n, pa↓ ʂou↓xwa↗n.", "zm_yunxi"),
    ],
)
def test_without_its_silence_speech_is_the_same(voice, phonemes, name):
    """The envelope of the sound, against the file as it is run by others: 400 ms in front and
    1 s behind are not computed."""
    model = voice._model
    file = next(kokoro_folder().glob("*.onnx"))
    tokens = [0, *(model.vocabulary[c] for c in phonemes if c in model.vocabulary), 0]
    style = model._styles_of(name)[len(tokens) - 3][None, :]
    whole = _WholeSpeaker(file.read_bytes(), 1).speak(tokens, style, 1.0)
    parted = model.speak(phonemes, name, 1.0)
    assert len(parted) < len(whole) - 0.4 * RATE

    def envelope(samples):
        step = RATE // 100
        count = len(samples) // step
        power = np.square(samples[: count * step]).reshape(count, step).mean(axis=1)
        return 10 * np.log10(np.maximum(power, 1e-6))

    long, short = envelope(whole), envelope(parted)
    differences = [
        np.abs(long[shift : shift + len(short)] - short).mean()
        for shift in range(len(long) - len(short) + 1)
    ]
    assert min(differences) < 2.5


def test_another_export_is_run_whole(model_copy, caplog):
    file = next(model_copy.glob("*.onnx"))
    data = file.read_bytes().replace(b"/decode.3/norm2/", b"/decode.3/xxxx2/")
    file.unlink()
    file.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        model = KokoroModel(model_copy, threads=1)
    assert "run whole" in caplog.text
    assert len(model.speak("ni↗nxau↓.", "zf_xiaobei", 1.0)) > RATE // 2


# Long and garbled texts --------------------------------------------------------------------------


def test_a_long_text_is_read_to_its_end(voice):
    clause = "這顆藥每天早上飯後吃一顆，配溫開水"
    short = voice.synthesize(f"{clause}。", HANT, speed=2.0).duration_s - TAIL_S
    long = voice.synthesize("，".join([clause] * 4) + "。", HANT, speed=2.0)
    assert len(voice._phonemizer.phonemes(clause * 4, HANT)) > LONGEST_PART
    assert long.duration_s > 3.4 * short
    assert np.isfinite(long.samples).all()


@pytest.mark.parametrize("text", ["", " \n", "……", "。", "😀🎉", "***", "\0", "---"])
@pytest.mark.parametrize("language", [HANT, EN])
def test_a_text_without_words_gives_an_empty_sound(voice, text, language):
    sound = voice.synthesize(text, language)
    assert sound.rate == RATE
    assert not len(sound.samples)


@given(text=st.text(max_size=12), language=st.sampled_from([HANT, HANS, EN]))
@settings(max_examples=25, deadline=None)
def test_any_text_gives_sound_or_an_error_in_words(text, language):
    try:
        sound = kokoro_voice().synthesize(text, language, speed=2.0)
    except SpeechError as error:
        assert "\n" not in str(error)
        return
    assert sound.samples.dtype == np.float32
    assert sound.samples.ndim == 1
    assert np.isfinite(sound.samples).all()


# What is missing or damaged ----------------------------------------------------------------------


def test_a_missing_voice_names_those_that_are_there(voice):
    with pytest.raises(SpeechError, match="zf_xiaoyi"):
        voice.settings = VoiceSettings(chinese="nobody")
    for name in ("../vocab", "/etc/passwd", ""):
        with pytest.raises(SpeechError):
            voice.settings = VoiceSettings(english=name)
    assert voice.settings.chinese != "nobody"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "0 bytes"),
        (b"x" * 1000, "1000 bytes"),
        (np.zeros((511, 256), np.float32).tobytes(), "bytes"),
        (np.full((510, 256), np.nan, np.float32).tobytes(), "damaged"),
        (os.urandom(510 * 256 * 4), "damaged"),
    ],
)
def test_a_damaged_voice_is_refused(model_copy, content, problem):
    (model_copy / "voices" / "zf_xiaoyi.bin").write_bytes(content)
    with pytest.raises(SpeechError, match=problem):
        KokoroSynthesizer(model_copy, VoiceSettings(threads=1))


@pytest.mark.parametrize(
    "content", [b"", b"not a model", b"\x3a\xff\xff\xff\xff\x0f", b"\x3a\x00", os.urandom(4096)]
)
def test_a_damaged_model_is_refused(model_copy, content):
    file = next(model_copy.glob("*.onnx"))
    file.unlink()
    file.write_bytes(content)
    with pytest.raises(SpeechError, match="no model of Kokoro"):
        KokoroModel(model_copy)


def test_a_model_that_was_cut_off_is_refused(model_copy):
    file = next(model_copy.glob("*.onnx"))
    data = file.read_bytes()[:50_000_000]
    file.unlink()
    file.write_bytes(data)
    with pytest.raises(SpeechError, match="no model of Kokoro"):
        KokoroModel(model_copy)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"vocab": {"a": "b"}}', '{"vocab": {"a": -1}}', '{"vocab": 3}']
)
def test_a_damaged_vocabulary_is_refused(model_copy, content):
    (model_copy / "vocab.json").write_text(content, encoding="utf-8")
    with pytest.raises(SpeechError, match="vocabulary"):
        KokoroModel(model_copy)


def test_an_empty_folder_says_what_is_missing(tmp_path):
    with pytest.raises(SpeechError):
        KokoroModel(tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps({"vocab": {"a": 1}}), encoding="utf-8")
    with pytest.raises(SpeechError, match=r"one \.onnx file"):
        KokoroModel(tmp_path)


def test_without_espeak_chinese_speaks_and_english_is_an_error(model_copy):
    voice = KokoroSynthesizer(
        model_copy, VoiceSettings(threads=1), espeak=EspeakPhonemes("no-such-program")
    )
    assert voice.synthesize("請做 CT 檢查。", HANT).duration_s > 1
    with pytest.raises(SpeechError, match="apt install espeak-ng"):
        voice.synthesize("Take one tablet.", EN)


# Falling back ------------------------------------------------------------------------------------


def test_where_the_voice_fails_the_other_one_speaks(caplog):
    first, second = Counting(), Counting(rate=22_050)
    second.synthesize = lambda text, language, speed=1.0: Sound(
        np.ones(22_050, np.float32), 22_050
    )
    voice = FallbackSynthesizer(first, second)
    assert voice.rate == RATE
    assert voice.synthesize("hello", EN).duration_s == pytest.approx(0.25)
    assert voice.problem == ""
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            sound = voice.synthesize("fail", EN)
    assert (sound.rate, len(sound.samples)) == (RATE, RATE)
    assert voice.problem == "no voice today"
    assert len(caplog.records) == 1
    voice.synthesize("hello", EN)
    assert voice.problem == ""


def test_where_both_fail_the_error_names_both_reasons():
    with pytest.raises(
        SpeechError, match="no voice today; and the fall-back voice: no voice today"
    ):
        FallbackSynthesizer(Counting(), Counting()).synthesize("fail", EN)


def test_without_kokoro_the_light_voice_speaks(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        voice = build_synthesizer(tmp_path / "nowhere")
    assert "can't be used" in caplog.text
    assert voice.synthesize("Hello, I am here.", EN).duration_s > 0.5
    with pytest.raises(SpeechError, match="apt install espeak-ng"):
        build_synthesizer(None, espeak="no-such-program")


def test_an_espeak_that_dies_leaves_chinese_alone(model_copy):
    voice = build_synthesizer(
        model_copy, VoiceSettings(threads=1), espeak=shutil.which("false") or "false"
    )
    assert voice.synthesize("請吃藥。", HANT).duration_s > 0.5
    with pytest.raises(SpeechError):
        voice.synthesize("Hello.", EN)


# Remembering -------------------------------------------------------------------------------------


def test_what_was_said_is_said_again_from_memory():
    inner = Counting()
    voice = CachedSynthesizer(inner)
    first = voice.synthesize("hello", EN)
    assert voice.synthesize(" hello ", EN) is first
    voice.synthesize("hello", EN, speed=0.8)
    voice.synthesize("hello", HANT)
    assert len(inner.calls) == 3
    inner.identity = "another voice"
    voice.synthesize("hello", EN)
    assert len(inner.calls) == 4
    with pytest.raises(ValueError):
        first.samples[0] = 1.0


def test_memory_is_bounded_and_the_oldest_goes_first():
    inner = Counting()
    voice = CachedSynthesizer(inner, max_bytes=200_000)
    for number in range(50):
        voice.synthesize(f"text {number:02d}", EN)
        voice.synthesize("text 00", EN)
        assert voice._bytes <= 200_000
        assert voice._bytes == sum(sound.samples.nbytes for sound in voice._kept.values())
    assert inner.calls.count("text 00") == 1
    assert len(inner.calls) == 50
    voice.synthesize("x" * 10_000, EN)
    voice.synthesize("x" * 10_000, EN)
    assert inner.calls.count("x" * 10_000) == 2


def test_fixed_phrases_are_on_disk_and_others_never(tmp_path):
    folder = tmp_path / "phrases"
    fixed = ["請不要動，護理師馬上就來。"]
    first = Counting()
    voice = CachedSynthesizer(first, folder=folder, fixed=fixed)
    said = voice.synthesize("請不要動，護理師馬上就來。", HANT)
    voice.synthesize("請不要動，", HANT)
    voice.synthesize("王小明先生的藥", HANT)
    assert len(list(folder.iterdir())) == 2

    second = Counting()
    again = CachedSynthesizer(second, folder=folder, fixed=fixed)
    kept = again.synthesize("請不要動，護理師馬上就來。", HANT)
    assert not second.calls
    assert np.allclose(kept.samples, said.samples, atol=1e-4)
    again.synthesize("請不要動，護理師馬上就來。", HANT, speed=0.8)
    assert len(second.calls) == 1


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVEfmt ", os.urandom(500)])
def test_a_damaged_file_is_made_anew(tmp_path, content):
    voice = CachedSynthesizer(Counting(), folder=tmp_path, fixed=["hello"])
    voice.synthesize("hello", EN)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    inner = Counting()
    assert CachedSynthesizer(inner, folder=tmp_path, fixed=["hello"]).synthesize("hello", EN)
    assert len(inner.calls) == 1
    assert file.stat().st_size > 1000


def test_a_folder_that_cannot_be_written_is_no_reason_to_be_silent(tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")
    voice = CachedSynthesizer(Counting(), folder=tmp_path / "file" / "in", fixed=["hello"])
    with caplog.at_level(logging.WARNING):
        assert voice.synthesize("hello", EN).duration_s > 0
    assert "can't be kept" in caplog.text


def test_the_substitutes_sound_is_not_kept():
    failing = Counting()
    voice = CachedSynthesizer(FallbackSynthesizer(failing, EspeakSynthesizer()))
    voice.synthesize("fail here", EN)
    voice.synthesize("fail here", EN)
    assert len(failing.calls) == 2


# Under use ---------------------------------------------------------------------------------------


def test_several_threads_may_ask_at_once(voice):
    alone = voice.synthesize("您好，請吃藥。", HANT).samples
    found: list[np.ndarray] = []

    def say() -> None:
        found.append(voice.synthesize("您好，請吃藥。", HANT).samples)

    threads = [threading.Thread(target=say) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert all(len(samples) == len(alone) for samples in found)


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
def test_memory_stays_flat_over_many_sentences(voice):
    def say(number: int) -> None:
        voice.synthesize(f"{number} 號。", HANT, speed=2.0)

    for number in range(30):
        say(number)
    before = resident_mb()
    for number in range(30, 230):
        say(number)
    assert resident_mb() - before < 40
