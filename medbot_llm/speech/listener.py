"""From blocks of sound to turns of speech: the ear of the robot.

Two threads. `feed` runs on the microphone's: echo cancellation, voice detection, and the decision
that a turn begins or may be over; it never waits for a recognition. Recognition runs on a thread
of the ear's own, one piece at a time: first guesses while somebody speaks, and the text at the
likely end of the turn, while the silence that proves the end still runs. So the final text is
usually there when the turn is over, and nothing is waited for twice.

While the robot itself speaks, interruption comes in two steps: voice is told at once (the robot
ducks), words are told when a first guess has some that mean an interruption (the robot stops). A
cough, "嗯", or the robot's own words that came back through the microphone are neither words nor
a turn.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import Protocol

import numpy as np

from medbot_llm.domain import Language
from medbot_llm.domain import StringEnum
from medbot_llm.speech.audio import RATE
from medbot_llm.speech.audio import Block
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.backchannels import is_backchannel
from medbot_llm.speech.backchannels import is_call_for_help
from medbot_llm.speech.backchannels import is_echo_of
from medbot_llm.speech.endpointing import EndSettings
from medbot_llm.speech.endpointing import silence_needed
from medbot_llm.speech.recognizer import Recognition
from medbot_llm.speech.recognizer import Recognizer
from medbot_llm.speech.repair import Repair
from medbot_llm.speech.repair import SoundRepair
from medbot_llm.speech.vad import FRAME
from medbot_llm.speech.vad import FRAME_S
from medbot_llm.speech.vad import VoiceDetector

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 5.0
SPOKEN_REMEMBERED = 8
"""Sentences of the robot's own that what is heard is compared with."""

ECHO_SHARE = 0.25
"""From this share of echo in a turn on, its text may be the robot's own."""
SURE_OVER_ROBOT = 0.4
LONG_OVER_ROBOT_S = 0.6
"""What is heard over the robot is believed with this confidence, or after this much voice with
little echo in it. Measured with Kokoro's voice in a simulated room (0.2 to 0.5 s of
reverberation): what the canceller left of the robot came to 0.27 and 0.3 s at most, with an echo
share of 0.4; a patient over the ducked robot to 0.5 and 1.6 s, with a share of 0.12."""
GUESSED_OVER_ROBOT = 0.1
"""Words with less confidence are guesses: it takes twice as much voice to believe them. Of what
the canceller left, 0.77 s were once read with 0.07."""
ALONE_S = 0.4
"""A voice that goes on for so long after the robot's echo is dead is a person's."""


class ListenMode(StringEnum):
    """When the ear listens."""

    ALWAYS = "always"
    PRESENCE = "presence"
    """Only while the robot stands before somebody."""
    PUSH_TO_TALK = "push_to_talk"
    """Only while a button is held."""
    OFF = "off"
    """Never: text only."""


@dataclass(frozen=True)
class EarSettings:
    """How the ear listens. All times in s, probabilities 0 to 1.

    Attributes:
        mode: When it listens at all.
        end: When a turn is over.
        voice_probability: From which a frame is voice …
        silence_probability: … and below which it is silence again. Between them it stays what it
            was.
        voice_needed_s: Voice that begins a turn: a knock is shorter.
        before_s: Sound kept from before the first voice, since consonants begin without voice.
        before_over_robot_s: The same while the robot speaks: a person's voice is told from its
            echo up to half a second late.
        guess_every_s: First guesses while somebody speaks come this often.
        guess_after_s: Voice before the first of them.
        half_duplex: Deaf while the robot speaks: for a robot without echo cancellation.
        deaf_after_s: Time after its speech in which its echo dies away; deaf in half-duplex, on
            its guard otherwise.
        may_switch_language: Whether another language than the session's may be heard.
    """

    mode: ListenMode = ListenMode.ALWAYS
    end: EndSettings = field(default_factory=EndSettings)
    voice_probability: float = 0.5
    silence_probability: float = 0.35
    voice_needed_s: float = 0.1
    before_s: float = 0.4
    before_over_robot_s: float = 0.9
    guess_every_s: float = 0.7
    guess_after_s: float = 0.5
    half_duplex: bool = False
    deaf_after_s: float = 0.35
    may_switch_language: bool = True


