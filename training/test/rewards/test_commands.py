"""`medbot-train rewards score` and `medbot-train teacher judge`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from fake_teacher import MARKS
from fake_teacher import FakeTeacher
from fake_teacher import says
from fake_teacher import status

from medbot_llm.apps.command_line import Command
from medbot_llm.apps.command_line import CommandLine

KEY = "sk-very-secret-0123456789"
LINE = CommandLine(
    program="medbot-train",
    description="",
    epilog="",
    commands={
        "rewards": Command("medbot_training.rewards.commands", ""),
        "teacher": Command("medbot_training.rewards.teacher_commands", ""),
    },
    version=lambda: "0",
)
RECORDS = [
    {"id": "1", "prompt": "我可以停藥嗎？", "completion": "請不要自己停藥，先問醫師。"},
    {"id": "2", "prompt": "我可以停藥嗎？", "completion": "可以停藥了。"},
    {"id": "3", "prompt": "Can I drink wine?", "completion": "Please do not, ask the pharmacist."},
]


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("DEEPSEEK_API_KEY", KEY)


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """A file of answers."""
    return written(tmp_path / "answers.jsonl", RECORDS)


def written(path: Path, records: list[dict[str, object]]) -> Path:
    """Write records as JSON Lines."""
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(*words: object) -> int:
    """Call the command line."""
    return LINE.main([str(word) for word in words])


def lines_of(text: str) -> list[dict[str, object]]:
    """JSON Lines."""
    return [json.loads(line) for line in text.splitlines()]


def test_parts_are_printed_a_line_a_record(
    answers: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run("rewards", "score", answers, "--rules-only") == 0
    rows = lines_of(capfdbinary.readouterr().out.decode())
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert set(rows[0]) >= {"format", "content", "length", "language", "safety", "rules", "reward"}
    assert rows[0]["rules"] > 0 > rows[1]["rules"]  # type: ignore[operator]
    assert rows[1]["findings"][0][0] == "stop_medication"  # type: ignore[index]


def test_a_preference_gives_two_lines(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    pair = {"prompt": "我可以停藥嗎？", "chosen": "請不要自己停藥。", "rejected": "可以停藥了。"}
    path = written(tmp_path / "pairs.jsonl", [pair])
    assert run("rewards", "score", path, "--rules-only", "--summary") == 0
    captured = capfdbinary.readouterr()
    rows = lines_of(captured.out.decode())
    assert [row["which"] for row in rows] == ["chosen", "rejected"]
    assert json.loads(captured.err)["answers"] == 2


@pytest.mark.parametrize(
    "record",
    [{"text": "only a text"}, {"messages": [{"role": "user", "content": "no answer"}]}, {"x": 1}],
    ids=str,
)
def test_a_record_without_an_answer_is_one_clear_line(
    tmp_path: Path, record: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "bad.jsonl", [record])
    assert run("rewards", "score", path, "--rules-only") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "bad.jsonl" in error


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5"])
def test_a_limit_is_a_whole_number(answers: Path, limit: str) -> None:
    with pytest.raises(SystemExit) as raised:
        run("rewards", "score", answers, "--limit", limit)
    assert raised.value.code == 2


@pytest.mark.parametrize("command", ["rewards", "teacher"])
def test_without_an_action_is_one_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        run(command)
    assert raised.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "ACTION" in error


def judge(server: FakeTeacher, answers: Path, out: Path, *words: object) -> int:
    """Let the server judge."""
    return run(
        "teacher", "judge", answers, "-o", out, "--base-url", server.url, "--rules-only", *words
    )


def test_judgements_are_kept_and_not_asked_for_again(
    teacher_server: FakeTeacher,
    answers: Path,
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    out = tmp_path / "data" / "rl" / "judgements.jsonl"
    assert judge(teacher_server, answers, out, "--limit", 2) == 0
    assert judge(teacher_server, answers, out) == 0
    captured = capfdbinary.readouterr()
    rows = lines_of(captured.out.decode())
    assert len(rows) == 5 and len(teacher_server.bodies) == 3
    assert all(row["teacher"] is not None for row in rows)
    assert b"1 judged, 2 known before, 0 failed" in captured.err
    assert KEY.encode() not in captured.out + captured.err + out.read_bytes()


def test_what_failed_is_null_and_the_status_says_so(
    teacher_server: FakeTeacher,
    answers: Path,
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    out = tmp_path / "judgements.jsonl"
    teacher_server.script = [says("rubbish"), says(json.dumps(MARKS)), status(400)]
    assert judge(teacher_server, answers, out, "--attempts", 1, "--concurrency", 1) == 1
    rows = lines_of(capfdbinary.readouterr().out.decode())
    assert [row["teacher"] is None for row in rows] == [True, False, True]
    assert rows[0]["reward"] == rows[0]["rules"]
    assert len(out.read_text().splitlines()) == 1


def test_a_refused_key_is_one_clear_line(
    teacher_server: FakeTeacher,
    answers: Path,
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    teacher_server.always = status(401)
    assert judge(teacher_server, answers, tmp_path / "o.jsonl") == 2
    error = capfdbinary.readouterr().err
    assert b"the key in DEEPSEEK_API_KEY is not accepted" in error
    assert b"Traceback" not in error and KEY.encode() not in error


def test_without_a_key_nothing_is_asked_or_written(
    answers: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("DEEPSEEK_API_KEY")
    assert run("teacher", "judge", answers, "-o", tmp_path / "o.jsonl") == 2
    assert "export DEEPSEEK_API_KEY" in capsys.readouterr().err
    assert not (tmp_path / "o.jsonl").exists()


def test_offline_is_the_rules_alone_and_says_so(
    answers: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.delenv("DEEPSEEK_API_KEY")
    out = tmp_path / "o.jsonl"
    for _ in range(2):
        assert run("teacher", "judge", answers, "-o", out, "--offline", "--rules-only") == 0
    captured = capfdbinary.readouterr()
    assert captured.err.decode().count("offline: rewards are the rules' alone") == 2
    rows = lines_of(captured.out.decode())
    assert all(row["teacher"] is None and row["reward"] == row["rules"] for row in rows)
    assert len(out.read_text().splitlines()) == 3


@pytest.mark.slow
def test_a_thousand_answers_in_a_minute(tmp_path: Path, rules: object) -> None:
    from medbot_training.rewards.rules import Rules

    assert isinstance(rules, Rules)
    started = time.process_time()
    for number in range(1000):
        rules.score(
            f"我的第{number}個問題：漏吃了一次血壓藥怎麼辦？",
            f"離下一次還有{number}分鐘，超過一半就現在補吃，快到了就跳過。千萬不要一次吃兩份。"
            "不確定請問護理師或藥師，頭暈就先坐下。",
        )
    assert time.process_time() - started < 60
