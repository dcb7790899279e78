"""The openai_api engine against a real HTTP server that answers well, badly or not at all."""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import replace
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
from medbot_llm.engines.openai_api import OpenAiEngine
from medbot_llm.engines.openai_api import OpenAiOptions

pytest.importorskip("openai", reason="the openai package is not installed")

PROMPT = [
    ChatMessage(ChatRole.SYSTEM, "You are a robot."),
    ChatMessage(ChatRole.USER, "請問這是什麼藥？"),
]
CANCEL_LIMIT_S = 3.0
"""How soon a cancelled call must return, s; measured: 1 to 9 ms, the rest is for busy ones."""
TOO_LONG = (
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."
)


class Loader:
    """Loads engines for one server, and closes them after the test."""

    def __init__(self, url: str) -> None:
        self.options = OpenAiOptions(
            base_url=url, first_token_timeout_s=5.0, between_tokens_timeout_s=3.0
        )
        self._engines: list[OpenAiEngine] = []

    def __call__(self, **options: Any) -> OpenAiEngine:
        engine = OpenAiEngine(replace(self.options, **options))
        self._engines.append(engine)
        engine.load(lambda share: None)
        return engine

    def close(self) -> None:
        for engine in self._engines:
            engine.close()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def load(server: Any) -> Iterator[Loader]:
    loader = Loader(server.url)
    yield loader
    loader.close()


def reply(engine: OpenAiEngine, messages: list[ChatMessage] | None = None) -> list[str]:
    return list(engine.stream(messages or PROMPT, Sampling(), CancelToken()))


def cancelled_after(delay_s: float) -> tuple[CancelToken, list[float]]:
    """Make a token that another thread sets after the delay; the list will hold when."""
    token = CancelToken()
    times: list[float] = []

    def cancel() -> None:
        times.append(time.monotonic())
        token.cancel()

    timer = threading.Timer(delay_s, cancel)
    timer.daemon = True
    timer.start()
    return token, times


def conversation(turns: int) -> list[ChatMessage]:
    messages = [ChatMessage(ChatRole.SYSTEM, "system")]
    for i in range(turns):
        messages.append(ChatMessage(ChatRole.USER, f"question {i}"))
        messages.append(ChatMessage(ChatRole.ASSISTANT, f"answer {i}"))
    return [*messages, ChatMessage(ChatRole.USER, "newest")]


# Words


def test_reply_comes_in_the_servers_pieces(server: Any, load: Loader, saying: Any) -> None:
    server.answer(saying("這是", "脈優", "錠 5 mg", "。"))
    assert reply(load()) == ["這是", "脈優", "錠 5 mg", "。"]


def test_first_piece_comes_before_the_last_is_sent(server: Any, load: Loader, saying: Any) -> None:
    server.answer(saying("a", "b", "c", "d", delay_s=0.2))
    began = time.monotonic()
    times = [time.monotonic() - began for _ in load().stream(PROMPT, Sampling(), CancelToken())]
    assert times[0] < 0.6 < 0.8 <= times[-1]


def test_chinese_split_in_the_middle_of_a_character_arrives_whole(
    server: Any, load: Loader
) -> None:
    def behave(exchange: Any) -> None:
        exchange.begin_stream()
        event = '{"choices":[{"index":0,"delta":{"content":"藥😀"}}]}'
        for byte in f"data: {event}\n\n".encode():
            exchange.send_raw(bytes([byte]))
        exchange.end_stream()

    server.answer(behave)
    assert reply(load()) == ["藥😀"]


def test_lone_surrogates_are_replaced(server: Any, load: Loader) -> None:
    def behave(exchange: Any) -> None:
        exchange.begin_stream()
        exchange.send_raw(b'data: {"choices":[{"index":0,"delta":{"content":"a\\ud83d"}}]}\n\n')
        exchange.end_stream()

    server.answer(behave)
    prompt = [ChatMessage(ChatRole.USER, "x\ud83d")]
    assert reply(load(), prompt) == ["a?"]
    assert server.requests[-1]["messages"][0]["content"] == "x?"


