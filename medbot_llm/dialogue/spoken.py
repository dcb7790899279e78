"""A sentence as a voice can say it: without the marks that a model makes for the eye.

Nothing that carries meaning is touched. Numbers, units and the names of medicines stay letter by
letter, since whoever hears a dose has no page to check it against; and where a mark between two
digits goes, a space takes its place, so that two numbers never become one.
"""

from __future__ import annotations

import re
import unicodedata

_TEMPLATE_TOKEN = re.compile(
    r"<\|(?:im_start|start_header_id)\|>\s*(?:system|user|assistant)?"
    r"|<start_of_turn>\s*(?:model|user)?"
    r"|<[|｜][^|｜<>\n]{1,40}[|｜]>"
    r"|</?(?:s|unk|pad|bos|eos|eot|end_of_turn|think|thinking|tool_call|tool_response)>"
    r"|\[/?INST\]|<</?SYS>>",
    re.IGNORECASE,
)
"""Control tokens of the chat templates of Qwen, Llama, Mistral, Gemma and DeepSeek."""
_HTML_TAG = re.compile(
    r"</?(?:br|b|i|u|s|p|em|strong|ul|ol|li|div|span|code|pre|sub|sup|h[1-6])\s*/?>", re.IGNORECASE
)
_LINK = re.compile(r"!?\[([^\[\]\n]*)\]\((?:https?://|www\.|mailto:|/|#)[^()\s]*\)", re.IGNORECASE)
_ESCAPE = re.compile(r"\\([*_#`~>\[\]\\-])")
_FENCE = re.compile(r"^\s*(?:```+|~~~+)\s*[A-Za-z]*\s*$")
_RULE = re.compile(r"^[\s|:*_=-]*$")
"""A line across the page, or the second line of a table."""
_LINE_START = re.compile(r"^\s*(?:#{1,6}\s+|[-*+–—•‧·●○■□▪◦]\s+|[•●■▪◦]|>+\s+(?!\d))+")
_BOLD = re.compile(r"\*{2,}|_{2,}|~{2,}|`+|#{2,}")
_STAR = re.compile(r"(?!(?<=[A-Za-z0-9])\*[A-Za-z0-9])(?!(?<=\d )\* \d)\*")
"""But not in "2 * 3", nor in the name of a gene, such as HLA-B*1502, that some medicines need to
know."""
_UNDERLINE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_PIPE = re.compile(r"\|")
_ROLE = re.compile(
    r"^\W*(?:(?:AI|chat|medbot)?\s?(?:assistant|robot|bot)|AI|medbot|answer|response|reply"
    r"|(?:(?:送藥|送药|醫療|医疗|護理|护理|智慧|智能|AI|小)\s?)?(?:機器人|机器人|助理|助手)"
    r"|回答|回覆|回复)\s*[:：]\s*",
    re.IGNORECASE,
)
_SAME_MARK = re.compile(r"([。｡！？!?，,、；;：～])\1+")
_MANY_POINTS = re.compile(r"\.{4,}")
_MANY_ELLIPSES = re.compile(r"…{3,}")
_MANY_DASHES = re.compile(r"([—–])\1{2,}|-{3,}")
_WHITESPACE = re.compile(r"\s+")
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_REPLACEMENT = "\ufffd"
_PICTURE_RANGES = (
    (0x20E3, 0x20E3),  # the key of a keycap
    (0x2139, 0x2139),
    (0x231A, 0x231B),
    (0x23E9, 0x23FF),
    (0x25FB, 0x25FE),
    (0x2600, 0x27BF),
    (0x2B05, 0x2B07),
    (0x2B1B, 0x2B55),
    (0x3030, 0x3030),
    (0xFE00, 0xFE0F),  # variation selectors
    (0x1F000, 0x1FAFF),
)
"""Blocks of emoji and dingbats (Unicode emoji-data), without arrows, and without ™ and ® of
product names."""


def clean(sentence: str) -> str:
    """Give the sentence as a voice can say it; "" if nothing that can be said is left.

    Markdown, HTML tags, emoji, control characters, leftovers of chat templates, a leading role
    name ("機器人：") and repeated punctuation go; the target of a link goes and its words stay;
    whitespace becomes single spaces. A list number stays: it is said. Digits, letters, units and
    signs such as ± or ° stay as they are.
    """
    text = sentence
    # What one pass takes away can bring together a mark of another kind; each pass makes the text
    # simpler.
    while (cleaned := _one_pass(text)) != text:
        text = cleaned
    return text if any(char.isalnum() for char in text) else ""


def _one_pass(text: str) -> str:
    lines = []
    for line in _drop(_TEMPLATE_TOKEN, _without_invisible(text)).splitlines():
        if _FENCE.match(line) or _RULE.match(line):
            continue
        line = _LINK.sub(r"\1", _HTML_TAG.sub(" ", line))
        line = _LINE_START.sub("", line)
        line = _ESCAPE.sub(r"\1", line)
        for mark in (_BOLD, _STAR, _UNDERLINE):
            line = _drop(mark, line)
        lines.append(_PIPE.sub(" ", line))
    text = _ROLE.sub("", _WHITESPACE.sub(" ", " ".join(lines)).strip())
    text = _SAME_MARK.sub(r"\1", text)
    text = _MANY_POINTS.sub("...", text)
    text = _MANY_ELLIPSES.sub("……", text)
    text = _MANY_DASHES.sub(" ", text)
    return _WHITESPACE.sub(" ", text).strip()


def _drop(pattern: re.Pattern[str], text: str) -> str:
    """Take the pattern out, with a space left where two digits would come together."""

    def nothing_or_space(found: re.Match[str]) -> str:
        before, after = text[: found.start()][-1:], text[found.end() :][:1]
        return " " if before.isdigit() and after.isdigit() else ""

    return pattern.sub(nothing_or_space, text)


def _without_invisible(text: str) -> str:
    """Take out emoji and what has no shape, with a space left where two digits would come
    together."""
    if text.isascii() and text.isprintable():
        return text
    kept: list[str] = []
    dropped = False
    for char in text:
        if char.isspace():
            kept.append("\n" if char in "\r\n\u2028\u2029\x0b\x0c\x85" else " ")
            dropped = False
        elif _is_invisible_or_picture(char):
            dropped = True
        else:
            if dropped and char.isdigit() and kept and kept[-1].isdigit():
                kept.append(" ")
            kept.append(char)
            dropped = False
    return "".join(kept)


def _is_invisible_or_picture(char: str) -> bool:
    category = unicodedata.category(char)
    if category in _INVISIBLE_CATEGORIES or char == _REPLACEMENT:
        return True
    # Circled digits (❶) stand among the dingbats, and are numbers.
    if category.startswith("N"):
        return False
    return any(low <= ord(char) <= high for low, high in _PICTURE_RANGES)
