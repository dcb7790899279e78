"""What to change where memory does not suffice: the settings that save most, and how much each."""

from __future__ import annotations

import dataclasses
import errno
from typing import Any

from medbot_training.estimate.lengths import lengths_of
from medbot_training.estimate.memory import Lengths
from medbot_training.estimate.memory import accumulated
from medbot_training.estimate.memory import answer_tokens
from medbot_training.estimate.memory import base_bytes
from medbot_training.estimate.memory import free_bytes
from medbot_training.estimate.memory import gib
from medbot_training.estimate.memory import is_checkpointed
from medbot_training.estimate.memory import memory_of
from medbot_training.estimate.memory import row_tokens
from medbot_training.estimate.shape import EstimateError
from medbot_training.estimate.shape import Shape
from medbot_training.estimate.shape import shape_of
from medbot_training.recipes import Recipe

SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Saving:
    """A change of a recipe.

    Attributes:
        setting: Fields and their new values, as they are written in a recipe.
        saved: Bytes less at the peak.
    """

    setting: str
    saved: float


def savings(recipe: Recipe, shape: Shape, lengths: Lengths, gpu: bool) -> list[Saving]:
    """The changes that save memory, the one that saves most first."""
    now = memory_of(recipe, shape, lengths, gpu).total
    found = []
    for setting, changed, shorter in _changes(recipe, shape, lengths, gpu):
        then = memory_of(changed, shape, shorter or lengths, gpu).total
        if then < now:
            found.append(Saving(setting, now - then))
    return sorted(found, key=lambda saving: -saving.saved)


