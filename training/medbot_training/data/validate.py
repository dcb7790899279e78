"""`data validate`: what is wrong with files, record by record and among each other.

Checks of one record are in checks.py. Here is what takes all of them: counts that are claimed,
copies and near-copies, records that a training set shares with what it will be measured on, and
preferences that contradict each other. Of each record a few hundred bytes are kept, never its
text, so that files may be larger than memory.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from medbot_training.data.checks import check_record
from medbot_training.data.findings import KINDS
from medbot_training.data.findings import Finding
from medbot_training.data.near import NearIndex
from medbot_training.data.near import bare
from medbot_training.data.records import Conversation
from medbot_training.data.records import Message
from medbot_training.data.records import Origin
from medbot_training.data.records import Preference
from medbot_training.data.records import Record
from medbot_training.data.records import Text
from medbot_training.data.records import body_of
from medbot_training.data.records import content_hash
from medbot_training.data.records import full_answer

ALL_KINDS = frozenset(KINDS)
MIN_QUESTION = 12
"""Letters of a question that may not stand in two splits; shorter ones are everybody's."""
CLAIM_KEYS = ("claimed_records", "dataset_size", "total_records", "num_records")
"""In the `meta` of a record: how many records its file is said to have."""
SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "eval": "validation",
    "test": "test",
    "gold": "gold",
    "gold_set": "gold",
    "red_team": "red_team",
    "redteam": "red_team",
}
"""Names of files, and the split that they hold."""


def split_of(path: Path) -> str:
    """The split that a file's name tells, "" if none."""
    stem = path.name.split(".")[0].lower().replace("-", "_")
    return SPLITS.get(stem, "") or next(
        (split for name, split in SPLITS.items() if stem.endswith(f"_{name}")), ""
    )


@dataclass
class FileCount:
    """What was found in one file."""

    name: str
    records: int = 0
    different: int = 0
    unreadable: int = 0
    claimed: int | None = None
    answers: bool = False
    unanswered: array[int] = field(default_factory=lambda: array("Q"))


@dataclass
class Summary:
    """What validation found in all."""

    files: list[FileCount] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def records(self) -> int:
        """How many records could be read."""
        return sum(file.records for file in self.files)

    @property
    def findings(self) -> int:
        """How many findings there are."""
        return sum(self.kinds.values())