def test_thinking_that_comes_apart_is_never_yielded(server: Any, load: Loader) -> None:
    def behave(exchange: Any) -> None:
        exchange.begin_stream()
        exchange.send_delta(reasoning_content="The patient asks")
        exchange.send_delta(reasoning="about a dose.")
        exchange.send_delta(content="Once a day.")
        exchange.end_stream()

    server.answer(behave)
    assert reply(load()) == ["Once a day."]


def test_chunks_without_text_are_skipped(server: Any, load: Loader) -> None:
    def behave(exchange: Any) -> None:
        exchange.begin_stream()
        exchange.send_raw(b": ping\n\n")
        exchange.send_event({"choices": []})
        exchange.send_event({"choices": None})
        exchange.send_event({"choices": [{"index": 0, "delta": None}]})
        exchange.send_event({"choices": [{"index": 0}]})
        exchange.send_event({"choices": [{"index": 0, "delta": {"content": 7}}]})
        exchange.send_event({})
        exchange.send_delta(role="assistant")
        exchange.send_delta(content="")
        exchange.send_delta(content="Yes.")
        exchange.end_stream()

    server.answer(behave)
    assert reply(load()) == ["Yes."]


def test_reply_cut_at_max_tokens_ends_without_error(
    server: Any, load: Loader, saying: Any
) -> None:
    server.answer(saying("a", "b", finish_reason="length"))
    assert reply(load()) == ["a", "b"]


def test_all_tokens_spent_on_thinking_is_an_error(server: Any, load: Loader) -> None:
    def behave(exchange: Any) -> None:
        exchange.begin_stream()
        exchange.send_delta(reasoning_content="hmm")
        exchange.end_stream("length")

    server.answer(behave)
    with pytest.raises(EngineError, match="disable_thinking"):
        reply(load())


def test_finished_reply_does_not_wait_for_a_server_that_keeps_the_stream_open(
    server: Any, load: Loader
) -> None:
    def behave(exchange: Any) -> None:
        exchange.begin_stream()
        exchange.send_delta("stop", content="Done.")
        server._watch(exchange)

    server.answer(behave)
    engine = load()
    began = time.monotonic()
    assert reply(engine) == ["Done."]
    assert time.monotonic() - began < 20.0


# What is sent


def test_sampling_and_messages_are_sent(server: Any, load: Loader) -> None:
    engine = load()
    sampling = Sampling(0.5, 20, 0.8, 0.1, 1.2, 64, 7)
    list(engine.stream(PROMPT, sampling, CancelToken()))
    sent = server.requests[-1]
    assert sent["messages"] == [
        {"role": "system", "content": "You are a robot."},
        {"role": "user", "content": "請問這是什麼藥？"},
    ]
    expected = {
        "model": "ward-model",
        "stream": True,
        "temperature": 0.5,
        "top_k": 20,
        "top_p": 0.8,
        "min_p": 0.1,
        "repeat_penalty": 1.2,
        "repetition_penalty": 1.2,
        "max_tokens": 64,
        "seed": 7,
    }
    assert {name: sent[name] for name in expected} == expected


def test_no_seed_is_sent_where_none_is_set(server: Any, load: Loader) -> None:
    reply(load())
    assert "seed" not in server.requests[-1]


def test_extra_body_and_disabled_thinking_are_sent(server: Any, load: Loader) -> None:
    reply(load(disable_thinking=True, extra_body={"top_k": 1, "priority": 3}))
    sent = server.requests[-1]
    assert sent["chat_template_kwargs"] == {"enable_thinking": False}
    assert (sent["top_k"], sent["priority"]) == (1, 3)


