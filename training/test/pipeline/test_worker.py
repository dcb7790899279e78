"""The process that runs stages: problems come back in one line, and nothing outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medbot_training.pipeline.worker import Ended
from medbot_training.pipeline.worker import Worker


@pytest.fixture
def worker() -> Worker:
    return Worker(forks=False)


def test_a_problem_comes_back_and_is_not_printed(
    worker: Worker, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "problem"
    ended = worker.words(["data", "stats", str(tmp_path / "none.jsonl")], report)
    assert ended.status == 2 and "none.jsonl" in ended.problem
    said = capfd.readouterr()
    assert "none.jsonl" not in said.err and not report.exists()


def test_one_job_after_another(
    worker: Worker, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert worker.words(["--version"], tmp_path / "problem") == Ended(0)
    assert capfd.readouterr().out.count("medbot-train ") == 2


_WAITS = """
import os, sys, time
from pathlib import Path
from medbot_training.pipeline import worker

def waits(job):
    Path({place!r}).write_text(str(os.getpid()))
    time.sleep(60)
    return 0

worker._done = waits
sys.exit(worker.main(sys.argv[1:]))
"""

_STARTS = """
import sys
from pathlib import Path
from medbot_training.pipeline import worker

worker.subprocess.Popen = (
    lambda words, _popen=worker.subprocess.Popen, **more: _popen(
        [words[0], "-c", {waits!r}, *words[3:]], **more
    )
)
one = worker.Worker(forks=False)
try:
    print(one.words(["--version"], Path({report!r})).status, flush=True)
except KeyboardInterrupt:
    one.interrupt()
    print("interrupted", flush=True)
"""


@pytest.fixture
def waiting(tmp_path: Path) -> tuple[subprocess.Popen[str], int]:
    """A pipeline's process, and the process of its job, which takes a minute."""
    place = tmp_path / "pid"
    waits = _WAITS.format(place=str(place))
    starts = _STARTS.format(waits=waits, report=str(tmp_path / "problem"))
    process = subprocess.Popen([sys.executable, "-c", starts], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (place.exists() and place.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    return process, int(place.read_text())


def _is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_a_job_that_is_killed_is_told_by_its_signal(
    waiting: tuple[subprocess.Popen[str], int],
) -> None:
    process, job = waiting
    os.kill(job, signal.SIGKILL)
    stdout, _ = process.communicate(timeout=30)
    assert stdout == "-9\n"


def test_a_job_is_interrupted_once_and_gone_afterwards(
    waiting: tuple[subprocess.Popen[str], int],
) -> None:
    process, job = waiting
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=30)
    assert stdout == "interrupted\n" and _is_gone(job)


def test_a_job_does_not_outlive_the_pipeline(
    waiting: tuple[subprocess.Popen[str], int],
) -> None:
    process, job = waiting
    process.kill()
    process.wait()
    assert _is_gone(job)
