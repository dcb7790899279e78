"""`run.json`: what a run was made of, so that any adapter can be traced back.

It is written when a run starts and again when it ends, each time whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from collections.abc import Mapping
from datetime import datetime
from datetime import timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from medbot_training.recipes import Recipe

FILE_NAME = "run.json"

_PACKAGES = (
    "medbot-training",
    "medbot_llm",
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "bitsandbytes",
    "deepspeed",
    "tokenizers",
)

MAY_CHANGE = frozenset(
    {
        "output_dir",
        "overwrite_output_dir",
        "resume_from_checkpoint",
        "device",
        "logging_steps",
        "save_steps",
        "save_total_limit",
        "report_to",
        "dataloader_num_workers",
        "disable_tqdm",
    }
)
"""Fields that may change between a start and its resumption without making it another run."""

PLACES = ("train_file", "validation_file", "adapter_name_or_path", "model_name_or_path")
"""Fields that say where something lies; what lies there counts, not the place."""


def describe(
    recipe: Recipe, base: Mapping[str, Any], data: Mapping[str, Any], prompts: str
) -> dict[str, Any]:
    """Put down what a run is made of.

    Args:
        recipe: The checked recipe.
        base: From BasePlace.record().
        data: What was read, by its purpose, from `data_record`.
        prompts: PromptMaker's fingerprint.
    """
    made_of = {
        "stage": recipe.stage,
        "kind": recipe.kind,
        "recipe": recipe.given,
        "base": dict(base),
        "data": dict(data),
        "prompts": prompts,
    }
    adapter = recipe.own["adapter_name_or_path"]
    if adapter:
        made_of["adapter"] = {
            "name": str(adapter),
            "sha256": file_sha256(Path(str(adapter)).expanduser() / "adapter_model.safetensors"),
        }
    rewards = recipe.own.get("reward_funcs") or []
    names = [rewards] if isinstance(rewards, str) else [str(name) for name in rewards]
    models = {name: _weights_sha256(Path(name)) for name in names if Path(name).is_dir()}
    if models:
        made_of["reward_models"] = models
    return {
        **made_of,
        "fingerprint": fingerprint(made_of),
        "recipe_file": str(recipe.source) if recipe.source else None,
        "command": sys.argv,
        "git": git_state(),
        "versions": versions(),
        "machine": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "processes": int(os.environ.get("WORLD_SIZE", "1")),
        },
        "started": now(),
        "status": "running",
    }


def fingerprint(made_of: Mapping[str, Any]) -> str:
    """A hash over all that decides the outcome: equal for a run and its resumption."""
    recipe = {k: v for k, v in made_of["recipe"].items() if k not in MAY_CHANGE}
    # The same file may be named by another path.
    data = {
        purpose: [file["sha256"] for file in files] for purpose, files in made_of["data"].items()
    }
    kept = {**made_of, "recipe": recipe, "data": data}
    for name in PLACES:
        recipe.pop(name, None)
    base = {k: v for k, v in made_of["base"].items() if k not in ("name", "source")}
    kept["base"] = base or made_of["base"]
    if "adapter" in kept:
        kept["adapter"] = kept["adapter"]["sha256"]
    models = kept.pop("reward_models", {})
    if models:
        names = recipe["reward_funcs"]
        names = [names] if isinstance(names, str) else names
        recipe["reward_funcs"] = [models.get(str(name), name) for name in names]
    text = json.dumps(kept, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def data_record(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Name, size and sha256 of data files."""
    return [
        {"file": str(file), "bytes": file.stat().st_size, "sha256": file_sha256(file)}
        for file in files
    ]


def read(folder: Path) -> dict[str, Any] | None:
    """Read the run.json of a folder; None where there is none that can be read."""
    try:
        found = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write(folder: Path, record: Mapping[str, Any]) -> None:
    """Write a run.json, whole or not at all."""
    write_whole(
        folder / FILE_NAME,
        json.dumps(record, indent=2, ensure_ascii=False, default=str) + "\n",
    )


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that nobody ever sees half of it."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """The versions of the packages that decide the outcome, as far as they are installed."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, Any] | None:
    """Commit of the source tree and whether it was changed since; None outside of git."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *words],
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
        ).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def now() -> str:
    """The time, in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _weights_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(f"{path.name}:{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """The sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
