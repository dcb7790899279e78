"""The plainest supervised fine-tuning with TRL, which `bench_train.py` compares ours with.

It is what TRL's documentation shows: a data set, a SFTTrainer, the loss on the assistant's words.
The last line that it prints is the trainer's last log, as JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM
from transformers import AutoTokenizer
from transformers import GgufConfig
from trl import SFTConfig
from trl import SFTTrainer


def main() -> None:
    """Train as the settings say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a folder, or a .gguf file")
    parser.add_argument("data", help="conversations, JSON Lines")
    parser.add_argument("settings", type=json.loads, help="fields of SFTConfig, JSON")
    parser.add_argument("--lora", type=json.loads, help="fields of LoraConfig, JSON")
    args = parser.parse_args()
    options = {}
    folder = args.model
    if args.model.suffix == ".gguf":
        folder = args.model.parent
        options["gguf_file"] = args.model.name
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    if options:
        options["quantization_config"] = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", **options)
    if options:
        # Plain weights by now; the trainer refuses a model that says it is quantised.
        model.is_quantized = False
        model.hf_quantizer = None
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            assistant_only_loss=True, use_cpu=True, report_to="none", bf16=False, **args.settings
        ),
        processing_class=tokenizer,
        train_dataset=load_dataset("json", data_files=args.data, split="train"),
        peft_config=LoraConfig(task_type="CAUSAL_LM", **args.lora) if args.lora else None,
    )
    trainer.train()
    log = {name: value for line in trainer.state.log_history for name, value in line.items()}
    print(json.dumps(log))


if __name__ == "__main__":
    main()
