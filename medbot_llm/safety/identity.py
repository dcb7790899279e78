"""The identity gate: who may hear of the medicine, decided by scans alone.

"Yes, that's me" opens nothing. A scan opens if it was compared with this task, shows nothing
that disagrees, comes from a source and a receiver that the scene allows, and if with earlier
scans at the same stop enough identifiers of the patient agree. The rules are data
(`resource/identity.yaml`, where their source stands). Not thread-safe.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Identity
from medbot_llm.domain import IdentityScan
from medbot_llm.domain import MedbotError
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import ScanResult
from medbot_llm.domain import ScanSource
from medbot_llm.domain import Scene
from medbot_llm.domain import SpeakerRole
from medbot_llm.domain import StringEnum

FILE_NAME = "identity.yaml"

PATIENT_IDENTIFIERS = frozenset({"patient_id", "name", "birth_date"})
PLACE_IDENTIFIERS = frozenset({"bed", "room"})
STAFF = frozenset({SpeakerRole.NURSE, SpeakerRole.PHARMACIST})


class IdentityRulesError(MedbotError):
    """The identity rules are missing or incomplete; names file and key."""


class Outcome(StringEnum):
    """What a scan did."""

    OPENED = "opened"
    KNOWN = "known"
    """It only says again what is open already: scanners read ten times a second."""
    INCOMPLETE = "incomplete"
    """It agrees, but not enough identifiers do yet."""
    UNREADABLE = "unreadable"
    MISMATCH = "mismatch"
    WRONG_PLACE = "wrong_place"
    """The right patient's at another bed, or another bed's here."""
    WRONG_SOURCE = "wrong_source"
    """This scene does not take what was scanned."""
    WRONG_RECEIVER = "wrong_receiver"
    """Whoever was scanned may not take it in this scene."""
    LOCKED = "locked"
    """Too many wrong scans: only a staff badge opens now."""


@dataclass(frozen=True)
class SceneRule:
    """What one scene demands; fields as in `resource/identity.yaml`."""

    sources: frozenset[ScanSource]
    receivers: frozenset[SpeakerRole]
    identifiers: int
    scan_timeout_s: float
    asks: int
    disclosure_timeout_s: float
    mismatches: int


@dataclass(frozen=True)
class IdentityRules:
    """The rules of all scenes."""

    scenes: Mapping[Scene, SceneRule]
    child_receivers: frozenset[SpeakerRole]

    @classmethod
    def read(cls, file: Path | None = None) -> IdentityRules:
        """Read a file of rules; None: the packaged one.

        Raises:
            IdentityRulesError: It can't be read, or a rule is missing or senseless.
        """
        try:
            source = file or importlib.resources.files("medbot_llm.resource") / FILE_NAME
            tree = yaml.safe_load(source.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise IdentityRulesError(f"{file or FILE_NAME}: can't be read: {reason}") from None
        where = str(file or FILE_NAME)
        if not isinstance(tree, dict):
            raise IdentityRulesError(f"{where}: must be a mapping of the scenes")
        scenes = {scene: _scene_rule(tree.get(scene.value), where, scene) for scene in Scene}
        return cls(scenes, _members(tree, "child_receivers", SpeakerRole, where))


@dataclass
class IdentityGate:
    """Knows who stands there, as far as scans have told for the current task."""

    rules: IdentityRules
    state: Identity = Identity.UNKNOWN
    receiver: SpeakerRole = SpeakerRole.UNKNOWN
    """Who was let in; UNKNOWN while closed."""
    _agreed: set[str] = field(default_factory=set)
    _wrong_scans: int = 0

    @property
    def is_open(self) -> bool:
        """Whether the medicine and the patient may be spoken of."""
        return self.state is Identity.CONFIRMED

    @property
    def is_staff(self) -> bool:
        """Whether it was staff who were let in."""
        return self.is_open and self.receiver in STAFF

    def __copy__(self) -> IdentityGate:
        """The same knowledge, which goes its own way from here."""
        return replace(self, _agreed=set(self._agreed))

    def close(self) -> None:
        """Forget who stands there."""
        self.state, self.receiver = Identity.UNKNOWN, SpeakerRole.UNKNOWN
        self._agreed.clear()
        self._wrong_scans = 0

    def rule(self, task: DeliveryTask) -> SceneRule:
        """The rule for a task."""
        return self.rules.scenes[task.scene]

    def scan(self, scan: IdentityScan, task: DeliveryTask) -> Outcome:
        """Take a scan and tell what it did."""
        outcome = self._judge(scan, task)
        if outcome in (Outcome.MISMATCH, Outcome.WRONG_PLACE):
            # Whoever was let in before, someone else is here now.
            self.state, self.receiver = Identity.MISMATCH, SpeakerRole.UNKNOWN
            self._agreed.clear()
            self._wrong_scans += 1
        elif outcome is Outcome.OPENED:
            self.state, self.receiver = Identity.CONFIRMED, receiver_of(scan)
            self._wrong_scans = 0
        return outcome

    def is_known(self, scan: IdentityScan, task: DeliveryTask) -> bool:
        """Whether a scan would only say again what is open already."""
        return (
            self.is_open
            and scan.result is ScanResult.MATCH
            and not _disagreement(scan, task)
            and receiver_of(scan) is self.receiver
        )

    def _judge(self, scan: IdentityScan, task: DeliveryTask) -> Outcome:
        rule = self.rule(task)
        if scan.result is ScanResult.UNREADABLE:
            return Outcome.UNREADABLE
        if self.is_known(scan, task):
            return Outcome.KNOWN
        if scan.result is not ScanResult.MATCH:
            return _disagreement(scan, task) or Outcome.MISMATCH
        wrong = _disagreement(scan, task)
        if wrong is not None:
            return wrong
        if scan.source not in rule.sources:
            return Outcome.WRONG_SOURCE
        receiver = receiver_of(scan)
        if receiver in STAFF and scan.source is ScanSource.STAFF_BADGE:
            # Staff answer for the patient's identity themselves; their badge names them.
            return Outcome.OPENED if receiver in rule.receivers else Outcome.WRONG_RECEIVER
        if self._wrong_scans >= rule.mismatches:
            return Outcome.LOCKED
        allowed = rule.receivers
        if task.patient_group is PatientGroup.CHILD:
            allowed = allowed | self.rules.child_receivers
        if receiver not in allowed:
            return Outcome.WRONG_RECEIVER
        self._agreed |= _agreeing(scan, task)
        return Outcome.OPENED if len(self._agreed) >= rule.identifiers else Outcome.INCOMPLETE


def receiver_of(scan: IdentityScan) -> SpeakerRole:
    """Who was scanned: as the scan says, else as its source implies."""
    if scan.source is ScanSource.WRISTBAND:
        # A wristband names its patient, whoever is said to have shown it.
        return SpeakerRole.PATIENT
    if scan.subject_role is not SpeakerRole.UNKNOWN:
        return scan.subject_role
    if scan.source is ScanSource.STAFF_BADGE:
        return SpeakerRole.NURSE
    return SpeakerRole.PATIENT


def _disagreement(scan: IdentityScan, task: DeliveryTask) -> Outcome | None:
    """What a scan shows that is not this task's; None for nothing."""
    if scan.task_id and scan.task_id != task.task_id:
        return Outcome.MISMATCH
    wrong = set(scan.mismatched_identifiers)
    if wrong:
        return Outcome.WRONG_PLACE if wrong <= PLACE_IDENTIFIERS else Outcome.MISMATCH
    is_patient = receiver_of(scan) is SpeakerRole.PATIENT
    if is_patient and scan.subject_id and task.patient_id and scan.subject_id != task.patient_id:
        return Outcome.MISMATCH
    return None


