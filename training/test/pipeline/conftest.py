"""A pipeline run as a user runs it: the command, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

RECIPES = Path(__file__).parents[2] / "recipes"
SMOKE = RECIPES / "smoke.yaml"

# As few steps as show that each stage learns.
LEAN_STEPS = {"pretrain": 16, "sft": 40, "dpo": 12, "reward": 16, "rl": 10}


@dataclass(frozen=True)
class Ran:
    """A pipeline that has run to its end.

    Attributes:
        recipe: Its recipe.
        folder: Its folder.
        stdout: What it printed.
        stderr: What it told meanwhile.
        seconds: How long it took.
    """

    recipe: Path
    folder: Path
    stdout: str
    stderr: str
    seconds: float

    @property
    def stages(self) -> dict[str, dict[str, Any]]:
        """What pipeline.json says of each stage."""
        return stages_of(self.folder)


def stages_of(folder: Path) -> dict[str, dict[str, Any]]:
    """What pipeline.json says of each stage."""
    found = json.loads((folder / "pipeline.json").read_text(encoding="utf-8"))["stages"]
    assert isinstance(found, dict)
    return found


def command(recipe: Path, folder: Path, *options: str) -> list[str]:
    """The command, as it is typed."""
    words = [sys.executable, "-m", "medbot_training.cli", "pipeline", str(recipe)]
    return [*words, "--output_dir", str(folder), *options]


def environment(**more: str) -> dict[str, str]:
    """One thread: the model is tiny, and two would only wait for each other."""
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def run(recipe: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, whatever that is."""
    return subprocess.run(
        command(recipe, folder, *options), capture_output=True, text=True, env=environment()
    )


def problem_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a command that could not do what it was asked."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("medbot-train: ")]
    assert len(lines) == 1, done.stderr
    assert done.stderr.splitlines()[-1] == lines[0], done.stderr
    return lines[0]


def smaller(path: Path, changes: Mapping[str, Any], stages: list[str] | None = None) -> Path:
    """Write the smoke recipe with other fields in its sections."""
    content = yaml.safe_load(SMOKE.read_text(encoding="utf-8"))
    for section, fields in changes.items():
        if isinstance(fields, Mapping):
            content.setdefault(section, {}).update(fields)
        else:
            content[section] = fields
    if stages is not None:
        content["pipeline"] = {"stages": stages}
    text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
    # The recipe moves, its data stays.
    text = re.sub(r"(?<=_file: )smoke/", f"{RECIPES}/smoke/", text)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """All stages of the smoke recipe, with fewer steps."""
    folder = tmp_path_factory.mktemp("pipeline")
    changes = {name: {"max_steps": steps} for name, steps in LEAN_STEPS.items()}
    recipe = smaller(folder / "lean.yaml", {**changes, "save_steps": 5})
    started = time.monotonic()
    done = run(recipe, folder / "out")
    assert done.returncode == 0, done.stderr
    seconds = time.monotonic() - started
    return Ran(recipe, folder / "out", done.stdout, done.stderr, seconds)
