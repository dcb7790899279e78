"""`medbot-train export`: the GGUF that the robot loads, checked by the program that will run it.

Merged weights become a GGUF in 16 bits and, from that, ones with fewer bits a weight; an adapter
becomes a LoRA in a GGUF that is loaded beside that of its base. Each is loaded by llama.cpp,
asked what the trained model was asked, and what came of it goes into `manifest.json`: fewer bits
may cost just what was trained.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbot_llm.models.exports import MANIFEST
from medbot_training import run_record
from medbot_training.base import ADAPTER_CONFIG
from medbot_training.base import file_sha256
from medbot_training.export import manifest
from medbot_training.export.folders import ExportError
from medbot_training.export.folders import is_there
from medbot_training.export.folders import whole_folder
from medbot_training.export.llama_runner import QUANTIZATIONS
from medbot_training.export.merge import add_option
from medbot_training.export.merge import load_own_tokenizer
from medbot_training.export.merge import load_plain
from medbot_training.export.merge import load_with_adapter
from medbot_training.export.merge import working_dtype
from medbot_training.export.provenance import UNKNOWN_LICENCE
from medbot_training.export.provenance import Trained
from medbot_training.export.provenance import data_files
from medbot_training.export.provenance import licence_of
from medbot_training.export.provenance import read_trained
from medbot_training.export.provenance import stages_of

VERSION = 1
"""Counts up when this code makes other files from the same model."""
_FIRST = "f16"
"""What the converter writes, and all others are made of."""
DEFAULT_QUANTIZATIONS = ("f16", "q8_0", "q5_k_m", "q4_k_m")
_BITS = {"f16": 16, "bf16": 16, "q8_0": 9, "q6_k": 7, "q5_k_m": 6, "q5_k_s": 6, "q5_0": 6}
_FEW_BITS = 5.5
"""Of the kinds of four bits, scales included."""
_NOTHING = 1e-4
"""An adapter that changes less (nats) can't be told from none by its answers."""

_DESCRIPTION = """\
Make what the robot loads. --model takes a merged model (or the final/ of a stage that trained all
weights) and writes a GGUF for each kind of --quantize. --adapter takes a stage's final/ and writes
its LoRA as GGUF, to be loaded beside the GGUF of its base. Every file is loaded by llama.cpp and
compared with the trained model; manifest.json says how each did. Then, on the robot:

  medbot models add OUTPUT_DIR
"""


@dataclass(frozen=True)
class ExportSettings:
    """What is exported, and how.

    Attributes:
        output_dir: Where the files go.
        model: A merged model; "adapter" is None then.
        adapter: An adapter.
        quantize: Kinds of weights to write, of QUANTIZATIONS.
        evaluation: A JSON file with the result of an evaluation, for the manifest.
        base: The adapter's base, where it is no longer where the run found it.
        base_gguf: The GGUF beside which the adapter will be loaded, where its base is none.
        licence: SPDX id, where the base does not say one.
        name: The robot's name for it; default: that of output_dir.
        overwrite: Whether what is in output_dir may be replaced.
    """

    output_dir: Path
    model: Path | None = None
    adapter: Path | None = None
    quantize: Sequence[str] = DEFAULT_QUANTIZATIONS
    evaluation: Path | None = None
    base: str | None = None
    base_gguf: str | None = None
    licence: str | None = None
    name: str | None = None
    overwrite: bool = False


def export(settings: ExportSettings) -> dict[str, Any]:
    """Export a model or an adapter.

    Returns:
        The manifest that lies in output_dir.

    Raises:
        ExportError: It can't be exported, or what came out is not the trained model.
        TemplateError: Its chat template can't be used.
    """
    from medbot_training.stages.runner import quiet_libraries

    if (settings.model is None) == (settings.adapter is None):
        raise ExportError("give either --model (merged weights) or --adapter")
    quiet_libraries()
    if settings.model is not None:
        return _export_model(settings, settings.model.expanduser())
    assert settings.adapter is not None
    return _export_adapter(settings, settings.adapter.expanduser())


# --- a model -------------------------------------------------------------------------------------


