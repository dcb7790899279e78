"""Names of medicines: as labels write them, as people say them, as a recogniser hears them.

Three questions are asked of a name, and they want different answers.

- What medicine is this label? `find`: only what is written there counts, but a label has
  strength, form and salt around the name, and may write it as Britain, the US or the WHO does.
- What did the person mean? `look_up`: a recogniser writes 麥優 for 脈優 and "nor vask" for
  Norvasc. It is a match only where one medicine fits and nothing that it is ever mixed up with is
  near; otherwise there are candidates, and the robot asks. Handing over the wrong one of
  hydralazine and hydroxyzine is worse than asking once too often.
- Which medicines are in this sentence? `mentions`: exact names at word boundaries, the longest at
  each place; never inside another word, and never an ordinary word that is also a name (安定).

Everything is compared on canonical text (`text/normal.py`), so one script serves both. What
homophones need (readings of characters) is worked out when the database is built: at run time no
dictionary of pinyin is loaded.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from medbot_llm.knowledge.medicine import LookUp
from medbot_llm.knowledge.medicine import Medicine
from medbot_llm.knowledge.medicine import Mention
from medbot_llm.knowledge.name_words import CHINESE_FORMS
from medbot_llm.knowledge.name_words import CHINESE_SALTS_AFTER
from medbot_llm.knowledge.name_words import CHINESE_SALTS_BEFORE
from medbot_llm.knowledge.name_words import CHINESE_TALK
from medbot_llm.knowledge.name_words import FORM_WORDS
from medbot_llm.knowledge.name_words import LONGER_WORDS
from medbot_llm.knowledge.name_words import MINERALS
from medbot_llm.knowledge.name_words import ORDINARY_CHINESE
from medbot_llm.knowledge.name_words import ORDINARY_LATIN
from medbot_llm.knowledge.name_words import PARTS_OF_NAMES
from medbot_llm.knowledge.name_words import SALTS
from medbot_llm.knowledge.name_words import SPELLINGS
from medbot_llm.knowledge.name_words import TALK
from medbot_llm.text.english import common
from medbot_llm.text.normal import canonical
from medbot_llm.text.syllables import folded_syllable
from medbot_llm.text.syllables import split_syllable

MAX_HEARD = 200
"""Characters of a name that are looked at; no label is longer."""

MIN_LATIN = 4
"""Letters from which a slip is thought of: of three, every other word is a slip."""
MIN_CHINESE = 2
MIN_PART = 3
"""Chinese characters of a part of a name that are enough to ask about it."""
CANDIDATE_SCORE = 0.70
MATCH_SCORE = 0.85
"""One wrong letter of seven."""
MATCH_MARGIN = 0.15
"""How much nearer the match must be than the next medicine."""
LOOKALIKE_SCORE = 0.40
"""From this on a known look-alike could have been meant; unrelated names of medicines score 0.2 to
0.35."""
SPELLING_SCORE = 0.80
"""The same where what was heard sounds like the name and is only spelt otherwise (rosuvastatine).
The pairs of lookalikes.yaml are always asked about."""
MIN_SPELT = 5
"""Letters from which a word inside a name has other spellings; fewer are an abbreviation."""
SHORT_NAME = 6
SHORT_RIVAL = 0.55
"""Names of up to six letters are a match only if no other is even this near."""

COMMON_RARITY = 11.0
"""A word that is said at least once in 60,000 words is that word, and no slip of a name: "meals"
is not Metalyse. Names themselves were looked for before."""

_KIND_RANK = {"generic": 0, "variant": 1, "brand": 2}

_HAN = r"\u3400-\u4dbf\u4e00-\u9fff"
_HAS_HAN = re.compile(rf"[{_HAN}]")
_MARKS = re.compile(r"[®™©℠]")
_NO_LETTER = re.compile(rf"[^a-z0-9{_HAN}%.à-öø-ÿ\u0370-\u03ff]+")
_TOKEN = re.compile(r"[a-zà-öø-ÿ]+|\d+")


def _one_of(words: Iterable[str]) -> str:
    """A pattern for any of the words, the longest first."""
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_NUMBER = r"\d+(?:[.,]\d+)*(?:\s*[/x*×~-]\s*\d+(?:[.,]\d+)*)*"
_UNIT = (
    r"(?:mg|mcg|ug|μg|µg|gm|g|kg|ml|l|iu|units?|u|meq|mmol|doses?|puffs?|sachets?|毫克|公丝|公克|微克|克|毫升|公撮|"
    r"公升|升|国际单位|单位|mg/ml|%)"
)
_PER = (
    r"(?:mg|mcg|ug|μg|g|ml|l|iu|units?|u|doses?|puffs?|drops?|sprays?|tab|tablet|cap|capsule|actuation|h|hr|hour|24h|vial|amp|锭|颗|粒|片|瓶|"
    r"支|次|吸|喷|滴|毫升|小时)"
)
_STRENGTH = re.compile(
    rf"{_NUMBER}\s*{_UNIT}(?![a-z])(?:\s*(?:/|每|per)\s*(?:{_NUMBER}\s*)?{_PER}(?![a-z]))*"
    rf"(?:\s*[+/]\s*{_NUMBER}\s*{_UNIT}(?![a-z]))*"
)
_RATIO = re.compile(r"(?<![a-z\d])\d+(?:\.\d+)?(?:\s*[/-]\s*\d+(?:\.\d+)?)+(?![a-z\d])")
_LONE_NUMBER = re.compile(
    r"(?:(?<=\s)|^)\d+(?:\.\d+)?(?:\s*'?s)?(?=\s|$)|(?<=[\u4e00-\u9fff])\d+$"
)
_BRACKETS = re.compile(r"[(\[{（【《<]([^)\]}）】》>]*)[)\]}）】》>]")
_QUOTED = re.compile(r"[\"“”「『'‘][^\"“”」』'’]{1,20}[\"”“」』'’]")
"""Taiwan's licences put the maker in quotes before the name: "輝瑞"脈優錠5毫克."""

