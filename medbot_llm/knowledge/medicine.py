"""What the robot knows about one medicine, as plain data.

A fact is a code (`missed="with_meal_or_skip"`) or a number wherever it can be: what a code says
aloud is in `resource/formulary/statements.yaml`, and the verifier reasons with the code itself.
All codes are listed here once, so that the compiler, the statements and the tests speak of the
same ones. docs/formulary.md explains each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field

from medbot_llm.domain import Language

Words = Mapping[Language, str]
"""One text in the languages of the product."""


def _codes(text: str) -> tuple[str, ...]:
    return tuple(text.split())


CODES: Mapping[str, tuple[str, ...]] = {
    "form": _codes(
        "tablet capsule er_tablet er_capsule chewable orodispersible effervescent powder granules"
        " oral_solution suspension syrup drops_oral sublingual spray_oral lozenge injection"
        " insulin_pen infusion suppository enema pessary inhaler nebuliser nasal_spray eye_drops"
        " eye_ointment ear_drops cream ointment gel lotion patch mouthwash shampoo"
    ),
    "route": _codes(
        "oral sublingual buccal inhaled nasal ophthalmic otic topical transdermal rectal vaginal"
        " subcutaneous intramuscular intravenous"
    ),
    "frequency": _codes("QD BID TID QID Q4H Q6H Q8H Q12H HS QOD QW Q2W Q4W QM PRN STAT"),
    "food": _codes(
        "any with_food before_meal empty_stomach with_first_bite after_meal avoid_dairy"
        " full_glass_upright"
    ),
    "time": _codes("any morning evening bedtime with_meals same_time evenly weekly_day as_needed"),
    "missed": _codes(
        "standard with_meal_or_skip within_12h within_6h weekly_next_day next_morning as_needed"
        " call_insulin call_anticoagulant call_specialist contraceptive staff_gives"
    ),
    "double": _codes(
        "tell bp_low pulse_low sugar_low bleeding drowsy_breath liver kidney heart_rhythm seizure"
        " urgent"
    ),
    "storage": _codes(
        "room fridge fridge_unopened light dry original_container not_freeze not_bathroom sharps"
        " away_from_children discard_after_opening"
    ),
    "driving": _codes("none caution avoid"),
    "alcohol": _codes("none limit avoid dangerous"),
    "pregnancy": _codes("compatible specialist avoid contraindicated"),
    "breastfeeding": _codes("compatible specialist avoid"),
    "children": _codes("yes specialist avoid contraindicated"),
    "elderly": _codes("none start_low falls confusion bleeding avoid"),
    "renal": _codes("none adjust avoid_severe contraindicated"),
    "stop": _codes("any_time not_suddenly finish_course only_doctor"),
    "crush": _codes("yes no open_capsule not_applicable"),
    "act": _codes("live tell call emergency"),
}
"""The codes of every field, as docs/formulary.md explains them."""

FACT_FIELDS = _codes(
    "use food time missed double common serious storage driving alcohol pregnancy breastfeeding"
    " children elderly renal stop crush advice"
)
"""What `Formulary.facts` can word."""


@dataclass(frozen=True)
class Brand:
    """A trade name; a language is left out where the brand has no name in it."""

    names: Words


@dataclass(frozen=True)
class Form:
    """A form in which the medicine is sold, e.g. ("tablet", "oral", ("5 mg", "10 mg"))."""

    form: str
    route: str
    strengths: tuple[str, ...] = ()


@dataclass(frozen=True)
class DoseRange:
    """The usual adult doses by one route, for a check and never for advice.

    Attributes:
        route: A code of `CODES["route"]`.
        single_low: Lowest usual single dose, in `unit`.
        single_high: Highest usual single dose.
        unit: "mg", "g", "mcg", "mL", "IU", "unit", "puff", "drop", …
        max_daily: Most in 24 hours, in `unit`; 0 where the label gives none.
        frequencies: Codes of `CODES["frequency"]`.
        use: What this range is for, "" where the medicine has one range only.
    """

    route: str
    single_low: float
    single_high: float
    unit: str
    max_daily: float
    frequencies: tuple[str, ...]
    use: str = ""


@dataclass(frozen=True)
class Effect:
    """A side effect: its name, and what the patient does about it (`CODES["act"]`)."""

    id: str
    names: Words
    act: str


@dataclass(frozen=True)
class Medicine:
    """One medicine of the formulary.

    Where `is_full` is False (an entry of `names.yaml`) only its names and classes are known: the
    codes are "", the tuples empty, and nothing may be concluded from that.

    Attributes:
        id: INN in lower case, words joined by "-".
        atc: WHO ATC codes.
        ingredients: Ids of the active substances; for a single substance its own id.
        classes: Ids of classes.yaml that the medicine belongs to.
        names: Generic names, the first of each language is the one that is spoken.
        brands: Trade names, those common in Taiwan first.
        forms: Forms and strengths.
        doses: Usual adult ranges.
        use: What it is for.
        food: and the further codes: see `CODES` and docs/formulary.md.
        common: Ids of frequent side effects.
        serious: Ids of grave ones.
        children_from: Years from which the label allows it, None where it gives no age.
        storage_days: Days that it keeps outside the fridge or once opened, None where not given.
        high_alert: Of ISMP's list of high-alert medicines.
        lookalikes: Ids or names that are mixed up with it.
        allergy_groups: Ids of allergies.yaml.
        advice: Up to three sentences that are particular to it.
        sources: Keys of sources.yaml.
    """

    id: str
    atc: tuple[str, ...] = ()
    ingredients: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    names: Mapping[Language, tuple[str, ...]] = field(default_factory=dict)
    brands: tuple[Brand, ...] = ()
    forms: tuple[Form, ...] = ()
    doses: tuple[DoseRange, ...] = ()
    use: Words = field(default_factory=dict)
    food: str = ""
    time: str = ""
    missed: str = ""
    double: str = ""
    common: tuple[str, ...] = ()
    serious: tuple[str, ...] = ()
    storage: tuple[str, ...] = ()
    storage_days: int | None = None
    driving: str = ""
    alcohol: str = ""
    pregnancy: str = ""
    breastfeeding: str = ""
    children: str = ""
    children_from: float | None = None
    elderly: str = ""
    renal: str = ""
    stop: str = ""
    crush: str = ""
    high_alert: bool = False
    lookalikes: tuple[str, ...] = ()
    allergy_groups: tuple[str, ...] = ()
    advice: tuple[Words, ...] = ()
    sources: tuple[str, ...] = ()
    is_full: bool = True

    def name(self, language: Language) -> str:
        """Return the generic name to say; English where the language has none, else the id."""
        for wanted in (language, Language.EN):
            names = self.names.get(wanted)
            if names:
                return names[0]
        return self.id

    def all_names(self) -> tuple[str, ...]:
        """Return every generic and trade name in every language, without repeats."""
        names = [name for group in self.names.values() for name in group]
        names += [name for brand in self.brands for name in brand.names.values()]
        return tuple(dict.fromkeys(names))

    def __hash__(self) -> int:
        return hash(self.id)


@dataclass(frozen=True)
class Mention:
    """A medicine named in a text; start and end are offsets into `canonical(text)`."""

    start: int
    end: int
    text: str
    medicine: Medicine


@dataclass(frozen=True)
class LookUp:
    """What a name that was heard may mean.

    Attributes:
        match: The medicine, only where it is certain.
        candidates: Otherwise those to ask about, the likeliest first; () where nothing is near.
    """

    match: Medicine | None = None
    candidates: tuple[Medicine, ...] = ()
