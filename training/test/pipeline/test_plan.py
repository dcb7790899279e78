"""What a recipe's pipeline does, and the recipes for which it is refused, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from medbot_training.pipeline.plan import Step
from medbot_training.pipeline.plan import make_plan
from medbot_training.recipes import RecipeError

RECIPES = Path(__file__).parents[2] / "recipes"


def plan_of(tmp_path: Path, text: str) -> dict[str, Step]:
    path = tmp_path / "ward.yaml"
    path.write_text("model_name_or_path: base\ntrain_file: a.jsonl\n" + text, encoding="utf-8")
    return {step.name: step for step in make_plan(path, Path("out"))}


def test_sections_decide_and_the_order_is_fixed(tmp_path: Path) -> None:
    steps = plan_of(tmp_path, "rl: {}\ndpo: {}\nsft: {}\n")
    assert list(steps) == ["sft", "dpo", "rl", "merge", "export"]
    steps = plan_of(tmp_path, "rl: {}\nsft: {}\npipeline: {stages: [merge, sft]}\n")
    assert list(steps) == ["sft", "merge"]


def test_one_adapter_goes_through_all_stages(tmp_path: Path) -> None:
    steps = plan_of(tmp_path, "pretrain: {}\nsft: {}\nreward: {}\nrl: {}\n")
    recipes = {name: step.recipe for name, step in steps.items() if step.recipe}
    adapters = {name: recipe.own["adapter_name_or_path"] for name, recipe in recipes.items()}
    assert adapters == {
        "pretrain": None,
        "sft": "out/pretrain/final",
        # It judges answers, so it begins with the base, and nothing goes on from it.
        "reward": None,
        "rl": "out/sft/final",
    }
    assert {recipe.own["model_name_or_path"] for recipe in recipes.values()} == {"base"}
    assert str(steps["merge"].before) == "out/rl/final"
    words = " ".join(steps["export"].words())
    assert words == "export --model out/merged --output_dir out/exported --name ward"


def test_all_weights_are_handed_on_as_base(tmp_path: Path) -> None:
    steps = plan_of(tmp_path, "pretrain: {use_peft: false}\nsft: {}\ndpo: {}\n")
    sft, dpo = steps["sft"].recipe, steps["dpo"].recipe
    assert sft is not None and dpo is not None
    assert sft.own["model_name_or_path"] == "out/pretrain/final"
    assert sft.own["adapter_name_or_path"] is None
    assert dpo.own["adapter_name_or_path"] == "out/sft/final"


def test_a_later_stage_stays_on_the_base_of_its_adapter(tmp_path: Path) -> None:
    """All weights were trained first: from then on that model is the base, for every stage."""
    steps = plan_of(tmp_path, "pretrain: {use_peft: false}\nsft: {}\ndpo: {}\nrl: {}\n")
    for name in ("sft", "dpo", "rl"):
        recipe = steps[name].recipe
        assert recipe is not None
        assert recipe.own["model_name_or_path"] == "out/pretrain/final", name


def test_rewards_of_the_pipelines_own_model(tmp_path: Path) -> None:
    steps = plan_of(tmp_path, "sft: {}\nreward: {}\nrl: {reward_funcs: [reward, rules]}\n")
    recipe = steps["rl"].recipe
    assert recipe is not None
    assert recipe.own["reward_funcs"] == ["out/reward/final", "rules"]
    assert "out/reward/final" in steps["rl"].words()


def test_an_adapter_is_exported_without_merging(tmp_path: Path) -> None:
    steps = plan_of(tmp_path, "sft: {}\nexport: {kind: lora, name: ward-v2}\n")
    assert list(steps) == ["sft", "export"]
    assert steps["export"].words() == (
        [
            "export",
            "--adapter",
            "out/sft/final",
            "--output_dir",
            "out/exported",
            "--name",
            "ward-v2",
        ]
    )


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_have_a_plan(recipe: Path) -> None:
    steps = make_plan(recipe, Path("out"))
    assert [step.name for step in steps][-2:] == ["merge", "export"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no section for a stage"),
        ("sft: {lerning_rate: 1}", "did you mean learning_rate?"),
        ("sft: {}\ndpo: {beta: much}", "dpo: beta must be a number"),
        ("sft: {}\nexport: {quantise: q8_0}", "did you mean quantize?"),
        ("sft: {}\nexport: {quantize: [q9_9]}", "not 'q9_9'"),
        ("sft: {}\nexport: {kind: lora, quantize: q8_0}", "an adapter is not quantized"),
        ("sft: {use_peft: false}\nexport: {kind: lora}", "trains all weights"),
        ("sft: {}\nmerge: {dtype: int4}", "must be one of float16"),
        ("sft: {}\nmerge: [1]", "merge must be a table"),
        ("sft: {}\npipeline: {stages: [sft, bake]}", "not 'bake'"),
        ("sft: {}\npipeline: {stages: []}", "stages is empty"),
        ("sft: {}\npipeline: {stages: [sft, export]}", "export needs merge before it"),
        ("reward: {}\npipeline: {stages: [reward, merge]}", "trains no language model"),
        ("sft: {}\ndpo: {use_peft: false}", "use_peft must be true for dpo"),
        ("sft: {}\nrl: {reward_funcs: [reward]}", "has no such stage"),
    ],
)
def test_what_does_not_go_together_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(RecipeError) as refused:
        plan_of(tmp_path, text)
    assert words in str(refused.value) and "\n" not in str(refused.value)
    assert "ward.yaml" in str(refused.value)
