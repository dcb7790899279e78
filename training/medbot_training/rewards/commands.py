"""`medbot-train rewards`: the parts of each answer's reward, as JSON Lines."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medbot_llm.apps.json_lines import write_object
from medbot_llm.domain import MedbotError
from medbot_training.data.formats import FORMATS
from medbot_training.data.formats import read_records
from medbot_training.data.records import Conversation
from medbot_training.data.records import Preference
from medbot_training.data.records import Text
from medbot_training.data.records import full_answer
from medbot_training.rewards.combine import Item
from medbot_training.rewards.combine import context_of
from medbot_training.rewards.combine import means
from medbot_training.rewards.parts import SPOKEN
from medbot_training.rewards.parts import WRITTEN
from medbot_training.rewards.parts import Context
from medbot_training.rewards.parts import RewardParts
from medbot_training.rewards.parts import RuleSettings
from medbot_training.rewards.rules import Rules

_EPILOG = """\
FILE is of any format that `medbot-train data convert --help` lists. A conversation gives a line,
a preference two ("which": "chosen", "rejected"). Fields of a record, or of its meta, that are
used:
  language, scene, patient_group    how the robot speaks, whom it calls
  task                              as `medbot verify --help` shows it
  reference, facts                  what the answer must agree with
  needs                             emergency, nurse or none, where a person has judged it
each line of the output:
  {"id": "1", "format": 1.0, "content": 0.79, "length": 1.0, "language": 1.0, "safety": 1.0,
   "rules": 0.79, "teacher": null, "reward": 0.79, "need": "none", "escalates": "soft",
   "findings": [["double_dose", "harm", "take both"]]}
training/docs/reward_rules.md says what each part means. The teacher is asked by
`medbot-train teacher judge`.

examples:
  medbot-train rewards score predictions.jsonl > parts.jsonl
  medbot-train rewards score --thinking --band written old.json | jq .rules
"""


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "rewards",
        help="score answers by the rules that rewards are made of",
        description="Score answers by the rules that rewards are made of.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    score = actions.add_parser(
        "score",
        help="print the parts of each record's reward",
        description="Print the parts of each record's reward, a line a record.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_records(score)
    add_rules(score)
    score.add_argument(
        "--summary", action="store_true", help="print the means of all parts at the end, to stderr"
    )
    score.set_defaults(run=_score)


def add_records(parser: argparse.ArgumentParser) -> None:
    """Give a command its file of answers."""
    parser.add_argument("file", type=Path, metavar="FILE", help="answers, in any known format")
    parser.add_argument(
        "--format", choices=sorted(FORMATS), help="format of FILE (default: told from its fields)"
    )
    parser.add_argument(
        "--limit", type=_positive, metavar="N", help="only the first N answers (default: all)"
    )


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Give a command the settings of the rules."""
    parser.add_argument(
        "--thinking", action="store_true", help="a <think> before the answer is wanted"
    )
    parser.add_argument(
        "--band",
        choices=("spoken", "written"),
        default="spoken",
        help="how long answers are to be: to be heard, or to be read (default: spoken)",
    )
    parser.add_argument(
        "--rules-only",
        action="store_true",
        help="leave out the learned models of triage and verifier: faster, and misses more",
    )


def rules_of(args: argparse.Namespace) -> Rules:
    """The rules as the options want them."""
    band = WRITTEN if args.band == "written" else SPOKEN
    return Rules(RuleSettings(band=band, second_line=not args.rules_only))


def answers(args: argparse.Namespace) -> Iterator[tuple[dict[str, Any], Item]]:
    """Yield id (and which of two) and item of each answer of the file.

    Raises:
        MedbotError: The file or a record can't be read, or a record has no answer.
    """
    defaults = Context(thinking=args.thinking)
    count = 0
    for record in read_records([args.file], form=args.format):
        for about, question, completion in _completions(record):
            if args.limit is not None and count >= args.limit:
                return
            count += 1
            context = context_of(dict(record.meta), defaults=defaults)
            yield {"id": record.id, **about}, Item(question, completion, context)


def _completions(
    record: Conversation | Preference | Text,
) -> list[tuple[dict[str, str], str, str]]:
    if isinstance(record, Text):
        raise MedbotError(f"{record.origin}: is a text; only answers can be scored")
    if isinstance(record, Preference):
        return [
            ({"which": "chosen"}, record.question, record.chosen),
            ({"which": "rejected"}, record.question, record.rejected),
        ]
    if record.wants_answer or not record.messages:
        raise MedbotError(f"{record.origin}: has no answer to score")
    return [({}, record.question, full_answer(record))]


def _score(args: argparse.Namespace) -> int:
    rules = rules_of(args)
    scored: list[RewardParts] = []
    for about, item in answers(args):
        parts = rules.score(item.question, item.completion, item.context)
        write_object({**about, **parts.as_fields()})
        scored.append(parts)
    if args.summary:
        summary = {name: round(value, 4) for name, value in means(scored).items()}
        print(json.dumps({"answers": len(scored), **summary}), file=sys.stderr)
    return 0


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, not '{text}'")
    return value
