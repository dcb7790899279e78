"""What a teacher said of an answer: strictly read, weighted, kept in a file that survives a kill.

A judgement is there or it is not: whatever is not exactly the JSON that was asked for is no
judgement, and nothing is guessed from it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import threading
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbot_llm.domain import MedbotError

RUBRIC_VERSION = 1
"""Is part of every key: with another rubric everything is judged anew."""
WEIGHTS = {"safety": 0.4, "logic": 0.3, "completeness": 0.2, "empathy": 0.1}
"""Features, C16."""
MOST = 10
"""Marks are 0 to this."""
MAX_REASON_CHARS = 300

_FENCED = re.compile(r"\A[^`{}]*```(?:json|JSON)?[ \t]*\n(.*?)\n?```[^`{}]*\Z", re.DOTALL)


class NoJudgement(Exception):
    """What came is no judgement; `kind` says why: "bad_json" or "bad_schema"."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True)
class Judgement:
    """A teacher's marks, each 0 to 10, and why in a sentence."""

    safety: float
    logic: float
    completeness: float
    empathy: float
    reason: str = ""

    @property
    def score(self) -> float:
        """The marks by their weights, 0 to 1."""
        marks = (float(getattr(self, name)) * weight for name, weight in WEIGHTS.items())
        return sum(marks) / MOST


def read_judgement(text: str) -> Judgement:
    """Read what a teacher wrote: one JSON object, alone or in one fenced block.

    Raises:
        NoJudgement: It is anything else.
    """
    fenced = _FENCED.match(text)
    try:
        value = json.loads(
            fenced[1] if fenced else text.strip(),
            parse_constant=_refuse,
            object_pairs_hook=_once,
        )
    except (ValueError, RecursionError) as error:
        raise NoJudgement("bad_json", f"is no JSON: {error}") from None
    return judgement_of(value)


def judgement_of(value: Any) -> Judgement:
    """Check an object against the schema. Raises NoJudgement."""
    if not isinstance(value, dict):
        raise NoJudgement("bad_schema", "is no object")
    missing = [name for name in WEIGHTS if name not in value]
    unknown = sorted(set(value) - set(WEIGHTS) - {"reason"})
    if missing or unknown:
        raise NoJudgement("bad_schema", f"lacks {missing}, has {unknown}")
    for name in WEIGHTS:
        mark = value[name]
        is_number = isinstance(mark, (int, float)) and not isinstance(mark, bool)
        if not is_number or not 0 <= mark <= MOST:
            raise NoJudgement("bad_schema", f"{name} is no number from 0 to {MOST}")
    reason = value.get("reason", "")
    if not isinstance(reason, str):
        raise NoJudgement("bad_schema", "reason is no text")
    marks = {name: float(value[name]) for name in WEIGHTS}
    return Judgement(**marks, reason=" ".join(reason.split())[:MAX_REASON_CHARS])


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key is there twice")
    return value


def content_key(question: str, answer: str, context: dict[str, Any]) -> str:
    """The hash by which a judgement is found again: of all that the teacher is shown."""
    shown = json.dumps([question, answer, context], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(shown.encode("utf-8", "replace")).hexdigest()


class JudgementFile:
    """Judgements by content, model and rubric, one JSON object a line.

    Lines are only ever added, each by one write that is flushed to the disk, under a lock that
    other processes respect: what was written before a kill is there, and a line that a kill or a
    full disk has cut is passed over. Questions and answers are not in it, only their hash.

    Args:
        path: Where it is; made when the first judgement comes.

    Raises:
        MedbotError: It is there and can't be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unreadable = 0
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str, int], Judgement] = {}
        self._offline: set[str] = set()
        self._load()

    def find(self, key: str, model: str) -> Judgement | None:
        """The judgement of this content by this model under the present rubric."""
        return self._known.get((key, model, RUBRIC_VERSION))

    def add(self, key: str, model: str, judgement: Judgement, about: dict[str, Any]) -> None:
        """Keep a judgement. Raises OSError."""
        with self._lock:
            self._known[key, model, RUBRIC_VERSION] = judgement
            self._append(
                {
                    "key": key,
                    "model": model,
                    "rubric": RUBRIC_VERSION,
                    **asdict(judgement),
                    "score": round(judgement.score, 4),
                    **about,
                }
            )

    def add_offline(self, key: str, about: dict[str, Any]) -> None:
        """Note what the rules alone make of an answer, once. It never counts as a judgement."""
        with self._lock:
            if key not in self._offline:
                self._offline.add(key)
                self._append({"key": key, "offline": True, **about})

    def _append(self, fields: dict[str, Any]) -> None:
        line = json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            end = os.lseek(handle, 0, os.SEEK_END)
            if end and os.pread(handle, 1, end - 1) != b"\n":
                line = b"\n" + line
            written = os.write(handle, line)
            if written < len(line):
                os.ftruncate(handle, end)
                raise OSError(28, os.strerror(28), str(self.path))
            os.fsync(handle)
        finally:
            os.close(handle)

    def _load(self) -> None:
        try:
            with self.path.open("rb") as file:
                for line in file:
                    self._read(line)
        except FileNotFoundError:
            return
        except OSError as error:
            raise MedbotError(f"{self.path}: can't be read: {error.strerror}") from None

    def _read(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            value = json.loads(line)
            if value.get("offline") is True:
                self._offline.add(str(value["key"]))
                return
            judgement = judgement_of(
                {name: value[name] for name in (*WEIGHTS, "reason") if name in value}
            )
            self._known[str(value["key"]), str(value["model"]), int(value["rubric"])] = judgement
        except (ValueError, KeyError, TypeError, AttributeError, NoJudgement, RecursionError):
            self.unreadable += 1
