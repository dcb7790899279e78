"""Proximal policy optimisation for a language model: TRL has none any more, this is the least.

As in Schulman et al., "Proximal Policy Optimization Algorithms" (2017), with what Ziegler et al.,
"Fine-Tuning Language Models from Human Preferences" (2019) add for language: every token of an
answer is an action, the reward of the answer comes with its last token, and each token costs
`kl_coef` times how much likelier it is than under the model that training began with. That model
is the SFT adapter, frozen, or the base where a new adapter is trained.

In each update a batch of prompts is answered; then `ppo_epochs` passes are made over the batch in
mini-batches, and left early once the policy has moved by more than `target_kl`. The value of each
token is a linear function of the model's last hidden state, learnt beside the policy.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import nn
from tqdm import tqdm

from medbot_training import run_record
from medbot_training.base import lora_config
from medbot_training.recipes import fields_of
from medbot_training.stages.runner import STATE
from medbot_training.stages.runner import Outcome
from medbot_training.stages.runner import Run
from medbot_training.stages.runner import StageError
from medbot_training.stages.runner import checkpoints
from medbot_training.stages.runner import has_gpu

_WEIGHTS = "ppo.pt"
_REFERENCE = "ref"
_VALUE_HEAD_SEED = 7


@dataclass(frozen=True)
class Settings:
    """The fields of a recipe for PPO; `recipes.py` says what each means."""

    seed: int
    learning_rate: float
    lr_scheduler_type: str
    weight_decay: float
    adam_epsilon: float
    max_grad_norm: float
    max_steps: int
    per_device_train_batch_size: int
    mini_batch_size: int
    ppo_epochs: int
    target_kl: float | None
    kl_coef: float
    cliprange: float
    cliprange_value: float
    vf_coef: float
    gamma: float
    lam: float
    whiten_rewards: bool
    missing_eos_penalty: float | None
    max_completion_length: int
    temperature: float
    top_k: int
    gradient_checkpointing: bool
    bf16: bool | None
    logging_steps: int
    save_steps: int
    save_total_limit: int | None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """The given fields, and the defaults of the others."""
        table = fields_of("ppo")
        names = cls.__dataclass_fields__
        return cls(**{name: given.get(name, table[name][1]["default"]) for name in names})


@dataclass(frozen=True)
class Batch:
    """Answers and what was thought of them when they were given; a row an answer.

    Attributes:
        ids: Prompt (padded on the left) and answer (padded on the right).
        mask: 1 for a token, 0 for padding; as ids.
        width: Length of the prompts with their padding.
        answer_mask: 1 for a token of the answer; one column a token of the answers.
        logps: Log-probability of each token of the answers under the policy.
        reference_logps: The same under the model that training began with.
        values: The value before each token.
        scores: Reward of each answer; NaN for one that could not be judged.
        texts: The answers.
    """

    ids: Tensor
    mask: Tensor
    width: int
    answer_mask: Tensor
    logps: Tensor
    reference_logps: Tensor
    values: Tensor
    scores: Tensor
    texts: list[str]


class Policy(nn.Module):  # type: ignore[misc]
    """A language model with a value for each token.

    Args:
        model: The language model, with or without an adapter.
        temperature: What logits are divided by, in generation and in learning.
    """

    def __init__(self, model: Any, temperature: float) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        config = model.config.get_text_config()
        # In fp32 whatever the model's type; it is small, and learns from nothing.
        self.value_head = nn.Linear(config.hidden_size, 1, dtype=torch.float32)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    def forward(self, ids: Tensor, mask: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Give log-probability, value and entropy at each token of the answers."""
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            output_hidden_states=True,
            use_cache=False,
        )
        # What stands before a token predicts it.
        logits = out.logits[:, width - 1 : -1].float() / self.temperature
        hidden = out.hidden_states[-1][:, width - 1 : -1]
        distribution = torch.log_softmax(logits, dim=-1)
        logps = distribution.gather(-1, ids[:, width:, None]).squeeze(-1)
        entropy = -(distribution.exp() * distribution).sum(-1)
        values = self.value_head(hidden.float()).squeeze(-1)
        return logps, values, entropy


def advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation over the tokens of answers.

    Args:
        rewards: Reward of each token.
        values: Value before each token.
        mask: 1 for a token, 0 for padding after an answer.
        gamma: Discount a token.
        lam: Lambda.

    Returns:
        The advantages, and the returns that the values should have foretold.
    """
    found = torch.zeros_like(rewards)
    following_value = torch.zeros_like(values[:, 0])
    following = torch.zeros_like(following_value)
    for place in reversed(range(rewards.shape[1])):
        here = mask[:, place]
        delta = rewards[:, place] + gamma * following_value - values[:, place]
        following = (delta + gamma * lam * following) * here
        following_value = values[:, place] * here
        found[:, place] = following
    return found, (found + values) * mask


def policy_loss(
    logps: Tensor, old_logps: Tensor, advantage: Tensor, mask: Tensor, cliprange: float
) -> Tensor:
    """The clipped objective of PPO, as a loss."""
    ratio = torch.exp(logps - old_logps)
    worse = torch.maximum(
        -advantage * ratio, -advantage * ratio.clamp(1.0 - cliprange, 1.0 + cliprange)
    )
    return _mean(worse, mask)


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, cliprange: float
) -> Tensor:
    """Half the squared error of the values, which one batch may move so far only."""
    near = old_values + (values - old_values).clamp(-cliprange, cliprange)
    worse = torch.maximum((values - returns) ** 2, (near - returns) ** 2)
    return 0.5 * _mean(worse, mask)


def train(run: Run) -> Outcome:
    """Train by PPO. Raises StageError."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise StageError("algorithm: ppo runs in one process; use grpo on many GPUs")
    return _Trainer(run).run()


