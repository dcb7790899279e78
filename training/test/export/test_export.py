"""Export: each GGUF is asked by llama.cpp what the trained model was asked, and it is told."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader
from transformers import AutoModelForCausalLM

from medbot_llm.models.exports import digest_of
from medbot_llm.models.exports import read_export
from medbot_llm.models.store import ModelStore
from medbot_training.base import file_sha256
from medbot_training.export import answers as checks
from medbot_training.export.folders import ExportError
from medbot_training.export.gguf import ExportSettings
from medbot_training.export.gguf import export
from medbot_training.export.llama_runner import quantize
from medbot_training.export.merge import MergeSettings
from medbot_training.export.merge import load_own_tokenizer
from medbot_training.export.merge import load_plain
from medbot_training.export.merge import merge
from medbot_training.export.probes import make_probes
from medbot_training.export.vocabulary import check_same_vocabulary

from .conftest import Told
from .conftest import Train
from .conftest import read


def test_manifest_says_what_it_is_made_of_and_how_it_does(exported: Path, merged: Path) -> None:
    manifest, record = read(exported, "manifest.json"), read(merged)
    assert [file["quantization"] for file in manifest["files"]] == ["f16", "q8_0", "q4_k_m"]
    for file in manifest["files"]:
        path = exported / file["name"]
        assert file["sha256"] == file_sha256(path) and file["bytes"] == path.stat().st_size
        assert file["check"]["questions"] >= 5 and file["check"]["tokens"] > 20
    f16, q8, q4 = (file["check"] for file in manifest["files"])
    assert f16["same_tokens"] == 1.0 and f16["same_answers"] == f16["questions"]
    assert f16["ended"] == f16["ends_too"] > 0
    assert f16["mean_divergence"] < q8["mean_divergence"] < q4["mean_divergence"] < 0.5
    assert manifest["stages"] == record["stages"] and manifest["licence"] == "Apache-2.0"
    assert manifest["merge"]["check"] == record["check"]
    assert {"llama-cpp-python", "transformers", "torch"} <= set(manifest["versions"])
    assert "source" not in manifest["base"]
    assert manifest["digest"] == digest_of(manifest)


def test_the_robot_keeps_what_was_exported(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ModelStore(tmp_path)
    found = read_export(exported)
    store.add_export(found, "ward-v1", "q8_0")
    assert store.parts("ward-v1") == ("ward-v1", "")
    here = GGUFReader(str(store.resolve("ward-v1")))
    assert here.get_field("general.architecture").contents() == "qwen2"
    assert here.get_field("tokenizer.ggml.add_bos_token").contents() is False
    template = here.get_field("tokenizer.chat_template").contents()
    assert "%- generation" not in template and "add_generation_prompt" in template


def test_weights_that_are_not_the_trained_ones_are_noticed(
    exported: Path, merged: Path, tiny: Path, tmp_path: Path
) -> None:
    """What llama.cpp runs is led along answers that another model gave."""
    tokenizer, facts = load_own_tokenizer(merged)
    probes = [probe for probe in make_probes(tokenizer, facts) if probe.messages]
    untrained = checks.greedy_answers(load_plain(tiny, "float32"), tokenizer, facts, probes)
    (f16,) = exported.glob("*-f16.gguf")
    found = checks.measure(f16, untrained, facts)
    assert found["same_tokens"] < 0.5
    with pytest.raises(ExportError, match="does not answer as the trained model"):
        checks.check_conversion(f16.name, found)
    tokenizer.chat_template = tokenizer.chat_template.replace("'\\n' }}", "'\\n\\n' }}")
    asked_otherwise = checks.greedy_answers(
        load_plain(merged, "float32"), tokenizer, facts, make_probes(tokenizer, facts)[:1]
    )
    with pytest.raises(ExportError, match=r"would ask .* otherwise than was trained: id"):
        checks.check_ids(f16, asked_otherwise)


@pytest.fixture(scope="module")
def base_gguf(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a GGUF that can be trained on."""
    folder = tmp_path_factory.mktemp("base-gguf") / "tiny-base"
    made = export(ExportSettings(folder, model=tiny, quantize=["f16"]))
    assert made["recommended"] == "tiny-base-f16.gguf"
    return folder / "tiny-base-f16.gguf"


