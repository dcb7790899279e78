"""Estimates of memory and time: from numbers alone, near what is measured, and told in time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from medbot_training.cli import main
from medbot_training.estimate import advice
from medbot_training.estimate.lengths import lengths_of
from medbot_training.estimate.memory import GIB
from medbot_training.estimate.memory import Lengths
from medbot_training.estimate.memory import memory_of
from medbot_training.estimate.memory import trained_parameters
from medbot_training.estimate.shape import KNOWN
from medbot_training.estimate.shape import EstimateError
from medbot_training.estimate.shape import shape_of
from medbot_training.recipes import Recipe
from medbot_training.recipes import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
LLAMA = RECIPES / "llama-3.1-8b.yaml"
SMOKE = RECIPES / "smoke.yaml"

_SETTINGS = {
    "LlamaConfig": KNOWN["Llama-3.1-8B-Instruct"],
    "Qwen3Config": KNOWN["Qwen3-1.7B"],
    "Qwen2Config": KNOWN["Qwen3-1.7B"],
}


def estimated(stage: str = "sft", path: Path = LLAMA, **fields: Any) -> float:
    """Bytes at the peak on a GPU for samples of 1024 tokens."""
    recipe = load_recipe(stage, path, fields)
    return memory_of(recipe, shape_of(recipe), Lengths(1024, 1024.0), gpu=True).total


@pytest.mark.parametrize("kind", _SETTINGS)
def test_shapes_count_the_weights_that_transformers_makes(kind: str, tmp_path: Path) -> None:
    import torch
    import transformers
    from peft import LoraConfig
    from peft import get_peft_model

    wanted = _SETTINGS[kind]
    config = getattr(transformers, kind)(
        hidden_size=wanted.hidden,
        intermediate_size=wanted.intermediate,
        num_hidden_layers=2,
        num_attention_heads=wanted.heads,
        num_key_value_heads=wanted.kv_heads,
        head_dim=wanted.head_dim,
        vocab_size=wanted.vocabulary,
        tie_word_embeddings=wanted.tied,
    )
    config.save_pretrained(tmp_path)
    recipe = load_recipe("sft", None, {"model_name_or_path": str(tmp_path)})
    shape = shape_of(recipe)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
        real = sum(parameter.numel() for parameter in model.parameters())
        # Qwen2's biases and Qwen3's norms of queries and keys are left out.
        assert shape.parameters == pytest.approx(real, rel=1e-4)
        adapted = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear"))
    trained, _ = adapted.get_nb_trainable_parameters()
    assert trained_parameters(recipe, shape) == trained


def test_the_shape_of_the_tiny_model_is_known_before_it_is_made() -> None:
    from medbot_training.base import TINY_SHAPE

    shape = shape_of(load_recipe("sft", SMOKE))
    assert shape.hidden == TINY_SHAPE["hidden_size"] and 2e5 < shape.parameters < 3e5


def test_the_shape_of_a_gguf_is_read_from_its_head(tmp_path: Path) -> None:
    import gguf
    import numpy

    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_embedding_length(896)
    writer.add_feed_forward_length(4864)
    writer.add_block_count(24)
    writer.add_head_count(14)
    writer.add_head_count_kv(2)
    writer.add_token_list([f"t{i}" for i in range(300)])
    writer.add_array("tokenizer.ggml.scores", [0.5] * 300)
    writer.add_tensor("token_embd.weight", numpy.zeros((300, 896), dtype=numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    shape = shape_of(load_recipe("sft", None, {"model_name_or_path": str(path)}))
    assert (shape.hidden, shape.layers, shape.kv_width) == (896, 24, 128)
    assert shape.vocabulary == 300 and shape.tied and shape.gguf
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(EstimateError, match="can't be read as a GGUF"):
        shape_of(load_recipe("sft", None, {"model_name_or_path": str(path)}))


def test_the_shipped_recipe_of_8b_fits_where_it_says() -> None:
    """12 to 16 GB, says the recipe; torchtune publishes 7.4 GiB for the like of its SFT stage."""
    assert 6.5 * GIB < estimated("sft") < 12 * GIB
    assert estimated("sft", use_peft=True, load_in_4bit=False) > 15 * GIB
    whole = estimated("sft", RECIPES / "baichuan2-7b-full.yaml", deepspeed=None)
    # Weights, gradients and two moments in fp32: 16 bytes a weight.
    assert whole > 16 * KNOWN["Baichuan2-7B-Chat"].parameters


@pytest.mark.parametrize(
    "fields",
    [
        {"per_device_train_batch_size": 2},
        {"r": 64},
        {"lora_dropout": 0.05, "gradient_checkpointing": False},
        {"gradient_checkpointing": False},
        {"load_in_4bit": False},
        {"bnb_4bit_use_double_quant": False},
        {"optim": "adamw_torch"},
        {"attn_implementation": "eager"},
    ],
    ids=lambda fields: ",".join(fields),
)
def test_what_costs_memory_is_seen_to(fields: dict[str, Any]) -> None:
    assert estimated("sft", **fields) > estimated("sft") + 1e6


def test_time_grows_with_the_work() -> None:
    from medbot_training.estimate.timing import Speed
    from medbot_training.estimate.timing import work_of

    def seconds(stage: str, **fields: Any) -> float:
        recipe = load_recipe(stage, LLAMA, fields)
        work = work_of(recipe, shape_of(recipe), Lengths(1024, 512.0), gpu=True)
        return work.seconds(Speed(1e14, 1e12, "cuda"))

    alone = seconds("sft", gradient_accumulation_steps=1)
    assert seconds("sft") == pytest.approx(4 * alone, rel=0.05)
    assert seconds("sft", gradient_checkpointing=False) < seconds("sft")
    # Two answers and a reference.
    assert seconds("dpo") > 2 * seconds("sft")
    assert seconds("rl", max_completion_length=512) > 1.5 * seconds("rl")


def test_lengths_are_guessed_from_the_data() -> None:
    recipe = load_recipe("sft", SMOKE)
    lengths = lengths_of(recipe)
    assert lengths.rows == 24 and lengths.counted
    # The tiny tokenizer makes 1785 tokens of these records, 74 each; one brings its task.
    assert 60 < lengths.mean < 90 and lengths.mean < lengths.longest < 500
    none = load_recipe("sft", SMOKE, {"train_file": "none.jsonl", "max_length": 77})
    assert lengths_of(none) == Lengths(77, 77.0)


@pytest.mark.parametrize("stage", ["sft", "dpo", "rl"])
def test_advice_names_three_settings_that_save_most(stage: str) -> None:
    recipe = load_recipe(stage, SMOKE, {"model_name_or_path": "Qwen/Qwen3-1.7B", "device": "auto"})
    shape = shape_of(recipe)
    lengths = Lengths(1024, 800.0)
    found = advice.savings(recipe, shape, lengths, gpu=False)
    assert len(found) >= 3
    assert [s.saved for s in found] == sorted((s.saved for s in found), reverse=True)
    line = advice.out_of_memory(recipe, lengths)
    assert line.startswith("out of memory: set ") and line.count("(saves ") == 3
    for saving in found[:3]:
        assert saving.setting in line
    # What is advised really is another recipe, with that much less.
    words = found[0].setting.replace(" with ", " ").split()
    fields = dict(zip(words[::2], map(yaml.safe_load, words[1::2]), strict=True))
    changed = load_recipe(stage, SMOKE, {**recipe.given, **fields})
    less = memory_of(changed, shape, _cut(changed, lengths), gpu=False).total
    now = memory_of(recipe, shape, lengths, gpu=False).total
    assert now - less == pytest.approx(found[0].saved)


def _cut(recipe: Recipe, lengths: Lengths) -> Lengths:
    most = int(recipe.trainer.get("max_length") or lengths.longest)
    return Lengths(min(lengths.longest, most), min(lengths.mean, most))


def test_a_stage_that_will_not_fit_is_told_before(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("sft", SMOKE)
    lengths = Lengths(512, 300.0)
    monkeypatch.setattr(advice, "free_bytes", lambda gpu: 0.1 * GIB)
    told = advice.warning(recipe, lengths, gpu=False)
    assert told is not None and "0.10 GiB are free" in told and "(saves " in told
    monkeypatch.setattr(advice, "free_bytes", lambda gpu: 100 * GIB)
    assert advice.warning(recipe, lengths, gpu=False) is None
    monkeypatch.setattr(advice, "free_bytes", lambda gpu: None)
    assert advice.warning(recipe, lengths, gpu=False) is None


def test_the_command_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--config", str(LLAMA), "--on", "gpu"]) == 0
    text = capsys.readouterr().out
    assert text.count("on a GPU: about") == 3 and "no data here" in text
    words = ["estimate", "--config", str(SMOKE), "--stage", "dpo", "--json", "--max_length", "64"]
    assert main(words) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["stage"] == "dpo" and record["longest"] <= 64 and record["steps"] == 40
    assert record["peak"] == max(record["loading"], sum(record["parts"].values()))
    assert 0 < record["seconds_a_step"] < 60


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--config", "none.yaml"], "can't be read"),
        ([], "name a recipe with --config"),
        (["--config", str(SMOKE), "--stage", "sft", "--beta", "1"], "another stage has it"),
        (["--config", str(SMOKE), "--bta", "1"], "did you mean --beta?"),
        (["--stage", "sft", "--model_name_or_path", "./none"], "there is no folder"),
    ],
)
def test_wrong_words_in_one_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["estimate", *words])
    except SystemExit as end:
        status = int(end.code or 0)
    lines = capsys.readouterr().err.splitlines()
    assert status == 2 and len(lines) == 1 and told in lines[0], lines


def test_memory_that_runs_out_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from medbot_training.stages import runner

    def trainer_of(recipe: Recipe) -> Any:
        def train(run: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        return train

    monkeypatch.setattr(runner, "_trainer_of", trainer_of)
    recipe = load_recipe("sft", SMOKE, {"output_dir": str(tmp_path / "sft")})
    with pytest.raises(runner.StageError) as told:
        runner.run_stage(recipe)
    line = str(told.value)
    assert line.startswith("out of memory: set ") and line.count("(saves ") == 3
    assert "\n" not in line and "iB)" in line
    assert not (tmp_path / "sft" / "final").exists()


_LITTLE_MEMORY = """
import re, resource, sys
from medbot_training.stages import runner
from medbot_training.cli import main

