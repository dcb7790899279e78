"""How ordinary a stretch of text is: what a recogniser wrote stays if people do say that.

A unigram model. Chinese words and their frequencies are those of jieba's dictionary (MIT; the
file is read, jieba itself is not loaded), English ones `resource/speech/english_words.txt`. All
values are natural logarithms of a share of all words.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path

from medbot_llm.domain import MedbotError
from medbot_llm.speech.audio import SpeechError
from medbot_llm.text.english import rarity

MAX_CHINESE = 5
"""Characters of the longest Chinese words that are kept; longer ones are chains of those."""
MIN_COUNT = 4
"""In jieba's dictionary; what has less was never counted."""
ENDINGS = ("'s", "s", "es", "ed", "d", "ing", "ly")
UNKNOWN = -17.0
"""Of a word or character that is in no list: one in 24 million."""


class Ordinary:
    """Words with how often they are said.

    Args:
        chinese: Logarithmic shares of Simplified words.
        english: Logarithmic shares of English words, in lower case.
    """

    def __init__(self, chinese: Mapping[str, float], english: Mapping[str, float]) -> None:
        self.chinese = chinese
        self.english = english

    @classmethod
    def load(cls) -> Ordinary:
        """Read the lists of the package and of jieba; takes about 0.4 s.

        Raises:
            SpeechError: jieba is not installed, or a file is missing or broken.
        """
        return cls(_chinese_words(), _english_words())

    def share_of_english(self, word: str) -> float:
        """The share of a word in lower case, or of what it is a form of ("bonnets", "nurse's")."""
        share = self.english.get(word)
        for ending in ENDINGS if share is None else ():
            share = self.english.get(word.removesuffix(ending))
            if share is not None:
                return share
        return UNKNOWN if share is None else share


def _chinese_words() -> dict[str, float]:
    spec = importlib.util.find_spec("jieba")
    if spec is None or spec.origin is None:
        raise SpeechError(
            "Repair by sound needs jieba's dictionary of Chinese: run pip install"
            ' "medbot_llm[voice]"'
        )
    path = Path(spec.origin).with_name("dict.txt")
    counts: dict[str, int] = {}
    total = 0
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                word, count, *_ = line.split(" ")
                total += int(count)
                if len(word) <= MAX_CHINESE and int(count) >= MIN_COUNT and not word.isascii():
                    counts[word] = int(count)
    except (OSError, ValueError) as error:
        raise SpeechError(f"{path} cannot be read as jieba's dictionary: {error}") from error
    # One object for each value, not for each word.
    shares = {count: math.log(count / total) for count in set(counts.values())}
    return {word: shares[count] for word, count in counts.items()}


def _english_words() -> dict[str, float]:
    try:
        return {word: -value for word, value in rarity().items()}
    except MedbotError as error:
        raise SpeechError(str(error)) from error
