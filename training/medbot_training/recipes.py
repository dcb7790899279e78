"""Recipes: what a stage of training is told, checked before anything heavy is loaded.

A recipe is a YAML file whose keys are the field names of the libraries themselves: those of TRL's
settings for the stage (`learning_rate`, `max_length`, `beta` …), of `peft.LoraConfig` (`r`,
`lora_alpha` …), of `transformers.BitsAndBytesConfig` (`load_in_4bit` …), and the few of our own
that `OWN_FIELDS` lists. So what is written about those libraries holds for a recipe.

```yaml
model_name_or_path: ./Llama-3.1-8B-Instruct   # for every stage
r: 16
sft:                                          # for this stage only; comes before the above
  train_file: med_dataset.json
  learning_rate: 2e-4
dpo:
  train_file: dpo_dataset.json
  learning_rate: 5e-6
```

`--any-field value` on the command line comes before both.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import re
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import yaml

from medbot_llm.domain import MedbotError
from medbot_training.recipe_fields import FILE as FIELDS_FILE

STAGES = ("pretrain", "sft", "dpo", "reward", "rl")
REWARD_STAGE = "reward"
"""Trains a model that gives marks; in `reward_funcs` of a pipeline, that model."""
ALGORITHMS = ("grpo", "rloo", "ppo")
TINY_MODEL = "tiny-random"
"""As model_name_or_path: a model made on the spot, to try a recipe in minutes."""

OTHER_SECTIONS = ("merge", "export", "pipeline", "data", "eval", "estimate")
"""Sections of a recipe that belong to other commands."""

_GROUP_OF = {
    "pretrain": "SFTConfig",
    "sft": "SFTConfig",
    "dpo": "DPOConfig",
    "kto": "KTOConfig",
    "reward": "RewardConfig",
    "grpo": "GRPOConfig",
    "rloo": "RLOOConfig",
    "ppo": "PPO",
}

_ALIASES = {
    # Names by which other projects and trl's own ModelConfig know a field.
    "lora_r": "r",
    "lora_rank": "r",
    "lora_target_modules": "target_modules",
    "lora_modules_to_save": "modules_to_save",
    "use_bnb_nested_quant": "bnb_4bit_use_double_quant",
    "template_name": "chat_template",
    "train_file_dir": "train_file",
    "validation_file_dir": "validation_file",
    "block_size": "max_length",
    "base_model": "model_name_or_path",
}

_DTYPES = ["auto", "bfloat16", "float16", "float32"]


def _field(
    kinds: str,
    default: Any,
    text: str,
    choices: Sequence[Any] | None = None,
    low: float = -math.inf,
) -> dict[str, Any]:
    entry: dict[str, Any] = {"kinds": kinds.split(), "default": default, "help": text}
    if choices:
        entry["choices"] = list(choices)
    if low > -math.inf:
        entry["low"] = low
    return entry


OWN_FIELDS: dict[str, dict[str, Any]] = {
    "model_name_or_path": _field(
        "str null",
        None,
        "Base: a folder, a .gguf file, an id of 'medbot models list', a name on the Hugging Face"
        f" hub, or '{TINY_MODEL}'.",
    ),
    "model_revision": _field("str null", None, "Version of a model on the hub."),
    "adapter_name_or_path": _field(
        "str null", None, "Adapter to go on from, like outputs-sft/final; it is trained further."
    ),
    "chat_template": _field(
        "str null",
        None,
        "chatml, llama3, vicuna, alpaca, baichuan2 or a .jinja file; default: the model's own.",
    ),
    "dtype": _field("str null", None, "Type of the base's weights.", _DTYPES),
    "attn_implementation": _field("str null", None, "Attention: sdpa, eager, flash_attention_2 …"),
    "trust_remote_code": _field("bool", False, "Run Python code that comes with the model."),
    "use_peft": _field("bool", True, "Train an adapter (LoRA); false: all weights."),
    "train_file": _field(
        "str list null", None, "Training data: a file, a folder or a list of them, any format."
    ),
    "validation_file": _field("str list null", None, "Data to measure on, likewise."),
    "max_train_samples": _field("int null", None, "Use only the first so many records.", low=1),
    "device": _field(
        "str", "auto", "cuda: refuse to start without a GPU.", ("auto", "cpu", "cuda")
    ),
    "early_stopping_patience": _field(
        "int null", None, "Stop after so many evaluations without a better loss.", low=1
    ),
    "early_stopping_threshold": _field("float", 0.0, "What counts as better.", low=0),
    "overwrite_output_dir": _field("bool", False, "Start anew instead of going on."),
}

_RL_FIELDS: dict[str, dict[str, Any]] = {
    "algorithm": _field("str", "grpo", "How it learns from rewards.", ALGORITHMS),
    "reward_funcs": _field(
        "str list",
        ["combined"],
        "Rewards: combined, rules, a folder from the stage 'reward', or module:function; in a"
        " pipeline also 'reward', its own reward model.",
    ),
    "weights": _field(
        "dict null",
        None,
        "Weights in the combined reward, by name: rules 0.6, teacher 0.4, format, length, manners,"
        " language.",
    ),
    "length_band": _field("str", "spoken", "How long an answer is to be.", ("spoken", "written")),
    "thinking": _field("bool", False, "A <think> before the answer is wanted."),
    "teacher": _field(
        "dict str null",
        None,
        "The teacher's settings (provider, model …); 'offline' or nothing: rules alone.",
    ),
    "judgements_file": _field(
        "str null", None, "Where the teacher's judgements are kept, so that none is paid twice."
    ),
}

_PPO_FIELDS: dict[str, dict[str, Any]] = {
    "output_dir": _field("str null", None, "Where everything goes."),
    "seed": _field("int", 42, "Seed of all random numbers."),
    "learning_rate": _field("float", 1.41e-5, "Learning rate of AdamW.", low=0),
    "lr_scheduler_type": _field(
        "str", "constant", "Course of the learning rate.", ("constant", "linear", "cosine")
    ),
    "weight_decay": _field("float", 0.0, "Weight decay of AdamW.", low=0),
    "adam_epsilon": _field("float", 1e-5, "Epsilon of AdamW.", low=0),
    "max_grad_norm": _field("float", 1.0, "Gradients are clipped to this norm.", low=0),
    "max_steps": _field("int", 100, "Updates: each generates a batch and learns from it.", low=1),
    "per_device_train_batch_size": _field("int", 4, "Answers generated in an update.", low=1),
    "mini_batch_size": _field("int", 1, "Answers in one gradient step.", low=1),
    "ppo_epochs": _field("int", 4, "Passes over each batch.", low=1),
    "target_kl": _field(
        "float null", 0.1, "A batch is left early when the policy has moved this far.", low=0
    ),
    "kl_coef": _field(
        "float", 0.05, "Weight of the distance to the model that it began as.", low=0
    ),
    "cliprange": _field(
        "float", 0.2, "How far one batch may move a probability, as ratio.", low=0
    ),
    "cliprange_value": _field("float", 0.2, "How far one batch may move a value.", low=0),
    "vf_coef": _field("float", 0.1, "Weight of the value's loss.", low=0),
    "gamma": _field("float", 1.0, "Discount a token.", low=0),
    "lam": _field("float", 0.95, "Lambda of generalised advantage estimation.", low=0),
    "whiten_rewards": _field("bool", False, "Scale rewards of a batch to unit variance."),
    "missing_eos_penalty": _field(
        "float null", None, "Taken off the reward of an answer that does not end.", low=0
    ),
    "max_prompt_length": _field("int null", 1024, "Prompts with more tokens are left out.", low=1),
    "max_completion_length": _field("int", 256, "Longest answer, tokens.", low=1),
    "temperature": _field("float", 1.0, "Temperature of generation.", low=0.01),
    "top_k": _field("int", 0, "Generate from the k likeliest tokens; 0: from all.", low=0),
    "gradient_checkpointing": _field("bool", False, "Save memory, at about a fifth of the speed."),
    "bf16": _field("bool null", None, "Compute in bfloat16."),
    "logging_steps": _field("int", 1, "Updates between two lines of the log.", low=1),
    "save_steps": _field("int", 50, "Updates between two checkpoints.", low=1),
    "save_total_limit": _field("int null", 2, "Checkpoints kept.", low=1),
}


class RecipeError(MedbotError):
    """A recipe, or an option on the command line, is not as it must be."""


@dataclass(frozen=True)
class Recipe:
    """The checked settings of one stage.

    Attributes:
        stage: One of STAGES.
        source: File it came from, None for options alone.
        own: Values of OWN_FIELDS (and, for rl, of its own fields), complete with defaults.
        trainer: Fields given for the trainer's settings; the library's defaults are not in it.
        lora: Fields given for the LoraConfig.
        quantization: Fields given for the BitsAndBytesConfig.
        given: All fields given, as checked; what run.json records.
    """

    stage: str
    source: Path | None
    own: dict[str, Any]
    trainer: dict[str, Any]
    lora: dict[str, Any]
    quantization: dict[str, Any]
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The trainer that does it: pretrain, sft, dpo, kto, reward, grpo, rloo or ppo."""
        return _kind(self.stage, self.given)

    @property
    def output_dir(self) -> Path:
        """Where everything goes: outputs-STAGE by default."""
        return Path(self.trainer.get("output_dir") or f"outputs-{self.stage}")

    @property
    def is_quantized(self) -> bool:
        return bool(self.quantization.get("load_in_4bit") or self.quantization.get("load_in_8bit"))

    def files(self, name: str) -> list[Path]:
        """The data files of a field, folders unfolded. Raises RecipeError for one not there."""
        value = self.own.get(name)
        if not value:
            return []
        found: list[Path] = []
        for item in [value] if isinstance(value, str) else value:
            path = self._place(name, str(item))
            if path.is_dir():
                inside = sorted(
                    file
                    for file in path.iterdir()
                    if file.suffix in (".json", ".jsonl", ".txt", ".csv", ".parquet")
                )
                if not inside:
                    raise RecipeError(f"{name}: {path} has no .json, .jsonl or .txt file in it")
                found += inside
            else:
                found.append(path)
        return found

    def _place(self, name: str, item: str) -> Path:
        path = Path(item).expanduser()
        beside = self.source.parent / path if self.source and not path.is_absolute() else path
        for candidate in (path, beside):
            if candidate.exists():
                return candidate
        where = f" (nor is there {beside})" if beside != path else ""
        raise RecipeError(f"{name}: there is no {path}{where}")


