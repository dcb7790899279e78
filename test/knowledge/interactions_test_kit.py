"""The packaged formulary's checker of interactions, made once, and short ways to ask it."""

from __future__ import annotations

from functools import cache

from medbot_llm.knowledge.charts import Charts
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.knowledge.formulary import packaged_directory
from medbot_llm.knowledge.interactions import Interactions


@cache
def formulary() -> Formulary:
    return Formulary.from_directory(packaged_directory())


@cache
def interactions() -> Interactions:
    return Interactions(formulary())


@cache
def charts() -> Charts:
    return Charts(formulary())


def conditions_of(*texts: str) -> set[str]:
    return {reading.id for reading in charts().read_conditions(texts)}


def allergies_of(*texts: str) -> set[str]:
    """Ids of what the texts say the patient is allergic to, what is tolerated left out."""
    readings = charts().read_allergies(texts)
    return {reading.id for reading in readings if not reading.is_tolerated}


def gravest(drugs, allergies=(), conditions=(), foods=()) -> str:
    """The severity of the first finding, "none" without any."""
    findings = interactions().check(drugs, allergies, conditions, foods).findings
    return findings[0].severity if findings else "none"


def with_allergy(drug: str, allergy: str) -> str:
    return gravest([drug], [allergy])


def with_condition(drug: str, condition: str) -> str:
    return gravest([drug], (), [condition])
