"""What is done with a medicine besides taking it, and on which side: chewing, left, right.

Each is compared with what the label asks for or forbids. What is found is a sign (`signs.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from functools import partial

from medbot_llm.safety.claims import Patterns
from medbot_llm.safety.dosing import BRINGS
from medbot_llm.safety.dosing import Statements
from medbot_llm.safety.dosing import states_nothing
from medbot_llm.safety.grading import NOT_SO
from medbot_llm.safety.grading import grade
from medbot_llm.safety.label_facts import LABELS_KEPT
from medbot_llm.safety.label_facts import LabelFacts

_WAYS: tuple[tuple[str, re.Pattern[str], frozenset[str]], ...] = (
    ("chew", re.compile(r"\bchew\w*|\bbit(?:e|es|ing)\b|嚼|咬"), frozenset({"whole"})),
    ("crush", re.compile(r"\b(?:crush|grind|mash)\w*|磨|压碎|捣|研碎"), frozenset({"whole"})),
    (
        "whole",
        re.compile(r"\bwhole\b(?! (?:day|time|week|course))|整(?:颗|粒|片|锭)"),
        frozenset({"chew", "crush", "split", "melt"}),
    ),
    (
        "split",
        re.compile(
            r"\b(?:split|halv|cut)\w*|\bbreak(?:ing)? (?:it|the|open)|剥半|掰|切半|对半|剪"
        ),
        frozenset({"whole"}),
    ),
    (
        "melt",
        re.compile(
            r"\b(?:dissolv|melt|disperse|disintegrat)\w*|溶|化(?:开|掉|在)|崩解|含(?:在|着|化)"
        ),
        frozenset({"whole"}),
    ),
    ("shake", re.compile(r"\bshak\w+|摇"), frozenset()),
    (
        "drink",
        re.compile(
            r"\b(?:plenty|lots|more than 2 l|full glass|big glass|extra) ?(?:of )?"
            r"(?:fluids?|water)?|drink (?:well|plenty|a lot)|多喝|大量|大杯|尽情喝|2000"
        ),
        frozenset({"dry"}),
    ),
    (
        "dry",
        re.compile(
            r"\b(?:little|less|limit\w*|sip|restrict\w*)\b[^.;,]{0,24}\b(?:water|fluids?|"
            r"drink\w*|possible)\b|drink as little|少喝水?|限水|1小口"
        ),
        frozenset({"drink"}),
    ),
    ("rinse", re.compile(r"\b(?:rins|gargl)\w+|漱口"), frozenset()),
    ("fridge", re.compile(r"\b(?:refrigerat\w+|fridge)|冷藏|冰箱"), frozenset({"room"})),
    ("room", re.compile(r"\broom temperature|室温|常温"), frozenset({"fridge"})),
    (
        "lie",
        re.compile(r"\b(?:lie|lying|lay) (?:back )?(?:down|flat)|躺"),
        frozenset({"upright"}),
    ),
    (
        "upright",
        re.compile(r"\b(?:sit|stay|stand)\w* (?:up|upright)|坐着|站着|直立"),
        frozenset({"lie"}),
    ),
)
"""What is done, its words, and what is then not done."""
_HANDLING = tuple((name, Patterns((words,), (words,)), others) for name, words, others in _WAYS)
_LABEL_BAN = re.compile(
    r"(?:\b(?:do not|don't|not|never|no|avoid|without)|勿|不可|不要|不得|避免|请勿|不能|别|不)"
    r"(?: be|,| or|或| \w+ or)?[^.;。]{0,10}$"
)
_SPOILS = re.compile(
    r"^[^,。;]{0,3}会(?:1下|1次|让|使|伤|掉|太)|"
    r"^[^.;,]{0,24}\b(?:would|can burn|too soon|ruins|could)\b"
)
"""Behind what is warned of: 嚼碎會一次放出太多."""
_SIDES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "both",
        re.compile(
            r"\b(?:ou|au|both|each) ?(?:eyes?|ears?|nostrils?|sides?)?\b|双|"
            r"[两2](?:只|边|眼|耳|侧)"
        ),
    ),
    ("left", re.compile(r"\b(?:os|as|left)\b(?! (?:over|in|out))|左")),
    (
        "right",
        re.compile(
            r"\b(?:od|ad|right) ?(?:eye|ear|nostril|knee|side)?\b"
            r"(?! (?:now|away|after|before|dose))|右"
        ),
    ),
)
"""With the abbreviations of prescriptions: OD, OS, OU for eyes, AD, AS, AU for ears."""
_STORAGE: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("room", re.compile(r"\broom temperature\b|室温|常温|阴凉")),
    ("fridge", re.compile(r"\b(?:fridge|refrigerat\w+)\b|冰箱|冷藏")),
    ("fridge_unopened", re.compile(r"\b(?:fridge|refrigerat\w+)\b|冰箱|冷藏")),
    ("light", re.compile(r"\b(?:away from|out of|protected? from)(?: the)? light\b|避光")),
    ("dry", re.compile(r"\b(?:dry|damp|moisture)\b|干燥|防潮|避潮|受潮")),
    ("original_container", re.compile(r"\boriginal\b|原(?:包装|盒|瓶|来的)")),
)
"""Codes of the formulary (docs/formulary.md) and how they are said."""
_SIDED = re.compile(r"eye|ear|nostril|眼|耳|鼻|点|滴")


@lru_cache(LABELS_KEPT)
def _wanted(label: str) -> tuple[frozenset[str], frozenset[str]]:
    """What a label asks for, and what it forbids."""
    asked: set[str] = set()
    banned: set[str] = set()
    for name, pattern, excludes in _HANDLING:
        for match in pattern.finditer(label):
            if _LABEL_BAN.search(label[max(0, match.start() - 24) : match.start()]):
                banned.add(name)
            else:
                asked.add(name)
                banned |= excludes
    return frozenset(asked - banned), frozenset(banned - asked)


def grade_handling(statements: Statements) -> Iterator[str]:
    """Chewing, shaking, melting, drinking and the like."""
    sentence = statements.sentence
    for name, pattern, _ in _HANDLING:
        for match in pattern.finditer(sentence.text):
            rest = sentence.text[match.end() :]
            is_banned = (
                sentence.is_contrasted(match.start())
                or sentence.is_forbidden(match.start(), match.end())
                or bool(NOT_SO.match(rest))
            )
            if not is_banned and (
                states_nothing(sentence, match.start(), match.end()) or _SPOILS.match(rest)
            ):
                continue
            for label in statements.about(match.start(), match.end()):
                asked, banned = _wanted(label.text)
                if name in asked:
                    yield "handling_denied_right" if is_banned else "handling_right"
                elif name in banned:
                    yield "handling_denied_wrong" if is_banned else "handling_wrong"


def grade_storage(statements: Statements) -> Iterator[str]:
    """Ways of keeping it that the formulary has of the medicine; what it has not is for rules."""
    sentence = statements.sentence
    for code, pattern in _STORAGE:
        for match in pattern.finditer(sentence.text):
            labels = statements.about(match.start(), match.end())
            kept = [label.medicine.storage for label in labels if label.medicine is not None]
            if any(code in codes for codes in kept):
                is_not = sentence.is_contrasted(match.start())
                yield "storage_denied_right" if is_not else "storage_right"


def grade_delivery(statements: Statements) -> Iterator[str]:
    """What the robot really does: it brings, and it shows what it has brought."""
    if BRINGS.search(statements.sentence.text):
        yield "delivery_right"


def _is_side(side: str, label: LabelFacts) -> bool | None:
    known = {name for name, pattern in _SIDES if pattern.search(label.where)}
    return side in known if known else None


def grade_sides(statements: Statements) -> Iterator[str]:
    """Left, right or both."""
    text = statements.sentence.text
    if not _SIDED.search(text):
        return
    for side, pattern in _SIDES:
        for match in pattern.finditer(text):
            yield from grade(
                "side", statements, match.start(), match.end(), partial(_is_side, side)
            )
