"""Attention for rows that several conversations share, without the cost of a row's whole square.

Packed or padding-free, a batch is one row of tokens with the bounds of its sequences beside it
(`cu_seq_lens_q`, from TRL's collator). FlashAttention computes within the bounds only. PyTorch's
own attention, all that there is on a processor and without that package, is given a mask and
computes the whole square of the row, to throw nearly all of it away. Here it is called once a
sequence instead: the numbers are the same, and both time and memory grow with the sum of the
squares, not with the square of the sum.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

NAME = "sdpa_by_sequence"
"""As attn_implementation of a model, once `use_packed_attention` has been called."""

_KNOWN_LAYERS = frozenset({"full_attention", "sliding_attention", "chunked_attention"})


def supports_packed_attention(model: Any) -> bool:
    """Whether a model attends by PyTorch's attention and carries nothing else along a row.

    Mamba and its like carry a state from one sequence into the next; code of a model's own may do
    anything.
    """
    config = model.config.get_text_config()
    layers = getattr(config, "layer_types", None) or ()
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return (
        type(base).__module__.startswith("transformers.")
        and config._attn_implementation in ("sdpa", NAME)
        and not getattr(base, "_is_stateful", False)
        and set(layers) <= _KNOWN_LAYERS
    )


def use_packed_attention(model: Any) -> None:
    """Let a model that `supports_packed_attention` compute sequence by sequence."""
    from transformers import AttentionInterface
    from transformers import AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend_by_sequence)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    base.set_attn_implementation(NAME)


def attend_by_sequence(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    cu_seq_lens_q: Tensor | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend within each sequence of a row; without bounds as PyTorch's attention does.

    Args:
        module: The layer.
        query, key, value: Batch × heads × tokens × size of a head.
        attention_mask: For rows without bounds, and for windows that end within a sequence.
        cu_seq_lens_q: Bounds of the sequences in a row, from 0 to its length.
        sliding_window: How many tokens back the layer looks, if not to the beginning.
        is_causal: As for PyTorch's attention; None: as the layer says.
        options: What else PyTorch's attention takes.

    Returns:
        Batch × tokens × heads × size of a head, and no weights.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    bounds = [] if cu_seq_lens_q is None else cu_seq_lens_q.tolist()
    longest = max((end - start for start, end in pairwise(bounds)), default=0)
    is_whole = len(bounds) > 1 and query.shape[0] == 1 and query.shape[2] == key.shape[2]
    is_plain = causal and options.get("position_bias") is None
    if not (is_whole and is_plain and (sliding_window is None or longest <= sliding_window)):
        found, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, is_causal=is_causal, **options
        )
        return found, None
    parts = [
        sdpa_attention_forward(
            module,
            query[:, :, start:end],
            key[:, :, start:end],
            value[:, :, start:end],
            None,
            is_causal=True,
            **options,
        )[0]
        for start, end in pairwise(bounds)
    ]
    return torch.cat(parts, dim=1), None
