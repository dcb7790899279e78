"""One thread that owns an engine and makes every call to it.

llama.cpp is not thread-safe, and measured on two cores it loses 40 % of its speed as soon as a
second thread calls it in turn, because each caller brings a team of OpenMP threads of its own. So
callers of any thread ask here, and only the worker's thread touches the engine, the load included.

A prefill is work done ahead of need: at most one waits, a newer one replaces it, and a reply
interrupts it unless the reply can use what it is working through. A reply that will probably be
asked for can be begun ahead of need too (`foresee`): asked for in the same words, it is there
already.
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
FORESEEN_PIECES = 48
"""So much of a reply is generated before it is asked for: a first sentence, not a story that may
never be told."""
FORESEEN_FOR_S = 3.0
"""A foreseen reply is given up when it was not asked for within this time: a person who falls
silent has ended his turn in less than one."""


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
        self.held_s = 0.0
        """Of the time between them, s: for how long the worker stood still for something else."""
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


class _Foreseen:
    """A reply that is begun before it is asked for."""

    def __init__(
        self, messages: tuple[ChatMessage, ...], sampling: Sampling, timeouts: Timeouts
    ) -> None:
        self.messages = messages
        self.sampling = sampling
        self.cancel = CancelToken()
        self.stream = TokenStream(self.cancel, timeouts)
        self._may_go_on = threading.Event()
        self.cancel.on_cancel(self._may_go_on.set)

    def take(self, cancel: CancelToken) -> TokenStream:
        """It is asked for: from now on it ends when `cancel` is set, and the reverse."""
        cancel.on_cancel(self.cancel.cancel)
        self.cancel.on_cancel(cancel.cancel)
        self._may_go_on.set()
        return self.stream

    def wait_to_be_asked(self) -> None:
        """Generate no further until it is; give it up if it is not."""
        if not self._may_go_on.wait(FORESEEN_FOR_S):
            self.cancel.cancel()


class EngineWorker:
    """Owns one engine and the thread it runs on. All methods may be called from any thread."""

    def __init__(self, engine: Engine, timeouts: Timeouts | None = None) -> None:
        self._engine = engine
        self._timeouts = timeouts or Timeouts()
        self._condition = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._running: _Job | None = None
        self._foreseen: _Foreseen | None = None
        self._held_until = -math.inf
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
    def is_working(self) -> bool:
        """Whether the engine works, a prefill included, or is about to."""
        with self._condition:
            return self._running is not None or bool(self._jobs)

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
            self._wait_while_held(cancel)
            if self._status is ModelStatus.READY and not cancel.cancelled:
                self._engine.prefill(wanted, cancel)

        with self._condition:
            self._make_way(wanted, ends_hold=False)
            running = self._running
            if running is not None and running.messages == wanted and not running.cancel.cancelled:
                return
            self._append(_Job(run, self._note_failure, cancel, messages=wanted))

    def foresee(self, messages: Sequence[ChatMessage], sampling: Sampling) -> None:
        """Begin a reply that will probably be asked for. `stream` takes it over if it asks for the
        same; whatever else is asked for ends it. Never raises.
        """
        wanted = tuple(messages)
        foreseen = _Foreseen(wanted, sampling, self._timeouts)

        def refuse(error: BaseException) -> None:
            self._note_failure(error)
            foreseen.stream.finish(error)

        with self._condition:
            is_ready = self.status is ModelStatus.READY
            if not is_ready or self._is_foreseen(wanted, sampling):
                return
            self._make_way(wanted)
            self._foreseen = foreseen
            self._append(
                _Job(
                    lambda: self._generate(foreseen.stream, wanted, sampling, foreseen),
                    refuse,
                    foreseen.cancel,
                )
            )

    def drop_foreseen(self) -> None:
        """End a reply that was foreseen and not asked for."""
        with self._condition:
            if self._foreseen is not None:
                self._foreseen.cancel.cancel()
                self._foreseen = None
                self._note_cancelled()

    def stream(
        self, messages: Sequence[ChatMessage], sampling: Sampling, cancel: CancelToken
    ) -> TokenStream:
        """Start a reply and return its pieces.

        Raises:
            EngineUnavailableError: no model is ready, or the engine hangs.
        """
        stream = TokenStream(cancel, self._timeouts)
        wanted = tuple(messages)

        def refuse(error: BaseException) -> None:
            self._note_failure(error)
            stream.finish(error)

        with self._condition:
            if self.status is not ModelStatus.READY:
                raise EngineUnavailableError(
                    "the model hangs and was given up on" if self.is_hung else "no model is ready"
                )
            if self._foreseen is not None and self._is_foreseen(wanted, sampling):
                stream = self._foreseen.take(cancel)
                self._foreseen = None
            else:
                self._make_way(wanted)
                self._append(
                    _Job(lambda: self._generate(stream, wanted, sampling), refuse, cancel)
                )
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

    def hold(self, longest_s: float) -> None:
        """Generate nothing and work through nothing ahead of need for so long, s, or until
        `go_on` or the next request: the cores are wanted by what keeps a person waiting.
        """
        longest_s = min(longest_s, self._timeouts.between_tokens_s / 2)
        with self._condition:
            self._held_until = time.monotonic() + longest_s

    def go_on(self) -> None:
        """End a `hold`."""
        with self._condition:
            self._held_until = -math.inf
            self._condition.notify_all()

    # --- inside ----------------------------------------------------------------------------------

    def _generate(
        self,
        stream: TokenStream,
        messages: tuple[ChatMessage, ...],
        sampling: Sampling,
        foreseen: _Foreseen | None = None,
    ) -> None:
        """Run the engine for a reply, on the worker's thread."""
        cancel = stream.cancel
        for count, piece in enumerate(self._engine.stream(messages, sampling, cancel)):
            stream.put(piece)
            if foreseen is not None and count == FORESEEN_PIECES:
                foreseen.wait_to_be_asked()
            stream.held_s += self._wait_while_held(cancel)
            if cancel.cancelled:
                break
        stream.finish()

    def _wait_while_held(self, cancel: CancelToken) -> float:
        """Stand still, on the worker's thread; returns for how long, s."""
        since = time.monotonic()
        with self._condition:
            while (
                not cancel.cancelled
                and not self._closing
                and (left_s := self._held_until - time.monotonic()) > 0
            ):
                self._condition.wait(left_s)
        return time.monotonic() - since

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
            self._make_way()
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

    def _is_foreseen(self, messages: tuple[ChatMessage, ...], sampling: Sampling) -> bool:
        """Whether just this reply was begun ahead of need, and goes on or has come to its end."""
        foreseen = self._foreseen
        return (
            foreseen is not None
            and not foreseen.cancel.cancelled
            and (foreseen.messages, foreseen.sampling) == (messages, sampling)
        )

    def _make_way(
        self, messages: tuple[ChatMessage, ...] | None = None, *, ends_hold: bool = True
    ) -> None:
        """End the work ahead of need, but for a prefill under way that serves `messages` too."""
        for job in [job for job in self._jobs if job.messages is not None]:
            self._jobs.remove(job)
        self.drop_foreseen()
        if messages is None or not self._is_running_prefill_useful_for(messages):
            self._cancel_running_prefill()
        self._note_cancelled()
        if ends_hold:
            self.go_on()

    def _cancel_running_prefill(self) -> None:
        running = self._running
        if running is not None and running.messages is not None:
            running.cancel.cancel()

    def _note_cancelled(self) -> None:
        if self._running is not None and self._running.cancel.cancelled:
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
            self._note_cancelled()
            self._condition.notify_all()

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
