"""`medbot-train merge`: an adapter goes into its base's weights, and both are compared again.

The adapter is added to the base as it is stored, never to weights in 4 or 8 bits: an adapter that
was trained beside those (QLoRA) is merged into the base that they were made of. Before that, and
after the merged weights were written and read again, both models answer the same questions; where
they differ by more than rounding explains, nothing is kept.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbot_training import run_record
from medbot_training.base import adapter_config
from medbot_training.export.folders import ExportError
from medbot_training.export.folders import is_there
from medbot_training.export.folders import whole_folder
from medbot_training.export.provenance import Trained
from medbot_training.export.provenance import licence_of
from medbot_training.export.provenance import loading_recipe
from medbot_training.export.provenance import read_trained
from medbot_training.export.provenance import stages_of
from medbot_training.export.provenance import weights_sha256

VERSION = 1
"""Counts up when this code makes other weights from the same adapter and base."""
DTYPES = {"float16": 2, "bfloat16": 2, "float32": 4}
"""Bytes a weight."""
TOLERANCE = {"float16": 2e-3, "bfloat16": 3e-2, "float32": 1e-4}
"""Mean divergence (nats) that rounding to a type may bring; the largest of one position may be
twenty times that."""
LARGEST_TOLERANCE = 20
MOST_LOST = 0.25
"""Share of what the adapter changes that rounding may take away."""
_BESIDE_WEIGHTS = 1.25
"""Memory that answering needs for each byte of weights, about."""
_NOTHING = 1e-6
"""An adapter that changes less (nats) has not learnt anything that could be lost."""

_DESCRIPTION = """\
Put an adapter into the weights of its base. The base is found by the adapter's run.json. Both are
asked the same questions before, and after the merged weights were written and read again; where
the answers differ by more than rounding explains, nothing is kept. Weights of a stage that trained
all of them (use_peft: false) are handed on as they are.
"""


@dataclass(frozen=True)
class MergeSettings:
    """What is merged, and how.

    Attributes:
        adapter: A stage's `final/`.
        output_dir: Where the merged model goes.
        dtype: Type of the merged weights; None: as the base's, float16 for a GGUF.
        base: The base, where it is no longer where the run found it.
        overwrite: Whether what is in output_dir may be replaced.
    """

    adapter: Path
    output_dir: Path
    dtype: str | None = None
    base: str | None = None
    overwrite: bool = False


def merge(settings: MergeSettings) -> dict[str, Any]:
    """Merge an adapter into its base, or hand full weights on.

    Returns:
        The run.json that lies in output_dir.

    Raises:
        ExportError: The adapter is damaged, does not fit, or would be lost by rounding.
        BaseModelError, TemplateError: The base can't be loaded.
    """
    from medbot_training.stages.runner import quiet_libraries

    trained = read_trained(settings.adapter.expanduser(), settings.base)
    if trained.record.get("status") not in (None, "finished"):
        raise ExportError(f"the run of {trained.folder} has not ended; give its command again")
    quiet_libraries()
    dtype = settings.dtype or _own_dtype(trained)
    record = _record(trained, dtype)
    output_dir = settings.output_dir.expanduser()
    if is_there(output_dir, run_record.FILE_NAME, record["fingerprint"], settings.overwrite):
        _say(f"merge: {output_dir} is there already, from the same adapter and base")
        return run_record.read(output_dir) or record
    with whole_folder(output_dir, _needed_bytes(trained, dtype)) as unfinished:
        if trained.is_adapter:
            record["check"] = _merge_into_base(trained, dtype, unfinished)
        else:
            record["check"] = _hand_on(trained, dtype, unfinished)
        record["sha256"] = weights_sha256(unfinished)
        record.update(finished=run_record.now(), status="finished")
        run_record.write(unfinished, record)
    _say(f"merge: {output_dir}  {_figures(record['check'])}")
    return record


def _record(trained: Trained, dtype: str) -> dict[str, Any]:
    base = trained.base.record() if trained.base else trained.record.get("base")
    made_of = {
        "version": VERSION,
        "dtype": dtype,
        "weights": trained.sha256,
        "base": {k: v for k, v in (base or {}).items() if k not in ("name", "source")},
    }
    return {
        "stage": "merge",
        "base": base,
        "licence": licence_of(trained.base) if trained.base else _licence_of_full(trained),
        "adapter": {"name": str(trained.folder), "sha256": trained.sha256},
        "is_adapter": trained.is_adapter,
        "dtype": dtype,
        "fingerprint": run_record.fingerprint({**made_of, "recipe": {}, "data": {}}),
        "stages": stages_of(trained),
        "template": trained.record.get("template"),
        "data": trained.record.get("data") or {},
        "git": run_record.git_state(),
        "versions": run_record.versions(),
        "started": run_record.now(),
    }


def _licence_of_full(trained: Trained) -> str:
    from medbot_training.base import BasePlace
    from medbot_training.export.provenance import UNKNOWN_LICENCE

    base = trained.record.get("base")
    if not isinstance(base, dict) or not base.get("source"):
        return UNKNOWN_LICENCE
    place = BasePlace(str(base.get("name")), str(base["source"]))
    if base.get("gguf_sha256"):
        files = sorted(Path(place.source).glob("*.gguf"))
        if len(files) != 1:
            return UNKNOWN_LICENCE
        place = BasePlace(place.name, place.source, files[0].name)
    return licence_of(place)


def _own_dtype(trained: Trained) -> str:
    """The type that the weights have already; float16 for those out of a GGUF."""
    from transformers import AutoConfig

    place = trained.base
    if place is not None and place.gguf_file:
        return "float16"
    source = place.source if place is not None else str(trained.folder)
    options = {"revision": place.revision} if place is not None and place.revision else {}
    try:
        config = AutoConfig.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        raise ExportError(f"the settings of {source} can't be read: {error}") from None
    name = str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")
    return name if name in DTYPES else "float32"


def _needed_bytes(trained: Trained, dtype: str) -> int:
    """Size of the merged weights, roughly: of a GGUF's a guess by its bits a weight."""
    place = trained.base
    if place is not None and place.gguf_file:
        # As if it had 6 bits a weight: a little too much for 4, a lot for 16.
        packed = (Path(place.source) / place.gguf_file).stat().st_size
        return int(packed * DTYPES[dtype] * 8 / 6)
    folder = Path(place.source) if place is not None else trained.folder
    stored = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return int(stored * DTYPES[dtype] / DTYPES[_own_dtype(trained)])


