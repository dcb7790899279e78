"""Whether a sentence recites the instructions that the model was given.

A model that is asked for its prompt may read it out. Its rules are no secret of a patient's, but a
robot that recites them at a bedside is not to be trusted with anything else. So a sentence that
shares a long run of characters with the instructions is not spoken. What the instructions
themselves quote ("say: …") is meant to be said, and does not count.
"""

from __future__ import annotations

import re
from functools import lru_cache

from medbot_llm.text.normal import canonical

RUN_CHINESE = 12
"""Characters in a row that are no coincidence, in Chinese …"""
RUN_LATIN = 36
"""… and in English."""

_QUOTED = re.compile(r"「[^」]*」|“[^”]*”|\"[^\"]*\"")
_HAN = re.compile(r"[\u4e00-\u9fff]")


def recites(sentence: str, instructions: str) -> bool:
    """Tell whether a sentence recites a part of the instructions."""
    if not instructions:
        return False
    runs, size = _runs(instructions)
    text = canonical(sentence)
    return any(text[start : start + size] in runs for start in range(len(text) - size + 1))


@lru_cache(maxsize=64)
def _runs(instructions: str) -> tuple[frozenset[str], int]:
    size = RUN_CHINESE if _HAN.search(instructions) else RUN_LATIN
    found: set[str] = set()
    for part in _QUOTED.split(instructions):
        for line in part.splitlines():
            text = canonical(line)
            found |= {text[start : start + size] for start in range(len(text) - size + 1)}
    return frozenset(found), size
