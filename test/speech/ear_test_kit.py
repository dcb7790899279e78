"""An ear whose recogniser and voice detector are told what to find, fed at full speed.

Sound stands for itself: a sample of 1 is voice, 0 is silence, and what a stretch of voice says is
looked up by how long it is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from medbot_llm.domain import Language
from medbot_llm.speech.audio import RATE
from medbot_llm.speech.audio import Block
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.listener import Ear
from medbot_llm.speech.listener import EarSettings
from medbot_llm.speech.listener import Heard
from medbot_llm.speech.recognizer import Doubt
from medbot_llm.speech.recognizer import Recognition
from medbot_llm.speech.vad import FRAME

WAIT_S = 30.0


class ToldDetector:
    """Voice where the samples say so."""

    def probability(self, frame: Samples) -> float:
        return float(np.max(np.abs(frame)))

    def reset(self) -> None:
        pass


class ToldRecognizer:
    """Says what it was told, the last of its texts for all that comes after."""

    def __init__(self, *texts: str | SpeechError, doubt: Doubt = Doubt.NONE) -> None:
        self.texts = list(texts)
        self.doubt = doubt
        self.asked: list[tuple[float, bool]] = []
        """Seconds and care of each piece."""
        self.gate = threading.Event()
        self.gate.set()

    def recognize(
        self,
        samples: Samples,
        language: Language,
        *,
        voice_s: float | None = None,
        may_switch: bool = True,
        careful: bool = True,
    ) -> Recognition:
        assert self.gate.wait(WAIT_S)
        self.asked.append((len(samples) / RATE, careful))
        text = self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]
        if isinstance(text, SpeechError):
            raise text
        return Recognition(text, language, 0.9, self.doubt)


class Room:
    """Everything that the ear tells, in order, and a microphone whose time is its own."""

    def __init__(
        self,
        *texts: str | SpeechError,
        settings: EarSettings | None = None,
        doubt: Doubt = Doubt.NONE,
        is_echo: Callable[[Block], bool] | None = None,
    ) -> None:
        self.recognizer = ToldRecognizer(*texts, doubt=doubt)
        self.told: list[str] = []
        self.heard: list[Heard] = []
        self.words: list[Heard] = []
        self.problems: list[str] = []
        self._changed = threading.Condition()
        self._at = time.monotonic()
        self.ear = Ear(
            self.recognizer,
            ToldDetector(),
            self,
            settings or EarSettings(),
            is_echo=is_echo,
        )

    # EarListener
    def on_voice(self, started: float) -> None:
        self._note("voice")

    def on_words(self, heard: Heard) -> None:
        self.words.append(heard)
        self._note("words")

    def on_nothing(self) -> None:
        self._note("nothing")

    def on_heard(self, heard: Heard) -> None:
        self.heard.append(heard)
        self._note("guess" if heard.is_partial else "heard")

    def on_problem(self, problem: str) -> None:
        self.problems.append(problem)
        self._note("problem" if problem else "well")

    def _note(self, what: str) -> None:
        with self._changed:
            self.told.append(what)
            self._changed.notify_all()

    # The microphone
    def sound(self, seconds: float, level: float = 1.0, *, settle: bool = True) -> None:
        """Feed voice (1) or silence (0). With `settle` everything is recognised meanwhile, as
        where recognition is quicker than speech.
        """
        for _ in range(round(seconds * RATE / FRAME)):
            self.ear.feed(Block(np.full(FRAME, level, np.float32), self._at))
            self._at += FRAME / RATE
            if settle:
                self.settle()

    def silence(self, seconds: float, *, settle: bool = True) -> None:
        self.sound(seconds, 0.0, settle=settle)

    def settle(self) -> None:
        """Wait until nothing is being recognised."""
        deadline = time.monotonic() + WAIT_S
        while self.ear.is_recognising:
            assert time.monotonic() < deadline
            time.sleep(0.0005)

    def wait_for(self, what: str, times: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.told.count(what) >= times, WAIT_S), (
                f"waited for {what}, was told {self.told}"
            )

    @property
    def finals(self) -> list[str]:
        return [heard.text for heard in self.heard if not heard.is_partial]

    def close(self) -> None:
        self.ear.close()
