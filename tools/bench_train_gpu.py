"""Measure the 8B recipe's memory on a GPU: QLoRA of a Llama of 8 billion random weights.

Trains a few steps by `training/recipes/llama-3.1-8b.yaml` on the shipped conversations, packed
into rows of the recipe's max_length. Exit status 1: it takes 12 GB or more. It needs an NVIDIA
GPU, 20 GB of disk for the weights, and the CUDA build of PyTorch in .venv-training:

    .venv-training/bin/python tools/bench_train_gpu.py
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoTokenizer
from transformers import LlamaConfig
from transformers import LlamaForCausalLM

from medbot_training.base import make_tiny_model
from medbot_training.recipes import load_recipe
from medbot_training.stages.prepare import base_texts
from medbot_training.stages.runner import quiet_libraries
from medbot_training.stages.runner import run_stage

RECIPES = Path(__file__).resolve().parents[1] / "training" / "recipes"
DATA = RECIPES / "smoke" / "sft.jsonl"
RECIPE = RECIPES / "llama-3.1-8b.yaml"
BAR_BYTES = 12e9

# As published for Llama 3.1 8B.
_SHAPE = {
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
}


def make_model(folder: Path) -> None:
    """Write a Llama of random weights in bfloat16, with a tokenizer learnt from the data."""
    make_tiny_model(folder, base_texts([DATA]))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    config = LlamaConfig(
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
        dtype="bfloat16",
        **_SHAPE,
    )
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)


def main() -> int:
    """Measure, and give the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=10, help="updates (default: 10)")
    parser.add_argument("--folder", type=Path, help="where the weights go (default: temporary)")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("PyTorch finds no GPU here")
    quiet_libraries()
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="medbot-bench-") as name:
        folder = Path(name)
        make_model(folder / "model")
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        options = {
            "model_name_or_path": str(folder / "model"),
            "train_file": str(DATA),
            "validation_file": None,
            "output_dir": str(folder / "output"),
            "device": "cuda",
            "packing": True,
            "max_steps": args.steps,
            "logging_steps": 1,
            "save_strategy": "no",
        }
        run_stage(load_recipe("sft", RECIPE, options))
        lines = (folder / "output" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    log = {key: value for line in lines for key, value in json.loads(line).items()}
    used, held = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    print(
        f"{torch.cuda.get_device_name()}: {used / 1e9:.2f} GB used at most, {held / 1e9:.2f} GB"
        f" held (bar {BAR_BYTES / 1e9:.0f} GB), {log['num_tokens'] / log['train_runtime']:.0f}"
        " tokens/s"
    )
    return 1 if held >= BAR_BYTES else 0


if __name__ == "__main__":
    sys.exit(main())
