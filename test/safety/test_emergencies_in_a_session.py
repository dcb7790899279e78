"""An emergency in a running conversation: the alert at once, the words next, come what may."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "dialogue"))

from dialogue_test_kit import TASK
from dialogue_test_kit import BadEngine
from dialogue_test_kit import Robot
from dialogue_test_kit import Room
from dialogue_test_kit import robot_with
from dialogue_test_kit import safe_resources
from dialogue_test_kit import say

from medbot_llm.domain import Alert
from medbot_llm.domain import ChatMessage
from medbot_llm.domain import Language
from medbot_llm.domain import ReplyKind
from medbot_llm.domain import Severity
from medbot_llm.engines.base import CancelToken
from medbot_llm.engines.scripted import Failure
from medbot_llm.engines.scripted import Script
from medbot_llm.safety.base import Triage

EMERGENCY = "Help, I have crushing chest pain and I cannot breathe."
ENGLISH = {"language": Language.EN}
WITHIN_S = 20.0
"""How soon the words must come on a busy machine; the alert has come before they do."""


def triage() -> Triage:
    return safe_resources().triage


def emergency_reply(robot: Robot) -> list[str]:
    robot.room.wait(lambda: robot.said(ReplyKind.EMERGENCY), "the words of the emergency")
    return [chunk.text for chunk in robot.said(ReplyKind.EMERGENCY)[0]]


def raise_emergency(robot: Robot) -> Alert:
    """Say it, and give the alert, which must be out when `heard` returns."""
    robot.session.heard(say(EMERGENCY, **ENGLISH))
    alerts = [a for a in robot.room.alerts if a.severity is Severity.EMERGENCY]
    assert len({alert.alert_id for alert in alerts}) == 1
    return alerts[-1]


@pytest.mark.parametrize("failure", [Failure.AT_LOAD, Failure.NONE, Failure.HANG])
@pytest.mark.parametrize("scanned", [False, True])
def test_the_alert_is_out_before_heard_returns_and_the_words_follow(
    failure: Failure, scanned: bool
) -> None:
    with robot_with(
        Script(default="x", failure=failure), triage=triage(), scanned=scanned
    ) as robot:
        alert = raise_emergency(robot)
        assert alert.words == EMERGENCY
        assert alert.task_id == "T-1"
        assert alert.place == "5A-12 / 3"
        assert "calling the nurse" in emergency_reply(robot)[0]


def test_an_engine_that_hangs_and_ignores_its_cancel_delays_nothing() -> None:
    release = threading.Event()

    def stream(messages: Sequence[ChatMessage], cancel: CancelToken) -> Iterator[str]:
        yield "One moment. Then"
        release.wait(60)
        yield "Done."

    with robot_with(BadEngine(stream), triage=triage()) as robot:
        try:
            robot.session.heard(say("tell me a story", utterance_id="story"))
            robot.room.wait(lambda: "One moment." in robot.room.text(), "the first sentence")
            started = time.monotonic()
            raise_emergency(robot)
            emergency_reply(robot)
            assert time.monotonic() - started < WITHIN_S
        finally:
            release.set()


def test_newer_speech_neither_cuts_nor_overtakes_the_words_of_an_emergency() -> None:
    with robot_with(Script(default="Fine. " * 40, piece_delay_s=0.01), triage=triage()) as robot:
        robot.session.heard(say("tell me a story", utterance_id="story"))
        robot.room.wait(lambda: "Fine." in robot.room.text(), "the story")
        raise_emergency(robot)
        for number in range(20):
            robot.session.heard(say(f"and number {number}", utterance_id=f"n{number}"))
        words = emergency_reply(robot)
        robot.settle()
        [reply] = robot.said(ReplyKind.EMERGENCY)[:1]
        assert not any(chunk.was_interrupted for chunk in reply)
        assert len(words) >= 2


def test_an_alert_that_cannot_be_published_is_not_claimed() -> None:
    class Deaf(Room):
        def on_alert(self, alert: Alert) -> None:
            raise ConnectionError("no publisher")

    with robot_with(Script(default="x"), triage=triage(), room=Deaf()) as robot:
        robot.session.heard(say(EMERGENCY, **ENGLISH))
        words = " ".join(emergency_reply(robot))
        assert "calling the nurse" not in words
        assert "call bell" in words
        assert len(robot.session.open_alerts) == 1


def test_the_same_cry_again_is_one_alert_until_it_is_acknowledged() -> None:
    with robot_with(Script(default="x"), triage=triage()) as robot:
        alert = raise_emergency(robot)
        assert raise_emergency(robot) == alert
        # It goes out anew at once, whenever the next repetition is due.
        assert len(robot.room.alerts) == 2
        assert robot.session.open_alerts == (alert,)
        assert robot.session.acknowledge(alert.alert_id) == [alert]
        robot.session.heard(say(EMERGENCY, **ENGLISH))
        assert robot.room.alerts[-1].alert_id != alert.alert_id


def test_alerts_that_nobody_acknowledges_are_bounded_and_emergencies_go_last() -> None:
    with robot_with(Script(default="x"), triage=triage(), scanned=False) as robot:
        emergency = raise_emergency(robot)
        for number in range(120):
            robot.session.heard(say(f"please call the nurse to bed number {number}", **ENGLISH))
            robot.settle()
        assert len(robot.session.open_alerts) <= 50
        assert emergency in robot.session.open_alerts


def test_doubtful_speech_is_still_triaged() -> None:
    with robot_with(Script(default="x"), triage=triage()) as robot:
        robot.session.heard(say(EMERGENCY, confidence=0.05, **ENGLISH))
        assert robot.room.alerts
        assert emergency_reply(robot)


@pytest.mark.parametrize(
    ("text", "language", "word"),
    [
        ("我胸口好痛喘不過氣", Language.ZH_HANT, "護理師"),
        ("我胸口好痛喘不过气", Language.ZH_HANS, "护士"),
        (EMERGENCY, Language.EN, "nurse"),
    ],
)
def test_the_words_are_in_the_language_of_the_cry(
    text: str, language: Language, word: str
) -> None:
    with robot_with(
        Script(default="x"), triage=triage(), task=replace(TASK, language=Language.EN)
    ) as robot:
        robot.session.heard(say(text, language=language))
        assert word in " ".join(emergency_reply(robot))


def test_no_model_is_asked_for_the_words_of_an_emergency() -> None:
    with robot_with(Script(default="x"), triage=triage()) as robot:
        raise_emergency(robot)
        emergency_reply(robot)
        assert robot.engine.calls == []  # type: ignore[attr-defined]
