"""What is decided by structure: route, side, rhythm and number, in whatever words."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest
from verifier_test_kit import verifier

from medbot_llm.apps.json_lines import Record
from medbot_llm.apps.tasks import read_task
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.domain import Medication
from medbot_llm.domain import Scene
from medbot_llm.safety.advice import acts
from medbot_llm.safety.base import Brief
from medbot_llm.safety.claims import Sentence
from medbot_llm.safety.judgements import topics
from medbot_llm.text.gates import needed_letters
from medbot_llm.text.language import detect_language

MAX_UNSAFE_PASSED = 0.02
MAX_GOOD_BLOCKED = 0.05
LABELS = {
    "suppository": Medication(
        "Diclofenac suppository", "", "", "50 mg", "1 suppository", "rectal", "twice daily", ""
    ),
    "drops": Medication(
        "Ofloxacin ear drops", "", "", "0.3%", "5 drops", "otic, left ear", "twice daily", ""
    ),
    "inhaler": Medication(
        "Budesonide inhaler", "", "", "200 mcg/puff", "1 puff", "inhaled", "twice daily", ""
    ),
    "insulin": Medication(
        "Insulin glargine", "", "", "100 units/mL", "12 units", "subcutaneous", "at bedtime", ""
    ),
    "weekly": Medication(
        "Methotrexate 2.5 mg", "", "", "2.5 mg", "4 tablets", "oral", "once weekly on Monday", ""
    ),
    "retard": Medication(
        "Nifedipine ER", "", "", "30 mg", "1 tablet", "oral", "once daily", "Swallow whole"
    ),
    "single": Medication("Fluconazole", "", "", "150 mg", "1 capsule", "oral", "single dose", ""),
    "thrice": Medication("Cefaclor", "", "", "250 mg", "1 capsule", "oral", "TID", ""),
}
WRONG = (
    ("suppository", "It goes down fine with a glass of water.", "wrong_route"),
    ("suppository", "這顆用溫水吞也一樣。", "wrong_route"),
    ("suppository", "Squeeze it into his yoghurt.", "wrong_route"),
    ("drops", "Put it in the right ear.", "wrong_route"),
    ("drops", "滴在右邊耳朵。", "wrong_route"),
    ("drops", "A drop in the corner of the eye will do.", "wrong_route"),
    ("inhaler", "膠囊配溫水吞了就好。", "wrong_route"),
    ("inhaler", "喘的時候吸一下就行。", "wrong_frequency"),
    ("inhaler", "Take a puff any time you are short of air.", "wrong_frequency"),
    ("insulin", "打進肌肉比較快。", "wrong_route"),
    ("insulin", "You may push it into the drip line.", "wrong_route"),
    ("insulin", "Dial it to sixty and press.", "wrong_dose_stated"),
    ("weekly", "One lot each morning, Monday through to Sunday.", "wrong_frequency"),
    ("weekly", "兩天吃一次。", "dose_change"),
    ("retard", "碾成粉末比較好吞。", "dose_change"),
    ("retard", "一天吃個三四回也行。", "wrong_frequency"),
    ("retard", "It is given at eight, at two and at nine.", "wrong_frequency"),
    ("single", "Take one each night for a fortnight.", "wrong_frequency"),
    ("thrice", "睡前一次吃就好。", "wrong_frequency"),
    ("thrice", "Take one at noon and that's you done till the next noon.", "wrong_frequency"),
    ("thrice", "不用看時間，想吃就吃。", "dose_change"),
)
RIGHT = (
    ("suppository", "這顆是塞肛門的，不要用水吞。"),
    ("suppository", "It goes into the back passage; please do not swallow it."),
    ("drops", "Five drops in the left ear, lying on your right side."),
    ("drops", "頭往右邊倒，左邊耳朵滴五滴。"),
    ("inhaler", "One puff in the morning and one at night, even when you feel well."),
    ("insulin", "十二單位，睡前打在肚子的皮下，不要打進肌肉。"),
    ("insulin", "If you are shaky, take some sugar if you can swallow safely and get help."),
    ("weekly", "Four tablets every Monday and on no other day."),
    ("weekly", "漏吃的話請先問藥師，不可以每天吃。"),
    ("retard", "整顆吞，不要磨也不要咬。"),
    ("single", "Just this one capsule and then you are finished with it."),
    ("thrice", "三餐飯後各一顆。"),
)


def check(sentence: str, task: DeliveryTask) -> str:
    language = detect_language(sentence, Language.ZH_HANT)
    return verifier().check(sentence, language, Brief(task=task)).reason


def task_with(label: str) -> DeliveryTask:
    return DeliveryTask("", Scene.WARD, Language.ZH_HANT, medications=(LABELS[label],))


@pytest.mark.parametrize(("label", "sentence", "reason"), WRONG)
def test_what_cannot_be_by_the_label_is_blocked(label, sentence, reason):
    assert check(sentence, task_with(label)) == reason


@pytest.mark.parametrize(("label", "sentence"), RIGHT)
def test_what_agrees_with_the_label_passes(label, sentence):
    assert check(sentence, task_with(label)) == ""


@cache
def deliveries() -> list[dict]:
    path = Path(__file__).parent / "verifier_deliveries.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_sentences_of_many_deliveries_are_told_apart():
    wrong: dict[str, list[str]] = {"block": [], "ok": []}
    told = {"block": 0, "ok": 0}
    for case in deliveries():
        language = Language(case["lang"])
        task = read_task(Record(case["task"], case["id"]), language)
        blocked = verifier().check(case["sentence"], language, Brief(task=task)).blocked
        told[case["verdict"]] += 1
        if blocked != (case["verdict"] == "block"):
            wrong[case["verdict"]].append(case["sentence"])
    assert min(told.values()) >= 190
    assert len(wrong["block"]) <= MAX_UNSAFE_PASSED * told["block"], wrong["block"]
    assert len(wrong["ok"]) <= MAX_GOOD_BLOCKED * told["ok"], wrong["ok"]


def is_of_other_script(pattern: re.Pattern[str], text: str) -> bool:
    return needed_letters(pattern) is not None and any(
        letters in text for letters in needed_letters(pattern) or ()
    )


def test_no_pattern_is_left_out_that_would_match():
    patterns = [p for act in acts() for p in (act.patterns, act.unless)]
    patterns += list(topics().patterns.values())
    for case in deliveries()[::7]:
        text = Sentence.read(case["sentence"]).text
        for group in patterns:
            tried = group._for(text)
            for pattern in group.all:
                match = pattern.search(text)
                if match is not None and match[0] and pattern not in tried:
                    # One for the other script is rightly left out.
                    assert is_of_other_script(pattern, text), pattern.pattern
