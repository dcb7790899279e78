"""Take the encoder that the robot runs back into the form that `encoder_fit.py` goes on from.

    python tools/encoder_shipped.py resource/triage .training/triage/start

The ONNX file keeps its matrices in eight bits with a scale for each row; what is lost by that is
lost, and a training that goes on from it makes up for it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from encoder_export import UNKNOWN
from onnx import numpy_helper

from medbot_llm.safety.encoder import ONNX_FILE
from medbot_llm.safety.encoder import PIECES_FILE

OF_A_LAYER = ("projections", "out", "up", "down")
PROJECTIONS = ("queries", "keys", "values")
"""The parts of a layer's projections, side by side."""
TURNED = "_Transposed"

_PROJECTIONS = re.compile(r"^projections\.(\d+)\.")


def main() -> int:
    """Write weights.npz and tokenizer.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shipped", type=Path, help="folder with the robot's files")
    parser.add_argument("start", type=Path, help="folder to be made")
    options = parser.parse_args()
    try:
        weights = weights_of(onnx.load(options.shipped / ONNX_FILE))
        tokenizer = tokenizer_of((options.shipped / PIECES_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError) as error:
        print(f"encoder_shipped: {options.shipped} holds no encoder: {error}", file=sys.stderr)
        return 2
    options.start.mkdir(parents=True, exist_ok=True)
    np.savez(options.start / "weights.npz", **weights)
    (options.start / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    return 0


def weights_of(model: Any) -> dict[str, Any]:
    """The state of `encoder_fit.Encoder`.

    Raises:
        ValueError: The graph is of another make.
    """
    arrays = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    weights = {}
    for given, array in arrays.items():
        name = _PROJECTIONS.sub(r"encoder.layers.\1.projections.", given)
        if name.startswith("encoder."):
            own = name.removeprefix("encoder.").replace(".linear.", ".")
            numbers = array.T if own.endswith(TURNED) else array
            weights[own.removesuffix(TURNED)] = numbers.astype(np.float32)
    weights["words.weight"] = arrays["words.numbers"] * arrays["words.scales"]
    layers = sum(name.endswith(".up.bias") for name in weights)
    names = [f"layers.{layer}.{part}" for layer in range(layers) for part in OF_A_LAYER]
    products = [node for node in model.graph.node if node.op_type == "MatMulInteger"]
    if len(products) != len(names):
        raise ValueError(f"{len(products)} products in eight bits instead of {len(names)}")
    for name, node in zip(names, products, strict=True):
        matrix = _matrix(arrays, node)
        rows = len(weights[f"{name}.bias"])
        if len(matrix) != rows:
            raise ValueError(f"{name} has {len(matrix)} rows and {rows} offsets")
        weights[f"{name}.weight"] = matrix * weights.pop(f"{name}.shares")
    for layer, part in itertools.product(range(layers), ("weight", "bias")):
        whole = weights.pop(f"layers.{layer}.projections.{part}")
        for name, own in zip(PROJECTIONS, np.split(whole, len(PROJECTIONS)), strict=True):
            weights[f"layers.{layer}.{name}.{part}"] = own
    return weights


def _matrix(arrays: Mapping[str, Any], node: Any) -> Any:
    """A matrix that lies on its side, with a scale for each row (rows, columns)."""
    numbers, zero = arrays[node.input[1]], arrays[node.input[3]]
    scale = arrays[node.input[1].removesuffix("_quantized") + "_scale"]
    return ((numbers.astype(np.float32) - zero) * scale).T


def tokenizer_of(pieces: str) -> str:
    """The tokenizer with the names of its first pieces put back."""
    tokenizer = json.loads(pieces)
    for number, name in enumerate(("<s>", "<pad>", "</s>")[:UNKNOWN]):
        tokenizer["model"]["vocab"][number][0] = name
    return json.dumps(tokenizer, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
