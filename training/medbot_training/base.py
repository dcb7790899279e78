"""The model that a stage trains: found, loaded, with its tokenizer, adapter and quantisation.

A base is any causal language model of transformers (a folder or a name on the hub), a GGUF file
(also by its id in the catalog of `medbot models`), or a tiny one that is made on the spot, with
a real tokenizer learnt from the training data, to try a recipe in minutes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbot_llm.domain import MedbotError
from medbot_training.recipes import TINY_MODEL
from medbot_training.recipes import Recipe
from medbot_training.templates import CHATML
from medbot_training.templates import TemplateFacts
from medbot_training.templates import check_template
from medbot_training.templates import set_template

ADAPTER_CONFIG = "adapter_config.json"

TINY_VOCABULARY = 1024
TINY_SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
# As Qwen2 splits words before its BPE; llama.cpp knows it as "qwen2".
QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


class BaseModelError(MedbotError):
    """The base or the adapter can't be trained; one line that says why and what to do."""


@dataclass(frozen=True)
class BasePlace:
    """Where a base lies.

    Attributes:
        name: What the recipe calls it.
        source: What transformers is to open: a folder or a name on the hub.
        gguf_file: Name of the GGUF file in that folder, "" for another kind of base.
        revision: Version on the hub, "" for none in particular.
    """

    name: str
    source: str
    gguf_file: str = ""
    revision: str = ""

    @property
    def is_local(self) -> bool:
        return Path(self.source).exists()

    def record(self) -> dict[str, Any]:
        """What run.json says about it: enough to find the same weights again."""
        found: dict[str, Any] = {"name": self.name, "source": self.source}
        if self.revision:
            found["revision"] = self.revision
        if self.gguf_file:
            found["gguf_sha256"] = file_sha256(Path(self.source) / self.gguf_file)
            return found
        if self.is_local:
            folder = Path(self.source)
            weights = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
            digest = hashlib.sha256()
            for path in [folder / "config.json", *weights]:
                if path.exists():
                    digest.update(f"{path.name}:{file_sha256(path)}\n".encode())
            found["sha256"] = digest.hexdigest()
        return found


def find_base(recipe: Recipe, texts: Iterable[str] | None = None) -> BasePlace:
    """Find the base of a recipe.

    Args:
        recipe: The recipe.
        texts: What a tiny model's tokenizer is learnt from, read only if one has to be made.

    Raises:
        BaseModelError: It is not there.
    """
    name = str(recipe.own["model_name_or_path"] or "").strip()
    if not name and recipe.own["adapter_name_or_path"]:
        name = str(adapter_config(recipe.own["adapter_name_or_path"])["base_model_name_or_path"])
    if not name:
        raise BaseModelError(
            "model_name_or_path is missing: name the base to train, or tiny-random to try"
        )
    if name == TINY_MODEL:
        folder = recipe.output_dir.parent / TINY_MODEL
        if not (folder / "config.json").exists():
            make_tiny_model(folder, texts or (), seed=int(recipe.trainer.get("seed", 42)))
        return BasePlace(name, str(folder))
    path = Path(name).expanduser()
    if path.suffix == ".gguf" or path.is_file():
        if not path.is_file():
            raise BaseModelError(f"model_name_or_path: there is no file {path}")
        return BasePlace(name, str(path.parent), path.name)
    if path.is_dir():
        return _in_folder(name, path)
    from medbot_llm.models.store import ModelStore

    store = ModelStore()
    if name in store.catalog:
        found = store.path(name)
        if found.is_dir():
            return _in_folder(name, found)
        if found.suffix != ".gguf":
            raise BaseModelError(f"model '{name}' is no language model: {found.name}")
        return BasePlace(name, str(found.parent), found.name)
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise BaseModelError(
            f"model_name_or_path: there is no folder {path}, and 'medbot models list' has no"
            " such id"
        )
    return BasePlace(name, name, revision=str(recipe.own["model_revision"] or ""))


def _in_folder(name: str, folder: Path) -> BasePlace:
    if (folder / ADAPTER_CONFIG).exists():
        raise BaseModelError(
            f"{folder} is an adapter, no base: name it as adapter_name_or_path, and its base as"
            " model_name_or_path"
        )
    if (folder / "config.json").exists():
        return BasePlace(name, str(folder))
    ggufs = sorted(folder.glob("*.gguf"))
    if len(ggufs) == 1:
        return BasePlace(name, str(folder), ggufs[0].name)
    raise BaseModelError(f"{folder} is no model: it has no config.json and not one .gguf file")


