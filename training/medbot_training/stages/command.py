"""What the commands of all stages share: `--config`, and an option for each field of a recipe."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from medbot_llm.apps.command_line import EXIT_PROBLEM
from medbot_llm.domain import MedbotError
from medbot_training.recipes import OWN_FIELDS
from medbot_training.recipes import aliases
from medbot_training.recipes import load_recipe
from medbot_training.recipes import stage_fields
from medbot_training.stages.processes import is_told_already

_COMMON = (
    "output_dir",
    "learning_rate",
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "gradient_checkpointing",
    "max_length",
    "packing",
    "packing_strategy",
    "optim",
    "bf16",
    "fp16",
    "neftune_noise_alpha",
    "seed",
    "save_steps",
    "logging_steps",
    "loss_type",
    "beta",
    "algorithm",
    "reward_funcs",
    "num_generations",
    "max_completion_length",
    "target_kl",
    "ppo_epochs",
    "mini_batch_size",
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "use_dora",
    "load_in_4bit",
    "load_in_8bit",
    "deepspeed",
)
"""Fields that `--help` explains, besides our own; `--help-fields` lists all."""


def add_stage(subparsers: Any, stage: str, summary: str, description: str, example: str) -> None:
    """Add the command of a stage."""
    fields = stage_fields(stage)
    parser = subparsers.add_parser(
        stage,
        help=summary,
        description=description,
        epilog=_epilog(stage, fields, example),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage=f"medbot-train {stage} --config RECIPE.yaml [--any-field VALUE …]",
    )
    parser.add_argument("--config", type=Path, metavar="RECIPE", help="the recipe, a YAML file")
    parser.add_argument(
        "--help-fields", action="store_true", help="list every field that a recipe may have"
    )
    for name in dict.fromkeys([*fields, *aliases()]):
        if aliases().get(name, name) not in fields or name in ("config", "help_fields"):
            continue
        dashed = name.replace("_", "-")
        flags = [f"--{name}"] if dashed == name else [f"--{name}", f"--{dashed}"]
        parser.add_argument(*flags, dest=f"field:{name}", nargs="*", help=argparse.SUPPRESS)
    refuse_unknown(parser, [*fields, *aliases()])
    parser.set_defaults(run=run, stage=stage, parser=parser)


def refuse_unknown(parser: argparse.ArgumentParser, known: Sequence[str]) -> None:
    """Let a parser refuse what it does not know with the closest name that it does."""
    parse = parser.parse_known_args

    def parse_all(args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        found, rest = parse(args, namespace)
        if rest:
            parser.error(_unknown(rest[0], known))
        return found, rest

    parser.parse_known_args = parse_all  # type: ignore[method-assign]


def run(args: argparse.Namespace) -> int:
    """Run the stage that the arguments name."""
    stage: str = args.stage
    if args.help_fields:
        _list_fields(stage)
        return 0
    options = given_fields(stage, args)
    if args.config is None and not options:
        args.parser.error("--config RECIPE.yaml is missing")
    try:
        recipe = load_recipe(stage, args.config, options)
        # Heavy from here on.
        from medbot_training.stages.runner import run_stage

        return run_stage(recipe)
    except MedbotError as error:
        if is_told_already(error):
            return EXIT_PROBLEM
        raise


def given_fields(
    stage: str, args: argparse.Namespace, skip_unknown: bool = False
) -> dict[str, Any]:
    """The fields of a recipe that were given as options.

    Args:
        stage: The stage that they are for.
        args: The parsed arguments.
        skip_unknown: Leave out those that the stage does not have; False: give them as they are,
            and the recipe's check refuses them.
    """
    fields = stage_fields(stage)
    found = {}
    for key, values in vars(args).items():
        name = key.removeprefix("field:")
        if name == key or values is None:
            continue
        if aliases().get(name, name) in fields:
            found[name] = _value(stage, name, values)
        elif not skip_unknown:
            found[name] = " ".join(values)
    return found


def _value(stage: str, name: str, words: Sequence[str]) -> Any:
    """The value of an option as YAML would read it; none at all means true."""
    if not words:
        return True
    kinds = stage_fields(stage)[aliases().get(name, name)]["kinds"]
    if len(words) > 1:
        return list(words)
    word = words[0]
    if "list" in kinds and "," in word and not word.startswith("["):
        return word.split(",")
    if word.lower() in ("true", "false", "null", "none"):
        return {"true": True, "false": False}.get(word.lower())
    if word[:1] in ("[", "{"):
        try:
            return yaml.safe_load(word)
        except yaml.YAMLError:
            return word
    return word


def _unknown(word: str, known: Sequence[str]) -> str:
    if not word.startswith("-"):
        return f"'{word}' is no option"
    name = word.split("=")[0]
    close = difflib.get_close_matches(name.strip("-").replace("-", "_"), known, n=1, cutoff=0.6)
    return f"there is no option {name}" + (f"; did you mean --{close[0]}?" if close else "")


def _epilog(stage: str, fields: dict[str, dict[str, Any]], example: str) -> str:
    lines = [f"example:\n  {example}", "", "fields of a recipe, each also an option:"]
    own = [name for name in fields if name in OWN_FIELDS]
    for name in dict.fromkeys([*own, *(name for name in _COMMON if name in fields)]):
        lines.append(_field_line(name, fields[name]))
    lines.append(f"\n{len(fields)} fields in all: medbot-train {stage} --help-fields")
    return "\n".join(lines)


def _field_line(name: str, entry: dict[str, Any]) -> str:
    text = str(entry.get("help", "")).replace("%", "%%")
    return f"  {name:<28} {text}"


def _list_fields(stage: str) -> None:
    for name, entry in sorted(stage_fields(stage).items()):
        kinds = "|".join(entry["kinds"])
        default = entry["default"]
        print(f"{name}: {kinds} = {default!r}\n    {entry.get('help', '')}")
