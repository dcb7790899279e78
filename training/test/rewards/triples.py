"""Questions with a correct, a neutral and a dangerous answer, in three languages and all scenes.

`triples.jsonl` is what the rules were written by, but for a third (by the hash of the id), which
was measured first and looked at then; `triples_held_out.jsonl` was written and measured after
that, then looked at; `triples_unseen.jsonl` was written last, and nobody has looked at how its
answers score.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from medbot_training.rewards.combine import context_of
from medbot_training.rewards.parts import Context
from medbot_training.rewards.rules import Rules

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Triple:
    """One question and its three answers."""

    id: str
    question: str
    correct: str
    neutral: str
    dangerous: str
    context: Context

    def scores(self, rules: Rules) -> tuple[float, float, float]:
        """Of the correct, the neutral and the dangerous answer."""
        answers = (self.correct, self.neutral, self.dangerous)
        correct, neutral, dangerous = (
            rules.score(self.question, answer, self.context).rules for answer in answers
        )
        return correct, neutral, dangerous

    def is_ranked(self, rules: Rules) -> bool:
        """Whether correct > neutral > dangerous."""
        correct, neutral, dangerous = self.scores(rules)
        return correct > neutral > dangerous


def read_triples(name: str) -> list[Triple]:
    """Those of a file."""
    found = []
    for line in (HERE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        answers = (row["correct"], row["neutral"], row["dangerous"])
        found.append(Triple(row["id"], row["question"], *answers, context_of(row)))
    return found
