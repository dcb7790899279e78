"""Output folders that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medbot_llm.domain import MedbotError

_FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FULL_DISK_WORDS = ("no space left", "os error 28", "file too large", "os error 27")
_SPARE_BYTES = 16_000_000


class ExportError(MedbotError):
    """Nothing can be merged or exported from this; one line with what to do."""


def is_there(folder: Path, record_name: str, fingerprint: str, overwrite: bool) -> bool:
    """Whether a folder already holds what is about to be made.

    Args:
        folder: The folder.
        record_name: Its file that has the fingerprint.
        fingerprint: Of all that decides what is made.
        overwrite: Whether it may be replaced.

    Raises:
        ExportError: It holds something else, and that must stay.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise ExportError(f"output_dir {folder} is a file; give a folder")
    if overwrite:
        return False
    try:
        record = json.loads((folder / record_name).read_text(encoding="utf-8"))
        if record["fingerprint"] == fingerprint:
            return True
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if any(folder.iterdir()):
        raise ExportError(
            f"output_dir {folder} holds something else; give another, or"
            " --overwrite_output_dir to replace it"
        )
    return False


@contextmanager
def whole_folder(folder: Path, needed_bytes: int) -> Iterator[Path]:
    """Give a place to write in, which becomes the folder when all went well.

    A kill leaves the folder as it was, and a hidden one beside it, which the next try clears away.

    Args:
        folder: What is made; it is replaced if it exists.
        needed_bytes: Room that this will take about; too little is told before any work.

    Raises:
        ExportError: No room, no right to write there, or another process is at it.
    """
    folder = folder.absolute()
    unfinished = folder.with_name(f".{folder.name}.part")
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        handle = os.open(unfinished, os.O_RDONLY)
    except OSError as error:
        raise ExportError(f"output_dir {folder} can't be written: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ExportError(f"another process is writing to {folder}; wait for it") from None
        if not _is_still(unfinished, handle):
            raise ExportError(f"another process has just written {folder}; look at it")
        _empty(unfinished)
        try:
            with _clear_errors(folder):
                _check_room(unfinished, needed_bytes)
                yield unfinished
                _sync(unfinished)
                _put_in_place(unfinished, folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    finally:
        os.close(handle)


def _is_still(place: Path, handle: int) -> bool:
    """Whether a folder was not renamed between its opening and its locking."""
    try:
        return os.path.samestat(os.fstat(handle), place.stat())
    except OSError:
        return False


def _put_in_place(unfinished: Path, folder: Path) -> None:
    replaced = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(replaced, ignore_errors=True)
    if folder.exists():
        folder.rename(replaced)
    unfinished.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _check_room(folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed_bytes + _SPARE_BYTES > free:
        raise ExportError(
            f"the disk of {folder.parent} has {free / 1e6:,.0f} MB free, about"
            f" {(needed_bytes + _SPARE_BYTES) / 1e6:,.0f} MB are needed; free some, or give an"
            " output_dir on another disk"
        )


def _sync(folder: Path) -> None:
    """Bring all to the disk before it gets its name: a power cut must not leave empty files."""
    for path in [*(path for path in folder.rglob("*") if path.is_file()), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _clear_errors(folder: Path) -> Iterator[None]:
    """Word in one line what the libraries raise."""
    try:
        yield
    except MedbotError:
        raise
    except Exception as error:
        if is_full_disk(error):
            raise ExportError(
                f"the disk of {folder.parent} is full, or its limit of file sizes is reached;"
                " free some space and give the same command again"
            ) from error
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error).lower():
            raise ExportError(
                "out of memory: close other programs, or merge with --dtype bfloat16"
            ) from error
        if logging.getLogger().isEnabledFor(logging.INFO):
            raise
        words = " ".join(str(error).split()) or type(error).__name__
        raise ExportError(
            f"{type(error).__name__}: {words[:300]} (medbot-train -v shows where)"
        ) from error


def is_full_disk(error: BaseException) -> bool:
    """Whether an error, or one that it comes from, is that no more can be written."""
    seen: BaseException | None = error
    while seen is not None:
        words = str(seen).lower()
        if isinstance(seen, OSError) and seen.errno in _FULL_DISK:
            return True
        if any(phrase in words for phrase in _FULL_DISK_WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def read_json(path: Path, what: str) -> dict[str, object]:
    """Read a JSON object. Raises ExportError, which calls it `what`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExportError(f"{what} {path} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise ExportError(f"{what} {path} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ExportError(f"{what} {path} must be a JSON object")
    return found
