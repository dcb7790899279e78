"""Fixtures of the model store's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from model_test_kit import WebServer


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def quick_and_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once, and let no setting of this machine reach a test."""
    monkeypatch.setattr("medbot_llm.models.sources.FIRST_RETRY_DELAY_S", 0.01)
    for name in ("HF_ENDPOINT", "HF_TOKEN", "MEDBOT_HOME", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
