"""Deliveries that the prompt tests share."""

from datetime import date

from medbot_llm.domain import CompartmentState
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.domain import Medication
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import RobotContext
from medbot_llm.domain import Scene
from medbot_llm.domain import TripStage

ALL = [
    (scene, group, language) for scene in Scene for group in PatientGroup for language in Language
]

CONTEXT = RobotContext(
    place="5A",
    trip_stage=TripStage.ARRIVED,
    battery=0.8,
    compartment=CompartmentState.LOCKED,
    local_time="2026-11-23T08:15:00+08:00",
)

_WORDS = {
    Language.ZH_HANT: ("王先生", "盤尼西林", "高血壓", "避免葡萄柚。", "脈優錠"),
    Language.ZH_HANS: ("王先生", "青霉素", "高血压", "避免葡萄柚。", "络活喜片"),
    Language.EN: ("Mr Wang", "penicillin", "high blood pressure", "Avoid grapefruit.", ""),
}
_LABELS = {
    Language.ZH_HANT: ("1 顆", "口服", "每天一次", "早餐後"),
    Language.ZH_HANS: ("1 片", "口服", "每天一次", "早餐后"),
    Language.EN: ("1 tablet", "by mouth", "once a day", "after breakfast"),
}


def full_task(
    language: Language,
    scene: Scene = Scene.WARD,
    group: PatientGroup = PatientGroup.ADULT,
    medicines: int = 1,
) -> DeliveryTask:
    """Return a task with every field filled, in the words of a language."""
    name, allergy, condition, notes, name_zh = _WORDS[language]
    medication = Medication(
        "Amlodipine 5 mg tablet", name_zh, "amlodipine", "5 mg", *_LABELS[language]
    )
    return DeliveryTask(
        task_id="task-1",
        scene=scene,
        language=language,
        patient_group=group,
        patient_id="P-778899",
        spoken_name=name,
        birth_date=date(1950, 3, 7),
        room="5A-12",
        bed="3",
        medications=(medication,) * medicines,
        allergies=(allergy,),
        conditions=(condition,),
        notes=notes,
    )


def empty_task(language: Language) -> DeliveryTask:
    """Return a task of which nothing is known."""
    return DeliveryTask("task-2", Scene.WARD, language)
