"""The identity gate: what opens it, scene by scene, and what keeps it shut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Identity
from medbot_llm.domain import IdentityScan
from medbot_llm.domain import Language
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import ScanResult
from medbot_llm.domain import ScanSource
from medbot_llm.domain import Scene
from medbot_llm.domain import SpeakerRole
from medbot_llm.safety.identity import IdentityGate
from medbot_llm.safety.identity import IdentityRules
from medbot_llm.safety.identity import IdentityRulesError
from medbot_llm.safety.identity import Outcome

RULES = IdentityRules.read()
TASK = DeliveryTask("T-1", Scene.WARD, Language.EN, patient_id="P-1")
WRISTBAND = IdentityScan(
    ScanSource.WRISTBAND,
    ScanResult.MATCH,
    task_id="T-1",
    subject_id="P-1",
    matched_identifiers=("patient_id", "name"),
)
BADGE = IdentityScan(ScanSource.STAFF_BADGE, ScanResult.MATCH, "T-1", "N-1", SpeakerRole.NURSE)
CARD = IdentityScan(
    ScanSource.ID_CARD,
    ScanResult.MATCH,
    "T-1",
    subject_role=SpeakerRole.PATIENT,
    matched_identifiers=("name", "birth_date"),
)
CODE = IdentityScan(ScanSource.PICKUP_CODE, ScanResult.MATCH, "T-1", subject_id="P-1")


def gate() -> IdentityGate:
    return IdentityGate(RULES)


def in_scene(scene: Scene, **fields: object) -> DeliveryTask:
    return replace(TASK, scene=scene, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scene", "scan"),
    [
        (Scene.WARD, WRISTBAND),
        (Scene.WARD, BADGE),
        (Scene.ER, WRISTBAND),
        (Scene.PHARMACY, CODE),
        (Scene.PHARMACY, CARD),
        (Scene.HOME, CARD),
        (Scene.HOME, replace(CARD, subject_id="P-1", matched_identifiers=("name",))),
    ],
)
def test_two_identifiers_or_a_staff_badge_open(scene: Scene, scan: IdentityScan) -> None:
    shut = gate()
    assert shut.scan(scan, in_scene(scene)) is Outcome.OPENED
    assert shut.is_open


def test_one_identifier_does_not_open_and_a_second_scan_completes_it() -> None:
    shut = gate()
    first = replace(WRISTBAND, matched_identifiers=())
    assert shut.scan(first, TASK) is Outcome.INCOMPLETE
    assert not shut.is_open
    assert shut.scan(first, TASK) is Outcome.INCOMPLETE
    second = replace(WRISTBAND, subject_id="", matched_identifiers=("birth_date",))
    assert shut.scan(second, TASK) is Outcome.OPENED


def test_room_and_bed_are_no_identifiers() -> None:
    shut = gate()
    scan = replace(
        WRISTBAND, subject_id="", matched_identifiers=("name", "bed", "room", "task_id")
    )
    assert shut.scan(scan, TASK) is Outcome.INCOMPLETE


@pytest.mark.parametrize(
    ("scan", "outcome"),
    [
        (replace(WRISTBAND, result=ScanResult.MISMATCH), Outcome.MISMATCH),
        (replace(WRISTBAND, result=ScanResult.UNREADABLE), Outcome.UNREADABLE),
        (replace(WRISTBAND, task_id="T-2"), Outcome.MISMATCH),
        (replace(WRISTBAND, subject_id="P-2"), Outcome.MISMATCH),
        (replace(WRISTBAND, mismatched_identifiers=("birth_date",)), Outcome.MISMATCH),
        (replace(WRISTBAND, mismatched_identifiers=("bed",)), Outcome.WRONG_PLACE),
        (
            replace(WRISTBAND, result=ScanResult.MISMATCH, mismatched_identifiers=("bed", "room")),
            Outcome.WRONG_PLACE,
        ),
        (CARD, Outcome.WRONG_SOURCE),
        (CODE, Outcome.WRONG_SOURCE),
        (replace(BADGE, subject_role=SpeakerRole.VISITOR), Outcome.WRONG_RECEIVER),
    ],
)
def test_what_does_not_open_a_ward(scan: IdentityScan, outcome: Outcome) -> None:
    shut = gate()
    assert shut.scan(scan, TASK) is outcome
    assert not shut.is_open


def test_a_relative_receives_at_a_pharmacy_and_for_a_child_but_not_at_a_bed() -> None:
    relative = replace(CARD, subject_role=SpeakerRole.RELATIVE)
    assert gate().scan(relative, in_scene(Scene.PHARMACY)) is Outcome.OPENED
    by_badge = replace(
        BADGE, subject_role=SpeakerRole.RELATIVE, matched_identifiers=("patient_id", "name")
    )
    assert gate().scan(by_badge, TASK) is Outcome.WRONG_RECEIVER
    child = in_scene(Scene.WARD, patient_group=PatientGroup.CHILD)
    assert gate().scan(by_badge, child) is Outcome.OPENED


def test_a_wrong_scan_shuts_what_was_open_and_forgets_half_an_identity() -> None:
    opened = gate()
    opened.scan(WRISTBAND, TASK)
    opened.scan(replace(WRISTBAND, subject_id="P-2"), TASK)
    assert opened.state is Identity.MISMATCH
    assert opened.scan(replace(WRISTBAND, matched_identifiers=()), TASK) is Outcome.INCOMPLETE


def test_after_several_wrong_scans_only_a_badge_opens() -> None:
    shut = gate()
    for _ in range(RULES.scenes[Scene.WARD].mismatches):
        shut.scan(replace(WRISTBAND, result=ScanResult.MISMATCH), TASK)
    assert shut.scan(WRISTBAND, TASK) is Outcome.LOCKED
    assert not shut.is_open
    assert shut.scan(BADGE, TASK) is Outcome.OPENED
    assert shut.is_staff


def test_the_same_scan_again_is_no_news_and_someone_elses_is() -> None:
    opened = gate()
    opened.scan(WRISTBAND, TASK)
    assert opened.scan(WRISTBAND, TASK) is Outcome.KNOWN
    assert opened.scan(BADGE, TASK) is Outcome.OPENED
    assert opened.receiver is SpeakerRole.NURSE


def test_closing_forgets_everything() -> None:
    opened = gate()
    opened.scan(WRISTBAND, TASK)
    opened.close()
    assert opened.state is Identity.UNKNOWN
    assert opened.receiver is SpeakerRole.UNKNOWN
    assert opened.scan(replace(WRISTBAND, matched_identifiers=()), TASK) is Outcome.INCOMPLETE


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("", "must be a mapping"),
        ("- a\n", "must be a mapping"),
        ("ward: {}\n", "ward: sources"),
        ("ward: [\n", "can't be read"),
        ("ward: {sources: [eye], receivers: [patient]}\n", "unknown eye"),
    ],
)
def test_wrong_rules_are_named(tmp_path: Path, change: str, named: str) -> None:
    file = tmp_path / "identity.yaml"
    file.write_text(change, encoding="utf-8")
    with pytest.raises(IdentityRulesError, match=named):
        IdentityRules.read(file)


def test_missing_rules_are_named(tmp_path: Path) -> None:
    with pytest.raises(IdentityRulesError, match=r"nowhere\.yaml"):
        IdentityRules.read(tmp_path / "nowhere.yaml")
