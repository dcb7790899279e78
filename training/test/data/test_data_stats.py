"""Counts and lengths: in characters, and in tokens where there is a tokenizer."""

from __future__ import annotations

import json

from data_test_kit import run
from data_test_kit import write_lines
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

RECORDS = (
    {
        "messages": [
            {"role": "system", "content": "你是病房裡的送藥機器人。"},
            {"role": "user", "content": "我胸口好痛，喘不過氣。"},
            {"role": "assistant", "content": "請馬上按呼叫鈴，我請護理師過來。"},
        ],
        "meta": {"risk_level": "critical", "specialty": "emergency"},
    },
    {
        "messages": [
            {"role": "user", "content": "Can I take it with milk?"},
            {"role": "assistant", "content": "<think>calcium</think>\nPlease take it with water."},
        ],
        "meta": {"scene": "home"},
    },
)


def figures(capsys, *arguments: object) -> dict:
    assert run("stats", *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_counts(tmp_path, capsys):
    path = write_lines(tmp_path / "a.jsonl", *RECORDS, RECORDS[1])
    found = figures(capsys, path, "--by", "specialty")
    assert (found["records"], found["different"]) == (3, 2)
    counts = found["counts"]
    assert counts["kind"] == {"conversation": 3}
    assert counts["language"] == {"en": 2, "zh-Hant": 1}
    assert counts["scene"] == {"home": 2, "ward": 1}
    assert counts["role"] == {"user": 3, "assistant": 3, "system": 1}
    assert counts["risk_level"] == {"unknown": 2, "critical": 1}
    assert counts["triage of the question"]["emergency"] == 1
    assert counts["thinking"] == {"with <think>": 2, "without": 1}
    assert counts["specialty"] == {"unknown": 2, "emergency": 1}
    assert found["lengths"]["user, characters"]["max"] == 24


def test_tokens(tmp_path, capsys):
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    path = write_lines(tmp_path / "a.jsonl", RECORDS[1])
    found = figures(capsys, path, "--tokenizer", tmp_path, "--max-length", "5")
    assert found["lengths"]["user, tokens"]["sum"] == 7
    assert found["longer_than"] == {"5": 1}


def test_table(tmp_path, capsys):
    path = write_lines(tmp_path / "a.jsonl", *RECORDS)
    assert run("stats", path, "--max-length", "3") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "records    2, 2 different"
    assert any(line.startswith("user, characters") for line in lines)
    assert "longer than 3 characters: 2 (100.0%)" in lines


def test_texts_and_preferences(tmp_path, capsys):
    texts = tmp_path / "a.txt"
    texts.write_text("一段。\n")
    pairs = write_lines(tmp_path / "b.jsonl", {"prompt": "?", "chosen": "a", "rejected": "b"})
    found = figures(capsys, texts, pairs)
    assert found["counts"]["kind"] == {"text": 1, "preference": 1}
