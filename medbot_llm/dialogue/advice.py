"""What formulary and interaction rules say about a delivery, in the terms of the dialogue.

The policy asks; the answers are facts and findings, never words made up. Which medicines are
meant by an utterance, what of the label and the formulary answers a question, and what does not
go together with what is delivered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

from medbot_llm.dialogue.intents import Intent
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.domain import Medication
from medbot_llm.domain import StringEnum
from medbot_llm.knowledge.charts import Reading
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.knowledge.interactions import Finding
from medbot_llm.knowledge.interactions import Interactions
from medbot_llm.knowledge.label_terms import LabelTerms
from medbot_llm.knowledge.medicine import Medicine
from medbot_llm.knowledge.medicine import Mention
from medbot_llm.text.english import rarity
from medbot_llm.text.language import to_script
from medbot_llm.text.normal import canonical

FIELDS: Mapping[Intent, tuple[str, ...]] = {
    Intent.SIDE_EFFECTS: ("common", "serious"),
    Intent.ALCOHOL: ("alcohol",),
    Intent.DRIVING: ("driving",),
    Intent.BREASTFEEDING: ("breastfeeding",),
    Intent.PREGNANCY: ("pregnancy",),
    Intent.CRUSH: ("crush",),
    Intent.STORAGE: ("storage",),
    Intent.STORED_WRONG: ("storage",),
    Intent.WITH_FOOD: ("food",),
    Intent.WHAT_FOR: ("use",),
    Intent.STOP_MEDICINE: ("stop",),
}
"""Facts of the formulary that answer a question."""
LABEL_ANSWERS = frozenset(
    {Intent.WHEN, Intent.HOW_MUCH, Intent.HOW_TO_TAKE, Intent.WHAT_IS_IT, Intent.WITH_FOOD}
)
"""Questions that the label answers."""
NO_FOODS = frozenset({"meal"})
"""Ids of foods.yaml that tell when, not what: "after breakfast"."""
HALF_INTERVAL_RULES = frozenset({"within_12h", "within_6h", "with_meal_or_skip"})
"""Codes of `Medicine.missed` that the half interval agrees with, for once and twice a day."""
MAX_MEDICINES = 3
"""Facts of more medicines than this at once would be a lecture."""


MAX_PHRASES = 3
"""Phrases of one utterance that are looked up by sound and spelling."""
_TAKEN_CHINESE = re.compile(
    r"(?:吃|服用|服|用|打|配)(?:了|过|着|的是)?(?!饭|东西|早|午|晚|什么|多少)"
    r"([\u4e00-\u9fff]{2,5}?)(?:药|片|锭)?(?=[,，。!！?？]|吗|呢|吧|一起|可以|会|和|跟|$)"
)
_TAKEN_ENGLISH = re.compile(
    r"\b(?:take|takes|taking|took|taken|on|use|uses|using|with|had|have)\b((?: [a-z'-]+){1,4})"
)
_LONG_WORD = re.compile(r"[a-z]{5,}")


class HoldFrom(StringEnum):
    """From which severity on a delivery is not handed over."""

    MAJOR = "major"
    CONTRAINDICATED = "contraindicated"


@dataclass(frozen=True)
class Conflict:
    """Something that does not go together with what is delivered.

    Attributes:
        kind: As the rule's: drug_allergy, drug_drug, drug_food, drug_condition, duplicate.
        medicine: Name of the delivered medicine, as it is spoken.
        what: What it does not go together with.
        why: One sentence.
        severity: contraindicated, major or moderate.
        rule: For the log and the alert.
    """

    kind: str
    medicine: str
    what: str
    why: str
    severity: str
    rule: str

    def holds(self, hold_from: HoldFrom) -> bool:
        """Whether the delivery must not be handed over for it."""
        if self.kind == "drug_allergy":
            return True
        grave = (
            ("contraindicated",) if hold_from is HoldFrom.CONTRAINDICATED else HoldFrom.values()
        )
        return self.severity in grave


@dataclass(frozen=True)
class Heard:
    """Medicines and foods that an utterance names.

    Attributes:
        delivered: Those of the task.
        drugs: Names of other medicines, as said.
        foods: Names of foods.
        candidates: Names to ask back for, where something sounded like several medicines.
    """

    delivered: tuple[Medication, ...] = ()
    drugs: tuple[str, ...] = ()
    foods: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()

    @property
    def others(self) -> tuple[str, ...]:
        """What is named and is not of the delivery."""
        return tuple(dict.fromkeys([*self.drugs, *self.foods]))

    @property
    def names_any(self) -> bool:
        """Whether anything was named."""
        return bool(self.delivered or self.others or self.candidates)


class Advisor:
    """Answers the policy's questions of fact. Thread-safe for reading."""

    def __init__(
        self, formulary: Formulary, interactions: Interactions, terms: LabelTerms
    ) -> None:
        self._formulary = formulary
        self._interactions = interactions
        self._terms = terms
        self._charts = interactions.charts
        self._named = {
            table: {str(row["id"]): row for row in formulary.tables[table]}
            for table in ("allergy_groups", "conditions", "foods")
        }

    @property
    def formulary_version(self) -> str:
        """Which data are in use, for diagnostics."""
        about = self._formulary.about
        return "" if about is None else f"{about.source} {about.content[:12]}"

    def medicine(self, medication: Medication) -> Medicine | None:
        """The formulary's entry for a medicine of a label."""
        for name in (medication.generic_name, medication.name, medication.name_zh):
            found = self._formulary.find(name) if name.strip() else None
            if found is not None:
                return found
        return None

    def heard(self, text: str, task: DeliveryTask | None, language: Language) -> Heard:
        """Tell which medicines and foods an utterance names; foods by their name in `language`."""
        delivered: dict[str, Medication] = {}
        for medication in task.medications if task is not None else ():
            entry = self.medicine(medication)
            if entry is not None:
                delivered[entry.id] = medication
        named: list[Medication] = []
        drugs: list[str] = []
        for mention in self._formulary.mentions(text):
            own = delivered.get(mention.medicine.id)
            if own is None:
                drugs.append(_as_written(mention, language))
            elif own not in named:
                named.append(own)
        candidates: list[str] = []
        if not named and not drugs:
            for phrase in _phrases_taken(text):
                found = self._formulary.look_up(phrase)
                if found.match is not None and found.match.id in delivered:
                    named.append(delivered[found.match.id])
                elif found.match is not None:
                    drugs.append(_name(found.match, language))
                else:
                    # What sounds like several medicines is asked back, never guessed.
                    candidates += [_name(medicine, language) for medicine in found.candidates]
        read = [
            food
            for food in self._charts.read_foods([text])
            if food.id not in NO_FOODS and not food.is_medicine
        ]
        foods = self._names("foods", read, language)
        if foods:
            candidates = []
        return Heard(
            tuple(named),
            tuple(dict.fromkeys(drugs)),
            tuple(dict.fromkeys(foods)),
            tuple(candidates),
        )

    def conflicts_known(self, task: DeliveryTask, language: Language) -> list[Conflict]:
        """What in the task itself does not go together."""
        return self._conflicts(
            task, language, allergies=task.allergies, conditions=task.conditions
        )

    def conflicts_said(
        self,
        task: DeliveryTask,
        language: Language,
        *,
        allergies: Sequence[str] = (),
        conditions: Sequence[str] = (),
        drugs: Sequence[str] = (),
        foods: Sequence[str] = (),
    ) -> list[Conflict]:
        """What of the delivery does not go together with something said."""
        return self._conflicts(
            task,
            language,
            allergies=allergies,
            conditions=conditions,
            others=drugs,
            foods=foods,
            new_only=True,
        )

    def names_allergy(self, text: str, language: Language) -> str:
        """What the words say someone is allergic to, "" where nothing known is named."""
        readings = self._charts.read_allergies([text], only_if_named=True)
        return _joined(self._names("allergy_groups", readings, language), language)

    def names_condition(self, text: str, language: Language) -> str:
        """The conditions that the words tell of, "" for none that is known."""
        # The first is what was said; the others are what it implies.
        readings = self._charts.read_conditions([text])[:1]
        return _joined(self._names("conditions", readings, language), language)

    def facts(
        self, intent: Intent, medications: Sequence[Medication], language: Language
    ) -> list[str]:
        """Sentences of the formulary that answer a question, named where there are several."""
        found: list[str] = []
        for medication in medications[:MAX_MEDICINES]:
            entry = self.medicine(medication)
            if entry is None or not entry.is_full:
                continue
            sentences = [
                self._formulary.facts(entry, name, language) for name in FIELDS.get(intent, ())
            ]
            text = _sentence_joint(language).join(sentence for sentence in sentences if sentence)
            if not text:
                continue
            if len(medications) > 1:
                name = self._terms.spoken_name(medication, language)
                text = f"{name}：{text}" if language.is_chinese else f"{name}: {text}"
            found.append(text)
        return found

    def missed_dose_rule(self, medication: Medication, language: Language) -> tuple[str, bool]:
        """The formulary's own sentence for a missed dose, "" where the general one is right; and
        whether the arithmetic of the half interval holds for this medicine."""
        entry = self.medicine(medication)
        code = entry.missed if entry is not None else ""
        if entry is None or code in ("", "standard"):
            return "", True
        rule = self._formulary.facts(entry, "missed", language)
        return rule, code in HALF_INTERVAL_RULES

    def _names(self, table: str, readings: Sequence[Reading], language: Language) -> list[str]:
        names: list[str] = []
        for reading in readings:
            if reading.is_medicine:
                medicine = self._formulary.medicine(reading.id)
                names += medicine.names.get(language, medicine.names[Language.EN])[:1]
            else:
                row = self._named[table].get(reading.id, {})
                names.append(str(row.get(language.value, reading.id)))
        return names

    def _conflicts(
        self,
        task: DeliveryTask,
        language: Language,
        *,
        allergies: Sequence[str] = (),
        conditions: Sequence[str] = (),
        others: Sequence[str] = (),
        foods: Sequence[str] = (),
        new_only: bool = False,
    ) -> list[Conflict]:
        labels = {_label_name(m): m for m in task.medications}
        report = self._interactions.check(
            [*labels, *others], allergies=allergies, conditions=conditions, foods=foods
        )
        found = []
        for finding in report.findings:
            delivered = [name for name in finding.between if name in labels]
            if not delivered or (new_only and len(delivered) == len(set(finding.between))):
                continue
            found.append(self._conflict(finding, labels, delivered[0], language))
        return found

    def _conflict(
        self,
        finding: Finding,
        labels: Mapping[str, Medication],
        delivered: str,
        language: Language,
    ) -> Conflict:
        first, second = finding.between
        other = second if first == delivered else first
        if other in labels:
            other = self._terms.spoken_name(labels[other], language)
        return Conflict(
            kind=finding.kind,
            medicine=self._terms.spoken_name(labels[delivered], language),
            what=other,
            why=finding.why[language],
            severity=finding.severity,
            rule=finding.rule,
        )


