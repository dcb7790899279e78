"""Repair by sound: what a recogniser wrote with other characters or words of the same sound.

Whisper base writes 降血壓藥 as 醬雪鴨藥 and "metformin" as "met for men": the sounds are right,
the words are not ones that it knows. Giving it the words as a prompt makes it hear them in noise,
so they are put in afterwards, and only where what stands there is less likely to have been said.

The text is a chain of words, and the likeliest chain wins: ordinary words count as much as people
say them (`ordinary.py`), a word of this task, of the ward or of the formulary as much as its
source, less what its sound differs from what was heard. All of this is in nats, natural
logarithms of probabilities, so the figures below can be read as odds: 2.3 is one in ten.

Numbers and negations are never changed, and nothing reaches across punctuation, digits, or a
space in Chinese, by which a recogniser writes a pause.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib.resources
import math
import re
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import yaml
from pypinyin import Style
from pypinyin import pinyin

from medbot_llm.domain import Language
from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.english_sound import distance
from medbot_llm.speech.english_sound import skeleton
from medbot_llm.speech.english_sound import sound_of
from medbot_llm.speech.homophones import MEDICINE
from medbot_llm.speech.homophones import MedicineOrWant
from medbot_llm.speech.ordinary import UNKNOWN
from medbot_llm.speech.ordinary import Ordinary
from medbot_llm.text.language import to_script
from medbot_llm.text.syllables import readings
from medbot_llm.text.syllables import split_syllable
from medbot_llm.text.syllables import taiwan_readings

LEXICON_FILE = "ward_lexicon.yaml"

Source = Literal["task", "formulary", "ward"]

_SHARE: dict[Source, float] = {"task": -6.0, "ward": -7.5, "formulary": -15.0}
"""How likely it is that a given word of the source is the next word that someone says."""
MARGIN = 2.5
"""How much likelier the repaired text must be: one in twelve."""
OTHER_SCRIPT = 4.0
"""Off the share of a formulary's name of the other side of the strait."""

MAX_CHARS = 2000
"""Of a text that is looked at."""


@dataclass(frozen=True)
class Word:
    """A word that may be said.

    Attributes:
        text: As it is to be written.
        language: Of the word; None for Chinese that is the same on both sides of the strait.
        source: Where it is from, which says how likely it is.
        matters: A mistake would matter (a medicine, an allergy): the robot says it back.
        weight: How much more (above 1) or less often it is said than others of its source.
    """

    text: str
    language: Language | None
    source: Source
    matters: bool
    weight: float = 1.0


@dataclass(frozen=True)
class Repair:
    """One stretch that was replaced.

    Attributes:
        heard: What stood there.
        meant: What stands there now.
        start: Of the stretch in the original text, in characters.
        end: Behind it.
        score: How sure, 0 to 1.
        source: Of the word.
        matters: A mistake would matter: say it back.
    """

    heard: str
    meant: str
    start: int
    end: int
    score: float
    source: str
    matters: bool


@dataclass(frozen=True)
class Repaired:
    """A text and what was changed in it, in order."""

    text: str
    original: str
    repairs: tuple[Repair, ...]


# Chinese sounds ----------------------------------------------------------------------------------

_TONE_COST = 0.5
_CHAR_COST = 0.2
"""Of another character of exactly the same sound."""
_SECOND_READING = 1.0
_NO_MATCH = 6.0
WORST_SYLLABLE = {"task": 4.2, "ward": 3.4, "formulary": 2.4}
"""Of one syllable, by source; what is further off was not misheard but said."""
SYLLABLE_GAP = 3.0
"""Of a syllable too many or too few."""
GAP_LIMIT = 1.1
"""Of a word with such a one, for each of its syllables."""
LOOSE: dict[Source, float] = {"task": 2.6, "ward": 1.5, "formulary": 0.0}
"""From this on a word of three syllables is not put where two of them are a word already."""
LONG = 4
"""Syllables from which one of a word of the task may be any other."""

RARE_WORD = -15.2
"""Words of Chinese that are said more often than this stay where they are the whole name."""
RARE_PAIR = -18.0
"""Two characters in a row that are together said more often than this stay too."""
MEAN_SYLLABLE = 1.6
"""Of those that differ, for a word that is not of this task."""

_ALSO = {"血": ("xue4",), "液": ("ye4",)}
"""Both readings are heard of these, whatever the word."""

_Pairs = tuple[tuple[float, str], ...]

