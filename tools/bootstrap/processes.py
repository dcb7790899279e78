"""Run programs: output into a log file, and nothing left running when the set-up is stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

from .errors import SetupError

_running: set[subprocess.Popen[bytes]] = set()
_lock = threading.Lock()
_stopped = threading.Event()
_PYTHON_PATHS = ("PYTHONHOME", "PYTHONPATH")
_ERROR_LINE = re.compile(r"^E: |\berror\b", re.IGNORECASE)


def run_logged(
    command: Sequence[str | Path],
    log: Path,
    *,
    what: str,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> None:
    """Run a program to its end.

    Args:
        command: Program and arguments.
        log: File that gets its output; what was in it is lost.
        what: What it does, as a noun, for the error's text.
        environment: All of its environment variables; None: those of this process.
        folder: Its working folder; None: that of this process.

    Raises SetupError if it can't be started or fails.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        try:
            with _lock:
                if _stopped.is_set():
                    raise SetupError(f"{what} was not started: the set-up is being stopped")
                # In a session of its own, so that stop_all reaches its children (compilers) too.
                process = subprocess.Popen(
                    [str(part) for part in command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=None if environment is None else dict(environment),
                    cwd=folder,
                    start_new_session=True,
                )
                _running.add(process)
        except OSError as error:
            raise SetupError(f"{what} can't be started: {error}") from error
        try:
            status = process.wait()
        finally:
            with _lock:
                if process.poll() is not None:
                    _running.discard(process)
    if status != 0:
        raise SetupError(f"{what} failed: {_reason(log, status)} (everything it said: {log})")


def environment_of_pip() -> dict[str, str]:
    """This process's variables, less those that bring packages from elsewhere into a build.

    A sourced ROS 2 sets PYTHONPATH, and pip passes it on to the build of a package even where pip
    itself runs isolated from it.
    """
    return {name: value for name, value in os.environ.items() if name not in _PYTHON_PATHS}


def stop_all() -> None:
    """End every program that is still running, and start no more."""
    _stopped.set()
    with _lock:
        processes = list(_running)
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    for process in processes:
        process.wait()


def _reason(log: Path, status: int) -> str:
    """The line of a log that tells best why the program failed."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    for line in lines:
        if _ERROR_LINE.search(line):
            return line
    return lines[-1] if lines else f"exit status {status}"