def _export_model(settings: ExportSettings, folder: Path) -> dict[str, Any]:
    kinds = _checked_kinds(settings.quantize)
    if (folder / ADAPTER_CONFIG).exists():
        raise ExportError(
            f"{folder} is an adapter: give it as --adapter, or merge it first: medbot-train merge"
            f" --adapter {folder} --output_dir merged"
        )
    trained = read_trained(folder)
    name = settings.name or manifest.model_name(settings.output_dir)
    fingerprint = _fingerprint(settings, trained, kinds, name)
    output_dir = settings.output_dir.expanduser()
    if is_there(output_dir, MANIFEST, fingerprint, settings.overwrite):
        _say(f"export: {output_dir} is there already, from the same model")
        return dict(json.loads((output_dir / MANIFEST).read_text(encoding="utf-8")))
    tokenizer, facts = _talking_tokenizer(folder)
    evaluation = manifest.evaluation(settings.evaluation)
    with whole_folder(output_dir, _needed_bytes(folder, kinds)) as unfinished:
        files = _write_model(trained, tokenizer, facts, name, kinds, unfinished)
        made = manifest.write_manifest(
            unfinished,
            "model",
            name,
            files,
            recommended=_recommended(files),
            **_provenance(trained, settings, facts, tokenizer, evaluation),
            fingerprint=fingerprint,
        )
    _tell(made, output_dir)
    return made


def _write_model(
    trained: Trained, tokenizer: Any, facts: Any, name: str, kinds: list[str], unfinished: Path
) -> list[dict[str, Any]]:
    from medbot_training.export import answers as checks
    from medbot_training.export.converter import convert_model
    from medbot_training.export.llama_runner import quantize
    from medbot_training.export.probes import make_probes
    from medbot_training.export.vocabulary import PRE_TOKENIZER
    from medbot_training.export.vocabulary import check_same_vocabulary
    from medbot_training.export.vocabulary import text_field

    base_gguf = _gguf_of_base(trained)
    source = unfinished / f"{name}-{_FIRST}.gguf"
    _say(f"export: writing {source.name}")
    known = text_field(base_gguf, PRE_TOKENIZER) if base_gguf else ""
    template = _template(tokenizer)
    convert_model(trained.folder, source, facts, template, known, _FIRST)
    if base_gguf is not None:
        check_same_vocabulary(source, base_gguf)
    probes = [
        probe for probe in make_probes(tokenizer, facts, data_files(trained)) if probe.messages
    ]
    if not probes:
        raise ExportError(f"{trained.folder} has room for no question: its tokenizer is too small")
    _say(f"export: {len(probes)} questions to the trained model")
    dtype = working_dtype(str(trained.folder), "", "bfloat16")
    answers = checks.greedy_answers(load_plain(trained.folder, dtype), tokenizer, facts, probes)
    checks.check_ids(source, answers)
    measured = {_FIRST: checks.measure(source, answers, facts)}
    checks.check_conversion(source.name, measured[_FIRST])
    _say(f"export: {_FIRST}: {checks.words(measured[_FIRST])}")
    files = []
    for kind in kinds:
        path = unfinished / f"{name}-{kind}.gguf"
        if kind not in measured:
            if kind == "bf16":
                # Not by way of f16, which has another range.
                convert_model(trained.folder, path, facts, template, known, kind)
            else:
                quantize(source, path, kind)
            checks.check_ids(path, answers)
            measured[kind] = checks.measure(path, answers, facts)
            _say(f"export: {kind}: {checks.words(measured[kind])}")
        files.append({"name": path.name, "quantization": kind, "check": measured[kind]})
    if _FIRST not in kinds:
        source.unlink()
    return files


def _checked_kinds(kinds: Sequence[str]) -> list[str]:
    wanted = list(dict.fromkeys(kind.strip().lower() for kind in kinds if kind.strip()))
    for kind in wanted:
        if kind not in QUANTIZATIONS:
            raise ExportError(
                f"--quantize: there is no kind '{kind}'; choose of {','.join(QUANTIZATIONS)}"
            )
    if not wanted:
        raise ExportError(f"--quantize is empty; choose of {','.join(QUANTIZATIONS)}")
    return wanted


