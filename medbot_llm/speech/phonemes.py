"""Text in words → the phonemes that Kokoro 1.0 was trained on.

Chinese is cut into words (jieba), each gets its readings (pypinyin, corrected by the tables
here), the tones change as they do in speech, and each syllable becomes IPA with an arrow for its
tone: the notation of misaki 0.9 (`ZHG2P` without a version), whose table of sounds this is. misaki
itself knows no change of tones in that notation, and can't be installed on Python 3.13 and later.

English gets its IPA from the program espeak-ng, and is then written as misaki writes it, for that
is what the model has read: A for eɪ, ʤ for dʒ.

Both may stand in one sentence. A Chinese voice that reads English phonemes is not understood, so
"請吃 Amlodipine 一顆" becomes three runs, each for a voice of its language.
"""

from __future__ import annotations

import importlib
import logging
import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from functools import lru_cache
from typing import Any

from pypinyin import Style
from pypinyin import lazy_pinyin
from pypinyin.contrib.tone_convert import to_finals
from pypinyin.contrib.tone_convert import to_initials
from pypinyin.contrib.tone_convert import to_tone3

from medbot_llm.domain import Language
from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.espeak import LONGEST_LINE
from medbot_llm.speech.espeak import PROGRAM
from medbot_llm.speech.espeak import TIE
from medbot_llm.speech.espeak import EspeakPhonemes
from medbot_llm.speech.espeak import missing
from medbot_llm.text.language import to_script

logger = logging.getLogger(__name__)

# Marks -------------------------------------------------------------------------------------------

_MARKS = {
    **dict.fromkeys("，,、", ","),
    **dict.fromkeys("。.\n", "."),
    **dict.fromkeys("！!", "!"),
    **dict.fromkeys("？?", "?"),
    **dict.fromkeys("；;", ";"),
    **dict.fromkeys("：:", ":"),
    **dict.fromkeys("…", "…"),
    **dict.fromkeys("—–―", "—"),
    # What is in brackets is said in passing.
    **dict.fromkeys("()（）[]【】《》〈〉{}", ","),
}
SENTENCE_ENDS = ".!?…"
CLAUSE_ENDS = ",;:—"
_STRENGTH = {mark: strength for strength, mark in enumerate(",—:;….!?")}
"""Of several marks in a row, which one is spoken: the one with the highest number."""

# Chinese -----------------------------------------------------------------------------------------

_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_DIGITS = dict(zip("0123456789", "零一二三四五六七八九", strict=True))

# From misaki 0.9.4 (Apache-2.0), transcription.py, itself from pinyin-to-ipa (MIT): the first
# variant of each. 0 stands for the tone's arrow.
_INITIALS = {
    "b": "p",
    "c": "ʦʰ",
    "ch": "ꭧʰ",
    "d": "t",
    "f": "f",
    "g": "k",
    "h": "x",
    "j": "ʨ",
    "k": "kʰ",
    "l": "l",
    "m": "m",
    "n": "n",
    "p": "pʰ",
    "q": "ʨʰ",
    "r": "ɻ",
    "s": "s",
    "sh": "ʂ",
    "t": "tʰ",
    "x": "ɕ",
    "z": "ʦ",
    "zh": "ꭧ",
}
_FINALS = {
    "a": "a0",
    "ai": "ai0",
    "an": "a0n",
    "ang": "a0ŋ",
    "ao": "au0",
    "e": "ɤ0",
    "ei": "ei0",
    "en": "ə0n",
    "eng": "ə0ŋ",
    "i": "i0",
    "ia": "ja0",
    "ian": "jɛ0n",
    "iang": "ja0ŋ",
    "iao": "jau0",
    "ie": "je0",
    "in": "i0n",
    "iou": "jou0",
    "ing": "i0ŋ",
    "iong": "jʊ0ŋ",
    "ong": "ʊ0ŋ",
    "ou": "ou0",
    "u": "u0",
    "uei": "wei0",
    "ua": "wa0",
    "uai": "wai0",
    "uan": "wa0n",
    "uen": "wə0n",
    "uang": "wa0ŋ",
    "ueng": "wə0ŋ",
    "uo": "wo0",
    "o": "wo0",
    "ü": "y0",
    "üe": "ɥe0",
    "üan": "ɥɛ0n",
    "ün": "y0n",
}
_ALONE = {"er": "ɚ0", "o": "ɔ0", "ê": "ɛ0", "io": "jɔ0", "hm": "hm0", "hng": "hŋ0"} | {
    "m": "m0",
    "n": "n0",
    "ng": "ŋ0",
}
"""Syllables that have no initial and final."""
_TONES = {"1": "→", "2": "↗", "3": "↓", "4": "↘", "5": ""}

