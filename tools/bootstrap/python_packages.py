"""The virtual environment and what pip puts into it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from .layout import Layout
from .processes import environment_of_pip
from .processes import run_logged

REQUIREMENTS = ("core", "dev")
"""Files in requirements/ that every set-up installs."""

_OLDEST_NUMPY_OF_LIVEKIT = (1, 26)
_BUILD_MACHINE_HEADERS = re.compile(r"/opt/python/[^/\s;\"]+/include/python3\.\d+")
_BUILD_MACHINE_PACKAGES = re.compile(r"/opt/python/[^/\s;\"]+/lib/python3\.\d+/site-packages")


def pip_install(layout: Layout, *arguments: str | Path, log: str, what: str) -> None:
    """Run `pip install` in the virtual environment. Raises SetupError."""
    run_logged(
        [
            *(layout.python, "-I", "-m", "pip", "install"),
            *("--disable-pip-version-check", "--no-input", "--no-warn-script-location"),
            # Python compiles the few modules that are used when they are first imported.
            "--no-compile",
            *arguments,
        ],
        layout.logs / f"{log}.log",
        what=what,
        environment=environment_of_pip(),
    )


def make_venv(layout: Layout, python: Path) -> None:
    """Make the virtual environment; what was in its place is deleted."""
    shutil.rmtree(layout.venv, ignore_errors=True)
    options = ["--system-site-packages"] if layout.sourced else []
    run_logged(
        [python, "-m", "venv", *options, layout.venv],
        layout.logs / "venv.log",
        what=f"making the virtual environment {layout.venv.name}",
    )


def requirement_files(layout: Layout) -> list[Path]:
    """The pinned lists that this set-up installs."""
    names = [*REQUIREMENTS]
    if layout.voice:
        names.append("voice")
    # An installed colcon goes with the installed ROS 2: the versions of what both use are theirs
    # to choose.
    if not (layout.sourced and shutil.which("colcon")):
        names.append("colcon")
    if not layout.sourced:
        names.append(f"ros-{layout.distro}")
    return [layout.requirements(name) for name in names]


def install_packages(layout: Layout) -> None:
    """Install the pinned lists, and make ROS wheels fit for building. Raises SetupError."""
    files = requirement_files(layout)
    apart: list[str] = []
    if layout.sourced:
        merged, apart = _without_numpy(layout, files)
        files = [merged]
    pip_install(
        layout,
        *(part for file in files for part in ("-r", file)),
        log="packages",
        what="installing the Python packages",
    )
    if apart:
        pip_install(
            layout,
            *("--no-deps", *apart),
            log="packages-apart",
            what=f"installing {' '.join(apart)}",
        )
    if not layout.sourced:
        localize_cmake_files(layout)


def install_project(layout: Layout) -> None:
    """Install the project itself, editable. Raises SetupError."""
    pip_install(
        layout,
        *("--no-deps", "--no-build-isolation", "--editable", layout.root),
        log="project",
        what="installing the project itself",
    )


def localize_cmake_files(layout: Layout) -> int:
    """Put this machine's paths into the CMake files of the ROS wheels; how many files were
    changed.

    The wheels' CMake files name Python's headers and site-packages where they were on the machine
    that built the wheels.
    """
    probe = "import sysconfig; p = sysconfig.get_paths(); print(p['include']); print(p['purelib'])"
    answer = subprocess.run(
        [layout.python, "-I", "-c", probe], capture_output=True, text=True, check=True
    )
    headers, packages = answer.stdout.splitlines()
    changed = 0
    for file in (layout.venv / "share").rglob("*.cmake"):
        text = file.read_text()
        local = _BUILD_MACHINE_HEADERS.sub(lambda _: headers, text)
        local = _BUILD_MACHINE_PACKAGES.sub(lambda _: packages, local)
        if local != text:
            file.write_text(local)
            changed += 1
    return changed


def _without_numpy(layout: Layout, files: list[Path]) -> tuple[Path, list[str]]:
    """One list of all requirements that keeps the numpy which the installed ROS 2 was built with,
    and what has to be installed apart, without what it asks for.

    The messages' Python modules are compiled against numpy 1 in Humble and Jazzy, and numpy 2
    refuses to load such modules. livekit asks for a newer numpy than Humble's; what is used of it
    runs with 1.21.6, tested.
    """
    probe = "import numpy; print(numpy.__version__)"
    answer = subprocess.run(
        [layout.python, "-c", probe], capture_output=True, text=True, check=False
    )
    lines = [line for file in files for line in file.read_text().splitlines()]
    apart: list[str] = []
    if answer.returncode == 0:
        lines = [line for line in lines if not line.startswith("numpy==")]
        found = answer.stdout.strip()
        if tuple(map(int, found.split(".")[:2])) < _OLDEST_NUMPY_OF_LIVEKIT:
            apart = [line for line in lines if line.startswith("livekit==")]
            lines = [line for line in lines if line not in apart]
        # ONNX Runtime refuses the 1.21.5 of Ubuntu 22.04; 1.21.6 loads the same modules.
        lines.append(f"numpy=={'1.21.6' if found.startswith('1.21.') else found}")
    merged = layout.logs / "requirements.txt"
    merged.parent.mkdir(parents=True, exist_ok=True)
    merged.write_text("\n".join(lines) + "\n")
    return merged, apart
