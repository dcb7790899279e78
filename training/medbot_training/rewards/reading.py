"""A completion taken apart: thought and answer, terms, and whether it is prose at all.

Rewards that count words are paid in words. So what is measured here is what words alone can't
buy: grammar words, distinct runs of words, and how much is only the question said again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from medbot_llm.safety.claims import Sentence
from medbot_llm.text.normal import canonical

HAN_PER_S = 4.0
WORDS_PER_S = 2.5
"""Speaking rates: 120 Chinese characters are about half a minute (medbot_llm/text/sentences.py),
and 150 English words a minute."""

_TAG = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)
_HAN = re.compile(r"[\u3400-\u9fff]")
_UNIT = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+(?:['’.][^\W_\u3400-\u9fff]+)*")
_CLAUSE_END = re.compile(r"[,，、;；:：。.!！?？/|\n]+|(?<=[\u3400-\u9fff])\s+(?=[\u3400-\u9fff])")
_SPACED = re.compile(r"(?<=[\u3400-\u9fff])[ \u3000]+(?=[\u3400-\u9fff\d])")


@dataclass(frozen=True)
class Completion:
    """What a model wrote, thought and answer apart.

    Attributes:
        thought: What stands in the first pair of tags, "" where there is none.
        answer: What is said; of an open thought nothing is, as on the robot.
        is_thought_whole: Exactly one pair of tags, at the beginning, in order.
        has_tags: There are tags at all.
    """

    thought: str
    answer: str
    is_thought_whole: bool
    has_tags: bool


def take_apart(text: str, *, begins_in_thought: bool = False) -> Completion:
    """Part thought and answer.

    Args:
        text: The completion.
        begins_in_thought: The prompt ended with an open tag, as some chat templates write it.
    """
    if begins_in_thought and not text.lstrip().lower().startswith("<think"):
        text = f"<think>{text}"
    tags = list(_TAG.finditer(text))
    if not tags:
        return Completion("", text.strip(), is_thought_whole=False, has_tags=False)
    answer: list[str] = []
    thought: list[str] = []
    depth = last = 0
    for tag in tags:
        (thought if depth else answer).append(text[last : tag.start()])
        depth = 0 if tag[1] else 1
        last = tag.end()
    (thought if depth else answer).append(text[last:])
    kinds = [tag[1] for tag in tags]
    is_whole = kinds == ["", "/"] and not text[: tags[0].start()].strip()
    if kinds[0] == "/":  # A thought that was never opened: what stands before it is thought too.
        thought.insert(0, answer.pop(0))
    return Completion(
        " ".join(part.strip() for part in thought if part.strip()),
        " ".join(part.strip() for part in answer if part.strip()),
        is_whole,
        has_tags=True,
    )


def units(text: str) -> list[str]:
    """What text is made of: Chinese characters and Latin words, canonical."""
    return _UNIT.findall(canonical(text))


def spoken_s(text: str) -> float:
    """How long it takes to say, s."""
    every = _UNIT.findall(text)
    han = sum(1 for unit in every if _HAN.match(unit))
    return han / HAN_PER_S + (len(every) - han) / WORDS_PER_S


# Is it prose? ------------------------------------------------------------------------------------

_GRAMMAR_HAN = frozenset(
    "的了是我你您他她它们这那不没别要就可以请先再在和跟与或也都还会能把被给到让如果但因为所而着过吗呢吧啊"
    "每次天后前一二两三时有吃用从对很太最上下里去来做说看得"
)
"""Characters that sentences are held together by, and lists of terms are not."""
_GRAMMAR_LATIN = frozenset(
    [
        "a",
        "an",
        "the",
        "i",
        "you",
        "your",
        "it",
        "its",
        "he",
        "she",
        "they",
        "we",
        "him",
        "her",
        "them",
        "this",
        "that",
        "these",
        "those",
        "is",
        "are",
        "am",
        "was",
        "be",
        "been",
        "do",
        "does",
        "not",
        "no",
        "never",
        "can",
        "cannot",
        "may",
        "might",
        "must",
        "should",
        "will",
        "would",
        "could",
        "have",
        "has",
        "had",
        "and",
        "or",
        "but",
        "if",
        "so",
        "because",
        "to",
        "of",
        "in",
        "on",
        "at",
        "for",
        "from",
        "with",
        "without",
        "by",
        "as",
        "than",
        "then",
        "when",
        "while",
        "until",
        "before",
        "after",
        "one",
        "more",
        "only",
        "now",
        "please",
        "just",
        "up",
        "down",
        "out",
        "what",
        "which",
        "who",
        "there",
        "any",
        "some",
        "don't",
        "take",
        "it's",
        "call",
        "ask",
    ]
)
_TERMS = re.compile(
    r"就医|就诊|用药|吃药|服药|看诊|看病|不适|不良反应|有效|作用|过敏|时间|会诊|上腹|下腹|前列腺|后遗症|"
    r"鉴别|分别|识别|中风|到院|对症|从医|一般|要点|说明|看护|给药"
)
"""Terms with a character of grammar in them."""
GRAMMAR_LOW_HAN, GRAMMAR_FULL_HAN = 0.02, 0.12
GRAMMAR_LOW_LATIN, GRAMMAR_FULL_LATIN = 0.04, 0.18
"""Share of grammar words up to which nothing, and from which on everything, is prose. Of the
sentences of data/verifier (15,031 Chinese, 9,801 English) 95 % have over 0.15 and 0.22; lists of
keywords have next to none."""
CLAUSE_HAN, CLAUSE_LATIN = (2.5, 4.0), (1.6, 3.0)
"""Mean units a clause, likewise: keywords set apart by commas have two."""
SPACED_FREE, SPACED_MOST = 0.15, 0.6
"""Share of clauses that a mere space parts from the next one: Chinese prose has none."""
RUN_UNITS = 4
DISTINCT_LOW, DISTINCT_FULL = 0.55, 0.88
"""Share of distinct runs of four units: what says everything twice has a half."""


def ramp(value: float, low: float, full: float) -> float:
    """0 up to low, 1 from full on, and straight between."""
    return min(1.0, max(0.0, (value - low) / (full - low)))


def prose(text: str) -> float:
    """How far text is sentences, 0 to 1, and no list of keywords and no repetition."""
    every = units(text)
    if not every:
        return 0.0
    han = units(_TERMS.sub("病", canonical(text)))
    han = [unit for unit in han if _HAN.match(unit)]
    latin = [unit for unit in every if not _HAN.match(unit)]
    grammar = 0.0
    if han:
        share = sum(unit in _GRAMMAR_HAN for unit in han) / len(han)
        grammar += len(han) * ramp(share, GRAMMAR_LOW_HAN, GRAMMAR_FULL_HAN)
    words = [unit for unit in latin if not unit[0].isdigit()]
    if len(words) > len(han):
        share = sum(unit in _GRAMMAR_LATIN for unit in words) / len(words)
        grammar += len(latin) * ramp(share, GRAMMAR_LOW_LATIN, GRAMMAR_FULL_LATIN)
    else:  # Names of medicines and numbers in Chinese.
        grammar += len(latin) * (grammar / len(han) if han else 0.0)
    low, full = CLAUSE_HAN if len(han) >= len(latin) else CLAUSE_LATIN
    lengths = [len(_UNIT.findall(clause)) for clause in _CLAUSE_END.split(text)]
    lengths = [length for length in lengths if length]
    clause = ramp(sum(lengths) / len(lengths), low, full)
    clause *= 1 - ramp(len(_SPACED.findall(text)) / len(lengths), SPACED_FREE, SPACED_MOST)
    return min(1.0, grammar / (len(han) + len(latin)), clause) * distinct(every)


def distinct(every: Sequence[str]) -> float:
    """How far runs of units do not repeat, 0 to 1."""
    runs = [tuple(every[i : i + RUN_UNITS]) for i in range(len(every) - RUN_UNITS + 1)]
    if len(runs) < 2 * RUN_UNITS:
        return 1.0
    return ramp(len(set(runs)) / len(runs), DISTINCT_LOW, DISTINCT_FULL)


COPY_UNITS = 4
COPY_FREE, COPY_MOST = 0.3, 0.75
"""Of the answer's runs this share may stand in the question; from the second on it is a copy."""