# --- an adapter ----------------------------------------------------------------------------------


def _merge_into_base(trained: Trained, dtype: str, unfinished: Path) -> dict[str, Any]:
    import torch

    from medbot_training.export.compare import divergence
    from medbot_training.export.compare import next_token_logits

    assert trained.base is not None
    if _was_packed(trained):
        _say(
            "merge: the adapter was trained beside weights in 4 or 8 bits; it is merged into"
            f" {trained.base.name} as it is stored, so answers differ a little from training's"
        )
    tokenizer, facts = load_own_tokenizer(trained.folder)
    probes = _probes(trained, tokenizer, facts)
    working = working_dtype(trained.base.source, trained.base.gguf_file, dtype)
    model = load_with_adapter(trained, tokenizer, facts, working)
    _say(f"merge: {trained.base.name} + {trained.folder}, {len(probes)} questions before")
    before = next_token_logits(model, probes)
    with model.disable_adapter():
        effect, _ = divergence(before, next_token_logits(model, probes))
    merged = model.merge_and_unload(safe_merge=True)
    merged = merged.to(getattr(torch, dtype))
    merged.name_or_path = trained.base.name
    merged.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    del model, merged
    return _compared(trained, unfinished, probes, before, working, dtype, effect)


def _compared(
    trained: Trained,
    unfinished: Path,
    probes: list[Any],
    before: list[Any],
    working: str,
    dtype: str,
    effect: float | None,
) -> dict[str, Any]:
    """Read again what was written, and ask it the same. Raises ExportError."""
    from medbot_training.export.compare import divergence
    from medbot_training.export.compare import next_token_logits
    from medbot_training.export.compare import same_choice

    after = next_token_logits(load_plain(unfinished, working), probes)
    mean, largest = divergence(before, after)
    check = {
        "questions": len(probes),
        "positions": sum(len(one) for one in before),
        "mean_divergence": mean,
        "largest_divergence": largest,
        "same_choice": same_choice(before, after),
        "adapter_changes": effect,
        "computed_in": working,
    }
    limit = TOLERANCE[dtype]
    if not (mean <= limit and largest <= limit * LARGEST_TOLERANCE):
        raise ExportError(
            f"the merged weights answer otherwise than base and adapter: divergence {mean:.2g}"
            f" (largest {largest:.2g}) nats, {limit:g} would be rounding; nothing was kept; try"
            " --dtype float32"
        )
    if effect is not None and effect > _NOTHING and mean > MOST_LOST * effect:
        raise ExportError(
            f"rounding to {dtype} would take away {mean / effect:.0%} of what the adapter changes"
            f" ({effect:.2g} nats); nothing was kept; use --dtype float32, or train longer"
        )
    if effect is not None and effect <= _NOTHING:
        _say(f"merge: note: {trained.folder} changes nothing in {len(probes)} answers")
    return check


