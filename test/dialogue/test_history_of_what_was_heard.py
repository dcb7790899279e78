"""The history holds what the people in the room heard, and bounds what it holds."""

from __future__ import annotations

from itertools import pairwise

from medbot_llm.dialogue.history import INTERRUPTED_MARK
from medbot_llm.dialogue.history import MAX_TURN_CHARS
from medbot_llm.dialogue.history import TURNS_FORGOTTEN_AT_ONCE
from medbot_llm.dialogue.history import History
from medbot_llm.domain import ChatRole

USER, ROBOT = ChatRole.USER, ChatRole.ASSISTANT


def test_sentences_of_one_reply_are_one_turn() -> None:
    history = History()
    history.hear("How often?")
    history.speak("Once a day.")
    history.speak("After breakfast.")
    assert history.turns() == [(USER, "How often?"), (ROBOT, "Once a day. After breakfast.")]


def test_chinese_sentences_join_without_a_space() -> None:
    history = History()
    history.speak("每天一次。")
    history.speak("早餐後吃。")
    assert history.turns() == [(ROBOT, "每天一次。早餐後吃。")]


def test_speech_that_got_no_answer_joins_what_is_said_next() -> None:
    history = History()
    history.hear("Wait")
    history.hear("How often?")
    assert history.turns() == [(USER, "Wait\nHow often?")]


def test_a_reply_cut_short_keeps_what_was_out_and_a_mark() -> None:
    history = History()
    history.hear("How often?")
    history.speak("Once a day.")
    history.mark_interrupted()
    history.hear("And when?")
    assert history.turns() == [
        (USER, "How often?"),
        (ROBOT, f"Once a day.{INTERRUPTED_MARK}"),
        (USER, "And when?"),
    ]


def test_words_after_a_cut_are_a_turn_of_their_own() -> None:
    history = History()
    history.speak("Once a day.")
    history.mark_interrupted()
    history.speak("Good morning.")
    assert history.turns() == [(ROBOT, f"Once a day.{INTERRUPTED_MARK}"), (ROBOT, "Good morning.")]


def test_speech_is_never_marked_as_cut_short() -> None:
    history = History()
    history.mark_interrupted()
    history.hear("Hello")
    history.mark_interrupted()
    assert history.turns() == [(USER, "Hello")]


def test_of_an_endless_turn_the_end_stays() -> None:
    history = History()
    for number in range(500):
        history.hear(f"word{number:04}")
    (turn,) = history.turns()
    assert len(turn[1]) == MAX_TURN_CHARS
    assert turn[1].endswith("word0499")


def test_an_endless_conversation_stays_bounded_and_keeps_the_newest() -> None:
    history = History(max_turns=20)
    for number in range(1000):
        history.hear(f"question {number}")
        history.speak(f"Answer {number}.")
        assert len(history) <= 20
    assert history.turns()[-2:] == [(USER, "question 999"), (ROBOT, "Answer 999.")]


def test_the_beginning_stays_the_same_for_several_turns_when_old_turns_go() -> None:
    history = History(max_turns=20)
    beginnings = []
    for number in range(100):
        history.hear(f"question {number}")
        history.speak(f"Answer {number}.")
        beginnings.append(history.turns()[0])
    changes = sum(a != b for a, b in pairwise(beginnings))
    # What the engine has worked through is lost at each change.
    assert changes <= 2 * 100 / TURNS_FORGOTTEN_AT_ONCE
    assert {role for role, _ in beginnings} == {USER}


def test_a_history_of_one_turn_works() -> None:
    history = History(max_turns=1)
    history.hear("one")
    history.speak("Two.")
    assert history.turns() == [(ROBOT, "Two.")]


def test_clearing_forgets_everything() -> None:
    history = History()
    history.hear("Hello")
    history.clear()
    assert len(history) == 0
    assert history.turns() == []
