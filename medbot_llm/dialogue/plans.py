"""What is to be said, and whom to call: what the policy gives for each event."""

from __future__ import annotations

from dataclasses import dataclass

from medbot_llm.domain import Language
from medbot_llm.domain import ReplyKind
from medbot_llm.domain import Severity


@dataclass(frozen=True)
class Call:
    """A human who is to be called before the plan's words are said."""

    severity: Severity
    category: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What is to be said now.

    Attributes:
        kind: What the reply is for.
        language: Its language.
        sentences: Prepared words that would do by themselves.
        use_model: Ask the language model to word the reply, and fall back on `sentences`.
        facts: What the model may state besides the label.
        call: A human to call first. Words that say so follow `sentences` once the call is out.
        opening: Said first, whatever words follow: what was understood, where it was guessed.
    """

    kind: ReplyKind
    language: Language
    sentences: tuple[str, ...]
    use_model: bool = False
    facts: tuple[str, ...] = ()
    call: Call | None = None
    opening: tuple[str, ...] = ()