def test_connection_is_kept_between_replies(server: Any, load: Loader) -> None:
    engine = load()
    for _ in range(5):
        reply(engine)
    assert server.connections == 1


def test_rejected_extras_are_left_out_from_then_on(
    server: Any, load: Loader, saying: Any, refusing: Any
) -> None:
    server.answer(refusing(400, "Unrecognized request argument supplied: top_k"), saying("Yes."))
    engine = load()
    assert reply(engine) == ["Yes."]
    assert reply(engine) == ["Yes."]
    with_top_k = ["top_k" in request for request in server.requests]
    assert with_top_k == [True, False, False]


def test_request_rejected_for_another_reason_does_not_forget_the_extras(
    server: Any, load: Loader, saying: Any, refusing: Any
) -> None:
    server.answer(
        refusing(400, "roles must alternate"),
        refusing(400, "roles must alternate"),
        saying("Yes."),
    )
    engine = load()
    with pytest.raises(EngineError, match="roles must alternate"):
        reply(engine)
    reply(engine)
    assert "top_k" in server.requests[-1]


# Too long


def test_oldest_turns_are_left_out_until_the_prompt_fits(server: Any, load: Loader) -> None:
    def behave(exchange: Any) -> None:
        if len(exchange.body["messages"]) > 6:
            exchange.send_error(400, TOO_LONG)
            return
        exchange.begin_stream()
        exchange.send_delta(content="ok")
        exchange.end_stream()

    server.answer(behave)
    assert reply(load(), conversation(5)) == ["ok"]
    sent = [message["content"] for message in server.requests[-1]["messages"]]
    assert sent == ["system", "question 3", "answer 3", "question 4", "answer 4", "newest"]


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, "too big", "context_length_exceeded"),
        (400, "the request exceeds the available context size, try increasing it", None),
        (400, "The input (9000 tokens) is longer than the model's context length (8192).", None),
        (422, "`inputs` tokens + `max_new_tokens` must be <= 4096.", None),
        (500, "prompt exceeds the context window", None),
    ],
)
def test_prompt_that_never_fits_is_an_error_that_says_so(
    server: Any, load: Loader, refusing: Any, status: int, message: str, code: str | None
) -> None:
    server.answer(refusing(status, message, code))
    with pytest.raises(PromptTooLongError, match="context"):
        reply(load(), conversation(3))
    assert [m["content"] for m in server.requests[-1]["messages"]] == ["system", "newest"]


def test_too_long_reported_inside_the_stream_is_understood(server: Any, load: Loader) -> None:
    def behave(exchange: Any) -> None:
        exchange.begin_stream()
        if len(exchange.body["messages"]) > 2:
            exchange.send_event({"error": {"message": TOO_LONG, "code": 400}})
            exchange.end_body()
            return
        exchange.send_delta(content="ok")
        exchange.end_stream()

    server.answer(behave)
    assert reply(load(), conversation(1)) == ["ok"]


def test_too_long_told_only_without_a_stream_is_found_out(server: Any, load: Loader) -> None:
    def behave(exchange: Any) -> None:
        too_long = len(exchange.body["messages"]) > 4
        if too_long and not exchange.body.get("stream"):
            exchange.send_error(400, TOO_LONG)
            return
        exchange.begin_stream()
        if too_long:
            exchange.end_body()
            return
        exchange.send_delta(content="ok")
        exchange.end_stream()

    server.answer(behave)
    assert reply(load(), conversation(3)) == ["ok"]


# Cancelling


def test_cancel_while_waiting_for_the_first_token_returns_and_hangs_up(
    server: Any, load: Loader
) -> None:
    server.answer(server.hang())
    engine = load()
    token, cancelled_at = cancelled_after(0.3)
    assert list(engine.stream(PROMPT, Sampling(), token)) == []
    assert time.monotonic() - cancelled_at[0] < CANCEL_LIMIT_S
    assert server.hung_up.wait(CANCEL_LIMIT_S)


