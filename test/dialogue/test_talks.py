"""Whole conversations at a bedside, a counter and at home, written apart from the rules.

`sets/talks.jsonl` holds 189 of them in three languages, and `sets/talks_later.jsonl` 207 that came
after a learned guess of what is wanted. Each was played once before it was looked
at, and mended by afterwards, so what it shows now is no measurement (docs/performance.md has what
it showed then). An expectation names what one of the replies of a turn must hold, what none may
hold, and who must have been called by then; `falls_short` marks those that are not met.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from medbot_llm.apps.engine_options import facts_engine
from medbot_llm.apps.json_lines import Record
from medbot_llm.apps.simulate import SwitchableEngine
from medbot_llm.apps.simulate import simulate
from medbot_llm.dialogue.resources import DialogueResources
from medbot_llm.engines.worker import EngineWorker

SETS = Path(__file__).with_name("sets")
RANK = ("none", "nurse", "emergency")
MOST_FALL_SHORT = {"talks": 0.05, "talks_later": 0.15}


@cache
def talks(name: str) -> tuple[dict[str, Any], ...]:
    """The conversations of a set."""
    lines = (SETS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(map(json.loads, lines))


@pytest.fixture(scope="module")
def resources() -> DialogueResources:
    """The package's own words, rules and facts."""
    return DialogueResources.load()


@pytest.fixture
def engine() -> SwitchableEngine:
    """What `medbot simulate` has for a model unless it is told otherwise."""
    return SwitchableEngine(facts_engine())


@pytest.fixture
def worker(engine: SwitchableEngine) -> Iterator[EngineWorker]:
    """Serves it."""
    own = EngineWorker(engine)
    own.load(lambda share: None).result(30)
    yield own
    own.close()


def is_met(expected: dict[str, Any], turns: list[dict[str, Any]]) -> bool:
    """Whether a turn went as expected."""
    turn = turns[expected["turn"]]
    said = " ".join(turn["replies"]).casefold()
    holds = any(word.casefold() in said for word in expected.get("must_any", [""]))
    is_free = not any(word.casefold() in said for word in expected.get("must_not", []))
    wanted = expected.get("alert")
    if wanted is None:
        return holds and is_free
    # An alert that is needed may have gone out before; one that is not must not go out now.
    since = turns[expected["turn"] :][:1] if wanted == "none" else turns[: expected["turn"] + 1]
    called = [RANK.index(alert["severity"]) for turn in since for alert in turn["alerts"]]
    highest = max(called, default=0)
    is_called = highest == 0 if wanted == "none" else highest >= RANK.index(wanted)
    return holds and is_free and is_called


@pytest.mark.parametrize(
    "talk",
    [talk for name in MOST_FALL_SHORT for talk in talks(name)],
    ids=lambda talk: str(talk["id"]),
)
def test_a_conversation_goes_as_a_pharmacist_would_have_it(
    talk: dict[str, Any],
    worker: EngineWorker,
    engine: SwitchableEngine,
    resources: DialogueResources,
) -> None:
    played = simulate(Record(talk, talk["id"]), worker, engine, resources)
    missed = [
        (played["turns"][expected["turn"]], expected)
        for expected in talk["expect"]
        if not expected.get("falls_short") and not is_met(expected, played["turns"])
    ]
    assert not missed


@pytest.mark.parametrize("name", MOST_FALL_SHORT)
def test_few_expectations_are_not_met(name: str) -> None:
    expectations = [expected for talk in talks(name) for expected in talk["expect"]]
    short = sum(bool(expected.get("falls_short")) for expected in expectations)
    assert short <= MOST_FALL_SHORT[name] * len(expectations)
