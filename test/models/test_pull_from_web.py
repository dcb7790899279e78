"""A file from a web server is whole and right, or it is not there."""

from __future__ import annotations

import multiprocessing
import signal
import time
from pathlib import Path

import pytest
from model_test_kit import CONTENT
from model_test_kit import Page
from model_test_kit import WebServer
from model_test_kit import catalog_of
from model_test_kit import files_below
from model_test_kit import model_data
from model_test_kit import store_of

from medbot_llm.models.catalog import Catalog
from medbot_llm.models.store import ModelStore
from medbot_llm.models.store import PullError
from medbot_llm.models.store import PullProgress

PARTIAL_GLOB = "staging/tiny/*.partial"


def test_pulls_a_file_and_leaves_nothing_else(web: WebServer, tmp_path: Path) -> None:
    web.pages["/m"] = Page()
    store = store_of(tmp_path, model_data([{"url": f"{web.url}/m"}]))
    paths = store.ensure("tiny")
    assert paths.main.read_bytes() == CONTENT
    assert files_below(tmp_path) == {"models/tiny/tiny.gguf"}
    store.ensure("tiny")
    assert len(web.gets("/m")) == 1


def test_goes_on_after_a_cut_where_it_was(web: WebServer, tmp_path: Path) -> None:
    web.pages["/m"] = Page(cuts=[1_000_000, 500_000])
    store_of(tmp_path, model_data([{"url": f"{web.url}/m"}])).ensure("tiny")
    assert [seen.range for seen in web.gets("/m")] == [None, "bytes=1000000-", "bytes=1500000-"]
    assert (tmp_path / "models/tiny/tiny.gguf").read_bytes() == CONTENT


def test_starts_over_where_the_server_knows_no_ranges(web: WebServer, tmp_path: Path) -> None:
    web.pages["/m"] = Page(cuts=[1_000_000], has_ranges=False)
    store = store_of(tmp_path, model_data([{"url": f"{web.url}/m"}]))
    assert store.ensure("tiny").main.read_bytes() == CONTENT


def test_gives_up_on_a_server_that_only_cuts_and_keeps_what_came(
    web: WebServer, tmp_path: Path
) -> None:
    web.pages["/m"] = Page(cuts=[700_000, 0, 0, 0, 0, 0])
    store = store_of(tmp_path, model_data([{"url": f"{web.url}/m"}]))
    with pytest.raises(PullError, match="cut off after 700000 of 3145728 bytes"):
        store.ensure("tiny")
    (partial,) = tmp_path.glob(PARTIAL_GLOB)
    assert partial.read_bytes() == CONTENT[:700_000]
    web.pages["/m"] = Page()
    store.ensure("tiny")
    assert web.gets("/m")[-1].range == "bytes=700000-"


def test_a_busy_server_is_asked_again(web: WebServer, tmp_path: Path) -> None:
    web.pages["/m"] = Page(status=503)
    store = store_of(tmp_path, model_data([{"url": f"{web.url}/m"}]))
    notes = []

    def get_well(progress: PullProgress) -> None:
        if progress.note:
            notes.append(progress.note)
            web.pages["/m"] = Page()

    store.ensure("tiny", get_well)
    assert len(notes) == 1
    assert "answers HTTP 503" in notes[0]


def test_wrong_content_is_never_put_in_place(web: WebServer, tmp_path: Path) -> None:
    web.pages["/m"] = Page(CONTENT[:-1] + b"!")
    store = store_of(tmp_path, model_data([{"url": f"{web.url}/m"}]))
    with pytest.raises(PullError, match=r"sha256 is .* instead of "):
        store.ensure("tiny")
    assert files_below(tmp_path) == set()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Page(CONTENT[:-1] + b"!"), "sha256"),
        (Page(CONTENT + b"more"), "3145732 bytes instead of 3145728"),
        (Page(CONTENT[:-1]), "3145727 bytes instead of 3145728"),
        (None, "HTTP 404"),
        (Page(status=403), "HTTP 403"),
    ],
    ids=["wrong hash", "too long", "too short", "not found", "forbidden"],
)
def test_the_next_source_is_tried(
    web: WebServer, tmp_path: Path, bad: Page | None, reason: str
) -> None:
    if bad is not None:
        web.pages["/bad"] = bad
    web.pages["/good"] = Page()
    sources = [{"url": f"{web.url}/bad"}, {"url": f"{web.url}/good"}]
    notes: list[str] = []
    store = store_of(tmp_path, model_data(list(sources)))
    store.ensure("tiny", lambda progress: notes.append(progress.note))
    assert (tmp_path / "models/tiny/tiny.gguf").read_bytes() == CONTENT
    assert any(reason in note for note in notes)


