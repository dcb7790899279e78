"""Time a step, rough: how much there is to compute, over how fast this machine computes.

How fast that is, is measured for half a second: a product of matrices of about the base's own
size, and one of a matrix and a vector, whose time is that of reading the weights, as when an
answer is generated token by token.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from medbot_training.estimate.memory import Lengths
from medbot_training.estimate.memory import accumulated
from medbot_training.estimate.memory import answer_tokens
from medbot_training.estimate.memory import batch_rows
from medbot_training.estimate.memory import half_activations
from medbot_training.estimate.memory import is_checkpointed
from medbot_training.estimate.memory import row_tokens
from medbot_training.estimate.memory import trained_parameters
from medbot_training.estimate.memory import weight_bytes
from medbot_training.estimate.shape import Shape
from medbot_training.recipes import Recipe

_MEASURE_S = 0.25
_LAYER_OVERHEAD_S = {"cpu": 1.2e-3, "cuda": 0.5e-3}
"""What one layer's pass takes whatever its size: Python, and the start of its operations."""
_STEP_OVERHEAD_S = 15e-3
"""The trainer's own work in a step."""


@dataclass(frozen=True)
class Speed:
    """How fast a machine computes.

    Attributes:
        flops: Floating-point operations a second in a product of matrices.
        bandwidth: Bytes of weights a second in a product of a matrix and a vector.
        device: cpu or cuda.
    """

    flops: float
    bandwidth: float
    device: str


@dataclass(frozen=True)
class Work:
    """What a step has to do.

    Attributes:
        flops: Floating-point operations.
        read: Bytes of weights that are read token by token.
        passes: Passes of one layer.
    """

    flops: float
    read: float
    passes: float

    def seconds(self, speed: Speed) -> float:
        """How long that takes at a speed."""
        layer = _LAYER_OVERHEAD_S[speed.device]
        computed = self.flops / speed.flops + self.read / speed.bandwidth
        return computed + self.passes * layer + _STEP_OVERHEAD_S


def work_of(recipe: Recipe, shape: Shape, lengths: Lengths, gpu: bool) -> Work:
    """What a step of a stage has to do, gradient accumulation included."""
    kind = recipe.kind
    whole = not recipe.own["use_peft"]
    # Forward 1; back to the activations 1; to the weights, where they are trained, 1 more.
    back = 2.0 if whole else 1.0
    there_and_back = 1.0 + back + (1.0 if is_checkpointed(recipe, gpu) else 0.0)
    rows = batch_rows(recipe)
    tokens = min(lengths.mean, row_tokens(recipe, lengths))
    if recipe.stage in ("pretrain", "sft") and row_tokens(recipe, lengths) > lengths.longest:
        tokens = row_tokens(recipe, lengths)
    if kind in ("grpo", "rloo"):
        tokens = lengths.mean + answer_tokens(recipe)
        rounds = there_and_back + (1.0 if recipe.trainer.get("beta") else 0.0)
        return _with_answers(recipe, shape, gpu, rounds, rows, tokens, accumulated(recipe))
    if kind == "ppo":
        tokens = lengths.mean + answer_tokens(recipe)
        batch = int(recipe.trainer.get("per_device_train_batch_size", 4))
        epochs = int(recipe.trainer.get("ppo_epochs", 4))
        return _with_answers(
            recipe, shape, gpu, 2.0 + epochs * there_and_back, rows, tokens, max(1, batch // rows)
        )
    rounds = there_and_back + (1.0 if kind in ("dpo", "kto") else 0.0)
    batches = accumulated(recipe)
    return Work(
        _pass_flops(recipe, shape, rows * tokens, tokens) * rounds * batches,
        0.0,
        shape.layers * rounds * batches,
    )


def _with_answers(
    recipe: Recipe,
    shape: Shape,
    gpu: bool,
    rounds: float,
    rows: int,
    tokens: float,
    batches: int,
) -> Work:
    learnt = _pass_flops(recipe, shape, rows * tokens, tokens)
    answers = answer_tokens(recipe)
    # Every token of all answers at once is one pass through the weights.
    return Work(
        learnt * (rounds + 1.0) * batches,
        answers * weight_bytes(recipe, shape, gpu),
        shape.layers * (rounds * batches + answers),
    )


def _pass_flops(recipe: Recipe, shape: Shape, tokens: float, length: float) -> float:
    """Operations of one pass of so many tokens through the model."""
    weights = shape.linear_parameters
    weights += 0 if recipe.kind == "reward" else shape.table_parameters
    if recipe.own["use_peft"]:
        weights += round(trained_parameters(recipe, shape))
    attention = 2 * 2 * shape.layers * shape.query_width * length
    return tokens * (2.0 * weights + attention)


def measure(recipe: Recipe, shape: Shape, gpu: bool) -> Speed:
    """Measure how fast this machine computes, for half a second."""
    import torch

    device = "cuda" if gpu else "cpu"
    dtype = torch.bfloat16 if half_activations(recipe, gpu) else torch.float32
    matrix = torch.randn(shape.hidden, max(shape.intermediate, shape.hidden), dtype=dtype)
    matrix = matrix.to(device)
    rows = torch.randn(256, shape.hidden, dtype=dtype, device=device)
    one = rows[:1].contiguous()
    products, seconds = _times(lambda: rows @ matrix, gpu)
    flops = 2.0 * rows.numel() * matrix.shape[1] * products / seconds
    products, seconds = _times(lambda: one @ matrix, gpu)
    bandwidth = matrix.numel() * matrix.element_size() * products / seconds
    return Speed(flops, bandwidth, device)


def _times(function: object, gpu: bool) -> tuple[int, float]:
    """How often a function was called in a while, and how long that took, seconds."""
    import torch

    assert callable(function)
    for _ in range(3):
        function()
    if gpu:
        torch.cuda.synchronize()
    done, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < _MEASURE_S or done < 3:
        function()
        if gpu:
            torch.cuda.synchronize()
        done += 1
    return done, seconds


def steps_of(recipe: Recipe, lengths: Lengths) -> int | None:
    """How many steps a stage takes; None where that hangs on data that is not here."""
    given = int(recipe.trainer.get("max_steps", -1))
    if recipe.kind == "ppo":
        return int(recipe.trainer.get("max_steps", 100))
    if given > 0:
        return given
    if not lengths.rows:
        return None
    rows = float(lengths.rows)
    batch = int(recipe.trainer.get("per_device_train_batch_size", 8)) * accumulated(recipe)
    if recipe.stage in ("pretrain", "sft") and recipe.trainer.get(
        "packing", recipe.stage == "pretrain"
    ):
        rows = max(1.0, rows * lengths.mean / row_tokens(recipe, lengths))
    if recipe.kind in ("grpo", "rloo"):
        rows *= int(recipe.trainer.get("num_generations", 8))
    epochs = float(recipe.trainer.get("num_train_epochs", 3.0))
    return max(1, round(rows * epochs / batch + 0.49))
