"""The shape of a base, read from its settings alone: no weight is loaded.

All dense decoders of Llama's kind are known: attention with grouped keys, a gated feed-forward
layer, two norms. That is Llama, Qwen2, Qwen3, Mistral, Baichuan2, and others that say so in their
settings. Mixtures of experts are not: what they hold and what they use are two numbers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import BinaryIO

from medbot_llm.domain import MedbotError
from medbot_training.base import TINY_SHAPE
from medbot_training.base import TINY_VOCABULARY
from medbot_training.base import BaseModelError
from medbot_training.base import BasePlace
from medbot_training.base import find_base
from medbot_training.recipes import TINY_MODEL
from medbot_training.recipes import Recipe


class EstimateError(MedbotError):
    """Nothing can be estimated; one line with what to do."""


@dataclass(frozen=True)
class Shape:
    """What decides how large a model is.

    Attributes:
        name: What the recipe calls the model.
        hidden: Width of the model.
        intermediate: Width inside a feed-forward layer.
        layers: Layers.
        heads: Heads of the queries.
        kv_heads: Heads of keys and values.
        head_dim: Width of a head.
        vocabulary: Tokens.
        tied: Whether the last layer is the table of the embeddings.
        gguf: Whether the weights come out of a GGUF.
        stored_bytes: Size of the weights on the disk; 0 where they are not here.
    """

    name: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    gguf: bool = False
    stored_bytes: int = 0

    @property
    def query_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """The linear layers of one layer: name → width in, width out."""
        return {
            "q_proj": (self.hidden, self.query_width),
            "k_proj": (self.hidden, self.kv_width),
            "v_proj": (self.hidden, self.kv_width),
            "o_proj": (self.query_width, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Weights of the linear layers of all layers."""
        return self.layers * sum(a * b for a, b in self.linears.values())

    @property
    def table_parameters(self) -> int:
        """Weights of one table of the vocabulary."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights; norms and biases, a hundredth of a percent, as two norms a layer."""
        tables = 1 if self.tied else 2
        norms = (2 * self.layers + 1) * self.hidden
        return self.linear_parameters + tables * self.table_parameters + norms


KNOWN = {
    # So that a recipe can be thought over before anything is downloaded; from their config.json.
    "Llama-3.1-8B-Instruct": Shape("", 4096, 14336, 32, 32, 8, 128, 128256, False),
    "Qwen3-1.7B": Shape("", 2048, 6144, 28, 16, 8, 128, 151936, True),
    "Baichuan2-7B-Chat": Shape("", 4096, 11008, 32, 32, 32, 128, 125696, False),
}


def shape_of(recipe: Recipe) -> Shape:
    """Find out the shape of a recipe's base.

    Raises:
        EstimateError: It is neither here nor known, or of an architecture that is not.
    """
    name = str(recipe.own["model_name_or_path"] or "")
    if name == TINY_MODEL:
        return _from_config(name, {**TINY_SHAPE, "vocab_size": TINY_VOCABULARY})
    known = KNOWN.get(name.rstrip("/").rsplit("/", 1)[-1])
    try:
        place = find_base(recipe)
        if place.gguf_file:
            return _from_gguf(place)
        if not place.is_local and known is not None:
            return _named(known, name)
        return _from_config(name, _config(place), _stored(Path(place.source)))
    except BaseModelError as error:
        if known is not None:
            return _named(known, name)
        raise EstimateError(
            f"{error}; for an estimate a folder with its config.json alone is enough"
        ) from None


def _named(known: Shape, name: str) -> Shape:
    return Shape(name, *(getattr(known, field) for field in list(known.__dataclass_fields__)[1:]))


def _config(place: BasePlace) -> dict[str, Any]:
    if place.is_local:
        path = Path(place.source) / "config.json"
    else:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            path = Path(
                hf_hub_download(place.source, "config.json", revision=place.revision or None)
            )
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise EstimateError(
                f"model_name_or_path: the config.json of {place.source} is not to be had:"
                f" {' '.join(str(error).split())[:120]}"
            ) from None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EstimateError(f"{path} can't be read: {error}") from None
    if not isinstance(config, dict):
        raise EstimateError(f"{path} is no table of settings")
    found: dict[str, Any] = config.get("text_config", config)
    return found


def _stored(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _from_config(name: str, config: Mapping[str, Any], stored: int = 0) -> Shape:
    if any(config.get(key) for key in ("num_experts", "num_local_experts", "n_routed_experts")):
        raise EstimateError(f"{name} is a mixture of experts, which the estimate does not know")
    try:
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        return Shape(
            name,
            hidden,
            int(config["intermediate_size"]),
            int(config["num_hidden_layers"]),
            heads,
            int(config.get("num_key_value_heads") or heads),
            int(config.get("head_dim") or hidden // heads),
            int(config["vocab_size"]),
            bool(config.get("tie_word_embeddings", False)),
            stored_bytes=stored,
        )
    except (KeyError, TypeError, ValueError) as error:
        kind = config.get("model_type", "an unknown architecture")
        raise EstimateError(
            f"{name} is {kind}, which the estimate does not know ({error})"
        ) from None


# --- the head of a GGUF --------------------------------------------------------------------------
# https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

_MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
_NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}


def _from_gguf(place: BasePlace) -> Shape:
    path = Path(place.source) / place.gguf_file
    try:
        with path.open("rb") as file:
            values, tensors = _gguf_head(file)
    except (OSError, struct.error, UnicodeDecodeError, KeyError) as error:
        raise EstimateError(f"{path} can't be read as a GGUF: {error}") from None
    kind = str(values.get("general.architecture", ""))

    def value(key: str, default: Any = None) -> Any:
        return values.get(f"{kind}.{key}", default)

    if value("expert_count"):
        raise EstimateError(f"{path} is a mixture of experts, which the estimate does not know")
    heads = value("attention.head_count")
    config = {
        "model_type": kind,
        "hidden_size": value("embedding_length"),
        "intermediate_size": value("feed_forward_length"),
        "num_hidden_layers": value("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": value("attention.head_count_kv", heads),
        "head_dim": value("attention.key_length"),
        "vocab_size": value("vocab_size") or tensors.get("token_embd.weight", (0, 0))[-1],
        "tie_word_embeddings": "output.weight" not in tensors,
    }
    shape = _from_config(place.name, config, path.stat().st_size)
    return Shape(**{**shape.__dict__, "gguf": True})


def _gguf_head(file: BinaryIO) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """The plain values of a GGUF's head, and the shapes of its tensors; arrays are passed over."""

    def number(kind: str) -> Any:
        return struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))[0]

    def text() -> str:
        return file.read(number("Q")).decode("utf-8")

    def skip_array() -> None:
        kind, count = number("I"), number("Q")
        if kind == _STRING:
            for _ in range(count):
                file.seek(number("Q"), 1)
        elif kind == _ARRAY:
            for _ in range(count):
                skip_array()
        else:
            file.seek(count * struct.calcsize(_NUMBERS[kind]), 1)

    if file.read(4) != _MAGIC:
        raise EstimateError(f"{file.name} is no GGUF")
    number("I")
    tensor_count, value_count = number("Q"), number("Q")
    values: dict[str, Any] = {}
    for _ in range(value_count):
        key, kind = text(), number("I")
        if kind == _ARRAY:
            skip_array()
        else:
            values[key] = text() if kind == _STRING else number(_NUMBERS[kind])
    tensors = {}
    for _ in range(tensor_count):
        name = text()
        tensors[name] = tuple(number("Q") for _ in range(number("I")))
        number("I")
        number("Q")
    return values, tensors
