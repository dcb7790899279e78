"""The fixed words of an emergency: true to what was done, in every language, scene and region."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import pytest
import yaml

from medbot_llm.domain import Language
from medbot_llm.domain import Scene
from medbot_llm.safety.escalation import EmergencyWords
from medbot_llm.safety.escalation import EmergencyWordsError

CLAIMS = (
    "通知",
    "已經發出",
    "已经发出",
    "calling the",
    "have told",
    "have asked",
    "have also sent",
)
ALL = [(language, scene) for language in Language for scene in Scene]


@pytest.fixture(scope="module")
def words() -> EmergencyWords:
    return EmergencyWords()


@pytest.mark.parametrize(("language", "scene"), ALL)
@pytest.mark.parametrize("category", ["chest_pain", "suicide_self_harm", "no such category"])
def test_nothing_is_claimed_of_an_alert_that_did_not_go_out(
    words: EmergencyWords, language: Language, scene: Scene, category: str
) -> None:
    sent = " ".join(words.emergency(category, language, scene, sent=True))
    unsent = " ".join(words.emergency(category, language, scene, sent=False))
    assert any(claim in sent for claim in CLAIMS)
    assert not any(claim in unsent for claim in CLAIMS)


@pytest.mark.parametrize(("language", "scene"), ALL)
@pytest.mark.parametrize("category", ["side_effect_mild", "identity_mismatch"])
def test_a_call_for_staff_is_claimed_only_if_it_went_out(
    words: EmergencyWords, language: Language, scene: Scene, category: str
) -> None:
    sent, unsent = (
        " ".join(words.nurse(category, language, scene, sent=was_sent))
        for was_sent in (True, False)
    )
    assert any(claim in sent for claim in CLAIMS)
    assert not any(claim in unsent for claim in CLAIMS)


def test_only_a_complaint_is_told_what_to_do_if_it_gets_worse(words: EmergencyWords) -> None:
    complaint, wrong_scan = (
        " ".join(words.nurse(category, Language.EN, Scene.WARD, sent=True))
        for category in ("side_effect_mild", "identity_mismatch")
    )
    assert "worse" in complaint
    assert "worse" not in wrong_scan


@pytest.mark.parametrize(
    ("region", "number", "line"),
    [
        ("tw", "119", "1925"),
        ("cn", "120", "12356"),
        ("us", "911", "988"),
        ("eu", "112", "116 123"),
    ],
)
def test_at_home_the_numbers_of_the_region_are_told(region: str, number: str, line: str) -> None:
    words = EmergencyWords(region)
    for language in Language:
        assert number in " ".join(words.emergency("stroke", language, Scene.HOME, sent=True))
        assert line in " ".join(
            words.emergency("suicide_self_harm", language, Scene.HOME, sent=True)
        )


def test_in_a_ward_the_nurse_is_called_and_the_bell_is_named(words: EmergencyWords) -> None:
    said = words.emergency("chest_pain", Language.EN, Scene.WARD, sent=True)
    assert "nurse" in said[0]
    assert "call bell" in said[0]
    assert "119" not in " ".join(said)


def test_every_emergency_of_the_rubric_has_a_first_step(words: EmergencyWords) -> None:
    table = (Path(__file__).parents[2] / "docs" / "triage.md").read_text(encoding="utf-8")
    urgent = {
        line.split("`")[1]
        for line in table.splitlines()
        if line.startswith("| `") and "| emergency" in line and line.count("`") >= 2
    } - {"emergency", "suicide_self_harm"}
    assert len(urgent) >= 14
    for category in urgent:
        plain = words.emergency("benign", Language.EN, Scene.WARD, sent=True)
        assert len(words.emergency(category, Language.EN, Scene.WARD, sent=True)) > len(plain)


def test_an_unknown_region_is_named_with_those_there_are() -> None:
    with pytest.raises(EmergencyWordsError, match=r"no region mars.*tw"):
        EmergencyWords("mars")


def changed(tmp_path: Path, change: object) -> Path:
    tree = yaml.safe_load(
        (importlib.resources.files("medbot_llm.resource") / "emergency.yaml").read_text("utf-8")
    )
    change(tree)  # type: ignore[operator]
    file = tmp_path / "emergency.yaml"
    file.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda tree: tree["emergency"]["sent"]["en"].pop("home"), "emergency.sent.en.home"),
        (lambda tree: tree.pop("nurse"), "nurse.sent"),
        (
            lambda tree: tree["emergency"]["sent"]["en"].update(home=["Call for help."]),
            "lacks {number}",
        ),
        (
            lambda tree: tree["suicide_self_harm"]["sent"]["en"].update(home=["Talk to someone."]),
            "lacks {lines}",
        ),
        (lambda tree: tree["emergency"]["sent"]["en"].update(er=["{who} comes"]), "only"),
        (lambda tree: tree["first_aid"]["stroke"].pop("zh-Hans"), "first_aid.stroke.zh-Hans"),
        (lambda tree: tree["regions"]["tw"].pop("lines"), "regions.tw"),
    ],
)
def test_words_that_are_missing_or_wrong_are_named(
    tmp_path: Path, change: object, named: str
) -> None:
    with pytest.raises(EmergencyWordsError, match=named):
        EmergencyWords(file=changed(tmp_path, change))
