"""A reply on its way from text to sound: its sentences, their clauses, and how much was heard.

Plain data with a few rules; the mouth keeps it under its lock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

from medbot_llm.domain import Language
from medbot_llm.domain import ReplyKind
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.heard import weight
from medbot_llm.speech.heard import words_within

_GROWTH = 2.0
"""Each piece may take this much longer than all before it: while those play, it is worked out."""
_LONGEST_PIECE = 40.0
"""In syllables, about 9 s."""


class Sentence:
    """Text on its way to sound."""

    def __init__(self, text: str, language: Language, speed: float | None = None) -> None:
        self.text = text
        self.language = language
        self.speed = speed
        """None: as the settings say when its turn comes."""
        self.ranges: deque[tuple[int, int]] | None = None
        """Clauses that have no sound yet, as places in the text; None: not looked at yet."""
        self.in_work = False
        self.is_dropped = False
        """What the voice still gives for it comes too late."""
        self.ready: deque[Clause] = deque()

    @property
    def wants_voice(self) -> bool:
        return not self.in_work and (self.ranges is None or bool(self.ranges))

    @property
    def is_spent(self) -> bool:
        return not self.ready and not self.in_work and not self.wants_voice

    def drop(self) -> None:
        """Say no more of it than is ready."""
        self.is_dropped = True
        self.in_work = False
        self.ranges = deque()


@dataclass(eq=False)
class Clause:
    """Sound that can be cut behind, and the text it says.

    Attributes:
        sentence: None for a signal, which says no text.
        voice_from, voice_to: Where in the samples the voice is.
        heard: Samples that have sounded.
    """

    samples: Samples
    sentence: Sentence | None = None
    start: int = 0
    end: int = 0
    voice_from: int = 0
    voice_to: int = 0
    heard: int = 0

    def after(self, said: str, heard: int) -> str:
        """What was said, with the words of this clause of which so many samples have sounded."""
        if self.sentence is None:
            return said
        text = self.sentence.text[self.start : self.end]
        share = (heard - self.voice_from) / max(1, self.voice_to - self.voice_from)
        words = text[: words_within(text, share)] if share > 0 else ""
        if said and words and self.start == 0 and said[-1].isascii() and words[0].isascii():
            words = " " + words
        return said + words


@dataclass(eq=False)
class Reply:
    reply_id: str
    kind: ReplyKind
    utterance_id: str
    sentences: deque[Sentence] = field(default_factory=deque)
    next_sequence: int = 0
    is_emergency: bool = False
    has_ended: bool = False
    """Its last chunk is here."""
    is_whole: bool = True
    """Nothing of it was lost, failed or dropped."""
    planned: float = 0.0
    """Syllables given to the voice."""
    chars: int = 0
    waiting_chars: int = 0
    ready_frames: int = 0
    first_audio_at: float = math.nan
    said: str = ""
    """Text of the clauses that are through."""
    hearing: Clause | None = None
    """The clause that sounds now."""
    idle_frames: int = 0
    """For how long it had nothing to play."""
    had_alarm: bool = False

    @property
    def has_sounded(self) -> bool:
        return not math.isnan(self.first_audio_at)

    @property
    def is_over(self) -> bool:
        return self.has_ended and not self.sentences

    @property
    def heard(self) -> str:
        clause = self.hearing
        text = self.said if clause is None else clause.after(self.said, clause.heard)
        return text.strip()

    def to_come(self, offset: int, frames: int) -> list[Samples]:
        """What plays next, from this sample of the clause that plays on, as far as it is known."""
        pieces: list[Samples] = []
        for sentence in self.sentences:
            for clause in sentence.ready:
                piece = clause.samples[offset : offset + frames]
                pieces.append(piece)
                frames -= len(piece)
                offset = 0
                if frames <= 0:
                    return pieces
            if sentence.in_work or sentence.wants_voice:
                break
        return pieces

    def tidy(self) -> None:
        """Forget sentences of which nothing is left to play."""
        while self.sentences and self.sentences[0].is_spent:
            self.waiting_chars -= len(self.sentences.popleft().text)

    def next_clause(self) -> Clause | None:
        """What plays next, if it is ready."""
        self.tidy()
        ready = self.sentences[0].ready if self.sentences else None
        return ready[0] if ready else None


def places_of(clauses: Sequence[str], text: str) -> deque[tuple[int, int]]:
    """Where the clauses of a sentence are in it, without a hole between them."""
    places: deque[tuple[int, int]] = deque()
    end = 0
    for clause in map(str.strip, clauses):
        found = text.find(clause, end)
        if clause and found >= 0:
            start, end = end, found + len(clause)
            places.append((start, end))
    start = places.pop()[0] if places else 0
    places.append((start, len(text)))
    return places


def take_piece(
    text: str, ranges: deque[tuple[int, int]], reply: Reply | None
) -> list[tuple[int, int]]:
    """Take the clauses that are synthesised together: the first of a reply alone, so that it
    sounds early, then more and more at once, which sounds better.
    """
    allowed = _LONGEST_PIECE
    if reply is not None:
        allowed = min(allowed, _GROWTH * reply.planned)
    piece = [ranges.popleft()]
    size = weight(text[piece[0][0] : piece[0][1]])
    while ranges and size + (more := weight(text[ranges[0][0] : ranges[0][1]])) <= allowed:
        piece.append(ranges.popleft())
        size += more
    if reply is not None:
        reply.planned += size
    return piece
