"""Find phrases of danger that a recogniser wrote with other characters of the same sound.

"穿不過氣" is no Chinese, but it sounds like 喘不過氣 to a recogniser in a noisy ward. Some
phrases of three and more syllables are therefore also looked for by sound: pinyin without tones,
with the sounds made one that many speakers do not tell apart (`text/syllables.py`). Shorter
phrases are not; too much that is ordinary sounds like them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from medbot_llm.text.syllables import folded_syllable
from medbot_llm.text.syllables import readings

_HAN_RUN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]{3,}")


@lru_cache(maxsize=8192)
def sound(char: str) -> str:
    """The sound of a character, as far as speakers and recognisers agree on it."""
    found = readings(char)
    return folded_syllable(found[0]) if found else char


class Sounds:
    """Phrases to be found by their sound.

    Args:
        phrases: What may have been meant, canonical.
        ordinary: Phrases of the same sound that are left as they are, canonical.
    """

    def __init__(self, phrases: Iterable[str], ordinary: Iterable[str]) -> None:
        self._phrases: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for phrase in phrases:
            sounds = tuple(map(sound, phrase))
            self._phrases.setdefault(sounds[0], []).append((sounds, phrase))
        self._ordinary = tuple(ordinary)

    def meant(self, text: str) -> str:
        """Write phrases of danger as they were meant."""
        return _HAN_RUN.sub(lambda m: self._meant(m[0]), text)

    def _meant(self, run: str) -> str:
        if any(phrase in run for phrase in self._ordinary):
            return run
        sounds = [sound(char) for char in run]
        position = 0
        while position < len(run):
            for wanted, phrase in self._phrases.get(sounds[position], ()):
                end = position + len(wanted)
                if tuple(sounds[position:end]) == wanted and run[position:end] != phrase:
                    run = run[:position] + phrase + run[end:]
                    break
            position += 1
        return run
