"""`medbot listen`: sound files in, JSON Lines out; and how WAV files are read and written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from command_test_kit import QUESTIONS
from command_test_kit import need_voice_packages
from command_test_kit import question
from command_test_kit import real_recognizer
from command_test_kit import real_vocabulary
from command_test_kit import real_voice
from command_test_kit import task_file
from command_test_kit import tone
from command_test_kit import wav_bytes

need_voice_packages()

from medbot_llm.apps import listen  # noqa: E402
from medbot_llm.apps import say  # noqa: E402
from medbot_llm.apps.cli import main  # noqa: E402
from medbot_llm.apps.listen import transcribe  # noqa: E402
from medbot_llm.apps.sound_files import SoundFileError  # noqa: E402
from medbot_llm.apps.sound_files import WavFile  # noqa: E402
from medbot_llm.apps.sound_files import WavWriter  # noqa: E402
from medbot_llm.domain import Language  # noqa: E402
from medbot_llm.domain import MedbotError  # noqa: E402
from medbot_llm.speech.audio import RATE  # noqa: E402
from medbot_llm.speech.recognizer import Recognition  # noqa: E402
from medbot_llm.speech.vad import FRAME  # noqa: E402

LOUD, SILENT = np.full(RATE, 0.9, np.float32), np.zeros(RATE, np.float32)
GOOD = wav_bytes(tone(0.5))


class Loudness:
    """A voice detector: what is loud is voice."""

    def probability(self, frame: np.ndarray) -> float:
        assert len(frame) == FRAME
        return float(np.abs(frame).max())

    def reset(self) -> None:
        pass


class Counter:
    """A recogniser that says how long a turn was."""

    def __init__(self, language: Language = Language.EN) -> None:
        self.language = language
        self.seconds: list[float] = []

    def recognize(self, samples, language, *, voice_s=None, may_switch=True, careful=True):
        self.seconds.append(len(samples) / RATE)
        found = self.language if may_switch else language
        return Recognition(f"turn {len(self.seconds)}", found, 0.5)


@pytest.fixture
def run(whisper_model: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Run the command with models that are loaded once."""
    monkeypatch.setattr(listen, "load_recognizer", lambda *_, **__: real_recognizer())
    monkeypatch.setattr(listen, "Vocabulary", lambda formulary: real_vocabulary())

    def call(*arguments: object):
        status = main(["listen", *map(str, arguments)])
        shown, told = capsys.readouterr()
        return status, [json.loads(line) for line in shown.splitlines()], told

    return call


def test_what_is_said_is_written_down_in_three_languages(
    run, kokoro_model: Path, tmp_path, monkeypatch, capsys
):
    """`medbot say`, then `medbot listen`; the order is kept, bad files among them are told."""
    monkeypatch.setattr(say, "load_synthesizer", lambda *_, **__: real_voice())
    files = []
    for language, (text, _) in QUESTIONS.items():
        files.append(tmp_path / f"{language}.wav")
        assert main(["say", text, "--lang", str(language), "-o", str(files[-1])]) == 0
    capsys.readouterr()
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"")
    task = task_file(tmp_path)
    status, objects, told = run("--task", task, files[0], bad, files[1], "nowhere.wav", files[2])
    assert status == 2
    assert told.splitlines() == [
        f"medbot: listen: {bad}: is empty",
        "medbot: listen: nowhere.wav: can't be read: No such file or directory",
    ]
    assert [one["file"] for one in objects] == [str(file) for file in files]
    hant, hans, en = objects
    assert [hant["lang"], hans["lang"], en["lang"]] == ["zh-Hant", "zh-Hant", "en"]
    assert all(word in hant["text"] for word in QUESTIONS[Language.ZH_HANT][1])
    assert all(word in en["text"].lower() for word in QUESTIONS[Language.EN][1])
    assert all(0.2 < one["confidence"] <= 1 for one in objects)
    assert "original" not in en

    status, (hans,), told = run("--lang", "zh-Hans", files[1])
    assert (status, told, hans["lang"]) == (0, "", "zh-Hans")
    assert all(word in hans["text"] for word in QUESTIONS[Language.ZH_HANS][1])


