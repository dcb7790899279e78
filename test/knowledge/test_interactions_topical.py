"""What goes on the skin, into the eye or the ear hardly reaches the blood."""

from __future__ import annotations

import pytest
from interactions_test_kit import gravest
from interactions_test_kit import with_allergy
from interactions_test_kit import with_condition


@pytest.mark.parametrize(
    "drugs",
    [
        ["Voltaren emulgel", "Eliquis"],
        ["diclofenac gel", "warfarin"],
        ["Maxitrol eye drops", "warfarin"],
        ["ciprofloxacin eye drops", "tizanidine"],
        ["Daivobet", "prednisolone"],
        ["betamethasone cream", "hydrocortisone cream"],
    ],
)
def test_rules_through_the_blood_are_not_told(drugs):
    assert gravest(drugs) == "none"


@pytest.mark.parametrize(
    ("drug", "condition", "severity"),
    [
        ("timolol eye drops", "氣喘", "contraindicated"),
        ("Azarga", "severe asthma", "contraindicated"),
        ("DuoTrav", "2nd degree AV block", "contraindicated"),
        ("brimonidine eye drops", "8 months old", "contraindicated"),
        ("diclofenac gel", "CKD 4", "none"),
    ],
)
def test_rules_that_name_topical_ones_are(drug, condition, severity):
    assert with_condition(drug, condition) == severity


def test_an_allergy_counts_on_the_skin_too():
    assert with_allergy("ciprofloxacin ear drops", "levofloxacin anaphylaxis") == "contraindicated"
    assert with_allergy("silver sulfadiazine cream", "Bactrim DS - blistering") == (
        "contraindicated"
    )


def test_a_patch_of_a_medicine_for_the_whole_body_is_not_topical():
    assert gravest(["nitroglycerin patch", "sildenafil"]) == "contraindicated"
    assert gravest(["fentanyl patch", "alprazolam"]) == "major"
