"""Cross-reactions follow the labels and the practice parameter of 2022."""

from __future__ import annotations

import pytest
from interactions_test_kit import gravest
from interactions_test_kit import interactions
from interactions_test_kit import with_allergy


@pytest.mark.parametrize(
    ("drug", "allergy", "severity"),
    [
        # The same medicine, or its group.
        ("amoxicillin", "對盤尼西林過敏", "contraindicated"),
        ("Augmentin", "PCN (anaphylaxis)", "contraindicated"),
        ("安滅菌", "盤尼西林", "contraindicated"),
        ("piperacillin-tazobactam", "amoxicillin hives", "contraindicated"),
        ("Bactrim", "磺胺類過敏", "contraindicated"),
        ("levofloxacin", "ciprofloxacin anaphylaxis", "contraindicated"),
        ("azithromycin", "erythromycin anaphylaxis", "contraindicated"),
        ("phenytoin", "SJS with carbamazepine", "contraindicated"),
        ("allopurinol", "allopurinol - DRESS", "contraindicated"),
        ("enoxaparin", "HIT in 2020", "contraindicated"),
        ("普拿疼", "吃普拿疼起疹子", "contraindicated"),
        # Side chains.
        ("cephalexin", "amoxicillin rash", "major"),
        ("cefaclor", "penicillin allergy", "major"),
        ("amoxicillin", "hives after cephalexin in 2019", "major"),
        ("ceftriaxone", "penicillin anaphylaxis", "moderate"),
        ("ceftriaxone", "penicillin - rash", "none"),
        ("cefazolin", "penicillin anaphylaxis", "none"),
        ("cefazolin", "hives after cephalexin in 2019", "moderate"),
        ("aztreonam", "ceftazidime hives", "major"),
        ("aztreonam", "penicillin anaphylaxis", "none"),
        ("meropenem", "penicillin rash", "none"),
        ("meropenem", "penicillin anaphylaxis", "moderate"),
        # Sulfonamides.
        ("sulfasalazine", "sulfa", "contraindicated"),
        ("celecoxib", "sulfa allergy", "major"),
        ("furosemide", "sulfa - rash", "none"),
        ("hydrochlorothiazide", "sulfa - rash", "none"),
        ("sumatriptan", "sulfa anaphylaxis", "none"),
        # NSAIDs.
        ("ibuprofen", "吃阿斯匹靈會喘", "contraindicated"),
        ("ketorolac", "NSAIDs: angioedema", "contraindicated"),
        ("paracetamol", "aspirin anaphylaxis", "none"),
        ("celecoxib", "aspirin anaphylaxis", "moderate"),
        ("naproxen", "GI bleed with ibuprofen", "major"),
        # ACE inhibitors.
        ("enalapril", "angioedema with lisinopril", "contraindicated"),
        ("sacubitril-valsartan", "angioedema with lisinopril", "contraindicated"),
        ("valsartan", "angioedema with lisinopril", "moderate"),
        ("lisinopril", "enalapril cough", "moderate"),
        ("losartan", "enalapril cough", "none"),
        # No allergy at all.
        ("ibuprofen", "NKDA", "none"),
        ("erythromycin", "stomach upset with erythromycin", "none"),
        ("amoxicillin", "mother allergic to penicillin", "none"),
        ("amoxicillin", "penicillin allergy but tolerates amoxicillin", "none"),
        ("lidocaine", "allergic to procaine", "none"),
        ("fentanyl", "morphine - hives", "none"),
        ("iohexol", "shellfish allergy", "none"),
        ("povidone-iodine", "seafood allergy", "none"),
        ("propofol", "egg allergy", "none"),
        ("rosuvastatin", "atorvastatin muscle pain", "moderate"),
        ("atorvastatin", "rhabdomyolysis with simvastatin", "major"),
    ],
)
def test_an_allergy_is_judged(drug, allergy, severity):
    assert with_allergy(drug, allergy) == severity


def test_charts_mix_their_fields():
    assert gravest(["ibuprofen"], ["aspirin-exacerbated asthma"]) == "contraindicated"
    assert gravest(["primaquine"], ["G6PD deficiency"]) == "contraindicated"
    assert gravest(["amoxicillin"], (), ["allergic to penicillin"]) == "contraindicated"


def test_the_finding_names_the_texts_of_the_query():
    (finding,) = interactions().check(["安滅菌"], ["NKDA", "PCN (rash)"]).findings
    assert finding.kind == "drug_allergy"
    assert finding.between == ("安滅菌", "PCN (rash)")


def test_each_group_that_is_referred_to_is_there():
    groups = interactions().charts._groups
    for row in groups.values():
        for cross in row.get("cross", ()):
            assert cross["group"] in groups
            assert cross.get("when", "always") in ("always", "not_mild", "severe")
        assert row.get("of", "nsaid") in groups
