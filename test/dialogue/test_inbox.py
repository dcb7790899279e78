"""Events wait in a bounded line; newer speech overtakes older."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest
from dialogue_test_kit import WAIT_S
from hypothesis import given
from hypothesis import strategies as st

from medbot_llm.dialogue.inbox import Event
from medbot_llm.dialogue.inbox import Inbox
from medbot_llm.domain import Utterance


def nothing() -> None:
    """What these events do: the line does not look at it."""


def event(name: str, **fields: bool) -> Event:
    return Event(name, nothing, **fields)


def speech(text: str) -> Event:
    return Event("speech", nothing, Utterance(text), supersedes=True)


def drain(inbox: Inbox) -> list[Event]:
    taken = []
    while len(inbox) > 0:
        next_event = inbox.take()
        assert next_event is not None
        taken.append(next_event)
    return taken


def texts(events: list[Event]) -> list[str]:
    return [e.utterance.text if e.utterance is not None else e.name for e in events]


def in_thread(run: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_events_come_out_in_the_order_they_came_in() -> None:
    inbox = Inbox()
    for name in ("task", "identity scan", "reset"):
        inbox.leave(event(name))
    assert texts(drain(inbox)) == ["task", "identity scan", "reset"]


def test_every_event_gets_the_next_number() -> None:
    inbox = Inbox()
    events = [event("a"), speech("b"), event("c")]
    for one in events:
        inbox.leave(one)
    assert [one.number for one in events] == [1, 2, 3]


def test_newer_speech_overtakes_all_older_speech_and_nothing_else() -> None:
    inbox = Inbox()
    for one in (speech("one"), event("task"), speech("two"), speech("three")):
        inbox.leave(one)
    events = drain(inbox)
    assert texts(events) == ["one", "task", "two", "three"]
    assert [one.overtaken for one in events] == [True, False, True, False]


def test_an_event_that_is_replaceable_waits_only_once() -> None:
    inbox = Inbox()
    first, second = (
        event("robot context", replaceable=True),
        event("robot context", replaceable=True),
    )
    for one in (first, speech("hello"), second, event("prompt preparation", replaceable=True)):
        inbox.leave(one)
    assert texts(drain(inbox)) == ["hello", "robot context", "prompt preparation"]
    assert inbox.dropped == 0


def test_a_flood_of_robot_contexts_pushes_no_task_out() -> None:
    inbox = Inbox(capacity=8)
    inbox.leave(event("task", supersedes=True))
    for _ in range(1000):
        inbox.leave(event("robot context", replaceable=True))
    assert texts(drain(inbox)) == ["task", "robot context"]
    assert inbox.dropped == 0


def test_when_full_the_oldest_overtaken_speech_goes_first() -> None:
    inbox = Inbox(capacity=4)
    for one in (event("task"), speech("one"), speech("two"), speech("three"), event("scan")):
        inbox.leave(one)
    assert texts(drain(inbox)) == ["task", "two", "three", "scan"]
    assert inbox.dropped == 1


def test_when_full_without_overtaken_speech_the_oldest_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    inbox = Inbox(capacity=2)
    for name in ("one", "two", "three", "four"):
        inbox.leave(event(name))
    assert texts(drain(inbox)) == ["three", "four"]
    assert inbox.dropped == 2
    # Said once, not 200 times a second.
    assert [record.getMessage() for record in caplog.records] == [
        "more comes in than can be answered: dropping the oldest one"
    ]


@given(st.lists(st.sampled_from(["speech", "task", "context"]), max_size=60))
def test_the_line_is_bounded_and_the_newest_speech_stays(kinds: list[str]) -> None:
    inbox = Inbox(capacity=5)
    for number, kind in enumerate(kinds):
        if kind == "speech":
            inbox.leave(speech(str(number)))
        else:
            inbox.leave(event(kind, replaceable=kind == "context"))
        assert len(inbox) <= 5
    waiting = drain(inbox)
    assert [one.number for one in waiting] == sorted(one.number for one in waiting)
    fresh = [e for e in waiting if e.utterance is not None and not e.overtaken]
    assert len(fresh) <= 1
    if kinds and kinds[-1] == "speech":
        assert texts(fresh) == [str(len(kinds) - 1)]


def test_something_that_ends_a_reply_is_seen_while_it_waits() -> None:
    inbox = Inbox()
    inbox.leave(event("robot context"))
    assert not inbox.has_superseding
    inbox.leave(speech("hello"))
    assert inbox.has_superseding
    drain(inbox)
    assert not inbox.has_superseding


def test_taking_waits_for_an_event() -> None:
    inbox = Inbox()
    taken: list[Event | None] = []
    thread = in_thread(lambda: taken.append(inbox.take()))
    inbox.leave(event("task"))
    thread.join(WAIT_S)
    assert [one.name for one in taken if one is not None] == ["task"]


def test_closing_forgets_what_waits_and_lets_the_taker_go() -> None:
    inbox = Inbox()
    inbox.leave(event("task"))
    inbox.close()
    assert inbox.is_closed
    assert inbox.has_superseding
    assert len(inbox) == 0
    assert inbox.take() is None
    waiting = Inbox()
    taken: list[Event | None] = []
    thread = in_thread(lambda: taken.append(waiting.take()))
    waiting.close()
    thread.join(WAIT_S)
    assert taken == [None]


def test_a_closed_inbox_takes_nothing_in() -> None:
    inbox = Inbox()
    inbox.close()
    assert not inbox.leave(speech("hello"))
    assert len(inbox) == 0


def test_nothing_is_lost_between_many_callers_and_one_taker() -> None:
    inbox = Inbox(capacity=10_000)
    taken: list[str] = []

    def take() -> None:
        while (one := inbox.take()) is not None:
            taken.append(one.name)
            if len(taken) == 2000:
                return

    taker = in_thread(take)

    def leave(caller: int) -> None:
        for number in range(500):
            inbox.leave(event(f"{caller}-{number:03}"))

    callers = [in_thread(partial(leave, caller)) for caller in range(4)]
    for thread in [*callers, taker]:
        thread.join(WAIT_S)
    assert len(taken) == len(set(taken)) == 2000
    for n in range(4):
        mine = [name for name in taken if name.startswith(f"{n}-")]
        assert mine == sorted(mine)
