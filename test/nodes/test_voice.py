"""The robot hears, answers and speaks: three nodes, real models, real streams of sound."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from node_test_kit import amlodipine_task
from voice_robot import RATE
from voice_robot import EchoingRoom
from voice_robot import VoiceRobot
from voice_robot import loud_from_to
from voice_robot import until
from voice_robot import voice_robot
from voice_robot import words_in

from medbot_llm.domain import Language
from medbot_llm.msg import Alert
from medbot_llm.msg import Caption
from medbot_llm.msg import Response
from medbot_llm.msg import VoiceActivity
from medbot_llm.speech.audio import Sound

from sound_server import needs_sound_server  # isort: skip  # voice_robot finds its folder

pytestmark = needs_sound_server
HANT, HANS, EN = Language.ZH_HANT, Language.ZH_HANS, Language.EN
STOPS_WITHIN_S = 0.25
"""From the confirmation of words to silence."""
AT_ONCE_S = 0.15
"""From the first words of an emergency to their first sample."""
OVER_ROBOT_TRIES = 3
BUSY_S = 0.75
"""What a busy machine may add to the ways between processes; of one that is not, the figures are
those of `make bench-voice`."""


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Iterator[VoiceRobot]:
    """A robot that has handed over and answers questions."""
    folder = tmp_path_factory.mktemp("voice")
    with voice_robot(folder, {"model": small_model, "sampling.seed": 1}) as made:
        made.robot.task_publisher.publish(amlodipine_task())
        made.wait_quiet()
        made.robot.scan()
        until(lambda: made.robot.responses[-1].kind == Response.KIND_HANDOVER)
        made.wait_quiet()
        yield made


@pytest.mark.parametrize(
    ("language", "question", "heard_any", "answer_any"),
    [
        (
            HANT,
            "我昨天忘記吃藥了，怎麼辦？",
            ["忘"],
            ["兩份", "两份", "護理", "护理", "藥師", "药师"],
        ),
        (HANS, "我昨天忘记吃药了，怎么办？", ["忘"], ["两份", "兩份", "护", "護", "药", "藥"]),
        (
            EN,
            "Can I take it twice if I forgot it yesterday?",
            ["forgot", "twice"],
            ["two", "double", "nurse", "pharmacist", "once"],
        ),
    ],
)
def test_a_spoken_question_is_heard_answered_and_spoken(
    robot: VoiceRobot,
    language: Language,
    question: str,
    heard_any: list[str],
    answer_any: list[str],
) -> None:
    speech, words, sound = robot.ask(question, language)
    assert any(word in speech.text.lower() for word in heard_any), speech.text
    assert speech.language == str(language) or Language(speech.language).is_chinese
    assert any(word in words.lower() for word in answer_any), words
    spoken = words_in(sound, language)
    assert any(word in spoken for word in answer_any), f"said {words!r}, heard as {spoken!r}"


def test_both_sides_are_captioned(robot: VoiceRobot) -> None:
    captions = len(robot.robot.captions)
    robot.ask("這是什麼藥？", HANT)
    new = robot.robot.captions[captions:]
    person = [c for c in new if c.speaker == Caption.SPEAKER_PERSON]
    # First guesses come where the machine has time for them.
    assert [c.is_final for c in person] == [False] * (len(person) - 1) + [True]
    assert len({c.caption_id for c in person}) == 1
    assert any(c.speaker == Caption.SPEAKER_ROBOT for c in new)


def seconds(stamp: Time) -> float:
    """A stamp, s."""
    return float(stamp.sec) + float(stamp.nanosec) / 1e9


def start_long_reply(robot: VoiceRobot) -> str:
    """Have the robot say something long; gives the reply's id once it sounds."""
    before = len(robot.robot.speaking)
    robot.robot.say("我忘記吃藥了怎麼辦")
    robot.robot.wait(
        lambda: any(s.is_speaking and s.heard for s in robot.robot.speaking[before:]),
        "the robot to speak",
    )
    return robot.robot.speaking[-1].reply_id


def speak_over(robot: VoiceRobot) -> tuple[str, VoiceActivity]:
    """The patient speaks over a reply, again over the next one where he was not made out: what
    comes of two voices at once is not always understood. Gives the reply that was interrupted, and
    what told so.
    """
    for left in reversed(range(OVER_ROBOT_TRIES)):
        activity = len(robot.robot.activity)
        reply = start_long_reply(robot)
        robot.say("等一下，我想先問別的事情", HANT)
        try:
            [words] = robot.robot.wait(
                lambda activity=activity: robot.told(VoiceActivity.STATE_WORDS, activity),
                "words over the robot",
                20 if left else 60,
            )
            return reply, words
        except AssertionError:
            if not left:
                raise
            robot.wait_quiet()
    raise AssertionError


def test_a_patient_who_speaks_over_the_robot_stops_it(robot: VoiceRobot) -> None:
    activity, speech = len(robot.robot.activity), len(robot.robot.speech)
    with robot.server.recording(rate=RATE) as recorded:
        began = time.monotonic()
        reply, words = speak_over(robot)
        ended = robot.robot.wait(
            lambda: next(
                (s for s in robot.robot.speaking if s.reply_id == reply and not s.is_speaking),
                None,
            ),
            "the robot to stop",
        )
        time.sleep(1.0)
        took = time.monotonic() - began
    stopped = seconds(ended.header.stamp) - seconds(words.header.stamp)
    assert stopped < STOPS_WITHIN_S + BUSY_S
    full = "".join(r.text for r in robot.robot.responses if r.reply_id == reply)
    assert not ended.is_complete and len(ended.heard) < len(full)
    assert full.replace(" ", "").startswith(ended.heard.replace(" ", "")[:10])
    assert robot.told(VoiceActivity.STATE_VOICE, activity), "first the robot ducks"
    assert took < 60 * OVER_ROBOT_TRIES and len(recorded[0])
    assert robot.robot.wait(lambda: robot.finals(speech), "what the patient said")
    robot.wait_quiet()


