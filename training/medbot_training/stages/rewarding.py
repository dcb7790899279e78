"""The rewards that a recipe names, as TRL and `ppo.py` call them."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medbot_llm.domain import MedbotError
from medbot_training import run_record
from medbot_training.recipes import REWARD_STAGE
from medbot_training.recipes import TINY_MODEL
from medbot_training.recipes import Recipe
from medbot_training.recipes import RecipeError
from medbot_training.recipes import load_recipe
from medbot_training.rewards import combine
from medbot_training.rewards.judgements import JudgementFile
from medbot_training.rewards.parts import SPOKEN
from medbot_training.rewards.parts import WRITTEN
from medbot_training.rewards.parts import Context
from medbot_training.rewards.parts import RuleSettings
from medbot_training.rewards.parts import Weights
from medbot_training.rewards.rules import Rules
from medbot_training.rewards.teacher import Teacher
from medbot_training.rewards.teacher import TeacherSettings

JUDGEMENTS = "teacher_judgements.jsonl"

Reward = Callable[..., Sequence[float | None]]


def reward_functions(recipe: Recipe, load: bool = True) -> list[Reward]:
    """The rewards that a recipe names.

    Args:
        recipe: A recipe of the stage rl.
        load: False: only check that they can be had, without loading a model.

    Raises:
        MedbotError: One can't be had; says which and why.
    """
    names = recipe.own["reward_funcs"]
    names = [names] if isinstance(names, str) else [str(name) for name in names]
    if not names:
        raise RecipeError("reward_funcs is empty: name at least one reward")
    rewards: combine.Rewards | None = None
    found: list[Reward] = []
    for name in names:
        if name in combine.NAMES:
            rewards = rewards or _own_rewards(recipe)
            defaults = Context(thinking=recipe.own["thinking"])
            found.append(_with_meta(combine.reward_function(name, rewards, defaults)))
        elif Path(name).is_dir():
            found.append(ModelReward(Path(name)) if load else _unloaded(Path(name)))
        elif name == REWARD_STAGE:
            raise RecipeError(
                "reward_funcs: 'reward' is a pipeline's own reward model; for this stage alone"
                " name its folder, like outputs-reward/final"
            )
        else:
            found.append(_imported(name))
    return found


def _own_rewards(recipe: Recipe) -> combine.Rewards:
    own = recipe.own
    try:
        weights = Weights.of(own["weights"] or {})
    except ValueError as error:
        raise RecipeError(f"weights: {error}") from None
    band = WRITTEN if own["length_band"] == "written" else SPOKEN
    teacher: Teacher | None = None
    settings = own["teacher"]
    if isinstance(settings, str) and settings != "offline":
        settings = {"provider": settings}
    if isinstance(settings, dict):
        place = own["judgements_file"] or str(recipe.output_dir / JUDGEMENTS)
        teacher = Teacher(TeacherSettings.of(settings), JudgementFile(Path(place)))
    return combine.Rewards(Rules(RuleSettings(weights=weights, band=band)), teacher, weights)


def _with_meta(function: Reward) -> Reward:
    """Give a reward the records' `meta` as tables: a file of Arrow keeps them as text."""

    def reward(
        prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
    ) -> Sequence[float | None]:
        if "meta" in columns:
            columns["meta"] = [
                json.loads(text) if isinstance(text, str) else text for text in columns["meta"]
            ]
        return function(prompts, completions, **columns)

    reward.__name__ = reward.__qualname__ = function.__name__
    return reward


def _imported(name: str) -> Reward:
    module, _, attribute = name.partition(":")
    if not attribute:
        names = ", ".join(combine.NAMES)
        raise RecipeError(
            f"reward_funcs: '{name}' is none of {names}, no folder of the stage 'reward', and no"
            " module:function"
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise RecipeError(f"reward_funcs: {name} can't be imported: {error}") from None
    if not callable(found) or inspect.isclass(found):
        raise RecipeError(f"reward_funcs: {name} is no function")
    reward: Reward = found
    return reward


def _unloaded(folder: Path) -> Reward:
    if not any((folder / name).exists() for name in ("adapter_config.json", "config.json")):
        raise RecipeError(f"reward_funcs: {folder} holds no model of the stage 'reward'")
    return _nothing


def _nothing(**_: Any) -> list[float | None]:
    raise AssertionError("a reward that was only checked is never asked")


class ModelReward:
    """The marks of a model from the stage 'reward'.

    Args:
        folder: Its `final/`, an adapter or a whole model.

    Raises:
        MedbotError: It can't be loaded.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForSequenceClassification
        from transformers import AutoTokenizer

        from medbot_training.templates import check_template

        self.__name__ = folder.parent.name if folder.name == "final" else folder.name
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder)
            self._facts = check_template(self._tokenizer)
            if (folder / "adapter_config.json").exists():
                self._model = self._with_base(folder)
            else:
                self._model = AutoModelForSequenceClassification.from_pretrained(
                    folder, num_labels=1
                )
        except (OSError, ValueError, RuntimeError) as error:
            words = " ".join(str(error).split())[:200]
            raise MedbotError(f"reward model {folder} can't be loaded: {words}") from None
        self._model.config.pad_token_id = self._tokenizer.pad_token_id
        self._model.requires_grad_(False).eval()

    def _with_base(self, folder: Path) -> Any:
        """The adapter on the base that it was trained on, of whatever kind that was."""
        from medbot_training.base import adapter_config
        from medbot_training.base import find_base
        from medbot_training.base import load_model

        base = (run_record.read(folder) or {}).get("base") or {}
        name = base.get("name") or adapter_config(str(folder))["base_model_name_or_path"]
        if name == TINY_MODEL:
            # Made on the spot, so the name says nothing about where it lies.
            name = base["source"]
        options = {"model_name_or_path": name, "adapter_name_or_path": str(folder)}
        recipe = load_recipe("reward", None, options)
        return load_model(recipe, find_base(recipe), self._tokenizer, self._facts)

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], **_: Any
    ) -> list[float | None]:
        """The mark of each answer; it saw them as the trainer of rewards did."""
        import torch

        from medbot_training.templates import answer_ids

        marks: list[float | None] = []
        for prompt, completion in zip(prompts, completions, strict=True):
            text = combine.text_of(completion)
            before, answer = answer_ids(self._tokenizer, self._facts, prompt, text)
            with torch.no_grad():
                out = self._model(input_ids=torch.tensor([before + answer]).to(self._model.device))
            marks.append(float(out.logits[0, 0]))
        return marks
