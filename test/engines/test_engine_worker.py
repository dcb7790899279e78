"""One thread makes every call to the engine; prefills give way to replies; a hung engine is left
alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from functools import partial

import pytest

from medbot_llm.domain import ChatMessage
from medbot_llm.domain import ChatRole
from medbot_llm.domain import ModelStatus
from medbot_llm.engines import worker as worker_module
from medbot_llm.engines.base import CancelToken
from medbot_llm.engines.base import EngineError
from medbot_llm.engines.base import EngineInfo
from medbot_llm.engines.base import EngineUnavailableError
from medbot_llm.engines.base import ModelLoadError
from medbot_llm.engines.base import ProgressCallback
from medbot_llm.engines.base import Sampling
from medbot_llm.engines.worker import MAX_WAITING_JOBS
from medbot_llm.engines.worker import EngineWorker
from medbot_llm.engines.worker import Timeouts

WAIT_S = 30.0
"""How long anything may take on a busy machine."""
PATIENT = Timeouts(WAIT_S, WAIT_S)

SYSTEM = ChatMessage(ChatRole.SYSTEM, "Be kind.")
HELLO = ChatMessage(ChatRole.USER, "Hello")
OTHER = ChatMessage(ChatRole.SYSTEM, "Be short.")


class Step:
    """A point at which the engine waits until the test lets it go on, or until it is cancelled."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def wait(self, cancel: CancelToken | None = None) -> None:
        if cancel is not None:
            cancel.on_cancel(self.go_on.set)
        self.reached.set()
        assert self.go_on.wait(WAIT_S)


