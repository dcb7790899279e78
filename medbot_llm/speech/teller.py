"""A thread that tells others what has happened, so that who tells never waits for who listens."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from enum import IntEnum

logger = logging.getLogger(__name__)

MAX_UNTOLD = 256
"""News of each kind that wait for a slow listener; the oldest go."""
WATCH_S = 0.5


class NewsKind(IntEnum):
    """In the order in which they are told."""

    PROBLEM = 0
    STATE = 1
    SOUND = 2


class Teller:
    """Calls what it is given, one after the other, on a thread of its own."""

    def __init__(self, watch: Callable[[], None]) -> None:
        """`watch` is called there too, at least every WATCH_S while no listener holds it up."""
        self._watch = watch
        self._news = threading.Condition()
        self._untold: dict[NewsKind, deque[Callable[[], None]]] = {
            kind: deque() for kind in NewsKind
        }
        self._is_closed = False
        self._thread = threading.Thread(target=self._serve, name="mouth-telling", daemon=True)
        self._thread.start()

    def tell(self, kind: NewsKind, news: Callable[[], None]) -> bool:
        """Have it called soon; False: older news of its kind had to go for it. Never waits."""
        with self._news:
            untold = self._untold[kind]
            has_room = len(untold) < MAX_UNTOLD
            if not has_room:
                untold.popleft()
            untold.append(news)
            self._news.notify()
        return has_room

    def close(self, timeout_s: float) -> None:
        """Tell what is left, and end the thread; a listener that hangs is left behind."""
        with self._news:
            self._is_closed = True
            self._news.notify()
        if self._thread is threading.current_thread():
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            logger.error("a listener did not return within %g s", timeout_s)

    def _serve(self) -> None:
        is_closed = False
        while not is_closed:
            with self._news:
                if not self._is_closed and not any(self._untold.values()):
                    self._news.wait(WATCH_S)
                waiting = [news for kind in NewsKind for news in self._untold[kind]]
                for untold in self._untold.values():
                    untold.clear()
                is_closed = self._is_closed
            for call in (*waiting, self._watch):
                try:
                    call()
                except Exception:  # whoever listens must not silence the robot
                    logger.exception("a listener failed")
