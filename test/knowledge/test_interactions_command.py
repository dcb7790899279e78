"""`medbot interactions`: JSON Lines in and out, one clear line on bad input."""

from __future__ import annotations

import argparse
import json

import pytest

from medbot_llm.apps import interactions as command
from medbot_llm.apps.json_lines import InputError


def run(tmp_path, capsysbinary, *lines):
    path = tmp_path / "queries.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["interactions", str(path)])
    assert args.run(args) == 0
    return [json.loads(line) for line in capsysbinary.readouterr().out.decode().splitlines()]


def test_each_query_is_answered_in_order(tmp_path, capsysbinary):
    answers = run(
        tmp_path,
        capsysbinary,
        '{"id": "a", "drugs": ["propranolol", "qwertyx"], "conditions": ["asthma"]}',
        '{"id": 2, "drugs": ["Panadol"], "allergies": ["NKDA"]}',
        '{"id": 3, "drugs": ["amoxicillin"], "allergies": ["PCN"], "lang": "zh-Hant"}',
    )
    assert [answer["id"] for answer in answers] == ["a", 2, 3]
    (finding,) = answers[0]["findings"]
    assert finding["kind"] == "drug_condition"
    assert finding["severity"] == "contraindicated"
    assert finding["between"] == ["propranolol", "asthma"]
    assert finding["why"].isascii()
    assert finding["source"]
    assert answers[0]["unknown"] == ["qwertyx"]
    assert answers[1]["findings"] == []
    assert "過敏" in answers[2]["findings"][0]["why"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"id": 1}', "drugs is missing"),
        ('{"id": 1, "drugs": "aspirin"}', "drugs must be a list of texts"),
        ('{"id": 1, "drugs": [], "foods": [1]}', "foods must be a list of texts"),
        ('{"id": 1, "drugs": [], "lang": "fr"}', "lang is one of"),
        ("[]", "must be an object"),
        ("{", "is no JSON"),
    ],
)
def test_bad_input_is_one_line_that_says_where(tmp_path, capsysbinary, line, says):
    with pytest.raises(InputError, match="line 1: ") as caught:
        run(tmp_path, capsysbinary, line)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
