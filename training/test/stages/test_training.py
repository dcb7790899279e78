"""The stages learn what they are to learn, on a tiny model, and leave what they should."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from .conftest import RECIPES
from .conftest import RunStage


def _losses(folder: Path, name: str = "loss") -> list[float]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line[name] for line in lines if name in line]


@pytest.fixture(scope="session")
def taught(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that knows the smoke conversations by heart."""
    from medbot_training.recipes import load_recipe
    from medbot_training.stages.runner import run_stage as run

    out = tmp_path_factory.mktemp("taught")
    options = {
        "model_name_or_path": str(tiny),
        "output_dir": str(out),
        "use_peft": False,
        "max_steps": 70,
        "packing": True,
        "save_steps": 1000,
        "validation_file": None,
    }
    run(load_recipe("sft", RECIPES / "smoke.yaml", options))
    return out


def test_sft_learns_and_stops(taught: Path) -> None:
    """What it was taught it says again, word by word, and then it ends its turn."""
    from transformers import AutoModelForCausalLM
    from transformers import AutoTokenizer

    losses = _losses(taught)
    assert losses[-1] < 0.1 < 5 < losses[0]
    model = AutoModelForCausalLM.from_pretrained(taught / "final").eval()
    tokenizer = AutoTokenizer.from_pretrained(taught / "final")
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in model.generation_config.eos_token_id
    right = 0
    talks = [
        json.loads(line)["messages"]
        for line in (RECIPES / "smoke" / "sft.jsonl").read_text().splitlines()[:20]
    ]
    for talk in talks:
        ids = tokenizer.apply_chat_template(
            talk[:-1], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        out = model.generate(**ids, max_new_tokens=120, do_sample=False)
        answer = out[0, ids["input_ids"].shape[1] :]
        assert answer[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>"), "it did not stop"
        right += tokenizer.decode(answer, skip_special_tokens=True) == talk[-1]["content"]
    assert right >= 18


def test_what_a_run_leaves(taught: Path) -> None:
    record = json.loads((taught / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["data"]["train"][0]["sha256"] and record["base"]["sha256"]
    assert record["git"]["commit"] and record["versions"]["trl"] and record["prompts"]
    assert record["recipe"]["max_steps"] == 70
    assert record["template"]["end_of_turn"] == "<|im_end|>"
    assert record["records"]["learnt_tokens"] < record["records"]["tokens"]
    assert json.loads((taught / "final" / "run.json").read_text()) == record
    assert list((taught / "runs").glob("events.out.tfevents*"))
    for picture in ("loss.png", "accuracy.png"):
        assert (taught / picture).read_bytes().startswith(b"\x89PNG")
    assert not list(taught.glob(".final*"))


def test_packed_conversations_do_not_see_each_other(tiny: Path, tmp_path: Path) -> None:
    """The loss of a packed batch is that of its conversations one by one."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from transformers import AutoTokenizer
    from trl import SFTConfig

    from medbot_training import templates
    from medbot_training.stages.trainers import _Sft

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    facts = templates.check_template(tokenizer)
    rows = []
    for line in (RECIPES / "smoke" / "sft.jsonl").read_text().splitlines()[:6]:
        (sample,) = templates.conversation_samples(
            tokenizer, facts, json.loads(line)["messages"], 512
        )
        rows.append({"input_ids": sample.input_ids, "labels": sample.labels})

    def loss(packing: bool) -> float:
        arguments = SFTConfig(
            output_dir=str(tmp_path / "x"),
            use_cpu=True,
            bf16=False,
            packing=packing,
            max_length=512,
            per_device_eval_batch_size=6,
            report_to=[],
        )
        trainer = _Sft(
            model=AutoModelForCausalLM.from_pretrained(tiny),
            args=arguments,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(rows),
            eval_dataset=Dataset.from_list(rows),
        )
        return float(trainer.evaluate()["eval_loss"])

    assert loss(packing=True) == pytest.approx(loss(packing=False), abs=1e-4)


def test_dpo_goes_on_from_the_sft_adapter(run_stage: RunStage, tmp_path: Path) -> None:
    run_stage("sft", max_steps=10)
    adapter = tmp_path / "sft" / "final"
    record = run_stage("dpo", adapter_name_or_path=adapter, max_steps=20, logging_steps=1)
    margins = _losses(tmp_path / "dpo", "rewards/margins")
    losses = _losses(tmp_path / "dpo")
    # At first policy and frozen copy agree: the loss is ln 2.
    assert losses[0] == pytest.approx(0.6931, abs=1e-3) and margins[0] == pytest.approx(
        0, abs=1e-4
    )
    assert losses[-1] < 0.2 and margins[-1] > 1
    assert record["result"]["rewards/accuracies"] == 1.0
    assert record["adapter"]["sha256"]
    before = load_file(adapter / "adapter_model.safetensors")
    after = load_file(tmp_path / "dpo" / "final" / "adapter_model.safetensors")
    assert set(before) == set(after) and any(not torch.equal(before[k], after[k]) for k in before)
    assert not (tmp_path / "dpo" / "final" / "ref").exists()


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["ipo", "kto"])
def test_ipo_and_kto_by_field(run_stage: RunStage, tmp_path: Path, loss: str) -> None:
    record = run_stage("dpo", loss_type=loss, max_steps=20, logging_steps=1, learning_rate="5e-3")
    assert record["kind"] == ("kto" if loss == "kto" else "dpo")
    margins = _losses(tmp_path / "dpo", "rewards/margins")
    assert margins[-1] > margins[0] and margins[-1] > 0.5


def test_preference_ids_have_the_prompt_once(
    run_stage: RunStage, tiny: Path, tmp_path: Path
) -> None:
    import datasets
    from transformers import AutoTokenizer

    run_stage("dpo", max_steps=1)
    (place,) = (tmp_path / "dpo" / "cache").glob("train-*.arrow")
    row = datasets.Dataset.from_file(str(place))[0]
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    wanted = json.loads((RECIPES / "smoke" / "dpo.jsonl").read_text().splitlines()[0])
    asked = tokenizer.apply_chat_template(
        wanted["prompt"], add_generation_prompt=True, tokenize=True, return_dict=False
    )
    assert row["prompt_ids"] == asked
    for name in ("chosen", "rejected"):
        said = tokenizer.decode(row[f"{name}_ids"])
        assert said == wanted[name][0]["content"] + "<|im_end|>"


@pytest.mark.slow
def test_reward_model_tells_better_from_worse(run_stage: RunStage, tmp_path: Path) -> None:
    from medbot_training.stages.rewarding import ModelReward

    record = run_stage("reward", max_steps=40)
    assert record["result"]["accuracy"] == 1.0
    reward = ModelReward(tmp_path / "reward" / "final")
    right = 0
    lines = (RECIPES / "smoke" / "dpo.jsonl").read_text().splitlines()
    for pair in map(json.loads, lines):
        good, bad = reward([pair["prompt"]] * 2, [pair["chosen"], pair["rejected"]])
        assert good is not None and bad is not None
        right += good > bad
    assert right / len(lines) > 0.95


@pytest.mark.slow
def test_pretraining_packs_and_learns(run_stage: RunStage, tmp_path: Path) -> None:
    record = run_stage("pretrain", use_peft=False, max_steps=60, logging_steps=1)
    losses = _losses(tmp_path / "pretrain")
    assert losses[-1] < losses[0] / 3
    assert record["template"] is None
    before = run_stage(
        "pretrain", packing_strategy="bfd", max_steps=2, output_dir=str(tmp_path / "bfd")
    )
    assert before["status"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_learns_from_rewards(run_stage: RunStage, tmp_path: Path, algorithm: str) -> None:
    """Asked for tokens of even id, it gives them: at first half of them, then nearly all."""
    run_stage(
        "rl",
        algorithm=algorithm,
        reward_funcs=f"{__name__}:even_ids",
        use_peft=False,
        beta=0.0,
        num_generations=8,
        per_device_train_batch_size=32,
        max_completion_length=4,
        learning_rate=3e-3,
        max_steps=60,
        logging_steps=1,
    )
    rewards = _losses(tmp_path / "rl", "reward")
    assert sum(rewards[:3]) / 3 < 0.65
    assert sum(rewards[-5:]) / 5 > 0.9
    assert (tmp_path / "rl" / "reward.png").exists()


def even_ids(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
    return [sum(i % 2 == 0 for i in ids) / max(1, len(ids)) for ids in completion_ids]


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"use_dora": True},
        {"load_in_4bit": True},
        {"load_in_8bit": True, "gradient_checkpointing": True},
        {"neftune_noise_alpha": 5.0},
        {"gradient_checkpointing": True},
        {"bf16": True},
        {"optim": "paged_adamw_8bit"},
        {"use_peft": False, "gradient_checkpointing": True},
    ],
    ids=lambda fields: "-".join(fields),
)
def test_ways_to_train(run_stage: RunStage, tmp_path: Path, fields: dict[str, Any]) -> None:
    record = run_stage("sft", max_steps=8, logging_steps=1, validation_file=None, **fields)
    losses = _losses(tmp_path / "sft")
    assert record["steps"] == 8
    assert all(map(torch.isfinite, map(torch.tensor, losses)))
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_early_stopping(run_stage: RunStage) -> None:
    record = run_stage(
        "sft",
        max_steps=60,
        eval_steps=2,
        save_steps=2,
        learning_rate=0.0,
        early_stopping_patience=3,
    )
    assert record["steps"] <= 10


@pytest.mark.slow
def test_same_seed_same_weights_and_done_is_done(
    run_stage: RunStage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields: dict[str, Any] = {"max_steps": 6, "lora_dropout": 0.1, "seed": 7}
    run_stage("sft", output_dir=str(tmp_path / "a"), **fields)
    run_stage("sft", output_dir=str(tmp_path / "b"), **fields)
    weights = [load_file(tmp_path / x / "final" / "adapter_model.safetensors") for x in "ab"]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    stamp = (tmp_path / "a" / "final" / "adapter_model.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    run_stage("sft", output_dir=str(tmp_path / "a"), **fields)
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "a" / "final" / "adapter_model.safetensors").stat().st_mtime_ns == stamp


def test_another_recipe_does_not_go_on(run_stage: RunStage, tmp_path: Path) -> None:
    from medbot_training.stages.runner import StageError

    run_stage("sft", max_steps=2)
    with pytest.raises(StageError, match="another recipe or other data"):
        run_stage("sft", max_steps=3)
    record = run_stage("sft", max_steps=3, overwrite_output_dir=True)
    assert record["steps"] == 3


def test_record_with_a_task_is_asked_as_the_robot_asks(
    run_stage: RunStage, tiny: Path, tmp_path: Path
) -> None:
    import datasets
    from transformers import AutoTokenizer

    run_stage("sft", max_steps=1, packing=False)
    (place,) = (tmp_path / "sft" / "cache").glob("train-*.arrow")
    texts = [
        AutoTokenizer.from_pretrained(tiny).decode(row["input_ids"])
        for row in datasets.Dataset.from_file(str(place))
    ]
    (text,) = [text for text in texts if "脈優錠" in text.split("<|im_start|>user")[0]]
    # The label says QD PC; the robot's prompt says it in words.
    assert "QD" not in text and "每天一次" in text.split("<|im_start|>user")[0]


def test_out_of_memory_and_full_disk_in_one_line(
    run_stage: RunStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medbot_training.stages import runner

    def failing(error: Exception) -> Any:
        def trainer_of(recipe: Any) -> Any:
            def train(run: Any) -> Any:
                (tmp_path / "sft" / "checkpoint-3").mkdir()
                raise error

            return train

        return trainer_of

    monkeypatch.setattr(runner, "_trainer_of", failing(RuntimeError("CUDA out of memory. Tried")))
    with pytest.raises(runner.StageError) as told:
        run_stage("sft")
    assert str(told.value).count("(saves ") == 3
    assert "per_device_train_batch_size 1 with gradient_accumulation_steps 4" in str(told.value)
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(runner, "_trainer_of", failing(full))
    with pytest.raises(runner.StageError, match=r"the disk of .* is full"):
        run_stage("sft")
    assert not (tmp_path / "sft" / "checkpoint-3").exists()
    assert not (tmp_path / "sft" / "final").exists()


@pytest.mark.slow
def test_gguf_of_the_catalog_as_base(tmp_path: Path) -> None:
    from medbot_llm.models.store import ModelState
    from medbot_llm.models.store import ModelStore
    from medbot_training.recipes import load_recipe
    from medbot_training.stages.runner import run_stage as run

    name = "qwen2.5-coder-0.5b-instruct-q4_k_m"
    if ModelStore().state(name) is not ModelState.READY:
        pytest.skip(f"medbot models pull {name}")
    options = {
        "model_name_or_path": name,
        "output_dir": str(tmp_path / "out"),
        "max_steps": 1,
        "logging_steps": 1,
        "max_train_samples": 2,
        "per_device_train_batch_size": 1,
        "packing": False,
        "validation_file": None,
    }
    run(load_recipe("sft", RECIPES / "smoke.yaml", options))
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["base"]["gguf_sha256"] and record["template"]["end_of_turn"] == "<|im_end|>"
    # An untrained model would be at ln 151936 = 11.9.
    assert record["result"]["loss"] < 6
    weights = load_file(tmp_path / "out" / "final" / "adapter_model.safetensors")
    assert any(bool(tensor.any()) for key, tensor in weights.items() if "lora_B" in key)
