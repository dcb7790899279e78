"""How commands end whose models work on threads of their own."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn
from typing import Protocol
from typing import TypeVar

_CLOSING, _LOADING = "closing", "loading"
T = TypeVar("T")


class Closable(Protocol):
    """What has threads, a device or a model."""

    def close(self) -> None:
        """End."""


def interruptibly(work: Callable[[], T]) -> T:
    """Do it on another thread, so that Ctrl-C need not wait for a model that is being loaded."""
    results: list[T] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def call() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=call, name=_LOADING, daemon=True).start()
    while not done.wait(0.1):
        pass
    if errors:
        raise errors[0]
    return results[0]


def close_all(parts: Sequence[Closable], within_s: float) -> None:
    """Close all of them at once, the last one first, and wait no longer than this."""
    threads = [
        threading.Thread(target=part.close, name=_CLOSING, daemon=True) for part in reversed(parts)
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + within_s
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))


def is_deep(is_working: Callable[[], bool], patience_s: float) -> bool:
    """Whether a thread still loads, closes or works, after this time."""
    until = time.monotonic() + patience_s
    while True:
        names = {thread.name for thread in threading.enumerate()}
        if not names & {_CLOSING, _LOADING} and not is_working():
            return False
        if time.monotonic() >= until:
            return True
        time.sleep(0.05)


def leave_at_once(status: int) -> NoReturn:
    """End the process. For after Ctrl-C: an interpreter that ends while a thread is deep in a
    model waits for it, or crashes.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