_JOIN = re.compile(r"\s*(?:[/+&、,，;]|\band\b|\bwith\b|\bplus\b|和|与|及|加)\s*")

_FORM_WORDS = frozenset(FORM_WORDS)
_SALTS = frozenset(SALTS)
_MINERALS = frozenset(MINERALS)
_ORDINARY_LATIN = frozenset(ORDINARY_LATIN)
_ORDINARY_CHINESE = frozenset(ORDINARY_CHINESE)
_CHINESE_FORM = re.compile(f"(?:{_one_of(CHINESE_FORMS)})$")
_CHINESE_SALT_BEFORE = re.compile(f"^(?:{_one_of(CHINESE_SALTS_BEFORE)})")
_CHINESE_MINERAL = re.compile("氢氧化|氧化|氯化|碳酸|硫酸[镁亚锌]|磷酸[钙钾钠]|铝|铁")
_CHINESE_SALT_AFTER = re.compile(f"(?:{_one_of(CHINESE_SALTS_AFTER)})$")
_SPELLING_OF = {spelling.replace(" ", ""): group for group in SPELLINGS for spelling in group}
_FOLDS = (
    ("sulph", "sulf"),
    ("oestr", "estr"),
    ("haem", "hem"),
    ("ceph", "cef"),
    ("oedem", "edem"),
)


@dataclass(frozen=True, slots=True)
class NameRow:
    """One name of one medicine, as it is looked up.

    Attributes:
        key: Normalised, single spaces.
        medicine: Id of the medicine.
        kind: "generic", "brand", or "variant" (a spelling or order that no one wrote down).
        sounds: For Chinese the readings, "mai4 you1"; "" for Latin.
    """

    key: str
    medicine: str
    kind: str
    sounds: str = ""


def normalise(name: str) -> str:
    """Give a name as it is looked up: canonical, without punctuation, single spaces.

    A point stays inside numbers only.
    """
    text = _NO_LETTER.sub(" ", canonical(_MARKS.sub(" ", name)))
    text = re.sub(r"(?<!\d)\.|\.(?!\d)", " ", text)
    # A mark that is gone may leave a space between two Chinese characters.
    return canonical(" ".join(text.split()))


def compact(key: str) -> str:
    """Leave out the spaces, which people and recognisers put anywhere ("co amoxiclav")."""
    return key.replace(" ", "")


def is_name(name: str) -> bool:
    """Tell whether a text can be looked up as a name: two characters, one of them a letter."""
    key = compact(normalise(name))
    return len(key) > 1 and any(char.isalpha() for char in key)


def name_rows(medicine: Medicine) -> list[NameRow]:
    """Give all names of a medicine and their spellings; `syllable_table` adds the readings."""
    rows: dict[str, NameRow] = {}

    def add(name: str, kind: str) -> None:
        key = normalise(name)
        if is_name(name) and compact(key) not in rows:
            rows[compact(key)] = NameRow(key, medicine.id, kind)

    for names in medicine.names.values():
        for name in names:
            add(name, "generic")
    add(medicine.id.replace("-", " "), "generic")
    for brand in medicine.brands:
        for name in brand.names.values():
            add(name, "brand")
            # 「普拿疼 加強錠」 and "Norvasc (脈優)" are two names in one.
            if _HAS_HAN.search(name) and re.search("[A-Za-z]{4}", name):
                add(" ".join(re.findall(r"[A-Za-z][A-Za-z0-9 -]+", name)), "brand")
    for row in list(rows.values()):
        if row.kind == "generic":
            for variant in _spellings(row.key):
                add(variant, "variant")
    return list(rows.values())


