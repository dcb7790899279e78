"""Amounts, schedules and routes are read from any wording."""

import pytest

from medbot_llm.knowledge.quantities import numbered
from medbot_llm.knowledge.quantities import read_amounts
from medbot_llm.knowledge.quantities import read_label_routes
from medbot_llm.knowledge.quantities import read_routes
from medbot_llm.knowledge.quantities import read_schedule
from medbot_llm.knowledge.quantities import read_timings
from medbot_llm.knowledge.quantities import routes_agree


def amounts(text: str) -> list[tuple[float, float, str]]:
    return [(a.low, a.high, a.kind) for a in read_amounts(numbered(text))]


@pytest.mark.parametrize(
    "text",
    [
        "一百毫克",
        "100 mg",
        "0.1 g",
        "100,000 mcg",
        "零點一公克",
        "１００ｍｇ",
        "one hundred milligrams",
    ],
)
def test_one_hundred_milligrams_in_any_wording(text):
    assert amounts(text) == [(pytest.approx(100), pytest.approx(100), "mass")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("兩顆", [(2, 2, "count")]),
        ("貳顆", [(2, 2, "count")]),
        ("two pills", [(2, 2, "count")]),
        ("半顆", [(0.5, 0.5, "count")]),
        ("一次半顆", [(0.5, 0.5, "count")]),
        ("½ tablet", [(0.5, 0.5, "count")]),
        ("1/2 顆", [(0.5, 0.5, "count")]),
        ("a tablet", []),
        ("take a tablet", [(1, 1, "count")]),
        ("一顆半", [(1.5, 1.5, "count")]),
        ("1-2 tablets", [(1, 2, "count")]),
        ("one or two tablets", [(1, 2, "count")]),
        ("一到兩顆", [(1, 2, "count")]),
        ("take two at bedtime", [(2, 2, "count")]),
        ("十個單位", [(10, 10, "activity")]),
        ("10 IU", [(10, 10, "activity")]),
        ("5 cc", [(5, 5, "volume")]),
        ("兩茶匙", [(10, 10, "volume")]),
        ("吸兩下", [(2, 2, "puff")]),
        ("早晚各一下", [(1, 1, "puff")]),
        ("一下是一百微克", [(1, 1, "puff"), (0.1, 0.1, "mass")]),
        ("等一下", []),
        ("三滴", [(3, 3, "drop")]),
        ("0.05% cream", [(0.05, 0.05, "percent")]),
        ("百分之一", [(1, 1, "percent")]),
        ("875/125 mg", [(875, 875, "mass"), (125, 125, "mass")]),
    ],
)
def test_amounts(text, expected):
    assert amounts(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "八點",
        "15 minutes",
        "two hours",
        "30 度",
        "room 5A-12",
        "bed 3",
        "三種藥",
        "0912-345-678",
        "八十歲",
        "120 over 80 mmHg",
        "half the interval",
        "for seven days",
        "一杯 200 ml 的水",
        "15 grams of sugar",
        "a glass of water, about 200 ml",
        "血糖 70 mg/dL",
        "a hundred people",
    ],
)
def test_numbers_that_are_no_doses(text):
    assert amounts(text) == []


def test_a_concentration_is_told_from_an_amount():
    (amount,) = read_amounts(numbered("250 mg/5 mL"))
    assert (amount.low, amount.per, amount.per_size) == (250, "ml", 5)


@pytest.mark.parametrize(
    ("text", "per_day"),
    [
        ("一天三次", 3), ("TID", 3), ("每八小時", 3), ("every 8 hours", 3),
        ("three times daily", 3),
        ("早午晚", 3), ("三餐飯後", 3), ("after each meal", 3), ("BID", 2), ("早晚各一次", 2),
        ("twice a day", 2), ("q12h", 2), ("in the morning and at night", 2), ("QD", 1),
        ("每天早上一次", 1), ("once every day", 1), ("三餐飯後和睡前", 4), ("QID", 4),
        ("隔天吃一次", 0.5), ("every other day", 0.5), ("每週一次", 1 / 7), ("once a week", 1 / 7),
    ],
)  # fmt: skip
def test_times_a_day(text, per_day):
    told = [t.per_day for t in read_timings(numbered(text)) if t.per_day]
    assert told[0] == (pytest.approx(per_day), pytest.approx(per_day))


@pytest.mark.parametrize(
    ("written", "per_day"),
    [
        ("每 72 小時更換一次", 1 / 3), ("q72h", 1 / 3), ("Q3D", 1 / 3), ("每 48 小時一次", 0.5),
        ("每日 2 次", 2), ("每週一早上", 1 / 7), ("every Monday", 1 / 7), ("Mon/Wed/Fri", 3 / 7),
        ("週一、三、五", 3 / 7), ("every fortnight", 1 / 14), ("每兩週一次", 1 / 14),
        ("every 8 weeks", 1 / 56), ("monthly", 1 / 30), ("每三個月一次", 1 / 90),
        ("every 3 months", 1 / 90), ("每半年一次", 1 / 182), ("b.i.d.", 2), ("t.i.d.", 3),
        ("8 am and 8 pm", 2), ("08:00, 20:00", 2), ("9-13-17-21", 4), ("1-0-1", 2),
        ("1-1-1-1", 4), ("0-0-1", 1), ("每 6 小時需要時", 4),
    ],
)  # fmt: skip
def test_labels_write_how_often_in_many_ways(written, per_day):
    schedule = read_schedule(written)
    assert schedule.per_day == (pytest.approx(per_day), pytest.approx(per_day))


@pytest.mark.parametrize("written", ["", "STAT", "as directed", "1 tablet", "day 1 to 21 of 28"])
def test_a_label_that_does_not_say_how_often(written):
    assert read_schedule(written).per_day is None


def test_monday_is_no_frequency():
    assert [t for t in read_timings(numbered("每週一回診")) if t.per_day] == []


@pytest.mark.parametrize(
    ("texts", "times", "slots", "meal", "as_needed"),
    [
        (("QD", "after breakfast"), 1, {"morning"}, "after_meal", False),
        (("HS",), 1, {"bedtime"}, "", False),
        (("BID PC",), 2, set(), "after_meal", False),
        (("TID PC & HS",), 4, {"morning", "noon", "evening", "bedtime"}, "after_meal", False),
        (("Q6H PRN",), 4, set(), "", True),
        (("BID", "morning and noon"), 2, {"morning", "noon"}, "", False),
        (("睡前",), 1, {"bedtime"}, "", False),
    ],
)
def test_the_schedule_of_a_label(texts, times, slots, meal, as_needed):
    schedule = read_schedule(*texts)
    assert schedule.times_high == times
    assert schedule.slots == slots
    assert (schedule.meal, schedule.as_needed) == (meal, as_needed)


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("滴在眼睛裡", "ophthalmic"), ("眼藥水滴耳朵", "otic"), ("swallow it", "oral"),
        ("under the tongue", "sublingual"), ("塞進肛門", "rectal"), ("into your nose", "nasal"),
        ("inject it", "injected"), ("塗在皮膚上", "topical"), ("吸入", "inhaled"),
    ],
)  # fmt: skip
def test_routes(text, route):
    assert route in [said.route for said in read_routes(numbered(text))]


def test_routes_of_labels_and_what_may_be_said_of_them():
    assert read_label_routes("PO") == {"oral"}
    assert read_label_routes("", "Latanoprost eye drops") == {"ophthalmic"}
    assert routes_agree(frozenset({"subcutaneous"}), "injected")
    assert not routes_agree(frozenset({"subcutaneous"}), "intramuscular")
    assert not routes_agree(frozenset({"rectal"}), "oral")
