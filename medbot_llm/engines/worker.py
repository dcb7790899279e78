"""One thread that owns an engine and makes every call to it.

llama.cpp is not thread-safe, and measured on two cores it loses 40 % of its speed as soon as a
second thread calls it in turn, because each caller brings a team of OpenMP threads of its own. So
callers of any thread ask here, and only the worker's thread touches the engine, the load included.

A prefill is work done ahead of need: at most one waits, a newer one replaces it, and a reply
interrupts it unless the reply can use what it is working through.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from medbot_llm.domain import ChatMessage
from medbot_llm.domain import MedbotError
from medbot_llm.domain import ModelStatus
from medbot_llm.engines.base import CancelToken
from medbot_llm.engines.base import Engine
from medbot_llm.engines.base import EngineInfo
from medbot_llm.engines.base import EngineUnavailableError
from medbot_llm.engines.base import ProgressCallback
from medbot_llm.engines.base import Sampling

logger = logging.getLogger(__name__)

MAX_WAITING_JOBS = 8
HUNG_AFTER_CANCEL_S = 2.0
"""An engine that has not stopped this long after it was told to is taken for hung (a cancel takes
llama.cpp under 0.4 s in the worst case, a prefill on two cores)."""
CLOSE_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Timeouts:
    """How long a reply may wait for the model.

    Attributes:
        first_token_s: Until the first piece of text, the prompt's prefill included.
        between_tokens_s: Between one piece and the next.
        first_sentence_s: Until the first sentence is whole, the thoughts of a thinking model
            included: a model that crawls from token to token must not keep a patient waiting.
    """

    first_token_s: float = 20.0
    between_tokens_s: float = 5.0
    first_sentence_s: float = 25.0


class _End:
    """Marks the end of a stream; carries the error that ended it, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class TokenStream:
    """The pieces of one reply as the worker produces them. Iterate from one thread only."""

    def __init__(self, cancel: CancelToken, timeouts: Timeouts) -> None:
        self.cancel = cancel
        self.first_token_at = float("nan")
        """`time.monotonic()` when the engine gave its first piece, s; NaN before."""
        self.last_token_at = float("nan")
        """Likewise for its latest piece."""
        self.timed_out = False
        """Whether the consumer gave up waiting for a piece."""
        self._timeouts = timeouts
        self._pieces: queue.SimpleQueue[str | _End] = queue.SimpleQueue()
        # Waking up a consumer that waits for a slow engine is the only other thing a cancel must
        # do.
        cancel.on_cancel(lambda: self._pieces.put(_End()))

    def put(self, piece: str) -> None:
        """Hand over a piece (the worker's side)."""
        self.last_token_at = time.monotonic()
        if math.isnan(self.first_token_at):
            self.first_token_at = self.last_token_at
        self._pieces.put(piece)

    def finish(self, error: BaseException | None = None) -> None:
        """Tell that no more comes (the worker's side)."""
        self._pieces.put(_End(error))

    def __iter__(self) -> Iterator[str]:
        """Yield the pieces; ends early once cancelled.

        Raises:
            EngineUnavailableError: no piece in time; the engine was told to stop.
            EngineError: the engine failed.
        """
        timeout_s = self._timeouts.first_token_s
        while not self.cancel.cancelled:
            try:
                item = self._pieces.get(timeout=timeout_s)
            except queue.Empty:
                self.timed_out = True
                self.cancel.cancel()
                raise EngineUnavailableError(
                    f"the model gave no text for {timeout_s:g} s"
                ) from None
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            timeout_s = self._timeouts.between_tokens_s
            yield item


@dataclass
class _Job:
    run: Callable[[], None]
    refuse: Callable[[BaseException], None]
    cancel: CancelToken
    messages: tuple[ChatMessage, ...] | None = None
    """For a prefill: what it works through. None for any other job."""


