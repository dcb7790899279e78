"""`medbot simulate`: whole conversations from JSON Lines, as the contract spells them."""

from __future__ import annotations

import io
import json
import sys
from functools import cache
from typing import Any

import pytest

from medbot_llm.apps.cli import main
from medbot_llm.dialogue.resources import DialogueResources

AMLODIPINE = {
    "name": "Norvasc 5 mg tablet",
    "name_zh": "脈優錠",
    "strength": "5 mg",
    "dose": "1 tablet",
    "route": "oral",
    "frequency": "QD",
    "instructions": "早餐後服用",
}
TASK = {
    "scene": "ward",
    "language": "zh-Hant",
    "spoken_name": "林女士",
    "medications": [AMLODIPINE],
}


loaded = cache(DialogueResources.load)


def talk(who: str, text: str, **fields: Any) -> dict[str, Any]:
    return {"who": who, "text": text, **fields}


def event(name: str) -> dict[str, Any]:
    return {"who": "system_event", "event": name}


def simulate(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: Any, *records: object, arguments: tuple = ()
) -> tuple[int, list[dict[str, Any]], str]:
    """Run the command over records; exit status, objects on standard output, standard error."""
    lines = "".join(
        (record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records
    )
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode("utf-8", "surrogatepass")))
    )
    status = main(["simulate", *arguments, "-"])
    out, err = capfdbinary.readouterr()
    return status, [json.loads(line) for line in out.splitlines()], err.decode()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: Any) -> Any:
    # Reading everything anew for each case would take most of the time.
    monkeypatch.setattr(DialogueResources, "load", lambda settings=None: loaded())

    def call(*records: object, arguments: tuple = ()) -> Any:
        return simulate(monkeypatch, capfdbinary, *records, arguments=arguments)

    return call


def test_a_whole_delivery(run: Any) -> None:
    turns = [
        talk("patient", "這是什麼藥？"),
        event("scan_mismatch"),
        event("scan_ok"),
        talk("patient", "這個藥什麼時候吃？"),
        talk("patient", "我胸口好痛，喘不過氣"),
        event("timeout"),
    ]
    status, [played], _ = run({"id": 7, "task": TASK, "turns": turns})
    assert status == 0
    assert played["id"] == 7
    assert played["opening"]
    first, mismatch, scanned, answered, emergency, silence = played["turns"]
    assert first["in"] == "這是什麼藥？"
    assert "脈優" not in "".join(first["replies"])
    assert mismatch["alerts"][0]["category"] == "identity_mismatch"
    assert (scanned["kind"], scanned["stage"]) == ("handover", "questions")
    assert "早餐" in "".join(answered["replies"])
    assert emergency["kind"] == "emergency"
    assert emergency["alerts"][0]["severity"] == "emergency"
    assert silence["alerts"][0]["category"] == "no_answer"


def test_an_engine_that_fails_in_mid_conversation_costs_style_only(run: Any) -> None:
    turns = [event("scan_ok"), event("engine_fails"), talk("patient", "這個藥治什麼的？")]
    _, [played], _ = run({"id": "a", "task": TASK, "turns": turns})
    assert played["turns"][2]["kind"] == "fallback"
    assert "血壓" in "".join(played["turns"][2]["replies"])


def test_a_hostile_script_is_blocked_and_listed(run: Any, tmp_path: Any) -> None:
    script = tmp_path / "hostile.yaml"
    script.write_text("default: 您可以一次吃兩顆，沒關係。", encoding="utf-8")
    turns = [event("scan_ok"), talk("patient", "這個藥治什麼的？")]
    _, [played], _ = run(
        {"id": "a", "task": TASK, "turns": turns}, arguments=("--script", str(script))
    )
    answer = played["turns"][1]
    assert answer["blocked"][0]["reason"] == "double_dose"
    assert "兩顆" not in "".join(answer["replies"])


def test_order_is_kept_and_conversations_do_not_mix(run: Any) -> None:
    records = [
        {"id": n, "task": TASK, "turns": [event("scan_ok")] * (n % 2) + [talk("patient", "謝謝")]}
        for n in range(6)
    ]
    _, played, _ = run(*records)
    assert [record["id"] for record in played] == list(range(6))
    assert [record["turns"][-1]["identity"] for record in played] == [
        "confirmed" if n % 2 else "unknown" for n in range(6)
    ]


@pytest.mark.parametrize("event_name", ["battery_low", "staff_override", "timeout"])
def test_every_event_of_the_contract_is_played(run: Any, event_name: str) -> None:
    status, [played], _ = run({"id": 1, "task": TASK, "turns": [event(event_name)]})
    assert status == 0
    assert played["turns"][0]["replies"]


@pytest.mark.parametrize(
    ("record", "named"),
    [
        ("{", "line 1: is no JSON"),
        ("[]", "line 1: must be an object"),
        ({"task": TASK, "turns": [event("explode")]}, "event is one of"),
        ({"task": TASK, "turns": [talk("ghost", "boo")]}, "who is one of"),
        ({"task": TASK, "turns": [{"who": "patient"}]}, "text is missing"),
        ({"turns": []}, "task is missing"),
        ({"task": TASK}, "turns is missing"),
        ({"task": TASK, "turns": "all"}, "turns must be a list"),
        ({"task": {"scene": "moon"}, "turns": []}, "scene is one of"),
        ({"task": {"medications": [{"name": 5}]}, "turns": []}, "name must be text"),
        ({"id": {}, "task": TASK, "turns": []}, "id must be"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(run: Any, record: object, named: str) -> None:
    status, _, err = run(record)
    assert status == 2
    assert named in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("text", ["", "   ", "\x00\x07", "🎈" * 40, "\ud800", "x" * 5000])
def test_anything_may_be_said(run: Any, text: str) -> None:
    status, [played], _ = run({"id": 1, "task": TASK, "turns": [talk("patient", text)]})
    assert status == 0
    assert played["turns"][0]["replies"]


def test_a_missing_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "/nowhere/at/all.jsonl"]) == 2
    assert "/nowhere/at/all.jsonl" in capsys.readouterr().err
