"""The tokenizers of two GGUF files compared: that of what was exported, and that of its base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medbot_training.export.folders import ExportError

PRE_TOKENIZER = "tokenizer.ggml.pre"
_DECIDING = ("tokenizer.ggml.model", PRE_TOKENIZER, "tokenizer.ggml.merges")
_TOKENS = "tokenizer.ggml.tokens"
_KINDS = "tokenizer.ggml.token_type"
_UNUSED = 5
"""llama.cpp's number for a place in the vocabulary that no text leads to."""


def text_field(file: Path, key: str) -> str:
    """A text in a GGUF's metadata, "" where there is none."""
    value = _fields(file, (key,)).get(key)
    return value if isinstance(value, str) else ""


def check_same_vocabulary(made: Path, base: Path) -> int:
    """Compare a GGUF's tokenizer with that of its base.

    Returns:
        How many ids both have; a base may have unused ones besides.

    Raises:
        ExportError: A text would become other ids.
    """
    keys = (*_DECIDING, _TOKENS, _KINDS)
    ours, theirs = _fields(made, keys), _fields(base, keys)
    for key in _DECIDING:
        if ours.get(key) != theirs.get(key):
            raise ExportError(
                f"{made.name} would read texts otherwise than its base {base.name}: {key} differs"
            )
    pairs = list(zip(ours[_TOKENS], theirs[_TOKENS], strict=False))
    kinds = list(zip(ours[_KINDS], theirs[_KINDS], strict=False))
    for number, ((our, their), both) in enumerate(zip(pairs, kinds, strict=True)):
        if our != their and _UNUSED not in both:
            raise ExportError(
                f"{made.name} would read texts otherwise than its base {base.name}: id {number} is"
                f" {our!r} instead of {their!r}"
            )
    rest = ours[_KINDS][len(pairs) :]
    if any(kind != _UNUSED for kind in rest):
        raise ExportError(f"{made.name} has tokens that its base {base.name} does not have")
    return len(pairs)


def _fields(file: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    from gguf import GGUFReader

    reader = GGUFReader(str(file))
    found = {}
    for key in keys:
        field = reader.get_field(key)
        if field is not None:
            found[key] = field.contents()
    return found
