"""A streaming reply is cut into sentences, so that a voice can begin before the model has
finished.

The hard part is that the end of a sentence shows only in what follows: "5." may go on as "5.5 mg",
"Dr." with a name, "What?" with a closing quote. So the splitter looks ahead: nothing is decided
before the first letter or digit after a mark has arrived. The caller gains from it too: whoever is
handed a sentence by `feed` knows that the reply goes on, and can mark the one that `flush` hands
out as the last.

The text is seen as runs of letters and digits with gaps between them; a boundary lies in a gap,
and is decided from the text before the gap, the gap, and the one character after it. How the text
was cut into pieces plays no part in that, so any chunking of a text gives the same sentences.
"""

from __future__ import annotations

import re

DEFAULT_MAX_CHARS = 240
"""Longest sentence, in Latin characters; a CJK character counts for two, as it does in speaking
time. 120 CJK characters are about half a minute of speech, longer than anyone should wait for a
voice."""

SHORTEST_MAX_CHARS = 16
"""Below this there is no room to look for a good place to cut."""

MIN_SPEAKABLE_BEFORE_WEAK_END = 8
"""A semicolon or an ellipsis ends a sentence only after this many letters and digits:
"早；午；晚各一顆" and "嗯……我看看" stay whole, while two long statements joined by ； are spoken
one after the other."""

MIN_WORD_BEFORE_LOWER_CASE = 5
"""After "." and a space, a lower-case word begins a sentence only where the word before has this
many letters: the shorter ones are mostly abbreviations of prescriptions ("tab. daily", "inj.
once")."""

MAX_TOKEN_CHARS = 200
"""How far back the start of a web address is looked for."""

