"""A loopback HTTP server that speaks the OpenAI chat API, well or badly as a test wants it."""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from typing import Any

import pytest

HANG_LIMIT_S = 20.0
"""A hanging answer gives up after this, so that a broken test ends."""


class Exchange:
    """One chat request and the means to answer it."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        self.body = body
        self._handler = handler

    @property
    def path(self) -> str:
        return self._handler.path

    def begin_stream(self, content_type: str = "text/event-stream") -> None:
        self._handler.send_response(200)
        self._handler.send_header("Content-Type", content_type)
        self._handler.send_header("Transfer-Encoding", "chunked")
        self._handler.end_headers()

    def send_raw(self, data: bytes) -> None:
        self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self._handler.wfile.flush()

    def send_event(self, event: object) -> None:
        self.send_raw(b"data: " + json.dumps(event).encode() + b"\n\n")

    def send_delta(self, finish_reason: str | None = None, **delta: object) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        self.send_event({"id": "c", "object": "chat.completion.chunk", "choices": [choice]})

    def end_body(self) -> None:
        self._handler.wfile.write(b"0\r\n\r\n")
        self._handler.wfile.flush()

    def end_stream(self, finish_reason: str = "stop") -> None:
        self.send_delta(finish_reason)
        self.send_raw(b"data: [DONE]\n\n")
        self.end_body()

    def send_json(self, status: int, body: object) -> None:
        self.send_bytes(status, json.dumps(body).encode(), "application/json")

    def send_error(self, status: int, message: str, code: str | None = None) -> None:
        self.send_json(status, {"error": {"message": message, "type": "error", "code": code}})

    def send_bytes(self, status: int, data: bytes, content_type: str) -> None:
        self._handler.send_response(status)
        self._handler.send_header("Content-Type", content_type)
        self._handler.send_header("Content-Length", str(len(data)))
        self._handler.end_headers()
        self._handler.wfile.write(data)

    def reset(self) -> None:
        """Drop the connection as a crash does, with a TCP reset."""
        linger = struct.pack("ii", 1, 0)
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._handler.close_connection = True
        # The socket closes, and so resets, when its last file object is gone.
        self._handler.wfile.close()
        self._handler.rfile.close()
        self._handler.connection.close()

    def client_hangs_up(self, within_s: float) -> bool:
        """Wait for the client to close the connection."""
        readable, _, _ = select.select([self._handler.connection], [], [], within_s)
        if not readable:
            return False
        try:
            peeked: bytes = self._handler.connection.recv(1, socket.MSG_PEEK)
            return not peeked
        except ConnectionError:
            return True


Behaviour = Callable[[Exchange], None]


class FakeOpenAiServer:
    """Answers each chat request by the next behaviour of `answers`; the last one stays.

    Attributes:
        models: What /v1/models lists.
        models_status: HTTP status of /v1/models.
        requests: The bodies of all chat requests, oldest first.
        paths: The paths of all requests, oldest first.
        keys: The Authorization headers of all requests.
        connections: How many connections were made.
        hung_up_at: `time.monotonic()` when the client closed a connection that `hang` held.
    """

    def __init__(self) -> None:
        self.models: list[dict[str, Any]] = [{"id": "ward-model", "max_model_len": 4096}]
        self.models_status = 200
        self.answers: deque[Behaviour] = deque([say("Good morning.")])
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str | None] = []
        self.connections = 0
        self.hung_up_at: float | None = None
        self.hung_up = threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                fake.connections += 1

            def do_GET(self) -> None:
                fake._note(self)
                listed = {"object": "list", "data": fake.models}
                Exchange(self, {}).send_json(fake.models_status, listed)

            def do_POST(self) -> None:
                fake._note(self)
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.requests.append(body)
                behaviour = fake.answers.popleft() if len(fake.answers) > 1 else fake.answers[0]
                try:
                    behaviour(Exchange(self, body))
                except ConnectionError:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: object, client_address: object) -> None:
                """A connection that a test broke is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(
            target=lambda: self._server.serve_forever(poll_interval=0.02), daemon=True
        )
        self._thread.start()

    def _note(self, handler: BaseHTTPRequestHandler) -> None:
        self.paths.append(handler.path)
        self.keys.append(handler.headers.get("Authorization"))

    def answer(self, *behaviours: Behaviour) -> None:
        """Answer by these behaviours from now on, one a request."""
        self.answers = deque(behaviours)

    def hang(self, *pieces: str) -> Behaviour:
        """Send the pieces, then nothing more, and watch for the client to hang up."""

        def behave(exchange: Exchange) -> None:
            if pieces:
                exchange.begin_stream()
                for piece in pieces:
                    exchange.send_delta(content=piece)
            self._watch(exchange)

        return behave

    def drip(self, *, events: bytes) -> Behaviour:
        """Send the same bytes every 50 ms until the client hangs up."""

        def behave(exchange: Exchange) -> None:
            exchange.begin_stream()
            ends_at = time.monotonic() + HANG_LIMIT_S
            while time.monotonic() < ends_at and not exchange.client_hangs_up(0.05):
                exchange.send_raw(events)
            self._watch(exchange)

        return behave

    def _watch(self, exchange: Exchange) -> None:
        if exchange.client_hangs_up(HANG_LIMIT_S):
            self.hung_up_at = time.monotonic()
            self.hung_up.set()
        exchange._handler.close_connection = True

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def say(*pieces: str, delay_s: float = 0.0, finish_reason: str = "stop") -> Behaviour:
    """Stream the pieces as servers do: role first, usage last."""

    def behave(exchange: Exchange) -> None:
        if not exchange.body.get("stream"):
            message = {"role": "assistant", "content": "".join(pieces)}
            choice = {"index": 0, "message": message, "finish_reason": finish_reason}
            exchange.send_json(200, {"id": "c", "object": "chat.completion", "choices": [choice]})
            return
        exchange.begin_stream()
        exchange.send_delta(role="assistant", content=None)
        for piece in pieces:
            time.sleep(delay_s)
            exchange.send_delta(content=piece)
        exchange.send_delta(finish_reason)
        exchange.send_event({"id": "c", "object": "chat.completion.chunk", "choices": []})
        exchange.send_raw(b"data: [DONE]\n\n")
        exchange.end_body()

    return behave


def refuse(status: int, message: str, code: str | None = None) -> Behaviour:
    """Answer with an error."""
    return lambda exchange: exchange.send_error(status, message, code)


@pytest.fixture
def server() -> Iterator[FakeOpenAiServer]:
    """A server of its own for each test."""
    fake = FakeOpenAiServer()
    yield fake
    fake.close()


@pytest.fixture
def saying() -> Callable[..., Behaviour]:
    """Makes a behaviour that streams pieces."""
    return say


@pytest.fixture
def refusing() -> Callable[..., Behaviour]:
    """Makes a behaviour that answers with an HTTP error."""
    return refuse


@pytest.fixture
def full_port() -> Iterator[int]:
    """A loopback port that no connection can be made to: its queue is full, no one accepts."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        waiting.append(client)
    yield int(listener.getsockname()[1])
    for client in waiting:
        client.close()
    listener.close()
