"""How far two models are from each other, in the probabilities that they give to what comes next.

The measure is the Kullback-Leibler divergence of one model's next-token distribution from the
other's, in nats: 0 where they agree, ln 2 where one sees one choice and the other two equal ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medbot_training.export.probes import COMPARED_TOKENS
from medbot_training.export.probes import Probe


def next_token_logits(model: Any, probes: Sequence[Probe]) -> list[Any]:
    """The logits after each of the last ids of each probe.

    Args:
        model: A transformers (or PEFT) causal model.
        probes: The texts.

    Returns:
        A float32 tensor for each probe, at most COMPARED_TOKENS x vocabulary.
    """
    import torch

    found = []
    with torch.inference_mode():
        for probe in probes:
            ids = torch.tensor([probe.ids], device=model.device)
            kept = min(COMPARED_TOKENS, len(probe.ids))
            logits = model(input_ids=ids, logits_to_keep=kept, use_cache=False).logits
            found.append(logits[0, -kept:].float().cpu().clone())
    return found


def divergence(ones: Sequence[Any], others: Sequence[Any]) -> tuple[float, float]:
    """Mean and largest divergence (nats) of others from ones, over all positions."""
    import torch

    per_position = []
    for one, other in zip(ones, others, strict=True):
        # A base may have room for more ids than its tokenizer has; what both have counts.
        width = min(one.shape[-1], other.shape[-1])
        expected = torch.log_softmax(one[:, :width].double(), -1)
        given = torch.log_softmax(other[:, :width].double(), -1)
        per_position.append((expected.exp() * (expected - given)).sum(-1).clamp_min(0))
    all_positions = torch.cat(per_position)
    return float(all_positions.mean()), float(all_positions.max())


def same_choice(ones: Sequence[Any], others: Sequence[Any]) -> float:
    """Share of the positions at which both hold the same token for the likeliest."""
    import torch

    same = torch.cat(
        [
            one.argmax(-1) == other[:, : one.shape[-1]].argmax(-1)
            for one, other in zip(ones, others, strict=True)
        ]
    )
    return float(same.double().mean())