@pytest.mark.parametrize("said", ["嗯", "好"])
def test_a_listeners_sound_does_not_stop_the_robot(robot: VoiceRobot, said: str) -> None:
    activity, speech = len(robot.robot.activity), len(robot.robot.speech)
    reply = start_long_reply(robot)
    robot.say(said, HANT)
    robot.wait_quiet()
    assert robot.told(VoiceActivity.STATE_WORDS, activity) == [], robot.robot.speech[speech:]
    assert [s.text for s in robot.finals(speech)] == []
    last = [s for s in robot.robot.speaking if s.reply_id == reply][-1]
    assert last.is_complete


def test_a_cough_does_not_stop_the_robot(robot: VoiceRobot) -> None:
    random = np.random.default_rng(3)
    burst = random.standard_normal(round(0.25 * RATE)) * np.hanning(round(0.25 * RATE)) * 0.3
    cough = np.concatenate(
        [np.zeros(RATE // 4), burst, np.zeros(RATE // 8), burst, np.zeros(RATE)]
    )
    activity = len(robot.robot.activity)
    reply = start_long_reply(robot)
    robot.server.play(Sound(cough.astype(np.float32), RATE))
    robot.wait_quiet()
    assert robot.told(VoiceActivity.STATE_WORDS, activity) == []
    assert [s for s in robot.robot.speaking if s.reply_id == reply][-1].is_complete


def own_voice(robot: VoiceRobot, trials: int) -> None:
    """The robot's voice comes back from the room: it is neither speech nor an interruption. What
    a patient says over it is in test/speech/test_own_voice.py, whose room does not depend on how
    busy the machine is.
    """
    with EchoingRoom(robot.server):
        for _ in range(trials):
            activity, speech = len(robot.robot.activity), len(robot.robot.speech)
            reply = start_long_reply(robot)
            robot.wait_quiet()
            time.sleep(1.5)
            values = {v.key: v.value for v in robot.robot.diagnostics["microphone"].values}
            late = values["echo reference late (s)"]
            guesses = [s.text for s in robot.robot.speech[speech:] if s.utterance_id]
            assert robot.told(VoiceActivity.STATE_WORDS, activity) == [], (guesses, late)
            assert guesses == []
            assert [s for s in robot.robot.speaking if s.reply_id == reply][-1].is_complete


def test_the_robots_own_voice_does_not_interrupt_it(robot: VoiceRobot) -> None:
    own_voice(robot, 2)


@pytest.mark.slow
def test_the_robots_own_voice_does_not_interrupt_it_in_twenty_trials(robot: VoiceRobot) -> None:
    own_voice(robot, 20)


def test_an_emergency_is_heard_and_answered_at_once(robot: VoiceRobot) -> None:
    alerts, replies = len(robot.robot.alerts), len(robot.robot.responses)
    robot.say("我胸口好痛，喘不過氣", HANT)
    robot.robot.wait(
        lambda: any(
            alert.severity == Alert.SEVERITY_EMERGENCY for alert in robot.robot.alerts[alerts:]
        ),
        "an emergency alert",
    )
    first = robot.robot.wait(
        lambda: next(
            (r for r in robot.robot.responses[replies:] if r.kind == Response.KIND_EMERGENCY),
            None,
        ),
        "the words of an emergency",
    )
    sounding = robot.robot.wait(
        lambda: next(
            (s for s in robot.robot.speaking if s.is_speaking and s.reply_id == first.reply_id),
            None,
        ),
        "the words to sound",
    )
    # They were spoken ahead, and go to the device at once.
    assert seconds(sounding.first_audio) - seconds(first.header.stamp) < AT_ONCE_S + BUSY_S
    # Nothing cuts them.
    activity = len(robot.robot.activity)
    robot.say("等一下，你在說什麼", HANT)
    robot.wait_quiet()
    spoken = [s for s in robot.robot.speaking if s.reply_id == first.reply_id]
    assert spoken[-1].is_complete, robot.told(VoiceActivity.STATE_WORDS, activity)


def test_the_stages_of_a_turn_are_in_diagnostics(robot: VoiceRobot) -> None:
    robot.ask("我忘記吃藥了，怎麼辦？", HANT)

    def figures() -> dict[str, str]:
        return {v.key: v.value for v in robot.robot.diagnostics["voice latency"].values}

    robot.robot.wait(lambda: int(figures()["turns"]) >= 1, "a turn in diagnostics")
    values = figures()
    for stage in ("final text", "first sentence", "first audio"):
        assert 0 < float(values[f"{stage} p50 (s)"]) <= float(values[f"{stage} p95 (s)"])


def test_a_loudspeaker_recording_has_no_clicks_at_its_ends(robot: VoiceRobot) -> None:
    with robot.server.recording(rate=RATE) as recorded:
        robot.robot.say("這是什麼藥")
        until(lambda: robot.robot.speaking[-1].is_speaking)
        robot.wait_quiet()
    begin, end = loud_from_to(recorded[0])
    edges = recorded[0][[round(begin * RATE), min(round(end * RATE), len(recorded[0]) - 1)]]
    assert end > begin and np.max(np.abs(edges)) < 0.2
