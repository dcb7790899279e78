"""`medbot-train data`: convert, split, count, check and de-identify training data."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from medbot_training.data.findings import KINDS
from medbot_training.data.findings import Finding
from medbot_training.data.findings import visible
from medbot_training.data.formats import FORMATS
from medbot_training.data.formats import Misfit
from medbot_training.data.formats import format_called
from medbot_training.data.formats import read
from medbot_training.data.records import DataError
from medbot_training.data.records import Record

EXIT_FINDINGS = 1
EXIT_UNREADABLE = 2
Advance = Callable[[Path, int], None]
"""Takes a file, and how many of its bytes have been read."""
MIN_BAR_BYTES = 2_000_000
"""Smaller files are read before a bar could be drawn."""

_INPUT = """\
files: JSON list, JSON Lines, CSV or plain text (a document a line), UTF-8, may be gzipped; told by
what is in them. A file has one of these formats, told by its fields or forced with --format:
"""


def add_parser(subparsers: Any) -> None:
    """Add the parser of `medbot-train data`."""
    parser = subparsers.add_parser(
        "data",
        help="convert, split, count, check and de-identify data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=type(parser)
    )
    for add in (_add_convert, _add_deidentify, _add_split, _add_stats, _add_validate):
        add(commands)


def formats_help() -> str:
    """The table of formats, for help."""
    return _INPUT + "\n".join(f"  {form.name:<18} {form.shape}" for form in FORMATS.values())


def _command(
    commands: Any,
    name: str,
    text: str,
    epilog: str,
    run: Callable[[argparse.Namespace], int],
    files: str = "+",
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs=files, metavar="FILE", help="see below")
    parser.add_argument("--format", metavar="NAME", help="force the format; see below")
    parser.add_argument(
        "--encoding", metavar="NAME", help="of the files, e.g. big5 or gb18030 (default: UTF-8)"
    )
    parser.set_defaults(run=run)
    return parser


# Reading with a bar ------------------------------------------------------------------------------


@contextmanager
def _bar(
    files: Iterable[Path], what: str, passes: int = 1
) -> Iterator[Callable[[Path, int], None]]:
    """A bar over the bytes of files, on a terminal; gives what moves it."""
    sizes = {path: path.stat().st_size for path in files if path.is_file()}
    total = sum(sizes.values()) * passes
    is_hidden = True if total < MIN_BAR_BYTES else None
    done: dict[Path, int] = {}
    with tqdm(total=total, desc=what, unit="B", unit_scale=True, disable=is_hidden) as bar:

        def advance(path: Path, at: int) -> None:
            before = done.get(path, 0)
            # A second pass begins at the front again.
            step = at - before if at >= before else at
            done[path] = at
            bar.update(step)

        yield advance


def _reader(
    args: argparse.Namespace, advance: Advance
) -> Callable[[Path], Iterator[Record | Finding]]:
    def read_one(path: Path) -> Iterator[Record | Finding]:
        return read(
            path, form=args.format, encoding=args.encoding, advance=lambda at: advance(path, at)
        )

    return read_one


def _paths(args: argparse.Namespace) -> list[Path]:
    if args.format is not None:
        format_called(args.format)
    paths = [Path(name) for name in args.files]
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: there is no such file")
    return paths


def _say(line: str) -> None:
    """A line for whoever watches; a bar makes room for it."""
    tqdm.write(visible(line), file=sys.stderr)


def _tell(finding: Finding) -> None:
    _say(str(finding))


# convert -----------------------------------------------------------------------------------------


def _add_convert(commands: Any) -> None:
    parser = _command(
        commands,
        "convert",
        "write data in another format",
        formats_help()
        + """

--to takes the same names. Without it conversations become messages, preferences TRL's preference,
prompts prompt, labelled answers prompt_completion, and texts text. Records that can't be written
so, or can't be read, are named on stderr and left out, and the exit status is 1; so are answers
that are labelled false, in all formats but prompt_completion.

