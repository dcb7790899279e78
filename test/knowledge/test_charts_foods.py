"""Foods, drinks and herbs are read, and who avoids them is not warned."""

from __future__ import annotations

import pytest
from interactions_test_kit import charts
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
