"""`manifest.json`: what an export is made of, how it was measured, the sha256 of its files.

`medbot models add` reads it on the robot (medbot_llm/models/exports.py) and checks all hashes, its
own included: `digest` is the sha256 of the rest. It tells what was changed by mistake; it is no
signature.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from medbot_llm.models.exports import FORMAT
from medbot_llm.models.exports import MANIFEST
from medbot_llm.models.exports import digest_of
from medbot_training import run_record
from medbot_training.base import file_sha256
from medbot_training.export.folders import read_json

_MORE_PACKAGES = ("gguf", "llama-cpp-python", "safetensors")


def write_manifest(
    folder: Path, kind: str, name: str, files: Sequence[Mapping[str, Any]], **more: Any
) -> dict[str, Any]:
    """Write the manifest of a folder, and give it.

    Args:
        folder: Where the files are.
        kind: "model" or "adapter".
        name: The robot's name for it, unless it is given another.
        files: Each with "name", and what is known of it; size and sha256 are added here.
        more: Its other fields.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "kind": kind,
        "name": name,
        "created": run_record.now(),
        "files": [
            {
                "name": entry["name"],
                "bytes": (folder / entry["name"]).stat().st_size,
                "sha256": file_sha256(folder / entry["name"]),
                **entry,
            }
            for entry in files
        ],
        **more,
        "versions": versions(),
    }
    content["digest"] = digest_of(content)
    run_record.write_whole(
        folder / MANIFEST, json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    )
    return content


def versions() -> dict[str, str]:
    """The versions of all that decides an export."""
    found = run_record.versions()
    for name in _MORE_PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def model_name(folder: Path) -> str:
    """A name for the robot's catalog out of a folder's."""
    name = re.sub(r"[^a-z0-9._-]+", "-", folder.absolute().name.lower()).strip("-._")
    return name or "trained"


def evaluation(file: Path | None) -> dict[str, Any] | None:
    """The result of an evaluation, from its JSON file. Raises ExportError."""
    if file is None:
        return None
    return {
        "file": file.name,
        "sha256": file_sha256(file) if file.is_file() else None,
        "result": read_json(file, "evaluation"),
    }