examples:
  medbot-train data convert med_dataset.json -o sft.jsonl
  medbot-train data convert pairs.jsonl --to messages -o chosen.jsonl     the better answers alone
  medbot-train data convert part*.csv.gz --format qa --to alpaca -o all.json
  medbot-train data convert sft.jsonl --to prompt --risky-first --min-rules 0.5 -o rl.jsonl
""",
        _convert,
    )
    parser.add_argument(
        "--risky-first",
        action="store_true",
        help="order by risk: that of the record (meta: risk_level), else by the robot's triage",
    )
    parser.add_argument(
        "--min-rules",
        type=float,
        metavar="R",
        help="leave out records whose answer the rules of the rewards give less, -1 to 1",
    )
    parser.add_argument("--to", metavar="NAME", help="format to write; see below")
    parser.add_argument(
        "-o",
        "--output",
        default="-",
        metavar="FILE",
        help=".jsonl, .json (a list) or .txt, .gz after it; - or nothing: standard output",
    )


def _convert(args: argparse.Namespace) -> int:
    from collections import Counter

    from medbot_training.data.files import TEXT_SUFFIXES
    from medbot_training.data.files import name_suffix
    from medbot_training.data.split import Splitter
    from medbot_training.data.split import kind_of
    from medbot_training.data.writing import Output
    from medbot_training.data.writing import object_of

    paths = _paths(args)
    wanted = None if args.to is None else format_called(args.to)
    as_text = name_suffix(Path(args.output)) in TEXT_SUFFIXES
    # A pass for each risk: so records are in order, and none has to be kept.
    passes = _RISKS if args.risky_first else (None,)
    left_out: Counter[str] = Counter()
    worse = 0
    with _bar(paths, "convert", len(passes)) as advance, Output(args.output) as output:
        read_one = _reader(args, advance)
        for item, risk in ((i, r) for r in passes for path in paths for i in read_one(path)):
            if isinstance(item, Finding):
                if risk == passes[0]:
                    _tell(item)
                    left_out[item.kind] += 1
                continue
            if risk is not None and _rank_of(item) != risk:
                continue
            if args.min_rules is not None and not _is_good(item, args.min_rules):
                worse += 1
                continue
            form = wanted or FORMATS[Splitter.FORMS[kind_of(item)]]
            try:
                output.write(object_of(item, form, as_text=as_text))
            except Misfit as misfit:
                _tell(Finding(item.origin, misfit.kind, str(misfit)))
                left_out[misfit.kind] += 1
    kinds = ", ".join(f"{count} {kind}" for kind, count in left_out.most_common())
    rest = f", {left_out.total()} left out ({kinds})" if left_out else ""
    _say(f"{output.count} records written{rest}")
    if worse:
        _say(f"{worse} records have an answer below {args.min_rules:g}")
    return EXIT_FINDINGS if left_out else 0


_RISKS = ("critical", "high", "medium", "low", "unknown")


def _rank_of(record: Record) -> str:
    from medbot_training.data.stats import risk_of

    risk = risk_of(record)
    return risk if risk in _RISKS else _RISKS[-1]


def _is_good(record: Record, least: float) -> bool:
    from medbot_training.data.checks import rules_of

    scores = rules_of(record)
    return not scores or min(scores) >= least


# deidentify --------------------------------------------------------------------------------------


def _add_deidentify(commands: Any) -> None:
    parser = _command(
        commands,
        "deidentify",
        "replace what tells who somebody is",
        formats_help()
        + """

Names, identity numbers (Taiwan and mainland China, with their checksums), telephone numbers,
e-mail addresses, record and card numbers, long numbers, dates, street addresses and ages from 90
become marks such as [姓名], [日期] or [PHONE]. Medicines, doses, times of the day and emergency
numbers stay. Texts in meta are cleaned too. The report has one line a replacement, with nothing
of the original but its first letter. Rules miss names that nothing gives away: give --names.

examples:
  medbot-train data deidentify talks.jsonl -o clean.jsonl --report replaced.jsonl
  medbot-train data deidentify talks.jsonl --names patients.txt -o clean.jsonl
