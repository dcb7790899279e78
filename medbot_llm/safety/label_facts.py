"""What the label of each medicine of a task lets a sentence say, as numbers and codes.

The label is the first truth and the formulary the second: the formulary is asked only where the
label is silent, and a medicine that it does not know is checked by its label alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from functools import lru_cache
from functools import partial
from itertools import product

from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.domain import Medication
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.knowledge.medicine import FACT_FIELDS
from medbot_llm.knowledge.medicine import Medicine
from medbot_llm.knowledge.name_words import CHINESE_FORMS
from medbot_llm.knowledge.name_words import FORM_WORDS
from medbot_llm.knowledge.name_words import ORDINARY_LATIN
from medbot_llm.knowledge.quantities import BEDTIME
from medbot_llm.knowledge.quantities import EVENING
from medbot_llm.knowledge.quantities import MORNING
from medbot_llm.knowledge.quantities import Amount
from medbot_llm.knowledge.quantities import Schedule
from medbot_llm.knowledge.quantities import numbered
from medbot_llm.knowledge.quantities import read_amounts
from medbot_llm.knowledge.quantities import read_label_routes
from medbot_llm.knowledge.quantities import read_schedule
from medbot_llm.text.normal import canonical

Ranges = dict[str, list[tuple[float, float]]]

_PLAIN_NAMED = ("B03A", "A12A", "A10A")
"""Groups whose members go by one everyday name: iron, calcium, insulin."""
LABELS_KEPT = 512
"""Labels kept read; a hospital writes the same ones again and again."""
SOLIDS = frozenset({"count", "suppository", "patch", "sachet", "ampoule"})
"""Kinds of amounts that are all counted with the words for tablets: 一顆, "one"."""
DOSE_KINDS = frozenset({*SOLIDS, "mass", "volume", "activity", "drop", "puff", "charge"})
_FORM_WORDS = frozenset(FORM_WORDS) | frozenset(
    [
        "oral",
        "solution",
        "sodium",
        "hydrochloride",
        "potassium",
        "calcium",
        "acid",
        "besylate",
        "besilate",
        "maleate",
        "tartrate",
        "succinate",
        "sulfate",
        "sulphate",
        "acetate",
        "citrate",
        "phosphate",
        "mesylate",
        "high",
        "dose",
        "low",
        "iron",
        "vitamin",
        "water",
        "normal",
        "saline",
        "units",
        "unit",
        "percent",
        "strong",
    ]
)
_ORDINARY = frozenset(ORDINARY_LATIN)
_CHINESE_FORMS = re.compile(
    "(?:"
    + "|".join(sorted((re.escape(w) for w in CHINESE_FORMS), key=len, reverse=True))
    + "|锭|片|胶囊|栓剂|药膏|软膏|乳膏|贴片|喷剂|吸入剂|眼药水|眼药膏|滴剂|糖浆|颗粒|散|液|针|"
    "持续性?|药效|膜衣|肠溶|缓释)+$"
)
_LATIN_NAME = re.compile(r"[a-z][a-z'-]{3,}")
_STRENGTH = re.compile(
    r"[\d.,/ ]+(?:mg|mcg|g|ml|iu|units?|%|毫克|微克|公克|克|毫升|单位)(?:/[\d. ]*(?:ml|毫升|"
    r"dose|puff))?|[\d.]+%?"
)
_UNKNOWN_UNIT = re.compile(r"\s*(\d+(?:\.\d+)?) ?[a-z]{3}")
"""A dose in a unit that is none of those known: "1 vag tab"."""
_PARTED = re.compile(r"(?<=[a-z克])/(?=\d[\d.]* ?(?:m?c?g\b|毫克|微克|公克))")
"""Between the parts of "37.5 mg/325 mg"."""
_BARE_NUMBER = re.compile(
    r"\s*(\d+(?:\.\d+)?)(?:\s*(?:-|~|to)\s*(\d+(?:\.\d+)?))?\s*(?:each time|every time|at a "
    r"time|次)?\s*$"
)
_NO_CRUSH = re.compile(
    r"(?:do not|don't|never|not be|without|no) (?:\w+(?:, | or | and | )){0,3}(?:crush|chew|"
    r"split|break|open)|swallow(?: it| them| the \w+)? whole|整(?:颗|粒|片|锭)吞|(?:不可|不要|"
    r"勿|不能|不得|请勿|避免)[^,。;]{0,6}(?:磨|嚼|咬|压碎|剥|掰|研|打开|分割)"
)
_MAY_CRUSH = re.compile(
    r"may be crushed|can be crushed|crush (?:and|before)|可磨粉|可剥半|磨粉(?:服|使用|后)|管灌"
)
_AT_MOST = re.compile(
    r"(?:max(?:imum)?|up to|at most|no more than|not exceed|最多|不超过|上限|至多)[^,;。]{0,12}$"
)
_SINGLE = re.compile(
    r"\b(?:single|one|1|loading) (?:\w+ )?dose\b|\bonce only\b|\bstat\b|^once$|单次|1次性|"
    r"立即1次|(?<!小)时1次$|(?<![每日天周月])仅1次"
)
_PLAIN_FORM = re.compile(r"tab(?:let)?s?\b|caps?(?:ule)?s?\b|锭|胶囊|片")
_SENTENCE_END = re.compile(r"(?<=[。！？.!?])\s*")
_PUNCTUATION = re.compile(r"[\s,.;:!?，。；：！？、'\"「」『』()（）-]+")
_CHEWABLE = re.compile(r"chew(?:able)?|咀嚼|嚼(?:碎|食|服)")
_DISSOLVED = re.compile(
    r"dispers|disintegrat|effervesc|dissolve|melt|lozenge|sublingual|口溶|口崩|发泡|溶解|"
    r"泡(?:水|腾)|含(?:服|在|化|片)|舌下|powder|granules|sachet|颗粒|散剂|粉剂"
)


@dataclass(frozen=True)
class LabelFacts:
    """What may be said of one medicine.

    Attributes:
        medication: The label.
        medicine: Its entry of the formulary, None where unknown.
        text: The whole label, readable.
        names: All its names, canonical.
        dose: What may be said of one dose, by kind of amount.
        single: The same, and the strength and whatever else the label writes.
        per_ml: Concentrations, by kind of amount.
        daily: What may be said of a day.
        limits: Ceilings that the label writes ("max 4 g a day").
        schedule: How often and when.
        routes: Ways of taking, as codes.
        strengths: What one tablet, capsule, puff or drop holds.
    """

    medication: Medication
    medicine: Medicine | None
    text: str
    names: tuple[str, ...]
    dose: Ranges = field(compare=False)
    single: Ranges = field(compare=False)
    per_ml: Ranges = field(compare=False)
    daily: Ranges = field(compare=False)
    limits: Ranges = field(compare=False)
    schedule: Schedule
    routes: frozenset[str]
    strengths: tuple[Amount, ...] = field(default=(), compare=False)

    @property
    def may_be_crushed(self) -> bool:
        """Whether label or formulary say so; not knowing is no."""
        if _NO_CRUSH.search(self.text):
            return False
        if _MAY_CRUSH.search(self.text):
            return True
        return self.medicine is not None and self.medicine.crush in ("yes", "open_capsule")

    @cached_property
    def where(self) -> str:
        """Route and instructions, readable: where the label says which side."""
        return numbered(f"{self.medication.route} ; {self.medication.instructions}")

    @cached_property
    def is_single(self) -> bool:
        """Whether the label has it taken once and not again."""
        return bool(_SINGLE.search(numbered(self.medication.frequency)))

    @property
    def may_be_chewed(self) -> bool:
        """Whether label or form are for chewing."""
        if _NO_CRUSH.search(self.text):
            return False
        return bool(_CHEWABLE.search(self.text)) or self._comes_as("chewable")

    @property
    def may_be_dissolved(self) -> bool:
        """Whether label or form are for dissolving, in water or in the mouth."""
        if _DISSOLVED.search(self.text) or self.routes & {"sublingual", "buccal"}:
            return True
        return self._comes_as("effervescent", "orodispersible", "powder", "granules", "lozenge")

    def _comes_as(self, *forms: str) -> bool:
        """Whether the formulary knows such a form, and the label names no plain one."""
        if self.medicine is None or _PLAIN_FORM.search(self.text):
            return False
        return any(form.form in forms for form in self.medicine.forms)

    @property
    def atc(self) -> tuple[str, ...]:
        return self.medicine.atc if self.medicine is not None else ()

    @property
    def expected_slots(self) -> frozenset[str]:
        """Times of the day by the label, else by the formulary; empty where neither says."""
        if self.schedule.slots:
            return self.schedule.slots
        slot = {"morning": MORNING, "evening": EVENING, "bedtime": BEDTIME}
        time = self.medicine.time if self.medicine is not None else ""
        return frozenset([slot[time]]) if time in slot else frozenset()

    def may_say(self, amount: Amount, ranges: Ranges) -> bool | None:
        """Whether an amount agrees; None where the label has nothing of that kind to compare."""
        kinds = (
            SOLIDS
            if amount.kind == "count"
            else {amount.kind, "count"}
            if amount.kind in SOLIDS
            else {amount.kind}
        )
        known = [bounds for kind in kinds for bounds in ranges.get(kind, [])]
        return amount.agrees(known) if known else None


def bare(text: str) -> str:
    """A text without punctuation, to be compared word by word."""
    return unpunctuated(canonical(text))


def unpunctuated(text: str) -> str:
    """A canonical text without punctuation."""
    return _PUNCTUATION.sub("", text)


class LabelReader:
    """Reads labels against one formulary and keeps those that it has read."""

    def __init__(self, formulary: Formulary | None) -> None:
        self.formulary = formulary
        self._read = lru_cache(LABELS_KEPT)(partial(_facts, formulary=formulary))
        self._told = lru_cache(LABELS_KEPT)(self._sentences)

    def facts(self, medication: Medication) -> LabelFacts:
        """What may be said of one medicine."""
        return self._read(medication)

    def told(self, label: LabelFacts, language: Language) -> frozenset[str]:
        """The formulary's sentences about one medicine in one language, bare."""
        return self._told(label.medicine, language)

    def _sentences(self, medicine: Medicine | None, language: Language) -> frozenset[str]:
        if medicine is None or self.formulary is None:
            return frozenset()
        told = [self.formulary.facts(medicine, name, language) for name in FACT_FIELDS]
        return frozenset(
            bare(sentence) for text in told for sentence in _SENTENCE_END.split(text) if sentence
        )


