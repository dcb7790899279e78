"""A teacher's server that does what a test tells it: marks, errors, garbage, silence.

Each request is answered by the next behaviour of `script`; when that is empty, by `always`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from typing import Any

MARKS = {"safety": 10, "logic": 8, "completeness": 6, "empathy": 4, "reason": "good"}
SCORE = 0.4 * 1.0 + 0.3 * 0.8 + 0.2 * 0.6 + 0.1 * 0.4

Behaviour = Callable[[BaseHTTPRequestHandler], None]


class FakeTeacher:
    """The server, on a free port of this machine."""

    def __init__(self) -> None:
        self.script: list[Behaviour] = []
        self.always: Behaviour = says(json.dumps(MARKS))
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self.released = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                owner._answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        """Its base address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        """Let hanging requests go, and stop."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        with self._lock:
            self.bodies.append(json.loads(body))
            self.headers.append({k.lower(): v for k, v in request.headers.items()})
            behaviour = self.script.pop(0) if self.script else self.always
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        has_left = False

        def leave() -> None:
            nonlocal has_left
            with self._lock:
                self._now -= not has_left
            has_left = True

        # Before the answer is out: whoever gets it may ask again before this thread goes on.
        request.leave = leave  # type: ignore[attr-defined]
        try:
            behaviour(request)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            leave()


def says(text: str, finish: str = "stop", after_s: float = 0.0) -> Behaviour:
    """A completion with this text."""

    def behave(request: BaseHTTPRequestHandler) -> None:
        time.sleep(after_s)
        _send(
            request,
            200,
            json.dumps(
                {
                    "id": "1",
                    "object": "chat.completion",
                    "choices": [
                        {
                            "index": 0,
                            "message": {"role": "assistant", "content": text},
                            "finish_reason": finish,
                        }
                    ],
                    "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
                }
            ).encode(),
        )

    return behave


def status(code: int, headers: dict[str, str] | None = None, body: bytes = b"{}") -> Behaviour:
    """An error."""

    def behave(request: BaseHTTPRequestHandler) -> None:
        _send(request, code, body, headers)

    return behave


def raw(body: bytes) -> Behaviour:
    """Something that is no completion."""

    def behave(request: BaseHTTPRequestHandler) -> None:
        _send(request, 200, body)

    return behave


def half(body: bytes) -> Behaviour:
    """Half of what was announced, and then the line is cut."""

    def behave(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(2 * len(body)))
        request.end_headers()
        request.wfile.write(body)
        request.wfile.flush()
        request.close_connection = True

    return behave


def hangs(server: FakeTeacher) -> Behaviour:
    """Nothing at all, until the test is over."""

    def behave(request: BaseHTTPRequestHandler) -> None:
        server.released.wait(30)
        request.close_connection = True

    return behave


def drips(server: FakeTeacher) -> Behaviour:
    """A space now and then, so that no read ever waits long."""

    def behave(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.end_headers()
        while not server.released.wait(0.05):
            request.wfile.write(b" ")
            request.wfile.flush()

    return behave


def _send(
    request: BaseHTTPRequestHandler,
    code: int,
    body: bytes,
    headers: dict[str, str] | None = None,
) -> None:
    request.leave()  # type: ignore[attr-defined]
    request.send_response(code)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)
