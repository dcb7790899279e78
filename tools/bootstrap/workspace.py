"""Build the package with colcon."""

from __future__ import annotations

import shutil

from .environment import environment_script
from .environment import ros_environment
from .layout import Layout
from .processes import run_logged
from .steps import digest

_CONTENT_COUNTS = ("CMakeLists.txt", "package.xml", "msg/*.msg")
_NAME_COUNTS = ("medbot_llm/**/*", "resource/**/*", "launch/**/*", "config/**/*")
"""These are installed as links into the repository: only what is new has to be linked."""


def workspace_inputs(layout: Layout) -> str:
    """The hash of all that a build depends on."""
    content = [file for pattern in _CONTENT_COUNTS for file in layout.root.glob(pattern)]
    names = [
        str(file.relative_to(layout.root))
        for pattern in _NAME_COUNTS
        for file in layout.root.glob(pattern)
        if file.is_file() and file.suffix != ".pyc"
    ]
    return digest(
        *(part for file in sorted(content) for part in (str(file), file)), *sorted(names)
    )


def build_workspace(layout: Layout) -> None:
    """Run `colcon build`, and write the environment's script. Raises SetupError."""
    run_logged(
        [
            *("colcon", "--log-base", layout.logs / "colcon", "build", "--symlink-install"),
            *("--base-paths", layout.root),
            *("--build-base", layout.ros / "build", "--install-base", layout.install),
            *("--event-handlers", "console_direct+", "--cmake-args"),
            *("-DCMAKE_BUILD_TYPE=Release", "-DBUILD_TESTING=OFF", "-Wno-dev"),
            # The scripts that colcon installs start with this Python.
            f"-DPython3_EXECUTABLE={layout.python}",
        ],
        layout.logs / "build.log",
        what="building the package with colcon",
        environment=ros_environment(layout, with_workspace=False),
        folder=layout.ros,
    )
    layout.environment_script.write_text(environment_script(layout))


def discard_workspace(layout: Layout) -> None:
    """Delete what was built."""
    for folder in (layout.ros / "build", layout.install):
        shutil.rmtree(folder, ignore_errors=True)