class _Trainer:
    """Answers, judges and learns, update by update."""

    def __init__(self, run: Run) -> None:
        from medbot_training.stages.rewarding import reward_functions

        self._run = run
        self._settings = settings = Settings.of(run.recipe.trainer)
        self._device = torch.device("cuda" if has_gpu(run.recipe) else "cpu")
        self._tokenizer = run.tokenizer
        assert run.facts is not None
        self._stops = sorted(
            {run.facts.end_of_turn_id, *_listed(run.model.generation_config.eos_token_id)}
        )
        self._rewards: list[Callable[..., Sequence[float | None]]] = reward_functions(run.recipe)
        model = self._prepared(run.model)
        self._policy = Policy(model, settings.temperature).to(self._device)
        trained = [p for p in self._policy.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            trained,
            lr=settings.learning_rate,
            eps=settings.adam_epsilon,
            weight_decay=settings.weight_decay,
        )
        self._trained = trained
        self._prompts = run.train.dataset
        self._log: list[dict[str, Any]] = []
        self._step = 0

    def run(self) -> Outcome:
        from torch.utils.tensorboard import SummaryWriter

        settings = self._settings
        if self._run.checkpoint is not None:
            self._load(self._run.checkpoint)
        folder = self._run.recipe.output_dir
        writer = SummaryWriter(str(folder / "runs"), purge_step=self._step + 1)
        bar = tqdm(
            total=settings.max_steps,
            initial=self._step,
            desc="ppo",
            unit=" steps",
            dynamic_ncols=True,
            mininterval=0.2 if sys.stderr.isatty() else 30.0,
        )
        with bar, writer:
            while self._step < settings.max_steps:
                figures = self._update()
                self._step += 1
                if self._step % settings.logging_steps == 0 or self._step == settings.max_steps:
                    line = {**figures, "step": self._step}
                    self._log.append(line)
                    for name, value in figures.items():
                        writer.add_scalar(f"train/{name}", value, self._step)
                    bar.set_postfix(
                        reward=f"{figures['reward']:.4g}", kl=f"{figures['kl']:.4g}", refresh=False
                    )
                if self._step % settings.save_steps == 0:
                    self._save_checkpoint()
                bar.update()
        return Outcome(self._log, self._save_final, self._step)

    # --- the models ------------------------------------------------------------------------------

    def _prepared(self, model: Any) -> Any:
        """The model with its adapter and a frozen reference, without dropout."""
        from peft import PeftModel
        from peft import get_peft_model
        from peft import prepare_model_for_kbit_training

        self._reference: Any = None
        config = lora_config(self._run.recipe)
        if config is not None:
            if self._run.recipe.is_quantized:
                model = prepare_model_for_kbit_training(
                    model, use_gradient_checkpointing=self._settings.gradient_checkpointing
                )
            model = get_peft_model(model, config)
        elif isinstance(model, PeftModel):
            model.add_adapter(_REFERENCE, model.peft_config["default"])
            for name, parameter in model.named_parameters():
                if ".default." in name:
                    copy = model.get_parameter(name.replace(".default.", f".{_REFERENCE}."))
                    copy.data.copy_(parameter.data)
                    copy.requires_grad_(False)
        else:
            self._reference = self._run.load_model().to(self._device).eval()
            self._reference.requires_grad_(False)
        if self._settings.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            if isinstance(model, PeftModel):
                model.enable_input_require_grads()
        for module in model.modules():
            # The same answer must get the same probability each time.
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        return model

    @contextmanager
    def _as_reference(self) -> Iterator[Policy]:
        """The policy as it was when training began."""
        model = self._policy.model
        if self._reference is not None:
            yield Policy(self._reference, self._settings.temperature).to(self._device)
        elif _REFERENCE in model.peft_config:
            model.set_adapter(_REFERENCE, inference_mode=True)
            try:
                yield self._policy
            finally:
                model.set_adapter("default")
        else:
            with model.disable_adapter():
                yield self._policy

    @contextmanager
    def _precision(self) -> Iterator[None]:
        wanted = self._settings.bf16
        if wanted is None:
            wanted = self._device.type == "cuda" and torch.cuda.is_bf16_supported()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=bool(wanted)):
            yield

    # --- one update ------------------------------------------------------------------------------

    def _update(self) -> dict[str, float]:
        settings = self._settings
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate()
        batch = self._answered()
        judged = ~torch.isnan(batch.scores)
        if not judged.any():
            raise StageError(
                "no answer of a whole batch could be judged; is the teacher to be reached?"
            )
        # What could not be judged is not learnt from.
        mask = batch.answer_mask * judged[:, None]
        scores = torch.where(judged, batch.scores, torch.zeros_like(batch.scores))
        drift = (batch.logps - batch.reference_logps) * mask
        rewards = -settings.kl_coef * drift
        last = batch.answer_mask.sum(-1).long() - 1
        rewards[torch.arange(len(last)), last] += scores
        if settings.whiten_rewards:
            rewards = _whitened(rewards, mask, keep_mean=True) * mask
        gain, returns = advantages(
            rewards, batch.values, batch.answer_mask, settings.gamma, settings.lam
        )
        gain = _whitened(gain, mask)
        figures = self._learn(batch, mask, gain, returns)
        lengths = batch.answer_mask.sum(-1)
        return {
            "reward": _number(batch.scores[judged].mean()),
            "reward_std": _number(batch.scores[judged].std(unbiased=False)),
            "kl": _number(drift.sum() / judged.sum()),
            "completions/mean_length": _number(lengths.mean()),
            "unjudged": float((~judged).sum()),
            "learning_rate": self._learning_rate(),
            **figures,
        }

    def _learn(
        self, batch: Batch, mask: Tensor, gain: Tensor, returns: Tensor
    ) -> dict[str, float]:
        settings = self._settings
        totals: dict[str, list[float]] = {}
        passes = 0
        for _ in range(settings.ppo_epochs):
            moved = []
            for rows in torch.randperm(len(mask)).split(settings.mini_batch_size):
                if mask[rows].sum() == 0:
                    continue
                with self._precision():
                    logps, values, entropy = self._policy(
                        batch.ids[rows], batch.mask[rows], batch.width
                    )
                old = batch.logps[rows]
                of_policy = policy_loss(logps, old, gain[rows], mask[rows], settings.cliprange)
                of_value = value_loss(
                    values, batch.values[rows], returns[rows], mask[rows], settings.cliprange_value
                )
                loss = of_policy + settings.vf_coef * of_value
                self._optimizer.zero_grad(set_to_none=True)
                loss.backward()
                norm = nn.utils.clip_grad_norm_(self._trained, settings.max_grad_norm or math.inf)
                if not torch.isfinite(norm):
                    raise StageError(
                        "the gradients are no numbers any more: lower learning_rate, or raise"
                        " kl_coef"
                    )
                self._optimizer.step()
                with torch.no_grad():
                    change = logps - old
                    # Schulman's estimate: never negative, of low variance.
                    approx = _mean(torch.exp(change) - 1 - change, mask[rows])
                    clipped = _mean(
                        (torch.abs(torch.exp(change) - 1) > settings.cliprange).float(),
                        mask[rows],
                    )
                moved.append(_number(approx))
                for name, value in (
                    ("loss", loss),
                    ("policy_loss", of_policy),
                    ("value_loss", of_value),
                    ("entropy", _mean(entropy, mask[rows])),
                    ("clip_fraction", clipped),
                    ("approx_kl", approx),
                    ("grad_norm", norm),
                ):
                    totals.setdefault(name, []).append(_number(value))
            passes += 1
            if settings.target_kl is not None and sum(moved) / len(moved) > settings.target_kl:
                break
        figures = {name: sum(values) / len(values) for name, values in totals.items()}
        return {**figures, "passes": float(passes)}

    def _learning_rate(self) -> float:
        settings = self._settings
        done = self._step / settings.max_steps
        share = {"linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done))}
        return settings.learning_rate * share.get(settings.lr_scheduler_type, 1.0)

    # --- answers ---------------------------------------------------------------------------------

    def _rows(self) -> list[dict[str, Any]]:
        """The next prompts: all of the data in an order by chance, then all in another one."""
        size = self._settings.per_device_train_batch_size
        count = len(self._prompts)
        found = []
        for number in range(self._step * size, (self._step + 1) * size):
            generator = torch.Generator().manual_seed(self._settings.seed + number // count)
            order = torch.randperm(count, generator=generator)
            found.append(dict(self._prompts[int(order[number % count])]))
        return found

    def _answered(self) -> Batch:
        """Answer the next prompts, and judge the answers."""
        with torch.no_grad():
            return self._sampled()

    def _sampled(self) -> Batch:
        settings = self._settings
        rows = self._rows()
        prompts = [row.pop("prompt_ids") for row in rows]
        width = max(map(len, prompts))
        pad = self._tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=self._device)
        mask = torch.tensor(
            [[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self._device
        )
        # For generation alone: a model in training mode would not keep its cache.
        self._policy.eval()
        with self._precision():
            whole = self._policy.model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                temperature=settings.temperature,
                top_k=settings.top_k,
                top_p=1.0,
                repetition_penalty=1.0,
                max_new_tokens=settings.max_completion_length,
                eos_token_id=self._stops,
                pad_token_id=pad,
            )
        self._policy.train()
        answers = whole[:, width:]
        stops = torch.isin(answers, torch.tensor(self._stops, device=self._device))
        # A token belongs to the answer if no stop is before it.
        answer_mask = ((stops.long().cumsum(-1) - stops.long()) == 0).float()
        # Padding that is generated by chance is a token like any other, so only what comes after
        # a stop is masked.
        mask = torch.cat([mask, answer_mask.long()], dim=-1)
        logps, values = self._told_by(self._policy, whole, mask, width)
        with self._as_reference() as reference:
            reference_logps, _ = self._told_by(reference, whole, mask, width)
        kept = [row[keep.bool()].tolist() for row, keep in zip(answers, answer_mask, strict=True)]
        texts = self._tokenizer.batch_decode(kept, skip_special_tokens=True)
        scores = self._scores(rows, texts, kept)
        if settings.missing_eos_penalty is not None:
            ended = torch.tensor([row[-1] in self._stops for row in kept], device=self._device)
            scores = scores - settings.missing_eos_penalty * (~ended).float()
        return Batch(
            whole, mask, width, answer_mask, logps, reference_logps, values, scores, texts
        )

    def _told_by(
        self, policy: Policy, ids: Tensor, mask: Tensor, width: int
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities and values of all answers, so many at a time as are learnt from."""
        size = self._settings.mini_batch_size
        with self._precision():
            told = [
                policy(some, those, width)[:2]
                for some, those in zip(ids.split(size), mask.split(size), strict=True)
            ]
        logps, values = zip(*told, strict=True)
        return torch.cat(logps), torch.cat(values)

    def _scores(
        self, rows: Sequence[Mapping[str, Any]], texts: Sequence[str], ids: Sequence[list[int]]
    ) -> Tensor:
        """The sum of the rewards of each answer; one that is missing is left out of the sum."""
        columns = {name: [row[name] for row in rows] for name in rows[0] if name != "prompt"}
        total = torch.full((len(texts),), math.nan, device=self._device)
        for reward in self._rewards:
            given = reward(
                prompts=[row["prompt"] for row in rows],
                completions=[[{"role": "assistant", "content": text}] for text in texts],
                completion_ids=list(ids),
                **columns,
            )
            values = torch.tensor(
                [math.nan if value is None else float(value) for value in given],
                device=self._device,
            )
            missing = torch.isnan(values)
            total = torch.where(missing, total, torch.nan_to_num(total) + values)
        return total

    # --- on the disk -----------------------------------------------------------------------------

    def _save_checkpoint(self) -> None:
        folder = self._run.recipe.output_dir
        place = folder / f"checkpoint-{self._step}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        random = {"torch": torch.get_rng_state()}
        if self._device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state()
        torch.save(
            {
                "trained": {
                    name: parameter.detach().cpu()
                    for name, parameter in self._policy.named_parameters()
                    if parameter.requires_grad
                },
                "optimizer": self._optimizer.state_dict(),
                "random": random,
            },
            place / _WEIGHTS,
        )
        # Last: what has it is whole.
        state = {"global_step": self._step, "log_history": self._log}
        run_record.write_whole(place / STATE, json.dumps(state) + "\n")
        limit = self._settings.save_total_limit
        for old in checkpoints(folder)[: -limit if limit else None] if limit else []:
            shutil.rmtree(old)

    def _load(self, place: Path) -> None:
        state = json.loads((place / STATE).read_text(encoding="utf-8"))
        kept = torch.load(place / _WEIGHTS, map_location="cpu", weights_only=True)
        with torch.no_grad():
            for name, parameter in self._policy.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(kept["trained"][name])
        self._optimizer.load_state_dict(kept["optimizer"])
        torch.set_rng_state(kept["random"]["torch"])
        if "cuda" in kept["random"] and self._device.type == "cuda":
            torch.cuda.set_rng_state(kept["random"]["cuda"])
        self._step = state["global_step"]
        self._log = state["log_history"]

    def _save_final(self, folder: Path) -> None:
        model = self._policy.model
        if hasattr(model, "peft_config"):
            model.save_pretrained(str(folder), selected_adapters=["default"])
        else:
            model.save_pretrained(str(folder))
        torch.save(self._policy.value_head.state_dict(), folder / "value_head.pt")
        self._tokenizer.save_pretrained(str(folder))


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)


def _whitened(values: Tensor, mask: Tensor, keep_mean: bool = False) -> Tensor:
    """Values of mean 0 (or their own) and variance 1 over what the mask covers."""
    mean = _mean(values, mask)
    variance = _mean((values - mean) ** 2, mask)
    white = (values - mean) * torch.rsqrt(variance + 1e-8)
    return (white + mean if keep_mean else white) * mask


def _number(value: Tensor | float) -> float:
    return float(value.detach()) if isinstance(value, Tensor) else float(value)


def _listed(value: Any) -> list[int]:
    return [] if value is None else [value] if isinstance(value, int) else list(value)