@dataclass(frozen=True)
class Heard:
    """One turn of speech.

    Attributes:
        utterance_id: The same for its first guesses and its final text.
        text: What was heard, repaired by sound; "" for speech that nobody could make out.
        original: As the recogniser wrote it.
        repairs: What was repaired.
        language: Of the text.
        confidence: 0 to 1.
        is_partial: A first guess while the person still speaks …
        is_likely_end: … or what was said up to a silence that may turn out to be the end.
        started: When the person began to speak, `time.monotonic()`, s.
        ended: When the person stopped, s.
        recognised: When the text was there, s.
        over_robot: The robot was speaking when it began.
    """

    utterance_id: str
    text: str
    original: str
    repairs: tuple[Repair, ...]
    language: Language
    confidence: float
    is_partial: bool
    started: float
    ended: float
    recognised: float
    over_robot: bool
    is_likely_end: bool = False


class EarListener(Protocol):
    """Who is told what the ear hears. Called on the ear's threads; must be quick."""

    def on_voice(self, started: float) -> None:
        """Somebody began to speak, at this `time.monotonic()`."""

    def on_words(self, heard: Heard) -> None:
        """What is said over the robot's own speech has words that mean an interruption."""

    def on_nothing(self) -> None:
        """The voice that was told had no words: a cough, "嗯", an echo."""

    def on_heard(self, heard: Heard) -> None:
        """A first guess, or a turn that is over."""

    def on_problem(self, problem: str) -> None:
        """Something fails, in one line; "" when it is well again."""


@dataclass
class _Turn:
    """Speech under way. Times are those of the microphone's blocks."""

    started: float
    over_robot: bool
    pieces: list[Samples]
    samples: int
    voice_s: float = 0.0
    silence_s: float = 0.0
    echo_s: float = 0.0
    """Of what sounded like voice and was left of the robot's own."""
    guessed_at_samples: int = 0
    is_confirmed: bool = False
    by_button: bool = False
    utterance_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    likely: _Job | None = None
    """The recognition that was begun at the latest likely end."""

    @property
    def ended(self) -> float:
        return self.started + self.samples / RATE - self.silence_s


@dataclass
class _Job:
    """A piece of a turn to be recognised."""

    turn: _Turn
    samples: Samples
    voice_s: float
    ended: float
    careful: bool
    is_over: bool = False
    """The turn ended here: what is recognised is its final text."""
    is_told: bool = False
    has_failed: bool = False
    result: Recognition | None = None
    recognised: float = 0.0


