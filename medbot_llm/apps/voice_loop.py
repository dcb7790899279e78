"""The loop of hearing, thinking and speaking in one process, without ROS.

What the three nodes tell each other over topics is told here by calls: the ear's voice ducks the
mouth, its words stop it and the reply behind it, what the mouth plays goes to the echo
cancellation, and what was heard of a reply is what the dialogue remembers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from medbot_llm.apps.voice_screen import Screen
from medbot_llm.dialogue.session import DialogueSession
from medbot_llm.dialogue.session import Snapshot
from medbot_llm.domain import Alert
from medbot_llm.domain import ReplyChunk
from medbot_llm.domain import Utterance
from medbot_llm.engines.worker import EngineWorker
from medbot_llm.prompts.untrusted import MAX_SPEECH_CHARS
from medbot_llm.prompts.untrusted import neutralise
from medbot_llm.safety.base import Verdict
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import Sound
from medbot_llm.speech.echo import EchoCanceller
from medbot_llm.speech.latency import Latencies
from medbot_llm.speech.latency import OpenTurns
from medbot_llm.speech.listener import Ear
from medbot_llm.speech.listener import Heard
from medbot_llm.speech.mouth import Mouth
from medbot_llm.speech.mouth import SpeakingState

logger = logging.getLogger(__name__)

_INDENT = " " * 8


class VoiceLoop:
    """Ear, dialogue and mouth tell each other what they must know; the screen shows it.

    Set `ear`, `mouth` and `session`, each of which is made with this as its listener, before
    anything is said.

    Attributes:
        is_voiced: Whether replies are spoken; off: they are only shown.
        latencies: Times of the turns so far.
        partial: What somebody is saying just now, as far as it is known.
    """

    ear: Ear
    mouth: Mouth
    session: DialogueSession

    def __init__(
        self,
        screen: Screen,
        *,
        echo: EchoCanceller | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._screen = screen
        self._echo = echo
        self._clock = clock
        self._turns = OpenTurns()
        self._problem = ""
        self._settled = threading.Event()
        self._settled.set()
        self.is_voiced = True
        self.latencies = Latencies()
        self.partial = ""

    @property
    def is_working(self) -> bool:
        """Whether somebody would be kept waiting: something is recognised, thought about or
        synthesised.
        """
        return (
            self.ear.is_recognising
            or not self._settled.is_set()
            or (self.mouth.is_busy and self.mouth.is_synthesizing)
        )

    @property
    def is_quiet(self) -> bool:
        """Whether all that was heard is answered, and all answers are said."""
        is_heard = not self.ear.is_hearing and not self.ear.is_recognising
        return is_heard and self._settled.is_set() and not self.mouth.is_busy

    @property
    def activity(self) -> str:
        """What it does, in a word."""
        if self.mouth.speaking.is_speaking:
            return "speaking"
        if self.ear.is_hearing:
            return "voice"
        if self.ear.is_recognising:
            return "recognising"
        return "listening" if self._settled.is_set() else "thinking"

    # --- EarListener -----------------------------------------------------------------------------

    def on_voice(self, started: float) -> None:
        """Somebody begins to speak: speak more softly."""
        logger.debug("voice")
        self.session.voice("person", is_active=True)
        self.mouth.duck()

    def on_words(self, heard: Heard) -> None:
        """Somebody interrupts: be silent, and forget the rest. What was heard of the reply comes
        by `on_speaking`.
        """
        logger.debug("words: %s", heard.text)
        self.mouth.stop()
        self.session.interrupt()

    def on_nothing(self) -> None:
        """It was no speech: go on."""
        logger.debug("nothing")
        self.partial = ""
        self.session.voice("person", is_active=False)
        self.mouth.unduck()

    def on_heard(self, heard: Heard) -> None:
        """Answer what was said."""
        if heard.is_partial:
            self.partial = heard.text
            if heard.is_likely_end:
                self.session.foresee(_utterance(heard))
            else:
                self.session.goes_on()
            return
        self.partial = ""
        self._turns.heard(heard.utterance_id, heard.ended, self._clock())
        note = f"  (heard as: {heard.original})" if heard.repairs else ""
        about = f"[{heard.language}, {heard.confidence:.2f}]"
        self._screen.line(f"you     {heard.text or '(not understood)'}  {about}{note}")
        self.session.voice("person", is_active=False)
        self.mouth.unduck()
        self.session.heard(_utterance(heard))
        self._settled = self.session.settled()

    # --- SessionListener -------------------------------------------------------------------------

    def on_reply(self, chunk: ReplyChunk) -> None:
        """Say a sentence."""
        if chunk.text:
            times = chunk.times
            after_token_s = times.time_to_first_sentence_s - times.time_to_first_token_s
            self._turns.answered(chunk.utterance_id, self._clock(), after_token_s)
            self._screen.line(f"robot   {chunk.text}")
        if self.is_voiced:
            if chunk.text:
                self.ear.robot_says(chunk.text)
            self.mouth.say(chunk)

    def on_alert(self, alert: Alert) -> None:
        """Tell that a human is needed."""
        self._screen.line(f"alert   {alert.severity}: {alert.category} ({alert.reason})")

    def on_state(self, snapshot: Snapshot) -> None:
        """Listen in the language of the conversation."""
        self.ear.set_language(snapshot.language)

    def on_blocked(self, sentence: str, verdict: Verdict) -> None:
        """Log what the verifier kept from being said."""
        logger.info("the verifier blocked: %s (%s)", sentence, verdict.reason)

    # --- MouthListener ---------------------------------------------------------------------------

    def on_speaking(self, state: SpeakingState) -> None:
        """Tell the ear and the dialogue what the voice does."""
        self.ear.robot_speaks(state.is_speaking)
        self.session.voice("robot", is_active=state.is_speaking)
        times = self._turns.sounded(state.utterance_id, state.first_audio_at)
        if times is not None:
            self.latencies.add(times)
            self._screen.line(f"{_INDENT}{times}")
        if not state.is_speaking and state.reply_id and not state.is_complete:
            self.session.heard_only(state.reply_id, state.heard)
            self._screen.line(f"{_INDENT}interrupted after: {state.heard or '(nothing)'}")

    def on_played(self, sound: Sound, audible_at: float, ahead: Samples) -> None:
        """Give the echo cancellation its reference."""
        if self._echo is not None:
            self._echo.played(sound, audible_at, ahead)

    def on_problem(self, problem: str) -> None:
        """Hearing or speaking fails, or is well again (of the ear and the mouth)."""
        if problem and problem != self._problem:
            self._screen.problem(problem)
        self._problem = problem

    def on_device(self, problem: str) -> None:
        """A sound device fails, or is well again."""
        self._screen.problem(problem or "the sound device is well again")


def _utterance(heard: Heard) -> Utterance:
    return Utterance(
        neutralise(heard.text, MAX_SPEECH_CHARS) if heard.text else "",
        heard.language,
        heard.confidence,
        utterance_id=heard.utterance_id,
        guessed=tuple(repair.meant for repair in heard.repairs if repair.matters),
    )


class SkippingClock:
    """Monotonic time, s, that can jump ahead instead of being waited for."""

    def __init__(self, *, may_skip: bool) -> None:
        self._may_skip = may_skip
        self._skipped_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._skipped_s

    def wait_until(self, at: float, is_working: Callable[[], bool]) -> None:
        """Wait while something is being worked out; jump as soon as nothing is."""
        while (left := at - self()) > 0:
            if self._may_skip and not is_working():
                # Other threads get their turn, as they would have had it.
                time.sleep(min(left, 0.001))
                self._skipped_s += max(0.0, at - self())
                return
            time.sleep(min(left, 0.005))


@dataclass(frozen=True)
class Talk:
    """A conversation that has begun, and what it is shown and timed by."""

    loop: VoiceLoop
    worker: EngineWorker
    screen: Screen
    clock: SkippingClock

    @property
    def is_working(self) -> bool:
        """Whether anything is being worked out, the model's next prompt included."""
        return self.loop.is_working or self.worker.is_working
