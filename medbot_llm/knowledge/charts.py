"""Read allergies, conditions and foods as charts and people write them.

"Hives after cephalexin in 2019", "NKDA", "G2P1 at 12w", "father had asthma" and 吃阿斯匹靈會喘 are
texts; rules speak of ids. A mention is looked for first, then what its sentence makes of it:
denied ("denies pregnancy"), someone else's (a relative's), over (a pregnancy of 2019), an
intolerance and no allergy ("stomach upset with erythromycin"), or decided by a number
("eGFR 22"). Where a text leaves it open, the mention counts: an alarm too many costs a question,
a missed allergy a life.

Terms are data (`conditions.yaml`, `allergies.yaml`, `foods.yaml`), and so are the words that
decide (`charts.yaml`). All matching is on canonical text, so one script serves both.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import cached_property
from typing import Any
from typing import Protocol

from pypinyin import lazy_pinyin
from rapidfuzz import fuzz

from medbot_llm.knowledge.compiler import FormularyError
from medbot_llm.knowledge.compiler import parse_yaml
from medbot_llm.knowledge.medicine import LookUp
from medbot_llm.knowledge.medicine import Medicine
from medbot_llm.knowledge.medicine import Mention
from medbot_llm.text.normal import canonical
from medbot_llm.text.normal import with_digits

FILE_NAME = "charts.yaml"
MAX_TEXT = 4000
"""Characters of one text that are read; a chart's line has a few hundred."""

MIN_FUZZY_LETTERS = 6
MIN_FUZZY_RATIO = 85.0
"""A slip of one letter in six; looser, "hypotension" is read as "hypertension"."""
MIN_FUZZY_RATIO_OF_PHRASE = 92.0
"""Of several words: "nursing home" is not "nursing her" misspelt."""
MIN_HOMOPHONE_CHARACTERS = 3
MIN_NAME_RATIO = 88.0
MIN_NAME_LEAD = 6.0
"""How near a name must be to a medicine's, and how much nearer than to the next one's."""

_INDIFFERENT = "indifferent"
_OPPOSITE = re.compile(r"hypo\w* hyper|hyper\w* hypo|intra\w* inter|inter\w* intra|un\w* in")
"""Words that differ in a letter or two and mean the contrary."""

_HAN = r"\u3400-\u4dbf\u4e00-\u9fff"
_SENTENCE_END = re.compile(
    r"[;。|!?•●▪]|\.(?=\s|$)|\b(?:but|however|although|though|except(?: for)?|other than|apart"
    r" from|aside from|only allergic)\b|但是|但|不过(?!敏)|可是|然而|除了|除"
)
_EXCEPTED = re.compile(r"(?:except(?: for)?|other than|apart from|aside from|除了|除)$")
_LIST_GOES_ON = re.compile(r"\b(?:or|nor)\b|或|以及|及")
_NEW_STATEMENT = re.compile(
    r"\b(?:with|has|have|had|having|because|due to|despite|since|takes|taking|is|was|are|currently"
    r"|now|uses)\b|因|由于|患|目前|现在|(?<=.)有"
)
_HARMLESS_WITH = re.compile(
    r"(?:diagnosed|problems?|issues?|trouble) with|(?:known|said) to have"
    r"|ha[ds] (?:an? |any )|have any"
    r"|^ ?(?:ever )?(?:had|have|having|been|taken|used|experienced|diagnosed)\b(?: with)?"
)
_WITH = re.compile(r"(?<![a-z])w/ ?(?!o)")
_DISORDER = re.compile(r"(?<![a-z])d/o(?![a-z])")
_ONLY_JOINS = re.compile(r"(?:\b(?:and|plus|with|mg|mcg)\b|[和与及加]|\d|\W)*")
_HALF_AN_HOUR_APART = re.compile(
    r"(?:half an hour|an? hour|0\.5 hours?|\d+(?:\.\d+)? ?(?:h|hrs?|hours?)"
    r"|(?:[3-9]\d|1\d\d) ?-?min\w*) ?(?:later|before|after|apart|earlier|prior)"
    r"|(?:半|[\d.]+ ?个?半?|0\.5个?)(?:小时|钟头)(?:以|之)?(?:后|前|才|再)"
    r"|(?:[3-9]\d|1\d\d) ?分钟?(?:以|之)?(?:后|前|才|再)"
)
_PATIENT_AGAIN = re.compile(
    r"\b(?:patient|pt|he|she|himself|herself|self|i|me)\b|本人|病人|患者|自己|他|她|我"
)
_AS_DENIED = re.compile(
    r"(?:\s*(?:allergy|allergies|history|过敏史?|病史))?\s*(?:[:=]|\(|\[|-)?\s*(?:\(-\)|[:=(\[]\s*-|(?:no|none|negative|neg|denies|denied|nil"
    r"|阴性)(?![a-z])|(?:无|否|没有)(?=[,;。)\s]|$))|\s*-\s*$"
)
_AS_NORMAL = re.compile(
    r"\W*(?:(?:enzyme|activity|levels?|tests?|screen(?:ing)?|status|result|is|was|within|检查|检验|筛检|结果)"
    r"\W*){0,3}(?:normal|nl|nml|wnl|negative|neg|ok|unremarkable|sufficient|not deficient|正常"
    r"|阴性)(?![a-z])"
)
_PAST_YEAR = re.compile(
    r"\bin (?:19|20)\d\d\b|(?:19|20)\d\d ?年|\d+ ?(?:years?|months?|年|个月)前? ?ago"
)