class Validator:
    """Takes files one after another, and then tells what they are to each other.

    Args:
        kinds: Kinds of findings that are wanted.
        claims: How many records files are claimed to have, by name; "" means all together.
        splits: Which split a file is, by name; for others its name tells.
    """

    def __init__(
        self,
        kinds: frozenset[str] = ALL_KINDS,
        claims: Mapping[str, int] | None = None,
        splits: Mapping[str, str] | None = None,
    ) -> None:
        self.summary = Summary()
        self._kinds = kinds
        self._claims = dict(claims or {})
        self._splits = dict(splits or {})
        self._near = NearIndex()
        self._files = array("I")
        self._records = array("Q")
        self._exact: dict[bytes, int] = {}
        self._questions: dict[bytes, int] = {}
        self._sides: dict[bytes, tuple[str, int]] = {}
        self._reported: set[int] = set()

    def check_file(self, name: str, items: Iterable[Record | Finding]) -> Iterator[Finding]:
        """Check the records of a file as they are read; yield findings at once."""
        count = FileCount(name, claimed=self._claims.get(name))
        self.summary.files.append(count)
        for item in items:
            if isinstance(item, Finding):
                count.unreadable += 1
                yield from self._wanted([item])
                continue
            count.records += 1
            yield from self._wanted(self._among(item, count))
            yield from self._wanted(check_record(item, self._kinds))
        yield from self._wanted(_claim(count))

    def finish(self) -> Iterator[Finding]:
        """Yield what only all files together show."""
        whole = self._claims.get("")
        if whole is not None and whole != self.summary.records:
            different = sum(file.different for file in self.summary.files)
            detail = _claimed(whole, self.summary.records, different)
            names = {file.name for file in self.summary.files}
            origin = Origin(names.pop() if len(names) == 1 else "all files", 0)
            yield from self._wanted([Finding(origin, "claim", detail)])
        if not self._kinds & {"near_duplicate", "leak"}:
            return
        for pair in self._near.pairs():
            if pair.second in self._reported:
                continue
            first, second = self._split(pair.first), self._split(pair.second)
            is_leak = bool(first and second and first != second)
            where = f"{pair.likeness:.0%} the same as {self._origin(pair.first)}"
            detail = f"{second} and {first}: {where}" if is_leak else where
            kind = "leak" if is_leak else "near_duplicate"
            yield from self._wanted([Finding(self._origin(pair.second), kind, detail)])

    # --- inside ----------------------------------------------------------------------------------

    def _wanted(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        for finding in findings:
            if finding.kind in self._kinds:
                self.summary.kinds[finding.kind] += 1
                yield finding

    def _among(self, record: Record, count: FileCount) -> Iterator[Finding]:
        """What a record is to those before it."""
        number = self._near.add(body_of(record)) if self._wants_near else len(self._files)
        self._files.append(len(self.summary.files) - 1)
        self._records.append(record.origin.record)
        for key in CLAIM_KEYS:
            claimed = record.meta.get(key)
            if count.claimed is None and isinstance(claimed, int):
                count.claimed = claimed
        yield from self._no_answer(record, count)
        same = self._exact.setdefault(_key(content_hash(record)), number)
        is_own_copy = same != number and self._files[same] == len(self.summary.files) - 1
        count.different += not is_own_copy
        if same != number:
            self._reported.add(number)
            yield self._copy(record, number, same, "the same as")
            return
        if isinstance(record, Preference):
            yield from self._preference(record, number)
        elif isinstance(record, Conversation) and record.label is not None:
            side = "chosen" if record.label else "rejected"
            yield from self._conflicts(record, number, {side: full_answer(record)})
        yield from self._question(record, number)

    @property
    def _wants_near(self) -> bool:
        return bool(self._kinds & {"near_duplicate", "leak"})

    def _no_answer(self, record: Record, count: FileCount) -> Iterator[Finding]:
        if not isinstance(record, Conversation):
            return
        if record.messages and record.messages[-1].role == "user":
            count.unanswered.append(record.origin.record)
        else:
            count.answers = True
        # Until one has an answer, the file may be one of prompts.
        if count.answers:
            for number in count.unanswered:
                origin = Origin(record.origin.file, number)
                yield Finding(origin, "no_answer", "ends with the user's words")
            del count.unanswered[:]

    def _preference(self, record: Preference, number: int) -> Iterator[Finding]:
        better = Conversation(
            "", (*record.prompt, Message("assistant", record.chosen)), {}, origin=record.origin
        )
        same = self._exact.setdefault(_key(content_hash(better)), number)
        if same != number:
            self._reported.add(number)
            yield self._copy(record, number, same, "prompt and chosen answer are those of")
        sides = {"chosen": record.chosen, "rejected": record.rejected}
        yield from self._conflicts(record, number, sides)

    def _conflicts(
        self, record: Conversation | Preference, number: int, sides: Mapping[str, str]
    ) -> Iterator[Finding]:
        """Answers that are good here and bad there; of a label true is chosen."""
        prompt = "\x1e".join(bare(message.content) for message in record.prompt)
        for side, answer in sides.items():
            key = _key(f"{prompt}\x1f{bare(answer)}")
            other, first = self._sides.setdefault(key, (side, number))
            if other != side and first != number:
                self._reported.add(number)
                yield Finding(
                    record.origin,
                    "conflict",
                    f"the {side} answer is the {other} one of {self._origin(first)}",
                )

    def _question(self, record: Record, number: int) -> Iterator[Finding]:
        """The same question in two splits, however it is answered."""
        if isinstance(record, Text):
            return
        messages = record.prompt
        asked = bare("\n".join(one.content for one in messages if one.role == "user"))
        if len(asked) < MIN_QUESTION:
            return
        # The first of each split would do; the first of all is that of the training set as a rule.
        first = self._questions.setdefault(_key(asked), number)
        here, there = self._split(number), self._split(first)
        if here and there and here != there and number not in self._reported:
            self._reported.add(number)
            detail = f"{here} and {there}: the same question as {self._origin(first)}"
            yield Finding(record.origin, "leak", detail)

    def _copy(self, record: Record, number: int, same: int, how: str) -> Finding:
        here, there = self._split(number), self._split(same)
        where = f"{how} {self._origin(same)}"
        if here and there and here != there:
            return Finding(record.origin, "leak", f"{here} and {there}: {where}")
        return Finding(record.origin, "duplicate", where)

    def _origin(self, number: int) -> Origin:
        return Origin(self.summary.files[self._files[number]].name, self._records[number])

    def _split(self, number: int) -> str:
        name = self.summary.files[self._files[number]].name
        if name not in self._splits:
            self._splits[name] = split_of(Path(name))
        return self._splits[name]


def _claim(count: FileCount) -> Iterator[Finding]:
    if count.claimed is not None and count.claimed != count.records:
        detail = _claimed(count.claimed, count.records, count.different)
        yield Finding(Origin(count.name, 0), "claim", detail)


def _claimed(claimed: int, found: int, different: int) -> str:
    return f"{claimed} records are claimed, {found} are there, {different} of them different"


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
