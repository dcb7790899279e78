"""`medbot voice`: the whole loop without ROS, from a file into a file.

The logic of the loop is tested with a recogniser and a voice that are told what to do, in seconds
of sound but not of time; that the loop hears and is understood, with the real ones.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_test_kit import need_voice_packages
from command_test_kit import question
from command_test_kit import real_recognizer
from command_test_kit import real_vocabulary
from command_test_kit import real_voice
from command_test_kit import resources
from command_test_kit import task_file
from command_test_kit import wav_bytes
from sound_server import needs_sound_server
from sound_server import sound_server

need_voice_packages()

from medbot_llm.apps import voice  # noqa: E402
from medbot_llm.apps.cli import main  # noqa: E402
from medbot_llm.apps.listen import transcribe  # noqa: E402
from medbot_llm.apps.sound_files import WavFile  # noqa: E402
from medbot_llm.apps.sound_files import WavWriter  # noqa: E402
from medbot_llm.apps.voice_live import Button  # noqa: E402
from medbot_llm.apps.voice_screen import Screen  # noqa: E402
from medbot_llm.domain import Language  # noqa: E402
from medbot_llm.speech.audio import RATE  # noqa: E402
from medbot_llm.speech.audio import Sound  # noqa: E402
from medbot_llm.speech.audio import SpeechError  # noqa: E402
from medbot_llm.speech.recognizer import Recognition  # noqa: E402
from medbot_llm.speech.vad import SileroVad  # noqa: E402

SENTENCE_S = 3.0
FIRST_WORDS_S = 20.0
"""The robot needs 11 s for its greeting and the hand-over."""
QUESTION, COUGH, STOP = 0.9, 0.7, 0.5
"""How loud each of them is in the files of these tests."""
SAID = {QUESTION: "請問這個藥什麼時候吃？", COUGH: "嗯", STOP: "等一下，我聽不懂，再說一次"}


class Loudness:
    """A voice detector: what is loud is voice."""

    def probability(self, frame: np.ndarray) -> float:
        return 1.0 if np.abs(frame).max() > 0.3 else 0.0

    def reset(self) -> None:
        pass


class ByLoudness:
    """A recogniser that tells by the loudness what is said."""

    def __init__(self, took_s: float = 0.0) -> None:
        self.took_s = took_s

    def recognize(self, samples, language, **_: object):
        time.sleep(self.took_s)
        loudest = float(np.abs(samples).max())
        text = next((text for level, text in SAID.items() if abs(level - loudest) < 0.05), "")
        return Recognition(text, Language.ZH_HANT, 0.9)


class Hum:
    """A voice that needs SENTENCE_S for each piece of text."""

    rate = 24_000

    def synthesize(self, text: str, language: Language, *, speed: float = 1.0) -> Sound:
        return Sound(np.full(round(SENTENCE_S * self.rate), 0.25, np.float32), self.rate)


def voiced(*parts: tuple[float, float]) -> bytes:
    """A WAV file of (loudness, seconds)."""
    return wav_bytes(
        np.concatenate(
            [np.full(round(seconds * RATE), level, np.float32) for level, seconds in parts]
        )
    )


def level_at(path: Path, first_s: float, last_s: float) -> float:
    """The loudest sample between two times of a file."""
    with WavFile(path) as file:
        samples = np.concatenate(list(file.pieces()))
        part = samples[round(first_s * file.rate) : round(last_s * file.rate)]
    return float(np.abs(part).max()) if len(part) else 0.0


def sounding(path: Path) -> tuple[float, float, float]:
    """When a file's sound begins and ends, and how long the file is, s."""
    with WavFile(path) as file:
        samples = np.concatenate(list(file.pieces()))
        loud = np.flatnonzero(np.abs(samples) > 0.01)
        assert len(loud), "the robot said nothing"
        return loud[0] / file.rate, loud[-1] / file.rate, len(samples) / file.rate


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    known = resources()
    monkeypatch.setattr(voice.DialogueResources, "load", lambda settings=None: known)
    monkeypatch.setattr(voice, "Vocabulary", lambda formulary: real_vocabulary())


