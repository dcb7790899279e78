"""One run of a stage, from the recipe to weights that are whole on the disk.

```
OUTPUT_DIR/            outputs-STAGE by default
    run.json           what the run was made of, how it ended, its last figures
    metrics.jsonl      every line of the log
    runs/              the same for TensorBoard
    loss.png …         the same as pictures
    cache/             the data as token ids
    checkpoint-N/      what a killed run goes on from; whole ones only are used
    final/             the adapter (or the whole model) with its tokenizer and run.json
```

A run that was killed goes on from its last whole checkpoint when the same command is given again,
and ends with the same weights: seeds, the order of the data and the random state are kept. One
that has ended is not repeated.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from medbot_llm.domain import MedbotError
from medbot_training import run_record
from medbot_training.estimate.advice import is_out_of_memory
from medbot_training.estimate.advice import out_of_memory
from medbot_training.recipes import Recipe
from medbot_training.stages.processes import LostProcessError
from medbot_training.stages.processes import barrier
from medbot_training.stages.processes import check_processes
from medbot_training.stages.processes import is_lost_process
from medbot_training.stages.processes import is_main_process
from medbot_training.stages.processes import main_process_first
from medbot_training.stages.processes import set_up_processes

if TYPE_CHECKING:
    from medbot_training.stages.prepare import Prepared
    from medbot_training.templates import TemplateFacts

FINAL = "final"
METRICS = "metrics.jsonl"
STATE = "trainer_state.json"

_FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FULL_DISK_WORDS = (
    "no space left",
    "os error 28",
    "file too large",
    "os error 27",
    "pytorchstreamwriter failed",
)
_WRITING = re.compile(r"(?i)writ|inline_container|i/o error|serializ")
_LITTLE_BYTES = 64_000_000
"""With less free space than this, an error in writing is taken for a full disk."""
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


class StageError(MedbotError):
    """A stage can't be run, or could not go on; one line with what to do."""


