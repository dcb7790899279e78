"""When a turn of speech is over: named strategies.

People pause inside a question. Cutting it there costs more than waiting: the robot answers half a
question, and the other half comes as a new one. So a turn ends after a silence that is longer than
the pauses people make (0.8 s are common at a bedside), and earlier only where what was said so far
is a finished question. Waiting does not cost recognition time: the listener recognises at the
likely end, while the rest of the silence still runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from medbot_llm.domain import StringEnum


class TurnEnd(StringEnum):
    """Strategies of the end of a turn."""

    SILENCE = "silence"
    """After `silence_s`, whatever was said."""
    SENTENCE = "sentence"
    """After `sentence_silence_s` where the text is a finished question, else after `silence_s`."""


@dataclass(frozen=True)
class EndSettings:
    """When a turn is over. All times in s.

    Attributes:
        strategy: Which rule.
        likely_end_s: Silence from which a turn may be over: recognition starts then.
        silence_s: Silence that ends a turn. More than 0.8 s, the longest pause that people make
            inside a question without having lost their thread.
        sentence_silence_s: The same after a finished question.
        longest_s: A turn is cut here, so that its end is not waited for without limit; Whisper
            hears 30 s at once.
    """

    strategy: TurnEnd = TurnEnd.SENTENCE
    likely_end_s: float = 0.2
    silence_s: float = 0.9
    sentence_silence_s: float = 0.6
    longest_s: float = 28.0


_QUESTION_ENDS = re.compile(
    r"(?:[嗎吗嘛呢]|怎麼辦|怎么办|怎麼吃|怎么吃|怎麼用|怎么用|什麼藥|什么药|幾次|几次|為什麼|为什么|是什麼|是什么|什麼時候|什么时候|可不可以|要不要|行不行|好不好|多少|幾顆|几颗|几片|多久"
    r"|再說一次|再说一次|聽不懂|听不懂|謝謝|谢谢)[?？。!！]?$"
)
"""What a Chinese question or request hardly ever goes on after."""
_UNFINISHED_BEFORE = re.compile(r"(?:如果|要是|假如|因為|因为|不知道|除了|關於|关于)[^，,]*$")


def is_finished_question(text: str) -> bool:
    """Whether a person who said this waits for the answer.

    Only for Chinese, whose questions end in words of their own. English ones do not ("can I take
    it" goes on "with milk"), and a recogniser sets a question mark behind both.
    """
    text = text.strip()
    return bool(_QUESTION_ENDS.search(text)) and not _UNFINISHED_BEFORE.search(text)


def silence_needed(settings: EndSettings, text: str | None) -> float:
    """How long a silence ends the turn, s.

    Args:
        text: What was recognised of the turn up to this silence; None: not known yet.
    """
    rule = _RULES[settings.strategy]
    return rule(settings, text)


def _sentence(settings: EndSettings, text: str | None) -> float:
    finished = text is not None and is_finished_question(text)
    return settings.sentence_silence_s if finished else settings.silence_s


_RULES: dict[TurnEnd, Callable[[EndSettings, str | None], float]] = {
    TurnEnd.SILENCE: lambda settings, text: settings.silence_s,
    TurnEnd.SENTENCE: _sentence,
}
