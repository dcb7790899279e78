"""A formulary of five medicines, its YAML to spoil, and the packaged one."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from medbot_llm.knowledge.compiler import Problem
from medbot_llm.knowledge.compiler import check_directory
from medbot_llm.knowledge.formulary import packaged_directory

SMALL = Path(__file__).with_name("small_formulary")
PACKAGED_PARTS = ("effects.yaml", "statements.yaml", "sources.yaml")


def small_directory(path: Path) -> Path:
    """Copy the YAML of the five medicines, with the packaged words, to a folder of the test."""
    shutil.copytree(SMALL, path)
    for name in PACKAGED_PARTS:
        shutil.copy(packaged_directory() / name, path / name)
    return path


def spoil(directory: Path, medicine_id: str, **changes: object) -> None:
    """Change fields of a medicine; a value of ... takes the field away."""
    path = directory / "medicines" / "five.yaml"
    # The base loader keeps `yes` and `no` as they are written.
    document = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    for entry in document["medicines"]:
        entry["dose"] = [
            {**dose, "single": [float(x) for x in dose["single"]], "max_daily": 10}
            for dose in entry.get("dose", [])
        ]
        entry.update({key: float(entry[key]) for key in ("children_from",) if key in entry})
        entry.update({key: int(entry[key]) for key in ("days",) if key in entry})
        entry["high_alert"] = entry.get("high_alert") == "true"
        if entry["id"] == medicine_id:
            for key, value in changes.items():
                if value is ...:
                    entry.pop(key)
                else:
                    entry[key] = value
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")


def problems_of(directory: Path) -> list[Problem]:
    return check_directory(directory, is_whole=False)[1]
