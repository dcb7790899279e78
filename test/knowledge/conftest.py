"""Formularies for the tests of this room; none reaches the databases of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from formulary_test_kit import small_directory

from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.knowledge.formulary import packaged_directory


@pytest.fixture(scope="module", autouse=True)
def _home_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep databases in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDBOT_HOME", str(tmp_path_factory.mktemp("medbot_home")))
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for databases that no other test has."""
    monkeypatch.setenv("MEDBOT_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "formulary"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The YAML of five medicines, to be spoilt."""
    return small_directory(tmp_path / "yaml")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Formulary:
    """Five medicines."""
    path = small_directory(tmp_path_factory.mktemp("small") / "yaml")
    return Formulary.from_directory(path, is_whole=False)


@pytest.fixture(scope="session")
def formulary() -> Formulary:
    """The packaged data."""
    return Formulary.from_directory(packaged_directory())
