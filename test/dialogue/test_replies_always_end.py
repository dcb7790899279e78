"""Whatever an engine or a verifier does, a reply ends, once, and where words are missing the
prepared ones stand in."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from collections.abc import Sequence

import pytest
from dialogue_test_kit import WAIT_S
from dialogue_test_kit import BadEngine
from dialogue_test_kit import Room
from dialogue_test_kit import resources
from dialogue_test_kit import robot_with
from dialogue_test_kit import say

from medbot_llm.dialogue.advice import Advisor
from medbot_llm.domain import ChatMessage
from medbot_llm.domain import Language
from medbot_llm.domain import ReplyChunk
from medbot_llm.domain import ReplyKind
from medbot_llm.domain import Scene
from medbot_llm.engines.base import CancelToken
from medbot_llm.engines.base import Engine
from medbot_llm.engines.base import ModelLoadError
from medbot_llm.engines.base import Sampling
from medbot_llm.engines.scripted import Failure
from medbot_llm.engines.scripted import Script
from medbot_llm.engines.worker import Timeouts
from medbot_llm.safety.base import Brief
from medbot_llm.safety.base import NoVerifier
from medbot_llm.safety.base import Verdict

ANSWER, FALLBACK = ReplyKind.ANSWER, ReplyKind.FALLBACK
REPLY = "Take it in the morning. Drink water with it. Ask the nurse."
SENTENCES = ["Take it in the morning.", "Drink water with it.", "Ask the nurse."]
QUICK = Timeouts(first_token_s=0.3, between_tokens_s=0.3)


def fallback_words() -> list[str]:
    """What the robot says when it cannot answer: that it can't, and the label."""
    return resources().phrases.say("model_unavailable", Language.EN, Scene.WARD)


def assert_falls_back(reply: list[ReplyChunk], said_before: Sequence[str] = ()) -> None:
    """The model's own sentences, then the plan's words to the end, with the label."""
    count = len(said_before)
    spoken = [chunk.text for chunk in reply]
    assert spoken[:count] == list(said_before)
    assert spoken[count : count + len(fallback_words())] == fallback_words()
    assert "Zentoprazine" in spoken[-1]
    assert [chunk.kind for chunk in reply] == [ANSWER] * count + [FALLBACK] * (len(reply) - count)
    assert not reply[-1].was_interrupted


def raising(error: Exception, *pieces: str) -> BadEngine:
    def stream(messages: Sequence[ChatMessage], cancel: CancelToken) -> Iterator[str]:
        yield from pieces
        raise error

    return BadEngine(stream)


@pytest.mark.parametrize(
    ("engine", "said_before"),
    [
        (Script(default=REPLY, failure=Failure.AT_LOAD), []),
        (Script(default=REPLY, failure=Failure.BEFORE_FIRST_PIECE), []),
        (Script(default=REPLY, failure=Failure.AFTER_PIECES, fail_after_pieces=3), []),
        (
            Script(default=REPLY, failure=Failure.AFTER_PIECES, fail_after_pieces=13),
            SENTENCES[:2],
        ),
        (Script(default=""), []),
        (Script(default="   \n "), []),
        (Script(default="<think>The patient asks about food.</think>"), []),
        (Script(default="<think>This never comes to an end"), []),
        (Script(default="**  **\n---\n```\n```"), []),
        (Script(default="😀 🙏"), []),
        (raising(RuntimeError("a bug")), []),
        (raising(ValueError("a bug"), "One sentence. ", "Two of"), ["One sentence."]),
        (raising(MemoryError()), []),
        (BadEngine(lambda messages, cancel: iter(()), load_error=ModelLoadError("gone")), []),
        (BadEngine(lambda messages, cancel: iter(()), load_error=OSError("disk")), []),
        (BadEngine(lambda messages, cancel: iter(())), []),
        (BadEngine(lambda messages, cancel: iter([""] * 50)), []),
    ],
    ids=[
        "fails at load",
        "fails before the first piece",
        "fails in the first sentence",
        "fails in the third sentence",
        "says nothing",
        "says spaces",
        "only thinks",
        "never stops thinking",
        "only markdown",
        "only pictures",
        "raises a stranger's error",
        "raises a stranger's error in mid-reply",
        "runs out of memory",
        "has no model",
        "cannot read its model",
        "ends at once",
        "yields empty pieces",
    ],
)
def test_a_reply_that_the_model_cannot_give_ends_in_prepared_words(
    engine: Script | Engine, said_before: list[str]
) -> None:
    with robot_with(engine) as robot:
        for question in ("tell me something", "and something more"):
            reply = robot.ask(question)
            assert_falls_back(reply, said_before)
        assert robot.session.figures().last_error
        assert robot.session.figures().replies[FALLBACK] == 2


