"""Runs llama.cpp's own converters, in a process of their own.

They bring their own version of the package `gguf`, newer than the one that is installed, and read
their orders from the command line; so `converter.py` starts this module as a program:

    python -m medbot_training.export.converting ORDER.json

What it changes of what they write, and why:

- *pre-tokenizer*: they know a tokenizer by a hash over its ids, so that one learnt on the spot, or
  read out of a GGUF, may be unknown to them though llama.cpp can run it. The order may name it.
- *beginning and end of the sequence are never added*: in training the chat template writes the
  special tokens, and none besides (`templates.py`); llama.cpp must do the same.
- *end of turn*: it is named as such, so that generation stops there whatever the token is called.
- *chat template*: the one that was trained with.
"""

from __future__ import annotations

import importlib
import json
import runpy
import sys
from pathlib import Path
from typing import Any

MODEL_SCRIPT = "convert_hf_to_gguf.py"
LORA_SCRIPT = "convert_lora_to_gguf.py"


def main(order_file: str) -> None:
    """Do what an order says; see `converter.convert_model` and `converter.convert_lora`."""
    order = json.loads(Path(order_file).read_text(encoding="utf-8"))
    tools = Path(order["tools"])
    sys.path[:0] = [str(tools / "gguf-py"), str(tools)]
    if order["kind"] == "model":
        _change_vocabulary(order)
    script = tools / (MODEL_SCRIPT if order["kind"] == "model" else LORA_SCRIPT)
    sys.argv = [str(script), *order["arguments"]]
    runpy.run_path(str(script), run_name="__main__")


def _change_vocabulary(order: dict[str, Any]) -> None:
    base = importlib.import_module("conversion.base")
    gguf = importlib.import_module("gguf")
    conversion = importlib.import_module("conversion")
    recognise = base.TextModel.get_vocab_base_pre

    def pre_tokenizer(self: Any, tokenizer: Any) -> str:
        if order["pre_tokenizer_is_known"]:
            return str(order["pre_tokenizer"])
        try:
            return str(recognise(self, tokenizer))
        except NotImplementedError:
            if order["pre_tokenizer"]:
                return str(order["pre_tokenizer"])
            raise

    base.TextModel.get_vocab_base_pre = pre_tokenizer
    # The class that writes this architecture, which may have a `set_vocab` of its own.
    architecture = base.get_model_architecture(
        base.ModelBase.load_hparams(Path(order["model"]), False), base.ModelType.TEXT
    )
    model_class = conversion.get_model_class(architecture)
    write_vocabulary = model_class.set_vocab

    def set_vocab(self: Any) -> None:
        write_vocabulary(self)
        kinds = gguf.GGUFValueType
        for key, value, kind in (
            (gguf.Keys.Tokenizer.ADD_BOS, False, kinds.BOOL),
            (gguf.Keys.Tokenizer.ADD_EOS, False, kinds.BOOL),
            (gguf.Keys.Tokenizer.EOT_ID, order["end_of_turn_id"], kinds.UINT32),
            (gguf.Keys.Tokenizer.CHAT_TEMPLATE, order["chat_template"], kinds.STRING),
        ):
            # Written over: add_key_value refuses a key that is there.
            self.gguf_writer.kv_data[0][key] = gguf.GGUFValue(value=value, type=kind)

    model_class.set_vocab = set_vocab


if __name__ == "__main__":
    main(sys.argv[1])
