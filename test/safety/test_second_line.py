"""Tests of the triage's second line: what it loads, and that nothing that is said breaks it."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from medbot_llm.safety.base import Circumstances
from medbot_llm.safety.second_line import FILE_NAME
from medbot_llm.safety.second_line import Judgement
from medbot_llm.safety.second_line import SecondLine
from medbot_llm.safety.second_line import SecondLineError
from medbot_llm.safety.sentence_net import MAX_PLACES
from medbot_llm.safety.sentence_net import Vocabulary
from medbot_llm.safety.sentence_net import marks_by_place
from medbot_llm.safety.triage import SafetyTriage
from medbot_llm.safety.triage_rules import CATEGORIES

GARBAGE = (
    "",
    " ",
    "\n\t\0",
    "。。。！？",
    "😀👍🏽🇹🇼",
    "\ud800 胸口痛 \udfff",
    "\u200b\u200d\ufeff",
    "ａｂｃ１２３",
    "x" * 20_000,
    "痛" * 20_000,
    "1 " * 10_000,
    "ʘʘʘ שלום مرحبا 한국어 ひらがな",
    "□□□",
    "9" * 400,
)


@pytest.fixture(scope="module")
def second_line() -> SecondLine:
    return SecondLine.load()


@pytest.fixture(scope="module")
def stored(repository: Path) -> Path:
    return repository / "resource" / "triage" / FILE_NAME


def changed(stored: Path, tmp_path: Path, **changes: object) -> Path:
    """Write the numbers with some of them replaced; None: left out."""
    with np.load(io.BytesIO(stored.read_bytes()), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files} | changes
    copy = tmp_path / FILE_NAME
    np.savez(copy, **{name: a for name, a in arrays.items() if a is not None})  # type: ignore[arg-type]
    return copy


def test_it_was_trained_on_the_data_that_is_here(
    repository: Path, second_line: SecondLine
) -> None:
    digest = hashlib.sha256()
    for file in sorted((repository / "data" / "triage").glob("*.tsv")):
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode() + content)
    message = "data/triage has changed since; run: make triage-train"
    assert second_line.about["data_sha256"] == digest.hexdigest(), message


def test_its_file_is_small_and_names_what_it_comes_from(
    stored: Path, second_line: SecondLine
) -> None:
    assert stored.stat().st_size <= 6_000_000
    assert "Apache-2.0" in second_line.about["word_vectors"]
    assert set(second_line.categories) <= set(CATEGORIES)


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
def test_it_judges_whatever_is_said(second_line: SecondLine, text: str) -> None:
    judgement = second_line.judge(text)
    assert 0 <= judgement.emergency <= 1
    assert 0 <= judgement.help <= 1
    assert judgement.category in second_line.categories
    assert judgement == second_line.judge(text)


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
def test_the_whole_triage_judges_whatever_is_said(text: str) -> None:
    triage = SafetyTriage()
    assert triage.assess(text, Circumstances()) == triage.assess(text, Circumstances())


def test_two_loads_judge_alike(second_line: SecondLine) -> None:
    text = "the room keeps sliding and I can't hold on"
    assert SecondLine.load().judge(text) == second_line.judge(text)


def test_marks_outside_of_the_text_or_unknown_change_nothing(second_line: SecondLine) -> None:
    text = "my tea is cold"
    plain = second_line.judge(text)
    marked = second_line.judge(text, (), (("c:nothing", 0, 3), ("c:chest", 900, 905)))
    assert marked.emergency_logit == pytest.approx(plain.emergency_logit)


@pytest.mark.parametrize(
    ("alarming", "harmless"),
    [
        (
            "it feels like a boulder is parked on my ribs",
            "there is a boulder parked in the garden",
        ),
        ("胸口像被大石頭壓住，冷汗一直流", "公園裡有一塊大石頭，很漂亮"),
        ("胸口像被大石头压住，冷汗一直流", "公园里有一块大石头，很漂亮"),
    ],
)
def test_it_tells_danger_from_chat(second_line: SecondLine, alarming: str, harmless: str) -> None:
    assert second_line.judge(alarming).emergency > second_line.judge(harmless).emergency + 0.3


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SecondLineError, match="can't be read"):
        SecondLine.load(tmp_path / FILE_NAME)


@pytest.mark.parametrize("kept", [0, 1, 100, 0.3, 0.9, 0.9999])
def test_a_cut_file_is_one_clear_error(stored: Path, tmp_path: Path, kept: float) -> None:
    content = stored.read_bytes()
    cut = tmp_path / FILE_NAME
    cut.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    assert_one_line(cut)


def test_a_damaged_file_is_one_clear_error(stored: Path, tmp_path: Path) -> None:
    content = bytearray(stored.read_bytes())
    for position in range(2000, len(content) - 2000, len(content) // 50):
        content[position] ^= 0xFF
    damaged = tmp_path / FILE_NAME
    damaged.write_bytes(bytes(content))
    assert_one_line(damaged)


@pytest.mark.parametrize(
    "changes",
    [
        {"net_words": None},
        {"net_words": np.zeros((3, 96), np.int8)},
        {"net_filters": np.zeros((2, 2), np.float16)},
        {"net_strings": np.array("a\nb")},
        {"net_out": np.zeros((128, 3), np.float32)},
        {"calibration": np.zeros((2, 2), np.float32)},
        {"urgency": np.zeros(5, np.float16)},
        {"about": np.array("{")},
        {"about": np.array("[]")},
        {"about": np.array("{}")},
    ],
    ids=str,
)
def test_numbers_that_do_not_fit_are_one_clear_error(
    stored: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    assert_one_line(changed(stored, tmp_path, **changes))


def test_an_old_format_says_what_to_do(
    stored: Path, tmp_path: Path, second_line: SecondLine
) -> None:
    old = changed(stored, tmp_path, about=np.array(json.dumps(second_line.about | {"format": 2})))
    with pytest.raises(SecondLineError, match=r"format 2.*make triage-train"):
        SecondLine.load(old)


def assert_one_line(file: Path) -> None:
    with pytest.raises(SecondLineError) as caught:
        SecondLine.load(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


# Parting text into places ------------------------------------------------------------------------

WORDS = Vocabulary.of(["胸", "口", "胸口", "痛", "_pain", "_un", "known", "_x"])


def parted(text: str) -> list[str]:
    return [text[place.start : place.end] for place in WORDS.places(text)]


def test_chinese_is_parted_by_character_and_knows_its_word() -> None:
    places = WORDS.places("胸口痛")
    assert [place.word for place in places] == [3, 3, 4]
    assert [place.inner for place in places] == [1, 2, 3]
    assert [place.kind for place in places] == [1, 2, 0]


def test_an_unknown_word_is_parted_into_the_longest_pieces() -> None:
    assert parted("unknown pain zz") == ["un", "known", "pain", "z", "z"]


def test_numbers_and_punctuation_are_places() -> None:
    assert parted("pain, 20 痛!") == ["pain", ",", "20", "痛", "!"]


def test_no_more_places_than_are_looked_at() -> None:
    assert len(WORDS.places("胸" * 5000)) == MAX_PLACES
    assert len(WORDS.places("q" * 5000)) == MAX_PLACES
    assert len(WORDS.places("")) == 1


def test_marks_lie_on_the_places_that_they_touch() -> None:
    places = WORDS.places("胸口 pain")
    marks = [("a", 1, 4), ("b", 3, 7), ("c", 0, 1)]
    assert marks_by_place(places, marks, {"a": 0, "b": 1}) == [(1, 0), (2, 0), (2, 1)]


def test_a_judgement_is_a_plain_value(second_line: SecondLine) -> None:
    assert isinstance(second_line.judge("hello there"), Judgement)
