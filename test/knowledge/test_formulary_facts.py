"""Facts are finished sentences in the language of the conversation."""

import dataclasses

import pytest

from medbot_llm.domain import Language
from medbot_llm.knowledge.medicine import FACT_FIELDS

HANT, HANS, EN = Language.ZH_HANT, Language.ZH_HANS, Language.EN


def test_effects_are_listed_as_people_say_them(small):
    words = small.facts(small.medicine("amlodipine"), "common", EN)
    assert words.startswith(
        "Common side effects are swollen ankles, headache, a flushed warm face and dizziness."
    )


def test_no_more_than_four_effects_are_said(small):
    medicine = small.medicine("amlodipine")
    assert len(medicine.common) == 5
    assert "tiredness" not in small.facts(medicine, "common", EN)


def test_the_gravest_effect_is_said_first_and_what_to_do_last(small):
    words = small.facts(small.medicine("amlodipine"), "serious", EN)
    assert words.index("low blood pressure") < words.index("kidney injury")
    assert words.endswith("get help at once.")


def test_serious_effects_end_with_what_to_do_in_chinese(small):
    words = small.facts(small.medicine("cetirizine"), "serious", HANT)
    assert words == "少見但嚴重的有：耳朵發紫。如果有這些情形，請當天就告訴護理師或醫師。"


def test_a_grave_common_effect_is_told_apart(small):
    words = small.facts(small.medicine("insulin-glargine"), "common", HANT)
    assert words.endswith("如果有低血糖，像是冒冷汗、發抖、心慌，請立刻求助。")


def test_mainland_words_are_used_in_simplified_chinese(small):
    words = small.facts(small.medicine("amlodipine"), "advice", HANS)
    assert words == "脚踝可能会肿，肿了请告诉护士。"


def test_days_out_of_the_fridge_are_said(small):
    words = small.facts(small.medicine("insulin-glargine"), "storage", HANT)
    assert "室溫28天" in words


def test_a_limit_of_age_is_said_in_years_and_in_months(small):
    assert "6歲以上" in small.facts(small.medicine("amlodipine"), "children", HANT)
    assert "6 months" in small.facts(small.medicine("insulin-glargine"), "children", EN)


def test_nothing_is_said_of_a_medicine_known_by_name(small):
    ginkgo = small.medicine("ginkgo")
    assert not ginkgo.is_full
    for field in FACT_FIELDS:
        for language in Language:
            assert small.facts(ginkgo, field, language) == ""


def test_an_unknown_field_is_an_error(small):
    with pytest.raises(KeyError):
        small.facts(small.medicine("amlodipine"), "colour", EN)


def test_a_missed_dose_is_never_doubled(formulary):
    for medicine in formulary.medicines:
        if medicine.is_full and medicine.missed == "standard":
            words = formulary.facts(medicine, "missed", EN)
            assert "more than half" in words
            assert "Never take two doses" in words


def test_every_fact_is_a_finished_sentence_in_each_language(formulary):
    for medicine in formulary.medicines:
        if not medicine.is_full:
            continue
        for field in FACT_FIELDS:
            for language in Language:
                words = formulary.facts(medicine, field, language)
                if field == "advice" and not medicine.advice:
                    continue
                assert words, (medicine.id, field, language)
                assert words[-1] in (".!?" if language is EN else "。！？"), (medicine.id, field)
                assert "{" not in words, (medicine.id, field)


def test_english_facts_have_no_chinese_and_chinese_facts_no_english_sentence(formulary):
    for medicine in formulary.medicines:
        for field in FACT_FIELDS:
            assert not any("\u4e00" <= c <= "\u9fff" for c in formulary.facts(medicine, field, EN))


def test_simplified_facts_have_no_words_of_taiwan(formulary):
    for medicine in formulary.medicines:
        for field in FACT_FIELDS:
            words = formulary.facts(medicine, field, HANS)
            for word in ("护理师", "仿单", "健保", "药师师", "荷尔蒙"):
                assert word not in words, (medicine.id, field, words)


def test_medicines_are_immutable(small):
    with pytest.raises(dataclasses.FrozenInstanceError):
        small.medicine("amlodipine").food = "with_food"
