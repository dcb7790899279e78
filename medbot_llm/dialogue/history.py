"""What was said so far, as the people in the room heard it.

Only what was really published goes in, sentence by sentence: a reply cut short leaves the
sentences that were out, with a mark, and nothing of the rest. Where a voice speaks the sentences,
and is cut short, only what it had said by then stays.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from dataclasses import replace

from medbot_llm.domain import ChatRole
from medbot_llm.domain import Language

MAX_TURNS = 40
"""Turns remembered at most. The engine leaves out what does not fit the model's window; this only
bounds the memory of a conversation that never ends."""
MAX_TURN_CHARS = 2000
"""Longest turn kept; of a longer one the end stays, because a question comes at the end."""
TURNS_FORGOTTEN_AT_ONCE = 8
"""The oldest turns go in blocks, so that the prompt's beginning, which the engine has worked
through already, stays the same for several turns. Even: question and answer go together."""
INTERRUPTED_MARK = "…"


@dataclass
class Turn:
    """One speaker's words, until the other speaks."""

    role: ChatRole
    text: str
    language: Language
    was_interrupted: bool = False
    reply_id: str = ""
    """The reply that the end of the text is of …"""
    reply_start: int = 0
    """… and where it begins."""


class History:
    """The turns of one conversation, oldest first."""

    def __init__(self, max_turns: int = MAX_TURNS) -> None:
        self._max_turns = max_turns
        self._turns: deque[Turn] = deque()

    def __len__(self) -> int:
        return len(self._turns)

    def __copy__(self) -> History:
        """The same turns, which go their own way from here."""
        other = History(self._max_turns)
        other._turns.extend(map(replace, self._turns))
        return other

    def clear(self) -> None:
        """Forget everything."""
        self._turns.clear()

    def hear(self, text: str, language: Language) -> None:
        """Add what a person said; words that follow unanswered words join them."""
        self._extend(ChatRole.USER, text, language, "\n")

    def speak(self, sentence: str, language: Language, reply_id: str = "") -> None:
        """Add a sentence that the robot published."""
        self._extend(ChatRole.ASSISTANT, sentence, language, "", reply_id)

    def heard_only(self, reply_id: str, heard: str) -> None:
        """Of a reply only this has been heard: its voice was cut short. The rest is forgotten."""
        for turn in reversed(self._turns):
            if turn.role is not ChatRole.ASSISTANT or turn.reply_id != reply_id or not reply_id:
                continue
            if len(heard.strip()) < len(turn.text[turn.reply_start :].strip()):
                turn.text = turn.text[: turn.reply_start] + heard
                turn.was_interrupted = True
            if not turn.text.strip():
                self._turns.remove(turn)
            return

    def mark_interrupted(self) -> None:
        """Note that the robot's latest words were cut short."""
        if self._turns and self._turns[-1].role is ChatRole.ASSISTANT:
            self._turns[-1].was_interrupted = True

    def turns(self, language: Language) -> list[tuple[ChatRole, str]]:
        """The turns for the prompt builder, oldest first, since `language` was last taken up; what
        was cut short ends in a mark.

        Words in another language are left out, because small models answer in the language that
        they see: asked in English after Chinese turns, two models of 0.5 and 1.5 billion
        parameters answered 3 of 8 questions in Chinese, and none without those turns (and 6 of 8
        against none the other way round).
        """
        spoken: list[tuple[ChatRole, str]] = []
        for turn in reversed(self._turns):
            if turn.language is not language:
                break
            mark = INTERRUPTED_MARK if turn.was_interrupted else ""
            spoken.append((turn.role, turn.text + mark))
        return spoken[::-1]

    def _extend(
        self, role: ChatRole, text: str, language: Language, joint: str, reply_id: str = ""
    ) -> None:
        last = self._turns[-1] if self._turns else None
        joins = last is not None and last.role is role and last.language is language
        if last is not None and joins and not last.was_interrupted:
            if last.reply_id != reply_id:
                last.reply_id, last.reply_start = reply_id, len(last.text)
            needs_space = not joint and last.text[-1:].isascii() and text[:1].isascii()
            last.text += (" " if needs_space else joint) + text
        else:
            last = Turn(role, text, language, reply_id=reply_id)
            if len(self._turns) >= self._max_turns:
                for _ in range(min(TURNS_FORGOTTEN_AT_ONCE, len(self._turns))):
                    self._turns.popleft()
            self._turns.append(last)
        last.reply_start = max(0, last.reply_start - max(0, len(last.text) - MAX_TURN_CHARS))
        last.text = last.text[-MAX_TURN_CHARS:]