_BY_TRADITIONAL = {
    "乾": "gan1",
    "幹": "gan4",
    "儘": "jin3",
    "髒": "zang1",
    "臟": "zang4",
    "捲": "juan3",
    "彆": "bie4",
    "鬥": "dou4",
    "隻": "zhi1",
    "髮": "fa4",
}
"""Characters that tell a reading which their simplified form has beside others."""
_NOT_BY_TRADITIONAL = ("乾坤", "乾隆")

_WORDS = {
    "还药": "huan2 yao4",
    "还给": "huan2 gei3",
    "归还": "gui1 huan2",
    "量血压": "liang2 xue4 ya1",
    "量体温": "liang2 ti3 wen1",
    "量血糖": "liang2 xue4 tang2",
    "量体重": "liang2 ti3 zhong4",
    "测量": "ce4 liang2",
    "量测": "liang2 ce4",
    "很长": "hen3 chang2",
    "太长": "tai4 chang2",
    "多长": "duo1 chang2",
    "长一点": "chang2 yi4 dian3",
    "嚼碎": "jiao2 sui4",
    "咀嚼": "ju3 jue2",
    "塞剂": "sai1 ji4",
    "药片": "yao4 pian4",
    "数一数": "shu3 yi5 shu3",
    "数到": "shu3 dao4",
    "降血压": "jiang4 xue4 ya1",
    "降血糖": "jiang4 xue4 tang2",
    "血管": "xue4 guan3",
    "出血": "chu1 xie3",
    "流血": "liu2 xie3",
    "抽血": "chou1 xie3",
    "温开水": "wen1 kai1 shui3",
    "护理师": "hu4 li3 shi1",
    "药师": "yao4 shi1",
    "药剂师": "yao4 ji4 shi1",
    "手环": "shou3 huan2",
    "服药": "fu2 yao4",
    "漏服": "lou4 fu2",
    "长者": "zhang3 zhe3",
    "调高": "tiao2 gao1",
    "调低": "tiao2 di1",
    "空着": "kong1 zhe5",
    "空肚子": "kong1 du4 zi5",
    "晕倒": "yun1 dao3",
    "晕眩": "yun4 xuan4",
    "胀气": "zhang4 qi4",
    "处方笺": "chu3 fang1 jian1",
    "得来速": "de2 lai2 su4",
}
"""Words with readings that pypinyin or the cut into words gets wrong, or that are to stay
whole."""
_ALONE_READ = {
    "量": "liang2",
    "长": "chang2",
    "教": "jiao1",
    "嚼": "jiao2",
    "匙": "chi2",
    "给": "gei3",
    "数": "shu3",
    "得": "de5",
    "地": "di4",
    "著": "zhe5",
    "着": "zhe5",
}
"""A character that is a word of its own; pypinyin gives its most frequent reading in all words."""
_LIANG4_AFTER = tuple("的用剂药食水份少大")
"""量 behind these is an amount, and no measuring."""
_MUST = re.compile(
    r"^(?:先|要|把|去|用|吃|喝|请|马上|赶快|赶紧|立刻|等|多|按|再|小心|注意|从|在|先生)"
)
_PERSONS = frozenset("您你我他她们人都也还就又总可只")
_ADVERB = re.compile(
    r"(?:(.)\1|轻轻|仔细|安静|小心|清楚|完整|整颗|平均|持续|规律|正确|确实|大口|小口)$"
)
_KIN = frozenset("妈爸爷奶哥姐弟妹伯叔姑舅婆公谢太宝")
"""Doubled, their second syllable is without a tone."""
_NUMERALS = frozenset("零〇一二三四五六七八九十百千万点第")
_CHILD = frozenset(
    (
        "女儿",
        "幼儿",
        "婴儿",
        "孤儿",
        "胎儿",
        "患儿",
        "小儿",
        "少儿",
        "男儿",
        "健儿",
        "新生儿",
        "婴幼儿",
        "早产儿",
        "混血儿",
    )
)
"""Words in which 儿 is a child; elsewhere at a word's end it is but an r."""

