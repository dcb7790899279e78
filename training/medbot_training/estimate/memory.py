"""Peak memory of a stage, part by part, from numbers alone.

What training holds at its peak, for one process:

- *weights* in their type: 4 bytes each in fp32, 2 in half precision; in 4 bits half a byte and the
  scale of each block, with the tables of the vocabulary as they are.
- *gradients* and *optimiser state* of what is trained: with AdamW one and two more copies.
- *activations*: what the layers keep for the way back. With gradient checkpointing each layer
  keeps its input alone, and one layer at a time is worked out again.
- *logits*: TRL works on tiles of the vocabulary, so they are bounded; PPO and rewards keep them.
- *reference*: the frozen copy that preferences and PPO are measured against.
- *keys and values* of the answers that `rl` generates.
- *libraries*: the interpreter with PyTorch and the rest; on a GPU its context.

The coefficients were worked out from what PyTorch saves for the backward pass;
`medbot-train estimate --measure` compares them with a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medbot_training.estimate.shape import Shape
from medbot_training.recipes import Recipe

GIB = float(1 << 30)

TILE_TOKENS = 4096
TILE_VOCABULARY = 32768
"""TRL 1.16 works out logits in tiles of this size."""
_TILE_COPIES = 4
"""Tile, its fp32 copy, and two of the softmax's (on a processor; a GPU's kernel needs less)."""
_LOGIT_COPIES = 5
"""In ppo.py: logits, in fp32, log-softmax, its exponential and their product."""

LIBRARIES_CPU = 0.75e9
CONTEXT_GPU = 0.7e9
_FRAGMENTS_GPU = 1.05
"""The allocator of a GPU hands out whole blocks."""

_4BIT = 0.5 + 4 / 64
_4BIT_DOUBLE = 0.5 + 0.127 / 8 + 0.001
_OPTIMISER_BYTES = {"sgd": 0.0, "adafactor": 0.1, "adagrad": 4.0, "rmsprop": 4.0, "lion": 4.0}
DEFAULT_LENGTH = 1024


@dataclass(frozen=True)
class Lengths:
    """How long the samples of a stage are, in tokens.

    Attributes:
        longest: The longest row of a batch.
        mean: The mean.
        rows: Rows of the data; 0 where that is not known.
        counted: Whether they were counted in data, not assumed from max_length.
    """

    longest: int
    mean: float
    rows: int = 0
    counted: bool = False


@dataclass(frozen=True)
class Memory:
    """An estimate of peak memory.

    Attributes:
        parts: Bytes held at the peak of training, by what holds them.
        loading: Bytes at the peak of loading the base, which may be higher.
        gpu: Whether it is the memory of a GPU.
    """

    parts: Mapping[str, float]
    loading: float
    gpu: bool

    @property
    def training(self) -> float:
        """Bytes at the peak of training."""
        return sum(self.parts.values())

    @property
    def total(self) -> float:
        """Bytes at the peak of all."""
        return max(self.training, self.loading)


def memory_of(recipe: Recipe, shape: Shape, lengths: Lengths, gpu: bool) -> Memory:
    """Estimate the peak memory of a stage.

    Args:
        recipe: The checked recipe of the stage.
        shape: The shape of its base.
        lengths: How long its samples are.
        gpu: Whether it trains on a GPU.
    """
    trained = trained_parameters(recipe, shape)
    weights = weight_bytes(recipe, shape, gpu)
    libraries = CONTEXT_GPU if gpu else LIBRARIES_CPU
    parts = {
        "weights": weights,
        "adapter": trained * adapter_bytes(recipe) if recipe.own["use_peft"] else 0.0,
        "gradients": trained * adapter_bytes(recipe),
        "optimiser": trained * _optimiser_bytes(recipe),
        "reference": _reference_bytes(recipe, trained, weights),
        "activations": _activation_bytes(recipe, shape, lengths, gpu),
        "logits": _logit_bytes(recipe, shape, lengths, gpu),
        "keys and values": _cache_bytes(recipe, shape, lengths, gpu),
        "libraries": libraries,
    }
    parts = {name: size for name, size in parts.items() if size}
    if gpu:
        parts["fragments"] = (_FRAGMENTS_GPU - 1) * (sum(parts.values()) - libraries)
    # Where a GGUF is unpacked, the tensors unpacked and the model lie side by side for a while.
    loading = libraries + (2 * weights if shape.gguf and not gpu else weights)
    return Memory(parts, loading, gpu)


def trained_parameters(recipe: Recipe, shape: Shape) -> float:
    """How many weights are trained."""
    if not recipe.own["use_peft"]:
        return float(shape.parameters)
    rank = int(recipe.lora.get("r", 16))
    a_layer = sum(rank * (a + b) for a, b in _targets(recipe, shape).values())
    if recipe.lora.get("use_dora"):
        a_layer += sum(b for _, b in _targets(recipe, shape).values())
    saved = recipe.lora.get("modules_to_save") or []
    tables = sum(shape.table_parameters for name in saved if name in ("lm_head", "embed_tokens"))
    return float(shape.layers * a_layer + tables)


def _targets(recipe: Recipe, shape: Shape) -> dict[str, tuple[int, int]]:
    wanted = recipe.lora.get("target_modules", "all-linear")
    if isinstance(wanted, str):
        return shape.linears
    names = {str(name).rsplit(".", 1)[-1] for name in wanted}
    # Baichuan keeps queries, keys and values in one.
    if "W_pack" in names:
        names |= {"q_proj", "k_proj", "v_proj"}
    return {name: size for name, size in shape.linears.items() if name in names}


def base_bytes(recipe: Recipe, gpu: bool) -> float:
    """Bytes of one plain weight of the base."""
    name = recipe.own["dtype"]
    if name in (None, "auto"):
        # As base.py decides; "auto" is what the weights were saved in, which is half these days.
        half = name == "auto" or (gpu and recipe.own["use_peft"])
        return 2.0 if half else 4.0
    return 4.0 if name == "float32" else 2.0


def adapter_bytes(recipe: Recipe) -> float:
    """Bytes of one weight that is trained."""
    if not recipe.own["use_peft"]:
        return 2.0 if recipe.own["dtype"] in ("bfloat16", "float16") else 4.0
    # TRL keeps the adapters of packed weights in bfloat16, PEFT all others in fp32.
    return 2.0 if recipe.is_quantized and recipe.kind != "ppo" else 4.0


def weight_bytes(recipe: Recipe, shape: Shape, gpu: bool) -> float:
    """Bytes of the base's weights."""
    plain = base_bytes(recipe, gpu)
    if not recipe.is_quantized:
        return shape.parameters * plain
    packed = 1.0
    if recipe.quantization.get("load_in_4bit"):
        packed = _4BIT_DOUBLE if recipe.quantization.get("bnb_4bit_use_double_quant") else _4BIT
    rest = shape.parameters - shape.linear_parameters
    # PPO prepares packed weights by PEFT's function, which puts all others into fp32.
    return shape.linear_parameters * packed + rest * (4.0 if recipe.kind == "ppo" else plain)