class Ear:
    """Feed blocks, hear turns through the listener."""

    def __init__(
        self,
        recognizer: Recognizer,
        detector: VoiceDetector,
        listener: EarListener,
        settings: EarSettings,
        *,
        language: Language = Language.ZH_HANT,
        repair: SoundRepair | None = None,
        clean: Callable[[Block], Block] | None = None,
        is_echo: Callable[[Block], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            language: Of the session.
            repair: Repairs what was recognised by sound; None: nothing is repaired.
            clean: Takes the robot's own voice out of a block.
            is_echo: Whether what is left in a cleaned block is still the robot's own voice.
            clock: That of the blocks, s.
        """
        self._recognizer = recognizer
        self._detector = detector
        self._listener = listener
        self._settings = settings
        self._language = language
        self._repair = repair
        self._clean = clean
        self._is_echo = is_echo
        self._clock = clock
        self._lock = threading.Lock()
        self._turn: _Turn | None = None
        self._rest: Samples = np.zeros(0, np.float32)
        longest_s = max(settings.before_s, settings.before_over_robot_s)
        self._before: deque[Samples] = deque(maxlen=max(1, round(longest_s / FRAME_S)))
        self._onset_s = 0.0
        self._robot_until = float("-inf")
        self._robot_speaks = False
        self._said: deque[str] = deque(maxlen=SPOKEN_REMEMBERED)
        self._is_present = False
        self._is_pressed = False
        self._jobs: deque[_Job] = deque()
        self._is_closed = False
        self._has_problem = False
        self._wake = threading.Condition(self._lock)
        self._thread = threading.Thread(target=self._recognise_all, name="recognizer", daemon=True)
        self._thread.start()

    # --- what the robot knows --------------------------------------------------------------------

    def set_language(self, language: Language) -> None:
        """The session goes on in this language."""
        self._language = language

    def set_repair(self, repair: SoundRepair | None) -> None:
        """Repair by these words from now on, for instance those of a new task."""
        self._repair = repair

    def set_present(self, is_present: bool) -> None:
        """Whether the robot stands before somebody."""
        self._is_present = is_present

    def robot_speaks(self, is_speaking: bool) -> None:
        """Note that the robot speaks, or has stopped."""
        if self._robot_speaks and not is_speaking:
            self._robot_until = self._clock()
        self._robot_speaks = is_speaking

    def robot_says(self, text: str) -> None:
        """Note what the robot says, or is about to say, sentence by sentence."""
        self._said.append(text)

    @property
    def is_present(self) -> bool:
        """Whether the robot stands before somebody."""
        return self._is_present

    @property
    def is_pressed(self) -> bool:
        """Whether the button of push-to-talk is held."""
        return self._is_pressed

    def press(self) -> None:
        """The button of push-to-talk is held: everything from now on is one turn."""
        self._is_pressed = True

    def release(self) -> None:
        """The button was let go: the turn is over."""
        self._is_pressed = False

    def end_turn(self) -> None:
        """Take the turn for over now, for instance because the file it came from has ended."""
        with self._lock:
            if self._turn is not None:
                self._finish(self._turn)

    @property
    def is_hearing(self) -> bool:
        """Whether somebody speaks now."""
        return self._turn is not None

    @property
    def is_recognising(self) -> bool:
        """Whether a piece of speech waits to be recognised, or is being recognised."""
        with self._lock:
            return bool(self._jobs)

    def close(self) -> None:
        """Stop; what was not recognised yet is lost."""
        with self._lock:
            self._is_closed = True
            self._jobs.clear()
            self._wake.notify_all()
        self._thread.join(CLOSE_TIMEOUT_S)

    # --- the microphone's thread -----------------------------------------------------------------

    def feed(self, block: Block) -> None:
        """Take the next block of sound; blocks must follow each other without gaps."""
        if self._clean is not None:
            block = self._clean(block)
        is_echo = self._is_echo is not None and self._is_echo(block)
        samples = np.concatenate([self._rest, block.samples]) if len(self._rest) else block.samples
        at = block.captured_at - len(self._rest) / RATE
        count = len(samples) // FRAME
        for index in range(count):
            frame = samples[index * FRAME : (index + 1) * FRAME]
            self._frame(frame, at + index * FRAME_S, is_echo=is_echo)
        self._rest = samples[count * FRAME :]

    def _frame(self, frame: Samples, at: float, *, is_echo: bool) -> None:
        probability = self._detector.probability(frame)
        turn = self._turn
        if is_echo and probability >= self._settings.silence_probability:
            if turn is not None:
                turn.echo_s += FRAME_S
            probability = 0.0
        if self._is_deaf():
            with self._lock:
                self._turn, self._onset_s = None, 0.0
                self._before.clear()
            return
        with self._lock:
            turn = self._turn
            if turn is None:
                tell = self._wait_for_voice(frame, at, probability)
            else:
                self._go_on(turn, frame, probability)
                return
        if tell:
            # Outside the lock: who is told may ask back.
            self._listener.on_voice(at)

    def _is_deaf(self) -> bool:
        if self._is_pressed or (self._turn is not None and self._turn.by_button):
            return False
        mode, settings = self._settings.mode, self._settings
        if mode in (ListenMode.OFF, ListenMode.PUSH_TO_TALK):
            return True
        if mode is ListenMode.PRESENCE and not self._is_present:
            return True
        since = self._clock() - self._robot_until
        return settings.half_duplex and (self._robot_speaks or since < settings.deaf_after_s)

    def _wait_for_voice(self, frame: Samples, at: float, probability: float) -> bool:
        self._before.append(frame)
        settings = self._settings
        self._onset_s = (
            self._onset_s + FRAME_S if probability >= settings.voice_probability else 0.0
        )
        if not self._is_pressed and self._onset_s < settings.voice_needed_s:
            return False
        over_robot = (
            self._robot_speaks or self._clock() - self._robot_until < settings.deaf_after_s
        )
        kept_s = settings.before_over_robot_s if over_robot else settings.before_s
        pieces = list(self._before)[-max(1, round(kept_s / FRAME_S)) :]
        samples = sum(map(len, pieces))
        self._turn = _Turn(
            # Where the kept sound begins; the voice began a little later.
            started=at + FRAME_S - samples / RATE,
            over_robot=over_robot,
            pieces=pieces,
            samples=samples,
            voice_s=self._onset_s,
            by_button=self._is_pressed,
        )
        self._before.clear()
        self._onset_s = 0.0
        return True

    def _go_on(self, turn: _Turn, frame: Samples, probability: float) -> None:
        settings = self._settings
        turn.pieces.append(frame)
        turn.samples += len(frame)
        is_voice = probability >= settings.voice_probability or (
            turn.silence_s == 0.0 and probability >= settings.silence_probability
        )
        if is_voice:
            turn.voice_s += FRAME_S
            turn.silence_s = 0.0
            turn.likely = None
        else:
            turn.silence_s += FRAME_S
        if turn.by_button:
            if not self._is_pressed or turn.samples / RATE >= settings.end.longest_s:
                self._finish(turn)
            return
        if turn.samples / RATE >= settings.end.longest_s:
            self._finish(turn)
            return
        if is_voice:
            self._guess(turn)
            return
        if turn.silence_s >= settings.end.likely_end_s and turn.likely is None:
            turn.likely = self._submit(turn, careful=True)
        if turn.likely is not None:
            result = turn.likely.result
            text = result.text if result is not None and result.has_words else None
            if turn.silence_s >= silence_needed(settings.end, text):
                self._finish(turn)

    def _guess(self, turn: _Turn) -> None:
        """Have a first guess made, if one is due and nothing else is being recognised."""
        settings = self._settings
        due = settings.guess_every_s if turn.guessed_at_samples else settings.guess_after_s
        new_s = (turn.samples - turn.guessed_at_samples) / RATE
        if turn.voice_s >= settings.guess_after_s and new_s >= due and not self._jobs:
            turn.guessed_at_samples = turn.samples
            self._submit(turn, careful=False)

    def _finish(self, turn: _Turn) -> None:
        """The turn is over: its likely end was the end, or it is recognised now."""
        self._turn = None
        self._before.clear()
        job = turn.likely
        if job is None:
            job = self._submit(turn, careful=True)
        job.is_over = True
        if job.result is not None or job.has_failed:
            # Done already, while the silence ran: told by the recognizer's thread.
            self._jobs.append(job)
        self._wake.notify_all()

    def _submit(self, turn: _Turn, *, careful: bool) -> _Job:
        # Silence at the end costs time and makes Whisper invent; a fifth of a second is kept.
        spare = max(0, round((turn.silence_s - 0.2) * RATE))
        whole = np.concatenate(turn.pieces)
        turn.pieces = [whole]
        job = _Job(
            turn=turn,
            samples=whole[: len(whole) - spare] if spare else whole,
            voice_s=turn.voice_s,
            ended=turn.ended,
            careful=careful,
        )
        if careful:
            # A first guess that waits is overtaken.
            self._jobs = deque(waiting for waiting in self._jobs if waiting.careful)
        self._jobs.append(job)
        self._wake.notify_all()
        return job

    # --- the recognizer's thread -----------------------------------------------------------------

    def _recognise_all(self) -> None:
        while True:
            with self._lock:
                while not self._jobs and not self._is_closed:
                    self._wake.wait()
                if self._is_closed:
                    return
                job = self._jobs[0]
            try:
                self._recognise(job)
            except Exception as error:  # one bad piece of sound must not deafen the robot
                if not isinstance(error, SpeechError):
                    logger.exception("a piece of speech could not be recognised")
                self._note_problem(str(error))
                with self._lock:
                    job.has_failed = True
                    is_over = job.is_over
                if is_over:
                    self._tell_unheard(job)
            finally:
                with self._lock:
                    if self._jobs and self._jobs[0] is job:
                        self._jobs.popleft()

    def _recognise(self, job: _Job) -> None:
        turn = job.turn
        if job.has_failed:
            self._tell_unheard(job)
            return
        if job.result is None:
            is_stale = job.careful and not job.is_over and turn.likely is not job
            if is_stale:
                return  # the person went on speaking
            job.result = self._recognizer.recognize(
                job.samples,
                self._language,
                voice_s=job.voice_s,
                may_switch=self._settings.may_switch_language,
                careful=job.careful,
            )
            job.recognised = self._clock()
            self._note_problem("")
        heard = self._heard(job, job.result)
        is_interruption = heard is not None and self._interrupts(turn, heard)
        if is_interruption and turn.over_robot and not turn.is_confirmed and heard is not None:
            turn.is_confirmed = True
            self._listener.on_words(heard)
        if job.is_over:
            with self._lock:
                # The turn may end just as its recognition does: both would tell it.
                if job.is_told:
                    return
                job.is_told = True
            # What has stopped the robot is answered, whatever it turns out to be.
            is_for_robot = is_interruption or turn.is_confirmed
            if heard is not None and is_for_robot:
                self._listener.on_heard(heard)
            elif turn.is_confirmed:
                self._listener.on_heard(self._unheard(job))
            else:
                self._listener.on_nothing()
        elif heard is not None and (is_interruption or not turn.over_robot):
            self._listener.on_heard(heard)

    def _heard(self, job: _Job, result: Recognition) -> Heard | None:
        """What the recognition says, repaired; None where nobody said anything."""
        if not result.has_words:
            return None
        text = result.text
        repairs: tuple[Repair, ...] = ()
        if self._repair is not None:
            repaired = self._repair.repair(text, result.language)
            text, repairs = repaired.text, repaired.repairs
        turn = job.turn
        return Heard(
            utterance_id=turn.utterance_id,
            text=text,
            original=result.text,
            repairs=repairs,
            language=result.language,
            confidence=result.confidence,
            is_partial=not job.is_over,
            started=turn.started,
            ended=job.ended,
            recognised=job.recognised,
            over_robot=turn.over_robot,
            is_likely_end=job.careful and not job.is_over,
        )

    def _interrupts(self, turn: _Turn, heard: Heard) -> bool:
        """Whether words mean more than "go on", and are not the robot's own."""
        if not turn.over_robot:
            return True
        has_echo = turn.echo_s > ECHO_SHARE * turn.voice_s
        if self._is_after_robot(heard):
            return True
        needed_s = LONG_OVER_ROBOT_S * (1 if heard.confidence >= GUESSED_OVER_ROBOT else 2)
        is_long = turn.voice_s >= needed_s and not has_echo
        is_sure = heard.confidence >= SURE_OVER_ROBOT or is_long
        if not is_sure and (has_echo or not is_call_for_help(heard.original)):
            return False
        if has_echo:
            # Who repeats the robot's words is heard where the sound is his own.
            said = (*self._said, "".join(self._said))
            if any(is_echo_of(heard.original, words) for words in said):
                return False
        # 好 into the robot's speech is "go on"; behind its question it is the answer.
        is_answer = not self._robot_speaks and heard.ended > self._robot_until
        return is_answer or not is_backchannel(heard.original)

    def _is_after_robot(self, heard: Heard) -> bool:
        """Whether the voice went on when the robot's own, and its echo, had long died away."""
        dead_after_s = self._settings.deaf_after_s + ALONE_S
        return not self._robot_speaks and heard.ended > self._robot_until + dead_after_s

    def _tell_unheard(self, job: _Job) -> None:
        """Somebody spoke, and nobody knows what: the robot must ask."""
        with self._lock:
            if job.is_told:
                return
            job.is_told = True
        if job.turn.over_robot and not job.turn.is_confirmed:
            self._listener.on_nothing()
        else:
            self._listener.on_heard(self._unheard(job))

    def _unheard(self, job: _Job) -> Heard:
        turn = job.turn
        return Heard(
            utterance_id=turn.utterance_id,
            text="",
            original="",
            repairs=(),
            language=self._language,
            confidence=0.0,
            is_partial=False,
            started=turn.started,
            ended=job.ended,
            recognised=self._clock(),
            over_robot=turn.over_robot,
        )

    def _note_problem(self, problem: str) -> None:
        if problem or self._has_problem:
            self._has_problem = bool(problem)
            self._listener.on_problem(problem)
