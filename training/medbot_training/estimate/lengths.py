"""How long the samples of a stage are: counted in prepared data, or guessed from the files."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medbot_training.data.records import Conversation
from medbot_training.data.records import Preference
from medbot_training.data.records import Record
from medbot_training.data.records import Text
from medbot_training.estimate.memory import DEFAULT_LENGTH
from medbot_training.estimate.memory import Lengths
from medbot_training.prompting import PromptMaker
from medbot_training.recipes import Recipe
from medbot_training.recipes import RecipeError

_READ_RECORDS = 5000
_WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")
_TOKENS_A_WIDE_CHARACTER = 0.8
_TOKENS_A_CHARACTER = 0.28
"""Of Qwen's tokenizer on the shipped dialogues: about four letters a token, and five characters of
Chinese in four."""
_TOKENS_A_MESSAGE = 6


def lengths_of(recipe: Recipe) -> Lengths:
    """Guess the lengths from the recipe's data, or from its limits where there is none.

    Raises MedbotError for data that can't be read.
    """
    limit = recipe.trainer.get("max_length", DEFAULT_LENGTH)
    if recipe.stage == "rl":
        limit = recipe.trainer.get("max_prompt_length", DEFAULT_LENGTH)
    limit = int(limit or DEFAULT_LENGTH)
    try:
        files = recipe.files("train_file")
    except RecipeError:
        files = []
    if not files:
        return Lengths(limit, float(limit))
    known = tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files)
    counted = _guessed(known, recipe.stage)
    if not counted:
        return Lengths(limit, float(limit))
    shown = [min(count, limit) for count in counted]
    longest, rows = max(shown), len(counted)
    most = recipe.own["max_train_samples"]
    return Lengths(longest, sum(shown) / rows, min(rows, most) if most else rows, counted=True)


def lengths_of_prepared(recipe: Recipe, dataset: Any) -> Lengths:
    """The lengths of data that is token ids already, as `stages/prepare.py` makes it."""
    import numpy
    import pyarrow.compute

    def column(name: str) -> Any:
        lengths = pyarrow.compute.list_value_length(dataset.data.column(name))
        return lengths.to_numpy()

    names = set(dataset.column_names)
    if "input_ids" in names:
        counted = column("input_ids")
    elif "prompt_ids" in names and "chosen_ids" in names:
        answers = numpy.maximum(column("chosen_ids"), column("rejected_ids"))
        counted = column("prompt_ids") + answers
    elif "chosen_ids" in names:
        counted = numpy.maximum(column("chosen_ids"), column("rejected_ids"))
    elif "completion_ids" in names:
        counted = column("prompt_ids") + column("completion_ids")
    elif "prompt_ids" in names:
        counted = column("prompt_ids")
    else:
        return lengths_of(recipe)
    return Lengths(int(counted.max()), float(counted.mean()), len(counted), counted=True)


@functools.cache
def _guessed(files: Sequence[tuple[str, int, int]], stage: str) -> list[int]:
    """The tokens of each record; read once as long as size and time of change are the same."""
    from medbot_training.stages.prepare import read_all

    prompts = PromptMaker()
    found: list[int] = []
    for record in read_all([Path(name) for name, _, _ in files]):
        if len(found) < _READ_RECORDS:
            found.append(_tokens_of(record, stage, prompts))
        else:
            # The rest is counted only; it will be of the same kind.
            found.append(found[len(found) % _READ_RECORDS])
    return found


def _tokens_of(record: Record, stage: str, prompts: PromptMaker) -> int:
    if isinstance(record, Text):
        return round(_tokens(record.text)) + 1
    if isinstance(record, Conversation) and stage != "rl":
        messages = prompts.conversation(record)
    else:
        messages = prompts.prompt(record)
    count = sum(_tokens(message["content"]) + _TOKENS_A_MESSAGE for message in messages)
    if isinstance(record, Preference) and stage != "rl":
        count += max(_tokens(record.chosen), _tokens(record.rejected)) + _TOKENS_A_MESSAGE
    return round(count)


def _tokens(text: str) -> float:
    wide = len(_WIDE.findall(text))
    return wide * _TOKENS_A_WIDE_CHARACTER + (len(text) - wide) * _TOKENS_A_CHARACTER
