"""Write records: to a file that is whole or not there at all, or to standard output."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO
from typing import Any

from medbot_training.data.files import name_suffix
from medbot_training.data.formats import Format
from medbot_training.data.formats import Misfit
from medbot_training.data.records import DataError
from medbot_training.data.records import Record
from medbot_training.data.records import Text

STDOUT = "-"


class Output(AbstractContextManager["Output"]):
    """A file of JSON Lines, a JSON list or lines of text, by its name; "-" is standard output.

    It is written beside its place and moved there when all is well. `.gz` compresses it.

    Args:
        path: See above.
        skip_empty: Leave no file, and none of an earlier run, where nothing was written.
    """

    def __init__(self, path: Path | str, *, skip_empty: bool = False) -> None:
        self.path = Path(path)
        self._skip_empty = skip_empty
        self.count = 0
        self._is_stdout = str(path) == STDOUT
        suffix = name_suffix(self.path)
        self._is_list = suffix == ".json"
        self._is_text = suffix in (".txt", ".text")
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self._stream: IO[bytes] | None = None
        self._raw: IO[bytes] | None = None

    def __enter__(self) -> Output:
        if self._is_stdout:
            self._stream = sys.stdout.buffer
        else:
            self._stream = self._guarded(self._open)
        return self

    def write(self, fields: dict[str, Any]) -> None:
        """Write one object. Raises DataError where it does not go into this kind of file."""
        if self._is_text:
            if list(fields) != ["text"]:
                raise DataError(f"{self.path}: a text file holds texts only; name it .jsonl")
            line = " ".join(str(fields["text"]).split("\n"))
        else:
            line = json.dumps(fields, ensure_ascii=False, allow_nan=False)
        before = ""
        if self._is_list:
            before = ",\n" if self.count else "[\n"
        self._put(before + line + ("" if self._is_list else "\n"))
        self.count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stream = self._stream
        if stream is None:
            return
        if self._is_stdout:
            stream.flush()
            return
        try:
            if kind is None:
                self._guarded(self._finish)
        finally:
            # What could not be written can't be written now either.
            with suppress(OSError):
                self._close()
            self._temporary.unlink(missing_ok=True)

    def _open(self) -> Any:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_dir():
            raise DataError(f"{self.path}: is a folder")
        self._raw = raw = open(self._temporary, "wb")  # noqa: SIM115 - closed in _close
        if self.path.suffix == ".gz":
            # Without a time in it the same records make the same file.
            return gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0)
        return raw

    def _close(self) -> None:
        # gzip leaves the file that it writes into open.
        for stream in (self._stream, self._raw):
            if stream is not None:
                stream.close()

    def _finish(self) -> None:
        if self._is_list:
            self._put("\n]\n" if self.count else "[]\n")
        self._close()
        if self._skip_empty and not self.count:
            self.path.unlink(missing_ok=True)
            return
        os.replace(self._temporary, self.path)

    def _put(self, text: str) -> None:
        stream = self._stream
        assert stream is not None, "the output is not open"
        # Half characters, which JSON can smuggle in, are never written on.
        data = text.encode("utf-8", "replace")
        self._guarded(lambda: stream.write(data))

    def _guarded(self, act: Callable[[], Any]) -> Any:
        """Do it, and word what the file system refuses. Raises DataError."""
        try:
            return act()
        except BrokenPipeError:
            raise
        except OSError as error:
            reason = error.strerror or str(error)
            raise DataError(
                f"{self.path}: can't be written: {reason}; nothing of it is left"
            ) from None


def object_of(record: Record, form: Format, *, as_text: bool = False) -> dict[str, Any]:
    """A record as an object of a format. Raises Misfit where it does not fit."""
    if as_text:
        if not isinstance(record, Text):
            raise Misfit("not_convertible", "a conversation is no plain text")
        return {"text": record.text}
    return form.write(record)