@dataclass
class Run:
    """All that a trainer needs.

    Attributes:
        recipe: The recipe.
        model: The base, with the adapter that it goes on from.
        tokenizer: Its tokenizer.
        facts: What is known of the chat template; None for pre-training.
        train: The training data.
        validation: What to measure on.
        checkpoint: What to go on from; None: from the start.
        load_model: Loads the base once more, for a reference.
        extra: What the trainer adds to run.json.
    """

    recipe: Recipe
    model: Any
    tokenizer: Any
    facts: TemplateFacts | None
    train: Prepared
    validation: Prepared | None
    checkpoint: Path | None
    load_model: Callable[[], Any]
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a trainer gives back.

    Attributes:
        log: The lines of the log, from the first step on, resumed or not.
        save: Saves weights and tokenizer into a folder.
        steps: Updates made in all.
    """

    log: Sequence[Mapping[str, Any]]
    save: Callable[[Path], None]
    steps: int


Train = Callable[[Run], Outcome]


def run_stage(recipe: Recipe) -> int:
    """Run a stage and give its exit status. Raises a MedbotError in one line."""
    quiet_libraries()
    folder = recipe.output_dir
    files = {name: recipe.files(f"{name}_file") for name in ("train", "validation")}
    if not files["train"]:
        raise StageError("train_file is missing: name the data to train on")
    check_machine(recipe)
    check_processes(recipe)
    if recipe.stage == "rl":
        from medbot_training.stages.rewarding import reward_functions

        # A teacher without a key is told before a model is loaded.
        reward_functions(recipe, load=False)
    with own_folder(folder), _clear_errors(recipe):
        set_up_processes(recipe, gpu=has_gpu(recipe))
        return _run(recipe, folder, files)


def _run(recipe: Recipe, folder: Path, files: Mapping[str, list[Path]]) -> int:
    from medbot_training.base import adapter_config
    from medbot_training.base import find_base
    from medbot_training.base import load_model
    from medbot_training.base import load_tokenizer
    from medbot_training.prompting import PromptMaker
    from medbot_training.stages.prepare import Preparer
    from medbot_training.stages.prepare import base_texts

    if recipe.own["adapter_name_or_path"]:
        adapter_config(str(recipe.own["adapter_name_or_path"]))
    is_main = is_main_process()
    with main_process_first():
        place = find_base(recipe, base_texts(files["train"]))
    prompts = PromptMaker()
    data = {name: run_record.data_record(found) for name, found in files.items() if found}
    record = run_record.describe(recipe, place.record(), data, prompts.fingerprint)
    with main_process_first():
        if recipe.own["overwrite_output_dir"] and is_main:
            clear(folder)
        if is_finished(folder, record["fingerprint"]):
            say(
                f"{recipe.stage}: {folder / FINAL} is there already, from the same data and recipe"
            )
            return 0
        checkpoint = _resumable(folder, record["fingerprint"], is_main)
    before = run_record.read(folder) or {}
    if checkpoint is not None:
        record["started"] = before.get("started", record["started"])
        record["resumed"] = [*before.get("resumed", []), run_record.now()]
    if is_main:
        run_record.write(folder, record)
    tokenizer, facts = load_tokenizer(recipe, place)
    preparer = Preparer(recipe, tokenizer, facts, prompts)
    with main_process_first():
        train = preparer.prepared("train")
        validation = preparer.prepared("validation")
    assert train is not None
    say(_counted(recipe, train.counts))
    _warn_of_memory(recipe, train)
    _seed(recipe)

    def load() -> Any:
        return load_model(recipe, place, tokenizer, facts)

    run = Run(recipe, load(), tokenizer, facts, train, validation, checkpoint, load)
    if checkpoint is not None:
        say(f"{recipe.stage}: going on from {checkpoint}")
    started = time.monotonic()
    outcome = _trainer_of(recipe)(run)
    seconds = time.monotonic() - started
    log = [dict(line) for line in outcome.log]
    summary = _summary(log)
    record.update(
        status="finished",
        finished=run_record.now(),
        seconds=round(float(before.get("seconds", 0.0)) * bool(checkpoint) + seconds, 1),
        steps=outcome.steps,
        records=dict(train.counts),
        template=_template_record(facts),
        result=summary,
        **run.extra,
    )
    save_final(folder, outcome.save, record, is_main)
    if is_main:
        from medbot_training.stages.plots import draw

        _write_metrics(folder, log)
        draw(folder, log)
        run_record.write(folder, record)
    say(f"{recipe.stage}: {folder / FINAL}  {_figures(summary)}")
    return 0


def _warn_of_memory(recipe: Recipe, train: Prepared) -> None:
    """Say it before the base is loaded when the stage will hardly fit into memory."""
    from medbot_training.estimate.advice import warning
    from medbot_training.estimate.lengths import lengths_of_prepared

    found = warning(recipe, lengths_of_prepared(recipe, train.dataset), has_gpu(recipe))
    if found is not None:
        say(f"{recipe.stage}: WARNING: {found}")


def _trainer_of(recipe: Recipe) -> Train:
    if recipe.kind == "ppo":
        from medbot_training.ppo import train as train_by_ppo

        return train_by_ppo
    from medbot_training.stages.trainers import train

    return train


# --- where the run stands ------------------------------------------------------------------------


def is_finished(folder: Path, fingerprint: str) -> bool:
    """Whether a folder holds the weights of this very run."""
    record = run_record.read(folder)
    return (
        record is not None
        and record.get("status") == "finished"
        and record.get("fingerprint") == fingerprint
        and (folder / FINAL / run_record.FILE_NAME).exists()
    )


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a folder, oldest first.

    A checkpoint's state is written last; a killed save has none, or half of one.
    """
    found = []
    for path in folder.glob("checkpoint-*"):
        match = _CHECKPOINT.fullmatch(path.name)
        if match is None:
            continue
        try:
            json.loads((path / STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        found.append((int(match[1]), path))
    return [path for _, path in sorted(found)]


def clear(folder: Path) -> None:
    """Delete what earlier runs left in a folder, and nothing else."""
    for name in (FINAL, "runs", "cache"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in folder.glob("checkpoint-*"):
        shutil.rmtree(path, ignore_errors=True)
    for pattern in (run_record.FILE_NAME, METRICS, "*.png"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def _resumable(folder: Path, fingerprint: str, is_main: bool) -> Path | None:
    record = run_record.read(folder)
    if record is not None and record.get("fingerprint") != fingerprint:
        raise StageError(
            f"{folder} holds a run of another recipe or other data ({_difference(record)});"
            " give another output_dir, or --overwrite_output_dir true to start anew"
        )
    whole = checkpoints(folder) if record is not None else []
    if is_main:
        for path in folder.glob("checkpoint-*"):
            if path not in whole:
                shutil.rmtree(path, ignore_errors=True)
        # What is left of a save that was killed.
        for path in folder.glob(f".{FINAL}.*"):
            shutil.rmtree(path, ignore_errors=True)
    return whole[-1] if whole else None


def _difference(record: Mapping[str, Any]) -> str:
    return f"stage {record.get('stage')}, started {record.get('started')}"


# --- saving --------------------------------------------------------------------------------------


def save_final(
    folder: Path, save: Callable[[Path], None], record: Mapping[str, Any], is_main: bool
) -> None:
    """Save the weights so that `final/` is whole or not there."""
    # Every process takes part in a sharded save, so the name must be the same for all.
    unfinished = folder / f".{FINAL}.part"
    if is_main:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
    barrier()
    save(unfinished)
    barrier()
    if not is_main:
        return
    # The frozen copy that preferences are measured against is no part of the adapter.
    shutil.rmtree(unfinished / "ref", ignore_errors=True)
    for name in ("training_args.bin", "README.md"):
        (unfinished / name).unlink(missing_ok=True)
    run_record.write(unfinished, record)
    final = folder / FINAL
    replaced = folder / f".{FINAL}.old"
    shutil.rmtree(replaced, ignore_errors=True)
    if final.exists():
        final.rename(replaced)
    unfinished.rename(final)
    shutil.rmtree(replaced, ignore_errors=True)


def _write_metrics(folder: Path, log: Sequence[Mapping[str, Any]]) -> None:
    lines = [json.dumps(line, ensure_ascii=False, default=float) for line in log]
    run_record.write_whole(folder / METRICS, "\n".join(lines) + "\n")


def _summary(log: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The last value of each figure in a log."""
    last: dict[str, float] = {}
    for line in log:
        last.update({k: v for k, v in line.items() if isinstance(v, (int, float))})
    for name in ("total_flos", "epoch", "step", "learning_rate"):
        last.pop(name, None)
    return {name: round(float(value), 6) for name, value in last.items()}


def _figures(summary: Mapping[str, float]) -> str:
    shown = ("loss", "eval_loss", "rewards/accuracies", "accuracy", "reward", "kl")
    return "  ".join(f"{name} {summary[name]:.4g}" for name in shown if name in summary)


def _counted(recipe: Recipe, counts: Mapping[str, int]) -> str:
    left_out = [
        f"{counts[name]} {words}"
        for name, words in (("too_long", "too long"), ("unusable", "without an answer"))
        if counts.get(name)
    ]
    rest = f"; left out: {', '.join(left_out)}" if left_out else ""
    tokens = f", {counts['tokens']} tokens" if counts.get("tokens") else ""
    return (
        f"{recipe.stage}: {counts['samples']} samples of {counts['records']} records{tokens}{rest}"
    )


def _template_record(facts: TemplateFacts | None) -> dict[str, Any] | None:
    if facts is None:
        return None
    return {
        "end_of_turn": facts.end_of_turn,
        "keeps_history": facts.keeps_history,
        "has_markers": facts.has_markers,
    }


# --- the machine ---------------------------------------------------------------------------------


def say(text: str) -> None:
    """Tell the user how it stands; one process of many does."""
    if is_main_process():
        print(text, file=sys.stderr, flush=True)


def has_gpu(recipe: Recipe) -> bool:
    import torch

    return recipe.own["device"] != "cpu" and bool(torch.cuda.is_available())


def _seed(recipe: Recipe) -> None:
    from transformers import set_seed

    set_seed(int(recipe.trainer.get("seed", 42)))


def check_machine(recipe: Recipe) -> None:
    """Refuse a recipe that this machine can't do, before anything is loaded."""
    import importlib.util

    if recipe.is_quantized and importlib.util.find_spec("bitsandbytes") is None:
        raise StageError("load_in_4bit and load_in_8bit need bitsandbytes: make setup-training")
    wants_gpu = recipe.own["device"] == "cuda" or recipe.trainer.get("fp16")
    if wants_gpu and not has_gpu(recipe):
        reason = "device: cuda" if recipe.own["device"] == "cuda" else "fp16: true"
        raise StageError(
            f"this recipe is for a GPU ({reason}), and PyTorch finds none here; use"
            " recipes/cpu-0.5b.yaml, or --device cpu without fp16"
        )


def quiet_libraries() -> None:
    """Make the libraries report nothing to anyone, and talk less."""
    # Data of a hospital: nothing is reported to anyone.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not logging.getLogger().isEnabledFor(logging.INFO):
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("DATASETS_VERBOSITY", "error")
        for name in ("bitsandbytes", "torch.distributed", "accelerate", "trl"):
            logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning)
        import datasets
        import torch
        import transformers

        datasets.disable_progress_bars()
        transformers.utils.logging.disable_progress_bar()
        if not torch.cuda.is_available():
            # Or DeepSpeed, wherever it is installed, says on stdout that it found no GPU.
            os.environ.setdefault("DS_ACCELERATOR", "cpu")


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Hold an output folder for this run alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise StageError(f"output_dir {folder} can't be written: {error.strerror}") from None
    with lock:
        if is_main_process():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise StageError(f"another run is writing to {folder}; wait for it") from None
        yield


@contextmanager
def _clear_errors(recipe: Recipe) -> Iterator[None]:
    """Word what the libraries raise in one line, and take half-written things away."""
    try:
        yield
    except MedbotError:
        raise
    except KeyboardInterrupt:
        say(f"\n{recipe.stage}: stopped; the same command goes on from the last checkpoint")
        raise
    except Exception as error:
        if _is_full_disk(error, recipe.output_dir):
            _drop_halves(recipe.output_dir)
            raise StageError(
                f"the disk of {recipe.output_dir} is full, or a file may not be that large; free"
                " some space and give the same command again: it goes on from the last checkpoint"
            ) from error
        if is_lost_process(error):
            raise LostProcessError(
                f"{recipe.stage}: another process of this run has ended; it says why. The same"
                " command goes on from the last checkpoint"
            ) from error
        if is_out_of_memory(error):
            raise StageError(out_of_memory(recipe, gpu=has_gpu(recipe))) from error
        if logging.getLogger().isEnabledFor(logging.INFO):
            raise
        words = " ".join(str(error).split()) or type(error).__name__
        raise StageError(
            f"{recipe.stage} failed: {type(error).__name__}: {words[:300]}"
            " (medbot-train -v shows where)"
        ) from error


def _is_full_disk(error: BaseException, folder: Path) -> bool:
    # The writers of torch and safetensors have many words for it.
    if _WRITING.search(str(error)) and shutil.disk_usage(folder).free < _LITTLE_BYTES:
        return True
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL_DISK:
            return True
        if any(words in str(seen).lower() for words in _FULL_DISK_WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _drop_halves(folder: Path) -> None:
    whole = checkpoints(folder)
    for path in folder.glob("checkpoint-*"):
        if path not in whole:
            shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(folder / f".{FINAL}.part", ignore_errors=True)
