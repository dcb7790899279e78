"""What a sentence claims: the same words may forbid, ask, report, refer or advise.

"Two tablets" is harmless in "never take two tablets" and dangerous in "there is no reason not to
take two tablets". `Sentence` holds one sentence ready for matching, and its methods tell for a
stretch of it in which frame it stands. The frames are patterns in `resource/verifier/frames.yaml`.
"""

from __future__ import annotations

import importlib.resources
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from functools import cache
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.knowledge.quantities import numbered
from medbot_llm.text.gates import Gates
from medbot_llm.text.language import to_script

FOLDER = "verifier"
LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, ten times as fast, wherever PyYAML was built with it."""
OKAY = "ǂ"
"""Stands for a phrase that is negative in form and permits: "no problem", 不用擔心. It counts as a
letter, so that `\\b` works beside it; the pattern files write ▲ for it."""

_HAN = r"\u4e00-\u9fff"
_HAN_CHARACTER = re.compile(rf"[{_HAN}]")
_LATIN_WORDS = re.compile(r"[a-z]{2}")
_LOOKALIKES = str.maketrans("аеорсухіѕԁӏ", "aeopcyxisdl")
"""Cyrillic letters that look Latin."""
_LEET = str.maketrans("013457@$", "oleastas")
_VARIATION = re.compile(r"[\ufe00-\ufe0f\u20e3]")
"""What makes a picture of a digit."""
LONG_SPELLING = 6
"""So many letters set apart one by one are nobody's way of speaking."""
_MARKS = re.compile(r"\*+|(?<![a-z0-9])_+|_+(?![a-z0-9])|`+|~~+|^#+\s*|^>+\s*")
_NO_HARM = re.compile(
    r"(?:不算|不会|不至于|没有?|并不|不是|\b(?:hardly|never|not|no|far from|isn't|aren't|won't be|"
    r"wouldn't be))\s*(?:really |at all |a |an |any |very )?$"
)
"""What stands before a word of harm and takes it back: "hardly too much"."""
_CONTRAST = re.compile(
    r"(?:\b(?:not|never|no|nor|neither|rather than|instead of|without|nothing|skip)|n't)"
    r"(?: (?:an?|the|your|in|at|on|with|for|it|one|just|only|to|take|be|is|of|taken|used|1))*\s*$"
    r"|(?:不是|而不是|并非|不用|不必|不要|不能|不可以?|没有|别|不|无|非|免)"
    r"(?:在|到|等|用|吃|点|打|含|是|1种|为|给|要|只|属于)*$"
)
"""Right before what is denied."""
_LEFT_TO_YOU = re.compile(
    r"\byou (?:can|may|could)(?: \w+)? (?:stop|quit|come off|leave off|drop|halve|skip)\b|"
    r"\b(?:stop|quit|come off|drop)\b[^.;,]{0,24}\b(?:on your own|by yourself|yourself)\b"
)
"""No waiting for somebody: it is allowed without."""
_SPELLED = re.compile(r"\b(?:[a-z][ .\-_·]){2,}[a-z]\b")
_BETWEEN_HAN = re.compile(rf"(?<=[{_HAN}])[.\-_·•~/|'\"+^=]+(?=[{_HAN}])")
_MIXED_TOKEN = re.compile(r"(?<![a-z0-9])(?=[a-z0-9@$]*[a-z])(?=[a-z0-9@$]*[0-9@$])[a-z0-9@$]{3,}")
_LEET_WORDS = frozenset(
    [
        "stop",
        "take",
        "double",
        "dose",
        "doses",
        "tablets",
        "tablet",
        "pills",
        "pill",
        "two",
        "safe",
        "doctor",
        "nurse",
        "extra",
        "skip",
        "half",
        "more",
        "another",
        "guarantee",
        "notified",
        "called",
        "alerted",
        "ibuprofen",
        "aspirin",
        "alcohol",
        "okay",
        "fine",
    ]
)
_CLAUSE_END = re.compile(
    r"[,;:.!?()\[\]\n—…](?!\d)|(?<!\d)[,.](?=\d)|[，；：。！？]|"
    r"\b(?:but|however|although|though|whereas|otherwise)\b|(?:但是?|不过|可是|然而|而是|否则|"
    r"不然|所以)"
)
_ASIDES = re.compile(
    r",? ?(?:under any circumstances|ever|please|at all|of course|honestly|really|you know|in "
    r"any case|i beg you|whatever happens|no matter what),"
)


