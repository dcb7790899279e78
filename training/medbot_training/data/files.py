"""What lies in a file, value by value, however large it is: JSON lists, JSON Lines, CSV, text.

A file is told by what is in it, not by its name, where both can be told apart. Nothing is held in
memory but one record. What can't be read is a finding with file and record, and reading goes on
with the next one: after a broken line in JSON Lines, after a broken record in a JSON list where
the next one begins as the first did.

Bytes that are no text of the encoding are kept apart (Python's surrogateescape), so that a finding
can name the record that they stand in. An encoding is never guessed: what is taken for Big5 and is
GB 18030 reads as other words.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import math
import os
import re
import sys
import zlib
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import IO
from typing import Any
from typing import TypeVar

from medbot_training.data.findings import Finding
from medbot_training.data.findings import shown
from medbot_training.data.records import DataError
from medbot_training.data.records import Origin

MAX_RECORD_CHARS = 8_000_000
"""Longer records are left out: no conversation is so long, and memory is bounded."""
CHUNK_CHARS = 1 << 18
CSV_SUFFIXES = (".csv", ".tsv")
TEXT_SUFFIXES = (".txt", ".text", ".md")
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")

_ASKED_ENCODINGS = ("big5hkscs", "gb18030", "shift_jis", "latin-1")
_PEEK_BYTES = 1 << 16
_LONGEST_BEGINNING = 200
_NEAR_END = 16
"""An error so near to the end of what was read may only be its end."""
_LIST = re.compile(
    r"\s*(?:\{\s*\"(?:data|records|examples|items|rows|train)\"\s*:\s*)?\[(?=\s*[\]{\[])|\s*\["
)
"""What comes before the first record of a list, which may be the first field of an object."""
_LATER_LIST = re.compile(
    r"\{\s*(?:\"[^\"\\]*\"\s*:\s*(?:\"(?:[^\"\\]|\\.)*\"|[-+.\w]+)\s*,\s*)+"
    r"\"(?:data|records|examples|rows|train)\"\s*:\s*\[(?=\s*\{)"
)
"""The same of a list after other fields, which tell a version or a licence."""
_OBJECT = re.compile(r"(?:\[\s*)*\{\s*\"(?:[^\"\\\n]|\\.)*\"\s*:")
"""JSON, whatever the file is called."""
_KEY = re.compile(r"\{\s*(\"(?:[^\"\\\n]|\\.)*\")\s*:")
_MORE = re.compile(r"[\[\]{},:\"]")
_LFS_POINTER = b"version https://git-lfs.github.com/"
_NOT_TEXT = re.compile(r"[\ud800-\udfff]")
_HALF_CHARACTER = re.compile(r"[\udcc2-\udcf4][\udc80-\udcbf]{0,2}$")
"""The bytes that a character begins with, at the end of a file that was cut there."""
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_ARCHIVES = {
    b"PK\x03\x04": "a zip archive",
    b"PAR1": "a Parquet file",
    b"\xfd7zXZ\x00": "an xz archive",
    b"BZh": "a bzip2 archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"GGUF": "a model",
}

_Fault = TypeVar("_Fault")
Advance = Callable[[int], None]
"""Takes how many bytes of the file have been read so far."""


@dataclass(frozen=True)
class Value:
    """One value of a file: an object, a row, or a line of text."""

    origin: Origin
    value: Any


def name_suffix(path: Path) -> str:
    """The suffix that tells what a file holds, without that of its compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_values(
    path: Path, encoding: str | None = None, advance: Advance | None = None
) -> Iterator[Value | Finding]:
    """Yield what lies in a file, in order, and what of it could not be read.

    Args:
        path: JSON list, JSON object, JSON Lines, CSV or plain text; may be compressed with gzip.
        encoding: Its encoding; None: UTF-8, or what its byte order mark says.
        advance: Is told how far reading has come.

    Raises DataError if the file can't be opened, or nothing in it can be read.
    """
    if encoding is not None:
        try:
            codecs.lookup(encoding)
        except LookupError:
            raise DataError(f"{path}: there is no encoding '{encoding}'") from None
    try:
        size = path.stat().st_size
        with open(path, "rb") as raw:
            yield from _read_open(path, raw, size, encoding, advance)
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder; give the files in it") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or error}") from None