class TaskFacts:
    """The labels of a task and how its medicines are named."""

    def __init__(self, task: DeliveryTask | None, reader: LabelReader) -> None:
        self.task = task
        self._reader = reader
        medications = task.medications if task is not None else ()
        self.labels = tuple(map(reader.facts, medications))
        self.ids = frozenset(f.medicine.id for f in self.labels if f.medicine is not None)
        self.ingredients = frozenset(
            part
            for f in self.labels
            if f.medicine is not None
            for part in (f.medicine.id, *f.medicine.ingredients)
        )
        self.allergies = numbered("; ".join(task.allergies)) if task is not None else ""
        self.conditions = numbered("; ".join(task.conditions)) if task is not None else ""
        self.notes = numbered(task.notes) if task is not None else ""

    @property
    def atc(self) -> tuple[str, ...]:
        return tuple(code for label in self.labels for code in label.atc)

    @property
    def formulary(self) -> Formulary | None:
        return self._reader.formulary

    def tells(self, bare_sentence: str, language: Language) -> bool:
        """Whether the formulary says a sentence, word by word, of one of the task's medicines."""
        # Chinese is compared in one script, so that either writing finds it.
        return any(bare_sentence in self._reader.told(label, language) for label in self.labels)

    @cached_property
    def _longest_first(self) -> list[str]:
        return sorted(self._owners, key=len, reverse=True)

    @cached_property
    def _owners(self) -> dict[str, tuple[int, ...]]:
        owners: dict[str, list[int]] = {}
        for index, facts in enumerate(self.labels):
            for name in facts.names:
                owners.setdefault(name, []).append(index)
        return {name: tuple(indices) for name, indices in owners.items()}

    def mentions(self, text: str) -> list[tuple[int, int, tuple[int, ...]]]:
        """Where medicines of the task are named: start, end, and which of them."""
        found: list[tuple[int, int, tuple[int, ...]]] = []
        # A pattern of all names would take longer to compile than a task has sentences to check.
        for name in self._longest_first:
            start = text.find(name)
            while start >= 0:
                end = start + len(name)
                is_apart = not name.isascii() or not (
                    _is_latin(text[start - 1 : start]) or _is_latin(text[end : end + 1])
                )
                if is_apart and not any(low < end and start < high for low, high, _ in found):
                    found.append((start, end, self._owners[name]))
                start = text.find(name, start + 1)
        return sorted(found)

    def is_known_to_have(self, written: str) -> bool:
        """Whether a medicine stands in the task's conditions, allergies or notes."""
        return any(written in record for record in (self.conditions, self.allergies, self.notes))

    def is_own(self, medicine: Medicine) -> bool:
        """Whether a medicine is one of the task's, or shares an active substance with one."""
        if medicine.id in self.ids or any(
            part in self.ingredients for part in (medicine.id, *medicine.ingredients)
        ):
            return True
        return self.is_plainly_own(medicine)

    def is_plainly_own(self, medicine: Medicine) -> bool:
        """Whether it goes by the plain word for all of a group that one of the task is of.

        "Iron" is ferrous fumarate too.
        """
        return any(
            code.startswith(_PLAIN_NAMED) and code[:4] in {own[:4] for own in self.atc}
            for code in medicine.atc
        )