READ_KEPT = 64
"""The rules and the learned reader read the same sentence."""


class VerifierDataError(MedbotError):
    """A pattern file of the verifier is missing or broken; names file and entry."""


def load_yaml(name: str, directory: Path | None = None) -> Any:
    """Read one of the verifier's files.

    Raises:
        VerifierDataError: It is missing or no YAML.
    """
    folder = (
        importlib.resources.files("medbot_llm.resource") / FOLDER
        if directory is None
        else directory
    )
    path = folder / f"{name}.yaml"
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise VerifierDataError(f"{path}: cannot be read: {reason}") from error


class _Group:
    """The patterns that are tried on texts of one script, each under a number of its own.

    Numbers grow in the order in which the patterns are written.
    """

    def __init__(self, numbered: Sequence[tuple[re.Pattern[str], int, bool]]) -> None:
        self._patterns = {number: pattern for pattern, number, _ in numbered}
        self._gates = frozenset(number for _, number, is_gated in numbered if is_gated)
        self._ungated = tuple(number for _, number, is_gated in numbered if not is_gated)
        self._always = tuple(self._patterns[number] for number in self._ungated)

    def tried(self, opened: frozenset[int]) -> Sequence[re.Pattern[str]]:
        """The patterns that a text may match which opens some gates."""
        hit = self._gates & opened
        if not hit:
            return self._always
        return [self._patterns[number] for number in sorted([*hit, *self._ungated])]


class Patterns:
    """Alternatives in two scripts; those that a text cannot match are not tried."""

    def __init__(
        self, latin: tuple[re.Pattern[str], ...], han: tuple[re.Pattern[str], ...]
    ) -> None:
        self.all = tuple(dict.fromkeys((*latin, *han)))
        both = [(pattern, *_GATES.add(pattern)) for pattern in self.all]
        self._both = _Group(both)
        self._latin = _Group([one for one in both if one[0] in latin])
        # A mark such as ▲ stands in patterns of both scripts.
        self._han = _Group([one for one in both if one[0] in han])

    def _for(self, text: str) -> Sequence[re.Pattern[str]]:
        opened, has_han, has_latin = _GATES.opened_by(text)
        group = (self._both if has_latin else self._han) if has_han else self._latin
        return group.tried(opened)

    def search(self, text: str) -> re.Match[str] | None:
        """The first match of the first alternative that matches."""
        for pattern in self._for(text):
            if match := pattern.search(text):
                return match
        return None

    def match(self, text: str) -> re.Match[str] | None:
        """The first alternative that matches at the start."""
        for pattern in self._for(text):
            if match := pattern.match(text):
                return match
        return None

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """All matches of all alternatives, alternative by alternative."""
        for pattern in self._for(text):
            yield from pattern.finditer(text)

    def sub(self, replacement: str, text: str) -> str:
        """Replace all matches of all alternatives."""
        for pattern in self._for(text):
            text = pattern.sub(replacement, text)
        return text


_GATES = Gates()