@pytest.fixture(scope="module")
def on_gguf(base_gguf: Path, train: Train) -> Path:
    """An adapter that was trained on a GGUF."""
    return train(model_name_or_path=str(base_gguf), max_steps=15, packing=True)


def test_adapter_beside_the_gguf_of_its_base(
    base_gguf: Path, on_gguf: Path, tmp_path: Path, train: Train
) -> None:
    out = tmp_path / "ward-lora"
    made = export(ExportSettings(out, adapter=on_gguf))
    (file,) = made["files"]
    check = file["check"]
    assert check["same_tokens"] > 0.95 and check["mean_divergence"] < 0.01
    assert check["without_adapter"]["mean_divergence"] > 10 * check["mean_divergence"]
    assert made["base"]["gguf_sha256"] == file_sha256(base_gguf)
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "ward-lora.gguf"]

    store = ModelStore(tmp_path / "store")
    with pytest.raises(Exception, match="add that GGUF first"):
        store.add_export(read_export(out), "ward-lora")
    store.add(base_gguf, "tiny-base", "chat")
    store.add_export(read_export(out), "ward-lora")
    assert store.parts("ward-lora") == ("tiny-base", "ward-lora")


@pytest.mark.slow
def test_rank_stabilised_adapter_keeps_its_strength(
    base_gguf: Path, train: Train, tmp_path: Path
) -> None:
    final = train(
        model_name_or_path=str(base_gguf), max_steps=12, use_rslora=True, learning_rate=2e-3
    )
    (file,) = export(ExportSettings(tmp_path / "out", adapter=final))["files"]
    assert file["check"]["mean_divergence"] < 0.01


def test_merged_on_a_gguf_has_its_tokenizer(
    base_gguf: Path, on_gguf: Path, tmp_path: Path
) -> None:
    merge(MergeSettings(on_gguf, tmp_path / "merged"))
    made = export(ExportSettings(tmp_path / "out", model=tmp_path / "merged", quantize=["f16"]))
    (file,) = made["files"]
    assert file["check"]["same_tokens"] == 1.0
    ours = tmp_path / "out" / file["name"]
    size = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").config.vocab_size
    assert check_same_vocabulary(ours, base_gguf) == size
    # Another tokenizer is told.
    other = tmp_path / "other.gguf"
    _with_other_token(base_gguf, other)
    with pytest.raises(ExportError, match=r"otherwise than its base other\.gguf: id 300 is"):
        check_same_vocabulary(ours, other)


def _with_other_token(source: Path, target: Path) -> None:
    """Copy a GGUF with one token of its vocabulary changed, in place and of the same length."""
    field = GGUFReader(str(source)).get_field("tokenizer.ggml.tokens")
    token = bytes(field.parts[field.data[300]])
    content = bytearray(source.read_bytes())
    place = content.index(len(token).to_bytes(8, "little") + token, int(field.offset)) + 8
    content[place : place + len(token)] = b"~" * len(token)
    target.write_bytes(bytes(content))


