"""`data stats`: how many, how long, in which languages, scenes and risks."""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from medbot_llm.domain import Scene
from medbot_llm.safety.base import Circumstances
from medbot_llm.safety.triage import SafetyTriage
from medbot_training.data.languages import told_language
from medbot_training.data.records import Conversation
from medbot_training.data.records import DataError
from medbot_training.data.records import Preference
from medbot_training.data.records import Record
from medbot_training.data.records import Text
from medbot_training.data.records import body_of
from medbot_training.data.records import content_hash
from medbot_training.data.records import language_key
from medbot_training.data.records import texts_of

QUANTILES = {"p50": 50, "p90": 90, "p99": 99}
UNKNOWN = "unknown"
MOST_VALUES = 20
"""Of a field's values so many are shown."""

_SCENES = {
    Scene.ER: re.compile(r"急診|急诊|急救室|\bER\b|emergency (?:room|department|bay)"),
    Scene.PHARMACY: re.compile(r"藥局|药局|藥房|药房|領藥|领药|门诊药|pharmacy", re.IGNORECASE),
    Scene.WARD: re.compile(r"病房|住院|護理站|护士站|病床|\bward\b|inpatient", re.IGNORECASE),
    Scene.HOME: re.compile(r"居家|家中|在家|家裡|家里|到府|養老院|养老院|at home|home care"),
}
CountTokens = Callable[[str], int]


@dataclass
class Statistics:
    """Counts and lengths, taken record by record.

    Args:
        tokens: Counts the tokens of a text; None: lengths are in characters alone.
        by: Further fields of `meta` whose values are counted.
        max_length: Tokens (characters without a tokenizer) above which records are counted.
    """

    tokens: CountTokens | None = None
    by: Sequence[str] = ()
    max_length: int | None = None
    records: int = 0
    unreadable: int = 0
    longer: int = 0
    lengths: dict[str, array[int]] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    _seen: set[bytes] = field(default_factory=set)

    def add(self, record: Record) -> None:
        """Count a record."""
        self.records += 1
        self._seen.add(bytes.fromhex(content_hash(record)[:32]))
        self._count("kind", _kind(record))
        self._count("language", language_of(record))
        self._lengths(record)
        for name in self.by:
            self._count(name, str(record.meta.get(name, UNKNOWN)))
        if isinstance(record, Text):
            return
        messages = record.messages if isinstance(record, Conversation) else record.prompt
        for message in messages:
            self._count("role", message.role)
        self._count("turns", str(sum(message.role == "user" for message in messages)))
        self._count("system", "with a system message" if record.system else "without")
        self._count("scene", scene_of(record))
        self._count("risk_level", str(record.meta.get("risk_level", UNKNOWN)))
        self._count("triage of the question", _triage_of(record.question))
        if isinstance(record, Conversation):
            self._count("thinking", "with <think>" if record.thinking else "without")

    @property
    def different(self) -> int:
        """How many records are different."""
        return len(self._seen)

    def as_fields(self) -> dict[str, Any]:
        """All figures, for JSON."""
        fields: dict[str, Any] = {
            "records": self.records,
            "different": self.different,
            "unreadable": self.unreadable,
            "lengths": {name: _summary(values) for name, values in self.lengths.items()},
            "counts": {name: dict(counter.most_common()) for name, counter in self.counts.items()},
        }
        if self.max_length is not None:
            fields["longer_than"] = {str(self.max_length): self.longer}
        return fields

    def lines(self) -> Iterator[str]:
        """All figures, as a table."""
        yield f"records    {self.records}, {self.different} different"
        if self.unreadable:
            yield f"unreadable {self.unreadable}; `medbot-train data validate` names them"
        names = ["mean", *QUANTILES, "max", "sum"]
        yield ""
        yield f"{'length':<24}" + "".join(f"{name:>10}" for name in names)
        for name, values in self.lengths.items():
            row = _summary(values)
            yield f"{name:<24}" + "".join(f"{row[column]:>10,.0f}" for column in names)
        if self.max_length is not None:
            unit = "tokens" if self.tokens else "characters"
            share = self.longer / max(self.records, 1)
            yield f"longer than {self.max_length} {unit}: {self.longer} ({share:.1%})"
        for name, counter in self.counts.items():
            yield ""
            yield name
            common = counter.most_common(MOST_VALUES)
            for value, count in common:
                yield f"  {value:<24} {count:>8}  {count / max(counter.total(), 1):6.1%}"
            rest = counter.total() - sum(count for _, count in common)
            if rest:
                yield f"  {'others':<24} {rest:>8}  {rest / counter.total():6.1%}"

    def _count(self, name: str, value: str) -> None:
        self.counts.setdefault(name, Counter())[value] += 1

    def _lengths(self, record: Record) -> None:
        parts: Counter[str] = Counter()
        tokens: Counter[str] = Counter()
        for place, text in texts_of(record):
            part = place.split()[0]
            parts[part] += len(text)
            parts["record"] += len(text)
            if self.tokens is not None:
                count = self.tokens(text)
                tokens[part] += count
                tokens["record"] += count
        for unit, counted in (("characters", parts), ("tokens", tokens)):
            for part, length in counted.items():
                self.lengths.setdefault(f"{part}, {unit}", array("L")).append(length)
        longest = tokens["record"] if self.tokens else parts["record"]
        self.longer += self.max_length is not None and longest > self.max_length


