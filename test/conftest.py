"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def small_model() -> Path:
    """A real chat model that two cores run well; fetched once, kept in the model store."""
    from medbot_llm.models.store import ModelStore

    return ModelStore().ensure("qwen2.5-coder-0.5b-instruct-q4_k_m").main