def _changes(
    recipe: Recipe, shape: Shape, lengths: Lengths, gpu: bool
) -> list[tuple[str, Recipe, Lengths | None]]:
    """Changes that can be made: how they are written, the recipe and the lengths after them."""
    found: list[tuple[str, Recipe, Lengths | None]] = []
    rows = int(recipe.trainer.get("per_device_train_batch_size", 4 if recipe.kind == "ppo" else 8))
    smallest = _smallest_batch(recipe)
    if rows > smallest:
        fields: dict[str, Any] = {"per_device_train_batch_size": smallest}
        if recipe.kind != "ppo":
            fields["gradient_accumulation_steps"] = accumulated(recipe) * (rows // smallest)
        words = " with ".join(f"{name} {value}" for name, value in fields.items())
        found.append((words, _with(recipe, trainer=fields), None))
    if recipe.kind == "ppo" and int(recipe.trainer.get("mini_batch_size", 1)) > 1:
        found.append(("mini_batch_size 1", _with(recipe, trainer={"mini_batch_size": 1}), None))
    if not is_checkpointed(recipe, gpu):
        field = {"gradient_checkpointing": True}
        found.append(("gradient_checkpointing true", _with(recipe, trainer=field), None))
    if recipe.stage == "rl":
        half = max(1, answer_tokens(recipe) // 2)
        field_of_answers = {"max_completion_length": half}
        found.append(
            (f"max_completion_length {half}", _with(recipe, trainer=field_of_answers), None)
        )
    else:
        half = max(1, row_tokens(recipe, lengths) // 2)
        shorter = dataclasses.replace(
            lengths, longest=min(lengths.longest, half), mean=min(lengths.mean, half)
        )
        found.append((f"max_length {half}", _with(recipe, trainer={"max_length": half}), shorter))
    if recipe.own["use_peft"] and recipe.lora.get("lora_dropout"):
        found.append(("lora_dropout 0", _with(recipe, lora={"lora_dropout": 0.0}), None))
    rank = int(recipe.lora.get("r", 16))
    if recipe.own["use_peft"] and not recipe.own["adapter_name_or_path"] and rank > 1:
        found.append((f"r {rank // 2}", _with(recipe, lora={"r": rank // 2}), None))
    if not recipe.own["use_peft"]:
        found.append(("use_peft true", _with(recipe, own={"use_peft": True}), None))
        if "8bit" not in str(recipe.trainer.get("optim", "")):
            name = "paged_adamw_8bit" if gpu else "adamw_8bit"
            found.append((f"optim {name}", _with(recipe, trainer={"optim": name}), None))
    elif not recipe.is_quantized:
        if gpu and not shape.gguf:
            packed = _with(recipe, quantization={"load_in_4bit": True})
            found.append(("load_in_4bit true", packed, None))
        if base_bytes(recipe, gpu) > 2:
            found.append(("dtype bfloat16", _with(recipe, own={"dtype": "bfloat16"}), None))
    return found


def _smallest_batch(recipe: Recipe) -> int:
    """The fewest rows that a batch may have."""
    if recipe.kind == "ppo":
        return int(recipe.trainer.get("mini_batch_size", 1))
    # KTO compares answers of one batch with each other.
    return 2 if recipe.kind == "kto" else 1


def _with(recipe: Recipe, **groups: dict[str, Any]) -> Recipe:
    changed: dict[str, Any] = {
        name: {**getattr(recipe, name), **fields} for name, fields in groups.items()
    }
    return dataclasses.replace(recipe, **changed)


def advice(recipe: Recipe, lengths: Lengths | None = None, gpu: bool = False) -> str:
    """The three settings that save most, with what each would save, in one line.

    Args:
        recipe: The recipe that did not fit.
        lengths: Its data's lengths, guessed from the files where they are not given.
        gpu: Whether it is the memory of a GPU.
    """
    try:
        shape = shape_of(recipe)
        found = savings(recipe, shape, lengths or lengths_of(recipe), gpu)[:SHOWN]
    except (EstimateError, OSError):
        return "lower per_device_train_batch_size, gradient_checkpointing true, lower max_length"
    if not found:
        return "nothing is left to save in the recipe: take a smaller base, or a larger machine"
    return ", or ".join(f"{saving.setting} (saves {gib(saving.saved)})" for saving in found)


def out_of_memory(recipe: Recipe, lengths: Lengths | None = None, gpu: bool = False) -> str:
    """What is said when memory has run out, in one line."""
    return f"out of memory: set {advice(recipe, lengths, gpu)}"


_NO_MEMORY_WORDS = (
    "out of memory",
    "not enough memory",
    "can't allocate",
    "cannot allocate memory",
    "failed to map segment",
    "os error 12",
    "bad_alloc",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what led to it, says that memory has run out."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError) or type(seen).__name__ == "OutOfMemoryError":
            return True
        if isinstance(seen, OSError) and seen.errno == errno.ENOMEM:
            return True
        if any(words in str(seen).lower() for words in _NO_MEMORY_WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def killed_advice(recipe: Recipe | None, is_sure: bool = False) -> str:
    """What is said when a stage was ended by signal 9, in one line.

    Args:
        recipe: Its recipe; None for what is no stage of training.
        is_sure: Whether the kernel counted a process that it has ended for want of memory.
    """
    reason = (
        "the kernel ended it, for memory has run out"
        if is_sure
        else "it was ended by signal 9, by somebody or by the kernel for want of memory"
    )
    if recipe is None:
        return f"{reason}; end other programs and give the same command again"
    hint = "set" if is_sure else "give the same command again, and if it was memory, set"
    return f"{reason}: {hint} {advice(recipe, gpu=False)}"


def kernel_kills() -> int | None:
    """How many processes the kernel has ended for want of memory; None where it does not say."""
    for path, name in (("/sys/fs/cgroup/memory.events", "oom_kill"), ("/proc/vmstat", "oom_kill")):
        try:
            with open(path, encoding="ascii") as file:
                for line in file:
                    key, _, value = line.partition(" ")
                    if key == name:
                        return int(value)
        except (OSError, ValueError):
            continue
    return None


def warning(recipe: Recipe, lengths: Lengths, gpu: bool) -> str | None:
    """What to say before a stage starts that will hardly fit; None where it fits or nobody knows.

    Args:
        recipe: The recipe of the stage.
        lengths: The lengths of its data.
        gpu: Whether it trains on a GPU.
    """
    try:
        needed = memory_of(recipe, shape_of(recipe), lengths, gpu).total
    except (EstimateError, OSError):
        return None
    free = free_bytes(gpu)
    if free is None or needed <= free:
        return None
    return (
        f"it will want about {gib(needed)} of memory and {gib(free)} are free: set"
        f" {advice(recipe, lengths, gpu)}"
    )
