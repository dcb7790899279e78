"""Find signs of danger in what was said, and what the words around them make of them.

A word is no sign: "chest" with "pressure" is one, in "my chest feels like someone sits on it" as
in "胸口像被石頭壓住". So a rule is a pattern of several concepts with short gaps between them, and
what it finds is read in its context: denied, over, long ago, supposed ("what if"), asked about (a
leaflet), or somewhere else (a film, a dog). The tables are in `resource/triage/*.yaml`, each rule
with its reason and source; this module only reads them.

Patterns are regular expressions over canonical text (`text/normal.py`) with three additions:

- `{chest}` stands for any word of that concept (`words.yaml`);
- `~` is a gap of a few characters or words, `~~` a wider one. Neither leaps over the end of a
  sentence nor over a negation: "胸口不痛" has chest and pain and is no sign;
- ` && ` joins patterns that must all be found, wherever they stand.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import cache
from functools import cached_property
from itertools import combinations
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from medbot_llm.domain import MedbotError
from medbot_llm.domain import Severity
from medbot_llm.domain import StringEnum
from medbot_llm.safety.vital_signs import VitalSign
from medbot_llm.safety.vital_signs import vital_signs
from medbot_llm.text.gates import Gates
from medbot_llm.text.normal import canonical

CATEGORIES = (
    "chest_pain",
    "stroke",
    "breathing",
    "anaphylaxis",
    "bleeding",
    "overdose",
    "wrong_medication_taken",
    "suicide_self_harm",
    "seizure_unconscious",
    "severe_pain",
    "hypoglycaemia",
    "pregnancy_danger",
    "child_danger",
    "fall_injury",
    "infection_sepsis",
    "mental_confusion",
    "med_refusal",
    "dose_change_request",
    "side_effect_mild",
    "suspected_error",
    "benign",
)
"""What an alert can be about; docs/triage.md says what each of them means."""

MAX_ORDINARY_CHARS = 120
"""Who says more says more than what everybody says; and no pattern takes long for so little."""
MAX_FINDS = 4
"""Places at which one pattern is looked at: "no chest pain last week, chest pain now"."""

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN = re.compile(r"[a-z]")
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_OPTIONAL_AFTER = re.compile(r"[?*]|\{0")


SUPPOSED_REACH = 8
"""Characters after a sign in which 的話 can follow."""
OVER_REACH = 60
"""Characters after a sign in which "it is gone now" can follow."""
ELSEWHERE_REACH = 80
"""Characters between a sign and the film that it is in, at most."""
OWN_REACH = 24
"""Characters between "I" at the beginning of a clause and a sign, at most."""
CUE_REACH = 8
"""Characters that a cue before a sign may look at in the sign itself."""
PARTS_REACH = 90
"""Characters between two parts of one pattern, at most."""
UNLESS_REACH = 45
"""Characters around a sign in which the words stand that take it back. Further away they speak of
something else: chat must not hide an emergency."""
_NEAR_CHARACTERS = 6
_NEAR_WORDS = 5
_LIST = re.compile(r"[、/]|或|和|跟|也没|, ?(?:no|or|nor|and)?\b|\bor\b|\bnor\b|\band\b")
_SUBJECT = re.compile(
    r"[我你他她它现这那是啦就而但]|\b(?:more|like|but|i|i'm|i've|he|she|it|it's|they|we|my|his|her|now|just|so|because|still)\b"
)
_OWN = re.compile(
    r" ?(?:啊|唉|诶|哎)*,?(?:(?:可是|但|但是|不过|还有|而且|然后|对了|其实|因为|啊)?"
    r",?我(?!们|看|说|梦|想问|听)"
    r"|(?:and |but |so )?(?:my|i'm|i am|i have|i've|i can't|i cannot)\b)"
)
_AGAIN = re.compile(
    r"又|再度|还是|还在|还会|\b(?:again|came back|is back|still|returned|but now)\b"
)


class TriageDataError(MedbotError):
    """A table of the triage is missing or does not keep to its schema; names file and entry."""


class Context(StringEnum):
    """What the words around a sign make of it."""

    DENIED = "denied"
    OVER = "over"
    PAST = "past"
    SUPPOSED = "supposed"
    ASKED = "asked"
    ELSEWHERE = "elsewhere"


RANK: Mapping[Severity | None, int] = {
    None: 0,
    Severity.INFO: 0,
    Severity.NURSE: 1,
    Severity.EMERGENCY: 2,
}
"""Severities in order of urgency."""


@dataclass(frozen=True)
class Rule:
    """One row of the tables.

    Attributes:
        id: Its name, unique.
        category: What it is about.
        severity: How urgent it is if nothing around it says otherwise.
        is_clear: So certain that the second line never lowers it.
        is_bounded: It reads the whole utterance, so that the second line makes no emergency of it.
        patterns: For Chinese and for English; each is a list of parts that must all be found.
        unless: Nothing is found where one of these is in the text.
        despite: Contexts that change nothing: to ask how many tablets kill is a sign.
        reason: Why, for a nurse.
        source: Where the rule is from.
    """

    id: str
    category: str
    severity: Severity
    is_clear: bool
    patterns: tuple[Pattern, ...]
    unless: tuple[re.Pattern[str], ...]
    despite: frozenset[Context]
    reason: str
    source: str
    is_bounded: bool = False


@dataclass(frozen=True)
class Pattern:
    """Parts that must all be found, and the concepts and the gates (`text/gates.py`) without which
    they can't be."""

    is_chinese: bool
    parts: tuple[re.Pattern[str], ...]
    concepts: frozenset[str]
    gates: frozenset[int]


