"""The course of a run as pictures, for whoever has no TensorBoard at hand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_PICTURES = {
    "loss": ("loss", "eval_loss", "value_loss", "policy_loss"),
    "reward": ("reward", "eval_reward", "rewards/margins"),
    "accuracy": ("rewards/accuracies", "accuracy", "mean_token_accuracy", "eval_accuracy"),
    "kl": ("kl", "approx_kl"),
}


def draw(folder: Path, log: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Draw loss.png and what else the log has figures for; each is whole or not there."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    made = []
    for name, figures in _PICTURES.items():
        curves = {figure: _curve(log, figure) for figure in figures}
        curves = {figure: points for figure, points in curves.items() if points}
        if not curves:
            continue
        canvas, axes = pyplot.subplots(figsize=(8, 4.5), dpi=100)
        for figure, points in curves.items():
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, label=figure, marker="." if len(points) < 60 else None)
        axes.set_xlabel("step")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
        axes.legend()
        canvas.tight_layout()
        path = folder / f"{name}.png"
        unfinished = folder / f".{name}.{os.getpid()}.png"
        try:
            canvas.savefig(unfinished)
            unfinished.replace(path)
        finally:
            pyplot.close(canvas)
            unfinished.unlink(missing_ok=True)
        made.append(path)
    return made


def _curve(log: Sequence[Mapping[str, Any]], figure: str) -> list[tuple[float, float]]:
    return [
        (float(line["step"]), float(line[figure]))
        for line in log
        if "step" in line and isinstance(line.get(figure), (int, float))
    ]
