"""Shared by the tests of data: files, records, and the command as it is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medbot_training.cli import main
from medbot_training.data.findings import Finding
from medbot_training.data.formats import read
from medbot_training.data.records import Conversation
from medbot_training.data.records import Message
from medbot_training.data.records import Preference
from medbot_training.data.records import Record


def write_lines(path: Path, *objects: Any) -> Path:
    """A file of JSON Lines."""
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects))
    return path


def read_all(path: Path, **options: Any) -> tuple[list[Record], list[Finding]]:
    """The records of a file, and its findings."""
    items = list(read(path, **options))
    records = [item for item in items if not isinstance(item, Finding)]
    return records, [item for item in items if isinstance(item, Finding)]


def kinds_of(findings: list[Finding]) -> list[str]:
    return [finding.kind for finding in findings]


def talk(asked: str, said: str, system: str = "", **meta: Any) -> Conversation:
    """A conversation of one turn."""
    first = [Message("system", system)] if system else []
    messages = (*first, Message("user", asked), Message("assistant", said))
    return Conversation("x", messages, meta)


def pair(asked: str, chosen: str, rejected: str, **meta: Any) -> Preference:
    return Preference("x", (Message("user", asked),), chosen, rejected, meta)


def run(*arguments: object) -> int:
    """Run `medbot-train data`, and give its exit status."""
    try:
        return main(["data", *map(str, arguments)])
    except SystemExit as end:
        return int(end.code or 0)