# English -----------------------------------------------------------------------------------------

# espeak-ng's IPA with TIE → misaki's, from misaki 0.9.4 (Apache-2.0), espeak.py, E2M for American
# English; longest first.
_TO_MISAKI = (
    ("ʔˌn\u0329", "ʔn"),
    ("ʔn\u0329", "ʔn"),
    (f"a{TIE}ɪ", "I"),
    (f"a{TIE}ʊ", "W"),
    (f"d{TIE}ʒ", "ʤ"),
    (f"e{TIE}ɪ", "A"),
    (f"t{TIE}ʃ", "ʧ"),
    (f"ɔ{TIE}ɪ", "Y"),
    (f"ə{TIE}l", "ᵊl"),
    (f"o{TIE}ʊ", "O"),
    (TIE, ""),
    ("ʲo", "jo"),
    ("ʲə", "jə"),
    ("ʲ", ""),
    ("e", "A"),
    ("ɚ", "əɹ"),
    ("ɜːɹ", "ɜɹ"),
    ("ɜː", "ɜɹ"),
    ("ɪə", "iə"),
    ("r", "ɹ"),
    ("x", "k"),
    ("ç", "k"),
    ("ɐ", "ə"),
    ("ɬ", "l"),
    ("\u0303", ""),
    ("ː", ""),
    ("o", "ɔ"),
    ("ɾ", "T"),
    ("ʔ", "t"),
)
_SYLLABIC = re.compile("(\\S)\u0329")

_PRONOUN = re.compile(r"(?<!\S)I(?!\S)")
"""The word "I". Without a stress, as espeak-ng gives it, it is swallowed at the beginning of a
sentence; misaki's dictionary gives it the weak one."""

_LETTERS = {
    "A": "ˈA",
    "B": "bˈi",
    "C": "sˈi",
    "D": "dˈi",
    "E": "ˈi",
    "F": "ˈɛf",
    "G": "ʤˈi",
    "H": "ˈAʧ",
    "I": "ˈI",
    "J": "ʤˈA",
    "K": "kˈA",
    "L": "ˈɛl",
    "M": "ˈɛm",
    "N": "ˈɛn",
    "O": "ˈO",
    "P": "pˈi",
    "Q": "kjˈu",
    "R": "ˈɑɹ",
    "S": "ˈɛs",
    "T": "tˈi",
    "U": "jˈu",
    "V": "vˈi",
    "W": "dˈʌbᵊljˌu",
    "X": "ˈɛks",
    "Y": "wˈI",
    "Z": "zˈi",
}
"""How the letters are called, as misaki writes it."""