def test_words_repaired_by_sound_keep_the_original(run, kokoro_model: Path, tmp_path):
    file = question(Language.ZH_HANT, tmp_path)
    _, (repaired,), _ = run("--lang", "zh-Hant", file)
    _, (plain,), _ = run("--lang", "zh-Hant", "--no-repair", file)
    assert "original" not in plain
    # Whisper base hears 降血壓藥 wrong nearly always; should it not, nothing is repaired.
    assert repaired.get("original", repaired["text"]) == plain["text"]
    assert "降血壓藥" in repaired["text"]


@pytest.mark.parametrize("level", [0.0, 0.003])
def test_where_nobody_speaks_there_is_no_text(run, tmp_path, level):
    noise = np.random.default_rng(1).normal(0, 1, 3 * RATE) * level
    (tmp_path / "a.wav").write_bytes(wav_bytes(noise.astype(np.float32)))
    status, objects, told = run(tmp_path / "a.wav")
    assert (status, told) == (0, "")
    assert objects == [
        {"file": str(tmp_path / "a.wav"), "text": "", "lang": "", "confidence": 0.0}
    ]
    _, (asked,), _ = run("--lang", "en", tmp_path / "a.wav")
    assert asked["lang"] == "en"


def test_a_broken_task_is_one_line(run, tmp_path):
    (tmp_path / "task.json").write_text('{"scene": \n "ward"')
    status, objects, told = run("--task", tmp_path / "task.json", tmp_path / "a.wav")
    assert (status, objects) == (2, [])
    assert told.startswith(f"medbot: {tmp_path}/task.json, line 2: is no JSON")


# --- turns ---------------------------------------------------------------------------------------


def test_turns_are_joined_with_their_language_and_confidence(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes(np.concatenate([LOUD, SILENT, LOUD, SILENT])))
    heard = transcribe(tmp_path / "a.wav", Counter(), Loudness())
    assert heard.as_fields() == {"text": "turn 1 turn 2", "lang": "en", "confidence": 0.5}
    fixed = transcribe(tmp_path / "a.wav", Counter(), Loudness(), Language.ZH_HANS)
    assert fixed.language is Language.ZH_HANS


def test_speech_at_the_very_end_of_a_file_is_heard(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes(np.concatenate([SILENT, LOUD])))
    assert transcribe(tmp_path / "a.wav", Counter(), Loudness()).text == "turn 1"


def test_ten_minutes_take_little_memory(tmp_path):
    """Speech without a pause, in stereo floats: 77 MB, of which a turn at a time is kept."""
    minute = wav_bytes(np.tile(LOUD, 60), bits=32, is_float=True, channels=2)
    header, data = minute[:44], minute[44:]
    with (tmp_path / "a.wav").open("wb") as file:
        file.write(header[:40] + (10 * len(data)).to_bytes(4, "little"))
        for _ in range(10):
            file.write(data)
    counter = Counter()
    tracemalloc.start()
    try:
        heard = transcribe(tmp_path / "a.wav", counter, Loudness())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20e6
    assert max(counter.seconds) < 29 and sum(counter.seconds) > 590
    assert heard.text.endswith(f"turn {len(counter.seconds)}")


# --- files ---------------------------------------------------------------------------------------

