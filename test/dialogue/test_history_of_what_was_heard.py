"""The history holds what the people in the room heard, and bounds what it holds."""

from __future__ import annotations

from itertools import pairwise

from medbot_llm.dialogue.history import INTERRUPTED_MARK
from medbot_llm.dialogue.history import MAX_TURN_CHARS
from medbot_llm.dialogue.history import TURNS_FORGOTTEN_AT_ONCE
from medbot_llm.dialogue.history import History
from medbot_llm.domain import ChatRole
from medbot_llm.domain import Language

EN, ZH = Language.EN, Language.ZH_HANT
USER, ROBOT = ChatRole.USER, ChatRole.ASSISTANT


def test_sentences_of_one_reply_are_one_turn() -> None:
    history = History()
    history.hear("How often?", EN)
    history.speak("Once a day.", EN)
    history.speak("After breakfast.", EN)
    assert history.turns(EN) == [(USER, "How often?"), (ROBOT, "Once a day. After breakfast.")]


def test_chinese_sentences_join_without_a_space() -> None:
    history = History()
    history.speak("每天一次。", ZH)
    history.speak("早餐後吃。", ZH)
    assert history.turns(ZH) == [(ROBOT, "每天一次。早餐後吃。")]


def test_speech_that_got_no_answer_joins_what_is_said_next() -> None:
    history = History()
    history.hear("Wait", EN)
    history.hear("How often?", EN)
    assert history.turns(EN) == [(USER, "Wait\nHow often?")]


def test_a_reply_cut_short_keeps_what_was_out_and_a_mark() -> None:
    history = History()
    history.hear("How often?", EN)
    history.speak("Once a day.", EN)
    history.mark_interrupted()
    history.hear("And when?", EN)
    assert history.turns(EN) == [
        (USER, "How often?"),
        (ROBOT, f"Once a day.{INTERRUPTED_MARK}"),
        (USER, "And when?"),
    ]


def test_words_after_a_cut_are_a_turn_of_their_own() -> None:
    history = History()
    history.speak("Once a day.", EN)
    history.mark_interrupted()
    history.speak("Good morning.", EN)
    assert history.turns(EN) == [
        (ROBOT, f"Once a day.{INTERRUPTED_MARK}"),
        (ROBOT, "Good morning."),
    ]


def test_speech_is_never_marked_as_cut_short() -> None:
    history = History()
    history.mark_interrupted()
    history.hear("Hello", EN)
    history.mark_interrupted()
    assert history.turns(EN) == [(USER, "Hello")]


def test_of_an_endless_turn_the_end_stays() -> None:
    history = History()
    for number in range(500):
        history.hear(f"word{number:04}", EN)
    (turn,) = history.turns(EN)
    assert len(turn[1]) == MAX_TURN_CHARS
    assert turn[1].endswith("word0499")


def test_an_endless_conversation_stays_bounded_and_keeps_the_newest() -> None:
    history = History(max_turns=20)
    for number in range(1000):
        history.hear(f"question {number}", EN)
        history.speak(f"Answer {number}.", EN)
        assert len(history) <= 20
    assert history.turns(EN)[-2:] == [(USER, "question 999"), (ROBOT, "Answer 999.")]


def test_the_beginning_stays_the_same_for_several_turns_when_old_turns_go() -> None:
    history = History(max_turns=20)
    beginnings = []
    for number in range(100):
        history.hear(f"question {number}", EN)
        history.speak(f"Answer {number}.", EN)
        beginnings.append(history.turns(EN)[0])
    changes = sum(a != b for a, b in pairwise(beginnings))
    # What the engine has worked through is lost at each change.
    assert changes <= 2 * 100 / TURNS_FORGOTTEN_AT_ONCE
    assert {role for role, _ in beginnings} == {USER}


def test_a_history_of_one_turn_works() -> None:
    history = History(max_turns=1)
    history.hear("one", EN)
    history.speak("Two.", EN)
    assert history.turns(EN) == [(ROBOT, "Two.")]


def test_clearing_forgets_everything() -> None:
    history = History()
    history.hear("Hello", EN)
    history.clear()
    assert len(history) == 0
    assert history.turns(EN) == []


def test_what_was_said_in_another_language_is_left_out_of_the_prompt() -> None:
    history = History()
    history.hear("一天幾次？", ZH)
    history.speak("每天一次。", ZH)
    history.hear("How often?", EN)
    assert history.turns(EN) == [(USER, "How often?")]
    assert history.turns(ZH) == []
    history.speak("Once a day.", EN)
    history.hear("什麼時候？", ZH)
    assert history.turns(ZH) == [(USER, "什麼時候？")]
    assert len(history) == 5


def test_of_a_reply_whose_voice_was_cut_only_what_was_heard_stays() -> None:
    history = History()
    history.hear("How often?", EN)
    history.speak("Once a day.", EN, "r1")
    history.speak("After breakfast, with water.", EN, "r1")
    history.heard_only("r1", "Once a day. After")
    history.hear("And when?", EN)
    assert history.turns(EN) == [
        (USER, "How often?"),
        (ROBOT, f"Once a day. After{INTERRUPTED_MARK}"),
        (USER, "And when?"),
    ]


def test_an_earlier_reply_in_the_same_turn_is_not_cut() -> None:
    history = History()
    history.speak("您好。", ZH, "r1")
    history.speak("這是您的藥。", ZH, "r2")
    history.speak("每天一次。", ZH, "r2")
    history.heard_only("r2", "這是您")
    assert history.turns(ZH) == [(ROBOT, f"您好。這是您{INTERRUPTED_MARK}")]


def test_a_reply_of_which_nothing_was_heard_is_forgotten() -> None:
    history = History()
    history.hear("How often?", EN)
    history.speak("Once a day.", EN, "r1")
    history.heard_only("r1", "")
    assert history.turns(EN) == [(USER, "How often?")]


def test_a_reply_that_is_not_there_cuts_nothing() -> None:
    history = History()
    history.speak("Once a day.", EN, "r1")
    for reply_id in ("r0", ""):
        history.heard_only(reply_id, "")
    assert history.turns(EN) == [(ROBOT, "Once a day.")]


def test_a_long_turn_is_cut_at_the_right_place() -> None:
    history = History()
    history.speak("一" * (MAX_TURN_CHARS - 2), ZH, "r1")
    history.speak("二三四五", ZH, "r2")
    history.heard_only("r2", "二三")
    [(_, text)] = history.turns(ZH)
    assert text.endswith(f"一二三{INTERRUPTED_MARK}")
