"""`medbot triage`: tell how urgently a human is needed for what was said.

medbot triage [FILE|-]          {"id","lang"?,"text","scene"?,"patient_group"?} a line
                                -> {"id","level","category","reason","ms"}
medbot triage --explain TEXT    what was found in it, and what its context makes of it
"""

from __future__ import annotations

import argparse
import gc
import sys
import time

from medbot_llm.apps.json_lines import Record
from medbot_llm.apps.json_lines import add_input
from medbot_llm.apps.json_lines import read_records
from medbot_llm.apps.json_lines import write_object
from medbot_llm.domain import Language
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import Scene
from medbot_llm.domain import Severity
from medbot_llm.safety.base import Circumstances
from medbot_llm.safety.triage import SafetyTriage


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "triage",
        help="tell how urgently a human is needed for what was said",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_input(parser, 'objects with "id" and "text", "lang", "scene", "patient_group" if known')
    parser.add_argument(
        "--explain", metavar="TEXT", help="show every sign found in TEXT instead of reading a file"
    )
    parser.add_argument(
        "--rules-only", action="store_true", help="judge without the learned second line"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Judge a file, or explain one text."""
    triage = SafetyTriage(second_line=None) if args.rules_only else SafetyTriage()
    if args.explain is not None:
        explain(triage, args.explain)
        return 0
    gc.freeze()  # What is loaded stays: no sentence waits while it is walked for garbage.
    for record in read_records(args.file):
        about = _circumstances(record)
        text = record.text("text")
        started = time.perf_counter()
        result = triage.assess(text, about)
        milliseconds = (time.perf_counter() - started) * 1000
        write_object(
            {
                "id": record.id,
                "level": level_of(result.severity),
                "category": result.category,
                "reason": result.reason,
                "ms": round(milliseconds, 3),
            }
        )
    return 0


def level_of(severity: Severity | None) -> str:
    """The level as the contract names it."""
    return "none" if severity in (None, Severity.INFO) else str(severity.value)


def explain(triage: SafetyTriage, text: str) -> None:
    """Print what a text is judged to be, and the signs in it."""
    result = triage.assess(text, Circumstances())
    lines = [f"{level_of(result.severity)}  {result.category}  {result.reason}".rstrip()]
    opinion = triage.opinion(text)
    if opinion is not None:
        lines.append(
            f"second line: emergency {opinion.emergency:.2f}, help {opinion.help:.2f}, "
            f"{opinion.category}"
        )
    for sign in triage.signs(text):
        contexts = ", ".join(sorted(context.value for context in sign.contexts)) or "present"
        lines.append(
            f"  {sign.rule.id}: {sign.rule.category}, {sign.rule.severity.value} -> "
            f"{level_of(sign.severity)} ({contexts})"
        )
        lines.append(f"    found: {sign.words}")
        lines.append(f"    {sign.rule.reason} [{sign.rule.source}]")
    sys.stdout.write("\n".join(lines) + "\n")


def _circumstances(record: Record) -> Circumstances:
    default = Language.ZH_HANT
    return Circumstances(
        language=record.one_of("lang", Language, default) if record.text("lang", "") else None,
        scene=record.one_of("scene", Scene, Scene.WARD),
        patient_group=record.one_of("patient_group", PatientGroup, PatientGroup.ADULT),
    )
