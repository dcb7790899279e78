"""Give freed memory back to the system."""

from __future__ import annotations

import ctypes


def return_freed_memory() -> None:
    """Hand the pages that were freed back, where the C library is glibc.

    What is freed in small blocks glibc keeps with the thread that took it: a model's vocabulary is
    50 MB for each load by a new thread, and what is read and compiled at the start as much again.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
