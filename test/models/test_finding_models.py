"""The store finds models by id or path, and says clearly what is missing or damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_test_kit import CONTENT
from model_test_kit import model_data
from model_test_kit import store_of

from medbot_llm.models.catalog import CatalogError
from medbot_llm.models.catalog import UnknownModelError
from medbot_llm.models.store import ModelNotPulledError
from medbot_llm.models.store import ModelState
from medbot_llm.models.store import ModelStore
from medbot_llm.models.store import StoreError
from medbot_llm.models.store import default_root


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "usb" / "original.gguf"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def store(tmp_path: Path, original: Path) -> ModelStore:
    return store_of(tmp_path / "store", model_data([{"path": str(original)}]))


def test_a_model_that_was_not_pulled_says_how_to_pull_it(store: ModelStore) -> None:
    with pytest.raises(ModelNotPulledError, match="run: medbot models pull tiny"):
        store.path("tiny")
    assert store.state("tiny") is ModelState.ABSENT


def test_an_unknown_id_names_the_closest(store: ModelStore) -> None:
    with pytest.raises(UnknownModelError, match=r"no model 'tinny' .* did you mean tiny\?"):
        store.resolve("tinny")
    with pytest.raises(UnknownModelError, match="'medbot models list' shows all"):
        store.resolve("xyz")


def test_a_name_is_an_id_or_a_path(store: ModelStore, original: Path) -> None:
    pulled = store.ensure("tiny").main
    assert store.resolve("tiny") == pulled
    assert store.resolve(str(original)) == original
    assert store.resolve(f" {original.parent} ") == original.parent


def test_a_path_under_home_is_found(
    store: ModelStore, original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(original.parent))
    assert store.resolve("~/original.gguf") == original


@pytest.mark.parametrize("name", ["/none/model.gguf", "none.gguf", "./none", "~/none"])
def test_a_path_where_nothing_is_is_told_as_a_path(store: ModelStore, name: str) -> None:
    with pytest.raises(StoreError, match=r"there is no model file /.*none"):
        store.resolve(name)


@pytest.mark.parametrize("name", ["", "  ", "a\0b"])
def test_no_name_is_told(store: ModelStore, name: str) -> None:
    with pytest.raises(StoreError, match="no model is named"):
        store.resolve(name)


def test_a_truncated_file_is_not_given_out_and_mended_by_the_next_pull(store: ModelStore) -> None:
    path = store.ensure("tiny").main
    path.write_bytes(CONTENT[:-5])
    assert store.state("tiny") is ModelState.DAMAGED
    with pytest.raises(ModelNotPulledError, match=r"damaged: .* 3145723 bytes instead of 3145728"):
        store.path("tiny")
    (check,) = store.verify("tiny")
    assert "3145723 bytes" in check.problem
    assert store.ensure("tiny").main.read_bytes() == CONTENT


def test_a_changed_byte_is_found_by_verifying_and_mended_by_a_checked_pull(
    store: ModelStore,
) -> None:
    path = store.ensure("tiny").main
    path.write_bytes(b"!" + CONTENT[1:])
    (check,) = store.verify("tiny")
    assert check.path == path
    assert "sha256 is" in check.problem
    assert store.ensure("tiny", check=True).main.read_bytes() == CONTENT
    assert [check.problem for check in store.verify("tiny")] == [""]


def test_verifying_what_is_not_here_is_an_error(store: ModelStore) -> None:
    with pytest.raises(ModelNotPulledError):
        store.verify("tiny")


def test_a_removed_model_is_gone_and_can_be_pulled_again(store: ModelStore) -> None:
    path = store.ensure("tiny").main
    assert store.remove("tiny")
    assert not path.parent.exists()
    assert not store.remove("tiny")
    assert store.ensure("tiny").main == path


def test_an_added_file_is_a_model_like_any_other(tmp_path: Path, original: Path) -> None:
    root = tmp_path / "store"
    added = ModelStore(root).add(original, "ward-v1", role="adapter", licence="Apache-2.0")
    original.unlink()
    store = ModelStore(root)
    assert store.path("ward-v1") == added.main
    assert added.main.read_bytes() == CONTENT
    assert [check.problem for check in store.verify("ward-v1")] == [""]
    assert store.catalog["ward-v1"].role == "adapter"
    with pytest.raises(StoreError, match="there is a model 'ward-v1' already"):
        store.add(added.main, "ward-v1", role="chat")
    assert store.remove("ward-v1")
    with pytest.raises(UnknownModelError):
        ModelStore(root).path("ward-v1")


def test_an_added_folder_keeps_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    for name in ("model.bin", "sub/config.json", ".hidden"):
        (folder / name).write_text(name)
    added = ModelStore(tmp_path / "store").add(folder, "ears", role="speech_recognition")
    assert added.main == added.directory
    assert set(added.files) == {"model.bin", "sub/config.json"}


def test_what_cannot_be_added_is_told(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "store")
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(StoreError, match="is empty"):
        store.add(tmp_path / "empty.gguf", "x", role="chat")
    with pytest.raises(StoreError, match="there is no file or folder"):
        store.add(tmp_path / "none", "x", role="chat")
    with pytest.raises(CatalogError, match=r"not '../up'"):
        store.add(tmp_path / "empty.gguf", "../up", role="chat")
    assert not (tmp_path / "store").exists()


def test_the_place_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/robot")
    assert default_root() == Path("/home/robot/.cache/medbot")
    monkeypatch.setenv("MEDBOT_HOME", "~/models")
    assert default_root() == Path("/home/robot/models")
    monkeypatch.setenv("MEDBOT_HOME", "models")
    with pytest.raises(StoreError, match="must be an absolute path"):
        default_root()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, original: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    store = store_of(in_the_way, model_data([{"path": str(original)}]))
    with pytest.raises(StoreError, match=r"cannot use .*file"):
        store.ensure("tiny")
