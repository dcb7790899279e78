"""What goes wrong in a pipeline: one clear line, nothing half-written, what is done stays."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

from medbot_training.cli import main

from .conftest import RECIPES
from .conftest import SMOKE
from .conftest import command
from .conftest import environment
from .conftest import problem_of
from .conftest import run
from .conftest import smaller
from .conftest import stages_of


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of a pipeline that refuses to start, in this process."""
    capsys.readouterr()
    try:
        status = main(["pipeline", *words])
    except SystemExit as end:
        status = int(end.code or 0)
    lines = capsys.readouterr().err.splitlines()
    assert status == 2 and len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sft": {"lerning_rate": 1}}, "did you mean learning_rate?"),
        ({"dpo": {"beta": "much"}}, "dpo: beta must be a number"),
        ({"rl": {"train_file": "none.jsonl"}}, "there is no none.jsonl"),
        ({"rl": {"reward_funcs": ["nobody:knows"]}}, "can't be imported"),
        ({"model_name_or_path": "./none"}, "there is no folder"),
        ({"model_name_or_path": "none.gguf"}, "there is no file none.gguf"),
        ({"adapter_name_or_path": "./none"}, "there is no adapter in none"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_a_later_stage_lacks_is_told_before_the_first_starts(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    words: str,
) -> None:
    recipe = smaller(tmp_path / "a.yaml", changes)
    out = tmp_path / "out"
    assert words in said(capsys, str(recipe), "--output_dir", str(out))
    assert not out.exists()


def test_gpu_recipe_without_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    recipe = smaller(tmp_path / "a.yaml", {"device": "cuda"})
    line = said(capsys, str(recipe), "--output_dir", str(tmp_path / "out"))
    assert "is for a GPU" in line and not (tmp_path / "out").exists()


def test_folders_that_are_not_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letters.txt").write_text("mine")
    line = said(capsys, str(SMOKE), "--output_dir", str(tmp_path / "full"))
    assert "is not empty and no pipeline has written it" in line
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["letters.txt"]
    # A file in the way, since nothing is unwritable to root.
    line = said(capsys, str(SMOKE), "--output_dir", str(tmp_path / "full/letters.txt/out"))
    assert "can't be written" in line
    line = said(capsys, str(SMOKE), "--output_dir", str(tmp_path / "out"), "--from", "bake")
    assert "invalid choice" in line


def test_two_do_not_write_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    out = tmp_path / "out"
    out.mkdir()
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        line = said(capsys, str(SMOKE), "--output_dir", str(out))
    assert f"another run is writing to {out}" in line


def _sft_alone(path: Path, **fields: object) -> Path:
    return smaller(path, {"sft": {"max_steps": 12, **fields}, "save_steps": 4}, ["sft"])


def test_a_failed_stage_in_one_line_and_what_is_done_stays(tmp_path: Path) -> None:
    """Text where conversations are wanted: only the stage itself can tell."""
    changes = {
        "pretrain": {"max_steps": 2},
        "sft": {"train_file": str(RECIPES / "smoke" / "texts.txt")},
    }
    recipe = smaller(tmp_path / "a.yaml", changes, ["pretrain", "sft"])
    out = tmp_path / "out"
    line = problem_of(run(recipe, out))
    assert "sft (stage 2 of 2): " in line and "sft learns from conversations" in line
    assert line.endswith("pretrain stays done")
    stages = stages_of(out)
    assert stages["pretrain"]["status"] == "finished"
    assert stages["sft"]["status"] == "running" and not (out / "sft" / "final").exists()


@pytest.mark.slow
def test_an_adapter_of_another_base(tmp_path: Path) -> None:
    """The adapter of a narrower model does not go onto this one."""
    from medbot_training.base import make_tiny_model
    from medbot_training.stages.prepare import base_texts

    first = _sft_alone(tmp_path / "a.yaml", max_steps=2)
    assert run(first, tmp_path / "a").returncode == 0
    make_tiny_model(tmp_path / "other", base_texts([RECIPES / "smoke" / "sft.jsonl"]))
    config = tmp_path / "other" / "config.json"
    config.write_text(config.read_text().replace('"hidden_size": 64', '"hidden_size": 32'))
    second = _sft_alone(tmp_path / "b.yaml", adapter_name_or_path=str(tmp_path / "a/sft/final"))
    text = second.read_text().replace("tiny-random", str(tmp_path / "other"))
    second.write_text(text)
    line = problem_of(run(second, tmp_path / "b"))
    assert "sft (stage 1 of 1)" in line
    assert not (tmp_path / "b" / "sft" / "final").exists()


@pytest.mark.slow
def test_no_room_for_what_is_written(tmp_path: Path) -> None:
    recipe = _sft_alone(tmp_path / "a.yaml")
    out = tmp_path / "out"

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    # The base is made beforehand: it is larger than what a stage writes.
    assert run(smaller(recipe, {"sft": {"max_steps": 1}}, ["sft"]), out).returncode == 0
    recipe = _sft_alone(tmp_path / "a.yaml")
    done = subprocess.run(
        command(recipe, out),
        capture_output=True,
        text=True,
        env=environment(),
        preexec_fn=little_room,
    )
    line = problem_of(done)
    assert "is full, or a file may not be that large" in line
    assert not (out / "sft" / "final").exists()
    assert [p.name for p in (out / "sft").glob("checkpoint-*")] == []
    assert run(recipe, out).returncode == 0


def _stage_process(folder: Path, pipeline: int) -> int:
    """The process that runs a stage: the child of the pipeline's child."""

    def child_of(pid: int) -> int:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(found[0]) if found else 0

    worker = child_of(pipeline)
    return child_of(worker) if worker else 0


def _until_a_checkpoint(process: subprocess.Popen[str], folder: Path) -> None:
    deadline = time.monotonic() + 300
    while not list(folder.glob("checkpoint-*/trainer_state.json")):
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def started(tmp_path: Path) -> tuple[subprocess.Popen[str], Path, Path]:
    """A pipeline of one long stage that has written its first checkpoint."""
    recipe = _sft_alone(tmp_path / "a.yaml", max_steps=400)
    out = tmp_path / "out"
    process = subprocess.Popen(
        command(recipe, out),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    _until_a_checkpoint(process, out / "sft")
    return process, recipe, out


@pytest.mark.slow
def test_a_stage_that_is_killed_alone(
    started: tuple[subprocess.Popen[str], Path, Path],
) -> None:
    """As the kernel does where memory runs out: the pipeline lives on, and says what to change."""
    process, _, out = started
    os.kill(_stage_process(out, process.pid), signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    line = problem_of(subprocess.CompletedProcess([], process.returncode, "", stderr))
    assert "sft (stage 1 of 1): " in line and "signal 9" in line
    assert line.count("(saves ") == 3 and "iB)" in line


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=lambda sent: sent.name)
def test_stopped_it_says_how_to_go_on(
    started: tuple[subprocess.Popen[str], Path, Path], sent: signal.Signals
) -> None:
    process, recipe, out = started
    stage = _stage_process(out, process.pid)
    process.send_signal(sent)
    _, stderr = process.communicate(timeout=90)
    assert process.returncode == 130
    assert f"go on with: medbot-train pipeline {recipe} --output_dir {out}" in stderr
    assert "Traceback" not in stderr
    assert not Path(f"/proc/{stage}").exists()
    _sft_alone(recipe, max_steps=400)
    assert stages_of(out)["sft"]["status"] == "running"


@pytest.mark.slow
def test_nothing_outlives_a_pipeline_that_is_killed(
    started: tuple[subprocess.Popen[str], Path, Path],
) -> None:
    process, _, out = started
    stage = _stage_process(out, process.pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{stage}").exists():
        assert time.monotonic() < deadline, "the stage goes on without its pipeline"
        time.sleep(0.05)
