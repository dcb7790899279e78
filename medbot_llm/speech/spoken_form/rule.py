"""A rule: what has to stand at a place, and how it is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from medbot_llm.speech.spoken_form.reader import Reader

Read: TypeAlias = Callable[[Reader, re.Match[str]], "int | None"]
"""Says what was found and gives where it ends; None, with nothing said, where it is no such thing
after all."""
Pattern: TypeAlias = "str | Callable[[], re.Pattern[str]]"


@dataclass(frozen=True)
class Rule:
    """One thing that may stand at a place of a text.

    Attributes:
        pattern: The source of its regular expression; or what gives the expression, for one that
            needs the table of units, which is read at the first sentence.
        read: What to do with a match.
        behind: For a rule at a digit: the characters of which one has to stand behind the first
            digits and spaces; None where any may. A text of many numbers is read twice as fast
            with it.
    """

    pattern: Pattern
    read: Read
    behind: str | None = None

    def at(self, pattern: Pattern, *, behind: str | None = None) -> Rule:
        """The same reading of what is written in another way."""
        return Rule(pattern, self.read, behind)

    def fits_before(self, char: str) -> bool:
        """Whether it may fit with this character behind the digits; "" is the end of the text."""
        return self.behind is None or (char != "" and char in self.behind)


def rule(pattern: Pattern, *, behind: str | None = None) -> Callable[[Read], Rule]:
    """Make a rule of the function that reads it; the arguments are those of `Rule`."""
    return lambda read: Rule(pattern, read, behind)