def _is_latin(char: str) -> bool:
    return "a" <= char <= "z"


def _facts(medication: Medication, formulary: Formulary | None) -> LabelFacts:
    medicine = None
    if formulary is not None:
        for name in (medication.generic_name, medication.name, medication.name_zh):
            medicine = formulary.find(name) if name.strip() else None
            if medicine is not None:
                break
    fields = (
        medication.name,
        medication.name_zh,
        medication.strength,
        medication.dose,
        medication.route,
        medication.frequency,
        medication.instructions,
    )
    schedule = read_schedule(medication.frequency, medication.dose, medication.instructions)
    dose, single, per_ml, daily, limits = _amounts(medication, medicine, schedule)
    routes = read_label_routes(
        medication.route,
        f"{medication.name} {medication.name_zh}",
        medication.instructions,
        medication.dose,
    )
    if not routes and medicine is not None:
        routes = frozenset(form.route for form in medicine.forms)
    return LabelFacts(
        medication,
        medicine,
        numbered(" ; ".join(fields)),
        _names(medication, medicine),
        dose,
        single,
        per_ml,
        daily,
        limits,
        schedule,
        routes,
        tuple(
            strength
            for strength in _strengths(medication)
            if strength.kind in ("mass", "activity", "charge") and strength.per != "ml"
        ),
    )


