"""What a step of a pipeline is made of: when it is the same as last time, so is what comes out."""

from __future__ import annotations

import dataclasses
import functools
from importlib import metadata
from pathlib import Path
from typing import Any

from medbot_training import run_record
from medbot_training.pipeline.plan import MERGE
from medbot_training.pipeline.plan import Step
from medbot_training.pipeline.state import PipelineError
from medbot_training.pipeline.state import State
from medbot_training.recipes import REWARD_STAGE
from medbot_training.recipes import TINY_MODEL
from medbot_training.recipes import Recipe

_TRAINING = ("torch", "transformers", "trl", "peft", "accelerate", "tokenizers", "medbot-training")
_MERGING = ("torch", "transformers", "peft", "medbot-training")
_EXPORTING = ("gguf", "llama-cpp-python", "medbot-training")


def made_of(step: Step, state: State) -> dict[str, Any]:
    """Put down all that decides what a step makes.

    Args:
        step: The step; what it takes over must be there.
        state: Keeps the hashes of files that have been read.

    Raises:
        MedbotError: A file or the base is not there.
    """
    if step.recipe is None:
        assert step.before is not None
        packages = _MERGING if step.name == MERGE else _EXPORTING
        return {
            "settings": dict(step.settings),
            "weights": state.folder_sha256(step.before),
            "versions": _versions(packages),
        }
    recipe = step.recipe
    found: dict[str, Any] = {
        "recipe": _fields(recipe),
        "data": {
            purpose: [state.sha256(file) for file in recipe.files(f"{purpose}_file")]
            for purpose in ("train", "validation")
        },
        "base": _base(recipe, state),
        "prompts": _prompts(),
        "versions": _versions(_TRAINING + _more_packages(recipe)),
    }
    adapter = recipe.own["adapter_name_or_path"]
    if adapter:
        found["adapter"] = state.folder_sha256(Path(str(adapter)).expanduser())
    template = Path(str(recipe.own["chat_template"] or ""))
    if template.suffix == ".jinja" and template.is_file():
        found["template"] = state.sha256(template)
    for folder in _reward_folders(recipe):
        found.setdefault("reward models", []).append(state.folder_sha256(folder))
    return found


def check_before(steps: list[Step]) -> None:
    """Find out before the first step what would stop a later one.

    Raises MedbotError: A file, the base, an adapter, a reward or a GPU is missing.
    """
    from medbot_training.base import adapter_config
    from medbot_training.base import find_base
    from medbot_training.stages.rewarding import reward_functions
    from medbot_training.stages.runner import check_machine

    for step in steps:
        recipe = step.recipe
        if recipe is None:
            continue
        check_machine(recipe)
        if not recipe.files("train_file"):
            raise PipelineError(f"{step.name}: train_file is missing: name the data to train on")
        recipe.files("validation_file")
        own_folders = {str(other.made) for other in steps}
        if str(recipe.own["model_name_or_path"]) not in {*own_folders, TINY_MODEL}:
            find_base(recipe)
        adapter = recipe.own["adapter_name_or_path"]
        if adapter and str(adapter) not in own_folders:
            adapter_config(str(adapter))
        if step.name == "rl":
            names = recipe.own["reward_funcs"]
            names = [names] if isinstance(names, str) else names
            others = [name for name in names if name not in own_folders]
            if others:
                # A teacher without a key is told now, not after hours.
                own = {**recipe.own, "reward_funcs": others}
                reward_functions(dataclasses.replace(recipe, own=own), load=False)


def _fields(recipe: Recipe) -> dict[str, Any]:
    left_out = {*run_record.MAY_CHANGE, *run_record.PLACES}
    fields = {name: value for name, value in recipe.given.items() if name not in left_out}
    if "reward_funcs" in fields:
        names = fields["reward_funcs"]
        names = [names] if isinstance(names, str) else names
        fields["reward_funcs"] = [
            REWARD_STAGE if Path(str(name)).is_dir() else name for name in names
        ]
    return fields


def _reward_folders(recipe: Recipe) -> list[Path]:
    names = recipe.own.get("reward_funcs") or []
    names = [names] if isinstance(names, str) else names
    return [Path(str(name)) for name in names if Path(str(name)).is_dir()]


def _base(recipe: Recipe, state: State) -> Any:
    from medbot_training.base import find_base

    place = find_base(recipe)
    if place.gguf_file:
        return state.sha256(Path(place.source) / place.gguf_file)
    if place.is_local:
        return state.folder_sha256(Path(place.source))
    return [place.source, place.revision]


@functools.cache
def _prompts() -> str:
    from medbot_training.prompting import PromptMaker

    return PromptMaker().fingerprint


def _more_packages(recipe: Recipe) -> tuple[str, ...]:
    more = []
    if recipe.is_quantized or "8bit" in str(recipe.trainer.get("optim", "")):
        more.append("bitsandbytes")
    if recipe.trainer.get("deepspeed"):
        more.append("deepspeed")
    return tuple(more)


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
