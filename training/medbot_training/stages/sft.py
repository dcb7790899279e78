"""`medbot-train sft`: teach a base to answer, by conversations."""

from __future__ import annotations

from typing import Any

from medbot_training.stages.command import add_stage

_DESCRIPTION = """\
Teach a base to answer, by conversations. The loss is on the assistant's words alone and on the
token that ends its turn. With packing, conversations share a row without seeing each other.
Records that bring their delivery task are put into the robot's own prompts.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    add_stage(
        subparsers,
        "sft",
        "teach it to answer, by conversations",
        _DESCRIPTION,
        "medbot-train sft --config recipes/cpu-0.5b.yaml --train_file train.jsonl",
    )
