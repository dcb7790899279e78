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
