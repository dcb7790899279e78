"""What labels forbid with a condition is found; what is routinely given is not."""

from __future__ import annotations

import pytest
from interactions_test_kit import formulary
from interactions_test_kit import gravest
from interactions_test_kit import interactions
from interactions_test_kit import with_condition


@pytest.mark.parametrize(
    ("drug", "condition", "severity"),
    [
        ("isotretinoin", "pregnant", "contraindicated"),
        ("warfarin", "20 weeks pregnant", "contraindicated"),
        ("enalapril", "G2P1 at 12w", "contraindicated"),
        ("ibuprofen", "28 weeks pregnant", "contraindicated"),
        ("ibuprofen", "懷孕22週", "major"),
        ("ibuprofen", "8 weeks pregnant", "moderate"),
        ("valproate", "備孕中", "contraindicated"),
        ("methotrexate", "breastfeeding", "contraindicated"),
        ("codeine", "breastfeeding", "major"),
        ("aspirin", "3-year-old", "contraindicated"),
        ("codeine", "8 歲", "contraindicated"),
        ("codeine", "15-year-old", "major"),
        ("promethazine", "18 months old", "contraindicated"),
        ("metformin", "eGFR 22", "contraindicated"),
        ("metformin", "CKD stage 4", "contraindicated"),
        ("nitrofurantoin", "CrCl 25 mL/min", "contraindicated"),
        ("spironolactone", "K 5.9", "contraindicated"),
        ("citalopram", "QTc 510", "major"),
        ("primaquine", "蠶豆症", "contraindicated"),
        ("dapsone", "蚕豆病", "major"),
        ("propranolol", "asthma", "contraindicated"),
        ("timolol eye drops", "氣喘", "contraindicated"),
        ("metoprolol", "asthma", "moderate"),
        ("diltiazem", "HFrEF", "contraindicated"),
        ("pioglitazone", "心衰竭", "contraindicated"),
        ("verapamil", "complete heart block", "contraindicated"),
        ("sumatriptan", "CAD s/p stent", "contraindicated"),
        ("prasugrel", "TIA 2021", "contraindicated"),
        ("dabigatran", "mechanical mitral valve", "contraindicated"),
        ("metoclopramide", "巴金森氏症", "contraindicated"),
        ("bupropion", "epilepsy", "contraindicated"),
        ("ciprofloxacin", "myasthenia gravis", "major"),
        ("haloperidol", "Lewy body dementia", "contraindicated"),
        ("ibuprofen", "active GI bleed", "contraindicated"),
        ("aspirin", "登革熱", "major"),
        ("MMR vaccine", "s/p kidney transplant", "contraindicated"),
        ("oxybutynin", "隅角閉鎖性青光眼", "contraindicated"),
        ("diphenhydramine", "攝護腺肥大", "major"),
        ("allopurinol", "HLA-B*58:01 positive", "contraindicated"),
        ("carbamazepine", "HLA-B*15:02", "contraindicated"),
        ("避孕藥", "smoker, 38 years old", "contraindicated"),
        ("birth control pills", "migraine with aura", "contraindicated"),
        ("semaglutide", "family history of medullary thyroid carcinoma", "contraindicated"),
        ("NSAID", "胃潰瘍", "major"),
        ("loperamide", "bloody diarrhea", "contraindicated"),
        ("dapagliflozin", "DKA last year", "contraindicated"),
    ],
)
def test_a_condition_forbids_a_medicine(drug, condition, severity):
    assert with_condition(drug, condition) == severity


@pytest.mark.parametrize(
    ("drug", "condition"),
    [
        ("paracetamol", "28 weeks pregnant"),
        ("amoxicillin", "pregnant"),
        ("labetalol", "pregnant"),
        ("insulin glargine", "gestational diabetes, 30 weeks"),
        ("sertraline", "breastfeeding"),
        ("paracetamol", "CKD stage 4"),
        ("amlodipine", "CKD stage 4"),
        ("metformin", "eGFR 75"),
        ("propranolol", "father had asthma"),
        ("propranolol", "asthma ruled out"),
        ("bisoprolol", "COPD"),
        ("bisoprolol", "heart failure"),
        ("spironolactone", "HFrEF"),
        ("empagliflozin", "heart failure"),
        ("domperidone", "Parkinson's disease"),
        ("quetiapine", "Parkinson's disease"),
        ("levodopa-carbidopa", "Parkinson's disease"),
        ("levothyroxine", "hypothyroidism"),
        ("oxybutynin", "open-angle glaucoma"),
        ("tamsulosin", "BPH"),
        ("apixaban", "atrial fibrillation"),
        ("aspirin", "CAD s/p stent"),
        ("warfarin", "mechanical mitral valve"),
        ("paracetamol", "登革熱"),
        ("primaquine", "G6PD normal"),
        ("atorvastatin", "fatty liver"),
        ("ibuprofen", "denies pregnancy"),
        ("verapamil", "first-degree AV block"),
        ("tacrolimus", "s/p kidney transplant"),
        ("losartan", "diabetic nephropathy"),
        ("diclofenac gel", "CKD stage 4"),
    ],
)
def test_what_is_routinely_given_is_no_finding(drug, condition):
    assert with_condition(drug, condition) == "none"


def test_a_pacemaker_allows_a_beta_blocker():
    assert gravest(["bisoprolol"], (), ["complete heart block"]) == "contraindicated"
    assert gravest(["bisoprolol"], (), ["complete heart block", "pacemaker"]) == "none"


def test_rules_are_many_and_have_reasons_in_three_languages_and_sources():
    rules = [
        row
        for row in formulary().tables["rules"]
        if row["kind"] in ("drug_condition", "drug_allergy")
    ]
    assert len(rules) >= 110
    sources = {row["id"] for row in formulary().tables["sources"]}
    for row in rules:
        assert {"en", "zh-Hant", "zh-Hans"} <= set(row["why"]), row["id"]
        assert set(row["source"]) <= sources, row["id"]


def test_each_rule_can_fire():
    """A rule of medicines and conditions that nobody can name protects nobody."""
    checker = interactions()
    known = {condition for condition in checker.charts._conditions}
    for row in formulary().tables["rules"]:
        if row["kind"] == "drug_condition":
            assert set(row["b"]["conditions"]) <= known, row["id"]
            members = [
                medicine
                for key in row["a"].get("classes", ())
                for medicine in formulary().in_class(key)
            ]
            assert members or row["a"].get("drugs"), row["id"]
