"""The `medbot` command: one sub-command for each app.

An app is a module of this room with `add_parser(subparsers)`, which adds its own parser and sets
its `run`, a function from the parsed arguments to an exit status. Only the module of the
sub-command that is called is imported, so that `medbot --help` stays quick however heavy an app
is.

Exit status: 0 done, 1 done and something is wrong (each app says what), 2 a problem worded in one
line on stderr, 130 interrupted by Ctrl-C, 141 the reader of the output went away.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import re
import sys
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import NoReturn

from medbot_llm.domain import MedbotError

EXIT_PROBLEM = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

_DISTRIBUTION = "medbot_llm"


@dataclass(frozen=True)
class Command:
    """A sub-command: the module that offers it, and a line of help."""

    module: str
    help: str


COMMANDS = {
    "models": Command(
        "medbot_llm.apps.models", "list, pull and verify the models that the robot runs"
    ),
    "formulary": Command(
        "medbot_llm.apps.formulary", "look up medicines, check and import the hospital's own data"
    ),
    "triage": Command(
        "medbot_llm.apps.triage", "tell how urgently a human is needed for what was said"
    ),
    "verify": Command(
        "medbot_llm.apps.verify", "tell whether a sentence may be said about a delivery"
    ),
    "interactions": Command(
        "medbot_llm.apps.interactions",
        "tell which medicines, allergies and foods do not go together",
    ),
    "simulate": Command("medbot_llm.apps.simulate", "play whole conversations without ROS"),
}

_EPILOG = """\
examples:
  medbot models list                          what can be had, and what is here
  medbot models pull smollm2-135m-instruct    fetch a model, or go on with a fetch that was cut
  medbot formulary show amlodipine            what the robot knows about a medicine
  medbot triage said.jsonl                    JSON Lines in, JSON Lines out, as all the checks
  medbot simulate conversations.jsonl         whole conversations, without ROS
  medbot models --help                        all about one command

Models are kept in ~/.cache/medbot, or in $MEDBOT_HOME.
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_PROBLEM, f"{self.prog}: {message}; see '{self.prog} --help'\n")


class _Version(argparse.Action):
    """Print the version; it is looked up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"medbot {version()}")
        parser.exit()


def version() -> str:
    """Give the version of this package, however it was installed; "unknown" if nothing says it."""
    from importlib import metadata

    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        pass
    # A colcon installation has no Python metadata, but its package.xml; so has a source tree.
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    places = [Path(prefix, "share", _DISTRIBUTION) for prefix in prefixes if prefix]
    for place in (*places, Path(__file__).parents[2]):
        try:
            text = (place / "package.xml").read_text(encoding="utf-8")
        except OSError:
            continue
        found = re.search(r"<version>\s*([^<\s]+)\s*</version>", text)
        if found:
            return found[1]
    return "unknown"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, by default that of this process, and give its exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except MedbotError as error:
        print(f"medbot: {_one_line(error)}", file=sys.stderr)
        return EXIT_PROBLEM
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes stdout once more when it ends, and would complain.
        _discard_output()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        _discard_output()
        where = f" {error.filename}" if error.filename else ""
        print(f"medbot: {error.strerror or error}{where}", file=sys.stderr)
        return EXIT_PROBLEM


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    parser = _Parser(
        prog="medbot",
        description="The voice of a medicine-delivery robot: its models and its tools.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    parser.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="log what is done; twice: log every detail (before the command)",
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    # Options of `medbot` itself take no value, so the first word is the command.
    called = next((word for word in arguments if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        if name == called:
            add_parser: Callable[[Any], None] = importlib.import_module(command.module).add_parser
            add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=command.help)
    args = parser.parse_args(arguments)
    level = {0: logging.WARNING, 1: logging.INFO}.get(args.verbose, logging.DEBUG)
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    if called is None:
        parser.print_help()
        return EXIT_PROBLEM
    run: Callable[[argparse.Namespace], int] = args.run
    return run(args)


def _one_line(error: MedbotError) -> str:
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
