"""A disk that is too small is told in one line, and what was fetched is not lost."""

from __future__ import annotations

import os
import resource
import subprocess
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_test_kit import CONTENT
from model_test_kit import Page
from model_test_kit import WebServer
from model_test_kit import files_below
from model_test_kit import model_data
from model_test_kit import store_of

from medbot_llm.models.store import DiskFullError
from medbot_llm.models.store import PullProgress

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on a disk of 20 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def limited_file_size() -> Iterator[int]:
    """Let no file grow above 1 MB, as a small file system would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    yield 1_000_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_too_little_room_is_told_before_anything_is_fetched(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**9, 10**9 - 10**7, 10**7))
    web.pages["/m"] = Page()
    with pytest.raises(DiskFullError, match=r"has 10 MB free, 19 MB are needed; .*MEDBOT_HOME"):
        store_of(tmp_path, model_data([{"url": f"{web.url}/m"}])).ensure("tiny")
    assert web.seen == []


def test_a_disk_that_fills_during_the_pull_leaves_what_can_be_gone_on_from(
    web: WebServer, small_disk: Path
) -> None:
    web.pages["/m"] = Page(delay_s=0.002)
    web.pages["/other"] = Page()
    sources = [{"url": f"{web.url}/m"}, {"url": f"{web.url}/other"}]
    store = store_of(small_disk / "store", model_data(list(sources)))
    filler = small_disk / "filler"

    def fill(progress: PullProgress) -> None:
        if progress.done_bytes >= 1 << 20 and not filler.exists():
            free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
            filler.write_bytes(bytes(free - (1 << 19)))

    with pytest.raises(DiskFullError, match=r"is full; free some room.*what was fetched is kept"):
        store.ensure("tiny", fill)
    # Another source would not have more room.
    assert web.gets("/other") == []
    (partial,) = (small_disk / "store/staging/tiny").glob("*.partial")
    left = partial.stat().st_size
    assert left >= 1 << 20
    filler.unlink()
    assert store.ensure("tiny").main.read_bytes() == CONTENT
    assert web.gets("/m")[-1].range == f"bytes={left}-"


def test_a_file_larger_than_the_file_system_allows_is_told(
    web: WebServer, tmp_path: Path, limited_file_size: int
) -> None:
    web.pages["/m"] = Page()
    with pytest.raises(DiskFullError, match="larger than the file system or the limit"):
        store_of(tmp_path, model_data([{"url": f"{web.url}/m"}])).ensure("tiny")
    assert not (tmp_path / "models").exists()
    (name,) = files_below(tmp_path)
    assert (tmp_path / name).stat().st_size == limited_file_size