def load_recipe(stage: str, path: Path | None, options: Mapping[str, Any] | None = None) -> Recipe:
    """Read and check the recipe of a stage.

    Args:
        stage: One of STAGES.
        path: The YAML file; None: the options alone.
        options: Fields from the command line, which come before the file's; texts are read as
            YAML values.

    Raises:
        RecipeError: The file can't be read, or a field is unknown or ill-typed; one line with the
            field and the closest name.
    """
    given: dict[str, Any] = {}
    for name, value, where in [
        *(_fields_of(stage, path) if path else ()),
        *((name, value, f"--{name}") for name, value in (options or {}).items()),
    ]:
        key = _ALIASES.get(name, name)
        given[key] = (value, where)
    kind = _kind(stage, {key: value for key, (value, _) in given.items()})
    table = fields_of(kind)
    checked: dict[str, dict[str, Any]] = {"own": {}, "trainer": {}, "lora": {}, "quantization": {}}
    for key, (value, where) in given.items():
        if key not in table:
            # A field at the top of a recipe may be meant for another of its stages, and one in a
            # stage's section for another algorithm.
            in_section = where.startswith(f"{path}, ")
            meant = stage_fields(stage) if in_section else _all_names()
            if where.startswith("--") or key not in meant:
                raise RecipeError(f"{where}: {_unknown(key, table, kind)}")
            continue
        group, entry = table[key]
        checked[group][key] = checked_value(value, entry, where)
    own = {
        key: entry["default"] for key, (group, entry) in table.items() if group == "own"
    } | checked["own"]
    flat = {key: value for group in checked.values() for key, value in group.items()}
    recipe = Recipe(
        stage,
        path,
        own,
        checked["trainer"],
        checked["lora"],
        checked["quantization"],
        {**flat, "algorithm": own["algorithm"]} if stage == "rl" else flat,
    )
    _check_together(recipe)
    _find_settings_file(recipe)
    return recipe


