"""Text in plain letters and digits: one width, one kind of digit, and nothing that has no sound.

The dialogue cleans what a model writes (`dialogue/spoken.py`); the voice says other text too, such
as a label, so it takes nothing for granted.
"""

from __future__ import annotations

import re
import unicodedata

_SIGNS_IN_WIDE_FORM = str.maketrans("％／＋－＝＜＞＆＃＠＊＄＿｜＼＾｀　", "%/+-=<>&#@*$_|\\^` ")
_COMPATIBLE = {
    **{char: unicodedata.normalize("NFKC", char) for char in "㎎㎏㏄㎖㎗㎍㎝㎜㎞㎡㏕ℓ㎐㎉㎈㎭ﬁﬂ"},
    **{char: unicodedata.normalize("NFKC", char) for char in "ⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩⅪⅫⅰⅱⅲⅳⅴⅵⅶⅷⅸⅹ"},
    **{char: unicodedata.normalize("NFKC", char) for char in "₀₁₂₃₄₅₆₇₈₉"},
    **{chr(0xFF21 + i): chr(0x41 + i) for i in range(26)},
    **{chr(0xFF41 + i): chr(0x61 + i) for i in range(26)},
    "℃": "°C",
    "℉": "°F",
    "⁄": "/",
    "∕": "/",
    "‐": "-",
    "‑": "-",
    "﹣": "-",
    "\u00a0": " ",
    "\u2002": " ",
    "\u2003": " ",
    "\u3000": " ",
}
_COMPATIBLE_CHARS = str.maketrans(_COMPATIBLE)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_SUPERSCRIPT = re.compile(r"(?<=[0-9])([⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_VULGAR = re.compile("([0-9]?)([½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞])")
_SPACE_IN_NUMBER = re.compile("(?<=[0-9])[\u2009\u202f](?=[0-9]{3}(?![0-9]))")
_SPACED_THOUSANDS = re.compile("(?<![0-9.,/])[0-9]{1,3}(?: 000)+(?![0-9.])")
"""1 000 000: nobody counts 000 of anything."""
_WIDE_POINT = re.compile("(?<=[0-9])．(?=[0-9])")
_INVISIBLE = re.compile(
    "[\u0000-\u0008\u000e-\u001f\u007f-\u0084\u0086-\u009f\u00ad\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u20e3\ufe00-\ufe0f\ufeff\ufff9-\ufffd\ud800-\udfff\ue000-\uf8ff"
    "\U000e0000-\U000e01ef]+"
)
_KEYCAP = re.compile("([0-9])\ufe0f?\u20e3")
_PICTURE = re.compile(
    "[\u2139\u231a-\u231b\u23e9-\u23ff\u2600-\u2775\u2795-\u2797\u27b0\u27bf\u2b05-\u2b07"
    "\u2b1b-\u2b55\u3030\U0001f000-\U0001faff]+[ \\t]?"
)


def plain(text: str) -> str:
    """The text in plain digits and letters, without what has no sound."""
    if not text.isascii() or not text.replace("\n", "").replace("\t", "").isprintable():
        text = _KEYCAP.sub(lambda found: "⓪①②③④⑤⑥⑦⑧⑨"[int(found[1])], text)
        text = _INVISIBLE.sub("", text)
        text = _PICTURE.sub(_space_between_words, text)
        text = _VULGAR.sub(_vulgar, text)
        text = _SUPERSCRIPT.sub(lambda found: "^" + found[1].translate(_SUPERSCRIPTS), text)
        text = text.translate(_COMPATIBLE_CHARS).translate(_SIGNS_IN_WIDE_FORM)
        text = "".join(
            str(unicodedata.decimal(char)) if not char.isascii() and char.isdecimal() else char
            for char in text
        )
        text = _WIDE_POINT.sub(".", text)
        text = _SPACE_IN_NUMBER.sub("", text).replace("\u2009", " ").replace("\u202f", " ")
    return _SPACED_THOUSANDS.sub(lambda found: found[0].replace(" ", ""), text)


def _space_between_words(found: re.Match[str]) -> str:
    before = found.string[max(0, found.start() - 1) : found.start()]
    after = found.string[found.end() : found.end() + 1]
    return " " if before.isalnum() and after.isalnum() and (before + after).isascii() else ""


def _vulgar(found: re.Match[str]) -> str:
    parts = unicodedata.normalize("NFKC", found[2]).replace("⁄", "/")
    return f"{found[1]} {parts}" if found[1] else parts
