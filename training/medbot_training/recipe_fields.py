"""Writes down which fields the libraries' own settings have, so that a recipe is checked at once.

Importing trl takes seconds, a slip in a recipe should be told in none. So the names, types and
defaults of the libraries' settings are kept in `recipe_fields.json`, made by

    python -m medbot_training.recipe_fields

after a library was updated; a test compares the file with the libraries installed.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("recipe_fields.json")
_HELP_CHARS = 160

_OMITTED = {
    # Ours to set: a recipe that sets them would break resuming, tracing or the layout of outputs.
    "SFTConfig": {"do_train", "do_eval", "do_predict", "model_init_kwargs", "dataset_kwargs"},
    "LoraConfig": {
        "auto_mapping",
        "base_model_name_or_path",
        "corda_config",
        "eva_config",
        "inference_mode",
        "loftq_config",
        "peft_type",
        "peft_version",
        "revision",
        "runtime_config",
        "task_type",
    },
}


def collect() -> dict[str, dict[str, dict[str, Any]]]:
    """Read the fields of the installed libraries: class → field → kinds, default, choices, help.

    Fields that a class shares with TrainingArguments unchanged are listed there only.
    """
    import peft
    import transformers
    import trl

    groups: dict[str, dict[str, dict[str, Any]]] = {}
    base = _dataclass_fields(transformers.TrainingArguments)
    dropped = _OMITTED["SFTConfig"]
    groups["TrainingArguments"] = {k: v for k, v in base.items() if k not in dropped}
    for name in (
        "SFTConfig",
        "DPOConfig",
        "KTOConfig",
        "RewardConfig",
        "GRPOConfig",
        "RLOOConfig",
    ):
        own = _dataclass_fields(getattr(trl, name))
        groups[name] = {
            key: value
            for key, value in own.items()
            if key not in dropped and value != groups["TrainingArguments"].get(key)
        }
    lora = _dataclass_fields(peft.LoraConfig)
    groups["LoraConfig"] = {k: v for k, v in lora.items() if k not in _OMITTED["LoraConfig"]}
    groups["BitsAndBytesConfig"] = _signature_fields(transformers.BitsAndBytesConfig)
    return groups


def _dataclass_fields(cls: Any) -> dict[str, dict[str, Any]]:
    hints = typing.get_type_hints(cls)
    documented = _docstring_help(cls)
    found = {}
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        kinds, choices = _kinds(hints[field.name])
        if field.metadata.get("choices"):
            choices = list(field.metadata["choices"])
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found[field.name] = _entry(
            kinds, choices, default, field.metadata.get("help") or documented.get(field.name, "")
        )
    return found


def _signature_fields(cls: Any) -> dict[str, dict[str, Any]]:
    documented = _docstring_help(cls)
    found = {}
    for name, parameter in inspect.signature(cls.__init__).parameters.items():
        if name == "self" or parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        default = parameter.default
        kinds = {bool: ["bool"], float: ["float"], int: ["int"], str: ["str"]}.get(type(default))
        if kinds is None:
            kinds = ["list", "null"] if "modules" in name else ["null", "str"]
        found[name] = _entry(kinds, [], default, documented.get(name, ""))
    return found


def _entry(kinds: list[str], choices: list[Any], default: Any, text: str) -> dict[str, Any]:
    if isinstance(default, enum.Enum):
        default = default.value
    try:
        json.dumps(default)
    except TypeError:
        default = None
    words = " ".join(text.split()).replace("%%", "%")
    entry: dict[str, Any] = {"kinds": kinds, "default": default}
    if choices:
        entry["choices"] = choices
    first = re.split(r"(?<=[.!?])\s", words, maxsplit=1)[0] if words else ""
    if first:
        entry["help"] = first if len(first) <= _HELP_CHARS else first[: _HELP_CHARS - 1] + "…"
    return entry


def _kinds(hint: Any) -> tuple[list[str], list[Any]]:
    """Tell which YAML values a type takes, and the only ones if it lists them."""
    origin = typing.get_origin(hint)
    if origin is typing.Union or origin is types.UnionType:
        kinds: list[str] = []
        choices: list[Any] = []
        for part in typing.get_args(hint):
            more, values = _kinds(part)
            kinds += [kind for kind in more if kind not in kinds]
            choices += values
        # In an order of ours: that of a union depends on which equal one was met first.
        kinds.sort()
        # A free text beside a list of choices leaves nothing to check.
        return kinds, choices if kinds in (["str"], ["null", "str"]) else []
    if origin is typing.Literal:
        values = list(typing.get_args(hint))
        names = {type(value) for value in values}
        known = {bool: "bool", str: "str", int: "int", type(None): "null"}
        return sorted(known[name] for name in names if name in known), values
    if origin is typing.Annotated:
        return _kinds(typing.get_args(hint)[0])
    plain = origin or hint
    if plain is type(None):
        return ["null"], []
    if isinstance(plain, type):
        if issubclass(plain, enum.Enum):
            return ["str"], [member.value for member in plain]
        for cls, kind in (
            (bool, "bool"),
            (int, "int"),
            (float, "float"),
            (str, "str"),
            (dict, "dict"),
            (list, "list"),
            (tuple, "list"),
            (set, "list"),
        ):
            if issubclass(plain, cls):
                return [kind], []
    return ["bool", "dict", "float", "int", "list", "null", "str"], []


def _docstring_help(cls: Any) -> dict[str, str]:
    """The first paragraph about each argument in a docstring of Google's style."""
    found = {}
    text = inspect.getdoc(cls) or ""
    for match in re.finditer(
        r"(?m)^    (\w+) \(`?[^\n]*\):\n((?:        [^\n]*\n?)+)", text + "\n"
    ):
        found[match[1]] = match[2]
    return found


def main() -> None:
    """Write the file anew."""
    text = json.dumps(collect(), indent=1, sort_keys=True, ensure_ascii=False)
    temporary = FILE.with_suffix(".tmp")
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(FILE)


if __name__ == "__main__":
    main()
