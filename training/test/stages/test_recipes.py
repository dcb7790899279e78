"""Recipes: the libraries' own fields, typed, and one clear line for what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medbot_training import recipe_fields
from medbot_training.cli import main
from medbot_training.recipes import STAGES
from medbot_training.recipes import RecipeError
from medbot_training.recipes import load_recipe

from .conftest import RECIPES
from .conftest import SMOKE


def _recipe(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_field_table_is_that_of_the_installed_libraries() -> None:
    kept = json.loads(recipe_fields.FILE.read_text(encoding="utf-8"))
    # Types and names decide; words of help may differ.
    for group, fields in recipe_fields.collect().items():
        assert set(fields) == set(kept[group]), "run python -m medbot_training.recipe_fields"
        for name, entry in fields.items():
            assert entry["kinds"] == kept[group][name]["kinds"], (group, name)


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("stage", STAGES)
def test_shipped_recipes_are_right(recipe: Path, stage: str) -> None:
    load_recipe(stage, recipe)


def test_section_before_top_before_default_and_options_before_all(tmp_path: Path) -> None:
    path = _recipe(tmp_path, "learning_rate: 2e-4\nr: 8\nsft:\n  learning_rate: 1e-5\n")
    assert load_recipe("sft", path).trainer["learning_rate"] == 1e-5
    assert load_recipe("dpo", path).trainer["learning_rate"] == 2e-4
    recipe = load_recipe("sft", path, {"learning_rate": "3e-6", "lora_rank": "64"})
    assert recipe.trainer["learning_rate"] == 3e-6
    assert recipe.lora["r"] == 64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lerning_rate: 1", "did you mean learning_rate?"),
        ("sft: {lora_alfa: 1}", "did you mean lora_alpha?"),
        ("learning_rate: fast", "must be a number"),
        ("r: 1.5", "must be a whole number"),
        ("load_in_4bit: 4", "must be true or false"),
        ("packing_strategy: dense", "must be one of bfd, bfd_split, wrapped"),
        ("lr_scheduler_type: fast", "must be one of linear"),
        ("bf16: true\nfp16: true", "exclude each other"),
        ("load_in_4bit: true\nload_in_8bit: true", "exclude each other"),
        ("load_in_4bit: true\nuse_peft: false", "use_peft must be true"),
        ("early_stopping_patience: 2", "needs a validation_file"),
        ("sft: [1]", "must be a table"),
        ("[1, 2]", "must be a table"),
        ("a: [", "is no YAML"),
    ],
)
def test_wrong_recipes_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load_recipe("sft", _recipe(tmp_path, text))
    assert words in str(refused.value)
    assert (
        "recipe.yaml" in str(refused.value)
        or "exclude" in words
        or "needs" in words
        or ("use_peft" in words)
    )


def test_fields_of_another_stage(tmp_path: Path) -> None:
    path = _recipe(tmp_path, "beta: 0.2\nrl: {algorithm: ppo, num_generations: 4, kl_coef: 0.1}\n")
    assert "beta" not in load_recipe("sft", path).given
    assert load_recipe("dpo", path).trainer["beta"] == 0.2
    assert load_recipe("rl", path).kind == "ppo"
    with pytest.raises(RecipeError, match="another stage has it"):
        load_recipe("sft", path, {"beta": "1"})


def test_kinds() -> None:
    for options, kind in (
        ({"loss_type": "ipo"}, "dpo"),
        ({"loss_type": "kto"}, "kto"),
        ({"loss_type": ["sigmoid", "sft"]}, "dpo"),
    ):
        assert load_recipe("dpo", None, options).kind == kind
    for algorithm in ("grpo", "rloo", "ppo"):
        assert load_recipe("rl", None, {"algorithm": algorithm}).kind == algorithm
    with pytest.raises(RecipeError, match="must be one of grpo, rloo, ppo"):
        load_recipe("rl", None, {"algorithm": "dqn"})


def test_a_slip_is_told_without_loading_anything() -> None:
    script = (
        "import sys\nfrom medbot_training.cli import main\n"
        f"try:\n    main(['sft', '--config', {str(SMOKE)!r}, '--max_step', '1'])\n"
        "except SystemExit as end:\n"
        "    print(end.code, 'torch' in sys.modules, 'transformers' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["2", "False", "False"]
    assert done.stderr.count("\n") == 1
    assert "did you mean --max_steps?" in done.stderr


def _said(capsys: Any, *words: str) -> str:
    try:
        status = main(list(words))
    except SystemExit as end:
        status = int(end.code or 0)
    said = capsys.readouterr()
    assert status == 2, said.err
    lines = [line for line in said.err.splitlines() if not line.startswith("sft: ")]
    assert len(lines) == 1, said.err
    return lines[0]


def test_bad_starts_in_one_line_and_nothing_left(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    start = ["sft", "--config", str(SMOKE), "--output_dir", str(out)]
    base = ["--model_name_or_path", str(tiny)]
    assert "can't be read" in _said(capsys, "sft", "--config", str(tmp_path / "none.yaml"))
    assert "there is no none.jsonl" in _said(capsys, *start, *base, "--train_file", "none.jsonl")
    assert "is missing" in _said(capsys, "sft", "--output_dir", str(out))
    assert "no folder" in _said(capsys, *start, "--model_name_or_path", "./none")
    assert "no file" in _said(capsys, *start, "--model_name_or_path", "none.gguf")
    assert "no adapter" in _said(capsys, *start, *base, "--adapter_name_or_path", str(tiny))
    assert not (out / "final").exists()
    wrong = tmp_path / "pairs.jsonl"
    wrong.write_bytes((RECIPES / "smoke" / "dpo.jsonl").read_bytes())
    assert "learns from conversations" in _said(
        capsys, *start, *base, "--train_file", str(wrong), "--overwrite_output_dir"
    )
    too_long = _said(capsys, *start, *base, "--max_length", "5", "--overwrite_output_dir")
    assert "longer than max_length 5" in too_long
    assert [p.name for p in out.iterdir() if p.name not in ("run.json", "cache", ".lock")] == []


def test_gpu_recipe_without_gpu(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    recipe = str(RECIPES / "llama-3.1-8b.yaml")
    out = tmp_path / "out"
    data = str(RECIPES / "smoke" / "sft.jsonl")
    said = _said(capsys, "sft", "--config", recipe, "--output_dir", str(out), "--train_file", data)
    assert "is for a GPU" in said and "cpu-0.5b" in said
    assert not out.exists()
