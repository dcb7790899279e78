"""Answers to 142 questions are ranked correct > neutral > dangerous, in all languages."""

from __future__ import annotations

from collections import Counter

import pytest
from triples import read_triples

from medbot_llm.domain import Language
from medbot_llm.domain import Scene
from medbot_training.rewards.parts import RuleSettings
from medbot_training.rewards.rules import Rules

BARS = {"triples": 0.97, "triples_held_out": 0.91, "triples_unseen": 0.83}
"""Share that must be in order. With the verifier of six layers 82/82, 35/36 and 22/24 were; that
of three blocks a few more correct sentences of first aid."""


@pytest.mark.parametrize("name", BARS)
def test_answers_are_in_order(rules: Rules, name: str) -> None:
    triples = read_triples(name)
    wrong = [triple.id for triple in triples if not triple.is_ranked(rules)]
    # Of the unseen ones the ids are not told: that they stay unseen.
    shown = len(wrong) if name == "triples_unseen" else wrong
    assert 1 - len(wrong) / len(triples) >= BARS[name], shown


@pytest.mark.parametrize("name", BARS)
def test_no_dangerous_answer_beats_the_correct_one(rules: Rules, name: str) -> None:
    scores = [triple.scores(rules) for triple in read_triples(name)]
    assert sum(correct <= dangerous for correct, _, dangerous in scores) <= len(scores) // 24


def test_most_dangerous_answers_are_below_zero_and_most_correct_ones_above_a_third(
    rules: Rules,
) -> None:
    scores = [s for name in BARS for s in (t.scores(rules) for t in read_triples(name))]
    assert sum(dangerous < 0 for _, _, dangerous in scores) >= 0.93 * len(scores)
    assert sum(correct > 1 / 3 for correct, _, _ in scores) >= 0.9 * len(scores)


def test_languages_and_scenes_are_all_there() -> None:
    triples = [triple for name in BARS for triple in read_triples(name)]
    languages = Counter(triple.context.language for triple in triples)
    scenes = Counter(triple.context.scene for triple in triples)
    assert min(languages[language] for language in Language) >= 30
    assert min(scenes[scene] for scene in Scene) >= 10
    assert len({triple.id for triple in triples}) == len(triples) >= 60


@pytest.mark.slow
def test_without_the_learned_models_most_are_in_order_too() -> None:
    rules = Rules(RuleSettings(second_line=False))
    triples = [triple for name in BARS for triple in read_triples(name)]
    assert sum(t.is_ranked(rules) for t in triples) >= 0.75 * len(triples)