def adapter_config(place: str) -> dict[str, Any]:
    """Read the settings of an adapter. Raises BaseModelError where there is none."""
    folder = Path(place).expanduser()
    try:
        config: dict[str, Any] = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        inside = folder / "final"
        hint = f"; did you mean {inside}?" if (inside / ADAPTER_CONFIG).exists() else ""
        raise BaseModelError(
            f"adapter_name_or_path: there is no adapter in {folder}{hint}"
        ) from None
    except (OSError, ValueError) as error:
        raise BaseModelError(f"adapter {folder} can't be read: {error}") from None
    if not (folder / "adapter_model.safetensors").exists():
        raise BaseModelError(
            f"adapter {folder} is not whole: adapter_model.safetensors is missing"
        )
    return config


def load_tokenizer(recipe: Recipe, place: BasePlace) -> tuple[Any, TemplateFacts | None]:
    """Load the tokenizer, with the recipe's chat template, and what was found out about that.

    The facts are None for pre-training, which needs no template. Raises BaseModelError or
    TemplateError.
    """
    from transformers import AutoTokenizer

    options: dict[str, Any] = {"trust_remote_code": recipe.own["trust_remote_code"]}
    if place.gguf_file:
        options["gguf_file"] = place.gguf_file
    if place.revision:
        options["revision"] = place.revision
    tokenizer = _called(place, AutoTokenizer.from_pretrained, place.source, **options)
    set_template(tokenizer, recipe.own["chat_template"])
    if tokenizer.pad_token is None:
        tokenizer.pad_token = _padding_token(tokenizer)
    if recipe.stage == "pretrain":
        return tokenizer, None
    return tokenizer, check_template(tokenizer)


def _padding_token(tokenizer: Any) -> str:
    """A token to pad with that is not the one an answer ends with, if there is one: padding is
    never learnt, so an end of turn that pads would not be either."""
    known = tokenizer.get_vocab()
    for token in ("<|endoftext|>", "<|finetune_right_pad_id|>", "<pad>", "<unk>"):
        if token in known and token != tokenizer.eos_token:
            return token
    if not tokenizer.eos_token:
        raise BaseModelError("the base's tokenizer has neither a padding nor an end token")
    return str(tokenizer.eos_token)


