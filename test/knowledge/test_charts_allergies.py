"""Allergies are told from intolerances, denials and other people's."""

from __future__ import annotations

import pytest
from interactions_test_kit import allergies_of
from interactions_test_kit import charts


@pytest.mark.parametrize(
    ("text", "allergen"),
    [
        ("hives after cephalexin in 2019", "cefalexin"),
        ("PCN allergy (anaphylaxis)", "penicillin"),
        ("對盤尼西林過敏", "penicillin"),
        ("青霉素过敏", "penicillin"),
        ("青黴素皮試陽性", "penicillin"),
        ("sulfa", "sulfonamide_antibiotic"),
        ("磺胺類過敏起疹子", "sulfonamide_antibiotic"),
        ("吃阿斯匹靈會喘", "aspirin"),
        ("吃消炎藥會氣喘", "nsaid"),
        ("NSAIDs cause wheezing", "nsaid"),
        ("took amoxicillin and got hives", "amoxicillin"),
        ("can't take penicillin", "penicillin"),
        ("不能吃阿斯匹靈", "aspirin"),
        ("no known allergies except penicillin", "penicillin"),
        ("除了盤尼西林外沒有其他過敏", "penicillin"),
        ("Penicillin. Anaphylaxis as a child.", "penicillin"),
        ("possible sulfa allergy as a child, unknown reaction", "sulfonamide_antibiotic"),
        ("Keflex hives", "cefalexin"),
        ("對普拿疼過敏", "paracetamol"),
        ("顯影劑過敏", "contrast"),
        ("HIT in 2020", "hit"),
        ("local anaesthetic", "local_anaesthetic_amide"),
        ("花生過敏", "peanut"),
        ("pencillin", "penicillin"),
        ("amoxicilin rash", "amoxicillin"),
        ("盤泥西林", "penicillin"),
        ("患者自述對頭孢類藥物過敏", "cephalosporin"),
    ],
)
def test_an_allergy_is_read(text, allergen):
    assert allergen in allergies_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "NKDA",
        "NKA",
        "no known drug allergies",
        "none",
        "無",
        "無已知藥物過敏",
        "否認藥物過敏",
        "沒有過敏",
        "not allergic to penicillin",
        "No allergy to penicillin",
        "對盤尼西林不過敏",
        "沒有對盤尼西林過敏",
        "penicillin: none",
        "penicillin allergy: denies",
        "penicillin allergy ruled out",
        "penicillin allergy - de-labelled 2022",
        "used to be allergic to penicillin, passed oral challenge",
        "盤尼西林過敏(已排除)",
        "never had a reaction to penicillin",
        "has had penicillin without a problem",
        "no rash with amoxicillin",
        "amoxicillin tolerated",
        "青黴素皮試陰性",
    ],
)
def test_what_is_denied_is_no_allergy(text):
    assert allergies_of(text) == set()


@pytest.mark.parametrize(
    "text",
    [
        "mother allergic to penicillin",
        "父親對盤尼西林過敏",
        "sister died of penicillin anaphylaxis",
        "FHx: penicillin allergy",
    ],
)
def test_a_relatives_allergy_is_not_the_patients(text):
    assert allergies_of(text) == set()


@pytest.mark.parametrize(
    "text",
    [
        "stomach upset with erythromycin",
        "Augmentin diarrhea",
        "metronidazole metallic taste",
        "codeine makes me throw up",
        "吃阿斯匹靈胃會痛",
        "lactose intolerance",
        "乳糖不耐",
        "amlodipine ankle swelling",
        "tetracycline yeast infection",
        "erythromycin - nausea, vomiting",
    ],
)
def test_an_intolerance_is_no_allergy(text):
    assert allergies_of(text) == set()


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("cough with lisinopril", "acei_cough"),
        ("ACE inhibitor cough", "acei_cough"),
        ("muscle pain on atorvastatin", "statin_myopathy"),
        ("GI bleed with ibuprofen", "nsaid_bleed"),
        ("red man syndrome with vancomycin", "vancomycin_infusion_reaction"),
        ("dystonia with metoclopramide", "dopamine_antagonist_dystonia"),
    ],
)
def test_what_comes_back_with_the_class_is_kept_apart_from_allergy(text, group):
    assert allergies_of(text) == {group}


def test_each_of_several_gets_its_own_reaction():
    text = "penicillin (rash), sulfa (anaphylaxis), codeine - nausea"
    readings = charts().read_allergies([text])
    assert [(r.id, r.is_mild, r.is_severe) for r in readings] == [
        ("penicillin", True, False),
        ("sulfonamide_antibiotic", False, True),
    ]


def test_one_reaction_of_a_list_is_said_of_each():
    assert allergies_of("hives from penicillin and sulfa") == {
        "penicillin",
        "sulfonamide_antibiotic",
    }


@pytest.mark.parametrize(
    ("text", "is_severe"),
    [
        ("PCN (anaphylaxis)", True),
        ("吃阿斯匹靈會喘", True),
        ("SJS with carbamazepine", True),
        ("頭孢曲松过敏性休克", True),
        ("penicillin rash", False),
        ("penicillin", False),
    ],
)
def test_a_severe_reaction_is_known(text, is_severe):
    assert [r.is_severe for r in charts().read_allergies([text])] == [is_severe]


def test_an_allergy_that_was_only_nausea_is_doubtful():
    (reading,) = charts().read_allergies(["codeine allergy (nausea)"])
    assert reading.is_doubtful


def test_what_is_tolerated_is_said():
    readings = charts().read_allergies(["penicillin allergy but tolerates amoxicillin"])
    assert {(r.id, r.is_tolerated) for r in readings} == {
        ("penicillin", False),
        ("amoxicillin", True),
    }


def test_another_field_counts_only_where_it_speaks_of_an_allergy():
    read = charts().read_allergies
    assert read(["on amoxicillin since Monday"], only_if_named=True) == ()
    assert [r.id for r in read(["allergic to amoxicillin"], only_if_named=True)] == ["amoxicillin"]


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ('Pt states allergic to "cillins", hives all over', "penicillin"),
        ("any of the cillins - throat closed", "penicillin"),
        ("西林類的都過敏", "penicillin"),
        ("some antibiotic starting with ceph, he swelled up", "cephalosporin"),
        ("something that starts with cef-, lips swelled", "cephalosporin"),
        ("allergic to 'floxins'", "fluoroquinolone"),
        ("'caine' drugs, collapsed at the dentist", "local_anaesthetic_amide"),
        ("all the prils - tongue swelling", "acei"),
        ("對沙星過敏", "fluoroquinolone"),
        ("mother of pt reports pen G reaction: anaphylactic shock", "penicillin"),
        ("vanco anaphylaxis", "vancomycin"),
    ],
)
def test_a_group_is_known_by_the_ending_of_its_names(text, group):
    assert group in allergies_of(text)


def test_a_medicine_is_not_read_as_the_ending_of_its_name():
    assert "cephalosporin" not in allergies_of("amoxicillin - hives")
    assert allergies_of("阿莫西林過敏") == allergies_of("amoxicillin allergy")