@functools.cache
def fields_of(kind: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """The fields that a kind of stage takes: name → (group, entry)."""
    library = _library_fields()
    table: dict[str, tuple[str, dict[str, Any]]] = {}
    for group, source in (("lora", "LoraConfig"), ("quantization", "BitsAndBytesConfig")):
        table.update((name, (group, entry)) for name, entry in library[source].items())
    if kind == "ppo":
        table.update((name, ("trainer", entry)) for name, entry in _PPO_FIELDS.items())
    else:
        for source in ("TrainingArguments", _GROUP_OF[kind]):
            table.update((name, ("trainer", entry)) for name, entry in library[source].items())
    table.update((name, ("own", entry)) for name, entry in OWN_FIELDS.items())
    if kind in ALGORITHMS:
        table.update((name, ("own", entry)) for name, entry in _RL_FIELDS.items())
    if kind == "kto":
        entry = table["loss_type"][1]
        table["loss_type"] = (
            "trainer",
            {**entry, "kinds": ["str"], "choices": ["kto", "apo_zero_unpaired"]},
        )
    return table


def stage_fields(stage: str) -> dict[str, dict[str, Any]]:
    """All fields that a stage can take, whatever its algorithm or loss; for the command line."""
    kinds = {"dpo": ("kto", "dpo"), "rl": ("ppo", "rloo", "grpo")}.get(stage, (stage,))
    return {name: entry for kind in kinds for name, (_, entry) in fields_of(kind).items()}


def aliases() -> dict[str, str]:
    """Other names of fields, as used elsewhere → the field."""
    return dict(_ALIASES)


def checked_value(value: Any, entry: Mapping[str, Any], where: str) -> Any:
    """Give the value of a field in its right type. Raises RecipeError, which names it."""
    kinds = entry["kinds"]
    found = _converted(value, kinds)
    if found is _WRONG:
        wanted = " or ".join(_KIND_WORDS[kind] for kind in kinds if kind != "null")
        raise RecipeError(f"{where} must be {wanted}, not {_shown(value)}")
    choices = entry.get("choices")
    if choices and found is not None and not isinstance(found, (list, dict)):
        match = [item for item in choices if str(item).lower() == str(found).lower()]
        if not match:
            names = ", ".join(str(item) for item in choices)
            raise RecipeError(f"{where} must be one of {names}, not {_shown(value)}")
        found = match[0]
    if isinstance(found, (int, float)) and found < entry.get("low", -math.inf):
        raise RecipeError(f"{where} must be at least {entry['low']:g}, not {_shown(value)}")
    return found


# --- inside --------------------------------------------------------------------------------------

_WRONG = object()
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_KIND_WORDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "list": "a list",
    "dict": "a table",
}


