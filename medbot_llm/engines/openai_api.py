"""Have replies worded by a server that speaks the OpenAI chat API, such as a ward's vLLM.

The network is the problem here. A server may refuse, hang before the first token, stop in the
middle, drop the connection or send something else altogether, and meanwhile a patient waits. So
every wait has a time-out and can be cancelled at once. A blocking socket read can't: closing a
socket does not wake the thread that reads it (close(2), "Multithreaded processes and close()").
Therefore each call runs as a task on an event loop of the engine's own, inside the caller's
thread; cancelling the task also closes the connection, and the server then stops generating. No
thread is started for it.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import logging
import os
import re
import time
from collections.abc import Callable
from collections.abc import Coroutine
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.parse import urlunsplit

from medbot_llm.domain import ChatMessage
from medbot_llm.domain import ChatRole
from medbot_llm.engines.base import CancelToken
from medbot_llm.engines.base import EngineError
from medbot_llm.engines.base import EngineInfo
from medbot_llm.engines.base import EngineUnavailableError
from medbot_llm.engines.base import ModelLoadError
from medbot_llm.engines.base import ProgressCallback
from medbot_llm.engines.base import PromptTooLongError
from medbot_llm.engines.base import Sampling

logger = logging.getLogger(__name__)

T = TypeVar("T")

ENGINE_NAME = "openai_api"
DEFAULT_BASE_URL = "http://127.0.0.1:8000/v1"
"""Where `vllm serve` listens by default."""

NO_KEY = "EMPTY"
"""What is sent as key where none is set; servers without authentication ignore it."""

RETRY_PAUSE_S = 0.1
"""Pause before a request is repeated; short, because someone waits for the answer."""

END_GRACE_S = 0.2
"""How long a finished reply may still wait for the stream's "[DONE]", so that its connection can
serve the next one."""

CLOSE_TIMEOUT_S = 1.0
"""How long the closing of a connection may take."""

MAX_SERVER_WORDS = 200
"""Longest part of a server's error text that is passed on, characters."""

MAX_MODELS_NAMED = 8
"""How many of a server's models an error lists."""

RETRIED_STATUS = frozenset({408, 409, 425, 429})
"""HTTP states below 500 that may pass by themselves."""

REJECTED_STATUS = frozenset({400, 422})
"""HTTP states by which servers say that they do not take a request as it is."""

# The wordings of vLLM, llama.cpp's server, llama-cpp-python's server, SGLang, TGI and OpenAI for a
# prompt that does not fit. None of them shares an error code with the others.
_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|window|size)|exceed_context|prompt is too long"
    r"|maximum (?:input|model) length|longer than the model|max_new_tokens`? must be",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class OpenAiOptions:
    """Which server to ask, and how long to wait for it.

    Attributes:
        base_url: Address of the API, e.g. "http://ward-server:8000/v1"; without a path, "/v1" is
            added. A server on this machine is never asked through a proxy; for others HTTP_PROXY
            and its kin hold as usual.
        model: Name of the model as the server lists it; "" takes the first one it lists.
        api_key_env: Name of the environment variable that holds the key; where it is unset,
            "EMPTY" is sent.
        connect_timeout_s: Longest wait for a connection, s.
        first_token_timeout_s: Longest wait from the request to the first text of the reply, s,
            retries and any thinking of the model included; also for the list of models and for a
            prefill.
        between_tokens_timeout_s: Longest wait from one piece of text to the next, s.
        max_retries: How often a request is repeated whose connection broke, or that the server
            turned away as busy, before the first text came. Time-outs are not retried: someone has
            waited long enough.
        extra_body: Further fields for every request, as this server knows them; they win over the
            engine's own.
        disable_thinking: Ask templates that can think (Qwen3 and its kin) not to:
            `enable_thinking: false`.
        warm_prefix: Let `prefill` ask for one token, so that a server with a prefix cache (vLLM's
            default) knows the prompt already. False where every request is paid for.
    """

    base_url: str = DEFAULT_BASE_URL
    model: str = ""
    api_key_env: str = "OPENAI_API_KEY"
    connect_timeout_s: float = 2.0
    first_token_timeout_s: float = 8.0
    between_tokens_timeout_s: float = 5.0
    max_retries: int = 1
    extra_body: Mapping[str, object] = field(default_factory=dict)
    disable_thinking: bool = False
    warm_prefix: bool = True

    def __post_init__(self) -> None:
        """Raise EngineError for an option that can't work."""
        _checked_url(self.base_url)
        for name in ("connect_timeout_s", "first_token_timeout_s", "between_tokens_timeout_s"):
            if not getattr(self, name) > 0:
                raise EngineError(f"{name} must be more than 0 s, not {getattr(self, name)}")
        if self.max_retries < 0:
            raise EngineError(f"max_retries must be 0 or more, not {self.max_retries}")


