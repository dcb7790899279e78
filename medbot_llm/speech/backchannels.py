"""What is said into the robot's speech and is no interruption.

People say 嗯 and "yeah" to show that they listen, and the microphone may bring the robot's own
words back. Both are told by their text: the first by its words, the second by its sounds, since a
recogniser writes an echo with other characters of the same sound.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rapidfuzz import fuzz

from medbot_llm.domain import Language
from medbot_llm.text.language import to_script
from medbot_llm.text.syllables import folded_syllable
from medbot_llm.text.syllables import readings

MAX_CHARS = 12
ECHO_SIMILARITY = 75.0
"""Share of the heard sounds that are found in their order in the robot's words, in per cent."""
MIN_ECHO = 4
"""Syllables or words from which something can be an echo: one 好 is anybody's."""

_CHINESE = re.compile(
    r"(?:[嗯恩喔哦噢欸诶誒啊呃唔哼咦哇唉]|嗯哼|對|对|對啊|对啊|對對|好|好的|好啦|好喔|好哦|是|是的|是喔|是哦|是啊|了解|知道|知道了"
    r"|這樣啊|这样啊|原來如此|原来如此|沒錯|没错|真的|真的喔|哈|呵|嘿)+"
)
_ENGLISH = re.compile(
    r"(?:(?:m+h*m*|u+h*|u+m+|a+h+|o+h+|h+m+|huh|yeah|yep|yes|yup|ok|okay|right|sure|i see|got it"
    r"|uh huh|mm hmm|mhm|alright|all right|good|fine|great|really|wow|cool|true|exactly)\b[\s]*)+"
)


_HELP = re.compile(
    r"救命|救我|救人|胸口|好痛|很痛|喘不|不能呼吸|流血|暈倒|晕倒|昏倒|過敏|过敏|護理師|护士|護士|醫生|医生"
    r"|\b(?:help|chest|breath\w*|bleed\w*|hurts?|pain|faint\w*|nurse|doctor|emergency|allergic)\b",
    re.IGNORECASE,
)


def is_call_for_help(text: str) -> bool:
    """Whether a text has a word with which people call for help: it is told to the triage even
    where it was hardly heard. What it means is the triage's to say.
    """
    return bool(_HELP.search(text))


def is_backchannel(text: str) -> bool:
    """Whether a text only shows that somebody listens, or is no word at all."""
    plain = re.sub(r"[^\w\s]", " ", text).lower().strip()
    joined = re.sub(r"\s+", "", plain)
    if not joined:
        return True
    if len(joined) > MAX_CHARS * 2:
        return False
    return bool(_CHINESE.fullmatch(joined)) or bool(
        _ENGLISH.fullmatch(re.sub(r"[\s-]+", " ", plain))
    )


def is_echo_of(heard: str, said: str) -> bool:
    """Whether what was heard sounds like a part of what the robot said."""
    heard_sounds, said_sounds = _sounds(heard), _sounds(said)
    if len(heard_sounds) < MIN_ECHO or not said_sounds:
        return False
    if len(heard_sounds) > len(said_sounds):
        return fuzz.ratio(heard_sounds, said_sounds) >= ECHO_SIMILARITY
    return fuzz.partial_ratio(heard_sounds, said_sounds) >= ECHO_SIMILARITY


@lru_cache(maxsize=256)
def _sounds(text: str) -> tuple[str, ...]:
    """Syllables of Chinese characters, and Latin words."""
    plain = to_script(text.lower(), Language.ZH_HANS)
    tokens = re.findall(r"[\u3400-\u4dbf\u4e00-\u9fff]|[a-z']+|\d", plain)
    return tuple(_syllable(token) if token > "\u3400" else token for token in tokens)


def _syllable(char: str) -> str:
    found = readings(char)
    return folded_syllable(found[0]) if found else char