_STAGE = {"1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5}
_STAGE |= {"一": 1, "二": 2, "三": 3, "四": 4, "五": 5, "3a": 3, "3b": 3, "iiia": 3, "iiib": 3}
_KIDNEY = (
    r"(?:ckd|chronic kidney disease|kidney disease|慢性肾脏病|慢性肾病|肾脏病|肾病|肾功能不全)"
)
_GRADE = r"(3a|3b|[1-5](?![\d.])|iii[ab]?|ii|iv|i|v|[一二三四五])"
_CKD_STAGE = re.compile(
    rf"{_KIDNEY}[ \-,(]{{0,2}}(?:stage|stg|st|gr?|grade|第)?[ .:\-]?{_GRADE}"
    r"(?:a[123])?d?(?![a-z0-9])"
    rf"|(?:stage|stg|grade|第)[ .]?{_GRADE}[期级]?的? ?{_KIDNEY}"
)
_CKD_CONDITIONS = {3: "ckd_3", 4: "ckd_severe", 5: "ckd_end"}

_GRAVIDITY = re.compile(
    r"(?<![a-z0-9])g ?(\d{1,2})[ ,/]?p ?(\d{1,4})(?:[ ,/]?(?:a|ab|sa|ea|aa) ?(\d))?(?!\d)"
)
_WEEKS = re.compile(
    r"(?<![\d.])(\d{1,2})(?:\.\d)?(?: ?\+ ?\d(?:/7)?)?(?: \d/7)?[ -]?"
    r"(?:weeks?|wks?|w|周|星期|礼拜)(?![a-z])"
)
_MONTHS = re.compile(r"(?<![\d.])(\d{1,2})(?:\.5)? ?(?:多)?个?多?(?:个月|months?)(?! ?(?:ago|前))")
_GESTATION = re.compile(
    r"(?<![a-z])(?:e?ga|gestation(?:al age)?|weeks? of gestation|iup|along|pregnan\w*)(?![a-z])"
    r"|\d{1,2}w\d ?d|孕|妊娠|胎儿"
)
_NO_GESTATION = re.compile(
    r"post-?partum|产后|postnatal|old|(?:个月|周|天)大|after (?:delivery|birth)"
)
_AGE = re.compile(
    r"(?<![\d.])(\d{1,3}(?:\.\d)?)(?:'?s)?[ -]?(years?|yrs?|y|months?|mos?|m|weeks?|days?)?"
    r"[ /-]?(?:of age|-?olds?|o)(?![a-z])"
    r"|(?<![\d.])(\d{1,3}(?:\.\d)?) ?多?(岁|个月大|个月的?(?:婴|宝|男|女|小)|天大|周大|日龄|月龄)"
    r"|(?<![a-z])aged?[ :=]{0,2}(\d{1,3})(?! ?(?:months?|mo|weeks?|days?))(?!\d)"
    r"|(?<![a-z])(?:in (?:his|her) )(\d{2})s"
    r"|出生(\d{1,3})(天|日)"
    r"|(?<![\d.])(\d{2})/?[fm](?![a-z0-9])"
)
_WHEN_YOUNG = re.compile(
    r"(?:\bat|since|when|from|diagnosed|until|before|after)(?: age)?(?: of)?\s*$"
)
_AGES: tuple[tuple[float, str], ...] = (
    (28 / 365, "newborn"),
    (1, "infant"),
    (2, "child_under_2"),
    (6, "child_under_6"),
    (8, "child_under_8"),
    (12, "child_under_12"),
    (16, "under_16"),
    (18, "under_18"),
)
_ELDERLY_FROM = 65
_SMOKING_RISK_FROM = 35
_MAX_AGE = 120
_WEEKS_PER_MONTH = 4.35
_SECOND_TRIMESTER_FROM = 14
_HARM_BY_NSAID_FROM = 20
_THIRD_TRIMESTER_FROM = 28
_TERM_FROM = 37
_MAX_WEEKS = 43


class Source(Protocol):
    """What of the formulary is needed here."""

    @property
    def tables(self) -> Mapping[str, Sequence[Mapping[str, Any]]]: ...

    def medicine(self, medicine_id: str) -> Medicine: ...

    def look_up(self, heard: str, limit: int = 3) -> LookUp: ...

    def mentions(self, text: str) -> Sequence[Mention]: ...


@dataclass(frozen=True)
class Reading:
    """Something that a text says of the patient.

    Attributes:
        id: Of a condition, a food or an allergy group; for a medicine its id.
        index: Which of the texts.
        text: That text.
        is_medicine: The id is a medicine's (allergies only).
        is_severe: Anaphylaxis, swelling of the throat, an attack of asthma, a severe skin
            reaction (allergies only).
        is_mild: A mere rash or itch (allergies only).
        is_doubtful: Called an allergy, but what happened is none, e.g. nausea.
        is_tolerated: The medicine was taken without trouble since (allergies only).
    """

    id: str
    index: int
    text: str
    is_medicine: bool = False
    is_severe: bool = False
    is_mild: bool = False
    is_doubtful: bool = False
    is_tolerated: bool = False


@dataclass(frozen=True)
class Span:
    """A place in canonical text, and what it names."""

    start: int
    end: int
    ids: tuple[str, ...]
    medicine: str = ""


@dataclass
class _Text:
    """One text in canonical form, with what is no negation masked for the look back."""

    written: str
    plain: str
    masked: str
    sentences: list[tuple[int, int]] = field(default_factory=list)

    def sentence_of(self, position: int) -> tuple[int, int]:
        for start, end in self.sentences:
            if start <= position < end:
                return start, end
        return 0, len(self.plain)


class Terms:
    """Finds terms in canonical text: the longest, from left to right, whole words only."""

    def __init__(self, terms: Iterable[tuple[str, str]]) -> None:
        self._ids: dict[str, list[str]] = {}
        for term, owner in terms:
            written = canonical(str(term))
            # Texts are read with and without their number words in digits.
            for key in {written, with_digits(written)}:
                if key and owner not in self._ids.setdefault(key, []):
                    self._ids[key].append(owner)
        by_first: dict[str, list[str]] = {}
        for key in self._ids:
            by_first.setdefault(key[0], []).append(key)
        self._patterns: dict[str, tuple[re.Pattern[str], list[str]]] = {}
        for first, keys in by_first.items():
            keys.sort(key=len, reverse=True)
            # One group a term, so that the group that matched tells which.
            pattern = "|".join(f"({_pattern_of(key)})" for key in keys)
            self._patterns[first] = (re.compile(pattern), keys)

    def spans(self, text: str) -> list[Span]:
        """Return the terms of the text."""
        found: list[Span] = []
        position = 0
        while position < len(text):
            entry = self._patterns.get(text[position])
            match = entry[0].match(text, position) if entry else None
            if entry is None or match is None or match.lastindex is None:
                position += 1
                continue
            key = entry[1][match.lastindex - 1]
            found.append(Span(position, match.end(), tuple(self._ids[key])))
            position = max(match.end(), position + 1)
        return found

    def similar(self, text: str) -> list[Span]:
        """Return terms that the text nearly spells, or that sound like it."""
        return [*self._misspelt(text), *self._homophones(text)]

    def _misspelt(self, text: str) -> list[Span]:
        words = list(re.finditer(r"[a-z][a-z'-]+", text))
        best: tuple[float, Span] | None = None
        for first, word in enumerate(words):
            for last in range(first, min(first + 3, len(words))):
                piece = text[word.start() : words[last].end()]
                if len(piece) < MIN_FUZZY_LETTERS - 1:
                    continue
                for key in self._latin.get(piece[0], ()):
                    if abs(len(key) - len(piece)) > 2 or _OPPOSITE.match(f"{key} {piece}"):
                        continue
                    least = MIN_FUZZY_RATIO_OF_PHRASE if " " in key else MIN_FUZZY_RATIO
                    ratio = fuzz.ratio(key, piece, score_cutoff=least)
                    if ratio and (best is None or ratio > best[0]):
                        span = Span(word.start(), words[last].end(), tuple(self._ids[key]))
                        best = (ratio, span)
        return [best[1]] if best else []

    def _homophones(self, text: str) -> list[Span]:
        found: list[Span] = []
        for run in re.finditer(rf"[{_HAN}]{{{MIN_HOMOPHONE_CHARACTERS},}}", text):
            sounds = lazy_pinyin(run[0])
            if len(sounds) != len(run[0]):
                continue
            for length in (7, 6, 5, 4, 3):
                for start in range(len(sounds) - length + 1):
                    key = self._sounds.get(tuple(sounds[start : start + length]))
                    if key:
                        begin = run.start() + start
                        found.append(Span(begin, begin + length, tuple(self._ids[key])))
                if found:
                    return found
        return found

    @cached_property
    def _latin(self) -> dict[str, list[str]]:
        keys: dict[str, list[str]] = {}
        for key in self._ids:
            if len(key) >= MIN_FUZZY_LETTERS and re.fullmatch(r"[a-z' -]+", key):
                keys.setdefault(key[0], []).append(key)
        return keys

    @cached_property
    def _sounds(self) -> dict[tuple[str, ...], str]:
        return {
            tuple(lazy_pinyin(key)): key
            for key in self._ids
            if re.fullmatch(rf"[{_HAN}]{{{MIN_HOMOPHONE_CHARACTERS},7}}", key)
        }


class Words:
    """A list of deciding words, found as whole words (English) or anywhere (Chinese)."""

    def __init__(self, words: Iterable[str], is_prefix: bool = False) -> None:
        parts = []
        for word in sorted({canonical(str(word)) for word in words}, key=len, reverse=True):
            pattern = _pattern_of(word)
            if is_prefix and len(word) > 4 and pattern.endswith(_WORD_END):
                # "wheez" finds wheezing and wheezed.
                pattern = pattern.removesuffix(_WORD_END)
            parts.append(pattern)
        self.pattern = "|".join(parts) or r"(?!)"
        self._compiled = re.compile(self.pattern)

    def find(self, text: str) -> list[re.Match[str]]:
        return list(self._compiled.finditer(text))

    def is_in(self, text: str) -> bool:
        return self._compiled.search(text) is not None


_WORD_END = r"(?:'?s)?(?![a-z0-9])"


def _pattern_of(term: str) -> str:
    body = re.sub(r"(?:\\ |\\-)+", "[ -]?", re.escape(term)).replace("'", "'?")
    before = r"(?<![a-z0-9])" if re.match(r"[a-z0-9]", term) else ""
    after = _WORD_END if re.search(r"[a-z0-9]$", term) else ""
    return f"{before}{body}{after}"


class Charts:
    """Reads the free texts of a chart.

    ```python
    charts = Charts(Formulary.open())
    charts.read_conditions(["28 weeks pregnant", "denies asthma"])
    # ids: pregnancy_third, pregnancy, pregnancy_from_20_weeks
    ```

    Args:
        formulary: Gives the terms, and finds medicines in texts.

    Raises:
        FormularyError: `charts.yaml` is missing or unfinished.
    """

    def __init__(self, formulary: Source) -> None:
        self._formulary = formulary
        words = read_words()
        tables = formulary.tables
        conditions = list(tables.get("conditions", ()))
        self._conditions = {str(row["id"]): row for row in conditions}
        self._condition_terms = Terms(
            [
                *((term, str(row["id"])) for row in conditions for term in row.get("terms", ())),
                # A term of a hospital's own condition counts, though it is indifferent to us.
                *((term, _INDIFFERENT) for term in words["indifferent"]),
            ]
        )
        foods = list(tables.get("foods", ()))
        self._foods = {str(row["id"]): row for row in foods}
        self._food_terms = Terms(
            (term, str(row["id"]))
            for row in foods
            for term in [*row.get("terms", ()), row.get("en", ""), row.get("zh-Hant", "")]
        )
        groups = list(tables.get("allergy_groups", ()))
        self._groups = {str(row["id"]): row for row in groups}
        self._group_terms = Terms(
            (term, str(row["id"])) for row in groups for term in row.get("terms", ())
        )
        self._needs = {
            key: Words(row["needs"], is_prefix=True)
            for key, row in self._groups.items()
            if row.get("needs")
        }
        self._capitals = [
            (re.compile(rf"(?<![A-Za-z0-9-])(?<!\d ){re.escape(short)}(?![A-Za-z0-9-])"), long)
            for short, long in words["capitals"].items()
        ]
        self._not_negations = Words(words["not_negations"])
        self._before = Words(words["negation_before"])
        self._of_lists = Words(words["negation_of_lists"])
        self._after = Words(words["negation_after"])
        self._about_before = Words(words["about_before"])
        self._about_after = re.compile(rf"\W?\s*(?:{Words(words['about_after']).pattern})")
        self._family = Words(words["family"])
        self._family_after = re.compile(
            rf"\s*(?:\bin\b|\bof\b|[-:(])\s*(?:(?:his|her|the|my) )?(?:{self._family.pattern})"
        )
        self._speaks = re.compile(
            rf"\W*(?:of (?:the )?\w+ )?(?:\w+ )?(?:{Words(words['family_speaks']).pattern})"
        )
        self._past = Words(words["past"])
        self._resolved = Words(words["resolved"])
        self._ended = {key: Words(value) for key, value in words["ended"].items()}
        self._food_after = Words(words["food_negation_after"])
        self._apart = Words(words["apart"])
        self._apart_foods = frozenset(map(str, words["apart_foods"]))
        self._taking_before = Words(words["taking_before"])
        self._taking_after = Words(words["taking_after"])
        self._taking_denied = Words(words["taking_denied"])
        self._tolerated = Words(words["tolerated"])
        self._weakly_tolerated = Words(
            [word for word in words["tolerated"] if str(word).split()[0] in _WEAK_TOLERANCE]
        )
        self._reactions = {
            key: Words(value, is_prefix=True) for key, value in words["reactions"].items()
        }
        self._measures = [_Measure(row) for row in words["measures"]]

    # foods

    def read_foods(self, texts: Sequence[str]) -> tuple[Reading, ...]:
        """Return the foods, drinks and herbs that the person takes, in the order of the texts."""
        found: dict[tuple[int, str], Reading] = {}
        for index, written in enumerate(texts):
            text = self._prepared(written)
            spans = self._food_terms.spans(text.plain) or self._food_terms.similar(text.plain)
            for span in spans:
                if self._is_denied(text, span) or self._is_about(text, span):
                    continue
                if self._is_food_denied(text, span):
                    continue
                for food in span.ids:
                    if not self._is_apart(text, food):
                        found.setdefault((index, food), Reading(food, index, written))
        return tuple(found.values())

    def _is_food_denied(self, text: _Text, span: Span) -> bool:
        """Whether what follows says that it is not eaten or drunk: "alcohol: never", 酒都不碰."""
        _, end = text.sentence_of(span.start)
        segment = re.split(r"[,、]", text.plain[span.end : end], maxsplit=1)[0]
        return any(match.start() <= 6 for match in self._food_after.find(segment))

    def _is_apart(self, text: _Text, food: str) -> bool:
        """Whether the medicine is taken so long before or after the food that it does no harm."""
        if food not in self._apart_foods:
            return False
        if _HALF_AN_HOUR_APART.search(with_digits(text.plain)):
            return True
        return food.endswith("meal") and self._apart.is_in(text.plain)

    # conditions

    def read_conditions(self, texts: Sequence[str]) -> tuple[Reading, ...]:
        """Return the conditions that the patient has, and the broader ones that they imply."""
        found: dict[tuple[int, str], Reading] = {}
        cancelled: set[str] = set()
        for index, written in enumerate(texts):
            for condition in self._conditions_of(written):
                found.setdefault((index, condition), Reading(condition, index, written))
                cancelled |= set(self._conditions.get(condition, {}).get("cancels", ()))
        for key in [key for key in found if key[1] in cancelled]:
            del found[key]
        for (index, condition), reading in list(found.items()):
            for broader in self._implied(condition):
                if broader not in cancelled:
                    found.setdefault((index, broader), replace(reading, id=broader))
        self._add_combined(found)
        return tuple(sorted(found.values(), key=lambda reading: reading.index))

    def read_medicines(
        self, texts: Sequence[str], classes: Terms | None = None
    ) -> tuple[Reading, ...]:
        """Return the medicines that the texts of conditions say the patient takes now.

        "CAD, takes NTG most days" counts; "stopped warfarin", "angioedema from lisinopril" and a
        name without a word that it is taken do not.

        Args:
            texts: As the chart's field for conditions has them.
            classes: Terms of classes, which are looked for too ("on nitrates").
        """
        found: dict[tuple[int, str], Reading] = {}
        for index, written in enumerate(texts):
            text = self._prepared(written)
            spans = [
                Span(mention.start, mention.end, (), mention.medicine.id)
                for mention in self._formulary.mentions(text.plain)
            ]
            for span in classes.spans(text.plain) if classes else ():
                if all(span.end <= one.start or one.end <= span.start for one in spans):
                    spans.append(span)
            spans.sort(key=lambda span: span.start)
            for span in spans:
                if self._is_relatives(text, span) or not self._is_taken(text, span, spans):
                    continue
                for key in (span.medicine,) if span.medicine else span.ids:
                    reading = Reading(key, index, written, is_medicine=bool(span.medicine))
                    found.setdefault((index, key), reading)
        return tuple(found.values())

    def _is_taken(self, text: _Text, span: Span, spans: Sequence[Span]) -> bool:
        start, end = text.sentence_of(span.start)
        before = text.plain[start : span.start]
        # Of a list ("on warfarin and digoxin") what stands before the first decides.
        for other in reversed(spans):
            if start <= other.start < span.start:
                between = text.plain[other.end : start + len(before)]
                if _ONLY_JOINS.fullmatch(between):
                    before = text.plain[start : other.start]
        segment = before[_last_comma(before, 0, len(before)) :]
        after = re.split(r"[,、]", text.plain[span.end : end], maxsplit=1)[0]
        if self._taking_denied.is_in(segment) or self._taking_denied.is_in(after[:24]):
            return False
        if self._happened(f"{segment} \n {after[:24]}") - {"named"}:
            return False
        cues = self._taking_before.find(segment)
        if cues:
            between = segment[cues[-1].end() :]
            if len(between.split()) <= 3 and len(between) <= 24:
                return True
        return any(match.start() <= 24 for match in self._taking_after.find(after))

    def _conditions_of(self, written: str) -> list[str]:
        text = self._prepared(written, digits=True)
        spans = self._condition_terms.spans(text.plain)
        measured, measures_at = self._measured(text)
        if not spans and not measured:
            spans = self._condition_terms.similar(text.plain)
        found: dict[str, None] = {}
        kidney, kidney_at = self._kidney_stage(text)
        for span in spans:
            # "血钾" of "血钾高 5.9" is a measure, "ckd" of "ckd stage 2" a stage.
            if any(
                start <= span.start and span.end <= end
                for start, end in (*measures_at, *kidney_at)
            ):
                continue
            if self._is_about(text, span) or self._is_denied(text, span):
                # Some diseases count where a relative has them.
                is_heritable = all(
                    self._conditions.get(key, {}).get("heritable") for key in span.ids
                )
                is_own = not self._is_relatives(text, span)
                if is_own or not is_heritable or self._is_denied_before(text, span):
                    continue
            for condition in span.ids:
                if not self._is_over(text, span, condition):
                    found[condition] = None
        found.update(dict.fromkeys(kidney))
        found.update(dict.fromkeys(measured))
        found.update(dict.fromkeys(self._weeks(text, found)))
        found.update(dict.fromkeys(self._ages(text)))
        for condition in list(found):
            for other in self._conditions.get(condition, {}).get("cancels_in_text", ()):
                found.pop(other, None)
                for narrower in list(found):
                    if other in self._implied(narrower) and narrower in ("newborn", "infant"):
                        found.pop(narrower)
        return [condition for condition in found if condition in self._conditions]

    def _implied(self, condition: str) -> list[str]:
        found: dict[str, None] = {}
        waiting = [condition]
        while waiting:
            for broader in self._conditions.get(waiting.pop(), {}).get("implies", ()):
                if broader not in found:
                    found[broader] = None
                    waiting.append(broader)
        return list(found)

    def _add_combined(self, found: dict[tuple[int, str], Reading]) -> None:
        here = {condition for _, condition in found}
        for key, row in self._conditions.items():
            parts = row.get("when_all", ())
            if parts and here >= set(parts):
                reading = next(r for r in found.values() if r.id == parts[0])
                found.setdefault((reading.index, key), replace(reading, id=key))

    def _kidney_stage(self, text: _Text) -> tuple[list[str], list[tuple[int, int]]]:
        found = []
        places = []
        for match in _CKD_STAGE.finditer(text.plain):
            span = Span(match.start(), match.end(), ())
            if self._is_denied(text, span):
                continue
            places.append(match.span())
            written = match[1] or match[2]
            stage = _STAGE[written]
            if written in ("3b", "iiib"):
                found.append("ckd_3b")
            elif stage in _CKD_CONDITIONS:
                found.append(_CKD_CONDITIONS[stage])
        return found, places

    def _measured(self, text: _Text) -> tuple[list[str], list[tuple[int, int]]]:
        found = []
        places = []
        for measure in self._measures:
            for start, end, condition in measure.read(text.plain):
                if self._is_denied(text, Span(start, end, ())):
                    continue
                places.append((start, end))
                if condition:
                    found.append(condition)
        return found, places

    def _weeks(self, text: _Text, found: Mapping[str, None]) -> list[str]:
        """Return pregnancy and its third from weeks, months and "G2P1"."""
        gravidity = _GRAVIDITY.search(text.plain)
        is_pregnant = any(key.startswith("pregnancy") for key in found)
        if gravidity:
            pregnancies = int(gravidity[1])
            # "P1011" counts term, preterm, lost and living.
            births = gravidity[2]
            past = sum(map(int, births[:3])) if len(births) == 4 else int(births)
            past += int(gravidity[3] or 0)
            is_pregnant = is_pregnant or (pregnancies > past and not self._has_ended(text))
        if not is_pregnant and not _GESTATION.search(text.plain) and not gravidity:
            return []
        result = ["pregnancy"] if is_pregnant else []
        for pattern, factor in ((_WEEKS, 1.0), (_MONTHS, _WEEKS_PER_MONTH)):
            for match in pattern.finditer(text.plain):
                span = Span(match.start(), match.end(), ())
                if _NO_GESTATION.search(text.plain[max(0, match.start() - 12) : match.end() + 14]):
                    continue
                if self._is_denied(text, span) or self._is_over(text, span, "pregnancy"):
                    continue
                weeks = int(match[1]) * factor
                if 0 < weeks <= _MAX_WEEKS and (is_pregnant or factor == 1.0):
                    result += _trimester(weeks)
        return result

    def _has_ended(self, text: _Text) -> bool:
        return self._ended["pregnancy"].is_in(text.plain)

    def _ages(self, text: _Text) -> list[str]:
        for match in _AGE.finditer(text.plain):
            span = Span(match.start(), match.end(), ())
            before = text.plain[: match.start()]
            after = text.plain[match.end() :]
            if _WHEN_YOUNG.search(before) or re.match(r" ?(?:时|起|开始|就|ago|以前)", after):
                continue
            if self._is_relatives(text, span):
                continue
            value, unit = next(
                (float(match[n]), match[n + 1] if n in (1, 3, 7) else "years")
                for n in (1, 3, 5, 6, 7, 9)
                if match[n]
            )
            unit = unit or "years"
            years = value
            if unit.startswith("m") or "月" in unit:
                years = value / 12
            elif unit.startswith("w") or "周" in unit:
                years = value * 7 / 365
            elif unit.startswith("d") or unit[0] in "天日":
                years = value / 365
            if years > _MAX_AGE:
                continue
            if years >= _ELDERLY_FROM:
                return ["elderly"]
            if years >= _SMOKING_RISK_FROM:
                return ["over_35"]
            return [name for limit, name in _AGES if years < limit][:1]
        return []

    # allergies

    def read_allergies(
        self, texts: Sequence[str], only_if_named: bool = False
    ) -> tuple[Reading, ...]:
        """Return what the patient is allergic to: groups, and single medicines.

        Args:
            texts: As the chart's field for allergies has them.
            only_if_named: The field is another one: count a mention only where the text speaks
                of an allergy or a reaction.
        """
        found: dict[tuple[int, str, bool], Reading] = {}
        for index, written in enumerate(texts):
            for reading in self._allergies_of(written, index, only_if_named):
                key = (index, reading.id, reading.is_tolerated)
                known = found.get(key)
                if known is None or (reading.is_severe and not known.is_severe):
                    found[key] = reading
        return tuple(found.values())

    def _allergies_of(self, written: str, index: int, only_if_named: bool) -> list[Reading]:
        text = self._prepared(written)
        spans = self._allergens(text.plain)
        readings: list[Reading] = []
        for number, span in enumerate(spans):
            if self._is_relatives(text, span):
                continue
            region = self._region(text, spans, number)
            happened = self._happened(region)
            base = Reading("", index, written, is_severe="severe" in happened)
            is_excepted = bool(_EXCEPTED.search(text.plain[: span.start].rstrip()))
            if not is_excepted and self._is_tolerated(text, spans, number, happened):
                readings += [
                    replace(base, id=key, is_medicine=True, is_tolerated=True, is_severe=False)
                    for key in ([span.medicine] if span.medicine else [])
                ]
                continue
            if not is_excepted and self._is_denied(text, span):
                continue
            if only_if_named and not happened:
                continue
            special = self._special(span, region)
            is_allergic = bool(happened & {"severe", "allergic", "mild"})
            if special and not is_allergic:
                readings += [replace(base, id=key) for key in special]
                continue
            readings += [replace(base, id=key) for key in special]
            if "intolerance" in happened and not is_allergic and "named" not in happened:
                continue
            reading = replace(
                base,
                is_mild="mild" in happened and not happened & {"severe", "allergic"},
                is_doubtful="intolerance" in happened and not is_allergic,
            )
            readings += [replace(reading, id=key) for key in span.ids if key not in self._needs]
            readings += [
                replace(reading, id=key) for key in span.ids if key in self._needs and not special
            ]
            if span.medicine:
                readings.append(replace(reading, id=span.medicine, is_medicine=True))
        return readings

    def _allergens(self, text: str) -> list[Span]:
        """Return groups and medicines named in the text; the longer wins, then the group."""
        groups = self._group_terms.spans(text)
        medicines = [
            Span(mention.start, mention.end, (), mention.medicine.id)
            for mention in self._formulary.mentions(text)
        ]
        if not groups and not medicines:
            medicines = self._misspelt(text)
            groups = [] if medicines else self._group_terms.similar(text)
        kept: list[Span] = []
        for span in sorted([*groups, *medicines], key=lambda s: (s.start - s.end, not s.ids)):
            if all(span.end <= other.start or other.end <= span.start for other in kept):
                kept.append(span)
        return sorted(kept, key=lambda span: span.start)

    def _misspelt(self, text: str) -> list[Span]:
        """Return medicines whose names are nearly spelt, where it is certain which."""
        found = []
        for word in re.finditer(rf"[a-z]{{{MIN_FUZZY_LETTERS},}}", text):
            if any(words.is_in(word[0]) for words in self._reactions.values()):
                continue
            match = nearest(self._formulary, word[0])
            # "Macular" is not the eye drops Acular: a slip seldom hits the first letter.
            if match is not None and any(
                canonical(name).startswith(word[0][0])
                and fuzz.ratio(canonical(name), word[0]) >= MIN_FUZZY_RATIO
                for name in match.all_names()
            ):
                found.append(Span(word.start(), word.end(), (), match.id))
        return found

    def _region(self, text: _Text, spans: Sequence[Span], number: int) -> str:
        """Return the words that tell what this allergen did."""
        span = spans[number]
        start, end = text.sentence_of(span.start)
        before = [other.end for other in spans[:number] if other.end > start]
        after = [other for other in spans[number + 1 :] if other.start < end]
        comma = _last_comma(text.plain, start, span.start)
        begin = max([comma, *before])
        if after:
            comma = _last_comma(text.plain, span.end, after[0].start)
            end = comma if comma > span.end else after[0].start
        else:
            # "Penicillin. Anaphylaxis as a child."
            following = [s for s in spans[number + 1 :]]
            end = self._sentence_before(text, following[0].start) if following else len(text.plain)
        region = text.plain[begin : span.start] + " \n " + text.plain[span.end : end]
        if not self._happened(region) and (before or after):
            # "hives from penicillin and sulfa": what is said of one of a list is said of both.
            first = _last_comma(text.plain, start, span.start)
            last = text.plain.find(",", span.end, text.sentence_of(span.start)[1])
            region = text.plain[first : last if last > 0 else text.sentence_of(span.start)[1]]
        return region

    @staticmethod
    def _sentence_before(text: _Text, position: int) -> int:
        return text.sentence_of(position)[0]

    def _happened(self, region: str) -> set[str]:
        found = set()
        harmless = [match.span() for match in self._reactions["intolerance"].find(region)]
        for kind, words in self._reactions.items():
            for match in words.find(region):
                # The swelling of "ankle swelling" is none of an allergy.
                if kind in ("allergic", "mild") and any(
                    start <= match.start() and match.end() <= end for start, end in harmless
                ):
                    continue
                before = region[max(0, match.start() - 12) : match.start()]
                if kind != "named" and re.search(
                    r"(?:\bno|\bnot|without|denies|never had|无|没有?|不会?) ?(?:any )?$", before
                ):
                    found.add("denied")
                else:
                    found.add(kind)
        return found

    def _is_tolerated(
        self, text: _Text, spans: Sequence[Span], number: int, happened: set[str]
    ) -> bool:
        if happened & {"severe", "allergic", "mild"}:
            return False
        if "denied" in happened and not happened - {"denied"}:
            return True
        span = spans[number]
        start, end = text.sentence_of(span.start)
        begin = max([_last_comma(text.plain, start, span.start)] + [s.end for s in spans[:number]])
        before = text.plain[max(begin, start) : span.start]
        for match in self._tolerated.find(before):
            if len(before[match.end() :].split()) <= 3 and len(before) - match.end() < 25:
                return True
        if number + 1 < len(spans):
            end = min(end, spans[number + 1].start)
        after = text.plain[span.end : end]
        has_next = number + 1 < len(spans) and spans[number + 1].start <= end
        for match in self._tolerated.find(after):
            if match.start() > 40:
                break
            if has_next and len(after) - match.end() < 8:
                continue
            # "penicillin allergy, tolerates …": said of the next one, even if that is unknown.
            if match[0].startswith(("tolerates", "can take", "takes", "took", "has taken")):
                continue
            return True
        return False

    def _special(self, span: Span, region: str) -> list[str]:
        """Return groups for what happened, e.g. a cough from an ACE inhibitor."""
        found = []
        medicine = self._formulary.medicine(span.medicine) if span.medicine else None
        owners = {*span.ids, *(medicine.allergy_groups if medicine else ())}
        for key, words in self._needs.items():
            of = str(self._groups[key].get("of", ""))
            if (of in owners or key in span.ids) and words.is_in(region):
                found.append(key)
        return found

    # what a sentence makes of a mention

    def _prepared(self, written: str, digits: bool = False) -> _Text:
        text = written[:MAX_TEXT]
        for pattern, long in self._capitals:
            text = pattern.sub(long, text)
        plain = canonical(re.sub(r"[\r\n]+", "; ", text))
        plain = _DISORDER.sub("disorder", _WITH.sub("with ", plain))
        if digits:
            plain = with_digits(plain)
        masked = plain
        for match in self._not_negations.find(plain):
            masked = f"{masked[: match.start()]}{'·' * len(match[0])}{masked[match.end() :]}"
        result = _Text(written, plain, masked)
        position = 0
        for match in _SENTENCE_END.finditer(plain):
            result.sentences.append((position, match.end()))
            position = match.end()
        result.sentences.append((position, len(plain) + 1))
        return result

    def _is_denied(self, text: _Text, span: Span) -> bool:
        return (
            self._is_relatives(text, span)
            or self._is_denied_before(text, span)
            or self._is_denied_after(text, span)
        )

    def _is_denied_before(self, text: _Text, span: Span) -> bool:
        start, end = text.sentence_of(span.start)
        before = text.masked[start : span.start]
        matches = self._before.find(before)
        if not matches:
            return False
        cue = matches[-1]
        between = _HARMLESS_WITH.sub("", before[cue.end() :])
        if len(cue[0]) == 1 and len(between) > 6 and "、" not in between:
            return False
        if len(between) > 60 or len(re.findall(r"[a-z]+", between)) > 8:
            return False
        if _NEW_STATEMENT.search(between):
            return False
        if "," in between and not _LIST_GOES_ON.search(text.plain[span.start - 6 : end]):
            # "Denies asthma, COPD" is a list; "no allergies, CKD stage 4" is not.
            is_list = self._of_lists.is_in(cue[0]) and not re.search(r"\d|过敏|allerg", between)
            has_number = re.match(r"[^,;]*\d", text.plain[span.start : end])
            return is_list and not has_number
        return True

    def _is_denied_after(self, text: _Text, span: Span) -> bool:
        _, end = text.sentence_of(span.start)
        after = text.masked[span.end : end]
        if _AS_DENIED.match(after) or _AS_NORMAL.match(after):
            return True
        segment = re.split(r"[,、]", after, maxsplit=1)[0]
        if any(match.start() <= 30 for match in self._after.find(segment)):
            return True
        return bool(re.match(rf",? ?(?:since |now |later )?(?:{self._after.pattern})", after))

    def _is_about(self, text: _Text, span: Span) -> bool:
        """Whether the thing itself is not there: "stroke prevention", "hepatitis B vaccine"."""
        start, end = text.sentence_of(span.start)
        if self._about_after.match(text.plain[span.end : end]):
            return True
        before = text.plain[start : span.start]
        return any(
            len(before[match.end() :].split()) <= 2
            and len(before) - match.end() <= 20
            and not re.search(r"[,:;-]", before[match.end() :])
            for match in self._about_before.find(before)
        )

    def _is_relatives(self, text: _Text, span: Span) -> bool:
        start, end = text.sentence_of(span.start)
        sentence = text.plain[start:end].lstrip()
        if re.match(r"(?:family (?:history|hx)|fhx?|家族史)\s*(?::|of\b)", sentence):
            return True
        segment = text.plain[_last_comma(text.plain, start, span.start) : span.start]
        matches = self._family.find(segment)
        if matches:
            after = segment[matches[-1].end() :]
            if self._speaks.match(after):
                return False
            return not _PATIENT_AGAIN.search(after)
        after = text.plain[span.end : end]
        return bool(self._family_after.match(after)) and not re.match(r"[,、]", after.strip())

    def _is_over(self, text: _Text, span: Span, condition: str) -> bool:
        if not self._conditions.get(condition, {}).get("transient"):
            return False
        start, end = text.sentence_of(span.start)
        first = _last_comma(text.plain, start, span.start)
        before = text.plain[first : span.start]
        after = text.plain[span.end : end]
        segment = re.split(r"[,、]", after, maxsplit=1)[0]
        for key, words in self._ended.items():
            if condition.startswith(key) and words.is_in(
                before[-30:] + text.plain[span.start : span.end] + segment[:30]
            ):
                return True
        if any(len(before[match.end() :].split()) <= 3 for match in self._past.find(before)):
            return True
        if _PAST_YEAR.search(segment) or any(
            match.start() <= 20 for match in self._past.find(segment)
        ):
            return True
        return self._resolved.is_in(before[-20:]) or self._resolved.is_in(after[:40])


def nearest(formulary: Source, name: str) -> Medicine | None:
    """Return the medicine whose name this nearly spells, None where two are near.

    Speaking of a medicine takes certainty, so `look_up` asks back sooner. To warn of one, the
    nearest is good enough: the finding shows the name as it was written.
    """
    found = formulary.look_up(name)
    if found.match is not None:
        return found.match
    plain = canonical(name)
    ratios = sorted(
        (
            max((fuzz.ratio(plain, canonical(known)) for known in medicine.all_names()), default=0)
            for medicine in found.candidates
        ),
        reverse=True,
    )
    if not ratios or ratios[0] < MIN_NAME_RATIO:
        return None
    if len(ratios) > 1 and ratios[0] - ratios[1] < MIN_NAME_LEAD:
        return None
    return max(
        found.candidates,
        key=lambda medicine: max(
            fuzz.ratio(plain, canonical(known)) for known in medicine.all_names()
        ),
    )


_WEAK_TOLERANCE = ("takes", "took", "has", "can")


def _trimester(weeks: float) -> list[str]:
    found = ["pregnancy"]
    if weeks < _SECOND_TRIMESTER_FROM:
        return [*found, "pregnancy_first"]
    if weeks >= _TERM_FROM:
        return [*found, "pregnancy_term"]
    if weeks >= _THIRD_TRIMESTER_FROM:
        return [*found, "pregnancy_third"]
    found.append("pregnancy_second")
    return [*found, "pregnancy_from_20_weeks"] if weeks >= _HARM_BY_NSAID_FROM else found


def _last_comma(text: str, start: int, end: int) -> int:
    """Return where the part between commas begins that reaches to `end`."""
    places = [
        m.end()
        for m in re.finditer(r"[,、](?!\d)|\band\b(?= [a-z]+ (?:caus|gave))", text[start:end])
    ]
    return start + places[-1] if places else start


class _Measure:
    """A laboratory value or reading, and the condition that it tells."""

    _BETWEEN = (
        r"(?:\s|is|was|of|at|around|about|level|lvl|值|为|约|大约|只有|只剩|剩|到|降到|掉到|升到|高到|有"
        r"|:|=|~|≈|\(|-(?=\s))*"
    )

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.id = str(row["id"])
        terms = "|".join(
            _pattern_of(canonical(str(term))).removesuffix(_WORD_END)
            + (r"(?![a-z])" if re.search(r"[a-zA-Z]$", str(term)) else "")
            for term in sorted(row["terms"], key=lambda term: -len(str(term)))
        )
        self._pattern = re.compile(
            rf"(?<!vitamin )(?<!维生素)(?<!\d )(?:{terms})(?:{self._BETWEEN})"
            r"([<>≤≥]|less than |under |below |低于|小于|above |over |超过|大于)? ?=? ?"
            r"(\d{1,6}(?:,\d{3})?(?:\.\d+)?)(?! ?(?:%|mg tab|mg/d\b))? ?"
            r"(k\b|万|mmol|umol|μmol|µmol)?"
        )
        self._low, self._high = row["valid"]
        self._ranges = row["ranges"]

    def read(self, text: str) -> list[tuple[int, int, str]]:
        """Return where the measure stands in the text, and the condition, "" for none."""
        found = []
        for match in self._pattern.finditer(text):
            value = self._in_our_unit(float(match[2].replace(",", "")), match[3] or "")
            sign = match[1] or ""
            if sign in ("<", "≤", "less than ", "under ", "below ", "低于", "小于"):
                value -= 0.01
            if not self._low <= value <= self._high:
                continue
            condition = next(
                (
                    str(row["condition"])
                    for row in self._ranges
                    if row.get("min", -1) <= value < row.get("max", 1e9)
                ),
                "",
            )
            found.append((match.start(), match.end(), condition))
        return found

    def _in_our_unit(self, value: float, unit: str) -> float:
        """Bring a value to the unit of charts.yaml: mg/dL, thousands a microlitre."""
        if self.id == "platelets":
            if unit == "万":
                return value * 10
            return value / 1000 if value >= 1500 else value
        if self.id == "anc":
            return value * 1000 if value < 20 else value
        if self.id == "glucose" and (unit == "mmol" or value < 30):
            return value * 18
        if self.id == "qtc" and value < 2:
            return value * 1000
        if self.id == "calcium" and value < 4:
            return value * 4
        if self.id == "creatinine" and value > 25:
            return value / 88.4
        return value


_KEYS = re.findall(
    r"\w+",
    "capitals indifferent reactions family family_speaks negation_before negation_of_lists"
    " negation_after food_negation_after apart apart_foods taking_before taking_after"
    " taking_denied about_before about_after not_negations past resolved ended tolerated"
    " measures class_words topical not_topical local findings",
)


def read_words() -> dict[str, Any]:
    """Return the words of charts.yaml.

    Raises:
        FormularyError: The file is missing, or a part of it is.
    """
    source = importlib.resources.files("medbot_llm.resource") / "formulary" / FILE_NAME
    try:
        words = parse_yaml(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise FormularyError(f"{FILE_NAME} cannot be read: {error}") from error
    missing = [key for key in _KEYS if not isinstance(words, Mapping) or key not in words]
    if missing:
        raise FormularyError(f"{FILE_NAME}: {missing[0]} is missing")
    return dict(words)
