"""What a model that has lost its thread writes is not spoken; what people repeat is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from medbot_llm.domain import Language
from medbot_llm.safety.garble import check_garble

HANT, HANS, EN = Language.ZH_HANT, Language.ZH_HANS, Language.EN


@pytest.mark.parametrize(
    ("sentence", "language"),
    [
        ("祝您早日康復，祝您早日康復，祝您早日康復。", HANT),
        ("祝您YouYouYou健康", HANT),
        ("请按时吃药请按时吃药请按时吃药", HANS),
        ("要要要要要要要要", HANT),
        ("take take take take take take", EN),
        ("Take it with water, take it with water, take it with water.", EN),
        ("Ask the nurse\ufffd\ufffd", EN),
    ],
)
def test_loops_and_signs_that_are_no_letters(sentence: str, language: Language) -> None:
    assert check_garble(sentence, language).reason == "garbled"


@pytest.mark.parametrize(
    ("sentence", "language"),
    [
        ("請把 the medicine with 溫水一起吃", HANT),
        ("我们 будем 說明", HANT),
        ("請飯後に飲んでください", HANT),
        ("Take it 飯後吃的是嗎", EN),
        ("Take it после еды", EN),
    ],
)
def test_sentences_in_two_languages(sentence: str, language: Language) -> None:
    assert check_garble(sentence, language).reason == "wrong_language"


@pytest.mark.parametrize(
    ("sentence", "language"),
    [
        ("謝謝謝謝您，請好好休息", HANT),
        ("哈哈哈哈，好的", HANT),
        ("慢慢來，慢慢來，慢慢來", HANT),
        ("No, no, no, please don't take it.", EN),
        ("一天三次，一次一顆；一天三次，一次一顆", HANT),
        ("濃度是 1000000 單位", HANT),
        ("這是 Panadol Extra with Optizorb，飯後吃", HANT),
        ("OK，您的 aspirin 是 100 mg，QD", HANT),
        ("The box says 普拿疼, which is acetaminophen.", EN),
        ("阿里山の茶也要少喝", HANT),
    ],
)
def test_what_people_say(sentence: str, language: Language) -> None:
    assert not check_garble(sentence, language).blocked


def test_names_of_the_task_may_stand_in_any_language() -> None:
    name = "한미약품 the pill of it"
    assert check_garble(f"這是{name}", HANT).blocked
    assert not check_garble(f"這是{name}", HANT, [name]).blocked


def sentences(repository: Path) -> Iterator[tuple[Language, list[str], str]]:
    """Every sentence that the verifier learns from, with the names of its task."""
    for path in sorted((repository / "data/verifier").glob("pairs_*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            names = [str(v) for m in entry["task"]["medications"] for v in m.values() if v]
            for *_, sentence in entry["sentences"]:
                yield Language(entry["lang"]), names, sentence


def test_no_sentence_that_somebody_wrote_is_garbled(repository: Path) -> None:
    read = list(sentences(repository))
    assert len(read) > 10_000
    assert [s for language, names, s in read if check_garble(s, language, names).blocked] == []
