"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Two models at once, or a busy machine, must not make OpenMP's threads spin against each other:
# a reply then takes minutes (docs/performance.md). Read when llama.cpp is loaded, here and in the
# nodes that the tests start.
os.environ.setdefault("GOMP_SPINCOUNT", "300")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def small_model() -> Path:
    """A real chat model that two cores run well; fetched once, kept in the model store."""
    from medbot_llm.models.store import ModelStore

    return ModelStore().ensure("qwen2.5-coder-0.5b-instruct-q4_k_m").main


@pytest.fixture(scope="session")
def whisper_model() -> Path:
    """The folder of a real speech recogniser for faster-whisper; fetched once."""
    from medbot_llm.models.store import ModelStore

    return ModelStore().ensure("whisper-base").directory


@pytest.fixture(scope="session")
def kokoro_model() -> Path:
    """The folder of a real voice: the ONNX file, vocab.json and voices/*.bin; fetched once."""
    from medbot_llm.models.store import ModelStore

    return ModelStore().ensure("kokoro-82m-v1.0-int8").directory
