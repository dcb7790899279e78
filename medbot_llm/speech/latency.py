"""How long each turn took, stage by stage, from the end of the speech to the robot's first sound.

Every turn is a record; diagnostics, the log and `make bench-voice` all read these.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

REMEMBERED_TURNS = 256
"""Turns over which percentiles are taken."""
MAX_TURNS_WAITING = 32
"""Turns whose answer has not sounded yet."""

STAGES = ("final_text", "first_token", "first_sentence", "first_audio")


@dataclass(frozen=True)
class TurnTimes:
    """One turn. All in s after the person stopped speaking; NaN for a stage it never reached.

    Attributes:
        utterance_id: Of the speech.
        final_text: The recognised text was published.
        first_token: The model gave its first token; NaN where none was asked.
        first_sentence: The reply's first sentence was published.
        first_audio: Its first sample went to the loudspeaker.
    """

    utterance_id: str = ""
    final_text: float = math.nan
    first_token: float = math.nan
    first_sentence: float = math.nan
    first_audio: float = math.nan

    def __str__(self) -> str:
        times = (
            f"{stage.replace('_', ' ')} {value:.2f} s"
            for stage in STAGES
            if not math.isnan(value := getattr(self, stage))
        )
        return "after the end of speech: " + ", ".join(times)


class OpenTurns:
    """Turns on their way to an answer: notes when each passes a stage. All times are of one
    monotonic clock, s. Any thread may call.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: OrderedDict[str, tuple[float, TurnTimes]] = OrderedDict()
        """Id of the speech → when it ended, and what came since."""

    def heard(self, utterance_id: str, ended: float, told: float) -> None:
        """The final text was told; "" or NaN: a turn that cannot be followed."""
        if not utterance_id or math.isnan(ended):
            return
        with self._lock:
            self._turns[utterance_id] = ended, TurnTimes(utterance_id, final_text=told - ended)
            while len(self._turns) > MAX_TURNS_WAITING:
                self._turns.popitem(last=False)

    def answered(self, utterance_id: str, at: float, after_token_s: float) -> None:
        """A sentence of the answer was published; only the first counts.

        Args:
            after_token_s: Since the model's first token, by whatever clock; NaN: none was asked.
        """
        with self._lock:
            if utterance_id not in self._turns:
                return
            ended, times = self._turns[utterance_id]
            if math.isnan(times.first_sentence):
                sentence = at - ended
                times = replace(
                    times, first_token=sentence - after_token_s, first_sentence=sentence
                )
                self._turns[utterance_id] = ended, times

    def sounded(self, utterance_id: str, first_audio_at: float) -> TurnTimes | None:
        """The answer began to sound (NaN: not yet); gives the turn's times, once."""
        if math.isnan(first_audio_at):
            return None
        with self._lock:
            turn = self._turns.pop(utterance_id, None)
        if turn is None:
            return None
        ended, times = turn
        return replace(times, first_audio=first_audio_at - ended)


class Latencies:
    """The latest turns. Any thread may write and read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: deque[TurnTimes] = deque(maxlen=REMEMBERED_TURNS)

    def add(self, turn: TurnTimes) -> None:
        """Note a turn that was answered."""
        with self._lock:
            self._turns.append(turn)

    def __len__(self) -> int:
        return len(self._turns)

    def percentiles(self, stage: str) -> tuple[float, float]:
        """Median and 95th percentile of a stage of STAGES, s; NaN where nothing was measured."""
        with self._lock:
            values = sorted(
                value for turn in self._turns if not math.isnan(value := getattr(turn, stage))
            )
        return percentile(values, 0.5), percentile(values, 0.95)

    def as_texts(self) -> dict[str, str]:
        """For diagnostics: "final text p50 (s)" and so on."""
        texts: dict[str, str] = {"turns": str(len(self))}
        for stage in STAGES:
            name = stage.replace("_", " ")
            for share, value in zip(("p50", "p95"), self.percentiles(stage), strict=True):
                texts[f"{name} {share} (s)"] = "none" if math.isnan(value) else f"{value:.3f}"
        return texts


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the sorted values that this share of them does not exceed; NaN of none."""
    if not values:
        return math.nan
    return values[min(len(values) - 1, math.ceil(share * len(values)) - 1)]
