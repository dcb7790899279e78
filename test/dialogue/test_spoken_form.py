"""A sentence reaches the voice without marks for the eye, and with every number, unit and name."""

import time

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from medbot_llm.dialogue.spoken import clean

MARK_TOKENS = "** * _ __ ` ``` # ## - • | ~~ ~ > 😀 1️⃣ \u200b \x00 \ufeff \ufffd 。 ！！ ... \\ [ ]"
MARKS = st.sampled_from([*MARK_TOKENS.split(" "), "\n"])
FACTS = st.sampled_from(
    [
        "5 mg",
        "0.5",
        "2.5 mL",
        "3.5 片",
        "Panadol",
        "脈優錠",
        "μg",
        "°C",
        "1/2",
        "128/76",
        "B12",
        "±3",
        "2～3 顆",
    ]
)


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("**注意**：每次 5 mg。", "注意：每次 5 mg。"),
        ("請**每天**吃*一*顆，__不要__漏掉 _它_。", "請每天吃一顆，不要漏掉 它。"),
        ("## 用法", "用法"),
        ("- 早上 1 顆", "早上 1 顆"),
        ("• 早上 1 顆", "早上 1 顆"),
        ("* **早上** 1 顆", "早上 1 顆"),
        ("1. 飯後吃", "1. 飯後吃"),
        ("> 請注意", "請注意"),
        ("> 5 mg", "> 5 mg"),
        ("`metformin` 500 mg", "metformin 500 mg"),
        ("```text\n吃藥\n```", "吃藥"),
        ("[衛教單](https://example.org/a)在這裡", "衛教單在這裡"),
        ("[1](本院)", "[1](本院)"),
        ("請吃藥<br>謝謝", "請吃藥 謝謝"),
        ("| 藥 | 劑量 |\n|---|:--|\n| A | 5 mg |", "藥 劑量 A 5 mg"),
        ("好的😊👍🏽！", "好的！"),
        ("1️⃣ 早上 ❶ 中午 ② 晚上", "1 早上 ❶ 中午 ② 晚上"),
        ("Tylenol® 500 mg ✅", "Tylenol® 500 mg"),
        ("好的<|im_end|>", "好的"),
        ("<|im_start|>assistant\n好的</s>", "好的"),
        ("<|start_header_id|>assistant<|end_header_id|>\n\nOK.", "OK."),
        ("<start_of_turn>model\nOK.<end_of_turn>", "OK."),
        ("[INST]OK.[/INST]", "OK."),
        ("機器人：您好", "您好"),
        ("送药机器人: 您好", "您好"),
        ("**Assistant:** Hello.", "Hello."),
        ("AI 助理：您好", "您好"),
        ("機器人會幫您", "機器人會幫您"),
        ("藥師：林小姐", "藥師：林小姐"),
        ("好！！！真的？？。。", "好！真的？。"),
        ("嗯……好......吧", "嗯……好...吧"),
        ("a\u200bmlo\u00addipine\x00 5\ufeff mg\ufffd", "amlodipine 5 mg"),
        ("  多 \n 空  白\t", "多 空 白"),
        ("吃 Panadol 好，吃Panadol好", "吃 Panadol 好，吃Panadol好"),
        ("±0.5 μg/mL ≥ 37.5 °C，2～3 顆，3~5 天", "±0.5 μg/mL ≥ 37.5 °C，2～3 顆，3~5 天"),
        ("-5 °C", "-5 °C"),
        ("HLA-B*1502，2 * 3，2*3", "HLA-B*1502，2 * 3，2*3"),
        (r"\*注意\*", "注意"),
        ("#3 床", "#3 床"),
    ],
)
def test_marks_for_the_eye_go_and_words_stay(written, spoken):
    assert clean(written) == spoken


@pytest.mark.parametrize(
    "text", ["", " ", "。", "……", "😀", "**", "---", "```", "<|im_end|>", "」", "機器人："]
)
def test_nothing_is_left_of_what_can_not_be_said(text):
    assert clean(text) == ""


@pytest.mark.parametrize("between", ["**", "😀", "\u200b", "`", "__", "<|im_end|>", "</s>", "~~"])
def test_two_numbers_never_become_one(between):
    assert clean(f"吃 5{between}3 顆") == "吃 5 3 顆"


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(MARKS, FACTS, st.text(alphabet="請吃藥 take", max_size=4))).map("".join))
def test_the_digits_stay_the_same_and_in_order(text):
    said = clean(text)
    assert [c for c in said if c.isdigit()] == [c for c in text if c.isdigit()]


@settings(max_examples=300, deadline=None)
@given(FACTS, MARKS, MARKS)
def test_facts_stay_letter_by_letter_among_marks(fact, before, after):
    assert fact in clean(f"請吃{before} {fact} {after}，謝謝")


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.one_of(MARKS, FACTS)).map("".join)))
def test_cleaning_twice_changes_nothing_more(text):
    assert clean(clean(text)) == clean(text)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_the_result_can_be_said_or_is_empty(text):
    said = clean(text)
    assert said == "" or (any(c.isalnum() for c in said) and said == " ".join(said.split()))
    said.encode("utf-8")


def test_hostile_lengths_take_no_time():
    for text in (
        "*" * 20_000 + "x",
        "-" * 20_000 + "x",
        "<" * 20_000 + "x",
        "| " * 10_000 + "x",
        "[" * 20_000,
    ):
        begin = time.perf_counter()
        clean(text)
        assert time.perf_counter() - begin < 20, text[:4]
