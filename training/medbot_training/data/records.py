"""What every data file becomes, whatever its format: conversations, preferences and plain texts.

Readers (`formats.py`) make these records, stages and rewards read nothing else. A record knows
where it came from, so that whoever finds fault with it can name file and record.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Literal
from typing import get_args

from medbot_llm.domain import MedbotError
from medbot_llm.text.normal import canonical

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = get_args(Role)

_THINK = re.compile(r"\s*<think>((?:(?!</?think>).)*)</think>\s*", re.DOTALL)
_ANY_THINK = re.compile(r"</?think>")
_LANGUAGE_KEYS = ("language", "lang")


class DataError(MedbotError):
    """Data that can't be read at all; names the file and says what to do."""


@dataclass(frozen=True)
class Origin:
    """Where a record was read.

    Attributes:
        file: Name of the file as it was given.
        record: Its line in files of one record a line, else its number; both start at 1.
    """

    file: str = ""
    record: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.record}"


NOWHERE = Origin()


@dataclass(frozen=True)
class Message:
    """One message of a conversation, without any chat template."""

    role: Role
    content: str


@dataclass(frozen=True)
class Conversation:
    """What was said, in order. One that ends with the user asks for an answer (RL prompts).

    Attributes:
        id: The record's own id, or one made from its content.
        messages: At most one system message, first; then user and assistant in turn.
        meta: What else the file said: scene, language, risk_level, source …
        thinking: What the last answer thought first, without the `<think>` marks.
        label: Whether somebody judged the answer good or bad (KTO); None: nobody did.
    """

    id: str
    messages: tuple[Message, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)
    thinking: str = ""
    origin: Origin = field(default=NOWHERE, compare=False)
    label: bool | None = None

    @property
    def system(self) -> str:
        """The system message, "" where there is none."""
        return _system(self.messages)

    @property
    def question(self) -> str:
        """What the user said last, "" if nothing."""
        return _last(self.messages, "user")

    @property
    def answer(self) -> str:
        """The last message if it is the assistant's, else ""."""
        last = self.messages[-1] if self.messages else None
        return last.content if last is not None and last.role == "assistant" else ""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """All messages before the answer."""
        has_answer = bool(self.messages) and self.messages[-1].role == "assistant"
        return self.messages[:-1] if has_answer else self.messages

    @property
    def wants_answer(self) -> bool:
        """Whether the user has the last word, so that there is nothing to imitate."""
        return bool(self.messages) and self.messages[-1].role != "assistant"


@dataclass(frozen=True)
class Preference:
    """Two answers to one prompt, the better one first.

    Attributes:
        prompt: The messages before the answer; the last is the user's.
        chosen: The better answer, without the prompt.
        rejected: The worse one, without the prompt.
    """

    id: str
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin = field(default=NOWHERE, compare=False)

    @property
    def system(self) -> str:
        """The system message, "" where there is none."""
        return _system(self.prompt)

    @property
    def question(self) -> str:
        """What the user said last, "" if nothing."""
        return _last(self.prompt, "user")


@dataclass(frozen=True)
class Text:
    """A document or paragraph for pre-training."""

    id: str
    text: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin = field(default=NOWHERE, compare=False)


Record = Conversation | Preference | Text


def texts_of(record: Record) -> Iterator[tuple[str, str]]:
    """Give every text of a record with the name of its place, in reading order."""
    if isinstance(record, Text):
        yield "text", record.text
        return
    messages = record.prompt if isinstance(record, Preference) else record.messages
    for number, message in enumerate(messages, start=1):
        yield f"{message.role} {number}", message.content
    if isinstance(record, Preference):
        yield "chosen", record.chosen
        yield "rejected", record.rejected
    elif record.thinking:
        yield "thinking", record.thinking


def split_thinking(answer: str) -> tuple[str, str]:
    """Part an answer into what it thought and what it says; thinking is "" without the marks.

    An answer whose marks are empty, there twice or one in the other stays as it is: what is
    taken apart must come together again as it was.
    """
    found = _THINK.match(answer)
    if found is None or not found[1].strip() or _ANY_THINK.search(answer, found.end()):
        return "", answer
    return found[1].strip(), answer[found.end() :]


def join_thinking(thinking: str, answer: str) -> str:
    """Put thought and answer together again, as models write them."""
    return f"<think>{thinking}</think>\n{answer}" if thinking else answer


def full_answer(record: Conversation) -> str:
    """The answer with its thinking, as it is trained on."""
    return join_thinking(record.thinking, record.answer)


def content_hash(record: Record) -> str:
    """A hash of what a record says, whatever its format, spacing, case, width and script."""
    return _hash(record, canonical)


def copy_hash(record: Record) -> str:
    """A hash of what a record says, word by word: spaces alone may be different."""
    return _hash(record, lambda text: " ".join(text.split()))


def _hash(record: Record, form: Callable[[str], str]) -> str:
    parts = [type(record).__name__]
    if isinstance(record, Conversation) and record.label is not None:
        parts.append(f"label {record.label}")
    parts += (f"{place.split()[0]}\x1f{form(text)}" for place, text in texts_of(record))
    return hashlib.sha256("\x1e".join(parts).encode("utf-8", "replace")).hexdigest()


def body_of(record: Record) -> str:
    """What was asked and answered, as one text; of a preference the better answer.

    Without the system message: where all records share it, it makes all of them alike.
    """
    if isinstance(record, Text):
        return record.text
    messages = record.prompt if isinstance(record, Preference) else record.messages
    said = [message.content for message in messages if message.role != "system"]
    return "\n".join([*said, record.chosen] if isinstance(record, Preference) else said)


def language_key(meta: Mapping[str, Any]) -> str:
    """The language that the record itself names, "" if it names none."""
    return next((str(meta[key]) for key in _LANGUAGE_KEYS if meta.get(key)), "")


def _system(messages: tuple[Message, ...]) -> str:
    return messages[0].content if messages and messages[0].role == "system" else ""


def _last(messages: tuple[Message, ...], role: Role) -> str:
    return next((m.content for m in reversed(messages) if m.role == role), "")
