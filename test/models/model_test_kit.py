"""A web server on loopback as bad as the ones out there, and catalogs that point to it."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass
from dataclasses import field
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path

import yaml

from medbot_llm.models.catalog import Catalog
from medbot_llm.models.catalog import parse_catalog
from medbot_llm.models.store import ModelStore

CONTENT = bytes(range(256)) * 4096 * 3
"""Three chunks of a file, 3 MiB."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Page:
    """What the server gives at one path.

    Attributes:
        content: The body.
        has_ranges: Whether it honours a Range header.
        cuts: For each of the first requests, the number of bytes after which the connection is
            cut.
        status: Answered instead of 200, without the body, where it is not 200.
        headers: Further headers.
        delay_s: Waited between pieces of 64 KiB.
    """

    content: bytes = CONTENT
    has_ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


@dataclass(frozen=True)
class Seen:
    """A request that came."""

    method: str
    path: str
    range: str | None
    authorization: str | None


class WebServer:
    """Serves pages on loopback and remembers what was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.seen: list[Seen] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer()

            def do_GET(self) -> None:
                self._answer()

            def _answer(self) -> None:
                asked = self.headers.get("Range")
                server.seen.append(
                    Seen(self.command, self.path, asked, self.headers.get("Authorization"))
                )
                page = server.pages.get(self.path)
                if page is None:
                    self.send_error(404)
                    return
                start = 0
                status = page.status
                if asked is not None and page.has_ranges and status == 200:
                    start = int(asked.removeprefix("bytes=").split("-")[0])
                    status = 206
                body = page.content[start:] if page.status == 200 else b""
                self.send_response(status)
                for name, value in page.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                if status == 206:
                    last = len(page.content) - 1
                    self.send_header("Content-Range", f"bytes {start}-{last}/{len(page.content)}")
                self.end_headers()
                if self.command == "HEAD":
                    return
                if page.cuts:
                    body = body[: page.cuts.pop(0)]
                try:
                    for at in range(0, len(body), 1 << 16):
                        self.wfile.write(body[at : at + (1 << 16)])
                        time.sleep(page.delay_s)
                except OSError:
                    pass  # the client was killed, as some tests want
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def gets(self, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == "GET" and seen.path == path]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def model_data(
    sources: list[object], content: bytes = CONTENT, name: str = "tiny.gguf", **changes: object
) -> dict[str, object]:
    """Give a catalog's record of a model with one file."""
    file = {"name": name, "bytes": len(content), "sha256": sha256(content), "sources": sources}
    record: dict[str, object] = {
        "id": "tiny",
        "role": "chat",
        "description": "A model for tests.",
        "licence": "Apache-2.0",
        "languages": ["en"],
        "files": [file],
    }
    return {**record, **changes}


def catalog_of(*models: dict[str, object]) -> Catalog:
    return Catalog(parse_catalog(catalog_text(*models), "test", origin="shipped"))


def catalog_text(*models: dict[str, object]) -> str:
    return yaml.safe_dump({"models": list(models)})


def store_of(root: Path, *models: dict[str, object]) -> ModelStore:
    return ModelStore(root, catalog_of(*models))


def files_below(root: Path) -> set[str]:
    """Give the files of a store but for its locks, relative to its root."""
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    return {name for name in files if not name.startswith("locks/")}
