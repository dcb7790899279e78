"""The trainers of TRL, fed with token ids, resumable, with a progress bar of our own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import EarlyStoppingCallback
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_callback import ProgressCallback
from trl import DPOConfig
from trl import DPOTrainer
from trl import GRPOConfig
from trl import GRPOTrainer
from trl import KTOConfig
from trl import KTOTrainer
from trl import RewardConfig
from trl import RewardTrainer
from trl import RLOOConfig
from trl import RLOOTrainer
from trl import SFTConfig
from trl import SFTTrainer
from trl.trainer.utils import RepeatSampler

from medbot_training.base import lora_config
from medbot_training.recipes import Recipe
from medbot_training.recipes import fields_of
from medbot_training.stages.packed_attention import supports_packed_attention
from medbot_training.stages.packed_attention import use_packed_attention
from medbot_training.stages.processes import asked_spread
from medbot_training.stages.processes import check_spread
from medbot_training.stages.processes import is_main_process
from medbot_training.stages.processes import keeps_state
from medbot_training.stages.rewarding import reward_functions
from medbot_training.stages.runner import Outcome
from medbot_training.stages.runner import Run
from medbot_training.stages.runner import StageError
from medbot_training.stages.runner import has_gpu

_CONFIGS = {
    "pretrain": SFTConfig,
    "sft": SFTConfig,
    "dpo": DPOConfig,
    "kto": KTOConfig,
    "reward": RewardConfig,
    "grpo": GRPOConfig,
    "rloo": RLOOConfig,
}

# Done by us, so the trainer must not do it again.
_DONE_HERE = ("assistant_only_loss", "completion_only_loss", "chat_template_path", "eos_token")


class _OwnIds:
    """Takes data that is token ids already, and writes no model card."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def create_model_card(self, *_: Any, **__: Any) -> None:
        return None


class _Sft(SFTTrainer):  # type: ignore[misc]
    # SFTTrainer takes ids as they are, and packs them.
    def create_model_card(self, *_: Any, **__: Any) -> None:
        return None


class _Dpo(_OwnIds, DPOTrainer):  # type: ignore[misc]
    pass


class _Reward(_OwnIds, RewardTrainer):  # type: ignore[misc]
    pass


class _RepeatsByEpoch(RepeatSampler):  # type: ignore[misc]
    """TRL's order of prompts, but each epoch's own: TRL's generator goes on from epoch to epoch,
    so that a run which is resumed in a later one would get the first one's order again.
    """

    @classmethod
    def of(cls, sampler: RepeatSampler) -> _RepeatsByEpoch:
        return cls(
            data_source=sampler.data_source,
            mini_repeat_count=sampler.mini_repeat_count,
            batch_size=sampler.batch_size,
            repeat_count=sampler.repeat_count,
            shuffle=sampler.shuffle,
            seed=sampler.seed,
        )

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each."""
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) + epoch)


class _OrderByEpoch:
    """Before a trainer of TRL's that rolls out."""

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        return _RepeatsByEpoch.of(super()._get_train_sampler(dataset))  # type: ignore[misc]


class _Grpo(_OwnIds, _OrderByEpoch, GRPOTrainer):  # type: ignore[misc]
    pass


class _Rloo(_OwnIds, _OrderByEpoch, RLOOTrainer):  # type: ignore[misc]
    pass


class _Kto(_OwnIds, KTOTrainer):  # type: ignore[misc]
    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, name: str) -> Any:
        if "KL_completion_ids" in dataset.column_names or self.loss_type != "kto":
            return dataset

        # As TRL does: the distance is estimated on answers to other prompts of the batch.
        def mismatched(rows: Any) -> Any:
            answers = rows["completion_ids"]
            return {"KL_completion_ids": [answers[-1], *answers[:-1]]}

        size = args.per_device_train_batch_size
        return dataset.map(mismatched, batched=True, batch_size=size)


_TRAINERS: dict[str, Any] = {
    "pretrain": _Sft,
    "sft": _Sft,
    "dpo": _Dpo,
    "kto": _Kto,
    "reward": _Reward,
    "grpo": _Grpo,
    "rloo": _Rloo,
}


class _Progress(TrainerCallback):  # type: ignore[misc]
    """A bar with the last figures and the time left."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self._bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc=self._name,
                unit=" steps",
                dynamic_ncols=True,
                # In a log file a line every half minute is enough.
                mininterval=0.2 if sys.stderr.isatty() else 30.0,
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        if self._bar is None or not logs:
            return
        shown = ("loss", "eval_loss", "reward", "rewards/accuracies", "accuracy")
        figures = {n: f"{float(logs[n]):.4g}" for n in shown if n in logs}
        if figures:
            self._bar.set_postfix(figures, refresh=False)

    def close(self) -> None:
        """End its line, so that what is said next has one of its own."""
        if self._bar is not None:
            self._bar.close()


class _SpreadCheck(TrainerCallback):  # type: ignore[misc]
    """Looks, before the first step, whether the model is spread as it was asked for."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.trainer: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        found = check_spread(self._run.recipe, self.trainer.model_wrapped)
        self._run.extra["parallel"] = found


