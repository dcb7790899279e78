"""The set-up of training: an environment of its own beside the robot's, .venv-training.

It needs no ROS 2. What is here besides PyTorch takes a minute to install; PyTorch's build for CUDA
has gigabytes, and its CPU build 200 MB. Without an NVIDIA GPU the CPU build is looked for first,
on the indexes that pip knows and then on PyTorch's own; only where neither has it the plain one is
taken.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import llama_wheel
from . import python_packages
from .errors import SetupError
from .interpreter import version_of
from .layout import Layout
from .processes import environment_of_pip
from .processes import run_logged
from .steps import Say
from .steps import Step
from .steps import digest
from .steps import run_steps

OLDEST_PYTHON = (3, 11)
FIRST, LAST = "torch", "deepspeed"
"""Installed before and after all others."""
_TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_NVIDIA = (Path("/dev/nvidiactl"), Path("/proc/driver/nvidia/version"))


class TrainingLayout(Layout):
    """The robot's folders, with another virtual environment and logs of its own."""

    @property
    def venv(self) -> Path:
        """The environment with PyTorch."""
        return self.root / ".venv-training"

    @property
    def logs(self) -> Path:
        return self.ros / "log" / "training"


class TrainingPlan:
    """All steps of the set-up of training."""

    def __init__(self, layout: Layout, python: Path) -> None:
        """Args: the robot's set-up, and the Python to make the environment from."""
        # An installed ROS 2 brings packages of its own, and training needs none of it.
        values = {name: getattr(layout, name) for name in layout.__dataclass_fields__}
        self.layout = replace(TrainingLayout(**values), sourced=False)
        self.python = python
        stamps = self.layout.venv / ".medbot"
        project = self.layout.root / "training"
        pins = self.layout.requirements("training")
        self.venv = Step(
            name="virtual environment",
            why=".venv-training keeps PyTorch away from the robot's packages",
            stamp=stamps / "venv",
            inputs=lambda: digest(str(self.layout.venv), version_of(python)),
            action=lambda: python_packages.make_venv(self.layout, python),
        )
        self.torch = Step(
            name="PyTorch",
            why="first and alone, so that nothing else chooses its build",
            stamp=stamps / "torch",
            inputs=lambda: digest(*_lines(pins, [FIRST])),
            action=self._install_torch,
        )
        self.packages = Step(
            name="Python packages",
            why="transformers, TRL and the rest that the stages need",
            stamp=stamps / "packages",
            inputs=lambda: digest(pins),
            action=self._install_packages,
        )
        self.project = Step(
            name="medbot-train command",
            why="installs the project itself and the robot's package, both editable",
            stamp=stamps / "project",
            inputs=lambda: digest(
                self.layout.root / "setup.py", project / "pyproject.toml", Path(__file__)
            ),
            action=lambda: self._install_projects(project),
        )
        self.llama = Step(
            name="llama.cpp",
            why="makes the GGUF that the robot loads, and reads it back",
            stamp=stamps / "llama",
            inputs=lambda: str(llama_wheel.kept_wheel_folder(self.layout)),
            action=self._install_llama,
        )
        self.converters = Step(
            name="GGUF converters",
            why="llama.cpp's own, out of the source of that wheel",
            stamp=stamps / "converters",
            # They lie outside of the environment, and may have been deleted.
            inputs=lambda: digest(*self._converters()),
            action=self._keep_converters,
        )

    @property
    def steps(self) -> Sequence[Step]:
        """All steps that leave a stamp, in order."""
        return (
            *(self.venv, self.torch, self.packages),
            *(self.project, self.llama, self.converters),
        )

    def run(self, say: Say) -> list[str]:
        """Do what is not done yet; the names of the steps done now. Raises SetupError."""
        if all(step.is_done() for step in self.steps):
            return []
        of_pip = [step for step in self.steps if step is not self.converters]
        if any(step.unfinished.exists() for step in of_pip):
            # pip takes a package that is half installed for installed.
            shutil.rmtree(self.layout.venv)
        return run_steps(self.steps, say)

    def _install_torch(self) -> None:
        (pin,) = _lines(self.layout.requirements("training"), [FIRST])
        attempts: list[list[str]] = [[pin]]
        if not any(path.exists() for path in _NVIDIA):
            on_its_own_index = ["--extra-index-url", _TORCH_CPU_INDEX, "--retries", "1"]
            attempts = [[f"{pin}+cpu"], [f"{pin}+cpu", *on_its_own_index], [pin]]
        for number, arguments in enumerate(attempts, start=1):
            try:
                self._pip(*arguments, log="torch", what="installing PyTorch")
                return
            except SetupError:
                if number == len(attempts):
                    raise

    def _install_packages(self) -> None:
        pins = self.layout.requirements("training")
        listed = self.layout.logs / "requirements.txt"
        listed.parent.mkdir(parents=True, exist_ok=True)
        lines = pins.read_text().splitlines()
        listed.write_text("\n".join(line for line in lines if _name(line) not in (FIRST, LAST)))
        self._pip("-r", listed, log="packages", what="installing the Python packages")
        # Its operators for GPUs are compiled when they are first used.
        self._pip(
            *("--no-build-isolation", *_lines(pins, [LAST])),
            log=LAST,
            what=f"installing {LAST}",
        )

    def _install_projects(self, project: Path) -> None:
        for name, folder in (("robot", self.layout.root), ("project", project)):
            self._pip(
                *("--no-deps", "--no-build-isolation", "--editable", folder),
                log=name,
                what=f"installing {folder.name}",
            )

    def _install_llama(self) -> None:
        wheel = llama_wheel.build_wheel(self.layout, self.python)
        self._pip(
            *("--no-deps", "--force-reinstall", "--no-index", wheel),
            log="llama-install",
            what="installing the wheel of llama-cpp-python",
        )

    def _keep_converters(self) -> None:
        llama_wheel.keep_converters(self.layout, self.python)

    def _converters(self) -> list[str]:
        folder = llama_wheel.converters_folder(self.layout)
        return [str(folder), str(folder.is_dir())]

    def _pip(self, *arguments: str | Path, log: str, what: str) -> None:
        environment = {**environment_of_pip(), "DS_BUILD_OPS": "0"}
        run_logged(
            [
                *(self.layout.python, "-I", "-m", "pip", "install", "--no-input"),
                *("--disable-pip-version-check", "--no-warn-script-location", "--no-compile"),
                *arguments,
            ],
            self.layout.logs / f"{log}.log",
            what=what,
            environment=environment,
        )


def make_training_plan(layout: Layout) -> TrainingPlan:
    """The plan for this machine. Raises SetupError if its Python is too old."""
    if sys.version_info < OLDEST_PYTHON:
        raise SetupError(
            "training needs Python 3.11 or newer: `make setup-training PYTHON=python3.12`"
        )
    executable = getattr(sys, "_base_executable", "") or sys.executable
    return TrainingPlan(layout, Path(str(executable)))


def _lines(pins: Path, names: Sequence[str]) -> list[str]:
    """The pins of these packages."""
    lines = pins.read_text().splitlines() if pins.is_file() else []
    return [line for line in lines if _name(line) in names]


def _name(line: str) -> str:
    return line.partition("==")[0].strip()
