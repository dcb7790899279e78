"""A medicine named inside a condition counts where the text says that it is taken now."""

from __future__ import annotations

import pytest
from interactions_test_kit import charts
from interactions_test_kit import interactions
from interactions_test_kit import with_condition


def taken(text: str) -> set[str]:
    return {reading.id for reading in charts().read_medicines([text])}


@pytest.mark.parametrize(
    ("text", "medicine"),
    [
        ("AF on warfarin", "warfarin"),
        ("CAD s/p stent; takes NTG under the tongue most days", "nitroglycerin"),
        ("stable angina on Imdur", "isosorbide-mononitrate"),
        ("angina, uses GTN spray prn", "nitroglycerin"),
        ("Parkinson's, on selegiline", "selegiline"),
        ("depression controlled with sertraline", "sertraline"),
        ("angina, NTG prn", "nitroglycerin"),
        ("HTN on amlodipine and lisinopril", "lisinopril"),
        ("房顫,長期服用華法林", "warfarin"),
        ("服用拜瑞妥中,房顫", "rivaroxaban"),
        ("心絞痛,每天吃欣康", "isosorbide-mononitrate"),
    ],
)
def test_what_is_taken_is_read(text, medicine):
    assert medicine in taken(text)


@pytest.mark.parametrize(
    "text",
    [
        "not on warfarin",
        "stopped warfarin",
        "was on apixaban until 2020",
        "off warfarin since the bleed",
        "warfarin d/c'd last year",
        "used to take warfarin",
        "mother is on warfarin",
        "angioedema from lisinopril",
        "angioedema on lisinopril",
        "hx of cough on enalapril",
        "warfarin",
        "沒有吃華法林",
        "華法林已停用",
        "以前吃華法林",
        "吃阿斯匹靈會喘",
        "媽媽在吃華法林",
    ],
)
def test_what_is_not_taken_or_did_harm_is_not(text):
    assert taken(text) == set()


@pytest.mark.parametrize(
    ("drug", "condition", "severity"),
    [
        ("sildenafil", "CAD s/p stent; takes NTG under the tongue most days", "contraindicated"),
        ("tadalafil", "angina, on nitrates", "contraindicated"),
        ("ibuprofen", "AF on warfarin", "major"),
        ("diclofenac", "on blood thinners for DVT", "major"),
        ("clarithromycin", "hyperlipidemia on simvastatin", "contraindicated"),
        ("布洛芬", "房颤,长期服用华法林", "major"),
        ("威而鋼", "心絞痛,每天吃欣康", "contraindicated"),
        ("sildenafil", "HTN, no nitrates", "none"),
        ("ibuprofen", "AF, not on warfarin", "none"),
        ("warfarin", "AF on warfarin, INR 2.4", "none"),
        ("paracetamol", "AF on warfarin", "none"),
        ("sildenafil", "HTN on amlodipine", "none"),
        ("metformin", "DM2 on metformin and glimepiride", "none"),
    ],
)
def test_rules_of_two_medicines_are_asked_of_it(drug, condition, severity):
    assert with_condition(drug, condition) == severity


def test_it_is_told_as_a_finding_between_the_medicine_and_the_text():
    text = "angina, uses GTN spray prn"
    finding = interactions().check(["sildenafil"], conditions=[text]).findings[0]
    assert (finding.kind, finding.between) == ("drug_condition", ("sildenafil", text))


@pytest.mark.parametrize(
    ("drug", "text"),
    [
        ("enalapril", "hx of angioedema on ACEi"),
        ("ramipril", "prior angioedema with lisinopril"),
        ("Entresto", "hx angioedema from lisinopril"),
    ],
)
def test_angioedema_among_the_conditions_is_told_as_a_condition(drug, text):
    finding = interactions().check([drug], conditions=[text]).findings[0]
    assert (finding.kind, finding.severity) == ("drug_condition", "contraindicated")