def _phrases_taken(text: str) -> list[str]:
    """What an utterance may name as taken, where no known name stands in it."""
    said = canonical(text)
    phrases = [match[1] for match in _TAKEN_CHINESE.finditer(said)]
    for match in _TAKEN_ENGLISH.finditer(said):
        # No word of the language is taken for the name of a medicine that sounds like it.
        phrases += [word for word in _LONG_WORD.findall(match[1]) if word not in rarity()]
    return phrases[:MAX_PHRASES]


def _name(medicine: Medicine, language: Language) -> str:
    names = medicine.names.get(language) or medicine.names.get(Language.EN) or (medicine.id,)
    return names[0]


def _as_written(mention: Mention, language: Language) -> str:
    """The name that was said, as it is written: mentions are found in canonical text."""
    medicine = mention.medicine
    written = [name for names in (*medicine.names.values(),) for name in names] + [
        name for brand in medicine.brands for name in brand.names.values()
    ]
    for name in written:
        is_own_script = name.isascii() or to_script(name, language) == name
        if is_own_script and canonical(name) == mention.text:
            return name
    return to_script(mention.text, language)


def _label_name(medication: Medication) -> str:
    return medication.generic_name or medication.name or medication.name_zh


def _joined(names: Sequence[str], language: Language) -> str:
    return ("、" if language.is_chinese else ", ").join(dict.fromkeys(names))


def _sentence_joint(language: Language) -> str:
    return "" if language.is_chinese else " "