def test_cancel_in_the_middle_of_a_reply_returns_and_hangs_up(server: Any, load: Loader) -> None:
    server.answer(server.hang("Take", " it"))
    engine = load()
    token, cancelled_at = cancelled_after(0.3)
    assert list(engine.stream(PROMPT, Sampling(), token)) == ["Take", " it"]
    assert time.monotonic() - cancelled_at[0] < CANCEL_LIMIT_S
    assert server.hung_up.wait(CANCEL_LIMIT_S)


def test_cancel_while_connecting_returns(load: Loader, full_port: int) -> None:
    engine = load(connect_timeout_s=60.0)
    engine._client.base_url = f"http://127.0.0.1:{full_port}/v1"
    token, cancelled_at = cancelled_after(0.3)
    assert list(engine.stream(PROMPT, Sampling(), token)) == []
    assert time.monotonic() - cancelled_at[0] < CANCEL_LIMIT_S


def test_cancel_between_two_pieces_yields_no_more(server: Any, load: Loader, saying: Any) -> None:
    server.answer(saying("a", "b", "c"))
    token = CancelToken()
    pieces = []
    for piece in load().stream(PROMPT, Sampling(), token):
        pieces.append(piece)
        token.cancel()
    assert pieces == ["a"]


def test_token_that_is_set_already_asks_nothing(server: Any, load: Loader) -> None:
    token = CancelToken()
    token.cancel()
    engine = load()
    assert list(engine.stream(PROMPT, Sampling(), token)) == []
    engine.prefill(PROMPT, token)
    assert server.requests == []


def test_abandoned_reply_hangs_up(server: Any, load: Loader) -> None:
    server.answer(server.hang("Take"))
    stream: Any = load().stream(PROMPT, Sampling(), CancelToken())
    assert next(stream) == "Take"
    stream.close()
    assert server.hung_up.wait(CANCEL_LIMIT_S)


def test_close_after_abandoned_replies_leaves_nothing_undone(
    server: Any, load: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    server.answer(server.hang("Take"))
    engine = load()
    for _ in range(3):
        assert next(iter(engine.stream(PROMPT, Sampling(), CancelToken()))) == "Take"
    gc.collect()
    engine.close()
    gc.collect()
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_next_reply_after_a_cancelled_one_is_whole(server: Any, load: Loader, saying: Any) -> None:
    engine = load()
    for _ in range(10):
        server.answer(server.hang("x"), saying("Good", " day"))
        token, _ = cancelled_after(0.02)
        list(engine.stream(PROMPT, Sampling(), token))
        assert reply(engine) == ["Good", " day"]


def test_cancel_after_the_reply_or_the_engine_is_over_does_nothing(load: Loader) -> None:
    engine = load()
    token = CancelToken()
    list(engine.stream(PROMPT, Sampling(), token))
    engine.close()
    token.cancel()
    engine.load(lambda share: None)
    assert reply(engine) == ["Good morning."]


def test_prefill_is_cancelled_at_once(server: Any, load: Loader) -> None:
    server.answer(server.hang())
    token, cancelled_at = cancelled_after(0.3)
    load().prefill(PROMPT, token)
    assert time.monotonic() - cancelled_at[0] < CANCEL_LIMIT_S
    assert server.hung_up.wait(CANCEL_LIMIT_S)


# Time-outs


def test_no_connection_is_given_up_in_time(full_port: int) -> None:
    options = OpenAiOptions(f"http://127.0.0.1:{full_port}", connect_timeout_s=0.3)
    began = time.monotonic()
    with pytest.raises(EngineUnavailableError, match=rf"{full_port}/v1 within 0.3 s"):
        OpenAiEngine(options).load(lambda share: None)
    assert 0.3 <= time.monotonic() - began < 20.0


def test_no_first_token_is_given_up_in_time(server: Any, load: Loader) -> None:
    server.answer(server.hang())
    engine = load(first_token_timeout_s=0.4)
    began = time.monotonic()
    with pytest.raises(EngineUnavailableError, match=r"within 0.4 s"):
        reply(engine)
    assert 0.4 <= time.monotonic() - began < 20.0
    assert server.hung_up.wait(CANCEL_LIMIT_S)


def test_pings_do_not_stand_for_a_first_token(server: Any, load: Loader) -> None:
    server.answer(server.drip(events=b": ping\n\n"))
    began = time.monotonic()
    with pytest.raises(EngineUnavailableError, match="did not answer"):
        reply(load(first_token_timeout_s=0.4))
    assert time.monotonic() - began < 20.0


def test_endless_thinking_is_given_up_with_its_own_advice(server: Any, load: Loader) -> None:
    event = b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}\n\n'
    server.answer(server.drip(events=event))
    with pytest.raises(EngineUnavailableError, match=r"thinking.*disable_thinking"):
        reply(load(first_token_timeout_s=0.4))


