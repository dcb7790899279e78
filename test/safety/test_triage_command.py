"""`medbot triage`: JSON Lines in, JSON Lines out."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from medbot_llm.apps.cli import main


def run(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict], str]:
    code = main(["triage", *arguments])
    out, err = capfd.readouterr()
    return code, [json.loads(line) for line in out.splitlines()], err


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "said.jsonl"


def test_each_line_is_answered_in_order(capfd: pytest.CaptureFixture[str], file: Path) -> None:
    file.write_text('{"id": 1, "text": "我喘不過氣"}\n\n{"id": "b", "text": "謝謝"}\n', "utf-8")
    code, answers, _ = run(capfd, str(file))
    assert code == 0
    assert [(a["id"], a["level"]) for a in answers] == [(1, "emergency"), ("b", "none")]


def test_an_answer_has_the_fields_of_the_contract(
    capfd: pytest.CaptureFixture[str], file: Path
) -> None:
    file.write_text(
        '{"id": 1, "lang": "en", "text": "I can\'t breathe", "scene": "home"}', "utf-8"
    )
    answer = run(capfd, str(file))[1][0]
    assert list(answer) == ["id", "level", "category", "reason", "ms"]
    assert answer["category"] == "breathing"


def test_the_patient_group_is_read(capfd: pytest.CaptureFixture[str], file: Path) -> None:
    file.write_text('{"id": 1, "text": "喘不過氣", "patient_group": "child"}', "utf-8")
    assert run(capfd, str(file))[1][0]["category"] == "child_danger"


def test_standard_input_is_read(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = SimpleNamespace(buffer=io.BytesIO(b'{"id": 7, "text": "hello"}\n'))
    monkeypatch.setattr("sys.stdin", stream)
    assert run(capfd, "-")[1][0]["id"] == 7


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[1]",
        '{"id": 1}',
        '{"id": 1, "text": 5}',
        '{"id": 1, "text": "x", "lang": "fr"}',
        '{"id": 1, "text": "x", "scene": "moon"}',
    ],
)
def test_bad_input_is_one_clear_line_and_exit_2(
    capfd: pytest.CaptureFixture[str], file: Path, line: str
) -> None:
    file.write_text('{"id": 1, "text": "hi"}\n' + line + "\n", "utf-8")
    code, answers, error = run(capfd, str(file))
    assert code == 2
    assert len(answers) == 1
    assert "line 2" in error
    assert len(error.strip().splitlines()) == 1


def test_a_text_is_explained(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["triage", "--explain", "我沒有胸痛"]) == 0
    out = capfd.readouterr().out
    assert "chest_pain" in out
    assert "denied" in out
