"""`medbot chat`: typing with the robot, line by line."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from medbot_llm.apps.cli import main

TASK = {
    "scene": "ward",
    "language": "zh-Hant",
    "spoken_name": "林女士",
    "medications": [
        {
            "name": "Norvasc 5 mg tablet",
            "name_zh": "脈優錠",
            "strength": "5 mg",
            "dose": "1 tablet",
            "route": "oral",
            "frequency": "QD",
        }
    ],
}
Chat = Callable[..., tuple[int, str, str]]


@pytest.fixture
def task(tmp_path: Path) -> str:
    file = tmp_path / "task.json"
    file.write_text(json.dumps(TASK), encoding="utf-8")
    return str(file)


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Chat:
    def run(typed: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        status = main(["chat", "--engine", "scripted", *arguments])
        return status, *capfd.readouterr()

    return run


def test_the_medicine_is_named_after_the_scan_only(chat: Chat, task: str) -> None:
    status, out, _ = chat("這是什麼藥？\n/scan\n這是什麼藥？\n", "--task", task)
    before, _, after = out.partition("/scan")
    assert status == 0
    assert "脈優" not in before and "脈優錠 5 mg" in after
    assert after.count("you    ") == 1


def test_scan_at_the_start_and_other_events(chat: Chat, task: str) -> None:
    typed = "/mismatch\n/staff\n/timeout\n/reset\n/quit\n這行不會被回答\n"
    status, out, _ = chat(typed, "--task", task, "--scan")
    assert status == 0
    assert "身分確認好了" in out.split("you    ")[0]
    assert "alert  nurse: identity_mismatch" in out
    assert "不會被回答" not in out


def test_an_emergency_is_shown(chat: Chat) -> None:
    _, out, _ = chat("我胸口好痛，喘不過氣\n")
    assert "alert  emergency: " in out


def test_what_is_no_command_is_said(chat: Chat, task: str) -> None:
    _, out, _ = chat("/dance\n", "--task", task)
    assert "there is no /dance" in out and "/scan" in out
    _, out, _ = chat("/scan\n\n")
    assert "--task" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--scan",), "--task"),
        (("--task", "none.json"), "none.json"),
        (("--lang", "klingon"), "klingon"),
        (("--engine", "llama_cpp", "--model", "none.gguf"), "none.gguf"),
    ],
)
def test_bad_input_is_one_line(
    capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str
) -> None:
    try:
        status = main(["chat", *arguments])
    except SystemExit as ended:
        status = int(ended.code or 0)
    err = capfd.readouterr().err
    assert status == 2
    assert told in err and len(err.strip().splitlines()) == 1


def test_on_a_terminal_it_prompts_and_ctrl_c_ends_it(task: str) -> None:
    mine, theirs = pty.openpty()
    command = [sys.executable, "-m", "medbot_llm.apps.cli", "chat", "--engine", "scripted"]
    process = subprocess.Popen(
        [*command, "--task", task],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = ""

    def wait_for(text: str) -> None:
        nonlocal seen
        until = time.monotonic() + 60
        while text not in seen:
            assert time.monotonic() < until, seen
            if select.select([mine], [], [], 0.1)[0]:
                seen += os.read(mine, 4096).decode("utf-8", "replace")

    try:
        wait_for("you")
        seen = ""
        os.write(mine, "你好\n".encode())
        wait_for("robot  ")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    finally:
        process.kill()
        os.close(mine)
