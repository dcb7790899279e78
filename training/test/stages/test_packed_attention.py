"""Conversations that share a row are computed one by one, with the numbers of a masked row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Gemma3TextConfig
from transformers import MambaConfig
from transformers import MambaForCausalLM
from transformers import Qwen2Config
from transformers import Qwen2ForCausalLM
from transformers.models.gemma3 import Gemma3ForCausalLM

from medbot_training.stages import packed_attention
from medbot_training.stages.packed_attention import NAME
from medbot_training.stages.packed_attention import supports_packed_attention
from medbot_training.stages.packed_attention import use_packed_attention

from .conftest import RunStage
from .test_many_processes import _curve

LENGTHS = (5, 1, 17, 9)
_SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def _qwen() -> Any:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(**_SIZES))


def _gemma() -> Any:
    """Looks back eight tokens in one layer: less than the longest sequence."""
    torch.manual_seed(0)
    layers = ["sliding_attention", "full_attention"]
    return Gemma3ForCausalLM(
        Gemma3TextConfig(**_SIZES, head_dim=8, sliding_window=8, layer_types=layers)
    )


def _row() -> dict[str, Any]:
    torch.manual_seed(1)
    bounds = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0).tolist()], dtype=torch.int32)
    return {
        "input_ids": torch.randint(0, 64, (1, sum(LENGTHS))),
        "position_ids": torch.cat([torch.arange(n) for n in LENGTHS])[None],
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": max(LENGTHS),
        "max_length_k": max(LENGTHS),
    }


@pytest.mark.parametrize("make", [_qwen, _gemma])
def test_same_numbers_and_gradients_as_a_masked_row_and_as_alone(make: Any) -> None:
    model, row = make(), _row()
    assert supports_packed_attention(model)
    masked = model(**row, use_cache=False).logits
    masked.square().mean().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    use_packed_attention(model)
    assert model.config._attn_implementation == NAME
    ours = model(**row, use_cache=False).logits
    ours.square().mean().backward()
    assert torch.allclose(ours, masked, atol=1e-5)
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, gradients[name], atol=1e-6), name
    for ids, logits in zip(
        row["input_ids"].split(LENGTHS, dim=1), ours.split(LENGTHS, dim=1), strict=True
    ):
        alone = model(input_ids=ids, use_cache=False).logits
        assert torch.allclose(logits, alone, atol=1e-5)


def test_rows_without_bounds_are_as_before() -> None:
    model = _qwen()
    ids = torch.randint(0, 64, (2, 9))
    filled = torch.ones_like(ids)
    filled[1, 6:] = 0
    before = model(input_ids=ids, attention_mask=filled).logits
    use_packed_attention(model)
    after = model(input_ids=ids, attention_mask=filled).logits
    assert torch.allclose(before[filled.bool()], after[filled.bool()], atol=1e-6)
    assert torch.equal(
        model.generate(ids[:1], max_new_tokens=4, do_sample=False),
        _qwen().generate(ids[:1], max_new_tokens=4, do_sample=False),
    )


def test_each_sequence_is_computed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def counted(query: Any, *args: Any, **options: Any) -> Any:
        lengths.append(query.shape[2])
        return attend(query, *args, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    model = _qwen()
    use_packed_attention(model)
    model(**_row(), use_cache=False)
    assert lengths == [*LENGTHS, *LENGTHS]


def test_models_that_carry_a_state_are_left_alone() -> None:
    assert not supports_packed_attention(
        MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1))
    )
    eager = _qwen()
    eager.set_attn_implementation("eager")
    assert not supports_packed_attention(eager)


def test_without_padding_the_losses_are_those_with(
    run_stage: RunStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []
    attend = packed_attention.attend_by_sequence

    def seen(*args: Any, **options: Any) -> Any:
        used.append("once")
        return attend(*args, **options)

    monkeypatch.setattr(packed_attention, "attend_by_sequence", seen)
    fields: dict[str, Any] = {
        "max_steps": 8,
        "logging_steps": 1,
        "eval_steps": 4,
        "packing": False,
    }
    run_stage("sft", output_dir=str(tmp_path / "with"), padding_free=False, **fields)
    assert not used
    run_stage("sft", output_dir=str(tmp_path / "without"), **fields)
    assert used
    for figure in ("loss", "eval_loss", "num_tokens"):
        curve = _curve(tmp_path / "with", figure)
        assert len(curve) >= 2
        assert _curve(tmp_path / "without", figure) == pytest.approx(curve, rel=1e-4)
