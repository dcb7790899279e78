"""Speaks replies: sentences in from any thread, samples out to the loudspeaker.

Three threads meet here under one short lock. Callers leave sentences; one thread of the mouth's
own turns them into sound, ahead of what plays but not far, so that the cores stay free for the
language model; the loudspeaker's callback takes the samples with `render`. A fourth thread tells
the listener, so that no listener can hold up a voice.

What sounds is cut only in ramps. Words of an emergency go before everything and to their end:
nothing ducks, stops, mutes or replaces them.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import OrderedDict
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np

from medbot_llm.domain import Language
from medbot_llm.domain import ReplyChunk
from medbot_llm.domain import ReplyKind
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import Sound
from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.heard import part_at_pauses
from medbot_llm.speech.heard import weight
from medbot_llm.speech.replies import Clause
from medbot_llm.speech.replies import Reply
from medbot_llm.speech.replies import Sentence
from medbot_llm.speech.replies import places_of
from medbot_llm.speech.replies import take_piece
from medbot_llm.speech.shaping import RAMP_S
from medbot_llm.speech.shaping import Fader
from medbot_llm.speech.shaping import earcons
from medbot_llm.speech.shaping import factor
from medbot_llm.speech.shaping import faded_out
from medbot_llm.speech.shaping import fit
from medbot_llm.speech.shaping import limit
from medbot_llm.speech.synthesizer import Synthesizer
from medbot_llm.speech.teller import NewsKind
from medbot_llm.speech.teller import Teller

logger = logging.getLogger(__name__)

EMERGENCY_FADE_S = 0.020
"""In which an emergency cuts off what speaks."""
ALARM_AFTER_S = 1.0
"""When the first words of an emergency take longer than this, the alarm sounds ahead of them."""
REPLY_LOST_S = 15.0
"""A reply of which no more came for this long is over: its writer has gone (the dialogue gives up
a model that gives no token for 5 s)."""
HUNG_AFTER_S = 20.0
"""A voice that works this long on one piece is given up (Kokoro needs about 8 s for the longest on
two busy cores)."""
MAX_HUNG_VOICES = 3
CLOSE_TIMEOUT_S = 1.5
REFERENCE_TAIL_S = 0.6
"""Silence that the echo cancellation gets behind what sounded: for the room's reverberation, and
instead of what had been foreseen (AHEAD_S)."""

AHEAD_S = 0.5
"""What it gets to know before it plays, so that nothing is late on a busy machine …"""
AHEAD_EVERY_S = 0.1
"""… and how often."""

MAX_FRAMES_S = 60.0
MAX_LATENCY_S = 2.0
MAX_WAITING_CHARS = 50_000
"""Of one reply, not yet spoken: some three hours of speech."""
MAX_REPLY_CHARS = 200_000
MAX_WAITING_EMERGENCIES = 8
MAX_ENDED = 256
"""Replies whose late sentences are recognised and not spoken."""
MAX_PREPARED_S = 300.0
"""Sound kept of phrases that are prepared: 29 MB at 24 kHz."""
MAX_PREPARED = 500

_LONGEST_CLAUSE = 48
"""In Latin characters; 24 Chinese ones."""
_SENTENCE_TAIL_S = 0.35
_CLAUSE_TAIL_S = 0.15
_NO_SAMPLES: Samples = np.zeros(0, np.float32)

Splitter = Callable[[str, Language], Sequence[str]]
"""A sentence → its clauses in order, the first of which can be spoken before the rest is known."""


@dataclass(frozen=True)
class MouthSettings:
    """How the robot speaks.

    Attributes:
        volume: 0 to 1 (up to 4: louder than the voice was made, softly limited).
        emergency_volume: Least volume of an emergency, whatever `volume` and `is_muted` say.
        is_muted: Say nothing but emergencies, as at night. What comes meanwhile is not said later.
        is_elderly: Speak as for an elderly person: slower and louder by the two settings for that.
        speed: Rate of speech, 1 as the voice was made.
        elderly_speed: Likewise, for elderly persons.
        elderly_louder_db: Louder for elderly persons by this.
        duck_db: How much `duck` takes away.
        duck_pauses: `duck` pauses instead, and `unduck` repeats the clause.
        longest_duck_s: A duck that nothing ends is over after this, so that noise cannot silence
            the robot.
        look_ahead_s: Sound that is worked out ahead of what plays.
        niceness: Of the thread of the voice, 0 to 19; only Linux knows it.
    """

    volume: float = 1.0
    emergency_volume: float = 0.8
    is_muted: bool = False
    is_elderly: bool = False
    speed: float = 1.0
    elderly_speed: float = 0.85
    elderly_louder_db: float = 6.0
    duck_db: float = 12.0
    duck_pauses: bool = False
    longest_duck_s: float = 8.0
    look_ahead_s: float = 6.0
    niceness: int = 5

    def __post_init__(self) -> None:
        """Raises SpeechError for what no robot can mean."""
        limits = {
            "volume": (0.0, 4.0),
            "emergency_volume": (0.1, 4.0),
            "speed": (0.3, 3.0),
            "elderly_speed": (0.3, 3.0),
            "elderly_louder_db": (0.0, 24.0),
            "duck_db": (0.0, 60.0),
            "longest_duck_s": (0.5, 120.0),
            "look_ahead_s": (0.1, 60.0),
            "niceness": (0, 19),
        }
        for name, (least, most) in limits.items():
            if not least <= getattr(self, name) <= most:
                raise SpeechError(f"{name} must be {least:g} to {most:g}")

    @property
    def is_silent(self) -> bool:
        """Whether only emergencies are said."""
        return self.is_muted or self.volume == 0.0

    @property
    def voice_speed(self) -> float:
        """Rate of speech for who is spoken to."""
        return self.elderly_speed if self.is_elderly else self.speed


@dataclass(frozen=True)
class SpeakingState:
    """What the mouth does.

    Attributes:
        is_speaking: A reply is being spoken: from its first sample to its last, also while it is
            ducked or waits for its next sentence.
        reply_id: The reply that speaks, else the one that will, else the one that spoke last; ""
            none yet.
        kind: What that reply is for.
        utterance_id: What it answers, "" nothing.
        heard: What of its text has sounded so far, by whole words.
        is_complete: All of it has.
        is_ducked: It speaks more softly, or pauses, because someone else may be speaking.
        first_audio_at: `time.monotonic()` when its first sample went to the device, s; NaN not
            yet.
    """

    is_speaking: bool = False
    reply_id: str = ""
    kind: ReplyKind | None = None
    utterance_id: str = ""
    heard: str = ""
    is_complete: bool = False
    is_ducked: bool = False
    first_audio_at: float = math.nan


@dataclass(frozen=True)
class Heard:
    """What a person heard of a reply.

    Attributes:
        reply_id: "" no reply has been spoken.
        text: By whole words, those that sounded.
        is_complete: The reply came to its end.
    """

    reply_id: str
    text: str
    is_complete: bool


@dataclass
class MouthFigures:
    """Counts since the mouth was made, for diagnostics."""

    ignored_chunks: int = 0
    """Repeated, late, for a reply that was stopped, or said while muted."""
    dropped_chunks: int = 0
    """Too many waited already."""
    failed_sentences: int = 0
    """The voice could not say them."""
    gaps: int = 0
    """A reply ran out of sound before its end: voice or model were too slow."""
    dropped_blocks: int = 0
    """Played blocks that the listener was too slow for."""
    dropped_states: int = 0
    hung_voices: int = 0
    """Threads of the voice given up, and still not back."""
    prepared_phrases: int = 0
    unprepared_phrases: int = 0
    """Phrases that are yet to be prepared."""


class MouthListener(Protocol):
    """Who is told what the mouth does. Called on one thread of the mouth's own."""

    def on_speaking(self, state: SpeakingState) -> None:
        """A reply begins to sound, a sentence is over, the duck changes, or the reply ends."""

    def on_played(self, sound: Sound, audible_at: float, ahead: Samples) -> None:
        """A block has gone to the loudspeaker, and leaves it at `audible_at`, monotonic s. Only
        what sounds, and a little silence behind it. `ahead` will play behind it, if nothing comes
        in between; it is told again when it does. Often there is none.
        """

    def on_problem(self, problem: str) -> None:
        """Something cannot be said; once for each sentence."""