load = runner.run_record.describe

def limited(*args, **kwargs):
    used = int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000, -1))
    return load(*args, **kwargs)

runner.run_record.describe = limited
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_memory_that_runs_out_on_a_processor(tmp_path: Path) -> None:
    """The real thing: the process may take 300 MB more, and one row of the batch wants that."""
    words = ["sft", "--config", str(SMOKE), "--output_dir", str(tmp_path / "sft")]
    words += ["--packing", "false", "--validation_file", "null", "--max_steps", "3"]
    words += ["--attn_implementation", "eager", "--train_file", str(tmp_path / "long.jsonl")]
    words += ["--per_device_train_batch_size", "32", "--max_length", "2000"]
    talk = {
        "messages": [
            {"role": "user", "content": "藥" * 300},
            {"role": "assistant", "content": "好的，" * 300},
        ]
    }
    line = json.dumps(talk, ensure_ascii=False)
    (tmp_path / "long.jsonl").write_text("\n".join([line] * 64) + "\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", _LITTLE_MEMORY, *words], capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr[-2000:]
    (told,) = [text for text in done.stderr.splitlines() if text.startswith("medbot-train: ")]
    assert "out of memory: set " in told and told.count("(saves ") == 3
    assert not (tmp_path / "sft" / "final").exists()