def _read_open(
    path: Path, raw: IO[bytes], size: int, encoding: str | None, advance: Advance | None
) -> Iterator[Value | Finding]:
    beginning = raw.read(_PEEK_BYTES)
    raw.seek(0)
    if not beginning:
        raise DataError(f"{path}: is empty")
    binary: Any = raw
    if beginning.startswith(b"\x1f\x8b"):
        binary = gzip.GzipFile(fileobj=raw)
        try:
            beginning = gzip.GzipFile(fileobj=io.BytesIO(beginning)).read1(_PEEK_BYTES)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: is damaged gzip: {error}") from None
        if not beginning:
            raise DataError(f"{path}: is empty")
    if beginning.startswith(_LFS_POINTER):
        raise DataError(f"{path}: is a Git LFS pointer, not the data; run `git lfs pull` first")
    for magic, what in _ARCHIVES.items():
        if beginning.startswith(magic):
            raise DataError(f"{path}: is {what}; unpack it to JSON Lines first")
    encoding = encoding or _encoding(path, beginning)
    errors = "replace" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
    source = _Source(path, binary, encoding, errors)
    if errors == "surrogateescape":
        _check_encoding(path, beginning, encoding)
    count = last_at = 0
    for item in _in_container(path, source, beginning.decode(encoding, "replace")):
        count += 1
        yield item
        if advance is not None:
            at = os.lseek(raw.fileno(), 0, os.SEEK_CUR)
            if at != last_at:
                advance(at)
                last_at = at
    if advance is not None:
        advance(size)
    if not count:
        raise DataError(f"{path}: has no records")


class _Source:
    """The text of a file, read in pieces; damage at its end is remembered, and ends it."""

    def __init__(self, path: Path, binary: Any, encoding: str, errors: str) -> None:
        self.name = str(path)
        self.problem = ""
        self._repeated = ""
        self.decoder = json.JSONDecoder(object_pairs_hook=self._object)
        # csv wants line ends as they are; JSON and text take all of them for white space.
        self._text = io.TextIOWrapper(binary, encoding, errors, newline="")

    def read(self) -> str:
        """The next piece, "" at the end."""
        return self._guarded(lambda: self._text.read(CHUNK_CHARS))

    def line(self) -> str:
        """The next line with its end, "" at the end of the file; a very long one in pieces."""
        return self._guarded(lambda: self._text.readline(MAX_RECORD_CHARS + 1))

    def _guarded(self, read: Callable[[], str]) -> str:
        if self.problem:
            return ""
        try:
            return read()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.problem = f"the compressed file is damaged, the rest of it is lost: {error}"
        except UnicodeError as error:
            self.problem = f"the rest of it is no text: {error.__class__.__name__}"
        return ""

    def finding(self, record: int, kind: str, detail: str, *, stops: bool = False) -> Finding:
        # What a record that can't be read had twice is not the next one's.
        self._repeated = ""
        return Finding(Origin(self.name, record), kind, detail, stops)

    def value(self, record: int, value: Any) -> Value | Finding:
        """A value, or a finding where not all of it can be written again."""
        repeated, self._repeated = self._repeated, ""
        if (place := broken_text(value)) is not None:
            return self.finding(record, "encoding", f"not text: {place}")
        if repeated:
            return self.finding(
                record, "ambiguous", f"the key '{shown(repeated, 30)}' is there twice"
            )
        if (found := _first_of(value, _no_number)) is not None:
            detail = f"has the number {json.dumps(found)}, which JSON has not"
            return self.finding(record, "unreadable", detail)
        return Value(Origin(self.name, record), value)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """An object of JSON; remembers a key that it has with two values."""
        fields = dict(pairs)
        if len(fields) != len(pairs):
            self._repeated = next(
                (key for key, value in pairs if repr(fields[key]) != repr(value)), self._repeated
            )
        return fields


def _no_number(value: Any) -> float | None:
    """NaN and the infinite, which Python reads and JSON has not."""
    return value if isinstance(value, float) and not math.isfinite(value) else None


