"""Write a fine-tuned sentence encoder as the ONNX file that the robot runs, in eight bits.

The graph takes the ids of one text, what kind of text it is, and the keys and values of a context
(none: of length 0); it gives the scores, and the keys and values of the text itself.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from encoder_fit import HEADS
from encoder_fit import SIZE
from encoder_fit import Batch
from encoder_fit import Encoder
from encoder_fit import Task
from encoder_fit import Training
from encoder_fit import digest_of
from encoder_fit import restored
from encoder_probe import PROBED
from onnxruntime.quantization import QuantType
from onnxruntime.quantization import quantize_dynamic
from torch import nn
from torch.nn import functional
from torch.onnx.symbolic_helper import _optional_input_placeholder_tensor

from medbot_llm.safety.encoder import ABOUT_FILE
from medbot_llm.safety.encoder import ONNX_FILE
from medbot_llm.safety.encoder import PIECES_FILE
from medbot_llm.safety.encoder import digest

OPSET = 17
UNKNOWN = 3
"""The piece of what has no piece; those before it are begin, padding and end."""
SHOWN = 1024
"""So many texts show how large activations are."""
TRADED, TINY = 0.5, 1e-4
"""What part of an activation's size its column takes over: of 0.35 to 0.85 the triage's scores
moved least at 0.5, by 0.05 on average."""
SEVEN_BITS = True
"""Otherwise weights keep to seven bits: processors without VNNI add two products in sixteen, which
eight times eight bits can overflow (ONNX Runtime, "Quantize ONNX models")."""


class _Rows(nn.Module):
    """An embedding whose rows are kept in eight bits."""

    def __init__(self, weight: Any) -> None:
        super().__init__()
        scales = weight.abs().amax(1, keepdim=True).clamp(min=1e-8) / 127
        self.register_buffer("numbers", (weight / scales).round().to(torch.int8))
        self.register_buffer("scales", scales)

    def forward(self, ids: Any) -> Any:
        return self.numbers[ids].to(torch.float32) * self.scales[ids]


class _Attention(torch.autograd.Function):
    """Attention of a text to a context and itself, as one operation of ONNX Runtime's: put
    together from ONNX's own, it takes half as long as all the products of a layer."""

    @staticmethod
    def forward(
        _: Any, queries: Any, keys: Any, values: Any, past_keys: Any, past_values: Any
    ) -> tuple[Any, Any, Any]:
        """Queries, keys and values of the text, shape (1, n, size), and those of the context, (1,
        heads, c, size of a head); returns what was seen, and the keys and values of both."""
        queries, keys, values = (
            one.view(1, -1, HEADS, SIZE // HEADS).transpose(1, 2)
            for one in (queries, keys, values)
        )
        keys, values = torch.cat([past_keys, keys], 2), torch.cat([past_values, values], 2)
        seen = functional.scaled_dot_product_attention(queries, keys, values)
        return seen.transpose(1, 2).reshape(1, -1, SIZE), keys, values

    @staticmethod
    def symbolic(graph: Any, *given: Any) -> Any:
        """Bias, mask and offsets of MultiHeadAttention are left out."""
        absent = [_optional_input_placeholder_tensor(graph)] * 3
        return graph.op(
            "com.microsoft::MultiHeadAttention",
            *given[:3],
            *absent,
            *given[3:],
            num_heads_i=HEADS,
            outputs=3,
        )


class _Smoothed(nn.Module):
    """A product whose columns trade some of their size with what is multiplied by them, and whose
    rows of activations are of one size.

    A few of BERT's activations are far larger than the rest. Rounded to eight bits with one scale
    for all, they leave the others hardly a bit. Divided by `scales`, by which the columns of the
    matrix are multiplied, they are of one size (SmoothQuant, Xiao et al., 2023); and divided by
    the largest of each token, so are the tokens.
    """

    def __init__(self, linear: nn.Linear, largest: Any) -> None:
        """largest: of each activation, shape (inputs,)."""
        super().__init__()
        weight = linear.weight.detach()
        scales = largest.clamp(min=TINY) ** TRADED / weight.abs().amax(0).clamp(min=TINY) ** (
            1 - TRADED
        )
        self.register_buffer("shares", 1 / scales)
        self.linear = nn.Linear(linear.in_features, linear.out_features, bias=False)
        self.linear.weight.data = weight * scales
        self.bias = nn.Parameter(linear.bias.detach())

    def forward(self, x: Any) -> Any:
        x = x * self.shares
        largest = x.abs().amax(2, keepdim=True).clamp(min=TINY)
        return self.linear(x / largest) * largest + self.bias


class Inference(nn.Module):
    """`Encoder` for one text at a time, with the keys and values of a context, which come and go
    one by one for each layer.

    Args:
        encoder: Is taken apart.
        largest: The largest activations of its products, from `largest_inputs`, by which they are
            evened out.
        probe: Reads further scores from its layers (`encoder_probe.py`).
    """

    def __init__(
        self,
        encoder: Encoder,
        largest: Mapping[str, Any],
        probe: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        self.probe = probe

        self.encoder = encoder
        self.words = _Rows(encoder.words.weight.detach())
        self.projections = nn.ModuleList()
        for number, layer in enumerate(encoder.layers):
            # One product instead of three, and what it multiplies is rounded once.
            whole = _side_by_side(layer.queries, layer.keys, layer.values)
            name = f"layers.{number}"
            self.projections.append(_Smoothed(whole, largest[f"{name}.queries"]))
            for part in ("out", "up", "down"):
                own = getattr(layer, part)
                setattr(layer, part, _Smoothed(own, largest[f"{name}.{part}"]))

    def forward(self, ids: Any, kind: Any, *past: Any) -> tuple[Any, ...]:
        """ids: (1, n); kind: (1,), 1 for a context; past: for each layer its keys and its values,
        (1, heads, c, size)."""
        own = self.encoder
        x = self.words(ids) + own.positions.weight[: ids.shape[1]] + own.kinds(kind)
        x = own.norm(x)
        made: list[Any] = []
        read: list[Any] = []
        for number, layer in enumerate(own.layers):
            projected = self.projections[number](x).split(SIZE, 2)
            seen, *both = _Attention.apply(*projected, *past[2 * number : 2 * number + 2])
            x = layer.after(x, seen)
            made += both
            if number in PROBED:
                read.append(x.mean(1))
        scores = own.judged(x, torch.ones_like(ids, dtype=torch.bool))
        if self.probe is not None:
            scores = torch.cat([scores, self.probe(torch.cat(read, 1))], 1)
        return scores, *made


def largest_inputs(encoder: Encoder, batches: Iterable[Batch]) -> dict[str, Any]:
    """The largest activation in each place that a product of the encoder multiplies, by the name
    of the product."""
    found: dict[str, Any] = {}

    def watch(name: str) -> Callable[[Any, tuple[Any, ...]], None]:
        def note(_: Any, inputs: tuple[Any, ...]) -> None:
            largest = inputs[0].detach().abs().flatten(0, -2).amax(0)
            found[name] = torch.maximum(largest, found.get(name, largest))

        return note

    hooks = [
        module.register_forward_pre_hook(watch(name))
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear)
    ]
    with torch.no_grad():
        for batch in batches:
            encoder(batch)
    for hook in hooks:
        hook.remove()
    return found


def _side_by_side(*parts: nn.Linear) -> nn.Linear:
    whole = nn.Linear(SIZE, SIZE * len(parts))
    whole.weight.data = torch.cat([part.weight.detach() for part in parts])
    whole.bias.data = torch.cat([part.bias.detach() for part in parts])
    return whole


def write_onnx(
    encoder: Encoder,
    file: Path,
    batches: Iterable[Batch],
    probe: nn.Linear | None = None,
) -> None:
    """Write the encoder; it takes less than a minute.

    Args:
        encoder: Is taken apart.
        file: To be written.
        batches: Texts such as it will read, to see how large its activations are.
        probe: Reads further scores.
    """
    largest = largest_inputs(encoder, batches)
    inputs = [torch.ones((1, 7), dtype=torch.int64), torch.zeros(1, dtype=torch.int64)]
    axes: dict[str, dict[int, str]] = {"ids": {1: "n"}}
    for number in range(len(encoder.layers)):
        for one in (2 * number, 2 * number + 1):
            inputs.append(torch.zeros((1, HEADS, 3, SIZE // HEADS)))
            axes |= {f"past_{one}": {2: "c"}, f"made_{one}": {2: "all"}}
    pasts = [name for name in axes if name.startswith("past")]
    mades = [name for name in axes if name.startswith("made")]
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.onnx"
        torch.onnx.export(
            Inference(encoder, largest, probe).eval(),
            tuple(inputs),
            str(whole),
            input_names=["ids", "kind", *pasts],
            output_names=["scores", *mades],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
        _round(whole, file)


def _round(whole: Path, file: Path) -> None:
    # The heads stay as they are: small, and what they round is a score.
    heads = [node.name for node in onnx.load(whole).graph.node if node.op_type == "Gemm"]
    quantize_dynamic(
        whole,
        file,
        op_types_to_quantize=["MatMul"],
        nodes_to_exclude=[*heads, *(f"{name}_MatMul" for name in heads)],
        per_channel=True,
        reduce_range=SEVEN_BITS,
        weight_type=QuantType.QInt8,
    )


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


def write_files(
    folder: Path,
    output: Path,
    probe: nn.Linear | None = None,
    intents: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the encoder and its pieces for the robot; returns what is to be said of both.

    Args:
        folder: The task's, trained.
        output: Where the robot's files are.
        probe: Reads from its layers what is wanted.
        intents: What may be.
    """
    task = Task.read(folder)
    unfinished = output / f"{ONNX_FILE}.tmp"
    write_onnx(restored(folder), unfinished, shown(task, folder), probe)
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
    return {
        "yes": task.yes,
        "choices": task.choices,
        "intents": list(intents),
        "sha256": sha256,
    }


def shown(task: Task, folder: Path) -> Iterator[Batch]:
    """Some of a task's examples, in batches."""
    examples = random.Random(task.seed).sample(task.examples, min(SHOWN, len(task.examples)))
    examples.sort(key=lambda example: (example["context"], len(example["text"])))
    training = Training(task, folder, "cpu")
    for first in range(0, len(examples), task.batch):
        yield training.batch(examples[first : first + task.batch])


def write_about(output: Path, about: Mapping[str, Any]) -> None:
    """Write what the files are, and how their scores are used."""
    text = json.dumps(about, ensure_ascii=False, indent=1)
    (output / ABOUT_FILE).write_text(text + "\n", encoding="utf-8")
