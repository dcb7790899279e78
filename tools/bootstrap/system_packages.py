"""What has to come from the operating system: compilers, Python's headers and venv, and for voice
the sound library and the fall-back voice."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
from pathlib import Path

from .errors import SetupError
from .processes import run_logged

PACKAGES_OF_PROGRAMS = {"cmake": "cmake", "c++": "g++", "cc": "gcc", "make": "make"}
"""Program that is needed -> Debian package that has it."""
PORTAUDIO = "libportaudio2"
PACKAGES_OF_VOICE = (PORTAUDIO, "espeak-ng")
"""What sounddevice opens devices with; the fall-back voice, a program of its own (GPL-3)."""
PACKAGES_OF_SOUND_SERVER = {"pulseaudio": "pulseaudio", "pactl": "pulseaudio-utils"}
"""Program that the tests with sound devices need -> Debian package that has it."""
ALSA_TO_SOUND_SERVER = "libasound2-plugins"

_LIBRARIES = Path("/usr/lib")

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


def missing_packages_of_voice() -> list[str]:
    """Debian packages that have to be installed before the robot can hear and speak."""
    # As sounddevice itself looks for it.
    missing = [] if ctypes.util.find_library("portaudio") else [PORTAUDIO]
    return missing + [
        package
        for package in PACKAGES_OF_VOICE
        if package != PORTAUDIO and not shutil.which(package)
    ]


def missing_packages_of_sound_tests() -> list[str]:
    """Debian packages that give the tests a sound server of their own, without a sound card."""
    if shutil.which("pipewire-pulse"):
        # PipeWire has a client's ways in already, and Debian can't have PulseAudio beside it.
        return []
    missing = [
        package
        for program, package in PACKAGES_OF_SOUND_SERVER.items()
        if not shutil.which(program)
    ]
    if not any(_LIBRARIES.glob("*/alsa-lib/libasound_module_pcm_pulse.so")):
        missing.append(ALSA_TO_SOUND_SERVER)
    return missing


def may_install() -> bool:
    """Whether this process may install Debian packages."""
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def line_to_run(packages: list[str]) -> str:
    """The command that installs Debian packages, for a person to run."""
    return f"sudo apt-get install -y --no-install-recommends {' '.join(packages)}"


def install(packages: list[str], logs: Path) -> None:
    """Install Debian packages. Raises SetupError with the line to run where this process may
    not."""
    without = ""
    if any(package in PACKAGES_OF_VOICE for package in packages):
        without = " (MEDBOT_VOICE=0 does without voice)"
    if not shutil.which("apt-get"):
        raise SetupError(
            f"missing here: {' '.join(packages)} (names of Debian packages): "
            f"install them with this system's package manager and run this again{without}"
        )
    if not may_install():
        raise SetupError(f"run `{line_to_run(packages)}` and then this again{without}")
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