def _spellings(key: str) -> Iterator[str]:
    """Other ways to write a generic name: spellings of one part, orders of a combination."""
    words = key.split()
    yield from _SPELLING_OF.get(compact(key), ())
    if _HAS_HAN.search(key):
        return
    for index, word in enumerate(words):
        # "5 asa" is a medicine of its own.
        for spelling in _SPELLING_OF.get(word, ()) if len(word) >= MIN_SPELT else ():
            if " " not in spelling and len(spelling) >= MIN_SPELT:
                yield " ".join([*words[:index], spelling, *words[index + 1 :]])
    for old, new in _FOLDS:
        if old in key:
            yield key.replace(old, new)
        elif new in key:
            yield key.replace(new, old)


def syllable_table(rows: Sequence[NameRow]) -> tuple[list[NameRow], dict[str, str]]:
    """Add readings to the Chinese names, and give the common characters by their readings.

    Only readings that occur in names are kept. Takes about a second.
    """
    from pypinyin import Style
    from pypinyin import load_phrases_dict
    from pypinyin import pinyin
    from pypinyin.phrases_dict import phrases_dict

    load_phrases_dict(phrases_dict)

    def readings(text: str, every: bool) -> list[list[str]]:
        found: list[list[str]] = pinyin(
            text, style=Style.TONE3, heteronym=every, neutral_tone_with_five=True, v_to_u=False
        )
        return found

    result = []
    wanted: set[str] = set()
    for row in rows:
        sounds = ""
        if _HAS_HAN.search(row.key):
            text = "".join(re.findall(rf"[{_HAN}]", row.key))
            sounds = " ".join(syllable[0] for syllable in readings(text, every=False))
            wanted.update(folded_syllable(sound) for sound in sounds.split())
        result.append(NameRow(row.key, row.medicine, row.kind, sounds))
    common = [char for char in map(chr, range(0x4E00, 0xA000)) if _is_common(char)]
    table: dict[str, list[str]] = {}
    for char in common:
        for sound in readings(char, every=True)[0][:3]:
            if folded_syllable(sound) in wanted:
                table.setdefault(sound, []).append(char)
    return result, {sound: "".join(chars) for sound, chars in sorted(table.items())}


def _is_common(char: str) -> bool:
    """Tell whether a character is of GB 2312, which has all that canonical text is likely to
    have."""
    try:
        return len(char.encode("gb2312")) == 2
    except UnicodeEncodeError:
        return False


@cache
def _sound_cost(one: str, other: str) -> float:
    """How far two readings are apart, 0 to 1."""
    if one == other:
        return 0.02
    if one[:-1] == other[:-1]:
        return 0.08
    if folded_syllable(one) == folded_syllable(other):
        return 0.2
    first, second = split_syllable(one), split_syllable(other)
    if first[1] == second[1] and first[1]:
        return 0.6
    return 0.7 if first[0] == second[0] and first[0] else 1.0


_SOUND_FOLDS = (
    (re.compile("ph"), "f"),
    (re.compile("th"), "t"),
    (re.compile("ch|ck|c(?![eiy])|q[u]?"), "k"),
    (re.compile("c(?=[eiy])|z"), "s"),
    (re.compile("x"), "ks"),
    (re.compile("ae|oe"), "e"),
    (re.compile("y"), "i"),
    (re.compile("w"), "v"),
    (re.compile(r"(?<=[a-z])h"), ""),
    (re.compile("e$"), ""),
    (re.compile(r"([a-z])\1+"), r"\1"),
)


@cache
def _sound(name: str) -> str:
    """A Latin name roughly as it is heard: norvasc and norvask are one."""
    for pattern, replacement in _SOUND_FOLDS:
        name = pattern.sub(replacement, name)
    return name


_TALK = (_FORM_WORDS | _ORDINARY_LATIN | frozenset(TALK)) - frozenset(PARTS_OF_NAMES)
_CHINESE_TALK_END = re.compile(f"(?:{_one_of(CHINESE_TALK)})$")
_CHINESE_TALK_START = re.compile(_one_of((*CHINESE_TALK, *CHINESE_FORMS)))


