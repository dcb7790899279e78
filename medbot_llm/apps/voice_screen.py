"""What `medbot voice` shows: lines on standard output, and under them, on a terminal, one line
that is rewritten all the time.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import unicodedata
from typing import TextIO

METER_EVERY_S = 0.1
_BAR_CHARS = 20
_QUIETEST_DBFS = -60.0
_DEFAULT_COLUMNS = 80


class Screen:
    """Any thread may write. Nothing raises here: whoever cannot be written to is gone. To be used
    in a `with`: on a terminal, the log makes way for the line at the bottom meanwhile.
    """

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._lock = threading.Lock()
        self._meter = ""
        self._handlers: list[logging.Handler] = []
        self.has_meter = self._err.isatty()
        """Whether there is a terminal for it."""
        self.is_gone = False
        """The reader of the output went away."""

    def __enter__(self) -> Screen:
        if self.has_meter:
            root = logging.getLogger()
            self._handlers, root.handlers = root.handlers, [_Log(self)]
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        if self._handlers:
            logging.getLogger().handlers = self._handlers

    def line(self, text: str) -> None:
        """A line that stays."""
        self._write(self._out, text)

    def note(self, text: str) -> None:
        """A line about the program, on standard error."""
        self._write(self._err, text)

    def problem(self, text: str) -> None:
        """A line on standard error."""
        self._write(self._err, f"medbot: voice: {text}")

    def meter(self, level_dbfs: float, activity: str, text: str) -> None:
        """Rewrite the line at the bottom.

        Args:
            level_dbfs: Of the microphone.
            activity: What the robot does.
            text: What is being said; its end is shown.
        """
        if not self.has_meter:
            return
        share = min(1.0, max(0.0, 1.0 - level_dbfs / _QUIETEST_DBFS))
        bar = "#" * round(share * _BAR_CHARS)
        head = f"{level_dbfs:4.0f} dBFS [{bar:<{_BAR_CHARS}}] {activity:<12} "
        meter = head + _end_of(text, self._columns() - len(head) - 1)
        with self._lock:
            if meter != self._meter:
                self._meter = meter
                self._put(self._err, f"\r\x1b[K{meter}")

    def close(self) -> None:
        """Take the line at the bottom away."""
        with self._lock:
            self._clear()

    def _write(self, stream: TextIO, text: str) -> None:
        with self._lock:
            self._clear()
            self._put(stream, text + "\n")

    def _clear(self) -> None:
        if self._meter:
            self._meter = ""
            self._put(self._err, "\r\x1b[K")

    def _put(self, stream: TextIO, text: str) -> None:
        try:
            stream.write(text)
            stream.flush()
        except (OSError, ValueError):
            self.is_gone = self.is_gone or stream is self._out
        except UnicodeEncodeError:
            encoding = stream.encoding or "ascii"
            stream.write(text.encode(encoding, "replace").decode(encoding))

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._err.fileno()).columns or _DEFAULT_COLUMNS
        except (OSError, ValueError):
            return _DEFAULT_COLUMNS


class _Log(logging.Handler):
    """Writes the log as lines of the screen."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self._screen.note(self.format(record))


def _end_of(text: str, columns: int) -> str:
    """The end of a text that is at most this wide on a terminal."""
    kept: list[str] = []
    for char in reversed(text):
        columns -= 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if columns < 0:
            break
        kept.append(char)
    return "".join(reversed(kept))