_INITIAL_PAIRS: _Pairs = (
    (0.7, "z-zh c-ch s-sh n-l"),
    (1.1, "l-r f-h zh-j ch-q sh-x"),
    (1.6, "b-p d-t g-k j-q z-c zh-ch z-j c-q s-x z-ch c-zh"),
    (2.2, "n-r m-n m-b j-x q-x zh-sh ch-sh z-s c-s h-k h-g f-w h-w r-y l-y n-y m-w"),
    (2.2, "-l -n"),
    (2.6, "-h -r -g -k -m -x -j -q -b -d -t -z -zh -s -sh"),
    (2.6, "r-w d-l t-l p-f b-f b-d p-t d-g t-k t-ch d-zh s-zh s-z sh-z d-p"),
)
_FINAL_PAIRS: _Pairs = (
    (0.5, "in-ing en-eng o-uo"),
    (0.9, "an-ang uan-uang i-v in-vn ie-ve e-o ui-ei iu-ou iao-ao ing-eng in-en un-en"),
    (1.2, "ian-iang ia-a ua-a uo-o uai-ai uan-an"),
    (1.2, "uang-ang iang-ang ian-an iong-ong ian-van eng-ong"),
    (1.5, "e-uo u-v u-ou ou-uo ai-ei e-er e-i un-ong ian-ing"),
    (1.5, "ian-in iao-iu uan-van uo-u un-vn ve-ue ua-uang ao-ua v-ve"),
    (1.9, "a-e a-ia ia-ie ian-ie ie-i ei-i ao-ou ao-uo"),
    (1.9, "ao-a ai-a an-ai an-a en-an eng-ang en-e eng-e"),
    (2.2, "in-i ing-i iu-i iu-v o-u o-ou o-ao e-ei i-ei ie-e"),
    (2.2, "ve-e ong-ang ang-a er-a iang-ia uo-a u-e iao-iang ian-i ui-un"),
)


def _symmetric(pairs: _Pairs) -> dict[tuple[str, str], float]:
    costs = {}
    for cost, listed in pairs:
        for pair in listed.split():
            one, other = pair.split("-")
            costs[one, other] = costs[other, one] = cost
    return costs


_INITIAL_COST = _symmetric(_INITIAL_PAIRS)
_FINAL_COST = _symmetric(_FINAL_PAIRS)
_COARSE_INITIAL = {
    **dict.fromkeys(("b", "p"), "b"),
    **dict.fromkeys(("d", "t"), "d"),
    **dict.fromkeys(("g", "k"), "g"),
    **dict.fromkeys(("z", "zh", "c", "ch", "j", "q"), "z"),
    **dict.fromkeys(("s", "sh", "x"), "s"),
    **dict.fromkeys(("n", "l", "r"), "l"),
    **dict.fromkeys(("f", "h"), "h"),
}
_COARSE_FINAL = {
    **dict.fromkeys(("a", "ia", "ua"), "a"),
    **dict.fromkeys(("an", "ang", "uan", "uang"), "an"),
    **dict.fromkeys(("ian", "iang", "van"), "ian"),
    **dict.fromkeys(("e", "o", "uo", "er"), "o"),
    **dict.fromkeys(("ie", "ve"), "ie"),
    **dict.fromkeys(("en", "eng", "in", "ing", "un", "vn", "ong", "iong"), "en"),
    **dict.fromkeys(("i", "v"), "i"),
    **dict.fromkeys(("ai", "uai"), "ai"),
    **dict.fromkeys(("ei", "ui"), "ei"),
    **dict.fromkeys(("ao", "iao"), "ao"),
    **dict.fromkeys(("ou", "iu"), "ou"),
}


@lru_cache(maxsize=4096)
def _parts(reading: str) -> tuple[str, str, str]:
    """Initial, final and tone as they sound: "yan2" is ("", "ian", "2"), "xu3" ("x", "v", "3")."""
    initial, final, tone = split_syllable(reading.replace("ü", "v"))
    if initial == "y":
        initial = ""
        if final.startswith("u"):
            final = "v" + final[1:]
        elif final == "ou":
            final = "iu"
        elif not final.startswith("i"):
            final = "i" + final
    elif initial == "w":
        initial = ""
        final = {"u": "u", "ei": "ui", "en": "un", "eng": "ong"}.get(final, "u" + final)
    elif initial in ("j", "q", "x") and final.startswith("u"):
        final = "v" + final[1:]
    return initial, final, tone


