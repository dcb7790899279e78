"""藥 comes back where Whisper wrote 要 for it, and 要 stays where it was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from medbot_llm.domain import Language
from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.homophones import MedicineOrWant
from medbot_llm.speech.ordinary import Ordinary
from medbot_llm.speech.repair import SoundRepair
from medbot_llm.speech.repair import ward_words

SAID_MEDICINE = [
    "這個藥一天吃幾次",
    "我的藥什麼時候會送來",
    "止痛藥可以跟胃藥一起吃嗎",
    "我今天早上忘記吃藥了",
    "這個藥要飯前吃還是飯後吃",
    "護理師，我的藥掉到地上了",
    "媽媽的血壓藥放在哪裡",
    "吃完藥可以喝咖啡嗎",
    "感冒藥吃了會想睡覺",
    "不要隨便停藥",
    "這包藥要冰起來嗎",
]
SAID_WANT = [
    "我不要吃",
    "要不要叫護理師",
    "還要等多久",
    "需要幫忙嗎",
    "我要去廁所",
    "一定要飯後吃嗎",
    "你要去哪裡",
    "要是忘記了怎麼辦",
    "主要是頭痛",
    "只要一顆就好",
    "我想要喝水",
    "快要下雨了",
    "要多喝水",
    "明天要開刀",
    "重要的事情",
]


@pytest.fixture(scope="module")
def repair() -> SoundRepair:
    return SoundRepair(ward_words(), Ordinary.load())


def test_most_medicines_come_back(repair: SoundRepair) -> None:
    wrong = [
        said
        for said in SAID_MEDICINE
        if repair.repair(said.replace("藥", "要"), Language.ZH_HANT).text != said
    ]
    assert len(wrong) <= 2, wrong


@pytest.mark.parametrize("said", SAID_WANT)
def test_what_was_wanted_stays(repair: SoundRepair, said: str) -> None:
    repaired = repair.repair(said, Language.ZH_HANT)
    assert (repaired.text, repaired.repairs) == (said, ())


def test_it_is_marked_and_written_in_the_sessions_script(repair: SoundRepair) -> None:
    repaired = repair.repair("這個要一天吃幾次", Language.ZH_HANS)
    assert repaired.text == "這個药一天吃幾次"
    [change] = repaired.repairs
    assert (change.heard, change.meant, change.matters) == ("要", "药", False)
    assert change.score >= 0.9


def test_punctuation_and_other_writing_move_no_place() -> None:
    weights = MedicineOrWant.load()
    for text in (
        "，，这个要，一天吃几次？",
        "OK 这个要一天吃几次",
        "要",
        "",
        "药药药",
        "😀这个要一天吃几次",
    ):
        for place, _ in weights.medicine(text):
            assert text[place] == "要"
    assert [place for place, _ in weights.medicine("，，这个要，一天吃几次？")] == [4]


@pytest.mark.parametrize("content", ["", "[]", '{"a": "b"}', "not json"])
def test_broken_weights_are_one_clear_error(tmp_path: Path, content: str) -> None:
    file = tmp_path / "weights.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(SpeechError, match="cannot be read"):
        MedicineOrWant.load(file)
    with pytest.raises(SpeechError, match="cannot be read"):
        MedicineOrWant.load(tmp_path / "none.json")