@pytest.fixture
def run(loaded, monkeypatch, tmp_path, capsys):
    """Run the command on a file, with a recogniser and a voice that are told what to do."""
    monkeypatch.setattr(voice, "load_recognizer", lambda *_, **__: ByLoudness())
    monkeypatch.setattr(voice, "load_synthesizer", lambda *_, **__: Hum())
    monkeypatch.setattr(voice, "SileroVad", Loudness)

    def call(data: bytes | None, *arguments: object, task: Language | None = Language.ZH_HANT):
        options = list(map(str, arguments))
        if task is not None:
            options += ["--task", str(task_file(tmp_path, task)), "--scan"]
        if data is not None:
            (tmp_path / "in.wav").write_bytes(data)
            options += ["--wav", str(tmp_path / "in.wav"), "--out", str(tmp_path / "out.wav")]
        status = main(["voice", *options])
        shown, told = capsys.readouterr()
        return status, shown.splitlines(), told, tmp_path / "out.wav"

    return call


def test_a_question_is_answered_where_a_patient_would_hear_it(run):
    started = time.monotonic()
    status, shown, told, out = run(voiced((0, 1), (QUESTION, 2), (0, 30)))
    assert status == 0
    assert time.monotonic() - started < 20, "what nobody waits for takes no time"
    heard = shown.index(next(line for line in shown if line.startswith("you ")))
    assert SAID[QUESTION] in shown[heard] and "[zh-Hant, 0.90]" in shown[heard]
    assert "早餐後服用" in shown[heard + 1] and shown[heard + 1].startswith("robot ")
    times = shown[heard + 2]
    assert "final text" in times and "first sentence" in times and "first audio" in times
    begins, _, length = sounding(out)
    # The question ends at 3 s; then come 0.6 s of silence that prove it.
    assert 3.5 < begins < 6
    assert begins - 3 == pytest.approx(float(times.split("first audio ")[1].split()[0]), abs=0.3)
    assert length == pytest.approx(33, abs=0.5)
    assert [line.split(" ")[0] for line in told.splitlines()] == ["loading", "ready"]


def test_the_reply_is_said_to_its_end_behind_the_end_of_the_file(run):
    _, shown, _, out = run(voiced((QUESTION, 2)))
    begins, ends, length = sounding(out)
    assert begins > 2.3
    assert ends - begins >= SENTENCE_S - 0.1
    assert length - ends < 1.5
    assert not any("interrupted" in line for line in shown)


def test_the_times_are_those_of_the_recogniser(run, monkeypatch):
    monkeypatch.setattr(voice, "load_recognizer", lambda *_, **__: ByLoudness(took_s=1.5))
    _, shown, _, out = run(voiced((QUESTION, 0.3), (0, 10)))
    times = next(line for line in shown if "final text" in line)
    # Recognition begins at the likely end, 0.2 s behind the question.
    assert 1.6 < float(times.split("final text ")[1].split()[0]) < 3
    assert sounding(out)[0] > 1.9


def test_whoever_speaks_over_the_robot_interrupts_it(run):
    _, shown, _, out = run(
        voiced((QUESTION, 2), (0, 2.5), (STOP, 2), (0, 1)), task=Language.ZH_HANT
    )
    texts = [line for line in shown if line.startswith("you ")]
    assert [SAID[QUESTION] in texts[0], SAID[STOP] in texts[1]] == [True, True]
    cut = next(line for line in shown if "interrupted after:" in line)
    assert "早餐後服用" not in cut
    # Ducked by 12 dB at the first voice, silent when words are confirmed.
    assert level_at(out, 4.0, 4.4) == pytest.approx(0.25, abs=0.02)
    assert level_at(out, 4.85, 5.0) < 0.1
    assert level_at(out, 6.0, 6.5) < 0.01


def test_a_murmur_does_not(run):
    _, shown, _, out = run(voiced((QUESTION, 2), (0, 2.0), (COUGH, 0.6), (0, 1)))
    assert len([line for line in shown if line.startswith("you ")]) == 1
    assert not any("interrupted" in line for line in shown)
    assert level_at(out, 4.35, 4.55) < 0.1
    begins, ends, _ = sounding(out)
    assert ends - begins >= SENTENCE_S - 0.1


def test_deaf_while_it_speaks_in_half_duplex(run):
    _, shown, _, _ = run(voiced((QUESTION, 2), (0, 2.0), (STOP, 0.6), (0, 1)), "--half-duplex")
    assert len([line for line in shown if line.startswith("you ")]) == 1
    assert not any("interrupted" in line for line in shown)


