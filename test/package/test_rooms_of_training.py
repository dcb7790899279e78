"""What training may use of the robot's package: its prompts and safety rules, so that both see the
same, and none of what makes it a robot (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "training" / "medbot_training"
MAY_IMPORT = {
    "domain",
    "knowledge",
    "prompts",
    "safety",
    "text",
    "models.catalog",
    "models.exports",
    "models.store",
    # What is exported is asked as the robot will ask it.
    "engines.base",
    "engines.llama_cpp",
    "apps.command_line",
    "apps.json_lines",
    "apps.tasks",
    "apps.threads",
}
WITHOUT_TORCH = ("cli.py", "data/", "rewards/")
HEAVY = {
    "accelerate",
    "bitsandbytes",
    "datasets",
    "deepspeed",
    "peft",
    "torch",
    "transformers",
    "trl",
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports_of(path: Path) -> set[str]:
    """Full names of all modules that a file imports, wherever in the file it does."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_training_uses_only_what_is_shared(path):
    rooms = {
        name.removeprefix("medbot_llm.") for name in imports_of(path) if "medbot_llm." in name
    }
    assert {
        room for room in rooms if room not in MAY_IMPORT and room.split(".")[0] not in MAY_IMPORT
    } == set()


@pytest.mark.parametrize(
    "path", [path for path in MODULES if name_of(path).startswith(WITHOUT_TORCH)], ids=name_of
)
def test_data_and_rewards_need_no_pytorch(path):
    assert not {name.split(".")[0] for name in imports_of(path)} & HEAVY
