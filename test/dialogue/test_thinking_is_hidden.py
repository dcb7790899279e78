"""What a model thinks between think tags reaches no one; everything else does, unchanged."""

import re

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from medbot_llm.dialogue.thinking import ThinkFilter

PLAIN = st.text(alphabet="ab <>/5 mg藥\n", max_size=12).filter(lambda s: "think" not in s)
OPENING = st.sampled_from(["<think>", "<THINK>", "<thinking>", "<Thinking>"])
CLOSING = st.sampled_from(["</think>", "</THINK>", "</thinking>"])
SOUP = st.lists(
    st.one_of(OPENING, CLOSING, PLAIN, st.sampled_from(["<thi", "</", "<think", "ink>"]))
)
CUTS = st.lists(st.integers(0, 9), max_size=40)


def heard(text: str, starts_inside: bool = False) -> str:
    filter_ = ThinkFilter(starts_inside)
    return filter_.feed(text) + filter_.flush()


def heard_in_pieces(text: str, cuts: list[int], starts_inside: bool = False) -> str:
    filter_ = ThinkFilter(starts_inside)
    out = ""
    position = 0
    for size in cuts:
        out += filter_.feed(text[position : position + size])
        position += size
    return out + filter_.feed(text[position:]) + filter_.flush()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>哪一顆？</think>請吃藥。", "請吃藥。"),
        ("<THINKING>x < 5 and <b> y</thinking>Take it.", "Take it."),
        ("先<think>a</think>後<think>b</think>完", "先後完"),
        ("好的。<think>never closed 藥", "好的。"),
        (
            "dose <5 mg, 3 < 4, <b>bold</b>, <thin>, <think",
            "dose <5 mg, 3 < 4, <b>bold</b>, <thin>, <think",
        ),
        ("a</think>b", "ab"),
        ("<think>a<think>b</think>c</think>d", "d"),
        ("<think>\n<think>a</think>d", "d"),
        ("<think></think>d", "d"),
        ("<<think>a</think>d", "<d"),
    ],
)
def test_only_what_stands_outside_the_tags_is_heard(text, answer):
    assert heard(text) == answer
    assert "".join(map(heard_by_char(), text + "\0")) == answer


def heard_by_char():
    """A function that gives what is heard at each character; NUL ends the reply."""
    filter_ = ThinkFilter()
    return lambda char: filter_.flush() if char == "\0" else filter_.feed(char)


def test_a_reply_that_begins_as_thought_is_heard_from_the_closing_tag_on():
    assert heard("哪一顆？</think>\n請吃藥。", starts_inside=True) == "\n請吃藥。"
    assert heard("<think>哪一顆？</think>請吃藥。", starts_inside=True) == "請吃藥。"
    assert heard("never closed", starts_inside=True) == ""


def test_nothing_but_an_undecided_tag_is_held_back():
    filter_ = ThinkFilter()
    assert filter_.feed("Take <") == "Take "
    assert filter_.feed("5 mg") == "<5 mg"
    assert filter_.feed(" </thi") == " "
    assert filter_.feed("s>") == "</this>"


def test_it_tells_whether_the_model_is_still_thinking():
    filter_ = ThinkFilter()
    assert not filter_.is_inside
    filter_.feed("<think>hm")
    assert filter_.is_inside
    filter_.feed("</think>")
    assert not filter_.is_inside


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(PLAIN, OPENING, CLOSING)), PLAIN, CUTS)
def test_no_thought_leaks_and_no_answer_is_lost_for_any_chunking(blocks, end, cuts):
    text = (
        "".join(plain + opening + "SECRET" + closing for plain, opening, closing in blocks) + end
    )
    answer = "".join(plain for plain, _, _ in blocks) + end
    assert heard_in_pieces(text, cuts) == answer


@settings(max_examples=400, deadline=None)
@given(SOUP.map("".join), CUTS, st.booleans())
def test_any_chunking_gives_the_same(text, cuts, starts_inside):
    assert heard_in_pieces(text, cuts, starts_inside) == heard(text, starts_inside)


@settings(max_examples=300, deadline=None)
@given(SOUP.map("".join), CUTS)
def test_no_complete_tag_survives_in_what_is_held_at_once(text, cuts):
    filter_ = ThinkFilter()
    pieces = [filter_.feed(text[i : i + 3]) for i in range(0, len(text), 3)]
    assert not any(re.search(r"</?think(ing)?>", piece, re.IGNORECASE) for piece in pieces)


@settings(deadline=None)
@given(PLAIN, CUTS)
def test_a_reply_without_tags_passes_unchanged(text, cuts):
    assert heard_in_pieces(text, cuts) == text
