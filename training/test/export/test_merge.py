"""Merging: the same answers before and after, whole or nothing, and one line for what is wrong."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from transformers import AutoTokenizer
from transformers import Qwen2Config

from medbot_training.export import merge as merging
from medbot_training.export.folders import ExportError
from medbot_training.export.merge import MergeSettings
from medbot_training.export.merge import merge

from .conftest import Told
from .conftest import Train
from .conftest import read


def test_merged_model_is_base_and_adapter(adapter: Path, merged: Path, tiny: Path) -> None:
    from peft import PeftModel

    tokenizer = AutoTokenizer.from_pretrained(merged)
    ids = tokenizer("<|im_start|>user\n這是什麼藥？<|im_end|>\n", return_tensors="pt").input_ids
    both = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny), adapter).eval()
    one = AutoModelForCausalLM.from_pretrained(merged).eval()
    with torch.no_grad():
        expected, found = both(ids).logits, one(ids).logits
        with both.disable_adapter():
            assert not torch.allclose(both(ids).logits, found, atol=0.1)
    assert torch.allclose(expected, found, atol=1e-4)
    record = read(merged)
    assert record["check"]["mean_divergence"] < 1e-6 < 0.1 < record["check"]["adapter_changes"]
    assert record["check"]["questions"] >= 7


def test_what_a_merged_model_is_made_of(adapter: Path, merged: Path) -> None:
    record, run = read(merged), read(adapter)
    assert record["base"]["sha256"] == run["base"]["sha256"]
    assert record["stages"][0]["data"]["train"][0]["sha256"] == run["data"]["train"][0]["sha256"]
    assert record["stages"][0]["stage"] == "sft" and record["licence"] == "Apache-2.0"
    names = {path.name for path in merged.iterdir()}
    assert {"model.safetensors", "tokenizer.json", "generation_config.json"} <= names
    assert "chat_template.jinja" in names and "adapter_config.json" not in names
    assert not list(merged.parent.glob(".*"))


def test_done_is_done_and_another_adapter_is_not_written_over_it(
    adapter: Path, merged: Path, train: Train, told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    stamp = (merged / "model.safetensors").stat().st_mtime_ns
    merge(MergeSettings(adapter, merged))
    assert "is there already" in capsys.readouterr().err
    assert (merged / "model.safetensors").stat().st_mtime_ns == stamp
    other = train(max_steps=1)
    said = told("merge", "--adapter", other, "--output_dir", merged)
    assert "holds something else" in said and "--overwrite_output_dir" in said
    assert (merged / "model.safetensors").stat().st_mtime_ns == stamp


def test_stages_are_traced_back(train: Train, adapter: Path, tmp_path: Path) -> None:
    further = train("dpo", max_steps=1, adapter_name_or_path=str(adapter))
    record = merge(MergeSettings(further, tmp_path / "out"))
    assert [stage["stage"] for stage in record["stages"]] == ["sft", "dpo"]


def test_full_weights_are_handed_on(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    final = train(max_steps=1, use_peft=False)
    record = merge(MergeSettings(final, tmp_path / "out"))
    assert "no adapter: they are handed on" in capsys.readouterr().err
    assert record["check"]["copied"] and record["base"]["sha256"]
    ours, theirs = (
        load_file(folder / "model.safetensors") for folder in (tmp_path / "out", final)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    half = merge(MergeSettings(final, tmp_path / "half", "bfloat16"))
    assert 0 < half["check"]["mean_divergence"] < 0.03
    weights = load_file(tmp_path / "half" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}


def test_an_adapter_beside_4_bits_goes_into_the_unpacked_base(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "final"
    shutil.copytree(adapter, copy)
    record = read(copy)
    record["recipe"]["load_in_4bit"] = True
    (copy / "run.json").write_text(json.dumps(record))
    merge(MergeSettings(copy, tmp_path / "out"))
    assert "trained beside weights in 4 or 8 bits; it is merged into" in capsys.readouterr().err
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_what_rounding_would_take_away_is_refused(adapter: Path, tmp_path: Path) -> None:
    """An adapter that changes so little that bfloat16 would lose it."""
    copy = tmp_path / "final"
    shutil.copytree(adapter, copy)
    weights = load_file(copy / "adapter_model.safetensors")
    for name in weights:
        if "lora_B" in name:
            weights[name] *= 1e-2
    save_file(weights, copy / "adapter_model.safetensors")
    with pytest.raises(ExportError, match="rounding to bfloat16 would take away"):
        merge(MergeSettings(copy, tmp_path / "out", "bfloat16"))
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
    kept = merge(MergeSettings(copy, tmp_path / "out", "float32"))
    assert kept["check"]["mean_divergence"] < kept["check"]["adapter_changes"] / 4


def test_other_answers_after_reading_again_are_refused(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = merging.load_plain

    def damaged(folder: Path, dtype: str) -> object:
        model = load(folder, dtype)
        with torch.no_grad():
            model.model.layers[0].mlp.up_proj.weight.mul_(1.5)
        return model

    monkeypatch.setattr(merging, "load_plain", damaged)
    with pytest.raises(ExportError, match="answer otherwise than base and adapter"):
        merge(MergeSettings(adapter, tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_killed_and_called_again(adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [sys.executable, "-m", "medbot_training.cli", "merge", "--adapter", str(adapter)]
    words += ["--output_dir", str(out)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob(".out.part/*.safetensors")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert [path.name for path in tmp_path.iterdir()] == [".out.part"]
    merge(MergeSettings(adapter, out))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_do_not_write_one_folder(adapter: Path, tmp_path: Path, told: Told) -> None:
    import fcntl

    part = tmp_path / ".out.part"
    part.mkdir()
    handle = os.open(part, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        said = told("merge", "--adapter", adapter, "--output_dir", tmp_path / "out")
    finally:
        os.close(handle)
    assert "another process is writing" in said


def test_full_disk(adapter: Path, tmp_path: Path, told: Told) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        said = told("merge", "--adapter", adapter, "--output_dir", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "is full, or its limit of file sizes" in said
    assert list(tmp_path.iterdir()) == []


def test_no_room_is_told_before_any_work(
    adapter: Path, tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    said = told("merge", "--adapter", adapter, "--output_dir", tmp_path / "out")
    assert "has 1 MB free" in said
    assert list(tmp_path.iterdir()) == []


def test_what_can_not_be_merged(
    adapter: Path, train: Train, tiny: Path, tmp_path: Path, told: Told
) -> None:
    out = ("--output_dir", tmp_path / "out")

    def copied(name: str) -> Path:
        shutil.copytree(adapter, tmp_path / name)
        return tmp_path / name

    assert "there is no folder" in told("merge", "--adapter", tmp_path / "none", *out)
    assert f"did you mean {adapter}" in told("merge", "--adapter", adapter.parent, *out)

    cut = copied("cut")
    weights = (cut / "adapter_model.safetensors").read_bytes()
    (cut / "adapter_model.safetensors").write_bytes(weights[:-1000])
    assert "adapter_model.safetensors is damaged" in told("merge", "--adapter", cut, *out)

    bare = copied("bare")
    (bare / "tokenizer.json").unlink()
    assert "has no tokenizer.json" in told("merge", "--adapter", bare, *out)

    reward = train("reward", max_steps=1)
    assert "gives marks and can't talk" in told("merge", "--adapter", reward, *out)

    moved = copied("moved")
    record = read(moved)
    record["base"]["sha256"] = "0" * 64
    (moved / "run.json").write_text(json.dumps(record))
    assert "is not the base that" in told("merge", "--adapter", moved, *out)

    gone = copied("gone")
    record["base"]["name"] = record["base"]["source"] = str(tmp_path / "no-base")
    (gone / "run.json").write_text(json.dumps(record))
    assert "name where it is now by --model_name_or_path" in told("merge", "--adapter", gone, *out)
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize(
    "shape", [{"hidden_size": 32}, {"num_hidden_layers": 1}, {"num_hidden_layers": 3}]
)
def test_adapter_of_another_base(
    shape: dict[str, int], adapter: Path, tiny: Path, tmp_path: Path, told: Told
) -> None:
    known = json.loads((tiny / "config.json").read_text())
    known.pop("layer_types", None)
    config = Qwen2Config(**{**known, **shape})
    other = tmp_path / "other"
    AutoModelForCausalLM.from_config(config).save_pretrained(other)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny / name, other)
    copy = tmp_path / "final"
    shutil.copytree(adapter, copy)
    (copy / "run.json").unlink()
    said = told(
        *("merge", "--adapter", copy, "--output_dir", tmp_path / "out"),
        *("--model_name_or_path", other),
    )
    assert "does not fit the base" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["final", "other"]