def test_what_can_not_be_exported(
    adapter: Path,
    merged: Path,
    train: Train,
    tmp_path: Path,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = ("--output_dir", tmp_path / "out")
    said = told("export", "--model", merged, *out, "--quantize", "f16,q9_z")
    assert "there is no kind 'q9_z'; choose of f16," in said
    assert "either --model" in told("export", *out)
    assert "give it as --adapter, or merge it first" in told("export", "--model", adapter, *out)
    assert "give it as --model" in told("export", "--adapter", merged, *out)
    assert "is no GGUF: name the one" in told("export", "--adapter", adapter, *out)
    dora = train(max_steps=1, use_dora=True)
    assert "has DoRA" in told("export", "--adapter", dora, *out)
    copy = tmp_path / "copy"
    shutil.copytree(merged, copy)
    (copy / "tokenizer.json").unlink()
    assert "has no tokenizer.json" in told("export", "--model", copy, *out)
    evaluation = tmp_path / "eval.json"
    evaluation.write_text("[1]")
    assert "must be a JSON object" in told("export", "--model", merged, *out, "--eval", evaluation)
    monkeypatch.setenv("MEDBOT_HOME", str(tmp_path / "empty"))
    assert "run make setup-training" in told("export", "--model", merged, *out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "eval.json"]


def test_full_disk(merged: Path, tmp_path: Path, told: Told) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        said = told(
            *("export", "--model", merged, "--output_dir", tmp_path / "out", "--quantize", "f16")
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "is full, or its limit of file sizes" in said
    assert list(tmp_path.iterdir()) == []


def test_evaluation_goes_into_the_manifest_and_done_is_done(
    merged: Path, exported: Path, told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = ("f16", "q8_0", "q4_k_m")
    stamp = (exported / "manifest.json").stat().st_mtime_ns
    export(ExportSettings(exported, model=merged, quantize=kinds))
    assert "is there already" in capsys.readouterr().err
    evaluation = exported.parent / "eval.json"
    evaluation.write_text(json.dumps({"eval_loss": 1.25}))
    said = told(
        *("export", "--model", merged, "--output_dir", exported, "--eval", evaluation),
        *("--quantize", ",".join(kinds)),
    )
    assert "holds something else" in said
    assert (exported / "manifest.json").stat().st_mtime_ns == stamp


_SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3", "llama", "llama-3.1"])
def test_other_architectures(name: str, tiny: Path, train: Train, tmp_path: Path) -> None:
    """Trained, merged and exported; Llama's query and key rows are ordered otherwise in a GGUF."""
    import torch
    from transformers import AutoTokenizer
    from transformers import LlamaConfig
    from transformers import LlamaForCausalLM
    from transformers import Qwen3Config
    from transformers import Qwen3ForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    options = {**_SHAPE, "vocab_size": len(tokenizer), "bos_token_id": None}
    if name == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**options, head_dim=32, tie_word_embeddings=True))
    elif name == "llama":
        model = LlamaForCausalLM(LlamaConfig(**options))
    else:
        scaling = {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 256,
        }
        model = LlamaForCausalLM(LlamaConfig(**options, rope_parameters=scaling))
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=1.0)
    base = tmp_path / "base"
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    final = train(model_name_or_path=str(base), max_steps=40, packing=True)
    merge(MergeSettings(final, tmp_path / "merged"))
    made = export(
        ExportSettings(tmp_path / "out", model=tmp_path / "merged", quantize=["f16", "q8_0"])
    )
    assert made["files"][0]["check"]["same_tokens"] > 0.98
    assert made["licence"] == "LicenseRef-unknown"
    gguf = tmp_path / "out" / made["files"][0]["name"]
    beside = export(
        ExportSettings(
            tmp_path / "lora",
            adapter=final,
            base_gguf=str(_as_gguf(base, tmp_path / "base-gguf")),
        )
    )
    assert gguf.exists() and beside["files"][0]["check"]["same_tokens"] > 0.95


def _as_gguf(base: Path, folder: Path) -> Path:
    made = export(ExportSettings(folder, model=base, quantize=["f16"]))
    return folder / str(made["recommended"])


@pytest.mark.slow
def test_the_half_billion_from_its_gguf(train: Train, tmp_path: Path) -> None:
    """The catalog's 0.5B: trained a little, merged, in 16 and 8 bits, and as LoRA beside it."""
    from medbot_llm.models.store import ModelState

    name = "qwen2.5-coder-0.5b-instruct-q4_k_m"
    if ModelStore().state(name) is not ModelState.READY:
        pytest.skip(f"medbot models pull {name}")
    final = train(
        model_name_or_path=name,
        max_steps=4,
        max_train_samples=8,
        per_device_train_batch_size=2,
        packing=False,
        learning_rate=4e-4,
    )
    record = merge(MergeSettings(final, tmp_path / "merged"))
    assert record["dtype"] == "float16" and record["licence"] == "Apache-2.0"
    made = export(
        ExportSettings(tmp_path / "out", model=tmp_path / "merged", quantize=["f16", "q8_0"])
    )
    f16, q8 = (file["check"] for file in made["files"])
    assert f16["same_tokens"] > 0.98 and q8["same_tokens"] > 0.95
    beside = export(ExportSettings(tmp_path / "lora", adapter=final))
    check = beside["files"][0]["check"]
    assert check["mean_divergence"] < check["without_adapter"]["mean_divergence"] / 3
    store = ModelStore()
    assert store.path(name).name == beside["base"]["gguf_file"]


def test_quantizing_what_is_no_gguf(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"not a GGUF")
    with pytest.raises(ExportError, match=r"could not make out\.gguf"):
        quantize(wrong, tmp_path / "out.gguf", "q8_0")