""",
        _deidentify,
    )
    parser.add_argument("-o", "--output", default="-", metavar="FILE", help="as for convert")
    parser.add_argument("--to", metavar="NAME", help="format to write (default: TRL's)")
    parser.add_argument("--report", metavar="FILE", help="JSON Lines: what was replaced where")
    parser.add_argument(
        "--names", action="append", default=[], metavar="FILE", help="known names, one a line"
    )


def _deidentify(args: argparse.Namespace) -> int:
    from collections import Counter
    from contextlib import ExitStack

    from medbot_llm.knowledge.formulary import Formulary
    from medbot_training.data.deidentify import Deidentifier
    from medbot_training.data.split import Splitter
    from medbot_training.data.split import kind_of
    from medbot_training.data.writing import Output

    paths = _paths(args)
    wanted = None if args.to is None else format_called(args.to)
    cleaner = Deidentifier(_known_names(args.names), Formulary.open())
    kinds: Counter[str] = Counter()
    touched = left_out = 0
    with ExitStack() as stack:
        advance = stack.enter_context(_bar(paths, "deidentify"))
        output = stack.enter_context(Output(args.output))
        report = stack.enter_context(Output(args.report)) if args.report else None
        read_one = _reader(args, advance)
        for path in paths:
            for item in read_one(path):
                if isinstance(item, Finding):
                    _tell(item)
                    left_out += 1
                    continue
                record, replaced = cleaner.clean_record(item)
                form = wanted or FORMATS[Splitter.FORMS[kind_of(item)]]
                try:
                    output.write(form.write(record))
                except Misfit as misfit:
                    _tell(Finding(item.origin, misfit.kind, str(misfit)))
                    left_out += 1
                    continue
                touched += bool(replaced)
                kinds.update(one.kind for one in replaced)
                for one in replaced if report is not None else ():
                    assert report is not None
                    report.write(
                        {
                            "file": item.origin.file,
                            "record": item.origin.record,
                            "place": one.place,
                            "kind": one.kind,
                            "start": one.start,
                            "length": one.length,
                            "hint": one.hint,
                        }
                    )
    for kind, count in kinds.most_common():
        _say(f"{kind:<14} {count:>7}")
    _say(f"{kinds.total()} replaced in {touched} of {output.count} records")
    if left_out:
        _say(f"{left_out} records left out")
    return EXIT_FINDINGS if left_out else 0


def _known_names(files: Iterable[str]) -> list[str]:
    names: list[str] = []
    for name in files:
        try:
            names += Path(name).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is not UTF-8"
            raise DataError(f"{name}: can't be read: {reason}") from None
    return names


# split -------------------------------------------------------------------------------------------


def _add_split(commands: Any) -> None:
    parser = _command(
        commands,
        "split",
        "divide data into training, validation, test, gold and red-team sets",
        formats_help()
        + """

Records that are nearly the same, or ask the same, stay together; exact copies are left out. The
hash of the content and the seed decide, so that more data later moves nothing. The gold set is
taken out of validation and test. The red team is what --red-team has, what says so itself
(meta: split or source is red_team), and whatever is nearly the same. Conversations and preferences
may be divided together: then each kind has a folder. split.json tells how it was done.

examples:
  medbot-train data split clean.jsonl -o data/
  medbot-train data split sft.json dpo.json --red-team red_team.jsonl --seed 7 -o data/
  medbot-train data split sft.jsonl --shares 90,5,5 --gold 0 -o data/
