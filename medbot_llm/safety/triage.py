"""The triage that stands before everything the robot does: rules first, a learned model second.

`SafetyTriage.assess` judges what was said without the language model, in a few milliseconds:

    canonical text ─▶ slips and sounds ─▶ windows ─▶ rules (triage_rules.py) ─▶ fusion ─▶ result
                                                 └─▶ second line (second_line.py) ──┘

Long input is judged in overlapping windows, so that chat or an attempt to give the robot orders
around an emergency does not dilute it, and time stays bounded.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Literal

from medbot_llm.domain import PatientGroup
from medbot_llm.domain import Severity
from medbot_llm.safety.base import Circumstances
from medbot_llm.safety.base import TriageResult
from medbot_llm.safety.fusion import Evidence
from medbot_llm.safety.fusion import Fusion
from medbot_llm.safety.fusion import by_rules
from medbot_llm.safety.second_line import Judgement
from medbot_llm.safety.second_line import SecondLine
from medbot_llm.safety.sounds import Sounds
from medbot_llm.safety.triage_rules import RANK
from medbot_llm.safety.triage_rules import Reading
from medbot_llm.safety.triage_rules import RuleBook
from medbot_llm.safety.triage_rules import Sign
from medbot_llm.safety.triage_rules import prepared
from medbot_llm.safety.vital_signs import with_pairs
from medbot_llm.safety.vital_signs import with_points
from medbot_llm.text.normal import canonical
from medbot_llm.text.normal import with_digits

logger = logging.getLogger(__name__)

MAX_CHARS = 20_000
"""Of longer input the beginning and the end are judged, half of this each."""
WINDOW_CHARS = 320
"""What is judged at once."""
OVERLAP_CHARS = 100
"""What two windows share, so that nothing is cut apart."""
JUDGED_FIRST, JUDGED_LAST = 4, 8
"""Windows of endless speech that the second line reads too; the rules read them all."""

FIRST = (
    "suicide_self_harm",
    "child_danger",
    "pregnancy_danger",
    "hypoglycaemia",
    "overdose",
    "wrong_medication_taken",
    "fall_injury",
    "bleeding",
    "anaphylaxis",
    "infection_sepsis",
    "mental_confusion",
    "chest_pain",
    "stroke",
    "severe_pain",
    "breathing",
    "seizure_unconscious",
    "suspected_error",
    "dose_change_request",
    "med_refusal",
    "side_effect_mild",
    "benign",
)
"""Which category is named where several are equally urgent (docs/triage.md): the more particular
one, as measured on data/triage. A rule about any cause comes last."""

_ORGANS = frozenset(
    {
        "breathing",
        "seizure_unconscious",
        "infection_sepsis",
        "wrong_medication_taken",
        "overdose",
        "fall_injury",
        "mental_confusion",
        "severe_pain",
    }
)
"""With a child as patient these are `child_danger`."""
_OF_PREGNANCY = frozenset({"bleeding", "seizure_unconscious", "severe_pain", "fall_injury"})
"""With a pregnant patient these are `pregnancy_danger`."""

MIN_HAN, MIN_WORDS = 4, 3
"""Characters, or words, from which the learned model is asked; below it the rules alone judge."""
FRAGMENT_HAN, FRAGMENT_WORDS, SURE_OF_A_FRAGMENT = 6, 4, 0.9
"""Of so few characters or words, without a sign that a rule knows, the learned model makes an
emergency only where it is as sure as that."""
_HAN = re.compile(r"[\u3400-\u9fff]")
_BREAK = re.compile(r"[。!?;\n]|\. |[,、] ?")


@lru_cache(maxsize=1)
def packaged_rules() -> RuleBook:
    """The rules of this package, read once."""
    return RuleBook()


class SafetyTriage:
    """Rules and the learned model together. Safe to call from any thread.

    Args:
        rules: The tables; None: those of this package.
        second_line: The learned model; "packaged": that of this package; None: rules alone.

    Raises:
        MedbotError: A table or the model's numbers can't be read.
    """

    def __init__(
        self,
        rules: RuleBook | None = None,
        second_line: SecondLine | Literal["packaged"] | None = "packaged",
    ) -> None:
        self._rules = rules or packaged_rules()
        self._second_line = SecondLine.load() if second_line == "packaged" else second_line
        self._fusion = None
        if self._second_line is not None:
            self._fusion = Fusion.from_numbers(self._second_line.about.get("fusion"))
        self._sounds = Sounds(self._rules.sound_phrases, self._rules.sound_ordinary)
        self.name = "rules" if self._second_line is None else "rules+second-line"
        # The first use of tables and converters takes a tenth of a second: not while one waits.
        for first in ("大家都準備好了嗎", "is everybody ready now"):
            self.assess(first, Circumstances())

    def assess(self, text: str, about: Circumstances) -> TriageResult:
        """Tell whether a human is needed for what was said, how soon, and why."""
        best = result = TriageResult()
        windows = list(_windows(self._readable(text)))
        for index, window in enumerate(windows):
            evidence = self._evidence(self._rules.read(window), about)
            is_near_an_end = index < JUDGED_FIRST or index >= len(windows) - JUDGED_LAST
            result = self._decided(window, evidence) if is_near_an_end else by_rules(evidence)
            if _comes_before(result.severity, result.category, best.severity, best.category):
                best = result
        # What is wanted comes last in a long speech.
        return replace(best, wants=result.wants, wants_share=result.wants_share)

    def _decided(self, window: str, evidence: Evidence) -> TriageResult:
        if self._second_line is None or self._fusion is None or not _says_enough(window):
            return by_rules(evidence)
        if self._rules.is_ordinary(window):
            return by_rules(evidence)
        try:
            opinion = self._second_line.judge(window)
        except Exception:  # whatever the model's library raises, what the rules found stands
            logger.exception("the triage's second line failed; the rules decide alone")
            return by_rules(evidence)
        result = replace(
            self._fusion.decide(evidence, opinion),
            wants=opinion.intent,
            wants_share=opinion.intent_share,
        )
        is_alone = result.severity is Severity.EMERGENCY and evidence.severity is None
        if is_alone and opinion.emergency < SURE_OF_A_FRAGMENT and _is_fragment(window):
            # "I'll come out": a nurse looks, and nobody runs.
            return replace(result, severity=Severity.NURSE)
        return result

    def evidence(self, text: str, about: Circumstances) -> Evidence:
        """What the rules alone find, over all windows."""
        best = Evidence()
        for window in _windows(self._readable(text)):
            found = self._evidence(self._rules.read(window), about)
            if _comes_before(found.severity, found.category, best.severity, best.category):
                found = replace(found, is_harmless=found.is_harmless or best.is_harmless)
                best = found
            elif found.is_harmless:
                best = replace(best, is_harmless=True, contexts=best.contexts | found.contexts)
        return best

    def signs(self, text: str) -> Iterator[Sign]:
        """Everything that the rules see, with what its context makes of it. To explain."""
        for window in _windows(self._readable(text)):
            yield from self._rules.read(window).signs

    def opinion(self, text: str) -> Judgement | None:
        """What the learned model says of the most alarming window; None without a model."""
        if self._second_line is None:
            return None
        judgements = map(self._second_line.judge, _windows(self._readable(text)))
        return max(judgements, key=lambda judgement: judgement.emergency)

    def read(self, text: str, about: Circumstances) -> tuple[str, Evidence]:
        """The first window of a text and what the rules make of it: for the trainer."""
        window = next(_windows(self._readable(text)))
        return window, self._evidence(self._rules.read(window), about)

    def _readable(self, text: str) -> str:
        """Bring text to the form in which it is judged."""
        if len(text) > MAX_CHARS:
            text = f"{text[: MAX_CHARS // 2]}\n{text[-MAX_CHARS // 2 :]}"
        text = prepared(canonical(text))
        for pattern, meant in self._rules.slips:
            text = pattern.sub(meant, text)
        return with_points(with_digits(with_pairs(self._sounds.meant(text))))

    def _evidence(self, reading: Reading, about: Circumstances) -> Evidence:
        best: Sign | None = None
        contexts: set[str] = set()
        agreeing: set[str] = set()
        for sign in reading.signs:
            contexts.update(context.value for context in sign.contexts)
            if sign.severity is None:
                continue
            if sign.severity is Severity.EMERGENCY:
                agreeing.add(sign.rule.id)
            if best is None or _comes_before(
                sign.severity, sign.rule.category, best.severity, best.rule.category
            ):
                best = sign
        is_english = not _HAN.search(reading.text)
        if best is None:
            return Evidence(
                is_harmless=bool(contexts), contexts=frozenset(contexts), is_english=is_english
            )
        return Evidence(
            severity=best.severity,
            category=_category(best.rule.category, best.severity, about.patient_group),
            rule=best.rule.id,
            reason=best.rule.reason,
            is_clear=not best.contexts and (best.rule.is_clear or len(agreeing) > 1),
            agreeing=len(agreeing),
            is_harmless=bool(contexts),
            contexts=frozenset(contexts),
            sources=best.rule.source,
            is_english=is_english,
            is_bounded=best.rule.is_bounded and not best.contexts,
        )


def _is_fragment(window: str) -> bool:
    """Whether it is so short that the learned model has little to go by."""
    han = len(_HAN.findall(window))
    return han <= FRAGMENT_HAN if han else len(window.split()) <= FRAGMENT_WORDS


def _says_enough(window: str) -> bool:
    """Whether there is enough for the learned model to go by: of a fragment it makes anything."""
    return len(_HAN.findall(window)) >= MIN_HAN or len(window.split()) >= MIN_WORDS


def _category(category: str, severity: Severity | None, group: PatientGroup) -> str:
    if severity is Severity.EMERGENCY:
        if group is PatientGroup.CHILD and category in _ORGANS:
            return "child_danger"
        if group is PatientGroup.PREGNANT and category in _OF_PREGNANCY:
            return "pregnancy_danger"
    return category


def _comes_before(
    severity: Severity | None, category: str, other: Severity | None, other_category: str
) -> bool:
    if RANK[severity] != RANK[other]:
        return RANK[severity] > RANK[other]
    return severity is not None and FIRST.index(category) < FIRST.index(other_category)


def _windows(text: str) -> Iterator[str]:
    """Cut long text into overlapping pieces, at the end of a clause where there is one."""
    if len(text) <= WINDOW_CHARS + OVERLAP_CHARS:
        yield text
        return
    start = 0
    while start < len(text):
        end = min(start + WINDOW_CHARS, len(text))
        yield text[start:end]
        if end == len(text):
            return
        start = _clause_start(text, end - OVERLAP_CHARS, end - OVERLAP_CHARS // 2)


def _clause_start(text: str, low: int, high: int) -> int:
    match = _BREAK.search(text, low, high)
    return match.end() if match else low
