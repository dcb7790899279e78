"""What the tests of rewards share: rules, loaded once, and a teacher that is a small server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from fake_teacher import FakeTeacher

from medbot_training.rewards.rules import Rules


@pytest.fixture(scope="session")
def rules() -> Rules:
    """The rules as they are by default."""
    return Rules()


@pytest.fixture
def teacher_server() -> Iterator[FakeTeacher]:
    """A server that answers as it is told."""
    server = FakeTeacher()
    yield server
    server.close()
