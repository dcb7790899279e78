"""Whether a sentence is what a model writes that has lost its thread, and nobody would say.

A small or badly trained model falls into loops ("祝您早日康復，祝您早日康復，祝您早日康復") and
slides into letters and words of other languages in the middle of a sentence. No single word of
that is wrong, so the checks of medical claims pass it; at a bed it tells a patient that the robot
is broken. The numbers below leave alone what people repeat: 謝謝謝謝, "no, no, no", "step by
step".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from medbot_llm.domain import Language
from medbot_llm.safety.base import Verdict
from medbot_llm.text.language import FOREIGN_LETTERS
from medbot_llm.text.language import is_word_of_sentences

LOOPS = (
    # Signs that are no speech at all, or one syllable held on: 啊啊啊啊啊啊.
    (re.compile(r"(.)\1{6,}"), 1),
    (re.compile(r"(.{2,3}?)\1{4,}"), 2),
    (re.compile(r"(.{4,40}?)\1{2,}"), 4),
)
"""A piece of so many characters again and again at once, without the signs between; the shorter it
is the more often it takes. The number: how many letters it must have, so that 1000000 is none."""
_GLUED = re.compile(r"(?<![A-Za-z])([A-Za-z][a-z]+)\1{2,}(?![A-Za-z])")
"""YouYouYou."""
MAX_FOREIGN_LETTERS = 1
"""One の or μ is in use in Taiwan."""
MAX_ENGLISH_WORDS = 1
"""Small words of English sentences ("the", "with") in a Chinese one; "OK" and names are none."""
MAX_CHINESE_CHARS = 1
"""Small words of Chinese sentences (的, 嗎) in an English one; one may stand in a name."""

_NO_SPEECH = re.compile("[\ufffd\ue000-\uf8ff\U000f0000-\U0010fffd]")
_LATIN = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)?")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_NO_SOUND = re.compile(r"[\W_]+")


def check_garble(sentence: str, language: Language, names: Iterable[str] = ()) -> Verdict:
    """Find loops, and a sentence in two languages.

    Args:
        sentence: As the model wrote it.
        language: The language of the reply.
        names: Names of the task; they may stand in any language.
    """
    text = unicodedata.normalize("NFKC", sentence)
    if match := _NO_SPEECH.search(text):
        return Verdict("garbled", f"U+{ord(match[0]):04X} is no letter")
    if match := _GLUED.search(text):
        return Verdict("garbled", f"loop: {match[0][:40]}")
    sounds = _NO_SOUND.sub("", text).casefold()
    for loop, letters in LOOPS:
        for match in loop.finditer(sounds):
            if sum(char.isalpha() for char in match[1]) >= letters:
                return Verdict("garbled", f"loop: {match[1]}")
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(unicodedata.normalize("NFKC", name), " ") if name else text
    foreign = FOREIGN_LETTERS.findall(text)
    if len(foreign) > MAX_FOREIGN_LETTERS:
        return Verdict("wrong_language", "".join(foreign[:10]))
    words = [word for word in _LATIN.findall(text) if is_word_of_sentences(word)]
    chars = [char for char in _HAN.findall(text) if is_word_of_sentences(char)]
    if language.is_chinese and len(words) > MAX_ENGLISH_WORDS:
        return Verdict("wrong_language", " ".join(words))
    if not language.is_chinese and len(chars) > MAX_CHINESE_CHARS:
        return Verdict("wrong_language", "".join(chars))
    return Verdict()
