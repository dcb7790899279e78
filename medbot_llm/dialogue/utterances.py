"""What can be told of an utterance by itself: whether it is words at all, whether it goes on from
the question before, and what of it is said back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from medbot_llm.dialogue.intents import ABOUT_ONE_MEDICINE
from medbot_llm.dialogue.intents import Intent
from medbot_llm.dialogue.missed_dose import tells_hours
from medbot_llm.domain import Language
from medbot_llm.domain import Medication
from medbot_llm.text.english import rarity
from medbot_llm.text.language import has_known_english
from medbot_llm.text.normal import canonical
from medbot_llm.text.normal import with_digits

SOMETHING_SAID = re.compile(r"\w")
GARBLE = frozenset(
    "嗯啊呃喔哦欸诶咕噜噗啦嘎叭呜哇咿呀哩喵嘟咚砰嘶呼哼嘿嘻唔咦嘛吧啵嚕嗚囉喇叽哔吱滋咻"
    "哈勒喀咧呣啾哞咩嗡啪嗷嗤唷噢呗嚓咔"
)
"""Characters that stand for sounds."""
GARBLE_SHARE, MIN_GARBLE = 0.6, 3
COMMON_RARITY, COMMON_SHARE = 9.5, 0.4
"""Of English, at least so many of the words are no rarer (`text/english.py`)."""
FEW_WORDS = 4

MAX_SAID_BACK = 40
"""Characters of what was heard that are said back; the voice of the robot is lent to no speech."""
_NUMBER = re.compile(
    r"\d|半|\b(?:half|double|twice|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|"
    r"\w+teen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred)\b"
)

_TAKES_BACK = re.compile(
    r"不|没|未|别|错|但|可是|吗|[?？]|\b(?:no|not|never|nor|but|wrong|without|isn't|wasn't|actually)\b|"
    r"n't\b"
)

_GOES_ON = re.compile(
    r"^(?:那|那么|可是|还有|或者|如果|要是)|呢[?？。]?$|"
    r"^(?:and|or|but|so|what about|how about|what if|suppose|say|even if)\b"
)
"""How a question begins or ends that goes on from the one before: "and in the evening?"."""
MAX_CHARS = 20
"""Of a Chinese question that only goes on; English ones take twice as many."""
KEPT = frozenset({Intent.ALCOHOL, Intent.WITH_FOOD, *ABOUT_ONE_MEDICINE})
"""Questions that the next one may be about as well."""
TELLS_WHEN = frozenset({Intent.OTHER, Intent.WHEN, Intent.WITH_FOOD})
"""What "two hours after breakfast" is taken for, when it goes on about a missed dose."""
BACK_TO_THE_LABEL = frozenset(
    {Intent.MISSED_DOSE, Intent.DOUBLE_DOSE, Intent.CHANGE_DOSE, Intent.STOP_MEDICINE}
)

_ON_LABELS = re.compile(
    r"躺|揉|漱|嚼|咬|磨|摇|含|吞|冰|冷|水|晒|按|压|贴|撕|轮|部位|间隔|隔开|牛奶|果汁|茶|酒|钙|铁|锌|制酸|空腹|洗"
    r"|\b(?:rub|chew|crush|melt|dissolv|rins|gargl|shak|lie|lying|upright|swallow|suck|inhal|spacer|fridge|"
    r"light|sun|milk|juice|tea|coffee|alcohol|iron|calcium|zinc|antacid|stomach|water|press|squeez|"
    r"rotat|warm|cold|mix|corner|tongue)"
)
"""What labels tell of a medicine's use in words of their own."""


def is_on_label(text: str, medications: Iterable[Medication]) -> bool:
    """Whether an utterance names something that the labels give an instruction about: "rubbing it
    helps, my wife says" where the label says not to rub."""
    said = set(_ON_LABELS.findall(canonical(text)))
    written = (canonical(medication.instructions) for medication in medications)
    return any(word in instructions for instructions in written for word in said)


def is_no_words(text: str, language: Language) -> bool:
    """Whether an utterance is sounds written down, or letters that spell nothing. Names of
    medicines spell nothing either."""
    said = canonical(text)
    han = [char for char in said if "\u4e00" <= char <= "\u9fff"]
    if han:
        sounds = sum(char in GARBLE for char in han)
        return len(han) >= MIN_GARBLE and sounds >= GARBLE_SHARE * len(han)
    words = re.findall(r"[a-z']+", said)
    if language is not Language.EN or len(words) < 2:
        return False
    known = sum(rarity().get(word, math.inf) <= COMMON_RARITY for word in words)
    is_known = len(words) < FEW_WORDS and has_known_english(text)
    return known < COMMON_SHARE * len(words) and not is_known


def tells_number(text: str) -> bool:
    """Whether a number is said in it."""
    return bool(_NUMBER.search(with_digits(canonical(text))))


def takes_back(text: str) -> bool:
    """Whether a word of it denies, doubts or asks."""
    return bool(_TAKES_BACK.search(canonical(text)))


def quoted(text: str) -> str:
    """What is said back of an utterance: of a long one the part with the number in it."""
    said = text.strip("。.!！?？ ")
    if len(said) <= MAX_SAID_BACK:
        return said
    parts = [part.strip() for part in re.split(r"[，。；！？,.;!?]", said) if part.strip()]
    told = [part for part in parts if tells_number(part)]
    part = told[-1] if told else (parts or [said])[0]
    return part if len(part) <= MAX_SAID_BACK else f"{part[: MAX_SAID_BACK - 1]}…"


def wanted_after(topic: Intent, intent: Intent, text: str, *, names_other: bool) -> Intent:
    """What an utterance wants, beside what the question before it wanted.

    Args:
        topic: Of the question before.
        intent: What the words alone tell.
        text: The utterance.
        names_other: It names a medicine or food that is not of the delivery.
    """
    said = canonical(text)
    if not _GOES_ON.search(said):
        return intent
    longest = MAX_CHARS * (2 if said.isascii() else 1)
    is_short = intent is Intent.OTHER and len(text) <= longest and not names_other
    if topic is Intent.MISSED_DOSE and intent in TELLS_WHEN and tells_hours(text):
        return topic
    if is_short and topic in KEPT:
        return topic
    if is_short and topic in BACK_TO_THE_LABEL:
        # "And tonight's?" Whatever was missed or wished, it is taken as the label has it.
        return Intent.WHEN
    return intent
