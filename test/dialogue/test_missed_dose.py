"""A missed dose: the half interval, in the words people use for the time that is left."""

from __future__ import annotations

from datetime import datetime

import pytest

from medbot_llm.dialogue.missed_dose import in_words
from medbot_llm.dialogue.missed_dose import read_missed_dose

AFTERNOON = datetime(2026, 11, 26, 14, 0)


@pytest.mark.parametrize(
    ("said", "frequency", "left", "may_be_taken"),
    [
        ("早上忘了吃，離下次還有十個小時", "QD", 10, False),
        ("离下一次还有十五个小时", "每日一次", 15, True),
        ("下一次是晚上九點", "BID", 7, True),
        ("下一頓八點半", "BID", 6.5, True),
        ("明天早上八點才吃下一次", "QD", 18, True),
        ("早上八點忘記吃，下一次是下午四點", "TID", 2, False),
        ("下午兩點該吃的忘了，現在四點，下次是晚上十點", "TID", 6, True),
        ("還有一個半小時", "BID", 1.5, False),
        ("晚了三個小時", "BID", 9, True),
        ("my next dose is in 3 hours", "three times a day", 3, False),
        ("the next one is at 8", "BID", 6, False),
        ("next dose is at 9 pm", "BID", 7, True),
        ("I am two hours late", "BID", 10, True),
        ("It is now 10 am and the next is at 20:30", "BID", 10.5, True),
    ],
)
def test_more_than_half_the_interval_left_means_take_it(
    said: str, frequency: str, left: float, may_be_taken: bool
) -> None:
    missed = read_missed_dose(said, frequency, AFTERNOON)
    assert missed.left_h == pytest.approx(left)
    assert missed.may_be_taken is may_be_taken


@pytest.mark.parametrize(
    ("said", "frequency", "left"),
    [
        ("早上八點那顆血壓藥忘記吃，現在下午兩點了，怎麼辦", "一天一次", 18),
        ("上次早上七點的我到下午四點才想到，還要不要補？晚上七點還有一次。", "一天兩次", 3),
        ("昨晚九点那片我睡着了没吃，现在早上七点，怎么弄", "每日一次", 14),
        ("今天八点的还没吃，现在十二点，怎么办？还有能配柚子吃吗？", "每日一次", 20),
        ("平常晚上九點吃，現在十點半", "一天一次", 22.5),
        ("昨晚九点那片落下了，这会儿都今天晚上六点了", "每日一次", 3),
        ("forgot my eight oclock tablet this morning its quarter past eleven now", "BID", 8.75),
        ("I should have had it at 8 this morning and it's quarter to ten now", "BID", 10.25),
        ("I was meant to have my eight o'clock tablet this morning and it's ten now", "BID", 10),
        ("Breakfast was at eight, we forgot, it's one o'clock now.", "once daily", 19),
        ("I usually have it at six in the evening and it's nine now", "once daily", 21),
        ("这药八小时吃一回，要是晚了一个钟头才想起来，还吃不吃", "一天三次", 7),
        ("every eight hours I take it and I am an hour late", "TID", 7),
        ("I only noticed a couple of hours after breakfast", "once daily", 22),
    ],
)
def test_the_time_of_the_missed_dose_and_the_present_tell_what_is_left(
    said: str, frequency: str, left: float
) -> None:
    assert read_missed_dose(said, frequency, None).left_h == pytest.approx(left)


def test_a_time_that_leaves_the_half_of_the_day_open_decides_nothing_by_a_guess() -> None:
    # Two or fourteen hours late: take it, or skip it.
    assert read_missed_dose("八點的忘了，現在晚上十點", "QD", None).may_be_taken is None
    assert read_missed_dose("早上八點的忘了，現在晚上十點", "QD", None).may_be_taken is False


def test_the_present_is_told_right_beside_its_time_only() -> None:
    # At two in the afternoon six hours are left to eight, whatever "now" the question begins with.
    said = "現在該補嗎，早上八點忘記吃，下次是晚上八點"
    assert read_missed_dose(said, "BID", AFTERNOON).left_h == 6


def test_a_question_that_goes_on_keeps_the_time_of_the_missed_dose() -> None:
    first = read_missed_dose("早上七點的沒吃，現在下午一點", "QD", None)
    assert (first.missed_at, first.left_h) == (7, 18)
    then = read_missed_dose("晚上七點半才想起來的話呢", "QD", None, first.missed_at)
    assert then.left_h == 11.5


def test_exactly_half_the_interval_is_not_more_than_half() -> None:
    assert read_missed_dose("還有六個小時", "BID", None).may_be_taken is False


@pytest.mark.parametrize("said", ["我忘記吃藥了", "I forgot my pill", "", "昨天忘了"])
def test_without_a_time_nothing_is_decided(said: str) -> None:
    assert read_missed_dose(said, "QD", AFTERNOON).may_be_taken is None


@pytest.mark.parametrize("frequency", ["", "PRN", "需要時", "1-3 times a day"])
def test_without_a_fixed_interval_nothing_is_decided(frequency: str) -> None:
    assert read_missed_dose("in 3 hours", frequency, AFTERNOON).may_be_taken is None


def test_a_time_beyond_the_interval_was_misheard() -> None:
    assert read_missed_dose("還有三十個小時", "BID", AFTERNOON).may_be_taken is None


@pytest.mark.parametrize(("hours", "words"), [(0.1, "0.5"), (1.0, "1"), (1.6, "1.5"), (9.9, "10")])
def test_hours_are_said_to_the_half(hours: float, words: str) -> None:
    assert in_words(hours) == words