class OpenAiEngine:
    """An `Engine` that asks an OpenAI-compatible server.

    Sampling that the API itself does not know travels in the names of vLLM and of llama.cpp:
    `top_k`, `min_p`, and the repeat penalty as both `repetition_penalty` and `repeat_penalty`
    (vLLM applies it to all tokens seen, llama.cpp to the last 64). A server that rejects them,
    such as OpenAI's own, is asked without from then on.

    A LoRA adapter is a model of its own name to vLLM (`--lora-modules name=path`): `set_adapter`
    takes that name. `set_adapter` raises EngineUnavailableError, besides ModelLoadError, if the
    server can't be asked about it; `prefill` raises it too, so that a fall-back is found out
    before anyone waits.
    """

    def __init__(self, options: OpenAiOptions | None = None) -> None:
        self._options = options or OpenAiOptions()
        self._url = _checked_url(self._options.base_url)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None
        self._openai: Any = None
        self._key = NO_KEY
        self._model = self._options.model
        self._adapter = ""
        self._takes_extras = True
        self._info = EngineInfo(ENGINE_NAME, self._model, detail=self._url)

    def load(self, progress: ProgressCallback) -> None:
        """Connect, and check that the server answers and serves the model."""
        progress(0.0)
        self.close()
        self._openai = _import_openai()
        self._key = self._read_key()
        self._loop = asyncio.new_event_loop()
        try:
            self._client = self._new_client()
            models = self._list_models()
            self._choose_model(models)
            if self._adapter and self._adapter not in models:
                raise ModelLoadError(self._unknown_adapter(self._adapter, models))
        except BaseException:
            self.close()
            raise
        self._takes_extras = True
        self._publish_info(models)
        progress(1.0)

    def prefill(self, messages: Sequence[ChatMessage], cancel: CancelToken) -> None:
        """Let the server work through the prompt, if `warm_prefix`; a refusal is only logged."""
        if not self._options.warm_prefix:
            return
        call = _Call(self._ready_loop(), cancel)
        try:
            self._ask_for_one_token(call, messages, self._deadline())
        except _StoppedError:
            return
        except Exception as error:
            if cancel.cancelled:
                return
            explained = self._explained(error)
            if isinstance(explained, EngineUnavailableError):
                raise explained from None
            logger.info("The prompt was not prefilled: %s", explained)

    def stream(
        self, messages: Sequence[ChatMessage], sampling: Sampling, cancel: CancelToken
    ) -> Iterator[str]:
        """Yield the reply as the server sends it, without thinking that it sends apart from it."""
        if not messages:
            raise EngineError("a reply needs at least one message")
        loop = self._ready_loop()
        call = _Call(loop, cancel)
        reply = _Reply(self._client)
        try:
            piece = self._open(call, reply, messages, sampling)
            while piece is not None and not cancel.cancelled:
                yield piece
                piece = self._next_piece(call, reply)
        except _StoppedError:
            return
        except Exception as error:
            # Not only openai's errors: json, h11 and ssl have their own. `from None`, as servers
            # repeat keys.
            if not cancel.cancelled:
                raise self._explained(error) from None
        finally:
            if not loop.is_closed():
                with suppress(Exception):
                    _Call(loop, CancelToken()).run(reply.close(), CLOSE_TIMEOUT_S)

    def set_adapter(self, path: str, scale: float) -> None:
        """Ask for the adapter that the server knows as `path` from the next reply on."""
        if not path:
            self._adapter = ""
            self._info = self._described(self._info.context_tokens)
            return
        if scale != 1.0:
            raise ModelLoadError(
                f"{self._url} applies adapters in full only: set the scale to 1.0, not {scale:g}"
            )
        self._ready_loop()
        models = self._list_models()
        if path not in models:
            raise ModelLoadError(self._unknown_adapter(path, models))
        self._adapter = path
        self._publish_info(models)

    def info(self) -> EngineInfo:
        """The model and adapter that requests name, and the server's address."""
        return self._info

    def close(self) -> None:
        """Drop the connections to the server."""
        loop, client = self._loop, self._client
        self._loop = self._client = None
        if loop is None:
            return
        with suppress(Exception):
            _Call(loop, CancelToken()).run(_disconnect(client), CLOSE_TIMEOUT_S)
        loop.close()

    # Connecting

    def _new_client(self) -> Any:
        timeout = self._openai.Timeout(None, connect=self._options.connect_timeout_s)
        try:
            return self._openai.AsyncOpenAI(
                api_key=self._key,
                base_url=self._url,
                timeout=timeout,
                max_retries=0,
                http_client=self._openai.DefaultAsyncHttpxClient(
                    timeout=timeout, trust_env=not _is_loopback(self._url)
                ),
            )
        except (ImportError, ValueError, TypeError, OSError, self._openai.OpenAIError) as error:
            # A SOCKS proxy without its package, a malformed proxy address, a missing certificate
            # file.
            raise ModelLoadError(
                f"no connection to {self._url} can be set up ({self._redacted(str(error))}): "
                "check the proxy and SSL variables of the environment"
            ) from None

    def _read_key(self) -> str:
        key = os.environ.get(self._options.api_key_env, "").strip() or NO_KEY
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise ModelLoadError(
                f"the key in {self._options.api_key_env} has characters that no key has"
            )
        return key

    def _list_models(self) -> dict[str, dict[str, Any]]:
        """Ask the server what it says of each model, by name; empty if it keeps no list."""
        call = _Call(self._ready_loop(), CancelToken())
        try:
            answer = self._persist(
                call, lambda: self._client.get("/models", cast_to=object), self._deadline()
            )
        except self._openai.NotFoundError:
            return {}
        except Exception as error:
            raise self._explained(error) from None
        listed = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(listed, list):
            raise ModelLoadError(
                f"{self._url} answers, but not as an OpenAI-compatible server: check base_url"
            )
        return {
            entry["id"]: entry
            for entry in listed
            if isinstance(entry, dict) and isinstance(entry.get("id"), str)
        }

    def _choose_model(self, models: Mapping[str, Mapping[str, Any]]) -> None:
        wanted = self._options.model
        if not wanted and not models:
            raise ModelLoadError(
                f"{self._url} lists no models: check base_url, or set the option model"
            )
        if wanted and models and wanted not in models:
            raise ModelLoadError(
                f'{self._url} does not serve the model "{wanted}": it has {_named(models)}'
            )
        self._model = wanted or next(iter(models))

    def _unknown_adapter(self, name: str, models: Mapping[str, Any]) -> str:
        return (
            f'{self._url} knows no adapter "{name}": it has {_named(models)}. '
            f"For vLLM: --enable-lora --lora-modules {name}=<its folder on the server>"
        )

    def _publish_info(self, models: Mapping[str, Mapping[str, Any]]) -> None:
        self._info = self._described(_context_tokens(models.get(self._adapter or self._model, {})))

    def _described(self, context_tokens: int) -> EngineInfo:
        return EngineInfo(ENGINE_NAME, self._model, self._adapter, context_tokens, self._url)

    def _ready_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise EngineUnavailableError(
                f"the connection to {self._url} is not loaded: load the engine first"
            )
        return self._loop

    # Asking

    def _deadline(self) -> float:
        return time.monotonic() + self._options.first_token_timeout_s

    def _payload(
        self, messages: Sequence[ChatMessage], sampling: Sampling, with_extras: bool
    ) -> dict[str, Any]:
        extra: dict[str, object] = {}
        if with_extras:
            extra["top_k"] = sampling.top_k
            extra["min_p"] = sampling.min_p
            extra["repeat_penalty"] = sampling.repeat_penalty
            extra["repetition_penalty"] = sampling.repeat_penalty
        if self._options.disable_thinking:
            extra["chat_template_kwargs"] = {"enable_thinking": False}
        extra.update(self._options.extra_body)
        payload: dict[str, Any] = {
            "model": self._adapter or self._model,
            "messages": [
                {"role": str(message.role), "content": _encodable(message.content)}
                for message in messages
            ],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "extra_body": extra,
        }
        if sampling.seed is not None:
            payload["seed"] = sampling.seed
        return payload

    def _open(
        self, call: _Call, reply: _Reply, messages: Sequence[ChatMessage], sampling: Sampling
    ) -> str | None:
        """Ask, and wait for the first text; ask again without what the server does not take."""
        deadline = self._deadline()
        with_extras = self._takes_extras
        kept = list(messages)
        turns_to_drop = 1
        while True:
            payload = self._payload(kept, sampling, with_extras)
            try:
                try:
                    piece = self._persist(call, functools.partial(reply.open, payload), deadline)
                except _BrokenStreamError:
                    # llama-cpp-python's server (0.3.36) ends the stream of a prompt that is too
                    # long without a word, and gives the reason only to who asks without a stream.
                    self._ask_for_one_token(call, kept, deadline)
                    raise
            except self._openai.APIError as error:
                if _is_too_long(error):
                    kept = self._without_oldest_turns(kept, turns_to_drop)
                    # Doubling finds a fit for n turns in log n requests.
                    turns_to_drop *= 2
                elif with_extras and getattr(error, "status_code", None) in REJECTED_STATUS:
                    with_extras = False
                else:
                    raise
                continue
            except _OutOfTimeError:
                if reply.has_thought:
                    raise EngineUnavailableError(
                        f"{self._url} was still thinking when first_token_timeout_s was over: "
                        "set disable_thinking, or a longer time-out"
                    ) from None
                raise
            if self._takes_extras and not with_extras:
                logger.warning(
                    "%s takes no top_k, min_p and repeat_penalty: asking without.", self._url
                )
                self._takes_extras = False
            if piece is None and reply.has_thought:
                raise EngineError(
                    f"{self._url} spent all {sampling.max_tokens} tokens of a reply on thinking: "
                    "set disable_thinking, or a larger max_tokens"
                )
            return piece

    def _ask_for_one_token(
        self, call: _Call, messages: Sequence[ChatMessage], deadline: float
    ) -> None:
        """Have the server work through a prompt, without a stream; raise what it objects."""
        # Without extras: no sampling changes the work, and no server can stumble over them.
        payload = self._payload(messages, Sampling(max_tokens=1), with_extras=False)
        self._persist(
            call, functools.partial(self._client.chat.completions.create, **payload), deadline
        )

    def _next_piece(self, call: _Call, reply: _Reply) -> str | None:
        timeout_s = self._options.between_tokens_timeout_s
        try:
            return call.run(reply.next_piece(), timeout_s)
        except _OutOfTimeError:
            raise EngineUnavailableError(
                f"{self._url} stopped for {timeout_s:g} s in the middle of a reply: check its load"
            ) from None

    def _persist(
        self, call: _Call, attempt: Callable[[], Coroutine[Any, Any, T]], deadline: float
    ) -> T:
        """Run an attempt, and again up to max_retries times if it fails in a way that may pass."""
        retries_left = self._options.max_retries
        while True:
            try:
                return call.run(attempt(), deadline - time.monotonic())
            except Exception as error:
                if retries_left <= 0 or not self._may_pass(error):
                    raise
                logger.debug("%s: trying again after %s", self._url, type(error).__name__)
            retries_left -= 1
            call.run(asyncio.sleep(RETRY_PAUSE_S), deadline - time.monotonic())

    def _without_oldest_turns(self, messages: list[ChatMessage], count: int) -> list[ChatMessage]:
        """Leave out the `count` oldest turns between the system prompt and the newest message.

        A turn begins with a user's message; a greeting before the first of them counts as one.
        """
        middle = messages[1:-1]
        if not middle:
            raise PromptTooLongError(
                f"the prompt does not fit the context window of {self._url}, even without "
                "older turns: shorten it, or serve the model with a longer context"
            )
        ends = [i for i, message in enumerate(middle) if i > 0 and message.role is ChatRole.USER]
        cut = ends[count - 1] if len(ends) >= count else len(middle)
        return [messages[0], *middle[cut:], messages[-1]]

    # What went wrong

    def _may_pass(self, error: Exception) -> bool:
        status = getattr(error, "status_code", None)
        if isinstance(status, int):
            return (status >= 500 or status in RETRIED_STATUS) and not _is_too_long(error)
        if isinstance(error, self._openai.APITimeoutError):
            return False
        return isinstance(error, (self._openai.APIConnectionError, _BrokenStreamError))

    def _explained(self, error: Exception) -> EngineError:
        """Word an error of the client for whoever runs the robot."""
        if isinstance(error, EngineError):
            return error
        if isinstance(error, _OutOfTimeError):
            return EngineUnavailableError(
                f"{self._url} did not answer within {self._options.first_token_timeout_s:g} s: "
                "check the server's load, or set a longer first_token_timeout_s"
            )
        if isinstance(error, _BrokenStreamError):
            return EngineUnavailableError(
                f"{self._url} broke a reply off: check the server's log, and base_url"
            )
        if isinstance(error, self._openai.APITimeoutError):
            return EngineUnavailableError(
                f"no connection to {self._url} within {self._options.connect_timeout_s:g} s: "
                "check that the server runs and the robot is in its network"
            )
        if isinstance(error, self._openai.APIStatusError):
            return self._explained_status(error)
        if isinstance(error, self._openai.APIConnectionError):
            cause = error.__cause__
            words = self._redacted(f"{type(cause).__name__}: {cause}" if cause else str(error))
            return EngineUnavailableError(
                f"the connection to {self._url} failed ({words}): "
                "check that the server runs, and base_url"
            )
        if isinstance(error, self._openai.APIError):
            return EngineUnavailableError(
                f"{self._url} failed in a reply{self._words(error)}; check the server's log"
            )
        return EngineUnavailableError(
            f"{self._url} sent what no OpenAI-compatible server sends ({type(error).__name__}): "
            "check base_url"
        )

    def _explained_status(self, error: Any) -> EngineError:
        status: int = error.status_code
        if status in (401, 403):
            # Without the server's words: some repeat a part of the key.
            return EngineUnavailableError(
                f"{self._url} does not accept the key (HTTP {status}): "
                f"set the environment variable {self._options.api_key_env}"
            )
        words = self._words(error)
        if status == 404:
            return EngineUnavailableError(
                f'{self._url} has no chat with the model "{self._adapter or self._model}" '
                f"(HTTP 404{words}): check the option model, and base_url"
            )
        if status >= 500 or status in RETRIED_STATUS:
            return EngineUnavailableError(
                f"{self._url} is busy or broken (HTTP {status}{words}): check the server's log"
            )
        return EngineError(
            f"{self._url} rejects the request (HTTP {status}{words}): check extra_body"
        )

    def _words(self, error: Exception) -> str:
        """The server's own words on an error, as ": words", or "" where it has none."""
        words = self._redacted(_server_words(error))
        return f": {words}" if words else ""

    def _redacted(self, text: str) -> str:
        line = " ".join(text.split())[:MAX_SERVER_WORDS]
        return line if self._key == NO_KEY else line.replace(self._key, "<key>")