FORMS = [
    {"bits": 8},
    {"bits": 16},
    {"bits": 24},
    {"bits": 32},
    {"bits": 32, "is_float": True},
    {"bits": 64, "is_float": True},
    {"bits": 16, "channels": 2},
    {"bits": 24, "channels": 6, "is_extensible": True},
    {"bits": 32, "is_float": True, "is_extensible": True},
    {"rate": 8000},
    {"rate": 11_025},
    {"rate": 44_100, "channels": 2},
    {"rate": 48_000, "bits": 8},
    {"rate": 22_255},
    {"rate": 192_001},
    {"extra": b"LIST\x03\0\0\0abc\0"},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_kind_of_wav_sounds_the_same(form, tmp_path):
    rate = form.get("rate", 16_000)
    (tmp_path / "a.wav").write_bytes(wav_bytes(tone(0.5, rate), **form))
    with WavFile(tmp_path / "a.wav") as file:
        assert (file.rate, file.channels) == (rate, form.get("channels", 1))
        blocks = list(file.blocks())
    assert all(block.dtype == np.float32 and len(block) == 512 for block in blocks)
    samples = np.concatenate(blocks)
    assert len(samples) == pytest.approx(8000, abs=600)
    middle = samples[1000:7000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) * 16_000 / len(middle) == pytest.approx(440, abs=4)
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.02)
    if rate == 16_000:
        assert samples[:8000] == pytest.approx(tone(0.5), abs=0.01)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is empty"),
        (b"RIFF", "is no WAV file"),
        (b"ID3\x04" + bytes(100), "is no WAV file"),
        (b'{"text": "hello"}\n' * 5, "is no WAV file"),
        (GOOD[:20], "cut short"),
        (GOOD[:36], "there is no sound in it"),
        (GOOD[:-1000], "cut short: 1000 of 16000 bytes are missing"),
        (GOOD[:44], "cut short"),
        (wav_bytes(np.zeros(0, np.float32)), "holds no sound"),
        (GOOD[:22] + b"\0\0" + GOOD[24:], "0 channels"),
        (GOOD[:24] + b"\0\0\0\0" + GOOD[28:], "rate is 0 Hz"),
        (GOOD[:32] + b"\0\0" + GOOD[34:], "in 0 bytes"),
        (GOOD[:20] + b"\x07\0" + GOOD[22:], "µ-law"),
        (GOOD[:12] + GOOD[36:], "no format before its sound"),
        (GOOD[:16] + b"\xff\xff\xff\x7f" + GOOD[20:], "cut short"),
    ],
)
def test_a_bad_file_says_why(data, told, tmp_path):
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(SoundFileError, match=told), WavFile(tmp_path / "a.wav") as file:
        list(file.blocks())


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(SoundFileError, match="directory"):
        WavFile(tmp_path)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF])
def test_a_stream_whose_length_nobody_knew_is_read_to_its_end(length, tmp_path):
    (tmp_path / "a.wav").write_bytes(GOOD[:40] + length.to_bytes(4, "little") + GOOD[44:])
    with WavFile(tmp_path / "a.wav") as file:
        assert sum(map(len, file.pieces())) == 8000


def test_floats_that_are_none_are_silence(tmp_path):
    samples = np.array([np.nan, np.inf, -np.inf, 7.0, 0.25] * 200, np.float32)
    (tmp_path / "a.wav").write_bytes(wav_bytes(samples, bits=32, is_float=True))
    with WavFile(tmp_path / "a.wav") as file:
        (piece,) = file.pieces()
    assert list(piece[:5]) == [0, 1, -1, 1, 0.25]


def test_what_is_written_is_read_again(tmp_path):
    with WavWriter(tmp_path / "a.wav", 24_000) as writer:
        for part in np.array_split(tone(0.5, 24_000), 7):
            writer.write(part)
    assert writer.duration_s == 0.5
    with WavFile(tmp_path / "a.wav") as file:
        assert file.rate == 24_000
        assert np.concatenate(list(file.pieces())) == pytest.approx(tone(0.5, 24_000), abs=1e-3)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.skipif(sys.platform != "linux", reason="a device of Linux")
def test_a_device_is_written_to_and_not_replaced(tmp_path):
    full = Path("/dev/full")
    with pytest.raises(MedbotError, match="can't be written"), WavWriter(full, 8000) as writer:
        writer.write(np.zeros(100_000, np.float32))
    assert full.is_char_device()


def test_ctrl_c_is_clean(repository: Path, whisper_model: Path, kokoro_model: Path, tmp_path):
    """Also while the recogniser's thread works, which must not end in a crash."""
    file = question(Language.EN, tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "medbot_llm.apps.cli", "listen", "--no-repair", *[str(file)] * 500],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    try:
        json.loads(process.stdout.readline())
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    finally:
        watchdog.cancel()
    assert (process.returncode, told) == (130, "")