@lru_cache(maxsize=65536)
def _reading_cost(one: str, other: str) -> float:
    """How far two readings are apart, nats."""
    initial, final, tone = _parts(one)
    other_initial, other_final, other_tone = _parts(other)
    cost = 0.0
    if initial != other_initial:
        cost += _INITIAL_COST.get((initial, other_initial), _NO_MATCH)
    if final != other_final:
        cost += _FINAL_COST.get((final, other_final), _NO_MATCH)
    if tone != other_tone:
        cost += _TONE_COST / 2 if "5" in (tone, other_tone) else _TONE_COST
    return min(cost, _NO_MATCH)


@lru_cache(maxsize=65536)
def _char_cost(heard: str, meant: str, meant_readings: tuple[str, ...]) -> float:
    """How far a heard character is from one that may have been meant, nats."""
    if heard == meant:
        return 0.0
    best = _NO_MATCH
    for position, reading in enumerate(readings(heard)):
        penalty = _SECOND_READING if position else 0.0
        for other in meant_readings:
            best = min(best, _CHAR_COST + penalty + _reading_cost(reading, other))
    return best


@lru_cache(maxsize=4096)
def _coarse(reading: str) -> str:
    initial, final, _ = _parts(reading)
    return f"{_COARSE_INITIAL.get(initial, initial)}-{_COARSE_FINAL.get(final, final)}"


@lru_cache(maxsize=8192)
def _coarse_sounds(char: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_coarse(reading) for reading in readings(char)))


# What may be meant -------------------------------------------------------------------------------

_HAN = r"\u3400-\u4dbf\u4e00-\u9fff"
_HAN_ONLY = re.compile(rf"[{_HAN}]+")
_LATIN_ONLY = re.compile("[a-z]+(?: [a-z]+)*")
_LATIN_RUN = re.compile(r"[A-Za-z]+(?:['’\- ]{1,2}[A-Za-z]+)*")
_LATIN_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)*")
_KEPT_CHINESE = frozenset("不没别无未非勿零〇一二两三四五六七八九十百千万半几")
_NEGATIONS = frozenset("不没别无未非勿")
_KEPT_ENGLISH = frozenset(
    re.findall(
        r"\w+",
        "no not never none nothing nor without cannot zero one two three four five six seven eight"
        " nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
        " twenty thirty forty fifty sixty seventy eighty ninety hundred thousand half quarter once"
        " twice double first second third",
    )
)

_BEFORE_NAME = re.compile(
    "(?:[吃打擦用喝开换停]了?|这[个颗种包]|那[个颗种]|我的|服用|我对|药名叫?)$"
)
_AFTER_NAME = re.compile("过敏|[锭片药]|胶囊|要[饭空什早晚睡怎]|一[天次颗]|有什么|[会能可]|以后")
"""What stands around the name of a medicine; of two syllables that is needed unless the sound is
exactly the same."""
_AFTER_MEDICINE = re.compile(
    "要(?!不)|可以|[会有在呢吗的怎是跟和饭了隔睡忘补]|空腹|什么|[早晚]上|一天|多久|吃完|$"
)
"""What follows a medicine, and hardly 要 ("want", "must"): 血糖要要饭前吃, but 心脏要跳出来."""
_KEPT_PHRASES = re.compile(
    "喂药|要[带戴]|计量|止疼药|药带|说前|是睡|点的|这颗|直吐|服员|药剂师|护理事故|心脏蹦|将血[压糖](?![药要腰鸭])"
)
"""People say these, though no dictionary lists them."""

_SMALL_WORDS = frozenset("是的了我你他她它在就都也很这那")
_ALLERGY = "过敏"
"""It is put behind the words of a task: 點過名 is 碘過敏, though nothing alone sounds like 碘."""

_ANCHOR_GAPS = (1, 2)
RARE = -14.5
"""Words of English that are less often said than this may be slips of the recogniser."""
UNUSUAL = -8.7
"""Words of English that are on average less often said than this hardly make a sentence."""
MAX_BONES = 14
"""Consonants of the longest English words that are looked for."""
MIN_SOUNDS = 4
"""Of an English word that is looked for."""
MAX_CHINESE = 16
"""Characters of the longest Chinese names."""
MAX_TOKENS = 5
"""Words of English that a recogniser makes of one."""


@dataclass(frozen=True)
class _Chinese:
    word: Word
    text: str
    readings: tuple[tuple[str, ...], ...]
    share: float


@dataclass(frozen=True)
class _English:
    word: Word
    key: str
    sounds: str
    bones: str
    share: float


@dataclass(frozen=True)
class _Edge:
    """A word in the chain: from, to, what it adds; of a repair also how far its sound is."""

    start: int
    end: int
    value: float
    word: Word | None = None
    cost: float = 0.0


