"""The fall-back engine: who serves, when the primary is tried again, and what is never mixed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import pytest

from medbot_llm.domain import ChatMessage
from medbot_llm.domain import ChatRole
from medbot_llm.engines.base import CancelToken
from medbot_llm.engines.base import EngineError
from medbot_llm.engines.base import EngineUnavailableError
from medbot_llm.engines.base import ModelLoadError
from medbot_llm.engines.base import PromptTooLongError
from medbot_llm.engines.base import Sampling
from medbot_llm.engines.fallback import LONGEST_RETRY_PAUSE_S
from medbot_llm.engines.fallback import FallbackEngine
from medbot_llm.engines.openai_api import OpenAiEngine
from medbot_llm.engines.openai_api import OpenAiOptions
from medbot_llm.engines.scripted import Failure
from medbot_llm.engines.scripted import Script
from medbot_llm.engines.scripted import ScriptedEngine

PROMPT = [ChatMessage(ChatRole.USER, "What is this?")]


class Pair:
    """A fall-back engine over two scripted ones, and a clock that the test turns."""

    def __init__(self, **options: Any) -> None:
        self.primary = ScriptedEngine(Script((), "from the primary"))
        self.secondary = ScriptedEngine(Script((), "from the secondary"))
        self.now = 1000.0
        self.engine = FallbackEngine(
            self.primary, self.secondary, clock=lambda: self.now, **options
        )

    def load(self) -> Pair:
        self.engine.load(lambda share: None)
        return self

    def reply(self) -> str:
        return "".join(self.engine.stream(PROMPT, Sampling(), CancelToken()))

    def break_primary(self, failure: Failure = Failure.BEFORE_FIRST_PIECE) -> None:
        self.primary.script = Script((), "from the primary", failure=failure, fail_after_pieces=1)

    def mend_primary(self) -> None:
        self.primary.script = Script((), "from the primary")


class RaisingEngine(ScriptedEngine):
    """Raises a given error instead of replying."""

    def __init__(self, error: Exception) -> None:
        super().__init__(Script())
        self._error = error

    def stream(
        self, messages: Sequence[ChatMessage], sampling: Sampling, cancel: CancelToken
    ) -> Iterator[str]:
        yield from self._failing()

    def _failing(self) -> Iterator[str]:
        raise self._error


def test_primary_serves_while_it_can() -> None:
    pair = Pair().load()
    assert pair.reply() == "from the primary"
    assert pair.secondary.calls == []
    assert "serving from the primary" in pair.engine.info().detail


def test_secondary_gives_the_very_reply_that_the_primary_could_not() -> None:
    pair = Pair().load()
    pair.break_primary()
    assert pair.reply() == "from the secondary"
    assert pair.secondary.calls == [tuple(PROMPT)]
    assert "serving from the fall-back" in pair.engine.info().detail
    assert "told to fail before" in pair.engine.info().detail


def test_failed_primary_is_left_alone_and_then_tried_again() -> None:
    pair = Pair(retry_after_s=10.0).load()
    pair.break_primary()
    pair.reply()
    pair.mend_primary()
    pair.now += 9.9
    assert pair.reply() == "from the secondary"
    pair.now += 0.2
    assert pair.reply() == "from the primary"
    assert "serving from the primary" in pair.engine.info().detail


def test_pause_doubles_with_each_failure_in_a_row_up_to_a_limit() -> None:
    pair = Pair(retry_after_s=10.0).load()
    pair.break_primary()
    pauses = []
    for _ in range(7):
        tries = len(pair.primary.calls)
        began = pair.now
        while len(pair.primary.calls) == tries:
            pair.now += 1.0
            assert pair.reply() == "from the secondary"
        pauses.append(pair.now - began)
    assert pauses == [1.0, 10.0, 20.0, 40.0, 80.0, LONGEST_RETRY_PAUSE_S, LONGEST_RETRY_PAUSE_S]
    pair.mend_primary()
    pair.now += LONGEST_RETRY_PAUSE_S
    pair.reply()
    pair.break_primary()
    pair.reply()
    pair.mend_primary()
    pair.now += 10.0
    assert pair.reply() == "from the primary"


def test_thousands_of_failures_do_no_harm() -> None:
    pair = Pair(retry_after_s=10.0).load()
    pair.break_primary()
    for _ in range(3000):
        pair.now += LONGEST_RETRY_PAUSE_S
        pair.primary.calls.clear()
        assert pair.reply() == "from the secondary"
        assert len(pair.primary.calls) == 1, "the primary was not tried again"


def test_error_after_the_first_piece_is_raised_and_nothing_is_mixed() -> None:
    pair = Pair().load()
    pair.break_primary(Failure.AFTER_PIECES)
    pieces = []
    with pytest.raises(EngineUnavailableError):
        for piece in pair.engine.stream(PROMPT, Sampling(), CancelToken()):
            pieces.append(piece)
    assert pieces == ["from"]
    assert pair.secondary.calls == []
    assert pair.reply() == "from the secondary"


@pytest.mark.parametrize("error", [EngineError("x"), ModelLoadError("x")])
def test_any_other_engine_error_falls_back_too(error: EngineError) -> None:
    engine = FallbackEngine(RaisingEngine(error), ScriptedEngine(Script((), "second")))
    engine.load(lambda share: None)
    assert list(engine.stream(PROMPT, Sampling(), CancelToken())) == ["second"]


def test_prompt_that_is_too_long_is_no_failure_of_the_primary() -> None:
    secondary = ScriptedEngine(Script((), "second"))
    engine = FallbackEngine(RaisingEngine(PromptTooLongError("x")), secondary)
    engine.load(lambda share: None)
    for _ in range(2):
        with pytest.raises(PromptTooLongError):
            list(engine.stream(PROMPT, Sampling(), CancelToken()))
    assert secondary.calls == []


def test_cancelled_wait_for_the_primary_does_not_start_the_secondary() -> None:
    pair = Pair().load()
    pair.break_primary(Failure.HANG)
    token = CancelToken()
    threading.Timer(0.1, token.cancel).start()
    began = time.monotonic()
    assert list(pair.engine.stream(PROMPT, Sampling(), token)) == []
    assert time.monotonic() - began < 5.0
    assert pair.secondary.calls == []
    pair.mend_primary()
    assert pair.reply() == "from the primary"


def test_primary_that_did_not_load_is_loaded_later() -> None:
    pair = Pair(retry_after_s=10.0)
    pair.break_primary(Failure.AT_LOAD)
    pair.load()
    assert pair.reply() == "from the secondary"
    pair.mend_primary()
    pair.now += 10.0
    assert pair.reply() == "from the primary"


def test_secondary_that_did_not_load_does_not_stop_the_primary() -> None:
    pair = Pair()
    pair.secondary.script = Script(failure=Failure.AT_LOAD)
    pair.load()
    assert pair.reply() == "from the primary"
    assert "fall-back is not loaded" in pair.engine.info().detail


def test_load_fails_with_both_reasons_if_none_loads() -> None:
    first = ScriptedEngine(Script(failure=Failure.AT_LOAD))
    second = ScriptedEngine.from_file("/nonexistent/second.yaml")
    engine = FallbackEngine(first, second)
    with pytest.raises(EngineUnavailableError, match=r"fail at load.*second\.yaml"):
        engine.load(lambda share: None)


def test_reply_fails_with_both_reasons_if_none_can_serve() -> None:
    pair = Pair(keep_secondary_ready=False).load()
    pair.break_primary()
    pair.secondary.script = Script(failure=Failure.AT_LOAD)
    with pytest.raises(EngineUnavailableError, match=r"before the first piece.*fail at load"):
        pair.reply()


def test_progress_rises_over_both_loads() -> None:
    shares: list[float] = []
    Pair().engine.load(shares.append)
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert 0.5 in shares


def test_both_are_prefilled_so_that_a_failure_costs_no_cold_start() -> None:
    pair = Pair().load()
    pair.engine.prefill(PROMPT, CancelToken())
    assert pair.primary.prefills == pair.secondary.prefills == [tuple(PROMPT)]


def test_secondary_is_left_alone_until_needed_if_it_is_not_kept_ready() -> None:
    pair = Pair(keep_secondary_ready=False).load()
    pair.engine.prefill(PROMPT, CancelToken())
    assert pair.secondary.prefills == []
    with pytest.raises(EngineUnavailableError):
        list(pair.secondary.stream(PROMPT, Sampling(), CancelToken()))
    pair.break_primary()
    assert pair.reply() == "from the secondary"
    pair.engine.prefill(PROMPT, CancelToken())
    assert pair.secondary.prefills == [tuple(PROMPT)]


def test_cancelled_prefill_goes_no_further() -> None:
    pair = Pair().load()
    token = CancelToken()
    token.cancel()
    pair.engine.prefill(PROMPT, token)
    assert pair.secondary.prefills == []


def test_adapter_is_the_primarys_alone() -> None:
    pair = Pair().load()
    pair.engine.set_adapter("ward", 1.0)
    assert pair.primary.info().adapter == "ward"
    assert pair.secondary.info().adapter == ""
    pair.primary.script = Script(adapters=("ward",))
    with pytest.raises(ModelLoadError):
        pair.engine.set_adapter("other", 1.0)
    assert pair.engine.info().adapter == "ward"


def test_adapter_set_while_the_primary_is_away_is_used_when_it_is_back() -> None:
    pair = Pair(retry_after_s=10.0)
    pair.break_primary(Failure.AT_LOAD)
    pair.load()
    pair.engine.set_adapter("ward", 1.0)
    pair.mend_primary()
    pair.now += 10.0
    assert pair.reply() == "from the primary"
    assert pair.engine.info().adapter == "ward"


def test_adapter_that_turns_out_unfit_does_not_keep_the_primary_away() -> None:
    pair = Pair()
    pair.engine.set_adapter("ward", 1.0)
    pair.primary.script = Script((), "from the primary", adapters=())
    pair.load()
    assert pair.reply() == "from the primary"
    assert pair.engine.info().adapter == ""


def test_closed_engine_loads_again() -> None:
    pair = Pair().load()
    pair.engine.close()
    with pytest.raises(EngineUnavailableError):
        next(pair.secondary.stream(PROMPT, Sampling(), CancelToken()))
    assert pair.load().reply() == "from the primary"


def test_server_that_goes_away_and_comes_back_is_bridged(server: Any, saying: Any) -> None:
    pytest.importorskip("openai", reason="the openai package is not installed")
    options = OpenAiOptions(base_url=server.url, first_token_timeout_s=0.4)
    now = 0.0
    engine = FallbackEngine(
        OpenAiEngine(options), ScriptedEngine(Script((), "second")), clock=lambda: now
    )
    engine.load(lambda share: None)

    def reply() -> list[str]:
        return list(engine.stream(PROMPT, Sampling(), CancelToken()))

    server.answer(saying("first"))
    assert reply() == ["first"]
    server.answer(server.hang())
    began = time.monotonic()
    assert reply() == ["second"]
    assert time.monotonic() - began < 5.0
    server.answer(saying("first"))
    assert reply() == ["second"]
    now += 10.0
    assert reply() == ["first"]
    engine.close()
