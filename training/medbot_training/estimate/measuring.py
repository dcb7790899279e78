"""Runs a few steps of a stage in a process of its own, and says what they took."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from medbot_training.estimate.shape import EstimateError
from medbot_training.recipes import Recipe

STEPS = 5
_WARM_UP_STEPS = 1
"""Not counted in the time: buffers are made and kernels are chosen."""

_CHILD = "medbot_training.estimate.measuring"


def measured(recipe: Recipe, device: str) -> dict[str, Any]:
    """Run a few steps in a folder that is deleted again.

    Args:
        recipe: The recipe of the stage.
        device: cpu or cuda.

    Returns:
        peak: bytes at the peak, loading included; seconds_a_step; steps.

    Raises:
        EstimateError: It could not run; says why.
    """
    with tempfile.TemporaryDirectory(prefix="medbot-estimate-") as folder:
        given = {
            **recipe.given,
            "output_dir": str(Path(folder) / recipe.stage),
            "max_steps": STEPS,
            "save_steps": 1000,
            "logging_steps": 1,
            "device": device,
        }
        if recipe.kind != "ppo":
            given |= {"save_strategy": "no", "eval_strategy": "no", "report_to": []}
        given.pop("early_stopping_patience", None)
        given["train_file"] = [str(path.absolute()) for path in recipe.files("train_file")]
        given["validation_file"] = None
        order = Path(folder) / "order.json"
        order.write_text(json.dumps({"stage": recipe.stage, "given": given}), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", _CHILD, str(order)], capture_output=True, text=True
        )
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise EstimateError(f"the steps to measure have failed: {(lines or ['?'])[-1]}")
        found: dict[str, Any] = json.loads(order.with_suffix(".out").read_text(encoding="utf-8"))
    return found


def _main(order: Path) -> int:
    import time

    from transformers import TrainerCallback

    from medbot_llm.domain import MedbotError
    from medbot_training.recipes import load_recipe
    from medbot_training.stages import runner

    wanted = json.loads(order.read_text(encoding="utf-8"))
    recipe = load_recipe(wanted["stage"], None, wanted["given"])
    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    if recipe.kind == "ppo":
        from medbot_training import ppo

        update = ppo._Trainer._update

        def timed(trainer: Any) -> Any:
            figures = update(trainer)
            times.append(time.perf_counter())
            return figures

        ppo._Trainer._update = timed  # type: ignore[method-assign, assignment]
    else:
        from medbot_training.stages import trainers

        callbacks = trainers._callbacks
        trainers._callbacks = lambda recipe: [*callbacks(recipe), Clock()]
    try:
        runner.run_stage(recipe)
    except MedbotError as error:
        print(error, file=sys.stderr)
        return 2
    found = {
        "peak": _peak(recipe),
        "seconds_a_step": (times[-1] - times[_WARM_UP_STEPS - 1]) / (len(times) - _WARM_UP_STEPS),
        "steps": len(times),
    }
    order.with_suffix(".out").write_text(json.dumps(found), encoding="utf-8")
    return 0


def _peak(recipe: Recipe) -> int:
    from medbot_training.stages.runner import has_gpu

    if has_gpu(recipe):
        import torch

        free, whole = torch.cuda.mem_get_info()
        reserved = torch.cuda.memory_reserved()
        context = max(0, whole - free - reserved)
        return int(torch.cuda.max_memory_reserved() + context)
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise EstimateError("the system does not say how much memory a process had at its peak")


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