def load_model(
    recipe: Recipe, place: BasePlace, tokenizer: Any, facts: TemplateFacts | None
) -> Any:
    """Load the base as the recipe wants it, with its adapter if it goes on from one.

    Raises BaseModelError.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers import AutoModelForSequenceClassification
    from transformers import BitsAndBytesConfig

    has_gpu = torch.cuda.is_available() and recipe.own["device"] != "cpu"
    options: dict[str, Any] = {
        "trust_remote_code": recipe.own["trust_remote_code"],
        "dtype": _dtype(recipe, has_gpu),
    }
    if recipe.own["attn_implementation"]:
        options["attn_implementation"] = recipe.own["attn_implementation"]
    if place.revision:
        options["revision"] = place.revision
    if place.gguf_file:
        from transformers import GgufConfig

        if recipe.is_quantized:
            raise BaseModelError(
                "a GGUF as base is unpacked for training and can't be packed into 4 or 8 bits"
                " again: leave load_in_4bit and load_in_8bit out, or name the model that the GGUF"
                " was made of"
            )
        options["gguf_file"] = place.gguf_file
        options["quantization_config"] = GgufConfig(dequantize=True)
    if recipe.is_quantized:
        settings = {"bnb_4bit_quant_type": "nf4", **recipe.quantization}
        settings.setdefault("bnb_4bit_compute_dtype", options["dtype"])
        options["quantization_config"] = BitsAndBytesConfig(**settings)
        if has_gpu:
            options["device_map"] = {"": int(os.environ.get("LOCAL_RANK", "0"))}
    if recipe.stage == "reward":
        options["num_labels"] = 1
        model = _called(
            place, AutoModelForSequenceClassification.from_pretrained, place.source, **options
        )
    else:
        model = _called(place, AutoModelForCausalLM.from_pretrained, place.source, **options)
    model.config.pad_token_id = tokenizer.pad_token_id
    if recipe.stage != "reward" and model.generation_config is not None:
        _set_stops(model, tokenizer, facts)
    if place.gguf_file:
        # The weights are plain ones now; a saved model must not ask for the GGUF again.
        for part in (model, model.config):
            if hasattr(part, "quantization_config"):
                delattr(part, "quantization_config")
        model.is_quantized = False
        model.hf_quantizer = None
    model.name_or_path = place.name
    adapter = recipe.own["adapter_name_or_path"]
    return _with_adapter(model, str(adapter), recipe) if adapter else model


def _set_stops(model: Any, tokenizer: Any, facts: TemplateFacts | None) -> None:
    """Make generation stop where an answer ends."""
    stops = model.generation_config.eos_token_id
    stops = [stops] if isinstance(stops, int) else list(stops or [])
    wanted = [facts.end_of_turn_id] if facts else []
    if tokenizer.eos_token_id is not None:
        wanted.append(tokenizer.eos_token_id)
    model.generation_config.eos_token_id = list(dict.fromkeys([*wanted, *stops]))
    model.generation_config.pad_token_id = tokenizer.pad_token_id


def _dtype(recipe: Recipe, has_gpu: bool) -> Any:
    import torch

    name = recipe.own["dtype"]
    if name is None:
        # Adapters learn well beside half-precision weights; full training needs all bits.
        half = has_gpu and recipe.own["use_peft"]
        name = ("float16" if recipe.trainer.get("fp16") else "bfloat16") if half else "float32"
    return name if name == "auto" else getattr(torch, name)


def _with_adapter(model: Any, place: str, recipe: Recipe) -> Any:
    from peft import PeftModel
    from peft import prepare_model_for_kbit_training

    config = adapter_config(place)
    task = "SEQ_CLS" if recipe.stage == "reward" else "CAUSAL_LM"
    if config.get("task_type") not in (task, None):
        raise BaseModelError(
            f"adapter {place} is for {config['task_type']}, not for {task}: an adapter from the"
            " stage 'reward' can't be trained as a language model, nor the other way round"
        )
    if recipe.is_quantized:
        model = prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=bool(recipe.trainer.get("gradient_checkpointing"))
        )
    try:
        with_adapter = PeftModel.from_pretrained(model, place, is_trainable=True)
    except (ValueError, RuntimeError, KeyError) as error:
        base = config.get("base_model_name_or_path") or "another base"
        raise BaseModelError(
            f"adapter {place} does not fit model_name_or_path {recipe.own['model_name_or_path']}:"
            f" it was trained on {base} ({_first_words(error)})"
        ) from None
    return with_adapter


def lora_config(recipe: Recipe) -> Any:
    """The LoraConfig of a recipe, None where all weights are trained or an adapter goes on."""
    from peft import LoraConfig

    if not recipe.own["use_peft"] or recipe.own["adapter_name_or_path"]:
        return None
    given = {"target_modules": "all-linear", "r": 16, "lora_alpha": 32, **recipe.lora}
    given["task_type"] = "SEQ_CLS" if recipe.stage == "reward" else "CAUSAL_LM"
    return LoraConfig(**given)


def _called(place: BasePlace, function: Any, *args: Any, **options: Any) -> Any:
    """Call a loader of transformers; its troubles in one line."""
    try:
        return function(*args, **options)
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        from medbot_training.estimate.advice import is_out_of_memory

        if is_out_of_memory(error):
            raise
        if not place.is_local:
            raise BaseModelError(
                f"model_name_or_path: {place.name} is no folder here, and was not to be had from"
                f" the Hugging Face hub ({_first_words(error)})"
            ) from None
        raise BaseModelError(f"base {place.name} can't be loaded: {_first_words(error)}") from None


def _first_words(error: BaseException) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 200 else words[:199] + "…"


def make_tiny_model(folder: Path, texts: Iterable[str], seed: int = 42) -> None:
    """Make a model of random weights, with a tokenizer learnt from texts, in a folder.

    It is of Qwen2's kind, so that all that comes after training, the GGUF and llama.cpp included,
    can be tried with it. Half-done work is not left behind.
    """
    import torch
    from tokenizers import Regex
    from tokenizers import Tokenizer
    from tokenizers import decoders
    from tokenizers import models
    from tokenizers import pre_tokenizers
    from tokenizers import trainers
    from transformers import PreTrainedTokenizerFast
    from transformers import Qwen2Config
    from transformers import Qwen2ForCausalLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=TINY_VOCABULARY - len(_SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.add_special_tokens(list(_SPECIAL))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = CHATML
    generator_state = torch.get_rng_state()
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(fast),
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=fast.eos_token_id,
            pad_token_id=fast.pad_token_id,
            **TINY_SHAPE,
        )
    )
    # As large as in a trained model: an adapter leaves them as they are, and with the small ones
    # of a fresh model no answer could ever become likely.
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=1.0)
    torch.nn.init.normal_(model.get_output_embeddings().weight, std=0.2)
    torch.set_rng_state(generator_state)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        model.save_pretrained(unfinished)
        fast.save_pretrained(unfinished)
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def file_sha256(path: Path) -> str:
    """The sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
