"""A stage that is killed goes on when it is called again, and ends as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from .conftest import SMOKE
from .conftest import RunStage

_STEPS = "30"
_SHORT = ("--max_completion_length", "8")

# Each with the checkpoint after which it is killed, and the last figure that must be the same.
_STAGES = {
    "pretrain": ("pretrain", "loss", []),
    "sft": ("sft", "loss", ["--lora_dropout", "0.1", "--packing", "false"]),
    "dpo": ("dpo", "loss", ["--lora_dropout", "0.1"]),
    "kto": ("dpo", "loss", ["--loss_type", "kto"]),
    "reward": ("reward", "loss", []),
    "grpo": ("rl", "reward", [*_SHORT, "--per_device_train_batch_size", "8"]),
    "ppo": (
        "rl",
        "reward",
        ["--algorithm", "ppo", *_SHORT, "--per_device_train_batch_size", "4"],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", _STAGES)
def test_killed_and_called_again_ends_the_same(kind: str, tiny: Path, tmp_path: Path) -> None:
    stage, figure, options = _STAGES[kind]
    shared = ["--model_name_or_path", str(tiny), "--max_steps", _STEPS, "--save_steps", "5"]
    shared += ["--logging_steps", "1", *options]
    if stage == "rl":
        shared += ["--reward_funcs", "medbot_training.testing:even_reward"]
    whole = _result(stage, tmp_path / "whole", shared)
    _killed(stage, tmp_path / "killed", shared)
    (tmp_path / "killed" / "checkpoint-1000").mkdir()  # As left by a save that was killed.
    again = _result(stage, tmp_path / "killed", shared)
    assert again["resumed"], "it started anew"
    assert again["steps"] == whole["steps"] == int(_STEPS)
    assert again["result"][figure] == pytest.approx(whole["result"][figure], abs=1e-3)
    assert _curve(tmp_path / "killed", figure) == pytest.approx(
        _curve(tmp_path / "whole", figure), abs=1e-3
    )


def test_stopped_and_called_again_ends_the_same(
    run_stage: RunStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medbot_training.stages import trainers

    fields: dict[str, Any] = {
        "max_steps": 10,
        "save_steps": 4,
        "logging_steps": 1,
        "lora_dropout": 0.1,
        "packing": False,
        "validation_file": None,
    }
    whole = run_stage("sft", output_dir=str(tmp_path / "whole"), **fields)

    def stop(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(trainers._Progress, "on_step_end", stop)
        with pytest.raises(KeyboardInterrupt):
            run_stage("sft", output_dir=str(tmp_path / "cut"), **fields)
    assert not (tmp_path / "cut" / "final").exists()
    # A save that was killed has no state, or half of one.
    (tmp_path / "cut" / "checkpoint-5").mkdir()
    (tmp_path / "cut" / "checkpoint-6").mkdir()
    (tmp_path / "cut" / "checkpoint-6" / "trainer_state.json").write_text('{"global_')
    again = run_stage("sft", output_dir=str(tmp_path / "cut"), **fields)
    assert again["resumed"] and again["steps"] == 10
    assert again["result"]["loss"] == pytest.approx(whole["result"]["loss"], abs=1e-6)
    assert _curve(tmp_path / "cut", "loss") == pytest.approx(
        _curve(tmp_path / "whole", "loss"), abs=1e-6
    )
    assert not (tmp_path / "cut" / "checkpoint-6").exists()


def _command(stage: str, folder: Path, options: Sequence[str]) -> list[str]:
    words = [sys.executable, "-m", "medbot_training.cli", stage, "--config", str(SMOKE)]
    return [*words, "--output_dir", str(folder), *options]


def _result(stage: str, folder: Path, options: Sequence[str]) -> dict[str, Any]:
    done = subprocess.run(_command(stage, folder, options), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "run.json").read_text())
    assert isinstance(found, dict)
    return found


def _killed(stage: str, folder: Path, options: Sequence[str]) -> None:
    process = subprocess.Popen(
        _command(stage, folder, options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while not list(folder.glob("checkpoint-*/trainer_state.json")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "final").exists(), "it was too quick to be killed"


def _curve(folder: Path, figure: str) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [line[figure] for line in map(json.loads, lines) if figure in line]
