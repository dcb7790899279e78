"""Words by rule instead of by a model, for tests of what surrounds an engine and for dry runs.

A real model is slow, and never says the same thing twice or fails on demand. `ScriptedEngine`
does: a rule looks at the newest thing the user said and gives the reply, which comes in token-like
pieces, as late and as brokenly as the script wants. It keeps the prompts it was given, so that a
test can look at them.

It stands in for a model where the *logic* around the model is looked at: turns, time-outs,
cancelling, topics. It must never stand for the model where the model is the point: it understands
nothing.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import TypeVar

from medbot_llm.domain import ChatMessage
from medbot_llm.domain import ChatRole
from medbot_llm.domain import StringEnum
from medbot_llm.engines.base import CancelToken
from medbot_llm.engines.base import EngineInfo
from medbot_llm.engines.base import EngineUnavailableError
from medbot_llm.engines.base import ModelLoadError
from medbot_llm.engines.base import ProgressCallback
from medbot_llm.engines.base import Sampling

ENGINE_NAME = "scripted"
MAX_RECORDED = 1000
"""Calls remembered, for tests to look at."""

T = TypeVar("T")

LARGEST_NUMBER = 3600
"""Largest delay in a script file, s, and largest count of pieces."""

Words = str | Callable[[Sequence[ChatMessage]], str]
"""What to say: a text, or a function of the prompt that returns one."""

_PIECE = re.compile(r"\s*(?:[A-Za-z]+|\S)|\s+")
"""A Latin word or any other character, with the space before it, as most vocabularies cut."""


class Failure(StringEnum):
    """How a scripted engine fails."""

    NONE = "none"
    AT_LOAD = "at_load"
    BEFORE_FIRST_PIECE = "before_first_piece"
    AFTER_PIECES = "after_pieces"
    """After `Script.fail_after_pieces` pieces."""
    HANG = "hang"
    """No first piece ever comes; only cancelling ends the reply."""


@dataclass(frozen=True)
class ScriptedRule:
    """Says what to reply to whom.

    Attributes:
        when: What the newest user message must contain, in any case; as a regular expression if
            `is_regex`.
        say: The reply.
        is_regex: Whether `when` is a regular expression (Python's `re`, found anywhere in the
            message).
    """

    when: str
    say: Words
    is_regex: bool = False

    def __post_init__(self) -> None:
        """Raise ModelLoadError for a regular expression that is none."""
        if self.is_regex:
            try:
                re.compile(self.when)
            except re.error as error:
                raise ModelLoadError(f'"{self.when}" is no regular expression: {error}') from None

    def matches(self, text: str) -> bool:
        """Say whether this rule answers the text."""
        if self.is_regex:
            return re.search(self.when, text, re.IGNORECASE) is not None
        return self.when.casefold() in text.casefold()


@dataclass(frozen=True)
class Script:
    """What a scripted engine says, and how.

    Attributes:
        rules: The first that matches the newest user message gives the reply.
        default: The reply where none matches.
        first_piece_delay_s: Wait before the first piece of a reply, s; also how long a prefill
            takes.
        piece_delay_s: Wait before each further piece, s.
        failure: How it fails.
        fail_after_pieces: For Failure.AFTER_PIECES: how many pieces come first.
        adapters: The only adapters that `set_adapter` takes; None takes any.
    """

    rules: Sequence[ScriptedRule] = ()
    default: Words = ""
    first_piece_delay_s: float = 0.0
    piece_delay_s: float = 0.0
    failure: Failure = Failure.NONE
    fail_after_pieces: int = 0
    adapters: Sequence[str] | None = None


class ScriptedEngine:
    """An `Engine` that replies by a script, for tests of logic and dry runs; never for the model.

    Attributes:
        script: May be replaced between two calls, to fail from now on, say.
        calls: The messages of each `stream`, oldest first.
        prefills: The messages of each `prefill`, oldest first.
        samplings: The sampling of each `stream`, oldest first.

    Example:
        >>> engine = ScriptedEngine(Script([ScriptedRule("hello", "Good morning.")], "Pardon?"))
        >>> engine.load(lambda share: None)
        >>> prompt = [ChatMessage(ChatRole.USER, "Hello robot")]
        >>> list(engine.stream(prompt, Sampling(), CancelToken()))
        ['Good', ' morning', '.']
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.calls: list[tuple[ChatMessage, ...]] = []
        self.prefills: list[tuple[ChatMessage, ...]] = []
        self.samplings: list[Sampling] = []
        self._name = "script"
        self._path: Path | None = None
        self._is_loaded = False
        self._adapter = ""

    @classmethod
    def from_file(cls, path: str | Path) -> ScriptedEngine:
        """Make an engine of a YAML file, which `load` reads.

        The file is a mapping with the names of Script's attributes. Each of its rules has `say`
        and either `when` (a part of the message) or `when_regex`:

            default: 請稍等，我請護理師來。
            first_piece_delay_s: 0.2
            rules:
              - when: 葡萄柚
                say: 這個藥不要配葡萄柚。
              - when_regex: "when|how often"
                say: Once a day.
        """
        engine = cls(Script())
        engine._path = Path(path)
        engine._name = engine._path.name
        return engine

    def load(self, progress: ProgressCallback) -> None:
        """Read the script, if it is in a file; raise ModelLoadError if it is none, or says so."""
        progress(0.0)
        if self._path is not None:
            self.script = read_script(self._path)
        if self.script.failure is Failure.AT_LOAD:
            raise ModelLoadError(f"{self._name} is told to fail at load")
        self._is_loaded = True
        progress(1.0)

    def prefill(self, messages: Sequence[ChatMessage], cancel: CancelToken) -> None:
        """Take note of the messages, for as long as a first piece takes."""
        self._check_loaded()
        _record(self.prefills, tuple(messages))
        _Pause(cancel).wait(self.script.first_piece_delay_s)

    def stream(
        self, messages: Sequence[ChatMessage], sampling: Sampling, cancel: CancelToken
    ) -> Iterator[str]:
        """Yield the scripted reply, at most `sampling.max_tokens` pieces of it."""
        self._check_loaded()
        script = self.script
        _record(self.calls, tuple(messages))
        _record(self.samplings, sampling)
        pause = _Pause(cancel)
        pause.wait(None if script.failure is Failure.HANG else script.first_piece_delay_s)
        if script.failure is Failure.BEFORE_FIRST_PIECE and not cancel.cancelled:
            raise EngineUnavailableError(f"{self._name} is told to fail before the first piece")
        pieces = _PIECE.findall(self._reply(script, messages))[: sampling.max_tokens]
        for count, piece in enumerate(pieces):
            if count > 0:
                pause.wait(script.piece_delay_s)
            if cancel.cancelled:
                return
            if script.failure is Failure.AFTER_PIECES and count >= script.fail_after_pieces:
                raise EngineUnavailableError(f"{self._name} is told to fail after {count} pieces")
            yield piece

    def set_adapter(self, path: str, scale: float) -> None:
        """Name the adapter in `info`; a script has no other use for it."""
        known = self.script.adapters
        if path and known is not None and path not in known:
            raise ModelLoadError(
                f'{self._name} has no adapter "{path}": it has {", ".join(known) or "none"}'
            )
        self._adapter = path

    def info(self) -> EngineInfo:
        """The name of the script, and that it is one."""
        return EngineInfo(ENGINE_NAME, self._name, self._adapter, detail="a script, not a model")

    def close(self) -> None:
        """Serve no more until the next load; what was recorded stays."""
        self._is_loaded = False

    def _check_loaded(self) -> None:
        if not self._is_loaded:
            raise EngineUnavailableError(f"{self._name} is not loaded")

    @staticmethod
    def _reply(script: Script, messages: Sequence[ChatMessage]) -> str:
        said = next((m.content for m in reversed(messages) if m.role is ChatRole.USER), "")
        words = next((rule.say for rule in script.rules if rule.matches(said)), script.default)
        return words if isinstance(words, str) else words(messages)


