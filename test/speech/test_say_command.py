"""`medbot say`: a text in, a WAV file or sound out."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_test_kit import need_voice_packages
from command_test_kit import real_voice

need_voice_packages()

from medbot_llm.apps import say  # noqa: E402
from medbot_llm.apps.cli import main  # noqa: E402
from medbot_llm.apps.sound_files import WavFile  # noqa: E402
from medbot_llm.domain import Language  # noqa: E402
from medbot_llm.speech.audio import Sound  # noqa: E402
from medbot_llm.speech.audio import SpeechError  # noqa: E402


class TellTale:
    """Notes what it is given to say; a tenth of a second each."""

    rate = 24_000

    def __init__(self) -> None:
        self.said: list[tuple[str, Language]] = []

    def synthesize(self, text: str, language: Language, *, speed: float = 1.0) -> Sound:
        self.said.append((text, language))
        return Sound(np.full(2400, 0.25, np.float32), self.rate)


@pytest.fixture
def voice(monkeypatch: pytest.MonkeyPatch) -> TellTale:
    voice = TellTale()
    monkeypatch.setattr(say, "load_synthesizer", lambda *_, **__: voice)
    return voice


def test_a_file_holds_speech_and_one_line_says_how_long(
    kokoro_model: Path, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(say, "load_synthesizer", lambda *_, **__: real_voice())
    out = tmp_path / "out.wav"
    assert main(["say", "早餐後吃一顆。", "--lang", "zh-Hant", "-o", str(out)]) == 0
    with WavFile(out) as file:
        samples = np.concatenate(list(file.pieces()))
        assert (file.rate, file.channels) == (24_000, 1)
    assert 0.8 < len(samples) / 24_000 < 5
    assert 0.1 < np.abs(samples).max() <= 1
    shown, told = capsys.readouterr()
    assert shown == ""
    assert len(told.splitlines()) == 1 and "s of speech in" in told
    assert list(tmp_path.iterdir()) == [out]


def test_sentences_are_told_apart_and_each_has_its_language(voice, tmp_path):
    text = "早餐後吃 0.5 顆。Take it with water. 谢谢您！"
    assert main(["say", text, "-o", str(tmp_path / "a.wav")]) == 0
    assert voice.said == [
        ("早餐後吃 0.5 顆。", Language.ZH_HANT),
        ("Take it with water.", Language.EN),
        ("谢谢您！", Language.ZH_HANS),
    ]


def test_language_as_given(voice, tmp_path):
    assert main(["say", "OK", "--lang", "zh-Hans", "-o", str(tmp_path / "a.wav")]) == 0
    assert voice.said == [("OK", Language.ZH_HANS)]


def test_standard_input(voice, tmp_path, monkeypatch):
    text = "\ufeffGood morning.\nHow are you?\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert main(["say", "-", "-o", str(tmp_path / "a.wav")]) == 0
    assert [sentence for sentence, _ in voice.said] == ["Good morning.", "How are you?"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["…", "-o", "a.wav"], "nothing to say"),
        (["hello", "-o", "nowhere/a.wav"], "can't be written"),
        (["hello", "--speed", "9", "-o", "a.wav"], "speed"),
        (["hello", "--voice", "nobody", "-o", "a.wav"], "zf_xiaoxiao"),
        (["hello", "--voice", "zf_xiaoxiao", "--model", "espeak-ng", "-o", "a.wav"], "no voices"),
        (["x" * 40_001, "-o", "a.wav"], "longer than"),
        (["hello", "--lang", "fr"], "invalid choice"),
    ],
)
def test_a_mistake_is_one_line(
    arguments, told, voice, kokoro_model: Path, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(["say", *arguments])
    except SystemExit as exit:
        status = exit.code
    assert status == 2
    shown, problem = capsys.readouterr()
    assert shown == ""
    assert len(problem.splitlines()) == 1 and told in problem
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_said_leaves_no_file(voice, monkeypatch, tmp_path, capsys):
    def fail(*_: object, **__: object) -> Sound:
        raise SpeechError("the voice fails")

    monkeypatch.setattr(voice, "synthesize", fail)
    (tmp_path / "a.wav").write_text("as before")
    assert main(["say", "hello", "-o", str(tmp_path / "a.wav")]) == 2
    assert "the voice fails" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert (tmp_path / "a.wav").read_text() == "as before"


def test_no_loudspeaker_is_one_line(voice, monkeypatch, capsys):
    monkeypatch.setattr("medbot_llm.apps.voice_devices.list_devices", lambda: [])
    assert main(["say", "hello"]) == 2
    assert capsys.readouterr().err == "medbot: no loudspeaker found\n"


def test_ctrl_c_is_clean(kokoro_model: Path, repository: Path, tmp_path):
    # Each sentence another one: what was said before is said at once.
    text = "".join(f"第{day}天早餐後吃一顆。" for day in range(100))
    command = [sys.executable, "-m", "medbot_llm.apps.cli", "say", text]
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "a.wav")],
        cwd=repository,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told == ""
    assert not list(tmp_path.iterdir())
