"""How Chinese characters are read: the syllables of a text, and which of them are taken for one
another.

Who looks for a word by its sound needs these: the names of medicines (`knowledge/names.py`), the
phrases of danger (`safety/sounds.py`) and the repair of what a recogniser wrote
(`speech/repair.py`). A reading is pinyin with its tone as a
digit, "zhang4", neutral 5, ü as v or ü.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

_SYLLABLE = re.compile(r"(zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw]?)([a-züv]*)(\d?)")
_ACCENT = {"zh": "z", "ch": "c", "sh": "s", "n": "l", "r": "l", "f": "h"}
_TAIWAN = {
    "血": ("xie3",),
    "液": ("yi4",),
    "和": ("han4",),
    "熟": ("shou2",),
    "崖": ("yai2",),
    "垃": ("le4",),
    "圾": ("se4",),
    "蜗": ("gua1",),
    "暂": ("zhan4",),
    "亚": ("ya3",),
    "质": ("zhi2",),
    "期": ("qi2",),
    "微": ("wei2",),
    "危": ("wei2",),
    "息": ("xi2",),
    "击": ("ji2",),
    "识": ("shi4",),
    "研": ("yan2",),
    "脂": ("zhi1",),
    "骨": ("gu3", "gu2"),
    "发": ("fa3",),
    "剖": ("pou3",),
    "携": ("xi1",),
    "迹": ("ji1",),
    "综": ("zong4",),
    "跌": ("die2",),
    "拥": ("yong3",),
    "档": ("dang3",),
    "酵": ("xiao4",),
    "娠": ("shen1",),
    "腭": ("e4",),
    "颗": ("ke1",),
    "尿": ("sui1",),
}
"""Readings of Taiwan (Ministry of Education, 國語一字多音審訂表, 1999) that pinyin dictionaries of
the mainland lack, of characters that a ward uses."""

MAX_READINGS = 4
"""Of one character; what a dictionary names further on nobody says."""

_TONE_MARKS = {"\u0304": "1", "\u0301": "2", "\u030c": "3", "\u0300": "4"}


@cache
def split_syllable(reading: str) -> tuple[str, str, str]:
    """Initial, final and tone of a reading: "zhang4" is ("zh", "ang", "4")."""
    found = _SYLLABLE.fullmatch(reading)
    return (found[1], found[2], found[3]) if found else ("", reading, "")


@cache
def folded_syllable(reading: str) -> str:
    """What remains of a reading where an accent drops zh, ch, sh, l/n, f/h and -ng."""
    initial, final, _ = split_syllable(reading)
    return _ACCENT.get(initial, initial) + re.sub("ng$", "n", final)


@cache
def readings(char: str) -> tuple[str, ...]:
    """The readings of one Simplified character, the usual one first, Taiwan's among them; () for
    what is no Chinese character."""
    from pypinyin.pinyin_dict import pinyin_dict

    marked = pinyin_dict.get(ord(char))
    if marked is None:
        return ()
    found = [_with_digit(reading) for reading in marked.split(",")][:MAX_READINGS]
    return tuple(dict.fromkeys((*found, *_TAIWAN.get(char, ()))))


def taiwan_readings(char: str) -> tuple[str, ...]:
    """The readings of a Simplified character in Taiwan that dictionaries of the mainland lack."""
    return _TAIWAN.get(char, ())


def _with_digit(marked: str) -> str:
    """Write "zhāng" as "zhang1"."""
    plain: list[str] = []
    tone = "5"
    for char in unicodedata.normalize("NFD", marked):
        if char in _TONE_MARKS:
            tone = _TONE_MARKS[char]
        elif char == "\u0308":
            plain[-1] = "v"
        elif char != "\u0302":
            plain.append(char)
    return "".join(plain) + tone