class _Index:
    """Words that may be meant, by their sounds.

    Attributes:
        shares: Of every word, by its key: what stands there already is no less likely.
        anchors: Chinese words by two of their syllables, coarsely, and how far those are apart;
            with the position of the first.
        bones: English words by what remains of their consonants.
    """

    def __init__(self, words: Iterable[Word]) -> None:
        self.shares: dict[str, float] = {}
        self.anchors: dict[tuple[str, str, int], list[tuple[_Chinese, int]]] = {}
        self.bones: dict[str, list[_English]] = {}
        for word in sorted(words, key=lambda word: -_share(word)):
            key = _key(word.text)
            if not key or key in self.shares:
                continue
            if word.source == "task" and word.matters and re.fullmatch(rf"[{_HAN}]{{1,3}}", key):
                allergy = dataclasses.replace(word, text=word.text + _ALLERGY)
                self.shares[key + _ALLERGY] = _share(word)
                self._add_chinese(allergy, key + _ALLERGY)
            if _HAN_ONLY.fullmatch(key):
                self.shares[key] = _share(word)
                if len(key) > 1:
                    self._add_chinese(word, key)
            elif _LATIN_ONLY.fullmatch(key):
                self.shares[key] = _share(word)
                if not _KEPT_ENGLISH.intersection(key.split()):
                    self._add_english(word, key)

    def _add_chinese(self, word: Word, text: str) -> None:
        found = pinyin(text, style=Style.TONE3, neutral_tone_with_five=True, v_to_u=False)
        sounds = tuple(
            _readings_meant(char, reading[0].replace("ü", "v"))
            for char, reading in zip(text, found, strict=True)
        )
        entry = _Chinese(word, text, sounds, _share(word))
        coarse = [tuple(dict.fromkeys(map(_coarse, syllable))) for syllable in sounds]
        for gap in _ANCHOR_GAPS:
            for position in range(len(text) - gap):
                for first in coarse[position]:
                    for second in coarse[position + gap]:
                        self.anchors.setdefault((first, second, gap), []).append((entry, position))

    def _add_english(self, word: Word, key: str) -> None:
        sounds = "".join(sound_of(part) for part in key.split())
        bones = skeleton(sounds)
        if len(sounds) >= MIN_SOUNDS and 1 < len(bones) <= MAX_BONES:
            entry = _English(word, key, sounds, bones, _share(word))
            for shorter in _with_fewer(bones):
                self.bones.setdefault(shorter, []).append(entry)


