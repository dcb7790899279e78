"""What replies leave behind becomes counts and percentiles."""

from __future__ import annotations

import math
import threading

import pytest

from medbot_llm.dialogue.statistics import REMEMBERED_REPLIES
from medbot_llm.dialogue.statistics import Statistics
from medbot_llm.dialogue.statistics import percentile
from medbot_llm.domain import ReplyKind
from medbot_llm.domain import StageTimes

ANSWER = ReplyKind.ANSWER


def times(first_token_s: float, tokens: int = 11, per_second: float = 10.0) -> StageTimes:
    """Times of a reply whose first sentence came 0.1 s after its first token."""
    return StageTimes(
        received=100.0,
        first_token=100.0 + first_token_s,
        first_sentence=100.1 + first_token_s,
        last_token=100.0 + first_token_s + (tokens - 1) / per_second,
        tokens=tokens,
    )


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([3.0, 1.0, 2.0], 50, 2.0), ([1.0, 2.0], 50, 1.0), ([1.0], 95, 1.0), ([5.0, 1.0], 95, 5.0)],
)
def test_percentiles_are_values_that_occurred(
    values: list[float], percent: float, expected: float
) -> None:
    assert percentile(values, percent) == expected


def test_percentiles_pass_over_what_is_unknown() -> None:
    assert percentile([math.nan, 2.0, math.nan], 95) == 2.0
    assert math.isnan(percentile([math.nan], 50))
    assert math.isnan(percentile([], 50))


def test_times_are_counted_from_the_receipt_of_the_speech() -> None:
    statistics = Statistics()
    for tenths in range(1, 11):
        statistics.note_reply(ANSWER, times(tenths / 10), interrupted=False)
    figures = statistics.read()
    assert figures.time_to_first_token_p50_s == pytest.approx(0.5)
    assert figures.time_to_first_token_p95_s == pytest.approx(1.0)
    assert figures.time_to_first_sentence_p50_s == pytest.approx(0.6)
    assert figures.tokens_per_second_p50 == pytest.approx(10.0)


def test_interrupted_replies_are_counted_and_do_not_flatter_the_times() -> None:
    statistics = Statistics()
    statistics.note_reply(ANSWER, times(5.0), interrupted=False)
    statistics.note_reply(ANSWER, times(0.1), interrupted=True)
    figures = statistics.read()
    assert figures.replies == {"answer": 2}
    assert figures.interrupted == 1
    assert figures.time_to_first_token_p50_s == pytest.approx(5.0)


def test_prepared_words_have_no_token_times() -> None:
    statistics = Statistics()
    statistics.note_reply(ReplyKind.GREETING, StageTimes(first_sentence=3.0), interrupted=False)
    figures = statistics.read()
    assert figures.replies == {"greeting": 1}
    assert math.isnan(figures.time_to_first_token_p95_s)
    assert math.isnan(figures.time_to_first_sentence_p50_s)
    assert math.isnan(figures.tokens_per_second_p50)


def test_only_the_latest_replies_shape_the_percentiles() -> None:
    statistics = Statistics()
    for _ in range(50):
        statistics.note_reply(ANSWER, times(100.0), interrupted=False)
    for _ in range(REMEMBERED_REPLIES):
        statistics.note_reply(ANSWER, times(0.2), interrupted=False)
    figures = statistics.read()
    assert figures.time_to_first_token_p95_s == pytest.approx(0.2)
    assert figures.replies == {"answer": 50 + REMEMBERED_REPLIES}


def test_a_reading_does_not_change_afterwards() -> None:
    statistics = Statistics()
    statistics.note_blocked("dose")
    before = statistics.read()
    statistics.note_blocked("dose")
    statistics.note_overtaken()
    statistics.note_error("model gone")
    after = statistics.read()
    assert (before.blocked, before.overtaken, before.last_error) == ({"dose": 1}, 0, "")
    assert (after.blocked, after.overtaken, after.last_error) == ({"dose": 2}, 1, "model gone")


def test_nothing_is_lost_when_threads_note_and_read_at_once() -> None:
    statistics = Statistics()

    def note() -> None:
        for _ in range(300):
            statistics.note_reply(ANSWER, times(0.5), interrupted=True)
            statistics.note_blocked("dose")
            statistics.read()

    threads = [threading.Thread(target=note) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    figures = statistics.read()
    assert figures.replies["answer"] == figures.interrupted == figures.blocked["dose"] == 1200
