"""A name heard with a slip is a match only where nothing else can be meant; else it is asked."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st


def ids(medicines):
    return {medicine.id for medicine in medicines}


@pytest.mark.parametrize(
    ("heard", "medicine"),
    [
        ("norvask", "amlodipine"),
        ("nor vask", "amlodipine"),
        ("warferin", "warfarin"),
        ("lipiter", "atorvastatin"),
        ("clopidogrell", "clopidogrel"),
        ("麥優", "amlodipine"),
        ("邁優", "amlodipine"),
        ("迈优", "amlodipine"),
        ("利普妥", "atorvastatin"),
        ("普納疼", "paracetamol"),
        ("可邁汀", "warfarin"),
        ("冠脂托", "rosuvastatin"),
        ("史蒂諾斯", "zolpidem"),
    ],
)
def test_a_slip_that_fits_one_medicine_is_a_match(formulary, heard, medicine):
    found = formulary.look_up(heard)
    assert found.match is not None, [one.id for one in found.candidates]
    assert found.match.id == medicine
    assert found.candidates == ()


@pytest.mark.parametrize(
    "heard", ["那個脈優", "我在吃脈優", "the Norvasc please", "Norvasc 5mg tablets"]
)
def test_talk_around_an_exact_name_does_not_matter(formulary, heard):
    assert formulary.look_up(heard).match.id == "amlodipine"


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        ("hydralazin", {"hydralazine", "hydroxyzine"}),
        ("hydroxizine", {"hydralazine", "hydroxyzine"}),
        ("hydrolazine", {"hydralazine", "hydroxyzine"}),
        ("Losex", {"omeprazole", "furosemide"}),
        ("Lasec", {"omeprazole", "furosemide"}),
        ("prednisolon", {"prednisolone"}),
        ("prednisoned", {"prednisolone"}),
        ("celebrix", {"celecoxib"}),
        ("selebrex", {"celecoxib"}),
        ("metformen", {"metformin", "metronidazole"}),
        ("metranidazole", {"metronidazole"}),
        ("clonazapam", {"clonazepam", "lorazepam"}),
        ("tramadone", {"tramadol", "trazodone"}),
        ("amlodapine", {"amlodipine"}),
        ("氨綠地平", {"amlodipine"}),
    ],
)
def test_a_lookalike_with_a_slip_is_asked_about(formulary, heard, expected):
    found = formulary.look_up(heard)
    assert found.match is None
    assert expected <= ids(found.candidates)


@pytest.mark.parametrize("name", ["hydralazine", "Losec", "prednisolone", "Celebrex", "metformin"])
def test_a_lookalike_said_exactly_is_a_match(formulary, name):
    assert formulary.look_up(name).match is formulary.find(name)


def test_two_characters_that_only_sound_alike_without_tones_are_asked_about(formulary):
    found = formulary.look_up("買油")
    assert found.match is None
    assert "amlodipine" in ids(found.candidates)


@pytest.mark.parametrize(
    "heard",
    [
        "水",
        "糖",
        "water",
        "sugar",
        "the",
        "asp",
        "tablet",
        "my tablets",
        "hello",
        "謝謝",
        "不要",
        "安定",
        "早上",
        "醫生",
        "血壓藥",
        "doctor",
        "patient",
        "",
        "   ",
        "??",
        "xqzw",
        "1234",
        "'; DROP TABLE medicine; --",
        "x" * 1_000_000,
    ],
)
def test_ordinary_and_short_words_are_nothing(formulary, heard):
    found = formulary.look_up(heard)
    assert found.match is None
    assert found.candidates == ()


@pytest.mark.parametrize("heard", ["Diovan HCT", "Co-Diovan", "Norvasc Forte"])
def test_part_of_a_longer_name_is_no_match(small, heard):
    assert small.look_up(heard).match is None


def test_two_names_are_asked_about(formulary):
    found = formulary.look_up("脈優 或 普拿疼")
    assert found.match is None
    assert ids(found.candidates) == {"amlodipine", "paracetamol"}


def test_no_more_candidates_than_asked_for(formulary):
    assert len(formulary.look_up("tramadone", limit=2).candidates) <= 2
    assert formulary.look_up("tramadone", limit=0).candidates == ()


def test_every_one_letter_slip_of_a_lookalike_is_asked_or_right(formulary):
    """Drop each letter of each name of a pair: the other of the pair is never the match."""
    for pair in (("hydralazine", "hydroxyzine"), ("prednisolone", "methylprednisolone")):
        for name in pair:
            for index in range(len(name)):
                found = formulary.look_up(name[:index] + name[index + 1 :])
                if found.match is not None:
                    assert found.match.id == name


def test_one_letter_slips_never_match_another_medicine(formulary):
    wrong = []
    for medicine in formulary.medicines:
        name = medicine.id
        if not medicine.is_full or "-" in name or len(name) < 7:
            continue
        for index in (1, len(name) // 2, len(name) - 2):
            heard = name[:index] + name[index + 1 :]
            match = formulary.look_up(heard).match
            if match is not None and match.id != name:
                wrong.append((heard, name, match.id))
    assert wrong == []


@given(st.text(max_size=40))
def test_any_text_gives_an_answer(formulary, text):
    found = formulary.look_up(text)
    assert found.match is None or not found.candidates


def test_it_is_quick_enough_for_talk(formulary):
    formulary.look_up("麥優")
    start = time.perf_counter()
    for heard in ("阿托發他聽", "氨綠地平", "rosuvastatine", "hydrolazine"):
        formulary.look_up(heard)
    assert (time.perf_counter() - start) / 4 < 3


@pytest.mark.parametrize("word", ["meals", "business", "holiday", "details", "since", "minutes"])
def test_a_common_word_is_no_slip_of_a_name(formulary, word):
    assert not ids(formulary.look_up(word).candidates) and formulary.look_up(word).match is None


def test_a_name_that_is_a_common_word_is_found(formulary):
    assert formulary.look_up("aspirin").match.id == "aspirin"