def _agreeing(scan: IdentityScan, task: DeliveryTask) -> set[str]:
    """The identifiers of the patient that a scan confirms."""
    found = set(scan.matched_identifiers) & PATIENT_IDENTIFIERS
    if scan.subject_id and scan.subject_id == task.patient_id:
        found.add("patient_id")
    if scan.source is ScanSource.PICKUP_CODE:
        found.add("pickup_code")
    return found


def _scene_rule(tree: Any, where: str, scene: Scene) -> SceneRule:
    if not isinstance(tree, dict):
        raise IdentityRulesError(f"{where}: the rule for {scene} is missing")
    where = f"{where}: {scene}"
    return SceneRule(
        sources=_members(tree, "sources", ScanSource, where),
        receivers=_members(tree, "receivers", SpeakerRole, where),
        identifiers=int(_number(tree, "identifiers", where, 1, 3)),
        scan_timeout_s=_number(tree, "scan_timeout_s", where, 5, 3600),
        asks=int(_number(tree, "asks", where, 0, 10)),
        disclosure_timeout_s=_number(tree, "disclosure_timeout_s", where, 10, 3600),
        mismatches=int(_number(tree, "mismatches", where, 1, 20)),
    )


def _members(tree: Mapping[str, Any], key: str, kind: Any, where: str) -> frozenset[Any]:
    values = tree.get(key)
    if not isinstance(values, list) or not values:
        raise IdentityRulesError(f"{where}: {key} must be a list that is not empty")
    unknown = [str(value) for value in values if value not in kind.values()]
    if unknown:
        allowed = ", ".join(kind.values())
        raise IdentityRulesError(f"{where}: {key}: unknown {', '.join(unknown)}; it is {allowed}")
    return frozenset(kind(value) for value in values)


def _number(tree: Mapping[str, Any], key: str, where: str, low: float, high: float) -> float:
    value = tree.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise IdentityRulesError(f"{where}: {key} must be a number from {low} to {high}")
    return float(value)