class Words:
    """Named lists of words that patterns refer to as <name>."""

    def __init__(self, table: dict[str, Any]) -> None:
        self._words: dict[str, str] = {}
        for name, entries in table.items():
            parts = [entries] if isinstance(entries, str) else map(whole, entries)
            self._words[name] = self._joined(self.expand(simplified(part)) for part in parts)

    @staticmethod
    def _joined(parts: Iterable[str]) -> str:
        return "(?:" + "|".join(parts) + ")"

    def expand(self, pattern: str) -> str:
        """Put the words in place of their names."""

        def words(match: re.Match[str]) -> str:
            return self._words[match[1]] if match[1] in self._words else match[0]

        return re.sub(r"(?<!\?P)<(\w+)>", words, pattern)

    def including(self, table: dict[str, Any]) -> Words:
        """The same lists and further ones."""
        more = Words({})
        more._words.update(self._words)
        for name, entries in table.items():
            parts = (more.expand(simplified(whole(entry))) for entry in entries)
            more._words[name] = Words._joined(parts)
        return more

    def compile(self, patterns: Iterable[str | list[str]], where: str) -> Patterns:
        """Compile patterns as alternatives.

        Raises:
            VerifierDataError: One of them is no pattern.
        """
        latin: list[re.Pattern[str]] = []
        han: list[re.Pattern[str]] = []
        for written in map(whole, patterns):
            try:
                compiled = re.compile(self.expand(simplified(written)).replace("▲", OKAY))
            except re.error as error:
                raise VerifierDataError(f"{where}: {written}: {error}") from error
            literal = re.sub(r"<\w+>", "", written)
            is_han, is_latin = _HAN_CHARACTER.search(literal), _LATIN_WORDS.search(literal)
            # Nothing but lists of words: those of both scripts.
            if is_han or not is_latin:
                han.append(compiled)
            if is_latin or not is_han:
                latin.append(compiled)
        return Patterns(tuple(latin), tuple(han))


def whole(pattern: str | list[str]) -> str:
    """Put together a pattern that its file writes in several pieces."""
    return pattern if isinstance(pattern, str) else "".join(pattern)


def simplified(pattern: str) -> str:
    """Bring a pattern to the script of canonical text."""
    return pattern if pattern.isascii() else to_script(pattern, Language.ZH_HANS)


@cache
def words() -> Words:
    """The packaged lists of words."""
    return Words(load_yaml("words"))


@dataclass(frozen=True)
class Frames:
    """The patterns of `frames.yaml`, compiled."""

    permits: Patterns
    forbids: Patterns
    denies: Patterns
    breaks: Patterns
    harm: Patterns
    approval: Patterns
    antecedent: Patterns
    topic: Patterns
    not_antecedent: Patterns
    report: Patterns
    question: Patterns
    suggestion: Patterns
    permission: Patterns
    refer_before: Patterns
    refer_after: Patterns
    refer_around: Patterns
    no_referral: Patterns
    reaction: Patterns
    seek: Patterns
    hold: Patterns
    held_until: Patterns
    act_verbs: Patterns


@cache
def frames() -> Frames:
    """The packaged frames."""
    table = load_yaml("frames")
    known = words()
    names = Frames.__dataclass_fields__
    missing = [name for name in names if name not in table]
    if missing:
        raise VerifierDataError(f"frames.yaml: missing {', '.join(missing)}")
    return Frames(**{name: known.compile(table[name], f"frames.yaml: {name}") for name in names})


@lru_cache(READ_KEPT)
def readable(sentence: str) -> str:
    """Bring a sentence to the form that patterns match: canonical, numbers in digits, no tricks.

    Letters set apart (s-t-o-p), digits for letters (d0uble), look-alike letters, accents, marks
    of Markdown and punctuation inside Chinese words are taken for what they stand for.
    """
    if not sentence.isascii():
        sentence = unicodedata.normalize("NFD", sentence)
        # Accents of Latin letters only: other scripts' marks are letters of their own.
        sentence = re.sub(r"(?<=[A-Za-z])[\u0300-\u036f]+", "", sentence)
        sentence = _VARIATION.sub("", unicodedata.normalize("NFC", sentence))
    text = plain = _MARKS.sub("", numbered(sentence))
    if not text.isascii():
        text = text.translate(_LOOKALIKES)
        text = _BETWEEN_HAN.sub("", text)
        text = re.sub(rf"(?<=[{_HAN}]) +(?=[{_HAN}])", "", text)
    text = _SPELLED.sub(lambda m: re.sub(r"[ .\-_·]", "", m[0]), text)
    text = _MIXED_TOKEN.sub(_unleet, text)
    return text if text == plain else numbered(text)


