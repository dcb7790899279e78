"""What has to come from the operating system: compilers, and Python's headers and venv."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .errors import SetupError
from .processes import run_logged

PACKAGES_OF_PROGRAMS = {"cmake": "cmake", "c++": "g++", "cc": "gcc", "make": "make"}
"""Program that is needed -> Debian package that has it."""

_PROBE = (
    "import importlib.util, os, sysconfig; "
    "print(os.path.isfile(os.path.join(sysconfig.get_paths()['include'], 'Python.h'))); "
    "print(importlib.util.find_spec('ensurepip') is not None)"
)


def missing_packages(python: Path) -> list[str]:
    """Debian packages that have to be installed before anything can be built for this Python."""
    missing = [
        package for program, package in PACKAGES_OF_PROGRAMS.items() if not shutil.which(program)
    ]
    answer = subprocess.run(
        [python, "-I", "-c", _PROBE], capture_output=True, text=True, check=True
    )
    has_headers, has_venv = (line == "True" for line in answer.stdout.split())
    if not has_headers:
        missing.append("python3-dev")
    if not has_venv:
        missing.append("python3-venv")
    return missing


def install(packages: list[str], logs: Path) -> None:
    """Install Debian packages. Raises SetupError with the line to run where this process may
    not."""
    if not shutil.which("apt-get"):
        raise SetupError(
            f"missing here: {' '.join(packages)} (names of Debian packages): "
            "install them with this system's package manager and run this again"
        )
    if os.geteuid() != 0:
        raise SetupError(
            f"run `sudo apt-get install -y --no-install-recommends {' '.join(packages)}` "
            "and then this again"
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run_logged(
        ["apt-get", "update"],
        logs / "apt-update.log",
        what="reading the list of Debian packages",
        environment=environment,
    )
    run_logged(
        ["apt-get", "install", "-y", "--no-install-recommends", *packages],
        logs / "apt-install.log",
        what=f"installing {' '.join(packages)}",
        environment=environment,
    )
