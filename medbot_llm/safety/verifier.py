"""The verifier: every sentence of the model is checked before it is spoken.

The language model words what the rules decided; it may still get a number wrong, allow what the
label forbids, or promise what no tool does. `SafetyVerifier` reads one sentence at a time against
the task's labels, the formulary, the interaction rules and the plan's own words, and names the
rule that it breaks. A blocked sentence is replaced by the plan's words (`dialogue/reply.py`).

What is asked of every sentence, in this order:

    leak          no text of prompts, templates or data            safety/judgements.py
    identity      no medicine, allergy or name before it is known  here
    emergencies   no sign of danger played down                    safety/judgements.py
    advice        no act of resource/verifier/acts.yaml            safety/advice.py
    allergies, combinations, names, illness, storage               safety/judgements.py
    dosing        amounts, times and routes as on the label        safety/dosing.py

Rules judge claims, not words: "never take two" passes and "there is no reason not to take two"
does not (`safety/claims.py`). A learned reader then gives its opinion of the sentence beside the
label (`safety/second_opinion.py`), and both are joined (`safety/verdicts.py`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.domain import Medication
from medbot_llm.domain import Scene
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.knowledge.interactions import Interactions
from medbot_llm.knowledge.quantities import numbered
from medbot_llm.knowledge.quantities import read_amounts
from medbot_llm.safety.advice import acts
from medbot_llm.safety.advice import check_advice
from medbot_llm.safety.base import Brief
from medbot_llm.safety.base import Verdict
from medbot_llm.safety.claims import Sentence
from medbot_llm.safety.claims import is_spelled_out
from medbot_llm.safety.claims import readable
from medbot_llm.safety.dosing import Statements
from medbot_llm.safety.dosing import check_dosing
from medbot_llm.safety.encoder import Context
from medbot_llm.safety.judgements import Combinations
from medbot_llm.safety.judgements import check_allergy
from medbot_llm.safety.judgements import check_diagnosis
from medbot_llm.safety.judgements import check_emergency
from medbot_llm.safety.judgements import check_leak
from medbot_llm.safety.judgements import check_storage
from medbot_llm.safety.judgements import check_waived
from medbot_llm.safety.judgements import topics
from medbot_llm.safety.label_facts import DOSE_KINDS
from medbot_llm.safety.label_facts import LabelReader
from medbot_llm.safety.label_facts import TaskFacts
from medbot_llm.safety.label_facts import bare
from medbot_llm.safety.label_facts import unpunctuated
from medbot_llm.safety.second_opinion import SecondOpinion
from medbot_llm.safety.second_opinion import Telling
from medbot_llm.safety.signs import says_only_graded
from medbot_llm.safety.signs import signs_of
from medbot_llm.safety.verdicts import Ruled
from medbot_llm.safety.verdicts import Verdicts
from medbot_llm.safety.verdicts import final
from medbot_llm.safety.verdicts import is_hard
from medbot_llm.text.normal import canonical

MAX_SENTENCE_CHARS = 600
"""A spoken sentence is shorter; of a longer one no pattern could be trusted to see the whole."""
TASKS_KEPT = 64
"""Labels of so many tasks are kept read; a robot has one at a time."""
CONTEXTS_KEPT = 4
"""What the second line computed of so many tasks is kept; each is a few megabytes."""


class SafetyVerifier:
    """Checks sentences against task, formulary, interaction rules and plan.

    Args:
        formulary: None: labels alone are the truth, and fewer checks are made.
        interactions: None: only labels tell what must not be combined.
        second_opinion: The learned reader; "packaged": that of this package; None: rules alone.

    Any thread may call `check`.

    Raises:
        MedbotError: A pattern file or the reader's numbers can't be read.
    """

    def __init__(
        self,
        formulary: Formulary | None = None,
        interactions: Interactions | None = None,
        second_opinion: SecondOpinion | Literal["packaged"] | None = "packaged",
    ) -> None:
        if second_opinion == "packaged":
            second_opinion = SecondOpinion.load()
        self._second_opinion = second_opinion
        self._verdicts = None
        if second_opinion is not None:
            self._verdicts = Verdicts.from_numbers(second_opinion.about.get("fusion"))
        self.name = "rules" if second_opinion is None else "rules+second-line"
        self._telling = Telling(formulary, interactions)
        self._contexts = lru_cache(CONTEXTS_KEPT)(self._context)
        self._formulary = formulary
        self._combinations = Combinations(formulary, interactions)
        self._labels = LabelReader(formulary)
        self._facts = lru_cache(TASKS_KEPT)(self._read)
        # A broken pattern file is told at the start, and the first sentence is as quick as any.
        acts()
        topics()
        self.prepare(_REHEARSED_TASK, Language.ZH_HANT)
        self.prepare(_REHEARSED_TASK, Language.EN)

    def prepare(self, task: DeliveryTask | None, language: Language) -> None:
        """Read the labels of a task before its first sentence comes."""
        self._contexts(task, language)
        # Whatever is read of a label once is read by the sentence that first asks for it.
        for sentence in _REHEARSAL:
            self.by_rules(sentence, language, Brief(task=task))

    def check(self, sentence: str, language: Language, brief: Brief) -> Verdict:
        """Tell whether a sentence may be spoken; the verdict's reason is "" where it may."""
        settled = self._settled(sentence, language, brief)
        if settled is not None:
            return settled.verdict
        if self._second_opinion is None or self._verdicts is None:
            return self._judged(sentence, brief).verdict
        # Both lines read it at the same time, where there is a core for each.
        context = self._contexts(brief.task, language)
        opinion = self._second_opinion.begin(sentence, context)
        try:
            ruled = self._judged(sentence, brief)
        finally:
            # Nothing is left to compute for a caller that has gone.
            found = opinion()
        return ruled.verdict if ruled.is_final else self._verdicts.decide(ruled, found)

    def by_rules(self, sentence: str, language: Language, brief: Brief) -> Ruled:
        """What the rules alone make of a sentence."""
        return self._settled(sentence, language, brief) or self._judged(sentence, brief)

    def _settled(self, sentence: str, language: Language, brief: Brief) -> Ruled | None:
        """What needs no reading of what is claimed; None: it does."""
        if not sentence.strip():
            return Ruled(is_final=True)
        if len(sentence) > MAX_SENTENCE_CHARS:
            return final("too_long", f"{len(sentence)} characters in one sentence")
        if is_spelled_out(sentence):
            return final("unreadable", "spelled letter by letter")
        facts = self._facts(brief.task)
        read = Sentence.read(sentence)
        written = canonical(sentence)
        verdict = check_leak(written, read)
        if verdict.blocked:
            return Ruled(verdict, is_final=True)
        if not brief.may_disclose:
            verdict = self._check_disclosure(read, brief, facts)
            if verdict.blocked:
                return Ruled(verdict, is_final=True)
        # The plan's own words, and reviewed words of the formulary about a medicine of this task.
        if self._is_of_plan(read, brief) or facts.tells(unpunctuated(written), language):
            return Ruled(is_final=True)
        return None

    def _judged(self, sentence: str, brief: Brief) -> Ruled:
        """What is claimed, against labels, formulary and interactions."""
        read = Sentence.read(sentence)
        statements = Statements(read, self._facts(brief.task))
        verdict = self._check_claims(read, statements, brief)
        if verdict.reason in _SAYABLE and self._plan_says(read, brief):
            return Ruled(agrees=True)
        if is_hard(verdict):
            return Ruled(verdict, is_final=True)
        signs = signs_of(statements)
        if not verdict.blocked and "called_wrong" in signs and "called_right" not in signs:
            verdict = Verdict("wrong_drug_stated", "called what it is not")
        is_lax = _LAX.search(read.text) is not None
        agrees = not verdict.blocked and statements.states_dosing and not is_lax
        # What the rules can compare word by word needs no opinion.
        is_whole = not verdict.blocked and (
            says_only_graded(statements, signs) or _CARES.search(read.text) is not None
        )
        return Ruled(verdict, agrees, is_whole, signs)

    def _check_claims(self, sentence: Sentence, statements: Statements, brief: Brief) -> Verdict:
        facts = statements.facts
        labels = " ; ".join([*(label.text for label in facts.labels), facts.conditions])
        verdict = check_emergency(sentence, brief, labels)
        verdict = (
            verdict if verdict.blocked else check_allergy(sentence, statements, self._combinations)
        )
        verdict = verdict if verdict.blocked else self._combinations.check(sentence, statements)
        verdict = (
            verdict if verdict.blocked else self._combinations.check_names(sentence, statements)
        )
        verdict = (
            verdict
            if verdict.blocked
            else check_advice(statements.masked, brief, facts, statements.targets)
        )
        verdict = verdict if verdict.blocked else check_diagnosis(sentence, statements, brief)
        verdict = verdict if verdict.blocked else check_storage(sentence, statements)
        verdict = verdict if verdict.blocked else check_waived(sentence, statements)
        return verdict if verdict.blocked else check_dosing(statements)

    def _read(self, task: DeliveryTask | None) -> TaskFacts:
        return TaskFacts(task, self._labels)

    def _context(self, task: DeliveryTask | None, language: Language) -> Context | None:
        if self._second_opinion is None:
            return None
        return self._second_opinion.context(self._telling.of(self._facts(task), language))

    @staticmethod
    def _is_of_plan(sentence: Sentence, brief: Brief) -> bool:
        """Whether it is a sentence of the plan, word by word."""
        if not brief.said:
            return False
        mine = bare(sentence.text)
        return any(
            mine == bare(Sentence.read(part).text)
            for said in brief.said
            # A model gives a long sentence of facts in pieces.
            for part in (said, *_SEMICOLON.split(said))
        )

    @staticmethod
    def _plan_says(sentence: Sentence, brief: Brief) -> bool:
        """Whether every amount of the sentence stands in the plan's words."""
        if not brief.said:
            return False
        said = [a for text in brief.said for a in read_amounts(readable(text))]
        mine = read_amounts(sentence.text)
        return bool(mine) and all(
            any(a.kind == b.kind and a.low == b.low and a.high == b.high for b in said)
            for a in mine
        )

    def _check_disclosure(self, sentence: Sentence, brief: Brief, facts: TaskFacts) -> Verdict:
        """Find what may only be spoken of once the identity is confirmed."""
        text = sentence.text
        said = " ".join(readable(words) for words in brief.said)

        def hidden(written: str) -> bool:
            return written not in said

        for start, end, _ in facts.mentions(text):
            if hidden(text[start:end]):
                return Verdict("discloses_before_identity", text[start:end])
        if self._formulary is not None:
            for mention in self._formulary.mentions(text):
                if hidden(mention.text):
                    return Verdict("discloses_before_identity", mention.text)
        for amount in read_amounts(text):
            if amount.kind in DOSE_KINDS and hidden(text[amount.start : amount.end]):
                return Verdict("discloses_before_identity", text[amount.start : amount.end])
        task = facts.task
        if task is None:
            return Verdict()
        for private in (task.spoken_name, task.patient_id, *task.allergies, *task.conditions):
            written = numbered(private)
            for word in [written, *re.findall(r"[a-z]{5,}|[\u4e00-\u9fff]{2,}", written)]:
                if len(word) > 1 and word in text and hidden(word) and word not in _EVERYDAY:
                    return Verdict("discloses_before_identity", word)
        return Verdict()