class _StoppedError(Exception):
    """The caller's token was set."""


class _OutOfTimeError(Exception):
    """A wait took longer than it may."""


class _BrokenStreamError(Exception):
    """The server closed a reply in good order, yet without finishing it."""


class _Call:
    """Runs coroutines in the caller's thread, and stops them by a token or a time-out."""

    def __init__(self, loop: asyncio.AbstractEventLoop, cancel: CancelToken) -> None:
        self._loop = loop
        self._cancel = cancel
        self._task: asyncio.Task[Any] | None = None
        cancel.on_cancel(self._wake)

    def run(self, coroutine: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Return or raise what the coroutine does, or raise _StoppedError or _OutOfTimeError."""
        if self._cancel.cancelled:
            coroutine.close()
            raise _StoppedError
        task = self._task = self._loop.create_task(coroutine)
        timer = self._loop.call_later(max(0.0, timeout_s), task.cancel)
        try:
            result: T = self._loop.run_until_complete(task)
            return result
        except asyncio.CancelledError:
            raise (_StoppedError if self._cancel.cancelled else _OutOfTimeError) from None
        finally:
            timer.cancel()
            self._task = None

    def _wake(self) -> None:
        """Have the running task cancelled; runs in the canceller's thread."""
        # A closed loop runs nothing that would have to be stopped.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()


class _Reply:
    """One streamed reply."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._chunks: Any = None
        self._is_finished = False
        self.has_thought = False

    async def open(self, payload: Mapping[str, Any]) -> str | None:
        """Send the request; return the first text, None for a reply without any."""
        self._chunks = await self._client.chat.completions.create(**payload, stream=True)
        try:
            return await self.next_piece()
        except BaseException:
            await self.close()
            raise

    async def next_piece(self) -> str | None:
        """Return the next text, None at the end."""
        while not self._is_finished:
            try:
                chunk = await self._chunks.__anext__()
            except StopAsyncIteration:
                raise _BrokenStreamError from None
            if content := self._read(chunk):
                return content
        # The reply is complete, whatever happens to the connection now.
        with suppress(Exception):
            await asyncio.wait_for(self._drain(), END_GRACE_S)
        return None

    async def close(self) -> None:
        """Close the connection unless the reply is at its end; the server stops generating."""
        if self._chunks is not None:
            await self._chunks.close()

    async def _drain(self) -> None:
        async for _ in self._chunks:
            pass

    def _read(self, chunk: Any) -> str:
        """Take in a chunk, which the client has not validated; return its text."""
        choices = getattr(chunk, "choices", None)
        if not isinstance(choices, list) or not choices:
            return ""
        delta = getattr(choices[0], "delta", None)
        # vLLM: `reasoning` (formerly `reasoning_content`); others: `reasoning_content`.
        if getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None):
            self.has_thought = True
        if getattr(choices[0], "finish_reason", None):
            self._is_finished = True
        content = getattr(delta, "content", None)
        return _encodable(content) if isinstance(content, str) else ""


async def _disconnect(client: Any) -> None:
    """Close the client, and finish what replies left behind when they were abandoned."""
    if client is not None:
        await client.close()
    await asyncio.get_running_loop().shutdown_asyncgens()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*left, return_exceptions=True)


def _import_openai() -> Any:
    try:
        import openai
    except ImportError:
        raise ModelLoadError(
            "the openai_api engine needs the openai package: pip install 'medbot_llm[openai]'"
        ) from None
    return openai


def _checked_url(base_url: str) -> str:
    """Return the API's address as it is used and shown; raise EngineError if it can't be one."""
    try:
        parts = urlsplit(base_url.strip())
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, has_host = urlsplit(""), False
    if parts.username or parts.password:
        raise EngineError(
            "base_url must not hold a user or password: put the key into the environment"
        )
    if parts.scheme not in ("http", "https") or not has_host:
        raise EngineError(f'base_url must be like "{DEFAULT_BASE_URL}", not "{base_url}".')
    path = parts.path.rstrip("/") or "/v1"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _context_tokens(model: Mapping[str, Any]) -> int:
    """Read the context window from what a server says of a model, tokens; 0 if it says nothing."""
    meta = model.get("meta")
    # vLLM: max_model_len; llama.cpp's server: meta.n_ctx.
    for size in (
        model.get("max_model_len"),
        meta.get("n_ctx") if isinstance(meta, dict) else None,
    ):
        if isinstance(size, int) and size > 0:
            return size
    return 0


def _named(models: Mapping[str, Any]) -> str:
    names = list(models)[:MAX_MODELS_NAMED]
    more = f" and {len(models) - len(names)} more" if len(models) > len(names) else ""
    return ", ".join(f'"{name}"' for name in names) + more if names else "none"


def _is_too_long(error: Exception) -> bool:
    return bool(_TOO_LONG.search(f"{getattr(error, 'code', None)} {_server_words(error)}"))


def _server_words(error: Exception) -> str:
    """Find the message in an error's body.

    FastAPI's validation errors repeat their input, which may tell of a patient: only their
    messages are taken.
    """
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        words = body.get("message") or body.get("error") or body.get("detail")
        if isinstance(words, list):
            words = "; ".join(
                str(entry.get("msg", "")) for entry in words if isinstance(entry, dict)
            )
        return words if isinstance(words, str) else ""
    if hasattr(error, "status_code"):
        # A proxy's HTML page, or nothing: the status says it better.
        return ""
    return str(getattr(error, "message", ""))


def _encodable(text: str) -> str:
    """Replace lone surrogates, which JSON can carry and UTF-8 can't."""
    return text.encode("utf-8", "replace").decode("utf-8")
