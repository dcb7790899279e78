"""Classes and allergy groups follow from ATC codes, from names, and from the ingredients."""

from medbot_llm.domain import Language


def ids(medicines):
    return {medicine.id for medicine in medicines}


def test_a_class_has_the_medicines_of_its_atc_prefix(small):
    assert ids(small.in_class("arb")) == {"valsartan", "amlodipine-valsartan"}


def test_a_combination_is_in_the_classes_of_its_ingredients(small):
    assert "dihydropyridine" in small.medicine("amlodipine-valsartan").classes


def test_an_exception_is_in_no_class_not_even_by_its_ingredients(small):
    assert ids(small.in_class("oral_blood_pressure")) == {"amlodipine"}


def test_a_class_has_a_name_in_each_language(small):
    assert small.class_name("dihydropyridine", Language.ZH_HANS) == "钙离子阻断剂"
    assert small.class_name("dihydropyridine", Language.EN) == "calcium channel blockers"


def test_an_unknown_class_is_empty(small):
    assert small.in_class("nothing") == ()


def test_classes_that_people_know_are_right(formulary):
    for medicine, class_id in (
        ("ibuprofen", "nsaid"),
        ("warfarin", "anticoagulant"),
        ("losartan", "arb"),
        ("atorvastatin", "statin"),
        ("morphine", "opioid"),
        ("insulin-glargine", "insulin"),
    ):
        assert class_id in formulary.medicine(medicine).classes
    assert "nsaid" not in formulary.medicine("paracetamol").classes


def test_every_class_of_the_packaged_data_has_a_medicine(formulary):
    empty = [row["id"] for row in formulary.tables["classes"] if not formulary.in_class(row["id"])]
    assert empty == []


def test_allergy_groups_follow_from_their_atc_codes(formulary):
    assert "penicillin" in formulary.medicine("amoxicillin-clavulanate").allergy_groups
    assert "nsaid" in formulary.medicine("ibuprofen").allergy_groups


def test_ids_of_a_medicine_are_unique_and_known_ingredients_are_entries(formulary):
    assert len({m.id for m in formulary.medicines}) == len(formulary.medicines)


def test_at_least_a_hundred_and_fifty_medicines_are_full(formulary):
    assert sum(medicine.is_full for medicine in formulary.medicines) >= 150


def test_high_alert_medicines_are_marked(formulary):
    for name in ("warfarin", "insulin-glargine", "morphine", "methotrexate", "enoxaparin"):
        assert formulary.find(name).high_alert, name


def test_doses_are_plausible(formulary):
    for medicine in formulary.medicines:
        for dose in medicine.doses:
            assert 0 <= dose.single_low <= dose.single_high, medicine.id
            assert dose.max_daily == 0 or dose.single_high <= dose.max_daily * 1.001, medicine.id
