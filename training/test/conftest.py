"""Which tests of training run where.

`data` and `rewards` need no PyTorch: they run in .venv with the robot's tests. All others run in
.venv-training (`make test` runs both), and are not even collected where there is no PyTorch.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
WITHOUT_TORCH = {"data", "rewards"}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Pass over what needs PyTorch where there is none."""
    if not collection_path.is_relative_to(HERE) or collection_path == HERE:
        return None
    first = collection_path.relative_to(HERE).parts[0]
    if first in WITHOUT_TORCH or importlib.util.find_spec("torch") is not None:
        return None
    return True


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return HERE.parents[1]
