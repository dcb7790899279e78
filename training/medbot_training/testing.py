"""Rewards of tasks whose best answer is known, to prove that learning from rewards learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def text_of(completion: Any) -> str:
    """The words of an answer, whether TRL gives them as text or as messages."""
    if isinstance(completion, str):
        return completion
    return "".join(str(message["content"]) for message in completion)


def even_reward(completions: Sequence[Any], **_: Any) -> list[float]:
    """1 for an answer of an even number of characters, 0 for another."""
    return [float(len(text_of(completion)) % 2 == 0) for completion in completions]


def short_reward(completions: Sequence[Any], **_: Any) -> list[float]:
    """The shorter, the better: 1 for an answer that says nothing, 0 from 40 characters on."""
    return [max(0.0, 1.0 - len(text_of(completion)) / 40) for completion in completions]
