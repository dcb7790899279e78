"""Conditions are read as charts and people write them, in three languages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interactions_test_kit import charts
from interactions_test_kit import conditions_of
from interactions_test_kit import formulary


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("CKD stage 4", "ckd_severe"),
        ("第四期慢性腎臟病", "ckd_severe"),
        ("慢性肾脏病5期", "ckd_end"),
        ("stage 3b CKD", "ckd_3b"),
        ("ESRD on HD", "dialysis"),
        ("洗腎", "ckd_severe"),
        ("s/p kidney transplant 2015", "immunosuppressed"),
        ("蠶豆症", "g6pd"),
        ("蚕豆病", "g6pd"),
        ("G6PD deficient", "g6pd"),
        ("HFrEF", "heart_failure"),
        ("鬱血性心衰竭", "heart_failure"),
        ("childhood asthma, outgrown", "asthma"),
        ("氣喘控制不好", "asthma"),
        ("asthma, not well controlled", "asthma"),
        ("can't rule out asthma", "asthma"),
        ("no CKD but has asthma", "asthma"),
        ("氣喘沒有發作", "asthma"),
        ("小時候有氣喘,現在好了", "asthma"),
        ("MG", "myasthenia"),
        ("migraine with aura", "migraine_aura"),
        ("glaucoma (angle-closure)", "glaucoma_narrow"),
        ("HLA-B*5801 positive", "hla_b5801"),
        ("trying to conceive", "planning_pregnancy"),
        ("備孕中", "planning_pregnancy"),
        ("正在餵母乳", "breastfeeding"),
        ("family history of medullary thyroid carcinoma", "medullary_thyroid"),
        ("Patient's mother says he has asthma", "asthma"),
        ("媽媽說他有氣喘", "asthma"),
        ("媽媽有糖尿病,本人有蠶豆症", "g6pd"),
        ("s/p RYGB 2022", "bariatric_surgery"),
        ("减重手术后(袖状胃切除)", "bariatric_surgery"),
        ("神经性贪食症", "eating_disorder"),
        ("AN (anorexia nervosa) as teen", "eating_disorder"),
        ("bipolar I, manic now", "mania"),
        ("躁症發作中", "mania"),
        ("mania in 2010", "bipolar"),
        ("吃安眠藥後夢遊開車過", "complex_sleep"),
        ("sleep-driving after zolpidem", "complex_sleep"),
        ("活动性消化道溃疡伴出血", "active_bleeding"),
        ("十二指肠溃疡伴活动性出血", "active_bleeding"),
        ("胃潰瘍合併出血", "gi_bleed"),
        ("migraine w/ aura", "migraine_aura"),
        ("asthma, not on treatment", "asthma"),
        ("sz d/o", "epilepsy"),
        ("active GIB", "active_bleeding"),
        ("pos UPT", "pregnancy"),
        ("hCG+", "pregnancy"),
        ("planning to conceive next month", "planning_pregnancy"),
        ("teen with influenza B", "under_18"),
        ("MI in 2021", "coronary_disease"),
    ],
)
def test_a_condition_is_read(text, condition):
    assert condition in conditions_of(text)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("eGFR 22", "ckd_severe"),
        ("eGFR <30", "ckd_severe"),
        ("腎絲球過濾率 18", "ckd_severe"),
        ("CrCl 12 mL/min", "ckd_end"),
        ("eGFR: 40", "ckd_3b"),
        ("K 5.9", "hyperkalaemia"),
        ("血鉀 2.9", "hypokalaemia"),
        ("QTc 510", "qt_prolongation"),
        ("LVEF 25%", "hfref"),
        ("Na 124", "hyponatraemia"),
        ("platelets 35,000", "thrombocytopenia"),
        ("血小板 4 萬", "thrombocytopenia"),
        ("HR 42", "bradycardia"),
        ("BP 85/50", "hypotension"),
        ("creatinine 3.5", "ckd_severe"),
        ("creatinine 310 umol/L", "ckd_severe"),
        ("3-year-old", "child_under_6"),
        ("三個月大", "infant"),
        ("出生5天", "newborn"),
        ("15 yo girl", "under_16"),
        ("82-year-old", "elderly"),
        ("72F, CHF", "elderly"),
        ("QTc 0.52 s", "qt_prolongation"),
        ("ALT 300", "active_liver_disease"),
        ("CKD IIIb", "ckd_3b"),
        ("68 歲", "elderly"),
        ("smokes 1 ppd, 42 yo", "smoker_over_35"),
    ],
)
def test_a_number_decides(text, condition):
    assert condition in conditions_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "eGFR 75",
        "eGFR > 60",
        "K 4.2",
        "QTc 430 ms",
        "LVEF 60%",
        "platelets 220k",
        "plt 150",
        "creatinine 0.9",
        "glucose 5.5 mmol/L",
        "BP 130/80",
        "vitamin K 5",
        "CKD stage 1",
    ],
)
def test_a_normal_number_is_no_condition(text):
    assert conditions_of(text) == set()


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("28 weeks pregnant", "pregnancy_third"),
        ("懷孕28週", "pregnancy_third"),
        ("G2P1 at 12w", "pregnancy_first"),
        ("EDC 2026-12-24, currently 36w2d", "pregnancy_third"),
        ("primigravida at 30 weeks", "pregnancy_third"),
        ("胎兒28週", "pregnancy_third"),
        ("G3P1A1, 22 wks", "pregnancy_from_20_weeks"),
        ("pregnant, 32+4 weeks", "pregnancy_third"),
        ("懷孕五個月", "pregnancy_second"),
        ("38 weeks gestation", "pregnancy_term"),
        ("孕婦", "pregnancy"),
        ("可能懷孕", "pregnancy"),
        ("possibly pregnant", "pregnancy"),
    ],
)
def test_a_pregnancy_is_dated(text, condition):
    assert {condition, "pregnancy"} <= conditions_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "denies pregnancy",
        "not pregnant",
        "沒有懷孕",
        "未懷孕",
        "懷孕：否",
        "pregnancy test negative",
        "驗孕陰性",
        "pregnant in 2019",
        "G2P2",
        "was pregnant last year",
        "產後兩週",
        "no plans for pregnancy",
        "wife is pregnant",
    ],
)
def test_no_pregnancy(text):
    assert conditions_of(text) == set()


@pytest.mark.parametrize(
    "text",
    [
        "no asthma",
        "asthma ruled out",
        "ruled out asthma",
        "沒有氣喘",
        "無氣喘病史",
        "否認氣喘",
        "asthma (-)",
        "氣喘：無",
        "asthma: denied",
        "no CKD, not on dialysis",
        "never on dialysis",
        "never had ulcers",
        "not on dialysis",
        "G6PD nl",
        "G6PD WNL",
        "G6PD level: normal",
        "G6PD within normal limits",
        "denies sleepwalking or sleep driving",
        "never diagnosed with asthma",
        "denies asthma or COPD",
        "no history of asthma",
        "no evidence of asthma",
        "father had asthma",
        "爸爸有氣喘",
        "FHx: asthma",
        "family history of asthma",
        "asthma (mother)",
        "家族史：氣喘",
        "Denies chest pain, asthma, or COPD",
    ],
)
def test_what_is_denied_or_a_relatives_does_not_count(text):
    assert conditions_of(text) == set()


@pytest.mark.parametrize(
    "text",
    [
        "healthy",
        "none",
        "無",
        "",
        "hypothyroidism",
        "甲狀腺機能低下",
        "hyperlipidemia",
        "hepatitis B vaccine",
        "stroke prevention",
        "G6PD normal",
        "HIV negative",
        "ex-smoker",
        "hyperkalemia, resolved",
        "no family history of medullary thyroid carcinoma",
        "肝功能正常",
        "normal renal function",
        "AV block: no",
        "non-diabetic",
        "nursing home resident",
        "diabetic foot ulcer",
        "fluid retention",
        "osteoarthritis",
        "高血脂",
    ],
)
def test_what_is_no_condition(text):
    assert conditions_of(text) == set()


def test_a_denial_ends_where_the_next_statement_begins():
    assert "ckd_severe" in conditions_of("no asthma, CKD stage 4")
    assert conditions_of("無糖尿病,有氣喘") == {"asthma"}
    assert "asthma" not in conditions_of("否認氣喘、高血壓")


def test_a_pacemaker_takes_the_block_away():
    assert "av_block" in conditions_of("complete heart block")
    assert "av_block" not in conditions_of("complete heart block", "pacemaker 2020")
    assert "av_block" in conditions_of("complete heart block, no pacemaker")


def test_open_angle_glaucoma_is_not_the_dangerous_one():
    assert "glaucoma" not in conditions_of("open-angle glaucoma")
    assert "glaucoma" not in conditions_of("開放性青光眼")


def test_a_breast_feeding_mother_is_no_newborn():
    assert conditions_of("breastfeeding a newborn") == {"breastfeeding"}


@pytest.mark.parametrize(
    ("text", "condition"),
    [("astma", "asthma"), ("殘豆證", "g6pd"), ("epilepsi", "epilepsy"), ("pregnent", "pregnancy")],
)
def test_a_slip_of_the_pen_or_of_the_ear_is_read(text, condition):
    assert condition in conditions_of(text)


def test_each_condition_is_read_by_each_of_its_terms():
    for row in formulary().tables["conditions"]:
        for term in row.get("terms", ()):
            found = conditions_of(term)
            # A term may be a part of a longer, graver one; never may it be read as nothing.
            assert found, (row["id"], term)


@given(st.text(max_size=80))
def test_any_text_can_be_read(text):
    for read, known, key in (
        (charts().read_conditions, "蠶豆症", "g6pd"),
        (charts().read_allergies, "sulfa", "sulfonamide_antibiotic"),
        (charts().read_foods, "牛奶", "dairy"),
    ):
        assert (1, key) in {(reading.index, reading.id) for reading in read([text, known])}


def test_readings_say_which_text_they_are_from():
    readings = charts().read_conditions(["healthy", "asthma and 蠶豆症"])
    assert {(reading.index, reading.id) for reading in readings} == {(1, "asthma"), (1, "g6pd")}
