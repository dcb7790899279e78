"""Measure training against the plainest TRL script: tokens a second and memory.

Both train the same model on the shipped conversations (training/recipes/smoke/sft.jsonl, worded as
the robot words them) with the same settings, in turn, each in a process of its own: the plain
script (bench_train_plain.py), `medbot-train sft`, and `medbot-train sft` with packing. A token
counts when it is no padding. Time is the trainer's own, from its first step to its last; data are
read and tokenized before. A step sees as many conversations in all three, which fill fewer rows
where they are packed.

Exit status 1: a bar is missed. Models: `random`, a Qwen2 of 22 million random weights, all of them
trained; or an id of `medbot models list` (or a .gguf file), trained by LoRA.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "training" / "recipes" / "smoke" / "sft.jsonl"
PLAIN = Path(__file__).with_name("bench_train_plain.py")

RANDOM = "random"
_SHAPE = {
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 7,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
}
"""22 million weights: large enough that the arithmetic is what takes the time."""

BARS = {"ours": 1.0, "ours, packed": 1.5}
"""Tokens a second, as a share of the plain script's, at least."""
MEMORY_BAR = 1.0
"""Peak memory likewise, at most; measured to three per cent, by which two equal runs differ."""
MEMORY_NOISE = 0.03
SAME_TOKENS = 1.02
"""Whether the line's end after an answer is a token of it is a matter of taste; no more is."""


@dataclass(frozen=True)
class Figures:
    """What one run gave.

    Attributes:
        tokens: Tokens trained on, without padding.
        seconds: From the first step to the last.
        peak_bytes: Most memory of the process (resident set).
        loss: Mean over all steps.
    """

    tokens: int
    seconds: float
    peak_bytes: int
    loss: float

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


def main() -> int:
    """Run it, and give the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=RANDOM, help="random (default), an id or a .gguf file")
    parser.add_argument("--epochs", type=int, default=6, help="passes over the data (default: 6)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: 3)")
    parser.add_argument("--batch", type=int, default=4, help="conversations a step (default: 4)")
    parser.add_argument("--max-length", type=int, default=1024, help="tokens (default: 1024)")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="of PyTorch (default: all cores)"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medbot-bench-") as folder:
        bench = _Bench(args, Path(folder))
        found: dict[str, list[Figures]] = {"plain TRL": [], "ours": [], "ours, packed": []}
        for number in range(args.rounds):
            # Each order once, so that what changes over the minutes hits all alike.
            for name in list(found)[:: -1 if number % 2 else 1]:
                found[name].append(bench.run(name))
                _tell(f"round {number + 1}, {name}", found[name][-1])
    return _judge(found)


class _Bench:
    """Runs one way to train at a time."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self._args = args
        self._folder = folder
        self._count = 0
        self._data = _worded_data(folder)
        self._conversations = len(self._data.read_text(encoding="utf-8").splitlines())
        self._mean_tokens = 0.0
        self._model = (
            _random_model(folder, self._data) if args.model == RANDOM else _gguf(args.model)
        )
        self._lora = (
            None
            if args.model == RANDOM
            else {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": "all-linear"}
        )
        self._settings: dict[str, Any] = {
            "num_train_epochs": args.epochs,
            "per_device_train_batch_size": args.batch,
            "max_length": args.max_length,
            "learning_rate": 2e-4,
            "lr_scheduler_type": "constant",
            "gradient_checkpointing": False,
            # The count of tokens stands in the lines of the log: the last step needs one.
            "logging_steps": 1,
            "save_strategy": "no",
            "dataloader_pin_memory": False,
            "disable_tqdm": True,
            "seed": 42,
        }

    def run(self, name: str) -> Figures:
        """Train once."""
        self._count += 1
        output = self._folder / f"run-{self._count}"
        if name == "plain TRL":
            figures = self._plain(output)
            # It comes first, and tells how long a conversation is.
            self._mean_tokens = figures.tokens / (self._conversations * self._args.epochs)
            return figures
        return self._ours(output, packing=name != "ours")

    def _plain(self, output: Path) -> Figures:
        settings = {**self._settings, "output_dir": str(output)}
        words = [str(PLAIN), str(self._model), str(self._data), json.dumps(settings)]
        if self._lora:
            words += ["--lora", json.dumps(self._lora)]
        text, peak_bytes = self._call(words)
        return _figures(json.loads(text.strip().splitlines()[-1]), peak_bytes)

    def _ours(self, output: Path, packing: bool) -> Figures:
        recipe = self._folder / "recipe.json"
        # JSON is YAML too.
        fields = {
            "model_name_or_path": str(self._model),
            "train_file": str(self._data),
            "device": "cpu",
            "use_peft": self._lora is not None,
            **(self._lora or {}),
            **self._settings,
            "packing": packing,
        }
        if packing:
            rows = self._args.batch * self._mean_tokens / self._args.max_length
            fields["per_device_train_batch_size"] = max(1, round(rows))
        recipe.write_text(json.dumps(fields), encoding="utf-8")
        words = ["-m", "medbot_training.cli", "sft", "--config", str(recipe)]
        _, peak_bytes = self._call([*words, "--output_dir", str(output)])
        lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        log = {name: value for line in lines for name, value in json.loads(line).items()}
        return _figures(log, peak_bytes)

    def _call(self, words: Sequence[str]) -> tuple[str, int]:
        """Run Python with the words; its output and its peak memory, bytes."""
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(self._args.threads),
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": str(self._folder / "datasets"),
        }
        errors = self._folder / "errors"
        with errors.open("wb") as log, (self._folder / "output").open("w+b") as output:
            process = subprocess.Popen(
                [sys.executable, *words], stdout=output, stderr=log, env=environment, cwd=ROOT
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            text = output.read().decode()
        if process.returncode:
            sys.exit(f"{' '.join(words[:2])} failed:\n{errors.read_text()[-3000:]}")
        return text, usage.ru_maxrss * 1024


def _worded_data(folder: Path) -> Path:
    """Write the shipped conversations with the robot's own prompts, which the plain script would
    not make of a record's task.
    """
    from medbot_training.data.formats import read_records
    from medbot_training.prompting import PromptMaker

    prompts = PromptMaker()
    lines = [
        json.dumps({"messages": prompts.conversation(record)}, ensure_ascii=False)
        for record in read_records([DATA])
    ]
    place = folder / "data.jsonl"
    place.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


def _random_model(folder: Path, data: Path) -> Path:
    """Make the model of random weights, with a tokenizer learnt from the data."""
    import torch
    from transformers import AutoTokenizer
    from transformers import Qwen2Config
    from transformers import Qwen2ForCausalLM

    from medbot_training.base import make_tiny_model
    from medbot_training.stages.prepare import base_texts

    place = folder / "model"
    make_tiny_model(place, base_texts([data]))
    tokenizer = AutoTokenizer.from_pretrained(place)
    torch.manual_seed(1)
    Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=False,
            **_SHAPE,
        )
    ).save_pretrained(place)
    return place


