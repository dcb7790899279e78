"""Which rule is told of a pair, and in which order: with rules made for it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import pytest

from medbot_llm.domain import Language
from medbot_llm.knowledge.interactions import Interactions
from medbot_llm.knowledge.medicine import Form
from medbot_llm.knowledge.medicine import LookUp
from medbot_llm.knowledge.medicine import Medicine
from medbot_llm.knowledge.medicine import Mention
from medbot_llm.text.normal import canonical


def medicine(
    name: str,
    *classes: str,
    parts: Sequence[str] = (),
    groups: Sequence[str] = (),
    route: str = "oral",
) -> Medicine:
    return Medicine(
        id=name,
        ingredients=tuple(parts) or (name,),
        classes=classes,
        names={Language.EN: (name,), Language.ZH_HANT: (f"{name}藥",)},
        forms=(Form("gel", route),),
        allergy_groups=tuple(groups),
    )


class FakeFormulary:
    """A handful of medicines, found by their ids."""

    def __init__(self, medicines: Sequence[Medicine], **tables: Sequence[Mapping[str, Any]]):
        self._medicines = {item.id: item for item in medicines}
        self.tables = tables

    @property
    def medicines(self) -> tuple[Medicine, ...]:
        return tuple(self._medicines.values())

    def medicine(self, medicine_id: str) -> Medicine:
        return self._medicines[medicine_id]

    def find(self, name: str) -> Medicine | None:
        return self._medicines.get(canonical(name))

    def look_up(self, heard: str, limit: int = 3) -> LookUp:
        return LookUp(self.find(heard))

    def mentions(self, text: str) -> tuple[Mention, ...]:
        plain = canonical(text)
        return tuple(
            Mention(plain.index(key), plain.index(key) + len(key), key, item)
            for key, item in self._medicines.items()
            if key in plain.replace("-", " ").split()
        )


def rule(key, a, b, severity, kind="drug_drug"):
    words = {"en": f"{key}.", "zh-Hant": f"{key}。", "zh-Hans": f"{key}。"}
    return {
        "id": key,
        "kind": kind,
        "a": a,
        "b": b,
        "severity": severity,
        "why": words,
        "source": ["label_us", "stockley"],
    }


MEDICINES = (
    medicine("alpha", "hot", groups=["fruity"]),
    medicine("beta", "cold"),
    medicine("gamma", "cold", "twin"),
    medicine("delta", "twin", groups=["fruity"]),
    medicine("mix", parts=["alpha", "beta"], groups=["fruity"]),
    medicine("skin", "hot", route="transdermal"),
    medicine("epsilon", groups=["nutty"]),
)
CLASSES = [
    {"id": "hot", "en": "hot ones", "zh-Hant": "熱藥", "duplicate": False},
    {"id": "cold", "en": "cold ones", "zh-Hant": "冷藥"},
    {"id": "twin", "en": "twins", "zh-Hant": "雙生藥", "duplicate": True},
]
GROUPS = [
    {
        "id": "fruity",
        "en": "fruity ones",
        "zh-Hant": "果味藥",
        "terms": ["fruity"],
        "within": "major",
        "cross": [{"group": "nutty", "severity": "moderate", "when": "severe"}],
    },
    {"id": "nutty", "en": "nutty ones", "zh-Hant": "堅果藥", "terms": ["nutty"], "cross": []},
]
CONDITIONS = [
    {"id": "fever", "en": "fever", "zh-Hant": "發燒", "terms": ["fever"]},
    {
        "id": "high_fever",
        "en": "high fever",
        "zh-Hant": "高燒",
        "terms": ["high fever"],
        "implies": ["fever"],
    },
]
FOODS = [{"id": "tea", "en": "tea", "zh-Hant": "茶", "terms": ["tea", "茶"]}]


def make(*rules) -> Interactions:
    return Interactions(
        FakeFormulary(
            MEDICINES,
            rules=rules,
            classes=CLASSES,
            allergy_groups=GROUPS,
            conditions=CONDITIONS,
            foods=FOODS,
        )
    )


def told(report):
    return [(finding.rule, finding.severity, finding.between) for finding in report.findings]


def test_a_rule_of_classes_fits_the_members_in_either_order():
    checker = make(rule("r", {"classes": ["hot"]}, {"classes": ["cold"]}, "major"))
    assert told(checker.check(["alpha", "beta"])) == [("r", "major", ("alpha", "beta"))]
    assert told(checker.check(["beta", "alpha"])) == [("r", "major", ("beta", "alpha"))]


def test_the_gravest_of_several_rules_is_told():
    checker = make(
        rule("mild", {"classes": ["hot"]}, {"classes": ["cold"]}, "moderate"),
        rule("grave", {"classes": ["hot"]}, {"classes": ["cold"]}, "contraindicated"),
    )
    assert told(checker.check(["alpha", "beta"])) == [
        ("grave", "contraindicated", ("alpha", "beta"))
    ]


def test_a_rule_that_names_the_medicines_beats_a_graver_one_of_classes():
    checker = make(
        rule("class", {"classes": ["hot"]}, {"classes": ["cold"]}, "contraindicated"),
        rule("named", {"drugs": ["alpha"]}, {"drugs": ["beta"]}, "moderate"),
    )
    assert told(checker.check(["alpha", "beta"])) == [("named", "moderate", ("alpha", "beta"))]
    assert told(checker.check(["alpha", "gamma"]))[0][1] == "contraindicated"


def test_an_exception_of_a_class_has_no_finding():
    checker = make(
        rule("r", {"classes": ["hot"]}, {"classes": ["cold"], "except": ["beta"]}, "major")
    )
    assert told(checker.check(["alpha", "beta"])) == []
    assert told(checker.check(["alpha", "gamma"])) != []


def test_a_combination_has_the_rules_of_its_parts():
    checker = make(rule("r", {"drugs": ["beta"]}, {"drugs": ["gamma"]}, "major"))
    assert told(checker.check(["mix", "gamma"])) == [("r", "major", ("mix", "gamma"))]


def test_findings_stand_in_the_order_of_severity_then_of_the_query():
    checker = make(
        rule("ab", {"drugs": ["alpha"]}, {"drugs": ["beta"]}, "moderate"),
        rule("ag", {"drugs": ["alpha"]}, {"drugs": ["gamma"]}, "moderate"),
        rule("ae", {"drugs": ["alpha"]}, {"drugs": ["epsilon"]}, "contraindicated"),
    )
    report = checker.check(["beta", "alpha", "gamma", "epsilon"])
    assert [finding.rule for finding in report.findings] == ["ae", "ab", "ag"]


def test_the_same_substance_twice_and_two_of_a_kind_are_duplicates():
    checker = make()
    assert told(checker.check(["alpha", "mix"])) == [
        ("duplicate-ingredient", "major", ("alpha", "mix"))
    ]
    assert told(checker.check(["gamma", "delta"])) == [
        ("duplicate-twin", "major", ("gamma", "delta"))
    ]
    assert told(checker.check(["beta", "gamma"])) == []


def test_a_rule_of_kind_duplicate_takes_the_place_of_the_class():
    twins = {"classes": ["twin"]}
    checker = make(rule("r", twins, twins, "moderate", "duplicate"))
    assert told(checker.check(["gamma", "delta"])) == [("r", "moderate", ("gamma", "delta"))]


def test_a_pair_has_one_finding_the_gravest():
    checker = make(rule("r", {"drugs": ["gamma"]}, {"drugs": ["delta"]}, "contraindicated"))
    (finding,) = checker.check(["gamma", "delta"]).findings
    assert (finding.rule, finding.severity) == ("r", "contraindicated")


def test_a_food_is_asked_of_each_medicine():
    checker = make(rule("r", {"classes": ["cold"]}, {"foods": ["tea"]}, "moderate", "drug_food"))
    report = checker.check(["alpha", "beta"], foods=["a cup of tea"])
    assert told(report) == [("r", "moderate", ("beta", "a cup of tea"))]
    assert report.findings[0].kind == "drug_food"
    assert told(checker.check(["beta"], foods=["no tea"])) == []


def test_a_narrower_condition_has_the_rules_of_the_broader():
    checker = make(
        rule("r", {"drugs": ["alpha"]}, {"conditions": ["fever"]}, "major", "drug_condition")
    )
    assert told(checker.check(["alpha"], conditions=["high fever"])) == [
        ("r", "major", ("alpha", "high fever"))
    ]
    assert told(checker.check(["alpha"], conditions=["no fever"])) == []


@pytest.mark.parametrize(
    ("drug", "allergy", "severity"),
    [
        ("alpha", "alpha", "contraindicated"),
        ("mix", "alpha", "contraindicated"),
        ("delta", "alpha", "major"),
        ("delta", "fruity", "contraindicated"),
        ("epsilon", "fruity (anaphylaxis)", "moderate"),
        ("epsilon", "fruity (rash)", None),
        ("alpha", "nutty", None),
        ("alpha", "alpha - nausea", None),
        ("alpha", "alpha allergy (nausea)", "moderate"),
    ],
)
def test_an_allergy_reaches_its_group_and_what_cross_reacts(drug, allergy, severity):
    findings = make().check([drug], [allergy]).findings
    assert [finding.severity for finding in findings] == ([severity] if severity else [])


def test_a_medicine_that_is_tolerated_has_no_finding():
    assert told(make().check(["delta"], ["fruity allergy but tolerates delta"])) == []


def test_what_goes_on_the_skin_has_no_interaction_through_the_blood():
    checker = make(rule("r", {"classes": ["hot"]}, {"classes": ["cold"]}, "major"))
    assert told(checker.check(["alpha cream", "beta"])) == []
    assert told(checker.check(["skin gel", "beta"])) != []


def test_a_class_word_is_understood_and_an_unknown_name_is_reported():
    checker = make(rule("r", {"classes": ["hot"]}, {"classes": ["cold"]}, "major"))
    report = checker.check(["hot ones", "beta", "nonsense"])
    assert told(report) == [("r", "major", ("hot ones", "beta"))]
    assert report.unknown == ("nonsense",)


def test_reason_and_source_are_given_in_each_language():
    (finding,) = make().check(["gamma", "delta"]).findings
    assert finding.why[Language.EN] == "Both belong to the twins: two of a kind add up."
    assert finding.why[Language.ZH_HANT].startswith("兩個都屬於雙生藥")
    assert finding.why[Language.ZH_HANS].startswith("两个都属于双生药")
    assert finding.source == "label_us, stockley"


def test_nothing_is_found_where_nothing_is_asked():
    assert make().check([]).findings == ()
    assert make().check(["alpha"], [""], [""], [""]).findings == ()


def test_a_mild_rule_of_one_ingredient_does_not_hide_a_grave_one_of_another():
    checker = make(
        rule("mild", {"drugs": ["alpha"]}, {"drugs": ["gamma"]}, "moderate"),
        rule("grave", {"classes": ["cold"]}, {"drugs": ["gamma"]}, "major"),
    )
    assert told(checker.check(["mix", "gamma"])) == [("grave", "major", ("mix", "gamma"))]


def test_a_named_rule_about_something_else_hides_no_graver_one():
    checker = make(
        rule("grave", {"classes": ["hot"]}, {"drugs": ["gamma"]}, "major"),
        rule("mild", {"drugs": ["alpha", "epsilon"]}, {"drugs": ["gamma"]}, "moderate"),
    )
    assert told(checker.check(["alpha", "gamma"]))[0][0] == "grave"
