"""Folders that `medbot-train export` writes: a `manifest.json`, and the GGUF files it lists.

A manifest has, besides what it tells of the training,

```json
{"format": 1, "kind": "model", "name": "ward-v1", "licence": "Apache-2.0",
 "recommended": "ward-v1-q8_0.gguf",
 "files": [{"name": "ward-v1-q8_0.gguf", "bytes": 531, "sha256": "…", "quantization": "q8_0"}],
 "base": {"name": "…", "gguf_sha256": "…"},
 "digest": "…"}
```

Of kind "adapter" it lists one LoRA, and `base.gguf_sha256` says beside which GGUF it is to be
loaded. `digest` is the sha256 of all other fields: a manifest that was edited afterwards is
refused. It is no signature: who can write the file can write the digest too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbot_llm.domain import MedbotError

MANIFEST = "manifest.json"
FORMAT = 1
KINDS = ("model", "adapter")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.gguf")
_LARGEST_BYTES = 16_000_000


class ManifestError(MedbotError):
    """A folder's manifest can't be trusted; one line that says why."""


@dataclass(frozen=True)
class ExportedFile:
    """A GGUF of an export.

    Attributes:
        name: Its name in the folder.
        bytes: Its size.
        sha256: Its hash, lower-case hexadecimal.
        quantization: Kind of its weights, like "q8_0"; "" for an adapter.
        same_tokens: Share of tokens that it chose as the trained model did; None if not measured.
    """

    name: str
    bytes: int
    sha256: str
    quantization: str
    same_tokens: float | None


@dataclass(frozen=True)
class Export:
    """What a manifest says that the robot needs.

    Attributes:
        folder: Where it lies.
        kind: One of KINDS.
        name: Its name, fit for an id of the catalog.
        licence: SPDX id.
        files: The GGUF files; an adapter has one.
        recommended: Name of the file to take.
        base_name: What its base was called in training.
        base_sha256: Of the GGUF beside which an adapter is loaded, "" for a model.
    """

    folder: Path
    kind: str
    name: str
    licence: str
    files: tuple[ExportedFile, ...]
    recommended: str
    base_name: str
    base_sha256: str

    def file(self, name: str) -> ExportedFile:
        """A file by its name or quantization, "" for the recommended one. Raises ManifestError."""
        wanted = name or self.recommended
        for file in self.files:
            if wanted in (file.name, file.quantization):
                return file
        names = ", ".join(file.quantization or file.name for file in self.files)
        raise ManifestError(f"{self.folder} has no {wanted}; it has {names}")


def digest_of(content: Mapping[str, Any]) -> str:
    """The sha256 of a manifest without its own field "digest"."""
    rest = {key: value for key, value in content.items() if key != "digest"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_export(folder: Path) -> Export:
    """Read and check the manifest of a folder; the files are not hashed yet.

    Raises:
        ManifestError: It can't be read, is of another format, or was edited.
    """
    place = folder / MANIFEST
    content = _content(place)
    if content.get("format") != FORMAT:
        raise ManifestError(
            f"{place} has format {content.get('format')!r}, this program reads {FORMAT}; export"
            " again, or update the robot"
        )
    if content.get("digest") != digest_of(content):
        raise ManifestError(
            f"{place} was changed after the export (its digest is wrong); take the export as it"
            " was written, or export again"
        )
    kind = content.get("kind")
    base = content.get("base")
    base = base if isinstance(base, dict) else {}
    files = content.get("files")
    if kind not in KINDS or not isinstance(files, list) or not files:
        raise ManifestError(f"{place} lists no files of a model or adapter; export again")
    listed = tuple(_file(entry, place) for entry in files)
    sha256 = str(base.get("gguf_sha256") or "")
    if kind == "adapter" and not _SHA256.fullmatch(sha256):
        raise ManifestError(f"{place} does not say beside which GGUF its adapter is loaded")
    recommended = str(content.get("recommended") or listed[0].name)
    return Export(
        folder,
        kind,
        str(content.get("name") or folder.name),
        str(content.get("licence") or ""),
        listed,
        recommended,
        str(base.get("name") or ""),
        sha256 if kind == "adapter" else "",
    )


def _content(place: Path) -> dict[str, Any]:
    try:
        if place.stat().st_size > _LARGEST_BYTES:
            raise ManifestError(f"{place} is no manifest: it is too large")
        content = json.loads(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(f"{place} can't be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ManifestError(f"{place} is no JSON; export again") from None
    if not isinstance(content, dict):
        raise ManifestError(f"{place} must be a JSON object; export again")
    return content


def _file(entry: object, place: Path) -> ExportedFile:
    fields = entry if isinstance(entry, dict) else {}
    name, size, sha256 = fields.get("name"), fields.get("bytes"), fields.get("sha256")
    if (
        not isinstance(name, str)
        or not _FILE_NAME.fullmatch(name)
        or not isinstance(size, int)
        or not isinstance(sha256, str)
        or not _SHA256.fullmatch(sha256)
    ):
        raise ManifestError(f"{place}: a file needs name.gguf, bytes and sha256; export again")
    check = fields.get("check")
    same = check.get("same_tokens") if isinstance(check, dict) else None
    return ExportedFile(
        name,
        size,
        sha256,
        str(fields.get("quantization") or ""),
        float(same) if isinstance(same, (int, float)) else None,
    )
