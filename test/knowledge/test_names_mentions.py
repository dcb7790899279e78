"""Medicines are found in a sentence at word boundaries, the longest first, and nowhere else."""

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from medbot_llm.text.normal import canonical


def named(formulary, text):
    return [mention.medicine.id for mention in formulary.mentions(text)]


@pytest.mark.parametrize(
    ("text", "medicines"),
    [
        (
            "我早上吃了脈優和普拿疼，可以再吃 aspirin 嗎？",
            ["amlodipine", "paracetamol", "aspirin"],
        ),
        ("我早上吃了脉优和 aspirin100mg", ["amlodipine", "aspirin"]),
        ("Can I take Norvasc with ibuprofen?", ["amlodipine", "ibuprofen"]),
        ("my Lipitors and two aspirins", ["atorvastatin", "aspirin"]),
        ("warfarin-sodium/Coumadin", ["warfarin", "warfarin"]),
        ("Is it amoxicillin and clavulanic acid?", ["amoxicillin-clavulanate"]),
        ("他吃了二十顆普拿疼", ["paracetamol"]),
        ("Norvasc™ 5mg", ["amlodipine"]),
        ("NORVASC,PLAVIX", ["amlodipine", "clopidogrel"]),
        ("昨天開始立普妥", ["atorvastatin"]),
    ],
)
def test_names_in_a_sentence(formulary, text, medicines):
    assert named(formulary, text) == medicines


def test_the_longest_name_wins(small):
    assert named(small, "amlodipine and valsartan") == ["amlodipine-valsartan"]
    assert named(small, "氨氯地平纈沙坦") == ["amlodipine-valsartan"]


def test_offsets_are_into_the_canonical_text(formulary):
    text = "我　吃　脈優　和　ＮＯＲＶＡＳＣ"
    for mention in formulary.mentions(text):
        assert canonical(text)[mention.start : mention.end] == mention.text


@pytest.mark.parametrize(
    "text",
    [
        "The norvascular system",
        "aspirinlike",
        "xaspirin",
        "情緒很安定",
        "三酸甘油酯太高",
        "今日舒服多了",
        "陪朋友復健",
        "開始立刻做",
        "這個可定期檢查，也可迅速處理",
        "We went through the park",
        "我要喝水，不要糖",
        "The water is in the glass",
        "",
        "123",
    ],
)
def test_no_name_inside_another_word(formulary, text):
    assert named(formulary, text) == []


def words_of(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from words_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from words_of(item)


def test_what_the_robot_says_anyway_names_no_medicine(formulary, repository: Path):
    phrases = yaml.safe_load((repository / "resource" / "phrases.yaml").read_text("utf-8"))
    hits = [(text, named(formulary, text)) for text in words_of(phrases)]
    assert [hit for hit in hits if hit[1]] == []


def test_statements_name_no_medicine(formulary, repository: Path):
    path = repository / "resource" / "formulary" / "statements.yaml"
    statements = yaml.load(path.read_text("utf-8"), yaml.BaseLoader)["statements"]
    hits = [(text, named(formulary, text)) for text in words_of(statements)]
    assert [hit for hit in hits if hit[1]] == []


def test_names_of_side_effects_are_taken_for_no_brand(formulary):
    wrong = []
    for effect in formulary.effects.values():
        for word in effect.names.values():
            for mention in formulary.mentions(word):
                names = mention.medicine.names.values()
                generic = {canonical(name) for group in names for name in group}
                generic.add(mention.medicine.id)
                if mention.text not in generic:
                    wrong.append((word, mention.text))
    assert wrong == []


def test_a_sentence_is_read_without_a_pause(formulary):
    text = "我早上吃了脈優和普拿疼，可以再吃 aspirin 嗎？Can I take Norvasc with ibuprofen?"
    formulary.mentions(text)
    start = time.perf_counter()
    for _ in range(100):
        formulary.mentions(text)
    # Some 1 ms on a machine of its own; that of the tests may be busy.
    assert (time.perf_counter() - start) / 100 < 0.05


def test_a_very_long_text_takes_no_more_than_in_proportion(formulary):
    start = time.perf_counter()
    assert formulary.mentions("脈優 aspirin " * 5000)
    assert time.perf_counter() - start < 60


@given(st.text(max_size=80))
def test_any_text_gives_mentions_in_order(formulary, text):
    position = 0
    for mention in formulary.mentions(text):
        assert mention.start >= position
        assert mention.end > mention.start
        position = mention.end