def test_nobody_speaks(run):
    status, shown, _, out = run(voiced((0, 3)), task=None)
    assert status == 0
    assert not any(line.startswith("you ") for line in shown)
    assert level_at(out, 0, 10) == 0.0


def test_a_recogniser_that_fails_is_told_and_the_robot_asks(run, monkeypatch):
    class Broken(ByLoudness):
        def recognize(self, *_: object, **__: object):
            raise SpeechError("the recogniser is broken")

    monkeypatch.setattr(voice, "load_recognizer", lambda *_, **__: Broken())
    status, shown, told, _ = run(voiced((QUESTION, 2), (0, 2)))
    assert status == 0
    assert "medbot: voice: the recogniser is broken" in told
    heard = next(i for i, line in enumerate(shown) if "(not understood)" in line)
    assert shown[heard + 1].startswith("robot ")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is empty"),
        (b"no sound at all", "is no WAV file"),
        (voiced((QUESTION, 1))[:-500], "is cut short"),
        (wav_bytes(np.zeros(0, np.float32)), "holds no sound"),
    ],
)
def test_a_bad_file_is_one_line_before_anything_is_loaded(run, data, told):
    status, shown, problem, out = run(data)
    assert (status, shown) == (2, [])
    assert told in problem and "in.wav" in problem and len(problem.splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--out", "a.wav"], "--wav"),
        (["--scan"], "--task"),
        (["--wav", "a.wav", "--push-to-talk"], "does not go with --wav"),
        (["--wav", "a.wav", "--out", "./a.wav"], "would overwrite"),
        (["--wav", "a.wav", "--out", "nowhere/a.wav"], "there is no folder"),
        (["--task", "nowhere.json"], "nowhere.json: can't be read"),
        ([], "no microphone found"),
        (["--devices"], "no sound devices found"),
    ],
)
def test_a_mistake_is_one_line(arguments, told, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("medbot_llm.apps.voice_devices.list_devices", lambda: [])
    assert main(["voice", *arguments]) == 2
    shown, problem = capsys.readouterr()
    assert shown == ""
    assert told in problem and len(problem.splitlines()) == 1


def test_help_has_examples(capsys):
    for command in ("voice", "listen", "say"):
        with pytest.raises(SystemExit) as exit:
            main([command, "--help"])
        assert exit.value.code == 0
        assert f"medbot {command} " in capsys.readouterr().out.split("examples:")[1]


def test_a_key_holds_the_button_and_lets_it_go(monkeypatch):
    reading, writing = os.pipe()
    told: list[str] = []
    ear = SimpleNamespace(is_pressed=False)
    ear.press = lambda: (told.append("press"), setattr(ear, "is_pressed", True))
    ear.release = lambda: (told.append("release"), setattr(ear, "is_pressed", False))
    mouth = SimpleNamespace(earcon=told.append)
    with os.fdopen(reading) as keys, os.fdopen(writing, "wb", buffering=0) as finger:
        monkeypatch.setattr(sys, "stdin", keys)
        with Button(SimpleNamespace(ear=ear, mouth=mouth)):
            finger.write(b"x ")
            finger.write(b"\n ")
            until = time.monotonic() + 10
            while len(told) < 5 and time.monotonic() < until:
                time.sleep(0.01)
    assert told == ["listening", "press", "release", "listening", "press"]


def test_the_line_at_the_bottom_fits_and_makes_way(monkeypatch):
    class Terminal:
        encoding = "utf-8"

        def __init__(self) -> None:
            self.text = ""

        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> None:
            self.text += text

        def flush(self) -> None:
            pass

        def fileno(self) -> int:
            raise OSError

    terminal = Terminal()
    screen = Screen(terminal, terminal)  # type: ignore[arg-type]
    screen.meter(-20.0, "voice", "請問這個藥" * 50)
    line = terminal.text.removeprefix("\r\x1b[K")
    assert " -20 dBFS [#############       ] voice" in line and line.endswith("請問這個藥")
    assert sum(2 if char > "\u2e80" else 1 for char in line) < 80
    screen.line("robot   您好")
    assert terminal.text.endswith("\r\x1b[Krobot   您好\n")


# --- real recognition, real voice ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "words"),
    [(Language.ZH_HANT, ("一次", "早餐")), (Language.EN, ("once a day", "breakfast"))],
)
def test_a_spoken_question_gets_a_spoken_answer(
    language, words, loaded, whisper_model: Path, kokoro_model: Path, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(voice, "load_recognizer", lambda *_, **__: real_recognizer())
    monkeypatch.setattr(voice, "load_synthesizer", lambda *_, **__: real_voice())
    asked, out = question(language, tmp_path), tmp_path / "out.wav"
    arguments = ["--task", str(task_file(tmp_path, language)), "--scan"]
    assert main(["voice", *arguments, "--wav", str(asked), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "after the end of speech: final text" in shown
    answer = transcribe(out, real_recognizer(), SileroVad(), language)
    assert all(word in answer.text.lower() for word in words), (answer.text, shown)
    with WavFile(asked) as file:
        asked_s = sum(map(len, file.pieces())) / file.rate
    assert sounding(out)[0] > asked_s - 0.35


@pytest.mark.slow
@needs_sound_server
def test_microphone_and_loudspeaker(
    repository: Path, whisper_model: Path, kokoro_model: Path, tmp_path
):
    """Real streams on a sound server: asked when the robot has said its first words."""
    asked = question(Language.EN, tmp_path)
    with WavFile(asked) as file:
        sound = Sound(np.concatenate(list(file.pieces())), file.rate)
    home = os.environ.get("MEDBOT_HOME") or str(Path.home() / ".cache" / "medbot")
    with sound_server() as server:
        command = [sys.executable, "-m", "medbot_llm.apps.cli", "voice", "--scan"]
        command += ["--task", str(task_file(tmp_path, Language.EN))]
        command += ["--microphone", "robot_mic", "--loudspeaker", "robot_speaker"]
        process = subprocess.Popen(
            command,
            cwd=repository,
            env={**os.environ, "MEDBOT_HOME": home},
            stdout=subprocess.PIPE,
            text=True,
        )
        lines: list[str] = []
        assert process.stdout is not None
        reader = threading.Thread(target=lines.extend, args=(process.stdout,))
        reader.start()

        def wait_for(text: str) -> str:
            until = time.monotonic() + 120
            while time.monotonic() < until and process.poll() is None:
                found = [line for line in list(lines) if text in line]
                if found:
                    return found[0]
                time.sleep(0.05)
            raise AssertionError((text, lines))

        try:
            wait_for("ask the nurse")
            with server.recording() as recorded:
                time.sleep(FIRST_WORDS_S)
                server.play(sound)
                assert "blood pressure" in wait_for("you ").lower()
                wait_for("after the end of speech: final text")
                time.sleep(12)
            process.send_signal(signal.SIGINT)
            asked_at = time.monotonic()
            assert process.wait(60) == 0
            assert time.monotonic() - asked_at < 5
        finally:
            process.kill()
            reader.join(10)
    with WavWriter(tmp_path / "recorded.wav", 48_000) as writer:
        writer.write(recorded[0][round(FIRST_WORDS_S * 48_000) :])
    answer = transcribe(tmp_path / "recorded.wav", real_recognizer(), SileroVad(), Language.EN)
    assert "after breakfast" in answer.text.lower()


# --- ending --------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["loading", "listening"])
def test_ctrl_c_ends_it_soon(when, repository: Path, whisper_model, kokoro_model, tmp_path):
    with WavWriter(tmp_path / "in.wav", RATE) as file:
        file.write(np.zeros(120 * RATE, np.float32))
    command = [sys.executable, "-m", "medbot_llm.apps.cli", "voice", "--real-time"]
    command += ["--wav", str(tmp_path / "in.wav"), "--out", str(tmp_path / "out.wav")]
    process = subprocess.Popen(
        command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    try:
        assert process.stderr.readline() == "loading the models …\n"
        if when == "listening":
            assert process.stderr.readline().startswith("ready after")
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        asked_at = time.monotonic()
        _, told = process.communicate()
    finally:
        watchdog.cancel()
    # Two seconds on a machine that does nothing else.
    assert time.monotonic() - asked_at < 5
    assert (process.returncode, told) == (130, "")
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]