def test_speech_that_no_plan_can_be_made_for_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("next_as_usual")

    monkeypatch.setattr(Advisor, "heard", broken)
    with robot_with(Script(default=REPLY)) as robot:
        reply = robot.ask("is the next one still at eight?")
        assert [chunk.text for chunk in reply] == fallback_words()
        assert {chunk.kind for chunk in reply} == {FALLBACK}
        assert "KeyError" in robot.session.figures().last_error
        monkeypatch.undo()
        assert [chunk.text for chunk in robot.ask("tell me something")] == SENTENCES


def test_a_model_that_works_again_is_used_again() -> None:
    with robot_with(Script(default=REPLY, failure=Failure.BEFORE_FIRST_PIECE)) as robot:
        assert_falls_back(robot.ask("one"))
        robot.engine.script = Script(default=REPLY)  # type: ignore[attr-defined]
        assert [chunk.text for chunk in robot.ask("two")] == SENTENCES


def test_a_model_that_hangs_is_given_up_on_in_time() -> None:
    with robot_with(Script(default=REPLY, failure=Failure.HANG), timeouts=QUICK) as robot:
        began = time.monotonic()
        assert_falls_back(robot.ask("tell me more"))
        assert time.monotonic() - began >= QUICK.first_token_s
        assert "no text" in robot.session.figures().last_error


def test_a_model_that_falls_silent_in_mid_reply_is_given_up_on() -> None:
    release = threading.Event()

    def stream(messages: Sequence[ChatMessage], cancel: CancelToken) -> Iterator[str]:
        yield "First sentence. Second"
        cancel.on_cancel(release.set)
        release.wait(WAIT_S)

    with robot_with(BadEngine(stream), timeouts=QUICK) as robot:
        assert_falls_back(robot.ask("tell me more"), ["First sentence."])
    assert release.is_set()


