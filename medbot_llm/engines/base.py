"""What every engine can do, whatever runs the model.

An engine turns chat messages into pieces of text. It is synchronous and not thread-safe on
purpose: one `EngineWorker` (worker.py) owns the thread on which every call is made, because
llama.cpp loses half of its speed when several threads call it in turn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from medbot_llm.domain import ChatMessage
from medbot_llm.domain import MedbotError

ProgressCallback = Callable[[float], None]
"""Called with the share that is done, 0.0 to 1.0; what it raises stops the work and comes out of
the call.
"""


class EngineError(MedbotError):
    """An engine could not do what it was asked."""


class ModelLoadError(EngineError):
    """The model or adapter is missing, damaged, or not of a kind that this engine runs."""


class PromptTooLongError(EngineError):
    """System prompt and newest message do not fit the context window even without any older
    turn.
    """


class EngineUnavailableError(EngineError):
    """The engine does not answer: not loaded, server gone, or out of time."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; names and meaning as in llama.cpp and the OpenAI API.

    Attributes:
        temperature: 0 picks the most likely token always (greedy).
        top_k: Only the k most likely tokens; 0 all.
        top_p: Only the most likely tokens that together reach this probability; 1 all.
        min_p: Only tokens at least this fraction as likely as the most likely one; 0 all.
        repeat_penalty: Divides the logit of a token seen in the last 64; 1 none.
        max_tokens: Longest reply, tokens.
        seed: Seed of the random choice; None: a new one each time.
    """

    temperature: float = 0.3
    top_k: int = 40
    top_p: float = 0.9
    min_p: float = 0.05
    repeat_penalty: float = 1.1
    max_tokens: int = 256
    seed: int | None = None


class CancelToken:
    """Tells a running call to stop; may be set from any thread, and once set stays set."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def cancel(self) -> None:
        """Set the token and run the callbacks, once."""
        with self._lock:
            if self._event.is_set():
                return
            self._event.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Run callback when the token is set, at once if it is set already; it must be quick."""
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return
        callback()


@dataclass(frozen=True)
class EngineInfo:
    """What an engine says of itself, for diagnostics.

    Attributes:
        engine: Name of the kind of engine, e.g. "llama_cpp".
        model: Name of the model or its file.
        adapter: LoRA adapter in use, "" none.
        context_tokens: Size of the context window, tokens; 0 unknown.
        detail: Anything else worth a line, e.g. "serving from the fall-back engine".
    """

    engine: str
    model: str
    adapter: str = ""
    context_tokens: int = 0
    detail: str = ""


class Engine(Protocol):
    """A language model that words replies. Every method is called from one and the same thread,
    except `info`, which any thread may call at any time."""

    def load(self, progress: ProgressCallback) -> None:
        """Make ready to serve. Raises ModelLoadError or EngineUnavailableError; may be called
        again later.
        """

    def prefill(self, messages: Sequence[ChatMessage], cancel: CancelToken) -> None:
        """Work through the prompt ahead of time, so that a later `stream` that begins with the
        same messages starts at once. Engines without a prompt cache do nothing. Returns early if
        cancelled."""

    def stream(
        self, messages: Sequence[ChatMessage], sampling: Sampling, cancel: CancelToken
    ) -> Iterator[str]:
        """Yield the reply piece by piece, one piece a token where the engine knows tokens.

        The first message is the system prompt. Where the context window is too small the oldest
        turns are left out, never the system prompt nor the newest message. Ends early, without an
        error, once `cancel` is set. Raises PromptTooLongError, EngineUnavailableError or
        EngineError."""

    def set_adapter(self, path: str, scale: float) -> None:
        """Use the LoRA adapter at path (a file or the name a server knows it by) from the next
        reply on; "" uses none. Raises ModelLoadError and keeps the former adapter if it does not
        fit the model."""

    def info(self) -> EngineInfo:
        """What is loaded now."""

    def close(self) -> None:
        """Free the memory. The engine may be loaded again."""
