"""Trade names of combinations are known by what is in them."""

from __future__ import annotations

import pytest
from interactions_test_kit import formulary
from interactions_test_kit import gravest
from interactions_test_kit import interactions
from interactions_test_kit import with_allergy
from interactions_test_kit import with_condition


@pytest.mark.parametrize(
    ("name", "ingredients"),
    [
        ("Percocet 5/325", {"oxycodone", "paracetamol"}),
        ("Vicodin 5/500", {"hydrocodone", "paracetamol"}),
        ("Co-codamol 30/500", {"codeine", "paracetamol"}),
        ("Tylenol #3", {"codeine", "paracetamol"}),
        ("Tylenol PM", {"paracetamol", "diphenhydramine"}),
        ("NyQuil", {"paracetamol", "dextromethorphan", "doxylamine"}),
        ("Excedrin Migraine", {"paracetamol", "aspirin", "caffeine"}),
        ("普拿疼伏冒熱飲", {"paracetamol", "phenylephrine"}),
        ("Janumet 50/1000", {"metformin", "sitagliptin"}),
        ("捷糖穩", {"metformin", "sitagliptin"}),
        ("Glyxambi", {"linagliptin", "empagliflozin"}),
        ("Xigduo XR", {"metformin", "dapagliflozin"}),
        ("Tribenzor", {"amlodipine", "olmesartan", "hydrochlorothiazide"}),
        ("Micardis Plus", {"telmisartan", "hydrochlorothiazide"}),
        ("Tenoretic", {"atenolol", "chlortalidone"}),
        ("Septrin", {"sulfamethoxazole", "trimethoprim"}),
        ("Pylera", {"bismuth", "metronidazole", "tetracycline"}),
        ("诺瓦得士", {"tamoxifen"}),
    ],
)
def test_a_combination_is_known_by_its_trade_name(name, ingredients):
    medicine = formulary().find(name)
    assert medicine is not None
    assert set(medicine.ingredients) == ingredients


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Percocet", "Tylenol"),
        ("Panadol Extra", "Co-codamol 30/500"),
        ("斯斯感冒膠囊", "普拿疼伏冒熱飲"),
        ("快克", "必理通"),
        ("格华止", "Janumet 50/1000"),
        ("Glyxambi", "dapagliflozin 10mg"),
        ("Exforge HCT", "Norvasc"),
        ("Zestoretic", "ramipril"),
        ("Trimbow", "Spiriva"),
        ("Vimovo", "Aleve"),
        ("Januvia 100mg", "Trajenta 5"),
    ],
)
def test_what_is_in_two_of_them_is_found(first, second):
    report = interactions().check([first, second])
    assert not report.unknown
    assert [(f.kind, f.severity) for f in report.findings] == [("duplicate", "major")]


@pytest.mark.parametrize(
    ("drugs", "severity"),
    [
        (["Genvoya", "St John's wort"], "contraindicated"),
        (["Symtuza", "simvastatin"], "contraindicated"),
        (["nitroderm patch 5", "sildenafil"], "contraindicated"),
        (["Auvelity", "Nardil"], "contraindicated"),
        (["諾瓦得士", "百憂解膠囊"], "major"),
        (["Micardis Plus", "lithium"], "major"),
        (["Lybalvi", "morphine"], "contraindicated"),
        (["Janumet", "Jardiance"], "none"),
        (["Exforge", "Crestor"], "none"),
        (["Hyzaar", "Norvasc"], "none"),
        (["若元錠", "脈優"], "none"),
    ],
)
def test_rules_about_an_ingredient_are_asked(drugs, severity):
    assert gravest(drugs) == severity


def test_allergies_and_conditions_reach_the_ingredients():
    assert with_allergy("Percocet", "acetaminophen (angioedema)") == "contraindicated"
    assert with_allergy("sulfasalazine", "Septrin rash and fever") == "contraindicated"
    assert with_allergy("Fansidar", "sulfa - hives") == "contraindicated"
    assert with_allergy("Norco", "aspirin - hives") == "none"
    assert with_condition("Janumet", "eGFR 24") == "contraindicated"
    assert with_condition("NyQuil", "BPH") == "major"


@pytest.mark.parametrize(
    ("drugs", "severity"),
    [
        (["利尿劑", "鋰鹽"], "major"),
        (["抗憂鬱藥", "MAOI"], "contraindicated"),
        (["SSRI", "linezolid"], "major"),
        (["安眠藥", "oxycodone"], "major"),
        (["tPA", "warfarin"], "major"),
    ],
)
def test_a_class_word_is_of_the_wider_classes_too(drugs, severity):
    assert gravest(drugs) == severity


def test_a_class_word_with_food():
    assert gravest(["MAOI"], (), (), ["salami and red wine"]) == "contraindicated"
