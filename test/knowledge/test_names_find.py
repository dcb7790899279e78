"""A label or a name says exactly one medicine, however it is written, or none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medbot_llm.domain import Language
from medbot_llm.knowledge.medicine import Brand
from medbot_llm.knowledge.medicine import Medicine
from medbot_llm.knowledge.names import NameIndex
from medbot_llm.knowledge.names import name_rows
from medbot_llm.knowledge.names import normalise
from medbot_llm.text.language import to_script


def found(formulary, name):
    medicine = formulary.find(name)
    return medicine.id if medicine else None


@pytest.mark.parametrize(
    ("label", "medicine"),
    [
        ("Norvasc", "amlodipine"),
        ("NORVASC", "amlodipine"),
        ("Norvasc®", "amlodipine"),
        ("norvasc™ 5mg", "amlodipine"),
        ("Tab. Norvasc 5mg", "amlodipine"),
        ("Norvasc 5mg tab.", "amlodipine"),
        ("５ｍｇ　Ｎｏｒｖａｓｃ", "amlodipine"),
        ("Norvasc 5", "amlodipine"),
        ("amlodipine (Norvasc) 5 mg", "amlodipine"),
        ("Norvasc 脈優 5mg/tab", "amlodipine"),
        ("脈優", "amlodipine"),
        ("脉优", "amlodipine"),
        ("络活喜", "amlodipine"),
        ("脈優錠 5 毫克", "amlodipine"),
        ("5毫克脈優錠", "amlodipine"),
        ('"輝瑞"脈優錠5毫克', "amlodipine"),
        ("「輝瑞」脈優錠 5毫克", "amlodipine"),
        ("苯磺酸氨氯地平片", "amlodipine"),
        ("Amlodipine besylate tablets USP 10 mg", "amlodipine"),
        ("Aspirin 100mg tab", "aspirin"),
        ("aspirin100mg", "aspirin"),
        ("普拿疼加強錠500毫克", "paracetamol"),
        ("Metoprolol succinate ER 47.5 mg", "metoprolol"),
        ("warfarin sodium 5 mg tablet", "warfarin"),
        ("華法林鈉", "warfarin"),
        ("Lantus SoloStar 100 IU/mL", "insulin-glargine"),
        ("Ventolin Evohaler 100mcg/dose", "salbutamol"),
        ("Glucophage XR 500 mg", "metformin"),
        ("Omeprazole 20 mg enteric-coated cap", "omeprazole"),
        ("levothyroxine sodium 100 mcg", "levothyroxine"),
        ("sodium valproate 200 mg", "valproate"),
        ("isosorbide mononitrate SR 60mg", "isosorbide-mononitrate"),
        ("Plavix F.C. Tablets 75mg", "clopidogrel"),
    ],
)
def test_labels_are_read(formulary, label, medicine):
    assert found(formulary, label) == medicine


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("paracetamol", "acetaminophen"),
        ("adrenaline", "epinephrine"),
        ("furosemide", "frusemide"),
        ("salbutamol", "albuterol"),
        ("ciclosporin", "cyclosporine"),
        ("rifampicin", "rifampin"),
        ("glibenclamide", "glyburide"),
        ("pethidine", "meperidine"),
        ("amoxicillin", "amoxycillin"),
        ("aciclovir", "acyclovir"),
        ("cefalexin", "cephalexin"),
        ("nitroglycerin", "glyceryl trinitrate"),
        ("levothyroxine", "thyroxine"),
        ("chlorphenamine", "chlorpheniramine"),
        ("lidocaine", "lignocaine"),
        ("aspirin", "acetylsalicylic acid"),
    ],
)
def test_british_american_and_international_names_are_one(formulary, one, other):
    assert found(formulary, one) is not None
    assert found(formulary, one) == found(formulary, other)


@pytest.mark.parametrize(
    "label",
    [
        "Amoxicillin/Clavulanate 875/125",
        "amoxicillin-clavulanate",
        "amoxicillin and clavulanic acid",
        "clavulanate + amoxicillin",
        "amoxicillin 875 mg / clavulanate potassium 125 mg tab",
        "co-amoxiclav",
        "Augmentin 1g",
    ],
)
def test_combinations_are_found_in_any_order(formulary, label):
    assert found(formulary, label) == "amoxicillin-clavulanate"


@pytest.mark.parametrize("label", ["valsartan/amlodipine 80/5", "amlodipine and valsartan"])
def test_a_combination_is_not_one_of_its_parts(small, label):
    assert found(small, label) == "amlodipine-valsartan"


@pytest.mark.parametrize(
    "label", ["Diovan HCT", "Co-Diovan", "amlodipine/atorvastatin", "得安穩 脈優"]
)
def test_what_is_unknown_is_not_taken_for_what_it_resembles(small, label):
    assert found(small, label) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "5 mg",
        "tablet",
        "錠",
        "水",
        "water",
        "Norvas",
        "脈",
        "()",
        "®",
        "x" * 1_000_000,
        "'; DROP TABLE name; --",
        "%",
        "\0",
        "\ud800",
        "💊",
        "/" * 100,
        "(((((((",
    ],
)
def test_what_is_no_name_is_none(formulary, name):
    assert formulary.find(name) is None


def test_every_name_of_the_data_is_found(formulary):
    wrong = []
    for medicine in formulary.medicines:
        for name in medicine.all_names():
            other = formulary.find(name)
            # Two medicines may share a trade name; then neither is told.
            if other is not None and other.id != medicine.id:
                wrong.append((name, medicine.id, other.id))
            if other is None and not formulary.look_up(name).candidates and len(name) > 1:
                wrong.append((name, medicine.id, None))
    assert wrong == []


def test_every_chinese_name_is_found_in_the_other_script(formulary):
    for medicine in formulary.medicines:
        for name in medicine.names.get(Language.ZH_HANT, ()):
            simplified = to_script(name, Language.ZH_HANS)
            assert formulary.find(simplified) == formulary.find(name)


def test_every_label_of_a_form_and_strength_is_read(formulary):
    wrong = []
    for medicine in formulary.medicines:
        name = medicine.name(Language.EN)
        if formulary.find(name) is not medicine:
            continue
        for form in medicine.forms:
            for strength in form.strengths:
                for label in (f"{name} {strength}", f"{name.upper()} {strength} tab"):
                    if formulary.find(label) is not medicine:
                        wrong.append((label, found(formulary, label)))
    assert wrong == []


def index_of(*medicines):
    rows = [row for medicine in medicines for row in name_rows(medicine)]
    return NameIndex(medicines, rows, {})


def medicine_with_brand(key, *ingredients):
    return Medicine(
        id=key,
        ingredients=ingredients or (key,),
        names={Language.EN: (key.replace("-", " "),)},
        brands=(Brand({Language.EN: "Samebrand"}),),
    )


def test_a_brand_of_two_that_share_an_ingredient_is_the_plainest():
    plain = medicine_with_brand("alphamine")
    joined = medicine_with_brand("alphamine-betazole", "alphamine", "betazole")
    index = index_of(joined, plain)
    assert index.find("Samebrand 5 mg tab") is plain
    # Who is told about it is asked which it is all the same.
    assert index.look_up("Samebrand").match is None
    assert set(index.look_up("Samebrand").candidates) == {plain, joined}


def test_a_brand_of_two_that_share_nothing_is_none():
    index = index_of(medicine_with_brand("alphamine"), medicine_with_brand("betazole"))
    assert index.find("Samebrand") is None


@given(st.text(max_size=60))
def test_any_text_gives_a_medicine_or_none(formulary, text):
    medicine = formulary.find(text)
    assert medicine is None or formulary.medicine(medicine.id) is medicine


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing(text):
    once = normalise(text)
    assert normalise(once) == once
