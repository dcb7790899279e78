"""Tests of the triage's second line: where it comes from, and what it makes of what is said."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from medbot_llm.safety.base import Circumstances
from medbot_llm.safety.encoder import ABOUT_FILE
from medbot_llm.safety.second_line import Judgement
from medbot_llm.safety.second_line import SecondLine
from medbot_llm.safety.second_line import SecondLineError
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
def triage() -> SafetyTriage:
    return SafetyTriage()


def test_it_was_trained_on_the_data_that_is_here(
    repository: Path, second_line: SecondLine
) -> None:
    digest = hashlib.sha256()
    data = repository / "data"
    for file in sorted([*(data / "triage").glob("*.tsv"), *(data / "intents").glob("*.tsv")]):
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode() + content)
    message = "data/triage or data/intents has changed since; run: make triage-train"
    assert second_line.about["data_sha256"] == digest.hexdigest(), message


def test_it_names_what_it_comes_from(second_line: SecondLine) -> None:
    assert "multilingual-e5-small, MIT" in second_line.about["base"]
    assert set(second_line.categories) <= set(CATEGORIES)


def test_both_lines_keep_to_the_bars_on_what_was_written_to_find_faults(
    repository: Path, triage: SafetyTriage
) -> None:
    """Of data/triage/development, by which rules were mended: none may come back."""
    rows = [
        row.split("\t")
        for file in sorted((repository / "data" / "triage" / "development").glob("*.tsv"))
        for row in file.read_text(encoding="utf-8").splitlines()
    ]
    levels = [
        (level, str(triage.assess(text, Circumstances()).severity or "none"), text)
        for _, level, _, text in rows
    ]
    missed = [text for level, found, text in levels if level == "emergency" != found]
    false = [text for level, found, text in levels if level == "none" and found == "emergency"]
    assert len(levels) > 300
    assert len(missed) <= 0.03 * sum(level == "emergency" for level, _, _ in levels), missed
    assert len(false) <= 0.05 * sum(level == "none" for level, _, _ in levels), false


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
def test_it_judges_whatever_is_said(second_line: SecondLine, text: str) -> None:
    judgement = second_line.judge(text)
    assert isinstance(judgement, Judgement)
    assert 0 <= judgement.emergency <= 1
    assert 0 <= judgement.help <= 1
    assert judgement.category in second_line.categories
    assert judgement == second_line.judge(text)


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
def test_the_whole_triage_judges_whatever_is_said(triage: SafetyTriage, text: str) -> None:
    assert triage.assess(text, Circumstances()) == triage.assess(text, Circumstances())


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


@pytest.mark.parametrize("calibration", [None, [], [[1, 2]], "high", [[1, "a"], [0, 0]]])
def test_numbers_that_do_not_fit_are_one_clear_error(
    repository: Path, tmp_path: Path, calibration: object
) -> None:
    copy = shutil.copytree(repository / "resource" / "triage", tmp_path / "triage")
    about = json.loads((copy / ABOUT_FILE).read_text(encoding="utf-8"))
    about["calibration"] = calibration
    (copy / ABOUT_FILE).write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(SecondLineError) as caught:
        SecondLine.load(copy)
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)
