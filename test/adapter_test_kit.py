"""Real LoRA adapters, small enough to be written by a test."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

RANK = 4


def write_adapter(
    path: Path, *, b_scale: float, n_in: int = 896, n_out: int = 896, architecture: str = "qwen2"
) -> Path:
    """Write a LoRA adapter for the query projection of the first layer."""
    random = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(RANK))
    a = random.standard_normal((RANK, n_in)).astype(np.float32)
    b = random.standard_normal((n_out, RANK)).astype(np.float32) * np.float32(b_scale)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", a)
    writer.add_tensor("blk.0.attn_q.weight.lora_b", b)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