def test_silence_between_tokens_is_given_up_in_time(server: Any, load: Loader) -> None:
    server.answer(server.hang("Take", " it"))
    stream = load(between_tokens_timeout_s=0.4).stream(PROMPT, Sampling(), CancelToken())
    assert [next(stream), next(stream)] == ["Take", " it"]
    began = time.monotonic()
    with pytest.raises(EngineUnavailableError, match="in the middle of a reply"):
        next(stream)
    assert 0.4 <= time.monotonic() - began < 20.0
    assert server.hung_up.wait(CANCEL_LIMIT_S)


def test_slow_consumer_is_no_time_out(server: Any, load: Loader, saying: Any) -> None:
    server.answer(saying("a", "b", "c"))
    pieces = []
    for piece in load(between_tokens_timeout_s=0.2).stream(PROMPT, Sampling(), CancelToken()):
        pieces.append(piece)
        time.sleep(0.4)
    assert pieces == ["a", "b", "c"]


# Broken servers


def test_refused_connection_says_what_to_check() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(EngineUnavailableError, match=rf":{port}/v1 .*check that the server"):
            OpenAiEngine(OpenAiOptions(f"http://127.0.0.1:{port}")).load(lambda share: None)


def test_reset_before_the_first_token_is_retried(server: Any, load: Loader, saying: Any) -> None:
    server.answer(lambda exchange: exchange.reset(), saying("Yes."))
    assert reply(load()) == ["Yes."]


def test_reset_before_the_first_token_without_retries_is_an_error(
    server: Any, load: Loader, saying: Any
) -> None:
    server.answer(lambda exchange: exchange.reset(), saying("Yes."))
    with pytest.raises(EngineUnavailableError, match="failed"):
        reply(load(max_retries=0))
    assert len(server.requests) == 1


def test_reset_in_the_middle_is_an_error_and_no_retry(server: Any, load: Loader) -> None:
    def behave(exchange: Any) -> None:
        exchange.begin_stream()
        exchange.send_delta(content="Take")
        time.sleep(0.1)
        exchange.reset()

    server.answer(behave)
    stream = load().stream(PROMPT, Sampling(), CancelToken())
    assert next(stream) == "Take"
    with pytest.raises(EngineUnavailableError):
        next(stream)
    assert len(server.requests) == 1


def test_stream_that_ends_before_its_finish_is_an_error(server: Any, load: Loader) -> None:
    def behave(exchange: Any) -> None:
        exchange.begin_stream()
        exchange.send_delta(content="Take")
        exchange.end_body()

    server.answer(behave)
    stream = load().stream(PROMPT, Sampling(), CancelToken())
    assert next(stream) == "Take"
    with pytest.raises(EngineUnavailableError, match="broke a reply off"):
        next(stream)


