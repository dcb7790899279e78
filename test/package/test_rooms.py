"""The house's rules: which room of the package may import which (docs/architecture.md)."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "medbot_llm"
DIALOGUE_MAY_IMPORT = {"domain", "text", "prompts", "knowledge", "safety", "engines"}
CORE = {*DIALOGUE_MAY_IMPORT, "dialogue", "speech", "models"}
MAY_IMPORT = {
    "domain": set(),
    "text": {"domain"},
    "prompts": {"domain"},
    "knowledge": {"domain", "text"},
    "safety": {"domain", "text", "knowledge"},
    "engines": {"domain"},
    "dialogue": DIALOGUE_MAY_IMPORT,
    "speech": {"domain", "text"},
    # The one thing of ours that even the store shares: the class of the errors it raises.
    "models": {"domain"},
    "nodes": {*CORE, "apps", "msg"},
    "apps": CORE,
    "resource": set(),
}
ROS_PACKAGES = (
    "rclpy",
    "rcl_interfaces",
    "builtin_interfaces",
    "std_srvs",
    "launch",
    "launch_ros",
    "ament",
)

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Full names of all modules that a file imports, wherever in the file it does."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = ("medbot_llm", *path.relative_to(PACKAGE).parts)[: -node.level]
                base = ".".join((*parents, base)).rstrip(".")
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def is_of_ros(name: str) -> bool:
    top = name.split(".")[0]
    return (
        top.startswith(ROS_PACKAGES) or top.endswith("_msgs") or name.startswith("medbot_llm.msg")
    )


def test_every_room_has_a_rule():
    assert MODULES
    assert {room_of(path) for path in MODULES} <= set(MAY_IMPORT)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_room_imports_only_what_it_may(path):
    room = room_of(path)
    imported = {name.split(".")[1] for name in imports_of(path) if name.startswith("medbot_llm.")}
    assert imported - {"__version__"} <= MAY_IMPORT[room] | {room}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_nodes_import_ros(path):
    of_ros = {name for name in imports_of(path) if is_of_ros(name)}
    assert room_of(path) == "nodes" or not of_ros


def test_checks_see_imports_of_every_form(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    path = tmp_path / "safety" / "x.py"
    path.parent.mkdir()
    path.write_text(
        "import medbot_llm.engines.base\nfrom medbot_llm import nodes\nfrom ..speech import vad\n"
        "from . import base\ndef f():\n    from std_msgs.msg import String\n"
    )
    names = imports_of(path)
    assert names == {
        "medbot_llm.engines.base",
        "medbot_llm.nodes",
        "medbot_llm.speech.vad",
        "medbot_llm.safety.base",
        "std_msgs.msg.String",
    }
    assert {name for name in names if is_of_ros(name)} == {"std_msgs.msg.String"}
