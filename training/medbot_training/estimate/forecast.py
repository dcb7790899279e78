"""How long the rest of a pipeline will take."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from medbot_llm.domain import MedbotError
from medbot_training.estimate.lengths import lengths_of
from medbot_training.estimate.shape import shape_of
from medbot_training.estimate.timing import Speed
from medbot_training.estimate.timing import steps_of
from medbot_training.estimate.timing import work_of
from medbot_training.recipes import Recipe

_GUESS = {"cpu": Speed(4e10, 8e9, "cpu"), "cuda": Speed(6e13, 5e11, "cuda")}
"""Two cores of a processor, and a GPU of some years ago; only the ratio of stages counts."""
_STARTING_S = 4.0
"""What a stage takes before its first step and after its last one, with a small model."""


def seconds_left(
    steps: Sequence[Any], done: Mapping[str, Mapping[str, Any]], gpu: bool = False
) -> float | None:
    """Seconds that steps of a pipeline will take.

    A step that ran before takes as long again. Others are estimated, and scaled by how long the
    stages that have ended took against their own estimates.

    Args:
        steps: The steps that are still to come.
        done: By a step's name, what is known of it: seconds when it has run, and what the
            estimate had said.
        gpu: Whether they train on a GPU.

    Returns:
        None before any stage has ended: an estimate of no measure would be a guess.
    """
    measured = [
        (entry["seconds"], entry["estimated"])
        for entry in done.values()
        if entry.get("status") == "finished" and entry.get("estimated")
    ]
    if not measured:
        return None
    scale = sum(seconds for seconds, _ in measured) / sum(guess for _, guess in measured)
    total = 0.0
    for step in steps:
        entry = done.get(step.name, {})
        if entry.get("status") == "finished":
            total += entry["seconds"]
        elif step.recipe is not None:
            guess = stage_seconds(step.recipe, gpu)
            if guess is None:
                return None
            total += scale * guess
        else:
            total += _STARTING_S * scale
    return total


def stage_seconds(recipe: Recipe, gpu: bool = False) -> float | None:
    """Seconds of a stage on a machine of no particular speed; None where nobody can tell."""
    try:
        lengths = lengths_of(recipe)
        shape = shape_of(recipe)
    except (MedbotError, OSError):
        return None
    steps = steps_of(recipe, lengths)
    if steps is None:
        return None
    speed = _GUESS["cuda" if gpu else "cpu"]
    return _STARTING_S + steps * work_of(recipe, shape, lengths, gpu).seconds(speed)