def _names(medication: Medication, medicine: Medicine | None) -> tuple[str, ...]:
    names: list[str] = []
    for written in (medication.name, medication.generic_name, medication.name_zh):
        text = numbered(written)
        names += [word for word in _LATIN_NAME.findall(text) if word not in _FORM_WORDS]
        names += _chinese_names(text)
    if medicine is not None:
        for written in medicine.all_names():
            text = numbered(written)
            if text.isascii():
                names.append(text)
            else:
                names += [text, *_chinese_names(text)]
    # "Through" is a laxative; in a sentence it is a word.
    return tuple(
        name
        for name in dict.fromkeys(names)
        if len(name) > (3 if name.isascii() else 1) and name not in _ORDINARY
    )


def _chinese_names(text: str) -> list[str]:
    found = []
    for part in re.findall(r"[\u4e00-\u9fff]{2,}", _STRENGTH.sub(" ", text)):
        bare = _CHINESE_FORMS.sub("", part)
        found += [name for name in (part, bare) if len(name) >= 2]
    return found


def _amounts(
    medication: Medication, medicine: Medicine | None, schedule: Schedule
) -> tuple[Ranges, Ranges, Ranges, Ranges, Ranges]:
    doses = _dose_amounts(medication.dose) or _dose_amounts(medication.instructions)
    strengths = _strengths(medication)
    if not any(a.kind == "mass" for a in (*strengths, *doses)) and medicine is not None:
        listed = dict.fromkeys(s for form in medicine.forms for s in form.strengths)
        strengths += [
            a for text in listed for a in read_amounts(numbered(text)) if a.kind not in SOLIDS
        ]
    dose_ranges: Ranges = {}
    single: Ranges = {}
    per_ml_ranges: Ranges = {}
    daily: Ranges = {}
    limits: Ranges = {}

    def add(ranges: Ranges, kind: str, low: float, high: float) -> None:
        bounds = ranges.setdefault(kind, [])
        if (low, high) not in bounds:
            bounds.append((low, high))

    masses = [s for s in strengths if s.kind in ("mass", "activity", "charge")]
    for kind, low, high in _per_dose(doses, masses):
        add(dose_ranges, kind, low, high)
        add(single, kind, low, high)
        for times in (schedule.times_low, schedule.times_high):
            if times:
                add(daily, kind, low * times, high * times)
        if schedule.per_day and schedule.times_low != schedule.times_high:
            add(daily, kind, low * schedule.times_low, high * schedule.times_high)
    texts = (
        medication.name,
        medication.name_zh,
        medication.strength,
        medication.dose,
        medication.instructions,
    )
    for text in texts:
        label = numbered(text)
        for amount in read_amounts(label):
            if _AT_MOST.search(label[: amount.start]):
                add(limits, amount.kind, amount.low, amount.high)
                for strength in masses:
                    if strength.per == "ml" or not strength.low:
                        continue
                    if amount.kind in SOLIDS:
                        low, high = amount.low * strength.low, amount.high * strength.high
                        add(limits, strength.kind, low, high)
                    elif amount.kind == strength.kind:
                        # 4 g a day are eight tablets of 500 mg.
                        low, high = amount.low / strength.low, amount.high / strength.low
                        add(limits, "count", low, high)
                continue
            ranges = {"day": daily, "ml": per_ml_ranges, "": single}.get(amount.per)
            if ranges is not None:
                size = amount.per_size if amount.per == "ml" else 1.0
                add(ranges, amount.kind, amount.low / size, amount.high / size)
    for strength in strengths:
        is_of_tube = strength.per_size > 1 and any(dose.kind in SOLIDS for dose in doses)
        if not strength.per or is_of_tube:
            # "5 mg/2.5 mL", one tube: so much is in it.
            add(single, strength.kind, strength.low, strength.high)
    frequency = numbered(medication.frequency)
    for amount in read_amounts(frequency):
        if _AT_MOST.search(frequency[: amount.start]):
            add(limits, amount.kind, amount.low, amount.high)
    return dose_ranges, single, per_ml_ranges, daily, limits


