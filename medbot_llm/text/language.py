"""Which language someone speaks, and the script in which Chinese is written.

Both are decided utterance by utterance. Chinese spoken at a bedside is full of Latin letters (drug
names, doses, "OK") and English has Chinese drug names in it, so counting letters is not enough:
the small words that only a sentence of that language has come first, the share of letters second.

Script is converted character by character (OpenCC `s2tw` and `tw2s`), never with the dictionaries
of regional words (`s2twp`, `tw2sp`). Those are made for computing and are dangerous here; OpenCC
1.4.2 made 血液循环 into 血液迴圈 (a loop in a program), 领药窗口 into 領藥視窗, 体内存在 into
體記憶體在, 呼叫護士 into 调用护士, and renamed medicines (阿司匹林, 他汀).
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterable
from functools import cache

from opencc import OpenCC

from medbot_llm.domain import Language

_TO_TAIWAN = "s2tw"
_TO_MAINLAND = "tw2s"
_TO_SIMPLIFIED = "t2s"

_HAN = re.compile(r"[\u3105-\u312f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
"""Chinese characters, and the Zhuyin letters that people in Taiwan mix in."""
_FIRST_HAN, _LAST_HAN = 0x4E00, 0x9FFF
_BOPOMOFO = re.compile(r"[\u3105-\u312f]")
_LATIN_WORD = re.compile(r"[A-Za-zＡ-Ｚａ-ｚÀ-ÖØ-öø-ÿ]+(?:['’][A-Za-z]+)?")
_KANA_OR_HANGUL = re.compile(r"[\u3041-\u30fa\u1100-\u11ff\uac00-\ud7af]")
_FOREIGN_LETTER = re.compile(r"[\u0370-\u10ff\u1200-\u1cff]")
"""Greek, Cyrillic, Hebrew, Arabic, the scripts of India and South-East Asia: no language of the
product."""
FOREIGN_LETTERS = re.compile(f"{_KANA_OR_HANGUL.pattern}|{_FOREIGN_LETTER.pattern}")
"""A letter of a language that is not of the product."""

MIN_KANA_OR_HANGUL = 2
"""One の is a fashion on shop signs in Taiwan; two such letters, and …"""
MIN_KANA_OR_HANGUL_SHARE = 0.25
"""… a quarter of the East Asian letters, are Japanese or Korean."""

MIN_UNKNOWN_ENGLISH_WORDS = 3
"""Latin words of which none is known: from this number on a sentence, taken for English; fewer are
a name."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CHINESE_SENTENCE = frozenset(
    "的嗎吗呢吧啊我你您妳他她它這这那哪是有沒没不要可能會会怎麼么什甚吃喝用還还了著着過过跟和與与在把被給给讓让"
    "請请問问說说幾几多少為为很太就都也但因所以後后前要想覺觉得知道"
)
"""Characters that a Chinese sentence has, and a Chinese drug name hardly ever."""

_ENGLISH_SENTENCE = _words(
    "a an the i i'm i've i'd me my you you're your he she it it's its we they them his her this"
    " that these those is are am was were be been isn't aren't do does did don't doesn't didn't"
    " can can't cannot could will would should may must have has had haven't what what's when"
    " where which who why how and or but if with without for from to of at by about before after"
    " during because not any some more than there"
)
"""Words that an English sentence has, and a drug name never."""

_ENGLISH_ALONE = _words(
    "hello hi hey bye goodbye thanks thank please sorry yes yeah yep no nope sure help stop wait"
    " emergency urgent nurse doctor pharmacist robot patient mother father pain painful hurt"
    " hurts hurting chest breath breathe breathing bleeding dizzy allergic allergy rash fever"
    " cough vomit vomiting nausea sick water food breakfast lunch dinner morning noon evening"
    " night today tomorrow medicine medication drug pill pills take taking took eat drink need"
    " want understand again repeat slower louder speak english good great fine ready here now"
    " side effects effect dose missed forgot call come go open close wrong right same different"
    " pregnant milk juice alcohol coffee headache stomach heart blood pressure welcome everything"
    " nothing"
)
"""Words that tell English even where they stand alone: greetings, and what is called out at a
bedside."""

