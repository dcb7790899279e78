"""`medbot verify`: JSON Lines in and out, in order; bad input is one clear line."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import pytest

from medbot_llm.apps import verify
from medbot_llm.apps.json_lines import InputError

TASK = {
    "scene": "ward",
    "patient_group": "adult",
    "medications": [
        {
            "name": "Amlodipine",
            "name_zh": "脈優",
            "strength": "5 mg",
            "dose": "1 tablet",
            "route": "oral",
            "frequency": "QD",
            "instructions": "after breakfast",
        }
    ],
    "allergies": [],
    "conditions": ["hypertension"],
}


def run(path: Path) -> int:
    parser = argparse.ArgumentParser()
    verify.add_parser(parser.add_subparsers())
    args = parser.parse_args(["verify", str(path)])
    status: int = args.run(args)
    return status


def write(path: Path, *records: object) -> Path:
    file = path / "sentences.jsonl"
    file.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in records), "utf-8")
    return file


def test_verdicts_come_in_order(tmp_path, capfdbinary):
    file = write(
        tmp_path,
        {"id": "a", "lang": "en", "task": TASK, "sentence": "Take one tablet once a day."},
        {"id": 2, "lang": "zh-Hant", "task": TASK, "sentence": "一次吃兩顆補回來。"},
        {"id": None, "task": TASK, "sentence": "千萬不要一次吃兩倍。"},
        {"id": 4, "task": {}, "sentence": "您好。"},
    )
    assert run(file) == 0
    told = [json.loads(line) for line in io.BytesIO(capfdbinary.readouterr().out)]
    assert [(t["id"], t["verdict"], t["reason"]) for t in told] == [
        ("a", "ok", "fine"),
        (2, "block", "double_dose"),
        (None, "ok", "fine"),
        (4, "ok", "fine"),
    ]
    assert all(set(t) == {"id", "verdict", "reason", "detail", "ms"} for t in told)


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"id": 1, "task": TASK}, "sentence"),
        ({"id": 1, "task": [], "sentence": "x"}, "task"),
        ({"id": 1, "lang": "fr", "task": TASK, "sentence": "x"}, "lang"),
        ({"id": 1, "task": {"medications": [1]}, "sentence": "x"}, "medications"),
        ({"id": 1, "task": {"allergies": "none"}, "sentence": "x"}, "allergies"),
    ],
)
def test_bad_input_is_named(tmp_path, record, problem):
    with pytest.raises(InputError, match=f"line 1.*{problem}"):
        run(write(tmp_path, record))