def _gguf(name: str) -> Path:
    from medbot_llm.models.store import ModelStore

    path = Path(name)
    return path if path.suffix == ".gguf" else ModelStore().resolve(name)


def _figures(log: Mapping[str, Any], peak_bytes: int) -> Figures:
    return Figures(
        tokens=int(log["num_tokens"]),
        seconds=float(log["train_runtime"]),
        peak_bytes=peak_bytes,
        loss=float(log["train_loss"]),
    )


def _tell(name: str, found: Figures) -> None:
    print(
        f"{name:<24} {found.tokens_per_s:8.1f} tokens/s  {found.seconds:7.1f} s"
        f"  {found.peak_bytes / 2**20:7.0f} MiB  loss {found.loss:.4f}",
        flush=True,
    )


def _judge(found: Mapping[str, Sequence[Figures]]) -> int:
    """Print the ratios; 1 where a bar is missed."""
    plain = found["plain TRL"]
    tokens = sorted({figures.tokens for runs in found.values() for figures in runs})
    if tokens[-1] > SAME_TOKENS * tokens[0]:
        sys.exit(f"they have not trained on the same tokens: {tokens}")
    missed = 0
    for name, bar in BARS.items():
        # Of each round by itself: what was slow then was slow for both.
        speeds = [
            ours.tokens_per_s / other.tokens_per_s
            for ours, other in zip(found[name], plain, strict=True)
        ]
        memory = statistics.median(f.peak_bytes for f in found[name]) / statistics.median(
            f.peak_bytes for f in plain
        )
        speed = statistics.median(speeds)
        is_slow = speed < bar
        is_large = memory > MEMORY_BAR + MEMORY_NOISE
        missed += is_slow + is_large
        spread = f"{min(speeds):.2f} to {max(speeds):.2f}"
        print(
            f"{name}: {speed:.3f} times the tokens a second ({spread}; bar {bar:.1f}"
            f"{', missed' if is_slow else ''}), {memory:.3f} times the memory"
            f" (bar {MEMORY_BAR:.1f}{', missed' if is_large else ''})"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