def _gguf_of_base(trained: Trained) -> Path | None:
    """The GGUF that the model's base was unpacked from, if it was and is still there."""
    base = trained.record.get("base")
    if not isinstance(base, dict) or not base.get("gguf_sha256"):
        return None
    for path in sorted(Path(str(base.get("source"))).glob("*.gguf")):
        if file_sha256(path) == base["gguf_sha256"]:
            return path
    raise ExportError(
        f"the GGUF that {trained.folder} was unpacked from is gone: {base.get('name')}; its"
        " tokenizer can't be compared; put it back, or medbot models pull it"
    )


def _needed_bytes(folder: Path, kinds: Sequence[str]) -> int:
    stored = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    sixteen_bits = stored / (2 if "32" in dtype else 1)
    shares = {*kinds, "f16"}
    return int(sum(sixteen_bits * _BITS.get(kind, _FEW_BITS) / 16 for kind in shares))


def _recommended(files: Sequence[dict[str, Any]]) -> str:
    """The smallest file that answers as the trained model; if none does, the one nearest to it."""
    from medbot_training.export.answers import KEPT

    bits = {file["name"]: _BITS.get(file["quantization"], _FEW_BITS) for file in files}
    good = [file for file in files if file["check"]["same_tokens"] >= KEPT]
    if good:
        return str(min(good, key=lambda file: bits[file["name"]])["name"])
    return str(max(files, key=lambda file: file["check"]["same_tokens"])["name"])


# --- an adapter ----------------------------------------------------------------------------------


def _export_adapter(settings: ExportSettings, folder: Path) -> dict[str, Any]:
    trained = read_trained(folder, settings.base)
    if not trained.is_adapter:
        raise ExportError(f"{folder} holds all weights, no adapter: give it as --model")
    _check_kind_of_adapter(folder)
    base_gguf = _gguf_beside(trained, settings.base_gguf)
    name = settings.name or manifest.model_name(settings.output_dir)
    fingerprint = _fingerprint(settings, trained, [file_sha256(base_gguf)], name)
    output_dir = settings.output_dir.expanduser()
    if is_there(output_dir, MANIFEST, fingerprint, settings.overwrite):
        _say(f"export: {output_dir} is there already, from the same adapter")
        return dict(json.loads((output_dir / MANIFEST).read_text(encoding="utf-8")))
    tokenizer, facts = _talking_tokenizer(folder)
    evaluation = manifest.evaluation(settings.evaluation)
    stored = (folder / "adapter_model.safetensors").stat().st_size
    with whole_folder(output_dir, 2 * stored) as unfinished:
        file = _write_adapter(trained, tokenizer, facts, base_gguf, unfinished / f"{name}.gguf")
        provenance = _provenance(trained, settings, facts, tokenizer, evaluation)
        provenance["base"] = {
            **(provenance.get("base") or {}),
            "gguf_file": base_gguf.name,
            "gguf_sha256": file_sha256(base_gguf),
        }
        made = manifest.write_manifest(
            unfinished,
            "adapter",
            name,
            [file],
            recommended=file["name"],
            **provenance,
            fingerprint=fingerprint,
        )
    _tell(made, output_dir)
    return made


def _check_kind_of_adapter(folder: Path) -> None:
    """Refuse what a LoRA in a GGUF can't hold. Raises ExportError."""
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    reasons = {
        "DoRA": config.get("use_dora"),
        "whole layers (modules_to_save)": config.get("modules_to_save"),
        "a rank or alpha of its own for some layers": config.get("rank_pattern")
        or config.get("alpha_pattern"),
        "trained biases": config.get("bias") not in (None, "none") or config.get("lora_bias"),
        f"the kind {config.get('peft_type')}": config.get("peft_type") != "LORA",
    }
    for reason, is_there_one in reasons.items():
        if is_there_one:
            raise ExportError(
                f"adapter {folder} has {reason}, which a LoRA in a GGUF can't hold; merge it and"
                " export --model"
            )


