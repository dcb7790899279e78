"""What a hub advertises is checked, and pinned where the catalog knows no hash.

The hub is a stand-in on loopback that answers as the Hugging Face hub does: its own headers on a
redirect to a storage on another host, which must never see the token.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from model_test_kit import CONTENT
from model_test_kit import Page
from model_test_kit import WebServer
from model_test_kit import files_below
from model_test_kit import model_data
from model_test_kit import sha256
from model_test_kit import store_of

from medbot_llm.models.store import ModelState
from medbot_llm.models.store import ModelStore
from medbot_llm.models.store import PullError

COMMIT = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00"
HUB = {"hub": {"repo": "owner/name", "revision": "main", "file": "{name}"}}


class Hub:
    """A hub with one large file, and the storage that it redirects to."""

    def __init__(self, hub: WebServer, storage: WebServer) -> None:
        self.hub = hub
        self.storage = storage
        self.offer(CONTENT, COMMIT)

    def offer(self, content: bytes, commit: str) -> None:
        self.storage.pages[f"/{commit}"] = Page(content)
        page = Page(
            status=302,
            headers={
                "Location": f"{self.storage.url.replace('127.0.0.1', 'localhost')}/{commit}",
                "X-Linked-ETag": f'"{sha256(content)}"',
                "X-Linked-Size": str(len(content)),
                "X-Repo-Commit": commit,
            },
        )
        for revision in ("main", commit):
            self.hub.pages[f"/owner/name/resolve/{revision}/tiny.gguf"] = page


@pytest.fixture
def hub(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> Hub:
    storage = WebServer()
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    yield Hub(web, storage)
    storage.close()


def unmeasured() -> dict[str, object]:
    file = {"name": "tiny.gguf", "sha256": None, "published_mb": 3, "sources": [HUB]}
    return model_data([HUB], files=[file])


def test_a_measured_file_comes_from_the_hub(hub: Hub, tmp_path: Path) -> None:
    assert store_of(tmp_path, model_data([HUB])).ensure("tiny").main.read_bytes() == CONTENT


def test_another_hash_is_refused_before_anything_is_fetched(hub: Hub, tmp_path: Path) -> None:
    hub.offer(CONTENT[::-1], "f" * 40)
    with pytest.raises(PullError, match="the hub now has another file"):
        store_of(tmp_path, model_data([HUB])).ensure("tiny")
    assert hub.storage.seen == []


def test_the_token_goes_to_the_hub_alone(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    store_of(tmp_path, model_data([HUB])).ensure("tiny")
    assert {seen.authorization for seen in hub.hub.seen} == {"Bearer secret"}
    assert [seen.authorization for seen in hub.storage.seen] == [None]


def test_a_file_without_a_known_hash_is_pinned_at_its_first_pull(hub: Hub, tmp_path: Path) -> None:
    store = store_of(tmp_path, unmeasured())
    assert store.ensure("tiny").main.read_bytes() == CONTENT
    pin = {"tiny.gguf": {"bytes": len(CONTENT), "sha256": sha256(CONTENT), "commit": COMMIT}}
    assert json.loads((tmp_path / "pins/tiny.json").read_text()) == pin
    (check,) = store.verify("tiny")
    assert check.is_pinned
    assert check.problem == ""


def test_what_was_pinned_is_pulled_again_after_the_branch_moved(hub: Hub, tmp_path: Path) -> None:
    store = store_of(tmp_path, unmeasured())
    store.ensure("tiny")
    store.remove("tiny")
    assert store.state("tiny") is ModelState.ABSENT
    hub.offer(CONTENT[::-1], "f" * 40)
    hub.hub.pages[f"/owner/name/resolve/{COMMIT}/tiny.gguf"].headers["X-Repo-Commit"] = COMMIT
    assert ModelStore(tmp_path, store.catalog).ensure("tiny").main.read_bytes() == CONTENT


def test_content_other_than_advertised_is_not_pinned(hub: Hub, tmp_path: Path) -> None:
    hub.storage.pages[f"/{COMMIT}"] = Page(CONTENT[:-1] + b"!")
    with pytest.raises(PullError, match="sha256 is"):
        store_of(tmp_path, unmeasured()).ensure("tiny")
    assert files_below(tmp_path) == set()


def test_a_small_file_is_checked_by_its_git_id(hub: Hub, tmp_path: Path) -> None:
    content = b'{"model_type": "tiny"}'
    git_id = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    page = Page(content, headers={"ETag": f'"{git_id}"', "X-Repo-Commit": COMMIT})
    for revision in ("main", COMMIT):
        hub.hub.pages[f"/owner/name/resolve/{revision}/tiny.gguf"] = page
    store = store_of(tmp_path, unmeasured())
    assert store.ensure("tiny").main.read_bytes() == content
    store.remove("tiny")
    page.content = content.replace(b"tiny", b"evil")
    with pytest.raises(PullError, match=r"sha256 is|git id is"):
        store.ensure("tiny")


def test_a_gated_repository_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    for page in hub.hub.pages.values():
        page.status = 401
    with pytest.raises(PullError, match="accept the model's terms on its page and set HF_TOKEN"):
        store_of(tmp_path, unmeasured()).ensure("tiny")


def test_a_renamed_repository_is_followed(hub: Hub, tmp_path: Path) -> None:
    for revision in ("main", COMMIT):
        old = f"/owner/name/resolve/{revision}/tiny.gguf"
        hub.hub.pages[old.replace("owner", "new")] = hub.hub.pages[old]
        hub.hub.pages[old] = Page(status=307, headers={"Location": old.replace("owner", "new")})
    assert store_of(tmp_path, unmeasured()).ensure("tiny").main.read_bytes() == CONTENT


def test_a_hub_that_advertises_no_hash_is_not_trusted(hub: Hub, tmp_path: Path) -> None:
    hub.hub.pages["/owner/name/resolve/main/tiny.gguf"] = Page()
    with pytest.raises(PullError, match="advertises no hash"):
        store_of(tmp_path, unmeasured()).ensure("tiny")
