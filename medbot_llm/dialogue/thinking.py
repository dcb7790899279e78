"""Some models think aloud before they answer; what stands between <think> and </think> is for no
one's ears.

The tags arrive split over tokens, so a tail that could still become a tag is held back, and
nothing more: "<5 mg" passes at once. When in doubt the filter hides: a reply that stays hidden is
replaced by prepared words, while a thought spoken aloud at the bedside can't be taken back.
"""

from __future__ import annotations

import re

_OPENING = frozenset({"<think>", "<thinking>"})
_CLOSING = frozenset({"</think>", "</thinking>"})
_TAG = re.compile(r"</?think(?:ing)?>", re.IGNORECASE | re.ASCII)
_BEGINNINGS = frozenset(
    tag[:length] for tag in _OPENING | _CLOSING for length in range(1, len(tag))
)
_LONGEST_BEGINNING = max(map(len, _BEGINNINGS))


class ThinkFilter:
    """Takes a streaming reply and lets through what is not thought; a new one for each reply.

    `<think>` and `<thinking>` are known in upper and lower case. A thought that is never closed
    hides all the rest. A thought inside a thought has to be closed too, except that an opening tag
    right at the beginning of a thought only repeats it, as models do whose chat template has
    opened the tag already. A closing tag outside a thought is dropped.

    Args:
        starts_inside: The prompt ended with an opening tag, so that the reply begins as thought.
    """

    def __init__(self, starts_inside: bool = False) -> None:
        self._depth = 1 if starts_inside else 0
        self._at_beginning = starts_inside  # only whitespace since the tag was opened
        self._held = ""

    @property
    def is_inside(self) -> bool:
        """Whether what came last is thought: at the end of a reply, that the model never came to
        an answer."""
        return self._depth > 0

    def feed(self, piece: str) -> str:
        """Take the next piece; give what of the text so far may be heard and was not given yet."""
        text = self._held + piece
        passed: list[str] = []
        position = 0
        for tag in _TAG.finditer(text):
            self._take(text[position : tag.start()], passed)
            self._turn(tag.group().lower())
            position = tag.end()
        keep = _undecided(text, position)
        self._take(text[position:keep], passed)
        self._held = text[keep:]
        return "".join(passed)

    def flush(self) -> str:
        """Say that the reply is over; give what was held back and turned out to be no tag."""
        passed: list[str] = []
        self._take(self._held, passed)
        self._held = ""
        return "".join(passed)

    def _take(self, text: str, passed: list[str]) -> None:
        if self._depth == 0:
            passed.append(text)
        elif text and not text.isspace():
            self._at_beginning = False

    def _turn(self, tag: str) -> None:
        if tag in _CLOSING:
            self._depth = max(0, self._depth - 1)
        elif self._depth == 0:
            self._depth = 1
            self._at_beginning = True
        elif self._at_beginning:
            self._at_beginning = False
        else:
            self._depth += 1


def _undecided(text: str, start: int) -> int:
    """Where a tail begins that could still become a tag; the text's length if there is none."""
    opening = text.rfind("<", max(start, len(text) - _LONGEST_BEGINNING))
    return opening if opening >= 0 and text[opening:].lower() in _BEGINNINGS else len(text)