""",
        _split,
    )
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder of the sets")
    parser.add_argument(
        "--shares",
        default="80,10,10",
        metavar="T,V,T",
        help="parts of training, validation and test (default: 80,10,10)",
    )
    parser.add_argument(
        "--gold",
        type=float,
        default=20.0,
        metavar="PERCENT",
        help="of validation and test that become the gold set (default: 20)",
    )
    parser.add_argument(
        "--red-team", action="append", default=[], metavar="FILE", help="the red team's records"
    )
    parser.add_argument("--seed", type=int, default=0, help="another one draws others (0)")
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.75,
        metavar="0..1",
        help="likeness from which records stay together (default: 0.75)",
    )
    parser.add_argument("--keep-copies", action="store_true", help="keep exact copies")


def _split(args: argparse.Namespace) -> int:
    from medbot_training.data.split import Settings
    from medbot_training.data.split import Splitter
    from medbot_training.data.split import lines_of

    paths = _paths(args)
    red_team = [Path(name) for name in args.red_team]
    settings = Settings(
        _shares(args.shares), args.gold, args.seed, args.threshold, args.keep_copies
    )
    if not 0 <= args.gold <= 100:
        raise DataError(f"--gold: {args.gold:g} is no per cent")
    if not 0 < args.threshold <= 1:
        raise DataError(f"--threshold: {args.threshold:g} is not between 0 and 1")
    with _bar([*red_team, *paths], "split", passes=2) as advance:
        splitter = Splitter(settings, _reader(args, advance))
        report = splitter.split(paths, Path(args.output), red_team)
    for line in lines_of(report, settings):
        print(line)
    return EXIT_FINDINGS if report.unreadable else 0


def _shares(text: str) -> dict[str, float]:
    from medbot_training.data.split import SHARES

    try:
        parts = [float(part) for part in text.split(",")]
    except ValueError:
        parts = []
    if len(parts) != len(SHARES) or min(parts) < 0 or not sum(parts) > 0:
        raise DataError(f"--shares: '{text}' is not three numbers, e.g. 80,10,10")
    return dict(zip(SHARES, parts, strict=True))


# stats -------------------------------------------------------------------------------------------


def _add_stats(commands: Any) -> None:
    parser = _command(
        commands,
        "stats",
        "count records, lengths, languages, scenes, roles and risk",
        formats_help()
        + """

Languages, scenes and risk are what records say of themselves (meta: language, scene, risk_level),
else what their texts tell; how urgent questions are is the robot's own triage, by its rules.

