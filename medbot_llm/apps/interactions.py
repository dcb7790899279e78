"""`medbot interactions`: check medicines against each other and a chart, JSON Lines in and out."""

from __future__ import annotations

import argparse
from typing import Any

from medbot_llm.apps.json_lines import Record
from medbot_llm.apps.json_lines import add_input
from medbot_llm.apps.json_lines import read_records
from medbot_llm.apps.json_lines import write_object
from medbot_llm.domain import Language
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.knowledge.interactions import Interactions

_EPILOG = """\
example:
  echo '{"id": 1, "drugs": ["warfarin", "ibuprofen"], "allergies": ["PCN (anaphylaxis)"]}' |
    medbot interactions

One object a line comes in:
  {"id", "drugs": […], "allergies"?: […], "conditions"?: […], "foods"?: […], "lang"?}
Names of medicines are English, Chinese or brands; the rest is free text as charts have it. One
object a line goes out, in the same order, the gravest finding first:
  {"id", "findings": [{"kind", "severity", "between", "why", "source"}], "unknown": […]}
kind is drug_drug, drug_food, drug_condition, drug_allergy or duplicate; severity contraindicated,
major or moderate; unknown has the names that are not in the formulary: nothing was checked for
them.
"""


def add_parser(subparsers: Any) -> None:
    """Add the parser of `medbot interactions`."""
    parser = subparsers.add_parser(
        "interactions",
        help="check medicines against each other, foods, allergies and conditions",
        description="Check medicines against each other, foods, allergies and conditions.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_input(parser, "one query a line")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    interactions = Interactions(Formulary.open())
    for record in read_records(args.file):
        write_object(answer(interactions, record))
    return 0


def answer(interactions: Interactions, record: Record) -> dict[str, Any]:
    """Check one query and return its answer.

    Raises:
        InputError: A field is missing or of another kind; names file, line and field.
    """
    query_id = record.id
    language = record.one_of("lang", Language, Language.EN)
    report = interactions.check(
        record.texts("drugs", required=True),
        record.texts("allergies"),
        record.texts("conditions"),
        record.texts("foods"),
    )
    return {
        "id": query_id,
        "findings": [
            {
                "kind": finding.kind,
                "severity": finding.severity,
                "between": list(finding.between),
                "why": finding.why[language],
                "source": finding.source,
            }
            for finding in report.findings
        ],
        "unknown": list(report.unknown),
    }
