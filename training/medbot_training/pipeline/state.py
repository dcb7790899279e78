"""What a pipeline knows of its stages: what each was made of, what came out, and how it stands.

It lies in `pipeline.json` in the pipeline's folder, written whole before a stage starts and after
it has ended, so that the same command knows after a kill what is done, what was cut, and what must
be done again because something it was made of is another one now.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

from medbot_llm.domain import MedbotError
from medbot_training import run_record

FILE_NAME = "pipeline.json"
VERSION = 1

RUNNING = "running"
FINISHED = "finished"

_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
_READ_WITH_WEIGHTS = (
    "config.json",
    "adapter_config.json",
    "tokenizer.json",
    "chat_template.jinja",
)


class PipelineError(MedbotError):
    """A pipeline can't be run, or could not go on; one line with what to do."""


@dataclass
class State:
    """The state of the pipeline in a folder.

    Attributes:
        folder: The pipeline's folder.
        recipe_name: File name of the recipe that it is of.
        stages: By the stage's name: status, made_of, key, and when it has ended seconds, steps,
            figures, what was written and its sha256.
        hashes: By a file's path: its size, time of change and sha256, so that weights of many
            gigabytes are read once.
    """

    folder: Path
    recipe_name: str
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    hashes: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, recipe: Path) -> State:
        """Read the state of a folder, a fresh one where nothing is there yet.

        Raises:
            PipelineError: The folder holds something else, or the pipeline of another recipe.
        """
        path = folder / FILE_NAME
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["version"] != VERSION:
                raise PipelineError(
                    f"{path} is of another version of medbot-train; give another --output_dir"
                )
            state = cls(folder, found["recipe_name"], found["stages"], found["hashes"])
        except (FileNotFoundError, NotADirectoryError):
            if folder.is_dir() and any(p for p in folder.iterdir() if p.name != ".lock"):
                raise PipelineError(
                    f"{folder} is not empty and no pipeline has written it; give another"
                    " --output_dir"
                ) from None
            return cls(folder, recipe.name)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PipelineError(
                f"{path} can't be read ({error}); give another --output_dir"
            ) from None
        if state.recipe_name != recipe.name:
            raise PipelineError(
                f"{folder} holds the pipeline of {state.recipe_name}, not of {recipe.name}; give"
                " another --output_dir"
            )
        return state

    def write(self) -> None:
        """Write it, whole or not at all."""
        text = json.dumps(
            {
                "version": VERSION,
                "recipe_name": self.recipe_name,
                "stages": self.stages,
                "hashes": self.hashes,
            },
            indent=2,
            ensure_ascii=False,
        )
        run_record.write_whole(self.folder / FILE_NAME, text + "\n")

    def sha256(self, path: Path) -> str:
        """The sha256 of a file, read anew only when its size or time of change is another one."""
        status = path.stat()
        name = str(path.absolute())
        known = self.hashes.get(name)
        if known is not None and known[:2] == [status.st_size, status.st_mtime_ns]:
            return str(known[2])
        digest = run_record.file_sha256(path)
        self.hashes[name] = [status.st_size, status.st_mtime_ns, digest]
        return digest

    def folder_sha256(self, folder: Path) -> str:
        """One sha256 over the weights of a folder and what is read with them.

        Raises PipelineError where there are none.
        """
        weights = sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern))
        if not weights:
            raise PipelineError(f"{folder} holds no weights")
        read = [folder / name for name in _READ_WITH_WEIGHTS if (folder / name).exists()]
        return self.files_sha256([*weights, *read])

    def files_sha256(self, files: Iterable[Path]) -> str:
        """One sha256 over the names and contents of files."""
        digest = hashlib.sha256()
        for path in files:
            digest.update(f"{path.name}:{self.sha256(path)}\n".encode())
        return digest.hexdigest()


def key_of(made_of: Mapping[str, Any]) -> str:
    """A hash over all that decides what a stage makes."""
    text = json.dumps(made_of, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say in a few words what has changed, most telling first."""
    words = []
    for name in sorted({*before, *now}, key=lambda name: (name == "versions", name)):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            inside = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
            words.append(f"{name}: {', '.join(inside)}")
        else:
            words.append(name)
    return "; ".join(words)