def _converted(value: Any, kinds: Sequence[str]) -> Any:
    if value is None:
        return None if "null" in kinds else _WRONG
    if isinstance(value, bool):
        return value if "bool" in kinds else _WRONG
    if isinstance(value, int):
        if "int" in kinds:
            return value
        if "float" in kinds:
            return float(value)
        return [value] if "list" in kinds else str(value) if kinds == ["str"] else _WRONG
    if isinstance(value, float):
        if "float" in kinds:
            return value
        return int(value) if "int" in kinds and value.is_integer() else _WRONG
    if isinstance(value, str):
        # YAML takes 2e-4, unlike 2.0e-4, for text.
        if _NUMBER.fullmatch(value) and ("float" in kinds or "int" in kinds):
            number = float(value)
            if (
                "int" in kinds
                and number.is_integer()
                and ("float" not in kinds or "." not in value)
            ):
                return int(number)
            if "float" in kinds:
                return number
        if "str" in kinds:
            return value
        return [value] if "list" in kinds else _WRONG
    if isinstance(value, list):
        return value if "list" in kinds else _WRONG
    if isinstance(value, dict):
        return value if "dict" in kinds else _WRONG
    return _WRONG


def _kind(stage: str, given: Mapping[str, Any]) -> str:
    if stage == "dpo":
        loss = given.get("loss_type")
        first = loss[0] if isinstance(loss, list) and loss else loss
        return "kto" if first in ("kto", "apo_zero_unpaired") else "dpo"
    if stage == "rl":
        algorithm = str(given.get("algorithm", "grpo")).lower()
        if algorithm not in ALGORITHMS:
            raise RecipeError(
                f"algorithm must be one of {', '.join(ALGORITHMS)}, not {_shown(algorithm)}"
            )
        return algorithm
    return stage


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a recipe as it stands, fields and sections unchecked.

    Raises RecipeError where it can't be read or is no table of fields.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"recipe {path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"recipe {path} is not UTF-8") from None
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "it can't be read"
        raise RecipeError(f"recipe {path}{line} is no YAML: {reason}") from None
    if not isinstance(content, dict):
        raise RecipeError(f"recipe {path} must be a table of fields")
    for name in (*STAGES, *OTHER_SECTIONS):
        if name in content and not isinstance(content[name], dict):
            raise RecipeError(f"{path}: {name} must be a table of fields")
    return {str(name): value for name, value in content.items()}