@dataclass(frozen=True)
class Sign:
    """A rule that matched, and how.

    Attributes:
        rule: The rule.
        start: Where it begins in the text.
        end: Where it ends.
        contexts: What the words around it say.
        severity: What is left of its urgency in that context; None: nothing.
        words: The words themselves.
    """

    rule: Rule
    start: int
    end: int
    contexts: frozenset[Context]
    severity: Severity | None
    words: str = ""


@dataclass(frozen=True)
class _Bound:
    """Readings from `low` on and below `high` mean what `rule` says."""

    low: float
    high: float
    rule: Rule


def _bound(kind: str, number: int, row: Mapping[str, Any]) -> _Bound:
    if row["category"] not in CATEGORIES:
        raise ValueError(f"no category {row['category']!r}")
    rule = Rule(
        id=f"{kind}_{number}",
        category=row["category"],
        severity=Severity(row["level"]),
        is_clear=True,
        patterns=(),
        unless=(),
        despite=frozenset(),
        reason=str(row["reason"]),
        source=str(row["source"]),
    )
    return _Bound(float(row.get("above", "-inf")), float(row.get("below", "inf")), rule)


@dataclass
class _Contexts:
    """The tables of `context.yaml`, compiled; one for Chinese and one for English."""

    denied: list[re.Pattern[str]] = field(default_factory=list)
    not_denied: list[re.Pattern[str]] = field(default_factory=list)
    over: list[re.Pattern[str]] = field(default_factory=list)
    past: list[re.Pattern[str]] = field(default_factory=list)
    supposed: list[re.Pattern[str]] = field(default_factory=list)
    asked: list[re.Pattern[str]] = field(default_factory=list)
    asked_anywhere: list[re.Pattern[str]] = field(default_factory=list)
    elsewhere: list[re.Pattern[str]] = field(default_factory=list)
    present: list[re.Pattern[str]] = field(default_factory=list)
    insist: list[re.Pattern[str]] = field(default_factory=list)
    turn: list[re.Pattern[str]] = field(default_factory=list)
    figures: list[re.Pattern[str]] = field(default_factory=list)
    ordinary: list[re.Pattern[str]] = field(default_factory=list)


_SENTENCE_END = re.compile(r"[。!?;\n]+|(?<!\b[a-z])(?<!\bdr)(?<!\bmr)(?<!mrs)\.(?=\s|$)")
_CLAUSE_END = re.compile(r"[,:]|，|：")
_DOTS = re.compile(r"\.{2,}|…+|。{2,}|-{2,}|—+")
_STUTTER = re.compile(r"([\u4e00-\u9fff])\1{2,}|\b(\w+)(?:[ ,]+\2\b){2,}")
_FILLER = re.compile(r"\b(?:um+|uh+|er+m?|hmm+|uhm)\b[, ]*|[呃嗯喔欸诶唉](?![吐逆])[,]?")
BLANK = "□"
"""What stands for a figure of speech; no pattern matches it."""


def prepared(text: str) -> str:
    """Take hesitation out of canonical text: "um", 呃, dots, a word three times."""
    text = _DOTS.sub(",", text)
    text = _FILLER.sub("", text)
    return _STUTTER.sub(lambda m: m[1] or m[2], text)