def _gguf_beside(trained: Trained, named: str | None) -> Path:
    """The GGUF beside which the robot will load an adapter. Raises ExportError."""
    from medbot_llm.domain import MedbotError
    from medbot_llm.models.store import ModelStore

    assert trained.base is not None
    if named is not None:
        try:
            found = ModelStore().resolve(named)
        except MedbotError as error:
            raise ExportError(f"--base_gguf: {error}") from None
        if found.suffix != ".gguf":
            raise ExportError(f"--base_gguf: {found} is no GGUF")
        return found
    if trained.base.gguf_file:
        return Path(trained.base.source) / trained.base.gguf_file
    raise ExportError(
        f"the base {trained.base.name} is no GGUF: name the one that the robot will load this"
        " adapter beside by --base_gguf (an id of 'medbot models list' or a file), or merge and"
        " export --model"
    )


def _write_adapter(
    trained: Trained, tokenizer: Any, facts: Any, base_gguf: Path, target: Path
) -> dict[str, Any]:
    from medbot_training.export import answers as checks
    from medbot_training.export.converter import convert_lora
    from medbot_training.export.probes import make_probes

    assert trained.base is not None
    probes = [p for p in make_probes(tokenizer, facts, data_files(trained)) if p.messages]
    if not probes:
        raise ExportError(f"{trained.folder} has room for no question: its tokenizer is too small")
    dtype = working_dtype(trained.base.source, trained.base.gguf_file, "bfloat16")
    model = load_with_adapter(trained, tokenizer, facts, dtype)
    _say(f"export: {len(probes)} questions to base and adapter")
    answers = checks.greedy_answers(model, tokenizer, facts, probes)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "base"
        base = model.get_base_model()
        base.config.architectures = [type(base).__name__]
        base.config.save_pretrained(config)
        del base
        del model
        convert_lora(_plain_scale(trained.folder, Path(folder) / "adapter"), config, target)
    checks.check_ids(
        base_gguf,
        answers,
        target,
        "; the robot takes the chat template of the base's GGUF: merge the adapter and export"
        " --model, which takes its own template along",
    )
    found = checks.measure(base_gguf, answers, facts, target)
    without = checks.measure(base_gguf, answers, facts)
    found["without_adapter"] = {
        key: without[key] for key in ("same_tokens", "same_answers", "mean_divergence")
    }
    _say(f"export: adapter beside {base_gguf.name}: {checks.words(found)}")
    far = without["mean_divergence"]
    if far > _NOTHING and not found["mean_divergence"] < far:
        raise ExportError(
            f"beside {base_gguf.name} the adapter does not bring the trained answers back"
            f" (divergence {found['mean_divergence']:.2g} nats, {far:.2g} without it); is that the"
            " GGUF of its base?"
        )
    return {"name": target.name, "quantization": "", "check": found}


def _plain_scale(folder: Path, copy: Path) -> Path:
    """An adapter whose weights count alpha/r, as in a GGUF; rank-stabilised ones count by √r."""
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    if not config.get("use_rslora"):
        return folder
    config["lora_alpha"] = config["lora_alpha"] * math.sqrt(config["r"])
    config["use_rslora"] = False
    copy.mkdir()
    (copy / ADAPTER_CONFIG).write_text(json.dumps(config), encoding="utf-8")
    shutil.copy2(folder / "adapter_model.safetensors", copy)
    return copy


# --- both ----------------------------------------------------------------------------------------


def _talking_tokenizer(folder: Path) -> tuple[Any, Any]:
    """The tokenizer, and what is known of its chat template; refused where it has none."""
    tokenizer, facts = load_own_tokenizer(folder)
    if facts is None:
        raise ExportError(
            f"{folder} has no chat template, so the robot could not talk with it; train it by the"
            " stage sft first"
        )
    return tokenizer, facts