FIRST_WIDE_CHARACTER = "\u2e80"
"""CJK characters and their punctuation begin here in Unicode."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CLOSERS = "」』）”’)\"'】》〉］〕｝}\\]＂＇»›"
_LETTER = re.compile(r"[^\W_]")
_MARK = re.compile(r"[。｡．.！!？?；;…⋯\n\r\u2028\u2029]")
_NEWLINE = re.compile(r"[\n\r\u2028\u2029]")
_MARK_RUN = re.compile(
    rf"[。｡．.！!？?；;…⋯]+[{_CLOSERS}]*(?:\s*[。｡．.！!？?；;…⋯]+[{_CLOSERS}]*)*"
)
_CJK_END = re.compile(r"[。｡！？]")
_LATIN_END = re.compile(r"[!?]")
_WEAK_END = re.compile(r"[；;…⋯]|[.．]{2}")
_QUOTE = re.compile(r"[」』”’\"'»›]")
_CONTINUES = re.compile(r"[,，、:：/\\\-–—~～@_=&%+]")
_LIST_NUMBER = re.compile(r"(?:\d{1,3}|[A-Za-z]|[一二三四五六七八九十]{1,3}|[ivxIVX]{1,4})[)）]?$")
_DIGITS_AT_END = re.compile(r"(?<![\d.,$€£¥/:-])\d{1,3}$")
_WORD_AT_END = re.compile(r"[A-Za-z]+(?:\.[A-Za-z]+)*$")
_DOTTED = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]{1,2}$")
_CLAUSE_END = re.compile(rf"[，、：,:；;][{_CLOSERS}]*\s*|[)）]\s*|\s+")

_NEVER_LAST = _words(
    "dr mr mrs ms mx prof st rev hon gen col sgt capt lt messrs mme e.g i.e eg ie cf viz vs ca"
    " al dept ext tel attn"
)
"""Abbreviations that something always follows."""

_BEFORE_A_NUMBER = _words(
    "no nos vol fig figs p pp ch sec art ver v rm ste apt max nr tab tabs cap caps amp amps supp"
    " approx mg mcg g kg ml l hr hrs h min mins wk wks mo yr yrs a.m p.m"
)
"""Words after which ". " and a digit go on with the sentence: "No. 3", "tab. 2 times a day".
Before anything else they end one, for "No." is also a whole answer, and an important one."""

_MAY_END = _words(
    "a.m p.m q.d b.i.d t.i.d q.i.d q.h.s q.h p.r.n p.o i.v i.m s.c h.s a.c p.c u.s u.k"
)
"""Dotted abbreviations that are no initials of a name."""

_LETTERED = _words(
    "vitamin hepatitis type group grade plan factor class ward room bed option part"
)
"""Nouns that a single letter follows: "Vitamin C. Take …" ends, "J. K. Chen" does not."""


class SentenceSplitter:
    """Cuts one streaming reply into sentences; a new one for each reply, and not for several
    threads at once.

    Sentences end at 。！？；… and their Latin kin, and at the end of a line; not inside numbers
    (0.5 mg, 3.5 片), times, versions, web addresses, abbreviations (Dr., e.g., No. 3, a.m.),
    initials and list numbers, which stay with their item. Closing quotes and brackets stay with
    the sentence that they close. Each sentence comes stripped of the whitespace around it and is
    otherwise unchanged: joined, the sentences are the reply. Each has at least one letter or
    digit, unless the whole reply has none.

    Args:
        max_chars: A longer sentence is cut at a clause, else at a space, in Latin characters; a
            CJK character counts for two. At least SHORTEST_MAX_CHARS, else ValueError.
    """

    def __init__(self, max_chars: int = DEFAULT_MAX_CHARS) -> None:
        if max_chars < SHORTEST_MAX_CHARS:
            raise ValueError(f"max_chars is {max_chars}; it must be at least {SHORTEST_MAX_CHARS}")
        self._max_chars = max_chars
        self._begin_reply()

    def _begin_reply(self) -> None:
        self._text = ""  # what is not handed out yet
        self._scanned = 0  # up to here in _text there is no mark that could end the sentence
        self._mark = -1  # index of a mark that waits for the letter after it, -1 none
        self._waited = 0  # up to here there is no such letter
        self._first = -1  # index of the sentence's first letter or digit, -1 not seen yet
        self._weighed = 0  # up to here the sentence's length is counted
        self._weight = 0  # its length up to there, from its first letter
        self._list_number = 0  # last list number seen in this reply

    def feed(self, piece: str) -> list[str]:
        """Take the next piece of the reply; give the sentences that it shows to be complete."""
        self._text += piece
        done: list[str] = []
        start = 0
        while (end := self._next_boundary(start)) is not None:
            done.append(self._text[start:end].strip())
            start = end
        if start:
            self._text = self._text[start:]
            self._scanned -= start
            self._waited -= start
            self._first -= start
            self._weighed -= start
            if self._mark >= 0:
                self._mark -= start
        return done

    def flush(self) -> list[str]:
        """Say that the reply is over; give what is left of it: one sentence, or none. Ready for a
        new reply."""
        rest = self._text.strip()
        self._begin_reply()
        return [rest] if rest else []

    def _next_boundary(self, start: int) -> int | None:
        """The end of the sentence that begins at start, or None while it can't be told."""
        text = self._text
        if self._first < 0:
            found = _LETTER.search(text, self._scanned)
            if found is None:
                self._scanned = len(text)
                return None
            self._first = self._scanned = self._weighed = found.start()
        while True:
            if self._mark < 0:
                mark = _MARK.search(text, self._scanned)
                self._mark = self._waited = mark.start() if mark else -1
                self._scanned = self._mark if mark else len(text)
            limit = self._over_long(len(text) if self._mark < 0 else self._mark)
            if limit is not None:
                beyond = _LETTER.search(text, limit)
                if beyond is None:
                    return None
                # A mark in the very gap that the limit falls into may end the sentence by itself.
                if self._mark < 0 or beyond.start() < self._mark:
                    end = self._clause_end(limit)
                    self._begin(next(_LETTER.finditer(text, end)).start())
                    return end
            if self._mark < 0:
                return None
            found = _LETTER.search(text, self._waited)
            if found is None:
                self._waited = len(text)
                return None
            after = found.start()
            boundary = self._boundary_in_gap(start, self._mark, after)
            if boundary is not None:
                self._begin(after)
                return boundary
            self._mark, self._scanned = -1, after

    def _begin(self, first: int) -> None:
        """A new sentence whose first letter is at first."""
        self._first = self._scanned = self._weighed = first
        self._weight = 0
        self._mark = -1

    def _over_long(self, end: int) -> int | None:
        """Where the sentence becomes too long, if it does before end and a character stands
        there."""
        text = self._text
        while self._weighed < end and self._weight <= self._max_chars:
            self._weight += 2 if text[self._weighed] >= FIRST_WIDE_CHARACTER else 1
            self._weighed += 1
        return self._weighed - 1 if self._weight > self._max_chars else None

    def _clause_end(self, limit: int) -> int:
        """Where to cut an over-long sentence: at most at limit, in its second half if it can
        be."""
        text, first = self._text, self._first
        middle = first + (limit - first) // 2
        best = {",": 0, " ": 0}
        for found in _CLAUSE_END.finditer(text, first, limit):
            before, after = text[found.start() - 1], text[found.end()]
            kind = " " if found.group().isspace() else ","
            # A number stays with its unit and its thousands, and a dose with its drug.
            if before.isdigit() and (kind == " " or after.isdigit()):
                continue
            if kind == " " and after.isdigit():
                continue
            best[kind] = found.end()
        for end in best.values():
            if end > middle:
                return end
        if any(best.values()):
            return max(best.values())
        for end in range(limit, middle, -1):
            before, after = text[end - 1], text[end]
            if not (_is_tied(before) or _is_tied(after)):
                return end
        return limit

    def _boundary_in_gap(self, start: int, mark: int, after: int) -> int | None:
        """Where the sentence ends, if it ends between the mark and the letter or digit at
        after."""
        text = self._text
        head = text[self._first : mark]
        run = _MARK_RUN.match(text, mark, after)
        end = run.end() if run else mark + 1
        marks = text[mark:end]
        following = text[after]
        # ". .5 mg": the last point belongs to the number. Without it 0.5 would be spoken as 5.
        if end == after and following.isdigit() and re.search(r"[^.．][.．]$", marks):
            marks = marks[:-1].rstrip()
            end = mark + len(marks)
        if _NEWLINE.search(text, mark, after):
            return None if _LIST_NUMBER.match(head) else end
        if _CJK_END.search(marks):
            return end
        adjacent = end == after
        latin_follows = following.isascii()
        if adjacent and latin_follows and self._in_web_address(start, mark):
            return None
        if _LATIN_END.search(marks):
            return None if following.islower() and _QUOTE.search(marks) else end
        if _WEAK_END.search(marks):
            long_enough = len(_LETTER.findall(head)) >= MIN_SPEAKABLE_BEFORE_WEAK_END
            return end if long_enough and not (latin_follows and following.islower()) else None
        if self._point_ends(head, text[end:after], following):
            return end
        return None

    def _in_web_address(self, start: int, mark: int) -> bool:
        token = self._text[max(start, mark - MAX_TOKEN_CHARS) : mark].rpartition(" ")[2]
        return "://" in token or "www." in token.lower()

    def _is_list_number(self, head: str) -> bool:
        """Whether head is a list number: all of the sentence so far, or the next one in a running
        list."""
        whole = _LIST_NUMBER.match(head)
        digits = _DIGITS_AT_END.search(head)
        if digits and not whole:
            before = head[: digits.start()]
            number = int(digits.group())
            runs_on = number == self._list_number + 1 and number > 1 and before[-1:].isspace()
            whole = digits if runs_on or before.rstrip()[-1:] in (":", "：") else None
        if whole and digits:
            self._list_number = int(digits.group())
        return whole is not None

    def _point_ends(self, head: str, between: str, following: str) -> bool:
        """Whether a single "." after head ends the sentence that following goes on from."""
        if self._is_list_number(head):
            return False
        last = head[-1:]
        if not between:
            if following.isdigit():
                return False
            if following.isascii():
                return last >= FIRST_WIDE_CHARACTER and following.isupper()
        elif _CONTINUES.match(between):
            return False
        found = _WORD_AT_END.search(head)
        word = found.group() if found else ""
        lower = word.lower()
        if lower in _NEVER_LAST:
            return False
        if not between and _DOTTED.match(word):
            return False
        if following.isdigit():
            return lower not in _BEFORE_A_NUMBER and not (_DOTTED.match(word) and word.islower())
        if following.isascii() and following.islower():
            return "." not in word and len(word) >= MIN_WORD_BEFORE_LOWER_CASE
        if following.isascii() and (len(word) == 1 or _DOTTED.match(word)) and word.isupper():
            return not _is_initial(word, head[: len(head) - len(word)])
        return True


def split_sentences(text: str, max_chars: int = DEFAULT_MAX_CHARS) -> list[str]:
    """Cut a whole text into sentences, as SentenceSplitter cuts one that streams in."""
    splitter = SentenceSplitter(max_chars)
    return [*splitter.feed(text), *splitter.flush()]


def _is_tied(char: str) -> bool:
    """Whether a character belongs to a word or number that must not be torn."""
    return char.isdigit() or (char.isascii() and not char.isspace())


def _is_initial(word: str, before: str) -> bool:
    """Whether a capital letter with a point, after before, is an initial of a name."""
    if word == "I" or word.lower() in _MAY_END:
        return False
    previous = before.rsplit(None, 1)
    if not previous or not before[-1:].isspace():
        return not before or before[-1:] in "(（“\"'.-"
    name = previous[-1]
    if name.endswith("."):
        return True
    return name[0].isascii() and name[0].isupper() and name.lower() not in _LETTERED
