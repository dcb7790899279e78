"""Where a trained folder comes from: its base, known by its hash, and its stages."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbot_training import run_record
from medbot_training.base import ADAPTER_CONFIG
from medbot_training.base import BaseModelError
from medbot_training.base import BasePlace
from medbot_training.base import adapter_config
from medbot_training.base import file_sha256
from medbot_training.base import find_base
from medbot_training.export.folders import ExportError
from medbot_training.recipes import TINY_MODEL
from medbot_training.recipes import Recipe
from medbot_training.recipes import load_recipe

TOKENIZER = "tokenizer.json"
_MADE_HERE = "Apache-2.0"
"""Licence of a tiny model, which this project makes itself out of random numbers."""
UNKNOWN_LICENCE = "LicenseRef-unknown"
_MOST_STAGES = 20

# What an adapter's folder says twice, or only of the machine that it was made on.
_OF_A_STAGE = (
    "stage",
    "kind",
    "recipe",
    "data",
    "prompts",
    "steps",
    "records",
    "template",
    "result",
    "versions",
    "git",
    "finished",
    "fingerprint",
)


@dataclass(frozen=True)
class Trained:
    """A folder that a stage has left: an adapter, or all weights.

    Attributes:
        folder: The folder, a stage's `final/`.
        is_adapter: Whether it is an adapter on a base.
        base: Its base; None for full weights.
        record: Its run.json; {} where there is none.
        sha256: Of its weights and settings.
    """

    folder: Path
    is_adapter: bool
    base: BasePlace | None
    record: dict[str, Any]
    sha256: str


def read_trained(folder: Path, base_name: str | None = None) -> Trained:
    """Read what a stage has left.

    Args:
        folder: A stage's `final/`.
        base_name: Its base, where that is no longer where the run found it.

    Raises:
        ExportError: It is no such folder, not whole, or its base is not to be found.
    """
    if not folder.is_dir():
        raise ExportError(f"there is no folder {folder}")
    is_adapter = (folder / ADAPTER_CONFIG).exists()
    if not is_adapter and not (folder / "config.json").exists():
        inside = folder / "final"
        hint = f"; did you mean {inside}?" if inside.is_dir() else ""
        raise ExportError(f"{folder} is neither an adapter nor a model{hint}")
    if not (folder / TOKENIZER).exists():
        raise ExportError(
            f"{folder} has no {TOKENIZER}, so nobody can tell how it was asked in training; copy"
            " the tokenizer's files from the stage's final/ or train again"
        )
    record = run_record.read(folder) or {}
    if is_adapter:
        _check_adapter(folder)
    elif "SequenceClassification" in str(_architecture(folder)):
        raise ExportError(_REWARD.format(folder=folder))
    base = _base_of(folder, record, base_name) if is_adapter else None
    return Trained(folder, is_adapter, base, record, weights_sha256(folder))


_REWARD = (
    "{folder} comes from the stage 'reward': it gives marks and can't talk; merge what pretrain,"
    " sft, dpo or rl left"
)


def _check_adapter(folder: Path) -> None:
    from safetensors import SafetensorError
    from safetensors import safe_open

    config = adapter_config(str(folder))
    if config.get("task_type") == "SEQ_CLS":
        raise ExportError(_REWARD.format(folder=folder))
    weights = folder / "adapter_model.safetensors"
    try:
        with safe_open(str(weights), framework="pt") as opened:
            names = list(opened.keys())
    except (SafetensorError, OSError) as error:
        raise ExportError(f"adapter {weights} is damaged: {error}; train again") from None
    if not names:
        raise ExportError(f"adapter {weights} has no weights in it; train again")


def _architecture(folder: Path) -> list[str]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return [str(name) for name in config.get("architectures") or ()]
    except (OSError, ValueError, AttributeError) as error:
        raise ExportError(f"{folder / 'config.json'} can't be read: {error}") from None


def weights_sha256(folder: Path) -> str:
    """One hash over the weights and settings of a folder."""
    digest = hashlib.sha256()
    kinds = ("*.safetensors", "*.bin", "config.json", ADAPTER_CONFIG, TOKENIZER, "*.jinja")
    for path in sorted({path for kind in kinds for path in folder.glob(kind)}):
        digest.update(f"{path.name}:{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def loading_recipe(place: BasePlace, **fields: Any) -> Recipe:
    """A recipe that only says what to load, for the loaders of `base.py`."""
    return load_recipe("sft", None, {"model_name_or_path": place.name, "device": "cpu", **fields})


def _base_of(folder: Path, record: dict[str, Any], base_name: str | None) -> BasePlace:
    known = record.get("base")
    known = known if isinstance(known, dict) else {}
    name = base_name or _recorded_base(folder, known)
    recipe = load_recipe("sft", None, {"model_name_or_path": name})
    revision = str(known.get("revision") or "")
    if revision and not base_name:
        recipe.own["model_revision"] = revision
    try:
        place = find_base(recipe)
    except BaseModelError as error:
        hint = "" if base_name else "; name where it is now by --model_name_or_path"
        raise ExportError(f"the base of {folder}: {error}{hint}") from None
    _refuse_packed(place)
    found = place.record()
    for key in ("gguf_sha256", "sha256"):
        if known.get(key) and found.get(key) and known[key] != found[key]:
            raise ExportError(
                f"{place.name} is not the base that {folder} was trained on: its sha256 is"
                f" {found[key][:12]}…, that of the run {known[key][:12]}…; name the right one by"
                " --model_name_or_path"
            )
    return place


def _recorded_base(folder: Path, known: dict[str, Any]) -> str:
    name = str(known.get("name") or adapter_config(str(folder))["base_model_name_or_path"] or "")
    source = str(known.get("source") or "")
    # A folder that was named relative to another one, or made on the spot.
    if name == TINY_MODEL or (name != source and not known.get("gguf_sha256")):
        name = source or name
    if not name or name == TINY_MODEL:
        raise ExportError(
            f"{folder} does not say which base it was trained on; name it by --model_name_or_path"
        )
    return name


def _refuse_packed(place: BasePlace) -> None:
    config = Path(place.source) / "config.json"
    if place.gguf_file or not config.exists():
        return
    packed = json.loads(config.read_text(encoding="utf-8")).get("quantization_config")
    if packed:
        raise ExportError(
            f"the base {place.name} has its weights in few bits ({packed.get('quant_method')}),"
            " and nothing can be merged into those without loss; name the model that it was made"
            " of by --model_name_or_path"
        )


def stages_of(trained: Trained) -> list[dict[str, Any]]:
    """The stages that led to a folder, first one first, as far as their run.json are there."""
    found: list[dict[str, Any]] = []
    record = trained.record
    while record and len(found) < _MOST_STAGES:
        if "stages" in record:
            # Merged weights that were trained on: what led to them is in their own record.
            found += reversed(record["stages"])
            break
        found.append({name: record[name] for name in _OF_A_STAGE if name in record})
        before = record.get("adapter")
        if not isinstance(before, dict):
            break
        folder = Path(str(before.get("name"))).expanduser()
        weights = folder / "adapter_model.safetensors"
        if not weights.exists() or file_sha256(weights) != before.get("sha256"):
            found.append({"stage": None, "adapter": before, "note": "its folder is gone"})
            break
        record = run_record.read(folder) or {}
    return list(reversed(found))


def data_files(trained: Trained) -> list[Path]:
    """The data that the last stage measured itself on or, failing that, learnt from, where the
    files are still the same."""
    data = trained.record.get("data")
    data = data if isinstance(data, dict) else {}
    for purpose in ("validation", "train"):
        files = [
            Path(str(entry["file"]))
            for entry in data.get(purpose) or ()
            if Path(str(entry["file"])).is_file()
            and file_sha256(Path(str(entry["file"]))) == entry.get("sha256")
        ]
        if files:
            return files
    return []


def licence_of(place: BasePlace) -> str:
    """The SPDX id of a base's licence, as its catalog, model card or GGUF says it."""
    from medbot_llm.models.store import ModelStore

    if Path(place.source).name == TINY_MODEL:
        return _MADE_HERE
    catalog = ModelStore().catalog
    if place.name in catalog:
        return catalog[place.name].licence
    if place.gguf_file:
        file = Path(place.source) / place.gguf_file
        digest = file_sha256(file)
        for entry in catalog:
            if any(one.sha256 == digest for one in entry.files):
                return entry.licence
        return _licence_in_gguf(file)
    return _licence_in_card(Path(place.source) / "README.md")


def _licence_in_gguf(file: Path) -> str:
    from gguf import GGUFReader

    field = GGUFReader(str(file)).get_field("general.license")
    return str(field.contents()) if field is not None else UNKNOWN_LICENCE


def _licence_in_card(card: Path) -> str:
    import yaml

    try:
        text = card.read_text(encoding="utf-8")
        head = yaml.safe_load(text.split("---")[1]) if text.startswith("---") else {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, IndexError):
        return UNKNOWN_LICENCE
    licence = head.get("license") if isinstance(head, dict) else None
    return str(licence) if licence else UNKNOWN_LICENCE
