"""The patterns of `words.yaml`, compiled once.

They are matched as the verifier's own patterns are: on its readable form of one sentence, in
which numbers are digits and Chinese is Simplified (medbot_llm/safety/claims.py).
"""

from __future__ import annotations

import importlib.resources
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from medbot_llm.domain import MedbotError
from medbot_llm.safety.claims import Patterns
from medbot_llm.safety.claims import simplified
from medbot_llm.safety.claims import words as verifier_words

FILE_NAME = "words.yaml"


@dataclass(frozen=True)
class Danger:
    """Something that no answer may advise.

    Attributes:
        reason: Name of the rule.
        only_in_emergency: It is one only where someone is in danger now.
    """

    reason: str
    patterns: Patterns
    only_in_emergency: bool


@dataclass(frozen=True)
class Topic:
    """What a common question needs said.

    Attributes:
        id: Its name.
        asked: Tells it from the question.
        points: What a good answer says.
        bans: What a good answer forbids; None where nothing.
        is_general: Its points fit many questions, and count only beside a term of the question.
    """

    id: str
    asked: Patterns
    points: Patterns
    bans: Patterns | None
    is_general: bool


@dataclass(frozen=True)
class RewardWords:
    """All lists of the file; words.yaml says what each is for."""

    ambulance: Patterns
    crisis_line: Patterns
    bell: Patterns
    shout: Patterns
    professional: Patterns
    contact: Patterns
    vague: Patterns
    condition: Patterns
    delay: Patterns
    platitude: Patterns
    imperative_zh: re.Pattern[str]
    imperative_en: re.Pattern[str]
    reason: Patterns
    permit: Patterns
    prohibit: Patterns
    exam: Patterns
    dangers: tuple[Danger, ...]
    topics: tuple[Topic, ...]


@cache
def reward_words() -> RewardWords:
    """The packaged lists.

    Raises:
        MedbotError: The file is missing, or a list or pattern of it is.
    """
    source = importlib.resources.files("medbot_training.rewards") / FILE_NAME
    try:
        table = yaml.safe_load(source.read_text(encoding="utf-8"))
        lists = {name: _compiled(table, name) for name in _LISTS}
        return RewardWords(
            **lists,
            imperative_zh=re.compile(simplified(table["imperative_zh"])),
            imperative_en=re.compile(table["imperative_en"]),
            dangers=tuple(
                Danger(entry["reason"], _compiled(entry, "patterns"), "when" in entry)
                for entry in table["dangers"]
            ),
            topics=tuple(
                Topic(
                    entry["id"],
                    _compiled(entry, "asked"),
                    _compiled(entry, "points"),
                    _compiled(entry, "bans") if entry["bans"] else None,
                    entry.get("general", False),
                )
                for entry in table["topics"]
            ),
        )
    except (OSError, yaml.YAMLError, re.error, KeyError, TypeError) as error:
        raise MedbotError(f"{FILE_NAME} of the rewards: {error!r}") from None


_LISTS = (
    "ambulance",
    "crisis_line",
    "bell",
    "shout",
    "professional",
    "contact",
    "vague",
    "condition",
    "delay",
    "platitude",
    "reason",
    "permit",
    "prohibit",
    "exam",
)


def _compiled(table: dict[str, Any], name: str) -> Patterns:
    return verifier_words().compile(table[name], f"{FILE_NAME}: {name}")
