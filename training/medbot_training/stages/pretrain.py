"""`medbot-train pretrain`: go on pre-training a base on plain text."""

from __future__ import annotations

from typing import Any

from medbot_training.stages.command import add_stage

_DESCRIPTION = """\
Go on pre-training a base on plain text, one paragraph or document a line: new words and facts of
a field, before the model is taught to talk about them. Texts are packed into blocks of max_length
tokens: packing_strategy 'wrapped' fills each block and cuts where it is full, 'bfd' keeps texts
apart.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    add_stage(
        subparsers,
        "pretrain",
        "go on pre-training on plain text",
        _DESCRIPTION,
        "medbot-train pretrain --config recipes/cpu-0.5b.yaml --train_file texts.txt",
    )
