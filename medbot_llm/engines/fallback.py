"""Two engines as one: a second one words the replies while the first one is gone.

A robot that asks its ward's server has no model when the network is down, and the patient in front
of it can't wait for the network. With a small model of its own loaded as well, the reply comes at
once, if less well worded.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace

from medbot_llm.domain import ChatMessage
from medbot_llm.engines.base import CancelToken
from medbot_llm.engines.base import Engine
from medbot_llm.engines.base import EngineError
from medbot_llm.engines.base import EngineInfo
from medbot_llm.engines.base import EngineUnavailableError
from medbot_llm.engines.base import ProgressCallback
from medbot_llm.engines.base import PromptTooLongError
from medbot_llm.engines.base import Sampling

logger = logging.getLogger(__name__)

LONGEST_RETRY_PAUSE_S = 120.0
"""How far the pause before the primary is tried again grows: each try that fails costs someone the
primary's time-outs."""

MOST_DOUBLINGS = 10
"""Far enough for any pause; without a limit the power outgrows a float after some days."""


class FallbackEngine:
    """An `Engine` that replies from the primary, and from the secondary while the primary fails.

    - A reply whose first piece the primary could not give (any EngineError but PromptTooLongError)
      is given by the secondary at once. After the first piece an error is an error: no reply mixes
      two models' words.
    - After a failure the primary is left alone for `retry_after_s`, which doubles with each
      failure in a row up to LONGEST_RETRY_PAUSE_S. Then the next prefill or reply tries it again,
      loading it if it never was.
    - Both engines are loaded at start, and both work through a prompt that is prefilled, so that a
      failure does not cost the secondary's cold start on top. Without `keep_secondary_ready` the
      secondary is loaded at the first need, and left out of prefills while the primary serves:
      less memory, and a slow first reply.
    - A LoRA adapter fits one base model, so it belongs to the primary alone. One that is set while
      the primary can't be asked is tried when it is back; if it then does not fit, the log says
      so, and the primary serves without it.
    """

    def __init__(
        self,
        primary: Engine,
        secondary: Engine,
        retry_after_s: float = 10.0,
        keep_secondary_ready: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the two engines, not loaded yet; clock gives the time in s."""
        self._primary = primary
        self._secondary = secondary
        self._retry_after_s = retry_after_s
        self._keep_secondary_ready = keep_secondary_ready
        self._clock = clock
        self._primary_is_loaded = False
        self._secondary_is_loaded = False
        self._failures = 0
        self._retry_at = 0.0
        self._reason = ""
        self._waiting_adapter: tuple[str, float] | None = None

    def load(self, progress: ProgressCallback) -> None:
        """Load the primary, and the secondary if it is kept ready or needed; one suffices."""
        self._failures = 0
        self._reason = ""
        self._primary_is_loaded = False
        share = 0.5 if self._keep_secondary_ready else 1.0
        try:
            self._ready_primary(lambda done: progress(share * done))
        except EngineError as error:
            self._note_failure(error)
        if self._keep_secondary_ready or not self._primary_is_loaded:
            try:
                self._load_secondary(lambda done: progress(share * (1.0 - done) + done))
            except EngineError as error:
                if not self._primary_is_loaded:
                    raise EngineUnavailableError(self._both_fail(error)) from error
                logger.warning("No fall-back engine: %s", error)
        progress(1.0)

    def prefill(self, messages: Sequence[ChatMessage], cancel: CancelToken) -> None:
        """Prefill the engine that will serve, and the secondary as well if it is kept ready."""
        if self._primary_may_serve():
            try:
                self._ready_primary(_ignore).prefill(messages, cancel)
            except PromptTooLongError:
                raise
            except EngineError as error:
                self._note_failure(error)
        if cancel.cancelled:
            return
        if self._failures or (self._keep_secondary_ready and self._secondary_is_loaded):
            self._ready_secondary().prefill(messages, cancel)

    def stream(
        self, messages: Sequence[ChatMessage], sampling: Sampling, cancel: CancelToken
    ) -> Iterator[str]:
        """Yield a reply that is all the primary's, or all the secondary's."""
        if self._primary_may_serve():
            has_begun = False
            try:
                for piece in self._ready_primary(_ignore).stream(messages, sampling, cancel):
                    has_begun = True
                    yield piece
                if has_begun:
                    self._note_success()
                return
            except PromptTooLongError:
                raise
            except EngineError as error:
                if cancel.cancelled:
                    return
                self._note_failure(error)
                if has_begun:
                    raise
        if not cancel.cancelled:
            yield from self._ready_secondary().stream(messages, sampling, cancel)

    def set_adapter(self, path: str, scale: float) -> None:
        """Set the primary's adapter, now or when it is back."""
        if self._primary_is_loaded:
            try:
                self._primary.set_adapter(path, scale)
                self._waiting_adapter = None
                return
            except EngineUnavailableError as error:
                self._note_failure(error)
        self._waiting_adapter = (path, scale)

    def info(self) -> EngineInfo:
        """The engine that serves now, and why."""
        reason = self._reason
        serving = (self._secondary if reason else self._primary).info()
        if reason:
            detail = f"serving from the fall-back engine: {reason}"
        elif self._secondary_is_loaded:
            detail = "serving from the primary engine"
        else:
            detail = "serving from the primary engine, the fall-back is not loaded"
        return replace(serving, detail=f"{detail}; {serving.detail}" if serving.detail else detail)

    def close(self) -> None:
        """Close both."""
        self._primary_is_loaded = self._secondary_is_loaded = False
        try:
            self._primary.close()
        finally:
            self._secondary.close()

    def _primary_may_serve(self) -> bool:
        return not self._failures or self._clock() >= self._retry_at

    def _ready_primary(self, progress: ProgressCallback) -> Engine:
        """Load the primary if it is not, and give it the adapter that waits for it."""
        if not self._primary_is_loaded:
            self._primary.load(progress)
            self._primary_is_loaded = True
        if self._waiting_adapter is not None:
            path, scale = self._waiting_adapter
            try:
                self._primary.set_adapter(path, scale)
            except EngineUnavailableError:
                raise
            except EngineError as error:
                logger.warning("The primary engine goes on without its new adapter: %s", error)
            self._waiting_adapter = None
        return self._primary

    def _ready_secondary(self) -> Engine:
        if not self._secondary_is_loaded:
            try:
                self._load_secondary(_ignore)
            except EngineError as error:
                raise EngineUnavailableError(self._both_fail(error)) from error
        return self._secondary

    def _load_secondary(self, progress: ProgressCallback) -> None:
        self._secondary_is_loaded = False
        self._secondary.load(progress)
        self._secondary_is_loaded = True

    def _both_fail(self, error: EngineError) -> str:
        return f"{self._reason or 'the primary engine failed'}; and the fall-back: {error}"

    def _note_success(self) -> None:
        if self._failures:
            logger.info("The primary engine is back.")
        self._failures = 0
        self._reason = ""

    def _note_failure(self, error: EngineError) -> None:
        doubled_s = self._retry_after_s * 2 ** min(self._failures, MOST_DOUBLINGS)
        pause_s = max(self._retry_after_s, min(doubled_s, LONGEST_RETRY_PAUSE_S))
        self._failures += 1
        self._reason = str(error)
        self._retry_at = self._clock() + pause_s
        logger.warning("The primary engine is left alone for %.0f s: %s", pause_s, error)


def _ignore(_share: float) -> None:
    """Tell no one how far a load is that happens in passing."""