_PIECE = re.compile(
    rf"(?P<han>[{_HAN}]+)"
    r"|(?P<latin>[A-Za-zÀ-ÖØ-öø-ÿ0-9]+(?:['’.&-][A-Za-zÀ-ÖØ-öø-ÿ0-9]+)*'?)"
    rf"|(?P<mark>[{re.escape(''.join(_MARKS))}])"
    r"|(?P<other>.)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Run:
    """A stretch of a text in one language.

    Attributes:
        phonemes: With marks, and spaces between words. Without a mark at its end, the next run
            goes on with the sentence.
    """

    phonemes: str
    is_chinese: bool


@dataclass(frozen=True)
class _Spoken:
    """A piece of a text: phonemes of it, or English words whose phonemes are yet to be asked."""

    phonemes: str = ""
    words: str = ""
    mark: str = ""
    is_chinese: bool = False


class Phonemizer:
    """Texts in words → phonemes. Any thread may ask.

    Making one takes some 1 s, for the dictionary of words.

    Args:
        espeak: How English sounds; without espeak-ng, Latin letters in Chinese text are spelled,
            and English text can't be read.

    Raises:
        SpeechError: A package is missing.
    """

    def __init__(self, espeak: EspeakPhonemes | None = None) -> None:
        self._espeak = espeak or EspeakPhonemes()
        self._has_warned = False
        self._words = _dictionary()
        _phrases()

    def phonemes(self, text: str, language: Language) -> str:
        """The phonemes of all runs of a text (`runs`)."""
        return " ".join(run.phonemes for run in self.runs(text, language))

    def runs(self, text: str, language: Language) -> list[Run]:
        """Write a text in phonemes; a mark stands at its end.

        Args:
            text: In words (`spoken_form`). What is neither word nor mark is left out.
            language: What it is in; words of the other language are read as such.

        Raises:
            SpeechError: It is English, or has English words, and espeak-ng fails. A Chinese text
                is read without it where it is not installed.
        """
        pieces = self._pieces(_normal(text), language)
        english = iter(self._english([p.words for p in pieces if p.words], language))
        runs: list[tuple[bool, list[str]]] = []
        mark = ""
        for piece in pieces:
            if piece.mark:
                if not mark or _STRENGTH[piece.mark] > _STRENGTH[mark]:
                    mark = piece.mark
                continue
            sounds = next(english) if piece.words else piece.phonemes
            if not sounds:
                continue
            if runs:
                runs[-1][1][-1] += mark
            if runs and runs[-1][0] == piece.is_chinese:
                runs[-1][1].append(sounds)
            else:
                runs.append((piece.is_chinese, [sounds]))
            mark = ""
        if runs:
            runs[-1][1][-1] += mark or "."
        return [Run(" ".join(sounds), is_chinese) for is_chinese, sounds in runs]

    def _pieces(self, text: str, language: Language) -> list[_Spoken]:
        pieces: list[_Spoken] = []
        words: list[str] = []
        is_first = True

        def end_words() -> None:
            while words:
                line = words.pop(0)[:LONGEST_LINE]
                while words and len(line) + 1 + len(words[0]) <= LONGEST_LINE:
                    line = f"{line} {words.pop(0)}"
                pieces.append(_Spoken(words=line))

        for found in _PIECE.finditer(text):
            if word := found["latin"]:
                if language.is_chinese and word.isdigit():
                    end_words()
                    han = "".join(_DIGITS[digit] for digit in word if digit in _DIGITS)
                    pieces.append(_Spoken(phonemes=self._chinese(han), is_chinese=True))
                elif word in _LETTERS and not (
                    language is Language.EN and (word == "I" or (word == "A" and is_first))
                ):
                    end_words()
                    pieces.append(_Spoken(phonemes=_LETTERS[word]))
                else:
                    words.append(word)
                is_first = False
            elif han := found["han"]:
                end_words()
                pieces.append(_Spoken(phonemes=self._chinese(han), is_chinese=True))
                is_first = False
            elif found["mark"]:
                end_words()
                mark = _MARKS[found["mark"]]
                pieces.append(_Spoken(mark=mark))
                is_first = is_first or mark in SENTENCE_ENDS
        end_words()
        return pieces

    def _english(self, lines: Sequence[str], language: Language) -> list[str]:
        if not lines:
            return []
        if language.is_chinese and not self._espeak.is_installed:
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "%s; until then Latin words in Chinese sentences are spelled", missing(PROGRAM)
                )
            return [_spelled(line) for line in lines]
        return [english_phonemes(ipa) for ipa in self._espeak.ipa(lines)]

    def _chinese(self, han: str) -> str:
        simplified = to_script(han, Language.ZH_HANS)
        words = list(self._words.lcut(simplified))
        readings: list[tuple[str, list[str]]] = []
        place = 0
        for index, word in enumerate(words):
            before = words[index - 1] if index else ""
            after = "".join(words[index + 1 : index + 3])
            syllables = _readings(word, before, after)
            for offset in range(len(syllables)):
                written = han[place + offset]
                if written in _BY_TRADITIONAL and not any(
                    han.startswith(name, place + offset) for name in _NOT_BY_TRADITIONAL
                ):
                    syllables[offset] = _BY_TRADITIONAL[written]
            place += len(word)
            readings.append((word, syllables))
        change_tones(readings)
        spoken = ("".join(syllable_phonemes(s) for s in syllables) for _, syllables in readings)
        return " ".join(word for word in spoken if word)


def english_phonemes(ipa: str) -> str:
    """espeak-ng's IPA as misaki writes it."""
    for old, new in _TO_MISAKI:
        ipa = ipa.replace(old, new)
    ipa = _SYLLABIC.sub(r"ᵊ\1", ipa).replace("\u0329", "").replace("ɹɹ", "ɹ")
    return _PRONOUN.sub("ˌI", ipa)


