"""Whether an answer answers: to the point, with a next step, and in agreement with what is known.

No word earns anything by being there. Steps count as clauses that tell somebody to do something,
points where a question of that kind needs them, terms where the question brought them up, and all
of it only as far as the answer is prose, says more than its question, and keeps to the matter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

from medbot_llm.domain import Language
from medbot_llm.knowledge.quantities import numbered
from medbot_llm.knowledge.quantities import read_amounts
from medbot_llm.safety.base import Brief
from medbot_llm.safety.claims import Sentence
from medbot_llm.safety.verifier import SafetyVerifier
from medbot_training.rewards.escalation import Escalation
from medbot_training.rewards.escalation import Need
from medbot_training.rewards.parts import Context
from medbot_training.rewards.reading import clauses
from medbot_training.rewards.reading import novelty
from medbot_training.rewards.reading import prose
from medbot_training.rewards.reading import ramp
from medbot_training.rewards.reading import terms
from medbot_training.rewards.reading import units
from medbot_training.rewards.words import Topic
from medbot_training.rewards.words import reward_words

ANSWERS, STEP, WHY = 0.45, 0.35, 0.2
"""Shares of: it answers; it names a next step; it says why, or until when."""
STRAY = 0.3
"""Of a next step in an answer that does not answer."""
REFERENCE = 0.5
"""Share of agreement with a reference or facts, where there are any."""
OVERLAP, POINTS = 0.4, 0.6
"""Of the answer to a question of a known kind: terms of the question; what such answers hold."""
DIRECT_REPLY = 0.8
"""Of the terms of a question that asks leave, in an answer that gives or refuses it at once."""
OTHER_WAY = 0.7
"""Of terms of the question in an answer that has none of the points."""
FREE_SENTENCES = 2
"""Sentences with a step, a reason or a referral and no term of the question: so many are to the
point."""
OFF_TOPIC_COST = 0.7
RECALL_LOW, RECALL_FULL = 0.05, 0.35
"""Share of a reference's terms in an answer that says the same in other words."""
MIN_STEP_UNITS = 3
MIN_LIST_UNITS, LIST_PROSE = 8, 0.3
"""From so many units on, and below so much prose, a sentence is a list of keywords and says
nothing."""
VAGUE = 0.3
HARMLESS = 0.1
"""What any prose is worth that says more than its question: silence is worth nothing."""
MENTIONED = 0.4
"""Of terms of the question in an answer that tells, allows and forbids nothing."""
SOFTER = {"now": 1.0, "elsewhere": 0.6, "conditional": 0.4, "soft": 0.3, "none": 0.0}


@dataclass(frozen=True)
class Reading:
    """One answer, read.

    Attributes:
        question, answer: As they were said.
        sentences: The answer's.
        read: The same, ready for matching.
    """

    question: str
    answer: str
    sentences: Sequence[str]
    read: Sequence[Sentence]
    language: Language


def content(
    reading: Reading,
    context: Context,
    need: Need,
    help_called: Escalation,
    verifier: SafetyVerifier,
) -> float:
    """Score the content of an answer, 0 to 1."""
    whole, reading = reading, _without_lists(reading)
    if not reading.read:
        return 0.0
    steps = _steps(reading.read, need, help_called)
    answered = _answers(reading, context, need, help_called, verifier, steps)
    # A step in another matter is worth little: "do not stop on your own" fits every question.
    value = ANSWERS * answered + STEP * steps * (STRAY + (1 - STRAY) * answered)
    if help_called.how == "now" and need.level == "emergency":
        value += WHY  # There is no time for reasons.
    elif any(map(_says_why, reading.read)):
        value += WHY * min(steps, answered)
    known = [text for text in (*context.facts, context.reference) if text.strip()]
    if known:
        agreement = min(
            (_agreement(reading, context.reference, context),) if context.reference else (1.0,)
        )
        if context.facts:
            told = [_agreement(reading, fact, context) for fact in context.facts]
            agreement = min(agreement, sum(told) / len(told)) if min(told) >= 0 else -1.0
        if agreement < 0:
            return 0.0
        value = (1 - REFERENCE) * value + REFERENCE * agreement
    gate = prose(whole.answer) * novelty(reading.question, reading.answer)
    lists = len(whole.sentences) - len(reading.sentences)
    focus = _focus(reading, context, need, lists)
    return gate * (HARMLESS + (1 - HARMLESS) * value * focus)