def _is_near(between: str) -> bool:
    """Whether a negation reaches what follows `between`."""
    if _LATIN.search(between):
        return len(between.split()) <= _NEAR_WORDS
    return len(between) <= _NEAR_CHARACTERS


def _last(patterns: list[re.Pattern[str]], text: str, begin: int, end: int) -> int:
    """Where the last of some words before a place ends; `begin` if there is none."""
    return max((m.start() for p in patterns for m in p.finditer(text, begin, end)), default=begin)


def _first(patterns: list[re.Pattern[str]], text: str, begin: int, end: int) -> int:
    """Where the first of some words after a place begins; `end` if there is none."""
    starts = [m.start() for p in patterns if (m := p.search(text, begin, end))]
    return min(starts, default=end)


def _more_urgent(one: Sign | None, other: Sign | None) -> Sign | None:
    if one is None or other is None:
        return one or other
    return other if RANK[other.severity] > RANK[one.severity] else one


# Writing the tables' patterns as regular expressions ---------------------------------------------

_ZH_STOP = (
    r"[。!?;\n]|(?:没有?|[不无别勿])(?!断|停|知|晓|只|光|但|自觉|太?舒服|太?对劲?|时|得了|行了|到|小心|敢"
    r"|仅|管|论|起|出|住|了|清|过来|上来|下去|进|醒|能|办法|法|力|劲|气了|反应|意识|吃|睡|胃口|多久|想到|人|尿|知觉"
    r"|回|理|应|认|见了|利索|稳|听|成|着|得[^了]|好意思|是我)"
)
_ZH_GAP = rf"(?:(?!{_ZH_STOP})[^□]){{0,7}}?"
_ZH_WIDE_GAP = rf"(?:(?!{_ZH_STOP})[^□]){{0,18}}?"
_EN_STOP = (
    r"(?:no|not|never|without|nor|neither|isn't|isnt|doesn't|doesnt|don't|dont|didn't|didnt|wasn't"
    r"|wasnt)\b(?! only| just| stop)"
)
_EN_TAIL = r"(?:'(?:s|re|ve|d|m|ll))?"
_EN_GAP = rf"{_EN_TAIL}(?:[ ,]+(?!{_EN_STOP})[\w'’%/-]+){{0,5}}?[ ,]+"
_EN_WIDE_GAP = rf"{_EN_TAIL}(?:[ ,]+(?!{_EN_STOP})[\w'’%/-]+){{0,10}}?[ ,]+"
_ANY = re.compile(r"(?<!\\)\.\{0,(\d+)\}")
_GAP = re.compile(r"\s*(~~?)\s*")


def canonical_pattern(text: str) -> str:
    """Bring a pattern to the script and case of canonical text; its syntax is ASCII and stays."""
    return text if text.isascii() else "".join(map(_canonical_char, text))


@cache
def _canonical_char(char: str) -> str:
    return canonical(char) if _HAN.match(char) else char


def _with_gaps(text: str, is_chinese: bool) -> str:
    gaps = (_ZH_GAP, _ZH_WIDE_GAP) if is_chinese else (_EN_GAP, _EN_WIDE_GAP)
    return _GAP.sub(lambda m: gaps[len(m[1]) - 1], text)


def _tempered(part: str) -> str:
    """Let no gap of a Chinese rule leap over a negation or the end of a sentence."""
    return _ANY.sub(lambda m: rf"(?:(?!{_ZH_STOP})[^□]){{0,{m[1]}}}?", part)


def _depths(text: str) -> Iterator[tuple[str, int]]:
    depth = 0
    is_escaped = False
    for char in text:
        depth += (char == "(" and not is_escaped) - (char == ")" and not is_escaped)
        yield char, depth
        is_escaped = char == "\\" and not is_escaped


def _has_choice(part: str) -> bool:
    """Whether the whole part is a choice of alternatives."""
    return any(char == "|" and depth == 0 for char, depth in _depths(part))


def _in_groups(part: str, position: int) -> bool:
    """Whether a place is inside brackets, where a concept may be optional or one of a choice."""
    return any(depth > 0 for _, depth in list(_depths(part))[position : position + 1])