@lru_cache(maxsize=2048)
def syllable_phonemes(syllable: str) -> str:
    """A syllable of pinyin with its tone's number, as misaki writes it; "" for what is none."""
    plain, tone = syllable[:-1], _TONES.get(syllable[-1:])
    if tone is None:
        return ""
    plain = plain.replace("v", "ü")
    if plain in _ALONE:
        return _ALONE[plain].replace("0", tone)
    initial = to_initials(plain, strict=True)
    final = to_finals(plain, strict=True, v_to_u=True)
    if final not in _FINALS or (initial and initial not in _INITIALS):
        return ""
    sound = _FINALS[final]
    if final == "i" and initial in ("z", "c", "s", "zh", "ch", "sh", "r"):
        sound = "ɨ0"
    return _INITIALS.get(initial, "") + sound.replace("0", tone)


def change_tones(words: list[tuple[str, list[str]]]) -> None:
    """Change the tones of 一, 不 and third tones in a row as in speech, in place."""
    chars = [char for word, _ in words for char in word]
    tones = [syllable[-1:] for _, syllables in words for syllable in syllables]
    for index, char in enumerate(chars):
        before = chars[index - 1] if index else ""
        after = chars[index + 1] if index + 1 < len(chars) else ""
        next_tone = tones[index + 1] if index + 1 < len(tones) else ""
        if char == "不":
            if before and before == after:
                tones[index] = "5"
            else:
                tones[index] = "2" if next_tone == "4" else "4"
        elif char == "一" and tones[index] != "5":
            if before and before == after:
                tones[index] = "5"
            elif _is_counted_off(before, after, "".join(chars[index + 2 : index + 3])):
                tones[index] = "1"
            else:
                # 个 is spoken without a tone of its own, and counts with that which it had.
                tones[index] = "2" if next_tone == "4" or after == "个" else "4"
    _third_tones([len(word) for word, _ in words], tones)
    place = 0
    for _, syllables in words:
        for offset, syllable in enumerate(syllables):
            if syllable:
                syllables[offset] = syllable[:-1] + tones[place + offset]
        place += len(syllables)


def _is_counted_off(before: str, after: str, behind: str) -> bool:
    """Whether 一 between these keeps its tone: in a row of digits, an ordinal, a date, or last."""
    if not after or after in "月号日" or after in _DIGITS.values():
        return True
    if before and (before in _NUMERALS or before in "期拜周初"):
        return True
    return after == "十" or (after == "点" and behind in _DIGITS.values())


def _third_tones(lengths: Sequence[int], tones: list[str]) -> None:
    """Of two third tones, the first becomes a second: inside words, and between short ones."""
    groups: list[tuple[int, int]] = []
    place = 0
    for length in lengths:
        joins = (
            groups
            and tones[place - 1] == "3"
            and tones[place : place + 1] == ["3"]
            and groups[-1][1] - groups[-1][0] + length <= 3
        )
        if joins:
            groups[-1] = (groups[-1][0], place + length)
        else:
            groups.append((place, place + length))
        if length == 3 and tones[place : place + 3] == ["3"] * 3:
            # 洗手间 is (洗手)间: two of a word of three belong together.
            tones[place] = "2"
        place += length
    for start, end in groups:
        for index in range(end - 2, start - 1, -1):
            if tones[index] == "3" and tones[index + 1] in ("3", "changed"):
                tones[index] = "changed"
        for index in range(start, end):
            if tones[index] == "changed":
                tones[index] = "2"


def _readings(word: str, before: str, after: str) -> list[str]:
    """Syllables of a word in simplified characters, one for each; "" for one that has none."""
    if word in _WORDS:
        return _WORDS[word].split()
    if word == "得":
        if _MUST.match(after) and (not before or before[-1] in _PERSONS):
            return ["dei3"]
        return ["de5"]
    if word == "地":
        return ["de5" if _ADVERB.search(before) and after else "di4"]
    if word == "量" and before.endswith(_LIANG4_AFTER):
        return ["liang4"]
    if word == "长" and after.startswith(("出", "大", "高", "了", "在", "得")):
        return ["zhang3"]
    if word in _ALONE_READ:
        return [_ALONE_READ[word]]
    syllables = _pinyin(word)
    if len(word) == 3 and word[1] == "得":
        # 走得慢, 看得见
        syllables[1] = "de5"
    if len(word) == 2 and word[0] == "教" and word[1] in _PERSONS:
        syllables[0] = "jiao1"
    for index, char in enumerate(word):
        if char in "匙嚼" and word not in ("钥匙", "咀嚼"):
            syllables[index] = _ALONE_READ[char]
    if len(word) > 1 and word[-1] == "儿" and word not in _CHILD:
        syllables[-1] = "er5"
    if len(word) == 2 and word[0] == word[1] and word[0] in _KIN:
        syllables[1] = syllables[1][:-1] + "5"
    return syllables


