"""The `medbot-train` command: one sub-command for each stage, and `data` for what goes in.

How a sub-command is made, and what the exit status means, says medbot_llm/apps/command_line.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from medbot_llm.apps.command_line import Command
from medbot_llm.apps.command_line import CommandLine
from medbot_training import __version__

COMMANDS = {
    "pipeline": Command(
        "medbot_training.pipeline.command", "all stages of a recipe, merged and exported"
    ),
    "estimate": Command(
        "medbot_training.estimate.command", "how much memory and time a stage will take"
    ),
    "data": Command(
        "medbot_training.data.commands", "convert, split, count, check and de-identify data"
    ),
    "pretrain": Command("medbot_training.stages.pretrain", "go on pre-training on plain text"),
    "sft": Command("medbot_training.stages.sft", "teach it to answer, by conversations"),
    "dpo": Command(
        "medbot_training.stages.dpo", "teach it which of two answers is better (DPO, IPO, KTO)"
    ),
    "reward": Command("medbot_training.stages.reward", "train a model that gives answers marks"),
    "rl": Command("medbot_training.stages.rl", "let it learn from rewards (GRPO, RLOO, PPO)"),
    "merge": Command(
        "medbot_training.export.merge", "put an adapter into the weights of its base"
    ),
    "export": Command(
        "medbot_training.export.gguf", "make the GGUF that the robot loads, and check it"
    ),
    "rewards": Command(
        "medbot_training.rewards.commands", "score answers by the rules that rewards are made of"
    ),
    "teacher": Command(
        "medbot_training.rewards.teacher_commands", "let a larger model mark answers"
    ),
}

_EPILOG = """\
examples:
  medbot-train pipeline recipes/smoke.yaml --output_dir out      from data to a GGUF
  medbot-train estimate --config recipes/llama-3.1-8b.yaml       memory and time, before
  medbot-train data validate train.jsonl             what is wrong with a file, a line a finding
  medbot-train data split all.jsonl -o data/         train, validation, test, gold, red team
  medbot-train data --help                           all about one command
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, by default that of this process, and give its exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    # The launcher of DeepSpeed puts it before all else; the environment says it too.
    if words and words[0].startswith("--local_rank"):
        words = words[1:]
    return command_line().main(words)


def command_line() -> CommandLine:
    """The command with all its sub-commands."""
    return CommandLine(
        program="medbot-train",
        description="Retrain the robot's language model: data in, an adapter out.",
        epilog=_EPILOG,
        commands=COMMANDS,
        version=lambda: __version__,
    )


if __name__ == "__main__":
    sys.exit(main())
