"""Which of many patterns a text may match at all, told by its letters before one is tried.

Triage and verifier have thousands of patterns, of which a sentence matches a handful. Most need
certain letters: 胸痛 can't be found without 胸, "chest pain" not without "che".
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import chain
from typing import Any

try:
    from re import _parser  # type: ignore[attr-defined, unused-ignore]
except ImportError:  # Python 3.10
    import sre_parse as _parser  # type: ignore[no-redef, unused-ignore]

GRAM = 3
MOST_NEEDED = 60
"""Of a longer list of letters nearly every text has one."""
LETTERS_KEPT = 64

_HAN_CHARACTER = re.compile(r"[\u4e00-\u9fff]")
_LATIN_LETTER = re.compile(r"[a-z]")


class Gates:
    """Tells at once which of all patterns a text may match, by the letters that they need."""

    def __init__(self) -> None:
        self._by_letters: dict[str, tuple[int, ...]] = {}
        self._count = 0
        self.opened_by = lru_cache(LETTERS_KEPT)(self._opened_by)

    def add(self, pattern: re.Pattern[str]) -> tuple[int, bool]:
        """Give a pattern a number, and whether only the text opens it whose letters it needs."""
        self._count += 1
        needed = needed_letters(pattern)
        if needed is None:
            return self._count, False
        for letters in needed:
            self._by_letters[letters] = (*self._by_letters.get(letters, ()), self._count)
        # What was kept does not know of this gate.
        self.opened_by.cache_clear()
        return self._count, True

    def _opened_by(self, text: str) -> tuple[frozenset[int], bool, bool]:
        letters, has_han, has_latin = letters_of(text)
        gates = self._by_letters
        opened = frozenset(chain.from_iterable(map(gates.__getitem__, letters & gates.keys())))
        return opened, has_han, has_latin


def letters_of(text: str) -> tuple[frozenset[str], bool, bool]:
    """Its single characters, its runs of three, and whether it has Chinese or Latin letters."""
    runs = {text[i : i + GRAM] for i in range(len(text) - GRAM + 1)}
    return (
        frozenset(runs | set(text)),
        _HAN_CHARACTER.search(text) is not None,
        _LATIN_LETTER.search(text) is not None,
    )


def needed_letters(pattern: re.Pattern[str]) -> frozenset[str] | None:
    """Letters of which a text must have at least one for a pattern to match it.

    Single Chinese characters, or runs of three letters, from the part of the pattern that no
    match goes without and that the fewest texts have. None where there is no such part.
    """
    return _needed(_parser.parse(pattern.pattern))


def _needed(tree: Any) -> frozenset[str] | None:
    best: frozenset[str] | None = None

    def offer(letters: frozenset[str] | None) -> None:
        nonlocal best
        if letters is None or len(letters) > MOST_NEEDED:
            return
        if best is None or len(letters) < len(best):
            best = letters

    run = ""
    for code, value in [*tree, (None, None)]:
        name = str(code)
        if name == "LITERAL":
            run += chr(value)
            continue
        offer(_grams(run))
        run = ""
        if name == "SUBPATTERN":
            offer(_needed(value[3]))
        elif name == "BRANCH":
            parts = [_needed(branch) for branch in value[1]]
            if all(part is not None for part in parts):
                offer(frozenset[str]().union(*(part for part in parts if part is not None)))
        elif name in ("MAX_REPEAT", "MIN_REPEAT") and value[0] > 0:
            offer(_needed(value[2]))
        elif name == "IN" and all(str(kind) == "LITERAL" for kind, _ in value):
            letters = frozenset(chr(char) for _, char in value)
            offer(letters if all(_HAN_CHARACTER.match(char) for char in letters) else None)
    return best


def _grams(run: str) -> frozenset[str] | None:
    rare = [char for char in run if _HAN_CHARACTER.match(char)]
    if rare:
        return frozenset(rare[:1])
    return frozenset([run[:GRAM]]) if len(run) >= GRAM else None
