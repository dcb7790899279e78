"""The variables with which ROS processes run, in one place: for make, for the tests and for a
shell.

A sourced ROS 2 has set most of them already. ROS 2 from wheels has no setup script: the virtual
environment is its prefix.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from .layout import PACKAGE
from .layout import Layout

_PATHS = ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH")
_DEFAULTS = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_LOCALHOST_ONLY": "1"}
_LAST_DISTRO_WITHOUT_DISCOVERY_RANGE = "humble"


def ros_environment(
    layout: Layout, base: Mapping[str, str] | None = None, *, with_workspace: bool = True
) -> dict[str, str]:
    """All environment variables of a process that uses ROS 2 and the built package.

    Robots on the same network stay out of it by default (ROS_AUTOMATIC_DISCOVERY_RANGE); a value
    that is set already stays.

    Args:
        layout: The set-up.
        base: The variables to start from; None: those of this process.
        with_workspace: False leaves out the package itself, for building it.
    """
    environment = dict(os.environ if base is None else base)
    if not layout.sourced:
        _leave_other_ros(environment)
        for name in ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH"):
            _prepend(environment, name, layout.venv)
        _prepend(environment, "LD_LIBRARY_PATH", layout.venv / "lib")
        environment["MEDBOT_ROS_WHEELS"] = layout.distro
        environment["ROS_DISTRO"] = layout.distro
        environment["ROS_VERSION"] = "2"
        environment["ROS_PYTHON_VERSION"] = "3"
    _prepend(environment, "PATH", layout.venv / "bin")
    environment["VIRTUAL_ENV"] = str(layout.venv)
    environment.pop("PYTHONHOME", None)
    if with_workspace:
        _prepend(environment, "AMENT_PREFIX_PATH", layout.prefix)
        _prepend(environment, "LD_LIBRARY_PATH", layout.prefix / "lib")
        for packages in _python_folders(layout.prefix):
            _prepend(environment, "PYTHONPATH", packages)
    old = layout.distro == _LAST_DISTRO_WITHOUT_DISCOVERY_RANGE
    name = "ROS_LOCALHOST_ONLY" if old else "ROS_AUTOMATIC_DISCOVERY_RANGE"
    environment.setdefault(name, _DEFAULTS[name])
    return environment


def environment_script(layout: Layout) -> str:
    """Shell commands that set what `ros_environment` sets, to be sourced by hand."""
    changed = ros_environment(layout, {name: f"${{{name}}}" for name in _PATHS})
    lines = [f"# Environment of {PACKAGE} on ROS 2 {layout.distro}, written by `make setup`."]
    for name, value in sorted(changed.items()):
        if name in _DEFAULTS:
            lines.append(f'export {name}="${{{name}:-{value}}}"')
            continue
        if name not in _PATHS:
            lines.append(f"export {name}={shlex.quote(value)}")
            continue
        # The former value, if any, goes last: empty entries would mean the current folder.
        entries = [entry for entry in value.split(os.pathsep) if entry != f"${{{name}}}"]
        own = shlex.quote(os.pathsep.join(entries))
        if entries:
            lines.append(f"export {name}={own}${{{name}:+:${name}}}")
    return "\n".join(lines) + "\n"


def _python_folders(prefix: Path) -> list[Path]:
    """Where the package's Python lies: ament names the folder after the Python version, Debian its
    own way."""
    return sorted(
        {
            package.parent
            for folder in (prefix / "lib", prefix / "local" / "lib")
            for package in folder.glob(f"python3*/*-packages/{PACKAGE}")
        }
    )


def _leave_other_ros(environment: dict[str, str]) -> None:
    """Take the folders of a sourced ROS 2 out of all paths: two distributions in one process don't
    mix."""
    if "AMENT_PREFIX_PATH" not in environment:
        return
    prefixes = [
        prefix for prefix in environment.pop("AMENT_PREFIX_PATH").split(os.pathsep) if prefix
    ]
    environment.pop("COLCON_PREFIX_PATH", None)
    for name in _PATHS:
        if name not in environment:
            continue
        kept = [
            entry
            for entry in environment[name].split(os.pathsep)
            if not any(Path(entry).is_relative_to(prefix) for prefix in prefixes)
        ]
        environment[name] = os.pathsep.join(kept)


def _prepend(environment: dict[str, str], name: str, folder: Path) -> None:
    entries = [entry for entry in environment.get(name, "").split(os.pathsep) if entry]
    environment[name] = os.pathsep.join(
        [str(folder), *(entry for entry in entries if entry != str(folder))]
    )