def load_own_tokenizer(folder: Path) -> tuple[Any, Any]:
    """The tokenizer of a trained folder and what is known of its chat template, which is None
    where it has none (after `pretrain` of a base). Raises TemplateError or ExportError."""
    from transformers import AutoTokenizer

    from medbot_training.templates import check_template

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise ExportError(f"the tokenizer in {folder} can't be read: {_first(error)}") from None
    return tokenizer, check_template(tokenizer) if tokenizer.chat_template else None


def load_with_adapter(trained: Trained, tokenizer: Any, facts: Any, dtype: str) -> Any:
    """The base with its adapter, ready to answer. Raises ExportError or BaseModelError."""
    from peft import PeftModel
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    from medbot_training.base import load_model

    assert trained.base is not None
    recipe = loading_recipe(trained.base, dtype=dtype)
    base = load_model(recipe, trained.base, tokenizer, facts)
    try:
        model = PeftModel.from_pretrained(base, str(trained.folder))
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ExportError(_does_not_fit(trained, _first(error))) from None
    # PEFT only warns of weights that found no place.
    stored = load_file(trained.folder / "adapter_model.safetensors")
    astray = sorted(stored.keys() ^ get_peft_model_state_dict(model).keys())
    if astray:
        raise ExportError(_does_not_fit(trained, f"no place for {astray[0]}"))
    left_out = _layers_left_out(trained, model, stored)
    if left_out:
        raise ExportError(_does_not_fit(trained, f"it has no weights for {left_out[0]}"))
    return model.eval()


def _layers_left_out(trained: Trained, model: Any, stored: Mapping[str, Any]) -> list[str]:
    """Layers of a base that are of the adapter's kinds, but not in it: the base is a larger one.

    Only of a base that is not the run's own by hash or name, since an adapter may well have been
    told to leave out layers."""
    import torch

    config = adapter_config(str(trained.folder))
    known = trained.record.get("base") or {}
    is_its_own = known.get("sha256") or known.get("gguf_sha256")
    if is_its_own or (trained.base and trained.base.name == known.get("name")):
        return []
    if config.get("layers_to_transform") or config.get("exclude_modules"):
        return []
    taught = {
        name.removeprefix("base_model.model.").split(".lora_")[0]
        for name in stored
        if ".lora_" in name
    }
    kinds = {name.rsplit(".", 1)[-1] for name in taught}
    return [
        name
        for name, module in model.get_base_model().named_modules()
        if isinstance(module, torch.nn.Linear)
        and name.rsplit(".", 1)[-1] in kinds
        and name not in taught
    ]


def _does_not_fit(trained: Trained, reason: str) -> str:
    assert trained.base is not None
    return (
        f"adapter {trained.folder} does not fit the base {trained.base.name} ({reason}); name the"
        " base that it was trained on by --model_name_or_path"
    )


