"""Delivery tasks as JSON, for commands without ROS; fields as in `msg/DeliveryTask.msg`."""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path

from medbot_llm.apps.json_lines import MAX_LINE_BYTES
from medbot_llm.apps.json_lines import InputError
from medbot_llm.apps.json_lines import Record
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import IdentityScan
from medbot_llm.domain import Language
from medbot_llm.domain import Medication
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import ScanResult
from medbot_llm.domain import ScanSource
from medbot_llm.domain import Scene
from medbot_llm.domain import SpeakerRole
from medbot_llm.prompts.untrusted import neutralise

MAX_TEXT_CHARS = 300
MAX_NOTES_CHARS = 1000


def add_talk_options(parser: argparse._ActionsContainer) -> None:
    """Give a command that talks its options of language, delivery and region."""
    parser.add_argument(
        "--lang",
        choices=Language.values(),
        help="language until another one is used (default: the task's, else zh-Hant)",
    )
    parser.add_argument("--task", type=Path, metavar="FILE", help="delivery, a JSON file")
    parser.add_argument(
        "--scan", action="store_true", help="the identity of the patient is confirmed at the start"
    )
    parser.add_argument("--region", default="tw", help="whose emergency numbers are told")


def read_task(record: Record, language: Language = Language.ZH_HANT) -> DeliveryTask:
    """Read a task; text in it is neutralised as at the node's edge.

    Args:
        record: The object.
        language: Where it names none.

    Raises:
        InputError: A field is of the wrong kind; names line and field.
    """

    def text(source: Record, name: str, limit: int = MAX_TEXT_CHARS) -> str:
        return neutralise(source.text(name, ""), limit)

    def texts(name: str) -> tuple[str, ...]:
        found = (neutralise(value, MAX_TEXT_CHARS) for value in record.texts(name))
        return tuple(value for value in found if value)

    medications = tuple(
        Medication(
            name=text(entry, "name"),
            name_zh=text(entry, "name_zh"),
            generic_name=text(entry, "generic_name"),
            strength=text(entry, "strength"),
            dose=text(entry, "dose"),
            route=text(entry, "route"),
            frequency=text(entry, "frequency"),
            instructions=text(entry, "instructions"),
            high_alert=entry.fields.get("high_alert") is True,
        )
        for entry in record.records("medications")
    )
    return DeliveryTask(
        task_id=text(record, "task_id") or "task",
        scene=record.one_of("scene", Scene, Scene.WARD),
        language=record.one_of("language", Language, language),
        patient_group=record.one_of("patient_group", PatientGroup, PatientGroup.ADULT),
        patient_id=text(record, "patient_id") or "patient",
        spoken_name=text(record, "spoken_name"),
        birth_date=_date(record),
        room=text(record, "room"),
        bed=text(record, "bed"),
        medications=medications,
        allergies=texts("allergies"),
        conditions=texts("conditions"),
        notes=text(record, "notes", MAX_NOTES_CHARS),
    )


def read_task_file(path: Path, language: Language = Language.ZH_HANT) -> DeliveryTask:
    """Read a task from a file of its own: one JSON object, over as many lines as it likes.

    Raises:
        InputError: The file can't be read, or is no task; names it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LINE_BYTES + 1)
        if len(data) > MAX_LINE_BYTES:
            raise InputError(f"{path}: longer than {MAX_LINE_BYTES} bytes")
        value = json.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        where = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        reason = getattr(error, "msg", "is nested too deeply")
        raise InputError(f"{path}{where}: is no JSON: {reason}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: must be an object with the fields of a task")
    return read_task(Record(value, str(path)), language)


def scan_source(task: DeliveryTask) -> ScanSource:
    """What is scanned where this task is handed over."""
    sources = {Scene.PHARMACY: ScanSource.PICKUP_CODE, Scene.HOME: ScanSource.ID_CARD}
    return sources.get(task.scene, ScanSource.WRISTBAND)


def matching_scan(task: DeliveryTask) -> IdentityScan:
    """The scan by which whom the task is for is known."""
    source = scan_source(task)
    is_child = task.patient_group is PatientGroup.CHILD and source is not ScanSource.WRISTBAND
    return IdentityScan(
        source,
        ScanResult.MATCH,
        task.task_id,
        "" if is_child else task.patient_id,
        SpeakerRole.RELATIVE if is_child else SpeakerRole.PATIENT,
        matched_identifiers=("patient_id", "name", "birth_date"),
    )


def _date(record: Record) -> date | None:
    value = record.text("birth_date", "").strip()
    try:
        return date.fromisoformat(value) if value else None
    except ValueError:
        raise record.error("birth_date must be an ISO 8601 date, like 1950-03-07") from None
