"""The pieces that the patterns of several rooms are made of."""

from __future__ import annotations

import re

HAN = "\u3400-\u4dbf\u4e00-\u9fff"
"""Chinese characters, inside a class."""
GAP = "[ \\t]{0,2}"
NUMBER = (
    r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?"
    r"|[0-9]+(?![0-9])(?:\.[0-9]+(?![0-9]))?|(?<![0-9.])\.[0-9]+)"
)
"""1,250; 0.5; .5."""
DASH = "[-–—−~～〜]"
FROM_TO = rf"(?P<first>{NUMBER})(?:{GAP}{DASH}{GAP}(?P<second>{NUMBER}))?"
"""A number, or two with a dash."""
NO_DIGIT = r"(?![0-9])"
NO_LETTER = r"(?![A-Za-z])"
NO_CODE = r"(?![A-Za-z0-9])"

BEHIND_NUMBER = ".,-–—−~～〜"
"""What may go on with a number, so that more than its first digits has to be seen."""

NUMERALS = "零〇一二三四五六七八九十百千萬万億亿兩两"

COUNTED = (
    "國際單位|国际单位|毫莫耳|毫摩尔|小時|小时|鐘頭|钟头|分鐘|分钟|毫克|公克|微克|毫升|公升|公斤|公分|公里|公尺|"
    "公釐|厘米|西西|毫米|單位|单位|大卡|湯匙|汤匙|茶匙|盎司|膠囊|胶囊|顆|颗|粒|片|錠|锭|枚|丸|克|升|斤|磅|"
    "次|天|週(?!年)|周(?!年)|個|个|歲|岁|秒|針|针|劑|剂|包|袋|瓶|罐|盒|排|滴|噴|喷|吸|口|匙|杯|支|條|条|管|"
    "倍|成|貼|贴|張|张|下|位|種|种|樣|样|餐|頓|顿|回|人|名|者|點|点|刻|層|层|件|把|根|塊|块|步|句|頁|页|份|段|"
    "遍|趟|間|间|組|组|隻|只|雙|双|台|輛|辆|部|側|侧|米|噸|吨|元|晚|夜|碗|勺|格|圈|項|项|道|條|處|处|"
    "年(?![級级])|分(?!之)|百|千|萬|万|億|亿|多"
)
"""Measure words, before which a Chinese 2 is 兩."""

IS_HAN = re.compile(f"[{HAN}]")
END_OF_SENTENCE = re.compile(r"[ ]{0,2}(?:$|\n|[A-Z\u3400-\u9fff])")
"""Behind a full stop that belongs to an abbreviation and ends the sentence too."""


def range_of(found: re.Match[str]) -> tuple[str, str | None]:
    """The numbers of a match of `FROM_TO`."""
    return found["first"], found["second"]


def rises(first: str, second: str) -> bool:
    """Whether two numbers are from … to."""
    return float(first.replace(",", "")) < float(second.replace(",", ""))