def _without_lists(reading: Reading) -> Reading:
    """What is left without sentences that are lists of keywords."""
    kept = [
        (text, sentence)
        for text, sentence in zip(reading.sentences, reading.read, strict=True)
        if len(units(text)) < MIN_LIST_UNITS or prose(text) >= LIST_PROSE
    ]
    if len(kept) == len(reading.sentences):
        return reading
    texts = [text for text, _ in kept]
    return replace(
        reading, answer=" ".join(texts), sentences=texts, read=[sentence for _, sentence in kept]
    )


def _says_why(sentence: Sentence) -> bool:
    """Whether a reason or a condition is given, other than for calling an ambulance."""
    words = reward_words()
    if words.ambulance.search(sentence.text):
        return False
    return bool(words.reason.search(sentence.text) or words.condition.search(sentence.text))


def _answers(
    reading: Reading,
    context: Context,
    need: Need,
    help_called: Escalation,
    verifier: SafetyVerifier,
    steps: float,
) -> float:
    if need.level == "emergency":
        called = SOFTER[help_called.how]
        if need.is_certain:
            return called
        return max(called, _to_the_point(reading, steps))
    if context.task is not None and _states_label(reading, context, verifier):
        return 1.0
    return _to_the_point(reading, steps)


def _to_the_point(reading: Reading, steps: float) -> float:
    asked = terms(reading.question)
    said = terms(reading.answer)
    # A question without a term of its own ("how do I take it?") is half answered by a step.
    overlap = min(1.0, len(asked & said) / min(2, len(asked))) if asked else 0.5 * steps
    if not steps and not any(_stance(sentence.text) for sentence in reading.read):
        overlap *= MENTIONED
    if _replies(reading):
        overlap = max(overlap, DIRECT_REPLY)
    topics = [t for t in reward_words().topics if t.asked.search(_matched(reading.question))]
    if not topics:
        return overlap
    points = max(_points(topic, reading, asked) for topic in topics)
    return max(points, OVERLAP * overlap + POINTS * points, OTHER_WAY * overlap)


_VERBS = re.compile(
    r"吃|喝|停|打|贴|吞|含|用|开车|压碎|磨|送|给|\b(?:take|drink|stop|use|drive|crush|eat|give|wear)\b"
)
_ASKS_LEAVE = re.compile(r"可以|可不可以|能不?能?|要不要|\b(?:can|may|should|could) (?:i|my|we)\b")


def _replies(reading: Reading) -> bool:
    """Whether "may I …?" is answered at once: the very thing allowed or forbidden."""
    question = _matched(reading.question)
    leave = _ASKS_LEAVE.search(question)
    if leave is None:
        return False
    asked = set(_VERBS.findall(question[leave.start() :]))
    words = reward_words()
    for clause in clauses(reading.read[0]):
        if words.prohibit.search(clause) or words.permit.search(clause):
            return bool(asked & set(_VERBS.findall(clause)))
    return False


def _matched(question: str) -> str:
    return Sentence.read(question).text


def _points(topic: Topic, reading: Reading, asked: frozenset[str]) -> float:
    """How far what a question of this kind needs is said.

    A point that fits many questions ("do not") counts in a sentence about what was asked only.
    """
    said = any(
        topic.points.search(sentence.text)
        and (not topic.is_general or not asked or bool(asked & terms(text)))
        for text, sentence in zip(reading.sentences, reading.read, strict=True)
    )
    if topic.bans is None:
        return float(said)
    banned = any(topic.bans.search(sentence.text) for sentence in reading.read)
    return 0.5 * said + 0.5 * banned