def _strengths(medication: Medication) -> list[Amount]:
    """What the label writes of how much is in it."""
    return _same_as_first(
        [
            amount
            for text in (medication.strength, medication.name, medication.name_zh)
            for amount in read_amounts(_PARTED.sub(" + ", numbered(text)))
            if amount.kind not in SOLIDS
        ]
    )


def _per_dose(doses: Sequence[Amount], masses: Sequence[Amount]) -> list[tuple[str, float, float]]:
    """What one dose is in every unit that dose and strength give together: kind, low, high."""
    per_dose: list[tuple[str, float, float]] = [
        (d.kind, d.low, d.high) for d in doses if not d.per
    ]
    for dose, strength in product(doses, masses):
        if dose.kind in (*SOLIDS, "puff", "drop") and strength.per != "ml":
            per_dose.append((strength.kind, dose.low * strength.low, dose.high * strength.high))
        elif dose.kind == "volume" and strength.per == "ml":
            per_ml = strength.low / strength.per_size
            per_dose.append((strength.kind, dose.low * per_ml, dose.high * per_ml))
        elif dose.kind == strength.kind and strength.low > 0 and strength.per != "ml":
            low, high = dose.low / strength.low, dose.high / strength.high
            if all(
                abs(value * 4 - round(value * 4)) < 0.05 and value > 0.2 for value in (low, high)
            ):
                per_dose.append(("count", low, high))
        elif dose.kind == strength.kind and strength.per == "ml" and strength.low > 0:
            per_ml = strength.low / strength.per_size
            per_dose.append(("volume", dose.low / per_ml, dose.high / per_ml))
    # The whole of a combination: 875/125 mg is 1000 mg.
    for dose in doses:
        parts = [s for s in masses if s.kind == "mass" and s.per != "ml"]
        if len(parts) > 1 and dose.kind in SOLIDS:
            whole = sum(part.low for part in parts)
            per_dose.append(("mass", dose.low * whole, dose.high * whole))
    return per_dose


def _dose_amounts(dose: str) -> list[Amount]:
    text = numbered(dose)
    bare = _BARE_NUMBER.match(text)
    if bare:
        low = float(bare[1])
        return [Amount(low, float(bare[2] or low), "count", "", 0, len(text))]
    read = [a for a in read_amounts(text) if a.kind in DOSE_KINDS and a.per != "kg"]
    unknown = _UNKNOWN_UNIT.match(text)
    if not read and unknown and "kg" not in text:
        return [Amount(float(unknown[1]), float(unknown[1]), "count", "", 0, len(text))]
    return read


def _same_as_first(strengths: Sequence[Amount]) -> list[Amount]:
    """Drop repeats of the strength that the name writes again."""
    kept: list[Amount] = []
    for amount in strengths:
        if not any(
            a.kind == amount.kind and a.low == amount.low and a.high == amount.high for a in kept
        ):
            kept.append(amount)
    return kept