@pytest.mark.parametrize(
    "data",
    [
        b"data: {not json}\n\n",
        b'data: "text"\n\n',
        b"data: [1, 2]\n\n",
        b"data: null\n\n",
        b"data: \xff\xfe\n\n",
        b"<html>It works!</html>",
        b"\x00" * 5000,
        b"",
    ],
)
def test_garbage_in_the_stream_is_an_error_of_one_line(
    server: Any, load: Loader, data: bytes
) -> None:
    def behave(exchange: Any) -> None:
        exchange.begin_stream()
        if data:
            exchange.send_raw(data)
        exchange.end_body()

    server.answer(behave)
    with pytest.raises(EngineUnavailableError) as caught:
        reply(load(max_retries=0))
    assert "\n" not in str(caught.value)
    assert server.url in str(caught.value)


def test_web_page_instead_of_a_reply_is_an_error(server: Any, load: Loader) -> None:
    server.answer(lambda exchange: exchange.send_bytes(200, b"<html>log in</html>", "text/html"))
    with pytest.raises(EngineUnavailableError):
        reply(load())


def test_error_in_the_middle_of_the_stream_is_passed_on(server: Any, load: Loader) -> None:
    def behave(exchange: Any) -> None:
        exchange.begin_stream()
        exchange.send_delta(content="Take")
        exchange.send_event({"error": {"message": "CUDA out of memory"}})
        exchange.end_body()

    server.answer(behave)
    stream = load().stream(PROMPT, Sampling(), CancelToken())
    assert next(stream) == "Take"
    with pytest.raises(EngineUnavailableError, match="CUDA out of memory"):
        next(stream)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_server_is_asked_again(
    server: Any, load: Loader, saying: Any, refusing: Any, status: int
) -> None:
    server.answer(refusing(status, "busy"), saying("Yes."))
    assert reply(load()) == ["Yes."]


def test_server_that_stays_busy_is_unavailable(server: Any, load: Loader, refusing: Any) -> None:
    server.answer(refusing(503, "loading"))
    with pytest.raises(EngineUnavailableError, match="503: loading"):
        reply(load())
    assert len(server.requests) == 2


def test_unknown_model_of_a_request_names_the_model(
    server: Any, load: Loader, refusing: Any
) -> None:
    server.answer(refusing(404, "The model does not exist."))
    with pytest.raises(EngineUnavailableError, match=r'"ward-model".*404'):
        reply(load())


def test_validation_errors_do_not_repeat_the_prompt(server: Any, load: Loader) -> None:
    detail = [{"loc": ["body"], "msg": "field required", "input": "王小明"}]
    server.answer(lambda exchange: exchange.send_json(422, {"detail": detail}))
    with pytest.raises(EngineError) as caught:
        reply(load())
    assert "field required" in str(caught.value)
    assert "王小明" not in str(caught.value)


# Load


def test_first_listed_model_is_taken_and_described(server: Any, load: Loader) -> None:
    server.models = [{"id": "b", "max_model_len": 8192}, {"id": "a"}]
    info = load().info()
    assert (info.engine, info.model, info.context_tokens) == ("openai_api", "b", 8192)
    assert info.detail == server.url


def test_named_model_is_taken(server: Any, load: Loader) -> None:
    server.models = [{"id": "b"}, {"id": "a"}]
    reply(load(model="a"))
    assert server.requests[-1]["model"] == "a"


def test_model_that_is_not_served_is_an_error_that_lists_what_is(load: Loader) -> None:
    with pytest.raises(ModelLoadError, match=r'"other".*"ward-model"'):
        load(model="other")


def test_server_without_a_model_list_serves_a_named_model(server: Any, load: Loader) -> None:
    server.models_status = 404
    assert reply(load(model="named")) == ["Good morning."]
    with pytest.raises(ModelLoadError, match="set the option model"):
        load()


