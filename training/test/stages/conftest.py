"""A tiny base shared by the tests, and stages run in this process."""

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

RunStage = Callable[..., dict[str, Any]]


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


@pytest.fixture
def run_stage(tiny: Path, tmp_path: Path) -> RunStage:
    """Runs a stage of the smoke recipe on the tiny model, and gives its run.json."""

    def run(stage: str, **fields: Any) -> dict[str, Any]:
        from medbot_training.recipes import load_recipe
        from medbot_training.stages import runner

        options = {
            "model_name_or_path": str(tiny),
            "output_dir": str(tmp_path / stage),
            "save_steps": 1000,
            **fields,
        }
        if options.get("adapter_name_or_path"):
            options["adapter_name_or_path"] = str(options["adapter_name_or_path"])
        recipe = load_recipe(stage, SMOKE, options)
        assert runner.run_stage(recipe) == 0
        found = json.loads((recipe.output_dir / "run.json").read_text())
        assert isinstance(found, dict)
        return found

    return run