def novelty(question: str, answer: str) -> float:
    """How far an answer says more than its question, 0 to 1."""
    mine, asked = units(answer), units(question)
    size = min(COPY_UNITS, len(mine))
    if not size:
        return 0.0
    runs = [tuple(mine[i : i + size]) for i in range(len(mine) - size + 1)]
    known = {tuple(asked[i : i + size]) for i in range(len(asked) - size + 1)}
    return 1 - ramp(sum(run in known for run in runs) / len(runs), COPY_FREE, COPY_MOST)


# Terms -------------------------------------------------------------------------------------------

_EMPTY_HAN = frozenset(
    "的了是我你您他她它们这那不没别要就可以请先再在和跟与或也都还会能把被给到让如果但因为所而着过吗呢吧啊么什怎"
    "样办很太最上下里去来做说看得有点个些一二两三几多少每次天时后前想问应该只才又吃用药服喝"
)
_EMPTY_LATIN = _GRAMMAR_LATIN | frozenset(
    [
        "medicine",
        "medication",
        "medicines",
        "drug",
        "pill",
        "pills",
        "tablet",
        "tablets",
        "dose",
        "take",
        "taken",
        "taking",
        "took",
        "use",
        "using",
        "my",
        "me",
        "how",
        "long",
        "want",
        "need",
        "get",
        "got",
        "help",
        "thing",
        "something",
        "right",
        "feel",
        "like",
        "much",
        "many",
        "did",
        "way",
        "into",
        "over",
        "all",
        "other",
        "them",
        "again",
        "also",
        "very",
        "give",
        "make",
        "good",
        "okay",
        "yes",
        "doctor",
        "nurse",
        "pharmacist",
    ]
)


@lru_cache(512)
def terms(text: str) -> frozenset[str]:
    """What a text is about: pairs of Chinese characters and stems of English words."""
    found: set[str] = set()
    for run in re.findall(r"[\u3400-\u9fff]+", canonical(text)):
        for pair in map("".join, pairwise(run)):
            if not _EMPTY_HAN.intersection(pair):
                found.add(pair)
    for word in re.findall(r"[a-z][a-z'-]{2,}", canonical(text)):
        if word not in _EMPTY_LATIN:
            found.add(_stem(word))
    return frozenset(found)


def _stem(word: str) -> str:
    for ending in ("ing", "ies", "ed", "es", "s", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)[:6]
    return word[:6]


def clauses(sentence: Sentence) -> list[str]:
    """The clauses of a sentence, without the punctuation around them."""
    parts = re.split(r"[,，;；:：。！？!?—…\n()（）]|(?<!\d)\.(?!\d)", sentence.text)
    return [part.strip() for part in parts if part.strip()]