class RecordingEngine:
    """Notes each call with its thread, and waits where a test has set a step.

    Attributes:
        calls: Name of each call and what it was given.
        threads: Ids of the threads that called.
        steps: Steps by the name of the call that waits there.
        ignores_cancel: Wait on even if cancelled, as an engine does that hangs.
        error: What each `stream` raises after its pieces, if anything.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self.threads: set[int] = set()
        self.steps: dict[str, Step] = {}
        self.ignores_cancel = False
        self.error: Exception | None = None

    def _note(self, name: str, given: object, cancel: CancelToken | None = None) -> None:
        self.threads.add(threading.get_ident())
        self.calls.append((name, given))
        step = self.steps.get(name)
        if step is not None:
            step.wait(None if self.ignores_cancel else cancel)

    def load(self, progress: ProgressCallback) -> None:
        progress(0.0)
        self._note("load", None)
        progress(1.0)

    def prefill(self, messages: Sequence[ChatMessage], cancel: CancelToken) -> None:
        self._note("prefill", tuple(messages), cancel)

    def stream(
        self, messages: Sequence[ChatMessage], sampling: Sampling, cancel: CancelToken
    ) -> Iterator[str]:
        self._note("stream", tuple(messages), cancel)
        for piece in ("Good", " morning", "."):
            if cancel.cancelled:
                return
            yield piece
            self._note("piece", piece, cancel)
        if self.error is not None:
            raise self.error

    def set_adapter(self, path: str, scale: float) -> None:
        self._note("set_adapter", (path, scale))
        if path == "bad":
            raise ModelLoadError("the adapter does not fit")

    def info(self) -> EngineInfo:
        return EngineInfo("recording", "none")

    def close(self) -> None:
        self._note("close", None)

    def hold(self, name: str) -> Step:
        """Let the next calls of that name wait."""
        self.steps[name] = Step()
        return self.steps[name]

    def named(self, name: str) -> list[object]:
        return [given for called, given in self.calls if called == name]


@contextmanager
def worker_of(
    engine: RecordingEngine, *, loaded: bool = True, timeouts: Timeouts = PATIENT
) -> Iterator[EngineWorker]:
    worker = EngineWorker(engine, timeouts)
    try:
        if loaded:
            worker.load(lambda share: None).result(WAIT_S)
        yield worker
    finally:
        for step in engine.steps.values():
            step.go_on.set()
        worker.close()


def start(worker: EngineWorker, *messages: ChatMessage) -> tuple[Iterator[str], CancelToken]:
    cancel = CancelToken()
    return iter(worker.stream(messages or (SYSTEM, HELLO), Sampling(), cancel)), cancel


def wait_until(condition: Callable[[], object]) -> None:
    gives_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < gives_up_at
        time.sleep(0.005)


def test_every_call_is_made_on_the_same_thread_the_load_included() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        results: list[str] = []

        def talk(number: int) -> None:
            pieces, _ = start(worker, SYSTEM, ChatMessage(ChatRole.USER, f"Hello {number}"))
            results.append("".join(pieces))

        callers = [threading.Thread(target=partial(talk, n)) for n in range(6)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(WAIT_S)
        worker.prefill((SYSTEM,))
        worker.set_adapter("a", 1.0).result(WAIT_S)
        assert results == ["Good morning."] * 6
    assert {name for name, _ in engine.calls} >= {"load", "stream", "set_adapter", "close"}
    assert len(engine.threads) == 1
    assert threading.get_ident() not in engine.threads


def test_the_load_tells_its_progress_and_the_status_follows() -> None:
    engine = RecordingEngine()
    with worker_of(engine, loaded=False) as worker:
        step = engine.hold("load")
        shares: list[float] = []
        future = worker.load(shares.append)
        assert step.reached.wait(WAIT_S)
        assert worker.status is ModelStatus.LOADING
        with pytest.raises(EngineUnavailableError, match="no model is ready"):
            worker.stream((SYSTEM, HELLO), Sampling(), CancelToken())
        step.go_on.set()
        future.result(WAIT_S)
        assert shares == [0.0, 1.0]
        assert worker.status is ModelStatus.READY


def test_a_load_that_fails_says_why_and_may_be_tried_again() -> None:
    engine = RecordingEngine()
    with worker_of(engine, loaded=False) as worker:

        def refuse(share: float) -> None:
            raise ModelLoadError("the file is damaged")

        with pytest.raises(ModelLoadError, match="damaged"):
            worker.load(refuse).result(WAIT_S)
        assert worker.status is ModelStatus.UNAVAILABLE
        assert worker.last_error == "the file is damaged"
        worker.load(lambda share: None).result(WAIT_S)
        assert worker.status is ModelStatus.READY


def test_an_error_of_the_engine_comes_out_of_the_stream_and_the_worker_goes_on() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        for error in (EngineError("no memory"), ZeroDivisionError("a bug")):
            engine.error = error
            pieces, _ = start(worker)
            heard: list[str] = []
            with pytest.raises(type(error), match=str(error)):
                heard.extend(pieces)
            assert worker.last_error == str(error)
        engine.error = None
        assert "".join(start(worker)[0]) == "Good morning."


# --- prefills ------------------------------------------------------------------------------------


def test_a_newer_prefill_replaces_one_that_runs_and_one_that_waits() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        step = engine.hold("stream")
        pieces, _ = start(worker)
        assert step.reached.wait(WAIT_S)
        for text in ("one", "two", "three"):
            worker.prefill((ChatMessage(ChatRole.SYSTEM, text),))
        running = engine.hold("prefill")
        step.go_on.set()
        assert "".join(pieces) == "Good morning."
        assert running.reached.wait(WAIT_S)
        worker.prefill((OTHER,))
        wait_until(lambda: len(engine.named("prefill")) == 2)
        assert engine.named("prefill") == [(ChatMessage(ChatRole.SYSTEM, "three"),), (OTHER,)]
        assert running.go_on.is_set()


def test_the_prefill_that_runs_is_not_begun_again() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        step = engine.hold("prefill")
        worker.prefill((SYSTEM,))
        assert step.reached.wait(WAIT_S)
        worker.prefill((SYSTEM,))
        assert not step.go_on.is_set()
        step.go_on.set()
        worker.set_adapter("", 1.0).result(WAIT_S)
        assert engine.named("prefill") == [(SYSTEM,)]


def test_a_longer_prefill_waits_for_the_one_it_goes_on_from() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        step = engine.hold("prefill")
        worker.prefill((SYSTEM,))
        assert step.reached.wait(WAIT_S)
        worker.prefill((SYSTEM, HELLO))
        assert not step.go_on.is_set()
        step.go_on.set()
        wait_until(lambda: engine.named("prefill") == [(SYSTEM,), (SYSTEM, HELLO)])


def test_a_prefill_that_was_cancelled_may_be_asked_for_again() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        engine.ignores_cancel = True
        step = engine.hold("prefill")
        worker.prefill((SYSTEM,))
        assert step.reached.wait(WAIT_S)
        worker.prefill((OTHER,))
        worker.prefill((SYSTEM,))
        step.go_on.set()
        wait_until(lambda: engine.named("prefill") == [(SYSTEM,), (SYSTEM,)])


def test_a_reply_lets_a_prefill_of_its_own_beginning_finish() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        step = engine.hold("prefill")
        worker.prefill((SYSTEM,))
        assert step.reached.wait(WAIT_S)
        pieces, _ = start(worker, SYSTEM, HELLO)
        assert not step.go_on.is_set()
        step.go_on.set()
        assert "".join(pieces) == "Good morning."


def test_a_reply_lets_a_prefill_of_its_system_prompt_finish() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        step = engine.hold("prefill")
        worker.prefill((SYSTEM, ChatMessage(ChatRole.ASSISTANT, "Here it is.")))
        assert step.reached.wait(WAIT_S)
        pieces, _ = start(worker, SYSTEM, HELLO)
        assert not step.go_on.is_set()
        step.go_on.set()
        assert "".join(pieces) == "Good morning."


def test_a_reply_ends_a_prefill_of_something_else_and_drops_one_that_waits() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        step = engine.hold("prefill")
        worker.prefill((SYSTEM,))
        assert step.reached.wait(WAIT_S)
        worker.prefill((SYSTEM, HELLO))
        pieces, _ = start(worker, OTHER, HELLO)
        assert "".join(pieces) == "Good morning."
        assert engine.named("prefill") == [(SYSTEM,)]


def test_a_prefill_that_fails_harms_nothing() -> None:
    engine = RecordingEngine()

    def fail(messages: Sequence[ChatMessage], cancel: CancelToken) -> None:
        engine.calls.append(("prefill", messages))
        raise ZeroDivisionError("a bug")

    with worker_of(engine) as worker:
        engine.prefill = fail  # type: ignore[method-assign]
        worker.prefill((SYSTEM,))
        wait_until(lambda: worker.last_error == "a bug")
        assert "".join(start(worker)[0]) == "Good morning."


def test_nothing_is_prefilled_before_a_model_is_loaded() -> None:
    engine = RecordingEngine()
    with worker_of(engine, loaded=False) as worker:
        worker.prefill((SYSTEM,))
        worker.load(lambda share: None).result(WAIT_S)
        assert engine.named("prefill") == []


# --- cancelling, and engines that hang -----------------------------------------------------------


def test_a_cancelled_stream_ends_at_once_for_who_listens() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        step = engine.hold("piece")
        pieces, cancel = start(worker)
        assert next(pieces) == "Good"
        assert step.reached.wait(WAIT_S)
        cancel.cancel()
        assert list(pieces) == []
        del engine.steps["piece"]
        assert "".join(start(worker)[0]) == "Good morning."


def test_a_stream_cancelled_while_it_waits_never_reaches_the_engine() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        step = engine.hold("stream")
        first, _ = start(worker)
        assert step.reached.wait(WAIT_S)
        second, cancel = start(worker, OTHER, HELLO)
        cancel.cancel()
        assert list(second) == []
        step.go_on.set()
        assert "".join(first) == "Good morning."
        worker.set_adapter("", 1.0).result(WAIT_S)
        assert engine.named("stream") == [(SYSTEM, HELLO)]


@pytest.mark.parametrize("at", ["stream", "piece"])
def test_no_text_in_time_is_an_error_and_tells_the_engine_to_stop(at: str) -> None:
    engine = RecordingEngine()
    with worker_of(engine, timeouts=Timeouts(0.2, 0.2)) as worker:
        step = engine.hold(at)
        pieces, cancel = start(worker)
        with pytest.raises(EngineUnavailableError, match=r"no text for 0\.2 s"):
            list(pieces)
        assert cancel.cancelled
        assert step.go_on.wait(WAIT_S)
        engine.steps.clear()
        assert "".join(start(worker)[0]) == "Good morning."


def test_an_engine_that_ignores_its_cancel_is_refused_until_it_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_module, "HUNG_AFTER_CANCEL_S", 0.2)
    engine = RecordingEngine()
    with worker_of(engine, timeouts=Timeouts(0.1, 0.1)) as worker:
        engine.ignores_cancel = True
        step = engine.hold("stream")
        pieces, _ = start(worker)
        with pytest.raises(EngineUnavailableError, match="no text"):
            list(pieces)
        wait_until(lambda: worker.is_hung)
        assert worker.status is ModelStatus.UNAVAILABLE
        began = time.monotonic()
        for _ in range(100):
            with pytest.raises(EngineUnavailableError, match="hangs"):
                worker.stream((SYSTEM, HELLO), Sampling(), CancelToken())
        # No one waits for it any more.
        assert time.monotonic() - began < WAIT_S / 10
        del engine.steps["stream"]
        step.go_on.set()
        wait_until(lambda: worker.status is ModelStatus.READY)
        assert "".join(start(worker)[0]) == "Good morning."


def test_an_engine_that_is_slow_to_stop_is_not_yet_hung() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        engine.ignores_cancel = True
        step = engine.hold("stream")
        _, cancel = start(worker)
        assert step.reached.wait(WAIT_S)
        cancel.cancel()
        assert worker.status is ModelStatus.READY


@pytest.mark.parametrize("wanted", [(OTHER, HELLO), (SYSTEM, HELLO)])
def test_an_engine_that_hangs_in_a_prefill_is_found_out(
    monkeypatch: pytest.MonkeyPatch, wanted: tuple[ChatMessage, ...]
) -> None:
    """Both where a reply tells the prefill to stop, and where it waits for it to finish."""
    monkeypatch.setattr(worker_module, "HUNG_AFTER_CANCEL_S", 0.2)
    engine = RecordingEngine()
    with worker_of(engine, timeouts=Timeouts(0.1, 0.1)) as worker:
        engine.ignores_cancel = True
        step = engine.hold("prefill")
        worker.prefill((SYSTEM,))
        assert step.reached.wait(WAIT_S)
        with pytest.raises(EngineUnavailableError, match="no text"):
            list(start(worker, *wanted)[0])
        wait_until(lambda: worker.is_hung)


def test_more_cancels_do_not_put_off_the_verdict_that_it_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(worker_module.time, "monotonic", lambda: clock[0])
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        engine.ignores_cancel = True
        step = engine.hold("prefill")
        worker.prefill((SYSTEM,))
        assert step.reached.wait(WAIT_S)
        for _ in range(4):
            worker.prefill((OTHER,))
            worker.prefill((SYSTEM,))
            clock[0] += worker_module.HUNG_AFTER_CANCEL_S / 3
        assert worker.is_hung
        monkeypatch.undo()


def test_only_so_many_requests_wait() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        step = engine.hold("stream")
        first, _ = start(worker)
        assert step.reached.wait(WAIT_S)
        waiting = [start(worker)[0] for _ in range(MAX_WAITING_JOBS)]
        for _ in range(50):
            with pytest.raises(EngineUnavailableError, match="wait for the model already"):
                list(start(worker)[0])
        with pytest.raises(EngineUnavailableError, match="already"):
            worker.set_adapter("a", 1.0).result(WAIT_S)
        step.go_on.set()
        assert ["".join(pieces) for pieces in (first, *waiting)] == ["Good morning."] * 9


# --- adapters and the end ------------------------------------------------------------------------


def test_an_adapter_is_swapped_once_the_running_reply_is_over() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        step = engine.hold("stream")
        pieces, _ = start(worker)
        assert step.reached.wait(WAIT_S)
        future = worker.set_adapter("new.gguf", 0.5)
        assert not future.done()
        step.go_on.set()
        assert "".join(pieces) == "Good morning."
        future.result(WAIT_S)
        assert engine.named("set_adapter") == [("new.gguf", 0.5)]
        with pytest.raises(ModelLoadError, match="does not fit"):
            worker.set_adapter("bad", 1.0).result(WAIT_S)
        assert worker.status is ModelStatus.READY


def test_a_caller_who_gives_up_on_a_call_does_not_end_the_thread() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        step = engine.hold("stream")
        pieces, _ = start(worker)
        assert step.reached.wait(WAIT_S)
        assert worker.set_adapter("unwanted", 1.0).cancel()
        assert worker.set_adapter("bad", 1.0).cancel()
        step.go_on.set()
        list(pieces)
        assert "".join(start(worker)[0]) == "Good morning."
        assert engine.named("set_adapter") == []


def test_closing_passes_over_a_call_that_was_given_up_on() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        step = engine.hold("stream")
        start(worker)
        assert step.reached.wait(WAIT_S)
        given_up, wanted = (worker.set_adapter(name, 1.0) for name in ("given up", "wanted"))
        assert given_up.cancel()
        worker.close()
        with pytest.raises(EngineUnavailableError, match="shut down"):
            wanted.result(WAIT_S)


def test_closing_stops_a_load_under_way() -> None:
    engine = RecordingEngine()
    worker = EngineWorker(engine)
    step = engine.hold("load")
    future = worker.load(lambda share: None)
    assert step.reached.wait(WAIT_S)
    closing = threading.Thread(target=worker.close)
    closing.start()
    wait_until(lambda: worker._closing)
    step.go_on.set()
    closing.join(WAIT_S)
    with pytest.raises(EngineUnavailableError, match="stopped"):
        future.result(WAIT_S)
    assert worker.status is ModelStatus.UNAVAILABLE
    assert [name for name, _ in engine.calls] == ["load", "close"]


def test_closing_ends_what_runs_refuses_what_waits_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    engine = RecordingEngine()
    worker = EngineWorker(engine, PATIENT)
    worker.load(lambda share: None).result(WAIT_S)
    step = engine.hold("stream")
    running, _ = start(worker)
    assert step.reached.wait(WAIT_S)
    waiting, _ = start(worker)
    future = worker.set_adapter("a", 1.0)
    worker.close()
    worker.close()
    assert list(running) == []
    with pytest.raises(EngineUnavailableError, match="shut down"):
        list(waiting)
    with pytest.raises(EngineUnavailableError, match="shut down"):
        future.result(WAIT_S)
    with pytest.raises(EngineUnavailableError, match="no model is ready"):
        worker.stream((SYSTEM, HELLO), Sampling(), CancelToken())
    worker.prefill((SYSTEM,))
    with pytest.raises(EngineUnavailableError, match="shut down"):
        worker.load(lambda share: None).result(WAIT_S)
    assert engine.calls[-1] == ("close", None)
    assert set(threading.enumerate()) <= before


def test_closing_does_not_wait_forever_for_an_engine_that_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_module, "CLOSE_TIMEOUT_S", 0.1)
    engine = RecordingEngine()
    engine.ignores_cancel = True
    with worker_of(engine) as worker:
        step = engine.hold("stream")
        start(worker)
        assert step.reached.wait(WAIT_S)
        worker.close()
        assert worker.status is ModelStatus.UNAVAILABLE
        assert "did not stop" in caplog.text
        step.go_on.set()
        worker._thread.join(WAIT_S)
        assert engine.calls[-1] == ("close", None)


def test_an_engine_that_fails_to_close_ends_the_thread_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = RecordingEngine()

    def fail() -> None:
        raise OSError("still in use")

    with worker_of(engine) as worker:
        engine.close = fail  # type: ignore[method-assign]
        worker.close()
        assert not worker._thread.is_alive()
        assert "still in use" in caplog.text


# --- cancel tokens -------------------------------------------------------------------------------


def test_a_cancel_token_calls_back_once_and_also_who_comes_late() -> None:
    token, called = CancelToken(), []
    token.on_cancel(lambda: called.append("early"))
    assert not token.cancelled
    token.cancel()
    token.cancel()
    token.on_cancel(lambda: called.append("late"))
    assert token.cancelled
    assert called == ["early", "late"]


def test_a_token_that_is_set_from_many_threads_calls_back_once() -> None:
    for _ in range(50):
        token, called = CancelToken(), []
        token.on_cancel(lambda called=called: called.append(1))  # type: ignore[misc]
        threads = [threading.Thread(target=token.cancel) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert called == [1]


def test_a_foreseen_reply_is_there_when_it_is_asked_for() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        worker.foresee((SYSTEM, HELLO), Sampling())
        wait_until(lambda: len(engine.named("piece")) == 3)
        pieces, _ = start(worker)
        assert "".join(pieces) == "Good morning."
        assert engine.named("stream") == [(SYSTEM, HELLO)]


def test_a_foreseen_reply_may_be_asked_for_while_it_waits_or_runs() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        busy = engine.hold("prefill")
        worker.prefill((SYSTEM,))
        assert busy.reached.wait(WAIT_S)
        worker.foresee((SYSTEM, HELLO), Sampling())
        pieces, _ = start(worker)
        busy.go_on.set()
        assert "".join(pieces) == "Good morning."
        step = engine.hold("piece")
        worker.foresee((SYSTEM, HELLO), Sampling())
        assert step.reached.wait(WAIT_S)
        pieces, _ = start(worker)
        step.go_on.set()
        assert "".join(pieces) == "Good morning."
        assert len(engine.named("stream")) == 2


@pytest.mark.parametrize("asks", ["other words", "other sampling", "prefill", "adapter"])
def test_whatever_else_is_asked_for_ends_a_foreseen_reply(asks: str) -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        step = engine.hold("piece")
        worker.foresee((SYSTEM, HELLO), Sampling())
        assert step.reached.wait(WAIT_S)
        del engine.steps["piece"]
        if asks == "prefill":
            worker.prefill((OTHER,))
            wait_until(lambda: engine.named("prefill"))
        elif asks == "adapter":
            worker.set_adapter("good", 1.0).result(WAIT_S)
        elif asks == "other sampling":
            stream = worker.stream((SYSTEM, HELLO), Sampling(max_tokens=7), CancelToken())
            assert "".join(stream) == "Good morning."
        else:
            assert "".join(start(worker, SYSTEM, OTHER)[0]) == "Good morning."
        # It did not come to its end, and is not taken for the answer later.
        begun = len(engine.named("stream"))
        assert "".join(start(worker)[0]) == "Good morning."
        assert len(engine.named("stream")) == begun + 1


def test_a_foreseen_reply_goes_on_only_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_module, "FORESEEN_PIECES", 1)
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        worker.foresee((SYSTEM, HELLO), Sampling())
        wait_until(lambda: len(engine.named("piece")) == 1)
        time.sleep(0.1)
        assert len(engine.named("piece")) == 1
        pieces, _ = start(worker)
        assert "".join(pieces) == "Good morning."


def test_a_foreseen_reply_that_nobody_asks_for_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_module, "FORESEEN_PIECES", 0)
    monkeypatch.setattr(worker_module, "FORESEEN_FOR_S", 0.1)
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        worker.foresee((SYSTEM, HELLO), Sampling())
        wait_until(lambda: engine.named("stream") and not worker.is_working)
        assert engine.named("piece") == []
        assert "".join(start(worker)[0]) == "Good morning."
        assert len(engine.named("stream")) == 2


def test_a_taken_reply_ends_by_the_cancel_of_who_took_it() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        step = engine.hold("piece")
        worker.foresee((SYSTEM, HELLO), Sampling())
        assert step.reached.wait(WAIT_S)
        pieces, cancel = start(worker)
        cancel.cancel()
        assert "".join(pieces) == ""
        wait_until(lambda: not worker.is_working)
        assert len(engine.named("piece")) == 1
        assert worker.status is ModelStatus.READY


def test_an_error_of_a_foreseen_reply_comes_out_where_it_is_asked_for() -> None:
    engine = RecordingEngine()
    engine.error = EngineError("out of luck")
    with worker_of(engine) as worker:
        worker.foresee((SYSTEM, HELLO), Sampling())
        wait_until(lambda: worker.last_error)
        with pytest.raises(EngineError, match="out of luck"):
            list(start(worker)[0])


def test_nothing_is_foreseen_before_a_model_is_loaded() -> None:
    engine = RecordingEngine()
    with worker_of(engine, loaded=False) as worker:
        worker.foresee((SYSTEM, HELLO), Sampling())
        worker.load(lambda share: None).result(WAIT_S)
        assert engine.named("stream") == []


def test_a_held_worker_stands_still_until_it_may_go_on() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        step = engine.hold("stream")
        pieces, _ = start(worker)
        assert step.reached.wait(WAIT_S)
        worker.hold(WAIT_S)
        step.go_on.set()
        assert next(pieces) == "Good"
        time.sleep(0.1)
        assert engine.named("piece") == []
        worker.go_on()
        assert "".join(pieces) == " morning."


@pytest.mark.parametrize("wakes", ["time", "cancel", "request"])
def test_a_hold_ends_by_itself_or_with_what_it_holds(wakes: str) -> None:
    engine = RecordingEngine()
    with worker_of(
        engine, timeouts=Timeouts(WAIT_S, 1.0) if wakes == "time" else PATIENT
    ) as worker:
        step = engine.hold("stream")
        pieces, cancel = start(worker)
        assert step.reached.wait(WAIT_S)
        worker.hold(WAIT_S)
        step.go_on.set()
        assert next(pieces) == "Good"
        if wakes == "time":
            assert "".join(pieces) == " morning."
            return
        cancel.cancel()
        if wakes == "request":
            assert "".join(start(worker, SYSTEM, OTHER)[0]) == "Good morning."
        wait_until(lambda: not worker.is_working)


def test_a_prefill_waits_for_the_hold_and_gives_way_to_a_request() -> None:
    engine = RecordingEngine()
    with worker_of(engine) as worker:
        worker.hold(WAIT_S)
        worker.prefill((SYSTEM,))
        time.sleep(0.1)
        assert engine.named("prefill") == []
        worker.go_on()
        wait_until(lambda: engine.named("prefill") == [(SYSTEM,)])
        worker.hold(WAIT_S)
        worker.prefill((SYSTEM, HELLO))
        assert "".join(start(worker, OTHER)[0]) == "Good morning."