def broken_text(value: Any) -> str | None:
    """Where in a value there is what no text has: bytes of another encoding, half a character."""
    found = _first_of(value, _not_text)
    if found is None:
        return None
    text, at = found
    code = ord(text[at])
    what = f"byte 0x{code - 0xDC00:02X}" if 0xDC80 <= code <= 0xDCFF else f"U+{code:04X}"
    around = _NOT_TEXT.sub("?", text[max(0, at - 12) : at + 12])
    return f"{what} in '{shown(around)}'"


def _not_text(value: Any) -> tuple[str, int] | None:
    if not isinstance(value, str) or value.isascii():
        return None
    match = _NOT_TEXT.search(value)
    return None if match is None else (value, match.start())


def _first_of(value: Any, fault_of: Callable[[Any], _Fault | None]) -> _Fault | None:
    """The first fault among a value and all that is in it."""
    if isinstance(value, dict):
        parts: Iterator[Any] = (part for pair in value.items() for part in pair)
    elif isinstance(value, list):
        parts = iter(value)
    else:
        return fault_of(value)
    found = (_first_of(part, fault_of) for part in parts)
    return next((fault for fault in found if fault is not None), None)


# Containers --------------------------------------------------------------------------------------


def _in_container(path: Path, source: _Source, beginning: str) -> Iterator[Value | Finding]:
    suffix = name_suffix(path)
    start = beginning.lstrip("\ufeff \t\r\n\0")
    is_json = _OBJECT.match(start) is not None
    if suffix in CSV_SUFFIXES and not is_json:
        yield from _rows(source, "\t" if suffix == ".tsv" else _delimiter(beginning))
    elif suffix in TEXT_SUFFIXES and not is_json:
        yield from _lines(source)
    elif found := _list_of(start):
        yield from _JsonValues(source, found[0])
    elif start.startswith("{"):
        if _is_json(start.split("\n", 1)[0]) or suffix in (".jsonl", ".ndjson"):
            yield from _json_lines(source)
        else:
            yield from _JsonValues(source)
    elif suffix in (".jsonl", ".ndjson") and start:
        yield from _json_lines(source)
    elif not start:
        raise DataError(f"{path}: is empty")
    elif suffix in JSON_SUFFIXES:
        raise DataError(f"{path}: is no JSON: it begins with '{shown(start, 20)}'")
    else:
        raise DataError(
            f"{path}: can't tell what it is; name it .json, .jsonl, .csv or .txt (.gz after it)"
        )


def _list_of(start: str) -> re.Match[str] | None:
    """What comes before the first record of a list; None where the file is none."""
    if found := _LIST.match(start):
        return found
    found = _LATER_LIST.match(start)
    if found is None:
        return None
    try:
        whole = json.loads(start.split("\n", 1)[0])
    except (ValueError, RecursionError):
        return found
    # A whole object on a line of its own is a record where it has more than that one list.
    is_record = sum(isinstance(part, (dict, list)) for part in whole.values()) > 1
    return None if is_record else found


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _json_lines(source: _Source) -> Iterator[Value | Finding]:
    number = 0
    while line := source.line():
        number += 1
        if len(line) > MAX_RECORD_CHARS:
            yield source.finding(number, "too_long", f"longer than {MAX_RECORD_CHARS} characters")
            while line and not line.endswith("\n"):
                line = source.line()
            continue
        text = line.strip("\ufeff \t\r\n")
        if not text:
            continue
        try:
            yield source.value(number, source.decoder.decode(text))
        except (ValueError, RecursionError) as error:
            is_last = not line.endswith("\n") and _ends_within(error, text)
            place = broken_text(_HALF_CHARACTER.sub("", text) if is_last else text)
            if place is not None:
                yield source.finding(number, "encoding", f"not text: {place}")
            elif is_last:
                yield source.finding(number, "cut_off_file", "the last line is not whole")
            else:
                yield source.finding(number, "unreadable", _reason(error))
    if source.problem:
        yield source.finding(number + 1, "cut_off_file", source.problem, stops=True)


def _lines(source: _Source) -> Iterator[Value | Finding]:
    number = 0
    while line := source.line():
        number += 1
        if len(line) > MAX_RECORD_CHARS:
            yield source.finding(number, "too_long", f"longer than {MAX_RECORD_CHARS} characters")
            while line and not line.endswith("\n"):
                line = source.line()
            continue
        text = line.strip("\ufeff \t\r\n")
        if text.strip():
            yield source.value(number, text)
    if source.problem:
        yield source.finding(number + 1, "cut_off_file", source.problem, stops=True)


