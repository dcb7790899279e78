"""Common English words, and how rare they are (`resource/speech/english_words.txt`)."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from functools import cache

from medbot_llm.domain import MedbotError

FILE = "english_words.txt"


@cache
def rarity() -> Mapping[str, float]:
    """Minus the natural logarithm of each word's share of all words that people say or write: 3 is
    "the", 10 "ability". 42,000 words in lower case.

    Raises:
        MedbotError: the list is missing or broken.
    """
    source = importlib.resources.files("medbot_llm.resource") / "speech" / FILE
    words: dict[str, float] = {}
    try:
        for line in source.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                value, *listed = line.split()
                words.update(dict.fromkeys(listed, float(value)))
    except (OSError, ValueError) as error:
        raise MedbotError(f"{source} is missing or broken: {error}") from error
    return words


@cache
def common(most: float) -> frozenset[str]:
    """The words that are no rarer than `most`."""
    return frozenset(word for word, value in rarity().items() if value <= most)
