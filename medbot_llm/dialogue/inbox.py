"""Events waiting for the dialogue, newest speech first in rank.

Speech that newer speech overtakes stays in line, marked, so that it is remembered but not
answered. An emergency goes first and is never overtaken. The line is bounded: when it is full the
oldest overtaken speech goes, then whatever is oldest.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from medbot_llm.domain import Utterance

logger = logging.getLogger(__name__)

MAX_WAITING_EVENTS = 64


@dataclass
class Event:
    """Something that happened, and what the dialogue does about it in its turn.

    Attributes:
        name: For the log.
        handle: What to do, on the dialogue's thread.
        utterance: The words, where the event is speech.
        supersedes: It ends whatever reply is under way or about to begin.
        replaceable: Only the newest event of this name matters; one that waits goes when a newer
            comes.
        overtaken: Newer speech came before this speech had its turn.
        urgent: It goes before everything that waits, and is never overtaken or dropped.
        number: Place in the order of arrival, from 1; 0 not left yet.
    """

    name: str
    handle: Callable[[], None]
    utterance: Utterance | None = None
    supersedes: bool = False
    replaceable: bool = False
    overtaken: bool = False
    urgent: bool = False
    number: int = 0


class Inbox:
    """A bounded line of events between many callers and one dialogue thread."""

    def __init__(self, capacity: int = MAX_WAITING_EVENTS) -> None:
        self._capacity = capacity
        self._condition = threading.Condition()
        self._events: deque[Event] = deque()
        self._closed = False
        self._left = 0
        self.dropped = 0
        """Events lost because the line was full."""

    def __len__(self) -> int:
        return len(self._events)

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is taken in or given out."""
        return self._closed

    @property
    def has_superseding(self) -> bool:
        """Whether something waits that ends a reply; the end of all counts."""
        with self._condition:
            return self._closed or any(event.supersedes for event in self._events)

    def leave(self, event: Event) -> bool:
        """Add an event; False if the inbox is closed."""
        with self._condition:
            if self._closed:
                return False
            if event.utterance is not None:
                for waiting in self._events:
                    waiting.overtaken |= waiting.utterance is not None and not waiting.urgent
            if event.replaceable:
                older = [waiting for waiting in self._events if waiting.name == event.name]
                for waiting in older:
                    self._events.remove(waiting)
            if len(self._events) >= self._capacity:
                self._drop_one()
            self._left += 1
            event.number = self._left
            if event.urgent:
                self._events.insert(sum(waiting.urgent for waiting in self._events), event)
            else:
                self._events.append(event)
            self._condition.notify()
            return True

    def take(self) -> Event | None:
        """Wait for the next event; None once the inbox is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._events or self._closed)
            return None if self._closed else self._events.popleft()

    def close(self) -> None:
        """Forget what waits and let `take` return."""
        with self._condition:
            self._closed = True
            self._events.clear()
            self._condition.notify_all()

    def _drop_one(self) -> None:
        expendable = [event for event in self._events if not event.urgent] or [self._events[0]]
        victim = next((event for event in expendable if event.overtaken), expendable[0])
        self._events.remove(victim)
        if self.dropped == 0:
            logger.warning(
                "more comes in than can be answered: dropping the oldest %s", victim.name
            )
        self.dropped += 1
