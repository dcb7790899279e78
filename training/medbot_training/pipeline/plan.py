"""Which stages a recipe asks for, and how each takes over what the one before it has made.

An adapter is trained further stage by stage, so one comes out. Where a stage trains all weights,
the next one begins with those. The reward model begins with the base: it judges answers and gives
none, so nothing goes on from it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

from medbot_training.recipes import REWARD_STAGE
from medbot_training.recipes import STAGES
from medbot_training.recipes import Recipe
from medbot_training.recipes import RecipeError
from medbot_training.recipes import checked_value
from medbot_training.recipes import load_recipe
from medbot_training.recipes import read_recipe

MERGE = "merge"
EXPORT = "export"
ORDER = (*STAGES, MERGE, EXPORT)
"""All that a pipeline can do, in the order in which it does it."""

MERGED, LORA = "merged", "lora"
"""What export writes: whole weights, or the adapter to go beside the GGUF of its base."""

FINAL = "final"
_FOLDERS = {MERGE: "merged", EXPORT: "exported"}

_FIELDS: dict[str, dict[str, dict[str, Any]]] = {
    "pipeline": {
        "stages": {"kinds": ["list", "str"], "default": None},
    },
    MERGE: {
        "dtype": {
            "kinds": ["null", "str"],
            "default": None,
            "choices": ["float16", "bfloat16", "float32"],
        },
    },
    EXPORT: {
        "kind": {"kinds": ["str"], "default": MERGED, "choices": [MERGED, LORA]},
        "quantize": {"kinds": ["list", "null", "str"], "default": None},
        "eval": {"kinds": ["null", "str"], "default": None},
        "licence": {"kinds": ["null", "str"], "default": None},
        "base_gguf": {"kinds": ["null", "str"], "default": None},
        "name": {"kinds": ["null", "str"], "default": None},
    },
}


@dataclass(frozen=True)
class Step:
    """One thing that a pipeline does, in a process of its own.

    Attributes:
        name: One of ORDER.
        folder: What it writes.
        recipe: The checked recipe of a stage of training; None for merge and export.
        options: What the pipeline sets in that recipe, as on the command line.
        settings: The fields of merge or export.
        before: The folder that it takes over, None for a first one.
    """

    name: str
    folder: Path
    recipe: Recipe | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    before: Path | None = None

    @property
    def made(self) -> Path:
        """The folder with what the next step takes over."""
        return self.folder / FINAL if self.recipe is not None else self.folder

    def words(self) -> list[str]:
        """The words after `medbot-train` that do just this."""
        if self.recipe is not None:
            words = [self.name, "--config", str(self.recipe.source)]
            for name, value in self.options.items():
                words += [f"--{name}", *_as_words(value)]
            return words
        taken = "--model" if self.name == EXPORT and not self.takes_adapter else "--adapter"
        words = [self.name, taken, str(self.before), "--output_dir", str(self.folder)]
        for name, value in self.settings.items():
            if value is not None and name != "kind":
                words += [f"--{name}", str(value)]
        return words

    @property
    def takes_adapter(self) -> bool:
        """Whether it goes on from an adapter; else from a whole model."""
        return self.name == MERGE or self.settings.get("kind") == LORA


def make_plan(path: Path, output_dir: Path) -> list[Step]:
    """Read a recipe and tell what its pipeline does, step by step.

    Args:
        path: The recipe.
        output_dir: The pipeline's folder; each step writes into one of its own in it.

    Raises:
        RecipeError: The recipe can't be read, has a wrong field, or asks for what does not go
            together.
    """
    content = read_recipe(path)
    settings = {name: _section(path, content, name) for name in _FIELDS}
    kind = settings[EXPORT]["kind"]
    names = _names(path, content, settings["pipeline"]["stages"], kind)
    steps: list[Step] = []
    before: Step | None = None
    for name in names:
        if name in STAGES:
            step = _stage(name, path, output_dir, before, names)
        else:
            if before is None:
                raise RecipeError(
                    f"{path}: nothing to {name}: {', '.join(names)} trains no language model"
                )
            _check_taken(name, kind, before, path)
            step = Step(
                name,
                output_dir / _FOLDERS[name],
                settings=settings[name],
                before=before.made,
            )
        steps.append(step)
        if name != REWARD_STAGE:
            before = step
    return steps


def _check_taken(name: str, kind: str, before: Step, path: Path) -> None:
    if name == EXPORT and kind == LORA:
        if before.recipe is None:
            raise RecipeError(f"{path}, export: kind {LORA} exports the adapter: leave merge out")
        if not before.recipe.own["use_peft"]:
            raise RecipeError(
                f"{path}, export: kind {LORA} needs an adapter, but {before.name} trains all"
                " weights"
            )


def _stage(
    name: str, path: Path, output_dir: Path, before: Step | None, names: Sequence[str]
) -> Step:
    options: dict[str, Any] = {"output_dir": str(output_dir / name)}
    alone = load_recipe(name, path)
    if name == REWARD_STAGE:
        if alone.own["adapter_name_or_path"]:
            options["adapter_name_or_path"] = None
    elif before is not None:
        assert before.recipe is not None
        options |= _goes_on(name, alone, before, path)
    if name == "rl":
        options |= _rewards(alone, output_dir, names, path)
    # Each is checked as it will run, before the first one starts.
    recipe = load_recipe(name, path, options)
    taken = before.made if before is not None and name != REWARD_STAGE else None
    return Step(name, output_dir / name, recipe, options, before=taken)


def _goes_on(name: str, alone: Recipe, before: Step, path: Path) -> dict[str, Any]:
    assert before.recipe is not None
    made = str(before.made)
    chained: dict[str, Any]
    if not before.recipe.own["use_peft"]:
        chained = {"model_name_or_path": made}
        if alone.own["adapter_name_or_path"]:
            chained["adapter_name_or_path"] = None
        return chained
    if not alone.own["use_peft"]:
        raise RecipeError(
            f"{path}: {before.name} trains an adapter and {name} all weights: use_peft must be"
            f" true for {name}, or false for {before.name}"
        )
    chained = {"adapter_name_or_path": made}
    if "model_name_or_path" in before.options:
        # All weights were trained before: the adapter is one for those.
        chained["model_name_or_path"] = before.options["model_name_or_path"]
    return chained


def _rewards(alone: Recipe, output_dir: Path, names: Sequence[str], path: Path) -> dict[str, Any]:
    """Names the folder of this pipeline's own reward model, where the recipe asks for it."""
    rewards = alone.own["reward_funcs"]
    rewards = [rewards] if isinstance(rewards, str) else list(rewards)
    if REWARD_STAGE not in rewards:
        return {}
    if REWARD_STAGE not in names:
        raise RecipeError(
            f"{path}, rl: reward_funcs names the model of the stage reward, but the pipeline has"
            " no such stage"
        )
    folder = str(output_dir / REWARD_STAGE / FINAL)
    return {"reward_funcs": [folder if word == REWARD_STAGE else word for word in rewards]}