def test_a_model_that_ignores_the_cancel_holds_no_reply_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It holds its own thread; the dialogue goes on, and soon does not even ask it."""
    monkeypatch.setattr("medbot_llm.engines.worker.HUNG_AFTER_CANCEL_S", 0.2)
    monkeypatch.setattr("medbot_llm.engines.worker.CLOSE_TIMEOUT_S", WAIT_S)
    release = threading.Event()

    def stream(messages: Sequence[ChatMessage], cancel: CancelToken) -> Iterator[str]:
        yield "First sentence. Second"
        release.wait(2 * WAIT_S)

    try:
        with robot_with(BadEngine(stream), timeouts=QUICK) as robot:
            assert_falls_back(robot.ask("one"), ["First sentence."])
            while not robot.worker.is_hung:
                time.sleep(0.02)
            assert_falls_back(robot.ask("two"))
            assert "hangs" in robot.session.figures().last_error
            release.set()
    finally:
        release.set()


class RuleBook(NoVerifier):
    """Blocks each sentence with a given word; may break instead."""

    name = "rule book"

    def __init__(self, forbidden: str, error: Exception | None = None) -> None:
        self.forbidden = forbidden
        self.error = error
        self.asked: list[tuple[str, Language, str]] = []

    def check(self, sentence: str, language: Language, brief: Brief) -> Verdict:
        task = brief.task
        self.asked.append((sentence, language, task.task_id if task is not None else ""))
        if self.forbidden not in sentence:
            return Verdict()
        if self.error is not None:
            raise self.error
        return Verdict("dose", self.forbidden)


@pytest.mark.parametrize(
    ("forbidden", "said_before"),
    [("morning", []), ("water", SENTENCES[:1]), ("nurse", SENTENCES[:2])],
)
@pytest.mark.parametrize("error", [None, RuntimeError("no such rule")])
def test_a_sentence_that_is_blocked_is_not_said_nor_any_after_it(
    forbidden: str, said_before: list[str], error: Exception | None
) -> None:
    verifier = RuleBook(forbidden, error)
    with robot_with(Script(default=REPLY), verifier=verifier) as robot:
        reply = robot.ask("tell me more")
        assert_falls_back(reply, said_before)
        blocked = SENTENCES[len(said_before)]
        assert blocked not in robot.room.text()
        assert [sentence for sentence, _, _ in verifier.asked] == SENTENCES[: len(said_before) + 1]
        assert {(language, task) for _, language, task in verifier.asked} == {(Language.EN, "T-1")}
        # What cannot be judged is not said either.
        assert robot.session.figures().blocked == {"verifier_failed" if error else "dose": 1}
        # What was blocked is not remembered as said either.
        robot.ask("and now")
        assert blocked not in str(robot.engine.calls[-1])  # type: ignore[attr-defined]


def test_a_sentence_that_was_overtaken_while_it_was_verified_is_not_said() -> None:
    room = Room()
    session_of: list[object] = []

    class Slow(RuleBook):
        def check(self, sentence: str, language: Language, brief: Brief) -> Verdict:
            if sentence == SENTENCES[1]:
                session_of[0].interrupt()  # type: ignore[attr-defined]
            return Verdict()

    with robot_with(Script(default=REPLY), verifier=Slow(""), room=room) as robot:
        session_of.append(robot.session)
        reply = robot.ask("tell me more")
        assert [chunk.text for chunk in reply] == [SENTENCES[0], ""]
        assert reply[-1].was_interrupted


def test_an_engine_that_is_closed_in_mid_reply_leaves_no_half_answer() -> None:
    script = Script(default=REPLY, piece_delay_s=0.05)
    with robot_with(script) as robot:

        def close_in_mid_reply() -> None:
            robot.room.wait(
                lambda: any(c.text == SENTENCES[0] for c in robot.room.chunks), "a sentence"
            )
            robot.worker.close()

        closing = threading.Thread(target=close_in_mid_reply)
        closing.start()
        reply = robot.ask("tell me more")
        closing.join(WAIT_S)
        said = [chunk.text for chunk in reply if chunk.kind is ANSWER]
        assert said == SENTENCES[: len(said)]
        assert_falls_back(reply, said)


def test_a_listener_that_fails_once_gets_the_rest_and_the_end() -> None:
    room = Room()
    failed: list[str] = []
    with robot_with(Script(default=REPLY), room=room) as robot:
        robot.settle()
        heard: list[ReplyChunk] = []

        def publish(chunk: ReplyChunk) -> None:
            if chunk.text == SENTENCES[1]:
                failed.append(chunk.text)
                raise RuntimeError("the topic is gone")
            heard.append(chunk)

        robot.session._speaker._publish = publish
        robot.session.heard(say("tell me more"))
        robot.settle()
        robot.session._speaker._publish = room.on_reply
        assert failed == [SENTENCES[1]]
        assert [(c.text, c.is_last) for c in heard] == [
            (SENTENCES[0], False),
            (SENTENCES[2], True),
        ]
        # What no one heard is not remembered.
        robot.ask("and now")
        prompt = str(robot.engine.calls[-1])  # type: ignore[attr-defined]
        assert SENTENCES[0] in prompt
        assert SENTENCES[1] not in prompt


def test_the_last_chunk_of_a_whole_reply_carries_its_last_sentence() -> None:
    with robot_with(Script(default=REPLY)) as robot:
        reply = robot.ask("tell me more")
        assert [(c.text, c.is_last, c.sequence) for c in reply] == [
            (SENTENCES[0], False, 0),
            (SENTENCES[1], False, 1),
            (SENTENCES[2], True, 2),
        ]


@pytest.mark.parametrize("reply", [f"{REPLY}\n\n", f"{REPLY} <think>done</think>", f"{REPLY} **"])
def test_a_reply_whose_end_is_nothing_to_say_ends_all_the_same(reply: str) -> None:
    with robot_with(Script(default=reply)) as robot:
        chunks = robot.ask("tell me more")
        assert [chunk.text for chunk in chunks if chunk.text] == SENTENCES
        assert {chunk.kind for chunk in chunks} == {ANSWER}


def test_a_sentence_cut_off_by_the_token_limit_is_not_said() -> None:
    with robot_with(
        Script(default="One. Two is cut off here"), sampling=Sampling(max_tokens=5)
    ) as robot:
        reply = robot.ask("tell me more")
        assert [chunk.text for chunk in reply] == ["One.", ""]


def test_an_unfinished_sentence_is_said_where_the_model_itself_stopped() -> None:
    with robot_with(Script(default="One. And that was it")) as robot:
        assert [chunk.text for chunk in robot.ask("tell me more")] == ["One.", "And that was it"]


def test_chinese_comes_in_the_script_of_the_language_that_was_spoken() -> None:
    with robot_with(Script(default="请问护理师。")) as robot:
        taiwan = robot.ask("怎麼吃", language=Language.ZH_HANT)
        assert [(c.text, c.language) for c in taiwan] == [("請問護理師。", Language.ZH_HANT)]
        mainland = robot.ask("怎么吃", language=Language.ZH_HANS)
        assert [(c.text, c.language) for c in mainland] == [("请问护理师。", Language.ZH_HANS)]


def test_every_chunk_says_when_it_passed_which_stage() -> None:
    with robot_with(Script(default=REPLY)) as robot:
        reply = robot.ask("tell me more")
        times = reply[-1].times
        assert times.received <= times.first_token <= times.first_sentence
        assert times.last_token >= times.first_token
        assert times.tokens == 15
        assert robot.session.figures().time_to_first_token_p50_s >= 0


def test_a_model_that_says_a_sentence_again_is_stopped() -> None:
    with robot_with(Script(default="Take it in the morning. " * 40)) as robot:
        reply = robot.ask("tell me more")
        assert [chunk.text for chunk in reply] == [SENTENCES[0], ""]
        assert [chunk.is_last for chunk in reply] == [False, True]
        assert not reply[-1].was_interrupted


@pytest.mark.parametrize("lost", ["Take it well take it well take it well.", "Take 的是嗎 it."])
def test_a_sentence_that_has_lost_its_thread_is_replaced(lost: str) -> None:
    with robot_with(Script(default=f"Drink water with it. {lost}")) as robot:
        assert_falls_back(robot.ask("tell me more"), ["Drink water with it."])
        assert robot.room.blocked
