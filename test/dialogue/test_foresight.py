"""An answer may be begun when a person falls silent; nothing is said and nothing changes by it."""

from __future__ import annotations

import pytest
from dialogue_test_kit import TASK
from dialogue_test_kit import Robot
from dialogue_test_kit import new_policy
from dialogue_test_kit import robot_with
from dialogue_test_kit import safe_resources
from dialogue_test_kit import say

from medbot_llm.dialogue.policy import Policy
from medbot_llm.domain import IdentityScan
from medbot_llm.domain import Language
from medbot_llm.domain import ScanResult
from medbot_llm.domain import ScanSource
from medbot_llm.domain import Severity
from medbot_llm.domain import Stage
from medbot_llm.engines.scripted import Script
from medbot_llm.engines.scripted import ScriptedEngine
from medbot_llm.safety.base import TriageResult

QUESTION = "What is the weather like on the moon?"
SCRIPT = Script(default="There is none.")


def calls_of(robot: Robot) -> int:
    assert isinstance(robot.engine, ScriptedEngine)
    return len(robot.engine.calls)


def state_of(policy: Policy) -> dict[str, object]:
    """All that a policy knows of the conversation."""
    gate = policy.gate
    return {
        **{name: value for name, value in vars(policy).items() if name != "gate"},
        "gate": (gate.state, gate.receiver, set(gate._agreed), gate._wrong_scans),
    }


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        QUESTION,
        "I forgot my pill this morning",
        "I am allergic to penicillin",
        "Can I stop taking it?",
        "I am Mr Okonkwo",
        "mm",
        "Call the nurse please",
        "no, that is wrong",
        "再說一次",
    ],
)
def test_a_foreseen_plan_is_the_plan_and_leaves_no_trace(text: str, *, is_open: bool) -> None:
    policy = new_policy()
    policy.on_task(TASK)
    if is_open:
        policy.on_scan(
            IdentityScan(
                ScanSource.WRISTBAND,
                ScanResult.MATCH,
                task_id="T-1",
                matched_identifiers=("patient_id", "name"),
            )
        )
        policy.on_handover_said()
    before = state_of(policy)
    plan = policy.foresee(say(text), Language.EN, TriageResult())
    assert state_of(policy) == before
    assert policy.on_utterance(say(text), Language.EN, TriageResult()) == plan


def test_a_foreseen_emergency_changes_nothing() -> None:
    policy = new_policy()
    policy.on_task(TASK)
    before = state_of(policy)
    policy.foresee(say("help"), Language.EN, TriageResult(Severity.EMERGENCY, "chest_pain", "x"))
    assert state_of(policy) == before


def test_the_answer_to_what_was_foreseen_comes_from_what_was_begun() -> None:
    with robot_with(SCRIPT) as robot:
        before, said = calls_of(robot), len(robot.room.chunks)
        turns = robot.session.snapshot().history_turns
        robot.session.foresee(say(QUESTION))
        robot.room.wait(lambda: calls_of(robot) == before + 1, "the model to begin")
        assert len(robot.room.chunks) == said
        assert robot.session.snapshot().history_turns == turns
        robot.session.heard(say(QUESTION))
        assert [c.text for c in robot.room.answer_to(QUESTION[:40])] == ["There is none."]
        assert calls_of(robot) == before + 1


def test_who_goes_on_speaking_gets_the_answer_to_all_of_it() -> None:
    with robot_with(SCRIPT) as robot:
        before = calls_of(robot)
        robot.session.foresee(say("What is the weather"))
        robot.room.wait(lambda: calls_of(robot) == before + 1, "the model to begin")
        robot.session.heard(say(QUESTION))
        robot.room.answer_to(QUESTION[:40])
        assert calls_of(robot) == before + 2
        assert isinstance(robot.engine, ScriptedEngine)
        assert "What is the weather" in robot.engine.calls[-1][-1].content
        assert robot.engine.calls[-1][-1].content.count("weather") == 1


def test_who_is_heard_to_go_on_ends_what_was_begun() -> None:
    slow = Script(default="There is none. " * 20, piece_delay_s=0.05)
    with robot_with(slow) as robot:
        before, last = calls_of(robot), robot.session.snapshot().reply_id
        robot.session.foresee(say("What is the weather"))
        robot.room.wait(lambda: calls_of(robot) == before + 1, "the model to begin")
        robot.session.goes_on()
        robot.room.wait(lambda: not robot.worker.is_working, "the model to stop")
        assert robot.room.is_quiet and robot.session.snapshot().reply_id == last
        robot.session.heard(say("What is the weather"))
        robot.room.wait(lambda: calls_of(robot) == before + 2, "the model to begin anew")
        robot.session.interrupt()
        robot.settle()


def test_an_emergency_that_is_only_foreseen_calls_nobody() -> None:
    with robot_with(SCRIPT, triage=safe_resources().triage) as robot:
        robot.session.foresee(say("I cannot breathe"))
        robot.settle()
        assert robot.room.alerts == []


def test_before_the_scan_no_model_is_asked_ahead_either() -> None:
    with robot_with(SCRIPT, scanned=False) as robot:
        robot.settle()
        before = calls_of(robot)
        robot.session.foresee(say(QUESTION))
        robot.settle()
        assert calls_of(robot) == before
        assert robot.session.snapshot().stage is Stage.IDENTIFY