class NameIndex:
    """Looks names up; immutable after it is made, so any thread may ask.

    Args:
        medicines: All medicines.
        rows: Their names, as `name_rows` and `syllable_table` made them.
        syllables: Characters by readings.
        lookalikes: Further pairs of names that are mixed up.
    """

    def __init__(
        self,
        medicines: Sequence[Medicine],
        rows: Sequence[NameRow],
        syllables: Mapping[str, str],
        lookalikes: Iterable[tuple[str, str]] = (),
    ) -> None:
        self._medicines = {medicine.id: medicine for medicine in medicines}
        self._position = {medicine.id: i for i, medicine in enumerate(medicines)}
        self._exact: dict[str, list[NameRow]] = {}
        for row in rows:
            self._exact.setdefault(compact(row.key), []).append(row)
        self._add_combinations(medicines)
        self._latin: dict[str, list[tuple[str, str]]] = {}
        self._sounds: dict[str, list[tuple[str, str]]] = {}
        self._chinese: list[tuple[str, tuple[str, ...], frozenset[str], str]] = []
        for row in rows:
            if row.sounds:
                text = "".join(re.findall(rf"[{_HAN}]", row.key))
                # HPV疫苗 and MMR疫苗 differ in what has no sound here.
                if len(text) >= MIN_CHINESE and not re.search("[a-z]{2}", row.key):
                    sounds = tuple(row.sounds.split())
                    folded = frozenset(map(folded_syllable, sounds))
                    self._chinese.append((text, sounds, folded, row.medicine))
            elif len(compact(row.key)) >= MIN_LATIN:
                key = compact(row.key)
                self._latin.setdefault(key, []).append((key, row.medicine))
                self._sounds.setdefault(_sound(key), []).append((key, row.medicine))
        self._parts: dict[str, dict[str, None]] = {}
        for row in rows:
            if row.kind == "generic":
                for part in _parts_of(row.key):
                    self._parts.setdefault(part, {})[row.medicine] = None
        self._readings: dict[str, list[str]] = {}
        for sound, chars in syllables.items():
            for char in chars:
                self._readings.setdefault(char, []).append(sound)
        self._ingredients = self._ingredient_index(medicines)
        self._combinations: dict[frozenset[str], list[str]] = {}
        for medicine in medicines:
            if len(medicine.ingredients) > 1:
                self._combinations.setdefault(frozenset(medicine.ingredients), []).append(
                    medicine.id
                )
        self._scanner = _Scanner(rows, self._best, self._medicines)
        self._lookalikes = self._lookalike_index(medicines, lookalikes)

    # exact

    def find(self, name: str) -> Medicine | None:
        """Return the medicine that a name or label says, None if none or more than one.

        A trade name of several that share an ingredient gives the plainest of them: that much is
        in all, and an unknown name would be checked against nothing.
        """
        found = self._find_id(name) or self._find_shared(name)
        return self._medicines[found] if found else None

    def _find_shared(self, name: str) -> str:
        if len(name) > MAX_HEARD:
            return ""
        for form in _label_forms(canonical(_MARKS.sub(" ", name)).strip()):
            ids = {row.medicine for row in self._exact.get(compact(normalise(form)), ())}
            owners = [self._medicines[key] for key in sorted(ids, key=self._position.__getitem__)]
            if len(owners) > 1 and frozenset.intersection(
                *(frozenset(owner.ingredients) for owner in owners)
            ):
                return min(owners, key=lambda owner: len(owner.ingredients)).id
        return ""

    def lookalikes(self, medicine: Medicine) -> tuple[Medicine, ...]:
        """Return the medicines that are known to be mixed up with this one."""
        return tuple(self._medicines[key] for key in self._lookalikes.get(medicine.id, ()))

    def _find_id(self, name: str) -> str:
        if len(name) > MAX_HEARD:
            return ""
        text = canonical(_MARKS.sub(" ", name)).strip()
        if not text:
            return ""
        for form in _label_forms(text):
            found = self._of_key(compact(normalise(form)))
            if found:
                return found
        for form in _label_forms(text):
            found = self._combination(form)
            if found:
                return found
        return self._of_parts(text)

    def _of_key(self, key: str) -> str:
        rows = self._exact.get(key)
        return self._best(rows) if rows else ""

    def _is_brand(self, key: str) -> bool:
        return all(row.kind == "brand" for row in self._exact.get(key, ()))

    def _best(self, rows: Sequence[NameRow]) -> str:
        """Decide whose name it is: a generic name comes before a brand; "" if it is of several."""
        best = min(_KIND_RANK[row.kind] for row in rows)
        ids = {row.medicine for row in rows if _KIND_RANK[row.kind] == best}
        return ids.pop() if len(ids) == 1 else ""

    def _combination(self, text: str) -> str:
        """Find "a/b", "b + a", "a and b" by what is in it."""
        for pattern in (_JOIN, re.compile(r"[/+&、,-]")):
            parts = [part for part in pattern.split(text) if part.strip()]
            if not 2 <= len(parts) <= 5:
                continue
            ingredients = [self._ingredient(part) for part in parts]
            if all(ingredients):
                wanted = frozenset(itertools.chain.from_iterable(ingredients))
                ids = self._combinations.get(wanted, [])
                return ids[0] if len(ids) == 1 else ""
        return ""

    def _ingredient(self, part: str) -> tuple[str, ...]:
        for form in _label_forms(part.strip()):
            key = compact(normalise(form))
            found = self._of_key(key)
            if found:
                return self._medicines[found].ingredients
            if (known := self._ingredients.get(_ingredient_key(key))) is not None:
                return (known,)
        return ()

    def _of_parts(self, text: str) -> str:
        """Find a label with two names, Chinese and Latin or one in brackets, if they agree."""
        parts = [" ".join(_BRACKETS.sub(" ", text).split()), *_BRACKETS.findall(text)]
        parts = [part for part in parts if part and part != text]
        if not parts and _HAS_HAN.search(text) and re.search("[a-z]{3}", text):
            parts = [
                re.sub(rf"[{_HAN}]+", " ", text),
                "".join(re.findall(rf"[{_HAN}]+", text)),
            ]
        ids = {found for part in parts if (found := self._find_id(part))}
        return ids.pop() if len(ids) == 1 else ""

    @staticmethod
    def _ingredient_index(medicines: Iterable[Medicine]) -> dict[str, str]:
        index: dict[str, str] = {}
        for medicine in medicines:
            for ingredient in medicine.ingredients:
                words = ingredient.replace("-", " ")
                for spelling in (words, *_SPELLING_OF.get(compact(words), ())):
                    index.setdefault(_ingredient_key(compact(spelling)), ingredient)
        return index

    def _add_combinations(self, medicines: Iterable[Medicine]) -> None:
        """Let every order of a combination be found, also without the ingredients' own entries."""
        for medicine in medicines:
            if not 2 <= len(medicine.ingredients) <= 4:
                continue
            parts = [part.replace("-", "") for part in medicine.ingredients]
            for order in itertools.permutations(parts):
                key = "".join(order)
                if key not in self._exact:
                    self._exact[key] = [NameRow(key, medicine.id, "variant")]

    # heard

    def look_up(self, heard: str, limit: int = 3) -> LookUp:
        """Return what a name that was heard may mean; see the module for when it is a match."""
        if len(heard) > MAX_HEARD or limit < 1:
            return LookUp()
        text = canonical(_MARKS.sub(" ", heard)).strip(" .,!?。，！？、；;：:'\"")
        if not text or _is_ordinary(text):
            return LookUp()
        rows = self._exact.get(compact(normalise(text)))
        if rows and not self._best(rows):
            return LookUp(candidates=self._ordered({row.medicine: 1.0 for row in rows}, limit))
        found = self._find_id(text)
        if found:
            return LookUp(self._medicines[found])
        mentions = self.mentions(text)
        named = list(dict.fromkeys(mention.medicine.id for mention in mentions))
        if len(named) == 1 and _is_talk(text, mentions):
            return LookUp(self._medicines[named[0]])
        if named:
            return LookUp(candidates=tuple(self._medicines[key] for key in named[:limit]))
        partial = self._with_part(compact(normalise(text)))
        if partial:
            return LookUp(candidates=partial[:limit])
        best = LookUp()
        for form in _heard_forms(text):
            result = self._nearest(form, limit)
            if result.match is not None:
                return result
            if result.candidates and not best.candidates:
                best = result
        return best

    def _with_part(self, part: str) -> tuple[Medicine, ...]:
        """Return the medicines of whose names this is a whole part: "insulin", 胰島素."""
        if len(part) < (MIN_PART if _HAS_HAN.search(part) else MIN_LATIN):
            return ()
        return tuple(self._medicines[key] for key in self._parts.get(part, ()))

    def _nearest(self, text: str, limit: int) -> LookUp:
        chinese = "".join(re.findall(rf"[{_HAN}]", text))
        latin = "".join(re.findall(r"[a-zà-ÿ]|\d", text))
        if len(chinese) >= MIN_CHINESE and not _is_ordinary(chinese):
            near = self._chinese_near(chinese)
            is_certain = not latin and self._certain_chinese(chinese, near)
            return self._decide(near, is_certain, False, limit)
        is_word = text in common(COMMON_RARITY)
        if len(latin) >= MIN_LATIN and not chinese and not is_word and not _is_ordinary(text):
            near = self._latin_near(latin)
            is_same_sound = _sound(latin) in self._sounds
            is_certain = self._certain_latin(latin, near, is_same_sound)
            return self._decide(near, is_certain, is_same_sound, limit)
        return LookUp()

    def _decide(
        self, near: dict[str, _Near], is_certain: bool, is_same_sound: bool, limit: int
    ) -> LookUp:
        candidates = [key for key, one in near.items() if one.score >= CANDIDATE_SCORE]
        if not candidates:
            return LookUp()
        candidates.sort(key=lambda key: (-near[key].score, self._position[key]))
        first = candidates[0]
        needed = SPELLING_SCORE if is_same_sound else LOOKALIKE_SCORE
        rivals = [
            *self._paired.get((first, near[first].key), ()),
            *(
                key
                for key in self._lookalikes.get(first, ())
                if key in near
                and near[key].score >= needed
                and (first, key) not in self._only_as_brands
            ),
        ]
        if is_certain and not rivals:
            return LookUp(self._medicines[first])
        ids = list(dict.fromkeys((first, *rivals, *candidates)))[:limit]
        return LookUp(candidates=tuple(self._medicines[key] for key in ids))

    def _ordered(self, scores: Mapping[str, float], limit: int) -> tuple[Medicine, ...]:
        ids = sorted(scores, key=lambda key: (-scores[key], self._position[key]))
        return tuple(self._medicines[key] for key in ids[:limit])

    def _latin_near(self, heard: str) -> dict[str, _Near]:
        from rapidfuzz import process
        from rapidfuzz.distance import OSA

        near: dict[str, _Near] = {}
        for query, index, weight in (
            (heard, self._latin, 1.0),
            (_sound(heard), self._sounds, 0.98),
        ):
            for found, similarity, _ in process.extract(
                query,
                index.keys(),
                scorer=OSA.normalized_similarity,
                score_cutoff=LOOKALIKE_SCORE,
                limit=None,
            ):
                for key, medicine in index[found]:
                    score = similarity * weight
                    if medicine not in near or score > near[medicine].score:
                        near[medicine] = _Near(score, key)
        return near

    def _certain_latin(self, heard: str, near: Mapping[str, _Near], is_same_sound: bool) -> bool:
        ordered = sorted((one.score for one in near.values()), reverse=True)
        second = ordered[1] if len(ordered) > 1 else 0.0
        if not ordered or ordered[0] - second < MATCH_MARGIN:
            return False
        if len(heard) <= SHORT_NAME and second > SHORT_RIVAL:
            return False
        return (is_same_sound and len(heard) > MIN_LATIN) or ordered[0] >= MATCH_SCORE

    def _chinese_near(self, heard: str) -> dict[str, _Near]:
        readings = [self._readings.get(char, []) for char in heard]
        heard_folded = {folded_syllable(sound) for sounds in readings for sound in sounds}
        near: dict[str, _Near] = {}
        for text, sounds, folded, medicine in self._chinese:
            if abs(len(text) - len(heard)) > max(1, len(text) // 3):
                continue
            # Of a name that is near at least a third sounds alike.
            if len(folded & heard_folded) * 3 < len(folded):
                continue
            score = _chinese_similarity(heard, readings, text, sounds)
            if score >= LOOKALIKE_SCORE and (medicine not in near or score > near[medicine].score):
                near[medicine] = _Near(score, text)
        return near

    def _certain_chinese(self, heard: str, near: Mapping[str, _Near]) -> bool:
        ordered = sorted((one.score for one in near.values()), reverse=True)
        if not ordered:
            return False
        second = ordered[1] if len(ordered) > 1 else 0.0
        # Of two characters all must sound the same, tones too.
        needed = 0.97 if len(heard) == 2 else 0.9
        return ordered[0] >= needed and ordered[0] - second >= min(MATCH_MARGIN, 0.1)

    # in a sentence

    def mentions(self, text: str) -> tuple[Mention, ...]:
        """Return the medicines named in a text, in order, with offsets into canonical(text)."""
        return tuple(
            Mention(start, end, found, self._medicines[medicine])
            for start, end, found, medicine in self._scanner.scan(canonical(text))
        )

    def _lookalike_index(
        self, medicines: Iterable[Medicine], pairs: Iterable[tuple[str, str]]
    ) -> dict[str, tuple[str, ...]]:
        """Who is mixed up with whom.

        In `_paired`: for a medicine under one of its names, those that are always asked about.

        A pair of trade names says nothing about the generic ones: Losec is heard for Lasix, but
        omeprazole is not heard for furosemide.
        """
        index: dict[str, dict[str, None]] = {}
        paired: dict[tuple[str, str], dict[str, None]] = {}
        named: set[tuple[str, str]] = set()
        keys: dict[str, list[NameRow]] = {}
        for rows in self._exact.values():
            for row in rows:
                keys.setdefault(row.medicine, []).append(row)

        def resolve(name: str) -> str:
            return name if name in self._medicines else self._of_key(compact(normalise(name)))

        def add(one: str, other: str) -> None:
            if one and other and one != other:
                index.setdefault(one, {})[other] = None
                index.setdefault(other, {})[one] = None

        for medicine in medicines:
            for name in medicine.lookalikes:
                add(medicine.id, resolve(name))
        of_medicines = {(one, other) for one, others in index.items() for other in others}
        for pair in pairs:
            for name, other_name in (pair, pair[::-1]):
                one, other = resolve(name), resolve(other_name)
                if not one or not other or one == other:
                    continue
                index.setdefault(one, {})[other] = None
                own = compact(normalise(name))
                is_brand = self._is_brand(own)
                if is_brand and self._is_brand(compact(normalise(other_name))):
                    named.add((one, other))
                same = (
                    [own]
                    if is_brand
                    else [compact(row.key) for row in keys[one] if row.kind != "brand"]
                )
                for key in same:
                    paired.setdefault((one, key), {})[other] = None
        self._paired = {key: tuple(values) for key, values in paired.items()}
        self._only_as_brands = named - of_medicines
        return {key: tuple(values) for key, values in index.items()}


def _is_ordinary(text: str) -> bool:
    words = text.split()
    return compact(text) in _ORDINARY_CHINESE or all(
        word in _ORDINARY_LATIN or word in _FORM_WORDS for word in words
    )


def _parts_of(key: str) -> Iterator[str]:
    """The parts of a name by which people call it: its words, or a Chinese beginning or end."""
    if _HAS_HAN.search(key):
        for size in range(MIN_PART, len(key)):
            yield key[:size]
            yield key[-size:]
    else:
        words = key.split()
        yield from (word for word in words if len(words) > 1 and word not in _SALTS)


def _is_talk(text: str, mentions: Sequence[Mention]) -> bool:
    """Tell whether what stands around the names is talk, and not the rest of a longer name.

    "Diovan HCT", "Co-Diovan" and 安莫西林克拉維酸 are other medicines than Diovan and 安莫西林,
    and may be unknown here.
    """
    rest = text
    for mention in reversed(mentions):
        rest = f"{rest[: mention.start]} {rest[mention.end :]}"
        before = text[: mention.start].rstrip()
        after = _STRENGTH.sub(" ", text[mention.end :]).lstrip()
        if _HAS_HAN.match(before[-1:]) and not _CHINESE_TALK_END.search(before):
            return False
        if _HAS_HAN.match(after[:1]) and not _CHINESE_TALK_START.match(after):
            return False
    words = re.findall(r"[a-z]+", _STRENGTH.sub(" ", rest))
    return all(word in _TALK for word in words)


def _ingredient_key(key: str) -> str:
    return re.sub("icacid$", "ate", key)


def _chinese_similarity(
    heard: str, readings: Sequence[Sequence[str]], text: str, sounds: Sequence[str]
) -> float:
    """Edit similarity, 0 to 1, in which characters cost as much as their sounds differ."""
    previous = [float(column) for column in range(len(text) + 1)]
    for row, char in enumerate(heard, start=1):
        current = [float(row)]
        for column, other in enumerate(text, start=1):
            if char == other:
                cost = 0.0
            else:
                cost = min(
                    (_sound_cost(sound, sounds[column - 1]) for sound in readings[row - 1]),
                    default=1.0,
                )
            current.append(
                min(previous[column - 1] + cost, previous[column] + 1.0, current[-1] + 1.0)
            )
        previous = current
    return 1.0 - previous[-1] / max(len(heard), len(text))


def _heard_forms(text: str) -> Iterator[str]:
    """A name that was heard, with and without what people say around it."""
    yield text
    stripped = re.sub(
        "^(?:我要|我想要|我的|我在吃|我有吃|我吃|请问|那个|这个|叫做|叫|就是|是|吃|用|打|的)+|(?:这个药|那个药|的药|吗|呢|啊|吧|了|啦)+$",
        "",
        text,
    )
    for form in _label_forms(stripped):
        if form != text:
            yield form


def _label_forms(text: str) -> Iterator[str]:
    """A label with ever less of what stands around the name, each once, the whole first."""
    seen: set[str] = set()

    def fresh(form: str) -> Iterator[str]:
        form = " ".join(form.split()).strip(" -/,.;:+")
        if form and form not in seen:
            seen.add(form)
            yield form

    yield from fresh(text)
    without_maker = _QUOTED.sub(" ", text)
    yield from fresh(without_maker)
    outside = without_maker if "(" not in without_maker else _BRACKETS.sub(" ", without_maker)
    for start in dict.fromkeys((without_maker, outside)):
        for form in _trimmed(start):
            yield from fresh(form)


def _is_form(word: str) -> bool:
    word = word.strip(".,;:()")
    return word in _FORM_WORDS or all(part in _FORM_WORDS for part in word.split("-"))


def _trimmed(text: str) -> Iterator[str]:
    text = _STRENGTH.sub(" ", text)
    text = _RATIO.sub(" ", text)
    yield text
    words = text.replace(",", " ").split()
    # From the end on, and one by one: a form can be a part of the name ("oral semaglutide").
    while len(words) > 1 and _is_form(words[-1]):
        words = words[:-1]
        yield " ".join(words)
    while len(words) > 1 and _is_form(words[0]):
        words = words[1:]
        yield " ".join(words)
    text = " ".join(word for word in words if not _is_form(word))
    yield text
    text = _LONE_NUMBER.sub(" ", text).strip()
    yield text
    while text and (found := _CHINESE_FORM.search(text.rstrip(" -()"))):
        text = text.rstrip(" -()")[: found.start()].rstrip()
        yield text
        if number := re.search(r"\d+$", text):
            text = text[: number.start()].rstrip()
            yield text
    if _HAS_HAN.search(text):
        for shorter in (
            _CHINESE_SALT_BEFORE.sub("", text),
            _CHINESE_SALT_AFTER.sub("", text),
            _CHINESE_SALT_AFTER.sub("", _CHINESE_SALT_BEFORE.sub("", text)),
        ):
            if len(shorter) >= MIN_CHINESE and not _CHINESE_MINERAL.search(text):
                yield shorter
    words = re.split(r"[\s]+", text)
    while len(words) > 1 and words[-1].strip(".,()") in _SALTS:
        words = words[:-1]
        if not set(words) <= _MINERALS:
            yield " ".join(words)
    # A salt before the name, as some labels and pharmacists write it ("sodium valproate").
    if len(words) == 2 and words[0] in _SALTS & _MINERALS and words[1] not in _SALTS:
        yield words[1]


@dataclass(frozen=True)
class _Near:
    """How near a medicine is to what was heard, and by which of its names."""

    score: float
    key: str


class _Scanner:
    """Finds names in canonical text, the longest at each place."""

    def __init__(
        self,
        rows: Sequence[NameRow],
        best: Callable[[Sequence[NameRow]], str],
        medicines: Mapping[str, Medicine],
    ) -> None:
        self._latin: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        self._chinese: dict[str, list[tuple[str, str]]] = {}
        by_key: dict[str, list[NameRow]] = {}
        for word in LONGER_WORDS:
            self._chinese.setdefault(word[:2], []).append((word, ""))
        for row in rows:
            by_key.setdefault(row.key, []).append(row)
        for key, owners in by_key.items():
            medicine = best(owners) or owners[0].medicine
            if compact(key) in _ORDINARY_CHINESE or key in _ORDINARY_LATIN or key in _FORM_WORDS:
                continue
            if _HAS_HAN.search(key):
                if len(re.findall(rf"[{_HAN}]", key)) >= MIN_CHINESE or len(key) > MIN_CHINESE:
                    self._chinese.setdefault(key[:2], []).append((key, medicine))
                    # canonical text may have a space where the scripts meet: 维他命 c
                    spaced = re.sub(
                        rf"(?<=[{_HAN}])(?=[a-z\d])|(?<=[a-z\d])(?=[{_HAN}])", " ", key
                    )
                    for other in {spaced, compact(key)} - {key}:
                        self._chinese.setdefault(other[:2], []).append((other, medicine))
            elif len(key) > 2:
                tokens = tuple(_TOKEN.findall(key))
                if tokens and "".join(tokens) == compact(key).replace("%", ""):
                    self._latin.setdefault(tokens[0], []).append((tokens, medicine))
        for one in medicines.values():
            if 2 <= len(one.ingredients) <= 3:
                for order in itertools.permutations(one.ingredients):
                    for joined in (" ".join(order), " and ".join(order)):
                        tokens = tuple(_TOKEN.findall(joined.replace("-", " ")))
                        self._latin.setdefault(tokens[0], []).append((tokens, one.id))
        for latin in self._latin.values():
            latin.sort(key=lambda name: len(name[0]), reverse=True)
        for chinese in self._chinese.values():
            chinese.sort(key=lambda name: len(name[0]), reverse=True)

    def scan(self, text: str) -> Iterator[tuple[int, int, str, str]]:
        """Give start, end, text and medicine of each name in canonical text."""
        tokens = [(match.start(), match.end(), match[0]) for match in _TOKEN.finditer(text)]
        starts = {token[0]: index for index, token in enumerate(tokens)}
        position = 0
        while position < len(text):
            found = None
            if position in starts:
                found = self._latin_at(text, tokens, starts[position])
            names = self._chinese.get(text[position : position + 2])
            if names:
                for key, medicine in names:
                    end = position + len(key)
                    if text.startswith(key, position) and _stands_alone(text, position, end):
                        if found is None or end > found[0]:
                            found = (end, medicine)
                        break
            if found is not None:
                if found[1]:
                    yield position, found[0], text[position : found[0]], found[1]
                position = found[0]
            else:
                position += 1

    def _latin_at(
        self, text: str, tokens: Sequence[tuple[int, int, str]], index: int
    ) -> tuple[int, str] | None:
        _, end, first = tokens[index]
        names = self._latin.get(first)
        if names is None and first.endswith("s") and len(first) > 4:
            names = [name for name in self._latin.get(first[:-1], ()) if len(name[0]) == 1]
        if not names:
            names = [
                name
                for name in (self._latin.get(first[:-2], ()) if first.endswith("tm") else ())
                if len(name[0]) == 1
            ]
        for name, medicine in names or ():
            if len(name) > len(tokens) - index:
                continue
            end = tokens[index + len(name) - 1][1]
            if len(name) > 1:
                rest = tokens[index + 1 : index + len(name)]
                if any(token[2] != part for token, part in zip(rest, name[1:], strict=True)):
                    continue
                between = [
                    text[before[1] : after[0]]
                    for before, after in itertools.pairwise(tokens[index : index + len(name)])
                ]
                if any(not re.fullmatch(r"[\s\-/+&,.]{0,3}", gap) for gap in between):
                    continue
            return end, medicine
        return None


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Tell whether a name with Chinese in it does not go on in Latin letters or digits."""

    def joins(one: str, other: str) -> bool:
        return (one.isascii() and one.isalpha() and other.isascii() and other.isalpha()) or (
            one.isdigit() and other.isdigit()
        )

    if start and joins(text[start - 1], text[start]):
        return False
    return not (end < len(text) and joins(text[end - 1], text[end]))