def _delimiter(beginning: str) -> str:
    header = beginning.lstrip("\ufeff").split("\n", 1)[0]
    return max(",;\t", key=header.count)


def _rows(source: _Source, delimiter: str) -> Iterator[Value | Finding]:
    csv.field_size_limit(MAX_RECORD_CHARS)
    # The byte order mark is gone already where the encoding is known to have one.
    rows = csv.reader(iter(source.line, ""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    number = 0
    while True:
        try:
            row = next(rows)
        except StopIteration:
            break
        except csv.Error as error:
            number += header is not None
            is_end = "end of data" in str(error)
            what = "a quote is never closed" if is_end else str(error)
            yield source.finding(number, "unreadable", what, stops=is_end)
            if is_end:
                return
            continue
        if not any(cell.strip() for cell in row):
            continue
        if header is None:
            header = [cell.strip().lstrip("\ufeff") for cell in row]
            continue
        number += 1
        if len(row) != len(header):
            yield source.finding(
                number, "unreadable", f"has {len(row)} columns, the header {len(header)}"
            )
            continue
        cells = {name: cell for name, cell in zip(header, row, strict=True) if name}
        yield source.value(number, cells)
    if source.problem:
        yield source.finding(number + 1, "cut_off_file", source.problem, stops=True)


class _JsonValues:
    """The values of a JSON list, or values one after another, without holding all of them."""

    def __init__(self, source: _Source, before: str = "") -> None:
        """Args: the text, and what of it stands before the first value of a list."""
        self._source = source
        self._before = before
        self._is_list = bool(before)
        self._text = ""
        self._at = 0
        self._ended = False
        self._line = 1
        self._beginning: re.Pattern[str] | None = None

    def __iter__(self) -> Iterator[Value | Finding]:
        number = 0
        self._skip_space()
        self._at += len(self._before)
        while self._skip_space():
            if self._is_list and self._text[self._at] == "]":
                rest = self._text[self._at + 1 : self._at + 40].strip()
                if rest and "{" not in self._before:
                    yield self._finding(number, f"'{shown(rest, 30)}' after the end of the list")
                return
            number += 1
            if self._beginning is None:
                self._beginning = self._how_it_begins()
            try:
                value = self._next()
            except (ValueError, RecursionError) as error:
                problem = self._problem(number, error)
                has_next = self._find_next()
                if not has_next and not problem.stops:
                    detail = f"{problem.detail}; the rest of the file is not read"
                    problem = replace(problem, detail=detail, stops=True)
                yield problem
                if not has_next:
                    return
                continue
            yield self._source.value(number, value)
            if self._skip_space():
                char = self._text[self._at]
                if char == ",":
                    self._at += 1
                elif self._is_list and char != "]":
                    # The record itself is whole; the comma after it is missing.
                    yield self._finding(number, f"no comma before '{char}'")
        if self._source.problem:
            yield self._finding(number + 1, self._source.problem, "cut_off_file")
        elif self._is_list:
            yield self._finding(number, "the list is not closed", "cut_off_file")

    def _next(self) -> Any:
        """The value that begins here. Raises ValueError or RecursionError."""
        while True:
            try:
                value, end = self._source.decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._ended or not _is_cut(error, self._text):
                    raise
                if len(self._text) - self._at > MAX_RECORD_CHARS:
                    raise ValueError(f"longer than {MAX_RECORD_CHARS} characters") from None
                self._more()
                continue
            # A number or a word may go on in the next piece.
            if end >= len(self._text) - _NEAR_END and not self._ended:
                self._more()
                continue
            self._at = end
            return value

    def _more(self) -> bool:
        """Read another piece, as long as what is there already; whether there was one."""
        pieces = [self._text[self._at :]]
        self._line += self._text.count("\n", 0, self._at)
        wanted = max(CHUNK_CHARS, len(pieces[0]))
        while wanted > 0:
            piece = self._source.read()
            if not piece:
                self._ended = True
                break
            pieces.append(piece)
            wanted -= len(piece)
        self._text, self._at = "".join(pieces), 0
        return len(pieces) > 1

    def _skip_space(self) -> bool:
        """Go to the next character that is no white space; False at the end."""
        while True:
            length = len(self._text)
            while self._at < length and self._text[self._at] in "\ufeff \t\r\n\0":
                self._at += 1
            if self._at < length:
                return True
            if self._ended or not self._more():
                return False

    def _how_it_begins(self) -> re.Pattern[str] | None:
        """How the records of a file begin, by the one that is here: its first key, or the place
        of its brace in a line of its own."""
        if self._text[self._at] != "{":
            return None
        found = _KEY.match(self._text, self._at)
        ways = [] if found is None else [r"\{\s*" + re.escape(found[1]) + r"\s*:"]
        before = self._text[self._text.rfind("\n", 0, self._at) + 1 : self._at]
        if "\n" in self._text[: self._at] and not before.strip():
            ways.append(rf"(?<=\n{re.escape(before)})\{{(?=\s*\")")
        return re.compile("|".join(ways)) if ways else None

    def _find_next(self) -> bool:
        """After a broken record, go to where the next one begins as the first did."""
        if self._beginning is None:
            return False
        while True:
            found = self._beginning.search(self._text, self._at + 1)
            if found is not None:
                self._at = found.start()
                return True
            # The beginning of the next one may have been read in part.
            self._at = max(self._at, len(self._text) - _LONGEST_BEGINNING)
            if self._ended or not self._more():
                return False

    def _problem(self, number: int, error: ValueError | RecursionError) -> Finding:
        if self._ended and _ends_within(error, self._text):
            if self._source.problem:
                return self._finding(number, self._source.problem, "cut_off_file")
            return self._finding(number, "the file ends within the record", "cut_off_file")
        kind = "too_long" if "longer than" in str(error) else "unreadable"
        line = self._line + self._text.count("\n", 0, getattr(error, "pos", self._at))
        return self._finding(number, f"{_reason(error)} (line {line})", kind)

    def _finding(self, number: int, detail: str, kind: str = "unreadable") -> Finding:
        return self._source.finding(number, kind, detail, stops=kind == "cut_off_file")


def _ends_within(error: Exception, text: str) -> bool:
    """Whether JSON is wrong only because the file ends: nothing but part of a word follows."""
    if not _is_cut(error, text):
        return False
    is_text = isinstance(error, json.JSONDecodeError) and error.msg.startswith("Unterminated")
    return is_text or _MORE.search(text, getattr(error, "pos", 0)) is None


def _is_cut(error: Exception, text: str) -> bool:
    """Whether JSON may be wrong only because what was read of it ends."""
    if not isinstance(error, json.JSONDecodeError) or error.msg.startswith("Invalid control"):
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= len(text) - _NEAR_END


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        is_raw = error.msg.startswith("Invalid control")
        what = "a raw line break, tab or control character in a text" if is_raw else error.msg
        return f"is no JSON: {what} at column {error.colno}"
    if "integer string conversion" in str(error):
        return f"has a number of more than {sys.get_int_max_str_digits()} digits"
    return f"is no JSON: {shown(error)}"


# Encodings ---------------------------------------------------------------------------------------


def _encoding(path: Path, beginning: bytes) -> str:
    for bom, name in _BOMS:
        if beginning.startswith(bom):
            return name
    if beginning[:200].count(0) > len(beginning[:200]) // 4:
        hint = "utf-16-le" if beginning[1:2] == b"\0" else "utf-16-be"
        raise DataError(f"{path}: is no UTF-8; it may be {hint}: try --encoding {hint}")
    return "utf-8"


def _check_encoding(path: Path, beginning: bytes, encoding: str) -> None:
    """Raise DataError if a file is in another encoding from end to end.

    Where some of its lines are text, the others are findings of their own.
    """
    lines = [line for line in beginning.split(b"\n") if not line.isascii()]
    if len(beginning) >= _PEEK_BYTES:
        lines = lines[:-1]
    if not lines or any(_decodes(line, encoding) for line in lines):
        return
    for name in _ASKED_ENCODINGS:
        if name != encoding and all(_decodes(line, name) for line in lines):
            raise DataError(
                f"{path}: is no {encoding.upper()}; it may be {name}: try --encoding {name}"
            )


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeError:
        return False
    return True
