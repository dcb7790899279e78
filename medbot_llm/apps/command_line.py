"""A command with sub-commands, each in a module of its own that only its call imports.

`medbot` (apps/cli.py) and `medbot-train` (training/) are such commands. A sub-command is a module
with `add_parser(subparsers)`, which adds its own parser and sets its `run`, a function from the
parsed arguments to an exit status. Only the module of the sub-command that is called is imported,
so that `--help` stays quick however heavy the rest is.

Exit status: 0 done, 1 done and something is wrong (each sub-command says what), 2 a problem worded
in one line on stderr, 130 interrupted by Ctrl-C, 141 the reader of the output went away.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import NoReturn

from medbot_llm.domain import MedbotError

EXIT_PROBLEM = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


@dataclass(frozen=True)
class Command:
    """A sub-command: the module that offers it, and a line of help."""

    module: str
    help: str


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_PROBLEM, f"{self.prog}: {message}; see '{self.prog} --help'\n")


@dataclass(frozen=True)
class CommandLine:
    """A command and its sub-commands.

    Attributes:
        program: Its name, as it is typed.
        description: What it is, for its help.
        epilog: Examples, for its help.
        commands: Its sub-commands by name, in the order of its help.
        version: Gives its version; called only when that is asked for.
    """

    program: str
    description: str
    epilog: str
    commands: Mapping[str, Command]
    version: Callable[[], str]

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run it, by default with the arguments of this process, and give its exit status."""
        arguments = sys.argv[1:] if argv is None else list(argv)
        try:
            status = self.run(arguments)
            sys.stdout.flush()
            return status
        except MedbotError as error:
            print(f"{self.program}: {_one_line(error)}", file=sys.stderr)
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
            print(f"{self.program}: {error.strerror or error}{where}", file=sys.stderr)
            return EXIT_PROBLEM

    def run(self, arguments: list[str]) -> int:
        """Run it and give its exit status; what the sub-command raises is the caller's."""
        parser = Parser(
            prog=self.program,
            description=self.description,
            epilog=self.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("--version", action=_version_action(self))
        parser.add_argument(
            "-v",
            "--verbose",
            action="count",
            default=0,
            help="log what is done; twice: log every detail (before the command)",
        )
        subparsers = parser.add_subparsers(
            title="commands", metavar="COMMAND", parser_class=Parser
        )
        # Options of the command itself take no value, so the first word is the sub-command.
        called = next((word for word in arguments if not word.startswith("-")), None)
        for name, command in self.commands.items():
            if name == called:
                add_parser: Callable[[Any], None]
                add_parser = importlib.import_module(command.module).add_parser
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


def _version_action(line: CommandLine) -> type[argparse.Action]:
    class Version(argparse.Action):
        """Print the version; it is looked up only when it is asked for."""

        def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
            super().__init__(option_strings, dest, nargs=0, help="print the version and exit")

        def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
            print(f"{line.program} {line.version()}")
            parser.exit()

    return Version


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _one_line(error: MedbotError) -> str:
    return " ".join(str(error).split()) or type(error).__name__
