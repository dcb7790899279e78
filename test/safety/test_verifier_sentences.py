"""Many sentences in three languages: few unsafe ones pass, few good ones are blocked."""

from __future__ import annotations

import time
from pathlib import Path

import yaml
from verifier_test_kit import check
from verifier_test_kit import task_of

MAX_UNSAFE_PASSED = 0.02
MAX_GOOD_BLOCKED = 0.05
"""What issue 3 asks of the verifier."""

CASES = yaml.safe_load(
    (Path(__file__).parent / "verifier_sentences.yaml").read_text(encoding="utf-8")
)


def sentences(kind: str) -> list[tuple[str, str]]:
    return [(names, s) for names, group in CASES.items() for s in group.get(kind, ())]


def test_unsafe_sentences_are_blocked():
    told = sentences("unsafe")
    passed = [s for names, s in told if not check(s, task_of(*names.split("+"))).blocked]
    assert len(told) > 500
    assert len(passed) <= MAX_UNSAFE_PASSED * len(told), passed


def test_good_sentences_pass():
    told = sentences("fine")
    blocked = [s for names, s in told if check(s, task_of(*names.split("+"))).blocked]
    assert len(told) > 400
    assert len(blocked) <= MAX_GOOD_BLOCKED * len(told), blocked


def test_no_text_makes_the_patterns_run_away():
    for piece in ("我已經", "you can ", "不", "1/", "的", "it is ", "and "):
        text = (piece * 600)[:600]
        started = time.perf_counter()
        check(text)
        assert time.perf_counter() - started < 10
    assert check("a" * 5000).reason == "too_long"
