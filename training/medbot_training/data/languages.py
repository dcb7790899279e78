"""Which language a text of any length is in, where the text itself tells it."""

from __future__ import annotations

import re

from medbot_llm.domain import Language
from medbot_llm.text.language import detect_language

_HAN = re.compile(r"[\u3400-\u9fff]")
_LATIN = re.compile(r"[A-Za-z]+")


def told_language(text: str) -> Language | None:
    """The language of a text; None where nothing in it tells Traditional from Simplified."""
    told = {detect_language(_chinese(text), default) for default in Language}
    return told.pop() if len(told) == 1 else None


def main_language(text: str, default: Language = Language.ZH_HANT) -> Language:
    """The language of a text; `default` for Chinese in characters that both scripts have."""
    return detect_language(_chinese(text), default)


def _chinese(text: str) -> str:
    """A mostly Chinese text without its Latin letters: the A of a bag's number is no English."""
    han, latin = len(_HAN.findall(text)), sum(map(len, _LATIN.findall(text)))
    return _LATIN.sub(" ", text) if han > latin else text