class SoundRepair:
    """Repairs texts; immutable after it is made, so any thread may ask.

    Args:
        words: What may be meant; `ward_words()` gives those of every ward.
        ordinary: What people say otherwise.
    """

    def __init__(self, words: Iterable[Word], ordinary: Ordinary) -> None:
        self._ordinary = ordinary
        self._always = _Index(words)
        self._medicine_or_want = MedicineOrWant.load()
        to_script("药", Language.ZH_HANT)  # loads OpenCC's tables, which takes 0.1 s
        self._indexes: tuple[_Index, ...] = (self._always,)

    def with_task(self, words: Iterable[Word]) -> SoundRepair:
        """Give a repair that knows these words too; takes milliseconds; this stays as it is."""
        other = copy.copy(self)
        other._indexes = (_Index(words), self._always)
        return other

    def _share_of(self, key: str) -> float | None:
        shares = [index.shares[key] for index in self._indexes if key in index.shares]
        return max(shares, default=None)

    def repair(self, text: str, language: Language) -> Repaired:
        """Write what was probably meant.

        Args:
            text: As the recogniser wrote it, in either script.
            language: Of the session; repairs are written in its script.
        """
        looked_at = text[:MAX_CHARS]
        simplified = to_script(looked_at, Language.ZH_HANS)
        medicines = self._medicine_or_want.medicine(simplified)
        for place, _ in medicines:
            simplified = simplified[:place] + MEDICINE + simplified[place + 1 :]
        repairs = [
            *(
                repair
                for run in _HAN_ONLY.finditer(simplified)
                for repair in self._chinese_repairs(text, run, language)
            ),
            *(
                repair
                for run in _LATIN_RUN.finditer(looked_at)
                for repair in self._english_repairs(text, run)
            ),
        ]
        repairs += [
            _medicine_for_want(text[place], place, probability, language)
            for place, probability in medicines
            if not any(other.start <= place < other.end for other in repairs)
        ]
        repairs.sort(key=lambda repair: repair.start)
        pieces = []
        position = 0
        for repair in repairs:
            pieces += [text[position : repair.start], repair.meant]
            position = repair.end
        pieces.append(text[position:])
        return Repaired("".join(pieces), text, tuple(repairs))

    # Chinese

    def _chinese_repairs(
        self, text: str, run: re.Match[str], language: Language
    ) -> Iterator[Repair]:
        chars = run[0]
        if len(chars) < 2:
            return
        candidates = list(self._chinese_candidates(chars, language))
        if not candidates:
            return
        for edge, gain in _chosen(len(chars), self._chinese_words(chars), candidates):
            start, end = run.start() + edge.start, run.start() + edge.end
            assert edge.word is not None
            yield Repair(
                heard=text[start:end],
                meant=to_script(edge.word.text, language),
                start=start,
                end=end,
                score=_score(gain, edge.cost / (edge.end - edge.start)),
                source=edge.word.source,
                matters=edge.word.matters,
            )

    def _chinese_words(self, chars: str) -> list[_Edge]:
        known = self._ordinary.chinese
        edges = []
        for start in range(len(chars)):
            edges.append(_Edge(start, start + 1, known.get(chars[start], UNKNOWN)))
            for end in range(start + 2, min(len(chars), start + MAX_CHINESE) + 1):
                part = chars[start:end]
                shares = [index.shares[part] for index in self._indexes if part in index.shares]
                if part in known:
                    shares.append(known[part])
                if shares:
                    edges.append(_Edge(start, end, max(shares)))
        return edges

    def _chinese_candidates(self, chars: str, language: Language) -> Iterator[_Edge]:
        coarse = [_coarse_sounds(char) for char in chars]
        seen: set[tuple[str, int]] = set()
        for gap in _ANCHOR_GAPS:
            for position in range(len(chars) - gap):
                for first in coarse[position]:
                    for second in coarse[position + gap]:
                        for index in self._indexes:
                            for entry, offset in index.anchors.get((first, second, gap), ()):
                                start = position - offset
                                if (entry.text, start) not in seen:
                                    seen.add((entry.text, start))
                                    yield from self._chinese_match(chars, entry, start, language)
                                    if index is not self._always and len(entry.text) >= LONG:
                                        yield from self._with_gap(chars, entry, start)

    def _chinese_match(
        self, chars: str, entry: _Chinese, start: int, language: Language
    ) -> Iterator[_Edge]:
        end = start + len(entry.text)
        if start < 0 or end > len(chars):
            return
        heard = chars[start:end]
        if heard == entry.text:
            return
        limit = _chinese_limit(entry)
        source = entry.word.source
        may_lose = (
            source == "task" and len(entry.text) >= LONG and not entry.text.endswith(_ALLERGY)
        )
        lost = False
        total = 0.0
        changed = []
        for char, meant, sounds in zip(heard, entry.text, entry.readings, strict=True):
            if char != meant:
                if char in _KEPT_CHINESE or meant in _NEGATIONS:
                    return
                cost = _char_cost(char, meant, sounds)
                total += cost
                changed.append(char)
                is_lost = cost > WORST_SYLLABLE[source]
                if total > limit or (is_lost and (lost or not may_lose)):
                    return
                lost = lost or is_lost
        if source != "task" and total > MEAN_SYLLABLE * len(changed):
            return
        # 甲状腺癌 is no slip for 甲状腺素, nor 的血糖 for 低血糖.
        if len(changed) == 1 and (lost or changed[0] in _SMALL_WORDS):
            return
        is_medicine = heard[-1] == "要" and entry.text[-1] == "药"
        if is_medicine and not _AFTER_MEDICINE.match(chars, end):
            return
        if self._is_said(chars, start, end, entry, total):
            return
        share = entry.share
        if source == "formulary" and entry.word.language not in (None, language):
            share -= OTHER_SCRIPT
        yield _Edge(start, end, share - total - MARGIN, entry.word, total)

    def _is_any(self, key: str) -> bool:
        return any(key in index.shares for index in self._indexes)

    def _has_other(self, heard: str, meant: str) -> bool:
        """Tell whether another word of three and more characters is written right in there."""
        size = len(heard)
        return any(
            self._is_any(heard[start:end]) and heard[start:end] not in meant
            for start in range(size - 2)
            for end in range(start + 3, size + 1)
        )

    def _with_gap(self, chars: str, entry: _Chinese, start: int) -> Iterator[_Edge]:
        """Match a long word of which the recogniser wrote a syllable too many or too few."""
        size = len(entry.text)
        if entry.text.endswith(_ALLERGY) or _NEGATIONS.intersection(entry.text):
            return
        for first in (start - 1, start, start + 1):
            for skip in (0, 1):
                end = first + size + (1 if skip else -1)
                heard = chars[first:end] if first >= 0 and end <= len(chars) else ""
                if not heard or _KEPT_CHINESE.intersection(heard):
                    continue
                if any(map(self._is_any, (heard, heard[1:], heard[:-1]))):
                    continue
                if self._has_other(heard, entry.text):
                    continue
                before = _char_costs(heard, entry.text, entry.readings)
                after = _char_costs(
                    heard[skip:], entry.text[1 - skip :], entry.readings[1 - skip :]
                )
                cost = SYLLABLE_GAP + min(
                    sum(before[:split]) + sum(after[split:]) for split in range(1, len(after))
                )
                if cost <= GAP_LIMIT * size:
                    yield _Edge(first, end, entry.share - cost - MARGIN, entry.word, cost)

    def _is_said(self, chars: str, start: int, end: int, entry: _Chinese, cost: float) -> bool:
        """Tell whether what was heard is too good a Chinese to be a slip for this word."""
        heard = chars[start:end]
        known = self._ordinary.chinese
        if self._is_any(heard) or self._has_other(heard, entry.text):
            return True
        if any(start <= at < end or at < start < at + size for at, size in self._kept_in(chars)):
            return True
        size = end - start
        is_task = entry.word.source == "task"
        if is_task and chars.startswith(_ALLERGY, end):
            return False
        parts = (heard[1:], heard[:-1]) if len(heard) > 2 else ()
        if (entry.word.source == "formulary" or "讲" in heard) and any(map(self._is_any, parts)):
            return True
        if size == 2:
            if heard in known and not (is_task and known[heard] < RARE_WORD):
                return True
            if is_task:
                return cost > 0.5 and not self._is_named(chars, start, end)
            return sum(known.get(char, UNKNOWN) for char in heard) > RARE_PAIR
        if known.get(heard, UNKNOWN) > RARE_WORD:
            return True
        if size == 3 and cost > 2.0 and any(char in _SMALL_WORDS for char in heard):
            return True
        if size > 3 or cost <= LOOSE[entry.word.source]:
            return False
        return any(known.get(heard[i : i + 2], UNKNOWN) > RARE_WORD for i in (0, 1))

    @staticmethod
    def _is_named(chars: str, start: int, end: int) -> bool:
        """Tell whether a medicine or an allergy stands where these are named."""
        return bool(_BEFORE_NAME.search(chars[:start]) or _AFTER_NAME.match(chars, end))

    def _kept_in(self, chars: str) -> list[tuple[int, int]]:
        return [(found.start(), len(found[0])) for found in _KEPT_PHRASES.finditer(chars)]

    # English

    def _english_repairs(self, text: str, run: re.Match[str]) -> Iterator[Repair]:
        tokens = [
            (run.start() + found.start(), run.start() + found.end())
            for found in _LATIN_WORD.finditer(run[0])
        ]
        words = [text[start:end].lower().replace("’", "'") for start, end in tokens]
        candidates = list(self._english_candidates(words))
        if not candidates:
            return
        for edge, gain in _chosen(len(words), self._english_words(words), candidates):
            start, end = tokens[edge.start][0], tokens[edge.end - 1][1]
            assert edge.word is not None
            yield Repair(
                heard=text[start:end],
                meant=edge.word.text,
                start=start,
                end=end,
                score=_score(gain, edge.cost / 3),
                source=edge.word.source,
                matters=edge.word.matters,
            )

    def _english_words(self, words: Sequence[str]) -> list[_Edge]:
        edges = []
        for start, word in enumerate(words):
            share = self._share_of(word)
            ordinary = self._ordinary.share_of_english(word)
            edges.append(_Edge(start, start + 1, max(ordinary, share or UNKNOWN)))
            for end in range(start + 2, min(len(words), start + MAX_TOKENS) + 1):
                exact = self._share_of(" ".join(words[start:end]))
                if exact is not None:
                    edges.append(_Edge(start, end, exact))
        return edges

    def _english_candidates(self, words: Sequence[str]) -> Iterator[_Edge]:
        """Give for each word that may be meant the stretch that sounds most like it.

        Where stretches overlap only the nearest counts: otherwise every small word beside a
        repair would be swallowed, being less likely than its sounds.
        """
        sounds = [sound_of(word) for word in words]
        found: dict[str, list[_Edge]] = {}
        for start in range(len(words)):
            heard = ""
            is_known = True
            total = 0.0
            for end in range(start + 1, min(len(words), start + MAX_TOKENS) + 1):
                word = words[end - 1]
                if word in _KEPT_ENGLISH or word.endswith("n't"):
                    break
                if len(word) > MIN_SOUNDS and self._share_of(word) is not None:
                    break  # the name of a medicine that is written right
                heard += sounds[end - 1]
                share = self._ordinary.share_of_english(word)
                if self._is_name_before(words, start, end):
                    break
                is_known = is_known and share > RARE
                total += share
                bones = skeleton(heard)
                if len(bones) > MAX_BONES + 1:
                    break
                if len(bones) > 1:
                    mean = total / (end - start) if is_known else UNKNOWN
                    if end == start + 1 and share > UNKNOWN:
                        mean = max(mean, UNUSUAL)  # a lone word that exists was said
                    for entry, cost in self._english_near(heard, bones, mean):
                        size = entry.key.count(" ") + 1
                        if entry.word.source == "ward" and mean > RARE and size != end - start:
                            continue
                        edge = _Edge(start, end, entry.share - cost - MARGIN, entry.word, cost)
                        found.setdefault(entry.key, []).append(edge)
        for key, edges in found.items():
            edges.sort(key=lambda edge: (edge.cost, edge.end - edge.start))
            taken: list[_Edge] = []
            for edge in edges:
                if all(edge.end <= one.start or one.end <= edge.start for one in taken):
                    taken.append(edge)
                    assert edge.word is not None
                    if not _is_same_word(words[edge.start : edge.end], key, edge.word.source):
                        yield edge

    def _is_name_before(self, words: Sequence[str], start: int, end: int) -> bool:
        """Tell whether what comes before the last word is written right already."""
        key = " ".join(words[start : end - 1])
        return len(key) > 5 and self._share_of(key) is not None

    def _english_near(
        self, heard: str, bones: str, share: float
    ) -> Iterator[tuple[_English, float]]:
        rows: dict[str, _English] = {}
        fewer = _with_fewer(bones)
        for index in self._indexes:
            exact_only = share > RARE and index is self._always
            for shorter in (bones,) if exact_only else fewer:
                for entry in index.bones.get(shorter, ()):
                    rows.setdefault(entry.key, entry)
        for entry in rows.values():
            limit = _english_limit(entry, share)
            if limit > 0.0:
                cost = distance(heard, entry.sounds, limit)
                if cost <= limit:
                    yield entry, cost


