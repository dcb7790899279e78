"""Where everything goes, and which ROS 2 it is for.

One ROS 2 distribution, one virtual environment and one build: Jazzy and Kilted lie side by side.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .errors import SetupError

PACKAGE = "medbot_llm"
ROOT = Path(__file__).resolve().parents[2]
DEFAULT_DISTRO = "jazzy"
WHEEL_DISTROS = ("jazzy", "kilted")
"""Distributions of ROS 2 that requirements/ros-DISTRO.txt has as wheels."""


@dataclass(frozen=True)
class Layout:
    """The folders of one set-up.

    Attributes:
        root: The repository.
        distro: Name of the ROS 2 distribution, e.g. "jazzy".
        sourced: ROS 2 is installed on this machine and sourced; False: it comes as wheels.
        home: Cache that all clones of the project share.
        voice: What it hears and speaks with is installed too.
    """

    root: Path
    distro: str
    sourced: bool
    home: Path
    voice: bool = True

    @property
    def venv(self) -> Path:
        """The virtual environment; the default distribution and a sourced one use plain
        `.venv`."""
        plain = self.sourced or self.distro == DEFAULT_DISTRO
        return self.root / (".venv" if plain else f".venv-{self.distro}")

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def ros(self) -> Path:
        """What is built with colcon, and its logs."""
        return self.root / ".ros" / (f"{self.distro}-sourced" if self.sourced else self.distro)

    @property
    def install(self) -> Path:
        return self.ros / "install"

    @property
    def prefix(self) -> Path:
        """Where colcon installs the package."""
        return self.install / PACKAGE

    @property
    def logs(self) -> Path:
        return self.ros / "log"

    @property
    def environment_script(self) -> Path:
        return self.ros / "env.sh"

    def requirements(self, name: str) -> Path:
        return self.root / "requirements" / f"{name}.txt"


def find_layout(ros: str = "", root: Path = ROOT) -> Layout:
    """The set-up that is wanted here and now.

    Args:
        ros: A distribution to take from wheels; "" the one that is sourced, else the default one's
            wheels.
        root: The repository.

    Raises SetupError if there are no wheels of that distribution, or if the folder can't be built
    in. MEDBOT_VOICE=0 leaves voice out.
    """
    if any(character.isspace() for character in str(root)):
        raise SetupError(f"ROS 2 can't be built below a path with spaces: move '{root}' elsewhere")
    if ros and ros not in WHEEL_DISTROS:
        raise SetupError(f"no wheels of ROS 2 '{ros}': choose one of {', '.join(WHEEL_DISTROS)}")
    home = Path(os.environ.get("MEDBOT_HOME") or Path.home() / ".cache" / "medbot").expanduser()
    voice = os.environ.get("MEDBOT_VOICE", "").strip() != "0"
    # Within the project's own environment ROS_DISTRO is set too: there the wheels are meant.
    own = os.environ.get("MEDBOT_ROS_WHEELS", "")
    distro = os.environ.get("ROS_DISTRO", "")
    if not ros and distro and not own:
        return Layout(root, distro, sourced=True, home=home, voice=voice)
    return Layout(root, ros or own or DEFAULT_DISTRO, sourced=False, home=home, voice=voice)
