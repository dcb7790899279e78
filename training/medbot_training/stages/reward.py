"""`medbot-train reward`: a model that gives an answer marks."""

from __future__ import annotations

from typing import Any

from medbot_training.stages.command import add_stage

_DESCRIPTION = """\
Train a model that gives an answer marks, by pairs of a chosen and a rejected one. The stage 'rl'
takes its folder among reward_funcs.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    add_stage(
        subparsers,
        "reward",
        "train a model that gives answers marks",
        _DESCRIPTION,
        "medbot-train reward --config recipes/cpu-0.5b.yaml --train_file pairs.jsonl",
    )
