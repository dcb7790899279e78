"""Many processes: how a model is spread over them, and that it really is.

torchrun, accelerate and deepspeed start the same command once for each GPU. How the model is then
spread is what the recipe says (`deepspeed`, `fsdp`) or `accelerate launch` (by the environment),
else each process has a whole copy (DDP).

The libraries fall back without a word: told to use the processor, accelerate takes neither
DeepSpeed nor FSDP, and trains with DDP instead. The losses are then the same, and the memory that
was to be saved is not. So the processes are set up here, before anything else does it, and what
the trainer has made of the model is compared with what was asked for before the first step.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbot_llm.domain import MedbotError
from medbot_training.recipes import Recipe

SINGLE, DDP, FSDP = "one process", "DDP", "FSDP2"
ZERO = "DeepSpeed ZeRO-"
"""How a model can be spread; ZERO with its stage behind it."""

_LOST = re.compile(r"(?i)connection (closed|reset|refused)|connection was lost|broken pipe|remote")
_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"


class ProcessesError(MedbotError):
    """The processes can't work together so; one line with what to do."""


class LostProcessError(MedbotError):
    """Another process of this run has ended; it has the reason."""


@dataclass(frozen=True)
class Spread:
    """What was asked for.

    Attributes:
        name: SINGLE, DDP, FSDP, or ZERO with the stage.
        by: Who asks, for error messages: a field of the recipe or the launcher.
    """

    name: str
    by: str = ""

    @property
    def is_deepspeed(self) -> bool:
        """Whether DeepSpeed does it."""
        return self.name.startswith(ZERO)


# --- who we are ----------------------------------------------------------------------------------


def world_size() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_one_of_many() -> bool:
    """Whether this process was started by torchrun, accelerate or deepspeed beside others."""
    return world_size() > 1


def is_main_process() -> bool:
    """Whether this is the one that writes and speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def barrier() -> None:
    """Wait for the other processes, if there are any."""
    if is_one_of_many():
        _state().wait_for_everyone()


@contextmanager
def main_process_first() -> Iterator[None]:
    """Let the main process do something, then the first of each machine, then all others.

    On a disk that machines share they find it done; on disks of their own one of each does it.
    """
    if not is_one_of_many():
        yield
        return
    state = _state()
    turn = 0 if state.is_main_process else 1 if state.is_local_main_process else 2
    for _ in range(turn):
        state.wait_for_everyone()
    yield
    for _ in range(2 - turn):
        state.wait_for_everyone()


def _state() -> Any:
    from accelerate import PartialState

    return PartialState()


# --- what was asked for --------------------------------------------------------------------------


def asked_spread(recipe: Recipe) -> Spread:
    """What the recipe and the launcher ask for.

    Raises:
        ProcessesError: They contradict each other, or DeepSpeed's settings can't be read.
    """
    settings = recipe.trainer.get("deepspeed")
    sharded = recipe.trainer.get("fsdp")
    by_launcher = {
        name: os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true"
        for name in ("DEEPSPEED", "FSDP")
    }
    if (settings or by_launcher["DEEPSPEED"]) and (sharded or by_launcher["FSDP"]):
        raise ProcessesError("deepspeed and fsdp exclude each other; choose one")
    if settings:
        return Spread(f"{ZERO}{_zero_stage(settings)}", "the recipe (deepspeed)")
    if by_launcher["DEEPSPEED"]:
        file = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
        stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
        number = stage if file == "none" else _zero_stage(file)
        return Spread(f"{ZERO}{number}", "accelerate launch")
    if sharded or by_launcher["FSDP"]:
        by = "the recipe (fsdp)" if sharded else "accelerate launch"
        if _fsdp_version(recipe) != 2:
            raise ProcessesError(f"{by} asks for FSDP 1, which is no more; set its version to 2")
        if not is_one_of_many():
            raise ProcessesError(
                f"{by} asks for FSDP, which needs several processes: start it by"
                " torchrun --nproc_per_node N -m medbot_training.cli …"
            )
        return Spread(FSDP, by)
    return Spread(DDP, "the launcher") if is_one_of_many() else Spread(SINGLE)


def _zero_stage(settings: Any) -> int:
    if not isinstance(settings, dict):
        try:
            settings = json.loads(Path(str(settings)).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ProcessesError(f"deepspeed: {settings} can't be read: {error}") from None
    stage = settings.get("zero_optimization", {}).get("stage", 0)
    if stage not in (0, 1, 2, 3):
        raise ProcessesError(f"deepspeed: zero_optimization.stage is 0 to 3, not {stage!r}")
    return int(stage)


def _fsdp_version(recipe: Recipe) -> int:
    settings = recipe.trainer.get("fsdp_config")
    if isinstance(settings, str):
        try:
            settings = json.loads(Path(settings).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ProcessesError(f"fsdp_config: {settings} can't be read: {error}") from None
    settings = settings or {}
    given = settings.get("version", settings.get("fsdp_version"))
    return int(given if given is not None else os.environ.get("FSDP_VERSION", "2"))


def check_processes(recipe: Recipe) -> None:
    """Refuse what can't be done here, before a model is loaded. Raises ProcessesError."""
    spread = asked_spread(recipe)
    if spread.is_deepspeed and importlib.util.find_spec("deepspeed") is None:
        raise ProcessesError(
            f"{spread.by} asks for {spread.name}, which needs the package deepspeed:"
            " make setup-training, or pip install 'medbot-training[distributed]'"
        )
    if spread.is_deepspeed and "LOCAL_RANK" not in os.environ:
        raise ProcessesError(
            f"{spread.by} asks for {spread.name}, which a launcher must start:"
            " deepspeed --num_gpus N -m medbot_training.cli …"
        )
    if recipe.kind == "ppo" and is_one_of_many():
        raise ProcessesError("algorithm: ppo runs in one process; use grpo on many GPUs")
    if recipe.is_quantized and spread.name == f"{ZERO}3":
        raise ProcessesError(
            "ZeRO-3 can't share out weights in 4 or 8 bits: use configs/zero2.json, or fsdp"
        )
    if recipe.trainer.get("use_vllm") and importlib.util.find_spec("vllm") is None:
        raise ProcessesError(
            "use_vllm needs the package vllm beside TRL, also where the server runs elsewhere,"
            " and it is not here; training/docs/many_gpus.md says how, or leave use_vllm out"
        )