def load_plain(folder: Path, dtype: str) -> Any:
    """A model as it lies in a folder, ready to answer. Raises ExportError."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ExportError(f"the model in {folder} can't be loaded: {_first(error)}") from None
    return model.eval()


def working_dtype(source: str, gguf_file: str, dtype: str) -> str:
    """float32, in which nothing is rounded, where the memory has room for it; else `dtype`."""
    folder = Path(source)
    if gguf_file:
        # Its weights come out of 4 bits or more.
        as_float32 = (folder / gguf_file).stat().st_size * 8
    elif folder.is_dir():
        as_float32 = sum(path.stat().st_size for path in folder.glob("*.safetensors")) * 2
    else:
        return dtype
    return "float32" if as_float32 * _BESIDE_WEIGHTS < _free_memory() else dtype


def _free_memory() -> int:
    """Memory that can be had without swapping, bytes."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024


def _was_packed(trained: Trained) -> bool:
    recipe = trained.record.get("recipe") or {}
    return bool(recipe.get("load_in_4bit") or recipe.get("load_in_8bit"))


def _probes(trained: Trained, tokenizer: Any, facts: Any) -> list[Any]:
    from medbot_training.export.probes import make_probes
    from medbot_training.export.provenance import data_files

    return make_probes(tokenizer, facts, data_files(trained))


# --- full weights --------------------------------------------------------------------------------


def _hand_on(trained: Trained, dtype: str, unfinished: Path) -> dict[str, Any]:
    """Copy full weights, or save them in another type."""
    _say(f"merge: {trained.folder} holds all weights, no adapter: they are handed on")
    if dtype == _own_dtype(trained):
        for path in trained.folder.iterdir():
            if path.is_file() and path.name != run_record.FILE_NAME:
                shutil.copy2(path, unfinished / path.name)
        if weights_sha256(unfinished) != trained.sha256:
            raise ExportError(f"{trained.folder} changed while it was copied; try again")
        return {"copied": True, "mean_divergence": 0.0}
    import torch

    from medbot_training.export.compare import next_token_logits

    tokenizer, facts = load_own_tokenizer(trained.folder)
    probes = _probes(trained, tokenizer, facts)
    working = working_dtype(str(trained.folder), "", _own_dtype(trained))
    model = load_plain(trained.folder, working)
    before = next_token_logits(model, probes)
    model.to(getattr(torch, dtype)).save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    del model
    return _compared(trained, unfinished, probes, before, working, dtype, None)


def _figures(check: dict[str, Any]) -> str:
    if check.get("copied"):
        return "the same files"
    changes = check.get("adapter_changes")
    beside = f" (the adapter changes {changes:.2g})" if changes is not None else ""
    return (
        f"divergence {check['mean_divergence']:.2g} nats{beside}, same choice at"
        f" {check['same_choice']:.1%} of {check['positions']} positions"
    )


def _first(error: BaseException) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 160 else words[:159] + "…"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- the command ---------------------------------------------------------------------------------


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "merge",
        help="put an adapter into the weights of its base",
        description=_DESCRIPTION,
        epilog="example:\n  medbot-train merge --adapter outputs-dpo/final --output_dir merged",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_option(parser, "adapter", type=Path, required=True, metavar="DIR", help="a stage's final/")
    add_option(parser, "output_dir", type=Path, required=True, metavar="DIR", help="goes here")
    add_option(
        parser,
        "dtype",
        choices=DTYPES,
        help="type of the merged weights (default: as the base's; float16 for a GGUF)",
    )
    add_option(
        parser,
        "model_name_or_path",
        metavar="BASE",
        help="the base, where it is no longer where the run found it",
    )
    add_option(
        parser,
        "overwrite_output_dir",
        action="store_true",
        help="replace what is in output_dir",
    )
    parser.set_defaults(run=_run)


def add_option(parser: argparse.ArgumentParser, name: str, **settings: Any) -> None:
    """Add an option under the spelling of the libraries' fields, and with dashes."""
    flags = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
    parser.add_argument(*flags, dest=name, **settings)


def _run(args: argparse.Namespace) -> int:
    merge(
        MergeSettings(
            args.adapter,
            args.output_dir,
            args.dtype,
            args.model_name_or_path,
            args.overwrite_output_dir,
        )
    )
    return 0