def _fields_of(stage: str, path: Path) -> Iterable[tuple[str, Any, str]]:
    content = read_recipe(path)
    for name, value in content.items():
        if name not in STAGES and name not in OTHER_SECTIONS:
            yield name, value, f"{path}: {name}"
    for name, value in content.get(stage, {}).items():
        yield str(name), value, f"{path}, {stage}: {name}"


def _unknown(name: str, table: Mapping[str, Any], kind: str) -> str:
    names = [*table, *_ALIASES]
    close = difflib.get_close_matches(name.replace("-", "_"), names, n=1, cutoff=0.6)
    hint = f"; did you mean {_ALIASES.get(close[0], close[0])}?" if close else ""
    elsewhere = "" if close or name not in _all_names() else " (another stage has it)"
    return f"'{name}' is no field of {kind}{elsewhere}{hint}"


@functools.cache
def _all_names() -> frozenset[str]:
    return frozenset(name for kind in _GROUP_OF for name in fields_of(kind))


@functools.cache
def _library_fields() -> dict[str, dict[str, dict[str, Any]]]:
    fields: dict[str, dict[str, dict[str, Any]]] = json.loads(
        FIELDS_FILE.read_text(encoding="utf-8")
    )
    for name in ("bnb_4bit_compute_dtype", "bnb_4bit_quant_storage"):
        fields["BitsAndBytesConfig"][name]["choices"] = [*_DTYPES[1:], "uint8"]
    for config in ("GRPOConfig", "RLOOConfig"):
        fields[config]["vllm_mode"]["choices"] = ["server", "colocate"]
    # Written as text for the sake of old settings; the library wants true.
    fields["TrainingArguments"]["fsdp"]["kinds"] = ["bool", "null"]
    fields["BitsAndBytesConfig"]["bnb_4bit_quant_type"]["choices"] = ["nf4", "fp4"]
    return fields


def _check_together(recipe: Recipe) -> None:
    """Refuse fields that contradict each other. Raises RecipeError."""
    own, trainer = recipe.own, recipe.trainer
    if recipe.quantization.get("load_in_4bit") and recipe.quantization.get("load_in_8bit"):
        raise RecipeError("load_in_4bit and load_in_8bit exclude each other; choose one")
    if recipe.is_quantized and not own["use_peft"]:
        raise RecipeError(
            "weights in 4 or 8 bits can't be trained themselves: use_peft must be true with"
            " load_in_4bit or load_in_8bit"
        )
    if trainer.get("bf16") and trainer.get("fp16"):
        raise RecipeError("bf16 and fp16 exclude each other; choose one")
    if own["early_stopping_patience"] and not own["validation_file"]:
        raise RecipeError("early_stopping_patience needs a validation_file")
    if own["adapter_name_or_path"] and not own["use_peft"]:
        raise RecipeError(
            "adapter_name_or_path goes on training an adapter, so use_peft must be true;"
            " to train all weights, merge the adapter first"
        )
    if recipe.kind == "ppo" and trainer.get("mini_batch_size", 1) > trainer.get(
        "per_device_train_batch_size", 4
    ):
        raise RecipeError("mini_batch_size can't be above per_device_train_batch_size")
    lora_names = sorted(recipe.lora)
    if lora_names and not own["use_peft"] and recipe.source is None:
        raise RecipeError(f"{lora_names[0]} is for an adapter, but use_peft is false")


def _find_settings_file(recipe: Recipe) -> None:
    """Find the settings of DeepSpeed or FSDP, beside the recipe or beside its folder.

    Raises RecipeError.
    """
    beside = recipe.source.resolve().parent if recipe.source else Path()
    for field_name in ("deepspeed", "fsdp_config"):
        name = recipe.trainer.get(field_name)
        if not isinstance(name, str):
            continue
        for folder in (Path(), beside, beside.parent):
            if (folder / name).is_file():
                recipe.trainer[field_name] = str(folder / name)
                break
        else:
            raise RecipeError(f"{field_name}: there is no file {name}")


def _shown(value: object) -> str:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= 60 else shown[:59] + "…"