_NEUTRAL = _words(
    "ok okay mg mcg ug g kg ml l cc iu mmol dl bid tid qid qd prn po hs ac pc er icu ct mri pt"
    " app line qr x tablet tablets tab cap capsule capsules syrup cream ointment injection"
    " vitamin"
)
"""Words that are said in Chinese sentences as they are."""

_SHARED = frozenset(
    "丑于云仆伙余佣准几凶划占台吁后咨咸尸岩岳帘干征愿挂斗朴杠涌游筑荐虫辟郁采里雇范腌蝎蜡熏淀檐晒污泄霉肴"
)
"""Characters that OpenCC changes on the way to Traditional although they are correct there too (后
in 皇后, 里 in 公里, 余 as a name); from the entries of its STCharacters table that name the
character itself as an alternative, and what Taiwan's press prints (晒, 污). They tell nothing
about the script."""

_KEPT_IN_TAIWAN = frozenset("台污泄晒檐肴")
"""Of those, the ones that need no change: 台灣 is as correct as 臺灣."""

_TAIWAN_FORMS = str.maketrans("裏爲衆牀喫羣麪啓僞峯覈説綫", "裡為眾床吃群麵啟偽峰核說線")
"""Traditional characters as Hong Kong and older print write them, and as Taiwan does."""

_SURNAME = re.compile(
    r"(?<![由關关對对至等在處处位屬属用便基出過过高低大小剩其多憂忧旅導导])[于余游岳丑郁涂]"
    r"(?=[\u4e00-\u9fff]{0,2}(?:先生|小姐|女士|太太|伯伯|阿姨|奶奶|爺爺|爷爷|同學|同学|小朋友|弟弟|妹妹"
    r"|醫師|医师|醫生|医生|護理師|护理师|護士|护士|藥師|药师|主任|老師|老师))"
)
"""A surname before a title, which OpenCC takes for the character's other meaning (余先生 became
餘先生)."""

_lock = threading.Lock()


def detect_language(text: str, default: Language) -> Language:
    """Tell the language of one utterance; default where the text does not tell it.

    A Chinese sentence with Latin drug names is Chinese, an English one with Chinese drug names
    English. The default is given for an utterance without letters, of "OK", units and numbers
    alone, of one or two unknown Latin words (the lone name of a medicine is no change of
    language), and in a language that is not of the product, such as Japanese or Korean. Chinese
    whose characters are the same in both scripts is of the default's script, or Traditional where
    the default is English.

    The script is that of the text: a recognizer that writes what it hears in either script tells
    nothing by it about the speaker. Convert its text with `to_script` first where the session's
    script is known.
    """
    han = len(_HAN.findall(text))
    words = [_fold(word) for word in _LATIN_WORD.findall(text)]
    other = len(_KANA_OR_HANGUL.findall(text))
    foreign = len(_FOREIGN_LETTER.findall(text))
    if other >= MIN_KANA_OR_HANGUL and other >= MIN_KANA_OR_HANGUL_SHARE * (han + other):
        return default
    if foreign > han + sum(map(len, words)):
        return default
    if han:
        chinese = any(char in _CHINESE_SENTENCE for char in text)
        english = any(word in _ENGLISH_SENTENCE for word in words)
        if (english and not chinese) or (english == chinese and len(words) > han):
            return Language.EN
        return _script(text, default)
    telling = [word for word in words if word not in _NEUTRAL and len(word) > 1]
    known = any(word in _ENGLISH_SENTENCE or word in _ENGLISH_ALONE for word in telling)
    if known or len(telling) >= MIN_UNKNOWN_ENGLISH_WORDS:
        return Language.EN
    return default


def is_word_of_sentences(word: str) -> bool:
    """Whether a Latin word or a Chinese character is one that sentences of its language have, and
    names of medicines have not.
    """
    return word in _CHINESE_SENTENCE or _fold(word) in _ENGLISH_SENTENCE