def _medicine_for_want(heard: str, place: int, probability: float, language: Language) -> Repair:
    return Repair(
        heard=heard,
        meant=to_script(MEDICINE, language),
        start=place,
        end=place + 1,
        score=probability,
        source="ward",
        matters=False,
    )


def _share(word: Word) -> float:
    return _SHARE[word.source] + math.log(word.weight)


def _key(text: str) -> str:
    """A word as it is compared: Simplified, lower case, Latin words by single spaces."""
    text = to_script(text.strip(), Language.ZH_HANS)
    return " ".join(re.sub(r"[-'’]", " ", text.lower()).split())


def _char_costs(heard: str, meant: str, sounds: Sequence[tuple[str, ...]]) -> list[float]:
    """The costs of characters one by one, as far as both go."""
    return [_char_cost(*row) for row in zip(heard, meant, sounds, strict=False)]


def _readings_meant(char: str, usual: str) -> tuple[str, ...]:
    """How a character of a word may be said: as in that word, or as in Taiwan."""
    return tuple(dict.fromkeys((usual, *taiwan_readings(char), *_ALSO.get(char, ()))))


def _with_fewer(bones: str) -> set[str]:
    """A row of consonants, and what remains of it without any one, of a long one any two."""
    fewer = {bones}
    if len(bones) >= 4:
        fewer.update(bones[:i] + bones[i + 1 :] for i in range(len(bones)))
    if len(bones) >= 7:
        fewer.update(
            bones[:i] + bones[i + 1 : j] + bones[j + 1 :]
            for i in range(len(bones))
            for j in range(i + 1, len(bones))
        )
    return fewer