def train(run: Run) -> Outcome:
    """Train by TRL. Raises StageError."""
    recipe = run.recipe
    progress = _Progress(recipe.kind)
    arguments = make_arguments(run)
    is_one_row = getattr(arguments, "padding_free", False) or (
        getattr(arguments, "packing", False) and arguments.packing_strategy != "wrapped"
    )
    if is_one_row and supports_packed_attention(run.model):
        use_packed_attention(run.model)
    options: dict[str, Any] = {
        "model": run.model,
        "args": arguments,
        "processing_class": run.tokenizer,
        "train_dataset": run.train.dataset,
        "eval_dataset": run.validation.dataset if run.validation else None,
        "callbacks": [progress, *_callbacks(recipe)],
    }
    config = lora_config(recipe)
    if config is not None:
        options["peft_config"] = config
    if recipe.kind in ("grpo", "rloo"):
        options["reward_funcs"] = reward_functions(recipe)
    elif recipe.kind in ("dpo", "kto") and not recipe.own["use_peft"]:
        options["ref_model"] = run.load_model()
    try:
        trainer = _TRAINERS[recipe.kind](**options)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise StageError(
            f"{recipe.kind} can't be set up so: {' '.join(str(error).split())}"
        ) from (error)
    for unwanted in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(unwanted)
    spread_check = _SpreadCheck(run)
    spread_check.trainer = trainer
    trainer.add_callback(spread_check)
    resume = str(run.checkpoint) if run.checkpoint else None
    try:
        trainer.train(resume_from_checkpoint=resume)
    finally:
        progress.close()
    return Outcome(
        log=trainer.state.log_history,
        save=lambda folder: _save(trainer, run, folder),
        steps=trainer.state.global_step,
    )


def _save(trainer: Any, run: Run, folder: Path) -> None:
    trainer.save_model(str(folder))
    if is_main_process():
        run.tokenizer.save_pretrained(str(folder))


def make_arguments(run: Run) -> Any:
    """The trainer's settings: what the recipe gives, and defaults that suit this machine.

    Raises StageError for values that the library itself refuses.
    """
    recipe = run.recipe
    given = {k: v for k, v in recipe.trainer.items() if k not in _DONE_HERE}
    given["output_dir"] = str(recipe.output_dir)
    # Where TensorBoard's files go is told by the environment only, since transformers 5.
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(recipe.output_dir / "runs")
    gpu = has_gpu(recipe)
    known = fields_of(recipe.kind)
    defaults: dict[str, Any] = {
        "report_to": ["tensorboard"],
        "disable_tqdm": True,
        # With the word for the processor accelerate would leave DeepSpeed out.
        "use_cpu": not gpu and not asked_spread(recipe).is_deepspeed,
        "save_total_limit": 2,
        "dataloader_pin_memory": gpu,
        # Looking for them costs time, and neither an adapter nor a whole model leaves any out.
        "ddp_find_unused_parameters": False,
        # On a processor bfloat16 is emulated, and slow.
        "bf16": gpu and not given.get("fp16") and torch.cuda.is_bf16_supported(),
        # Recomputing saves memory where memory is short.
        "gradient_checkpointing": gpu,
    }
    if recipe.stage == "pretrain":
        defaults["packing"] = True
        defaults["packing_strategy"] = "wrapped"
    if run.validation is not None and "eval_strategy" not in given:
        by_steps = "eval_steps" in given or "save_steps" in given
        defaults["eval_strategy"] = "steps" if by_steps else "epoch"
        if by_steps and "eval_steps" not in given:
            defaults["eval_steps"] = given["save_steps"]
    if recipe.own["early_stopping_patience"]:
        defaults["load_best_model_at_end"] = True
        defaults["metric_for_best_model"] = "eval_loss"
        strategy = given.get("eval_strategy", defaults.get("eval_strategy"))
        defaults["save_strategy"] = strategy
        if strategy == "steps":
            defaults["save_steps"] = given.get("eval_steps", defaults.get("eval_steps"))
    if recipe.kind == "grpo" or recipe.kind == "rloo":
        # The columns that the rewards read are no arguments of the model.
        defaults["remove_unused_columns"] = False
    if keeps_state(recipe, gpu):
        defaults["accelerator_config"] = {"use_configured_state": True}
    settings = {**{k: v for k, v in defaults.items() if k in known}, **given}
    if _leaves_padding_out(run):
        settings["padding_free"] = True
    if settings.get("padding_free") and not settings.get("packing"):
        # TRL can't cut rows without padding; they were cut when they were prepared.
        settings["max_length"] = None
    try:
        return _CONFIGS[recipe.kind](**settings)
    except (ValueError, TypeError, ImportError) as error:
        raise StageError(f"the recipe is refused: {' '.join(str(error).split())}") from None


def _leaves_padding_out(run: Run) -> bool:
    """Whether the samples of a batch go into one row instead of being filled up to the longest.

    Losses are the same. NEFTune's noise is not: it is scaled by the length of a row.
    """
    given = run.recipe.trainer
    return (
        run.recipe.kind == "sft"
        and not given.get("packing")
        and "padding_free" not in given
        and not given.get("neftune_noise_alpha")
        and given.get("per_device_train_batch_size", 8) > 1
        and supports_packed_attention(run.model)
    )


def _callbacks(recipe: Recipe) -> list[Any]:
    callbacks: list[Any] = []
    patience = recipe.own["early_stopping_patience"]
    if patience:
        callbacks.append(
            EarlyStoppingCallback(
                early_stopping_patience=patience,
                early_stopping_threshold=recipe.own["early_stopping_threshold"],
            )
        )
    return callbacks
