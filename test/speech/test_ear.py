"""When the ear takes a turn for over, what it tells meanwhile, and what it does not take for
speech.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import replace

import pytest
from ear_test_kit import Room

from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.backchannels import is_backchannel
from medbot_llm.speech.backchannels import is_echo_of
from medbot_llm.speech.endpointing import EndSettings
from medbot_llm.speech.endpointing import TurnEnd
from medbot_llm.speech.endpointing import is_finished_question
from medbot_llm.speech.listener import EarSettings
from medbot_llm.speech.listener import ListenMode
from medbot_llm.speech.recognizer import Doubt

MakeRoom = Callable[..., Room]


@pytest.fixture
def room() -> Iterator[MakeRoom]:
    rooms: list[Room] = []

    def make(*texts: str | SpeechError, **options: object) -> Room:
        rooms.append(Room(*texts, **options))  # type: ignore[arg-type]
        return rooms[-1]

    yield make
    for made in rooms:
        made.close()


def test_a_turn_is_told_from_voice_to_text(room: MakeRoom) -> None:
    there = room("這個藥什麼時候吃比較好")
    there.silence(0.5)
    there.sound(2.0)
    there.silence(1.0)
    there.wait_for("heard")
    assert there.told[0] == "voice" and there.told[-1] == "heard"
    assert "guess" in there.told
    [final] = [heard for heard in there.heard if not heard.is_partial]
    assert final.ended - final.started == pytest.approx(2.3, abs=0.15)
    assert len({heard.utterance_id for heard in there.heard}) == 1


@pytest.mark.parametrize("pause_s", [0.3, 0.5, 0.8])
def test_a_pause_inside_a_question_does_not_end_it(room: MakeRoom, pause_s: float) -> None:
    there = room("我可以")
    there.sound(1.0)
    there.silence(pause_s)
    there.sound(1.0)
    there.silence(1.0)
    there.wait_for("heard")
    assert len(there.finals) == 1
    # What was recognised in the pause is not the end; all of it is recognised in the end.
    assert there.recognizer.asked[-1] == (pytest.approx(2.4 + pause_s, abs=0.4), True)


def test_after_a_finished_question_the_answer_comes_sooner(room: MakeRoom) -> None:
    there = room("可以配牛奶吃嗎")
    there.sound(1.5)
    there.silence(0.65)
    there.wait_for("heard")
    fixed = EndSettings(strategy=TurnEnd.SILENCE)
    there = room("可以配牛奶吃嗎", settings=EarSettings(end=fixed))
    there.sound(1.5)
    there.silence(0.75)
    assert there.finals == []
    there.silence(0.3)
    there.wait_for("heard")


def test_the_text_is_there_when_the_silence_ends(room: MakeRoom) -> None:
    """Recognition runs while the silence that proves the end still does."""
    there = room("我想問")
    there.sound(1.0)
    there.silence(0.4)
    asked = len(there.recognizer.asked)
    assert there.recognizer.asked[-1][1], "the likely end is recognised with care"
    there.silence(0.7)
    there.wait_for("heard")
    assert len(there.recognizer.asked) == asked, "nothing is recognised twice"


def test_what_may_be_all_of_it_is_told_before_the_end_is_proven(room: MakeRoom) -> None:
    there = room("我想問")
    there.sound(2.0)
    assert not any(heard.is_likely_end for heard in there.heard), "the person still speaks"
    there.silence(0.5)
    assert [heard.text for heard in there.heard if heard.is_likely_end] == ["我想問"]
    assert there.finals == []
    there.silence(0.6)
    there.wait_for("heard")
    assert not there.heard[-1].is_partial and not there.heard[-1].is_likely_end


def test_a_recogniser_that_is_late_is_waited_for_and_told_once(room: MakeRoom) -> None:
    there = room("我想問")
    there.sound(0.4)
    there.recognizer.gate.clear()
    there.silence(1.5, settle=False)
    assert there.finals == []
    there.recognizer.gate.set()
    there.wait_for("heard")
    there.settle()
    assert there.told.count("heard") == 1


def test_endless_speech_is_cut_and_its_memory_is_bounded(room: MakeRoom) -> None:
    end = EndSettings(longest_s=3.0)
    there = room("一直講一直講", settings=EarSettings(end=end))
    there.sound(10.0)
    there.wait_for("heard", 3)
    assert all(seconds < 4.0 for seconds, _ in there.recognizer.asked)


@pytest.mark.parametrize("doubt", [Doubt.SILENT, Doubt.LOOP, Doubt.TOO_MUCH, Doubt.PHANTOM])
def test_what_nobody_said_is_not_speech(room: MakeRoom, doubt: Doubt) -> None:
    there = room("謝謝觀看", doubt=doubt)
    there.sound(1.0)
    there.silence(1.2)
    there.wait_for("nothing")
    assert there.heard == []


def test_a_knock_is_not_voice(room: MakeRoom) -> None:
    there = room("啊")
    for _ in range(5):
        there.sound(0.064)
        there.silence(0.5)
    assert there.told == []


def test_a_recogniser_that_fails_makes_the_robot_ask_again(room: MakeRoom) -> None:
    there = room(SpeechError("no memory"), "我聽到了")
    there.sound(0.4)
    there.silence(1.2)
    there.wait_for("heard")
    assert there.problems == ["no memory"]
    assert there.heard[-1].text == "" and there.heard[-1].confidence == 0.0
    there.sound(0.4)
    there.silence(1.2)
    there.wait_for("heard", 2)
    assert there.problems == ["no memory", ""] and there.finals[-1] == "我聽到了"


# --- while the robot speaks ----------------------------------------------------------------------


def test_words_over_the_robot_are_told_before_the_turn_is_over(room: MakeRoom) -> None:
    there = room("等一下我想問")
    there.ear.robot_speaks(True)
    there.sound(0.8)
    there.wait_for("words")
    assert there.told[:2] == ["voice", "words"]
    there.silence(1.0)
    there.wait_for("heard")
    assert there.told.count("words") == 1


@pytest.mark.parametrize("said", ["嗯", "嗯嗯", "好", "對對對", "yeah", "Mm-hmm.", "okay", ""])
def test_a_listeners_sounds_do_not_interrupt(room: MakeRoom, said: str) -> None:
    there = room(said)
    there.ear.robot_speaks(True)
    there.sound(0.7)
    there.silence(1.2)
    there.wait_for("nothing")
    assert there.words == [] and there.heard == []


def test_yes_after_the_robot_has_finished_is_an_answer(room: MakeRoom) -> None:
    there = room("好")
    there.ear.robot_speaks(True)
    there.sound(0.3)
    there.ear.robot_speaks(False)
    there.sound(0.3)
    there.silence(1.2)
    there.wait_for("heard")
    assert there.finals == ["好"]


def test_the_robots_own_words_are_no_speech(room: MakeRoom) -> None:
    """A recogniser writes an echo with other characters of the same sound."""
    count = 0

    def is_echo(block: object) -> bool:
        nonlocal count
        count += 1
        return count > 8 and count % 2 == 0

    there = room("這是您的學壓要", is_echo=is_echo)
    there.ear.robot_says("您好，這是您的血壓藥，一天一次。")
    there.ear.robot_speaks(True)
    there.sound(1.5)
    there.silence(1.5)
    there.wait_for("nothing")
    assert there.words == [] and there.heard == []


def test_who_repeats_the_robots_words_is_heard(room: MakeRoom) -> None:
    there = room("這是您的血壓藥", is_echo=lambda block: False)
    there.ear.robot_says("您好，這是您的血壓藥，一天一次。")
    there.ear.robot_speaks(True)
    there.sound(1.5)
    there.silence(1.2)
    there.wait_for("heard")


@pytest.mark.parametrize("at_the_end", ["嗯", "這是您的血壓藥", ""])
def test_what_has_stopped_the_robot_is_answered(room: MakeRoom, at_the_end: str) -> None:
    """The robot fell silent for it: a final text that would not have stopped it comes too late."""
    there = room("等一下", at_the_end)
    there.ear.robot_says("您好，這是您的血壓藥，一天一次。")
    there.ear.robot_speaks(True)
    there.sound(0.8)
    there.wait_for("words")
    there.silence(1.2)
    there.wait_for("heard")
    assert there.finals == [at_the_end] and "nothing" not in there.told


def test_a_voice_that_goes_on_long_after_the_robots_is_a_persons(room: MakeRoom) -> None:
    count = 0

    def is_echo(block: object) -> bool:
        nonlocal count
        count += 1
        return count > 8 and count % 2 == 0

    there = room("這是您的血壓藥", is_echo=is_echo)
    there.ear.robot_says("您好，這是您的血壓藥，一天一次。")
    there.ear.robot_speaks(True)
    there.sound(0.4)
    there.ear.robot_speaks(False)
    there.sound(2.0)
    there.silence(1.5)
    there.wait_for("heard")
    assert there.finals == ["這是您的血壓藥"]


def test_echo_alone_begins_no_turn(room: MakeRoom) -> None:
    there = room("這是您的血壓藥", is_echo=lambda block: True)
    there.ear.robot_speaks(True)
    there.sound(3.0)
    assert there.told == []


def test_half_duplex_is_deaf_while_the_robot_speaks(room: MakeRoom) -> None:
    there = room("請問", settings=EarSettings(half_duplex=True, deaf_after_s=0.0))
    there.ear.robot_speaks(True)
    there.sound(1.0)
    there.silence(1.0)
    assert there.told == []
    there.ear.robot_speaks(False)
    there.sound(1.0)
    there.silence(1.2)
    there.wait_for("heard")


# --- when it listens -----------------------------------------------------------------------------


def test_a_button_makes_one_turn_of_everything(room: MakeRoom) -> None:
    there = room("請問這是什麼", settings=EarSettings(mode=ListenMode.PUSH_TO_TALK))
    there.sound(1.0)
    assert there.told == []
    there.ear.press()
    there.sound(0.5)
    there.silence(2.0)
    there.sound(0.5)
    there.ear.release()
    there.silence(0.1)
    there.wait_for("heard")
    assert there.finals == ["請問這是什麼"]
    there.sound(1.0)
    there.silence(1.2)
    assert len(there.finals) == 1


def test_presence_wakes_it(room: MakeRoom) -> None:
    there = room("你好嗎", settings=EarSettings(mode=ListenMode.PRESENCE))
    there.sound(1.0)
    there.silence(1.2)
    assert there.told == []
    there.ear.set_present(True)
    there.sound(1.0)
    there.silence(1.2)
    there.wait_for("heard")


def test_it_may_be_off(room: MakeRoom) -> None:
    there = room("你好", settings=EarSettings(mode=ListenMode.OFF))
    there.sound(1.0)
    there.silence(1.2)
    assert there.told == []


def test_a_turn_can_be_ended_at_once(room: MakeRoom) -> None:
    there = room("你好")
    there.sound(1.0)
    there.ear.end_turn()
    there.wait_for("heard")


def test_closing_does_not_wait_for_a_recogniser_that_hangs(room: MakeRoom) -> None:
    there = room("你好", settings=replace(EarSettings(), before_s=0.1))
    there.sound(0.3)
    there.recognizer.gate.clear()
    there.silence(0.3, settle=False)
    there.ear.close()
    there.recognizer.gate.set()


# --- rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "可以配牛奶吃嗎？",
        "我忘記吃藥了怎麼辦",
        "一次吃几颗",
        "請再說一次",
        "会不会头晕呢",
        "這是什麼",
    ],
)
def test_finished_questions(text: str) -> None:
    assert is_finished_question(text)


@pytest.mark.parametrize(
    "text",
    ["我可以", "如果我今天忘了吃怎麼辦", "我想問這個藥", "Can I take it?", "", "不知道可不可以"],
)
def test_what_may_go_on(text: str) -> None:
    assert not is_finished_question(text)


@pytest.mark.parametrize(
    "text", ["嗯。", "好好好", "對啊", "Yeah, okay.", "uh-huh", "mm", "...", "知道了"]
)
def test_sounds_of_a_listener(text: str) -> None:
    assert is_backchannel(text)


@pytest.mark.parametrize(
    "text",
    ["停", "等一下", "好痛", "不要", "嗯我想問", "no", "stop", "yes but", "救命", "okay wait"],
)
def test_words_that_interrupt(text: str) -> None:
    assert not is_backchannel(text)


def test_an_echo_is_told_by_its_sound() -> None:
    said = "這是您的血壓藥，一天一次，早餐後吃一顆。"
    assert is_echo_of("醫天一次早餐後吃醫顆", said)
    assert is_echo_of("once a day after breakfast", "Take it once a day, after breakfast.")
    assert not is_echo_of("我可以配牛奶吃嗎", said)
    assert not is_echo_of("好", "好的，請稍等。")
