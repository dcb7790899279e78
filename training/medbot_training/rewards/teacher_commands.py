"""`medbot-train teacher`: let a larger model mark answers, once each."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from medbot_llm.apps.json_lines import write_object
from medbot_llm.domain import MedbotError
from medbot_training.rewards.combine import OFFLINE
from medbot_training.rewards.combine import Item
from medbot_training.rewards.combine import asked_of
from medbot_training.rewards.combine import joined
from medbot_training.rewards.commands import add_records
from medbot_training.rewards.commands import add_rules
from medbot_training.rewards.commands import answers
from medbot_training.rewards.commands import rules_of
from medbot_training.rewards.judgements import JudgementFile
from medbot_training.rewards.rules import Rules
from medbot_training.rewards.teacher import PROVIDERS
from medbot_training.rewards.teacher import Teacher
from medbot_training.rewards.teacher import TeacherSettings

logger = logging.getLogger(__name__)

CHUNK = 64
"""Answers that are read, asked for and written at a time."""

_EPILOG = f"""\
The key is taken from the environment and goes nowhere but into the request:
{chr(10).join(f"  {name:<11} {p.key_variable:<24} {p.base_url}" for name, p in PROVIDERS.items())}
Any other OpenAI-compatible server: --base-url, --model, --key-variable; one in the house needs no
key.

Answers leave the house, unless the server stands in it: first
  medbot-train data deidentify answers.jsonl -o clean.jsonl

Judgements are kept in --out by the hash of what was judged, the model and the rubric: run it again
to go on where it ended, or to ask again for what failed. Each answer gives a line on stdout:
  {{"id": "1", "rules": 0.79, "teacher": 0.87, "reward": 0.82}}
A failed judgement is null, never a mark; its reward is that of the rules alone. Exit status 1:
some judgements are missing.

examples:
  DEEPSEEK_API_KEY=… medbot-train teacher judge clean.jsonl --limit 5
  medbot-train teacher judge clean.jsonl --provider local --model qwen3-8b
  medbot-train teacher judge clean.jsonl --offline            the rules alone
"""


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "teacher",
        help="let a larger model mark answers",
        description="Let a larger model mark answers.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    judge = actions.add_parser(
        "judge",
        help="mark the answers of a file, and keep the marks",
        description="Mark the answers of a file by a teacher, and keep the marks.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_records(judge)
    add_rules(judge)
    judge.add_argument(
        "--out",
        "-o",
        type=Path,
        default=Path("data/rl/teacher_judgements.jsonl"),
        metavar="FILE",
        help="where judgements are kept, and found again (default: %(default)s)",
    )
    judge.add_argument(
        "--offline", action="store_true", help="ask nobody: the rules alone, and say so"
    )
    defaults = TeacherSettings()
    judge.add_argument(
        "--provider", choices=sorted(PROVIDERS), default=defaults.provider, help="whom to ask"
    )
    judge.add_argument("--base-url", default="", metavar="URL", help="another address")
    judge.add_argument("--model", default="", metavar="NAME", help="another model")
    judge.add_argument(
        "--key-variable", default="", metavar="NAME", help="another variable that holds the key"
    )
    judge.add_argument(
        "--concurrency",
        type=int,
        default=defaults.concurrency,
        metavar="N",
        help="requests at a time (default: %(default)s)",
    )
    judge.add_argument(
        "--timeout",
        type=float,
        default=defaults.timeout_s,
        metavar="S",
        help="of one request, s (default: %(default)s)",
    )
    judge.add_argument(
        "--attempts",
        type=int,
        default=defaults.attempts,
        metavar="N",
        help="requests for one judgement at most (default: %(default)s)",
    )
    judge.add_argument(
        "--response-format",
        choices=("json_object", "json_schema", "none"),
        default=defaults.response_format,
        help="what the server understands (default: %(default)s)",
    )
    judge.add_argument(
        "--prices",
        type=float,
        nargs=2,
        default=(0.0, 0.0),
        metavar=("IN", "OUT"),
        help="of a million tokens, to count the cost",
    )
    judge.set_defaults(run=_judge)


def _judge(args: argparse.Namespace) -> int:
    kept = JudgementFile(args.out)
    if kept.unreadable:
        print(f"{args.out}: passing over {kept.unreadable} broken lines", file=sys.stderr)
    if args.offline:
        return _offline(args, kept)
    settings = TeacherSettings(
        provider=args.provider,
        base_url=args.base_url,
        model=args.model,
        key_variable=args.key_variable,
        concurrency=args.concurrency,
        timeout_s=args.timeout,
        attempts=args.attempts,
        response_format=args.response_format,
        price_in=args.prices[0],
        price_out=args.prices[1],
    )
    teacher = Teacher(settings, kept)
    rules = rules_of(args)
    failed = 0
    try:
        with tqdm(desc="judging", unit="answer", disable=None, total=args.limit) as bar:
            batch: list[tuple[dict[str, Any], Item]] = []
            for one in answers(args):
                batch.append(one)
                if len(batch) == CHUNK:
                    failed += _judge_batch(batch, teacher, rules, bar)
                    batch.clear()
            failed += _judge_batch(batch, teacher, rules, bar)
    finally:
        print(teacher.tally.line(settings), file=sys.stderr)
    if teacher.tally.unsaved:
        raise MedbotError(f"{args.out}: {teacher.tally.unsaved} judgements could not be written")
    return 1 if failed else 0


def _judge_batch(
    batch: list[tuple[dict[str, Any], Item]], teacher: Teacher, rules: Rules, bar: Any
) -> int:
    """Judge and write a batch; give the number of answers without a judgement."""
    found = teacher.judge_all([asked_of(item) for _, item in batch], bar.update)
    for (about, item), judgement in zip(batch, found, strict=True):
        parts = rules.score(item.question, item.completion, item.context)
        mark = None if judgement is None else judgement.score
        reward = joined(parts.rules, mark, rules.settings.weights)
        write_object({**about, **_rounded(rules=parts.rules, teacher=mark, reward=reward)})
    return sum(judgement is None for judgement in found)


def _offline(args: argparse.Namespace, kept: JudgementFile) -> int:
    print(OFFLINE, file=sys.stderr)
    rules = rules_of(args)
    for about, item in answers(args):
        value = rules.score(item.question, item.completion, item.context).rules
        fields = _rounded(rules=value, teacher=None, reward=value)
        try:
            kept.add_offline(asked_of(item).key, {"id": about["id"], **fields})
        except OSError as error:
            raise MedbotError(f"{args.out}: can't be written: {error.strerror}") from None
        write_object({**about, **fields})
    return 0


def _rounded(**values: float | None) -> dict[str, float | None]:
    return {name: None if v is None else round(v, 4) for name, v in values.items()}