def _names(path: Path, content: Mapping[str, Any], listed: Any, kind: str) -> list[str]:
    if listed is None:
        found = [name for name in STAGES if name in content]
        if not found:
            raise RecipeError(
                f"{path} has no section for a stage: give it one of {', '.join(STAGES)}, or"
                " pipeline: {stages: [sft]}"
            )
        trains = any(name != REWARD_STAGE for name in found)
        ways_back = [MERGE, EXPORT] if kind == MERGED else [EXPORT]
        return [*found, *ways_back] if trains else found
    names = [str(name) for name in ([listed] if isinstance(listed, str) else listed)]
    for name in names:
        if name not in ORDER:
            raise RecipeError(
                f"{path}, pipeline: stages must be some of {', '.join(ORDER)}, not '{name}'"
            )
    if not names:
        raise RecipeError(f"{path}, pipeline: stages is empty")
    if EXPORT in names and kind == MERGED and MERGE not in names:
        raise RecipeError(
            f"{path}, pipeline: export needs merge before it, or export: {{kind: {LORA}}}"
        )
    return [name for name in ORDER if name in names]


def _section(path: Path, content: Mapping[str, Any], section: str) -> dict[str, Any]:
    table = _FIELDS[section]
    found = {name: entry["default"] for name, entry in table.items()}
    for name, value in content.get(section, {}).items():
        where = f"{path}, {section}: {name}"
        if name not in table:
            close = difflib.get_close_matches(str(name), table, n=1, cutoff=0.6)
            hint = f"; did you mean {close[0]}?" if close else f"; it has {', '.join(table)}"
            raise RecipeError(f"{where}: '{name}' is no field of {section}{hint}")
        found[name] = checked_value(value, table[name], where)
    if section == EXPORT:
        found["name"] = found["name"] or path.stem
        found["quantize"] = _kinds(found, f"{path}, export: quantize")
    return found


def _kinds(export: Mapping[str, Any], where: str) -> str | None:
    """The kinds of weights that are wanted, as the command takes them; None for its own."""
    from medbot_training.export.llama_runner import QUANTIZATIONS

    given = export["quantize"]
    if given is None:
        return None
    if export["kind"] == LORA:
        raise RecipeError(f"{where} is for kind: {MERGED}; an adapter is not quantized")
    wanted = [str(word).strip().lower() for word in given] if isinstance(given, list) else None
    wanted = wanted or [word.strip().lower() for word in str(given).split(",")]
    for word in wanted:
        if word not in QUANTIZATIONS:
            raise RecipeError(f"{where} must be some of {', '.join(QUANTIZATIONS)}, not '{word}'")
    return ",".join(wanted)


def _as_words(value: Any) -> list[str]:
    if value is None:
        return ["null"]
    if isinstance(value, list):
        return [str(item) for item in value]
    return [str(value).lower() if isinstance(value, bool) else str(value)]