def _optimiser_bytes(recipe: Recipe) -> float:
    name = str(recipe.trainer.get("optim") or "adamw_torch_fused")
    if "8bit" in name:
        return 2.0
    for kind, size in _OPTIMISER_BYTES.items():
        if kind in name:
            return size
    return 2 * adapter_bytes(recipe)


def _reference_bytes(recipe: Recipe, trained: float, weights: float) -> float:
    kind = recipe.kind
    if kind in ("grpo", "rloo") and not recipe.trainer.get("beta", 0.05 if kind == "rloo" else 0):
        return 0.0
    if kind not in ("dpo", "kto", "ppo", "grpo", "rloo"):
        return 0.0
    if not recipe.own["use_peft"]:
        return weights
    # Without an adapter to go on from, the reference is the base itself.
    return trained * adapter_bytes(recipe) if recipe.own["adapter_name_or_path"] else 0.0


# --- what grows with the data --------------------------------------------------------------------


def batch_rows(recipe: Recipe) -> int:
    """Rows that one forward pass with a way back sees."""
    if recipe.kind == "ppo":
        return int(recipe.trainer.get("mini_batch_size", 1))
    rows = int(recipe.trainer.get("per_device_train_batch_size", 8))
    # Both answers of a pair go through the model together.
    return 2 * rows if recipe.kind in ("dpo", "reward") else rows


def row_tokens(recipe: Recipe, lengths: Lengths) -> int:
    """Tokens of the longest row."""
    limit = recipe.trainer.get("max_length", DEFAULT_LENGTH)
    if recipe.stage in ("pretrain", "sft") and _is_packed(recipe):
        return int(limit or lengths.longest)
    if recipe.stage == "rl":
        return lengths.longest + answer_tokens(recipe)
    return min(lengths.longest, int(limit)) if limit else lengths.longest


def answer_tokens(recipe: Recipe) -> int:
    """Tokens that are generated for an answer at most."""
    return int(recipe.trainer.get("max_completion_length") or 256)


def is_checkpointed(recipe: Recipe, gpu: bool) -> bool:
    """Whether activations are worked out again instead of being kept."""
    default = gpu and recipe.kind != "ppo"
    return bool(recipe.trainer.get("gradient_checkpointing", default))


