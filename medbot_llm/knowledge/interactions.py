"""Find what must not be taken together, by whom, and with what.

A rule knows medicines by id or by class; a person says "脈優" or "some NSAID". So each text of the
query becomes an item first (which medicines, classes, foods; which allergies, conditions), and
rules are then asked of pairs of items. What is told is the gravest finding of a pair. A rule that
names the medicine beats one of its class, also where it is milder: that is how an exception is
written. It is one only if all that it is about is within the other rule: "codeine with any strong
CYP2D6 inhibitor" is no exception to "opioids with naltrexone".

```python
interactions = Interactions(Formulary.open())
report = interactions.check(["可邁丁", "ibuprofen"], conditions=["28 weeks pregnant"])
report.findings[0].severity        # "contraindicated"
```

Duplicates come from the data (the same substance twice, two of a class of `duplicate: true`),
allergies from the groups of `allergies.yaml` and their cross-reactions.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Any
from typing import Protocol

from medbot_llm.domain import Language
from medbot_llm.knowledge.charts import Charts
from medbot_llm.knowledge.charts import Reading
from medbot_llm.knowledge.charts import Span
from medbot_llm.knowledge.charts import Terms
from medbot_llm.knowledge.charts import Words
from medbot_llm.knowledge.charts import nearest
from medbot_llm.knowledge.charts import read_words
from medbot_llm.knowledge.medicine import LookUp
from medbot_llm.knowledge.medicine import Medicine
from medbot_llm.knowledge.medicine import Mention
from medbot_llm.text.language import to_script
from medbot_llm.text.normal import canonical

SEVERITIES = ("contraindicated", "major", "moderate")
"""The gravest first."""
KINDS = ("drug_drug", "drug_food", "drug_condition", "drug_allergy", "duplicate")

MAX_ITEMS = 100
"""Texts of one kind that are looked at, for pairs grow with the square; what is beyond is told as
unknown."""

_RANK = {severity: rank for rank, severity in enumerate(SEVERITIES)}
_ALLERGY_SOURCE = ("aaaai", "label_us")
_DUPLICATE_SOURCE = ("label_us", "stockley")
_NONE = "none"
_ALLERGIES_AT = 2
_CONDITIONS_AT = 3
"""Numbers of the lists in the places of items: medicines are 0, foods 1."""
_TOPICAL_ROUTES = frozenset({"topical", "ophthalmic", "otic"})


class Source(Protocol):
    """What of the formulary is needed here."""

    @property
    def tables(self) -> Mapping[str, Sequence[Mapping[str, Any]]]: ...

    @property
    def medicines(self) -> Sequence[Medicine]: ...

    def medicine(self, medicine_id: str) -> Medicine: ...

    def find(self, name: str) -> Medicine | None: ...

    def look_up(self, heard: str, limit: int = 3) -> LookUp: ...

    def mentions(self, text: str) -> Sequence[Mention]: ...


@dataclass(frozen=True)
class Finding:
    """Something that a nurse or doctor must know before the medicine is taken.

    Attributes:
        kind: One of `KINDS`.
        severity: One of `SEVERITIES`.
        between: The two texts of the query, as they came.
        why: One spoken sentence, in each language.
        source: Keys of sources.yaml, joined by ", ".
        rule: Id of the rule, or what of the data it follows from.
    """

    kind: str
    severity: str
    between: tuple[str, str]
    why: Mapping[Language, str]
    source: str
    rule: str


@dataclass(frozen=True)
class Report:
    """What was found, the gravest first, then in the order of the query.

    Attributes:
        findings: One a pair.
        unknown: Names of medicines that are not known: nothing is known of their interactions.
    """

    findings: tuple[Finding, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Item:
    """One text of the query, understood.

    Attributes:
        text: As it came.
        place: List and position, for the order of findings.
        ids: The medicines and their ingredients.
        classes: Classes of those, or the class that the text names.
        foods: Foods that the text names.
        groups: Allergy groups that the medicines are in.
        medicines: The medicines themselves.
        is_topical: It goes on the skin and hardly into the blood.
        parts: Of a combination, an item for each ingredient. A mild rule that names one must not
            hide a grave one about another.
    """

    text: str
    place: tuple[int, int]
    ids: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()
    foods: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    medicines: tuple[Medicine, ...] = ()
    is_topical: bool = False
    parts: tuple[_Item, ...] = ()

    @property
    def each(self) -> tuple[_Item, ...]:
        """The parts, or the item itself."""
        return self.parts or (self,)

    def names(self) -> Iterator[tuple[str, str]]:
        """Yield all by which a rule can name it."""
        yield from (("drug", key) for key in self.ids)
        yield from (("class", key) for key in self.classes)
        yield from (("food", key) for key in self.foods)

    @property
    def ingredients(self) -> frozenset[str]:
        return frozenset(part for medicine in self.medicines for part in medicine.ingredients)


@dataclass(frozen=True)
class _Side:
    """One side of a rule; `members` are all medicines and foods that it is about."""

    drugs: frozenset[str]
    classes: frozenset[str]
    foods: frozenset[str]
    others: frozenset[str]
    excepted: frozenset[str]
    members: frozenset[str]

    def names(self) -> Iterator[tuple[str, str]]:
        """Yield all by which an item can fit."""
        yield from (("drug", key) for key in self.drugs)
        yield from (("class", key) for key in self.classes)
        yield from (("food", key) for key in self.foods)

    def about(self, item: _Item) -> frozenset[str]:
        """Return what the side is about, as far as the item fits it."""
        return self.drugs | self.foods if self.fits(item) else self.members

    def fits(self, item: _Item) -> int | None:
        """Return 1 where the rule names the item itself, 0 by its class, None where not at all."""
        if item.ids & self.excepted:
            return None
        if item.ids & self.drugs or item.foods & self.foods:
            return 1
        return 0 if item.classes & self.classes else None


@dataclass(frozen=True)
class _Rule:
    id: str
    kind: str
    severity: str
    a: _Side
    b: _Side
    why: Mapping[Language, str]
    source: str
    is_topical: bool


@dataclass(frozen=True)
class _Match:
    """A rule that fits a pair: how closely, and what its sides are about."""

    rule: _Rule
    fits: int
    first: frozenset[str]
    second: frozenset[str]

    def is_exception_to(self, other: _Match) -> bool:
        return self.fits > other.fits and self.first <= other.first and self.second <= other.second


@dataclass
class _Best:
    """The gravest finding so far of each pair; of two as grave the first is kept."""

    found: dict[tuple[tuple[int, int], tuple[int, int]], tuple[int, int, Finding]] = field(
        default_factory=dict
    )

    def add(self, first: _Item, second: _Item, finding: Finding, preference: int = 0) -> None:
        key = (first.place, second.place)
        rank = _RANK[finding.severity]
        known = self.found.get(key)
        if known is None or (rank, preference) < known[:2]:
            self.found[key] = (rank, preference, finding)

    def findings(self) -> tuple[Finding, ...]:
        ordered = sorted(self.found.items(), key=lambda entry: (entry[1][0], entry[0]))
        return tuple(finding for _, (_, _, finding) in ordered)


class Interactions:
    """Checks medicines against each other and against what is known of the patient.

    Reading it from several threads is safe.

    Args:
        formulary: Medicines, names, and the tables of rules.

    Raises:
        FormularyError: `charts.yaml` is missing or unfinished.
    """

    def __init__(self, formulary: Source) -> None:
        self._formulary = formulary
        self.charts = Charts(formulary)
        tables = formulary.tables
        words = read_words()
        self._classes = {str(row["id"]): row for row in tables.get("classes", ())}
        self._groups = {str(row["id"]): row for row in tables.get("allergy_groups", ())}
        self._foods = {str(row["id"]) for row in tables.get("foods", ())}
        self._members: dict[str, set[str]] = {}
        for medicine in formulary.medicines:
            for key in medicine.classes:
                self._members.setdefault(key, set()).add(medicine.id)
        # Whoever is of the one is of the others too: each SSRI raises serotonin.
        self._wider = {
            key: frozenset(other for other, of in self._members.items() if members <= of)
            for key, members in self._members.items()
        }
        self._rules: dict[str, list[_Rule]] = {kind: [] for kind in KINDS}
        for row in tables.get("rules", ()):
            rule = self._rule(row)
            self._rules.setdefault(rule.kind, []).append(rule)
        # Of a thousand rules a few name a given medicine: which, is looked up and not searched.
        self._pair_rules = [*self._rules["drug_drug"], *self._rules["drug_food"]]
        self._reach: dict[tuple[str, str], set[int]] = {}
        for number, rule in enumerate(self._pair_rules):
            for side in (rule.a, rule.b):
                for name in side.names():
                    self._reach.setdefault(name, set()).add(number)
        self._class_terms = Terms(
            [
                *((term, key) for key, terms in words["class_words"].items() for term in terms),
                *(
                    (str(term), str(row["id"]))
                    for row in tables.get("classes", ())
                    for term in [row.get("en", ""), row.get("zh-Hant", ""), *row.get("terms", ())]
                ),
            ]
        )
        self._topical = Words(words["topical"])
        self._not_topical = Words(words["not_topical"])
        self._local = Words(words["local"])
        self._templates = {
            key: {
                Language.EN: row["en"],
                Language.ZH_HANT: row["zh-Hant"],
                Language.ZH_HANS: to_script(row["zh-Hant"], Language.ZH_HANS),
            }
            for key, row in words["findings"].items()
        }

    def check(
        self,
        drugs: Sequence[str],
        allergies: Sequence[str] = (),
        conditions: Sequence[str] = (),
        foods: Sequence[str] = (),
    ) -> Report:
        """Return what is wrong with these medicines together and for this patient.

        Args:
            drugs: Names in English or Chinese, brands, labels with strength, or class words.
            allergies: Free texts of the chart.
            conditions: Free texts of the chart.
            foods: Free texts: foods, drinks, herbs.
        """
        items = []
        unknown = []
        for index, text in enumerate(drugs[:MAX_ITEMS]):
            item = self._drug(text, (0, index))
            if item is None:
                unknown.append(text)
            else:
                items.append(item)
        eaten = self._eaten(foods[:MAX_ITEMS])
        best = _Best()
        for position, first in enumerate(items):
            for second in items[position + 1 :]:
                self._check_drugs(first, second, best)
            for food in eaten:
                self._check_pair(first, food, best, "drug_food")
        self._check_chart(items, allergies[:MAX_ITEMS], conditions[:MAX_ITEMS], best)
        unknown += drugs[MAX_ITEMS:]
        return Report(best.findings(), tuple(dict.fromkeys(unknown)))

    # what a text means

    def _drug(self, text: str, place: tuple[int, int]) -> _Item | None:
        """Return what a text of the list of medicines names, None where nothing is known of it."""
        plain = canonical(text)
        classes = self._class_terms.spans(plain)
        medicine = self._formulary.find(text)
        if medicine is not None:
            item = self._item(text, place, [medicine])
            # "Iron" and "insulin" are a medicine of their own and a class.
            is_class = any(span.end - span.start == len(plain) for span in classes)
            return replace(item, classes=item.classes | _ids(classes)) if is_class else item
        mentioned = [mention.medicine for mention in self._formulary.mentions(text)]
        if mentioned:
            return self._item(text, place, list(dict.fromkeys(mentioned)))
        if classes:
            known = frozenset() if self._local.is_in(plain) else _ids(classes)
            return _Item(
                text,
                place,
                classes=self._widened(known),
                groups=known & frozenset(self._groups),
                is_topical=self._is_topical(plain, ()),
            )
        foods = self._foods_of(text)
        if foods:
            return _Item(text, place, foods=foods)
        match = nearest(self._formulary, text)
        return None if match is None else self._item(text, place, [match])

    def _widened(self, classes: Iterable[str]) -> frozenset[str]:
        return frozenset().union(*(self._wider.get(key, frozenset({key})) for key in classes))

    def _eaten(self, foods: Sequence[str]) -> list[_Item]:
        items = []
        for index, text in enumerate(foods):
            place = (1, index)
            named = self._foods_of(text)
            medicines = [] if named else [m.medicine for m in self._formulary.mentions(text)]
            medicine = self._formulary.find(text)
            if medicine is not None:
                medicines = [medicine]
            item = self._item(text, place, medicines, named)
            if item.ids or item.foods:
                items.append(item)
        return items

    def _foods_of(self, text: str) -> frozenset[str]:
        return frozenset(reading.id for reading in self.charts.read_foods([text]))

    def _item(
        self,
        text: str,
        place: tuple[int, int],
        medicines: Sequence[Medicine],
        foods: frozenset[str] = frozenset(),
    ) -> _Item:
        ids: set[str] = set()
        classes: set[str] = set()
        groups: set[str] = set()
        parts: list[_Item] = []
        is_topical = self._is_topical(canonical(text), medicines)
        for medicine in medicines:
            ids |= {medicine.id, *medicine.ingredients}
            classes |= set(medicine.classes)
            groups |= set(medicine.allergy_groups)
            for part, of_part in self._parts_of(medicine):
                parts.append(_Item(text, place, part, of_part, is_topical=is_topical))
        # A herb may be written as a medicine in one table and as a food in the other.
        foods |= {key for key in (i.replace("-", "_") for i in ids) if key in self._foods}
        return _Item(
            text,
            place,
            frozenset(ids),
            frozenset(classes),
            foods,
            frozenset(groups),
            tuple(medicines),
            is_topical,
            tuple(parts) if len(parts) > 1 and not foods else (),
        )

    def _parts_of(self, medicine: Medicine) -> list[tuple[frozenset[str], frozenset[str]]]:
        """Return ids and classes of each ingredient, and classes of the whole that none has."""
        parts = []
        left = frozenset(medicine.classes)
        for part in medicine.ingredients:
            try:
                classes = frozenset(self._formulary.medicine(part).classes)
            except KeyError:
                classes = frozenset()
            left -= classes
            parts.append((frozenset({medicine.id, part}), classes))
        if left:
            parts.append((frozenset({medicine.id}), left))
        return parts

    def _is_topical(self, plain: str, medicines: Sequence[Medicine]) -> bool:
        if medicines and all(
            medicine.forms and all(form.route in _TOPICAL_ROUTES for form in medicine.forms)
            for medicine in medicines
        ):
            return True
        if not self._topical.is_in(plain) or self._not_topical.is_in(plain):
            return False
        # Gels of hormones go through the skin on purpose.
        routes = {form.route for medicine in medicines for form in medicine.forms}
        return "transdermal" not in routes

    # rules

    def _rule(self, row: Mapping[str, Any]) -> _Rule:
        source = row.get("source", ())
        sources = [source] if isinstance(source, str) else list(source)
        why = {language: str(row["why"].get(language.value, "")) for language in Language}
        if not why[Language.ZH_HANS]:
            why[Language.ZH_HANS] = to_script(why[Language.ZH_HANT], Language.ZH_HANS)
        return _Rule(
            str(row["id"]),
            str(row["kind"]),
            str(row["severity"]),
            self._side(row.get("a") or {}),
            self._side(row.get("b") or {}),
            why,
            ", ".join(map(str, sources)),
            bool(row.get("topical", False)),
        )

    def _side(self, written: Mapping[str, Any]) -> _Side:
        def ids(*names: str) -> frozenset[str]:
            return frozenset(str(key) for name in names for key in _listed(written.get(name, ())))

        drugs, classes, foods = self._known(ids("drugs")), ids("classes"), ids("foods")
        excepted = self._known(ids("except"))
        members = drugs.union(foods, *(self._members.get(key, ()) for key in classes)) - excepted
        others = ids("conditions", "allergies")
        return _Side(drugs, classes, foods, others, excepted, members)

    def _known(self, ids: Iterable[str]) -> frozenset[str]:
        """Give the formulary's own id for each, so that a rule may say aciclovir or acyclovir."""
        found = set()
        for key in ids:
            medicine = self._formulary.find(key) or self._formulary.find(key.replace("-", " "))
            found.add(key if medicine is None else medicine.id)
        return frozenset(found)

    def _matching(self, rules: Iterable[_Rule], first: _Item, second: _Item) -> list[_Match]:
        is_topical = first.is_topical or second.is_topical
        found = []
        for rule in rules:
            if is_topical and not rule.is_topical:
                continue
            for a, b in ((rule.a, rule.b), (rule.b, rule.a)):
                left, right = a.fits(first), b.fits(second)
                if left is not None and right is not None:
                    found.append(_Match(rule, left + right, a.about(first), b.about(second)))
        return found

    def _check_drugs(self, first: _Item, second: _Item, best: _Best) -> None:
        # Two of a kind: that they are is what the nurse must hear, unless worse is known.
        if not (first.is_topical or second.is_topical):
            self._check_duplicate(first, second, best)
        self._check_pair(first, second, best, "drug_drug")

    def _check_pair(self, first: _Item, second: _Item, best: _Best, kind: str) -> None:
        for left in first.each:
            for right in second.each:
                numbers = sorted(self._rules_of(left) & self._rules_of(right))
                rules = [self._pair_rules[number] for number in numbers]
                rule = _told(self._matching(rules, left, right))
                if rule is not None:
                    named = "drug_food" if rule.kind == "drug_food" else kind
                    best.add(first, second, _finding(rule, named, first, second), preference=1)

    def _rules_of(self, item: _Item) -> set[int]:
        return set().union(*(self._reach.get(key, ()) for key in item.names()))

    def _check_duplicate(self, first: _Item, second: _Item, best: _Best) -> None:
        shared = sorted(first.ingredients & second.ingredients)
        if shared:
            best.add(
                first,
                second,
                Finding(
                    "duplicate",
                    "major",
                    (first.text, second.text),
                    self._words("duplicate_ingredient", ingredient=self._medicine_name(shared[0])),
                    ", ".join(_DUPLICATE_SOURCE),
                    "duplicate-ingredient",
                ),
            )
        ruled: set[str] = set()
        for rule in self._rules["duplicate"]:
            if any(
                rule.a.fits(left) is not None and rule.b.fits(right) is not None
                for left, right in ((first, second), (second, first))
            ):
                ruled |= rule.a.classes
                best.add(first, second, _finding(rule, "duplicate", first, second))
        for key in sorted((first.classes & second.classes) - ruled):
            severity = self._duplicate_severity(key)
            if severity:
                group = _name_of(self._classes[key])
                best.add(
                    first,
                    second,
                    Finding(
                        "duplicate",
                        severity,
                        (first.text, second.text),
                        self._words("duplicate_class", group=group),
                        ", ".join(_DUPLICATE_SOURCE),
                        f"duplicate-{key}",
                    ),
                )

    def _duplicate_severity(self, key: str) -> str:
        """Return how grave two of a class are, "" where they may go together."""
        row = self._classes.get(key, {})
        written = row.get("duplicate", False)
        if written is True:
            return "major"
        return str(written) if written in SEVERITIES else ""

    # the chart

    def _check_chart(
        self,
        items: Sequence[_Item],
        allergies: Sequence[str],
        conditions: Sequence[str],
        best: _Best,
    ) -> None:
        allergic = list(self.charts.read_allergies(allergies))
        ill = list(self.charts.read_conditions(conditions))
        # Charts mix the fields: "G6PD" among the allergies, "penicillin allergy" among diagnoses.
        told = {reading.index for reading in allergic}
        misplaced_ill = [
            reading
            for reading in self.charts.read_conditions(allergies)
            if reading.index not in told or reading.id in _ALWAYS_FROM_ALLERGIES
        ]
        misplaced_allergic = self.charts.read_allergies(conditions, only_if_named=True)
        for where, readings in ((_ALLERGIES_AT, allergic), (_CONDITIONS_AT, misplaced_allergic)):
            tolerated = {reading.id for reading in readings if reading.is_tolerated}
            for reading in readings:
                if not reading.is_tolerated:
                    self._check_allergy(items, reading, tolerated, where, best)
        self._check_taken(items, conditions, best)
        for where, sick in ((_CONDITIONS_AT, ill), (_ALLERGIES_AT, misplaced_ill)):
            by_text: dict[int, list[Reading]] = {}
            for reading in sick:
                by_text.setdefault(reading.index, []).append(reading)
            for index, readings_of_text in by_text.items():
                chart = _Item(readings_of_text[0].text, (where, index))
                for item in items:
                    self._check_conditions(item, chart, readings_of_text, best)

    def _check_taken(self, items: Sequence[_Item], conditions: Sequence[str], best: _Best) -> None:
        """Check against what the texts of conditions say is taken: "angina, uses GTN spray".

        What is routinely given with care is left out: the text is no list of medicines.
        """
        for reading in self.charts.read_medicines(conditions, self._class_terms):
            place = (_CONDITIONS_AT, reading.index)
            if reading.is_medicine:
                taken = self._item(reading.text, place, [self._formulary.medicine(reading.id)])
            else:
                taken = _Item(reading.text, place, classes=self._widened([reading.id]))
            for item in items:
                # The very medicine is the one that is given here.
                if item.ingredients & taken.ingredients:
                    continue
                found = _Best()
                self._check_drugs(item, taken, found)
                for finding in found.findings():
                    if finding.severity != SEVERITIES[-1]:
                        best.add(item, taken, replace(finding, kind="drug_condition"), 2)

    def _check_conditions(
        self, item: _Item, chart: _Item, readings: Sequence[Reading], best: _Best
    ) -> None:
        for reading in readings:
            for part in item.each:
                matching = [
                    _Match(rule, fits, rule.a.about(part), frozenset())
                    for rule in self._rules["drug_condition"]
                    if reading.id in rule.b.others
                    and (rule.is_topical or not item.is_topical)
                    and (fits := rule.a.fits(part)) is not None
                ]
                rule = _told(matching)
                if rule is not None:
                    found = _finding(rule, "drug_condition", item, chart)
                    best.add(item, chart, found, preference=1)

    def _check_allergy(
        self,
        items: Sequence[_Item],
        reading: Reading,
        tolerated: set[str],
        where: int,
        best: _Best,
    ) -> None:
        chart = _Item(reading.text, (where, reading.index))
        # Among the conditions a rule about the condition itself is told first, if it is as grave.
        preference = 0 if where == _ALLERGIES_AT else 2
        allergen: Medicine | None = None
        groups = [reading.id]
        name = _name_of(self._groups.get(reading.id, {}))
        if reading.is_medicine:
            allergen = self._formulary.medicine(reading.id)
            groups = [key for key in allergen.allergy_groups if not self._groups[key].get("of")]
            name = {language: allergen.name(language) for language in Language}
        for item in items:
            if item.ids & tolerated:
                continue
            is_same = allergen is not None and bool(
                item.ids & {allergen.id, *allergen.ingredients}
            )
            for severity, template, group in self._allergy_severities(
                item, groups, is_same, allergen, reading
            ):
                words = self._words(template, allergen=name, group=_name_of(group))
                rule = f"allergy-{group.get('id', reading.id)}"
                between = (item.text, chart.text)
                source = ", ".join(_ALLERGY_SOURCE)
                finding = Finding("drug_allergy", severity, between, words, source, rule)
                best.add(item, chart, finding, preference)
            if reading.is_doubtful:
                continue
            for rule_of in self._rules["drug_allergy"]:
                if rule_of.b.others & set(groups) and rule_of.a.fits(item) is not None:
                    found = _finding(rule_of, "drug_allergy", item, chart)
                    best.add(item, chart, found, preference=max(1, preference))

    def _allergy_severities(
        self,
        item: _Item,
        groups: Sequence[str],
        is_same: bool,
        allergen: Medicine | None,
        reading: Reading,
    ) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Yield each severity that the allergy gives for the medicine, the template of the
        reason, and the group it is about."""
        if is_same:
            if reading.is_doubtful:
                yield "moderate", "doubtful", {}
            else:
                yield "contraindicated", "same_medicine", {}
            return
        for key in groups:
            group = self._groups.get(key)
            if group is None:
                continue
            if key in item.groups:
                severity = str(group.get("severity", "contraindicated"))
                template = "reaction" if group.get("of") else "of_group"
                if allergen is not None:
                    severity = str(group.get("within", severity))
                    template = "same_group"
                    if {allergen.id, *item.ids} & set(group.get("apart", ())):
                        severity = "moderate"
                if reading.is_doubtful:
                    if allergen is None:
                        yield "moderate", "doubtful", group
                elif severity != _NONE:
                    yield severity, template, group
            if reading.is_doubtful:
                continue
            for cross in group.get("cross", ()) or ():
                if cross["group"] in item.groups and _applies(cross, reading):
                    yield str(cross["severity"]), "cross", self._groups[cross["group"]]

    # words

    def _words(self, template: str, **names: Mapping[Language, str]) -> Mapping[Language, str]:
        return {
            language: text.format(**{key: value.get(language, "") for key, value in names.items()})
            for language, text in self._templates[template].items()
        }

    def _medicine_name(self, medicine_id: str) -> Mapping[Language, str]:
        try:
            medicine = self._formulary.medicine(medicine_id)
        except KeyError:
            return {language: medicine_id.replace("-", " ") for language in Language}
        return {language: medicine.name(language) for language in Language}


_ALWAYS_FROM_ALLERGIES = frozenset(
    {
        "aerd",
        "g6pd",
        "porphyria",
        "malignant_hyperthermia",
        "pseudocholinesterase",
        "hla_b5801",
        "hla_b1502",
        "hla_b5701",
        "pregnancy",
        "breastfeeding",
    }
)
"""Conditions that are no reaction to the medicine named beside them, wherever they stand."""


def _ids(spans: Iterable[Span]) -> frozenset[str]:
    return frozenset(key for span in spans for key in span.ids)


def _listed(value: object) -> list[object]:
    if isinstance(value, (list, tuple)):
        return list(value)
    return [value] if value else []


def _told(matching: Sequence[_Match]) -> _Rule | None:
    """Return the gravest rule, those left out to which another one is an exception."""
    left = [
        match.rule
        for match in matching
        if not any(other.is_exception_to(match) for other in matching)
    ]
    return min(left, key=lambda rule: _RANK[rule.severity], default=None)


def _finding(rule: _Rule, kind: str, first: _Item, second: _Item) -> Finding:
    return Finding(kind, rule.severity, (first.text, second.text), rule.why, rule.source, rule.id)


def _applies(cross: Mapping[str, Any], reading: Reading) -> bool:
    when = cross.get("when", "always")
    if when == "severe":
        return reading.is_severe
    return not (when == "not_mild" and reading.is_mild)


def _name_of(row: Mapping[str, Any]) -> Mapping[Language, str]:
    names = {language: str(row.get(language.value, "")) for language in Language}
    if not names[Language.ZH_HANS]:
        names[Language.ZH_HANS] = to_script(names[Language.ZH_HANT], Language.ZH_HANS)
    return names
