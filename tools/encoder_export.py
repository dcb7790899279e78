"""Write a fine-tuned sentence encoder as the ONNX file that the robot runs, in eight bits.

The graph takes the ids of one text, what kind of text it is, and the keys and values of a context
(none: of length 0); it gives the scores, and the keys and values of the text itself.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from encoder_fit import HEADS
from encoder_fit import SIZE
from encoder_fit import Encoder
from encoder_fit import Task
from encoder_fit import digest_of
from encoder_fit import restored
from onnxruntime.quantization import QuantType
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from torch import nn

from medbot_llm.safety.encoder import ABOUT_FILE
from medbot_llm.safety.encoder import ONNX_FILE
from medbot_llm.safety.encoder import PIECES_FILE
from medbot_llm.safety.encoder import digest

OPSET = 17
UNKNOWN = 3
"""The piece of what has no piece; those before it are begin, padding and end."""
BLOCK = 128
"""So many weights, and activations, share a scale where it is to be precise. One scale for all the
activations of a layer takes half the time and costs the triage two in a hundred of the emergencies
that it finds: a few activations of BERT's are far from the rest."""
SEVEN_BITS = True
"""Otherwise weights keep to seven bits: processors without VNNI add two products in sixteen, which
eight times eight bits can overflow (ONNX Runtime, "Quantize ONNX models")."""
INT8_ARITHMETIC = 4
"""`accuracy_level` of MatMulNBits: products of eight bits and eight."""


class _Rows(nn.Module):
    """An embedding whose rows are kept in eight bits."""

    def __init__(self, weight: Any) -> None:
        super().__init__()
        scales = weight.abs().amax(1, keepdim=True).clamp(min=1e-8) / 127
        self.register_buffer("numbers", (weight / scales).round().to(torch.int8))
        self.register_buffer("scales", scales)

    def forward(self, ids: Any) -> Any:
        return self.numbers[ids].to(torch.float32) * self.scales[ids]


class Inference(nn.Module):
    """`Encoder` for one text at a time, with the keys and values of a context.

    These come and go one by one for each layer, the keys on their side: copies of them would take
    as long as the text itself.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.words = _Rows(encoder.words.weight.detach())

    def forward(self, ids: Any, kind: Any, *past: Any) -> tuple[Any, ...]:
        """ids: (1, n); kind: (1,), 1 for a context; past: for each layer its keys, (heads, size,
        c), and its values, (heads, c, size)."""
        own = self.encoder
        x = self.words(ids) + own.positions.weight[: ids.shape[1]] + own.kinds(kind)
        x = own.norm(x)
        made = []
        for number, layer in enumerate(own.layers):
            queries, keys, values = (
                project(x)[0].view(-1, HEADS, SIZE // HEADS).transpose(0, 1)
                for project in (layer.queries, layer.keys, layer.values)
            )
            keys = keys.transpose(1, 2)
            past_keys, past_values = past[2 * number : 2 * number + 2]
            queries = queries / math.sqrt(SIZE // HEADS)
            scores = torch.cat([queries @ past_keys, queries @ keys], 2)
            shares = torch.softmax(scores, 2)
            known = past_values.shape[1]
            seen = shares[..., :known] @ past_values + shares[..., known:] @ values
            x = layer.after(x, seen.transpose(0, 1).reshape(x.shape))
            made += [keys, values]
        return own.judged(x, torch.ones_like(ids, dtype=torch.bool)), *made


def write_onnx(encoder: Encoder, file: Path, is_precise: bool) -> None:
    """Write the encoder; it takes less than a minute."""
    size = SIZE // HEADS
    inputs = [torch.ones((1, 7), dtype=torch.int64), torch.zeros(1, dtype=torch.int64)]
    axes: dict[str, dict[int, str]] = {"ids": {1: "n"}}
    for number in range(len(encoder.layers)):
        inputs += [torch.zeros((HEADS, size, 3)), torch.zeros((HEADS, 3, size))]
        axes |= {f"past_{2 * number}": {2: "c"}, f"past_{2 * number + 1}": {1: "c"}}
        axes |= {f"made_{2 * number}": {2: "n"}, f"made_{2 * number + 1}": {1: "n"}}
    pasts = [name for name in axes if name.startswith("past")]
    mades = [name for name in axes if name.startswith("made")]
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.onnx"
        torch.onnx.export(
            Inference(encoder).eval(),
            tuple(inputs),
            str(whole),
            input_names=["ids", "kind", *pasts],
            output_names=["scores", *mades],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
        if is_precise:
            _round_in_blocks(whole, file)
        else:
            quantize_dynamic(
                whole,
                file,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                reduce_range=SEVEN_BITS,
                weight_type=QuantType.QInt8,
            )


def _round_in_blocks(whole: Path, file: Path) -> None:
    config = DefaultWeightOnlyQuantConfig(
        block_size=BLOCK,
        is_symmetric=True,
        accuracy_level=INT8_ARITHMETIC,
        bits=8,
        op_types_to_quantize=("MatMul",),
    )
    quantizer = MatMulNBitsQuantizer(
        onnx.load(whole), accuracy_level=INT8_ARITHMETIC, algo_config=config
    )
    quantizer.process()
    onnx.save(quantizer.model.model, file)


def read_held_out(folder: Path) -> Any:
    """The held-out scores of a task folder, shape (examples, outputs).

    Raises:
        OSError: There are none.
        ValueError: They are of other inputs than those in the folder.
    """
    with np.load(folder / "held_out.npz") as stored:
        if str(stored["digest"]) != digest_of(folder):
            raise ValueError(f"{folder} was prepared anew since it was trained")
        return stored["scores"].astype(np.float64)


def write_files(folder: Path, output: Path, is_precise: bool) -> dict[str, Any]:
    """Write the encoder and its pieces for the robot; returns what is to be said of both."""
    task = Task.read(folder)
    unfinished = output / f"{ONNX_FILE}.tmp"
    write_onnx(restored(folder, task), unfinished, is_precise)
    unfinished.replace(output / ONNX_FILE)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    # "</s>" in a text must not become the end of it; canonical text has no such characters.
    for number, piece in enumerate(tokenizer["model"]["vocab"][:UNKNOWN]):
        piece[0] = f"\U0010ffff{number}"
    pieces = json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":"))
    (output / PIECES_FILE).write_text(pieces, encoding="utf-8")
    sha256 = digest(output / ONNX_FILE, pieces)
    size = (output / ONNX_FILE).stat().st_size / 1e6
    print(f"written: {output}/{ONNX_FILE}, {size:.1f} MB")
    return {"yes": task.yes, "choices": task.choices, "sha256": sha256}


def write_about(output: Path, about: Mapping[str, Any]) -> None:
    """Write what the files are, and how their scores are used."""
    text = json.dumps(about, ensure_ascii=False, indent=1)
    (output / ABOUT_FILE).write_text(text + "\n", encoding="utf-8")
