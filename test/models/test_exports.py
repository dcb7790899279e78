"""What `medbot-train export` wrote is taken as it was written, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model_test_kit import CONTENT
from model_test_kit import catalog_text
from model_test_kit import model_data
from model_test_kit import sha256

from medbot_llm.apps.cli import main
from medbot_llm.models.exports import MANIFEST
from medbot_llm.models.exports import ManifestError
from medbot_llm.models.exports import digest_of
from medbot_llm.models.exports import read_export
from medbot_llm.models.store import ModelStore
from medbot_llm.models.store import StoreError

SMALL = b"GGUF small"
LARGE = b"GGUF large, of 16 bits"

Write = Callable[..., Path]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store, for the command line too."""
    root = tmp_path / "home"
    monkeypatch.setenv("MEDBOT_HOME", str(root))
    return root


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes an export of two GGUF files; fields may be changed before the digest is made."""

    def export(**changes: Any) -> Path:
        folder = tmp_path / "ward-v1"
        folder.mkdir(exist_ok=True)
        files = []
        for kind, content, same in (("f16", LARGE, 1.0), ("q8_0", SMALL, 0.98)):
            name = f"ward-v1-{kind}.gguf"
            (folder / name).write_bytes(content)
            files.append(
                {
                    "name": name,
                    "bytes": len(content),
                    "sha256": sha256(content),
                    "quantization": kind,
                    "check": {"same_tokens": same},
                }
            )
        content: dict[str, Any] = {
            "format": 1,
            "kind": "model",
            "name": "ward-v1",
            "licence": "Apache-2.0",
            "files": files,
            "recommended": "ward-v1-q8_0.gguf",
            "base": {"name": "some-base"},
            **changes,
        }
        content["digest"] = digest_of(content)
        (folder / MANIFEST).write_text(json.dumps(content), encoding="utf-8")
        return folder

    return export


def test_recommended_file_is_added_with_its_manifest(
    home: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write()
    assert main(["models", "add", str(folder)]) == 0
    said = capsys.readouterr().out
    place = home / "models/ward-v1/ward-v1-q8_0.gguf"
    assert said.splitlines()[0] == f"ward-v1 is at {place}"
    assert "98.0% of tokens as the trained model" in said
    assert place.read_bytes() == SMALL
    entry = ModelStore().entry("ward-v1")
    assert (entry.role, entry.licence, entry.base) == ("chat", "Apache-2.0", "")
    assert [file.name for file in entry.files] == ["ward-v1-q8_0.gguf", MANIFEST]
    assert main(["models", "verify", "ward-v1"]) == 0


def test_another_file_may_be_chosen_by_its_kind(home: Path, write: Write) -> None:
    words = ["models", "add", str(write()), "--file", "f16", "--id", "ward-16"]
    assert main(words) == 0
    assert ModelStore().path("ward-16").read_bytes() == LARGE


def test_adapter_is_known_by_its_base(
    home: Path, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(
        kind="adapter",
        base={"name": "tiny", "gguf_sha256": sha256(CONTENT)},
        recommended="ward-v1-q8_0.gguf",
    )
    assert main(["models", "add", str(folder)]) == 2
    assert "add that GGUF first" in capsys.readouterr().err
    (home / "catalog.d").mkdir(parents=True)
    source = {"path": str(tmp_path / "tiny.gguf")}
    (home / "catalog.d" / "mine.yaml").write_text(catalog_text(model_data([source])))
    assert main(["models", "add", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "it is loaded beside tiny" in said and "medbot models pull tiny" in said
    store = ModelStore()
    assert store.entry("ward-v1").role == "adapter"
    assert store.parts("ward-v1") == ("tiny", "ward-v1")
    assert store.parts("tiny") == ("tiny", "")
    assert store.parts("./some.gguf") == ("./some.gguf", "")
    assert main(["models", "list", "--long"]) == 0
    assert "Loaded beside tiny." in capsys.readouterr().out


def test_a_manifest_that_was_edited_is_refused(home: Path, write: Write) -> None:
    folder = write()
    place = folder / MANIFEST
    content = json.loads(place.read_text())
    content["files"][1]["check"]["same_tokens"] = 1.0
    place.write_text(json.dumps(content))
    with pytest.raises(ManifestError, match="was changed after the export"):
        read_export(folder)


def test_a_file_that_was_changed_is_refused_and_nothing_stays(
    home: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write()
    (folder / "ward-v1-q8_0.gguf").write_bytes(SMALL[:-1] + b"!")
    assert main(["models", "add", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "is not the file that was exported" in said and said.count("\n") == 1
    assert not (home / "models" / "ward-v1").exists()
    assert not (home / "staging" / "ward-v1").exists()
    assert "ward-v1" not in ModelStore().catalog
    (folder / "ward-v1-q8_0.gguf").unlink()
    with pytest.raises(StoreError, match="is missing"):
        ModelStore().add_export(read_export(folder), "ward-v1")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "has format 2"),
        ({"kind": "voice"}, "lists no files of a model or adapter"),
        ({"files": []}, "lists no files"),
        ({"files": [{"name": "../../x.gguf", "bytes": 1, "sha256": "0" * 64}]}, "a file needs"),
        ({"files": [{"name": "x.gguf", "bytes": 1, "sha256": "short"}]}, "a file needs"),
        ({"kind": "adapter"}, "beside which GGUF"),
    ],
)
def test_a_manifest_that_says_nonsense(write: Write, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        read_export(write(**changes))


def test_what_is_no_manifest(write: Write) -> None:
    folder = write()
    for content, words in ((b"{", "is no JSON"), (b"[]", "must be a JSON object")):
        (folder / MANIFEST).write_bytes(content)
        with pytest.raises(ManifestError, match=words):
            read_export(folder)


def test_options_that_do_not_go_together(
    home: Path, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write()
    plain = tmp_path / "plain.gguf"
    plain.write_bytes(SMALL)
    for words, message in (
        ([str(plain), "--file", "q8_0"], "--file is for an export"),
        ([str(folder), "--file", "q2_k"], "has no q2_k; it has f16, q8_0"),
        ([str(folder), "--role", "voice"], "holds a model for chat, not for voice"),
    ):
        assert main(["models", "add", *words]) == 2
        assert message in capsys.readouterr().err


def test_only_an_adapter_has_a_base(home: Path) -> None:
    from model_test_kit import catalog_of

    source = {"path": "/a.gguf"}
    with pytest.raises(Exception, match="only an adapter has one"):
        catalog_of(model_data([source], base="other"))
    entry = catalog_of(model_data([source], base="other", role="adapter"))["tiny"]
    assert entry.base == "other"
