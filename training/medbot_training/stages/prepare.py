"""Data files become the token ids that a trainer eats, once, in a file that memory is mapped from.

TRL would do it by the chat template's markers, with patched templates; see `templates.py` for why
it is done here. The ids lie in `OUTPUT_DIR/cache/`, under a name made of all that decides them, so
that a resumed run reads the same ones, and data may be larger than memory.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from medbot_llm.domain import MedbotError
from medbot_training.data.records import Conversation
from medbot_training.data.records import Preference
from medbot_training.data.records import Record
from medbot_training.data.records import Text
from medbot_training.data.records import full_answer
from medbot_training.prompting import PromptMaker
from medbot_training.recipes import Recipe
from medbot_training.templates import IGNORED
from medbot_training.templates import TemplateFacts
from medbot_training.templates import answer_ids
from medbot_training.templates import conversation_samples
from medbot_training.templates import prompt_ids

VERSION = 1
"""Counts up when this code makes other ids from the same data."""

DEFAULT_MAX_LENGTH = 1024
"""As in TRL's settings, tokens."""

Row = dict[str, Any]


class PrepareError(MedbotError):
    """The data can't be trained on; names the file and says what to do."""


@dataclass(frozen=True)
class Prepared:
    """Data that is ready for a trainer.

    Attributes:
        dataset: A datasets.Dataset.
        counts: Records read, used and left out, by the reason; real tokens and learnt ones.
    """

    dataset: Any
    counts: Mapping[str, int]


