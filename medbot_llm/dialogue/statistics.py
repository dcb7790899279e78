"""Counts and times of the replies so far, for diagnostics, the log and the bench."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

from medbot_llm.domain import ReplyKind
from medbot_llm.domain import StageTimes

REMEMBERED_REPLIES = 256
"""Replies over which percentiles are taken."""


@dataclass(frozen=True)
class Figures:
    """One reading of the statistics. Times in s, NaN where there is none yet.

    Attributes:
        replies: Finished replies by kind.
        interrupted: Replies cut short.
        overtaken: Utterances that newer speech overtook.
        blocked: Sentences that the verifier blocked, by reason.
        last_error: The latest failure, one line; "" none.
        last_error_at: `time.monotonic()` of it, s; minus infinity for none.
    """

    replies: Counter[str]
    interrupted: int
    overtaken: int
    blocked: Counter[str]
    last_error: str
    last_error_at: float
    tokens_per_second_p50: float
    time_to_first_token_p50_s: float
    time_to_first_token_p95_s: float
    time_to_first_sentence_p50_s: float
    time_to_first_sentence_p95_s: float


@dataclass
class Statistics:
    """Collects what replies leave behind. Any thread may write and read."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _times: deque[StageTimes] = field(default_factory=lambda: deque(maxlen=REMEMBERED_REPLIES))
    _replies: Counter[str] = field(default_factory=Counter)
    _blocked: Counter[str] = field(default_factory=Counter)
    _interrupted: int = 0
    _overtaken: int = 0
    _last_error: str = ""
    _last_error_at: float = -math.inf

    def note_reply(self, kind: ReplyKind, times: StageTimes, *, interrupted: bool) -> None:
        """Count a finished reply; the times of an interrupted one would flatter, and are left
        out.
        """
        with self._lock:
            self._replies[str(kind)] += 1
            self._interrupted += interrupted
            if not interrupted:
                self._times.append(times)

    def note_blocked(self, reason: str) -> None:
        """Count a sentence that the verifier blocked."""
        with self._lock:
            self._blocked[reason] += 1

    def note_overtaken(self) -> None:
        """Count speech that newer speech overtook."""
        with self._lock:
            self._overtaken += 1

    def note_error(self, message: str) -> None:
        """Keep the latest failure."""
        with self._lock:
            self._last_error, self._last_error_at = message, time.monotonic()

    def read(self) -> Figures:
        """The figures up to now."""
        with self._lock:
            tokens = [times.time_to_first_token_s for times in self._times]
            sentences = [times.time_to_first_sentence_s for times in self._times]
            return Figures(
                replies=Counter(self._replies),
                interrupted=self._interrupted,
                overtaken=self._overtaken,
                blocked=Counter(self._blocked),
                last_error=self._last_error,
                last_error_at=self._last_error_at,
                tokens_per_second_p50=percentile([t.tokens_per_second for t in self._times], 50),
                time_to_first_token_p50_s=percentile(tokens, 50),
                time_to_first_token_p95_s=percentile(tokens, 95),
                time_to_first_sentence_p50_s=percentile(sentences, 50),
                time_to_first_sentence_p95_s=percentile(sentences, 95),
            )


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of the values that are not NaN; NaN for none."""
    known = sorted(value for value in values if not math.isnan(value))
    if not known:
        return math.nan
    rank = max(1, math.ceil(percent / 100 * len(known)))
    return known[rank - 1]
