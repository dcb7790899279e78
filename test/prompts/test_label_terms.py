"""Labels are spoken in the language of the conversation, and no number changes on the way."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medbot_llm.domain import Language
from medbot_llm.domain import Medication
from medbot_llm.knowledge.label_terms import LabelTerms

TERMS = LabelTerms()


def describe(language, dose="", route="", frequency="", instructions=""):
    medication = Medication("X", "", "", "", dose, route, frequency, instructions)
    return TERMS.describe(medication, language)


@pytest.mark.parametrize(
    ("label", "zh_hant", "zh_hans", "en"),
    [
        (("1 tablet", "PO", "BID", "PC"), "每次 1 顆，口服，每天兩次，飯後。",
         "每次 1 片，口服，每天两次，饭后。",
         "1 tablet each time, by mouth, twice a day, after meals."),
        (("5 mL", "oral", "Q8H", "shake well"), "每次 5 mL，口服，每 8 小時一次，使用前搖勻。",
         "每次 5 mL，口服，每 8 小时一次，用前摇匀。",
         "5 mL each time, by mouth, every 8 hours, shake well before use."),
        (("每次一顆", "口服", "每日三次飯後", ""), "每次一顆，口服，每天三次，飯後。",
         "每次一片，口服，每天三次，饭后。",
         "each time one tablet, by mouth, three times a day, after meals."),
        (("10 units", "SC", "TIDAC", ""), "每次 10 單位，皮下注射，每天三次，飯前。",
         "每次 10 单位，皮下注射，每天三次，饭前。",
         "10 units each time, under the skin, three times a day, before meals."),
        (("半顆", "", "睡前", ""), "每次半顆，睡前。", "每次半片，睡前。",
         "half a tablet each time, at bedtime."),
        (("1 tablet (5 mg)", "", "once daily", ""), "每次 1 顆（5 mg），每天一次。",
         "每次 1 片（5 mg），每天一次。", "1 tablet (5 mg) each time, once a day."),
        (("Take 2 capsules", "p.o.", "QD", "Swallow whole. Avoid alcohol."),
         "服用 2 顆膠囊，口服，每天一次，整顆吞服，避免飲酒。",
         "服用 2 粒胶囊，口服，每天一次，整片吞服，避免饮酒。",
         "take 2 capsules, by mouth, once a day, swallow it whole, avoid alcohol."),
        (("1-2 puffs", "INH", "QID PRN", ""), "每次 1-2 噴，吸入，每天四次，需要時使用。",
         "每次 1-2 喷，吸入，每天四次，需要时使用。",
         "1-2 puffs each time, inhaled, four times a day, when needed."),
        (("2錠", "", "每12小時一次", "飯後及睡前"), "每次 2 顆，每 12 小時一次，飯後和睡前。",
         "每次 2 片，每 12 小时一次，饭后和睡前。",
         "2 tablets each time, every 12 hours, after meals and at bedtime."),
        (("0.5 mg", "IV", "STAT", ""), "每次 0.5 mg，靜脈注射，立即使用。",
         "每次 0.5 mg，静脉注射，立即使用。", "0.5 mg each time, into a vein, right away."),
    ],
)  # fmt: skip
def test_a_label_is_spoken_in_each_language(label, zh_hant, zh_hans, en):
    assert describe(Language.ZH_HANT, *label) == zh_hant
    assert describe(Language.ZH_HANS, *label) == zh_hans
    assert describe(Language.EN, *label) == en


@pytest.mark.parametrize(
    "written",
    ["OD", "Q2D", "10 mg/kg", "Do not take after meals", "5 MIU", "Stage IV", "BIDX", "10U",
     "1 tablet if INR < 2", "不可飯後服用", "依醫師指示", "half a  BID-ish"],
)  # fmt: skip
@pytest.mark.parametrize("language", list(Language))
def test_what_the_table_does_not_know_stays_as_written(written, language):
    for field in ("dose", "route", "frequency", "instructions"):
        assert describe(language, **{field: written}).rstrip("。.") == written


def test_a_label_that_says_nothing_gives_no_sentence():
    assert describe(Language.EN) == ""
    assert describe(Language.EN, " ", ";", "\n", "。") == ""


def test_the_same_statement_is_said_once():
    assert describe(Language.EN, frequency="TID PC", instructions="after meals") == (
        "three times a day, after meals."
    )


def test_worded_keeps_everything_but_the_wording():
    medication = Medication("X", "某錠", "x", "5 mg", "1 tablet", "PO", "BID", "PC", True)
    worded = TERMS.worded(medication, Language.ZH_HANT)
    assert worded == Medication("X", "某錠", "x", "5 mg", "1 顆", "口服", "每天兩次", "飯後", True)


def test_the_spoken_name_is_that_of_the_language():
    medication = Medication("Amlodipine 5 mg tablet", "脈優錠", "amlodipine", "5 mg")
    assert TERMS.spoken_name(medication, Language.EN) == "Amlodipine 5 mg tablet"
    assert TERMS.spoken_name(medication, Language.ZH_HANT) == "脈優錠 5 mg"
    for language in (Language.ZH_HANT, Language.EN):
        assert TERMS.spoken_name(Medication("A", "", "", "5 mg"), language) == "A 5 mg"
    assert TERMS.spoken_name(Medication("A 5mg", "", "", "5 mg"), Language.EN) == "A 5mg"
    stated = Medication("A", "脈優錠 5 mg", "", "5 mg")
    assert TERMS.spoken_name(stated, Language.ZH_HANT) == "脈優錠 5 mg"
    other = Medication("A", "脈優錠 15 mg", "", "5 mg")
    assert TERMS.spoken_name(other, Language.ZH_HANT) == "脈優錠 15 mg 5 mg"


NUMBER = st.one_of(
    st.integers(0, 5000).map(str),
    st.decimals(0, 100, places=2).map(str),
    st.sampled_from(["1/2", "1-2", "1,000", "0.25", "2 - 3", "1.5/2"]),
)
UNIT = st.sampled_from(
    [
        "tablet",
        " tablets",
        "錠",
        " mg",
        "mL",
        " units",
        "小時",
        " times a day",
        "h",
        "天",
        "/kg",
        "%",
    ]
)
WORD = st.sampled_from(
    ["BID", "PC", "每", "Q", "every ", " hours", "take ", "飯後", ", ", "；", "。", " (", ")",
     "for ", " and ", "\n", "睡前", "not ", ". "]
)  # fmt: skip
LABEL = st.lists(st.one_of(NUMBER, UNIT, WORD, st.text(max_size=4)), max_size=8).map("".join)


@given(LABEL, LABEL, LABEL, LABEL, st.sampled_from(list(Language)))
def test_no_number_is_lost_changed_or_moved(dose, route, frequency, instructions, language):
    said = describe(language, dose, route, frequency, instructions)
    written = " ".join((dose, route, frequency, instructions))
    assert re.findall(r"\d", said) == re.findall(r"\d", written)


@given(NUMBER, st.sampled_from(list(Language)))
def test_a_known_amount_keeps_its_number_and_unit_together(number, language):
    assert f"{number} mg" in describe(language, dose=f"{number} mg")


@pytest.mark.parametrize(
    ("word", "value"),
    [("一", 1), ("兩", 2), ("二", 2), ("三", 3), ("四", 4), ("五", 5), ("六", 6), ("七", 7),
     ("八", 8), ("九", 9)],
)  # fmt: skip
def test_a_number_in_words_keeps_its_value_across_languages(word, value):
    names = ["", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    plural = "tablet" if value == 1 else "tablets"
    assert describe(Language.EN, f"{word}顆") == f"{names[value]} {plural} each time."
    back = describe(Language.ZH_HANT, f"{names[value]} {plural}")
    assert back == f"每次{word.replace('二', '兩')}顆。"
