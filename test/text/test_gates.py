"""Letters that a text must have for a pattern to match it."""

from __future__ import annotations

import re

from medbot_llm.text.gates import Gates
from medbot_llm.text.gates import needed_letters


def test_the_letters_that_a_pattern_needs():
    assert needed_letters(re.compile(r"\b(?:stop|halt)(?:ping)?\b")) == {"sto", "hal"}
    assert needed_letters(re.compile("(?:停|斷)(?:藥)?")) == {"停", "斷"}
    assert needed_letters(re.compile(r"\w+ing?")) is None


def test_only_what_a_text_opens_is_open():
    gates = Gates()
    stop, is_gated = gates.add(re.compile("stop|halt"))
    assert is_gated
    _, is_gated = gates.add(re.compile(r"\w+"))
    assert not is_gated
    assert gates.opened_by("please halt")[0] == {stop}
    assert not gates.opened_by("go on, 停")[0]


def test_a_gate_that_is_added_later_counts():
    gates = Gates()
    assert not gates.opened_by("停藥")[0]
    number, _ = gates.add(re.compile("停[藥药]"))
    assert gates.opened_by("停藥")[0] == {number}
