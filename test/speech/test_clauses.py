"""A sentence is cut where its clauses end, with a short first piece, and nothing else is cut."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medbot_llm.domain import Language
from medbot_llm.speech.clauses import clauses

LONGEST = 60

CHINESE = [
    (
        "這是脈優錠，每次一顆，每天一次，早上飯後吃，不要和葡萄柚汁一起喝。",
        ["這是脈優錠，", "每次一顆，每天一次，", "早上飯後吃，不要和葡萄柚汁一起喝。"],
    ),
    ("好的，我知道了。", ["好的，我知道了。"]),
    ("您好，我是送藥機器人。", ["您好，我是送藥機器人。"]),
    ("早上、中午、晚上各一顆。", ["早上、中午、", "晚上各一顆。"]),
    ("這個藥可以飯後吃；忘記了，想到就吃。", ["這個藥可以飯後吃；", "忘記了，想到就吃。"]),
    ("請在 8：30 來，不要遲到，謝謝您。", ["請在 8：30 來，", "不要遲到，謝謝您。"]),
    ("每次 1,000 單位，每天兩次。", ["每次 1,000 單位，", "每天兩次。"]),
    ("請配一杯溫開水服用", ["請配一杯溫開水服用"]),
    ("Amlodipine 5 mg，每天一次。", ["Amlodipine 5 mg，", "每天一次。"]),
    ("他說「我的藥呢？」然後就睡了。", ["他說「我的藥呢？」", "然後就睡了。"]),
    ("請您先不要動——我去請護理師過來。", ["請您先不要動——", "我去請護理師過來。"]),
]
ENGLISH = [
    (
        "You can take it after breakfast, and please drink a full glass of water with it because"
        " it may upset your stomach.",
        [
            "You can take it after breakfast, ",
            "and please drink a full glass of water with it ",
            "because it may upset your stomach.",
        ],
    ),
    ("Yes, you can.", ["Yes, you can."]),
    ("No, please wait for the nurse.", ["No, please wait for the nurse."]),
    (
        "Take one tablet at 8:30, then wait 1,000 seconds.",
        ["Take one tablet at 8:30, ", "then wait 1,000 seconds."],
    ),
    ("Eat bread and butter.", ["Eat bread and butter."]),
    ("Take between 5 and 10 drops of it.", ["Take between 5 and 10 drops of it."]),
    (
        "Dr. Wang will see you soon, so please stay here.",
        ["Dr. Wang will see you soon, ", "so please stay here."],
    ),
    ("Take 0.5 mg.", ["Take 0.5 mg."]),
    ("It is 2.5 mg - one half tablet.", ["It is 2.5 mg - ", "one half tablet."]),
]


@pytest.mark.parametrize(("text", "pieces"), CHINESE)
def test_chinese(text, pieces):
    assert clauses(text, Language.ZH_HANT, longest=LONGEST) == pieces


@pytest.mark.parametrize(("text", "pieces"), ENGLISH)
def test_english(text, pieces):
    assert clauses(text, Language.EN, longest=LONGEST) == pieces


def test_nothing_gives_nothing():
    assert clauses("", Language.EN, longest=LONGEST) == []


def test_later_pieces_grow_up_to_the_longest():
    text = "請先洗手，" + "再吃這個藥，" * 20
    pieces = clauses(text, Language.ZH_HANT, longest=LONGEST)
    lengths = [2 * len(piece) for piece in pieces]
    assert lengths[0] == 10
    assert all(after <= max(2 * before, 12) for before, after in pairwise(lengths))
    assert max(lengths) <= LONGEST
    assert len(pieces) < 8


TOKENS = "每次一顆 ， 、 ； 。 5 1,000 0.5 8:30 8：30 Amlodipine take and , . - — because Dr. 」 !"
BITS = st.sampled_from([*TOKENS.split(" "), " ", ", ", ". ", "\n"])


@given(st.lists(BITS, max_size=30).map("".join) | st.text(max_size=60), st.integers(1, 200))
def test_joined_again_the_pieces_are_the_text(text, longest):
    for language in Language:
        pieces = clauses(text, language, longest=longest)
        assert "".join(pieces) == text
        assert all(pieces)


@given(st.lists(BITS, max_size=30).map("".join), st.integers(1, 200))
def test_no_number_time_or_name_is_cut(text, longest):
    whole = [found.span() for found in re.finditer(r"[A-Za-z0-9]+(?:[.,:：][0-9]+)*", text)]
    for language in Language:
        end = 0
        for piece in clauses(text, language, longest=longest):
            end += len(piece)
            assert not any(start < end < stop for start, stop in whole)


@pytest.mark.parametrize("bit", ["一，", "a, ", "a and ", "，", " - ", "a", "一", "!, ", "a. A"])
def test_time_is_linear(bit):
    text = (bit * 20_000)[:20_000]
    for language in Language:
        start = time.process_time()
        clauses(text, language, longest=LONGEST)
        assert time.process_time() - start < 1.0
