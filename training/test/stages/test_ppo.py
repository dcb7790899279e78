"""PPO: its parts against values worked out by hand, the whole against a known best policy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from medbot_training import ppo

from .conftest import RunStage


def test_advantages_by_hand() -> None:
    rewards = torch.tensor([[0.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    values = torch.tensor([[0.1, 0.2, 0.3], [0.5, 1.0, 9.0]])
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    gain, returns = ppo.advantages(rewards, values, mask, gamma=0.9, lam=0.5)
    # Backwards: d3 = 1 - .3; d2 = .9·.3 - .2; d1 = .9·.2 - .1; A = d + .45·A'.
    third = 0.7
    second = 0.07 + 0.45 * third
    first = 0.08 + 0.45 * second
    assert gain[0].tolist() == pytest.approx([first, second, third])
    # The padding after the second answer is worth nothing, whatever its value says.
    last = 2.0 - 1.0
    assert gain[1].tolist() == pytest.approx([0.9 * 1.0 - 0.5 + 0.45 * last, last, 0.0])
    assert returns[0].tolist() == pytest.approx([first + 0.1, second + 0.2, third + 0.3])


def test_clipped_objective() -> None:
    mask = torch.ones(1, 4)
    advantage = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    ratios = torch.tensor([[1.5, 0.5, 1.5, 0.5]])
    old = torch.zeros(1, 4)
    loss = ppo.policy_loss(torch.log(ratios), old, advantage, mask, 0.2)
    # Good ones count up to 1.2 only, bad ones no less than 0.8.
    assert float(loss) == pytest.approx(-(1.2 + 0.5 - 1.5 - 0.8) / 4)
    logps = torch.log(torch.tensor([[1.5]])).requires_grad_()
    ppo.policy_loss(logps, torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1, 1), 0.2).backward()
    assert float(logps.grad.abs().sum()) == 0.0  # type: ignore[union-attr]


def test_value_loss_is_clipped() -> None:
    one = torch.ones(1, 1)
    assert float(ppo.value_loss(one * 1.0, one * 0.0, one * 1.0, one, 0.2)) == pytest.approx(
        0.5 * 0.8**2
    )


def even_id_reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [float(ids[0] % 2 == 0) for ids in completion_ids]


@pytest.mark.slow
def test_reaches_the_known_best_policy(run_stage: RunStage, tiny: Path, tmp_path: Path) -> None:
    """With one token, reward r and weight β of the distance, the best policy is known:
    π(a) ∝ π₀(a)·exp(r(a)/β). Learning must come near it, and not go beyond."""
    weight = 0.5
    record = run_stage(
        "rl",
        algorithm="ppo",
        reward_funcs=f"{__name__}:even_id_reward",
        use_peft=False,
        max_completion_length=1,
        kl_coef=weight,
        learning_rate=1e-3,
        per_device_train_batch_size=64,
        mini_batch_size=16,
        max_steps=120,
        target_kl=None,
    )
    before = _mean_share(tiny, tmp_path)
    best = before * math.exp(1 / weight) / (before * math.exp(1 / weight) + 1 - before)
    after = _mean_share(tmp_path / "rl" / "final", tmp_path)
    assert before < 0.65 < best
    assert after == pytest.approx(best, abs=0.06)
    assert record["kind"] == "ppo"


def _mean_share(folder: Path, tmp_path: Path) -> float:
    """Probability of a token of even id as first of the answer, over the smoke prompts."""
    import datasets
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    (place,) = (tmp_path / "rl" / "cache").glob("train-*.arrow")
    shares = []
    for row in datasets.Dataset.from_file(str(place)):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row["prompt_ids"]])).logits[0, -1]
        shares.append(float(torch.softmax(logits.float(), -1)[0::2].sum()))
    return sum(shares) / len(shares)


def test_from_an_adapter_it_starts_as_that(run_stage: RunStage, tmp_path: Path) -> None:
    run_stage("sft", max_steps=4)
    record = run_stage(
        "rl",
        algorithm="ppo",
        adapter_name_or_path=tmp_path / "sft" / "final",
        reward_funcs="medbot_training.testing:even_reward",
        max_completion_length=6,
        per_device_train_batch_size=4,
        mini_batch_size=2,
        max_steps=2,
        learning_rate=0.0,
    )
    # Nothing was learnt, so policy and frozen copy agree.
    assert record["result"]["kl"] == pytest.approx(0.0, abs=1e-5)
    assert not (tmp_path / "rl" / "final" / "ref").exists()
    assert (tmp_path / "rl" / "final" / "adapter_model.safetensors").exists()