examples:
  medbot-train data stats data/*.jsonl
  medbot-train data stats sft.jsonl --tokenizer models/Qwen3-1.7B --max-length 2048
  medbot-train data stats sft.jsonl --by specialty --by source --json
""",
        _stats,
    )
    parser.add_argument(
        "--tokenizer", metavar="PATH", help="tokenizer.json, or a folder with one: count tokens"
    )
    parser.add_argument(
        "--max-length", type=int, metavar="N", help="count records that are longer"
    )
    parser.add_argument(
        "--by", action="append", default=[], metavar="FIELD", help="count values of this field too"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")


def _stats(args: argparse.Namespace) -> int:
    from medbot_training.data.stats import Statistics
    from medbot_training.data.stats import json_of
    from medbot_training.data.stats import load_token_counter

    paths = _paths(args)
    counter = None if args.tokenizer is None else load_token_counter(Path(args.tokenizer))
    statistics = Statistics(counter, args.by, args.max_length)
    with _bar(paths, "stats") as advance:
        read_one = _reader(args, advance)
        for path in paths:
            for item in read_one(path):
                if isinstance(item, Finding):
                    statistics.unreadable += 1
                else:
                    statistics.add(item)
    print(json_of(statistics) if args.json else "\n".join(statistics.lines()))
    return EXIT_FINDINGS if statistics.unreadable else 0


# validate ----------------------------------------------------------------------------------------


def _add_validate(commands: Any) -> None:
    kinds = "\n".join(f"  {kind:<17} {text}" for kind, text in KINDS.items())
    parser = _command(
        commands,
        "validate",
        "tell what is wrong with data, a line a finding",
        f"""\
findings are FILE:RECORD: kind: detail, on standard output; RECORD is the line in JSON Lines and
text files, else the number of the record, and 0 is the file as a whole. Kinds:
{kinds}

exit status: 0 nothing is wrong, 1 there are findings, 2 a file can't be read at all.

A file is taken for a split by its name (train.jsonl, my_test.json, red_team.jsonl …) or by
--split NAME=FILE; what two splits have in common is a leak.

{formats_help()}

examples:
  medbot-train data validate med_dataset.json --claims 830
  medbot-train data validate data/train.jsonl data/validation.jsonl data/test.jsonl
  medbot-train data validate all.jsonl --only duplicate,near_duplicate,leak
""",
        _validate,
        files="*",
    )
    parser.add_argument(
        "--claims",
        action="append",
        default=[],
        metavar="[FILE=]N",
        help="how many records there are said to be, in a file or in all",
    )
    parser.add_argument(
        "--split", action="append", default=[], metavar="NAME=FILE", help="which split a file is"
    )
    parser.add_argument("--only", metavar="KIND,…", help="look for these kinds alone")
    parser.add_argument("--skip", metavar="KIND,…", help="do not look for these kinds")
    parser.add_argument("--json", action="store_true", help="findings as JSON Lines")


def _validate(args: argparse.Namespace) -> int:
    from medbot_training.data.validate import ALL_KINDS
    from medbot_training.data.validate import Validator

    kinds = _kinds(args.only) if args.only else ALL_KINDS
    kinds -= _kinds(args.skip) if args.skip else frozenset()
    if args.format is not None:
        format_called(args.format)
    files = dict.fromkeys(args.files)
    splits = _named(args.split, "--split", "test=FILE")
    for name in splits.values():
        files.setdefault(name)
    if not files:
        raise DataError("there are no files to validate; see 'medbot-train data validate --help'")
    claims = {}
    for text in args.claims:
        name, _, number = text.rpartition("=")
        if not number.isdigit():
            raise DataError(f"--claims: '{text}' is no number of records")
        claims[name] = int(number)
        if name and name not in files:
            raise DataError(f"--claims: {name} is none of the files")
    validator = Validator(kinds, claims, {file: name for name, file in splits.items()})
    paths = [Path(name) for name in files]
    unreadable: list[str] = []

    def show(findings: Iterable[Finding]) -> None:
        for finding in findings:
            # A bar on the terminal must not run into the findings.
            tqdm.write(_shown(finding, as_json=args.json), file=sys.stdout)

    with _bar(paths, "validate") as advance:
        read_one = _reader(args, advance)
        for path in paths:
            try:
                show(validator.check_file(str(path), read_one(path)))
            except DataError as error:
                unreadable.append(str(error))
                _say(f"medbot-train: {error}")
        show(validator.finish())
    _summarize(validator, unreadable)
    if unreadable:
        return EXIT_UNREADABLE
    return EXIT_FINDINGS if validator.summary.findings else 0


def _shown(finding: Finding, *, as_json: bool) -> str:
    if not as_json:
        return str(finding)
    fields = {
        "file": finding.origin.file,
        "record": finding.origin.record,
        "kind": finding.kind,
        "detail": finding.detail,
    }
    return json.dumps(fields, ensure_ascii=False)


def _summarize(validator: Any, unreadable: list[str]) -> None:
    summary = validator.summary
    for file in summary.files:
        copies = "" if file.different == file.records else f", {file.different} different"
        broken = f", {file.unreadable} more can't be read" if file.unreadable else ""
        _say(f"{file.name}: {file.records} records{copies}{broken}")
    for kind, count in summary.kinds.most_common():
        _say(f"{kind:<17} {count:>7}  {KINDS[kind]}")
    if summary.records or summary.findings:
        total = f"{summary.findings} findings" if summary.findings else "nothing is wrong"
        _say(f"{total} in {summary.records} records")
    if unreadable:
        _say(f"can't be read: {len(unreadable)} of {len(summary.files)} files")


def _kinds(text: str) -> frozenset[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in KINDS:
            raise DataError(f"there is no kind '{name}'; there are {', '.join(KINDS)}")
    return frozenset(names)


def _named(texts: Iterable[str], option: str, example: str) -> dict[str, str]:
    named = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise DataError(f"{option}: '{text}' is not like {example}")
        named[name] = path
    return named
