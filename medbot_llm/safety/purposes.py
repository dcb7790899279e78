"""What a sentence says that a medicine is, or is for, compared with its ATC codes.

The words are in `resource/verifier/purposes.yaml`, each with the groups of WHO's ATC that may be
called so. A word is no claim by itself: "tell the nurse if you have pain" calls nothing a
painkiller.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from functools import lru_cache

from medbot_llm.safety.claims import Patterns
from medbot_llm.safety.claims import VerifierDataError
from medbot_llm.safety.claims import load_yaml
from medbot_llm.safety.claims import words
from medbot_llm.safety.dosing import Statements
from medbot_llm.safety.grading import ALL
from medbot_llm.safety.label_facts import LABELS_KEPT
from medbot_llm.safety.label_facts import LabelFacts

_LATIN = re.compile(r"[a-z]")


@dataclass(frozen=True)
class Purpose:
    """One thing that medicines are or are for, and the ATC groups of those that are."""

    id: str
    patterns: Patterns
    atc: tuple[str, ...]


@cache
def purposes() -> tuple[Purpose, ...]:
    """The packaged table.

    Raises:
        VerifierDataError: An entry is incomplete.
    """
    found = []
    for entry in load_yaml("purposes"):
        where = f"purposes.yaml: {entry.get('id', 'an entry without id')}"
        if "words" not in entry or "atc" not in entry:
            raise VerifierDataError(f"{where}: words or atc is missing")
        parts = [rf"\b(?:{part})\b" if _LATIN.search(part) else part for part in entry["words"]]
        found.append(Purpose(entry["id"], words().compile(parts, where), tuple(entry["atc"])))
    return tuple(found)


_STEMS = (
    ("cillin", "J01C"),
    ("cef", "J01D"),
    ("floxacin", "J01M"),
    ("thromycin", "J01F"),
    ("cycline", "J01A"),
    ("conazole", "J02"),
    ("ciclovir", "J05"),
    ("sartan", "C09C"),
    ("pril", "C09A"),
    ("olol", "C07"),
    ("dipine", "C08"),
    ("vastatin", "C10A"),
    ("gliptin", "A10BH"),
    ("gliflozin", "A10BK"),
    ("prazole", "A02BC"),
    ("setron", "A04AA"),
    ("triptan", "N02CC"),
    ("profen", "M01A"),
    ("coxib", "M01A"),
    ("xaban", "B01AF"),
)
"""Parts of names and the ATC group of what bears them (WHO, The use of stems), for a medicine that
the formulary has no code of."""


@lru_cache(LABELS_KEPT)
def codes_of(label: LabelFacts) -> tuple[str, ...]:
    """The ATC codes of a medicine, or what its name tells of them."""
    name = label.medication.name.casefold()
    return label.atc or tuple(code for stem, code in _STEMS if stem in name)


_SUBJECT = re.compile(
    r"^\W*(?:(?:so|well|yes|no|and|but|oh|here),? )*(?:(?:it|this|that|these|they|those|both|"
    r"neither|here)\b|(?:the|your|his|her) (?:[\w-]+ ){0,2}(?:tablet|pill|capsule|one|syrup|drop|"
    r"cream|ointment|spray|pen|inhaler|patch|bottle|suppository|medicine|drug|sachet|powder|shot|"
    r"injection)s?\b)|^\W*(?:这|那|它|此|[两2三3]种|另外?1|膠囊|胶囊|喷雾|药膏|药水|糖浆|贴片|滴剂)"
)
"""At the start of a clause that speaks of the medicine without naming it."""
_PREDICATE = re.compile(
    r"(?:\b(?:is|are|was|contains?|as|for|against|works?|helps?|keeps?|lowers?|stops?|prevents?|"
    r"relieves?|treats?|suppress(?:es)?|kills?|looks? after|takes? care of|handles?|belongs?|"
    r"binds?|builds?|relax(?:es)?|brings?|fights?|opens?|eases?|dissolves?|settles?|calms?|thins?|"
    r"isn't|aren't|doesn't|neutrali[sz]es|brings?)\b|'s\b|'re\b|"
    r"[是属算叫当治管帮补止降防抗杀让含保护改善顾消缓解对])"
)
"""Between the medicine and what it is said to be or do."""
_INVERTED = re.compile(
    r"(?:用|药)?的(?:那[颗个种瓶]|这[颗个种瓶])?(?:就|才)?[是叫]|"
    r",? (?:one |tablet |medicine |drug )?(?:is|would be) (?:the |your )?"
)
"""Between what a medicine is for and its name, where that comes first."""
_NEITHER = re.compile(r"\b(?:neither|none|nor)\b|(?:都|皆|全)(?:不是|非)")
"""Denies what follows of every medicine that is meant."""
_NOT = re.compile(r"\b(?:not|never|rather than|instead of)\b|n't\b|不是|并非|不会?|没有?")
"""Between a medicine and what it is said not to be."""
_LEFT_OUT = re.compile(r" (?:the|an?|your|for)? *")
"""Of "A is the steroid and B the antibiotic"."""
_NOT_DEFINING = re.compile(
    r"\b(?:may|might|can|could|would|if|when|whenever|unless|tell|report|ask|cause[sd]?|causing|"
    r"should|must|interact\w*|affect\w*|rais\w+|than|because|with|after|before|until|while)\b"
    r"|可能|如果|若|要是|会|有没有|出现|告诉|副作用|万一|引起|造成|以免|影响|跟|和|与|问|要|请|太|怕|先|"
    r"吃|时候|容易|让人|使人|令人"
)
"""In what stands between: it speaks of something else than what the medicine is for."""


def claims_of(statements: Statements) -> Iterator[tuple[bool | None, bool]]:
    """For each thing that a medicine is said to be or to be for: whether one meant is, and "not".

    The first is None where the codes of none are known.
    """
    sentence = statements.sentence
    if not _PREDICATE.search(sentence.text):
        return
    for purpose in purposes():
        for match in purpose.patterns.finditer(sentence.text):
            start = match.start()
            if statements.named_at(start, match.end()):
                continue
            first, _ = sentence.clause_span(start)
            labels = _named_behind(statements, match.end())
            subject = start if labels else _subject_end(statements, first, start)
            if subject is None:
                continue
            between = sentence.text[subject:start]
            is_said = (
                labels or _PREDICATE.search(f"{between}{match[0]}") or _LEFT_OUT.fullmatch(between)
            )
            if not is_said or _NOT_DEFINING.search(between):
                continue
            codes = [codes_of(label) for label in labels or statements.about(start, match.end())]
            known = [
                any(code.startswith(purpose.atc or ("-",)) for code in own) for own in codes if own
            ]
            is_so = None
            if known:
                is_so = all(known) if ALL.search(sentence.text) else any(known)
            is_denied = bool(_NEITHER.search(sentence.text[first:start]) or _NOT.search(between))
            yield is_so, is_denied or sentence.is_contrasted(start)


def _named_behind(statements: Statements, end: int) -> tuple[LabelFacts, ...]:
    """The medicine that a word for its purpose is said of in front: 止痛的是普拿疼."""
    match = _INVERTED.match(statements.sentence.text[end:])
    if match is None:
        return ()
    behind = end + match.end()
    owners = [who for low, _, who in statements.mentions if low == behind]
    return tuple(statements.facts.labels[owner] for owner in owners[0]) if owners else ()


def _subject_end(statements: Statements, first: int, start: int) -> int | None:
    """Where the subject of a clause ends if it is the medicine, else None."""
    text = statements.sentence.text
    for low, high, _ in reversed(statements.mentions):
        if first <= low and high <= start:
            return high
    match = _SUBJECT.match(text[first:start])
    if match is not None:
        return first + match.end()
    # 它属于止痛的药，不是抗生素: the second clause has the subject of the first.
    if first and re.match(r"\W*(?:不是|而是|并非|是|not|but)", text[first:]):
        return first
    return None