# --- setting them up -----------------------------------------------------------------------------


def set_up_processes(recipe: Recipe, gpu: bool) -> None:
    """Join the processes, as the recipe wants them spread, before a library does it otherwise.

    Args:
        recipe: A recipe that has passed `check_processes`.
        gpu: Whether there is a GPU to use.
    """
    spread = asked_spread(recipe)
    if not gpu and not spread.is_deepspeed:
        os.environ["ACCELERATE_USE_CPU"] = "true"
    if spread.is_deepspeed:
        # With the word for the processor accelerate would leave DeepSpeed out.
        os.environ.pop("ACCELERATE_USE_CPU", None)
        os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
        if not gpu:
            os.environ["ACCELERATE_TORCH_DEVICE"] = os.environ["DS_ACCELERATOR"] = "cpu"
    if not is_one_of_many():
        return
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    if gpu:
        PartialState()
    elif spread.is_deepspeed:
        # DeepSpeed's own start chooses no backend for processors, and each would be alone.
        PartialState(backend="gloo")
    else:
        state = PartialState(cpu=True)
        if spread.name == FSDP:
            # accelerate shards on GPUs only, though fully_shard itself works on processors.
            state.distributed_type = DistributedType.MULTI_GPU


def keeps_state(recipe: Recipe, gpu: bool) -> bool:
    """Whether the trainer must take the processes as they were set up, and not anew."""
    spread = asked_spread(recipe)
    return is_one_of_many() and not gpu and (spread.is_deepspeed or spread.name == FSDP)


# --- whether it is so ----------------------------------------------------------------------------


def found_spread(model: Any) -> str:
    """How a trainer's wrapped model is spread."""
    from torch.distributed.fsdp import FSDPModule
    from torch.nn.parallel import DistributedDataParallel

    if isinstance(model, FSDPModule):
        return FSDP
    if isinstance(model, DistributedDataParallel):
        return DDP
    if type(model).__name__ == "DeepSpeedEngine":
        return f"{ZERO}{model.zero_optimization_stage()}"
    return SINGLE


def check_spread(recipe: Recipe, model: Any) -> dict[str, Any]:
    """Make sure that a model is spread as it was asked for.

    Args:
        recipe: The recipe.
        model: The trainer's wrapped model, when training begins.

    Returns:
        What run.json says of it.

    Raises:
        ProcessesError: It is not.
    """
    asked, found = asked_spread(recipe), found_spread(model)
    if found != asked.name:
        raise ProcessesError(
            f"{asked.by or 'this call'} asks for {asked.name}, but the libraries made"
            f" {found} of it ({type(model).__name__}, {world_size()} processes)"
        )
    return {"spread": found, "processes": world_size()}


# --- when one fails ------------------------------------------------------------------------------


def is_lost_process(error: BaseException) -> bool:
    """Whether an error says that another process has gone."""
    return is_one_of_many() and isinstance(error, RuntimeError) and bool(_LOST.search(str(error)))


def is_told_already(error: BaseException) -> bool:
    """Whether another process of this machine has told the same error; else it now counts as told.

    That a process was lost is told only where none has told why. Under torchrun all processes of a
    machine have a folder in common that goes away with the run; under another launcher each tells
    its own.
    """
    file = os.environ.get(_ERROR_FILE)
    if not file or not is_one_of_many():
        return False
    shared = Path(file).parent.parent
    if isinstance(error, LostProcessError) and any(shared.glob("told-*")):
        return True
    mark = hashlib.sha256(str(error).encode()).hexdigest()[:16]
    try:
        (shared / f"told-{mark}").touch(exist_ok=False)
    except FileExistsError:
        return True
    except OSError:
        return False
    return False
