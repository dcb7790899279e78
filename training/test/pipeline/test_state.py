"""What a pipeline keeps of itself: whose folder it is, and when a step is as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medbot_training.pipeline.state import FILE_NAME
from medbot_training.pipeline.state import PipelineError
from medbot_training.pipeline.state import State
from medbot_training.pipeline.state import changes
from medbot_training.pipeline.state import key_of

RECIPE = Path("ward.yaml")


def test_read_again_as_it_was_written(tmp_path: Path) -> None:
    state = State.read(tmp_path, RECIPE)
    assert state.stages == {}
    state.stages["sft"] = {"status": "finished", "key": "1"}
    state.write()
    assert State.read(tmp_path, RECIPE).stages == state.stages


def test_a_folder_of_another_recipe_is_left_alone(tmp_path: Path) -> None:
    State(tmp_path, "other.yaml").write()
    with pytest.raises(PipelineError, match=r"holds the pipeline of other.yaml, not of ward.yaml"):
        State.read(tmp_path, RECIPE)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(PipelineError, match="is not empty and no pipeline has written it"):
        State.read(tmp_path, RECIPE)


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 1}', "\x00"])
def test_a_damaged_file_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(PipelineError, match="can't be read") as told:
        State.read(tmp_path, RECIPE)
    assert "\n" not in str(told.value)


def test_a_file_is_read_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medbot_training import run_record

    read: list[Path] = []
    digest = run_record.file_sha256

    def counted(path: Path) -> str:
        read.append(path)
        return digest(path)

    monkeypatch.setattr(run_record, "file_sha256", counted)
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"1")
    state = State(tmp_path, "ward.yaml")
    first = state.folder_sha256(tmp_path)
    assert state.folder_sha256(tmp_path) == first and len(read) == 1
    file.write_bytes(b"22")
    assert state.folder_sha256(tmp_path) != first and len(read) == 2
    file.unlink()
    with pytest.raises(PipelineError, match="holds no weights"):
        state.folder_sha256(tmp_path)


def test_what_has_changed_is_said() -> None:
    before = {
        "recipe": {"learning_rate": 1e-4, "r": 8},
        "data": {"train": ["a"], "validation": []},
        "adapter": "x",
        "versions": {"trl": "1.16.0", "peft": "0.21.2"},
    }
    assert changes(before, json.loads(json.dumps(before))) == ""
    assert key_of(before) == key_of(json.loads(json.dumps(before)))
    now = {
        "recipe": {"learning_rate": 2e-4, "r": 8},
        "data": {"train": ["b"], "validation": []},
        "adapter": "y",
        "versions": {"trl": "1.17.0", "peft": "0.21.2"},
    }
    assert key_of(now) != key_of(before)
    assert changes(before, now) == ("adapter; data: train; recipe: learning_rate; versions: trl")