def _is_same_word(heard: Sequence[str], key: str, source: Source) -> bool:
    """Tell whether two are one word: "bandages" is no mishearing of bandage, nor "pain killer" one
    of painkiller; but "metform in" is to be metformin."""
    text = " ".join(heard)
    if f" {key} " in f" {_key(text)} ":
        return True
    if source != "task" and text.startswith(key.removesuffix("s")):
        return True
    same_letters = text.replace(" ", "") == key.replace(" ", "")
    return (same_letters and source == "ward") or (
        text.removesuffix("s").removesuffix("'") == key.removesuffix("s")
    )


def _chinese_limit(entry: _Chinese) -> float:
    """How far the sound may be off, nats."""
    size = len(entry.text)
    if entry.word.source == "task":
        if entry.text.endswith(_ALLERGY):
            return 1.0 + 0.75 * (size - len(_ALLERGY))
        return 2.0 if size == 2 else 4.2 if size == 3 else 1.8 * size
    if entry.word.source == "ward":
        return 0.5 if size == 2 else 3.2 if size == 3 else 1.4 * size
    return -1.0 if size == 2 else 1.5 if size == 3 else size


def _english_limit(entry: _English, share: float) -> float:
    """How far the sound may be off, nats.

    Args:
        share: Of the words that were heard, on average; UNKNOWN where one of them is no word.
    """
    size = len(entry.bones)
    is_known = share > RARE
    if entry.word.source == "task":
        if is_known:
            return 0.35 if size <= 3 else (0.55 if share < UNUSUAL else 0.2) * size
        return 0.5 if size <= 2 else 1.2 if size == 3 else 0.75 * size
    if entry.word.source == "ward":
        return 0.0 if size < 5 else (0.2 if is_known else 0.3) * size
    return 0.0 if size < 5 else (0.16 if is_known else 0.3) * size


