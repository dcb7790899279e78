"""Near-duplicates are found whatever their script, spacing and case; different texts are not."""

from __future__ import annotations

import random

import pytest

from medbot_llm.domain import Language
from medbot_llm.text.language import to_script
from medbot_training.data.near import NearIndex
from medbot_training.data.near import likeness
from medbot_training.data.near import signature

TEXT = (
    "我中午的降血壓藥忘記吃了，怎麼辦？別擔心，千萬不要一次吃兩倍的劑量，"
    "快到下次時間就跳過這一次。"
)


@pytest.mark.parametrize(
    "other",
    [
        TEXT,
        to_script(TEXT, Language.ZH_HANS),
        TEXT.replace("，", " , ").replace("？", "?"),
        TEXT.replace("中午", "早上"),
    ],
)
def test_the_same_but_for_a_little(other):
    assert likeness(signature(TEXT), signature(other)) >= 0.8


@pytest.mark.parametrize(
    "other", ["", "頭暈怎麼辦？請先坐下休息。", TEXT[:12] + "可以配葡萄柚汁嗎？不可以喔。"]
)
def test_another_text(other):
    assert likeness(signature(TEXT), signature(other)) < 0.6


def test_estimate_is_near_the_real_share():
    chance = random.Random(3)
    letters = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 3000))
    errors = []
    for _ in range(40):
        first = "".join(chance.choice(letters) for _ in range(300))
        keep = chance.randrange(100, 300)
        second = first[:keep] + "".join(chance.choice(letters) for _ in range(300 - keep))
        one, two = ({t[i : i + 3] for i in range(298)} for t in (first, second))
        errors.append(
            likeness(signature(first), signature(second)) - len(one & two) / len(one | two)
        )
    assert abs(sum(errors) / len(errors)) < 0.03
    assert max(map(abs, errors)) < 0.2


def test_pairs_and_groups():
    index = NearIndex()
    for text in (TEXT, "完全不同的一句話，跟藥沒有關係。", TEXT.replace("中午", "晚上"), TEXT):
        index.add(text)
    assert [(pair.first, pair.second) for pair in index.pairs()] == [(0, 2), (0, 3)]
    assert index.groups() == [0, 1, 0, 0]
    assert index.groups(same=[(1, 2)]) == [0, 0, 0, 0]


def test_every_near_duplicate_among_thousands_is_found():
    chance = random.Random(5)
    letters = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 3000))
    texts = ["".join(chance.choice(letters) for _ in range(120)) for _ in range(2000)]
    index = NearIndex()
    for text in texts:
        index.add(text)
    for text in texts[:300]:
        at = chance.randrange(100)
        index.add(text[:at] + "改" + text[at + 1 :])
    found = {pair.second: pair.first for pair in index.pairs()}
    assert found == {2000 + number: number for number in range(300)}


def test_true_share_decides_where_the_estimate_is_too_low_or_too_high():
    """Three standard errors around the threshold, where one pair in three is estimated wrong."""
    chance = random.Random(8)
    letters = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 3000))
    index, shares, estimates = NearIndex(), [], []
    for _ in range(400):
        first = "".join(chance.choice(letters) for _ in range(100))
        changed = chance.randrange(8, 15)
        second = first + "".join(chance.choice(letters) for _ in range(2 * changed))
        index.add(first)
        index.add(second)
        one, two = ({t[i : i + 3] for i in range(len(t) - 2)} for t in (first, second))
        shares.append(len(one & two) / len(one | two))
        estimates.append(likeness(signature(first), signature(second)))
    near = {2 * n for n, share in enumerate(shares) if share >= 0.8}
    assert near != {2 * n for n, estimate in enumerate(estimates) if estimate >= 0.8}
    pairs = {pair.first: pair.likeness for pair in index.pairs()}
    assert set(pairs) == near
    assert all(pairs[number] == shares[number // 2] for number in near)
    groups = index.groups()
    assert {n for n in range(0, 800, 2) if groups[n + 1] == n} == near


def test_nothing_at_all():
    assert list(NearIndex().pairs()) == [] and NearIndex().groups() == []
