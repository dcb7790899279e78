"""`medbot-train dpo`: teach it which of two answers is better."""

from __future__ import annotations

from typing import Any

from medbot_training.stages.command import add_stage

_DESCRIPTION = """\
Teach a model which of two answers is better, by pairs of a chosen and a rejected one. Go on from
the SFT adapter with adapter_name_or_path: it is trained further, against a frozen copy of itself.
loss_type: sigmoid (DPO), ipo, and the others of TRL; kto judges each answer by itself.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    add_stage(
        subparsers,
        "dpo",
        "teach it which of two answers is better (DPO, IPO, KTO)",
        _DESCRIPTION,
        "medbot-train dpo --config recipes/cpu-0.5b.yaml --adapter_name_or_path outputs-sft/final",
    )