def _pinyin(word: str) -> list[str]:
    """One syllable for each character, "" for one that has none; of the longest phrases in it."""
    phrases = _phrases()
    syllables: list[str] = []
    while len(syllables) < len(word):
        start = len(syllables)
        for end in range(len(word), start + 1, -1):
            if reading := phrases.get(word[start:end]):
                syllables += reading.split()
                break
        else:
            syllables += lazy_pinyin(
                word[start],
                style=Style.TONE3,
                neutral_tone_with_five=True,
                errors=lambda char: "",
            )[:1] or [""]
    return syllables


@cache
def _phrases() -> dict[str, str]:
    """Phrases of pypinyin whose reading is not that of their characters.

    The package has pypinyin do without phrases (`medbot_llm/__init__.py`), since they take 42 MB
    and other rooms know sounds by characters. So they are read here beside it, 9,000 of 47,000
    are kept, and the rest is given back.
    """
    from pypinyin.pinyin_dict import pinyin_dict

    name = "pypinyin.phrases_dict"
    was_loaded = name in sys.modules
    every = importlib.import_module(name).phrases_dict
    kept = {}
    for phrase, readings in every.items():
        usual = [pinyin_dict.get(ord(char), "").split(",")[0] for char in phrase]
        found = [options[0] for options in readings]
        if found != usual and len(found) == len(phrase):
            kept[phrase] = " ".join(to_tone3(s, neutral_tone_with_five=True) for s in found)
    if not was_loaded:
        del sys.modules[name]
    return kept


def _normal(text: str) -> str:
    """One form of wide letters and marks; what is no text goes."""
    return unicodedata.normalize("NFKC", text.encode("utf-8", "ignore").decode())


def _spelled(words: str) -> str:
    return " ".join(_LETTERS[char] for char in words.upper() if char in _LETTERS)


def _dictionary() -> Any:
    """jieba's words, and ours."""
    try:
        import jieba
    except ImportError:
        raise SpeechError(
            'Chinese is read with jieba, which is not installed: pip install "medbot_llm[voice]"'
        ) from None
    jieba.setLogLevel(logging.WARNING)
    words = jieba.Tokenizer()
    # Its own `initialize` keeps a file in the folder for temporary files, where others could have
    # put theirs; reading the dictionary takes 0.7 s.
    words.FREQ, words.total = words.gen_pfdict(words.get_dict_file())
    words.initialized = True
    for word in _WORDS:
        words.add_word(word)
    return words


# Long texts --------------------------------------------------------------------------------------

_AFTER = (
    re.compile(rf"(?<=[{re.escape(SENTENCE_ENDS)}])\s+"),
    re.compile(rf"(?<=[{re.escape(CLAUSE_ENDS)}])\s+"),
    re.compile(r"\s+"),
)
"""Where phonemes are cut, from best to worst."""


def cut(phonemes: str, longest: int) -> list[str]:
    """Cut phonemes into parts of at most `longest`: between sentences, else between clauses, else
    between words, else anywhere."""
    parts: list[str] = []
    for unit in _units(phonemes, longest, 0):
        if parts and len(parts[-1]) + 1 + len(unit) <= longest:
            parts[-1] = f"{parts[-1]} {unit}"
        else:
            parts.append(unit)
    return parts


def _units(phonemes: str, longest: int, level: int) -> list[str]:
    phonemes = phonemes.strip()
    if len(phonemes) <= longest:
        return [phonemes] if phonemes else []
    if level == len(_AFTER):
        return [phonemes[i : i + longest] for i in range(0, len(phonemes), longest)]
    return [
        unit for part in _AFTER[level].split(phonemes) for unit in _units(part, longest, level + 1)
    ]
