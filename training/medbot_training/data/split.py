"""`data split`: training, validation, test, gold and red-team sets that have nothing in common.

A record's place is drawn by the hash of its content and a seed, not by its place in a file: the
same records always come to the same sets, in whatever order, and a record that was in the test
set stays there when the hospital adds more. Records that are nearly the same, or ask the same
question, are drawn as one (the smallest hash of the group decides), so that no test question has
a twin in training.

Two passes over the files: the first keeps 300 bytes of each record, the second writes.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from typing import ClassVar

from medbot_training import __version__
from medbot_training.data.findings import Finding
from medbot_training.data.formats import FORMATS
from medbot_training.data.near import NearIndex
from medbot_training.data.near import bare
from medbot_training.data.records import Conversation
from medbot_training.data.records import DataError
from medbot_training.data.records import Preference
from medbot_training.data.records import Record
from medbot_training.data.records import Text
from medbot_training.data.records import body_of
from medbot_training.data.records import content_hash
from medbot_training.data.records import copy_hash
from medbot_training.data.validate import MIN_QUESTION
from medbot_training.data.writing import Output

TRAIN, VALIDATION, TEST, GOLD, RED_TEAM = "train", "validation", "test", "gold", "red_team"
SETS = (TRAIN, VALIDATION, TEST, GOLD, RED_TEAM)
SHARES = {TRAIN: 80.0, VALIDATION: 10.0, TEST: 10.0}
"""As project 003 has it (docs/features.md, C05)."""
THRESHOLD = 0.75
"""Below that of `validate`, so that what it calls a leak is far from the border here."""
GOLD_SHARE = 20.0
"""Of validation and test so many per cent go into the gold set."""
MANIFEST = "split.json"

ReadFile = Callable[[Path], Iterable[Record | Finding]]


@dataclass(frozen=True)
class Settings:
    """How records are divided.

    Attributes:
        shares: Parts of training, validation and test; their sum is the whole.
        gold_share: Per cent of validation and test that become the gold set.
        seed: Another seed draws other sets.
        threshold: From this likeness on two records are drawn as one, 0 to 1.
        keep_copies: Keep records that are there word by word already.
    """

    shares: Mapping[str, float] = field(default_factory=lambda: dict(SHARES))
    gold_share: float = GOLD_SHARE
    seed: int = 0
    threshold: float = THRESHOLD
    keep_copies: bool = False


@dataclass
class Report:
    """What came out.

    Attributes:
        counts: Records of each set.
        groups: How many groups were drawn.
        largest: Records in the largest group.
        copies: Records left out because they were there already.
        unreadable: Records left out because they can't be read.
        files: The files that were written.
    """

    counts: Counter[str] = field(default_factory=Counter)
    groups: int = 0
    largest: int = 0
    copies: int = 0
    unreadable: int = 0
    files: list[Path] = field(default_factory=list)


def is_red_team(record: Record) -> bool:
    """Whether a record itself says that it belongs to the red team."""
    meta = record.meta
    return meta.get("split") == RED_TEAM or "red_team" in str(meta.get("source", ""))


def kind_of(record: Record) -> str:
    """In which folder a record goes where there are several kinds."""
    if isinstance(record, Text):
        return "pretrain"
    if isinstance(record, Preference):
        return "dpo"
    if record.label is not None:
        return "kto"
    return "rl" if record.wants_answer else "sft"


def draw(key: str, settings: Settings) -> str:
    """The set of a group, by its key."""
    first, second = _number(f"{settings.seed}:{key}"), _number(f"{settings.seed}:gold:{key}")
    at = first * sum(settings.shares.values())
    chosen = TRAIN
    for name, share in settings.shares.items():
        chosen = name
        at -= share
        if at < 0:
            break
    if chosen != TRAIN and second < settings.gold_share / 100:
        return GOLD
    return chosen


def _number(text: str) -> float:
    """A number from 0 to below 1 that a text always gives."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big") / 2**56