class RuleBook:
    """The tables of the triage, read and compiled.

    Args:
        directory: Holds the YAML files; None: the one of this package.

    Raises:
        TriageDataError: A file is missing or an entry is wrong.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._source = (
            importlib.resources.files("medbot_llm.resource") / "triage"
            if directory is None
            else directory
        )
        self._words: dict[str, dict[str, list[str]]] = {}
        self._written: dict[tuple[str, bool], list[str]] = {}
        self._patterns: dict[str, re.Pattern[str]] = {}
        self.gates = Gates()
        self._read_words()
        self._contexts = {True: self._read_contexts("zh"), False: self._read_contexts("en")}
        self.slips: list[tuple[re.Pattern[str], str]] = self._read_slips()
        self.sound_phrases: tuple[str, ...] = ()
        self.sound_ordinary: tuple[str, ...] = ()
        self._read_sounds()
        self.rules = tuple(self._read_rules())
        self._vital_signs = self._read_vital_signs()
        self._concepts = {
            name: {
                is_chinese: re.compile("|".join(self._alternatives(name, is_chinese)))
                for is_chinese in (True, False)
                if self._alternatives(name, is_chinese)
            }
            for name in self._words
        }

    # Reading the tables ---------------------------------------------------------------------

    def _load(self, name: str) -> Any:
        try:
            return yaml.load(
                (self._source / name).read_text(encoding="utf-8"),
                Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader),
            )
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise TriageDataError(f"triage/{name}: cannot be read: {reason}") from error

    def _read_words(self) -> None:
        table = self._load("words.yaml")
        if not isinstance(table, dict):
            raise TriageDataError("triage/words.yaml: must map concepts to words")
        for name, entry in table.items():
            if not isinstance(entry, dict) or not set(entry) <= {"zh", "en"}:
                raise TriageDataError(f"triage/words.yaml: {name}: must have zh and en only")
            self._words[name] = {key: list(map(str, words)) for key, words in entry.items()}

    def _alternatives(self, name: str, is_chinese: bool, depth: int = 0) -> list[str]:
        if depth > 4:
            raise TriageDataError(f"triage/words.yaml: {name}: refers to itself")
        key = (name, is_chinese)
        if key not in self._written:
            words = self._words[name].get("zh" if is_chinese else "en", [])
            self._written[key] = [
                self._expanded(word, is_chinese, "words.yaml", depth + 1) for word in words
            ]
        return self._written[key]

    def _expanded(self, text: str, is_chinese: bool, where: str, depth: int = 0) -> str:
        """Write a pattern of the tables as a regular expression."""
        text = canonical_pattern(text)

        def concept(match: re.Match[str]) -> str:
            if match[1] not in self._words:
                raise TriageDataError(f"triage/{where}: there is no concept {match[0]}")
            words = self._alternatives(match[1], is_chinese, depth)
            if not words:
                raise TriageDataError(f"triage/{where}: {match[0]} has no words in this language")
            return f"(?:{'|'.join(words)})"

        text = _PLACEHOLDER.sub(concept, text)
        return _with_gaps(text, is_chinese)

    def _compiled(self, text: str, is_chinese: bool, where: str) -> re.Pattern[str]:
        expanded = self._expanded(text, is_chinese, where)
        if not is_chinese:
            expanded = rf"(?<![a-z0-9])(?:{expanded})(?![a-z])"
        if expanded in self._patterns:
            return self._patterns[expanded]
        try:
            return self._patterns.setdefault(expanded, re.compile(expanded))
        except re.error as error:
            raise TriageDataError(f"triage/{where}: {text!r}: {error}") from error

    def _read_contexts(self, language: str) -> _Contexts:
        table = self._load("context.yaml")
        contexts = _Contexts()
        for key in vars(contexts):
            entries = table.get(key) if isinstance(table, dict) else None
            if not isinstance(entries, dict) or not isinstance(entries.get(language), list):
                raise TriageDataError(f"triage/context.yaml: {key}.{language} must be a list")
            vars(contexts)[key].extend(
                self._compiled(text, language == "zh", f"context.yaml: {key}")
                for text in entries[language]
            )
        return contexts

    def _read_slips(self) -> list[tuple[re.Pattern[str], str]]:
        table = self._load("slips.yaml")
        slips = []
        for entry in table["english"] + table["chinese"]:
            is_chinese = bool(_HAN.search(entry["meant"]))
            for heard in entry["heard"]:
                slips.append(
                    (self._compiled(heard, is_chinese, "slips.yaml"), canonical(entry["meant"]))
                )
        return slips

    def _read_sounds(self) -> None:
        table = self._load("slips.yaml")["sounds"]
        self.sound_phrases = tuple(canonical(phrase) for phrase in table["phrases"])
        self.sound_ordinary = tuple(canonical(phrase) for phrase in table["ordinary"])

    def _read_rules(self) -> Iterator[Rule]:
        seen: set[str] = set()
        for name in sorted(
            item.name for item in self._source.iterdir() if item.name.startswith("rules_")
        ):
            table = self._load(name)
            if not isinstance(table, list):
                raise TriageDataError(f"triage/{name}: must be a list of rules")
            for position, entry in enumerate(table, start=1):
                rule = self._read_rule(entry, f"{name}, entry {position}")
                if rule.id in seen:
                    raise TriageDataError(f"triage/{name}: two rules are called {rule.id}")
                seen.add(rule.id)
                yield rule

    def _read_rule(self, entry: Any, where: str) -> Rule:
        needed = {"id", "category", "level", "reason", "source"}
        allowed = needed | {"zh", "en", "two_of", "unless", "despite", "clear", "bounded"}
        if not isinstance(entry, dict) or not needed <= set(entry) <= allowed:
            raise TriageDataError(f"triage/{where}: must have {', '.join(sorted(needed))}")
        where = f"{where} ({entry['id']})"
        if entry["category"] not in CATEGORIES:
            raise TriageDataError(f"triage/{where}: no category {entry['category']!r}")
        if entry["level"] not in (Severity.EMERGENCY.value, Severity.NURSE.value):
            raise TriageDataError(f"triage/{where}: level is emergency or nurse")
        patterns = [
            self._read_pattern(text, language == "zh", where)
            for language in ("zh", "en")
            for text in entry.get(language, [])
        ]
        patterns.extend(
            self._read_pattern(f"{{{one}}} && {{{other}}}", is_chinese, where)
            for one, other in combinations(entry.get("two_of", []), 2)
            for is_chinese in (True, False)
        )
        unless = [
            self._compiled(text, bool(_HAN.search(text)), where)
            for text in entry.get("unless", [])
        ]
        return Rule(
            id=entry["id"],
            category=entry["category"],
            severity=Severity(entry["level"]),
            is_clear=bool(entry.get("clear", False)),
            patterns=tuple(patterns),
            unless=tuple(unless),
            despite=frozenset(Context(name) for name in entry.get("despite", [])),
            reason=" ".join(str(entry["reason"]).split()),
            source=" ".join(str(entry["source"]).split()),
            is_bounded=bool(entry.get("bounded", False)),
        )

    def _read_pattern(self, text: str, is_chinese: bool, where: str) -> Pattern:
        parts = [part.strip() for part in text.split(" && ")]
        concepts = {
            match[1]
            for part in parts
            # A concept in one branch of an alternative may be absent.
            if not _has_choice(part)
            for match in _PLACEHOLDER.finditer(part)
            if not _OPTIONAL_AFTER.match(part, match.end()) and not _in_groups(part, match.start())
        }
        compiled = tuple(
            self._compiled(_tempered(part) if is_chinese else part, is_chinese, where)
            for part in parts
        )
        # Where concepts tell it, nothing is gained by gates.
        gated = (self.gates.add(part) for part in (() if concepts else compiled))
        return Pattern(
            is_chinese=is_chinese,
            parts=compiled,
            concepts=frozenset(concepts),
            gates=frozenset(number for number, is_gated in gated if is_gated),
        )

    def _read_vital_signs(self) -> dict[str, tuple[_Bound, ...]]:
        table = self._load("vital_signs.yaml")
        try:
            return {
                kind: tuple(_bound(kind, number, row) for number, row in enumerate(entry["rows"]))
                for kind, entry in table.items()
            }
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise TriageDataError(f"triage/vital_signs.yaml: {error!r}") from error

    def rule_for(self, reading: VitalSign) -> Rule | None:
        """What a reading means; None where it is an ordinary one."""
        for bound in self._vital_signs.get(reading.kind, ()):
            if bound.low <= reading.value < bound.high:
                return replace(
                    bound.rule, reason=bound.rule.reason.format(value=f"{reading.value:.4g}")
                )
        return None

    # Reading what was said ------------------------------------------------------------------

    def read(self, text: str) -> Reading:
        """Read text that is canonical, prepared, and has its numbers in digits."""
        return Reading(self, self.without_figures(text))

    def without_figures(self, text: str) -> str:
        """Blank out figures of speech: 笑死我了, "killing two birds"."""
        for contexts in self._languages_of(text):
            for pattern in contexts.figures:
                text = pattern.sub(lambda m: BLANK * len(m[0]), text)
        return text

    def is_ordinary(self, text: str) -> bool:
        """Whether a whole text says no more than what everybody says: "I've taken it"."""
        said = text.strip(" .,。!?~")
        return len(said) <= MAX_ORDINARY_CHARS and any(
            pattern.fullmatch(said)
            for contexts in self._languages_of(text)
            for pattern in contexts.ordinary
        )

    def _languages_of(self, text: str) -> Iterator[_Contexts]:
        if _HAN.search(text):
            yield self._contexts[True]
        if _LATIN.search(text):
            yield self._contexts[False]

    def concepts_in(self, text: str) -> frozenset[str]:
        """The concepts that are spoken of."""
        scripts = [
            is_chinese
            for is_chinese, letters in ((True, _HAN), (False, _LATIN))
            if letters.search(text)
        ]
        return frozenset(
            name
            for name, patterns in self._concepts.items()
            if any(s in patterns and patterns[s].search(text) for s in scripts)
        )


class Reading:
    """One utterance, or a window of a long one, with the signs in it."""

    def __init__(self, book: RuleBook, text: str) -> None:
        self.text = text
        self._book = book
        self._ends = [match.end() for match in _SENTENCE_END.finditer(text)]
        self.concepts = book.concepts_in(text)

    @cached_property
    def signs(self) -> tuple[Sign, ...]:
        """What the rules find, the most urgent reading of each rule."""
        has_han = bool(_HAN.search(self.text))
        has_latin = bool(_LATIN.search(self.text))
        opened, *_ = self._book.gates.opened_by(self.text)
        found = []
        for rule in self._book.rules:
            sign = None
            for pattern in rule.patterns:
                if not (has_han if pattern.is_chinese else has_latin):
                    continue
                if not (pattern.concepts <= self.concepts and pattern.gates <= opened):
                    continue
                sign = _more_urgent(sign, self._sign(rule, pattern))
                if sign is not None and sign.severity is rule.severity:
                    break
            if sign is not None:
                found.append(sign)
        found.extend(self._readings())
        return tuple(found)

    def _readings(self) -> Iterator[Sign]:
        """Signs that are numbers: blood sugar 48, oxygen 82 %."""
        for reading in vital_signs(self.text):
            rule = self._book.rule_for(reading)
            if rule is not None:
                contexts = self.contexts_at(reading.start, reading.end)
                severity = severity_in(rule.severity, contexts)
                words = self.text[reading.start : reading.end]
                yield Sign(rule, reading.start, reading.end, contexts, severity, words)

    def _sign(self, rule: Rule, pattern: Pattern) -> Sign | None:
        """The most urgent place at which all parts of a pattern stand near each other."""
        first, *others = pattern.parts
        best: Sign | None = None
        for match in islice(first.finditer(self.text), MAX_FINDS):
            if self._is_taken_back(rule, match.start(), match.end()):
                continue
            sign = self._sign_at(rule, match)
            low = max(match.start() - PARTS_REACH, 0)
            high = match.end() + PARTS_REACH
            for part in others:
                found: Sign | None = None
                for other in islice(part.finditer(self.text, low, high), MAX_FINDS):
                    found = _more_urgent(found, self._sign_at(rule, other))
                if found is None:
                    break
                sign = min(sign, found, key=lambda s: RANK[s.severity])
            else:
                best = _more_urgent(best, sign)
                if best is not None and best.severity is rule.severity:
                    break
        return best

    def _sign_at(self, rule: Rule, match: re.Match[str]) -> Sign:
        contexts = self.contexts_at(match.start(), match.end()) - rule.despite
        severity = severity_in(rule.severity, contexts)
        return Sign(rule, match.start(), match.end(), contexts, severity, match[0])

    def _is_taken_back(self, rule: Rule, start: int, end: int) -> bool:
        if not rule.unless:
            return False
        begin, finish = self.sentence_around(start, end)
        low, high = max(begin, start - UNLESS_REACH), min(finish, end + UNLESS_REACH)
        return any(p.search(self.text, low, high) for p in rule.unless)

    def sentence_around(self, start: int, end: int) -> tuple[int, int]:
        """Where the sentence begins and ends that holds this place."""
        begin = max((e for e in self._ends if e <= start), default=0)
        finish = min((e for e in self._ends if e >= end), default=len(self.text))
        return begin, finish

    def contexts_at(self, start: int, end: int) -> frozenset[Context]:
        """What the words around a place say of it."""
        begin, finish = self.sentence_around(start, end)
        found: set[Context] = set()
        for tables in self._book._languages_of(self.text):
            found.update(self._contexts_by(tables, begin, start, end, finish))
        return frozenset(found)

    def _contexts_by(
        self, tables: _Contexts, begin: int, start: int, end: int, finish: int
    ) -> Iterator[Context]:
        text = self.text
        # Words after 但是, "but", "now" speak of something else than those before.
        since = _last(tables.turn, text, begin, start)
        clause = max([since, *(m.end() for m in _CLAUSE_END.finditer(text, since, start))])
        until = _first(tables.turn, text, end, finish)
        clause_end = next((m.start() for m in _CLAUSE_END.finditer(text, end, until)), until)
        is_insisted = any(p.search(text, since, finish) for p in tables.insist)
        is_now = is_insisted or any(p.search(text, since, until) for p in tables.present)
        if self._is_denied(tables, since, clause, start):
            yield Context.DENIED
        if self._is_over(tables, end, finish):
            yield Context.OVER
        if any(p.search(text, since, clause_end) for p in tables.past):
            yield Context.PAST
        # "We watched the news, my chest hurts": who speaks of himself begins anew.
        own = [
            m.end()
            for m in _CLAUSE_END.finditer(text, since, start)
            if _OWN.match(text, m.end()) and start - m.end() <= OWN_REACH
        ]
        is_own = bool(own) or (bool(_OWN.match(text, clause)) and start - clause <= OWN_REACH)
        told_from = own[-1] if own else clause if is_own else since
        if not is_now:
            reach = min(end + SUPPOSED_REACH, finish)
            if any(p.search(text, since, reach) for p in tables.supposed):
                yield Context.SUPPOSED
            if any(p.search(text, told_from, start) for p in tables.asked) or any(
                p.search(text, told_from, until) for p in tables.asked_anywhere
            ):
                yield Context.ASKED
        if not is_insisted:
            if not is_own and since == begin:
                # A film is named a sentence before what happens in it, or after.
                told_from = self._sentence_before(begin)
            told_from = max(told_from, start - ELSEWHERE_REACH)
            if any(
                p.search(text, told_from, min(until, end + ELSEWHERE_REACH))
                for p in tables.elsewhere
            ):
                yield Context.ELSEWHERE

    def _sentence_before(self, begin: int) -> int:
        return max((e for e in self._ends if e < begin), default=0)

    def _is_denied(self, tables: _Contexts, since: int, clause: int, start: int) -> bool:
        text = self.text
        # Cues look at what follows them, so they are searched a little past the place.
        ahead = min(start + CUE_REACH, len(text))
        exceptions = [m.span() for p in tables.not_denied for m in p.finditer(text, since, ahead)]
        for pattern in tables.denied:
            for match in pattern.finditer(text, since, ahead):
                if match.end() > start:
                    break
                if any(a <= match.start() < b for a, b in exceptions):
                    continue
                between = text[match.end() : start]
                is_list = bool(_LIST.search(between)) and not _SUBJECT.search(between)
                if match.start() >= clause and (_is_near(between) or is_list):
                    return True
                if is_list and match.start() >= since:
                    return True
        return False

    def _is_over(self, tables: _Contexts, end: int, finish: int) -> bool:
        text = self.text
        # What follows in the next sentence counts as well: "My chest hurt. It is gone now."
        limit = min((e for e in self._ends if e > finish), default=len(text))
        limit = min(limit, end + OVER_REACH)
        for pattern in tables.over:
            for match in pattern.finditer(text, end, limit):
                if not _AGAIN.search(text, match.end(), min(match.end() + OVER_REACH, len(text))):
                    return True
        return False


def severity_in(severity: Severity, contexts: Iterable[Context]) -> Severity | None:
    """What is left of an urgency in a context.

    What is over and left nothing is still for a nurse, within the hour (docs/triage.md); the other
    contexts leave nothing.
    """
    contexts = set(contexts)
    if not contexts:
        return severity
    if contexts == {Context.OVER}:
        return Severity.NURSE
    return None