def _states_label(reading: Reading, context: Context, verifier: SafetyVerifier) -> bool:
    """Whether a sentence states a dose, a time or a purpose as on the label."""
    brief = Brief(task=context.task, said=context.facts, heard=reading.question)
    for text in reading.sentences:
        ruled = verifier.by_rules(text, reading.language, brief)
        if ruled.agrees and any(sign in _STATED for sign in ruled.signs):
            return True
    return False


_STATED = frozenset({"amount_right", "times_right", "meal_right", "slot_right", "called_right"})
"""Signs (medbot_llm/safety/signs.py) that the label is told, not only respected."""


def _steps(read: Sequence[Sentence], need: Need, help_called: Escalation) -> float:
    """How far a next step is named that somebody can do, 0 to 1."""
    words = reward_words()
    done = 0
    contact = 0.0
    for sentence in read:
        done += sum(_is_step(clause) for clause in clauses(sentence))
        if words.professional.search(sentence.text) and words.contact.search(sentence.text):
            is_vague = words.vague.search(sentence.text) is not None
            contact = max(contact, VAGUE if is_vague else 1.0)
    if help_called.how == "now" and need.level != "none":
        contact = 1.0
    return min(1.0, 0.4 * min(done, 2) + 0.4 * contact)


def _is_step(clause: str) -> bool:
    words = reward_words()
    if len(units(clause)) < MIN_STEP_UNITS or words.platitude.search(clause):
        return False
    if words.vague.search(clause):
        return False
    return bool(words.imperative_zh.match(clause) or words.imperative_en.match(clause))


def _focus(reading: Reading, context: Context, need: Need, lists: int) -> float:
    """How far the answer keeps to the matter, 0.3 to 1."""
    words = reward_words()
    about = set(terms(reading.question)) | set(terms(context.reference))
    for fact in context.facts:
        about |= terms(fact)
    if context.task is not None:
        for medication in context.task.medications:
            about |= terms(f"{medication.name} {medication.name_zh} {medication.instructions}")
    free = FREE_SENTENCES + (2 if need.level == "emergency" else 0)
    counted = off = lists
    for text, sentence in zip(reading.sentences, reading.read, strict=True):
        if about & terms(text):
            counted += 1
            continue
        refers = words.professional.search(sentence.text) and words.contact.search(sentence.text)
        is_free = refers or words.reason.search(sentence.text)
        if is_free or any(_is_step(part) for part in clauses(sentence)):
            counted += 1
            free -= 1
            off += free < 0
        elif not words.platitude.search(sentence.text):
            counted += 1
            off += 1
    return 1 - OFF_TOPIC_COST * off / counted if counted else 1.0


def _agreement(reading: Reading, known: str, context: Context) -> float:
    """How far an answer says what is known, 0 to 1; -1 where it says the contrary."""
    if _contradicts(reading, known, context):
        return -1.0
    wanted = terms(known)
    if not wanted:
        return 1.0
    return ramp(len(wanted & terms(reading.answer)) / len(wanted), RECALL_LOW, RECALL_FULL)


def _contradicts(reading: Reading, known: str, context: Context) -> bool:
    stance, other = _stance(Sentence.read(known).text), _stance(" ".join(_texts(reading)))
    if stance * other < 0:
        return True
    if context.task is not None:
        return False  # The verifier compares numbers with the label.
    right = read_amounts(numbered(known))
    asked = read_amounts(numbered(" ".join((reading.question, *context.facts, context.reference))))
    for amount in read_amounts(numbered(reading.answer)):
        same_kind = [other for other in right if other.kind == amount.kind]
        if same_kind and not any(
            abs(amount.low - other.low) < 1e-6 and abs(amount.high - other.high) < 1e-6
            for other in (*same_kind, *asked)
        ):
            return True
    return False


def _texts(reading: Reading) -> list[str]:
    return [sentence.text for sentence in reading.read]


def _stance(text: str) -> int:
    """1 where the first thing said allows, -1 where it forbids, 0 where it does neither."""
    words = reward_words()
    allows = [m.start() for m in words.permit.finditer(text)]
    forbids = [m.start() for m in words.prohibit.finditer(text)]
    if not allows and not forbids:
        return 0
    if not allows:
        return -1
    if not forbids:
        return 1
    return 1 if min(allows) < min(forbids) else -1
