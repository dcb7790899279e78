"""llama.cpp's own converters, found and run.

They are in llama-cpp-python's source but not in its wheel; `make setup-training` keeps them in
~/.cache/medbot, out of the very source that the wheel was built from, whose sha256 is pinned. So
what is written and what reads it are always of one version.
"""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from medbot_llm.models.store import default_root
from medbot_training.base import QWEN2_WORDS
from medbot_training.export.folders import ExportError
from medbot_training.export.provenance import TOKENIZER
from medbot_training.templates import TemplateFacts

FOLDER = "converters"
_MODULE = "medbot_training.export.converting"
_LLAMA3_WORDS = QWEN2_WORDS.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_PRE_TOKENIZERS = {QWEN2_WORDS: "qwen2", _LLAMA3_WORDS: "llama-bpe"}
"""How a text is split into words before BPE → llama.cpp's name of that way."""

# What Python, and NumPy, say of a file that could not be written to its end.
_FULL_DISK = re.compile(r"No space left|File too large|\d+ requested and \d+ written")


def find_converters() -> Path:
    """The folder with the converters of the installed llama-cpp-python. Raises ExportError."""
    try:
        version = metadata.version("llama-cpp-python")
    except metadata.PackageNotFoundError:
        raise ExportError("llama-cpp-python is not installed; run make setup-training") from None
    places = default_root() / FOLDER
    found = sorted(places.glob(f"llama_cpp_python-{version}-*/convert_hf_to_gguf.py"))
    if not found:
        raise ExportError(
            f"llama.cpp's converters {version} are not in {places}; run make setup-training"
        )
    return found[-1].parent


def convert_model(
    folder: Path,
    target: Path,
    facts: TemplateFacts,
    chat_template: str,
    pre_tokenizer: str = "",
    kind: str = "f16",
) -> None:
    """Write a model of transformers as a GGUF.

    Args:
        folder: The model with its tokenizer.
        target: The GGUF.
        facts: What is known of its chat template.
        chat_template: Goes into the GGUF.
        pre_tokenizer: llama.cpp's name of it where it is known for sure, as out of a base's GGUF.
        kind: f16, bf16 or f32.

    Raises:
        ExportError: The converters don't know the architecture, or fail.
        OSError: The disk is full.
    """
    order = {
        "kind": "model",
        "model": str(folder),
        "pre_tokenizer": pre_tokenizer or guessed_pre_tokenizer(folder),
        "pre_tokenizer_is_known": bool(pre_tokenizer),
        "end_of_turn_id": facts.end_of_turn_id,
        "chat_template": without_markers(chat_template),
        "arguments": [
            *(str(folder), "--outfile", str(target), "--outtype", kind),
            *("--model-name", target.stem),
        ],
    }
    _run(order, target, folder)


def convert_lora(adapter: Path, config: Path, target: Path) -> None:
    """Write an adapter of PEFT as a GGUF.

    Args:
        adapter: Its folder.
        config: A folder with the config.json of its base.
        target: The GGUF.

    Raises:
        ExportError: The converters fail.
        OSError: The disk is full.
    """
    arguments = [str(adapter), "--base", str(config), "--outfile", str(target), "--outtype", "f32"]
    _run({"kind": "lora", "arguments": arguments}, target, adapter)


def _run(order: dict[str, Any], target: Path, source: Path) -> None:
    order["tools"] = str(find_converters())
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "order.json"
        place.write_text(json.dumps(order), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", _MODULE, str(place)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"},
        )
    if done.returncode == 0 and target.exists():
        return
    if _FULL_DISK.search(done.stderr):
        raise OSError(errno.ENOSPC, "No space left on device", str(target))
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    reason = lines[-1] if lines else f"exit status {done.returncode}"
    if done.returncode < 0:
        reason = f"ended by signal {-done.returncode}" + (
            ", probably for want of memory" if done.returncode == -9 else ""
        )
    if "pre-tokenizer was not recognized" in done.stderr:
        reason = "llama.cpp does not know how its tokenizer splits words"
    elif "is not supported" in reason:
        reason = "llama.cpp does not know its architecture"
    raise ExportError(f"{source} can't be written as GGUF: {reason[:300]}")


def guessed_pre_tokenizer(folder: Path) -> str:
    """llama.cpp's name for how a tokenizer splits words, by its rule; "" where it is another."""
    tokenizer = json.loads((folder / TOKENIZER).read_text(encoding="utf-8"))
    rule = tokenizer.get("pre_tokenizer") or {}
    for part in rule.get("pretokenizers", [rule]):
        pattern = part.get("pattern") or {}
        if part.get("type") == "Split" and pattern.get("Regex") in _PRE_TOKENIZERS:
            return _PRE_TOKENIZERS[pattern["Regex"]]
    return ""


def without_markers(chat_template: str) -> str:
    """A chat template without `{% generation %}`, which only training libraries know.

    `if true` in its place renders the same, line breaks included.
    """
    begun = re.sub(r"\{%(-?)\s*generation\s*(-?)%\}", r"{%\1 if true \2%}", chat_template)
    return re.sub(r"\{%(-?)\s*endgeneration\s*(-?)%\}", r"{%\1 endif \2%}", begun)
