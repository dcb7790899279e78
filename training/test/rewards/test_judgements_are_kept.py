"""Judgements survive: a rerun asks for nothing twice; a kill, a full disk, rubbish cost a line."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from fake_teacher import MARKS
from fake_teacher import FakeTeacher
from fake_teacher import says

from medbot_training.rewards import judgements
from medbot_training.rewards.judgements import Judgement
from medbot_training.rewards.judgements import JudgementFile
from medbot_training.rewards.judgements import content_key
from medbot_training.rewards.teacher import Asked
from medbot_training.rewards.teacher import Teacher
from medbot_training.rewards.teacher import TeacherSettings

GOOD = Judgement(9, 8, 7, 6, "fine")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_a_second_run_asks_nobody(teacher_server: FakeTeacher, tmp_path: Path) -> None:
    path = tmp_path / "data" / "rl" / "kept.jsonl"
    asked = [Asked(f"q{i}", "a") for i in range(6)]
    settings = TeacherSettings(base_url=teacher_server.url)
    first = Teacher(settings, JudgementFile(path)).judge_all(asked)
    again = Teacher(settings, JudgementFile(path))
    assert again.judge_all(asked) == first
    assert len(teacher_server.bodies) == 6 and again.tally.from_file == 6


def test_failures_are_not_kept_and_are_asked_again(
    teacher_server: FakeTeacher, tmp_path: Path
) -> None:
    path = tmp_path / "kept.jsonl"
    settings = TeacherSettings(base_url=teacher_server.url, attempts=1)
    teacher_server.script = [says("rubbish")]
    assert Teacher(settings, JudgementFile(path)).judge(Asked("q", "a")) is None
    assert not path.exists()
    assert Teacher(settings, JudgementFile(path)).judge(Asked("q", "a")) is not None


def test_another_answer_model_or_rubric_is_judged_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = JudgementFile(tmp_path / "kept.jsonl")
    kept.add(content_key("q", "a", {}), "m", GOOD, {})
    assert kept.find(content_key("q", "a", {}), "m") == GOOD
    assert kept.find(content_key("q", "b", {}), "m") is None
    assert kept.find(content_key("q", "a", {"scene": "er"}), "m") is None
    assert kept.find(content_key("q", "a", {}), "other") is None
    monkeypatch.setattr(judgements, "RUBRIC_VERSION", 2)
    assert kept.find(content_key("q", "a", {}), "m") is None


def test_a_cut_line_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    kept = JudgementFile(path)
    kept.add("k1", "m", GOOD, {})
    with path.open("ab") as file:
        file.write(b'{"key": "k2", "model": "m", "saf')
    kept = JudgementFile(path)
    assert kept.unreadable == 1
    kept.add("k3", "m", GOOD, {})
    kept = JudgementFile(path)
    assert kept.find("k1", "m") == GOOD and kept.find("k3", "m") == GOOD
    assert kept.unreadable == 1


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe\n",
        b"[]\n",
        b"null\n",
        b'{"key": "k"}\n',
        b'{"key": "k", "model": "m", "rubric": 1, "safety": 99, "logic": 1}\n',
        b"[" * 100_000 + b"\n",
    ],
    ids=["bytes", "list", "null", "fields", "marks", "nested"],
)
def test_rubbish_is_passed_over(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "kept.jsonl"
    path.write_bytes(line)
    kept = JudgementFile(path)
    assert kept.unreadable == 1 and kept.find("k", "m") is None


def test_offline_notes_are_no_judgements(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    kept = JudgementFile(path)
    kept.add_offline("k", {"rules": 0.5})
    kept.add_offline("k", {"rules": 0.5})
    kept = JudgementFile(path)
    kept.add_offline("k", {"rules": 0.5})
    assert kept.find("k", "m") is None and kept.unreadable == 0
    assert len(path.read_text().splitlines()) == 1


def test_no_question_or_answer_is_in_the_file(teacher_server: FakeTeacher, tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    settings = TeacherSettings(base_url=teacher_server.url)
    Teacher(settings, JudgementFile(path)).judge(Asked("王小明的藥", "問藥師"))
    text = path.read_text(encoding="utf-8")
    assert "王小明" not in text and "問藥師" not in text
    assert json.loads(text)["safety"] == MARKS["safety"]


def test_a_full_disk_is_told_and_the_judgements_still_count(
    teacher_server: FakeTeacher, caplog: pytest.LogCaptureFixture
) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    kept = JudgementFile(Path("/dev/null"))
    kept.path = Path("/dev/full")
    teacher = Teacher(TeacherSettings(base_url=teacher_server.url), kept)
    found = teacher.judge_all([Asked(f"q{i}", "a") for i in range(3)])
    assert None not in found and teacher.tally.unsaved == 3
    assert caplog.text.count("can't be written") == 1


def _write_on(path: Path, name: str) -> None:
    kept = JudgementFile(path)
    number = 0
    while True:
        kept.add(f"{name}-{number}", "m", Judgement(1, 2, 3, 4, "長" * 200), {})
        number += 1


def test_two_processes_that_are_killed_leave_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_on, args=(path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        written = path.read_bytes() if path.exists() else b""
        # On a busy machine one of them may have forty before the other has begun.
        if written.count(b"\n") > 40 and all(name in written for name in (b'"a-0"', b'"b-0"')):
            break
        time.sleep(0.05)
    for writer in writers:
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    kept = JudgementFile(path)
    lines = path.read_bytes().count(b"\n")
    assert lines > 40 and kept.unreadable <= 1
    assert kept.find("a-0", "m") is not None and kept.find("b-0", "m") is not None
