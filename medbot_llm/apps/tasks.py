"""Delivery tasks written as JSON, for the check commands; fields as in `msg/DeliveryTask.msg`."""

from __future__ import annotations

from datetime import date

from medbot_llm.apps.json_lines import Record
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.domain import Medication
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import Scene
from medbot_llm.prompts.untrusted import neutralise

MAX_TEXT_CHARS = 300
MAX_NOTES_CHARS = 1000


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


def _date(record: Record) -> date | None:
    value = record.text("birth_date", "").strip()
    try:
        return date.fromisoformat(value) if value else None
    except ValueError:
        raise record.error("birth_date must be an ISO 8601 date, like 1950-03-07") from None
