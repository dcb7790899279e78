"""Deliveries and a verifier that the verifier's tests share."""

from functools import cache

from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.domain import Medication
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import Scene
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.knowledge.interactions import Interactions
from medbot_llm.safety.base import Brief
from medbot_llm.safety.base import Verdict
from medbot_llm.safety.verifier import SafetyVerifier
from medbot_llm.text.language import detect_language

MEDICINES = {
    "amlodipine": Medication(
        "Amlodipine 5 mg tablet",
        "脈優錠 5 毫克",
        "",
        "5 mg",
        "1 tablet",
        "oral",
        "QD",
        "after breakfast",
    ),
    "amoxiclav": Medication(
        "Augmentin 875/125 mg tablet",
        "安滅菌錠",
        "",
        "875/125 mg",
        "1 tablet",
        "PO",
        "BID",
        "with food, finish the course",
    ),
    "metformin": Medication(
        "Metformin 500 mg", "庫魯化錠", "", "500 mg", "2 tablets", "oral", "BID PC", ""
    ),
    "warfarin": Medication(
        "Warfarin 5 mg", "可邁丁錠", "", "5 mg", "half a tablet", "oral", "HS", "high alert"
    ),
    "paracetamol": Medication(
        "Acetaminophen 500 mg",
        "普拿疼",
        "",
        "500 mg",
        "1-2 tablets",
        "oral",
        "Q6H PRN",
        "for pain or fever, max 4 g a day",
    ),
    "insulin": Medication(
        "Insulin glargine 100 units/mL pen",
        "蘭德仕",
        "",
        "100 units/mL",
        "10 units",
        "SC",
        "HS",
        "keep refrigerated before first use",
    ),
    "latanoprost": Medication(
        "Latanoprost 0.005% eye drops",
        "舒而坦眼藥水",
        "",
        "0.005%",
        "1 drop",
        "both eyes",
        "every evening",
        "",
    ),
    "levothyroxine": Medication(
        "Levothyroxine 50 mcg",
        "昂特欣錠",
        "",
        "50 mcg",
        "1 tablet",
        "oral",
        "QD",
        "empty stomach, 30 minutes before breakfast",
    ),
    "omeprazole": Medication(
        "Omeprazole 20 mg capsule",
        "歐米拉唑膠囊",
        "",
        "20 mg",
        "1 capsule",
        "oral",
        "QD AC",
        "swallow whole, do not crush or chew",
    ),
    "bisacodyl": Medication(
        "Bisacodyl 10 mg suppository",
        "便通樂栓劑",
        "",
        "10 mg",
        "1 suppository",
        "rectal",
        "HS PRN",
        "",
    ),
    "budesonide": Medication(
        "Budesonide inhaler 200 mcg",
        "可滅喘",
        "",
        "200 mcg/dose",
        "2 puffs",
        "inhaled",
        "BID",
        "rinse your mouth afterwards",
    ),
    "methotrexate": Medication(
        "Methotrexate 2.5 mg",
        "滅殺除癌錠",
        "",
        "2.5 mg",
        "3 tablets",
        "oral",
        "once a week on Monday",
        "high alert",
    ),
    "amoxicillin_syrup": Medication(
        "Amoxicillin suspension",
        "安莫西林懸液",
        "",
        "250 mg/5 mL",
        "10 mL",
        "oral",
        "TID",
        "shake well, keep refrigerated",
    ),
    "doxycycline": Medication(
        "Doxycycline 100 mg capsule",
        "多喜黴素膠囊",
        "",
        "100 mg",
        "1 capsule",
        "oral",
        "BID",
        "with a full glass of water",
    ),
    "atorvastatin": Medication(
        "Lipitor 20mg",
        "立普妥膜衣錠",
        "atorvastatin",
        "20 mg",
        "1 tab",
        "PO",
        "HS",
        "avoid grapefruit",
    ),
    "furosemide": Medication(
        "Furosemide 40 mg tablet",
        "來適泄錠",
        "",
        "40 mg",
        "1 tablet",
        "oral",
        "BID",
        "morning and noon",
    ),
    "prednisolone": Medication(
        "Prednisolone 5 mg",
        "康速龍錠",
        "",
        "5 mg",
        "4 tablets",
        "oral",
        "QD",
        "after breakfast; do not stop suddenly",
    ),
    "salbutamol": Medication(
        "Salbutamol inhaler 100 mcg",
        "泛得林吸入劑",
        "",
        "100 mcg/puff",
        "2 puffs",
        "inhalation",
        "Q4H PRN",
        "for shortness of breath",
    ),
    "morphine": Medication(
        "Morphine sulfate 15 mg tablet",
        "嗎啡錠",
        "",
        "15 mg",
        "1 tablet",
        "PO",
        "Q4H PRN",
        "severe pain; may cause drowsiness",
    ),
    "alendronate": Medication(
        "Fosamax 70 mg",
        "福善美",
        "",
        "70 mg",
        "1 tablet",
        "PO",
        "QW",
        "empty stomach, full glass of water, stay upright 30 min",
    ),
    "enoxaparin": Medication(
        "Enoxaparin 40 mg/0.4 mL", "克立生注射劑", "", "40 mg/0.4 mL", "40 mg", "SC", "QD", ""
    ),
    "iron": Medication(
        "Ferrous fumarate 200 mg",
        "補血錠",
        "",
        "200 mg",
        "1 tablet",
        "oral",
        "TID",
        "avoid tea and coffee",
    ),
    "hydrocortisone": Medication(
        "Hydrocortisone 1% cream",
        "氫化可體松乳膏",
        "",
        "1%",
        "thin layer",
        "topical",
        "BID",
        "apply to affected skin",
    ),
    "paracetamol_syrup": Medication(
        "Acetaminophen syrup 120 mg/5 mL",
        "安佳熱糖漿",
        "",
        "24 mg/mL",
        "7.5 mL",
        "oral",
        "Q6H PRN",
        "fever",
    ),
    "digoxin": Medication(
        "Digoxin 0.25 mg", "隆我心錠", "", "0.25 mg", "0.5 tablet", "oral", "QD", ""
    ),
    "nitroglycerin": Medication(
        "Nitroglycerin 0.6 mg",
        "耐絞寧舌下錠",
        "",
        "0.6 mg",
        "1 tablet",
        "sublingual",
        "PRN",
        "for chest pain, may repeat every 5 minutes up to 3 tablets, call for help",
    ),
    "sertraline": Medication(
        "Sertraline 50 mg", "樂復得", "", "50 mg", "1 tablet", "oral", "QD", "morning"
    ),
    "unknown": Medication(
        "Zyrmolux 30 mg tablet", "濟莫樂錠", "", "30 mg", "1 tablet", "oral", "TID", "after meals"
    ),
}


def task_of(
    *names: str,
    allergies: tuple[str, ...] = (),
    conditions: tuple[str, ...] = (),
    group: PatientGroup = PatientGroup.ADULT,
    spoken_name: str = "",
) -> DeliveryTask:
    """Return a task with some of `MEDICINES`."""
    return DeliveryTask(
        "task-1",
        Scene.WARD,
        Language.ZH_HANT,
        patient_group=group,
        spoken_name=spoken_name,
        medications=tuple(MEDICINES[name] for name in names),
        allergies=allergies,
        conditions=conditions,
    )


@cache
def verifier() -> SafetyVerifier:
    """The verifier with the packaged formulary; built once for all tests."""
    formulary = Formulary.open()
    return SafetyVerifier(formulary, Interactions(formulary), second_opinion=None)


def check(sentence: str, task: DeliveryTask | None = None, **brief: object) -> Verdict:
    """Judge a sentence; of amlodipine where no task is given."""
    told = Brief(task=task if task is not None else task_of("amlodipine"), **brief)  # type: ignore[arg-type]
    return verifier().check(sentence, detect_language(sentence, Language.ZH_HANT), told)
