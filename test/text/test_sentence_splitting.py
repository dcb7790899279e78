"""Sentences come out of a stream whole, in order and the same however the stream was cut."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from medbot_llm.text.sentences import SHORTEST_MAX_CHARS
from medbot_llm.text.sentences import SentenceSplitter
from medbot_llm.text.sentences import split_sentences as split

HARD_TOKENS = """
。 ！ ？ ； … …… . ... ! ? ?! ; ， 、 , : ： ( ) （ ） 「 」 ” " ' * ** - # ~ 😊
5 0.5 3.5 12 1. 2. 2) （一） mg ml 片 No. Dr. e.g. a.m. J. K. 藥 飯後吃 Take it
with water Vitamin C https://a.b/c?d=1;e www.x.y
"""
HARD_PIECES = st.sampled_from(
    [*HARD_TOKENS.split(), " ", "  ", "\u3000", "\t", "\n", "\r\n", "\n\n", " mg"]
)
TEXTS = st.one_of(st.text(max_size=80), st.lists(HARD_PIECES, max_size=40).map("".join))
LIMITS = st.sampled_from([SHORTEST_MAX_CHARS, 40, 240])


def bare(text: str) -> str:
    return re.sub(r"\s", "", text)


@pytest.mark.parametrize(
    "sentences",
    [
        ["早上吃一顆。", "飯後吃！", "好嗎？", "請多喝水。"],
        ["Take one tablet.", "Do not chew it!", "Is that clear?", "Good."],
        ["每次 0.5 mg，不要多吃。", "每天 3.5 片。", "還有嗎？"],
        ["Dr. Wang and Mrs. Lee say take 5 mg.", "Then rest."],
        ["Some medicines, e.g. aspirin, i.e. this one, vs. that one, can hurt.", "Ask first."],
        ["Room No. 3 is yours, No.5 is not.", "Come in."],
        ["No.", "Do not take it with grapefruit."],
        ["Take it at 8 a.m. and at 6 p.m. daily.", "With food."],
        ["Take it at 8 a.m.", "Drink water."],
        ["Take it at 8:30 or 8.30, not at 9.", "Thank you."],
        ["J. K. Chen sent it.", "J.K. Chen signed it."],
        ["It has vitamin C.", "Hepatitis B. is named too."],
        ["Version 1.2.3 runs.", "See https://a.com/x.html?y=1;z=2 for more.", "Bye."],
        ["It costs $29.", "Next please."],
        ["每次 5 mg.", "飯後吃。"],
        ["Each time 5 mg.", "Take it after meals."],
        ["真的嗎？！", "讓我再仔細想一想看……", "What?!", "Really."],
        ["她說：「請吃藥。」", "然後走了。"],
        ['"Take it now."', '"No!"', "(That was it.)", "“Yes.”", "Fine."],
        ['"Really?" he asked.', "Yes."],
        ["1. 早上一顆。", "2. 晚上一顆。", "3. 睡前半顆。"],
        ["1. Take A.", "2) Take B.", "（一）飯前吃。", "(3) Take C."],
        ["Steps: 1. eat first 2. take it 3. rest.", "Then call us."],
        ["Take 1 tab. 3 times a day.", "Take 1 tab. daily."],
        ["早；午；晚各一顆。", "嗯……我看看。"],
        ["這一顆請在早餐後配溫開水吃；", "另一顆請在睡前吃。"],
        ["Dr.王說可以。", "早上 8 a.m.吃就好。"],
        ["Take it.", ".5 mg is enough."],
        ["請吃藥！", "Panadol 要飯後吃。", "OK?", "好。"],
        ["好的。😊"],
        ["只有一句沒有句號"],
        ["etc., and so on.", "End."],
    ],
    ids=lambda sentences: sentences[0],
)
def test_sentences_end_where_a_reader_ends_them(sentences):
    assert split(" ".join(sentences)) == sentences


def test_chinese_sentences_need_no_space_between_them():
    assert split("飯後吃。每次1.5片！好嗎？好") == ["飯後吃。", "每次1.5片！", "好嗎？", "好"]


def test_each_line_and_list_item_is_a_sentence():
    text = "請注意：\n1. 飯後吃\n2. 多喝水\n- 不要開車\n\n* 不要喝酒\n1.\n放冰箱"
    assert split(text) == [
        "請注意：",
        "1. 飯後吃",
        "2. 多喝水",
        "- 不要開車",
        "* 不要喝酒",
        "1.\n放冰箱",
    ]


def test_a_point_at_the_end_of_the_stream_so_far_is_undecided():
    splitter = SentenceSplitter()
    assert splitter.feed("Take 0.") == []
    assert splitter.feed("5 mg. ") == []
    assert splitter.feed("T") == ["Take 0.5 mg."]
    assert splitter.feed("hen rest.") == []
    assert splitter.flush() == ["Then rest."]


def test_a_sentence_is_given_as_soon_as_the_next_one_has_begun_and_not_before():
    splitter = SentenceSplitter()
    assert [splitter.feed(piece) for piece in ["請吃藥", "。", "」", " ", "\n", "（"]] == [[]] * 6
    assert splitter.feed("一") == ["請吃藥。」"]


def test_what_feed_gives_is_never_the_last_sentence():
    splitter = SentenceSplitter()
    assert splitter.feed("好的。請吃藥。」 😊\n\n**") == ["好的。"]
    assert splitter.flush() == ["請吃藥。」 😊\n\n**"]


def test_overlong_chinese_is_cut_at_a_clause():
    clause = "請記得每天早上吃這顆藥，"
    parts = split(clause * 30)
    assert len(parts) > 1
    assert all(part.endswith("，") and 60 <= len(part) <= 120 for part in parts[:-1])


def test_overlong_english_is_cut_at_a_comma_else_at_a_space():
    assert all(p.endswith(",") for p in split("take it with a glass of water, " * 20)[:-1])
    parts = split("take it with some water and then rest " * 20)
    assert len(parts) > 1
    assert all(120 <= len(part) <= 240 for part in parts[:-1])
    assert " ".join(parts) == ("take it with some water and then rest " * 20).strip()


def test_overlong_text_is_not_cut_inside_a_number_or_between_number_and_unit():
    text = "amlodipine 2.5 mg and metformin 1,000 mg and warfarin 7.5 mg and " * 12
    for part in split(text, 60):
        assert not re.search(r"\d,?$", part), part
        assert not re.match(r"mg|,|\.|\d", part), part


def test_a_mark_right_at_the_limit_ends_the_sentence_by_itself():
    assert split("take it at night 。then rest", 16) == ["take it at night 。", "then rest"]


def test_text_without_any_place_to_cut_is_still_cut():
    assert all(len(part) <= 120 for part in split("藥" * 1000))
    assert all(len(part) <= 240 for part in split("x" * 1000))


def test_text_without_letters_or_digits_comes_out_whole_at_the_end():
    assert split("……！？ **") == ["……！？ **"]
    assert split(" \n ") == []
    assert split("") == []


def test_a_splitter_is_ready_for_a_new_reply_after_flush():
    splitter = SentenceSplitter()
    splitter.feed("1. 飯後吃。2.")
    splitter.flush()
    assert splitter.feed("好的。再") == ["好的。"]
    assert splitter.flush() == ["再"]


def test_a_limit_too_small_to_cut_sensibly_is_refused():
    with pytest.raises(ValueError, match="max_chars"):
        SentenceSplitter(SHORTEST_MAX_CHARS - 1)


@settings(max_examples=400, deadline=None)
@given(TEXTS, LIMITS, st.lists(st.integers(0, 60), max_size=60))
def test_any_chunking_gives_the_same_sentences(text, max_chars, cuts):
    splitter = SentenceSplitter(max_chars)
    parts: list[str] = []
    position = 0
    for size in cuts:
        parts += splitter.feed(text[position : position + size])
        position += size
    parts += splitter.feed(text[position:])
    assert parts + splitter.flush() == split(text, max_chars)


@settings(max_examples=300, deadline=None)
@given(TEXTS, LIMITS)
def test_one_character_at_a_time_gives_the_same_sentences(text, max_chars):
    splitter = SentenceSplitter(max_chars)
    parts = [part for char in text for part in splitter.feed(char)]
    assert parts + splitter.flush() == split(text, max_chars)


@settings(max_examples=400, deadline=None)
@given(TEXTS, LIMITS)
def test_no_character_is_lost(text, max_chars):
    assert bare("".join(split(text, max_chars))) == bare(text)


@settings(max_examples=300, deadline=None)
@given(TEXTS, LIMITS)
def test_every_sentence_has_something_to_say(text, max_chars):
    parts = split(text, max_chars)
    assert all(any(c.isalnum() for c in part) for part in parts) or len(parts) == 1


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 999),
    st.integers(0, 999),
    st.sampled_from(["mg", " mg", "片", " 顆", " mL"]),
    st.sampled_from(["請吃", "Take ", "每次", "takes"]),
)
def test_a_decimal_number_stays_whole(whole, fraction, unit, before):
    number = f"{whole}.{fraction}{unit}"
    assert split(f"好的。{before}{number}。再見。")[1] == f"{before}{number}。"


@settings(deadline=None)
@given(TEXTS)
def test_sentences_keep_to_the_limit_but_for_what_trails_them(text):
    for part in split(text, SHORTEST_MAX_CHARS):
        words = re.search(r"[^\W_].*[^\W_]|[^\W_]", part, re.DOTALL)
        if words and words.group().strip():
            weight = sum(2 if char >= "\u2e80" else 1 for char in words.group())
            assert weight <= SHORTEST_MAX_CHARS, part


def test_the_work_grows_in_step_with_the_text():
    def seconds(text: str) -> float:
        splitter = SentenceSplitter()
        begin = time.perf_counter()
        for char in text:
            splitter.feed(char)
        splitter.flush()
        return time.perf_counter() - begin

    for unit in ("請飯後吃藥。", "take it, ", "。", "x", "5.", " "):
        short = min(seconds(unit * 500) for _ in range(3))
        long = min(seconds(unit * 5000) for _ in range(3))
        # Ten times the text; in the square of it would be a hundred times the work.
        assert long < 60 * short + 0.5, unit