class EngineWorker:
    """Owns one engine and the thread it runs on. All methods may be called from any thread."""

    def __init__(self, engine: Engine, timeouts: Timeouts | None = None) -> None:
        self._engine = engine
        self._timeouts = timeouts or Timeouts()
        self._condition = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._running: _Job | None = None
        self._cancelled_at: float | None = None
        self._closing = False
        self._status = ModelStatus.LOADING
        self._error = ""
        self._thread = threading.Thread(target=self._serve, name="engine", daemon=True)
        self._thread.start()

    @property
    def status(self) -> ModelStatus:
        """Whether a stream has a chance now."""
        return ModelStatus.UNAVAILABLE if self.is_hung else self._status

    @property
    def last_error(self) -> str:
        """The latest failure of load, reply or adapter, one line; "" none yet."""
        return self._error

    @property
    def is_hung(self) -> bool:
        """The engine did not stop when it was told to."""
        cancelled_at = self._cancelled_at
        return cancelled_at is not None and time.monotonic() - cancelled_at > HUNG_AFTER_CANCEL_S

    @property
    def timeouts(self) -> Timeouts:
        """How long a reply may wait for the model."""
        return self._timeouts

    def info(self) -> EngineInfo:
        """What the engine has loaded."""
        return self._engine.info()

    def load(self, progress: ProgressCallback) -> Future[None]:
        """Load the engine. `progress` runs on the worker's thread; `close` stops a load under
        way.
        """

        def report(share: float) -> None:
            if self._closing:
                raise EngineUnavailableError("the load was stopped")
            progress(share)

        def run() -> None:
            self._status = ModelStatus.LOADING
            try:
                self._engine.load(report)
            except BaseException:
                self._status = ModelStatus.UNAVAILABLE
                raise
            self._status = ModelStatus.READY

        return self._submit_call(run)

    def set_adapter(self, path: str, scale: float) -> Future[None]:
        """Swap the LoRA adapter once the running reply is over."""
        return self._submit_call(lambda: self._engine.set_adapter(path, scale))

    def prefill(self, messages: Sequence[ChatMessage]) -> None:
        """Work through a prompt ahead of need; replaces a prefill that waits or runs. Never
        raises.
        """
        cancel = CancelToken()
        wanted = tuple(messages)

        def run() -> None:
            if self._status is ModelStatus.READY:
                self._engine.prefill(wanted, cancel)

        with self._condition:
            self._drop_waiting_prefill()
            if not self._is_running_prefill_useful_for(wanted):
                self._cancel_running_prefill()
            elif self._running is not None and self._running.messages == wanted:
                return
            self._append(_Job(run, self._note_failure, cancel, messages=wanted))

    def stream(
        self, messages: Sequence[ChatMessage], sampling: Sampling, cancel: CancelToken
    ) -> TokenStream:
        """Start a reply and return its pieces.

        Raises:
            EngineUnavailableError: no model is ready, or the engine hangs.
        """
        stream = TokenStream(cancel, self._timeouts)
        wanted = tuple(messages)

        def run() -> None:
            for piece in self._engine.stream(wanted, sampling, cancel):
                stream.put(piece)
                if cancel.cancelled:
                    break
            stream.finish()

        def refuse(error: BaseException) -> None:
            self._note_failure(error)
            stream.finish(error)

        with self._condition:
            if self.status is not ModelStatus.READY:
                raise EngineUnavailableError(
                    "the model hangs and was given up on" if self.is_hung else "no model is ready"
                )
            self._drop_waiting_prefill()
            if not self._is_running_prefill_useful_for(wanted):
                self._cancel_running_prefill()
            self._append(_Job(run, refuse, cancel))
        cancel.on_cancel(lambda: self._note_cancel(stream))
        return stream

    def close(self) -> None:
        """Stop what runs, free the engine's memory and end the thread. Waits up to
        CLOSE_TIMEOUT_S.
        """
        with self._condition:
            if self._closing:
                return
            self._closing = True
            waiting = list(self._jobs)
            self._jobs.clear()
            running = self._running
            self._condition.notify_all()
        if running is not None:
            running.cancel.cancel()
        for job in waiting:
            job.refuse(EngineUnavailableError("the engine is being shut down"))
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            logger.error(
                "the engine did not stop within %g s; its memory is not freed", CLOSE_TIMEOUT_S
            )
        self._status = ModelStatus.UNAVAILABLE

    # --- inside ----------------------------------------------------------------------------------

    def _submit_call(self, call: Callable[[], None]) -> Future[None]:
        future: Future[None] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                call()
                future.set_result(None)

        def refuse(error: BaseException) -> None:
            self._note_failure(error)
            if not future.done():
                future.set_exception(error)

        with self._condition:
            self._drop_waiting_prefill()
            self._cancel_running_prefill()
            self._append(_Job(run, refuse, CancelToken()))
        return future

    def _append(self, job: _Job) -> None:
        if self._closing:
            job.refuse(EngineUnavailableError("the engine was shut down"))
        elif len(self._jobs) >= MAX_WAITING_JOBS:
            job.refuse(
                EngineUnavailableError(f"{MAX_WAITING_JOBS} requests wait for the model already")
            )
        else:
            self._jobs.append(job)
            self._condition.notify()

    def _drop_waiting_prefill(self) -> None:
        for job in [job for job in self._jobs if job.messages is not None]:
            self._jobs.remove(job)

    def _cancel_running_prefill(self) -> None:
        running = self._running
        if running is not None and running.messages is not None:
            running.cancel.cancel()
            self._cancelled_at = self._cancelled_at or time.monotonic()

    def _is_running_prefill_useful_for(self, messages: tuple[ChatMessage, ...]) -> bool:
        """Whether a prefill runs that works through the same system prompt, by far the longest
        part: ending it half-way would throw that work away.
        """
        running = self._running
        if running is None or running.messages is None or running.cancel.cancelled:
            return False
        return messages[:1] == running.messages[:1]

    def _note_cancel(self, stream: TokenStream) -> None:
        with self._condition:
            if stream.timed_out:
                # A prefill that kept a reply waiting this long does not come to an end by itself.
                self._cancel_running_prefill()
            if self._running is not None and self._running.cancel.cancelled:
                self._cancelled_at = self._cancelled_at or time.monotonic()

    def _note_failure(self, error: BaseException) -> None:
        self._error = str(error) or type(error).__name__
        if not isinstance(error, MedbotError):
            logger.error("the engine failed: %s", self._error, exc_info=error)

    def _serve(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._jobs or self._closing)
                if self._closing:
                    break
                job = self._running = self._jobs.popleft()
            try:
                if not job.cancel.cancelled:
                    job.run()
            except Exception as error:  # the thread must outlive whatever an engine raises
                job.refuse(error)
            with self._condition:
                self._running = None
                self._cancelled_at = None
        try:
            self._engine.close()
        except Exception:  # whatever it left behind, the thread ends here
            logger.exception("the engine did not close")