def to_script(text: str, language: Language, keep: Iterable[str] = ()) -> str:
    """Write Chinese text in the script of language; for English give the text as it is.

    Only Chinese characters change, each into one other, so letters, numbers, spaces and
    punctuation stay where they were. Correct text in the script asked for does not change. A name
    that stands in `keep` is not touched where it occurs as written there; surnames before a title
    are kept anyway. Any thread may call it.
    """
    if not language.is_chinese or not _HAN.search(text):
        return text
    convert = _to_traditional if language is Language.ZH_HANT else _to_simplified
    converted = list(convert(text))
    names = [re.escape(name) for name in keep if name]
    patterns = [re.compile("|".join(sorted(names, key=len, reverse=True)))] if names else []
    if language is Language.ZH_HANT:
        patterns.append(_SURNAME)
    for pattern in patterns:
        for found in pattern.finditer(text):
            converted[found.start() : found.end()] = found.group()
    return "".join(converted)


def _fold(word: str) -> str:
    """A Latin word in lower case, with plain letters and apostrophe."""
    if not word.isascii():
        word = unicodedata.normalize("NFKC", word).replace("’", "'")
    return word.lower()


def _script(text: str, default: Language) -> Language:
    simplified_only, traditional_only = _only_in_one_script()
    simplified = sum(char in simplified_only for char in text)
    traditional = sum(char in traditional_only or bool(_BOPOMOFO.match(char)) for char in text)
    if simplified != traditional:
        return Language.ZH_HANS if simplified > traditional else Language.ZH_HANT
    return default if default.is_chinese else Language.ZH_HANT


def has_known_english(text: str) -> bool:
    """Whether a text has a word that English sentences have, or that is called out alone."""
    known = _ENGLISH_SENTENCE | _ENGLISH_ALONE | _NEUTRAL
    return any(_fold(word) in known for word in _LATIN_WORD.findall(text))


def _to_traditional(text: str) -> str:
    simplified_only, traditional_only = _only_in_one_script()
    is_traditional = any(char in traditional_only for char in text)
    if is_traditional and not any(char in simplified_only for char in text):
        return text.translate(_TAIWAN_FORMS)
    # By way of Simplified, since OpenCC knows its words in one script only: of a mixed 干擾 it
    # makes 幹擾.
    converted = _convert(_TO_TAIWAN, _convert(_TO_SIMPLIFIED, text))
    return "".join(
        old if old in traditional_only or old in _KEPT_IN_TAIWAN else new
        for old, new in zip(text, converted, strict=True)
    ).translate(_TAIWAN_FORMS)


def _to_simplified(text: str) -> str:
    return _convert(_TO_MAINLAND, text)


def _convert(config: str, text: str) -> str:
    """Convert the Chinese characters of text; the result has the same length."""
    # OpenCC fails on what UTF-8 can't carry, and stops at a NUL. Being no Chinese characters, both
    # are put back.
    readable = text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")
    with _lock:
        converted = _converter(config).convert(readable)
        if len(converted) != len(text):
            converted = "".join(map(_converter(config).convert, readable))
    if len(converted) != len(text):
        return text
    return "".join(
        new if _HAN.match(old) else old for old, new in zip(text, converted, strict=True)
    )


@cache
def _converter(config: str) -> OpenCC:
    return OpenCC(config)


@cache
def _only_in_one_script() -> tuple[frozenset[str], frozenset[str]]:
    """The characters that only Simplified has, and those that only Traditional has; takes about 10
    ms once."""
    every = [chr(code) for code in range(_FIRST_HAN, _LAST_HAN + 1)]
    text = "\n".join(every)
    simplified = _convert(_TO_SIMPLIFIED, text).split("\n")
    traditional = _convert(_TO_TAIWAN, text).split("\n")
    rows = list(zip(every, simplified, traditional, strict=True))
    simplified_only = {old for old, hans, hant in rows if old == hans and old != hant}
    traditional_only = {old for old, hans, _ in rows if old != hans}
    return frozenset(simplified_only - _SHARED), frozenset(traditional_only)
