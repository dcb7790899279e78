"""Read files of prepared words and check them before a word of them is used.

Prompts and phrases are data that a hospital may replace. A missing key or a misspelt placeholder
must show when the robot starts, with the file and the key, and not at a bedside; so every file
is checked whole against a schema when it is read.
"""

from __future__ import annotations

import importlib.resources
import sys
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

import yaml

from medbot_llm.domain import MedbotError

if sys.version_info >= (3, 11):
    from importlib.resources.abc import Traversable
else:
    from importlib.abc import Traversable


class WordingError(MedbotError):
    """A file of prepared words is missing, is no YAML, or does not keep to its schema."""


@dataclass(frozen=True)
class Slots:
    """What a text in a file may be filled with.

    Attributes:
        required: Placeholders that must occur, lest a fact be lost.
        optional: Placeholders that may occur besides.
        is_list: A list of texts stands here instead of one; the placeholders are those of all
            together.
    """

    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    is_list: bool = False


def slots(*required: str, optional: Sequence[str] = (), is_list: bool = False) -> Slots:
    """Slots of these names."""
    return Slots(frozenset(required), frozenset(optional), is_list)


@dataclass(frozen=True)
class OneOrEach:
    """One text (or list of texts) for all of `names`, or a mapping with one for each of them."""

    text: Slots
    names: tuple[str, ...]


Schema = Mapping[str, Any]
"""Nested keys; the leaves are `Slots` or `OneOrEach`."""


def packaged_resources() -> Traversable:
    """The directory of the data files that come with this package."""
    return importlib.resources.files("medbot_llm.resource")


def read_words(directory: Path | Traversable, name: str, schema: Schema) -> dict[str, Any]:
    """Read the YAML file `name` in `directory` and check it. Raises WordingError with file and
    key."""
    file = directory / name
    try:
        words = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WordingError(
            f"{file}: no such file; copy it from the package and change that"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise WordingError(f"{file}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where else ""
        raise WordingError(f"{file}: is no valid YAML{line}") from error
    _check(words, schema, str(file), "")
    return dict(words)


def _check(node: object, schema: Schema | OneOrEach | Slots, file: str, key: str) -> None:
    if isinstance(schema, OneOrEach):
        is_each = isinstance(node, Mapping)
        schema = dict.fromkeys(schema.names, schema.text) if is_each else schema.text
    if isinstance(schema, Slots):
        _check_text(node, schema, file, key)
        return
    if not isinstance(node, Mapping):
        raise WordingError(
            f"{file}: {key or 'the file'} must be a mapping with {', '.join(schema)}"
        )
    prefix = f"{key}." if key else ""
    for name in schema:
        if name not in node:
            raise WordingError(f"{file}: the key {prefix}{name} is missing")
    for name in node:
        if name not in schema:
            raise WordingError(f"{file}: unknown key {prefix}{name}, expected {', '.join(schema)}")
        _check(node[name], schema[name], file, f"{prefix}{name}")


def _check_text(node: object, wanted: Slots, file: str, key: str) -> None:
    if wanted.is_list and not (isinstance(node, list) and node):
        raise WordingError(f"{file}: {key} must be a list of texts")
    texts = node if wanted.is_list and isinstance(node, list) else [node]
    found: set[str] = set()
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise WordingError(
                f"{file}: {key} must be text that is not empty (quote it if it is a number)"
            )
        try:
            fields = list(Formatter().parse(text))
        except ValueError as error:
            raise WordingError(f"{file}: {key} has an unpaired brace: {error}") from error
        for _, name, spec, conversion in fields:
            if name is None:
                continue
            if name not in wanted.required | wanted.optional or spec or conversion:
                allowed = ", ".join(
                    f"{{{slot}}}" for slot in sorted(wanted.required | wanted.optional)
                )
                raise WordingError(
                    f"{file}: {key} has the unknown placeholder {{{name}}}, "
                    f"allowed: {allowed or 'none'}"
                )
            found.add(name)
    for name in sorted(wanted.required - found):
        raise WordingError(f"{file}: {key} lacks the placeholder {{{name}}}")
