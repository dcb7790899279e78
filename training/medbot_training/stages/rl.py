"""`medbot-train rl`: let it try, and learn from rewards."""

from __future__ import annotations

from typing import Any

from medbot_training.stages.command import add_stage

_DESCRIPTION = """\
Let a model answer prompts and learn from the rewards its answers get. algorithm: grpo and rloo
compare several answers to a prompt with each other; ppo learns beside it what to expect. Go on
from the SFT adapter with adapter_name_or_path. reward_funcs: combined (rules and teacher), rules,
a folder from the stage 'reward', or a function of your own as module:function.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    add_stage(
        subparsers,
        "rl",
        "let it learn from rewards (GRPO, RLOO, PPO)",
        _DESCRIPTION,
        "medbot-train rl --config recipes/cpu-0.5b.yaml --adapter_name_or_path outputs-sft/final",
    )