def _score(gain: float, cost: float) -> float:
    """How sure a repair is, 0 to 1: of how much likelier it is, and how near its sound."""
    return round((1.0 - math.exp(-gain / 4.0)) * math.exp(-cost / 4.0), 3)


def _chosen(
    size: int, ordinary: Sequence[_Edge], candidates: Sequence[_Edge]
) -> list[tuple[_Edge, float]]:
    """The repairs of the likeliest chain of words, each with what it gains."""
    forward = _best(size, ordinary)[0]
    backward = _best(size, [_reversed(size, edge) for edge in ordinary])[0][::-1]
    total = forward[-1]
    kept = [
        edge
        for edge in candidates
        if forward[edge.start] + edge.value + backward[edge.end] > total - MARGIN
    ]
    if not kept:
        return []
    _, came = _best(size, [*ordinary, *kept])
    chosen = []
    position = size
    while position:
        edge = came[position]
        if edge.word is not None:
            without = forward[edge.start] + edge.value + MARGIN + backward[edge.end]
            chosen.append((edge, max(0.0, without - total)))
        position = edge.start
    return chosen[::-1]


def _reversed(size: int, edge: _Edge) -> _Edge:
    return _Edge(size - edge.end, size - edge.start, edge.value)


def _best(size: int, edges: Iterable[_Edge]) -> tuple[list[float], list[_Edge]]:
    """For each position the value of the likeliest chain to it, and its last word."""
    by_start: list[list[_Edge]] = [[] for _ in range(size)]
    for edge in edges:
        by_start[edge.start].append(edge)
    values = [0.0] + [-math.inf] * size
    came = [_Edge(0, 0, 0.0)] * (size + 1)
    for start in range(size):
        for edge in by_start[start]:
            value = values[start] + edge.value
            if value > values[edge.end]:
                values[edge.end] = value
                came[edge.end] = edge
    return values, came


def ward_words(file: Path | None = None) -> tuple[Word, ...]:
    """The words that are said in every ward, from `resource/speech/ward_lexicon.yaml`.

    Raises:
        SpeechError: The file is missing or broken; names the entry.
    """
    source = file or importlib.resources.files("medbot_llm.resource") / "speech" / LEXICON_FILE
    try:
        tree = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpeechError(f"{source} is missing or broken: {error}") from error
    words: list[Word] = []
    groups = tree.get("groups") if isinstance(tree, dict) else None
    if not isinstance(groups, list):
        raise SpeechError(f"{source} has no list of groups")
    for number, group in enumerate(groups, start=1):
        try:
            weight, matters = float(group["weight"]), bool(group.get("matters", False))
            if not weight > 0.0:
                raise ValueError(f"weight {weight}")
            for tag in ("zh", "en"):
                language = Language.EN if tag == "en" else None
                words += [
                    Word(str(text), language, "ward", matters, weight)
                    for text in group.get(tag, [])
                ]
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise SpeechError(f"{source}, group {number}: {error!r}") from error
    return tuple(words)