def test_the_error_says_why_each_source_failed(web: WebServer, tmp_path: Path) -> None:
    dead = WebServer()
    dead.close()
    sources = [
        {"url": f"{web.url}/none"},
        {"url": f"{dead.url}/m"},
        {"path": str(tmp_path / "usb")},
    ]
    store = store_of(tmp_path / "store", model_data(list(sources)))
    with pytest.raises(PullError) as caught:
        store.ensure("tiny")
    message = str(caught.value)
    for part in ("HTTP 404", "cannot be reached (", "Connection refused", "No such file"):
        assert part in message
    assert "\n" not in message


def test_a_wrong_beginning_from_an_earlier_pull_is_fetched_anew(
    web: WebServer, tmp_path: Path
) -> None:
    web.pages["/m"] = Page(cuts=[1_000_000, 0, 0, 0, 0])
    store = store_of(tmp_path, model_data([{"url": f"{web.url}/m"}]))
    with pytest.raises(PullError):
        store.ensure("tiny")
    (partial,) = tmp_path.glob(PARTIAL_GLOB)
    partial.write_bytes(b"\0" * 1_000_000)
    web.pages["/m"] = Page()
    assert store.ensure("tiny").main.read_bytes() == CONTENT
    assert [seen.range for seen in web.gets("/m")][-2:] == ["bytes=1000000-", None]


def test_progress_grows_to_the_whole(web: WebServer, tmp_path: Path) -> None:
    web.pages["/m"] = Page()
    reports: list[PullProgress] = []
    store_of(tmp_path, model_data([{"url": f"{web.url}/m"}])).ensure("tiny", reports.append)
    done = [report.done_bytes for report in reports]
    assert done == sorted(done)
    assert done[-1] == reports[-1].total_bytes == len(CONTENT)
    assert len(set(done)) >= 3


def _pull(root: Path, catalog: Catalog) -> None:
    ModelStore(root, catalog).ensure("tiny")


def test_a_pull_killed_on_its_way_goes_on(web: WebServer, tmp_path: Path) -> None:
    web.pages["/m"] = Page(delay_s=0.05)
    catalog = catalog_of(model_data([{"url": f"{web.url}/m"}]))
    process = multiprocessing.get_context("spawn").Process(target=_pull, args=(tmp_path, catalog))
    process.start()
    _wait_until(
        lambda: any(path.stat().st_size >= 1 << 20 for path in tmp_path.glob(PARTIAL_GLOB))
    )
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (partial,) = tmp_path.glob(PARTIAL_GLOB)
    left = partial.stat().st_size
    assert not (tmp_path / "models").exists()
    web.pages["/m"].delay_s = 0
    ModelStore(tmp_path, catalog).ensure("tiny")
    assert web.gets("/m")[-1].range == f"bytes={left}-"
    assert (tmp_path / "models/tiny/tiny.gguf").read_bytes() == CONTENT


def test_of_two_processes_the_second_waits_and_finds_it_there(
    web: WebServer, tmp_path: Path
) -> None:
    web.pages["/m"] = Page(delay_s=0.02)
    catalog = catalog_of(model_data([{"url": f"{web.url}/m"}]))
    process = multiprocessing.get_context("spawn").Process(target=_pull, args=(tmp_path, catalog))
    process.start()
    _wait_until(lambda: any(tmp_path.glob(PARTIAL_GLOB)))
    notes: list[str] = []
    paths = ModelStore(tmp_path, catalog).ensure(
        "tiny", lambda progress: notes.append(progress.note)
    )
    process.join()
    assert process.exitcode == 0
    assert paths.main.read_bytes() == CONTENT
    assert "another process is at this model; waiting for it" in notes
    assert len(web.gets("/m")) == 1


def _wait_until(condition: object, timeout_s: float = 15.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)
