"""JSON Lines in and out: one object a line, in order, each answer written as soon as it is known.

Shared by the check commands (`triage`, `verify`, `interactions`, `simulate`). A line that is not
what it should be ends the run with one clear error that names file and line; answers to the lines
before it are out by then.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from typing import IO
from typing import Any
from typing import TypeVar

from medbot_llm.domain import MedbotError
from medbot_llm.domain import StringEnum

MAX_LINE_BYTES = 4_000_000
"""Longer lines are refused unread: nobody says so much, and memory is bounded."""

E = TypeVar("E", bound=StringEnum)


class InputError(MedbotError):
    """A line of the input is not what the command takes; names file, line and field."""


class Record:
    """One object of the input, read field by field with errors that say where."""

    def __init__(self, fields: dict[str, Any], where: str) -> None:
        self.fields = fields
        self.where = where

    @property
    def id(self) -> Any:
        """The record's id, given back as it came; None where it has none."""
        value = self.fields.get("id")
        if isinstance(value, (dict, list)):
            raise self.error("id must be a text or a number")
        return value

    def error(self, problem: str) -> InputError:
        """An error that names this record."""
        return InputError(f"{self.where}: {problem}")

    def text(self, name: str, default: str | None = None) -> str:
        """A text; `default` where it is absent or null. Raises InputError without a default."""
        value = self.fields.get(name)
        if value is None:
            if default is None:
                raise self.error(f"{name} is missing")
            return default
        if isinstance(value, str):
            return value
        raise self.error(f"{name} must be text, not {_shown(value)}")

    def texts(self, name: str, *, required: bool = False) -> tuple[str, ...]:
        """A list of texts; () where it is absent or null, unless it is required."""
        value = self.fields.get(name)
        if value is None and not required:
            return ()
        if value is None:
            raise self.error(f"{name} is missing")
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise self.error(f"{name} must be a list of texts, not {_shown(value)}")

    def one_of(self, name: str, kind: type[E], default: E) -> E:
        """A member of an enumeration; `default` where it is absent, null or empty."""
        value = self.text(name, "").strip()
        if not value:
            return default
        for member in kind:
            if member.value.lower() == value.lower():
                return member
        raise self.error(f"{name} is one of {', '.join(kind.values())}, not {_shown(value)}")

    def record(self, name: str, *, required: bool = False) -> Record:
        """An object in a field; {} where it is absent or null, unless it is required."""
        value = self.fields.get(name)
        if value is None and required:
            raise self.error(f"{name} is missing")
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise self.error(f"{name} must be an object, not {_shown(value)}")
        return Record(value, f"{self.where}: {name}")

    def records(self, name: str, *, required: bool = False) -> list[Record]:
        """A list of objects; [] where it is absent or null, unless it is required."""
        value = self.fields.get(name)
        if value is None and required:
            raise self.error(f"{name} is missing")
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.error(f"{name} must be a list of objects, not {_shown(value)}")
        return [
            Record(item, f"{self.where}: {name}, entry {number}")
            for number, item in enumerate(value, start=1)
        ]


def add_input(parser: argparse.ArgumentParser, what: str) -> None:
    """Give a command its input file."""
    parser.add_argument(
        "file",
        nargs="?",
        default="-",
        metavar="FILE",
        help=f"JSON Lines, {what}; - or nothing: standard input",
    )


def read_records(name: str) -> Iterator[Record]:
    """Yield the objects of a file, or of standard input for "-"; empty lines are passed over.

    Raises:
        InputError: The file can't be read, or a line is no JSON object.
    """
    with _opened(name) as stream:
        shown = "standard input" if name == "-" else name
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            where = f"{shown}, line {number}"
            if len(line) > MAX_LINE_BYTES:
                raise InputError(f"{where}: longer than {MAX_LINE_BYTES} bytes")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise InputError(f"{where}: is not UTF-8") from None
            if not text.strip():
                continue
            try:
                value = json.loads(text)
            except (ValueError, RecursionError) as error:
                reason = getattr(error, "msg", "is nested too deeply")
                raise InputError(f"{where}: is no JSON: {reason}") from None
            if not isinstance(value, dict):
                raise InputError(f"{where}: must be an object, not {_shown(value)}")
            yield Record(value, where)


def write_object(fields: dict[str, Any]) -> None:
    """Write one object as a line to standard output, at once."""
    # A lone surrogate, which JSON can smuggle in, must not end the run on the way out.
    line = json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


@contextlib.contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = open(name, "rb")  # noqa: SIM115 - closed below; opening alone may fail here
    except OSError as error:
        raise InputError(f"{name}: can't be read: {error.strerror}") from None
    with stream:
        try:
            yield stream
        except IsADirectoryError:
            raise InputError(f"{name}: is a folder") from None


def _shown(value: object) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= 60 else shown[:59] + "…"