@dataclass(frozen=True)
class _Span:
    """Samples handed to the loudspeaker.

    Attributes:
        frame: Of the first sample, counted from the first that was ever rendered.
        offset: Of the first sample in its clause.
        ends_clause, ends_sentence: The last sample is the last of its clause, of its sentence.
    """

    frame: int
    clause: Clause
    offset: int
    count: int
    ends_clause: bool
    ends_sentence: bool


@dataclass(eq=False)
class _Worker:
    """A thread of the voice."""

    thread: threading.Thread | None = None
    sentence: Sentence | None = None
    """What it works on."""
    started_at: float = 0.0
    is_abandoned: bool = False


class Mouth:
    """Speaks one reply at a time. All methods may be called from any thread."""

    def __init__(
        self,
        synthesizer: Synthesizer,
        settings: MouthSettings,
        listener: MouthListener,
        clock: Callable[[], float] = time.monotonic,
        *,
        splitter: Splitter | None = None,
    ) -> None:
        """Starts its threads; `close` ends them.

        Args:
            synthesizer: The voice; `render` gives samples at its rate.
            settings: May be changed by `configure`.
            listener: Who is told.
            clock: Monotonic, s.
            splitter: How sentences are taken apart into clauses.
        """
        self.rate = synthesizer.rate
        """Samples a second of what `render` gives, Hz."""
        self._voice = synthesizer
        self._settings = settings
        self._listener = listener
        self._clock = clock
        self._split = splitter or _clauses
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        """Something to synthesise, or room for it."""
        self._is_closed = False
        self._figures = MouthFigures()
        self._latency_s = 0.0

        self._replies: list[Reply] = []
        """The first speaks: emergencies in their order, then at most one other."""
        self._ended: OrderedDict[str, tuple[int, bool]] = OrderedDict()
        """Id of each reply that is over → its next sequence, whether it was an emergency."""
        self._last = SpeakingState()

        self._offset = 0
        """Next sample of the clause that plays."""
        self._frames = 0
        """Samples handed out since the beginning."""
        self._in_flight: deque[_Span] = deque()
        """Of the reply that speaks: handed out, and not yet audible."""
        self._fader = Fader(self.rate)
        self._fades_in = True
        self._is_sounding = False
        """The last sample handed out was of the clause that plays."""
        self._is_ducked = False
        self._is_paused = False
        self._ducked_frames = 0
        self._overlap = _NO_SAMPLES
        """The fading rest of what was cut, with its loudness."""
        self._signal = _NO_SAMPLES
        """The rest of an earcon, with its loudness."""
        self._earcons = earcons(self.rate)
        self._silent_frames = self._frames_in(REFERENCE_TAIL_S)
        self._ahead_told_at = 0

        self._phrases: OrderedDict[tuple[str, Language], tuple[float, list[Clause]]] = (
            OrderedDict()
        )
        """Prepared sound, and the speed it has."""
        self._unprepared: deque[Sentence] = deque()

        self._worker: _Worker | None = None
        self._start_worker()
        self._teller = Teller(self._watch)

    # --- from any thread -------------------------------------------------------------------------

    def say(self, chunk: ReplyChunk) -> None:
        """Speak a sentence of a reply behind those before it, or take note of the reply's end. A
        new reply ends the older one, but for an emergency; an emergency ends everything else.
        """
        with self._lock:
            reply = None if self._is_closed else self._reply_of(chunk)
            if reply is None:
                self._figures.ignored_chunks += 1
                return
            if chunk.sequence > reply.next_sequence:
                reply.is_whole = False
            reply.next_sequence = chunk.sequence + 1
            reply.idle_frames = 0
            if chunk.was_interrupted and not reply.is_emergency:
                self._drop_rest(reply)
            elif chunk.text.strip():
                self._add(reply, chunk)
            if chunk.is_last:
                reply.has_ended = True
                reply.is_whole = reply.is_whole and not chunk.was_interrupted
            self._finish_what_is_over()
            self._work.notify_all()

    def duck(self) -> None:
        """Someone may be speaking: speak more softly, or pause. An emergency does not."""
        with self._lock:
            reply = self._replies[0] if self._replies else None
            if reply is None or reply.is_emergency or self._is_ducked:
                return
            if self._settings.duck_pauses:
                self._pause(RAMP_S)
            self._is_ducked = True
            self._ducked_frames = 0
            self._note_state(reply)

    def unduck(self) -> None:
        """Nobody was: go on."""
        with self._lock:
            self._unduck()

    def stop(self) -> Heard:
        """Be silent at once, and forget the rest of this reply, also what is yet to come of it. An
        emergency goes on.

        Returns what was heard of the reply that spoke, or of the last that did.
        """
        with self._lock:
            reply = self._replies[0] if self._replies else None
            if reply is not None and reply.is_emergency:
                return Heard(reply.reply_id, reply.heard, is_complete=False)
            if reply is not None:
                self._cut(reply, RAMP_S)
            return Heard(self._last.reply_id, self._last.heard, self._last.is_complete)

    def prepare(self, sentences: Sequence[tuple[str, Language]]) -> None:
        """Work out these sentences when nothing else is to be done, and keep their sound: said
        later, word for word, they sound at once.
        """
        with self._lock:
            if self._is_closed:
                return
            waiting = {(one.text, one.language) for one in self._unprepared}
            speed = self._settings.voice_speed
            for text, language in dict.fromkeys(sentences):
                kept = self._phrases.get((text, language))
                is_known = (text, language) in waiting or (kept is not None and kept[0] == speed)
                if text.strip() and not is_known:
                    self._unprepared.append(Sentence(text, language, speed))
            if len(self._unprepared) > MAX_PREPARED:
                self._note_problem(f"more than {MAX_PREPARED} phrases to prepare; the rest is not")
                self._unprepared = deque(list(self._unprepared)[:MAX_PREPARED])
            self._work.notify_all()

    def earcon(self, name: str) -> bool:
        """Play a signal, "listening" or "alarm"; False: the robot speaks, or is muted.

        Raises:
            ValueError: there is no such signal.
        """
        samples = self._earcons.get(name)
        if samples is None:
            raise ValueError(f"no earcon {name!r}; there are: {', '.join(sorted(self._earcons))}")
        with self._lock:
            is_alarm = name == "alarm"
            is_free = not self._replies and not self._is_closed and not len(self._overlap)
            if not is_free or (self._settings.is_silent and not is_alarm):
                return False
            self._signal = samples * self._loudness(is_emergency=is_alarm)
            return True

    def configure(self, settings: MouthSettings) -> None:
        """Speak this way from now; a new speed from the next piece on, and niceness never."""
        with self._lock:
            has_new_speed = settings.voice_speed != self._settings.voice_speed
            self._settings = settings
            if settings.is_silent:
                for reply in [r for r in self._replies if not r.is_emergency]:
                    self._cut(reply, RAMP_S)
            phrases = list(self._phrases) if has_new_speed else []
        self.prepare(phrases)

    def close(self) -> None:
        """Be silent, and end the threads. A voice that hangs is left behind."""
        with self._lock:
            self._is_closed = True
            for reply in list(self._replies):
                self._cut(reply, RAMP_S)
            self._signal = _NO_SAMPLES
            self._unprepared.clear()
            worker = self._worker.thread if self._worker is not None else None
            self._work.notify_all()
        until = time.monotonic() + CLOSE_TIMEOUT_S
        if worker is not None and worker is not threading.current_thread():
            worker.join(CLOSE_TIMEOUT_S)
            if worker.is_alive():
                logger.error("the voice did not stop within %g s", CLOSE_TIMEOUT_S)
        self._teller.close(max(0.1, until - time.monotonic()))

    # --- readings, from any thread ---------------------------------------------------------------

    @property
    def settings(self) -> MouthSettings:
        """How it speaks."""
        return self._settings

    @property
    def output_latency_s(self) -> float:
        """How long a sample takes from `render` to the ear, s. Whoever opens the loudspeaker sets
        it.
        """
        return self._latency_s

    @output_latency_s.setter
    def output_latency_s(self, latency_s: float) -> None:
        is_sane = math.isfinite(latency_s)
        self._latency_s = min(max(0.0, latency_s), MAX_LATENCY_S) if is_sane else 0.0

    @property
    def speaking(self) -> SpeakingState:
        """What it does now."""
        with self._lock:
            if not self._replies:
                return self._last
            reply = self._replies[0]
            return replace(self._state_of(reply), heard=reply.heard)

    @property
    def is_busy(self) -> bool:
        """Whether a reply speaks, or waits to."""
        with self._lock:
            return bool(self._replies)

    @property
    def is_synthesizing(self) -> bool:
        """Whether the voice works, or will at once."""
        with self._lock:
            worker = self._worker
            return worker is not None and (
                worker.sentence is not None or self._most_urgent() is not None
            )

    def figures(self) -> MouthFigures:
        """Counts since it was made."""
        with self._lock:
            return replace(
                self._figures,
                prepared_phrases=len(self._phrases),
                unprepared_phrases=len(self._unprepared),
            )

    # --- the loudspeaker's thread ----------------------------------------------------------------

    def render(self, frames: int) -> Samples:
        """The next samples, silence if there are none. Waits for nothing but the lock.

        Raises:
            ValueError: more than MAX_FRAMES_S at once, or fewer than none.
        """
        if not 0 <= frames <= MAX_FRAMES_S * self.rate:
            raise ValueError(f"cannot render {frames} samples at once")
        out = np.zeros(frames, np.float32)
        if frames == 0:
            return out
        with self._lock:
            now = self._clock()
            self._pass_duck(frames)
            self._fill(out, now)
            self._frames += frames
            self._hear()
            self._finish_what_is_over()
            self._pass_on(out, now)
            worker = self._worker
            if worker is not None and worker.sentence is None and self._most_urgent() is not None:
                self._work.notify()
        return out

    def _fill(self, out: Samples, now: float) -> None:
        done, frames = 0, len(out)
        while done < frames and (clause := self._clause()) is not None:
            if len(self._signal):
                self._add_overlap(faded_out(self._signal, 1.0, self._frames_in(RAMP_S)))
                self._signal = _NO_SAMPLES
            done += self._play(clause, out[done:], self._frames + done, now)
        if done < frames:
            self._idle(frames - done, ran_dry=done > 0 or self._is_sounding)
        self._is_sounding = done == frames
        self._overlap = _mixed_in(out, self._overlap)
        self._signal = _mixed_in(out, self._signal)
        limit(out)

    def _clause(self) -> Clause | None:
        """What plays now; gives the turn to the next reply where one is through."""
        while self._replies:
            reply = self._replies[0]
            clause = reply.next_clause()
            if clause is not None:
                return None if self._is_paused else clause
            if not reply.is_over or len(self._replies) == 1:
                return None
            self._finish(reply)
        return None

    def _play(self, clause: Clause, out: Samples, frame: int, now: float) -> int:
        """Play the clause as far as there is room; how many samples it were."""
        reply = self._replies[0]
        count = min(len(out), len(clause.samples) - self._offset)
        part = out[:count]
        part[:] = clause.samples[self._offset : self._offset + count]
        if self._fades_in:
            self._fader.jump(0.0)
            self._fades_in = False
        self._fader.aim(
            self._loudness(is_emergency=reply.is_emergency)
            * (factor(-self._settings.duck_db) if self._is_ducked else 1.0)
        )
        self._fader.shape(part)
        reply.idle_frames = 0
        if clause.sentence is not None and not reply.has_sounded:
            reply.first_audio_at = now
            self._note_state(reply)
        is_through = self._offset + count == len(clause.samples)
        ends_sentence = False
        if is_through:
            sentence = reply.sentences[0]
            sentence.ready.popleft()
            ends_sentence = clause.sentence is sentence and sentence.is_spent
        self._in_flight.append(
            _Span(frame, clause, self._offset, count, is_through, ends_sentence)
        )
        reply.ready_frames -= count
        self._offset = 0 if is_through else self._offset + count
        if is_through:
            # Only how long it was still matters.
            clause.samples = _NO_SAMPLES
        return count

    def _idle(self, frames: int, *, ran_dry: bool) -> None:
        """Nothing to play for so many samples."""
        self._fader.settle()
        if not self._replies or self._is_paused:
            return
        reply = self._replies[0]
        if reply.is_over:
            return
        self._figures.gaps += ran_dry
        reply.idle_frames += frames
        if reply.is_emergency and not reply.has_sounded and not reply.had_alarm:
            if reply.idle_frames >= self._frames_in(ALARM_AFTER_S) and reply.sentences:
                self._add_alarm(reply, reply.sentences[0])
        elif not reply.sentences and reply.idle_frames >= self._frames_in(REPLY_LOST_S):
            reply.has_ended, reply.is_whole = True, False

    def _hear(self) -> None:
        """Take note of what has become audible."""
        audible = self._frames - self._frames_in(self._latency_s)
        while self._in_flight and self._in_flight[0].frame < audible:
            span = self._in_flight[0]
            self._hear_span(span, min(span.count, audible - span.frame))
            if audible < span.frame + span.count:
                break
            self._in_flight.popleft()

    def _hear_span(self, span: _Span, count: int) -> None:
        reply, clause = self._replies[0], span.clause
        if clause.sentence is None:
            return
        if reply.hearing is not clause:
            reply.hearing = clause
        clause.heard = max(clause.heard, span.offset + count)
        if span.ends_clause and count == span.count:
            reply.said = clause.after(reply.said, clause.heard)
            reply.hearing = None
        if span.ends_sentence and count == span.count:
            self._note_state(reply)

    def _pass_on(self, out: Samples, now: float) -> None:
        """Hand what was rendered to whoever cancels the echo."""
        tail = self._frames_in(REFERENCE_TAIL_S)
        is_silent = not out.any()
        if is_silent and self._silent_frames >= tail:
            return
        self._silent_frames = self._silent_frames + len(out) if is_silent else 0
        # A copy: the loudspeaker may do with its samples what it likes.
        sound = Sound(out.copy(), self.rate)
        ahead = _NO_SAMPLES
        if self._frames >= self._ahead_told_at + self._frames_in(AHEAD_EVERY_S):
            self._ahead_told_at = self._frames
            ahead = self._to_come()
        told = partial(self._listener.on_played, sound, now + self._latency_s, ahead)
        self._figures.dropped_blocks += not self._teller.tell(NewsKind.SOUND, told)

    def _to_come(self) -> Samples:
        """What plays next if nobody interrupts, as loud as it is now."""
        if self._is_paused or not self._replies:
            return _NO_SAMPLES
        pieces = self._replies[0].to_come(self._offset, self._frames_in(AHEAD_S))
        if not pieces:
            return _NO_SAMPLES
        ahead: Samples = np.concatenate(pieces) * np.float32(self._fader.gain)
        limit(ahead)
        return ahead

    # --- replies, under the lock -----------------------------------------------------------------

    def _reply_of(self, chunk: ReplyChunk) -> Reply | None:
        """The reply that a chunk belongs to; None: it is not to be spoken."""
        is_emergency = chunk.kind is ReplyKind.EMERGENCY
        for reply in self._replies:
            if reply.reply_id == chunk.reply_id:
                if reply.has_ended or chunk.sequence < reply.next_sequence:
                    return None
                if is_emergency and not reply.is_emergency:
                    self._unduck()
                    reply.is_emergency = True
                    reply.kind = chunk.kind
                return reply
        sequence = 0
        if chunk.reply_id in self._ended:
            sequence, was_emergency = self._ended[chunk.reply_id]
            if was_emergency or not is_emergency or chunk.sequence < sequence:
                return None
        if not chunk.text.strip():
            return None
        reply = Reply(chunk.reply_id, chunk.kind, chunk.utterance_id, is_emergency=is_emergency)
        reply.next_sequence = sequence
        return reply if self._admit(reply) else None

    def _admit(self, reply: Reply) -> bool:
        """Give a new reply its place; False: there is none."""
        emergencies = [one for one in self._replies if one.is_emergency]
        if reply.is_emergency:
            if len(emergencies) > MAX_WAITING_EMERGENCIES:
                self._note_problem("too many emergencies wait to be said; the newest is not")
                self._remember(reply)
                return False
            if not emergencies and self._replies:
                self._end(self._replies[0], EMERGENCY_FADE_S)
            self._replies.insert(len(emergencies), reply)
        else:
            if self._settings.is_silent:
                self._remember(reply)
                return False
            for older in self._replies[len(emergencies) :]:
                self._end(older, RAMP_S)
            self._replies.append(reply)
        return True

    def _add(self, reply: Reply, chunk: ReplyChunk) -> None:
        """Put a sentence behind the others of its reply."""
        size = len(chunk.text)
        is_too_much = (
            reply.waiting_chars + size > MAX_WAITING_CHARS or reply.chars + size > MAX_REPLY_CHARS
        )
        if is_too_much:
            if reply.is_whole:
                self._note_problem("a reply is too long to be spoken; its end is left out")
            reply.is_whole = False
            self._figures.dropped_chunks += 1
            return
        reply.chars += size
        reply.waiting_chars += size
        sentence = Sentence(chunk.text, chunk.language)
        phrase = self._phrases.get((chunk.text, chunk.language))
        reply.sentences.append(sentence)
        if phrase is not None:
            sentence.ranges = deque()
            sentence.ready.extend(replace(clause, sentence=sentence) for clause in phrase[1])
            reply.ready_frames += sum(len(clause.samples) for clause in sentence.ready)
            reply.planned += weight(chunk.text)
        elif self._worker is None:
            self._fail(sentence, reply, "the voice hangs")

    def _drop_rest(self, reply: Reply) -> None:
        """End a reply with the clause that sounds."""
        reply.tidy()
        if not reply.sentences:
            return
        has_begun = reply is self._replies[0] and self._offset > 0
        if not has_begun:
            self._cut(reply, RAMP_S)
            return
        for sentence in reply.sentences:
            sentence.drop()
        sentence = reply.sentences[0]
        sentence.ready = deque([sentence.ready[0]])
        reply.sentences = deque([sentence])
        reply.waiting_chars = len(sentence.text)
        reply.ready_frames = len(sentence.ready[0].samples) - self._offset

    def _end(self, reply: Reply, fade_s: float) -> None:
        """Make way for another: end a reply, be it that it is through."""
        if reply.is_over and reply.has_sounded:
            self._finish(reply)
        else:
            self._cut(reply, fade_s)

    def _cut(self, reply: Reply, fade_s: float) -> None:
        """End a reply where it is."""
        if reply is self._replies[0]:
            self._pause(fade_s)
            self._in_flight.clear()
        for sentence in reply.sentences:
            sentence.drop()
        self._retire(reply, is_complete=False)

    def _finish(self, reply: Reply) -> None:
        """End a reply whose last sample has been handed out: nothing can call it back."""
        while self._in_flight:
            span = self._in_flight.popleft()
            self._hear_span(span, span.count)
        self._retire(reply, is_complete=reply.is_whole)

    def _finish_what_is_over(self) -> None:
        while self._replies and not self._in_flight:
            reply = self._replies[0]
            reply.tidy()
            if not reply.is_over:
                return
            self._finish(reply)

    def _retire(self, reply: Reply, *, is_complete: bool) -> None:
        if reply is self._replies[0]:
            self._is_paused = self._is_ducked = False
            self._is_sounding = False
            self._fades_in = True
            self._offset = 0
        self._replies.remove(reply)
        self._remember(reply)
        self._last = replace(
            self._state_of(reply),
            is_speaking=False,
            heard=reply.heard,
            is_complete=is_complete,
            is_ducked=False,
        )
        self._note(self._last, None)

    def _remember(self, reply: Reply) -> None:
        self._ended[reply.reply_id] = (reply.next_sequence, reply.is_emergency)
        self._ended.move_to_end(reply.reply_id)
        while len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)

    def _pause(self, fade_s: float) -> None:
        """Fade out what sounds; it would go on at the start of its clause."""
        reply = self._replies[0]
        if self._is_sounding:
            frames = self._frames_in(fade_s)
            rest: Samples = np.concatenate(
                [clause.samples for one in reply.sentences for clause in one.ready][:4]
                or [_NO_SAMPLES]
            )[self._offset :]
            self._add_overlap(faded_out(rest, self._fader.gain, frames))
        reply.ready_frames += self._offset
        self._offset = 0
        self._is_paused = True
        self._is_sounding = False
        self._fades_in = True

    def _unduck(self) -> None:
        if self._is_ducked:
            self._is_ducked = self._is_paused = False
            self._note_state(self._replies[0])

    def _pass_duck(self, frames: int) -> None:
        if self._is_ducked:
            self._ducked_frames += frames
            if self._ducked_frames > self._frames_in(self._settings.longest_duck_s):
                self._unduck()

    def _add_alarm(self, reply: Reply, sentence: Sentence) -> None:
        """Let the alarm sound where this sentence should."""
        alarm = self._earcons["alarm"]
        sentence.ready.append(Clause(alarm, voice_to=len(alarm)))
        reply.ready_frames += len(alarm)
        reply.had_alarm = True

    def _add_overlap(self, samples: Samples) -> None:
        longer, shorter = sorted((self._overlap, samples), key=len, reverse=True)
        mixed = longer.copy()
        mixed[: len(shorter)] += shorter
        self._overlap = mixed

    def _loudness(self, *, is_emergency: bool) -> float:
        settings = self._settings
        louder = factor(settings.elderly_louder_db) if settings.is_elderly else 1.0
        least = settings.emergency_volume if is_emergency else 0.0
        return max(settings.volume, least) * louder

    def _frames_in(self, seconds: float) -> int:
        return round(seconds * self.rate)

    # --- the voice's thread ----------------------------------------------------------------------

    def _start_worker(self) -> None:
        worker = _Worker()
        worker.thread = threading.Thread(
            target=self._serve, args=(worker,), name="mouth-voice", daemon=True
        )
        self._worker = worker
        worker.thread.start()

    def _serve(self, worker: _Worker) -> None:
        with suppress(OSError, AttributeError):  # no Linux, or not allowed
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._settings.niceness)
        while (job := self._next_job(worker)) is not None:
            sentence, reply = job
            try:
                clauses = self._voice_piece(worker, sentence, reply)
                problem = ""
            except SpeechError as error:
                problem = str(error)
            except Exception as error:  # one bad sentence must not silence the robot
                logger.exception("the voice failed")
                problem = f"{type(error).__name__}: {error}"
            with self._lock:
                if worker.is_abandoned:
                    if not self._come_back(worker):
                        return
                    continue
                worker.sentence = None
                if sentence.is_dropped:
                    continue
                sentence.in_work = False
                if problem:
                    self._fail(sentence, reply, problem)
                else:
                    sentence.ready.extend(clauses)
                    if reply is not None:
                        reply.ready_frames += sum(len(clause.samples) for clause in clauses)
                if reply is None and not sentence.wants_voice:
                    self._keep(sentence)

    def _next_job(self, worker: _Worker) -> tuple[Sentence, Reply | None] | None:
        """Wait for a sentence that wants a voice, the most urgent first; None: no more."""
        with self._lock:
            while not self._is_closed and not worker.is_abandoned:
                job = self._most_urgent()
                if job is not None:
                    worker.sentence = job[0]
                    worker.started_at = self._clock()
                    job[0].in_work = True
                    return job
                self._work.wait()
        return None

    def _most_urgent(self) -> tuple[Sentence, Reply | None] | None:
        ahead, room = 0, self._frames_in(self._settings.look_ahead_s)
        for reply in self._replies:
            ahead += reply.ready_frames
            if ahead >= room:
                return None
            for sentence in reply.sentences:
                if sentence.wants_voice:
                    return sentence, reply
        while self._unprepared and self._unprepared[0].is_dropped:
            self._unprepared.popleft()
        return (self._unprepared[0], None) if self._unprepared else None

    def _voice_piece(
        self, worker: _Worker, sentence: Sentence, reply: Reply | None
    ) -> list[Clause]:
        """Turn the next piece of a sentence into sound.

        Raises:
            SpeechError: the voice cannot.
        """
        ranges = sentence.ranges
        if ranges is None:
            try:
                clauses_of_it = self._split(sentence.text, sentence.language)
            except Exception:  # whole it can be said as well, only later
                logger.exception("a sentence could not be taken apart")
                clauses_of_it = ()
            ranges = places_of(clauses_of_it, sentence.text)
        with self._lock:
            if worker.is_abandoned or sentence.is_dropped:
                return []
            sentence.ranges = ranges
            piece = take_piece(sentence.text, ranges, reply)
            tail_s = _CLAUSE_TAIL_S if ranges else _SENTENCE_TAIL_S
            speed = self._settings.voice_speed if sentence.speed is None else sentence.speed
        text = sentence.text[piece[0][0] : piece[-1][1]]
        if not any(char.isalnum() for char in text):
            return []
        sound = self._voice.synthesize(text.strip(), sentence.language, speed=speed)
        samples = fit(sound, self.rate, tail_s)
        texts = [sentence.text[start:end] for start, end in piece]
        clauses, first = [], 0
        for stretch in part_at_pauses(samples, self.rate, texts):
            places = piece[first : first + stretch.clauses]
            clauses.append(
                Clause(
                    stretch.samples,
                    sentence,
                    places[0][0],
                    places[-1][1],
                    stretch.voice_from,
                    stretch.voice_to,
                )
            )
            first += stretch.clauses
        return clauses

    def _fail(self, sentence: Sentence, reply: Reply | None, problem: str) -> None:
        """Leave out what cannot be said of a sentence."""
        sentence.drop()
        self._figures.failed_sentences += 1
        words = sentence.text if len(sentence.text) <= 40 else sentence.text[:39] + "…"
        self._note_problem(f"cannot say {words!r}: {problem}")
        if reply is None:
            return
        reply.is_whole = False
        if reply.is_emergency:
            self._add_alarm(reply, sentence)
        self._finish_what_is_over()

    def _keep(self, sentence: Sentence) -> None:
        """Keep the sound of a phrase for later."""
        with suppress(ValueError):
            self._unprepared.remove(sentence)
        speed = sentence.speed
        if sentence.is_dropped or not sentence.ready or speed is None:
            return
        size = sum(len(clause.samples) for clause in sentence.ready)
        kept = sum(len(c.samples) for _, clauses in self._phrases.values() for c in clauses)
        key = (sentence.text, sentence.language)
        if key not in self._phrases and kept + size > self._frames_in(MAX_PREPARED_S):
            self._note_problem(
                f"no room to keep {sentence.text!r}: {MAX_PREPARED_S:.0f} s of phrases are kept"
            )
            return
        self._phrases[key] = (speed, list(sentence.ready))
        if speed != self._settings.voice_speed:
            self._unprepared.append(Sentence(*key, self._settings.voice_speed))

    # --- when the voice hangs, on the telling thread ---------------------------------------------

    def _watch(self) -> None:
        """Give up a voice that hangs."""
        with self._lock:
            self._give_up_what_hangs()

    def _give_up_what_hangs(self) -> None:
        worker = self._worker
        if worker is None or worker.sentence is None:
            return
        if self._clock() - worker.started_at < HUNG_AFTER_S:
            return
        sentence = worker.sentence
        worker.is_abandoned = True
        self._figures.hung_voices += 1
        self._worker = None
        owner = next((r for r in self._replies if sentence in r.sentences), None)
        if not sentence.is_dropped:
            self._fail(sentence, owner, f"the voice hangs for {HUNG_AFTER_S:.0f} s")
        if self._is_closed:
            return
        if self._figures.hung_voices < MAX_HUNG_VOICES:
            self._start_worker()
            return
        # Another thread would hang as well. What waits fails now; the first to return goes on.
        for reply in list(self._replies):
            for one in [one for one in reply.sentences if one.wants_voice]:
                self._fail(one, reply, "the voice hangs")

    def _come_back(self, worker: _Worker) -> bool:
        """A voice that was given up has returned: whether it may go on."""
        self._figures.hung_voices -= 1
        if self._worker is not None or self._is_closed:
            return False
        worker.is_abandoned = False
        worker.sentence = None
        self._worker = worker
        return True

    # --- notes for the telling thread, under the lock --------------------------------------------

    def _state_of(self, reply: Reply) -> SpeakingState:
        """But for what was heard."""
        return SpeakingState(
            is_speaking=reply.has_sounded,
            reply_id=reply.reply_id,
            kind=reply.kind,
            utterance_id=reply.utterance_id,
            is_ducked=self._is_ducked,
            first_audio_at=reply.first_audio_at,
        )

    def _note_state(self, reply: Reply) -> None:
        clause = reply.hearing
        state = replace(self._state_of(reply), heard=reply.said)
        self._note(state, clause)

    def _note(self, state: SpeakingState, clause: Clause | None) -> None:
        heard = clause.heard if clause is not None else 0
        told = partial(self._tell_state, state, clause, heard)
        self._figures.dropped_states += not self._teller.tell(NewsKind.STATE, told)

    def _tell_state(self, state: SpeakingState, clause: Clause | None, heard: int) -> None:
        """Tell a state, with the words of the clause that sounded (on the telling thread)."""
        if clause is not None:
            state = replace(state, heard=clause.after(state.heard, heard).strip())
        self._listener.on_speaking(state)

    def _note_problem(self, problem: str) -> None:
        self._teller.tell(NewsKind.PROBLEM, partial(self._tell_problem, problem))

    def _tell_problem(self, problem: str) -> None:
        """Log and tell a problem (on the telling thread: a log may be slow)."""
        logger.error("%s", problem)
        self._listener.on_problem(problem)


def _mixed_in(out: Samples, rest: Samples) -> Samples:
    """Add as much of the rest as there is room; what is left of it."""
    count = min(len(out), len(rest))
    out[:count] += rest[:count]
    return rest[count:] if count < len(rest) else _NO_SAMPLES


def _clauses(text: str, language: Language) -> Sequence[str]:
    """As the voice's own text is taken apart."""
    # Imported late: a mouth that is given another way needs none of it.
    from medbot_llm.speech.clauses import clauses

    return clauses(text, language, longest=_LONGEST_CLAUSE)
