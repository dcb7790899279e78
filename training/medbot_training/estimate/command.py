"""`medbot-train estimate`: peak memory and time a step of a stage, before anything is started."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from medbot_training.recipes import STAGES
from medbot_training.recipes import Recipe
from medbot_training.recipes import RecipeError
from medbot_training.recipes import aliases
from medbot_training.recipes import load_recipe
from medbot_training.recipes import read_recipe
from medbot_training.recipes import stage_fields
from medbot_training.stages.command import given_fields
from medbot_training.stages.command import refuse_unknown

_DESCRIPTION = """\
Estimate the peak memory and the time a step of a stage, before anything is started or loaded: from
the settings of the base, the recipe and the data. Where the data is not here, samples are taken to
be as long as max_length allows. The estimate is for one process.
"""

_EPILOG = """\
examples:
  medbot-train estimate --config recipes/llama-3.1-8b.yaml             every stage of the recipe
  medbot-train estimate --config my.yaml --stage dpo --max_length 512  with another field
  medbot-train estimate --config my.yaml --stage sft --on gpu          as on a GPU, without one
  medbot-train estimate --config my.yaml --stage sft --measure         run a few steps and compare

--measure says how far off it is for a recipe. Time is rough.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "estimate",
        help="how much memory and time a stage will take",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="medbot-train estimate --config RECIPE.yaml [--stage STAGE] [--any-field VALUE …]",
    )
    parser.add_argument("--config", type=Path, metavar="RECIPE", help="the recipe, a YAML file")
    parser.add_argument(
        "--stage", choices=STAGES, help="this stage alone; by default each with a section"
    )
    parser.add_argument(
        "--on",
        choices=("cpu", "gpu"),
        help="on what it is to train; by default what the recipe says, or what is here",
    )
    parser.add_argument("--json", action="store_true", help="for programs, sizes in bytes")
    parser.add_argument(
        "--measure",
        action="store_true",
        help="then run a few steps of it, and say how much memory and time they took",
    )
    taken = {"config", "stage", "on", "json", "measure", "help"}
    names = {name for stage in STAGES for name in stage_fields(stage)} | set(aliases())
    for name in sorted(names - taken):
        dashed = name.replace("_", "-")
        flags = [f"--{name}"] if dashed == name else [f"--{name}", f"--{dashed}"]
        parser.add_argument(*flags, dest=f"field:{name}", nargs="*", help=argparse.SUPPRESS)
    refuse_unknown(parser, sorted(names))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Estimate each stage that was asked for."""
    stages = [args.stage] if args.stage else _stages_of(args.config)
    records = []
    for stage in stages:
        fields = given_fields(stage, args, skip_unknown=args.stage is None)
        recipe = load_recipe(stage, args.config, fields)
        record = _estimated(recipe, args.on, json_only=args.json)
        if args.measure:
            record["measured"] = _measured(recipe, record, args.json)
        records.append(record)
    if args.json:
        print(json.dumps(records if args.stage is None else records[0], indent=2))
    return 0


def _stages_of(path: Path | None) -> list[str]:
    if path is None:
        raise RecipeError("name a recipe with --config, or a stage with --stage")
    content = read_recipe(path)
    stages = [stage for stage in STAGES if stage in content]
    if not stages:
        raise RecipeError(f"{path} has no section for a stage: say which with --stage")
    return stages


def _estimated(recipe: Recipe, on: str | None, json_only: bool) -> dict[str, Any]:
    from medbot_training.estimate.lengths import lengths_of
    from medbot_training.estimate.memory import as_record
    from medbot_training.estimate.memory import memory_of
    from medbot_training.estimate.memory import trained_parameters
    from medbot_training.estimate.shape import shape_of
    from medbot_training.estimate.timing import measure
    from medbot_training.estimate.timing import steps_of
    from medbot_training.estimate.timing import work_of

    has_gpu = _has_gpu()
    gpu = on == "gpu" or (on is None and (recipe.own["device"] == "cuda" or has_gpu))
    gpu = gpu and (on is not None or recipe.own["device"] != "cpu")
    shape, lengths = shape_of(recipe), lengths_of(recipe)
    memory = memory_of(recipe, shape, lengths, gpu)
    steps = steps_of(recipe, lengths)
    record = {
        "stage": recipe.stage,
        "kind": recipe.kind,
        **as_record(memory),
        "parameters": shape.parameters,
        "trained": round(trained_parameters(recipe, shape)),
        "longest": lengths.longest,
        "steps": steps,
        "seconds_a_step": None,
    }
    if gpu == has_gpu:
        work = work_of(recipe, shape, lengths, gpu)
        record["seconds_a_step"] = work.seconds(measure(recipe, shape, gpu))
    if not json_only:
        _show(recipe, record, memory, lengths, shape)
    return record


def _show(recipe: Recipe, record: dict[str, Any], memory: Any, lengths: Any, shape: Any) -> None:
    from medbot_training.estimate.advice import SHOWN
    from medbot_training.estimate.advice import savings
    from medbot_training.estimate.memory import free_bytes
    from medbot_training.estimate.memory import gib

    where = "GPU" if memory.gpu else "processor"
    kind = "" if recipe.kind == recipe.stage else f" ({recipe.kind})"
    print(f"{recipe.stage}{kind} of {shape.name or 'the base'} on a {where}: about", end=" ")
    print(f"{gib(memory.total)} of memory at the peak")
    for name, size in sorted(memory.parts.items(), key=lambda part: -part[1]):
        print(f"  {name:<16} {gib(size):>10}")
    if memory.loading > memory.training:
        print(f"  {'(while loading)':<16} {gib(memory.loading):>10}")
    guessed = "guessed from the data" if lengths.counted else "as max_length allows: no data here"
    print(
        f"  {record['parameters']:,} weights, {record['trained']:,} of them trained; samples of up"
        f" to {lengths.longest} tokens ({guessed})"
    )
    print(f"  time: {_time(record, memory.gpu)}")
    gpu_here = _has_gpu()
    free = free_bytes(memory.gpu) if memory.gpu == gpu_here or not memory.gpu else None
    if free is not None:
        fits = "it fits" if memory.total <= free else "IT DOES NOT FIT"
        print(f"  free now: {gib(free)}: {fits}")
    for saving in savings(recipe, shape, lengths, memory.gpu)[:SHOWN]:
        print(f"  to save {gib(saving.saved)}: {saving.setting}")


def _time(record: dict[str, Any], gpu: bool) -> str:
    seconds = record["seconds_a_step"]
    if seconds is None:
        return f"only on the machine itself (there is {'no' if gpu else 'a'} GPU here)"
    text = f"about {seconds:.2g} s a step"
    if record["steps"] is None:
        return text
    total = seconds * record["steps"]
    shown = f"{total / 3600:.1f} h" if total > 5400 else f"{max(1, total / 60):.0f} min"
    return f"{text}, {record['steps']} steps: {shown} (rough)"


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _measured(recipe: Recipe, record: dict[str, Any], json_only: bool) -> dict[str, Any]:
    from medbot_training.estimate.measuring import measured
    from medbot_training.estimate.memory import gib

    found = measured(recipe, record["device"])
    if not json_only:
        off = record["peak"] / found["peak"] - 1
        print(f"  measured: {gib(found['peak'])} (the estimate is {off:+.0%})", end="")
        print(f", {found['seconds_a_step']:.2g} s a step over {found['steps']} steps")
    return found
