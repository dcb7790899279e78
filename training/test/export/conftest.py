"""A tiny base and an adapter on it, trained for a few steps and shared by the tests."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

RECIPES = Path(__file__).parents[2] / "recipes"
SMOKE = RECIPES / "smoke.yaml"

Train = Callable[..., Path]
Told = Callable[..., str]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model."""
    from medbot_training.base import make_tiny_model
    from medbot_training.stages.prepare import base_texts
    from medbot_training.stages.runner import quiet_libraries

    quiet_libraries()
    folder = tmp_path_factory.mktemp("base") / "tiny-random"
    make_tiny_model(folder, base_texts([RECIPES / "smoke" / "sft.jsonl"]))
    return folder


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Train:
    """Runs a stage of the smoke recipe, by default on the tiny model, and gives its final/."""

    def run(stage: str = "sft", **fields: Any) -> Path:
        from medbot_training.recipes import load_recipe
        from medbot_training.stages.runner import run_stage

        options = {
            "model_name_or_path": str(tiny),
            "output_dir": str(tmp_path_factory.mktemp(stage)),
            "validation_file": None,
            "save_steps": 1000,
            **fields,
        }
        recipe = load_recipe(stage, SMOKE, options)
        assert run_stage(recipe) == 0
        return recipe.output_dir / "final"

    return run


@pytest.fixture(scope="session")
def adapter(train: Train) -> Path:
    """An adapter that has learnt most of the smoke data."""
    return train(max_steps=60, packing=True)


@pytest.fixture(scope="session")
def merged(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It merged into its base."""
    from medbot_training.export.merge import MergeSettings
    from medbot_training.export.merge import merge

    folder = tmp_path_factory.mktemp("merged") / "merged"
    merge(MergeSettings(adapter, folder))
    return folder


@pytest.fixture(scope="session")
def exported(merged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That as GGUF, in 16 bits and in fewer."""
    from medbot_training.export.gguf import ExportSettings
    from medbot_training.export.gguf import export

    folder = tmp_path_factory.mktemp("exported") / "ward-v1"
    kinds = ("f16", "q8_0", "q4_k_m")
    export(ExportSettings(folder, model=merged, quantize=kinds))
    return folder


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """Calls the command, which has to refuse in one line, and gives that line."""

    def call(*words: object) -> str:
        from medbot_training.cli import main

        capsys.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as end:
            status = int(end.code or 0)
        said = capsys.readouterr().err
        assert status == 2, said
        lines = [
            line for line in said.splitlines() if not line.startswith(("merge: ", "export: "))
        ]
        assert len(lines) == 1, said
        return lines[0]

    return call


def read(folder: Path, name: str = "run.json") -> dict[str, Any]:
    """A JSON file of a folder."""
    found = json.loads((folder / name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found
