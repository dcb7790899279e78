"""Foods, drinks and herbs are read, and who avoids them is not warned."""

from __future__ import annotations

import pytest
from interactions_test_kit import charts
from interactions_test_kit import gravest
from interactions_test_kit import interactions


def foods_of(text):
    return {reading.id for reading in charts().read_foods([text])}


@pytest.mark.parametrize(
    ("text", "food"),
    [
        ("200 ml of grapefruit juice every morning", "grapefruit"),
        ("早上都喝葡萄柚汁", "grapefruit"),
        ("柚子", "grapefruit"),
        ("grapefrut", "grapefruit"),
        ("two glasses of wine with dinner", "alcohol"),
        ("每天喝高粱", "alcohol"),
        ("牛奶", "dairy"),
    ],
)
def test_a_food_is_read(text, food):
    assert food in foods_of(text)


@pytest.mark.parametrize(
    "text", ["no alcohol", "doesn't drink alcohol", "不喝酒", "avoids grapefruit", "無", ""]
)
def test_what_is_avoided_does_not_count(text):
    assert foods_of(text) == set()


def test_a_herb_is_found_whichever_list_it_stands_in():
    checker = interactions()
    as_drug = checker.check(["warfarin", "St John's wort"]).findings
    as_food = checker.check(["warfarin"], foods=["St John's wort"]).findings
    assert [f.severity for f in as_drug] == [f.severity for f in as_food] == ["major"]
    assert as_food[0].kind == "drug_food"


@pytest.mark.parametrize(
    ("text", "food"),
    [
        ("滴酒不沾", "alcohol"),
        ("不菸不酒", "alcohol"),
        ("酒已經戒了", "alcohol"),
        ("alcohol: never", "alcohol"),
        ("teetotal", "alcohol"),
        ("plain water only, breakfast an hour later", "meal"),
        ("takes it 30 min before breakfast", "meal"),
        ("空腹配白開水，一小時後才吃早餐", "meal"),
        ("milk 3 hours later", "dairy"),
        ("ricotta, mozzarella", "tyramine"),
    ],
)
def test_what_is_not_taken_or_well_apart_does_not_count(text, food):
    assert food not in {reading.id for reading in charts().read_foods([text])}


@pytest.mark.parametrize(
    ("text", "food"),
    [
        ("with breakfast", "meal"),
        ("breakfast 10 min later", "meal"),
        ("coffee before breakfast", "coffee"),
        ("wine an hour later", "alcohol"),
        ("grapefruit juice 2 hours later", "grapefruit"),
        ("早餐配牛奶", "dairy"),
    ],
)
def test_what_is_not_far_enough_or_acts_for_long_does(text, food):
    assert food in {reading.id for reading in charts().read_foods([text])}


@pytest.mark.parametrize("text", ["白飯、豆腐、水煮蛋", "rice, tofu, chicken", "豆漿、饅頭"])
def test_soy_with_warfarin_is_no_finding(text):
    assert gravest(["可邁丁"], (), (), [text]) == "none"
