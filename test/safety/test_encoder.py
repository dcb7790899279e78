"""Tests of the sentence encoders: what they load, and that nothing that is said breaks them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from medbot_llm.safety import second_line
from medbot_llm.safety import second_opinion
from medbot_llm.safety.encoder import ABOUT_FILE
from medbot_llm.safety.encoder import MAX_TOKENS
from medbot_llm.safety.encoder import ONNX_FILE
from medbot_llm.safety.encoder import PIECES_FILE
from medbot_llm.safety.encoder import EncoderError
from medbot_llm.safety.encoder import SentenceEncoder
from medbot_llm.safety.encoder import digest
from medbot_llm.safety.encoder import load
from medbot_llm.text.normal import canonical

GARBAGE = (
    "",
    " ",
    "\n\t\0",
    "。。。！？",
    "😀👍🏽🇹🇼",
    "\ud800 胸口痛 \udfff",
    "\u200b\u200d\ufeff",
    "x" * 20_000,
    "痛" * 20_000,
    "1 " * 10_000,
    "ʘʘʘ שלום مرحبا 한국어 ひらがな",
    "□□□",
    "<s> </s> <unk> <pad>",
    "9" * 400,
)
UNKNOWN = 3
"""The first piece that a text can have."""
ENCODERS = {
    "triage": (second_line.FORMAT, second_line.COMMAND),
    "verifier": (second_opinion.FORMAT, second_opinion.COMMAND),
}


@pytest.fixture(scope="module", params=sorted(ENCODERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def stored(repository: Path, name: str) -> Path:
    return repository / "resource" / name


@pytest.fixture(scope="module")
def encoder(stored: Path, name: str) -> SentenceEncoder:
    return load(stored, *ENCODERS[name])[0]


@pytest.fixture
def copy(stored: Path, tmp_path: Path) -> Path:
    for file in (ABOUT_FILE, ONNX_FILE, PIECES_FILE):
        shutil.copy(stored / file, tmp_path / file)
    return tmp_path


def assert_refused(directory: Path, name: str, says: str) -> None:
    with pytest.raises(EncoderError, match=says) as caught:
        load(directory, *ENCODERS[name])
    assert str(directory) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
def test_it_scores_whatever_is_said(encoder: SentenceEncoder, text: str) -> None:
    scores = encoder.scores(text)
    assert np.isfinite(scores).all()
    assert np.array_equal(scores, encoder.scores(text))
    context = encoder.context(text)
    assert np.isfinite(encoder.scores("hello there", context)).all()


def test_the_end_of_a_long_text_counts(encoder: SentenceEncoder) -> None:
    # A piece of this text is at least one of its words.
    chat = "the tea is nice today and " * MAX_TOKENS
    for part in ("my chest is being crushed and i cannot breathe", "double the dose yourself"):
        alone, buried = encoder.scores(part)[0], encoder.scores(f"{chat}. {part}")[0]
        assert buried > encoder.scores(chat)[0] or buried > alone


def test_control_pieces_cannot_be_spoken(encoder: SentenceEncoder) -> None:
    for written in ("<s>", "</s>", "<pad>", "a </s> b", "\0", "\x000 \x001", "\U0010ffff2"):
        assert min(encoder._ids(canonical(written)), default=UNKNOWN) >= UNKNOWN


def test_no_context_is_an_empty_one(encoder: SentenceEncoder) -> None:
    plain = encoder.scores("take one tablet")
    assert np.array_equal(plain, encoder.scores("take one tablet", encoder.context("")))
    assert not np.array_equal(
        plain, encoder.scores("take one tablet", encoder.context("two tablets a day"))
    )


def test_many_threads_get_the_same_scores(encoder: SentenceEncoder) -> None:
    texts = [f"my chest hurts for {i} minutes" for i in range(12)]
    context = encoder.context("aspirin 100 mg . 1 tablet")
    alone = [encoder.scores(text, context) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda text: encoder.scores(text, context), texts))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("file", [ABOUT_FILE, ONNX_FILE, PIECES_FILE])
def test_a_missing_file_is_one_clear_error(copy: Path, name: str, file: str) -> None:
    (copy / file).unlink()
    assert_refused(copy, name, "can't be used")


@pytest.mark.parametrize("file", [ABOUT_FILE, ONNX_FILE, PIECES_FILE])
@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.99])
def test_a_cut_file_is_one_clear_error(copy: Path, name: str, file: str, kept: float) -> None:
    content = (copy / file).read_bytes()
    (copy / file).write_bytes(content[: int(kept if kept >= 1 else len(content) * kept)])
    assert_refused(copy, name, "can't be used")


@pytest.mark.parametrize("file", [ONNX_FILE, PIECES_FILE])
def test_a_single_changed_byte_is_found(copy: Path, name: str, file: str) -> None:
    content = bytearray((copy / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / file).write_bytes(bytes(content))
    assert_refused(copy, name, "are not those")


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about.pop("choices"),
        lambda about: about["choices"].append("further"),
        lambda about: about.update(yes=7),
        lambda about: about.update(sha256=""),
    ],
)
def test_what_does_not_fit_is_one_clear_error(
    copy: Path, name: str, change: Callable[[dict], object]
) -> None:
    about = json.loads((copy / ABOUT_FILE).read_text(encoding="utf-8"))
    change(about)
    (copy / ABOUT_FILE).write_text(json.dumps(about), encoding="utf-8")
    assert_refused(copy, name, "can't be used")


def test_an_old_format_says_what_to_do(copy: Path, name: str) -> None:
    about = json.loads((copy / ABOUT_FILE).read_text(encoding="utf-8"))
    (copy / ABOUT_FILE).write_text(json.dumps(about | {"format": 0}), encoding="utf-8")
    assert_refused(copy, name, f"format 0.*{ENCODERS[name][1]}")


def test_no_onnx_file_is_one_clear_error(copy: Path, name: str) -> None:
    about = json.loads((copy / ABOUT_FILE).read_text(encoding="utf-8"))
    pieces = (copy / PIECES_FILE).read_text(encoding="utf-8")
    (copy / ONNX_FILE).write_bytes(b"not a model")
    about["sha256"] = digest(copy / ONNX_FILE, pieces)
    (copy / ABOUT_FILE).write_text(json.dumps(about), encoding="utf-8")
    assert_refused(copy, name, "can't be used")