class Splitter:
    """Divides files.

    Args:
        settings: How.
        read: Gives the records of a file; called twice for each.
        forms: Formats to write, by kind (see kind_of); others have the usual ones.
    """

    FORMS: ClassVar = {
        "sft": "messages",
        "dpo": "preference",
        "kto": "prompt_completion",
        "rl": "prompt",
        "pretrain": "text",
    }

    def __init__(
        self, settings: Settings, read: ReadFile, forms: Mapping[str, str] | None = None
    ) -> None:
        self._settings = settings
        self._read = read
        self._forms = {**self.FORMS, **(forms or {})}

    def split(self, files: Sequence[Path], folder: Path, red_team: Sequence[Path] = ()) -> Report:
        """Divide files into a folder: one file a set, in a folder for each kind of record if
        there are several.

        Args:
            files: What is divided.
            folder: Where the sets go; one that is empty has no file.
            red_team: Files whose records are the red team, and what is nearly the same.

        Raises DataError.
        """
        report = Report()
        every = [*red_team, *files]
        places, kinds = self._place(every, len(red_team), report)
        if not places:
            raise DataError("there are no records to divide")
        self._write(every, folder, places, kinds, report)
        return report

    def _place(
        self, files: Sequence[Path], red_files: int, report: Report
    ) -> tuple[list[str], set[str]]:
        """The set of each record in reading order, "" for one that is left out."""
        near = NearIndex()
        hashes = array("Q")
        red: set[int] = set()
        kinds: set[str] = set()
        first: dict[int, int] = {}
        copies: set[int] = set()
        literal: set[int] = set()
        questions: dict[int, int] = {}
        same: list[tuple[int, int]] = []
        for place, path in enumerate(files):
            for item in self._read(path):
                if isinstance(item, Finding):
                    report.unreadable += 1
                    continue
                number = near.add(body_of(item))
                kinds.add(kind_of(item))
                key = int(content_hash(item)[:16], 16)
                hashes.append(key)
                if place < red_files or is_red_team(item):
                    red.add(number)
                if (earlier := first.setdefault(key, number)) != number:
                    same.append((earlier, number))
                said = int(copy_hash(item)[:16], 16)
                if said in literal:
                    copies.add(number)
                literal.add(said)
                asked = _question_key(item)
                if asked and (earlier := questions.setdefault(asked, number)) != number:
                    same.append((earlier, number))
        groups = near.groups(self._settings.threshold, same)
        smallest: dict[int, int] = {}
        sizes: Counter[int] = Counter()
        for number, group in enumerate(groups):
            smallest[group] = min(hashes[number], smallest.get(group, hashes[number]))
            sizes[group] += 1
        report.groups = len(sizes)
        report.largest = max(sizes.values(), default=0)
        red_groups = {groups[number] for number in red}
        sets = {
            group: RED_TEAM if group in red_groups else draw(f"{key:016x}", self._settings)
            for group, key in smallest.items()
        }
        places = []
        for number, group in enumerate(groups):
            is_copy = number in copies and not self._settings.keep_copies
            report.copies += is_copy
            places.append("" if is_copy else sets[group])
        return places, kinds

    def _write(
        self,
        files: Sequence[Path],
        folder: Path,
        places: Sequence[str],
        kinds: set[str],
        report: Report,
    ) -> None:
        number = 0
        with ExitStack() as stack:
            outputs = {
                (kind, name): stack.enter_context(
                    Output(
                        folder / (kind if len(kinds) > 1 else "") / f"{name}.jsonl",
                        skip_empty=True,
                    )
                )
                for kind in sorted(kinds)
                for name in SETS
            }
            for path in files:
                for item in self._read(path):
                    if isinstance(item, Finding):
                        continue
                    if number >= len(places):
                        raise DataError(f"{path}: has changed while it was divided; try again")
                    name = places[number]
                    number += 1
                    if not name:
                        continue
                    kind = kind_of(item)
                    fields = FORMATS[self._forms[kind]].write(item)
                    outputs[kind, name].write(fields)
                    report.counts[name] += 1
            if number != len(places):
                raise DataError(f"{files[-1]}: has changed while it was divided; try again")
        report.files = [output.path for output in outputs.values() if output.count]
        self._manifest(files, folder, report)

    def _manifest(self, files: Sequence[Path], folder: Path, report: Report) -> None:
        settings = self._settings
        fields: dict[str, Any] = {
            "made_by": f"medbot-train data split {__version__}",
            "seed": settings.seed,
            "shares": dict(settings.shares),
            "gold_share": settings.gold_share,
            "threshold": settings.threshold,
            "inputs": {str(path): sha256_of(path) for path in files},
            "outputs": {str(p.relative_to(folder)): sha256_of(p) for p in report.files},
            "counts": dict(report.counts),
            "groups": report.groups,
            "copies_left_out": report.copies,
            "unreadable_left_out": report.unreadable,
        }
        text = json.dumps(fields, ensure_ascii=False, indent=1) + "\n"
        temporary = folder / f".{MANIFEST}.part"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(folder / MANIFEST)


def place_of(folder: Path, kind: str, kinds: set[str], name: str) -> Path:
    """The file of a set: in the folder, or in that of its kind where there are several."""
    return (folder / kind if len(kinds) > 1 else folder) / f"{name}.jsonl"


def sha256_of(path: Path) -> str:
    """The hash of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _question_key(record: Record) -> int:
    """A number for what was asked, 0 where it is too short to tell records apart."""
    if isinstance(record, Text):
        return 0
    messages = record.messages if isinstance(record, Conversation) else record.prompt
    asked = bare("\n".join(one.content for one in messages if one.role == "user"))
    if len(asked) < MIN_QUESTION:
        return 0
    return int.from_bytes(hashlib.blake2b(asked.encode(), digest_size=8).digest(), "big")


def lines_of(report: Report, settings: Settings) -> Iterator[str]:
    """A report for a person."""
    total = sum(report.counts.values())
    for name in SETS:
        count = report.counts[name]
        yield f"{name:<11} {count:>8}  {count / max(total, 1):6.1%}"
    alone = "1 group" if report.groups == 1 else f"{report.groups} groups"
    yield f"{total} records in {alone} of records that belong together, seed {settings.seed}"
    if report.copies:
        yield f"left out: {report.copies} copies, word by word, of records that are there"
    if report.unreadable:
        yield f"left out: {report.unreadable} unreadable records; `data validate` names them"
    if total and report.largest > max(10, total // 20):
        yield (
            f"one group has {report.largest} records, each nearly the same as another; a higher "
            "--threshold parts more of them"
        )
    for name in (VALIDATION, TEST):
        if not report.counts[name] and settings.shares.get(name, 0) > 0:
            yield f"{name} is empty: too few records, or too few groups"