class Preparer:
    """Makes the data of one run.

    Args:
        recipe: The recipe.
        tokenizer: The base's tokenizer, with its chat template set.
        facts: What is known of that template; None for pre-training.
        prompts: Words the prompts.
    """

    def __init__(
        self, recipe: Recipe, tokenizer: Any, facts: TemplateFacts | None, prompts: PromptMaker
    ) -> None:
        self._recipe = recipe
        self._tokenizer = tokenizer
        self._facts = facts
        self._prompts = prompts
        limit = recipe.trainer.get("max_length", DEFAULT_MAX_LENGTH)
        self._max_length: int = limit if limit is not None else 1 << 30
        self._learn_all = recipe.trainer.get("assistant_only_loss") is False

    def prepared(self, purpose: str) -> Prepared | None:
        """Prepare the data of a purpose ("train" or "validation"); None where there is none.

        Raises PrepareError, RecipeError, or the readers' errors.
        """
        import datasets

        files = self._recipe.files(f"{purpose}_file")
        if not files:
            if purpose == "train":
                raise PrepareError("train_file is missing: name the data to train on")
            return None
        place = self._recipe.output_dir / "cache" / f"{purpose}-{self._key(files)}.arrow"
        counts_place = place.with_suffix(".json")
        if not (place.exists() and counts_place.exists()):
            place.parent.mkdir(parents=True, exist_ok=True)
            for old in place.parent.glob(f"{purpose}-*"):
                old.unlink(missing_ok=True)
            self._write(files, place, counts_place, purpose)
        counts = json.loads(counts_place.read_text(encoding="utf-8"))
        return Prepared(datasets.Dataset.from_file(str(place)), counts)

    def _key(self, files: Sequence[Path]) -> str:
        from medbot_training.run_record import data_record

        made_of = [
            VERSION,
            self._recipe.kind,
            self._max_length,
            self._learn_all,
            self._recipe.own["max_train_samples"],
            self._recipe.trainer.get("max_prompt_length"),
            self._prompts.fingerprint,
            [file["sha256"] for file in data_record(files)],
            str(self._tokenizer.chat_template),
            sorted(self._tokenizer.get_vocab().items()),
        ]
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]

    def _write(self, files: Sequence[Path], place: Path, counts_place: Path, purpose: str) -> None:
        from datasets.arrow_writer import ArrowWriter

        counts = {"records": 0, "samples": 0, "too_long": 0, "unusable": 0, "tokens": 0}
        counts["learnt_tokens"] = 0
        unfinished = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            writer = ArrowWriter(path=str(unfinished))
            try:
                for row in self._rows(files, counts, purpose):
                    counts["samples"] += 1
                    _count(row, counts)
                    writer.write(row)
                if not counts["samples"]:
                    raise PrepareError(_nothing_left(files, counts, self._max_length))
                writer.finalize()
            finally:
                writer.close()
            unfinished.replace(place)
        finally:
            unfinished.unlink(missing_ok=True)
        from medbot_training.run_record import write_whole

        write_whole(counts_place, json.dumps(counts) + "\n")

    def _rows(self, files: Sequence[Path], counts: dict[str, int], purpose: str) -> Iterator[Row]:
        make = self._maker()
        limit = self._recipe.own["max_train_samples"] if purpose == "train" else None
        seen = tqdm(
            read_all(files), desc=f"Reading {purpose} data", unit=" records", leave=False, delay=2
        )
        for record in seen:
            if limit is not None and counts["records"] >= limit:
                break
            counts["records"] += 1
            rows = make(record)
            if not rows:
                reason = "unusable" if _has_no_answer(record) else "too_long"
                counts[reason] += 1
            yield from rows

    def _maker(self) -> Callable[[Record], list[Row]]:
        kind = self._recipe.kind
        makers: dict[str, Callable[[Record], list[Row]]] = {
            "pretrain": self._text,
            "sft": self._conversation,
            "dpo": self._preference,
            "kto": self._judged,
            "reward": self._compared,
        }
        return makers.get(kind, self._prompt)

    # --- one record ------------------------------------------------------------------------------

    def _text(self, record: Record) -> list[Row]:
        if not isinstance(record, Text):
            raise self._wrong(record, "pretrain", "plain text (one document a line)")
        ids = list(self._tokenizer(record.text)["input_ids"])
        end = self._tokenizer.eos_token_id
        if end is not None and ids[-1:] != [end]:
            ids.append(end)
        return [{"input_ids": ids, "labels": list(ids)}] if len(ids) > 1 else []

    def _conversation(self, record: Record) -> list[Row]:
        if not isinstance(record, Conversation):
            raise self._wrong(record, "sft", "conversations")
        assert self._facts is not None
        samples = conversation_samples(
            self._tokenizer,
            self._facts,
            self._prompts.conversation(record),
            self._max_length,
        )
        return [
            {"input_ids": s.input_ids, "labels": s.input_ids if self._learn_all else s.labels}
            for s in samples
            if any(label != IGNORED for label in s.labels)
        ]

    def _pair(self, record: Record) -> tuple[list[int], list[int], list[int]] | None:
        if not isinstance(record, Preference):
            raise self._wrong(
                record, self._recipe.stage, "pairs of a chosen and a rejected answer"
            )
        assert self._facts is not None
        messages = self._prompts.prompt(record)
        prompt, chosen = answer_ids(self._tokenizer, self._facts, messages, record.chosen)
        _, rejected = answer_ids(self._tokenizer, self._facts, messages, record.rejected)
        longest = len(prompt) + max(len(chosen), len(rejected))
        return (prompt, chosen, rejected) if longest <= self._max_length else None

    def _preference(self, record: Record) -> list[Row]:
        pair = self._pair(record)
        if pair is None:
            return []
        return [{"prompt_ids": pair[0], "chosen_ids": pair[1], "rejected_ids": pair[2]}]

    def _compared(self, record: Record) -> list[Row]:
        pair = self._pair(record)
        if pair is None:
            return []
        prompt, chosen, rejected = pair
        return [{"chosen_ids": prompt + chosen, "rejected_ids": prompt + rejected}]

    def _judged(self, record: Record) -> list[Row]:
        pair = self._pair(record)
        if pair is None:
            return []
        prompt, chosen, rejected = pair
        return [
            {"prompt_ids": prompt, "completion_ids": chosen, "label": True},
            {"prompt_ids": prompt, "completion_ids": rejected, "label": False},
        ]

    def _prompt(self, record: Record) -> list[Row]:
        if isinstance(record, Text):
            raise self._wrong(record, "rl", "conversations or prompts")
        messages = self._prompts.prompt(record)
        if not messages or messages[-1]["role"] != "user":
            return []
        limit = self._recipe.trainer.get("max_prompt_length", DEFAULT_MAX_LENGTH)
        ids = prompt_ids(self._tokenizer, messages)
        if limit is not None and len(ids) > limit:
            return []
        reference = full_answer(record) if isinstance(record, Conversation) else record.chosen
        meta = json.dumps(dict(record.meta), ensure_ascii=False, default=str)
        row: Row = {"prompt": messages, "reference": reference, "meta": meta}
        return [{**row, "prompt_ids": ids}] if self._recipe.kind == "ppo" else [row]

    @staticmethod
    def _wrong(record: Record, stage: str, wanted: str) -> PrepareError:
        return PrepareError(
            f"{record.origin}: {stage} learns from {wanted}, not from a"
            f" {type(record).__name__.lower()}"
        )


def read_all(files: Sequence[Path]) -> Iterator[Record]:
    """Yield the records of files, in order, one at a time."""
    from medbot_training.data.formats import read_records

    yield from read_records(files)


def base_texts(files: Sequence[Path], limit: int = 20_000) -> Iterator[str]:
    """Give the texts of data files, for the tokenizer of a tiny model."""
    from medbot_training.data.records import texts_of

    given = 0
    for record in read_all(files):
        for _, text in texts_of(record):
            yield text
            given += 1
            if given >= limit:
                return


def _count(row: Row, counts: dict[str, int]) -> None:
    for name, ids in row.items():
        if name in ("input_ids", "chosen_ids", "rejected_ids", "completion_ids"):
            counts["tokens"] += len(ids)
        if name == "labels":
            counts["learnt_tokens"] += sum(label != IGNORED for label in ids)


def _has_no_answer(record: Record) -> bool:
    if isinstance(record, Text):
        return not record.text.strip()
    return isinstance(record, Conversation) and not record.answer


def _nothing_left(files: Sequence[Path], counts: Mapping[str, int], max_length: int) -> str:
    names = ", ".join(str(file) for file in files)
    if counts["too_long"]:
        return f"{names}: all {counts['records']} records are longer than max_length {max_length}"
    if counts["records"]:
        return f"{names}: none of {counts['records']} records has an answer to learn from"
    return f"{names}: there is no record in it"