def _fingerprint(
    settings: ExportSettings, trained: Trained, kinds: Sequence[str], name: str
) -> str:
    evaluation = settings.evaluation
    parts = [
        VERSION,
        trained.sha256,
        list(kinds),
        name,
        settings.licence,
        file_sha256(evaluation) if evaluation is not None and evaluation.is_file() else None,
        manifest.versions().get("llama-cpp-python"),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _provenance(
    trained: Trained,
    settings: ExportSettings,
    facts: Any,
    tokenizer: Any,
    evaluation: dict[str, Any] | None,
) -> dict[str, Any]:
    record = trained.record
    is_merged = record.get("stage") == "merge"
    # Where things lay on the machine that trained is nobody's business.
    base = {k: v for k, v in (record.get("base") or {}).items() if k != "source"}
    if "name" in base and Path(str(base["name"])).is_absolute():
        base["name"] = Path(str(base["name"])).name
    weights = (
        record["adapter"] if is_merged else {"name": trained.folder, "sha256": trained.sha256}
    )
    is_adapter = record.get("is_adapter") if is_merged else trained.is_adapter
    licence = settings.licence or record.get("licence") or ""
    if not licence and trained.base is not None:
        licence = licence_of(trained.base)
    return {
        "base": base,
        "licence": licence or UNKNOWN_LICENCE,
        "adapter" if is_adapter else "weights": {
            "name": "/".join(Path(str(weights["name"])).parts[-2:]),
            "sha256": weights["sha256"],
        },
        "stages": stages_of(trained),
        "merge": {"dtype": record.get("dtype"), "check": record.get("check")}
        if is_merged
        else None,
        "template": {
            "end_of_turn": facts.end_of_turn,
            "sha256": hashlib.sha256(_template(tokenizer).encode()).hexdigest(),
        },
        "evaluation": evaluation,
        "git": run_record.git_state(),
    }


def _template(tokenizer: Any) -> str:
    template = tokenizer.chat_template
    return str(template.get("default") if isinstance(template, dict) else template)


def _tell(made: dict[str, Any], output_dir: Path) -> None:
    from medbot_training.export.answers import KEPT

    if made["licence"] == UNKNOWN_LICENCE:
        _say("export: note: the base says no licence; name it by --licence")
    for file in made["files"]:
        same = file["check"]["same_tokens"]
        if same < KEPT:
            _say(
                f"export: note: {file['name']} has only {same:.0%} of tokens as trained: what was"
                " taught may be lost in it"
            )
    _say(
        f"export: {output_dir}, recommended {made['recommended']}; on the robot: medbot models add"
        f" {output_dir}"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- the command ---------------------------------------------------------------------------------


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "export",
        help="make the GGUF that the robot loads, and check it",
        description=_DESCRIPTION,
        epilog=(
            "examples:\n"
            "  medbot-train export --model merged --output_dir ward-v1 --quantize q8_0,q4_k_m\n"
            "  medbot-train export --adapter outputs-dpo/final --output_dir ward-v1-lora"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_option(parser, "model", type=Path, metavar="DIR", help="a merged model")
    add_option(parser, "adapter", type=Path, metavar="DIR", help="a stage's final/")
    add_option(parser, "output_dir", type=Path, required=True, metavar="DIR", help="goes here")
    add_option(
        parser,
        "quantize",
        default=",".join(DEFAULT_QUANTIZATIONS),
        metavar="KINDS",
        help=f"kinds of weights, of {','.join(QUANTIZATIONS)} (default: %(default)s)",
    )
    add_option(
        parser,
        "eval",
        type=Path,
        metavar="FILE",
        help="JSON with the result of an evaluation, for the manifest",
    )
    add_option(
        parser,
        "model_name_or_path",
        metavar="BASE",
        help="the adapter's base, where it is no longer where the run found it",
    )
    add_option(
        parser,
        "base_gguf",
        metavar="GGUF",
        help="the GGUF beside which the adapter is loaded, where its base is none",
    )
    add_option(parser, "licence", metavar="SPDX", help="licence, where the base says none")
    add_option(parser, "name", help="the robot's name for it (default: that of output_dir)")
    add_option(
        parser, "overwrite_output_dir", action="store_true", help="replace what is in output_dir"
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    export(
        ExportSettings(
            output_dir=args.output_dir,
            model=args.model,
            adapter=args.adapter,
            quantize=args.quantize.split(","),
            evaluation=args.eval,
            base=args.model_name_or_path,
            base_gguf=args.base_gguf,
            licence=args.licence,
            name=args.name,
            overwrite=args.overwrite_output_dir,
        )
    )
    return 0