def language_of(record: Record) -> str:
    """The language that a record names, else the one that its texts are in."""
    named = language_key(record.meta)
    if named:
        return named
    told = told_language(body_of(record))
    return UNKNOWN if told is None else str(told)


def scene_of(record: Conversation | Preference) -> str:
    """The scene that a record names, else the one that its system message speaks of."""
    named = record.meta.get("scene")
    if named:
        return str(named)
    texts = (record.system, record.question)
    return next(
        (str(scene) for text in texts for scene, words in _SCENES.items() if words.search(text)),
        UNKNOWN,
    )


def risk_of(record: Record) -> str:
    """The risk that a record names, else how urgent its question is by the robot's triage."""
    named = str(record.meta.get("risk_level") or "").strip().lower()
    if named or isinstance(record, Text):
        return named or UNKNOWN
    return {"emergency": "critical", "nurse": "high"}.get(_triage_of(record.question), UNKNOWN)


def load_token_counter(path: Path) -> CountTokens:
    """A counter of tokens from a `tokenizer.json`, or from the folder of a model that has one.

    Marks of a chat template are not counted. Raises DataError.
    """
    from tokenizers import Tokenizer

    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"{file}: there is no such tokenizer; give a tokenizer.json or its folder")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # The library raises plain Exception for all that is wrong.
        raise DataError(f"{file}: is no tokenizer: {error}") from None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def json_of(statistics: Statistics) -> str:
    """All figures as one JSON object."""
    return json.dumps(statistics.as_fields(), ensure_ascii=False, indent=1)


def _kind(record: Record) -> str:
    if isinstance(record, Conversation):
        return "prompt" if record.wants_answer else "conversation"
    return type(record).__name__.lower()


def _summary(values: array[int]) -> dict[str, float]:
    numbers = np.asarray(values)
    quantiles = np.percentile(numbers, list(QUANTILES.values()))
    return {
        "mean": round(float(numbers.mean()), 1),
        **{n: round(float(v), 1) for n, v in zip(QUANTILES, quantiles, strict=True)},
        "max": int(numbers.max()),
        "sum": int(numbers.sum()),
    }


@cache
def _triage() -> SafetyTriage:
    return SafetyTriage(second_line=None)


def _triage_of(text: str) -> str:
    if not text.strip():
        return "none"
    severity = _triage().assess(text, Circumstances()).severity
    return "none" if severity is None else str(severity)