@pytest.mark.parametrize("listed", [[], [{"id": 3}], [None]])
def test_empty_or_odd_model_list_is_an_error(server: Any, load: Loader, listed: list[Any]) -> None:
    server.models = listed
    with pytest.raises(ModelLoadError, match="lists no models"):
        load()


def test_model_list_of_another_kind_of_server_is_an_error(server: Any, load: Loader) -> None:
    server.models = {"not": "a list"}
    with pytest.raises(ModelLoadError, match="check base_url"):
        load()


def test_address_without_path_is_completed(server: Any, load: Loader) -> None:
    load(base_url=f"http://127.0.0.1:{server.port}/")
    assert server.paths == ["/v1/models"]


@pytest.mark.parametrize(
    "url", ["", "ward-server:8000", "ftp://x/v1", "http://", "http://[::1", "http://h:port/v1"]
)
def test_malformed_address_is_an_error_of_the_options(url: str) -> None:
    with pytest.raises(EngineError, match="base_url must be like"):
        OpenAiOptions(base_url=url)


def test_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(EngineError, match="environment") as caught:
        OpenAiOptions(base_url="http://user:secret@h/v1")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"connect_timeout_s": 0}, {"first_token_timeout_s": float("nan")}, {"max_retries": -1}],
)
def test_impossible_option_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match=next(iter(options))):
        OpenAiOptions(**options)


def test_missing_package_says_what_to_install(
    server: Any, load: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ModelLoadError, match=r"pip install 'medbot_llm\[openai\]'"):
        load()


def test_engine_that_is_not_loaded_or_was_closed_is_unavailable(load: Loader) -> None:
    with pytest.raises(EngineUnavailableError, match="load the engine first"):
        reply(OpenAiEngine(load.options))
    engine = load()
    engine.close()
    engine.close()
    with pytest.raises(EngineUnavailableError, match="load the engine first"):
        reply(engine)


def test_load_tells_its_progress(load: Loader) -> None:
    shares: list[float] = []
    engine = OpenAiEngine(load.options)
    engine.load(shares.append)
    engine.close()
    assert (shares[0], shares[-1]) == (0.0, 1.0)


def test_calls_leave_no_thread_and_no_open_file_behind(server: Any, load: Loader) -> None:
    server.answer(server.hang("x"))
    before = None
    for round_ in range(8):
        engine = OpenAiEngine(load.options)
        engine.load(lambda share: None)
        token, _ = cancelled_after(0.02)
        list(engine.stream(PROMPT, Sampling(), token))
        engine.close()
        if round_ == 2:
            time.sleep(0.3)
            before = (threading.active_count(), len(os.listdir("/proc/self/fd")))
    time.sleep(0.3)
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before


# Keys


