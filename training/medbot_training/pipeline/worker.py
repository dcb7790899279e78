"""Runs the stages of a pipeline, each in a process of its own, so that its memory goes back.

The libraries take some ten seconds to import, as long as a small stage trains. So on a processor
one process imports them once and forks for each stage. CUDA does not survive a fork: with a GPU
each stage gets a fresh process. Whatever happens to the process that started it, a stage does not
outlive it, so that the same command can be given again after a kill.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbot_llm.apps.command_line import EXIT_INTERRUPTED
from medbot_llm.apps.command_line import EXIT_PROBLEM
from medbot_llm.domain import MedbotError

_SET_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of linux/prctl.h."""
_STOP_TIMEOUT_S = 60.0

# What the stages import, sooner or later.
_LIBRARIES = (
    "medbot_training.stages.trainers",
    "medbot_training.stages.plots",
    "medbot_training.ppo",
    "medbot_training.export.gguf",
    "medbot_training.export.merge",
    "peft.tuners.lora",
    "torch.utils.tensorboard",
    "transformers.models.qwen2.modeling_qwen2",
)

Job = Mapping[str, Any]


@dataclass(frozen=True)
class Ended:
    """How a job has ended.

    Attributes:
        status: Its exit status, negative for the signal that ended it.
        problem: What went wrong, in one line; "" where nothing did or nobody could say.
    """

    status: int
    problem: str = ""


class Worker:
    """Does jobs one after another, each in a process of its own.

    Args:
        forks: Import the libraries once and fork; False: a fresh process for each job.
        verbose: How often -v was given.
    """

    def __init__(self, forks: bool, verbose: int = 0) -> None:
        self._forks = forks
        self._verbose = verbose
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: Any = None

    def start(self) -> None:
        """Have everything imported that is to be; a job does it else."""
        self._started()

    def words(self, words: Sequence[str], report: Path) -> Ended:
        """Run `medbot-train WORDS`; its problem goes through the file `report`."""
        return self._run({"words": ["-v"] * bool(self._verbose) + list(words)}, report)

    def tiny_model(self, folder: Path, files: Sequence[Path], seed: int, report: Path) -> Ended:
        """Make the tiny model, with a tokenizer learnt from files."""
        job = {"tiny": str(folder), "files": [str(file) for file in files], "seed": seed}
        return self._run(job, report)

    def interrupt(self) -> None:
        """Let the running job stop, as Ctrl-C does, and wait for it."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, signal.SIGINT)
        # It answers when the job is gone; then there is nothing more for it to do.
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        """End the process that waits for jobs."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        if not process.stdin.closed:
            process.stdin.close()
        process.wait()
        self._answers.close()

    def _run(self, job: Job, report: Path) -> Ended:
        report.unlink(missing_ok=True)
        process = self._started()
        assert process.stdin is not None
        process.stdin.write(json.dumps({**job, "report": str(report)}).encode() + b"\n")
        process.stdin.flush()
        answer = self._answers.readline()
        status = int(json.loads(answer)["status"]) if answer else process.wait()
        if not answer or not self._forks:
            self.close()
        problem = ""
        if report.exists():
            problem = report.read_text(encoding="utf-8")
            report.unlink()
        return Ended(status, problem)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        read, write = os.pipe()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                __name__,
                str(write),
                str(os.getpid()),
                "import" if self._forks else "",
            ],
            stdin=subprocess.PIPE,
            pass_fds=[write],
            # Of its own, so that Ctrl-C comes to the pipeline alone, which passes it on once.
            start_new_session=True,
        )
        os.close(write)
        self._answers = os.fdopen(read, "rb")
        # It says when it is ready, so that no stage's time has the imports in it.
        self._answers.readline()
        return self._process


# --- in the process of the worker ----------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Do jobs, a JSON line each on stdin, until there are no more."""
    answers_fd, parent, imports = int(arguments[0]), int(arguments[1]), bool(arguments[2])
    _die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from medbot_llm.apps.threads import spin_little

    spin_little()
    if imports:
        _import_libraries()
    with os.fdopen(answers_fd, "wb") as answers:
        answers.write(b"ready\n")
        answers.flush()
        for line in sys.stdin.buffer:
            job = json.loads(line)
            server = os.getpid()
            child = os.fork()
            if child == 0:
                _be_a_job(job, server)
            _, status = os.waitpid(child, 0)
            answer = {"status": os.waitstatus_to_exitcode(status)}
            answers.write(json.dumps(answer).encode() + b"\n")
            answers.flush()
    return 0


def _import_libraries() -> None:
    from medbot_training.stages.runner import quiet_libraries

    quiet_libraries()
    for name in _LIBRARIES:
        importlib.import_module(name)


def _be_a_job(job: Job, server: int) -> None:
    """Become the process of a job; never comes back."""
    status = 1
    try:
        _die_with(server)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        status = _done(job)
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else EXIT_PROBLEM
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _done(job: Job) -> int:
    try:
        if "tiny" in job:
            return _make_tiny_model(job)
        from medbot_training.cli import command_line

        words = list(job["words"])
        # As run.json is to name it.
        sys.argv = ["medbot-train", *words]
        return command_line().run(words)
    except MedbotError as error:
        problem = " ".join(str(error).split())
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        problem = f"{error.strerror or error}{where}"
    Path(job["report"]).write_text(problem, encoding="utf-8")
    return EXIT_PROBLEM


def _make_tiny_model(job: Job) -> int:
    from medbot_training.base import make_tiny_model
    from medbot_training.stages.prepare import base_texts
    from medbot_training.stages.runner import quiet_libraries

    quiet_libraries()
    texts = base_texts([Path(file) for file in job["files"]])
    make_tiny_model(Path(job["tiny"]), texts, seed=int(job["seed"]))
    return 0


def _die_with(parent: int) -> None:
    """Let this process be killed when the one that started it ends."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