class _Pause:
    """Waits that a cancel ends."""

    def __init__(self, cancel: CancelToken) -> None:
        self._cancelled = threading.Event()
        cancel.on_cancel(self._cancelled.set)

    def wait(self, duration_s: float | None) -> None:
        """Wait for the duration, s, or if it is None for the cancel."""
        self._cancelled.wait(duration_s)


def _record(record: list[T], item: T) -> None:
    """Add to a record and forget what is oldest: a robot may run a script for weeks."""
    record.append(item)
    del record[:-MAX_RECORDED]


def read_script(path: Path) -> Script:
    """Read a script from a YAML file as described at `ScriptedEngine.from_file`.

    Raises:
        ModelLoadError: the file is missing, or is not a script; the message says which entry is
            wrong.
    """
    try:
        import yaml
    except ImportError:
        raise ModelLoadError("a script in a file needs PyYAML: pip install pyyaml") from None
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelLoadError(f"the script {path} can't be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ModelLoadError(f"the script {path} is not YAML: {reason}") from None
    try:
        return _script(tree)
    except (ValueError, ModelLoadError) as error:
        raise ModelLoadError(f"the script {path}: {error}") from None


def _script(tree: object) -> Script:
    """Check a parsed file and make a script of it. Raises ValueError with what is wrong."""
    fields = _mapping(tree, "the file")
    script = Script()
    for name, value in fields.items():
        if name == "default":
            script = replace(script, default=_text(value, name))
        elif name == "rules":
            script = replace(script, rules=tuple(map(_rule, _entries(value, name))))
        elif name == "first_piece_delay_s":
            script = replace(script, first_piece_delay_s=_number(value, name))
        elif name == "piece_delay_s":
            script = replace(script, piece_delay_s=_number(value, name))
        elif name == "failure":
            if value not in Failure.values():
                raise ValueError(
                    f"failure must be one of {', '.join(Failure.values())}, not {value!r}"
                )
            script = replace(script, failure=Failure(value))
        elif name == "fail_after_pieces":
            script = replace(script, fail_after_pieces=int(_number(value, name)))
        elif name == "adapters":
            script = replace(script, adapters=tuple(_text(v, name) for v in _entries(value, name)))
        else:
            raise ValueError(f"{name!r} is not known")
    return script


def _rule(tree: object) -> ScriptedRule:
    rule = _mapping(tree, "each rule")
    if set(rule) == {"when", "say"}:
        return ScriptedRule(_text(rule["when"], "when"), _text(rule["say"], "say"))
    if set(rule) == {"when_regex", "say"}:
        return ScriptedRule(
            _text(rule["when_regex"], "when_regex"), _text(rule["say"], "say"), True
        )
    raise ValueError(
        f"each rule must have say and one of when and when_regex, not {sorted(map(str, rule))}"
    )


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a mapping")
    return value


def _entries(value: object, name: str) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list")
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, not {value!r}")
    return value


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} must be a number, not {value!r}")
    if 0 <= value <= LARGEST_NUMBER:
        return float(value)
    raise ValueError(f"{name} must be from 0 to {LARGEST_NUMBER}, not {value!r}")