def half_activations(recipe: Recipe, gpu: bool) -> bool:
    """Whether the layers compute in half precision."""
    given = recipe.trainer.get("bf16"), recipe.trainer.get("fp16")
    return (
        any(given) or (gpu and given[0] is None) or recipe.own["dtype"] in ("bfloat16", "float16")
    )


def _is_packed(recipe: Recipe) -> bool:
    return bool(recipe.trainer.get("packing", recipe.stage == "pretrain"))


def _activation_bytes(recipe: Recipe, shape: Shape, lengths: Lengths, gpu: bool) -> float:
    tokens = batch_rows(recipe) * row_tokens(recipe, lengths)
    size = 2.0 if half_activations(recipe, gpu) else 4.0
    layer = tokens * _layer_bytes_a_token(recipe, shape, size)
    if recipe.own["attn_implementation"] == "eager":
        rows = batch_rows(recipe)
        layer += 3 * size * rows * shape.heads * row_tokens(recipe, lengths) ** 2
    if is_checkpointed(recipe, gpu):
        return shape.layers * tokens * shape.hidden * size + 1.5 * layer
    return shape.layers * layer


def _layer_bytes_a_token(recipe: Recipe, shape: Shape, size: float) -> float:
    """What one layer keeps of one token for the way back."""
    # A norm works in fp32 and keeps its input and what it has made of it.
    norms = 2 * (4.0 + size) * shape.hidden
    # Queries and keys after their rotation, values, what attention gives, laid out twice.
    attention = size * (3 * shape.query_width + 2 * shape.kv_width)
    # Two ways in, the activation of one, and their product.
    forward = size * 4 * shape.intermediate
    total = norms + attention + forward
    if recipe.own["use_peft"] and recipe.lora.get("lora_dropout", 0.0):
        # Each target drops its own copy of its input, and keeps what was dropped.
        total += (size + 1) * sum(a for a, _ in _targets(recipe, shape).values())
    return total


def _logit_bytes(recipe: Recipe, shape: Shape, lengths: Lengths, gpu: bool) -> float:
    rows = batch_rows(recipe)
    if recipe.kind == "ppo":
        return 4.0 * rows * _LOGIT_COPIES * row_tokens(recipe, lengths) * shape.vocabulary
    if recipe.kind == "reward":
        return 0.0
    tokens = min(TILE_TOKENS, rows * row_tokens(recipe, lengths))
    tile = 4.0 * tokens * min(TILE_VOCABULARY, shape.vocabulary)
    return tile * (2 if gpu else _TILE_COPIES)


def _cache_bytes(recipe: Recipe, shape: Shape, lengths: Lengths, gpu: bool) -> float:
    if recipe.stage != "rl":
        return 0.0
    rows = int(recipe.trainer.get("per_device_train_batch_size", 4 if recipe.kind == "ppo" else 8))
    if recipe.kind != "ppo":
        rows *= int(recipe.trainer.get("steps_per_generation") or accumulated(recipe))
    size = 2.0 if half_activations(recipe, gpu) else 4.0
    return 2 * size * rows * row_tokens(recipe, lengths) * shape.kv_width * shape.layers


def accumulated(recipe: Recipe) -> int:
    """Batches whose gradients make one step."""
    return int(recipe.trainer.get("gradient_accumulation_steps", 1) or 1)


def free_bytes(gpu: bool) -> float | None:
    """Memory that is free now on this machine, or on its GPU; None where nobody says."""
    if gpu:
        import torch

        return float(torch.cuda.mem_get_info()[0])
    found = []
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    found.append(float(line.split()[1]) * 1024)
    except OSError:
        pass
    limit = _cgroup_free()
    if limit is not None:
        found.append(limit)
    return min(found) if found else None


def _cgroup_free() -> float | None:
    def number(path: str) -> float | None:
        try:
            with open(path, encoding="ascii") as file:
                return float(file.read())
        except (OSError, ValueError):
            return None

    limit = number("/sys/fs/cgroup/memory.max")
    used = number("/sys/fs/cgroup/memory.current")
    return limit - used if limit is not None and used is not None else None


def gib(size: float) -> str:
    """A size for people."""
    if size < 0.095 * GIB:
        return (
            f"{size / (1 << 20):.1f} MiB"
            if size < 10 * (1 << 20)
            else f"{size / (1 << 20):.0f} MiB"
        )
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / GIB:.2f} GiB"


def as_record(memory: Memory) -> dict[str, Any]:
    """For programs: all parts, in bytes."""
    return {
        "parts": {name: round(size) for name, size in memory.parts.items()},
        "loading": round(memory.loading),
        "peak": round(memory.total),
        "device": "cuda" if memory.gpu else "cpu",
    }