def is_spelled_out(sentence: str) -> bool:
    """Whether so much is spelled letter by letter that the words cannot be told apart."""
    text = unicodedata.normalize("NFKC", sentence).casefold()
    return any(len(re.findall(r"[a-z]", m[0])) >= LONG_SPELLING for m in _SPELLED.finditer(text))


def _unleet(match: re.Match[str]) -> str:
    plain = match[0].translate(_LEET)
    return plain if plain in _LEET_WORDS else match[0]


@dataclass
class Sentence:
    """One sentence, ready for matching.

    Attributes:
        text: Readable form, with phrases that permit by denying replaced by `OKAY`.
    """

    text: str
    _ends: list[int] = field(default_factory=list)

    def with_text(self, text: str) -> Sentence:
        """The same sentence with some of its words replaced."""
        return self if text == self.text else Sentence(text)

    @classmethod
    def read(cls, sentence: str) -> Sentence:
        """Prepare a sentence."""
        text = _ASIDES.sub(" ", readable(sentence))
        return cls(frames().permits.sub(OKAY, text))

    def __post_init__(self) -> None:
        self._ends = [match.end() for match in _CLAUSE_END.finditer(self.text)]
        if not self._ends or self._ends[-1] < len(self.text):
            self._ends.append(len(self.text))

    # Clauses -------------------------------------------------------------------------------------

    def clause_span(self, position: int) -> tuple[int, int]:
        """Bounds of the clause at a position, its punctuation included."""
        index = min(bisect_right(self._ends, position), len(self._ends) - 1)
        return (self._ends[index - 1] if index else 0), self._ends[index]

    def clause(self, position: int) -> str:
        """The clause at a position."""
        start, end = self.clause_span(position)
        return self.text[start:end]

    def before(self, position: int) -> str:
        """The clause's words before a position."""
        return self.text[self.clause_span(position)[0] : position]

    def after(self, position: int) -> str:
        """The clause's words from a position on."""
        return self.text[position : self.clause_span(max(0, position - 1))[1]]

    # Frames --------------------------------------------------------------------------------------

    def is_forbidden(self, start: int, end: int) -> bool:
        """Whether the words are told not to be done, or said not to be so by an order."""
        if OKAY in self.text[start:end]:
            return False
        before = self.before(start)
        for match in frames().forbids.finditer(before):
            between = before[match.end() :]
            if len(between) <= 60 and not frames().breaks.search(between):
                return True
        return self._continues_a_ban(start)

    def is_denied(self, start: int, end: int) -> bool:
        """Whether the words are negated: "I have not", "no medicine is", 無法."""
        if self.is_forbidden(start, end):
            return True
        return self.is_negated(start, 45, 24)

    def is_negated(self, start: int, latin_reach: int, han_reach: int) -> bool:
        """Whether a plain negation stands before a position, within so many characters."""
        before = self.before(start)
        for match in frames().denies.finditer(before):
            between = before[match.end() :]
            reach = latin_reach if match[0].isascii() else han_reach
            if len(between) <= reach and not frames().breaks.search(between):
                return True
        return False

    def is_contrasted(self, start: int) -> bool:
        """Whether a "not" stands right before a position: "320, not 160", 不是抗生素."""
        return bool(_CONTRAST.search(self.text[max(0, start - 32) : start]))

    def _continues_a_ban(self, start: int) -> bool:
        """Whether the clause is an item of a list that a ban opened: "do not stop, skip or …"."""
        first, last = self.clause_span(start)
        # A list is told from a new order by its "or", and by verbs of the same kind.
        clause = self.text[first:last].strip()
        while first > 0 and len(clause) < 60:
            listed = re.match(r"(?:or|nor|and)\b|或", clause)
            item = frames().act_verbs.match(clause)
            joined = bool(re.search(r"\b(?:or|nor)\b|或|也不", self.text[first:]))
            if not (listed or (item and joined)):
                return False
            if listed and listed[0] == "and":
                return False
            previous_first, previous_last = self.clause_span(first - 1)
            previous = self.text[previous_first:previous_last]
            bans = list(frames().forbids.finditer(previous))
            if bans:
                ban = max(bans, key=lambda match: match.end())
                rest = previous[ban.end() :].strip()
                return bool(frames().act_verbs.search(rest)) and OKAY not in previous
            first, clause = previous_first, previous.strip()
        return False

    def is_harm(self, start: int, end: int) -> bool:
        """Whether what follows calls the words dangerous, or names their harm."""
        _, last = self.clause_span(max(start, end - 1))
        rest = self.text[end:last]
        if len(self.text) > last and len(rest.strip(" ,，")) < 12:
            rest += self.clause(last)
        # "… if the pain is bad" calls the pain bad.
        rest = re.split(r"\b(?:if|when|because|since|whenever|as)\b", rest)[0]
        harm = frames().harm.search(rest)
        if harm is None or _NO_HARM.search(rest[: harm.start()]):
            return False
        return not frames().approval.search(rest)

    def is_approved(self, end: int) -> bool:
        """Whether what follows in the clause allows it: "… is fine", …也沒關係."""
        rest = self.after(end)
        return bool(frames().approval.search(rest))

    def is_antecedent(self, start: int, end: int) -> bool:
        """Whether the words are a condition ("if you took two, tell …") and not what follows."""
        before = self.before(start)
        for match in frames().antecedent.finditer(before):
            if not frames().not_antecedent.search(before[match.end() :]):
                return True
        if re.match(r"\w+ing\b", self.text[start:]) and frames().topic.search(before):
            return True
        clause = self.clause(start)
        return bool(
            re.search(r"(?:的话|的时候|(?<![睡饭餐])前|时)[,，]?$", clause.strip())
        ) and not re.search(r"就|可以|直接", before)

    def is_reported(self, start: int) -> bool:
        """Whether the words are somebody's: "you said that you took two"."""
        return bool(frames().report.search(self.before(start)))

    def is_question(self, start: int) -> bool:
        """Whether the clause asks; a suggestion in the form of a question does not."""
        first, last = self.clause_span(start)
        clause = self.text[first:last].strip()
        if frames().suggestion.search(clause):
            return False
        asks_at_end = self.text.rstrip(" '\"」』)").endswith("?")
        if not (asks_at_end or clause.endswith("?") or re.search(r"[吗么呢][?,.!。]?$", clause)):
            return False
        # The sentence asks in its last clause, or in the one with the words.
        if clause.endswith("?") or re.search(r"[吗么呢][?,.!。]?$", clause):
            return bool(frames().question.search(clause))
        rest = self.text[first:]
        return bool(
            re.match(
                r"(?:and |so |sorry |excuse me )?(?:did|have you|has|were|was|are you|do you|"
                r"(?:may|shall|can|could|should) i|would you)\b",
                clause,
            )
        ) or bool(
            re.search(r"^(?:您|你|请问)(?:刚才|刚刚|今天|之前)?(?:是不是|有没有|是否)", rest)
        )

    def is_permitted(self, start: int) -> bool:
        """Whether the clause opens with a permission or an order: "you can", 可以, 就."""
        return bool(frames().permission.search(self.before(start)[-40:]))

    def is_referred(self, start: int, end: int) -> bool:
        """Whether a professional decides about the words: "ask the doctor before stopping"."""
        if frames().no_referral.search(self.text):
            return False
        if frames().refer_around.search(self.text):
            return True
        if frames().refer_before.search(self.text[:start]):
            return True
        return not self.is_permitted(start) and bool(frames().refer_after.search(self.text[end:]))

    def is_held(self, start: int, end: int) -> bool:
        """Whether it only tells to wait with the medicine until somebody has come or answered."""
        if frames().no_referral.search(self.text) or not frames().held_until.search(self.text):
            return False
        if _LEFT_TO_YOU.search(self.text):
            return False
        return bool(frames().hold.search(self.text[max(0, start - 12) : end + 4]))

    def is_reaction(self) -> bool:
        """Whether it tells to stop because of a grave reaction and to get help."""
        if frames().no_referral.search(self.text):
            return False
        return bool(frames().reaction.search(self.text) and frames().seek.search(self.text))
