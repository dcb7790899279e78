"""The smoke recipe from data to a GGUF: every stage runs, learns and is known again."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from medbot_training.cli import main

from .conftest import LEAN_STEPS
from .conftest import RECIPES
from .conftest import Ran

NAMES = ["pretrain", "sft", "dpo", "reward", "rl", "merge", "export"]
Say = Callable[..., list[str]]


def _logged(folder: Path) -> list[dict[str, Any]]:
    """What a stage has logged, step by step."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_every_stage_runs_and_learns(ran: Ran) -> None:
    stages = ran.stages
    assert list(stages) == NAMES
    assert {name: stages[name]["steps"] for name in LEAN_STEPS} == LEAN_STEPS
    for name, most in (("pretrain", 0.9), ("sft", 0.5), ("dpo", 0.8), ("reward", 0.5)):
        assert stages[name]["last"] < most * stages[name]["first"], (name, stages[name])
    # ln 2: at first neither answer is better than the other. What is logged first is the mean of
    # two steps, the second of which has learnt already.
    for name in ("dpo", "reward"):
        assert stages[name]["first"] == pytest.approx(0.693, abs=0.1)
    # So few steps of it show no rise above the noise; test_whole.py has that.
    lines = _logged(ran.folder / "rl")
    norms = [line["grad_norm"] for line in lines if "reward" in line]
    assert norms and min(norms) > 0, lines


def test_every_stage_changes_the_adapter_of_the_one_before(ran: Ran) -> None:
    adapters = [
        load_file(ran.folder / name / "final" / "adapter_model.safetensors")
        for name in ("pretrain", "sft", "dpo", "rl")
    ]
    for before, after in itertools.pairwise(adapters):
        assert set(before) == set(after)
        assert not any(bool((before[key] == after[key]).all()) for key in before if "lora_" in key)
    assert len({entry["sha256"] for entry in ran.stages.values()}) == len(NAMES)


def test_it_says_where_it_stands_and_what_came_out(ran: Ran) -> None:
    for number, name in enumerate(NAMES, 1):
        assert f"[{number}/7] {name}" in ran.stderr
    # From the second stage on something is known to go by.
    assert "left in all" in ran.stderr
    heading, *rows = ran.stdout.splitlines()
    assert heading.split() == [
        "stage",
        "steps",
        "first",
        "→",
        "last",
        "seconds",
        "written",
        "sha256",
    ]
    assert [row.split()[0] for row in rows] == NAMES
    for row, name in zip(rows, NAMES, strict=True):
        assert row.endswith(ran.stages[name]["sha256"][:12])


def test_the_gguf_answers_in_the_robots_own_engine(
    ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medbot_llm.apps.cli import main as medbot
    from medbot_llm.domain import ChatMessage
    from medbot_llm.domain import ChatRole
    from medbot_llm.engines.base import CancelToken
    from medbot_llm.engines.base import Sampling
    from medbot_llm.engines.llama_cpp import LlamaCppEngine
    from medbot_llm.engines.llama_cpp import LlamaCppOptions
    from medbot_llm.models.store import ModelStore

    manifest = json.loads((ran.folder / "exported" / "manifest.json").read_text())
    assert manifest["stages"], manifest
    monkeypatch.setenv("MEDBOT_HOME", str(tmp_path))
    assert medbot(["models", "add", str(ran.folder / "exported"), "--id", "smoke"]) == 0
    asked = json.loads((RECIPES / "smoke" / "sft.jsonl").read_text().splitlines()[0])["messages"]
    messages = [ChatMessage(ChatRole(m["role"]), m["content"]) for m in asked[:-1]]
    engine = LlamaCppEngine(LlamaCppOptions(model="smoke", n_ctx=512), ModelStore().resolve)
    try:
        engine.load(lambda _: None)
        sampling = Sampling(temperature=0.0, max_tokens=24)
        text = "".join(engine.stream(messages, sampling, CancelToken()))
    finally:
        engine.close()
    assert text.strip()


@pytest.fixture
def say(ran: Ran, capsys: pytest.CaptureFixture[str]) -> Say:
    """What --dry-run says, a line a stage, in this process."""

    def dry_run(recipe: Path = ran.recipe, folder: Path = ran.folder, *options: str) -> list[str]:
        capsys.readouterr()
        words = ["pipeline", str(recipe), "--output_dir", str(folder), "--dry-run", *options]
        assert main(words) == 0
        lines = capsys.readouterr().out.splitlines()
        return [line for line in lines if line.startswith("[")]

    return dry_run


def test_what_is_done_is_not_done_again(
    ran: Ran, say: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in ran.folder.rglob("*.safetensors")}
    assert all(line.endswith("done") for line in say())
    capsys.readouterr()
    assert main(["pipeline", str(ran.recipe), "--output_dir", str(ran.folder)]) == 0
    said = capsys.readouterr()
    assert said.err.count("done already") == len(NAMES)
    assert "(seconds in brackets: done by an earlier call)" in said.out
    assert {path: path.stat().st_mtime_ns for path in before} == before


def _standing(lines: list[str]) -> dict[str, str]:
    return {line.split()[1]: " ".join(line.split()[2:]) for line in lines}


def test_only_what_changed_and_what_builds_on_it_runs_again(
    ran: Ran, say: Say, tmp_path: Path
) -> None:
    recipe = tmp_path / ran.recipe.name
    text = ran.recipe.read_text(encoding="utf-8")

    def changed(old: str, new: str) -> dict[str, str]:
        assert text.count(old) == 1, old
        recipe.write_text(text.replace(old, new), encoding="utf-8")
        return _standing(say(recipe))

    found = changed("max_steps: 12", "max_steps: 13")
    assert found["pretrain"] == found["sft"] == "done"
    assert found["dpo"] == "runs (changed since: recipe: max_steps)"
    assert found["export"] == "runs (after dpo)"
    # How often it is logged decides nothing.
    assert set(changed("logging_steps: 2", "logging_steps: 4").values()) == {"done"}
    # The same data by another name is the same data.
    copy = tmp_path / "same.jsonl"
    shutil.copy(RECIPES / "smoke" / "sft.jsonl", copy)
    place = f"{RECIPES}/smoke/sft.jsonl"
    assert set(changed(place, str(copy)).values()) == {"done"}
    with copy.open("a", encoding="utf-8") as file:
        file.write(copy.read_text(encoding="utf-8").splitlines()[0] + "\n")
    found = _standing(say(recipe))
    assert found["pretrain"] == "done" and found["sft"] == "runs (changed since: data: train)"


def test_from_a_stage_on_by_wish(ran: Ran, say: Say) -> None:
    found = _standing(say(ran.recipe, ran.folder, "--from", "reward"))
    assert found["dpo"] == "done"
    assert found["reward"] == "runs (asked for)" and found["rl"] == "runs (after reward)"


def test_a_new_version_of_a_library_is_a_change(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    from medbot_training.pipeline import inputs

    version = inputs.metadata.version

    def newer(name: str) -> str:
        return "99.0" if name == "trl" else version(name)

    monkeypatch.setattr(inputs.metadata, "version", newer)
    assert _standing(say())["pretrain"] == "runs (changed since: versions: trl)"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "what it wrote is gone"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x01"), "was changed since"),
    ],
    ids=["gone", "changed"],
)
def test_what_a_stage_wrote_is_looked_at(
    ran: Ran, say: Say, tmp_path: Path, damage: Callable[[Path], Any], words: str
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(ran.folder, folder)
    damage(folder / "dpo" / "final" / "adapter_model.safetensors")
    found = _standing(say(ran.recipe, folder))
    assert found["sft"] == "done" and words in found["dpo"]
