"""Make text from outside harmless before it enters a prompt.

Names, notes, label text and recognised speech are written by people this software does not know.
A chat template turns roles into plain characters, so text that contains those characters could
close its own field and speak as the system or as the robot. Listing the markers of every model
family is a race that is lost with each new model; instead every character that *any* family
builds its markers from is replaced by a look-alike that no tokenizer treats specially:

- special tokens stand in ASCII angle or square brackets: `<|im_start|>`, `<start_of_turn>`,
  `</s>`, `<<SYS>>`, `<reserved_106>`, `<think>`, `<tool_call>`, `[INST]`, `[gMASK]`,
  `[|system|]`;
- bars mark tokens inside brackets, ASCII or full-width (DeepSeek's `<｜User｜>`);
- `#` makes the headings of the Alpaca style;
- a role name with a colon makes the turns of the Vicuna style, at the start of a line: line
  breaks become spaces and the colon becomes a dash;
- the lenticular brackets 【】 mark the fields of our own prompts.

"血壓 <120" stays readable as "血壓 ＜120". What cannot be seen (control, format and private-use
characters, bidirectional overrides, variation selectors and tag characters, which can smuggle
hidden text) is removed.
"""

from __future__ import annotations

import re
import unicodedata

ELLIPSIS = "…"
MAX_SPEECH_CHARS = 20_000
"""Of one turn, wherever it comes in."""

_RAW_CHARS_PER_CHAR = 64

_REMOVED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co"})
# Invisible, though Unicode files them under letters and marks.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u3164\uffa0\ufe00-\ufe0f\ufdd0-\ufdef\ufffe\uffff"
    "\U000e0100-\U000e01ef]"
)
# Full-width letters and digits are how a role name or a number could be hidden; punctuation
# stays full-width.
_WIDTH = {
    code: code - 0xFEE0
    for first, last in ((0xFF10, 0xFF19), (0xFF21, 0xFF3A), (0xFF41, 0xFF5A))
    for code in range(first, last + 1)
}
_LOOK_ALIKES = str.maketrans(
    {
        "<": "＜",
        ">": "＞",
        "[": "［",
        "]": "］",
        "|": "¦",
        "｜": "¦",
        "#": "＃",
        "【": "〔",
        "】": "〕",
        "\u2800": " ",
    }
)
_ROLE_MARKER = re.compile(
    r"(?<![A-Za-z])(system|user|assistant|human|model|tool|function|developer|bot|ai|instructions?|response"
    r"|observation|系統|系统|使用者|用戶|用户|助理|助手|機器人|机器人|指令)([*_`\"' ]*)[:：]",
    re.IGNORECASE,
)


def neutralise(text: str, max_chars: int) -> str:
    """Return `text` as one harmless line of at most `max_chars` characters, ending in "…" if it
    was cut.

    Doing it twice changes nothing more. Raises ValueError for `max_chars` below 1.
    """
    if max_chars < 1:
        raise ValueError(f"max_chars is {max_chars}, must be at least 1")
    # Beyond this much raw text nothing can reach the result; a 10 MB note must not cost a second.
    is_cut = len(text) > _RAW_CHARS_PER_CHAR * max_chars
    text = re.sub(r"\s", " ", text[: _RAW_CHARS_PER_CHAR * max_chars])
    text = "".join(char for char in text if unicodedata.category(char) not in _REMOVED_CATEGORIES)
    text = _INVISIBLE.sub("", text).translate(_WIDTH)
    text = unicodedata.normalize("NFC", text).translate(_LOOK_ALIKES)
    text = " ".join(_ROLE_MARKER.sub(r"\1\2 –", text).split())
    if is_cut or len(text) > max_chars:
        text = text[: max_chars - 1].rstrip() + ELLIPSIS
    return text