def test_key_is_sent_and_never_told(
    server: Any,
    load: Loader,
    refusing: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    key = "sk-very-secret"
    monkeypatch.setenv("WARD_KEY", f"{key}\n")
    engine = load(api_key_env="WARD_KEY")
    errors = []
    for status in (400, 401, 403, 404, 429, 500):
        server.answer(refusing(status, f"wrong key {key}"))
        with pytest.raises(EngineError) as caught:
            reply(engine)
        errors.extend(traceback.format_exception(caught.value))
    assert set(server.keys) == {f"Bearer {key}"}
    assert key not in caplog.text
    assert key not in "".join(errors)


def test_rejected_key_names_its_variable(server: Any, load: Loader) -> None:
    server.models_status = 401
    with pytest.raises(EngineUnavailableError, match=r"401.*OPENAI_API_KEY"):
        load()


def test_no_key_is_sent_as_empty(server: Any, load: Loader) -> None:
    load()
    assert server.keys == ["Bearer EMPTY"]


@pytest.mark.parametrize("key", ["sk-a\nb", "sk-鑰匙", "two words"])
def test_malformed_key_is_an_error_that_does_not_show_it(
    load: Loader, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ModelLoadError, match="OPENAI_API_KEY") as caught:
        load()
    assert key not in str(caught.value)


# Proxies


def test_server_on_this_machine_is_asked_without_the_proxy(
    server: Any, load: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert reply(load()) == ["Good morning."]
    assert reply(load(base_url=f"http://localhost:{server.port}/v1")) == ["Good morning."]


def test_other_servers_are_asked_through_the_proxy(
    server: Any, load: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.port}")
    load(base_url="http://ward-server.invalid/v1")
    assert server.paths == ["http://ward-server.invalid/v1/models"]


def test_unusable_proxy_is_an_error_that_points_to_the_environment(
    load: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "gopher://x")
    with pytest.raises(ModelLoadError, match="proxy"):
        load(base_url="http://ward-server.invalid/v1")


# Prefill


def test_prefill_asks_for_one_token_of_the_same_prompt(server: Any, load: Loader) -> None:
    engine = load(disable_thinking=True)
    engine.prefill(PROMPT, CancelToken())
    reply(engine)
    prefill, request = server.requests
    assert prefill["max_tokens"] == 1
    for name in ("messages", "model", "chat_template_kwargs"):
        assert prefill[name] == request[name]


def test_prefill_asks_nothing_without_warm_prefix(server: Any, load: Loader) -> None:
    load(warm_prefix=False).prefill(PROMPT, CancelToken())
    assert server.requests == []


def test_prefill_that_is_declined_is_no_error(
    server: Any, load: Loader, refusing: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.answer(refusing(400, "a user message is needed"))
    load().prefill(PROMPT[:1], CancelToken())
    assert "a user message is needed" in caplog.text


def test_prefill_finds_out_that_the_server_is_gone(server: Any, load: Loader) -> None:
    server.answer(server.hang())
    with pytest.raises(EngineUnavailableError):
        load(first_token_timeout_s=0.3).prefill(PROMPT, CancelToken())


# Adapters


def with_adapter(server: Any) -> None:
    server.models = [{"id": "base"}, {"id": "ward-lora", "parent": "base", "max_model_len": 512}]


def test_adapter_is_the_model_of_later_requests(server: Any, load: Loader) -> None:
    with_adapter(server)
    engine = load()
    engine.set_adapter("ward-lora", 1.0)
    reply(engine)
    assert (engine.info().model, engine.info().adapter) == ("base", "ward-lora")
    engine.set_adapter("", 1.0)
    reply(engine)
    assert [request["model"] for request in server.requests] == ["ward-lora", "base"]
    assert engine.info().adapter == ""


@pytest.mark.parametrize(("name", "scale"), [("other", 1.0), ("ward-lora", 0.5)])
def test_adapter_that_can_not_be_used_keeps_the_former(
    server: Any, load: Loader, name: str, scale: float
) -> None:
    with_adapter(server)
    engine = load()
    engine.set_adapter("ward-lora", 1.0)
    with pytest.raises(ModelLoadError):
        engine.set_adapter(name, scale)
    reply(engine)
    assert server.requests[-1]["model"] == "ward-lora"


def test_adapter_stays_over_a_reload_and_must_still_be_served(server: Any, load: Loader) -> None:
    with_adapter(server)
    engine = load()
    engine.set_adapter("ward-lora", 1.0)
    engine.load(lambda share: None)
    reply(engine)
    assert server.requests[-1]["model"] == "ward-lora"
    server.models = [{"id": "base"}]
    with pytest.raises(ModelLoadError, match="ward-lora"):
        engine.load(lambda share: None)


def test_engine_may_be_used_from_a_thread_that_is_not_the_main_one(
    server: Any, load: Loader, saying: Callable[..., Any]
) -> None:
    server.answer(saying("Yes."))
    pieces: list[str] = []

    def work() -> None:
        engine = OpenAiEngine(load.options)
        engine.load(lambda share: None)
        pieces.extend(reply(engine))
        engine.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(5.0)
    assert pieces == ["Yes."]