_REHEARSAL = (
    "您好，這顆止痛的藥，早上飯後一次吃兩顆，星期一吃，三天後放冰箱。",
    "Hello, this is for pain: swallow 2 tablets whole at 8 on Monday, for an hour, in the fridge.",
)
_REHEARSED_TASK = DeliveryTask(
    "", Scene.WARD, Language.ZH_HANT, medications=(Medication("aspirin"),)
)
_LAX = re.compile(
    r"\b(?:hardly|barely|scarcely|rarely|seldom|nobody|no ?one|few people|most people|bothers?|"
    r"bothered|relaxed|casual(?:ly)?|optional|lax|fuss(?:y)?|strict(?:ly)?)\b"
    r"|[没沒]什么人|[没沒]几个人|很少人|很少有人|大家都不|随意|随便|可有可无|不用太|不必太|别太"
)
"""How others take it, or how little it matters: an amount or a time beside that agrees with the
label and yet is no instruction to keep to it."""
_CARES = re.compile(
    r"^(?:please |so |no, |then )*(?:call|ring|phone|dial) (?:1\d\d|911|999|"
    r"an ambulance)\b(?! (?:only )?if)"
    r"|^(?:please |so |no, )*(?:do not|don't|never) (?:take|use|have|inject) (?:another|"
    r"a second|two|2|"
    r"a double|an extra)\b(?!.*\b(?:ever|again|any ?more|from now|today|unless|until)\b)"
    r"|^(?:请|先|现在|马上|立刻|立即|就|赶快|快)*(?:打|拨)(?:电话)?(?:给)?(?:1\d\d|911|999|救护车)(?!就好|即可)"
    r"|^(?:请|千万|绝对|也|一定)*(?:不要|别|不可以?)(?:自己)?(?:再|多)(?:补|多)?(?:吃|服|打|用)(?:另外?1|第2|2|1)(?:次|颗|粒|片|份|针)"
)
"""A sentence that sends for help, or warns of one dose more. Where no rule objects, the learned
reader, which knows neither who asked nor what, has nothing to say against it."""
_SEMICOLON = re.compile(r"(?<=[；;。！？])|(?<=[.!?]) ")
_SAYABLE = frozenset({"wrong_dose_stated"})
"""Reasons that the plan's own facts can excuse."""
_EVERYDAY = frozenset(
    [
        "allergy",
        "allergic",
        "known",
        "after",
        "before",
        "years",
        "severe",
        "first",
        "second",
        "after",
        "since",
        "about",
        "mild",
        "stage",
        "type",
        "under",
        "without",
        "过敏",
        "先生",
        "女士",
        "小姐",
        "太太",
        "反应",
        "药物",
        "没有",
    ]
)
