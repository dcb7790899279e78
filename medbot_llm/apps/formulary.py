"""`medbot formulary`: check, build, import and ask what the robot knows about medicines."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

from medbot_llm.domain import Language
from medbot_llm.knowledge.compiler import check_directory
from medbot_llm.knowledge.compiler import medicine_record
from medbot_llm.knowledge.compiler import read_database
from medbot_llm.knowledge.formulary import PACKAGED
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.knowledge.formulary import FormularyError
from medbot_llm.knowledge.formulary import Versions
from medbot_llm.knowledge.formulary import packaged_directory
from medbot_llm.knowledge.importers import COLUMNS
from medbot_llm.knowledge.importers import FORMATS
from medbot_llm.knowledge.importers import ImportReport
from medbot_llm.knowledge.importers import import_file
from medbot_llm.knowledge.medicine import FACT_FIELDS
from medbot_llm.knowledge.medicine import Medicine

EXIT_WRONG = 1

_EPILOG = """\
examples:
  medbot formulary show 脈優                 what the robot knows about a medicine
  medbot formulary find "nor vask" 邁優      which medicine a name means, or which to ask about
  medbot formulary check                     check the YAML; exit 1 and all problems if it is wrong
  medbot formulary import ward.csv --use     lay a hospital's own medicines over the version in use
  medbot formulary use packaged              go back to the data of the package

Databases are kept in ~/.cache/medbot/formulary, or in $MEDBOT_HOME/formulary.
"""
_IMPORT_EPILOG = """\
columns of a CSV (name_en or id must be there; lists are separated by semicolons; docs/formulary.md
has the codes):
{columns}

YAML has the form of docs/formulary.md. Of openFDA's drug-label JSON names, brands and classes are
taken. A record of a known medicine changes what it gives and leaves the rest.
"""


def add_parser(subparsers: Any) -> None:
    """Add the parser of `medbot formulary`."""
    parser = subparsers.add_parser(
        "formulary",
        help="check, build, import and ask what the robot knows about medicines",
        description="Check, build, import and ask what the robot knows about medicines.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    build = actions.add_parser("build", help="make the packaged database anew from its YAML")
    build.set_defaults(run=_build)

    check = actions.add_parser(
        "check", help="check the YAML and print all that is wrong; exit status 1 if anything is"
    )
    check.add_argument(
        "directory", nargs="?", type=Path, help="its folder (default: that of this package)"
    )
    check.add_argument(
        "-w", "--warnings", action="store_true", help="print what is only doubtful, too"
    )
    check.set_defaults(run=_check)

    importing = actions.add_parser(
        "import",
        help="make a new version from a CSV, YAML or openFDA file; exit status 1 if any record"
        " was rejected",
        epilog=_IMPORT_EPILOG.format(
            columns=textwrap.fill(
                ", ".join(COLUMNS), 97, initial_indent="  ", subsequent_indent="  "
            )
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    importing.add_argument("file", type=Path, metavar="FILE")
    importing.add_argument(
        "--format", choices=FORMATS, default="", help="its format (default: by the file's name)"
    )
    importing.add_argument("--use", action="store_true", help="open the new version from now on")
    importing.add_argument("--json", action="store_true", help="report for programs")
    importing.set_defaults(run=_import)

    versions = actions.add_parser("versions", help="list the versions on this machine")
    versions.add_argument("--json", action="store_true", help="for programs")
    versions.set_defaults(run=_versions)

    use = actions.add_parser("use", help="choose the version that is opened")
    use.add_argument("version", metavar="VERSION", help=f"'{PACKAGED}', or one of 'versions'")
    use.set_defaults(run=_use)

    show = actions.add_parser("show", help="print what is known about a medicine")
    show.add_argument("name", metavar="NAME", help="any of its names, or a label")
    show.add_argument(
        "--lang", choices=Language.values(), default=Language.ZH_HANT.value, help="language"
    )
    show.add_argument("--json", action="store_true", help="the codes, for programs")
    show.set_defaults(run=_show)

    find = actions.add_parser(
        "find", help="print which medicine a name means; exit status 1 if one means none"
    )
    find.add_argument("names", nargs="+", metavar="NAME")
    find.add_argument("--json", action="store_true", help="JSON Lines, for programs")
    find.set_defaults(run=_find)


def _build(_: argparse.Namespace) -> int:
    versions = Versions()
    tables, about = versions.build()
    full = sum(medicine.is_full for medicine in tables.medicines)
    print(
        f"built {full} medicines, {len(tables.medicines) - full} further names and"
        f" {len(tables.written['rules'])} rules from {versions.source} ({about.content[:16]})"
    )
    return 0


def _check(args: argparse.Namespace) -> int:
    tables, problems = check_directory(args.directory or packaged_directory())
    for problem in problems:
        print(problem)
    if args.warnings:
        for warning in tables.warnings:
            print(f"warning: {warning}")
    full = sum(medicine.is_full for medicine in tables.medicines)
    print(
        f"{full} medicines, {len(tables.medicines) - full} further names,"
        f" {len(tables.effects)} side effects, {len(tables.written['rules'])} rules:"
        f" {len(problems)} problems, {len(tables.warnings)} warnings",
        file=sys.stderr,
    )
    return EXIT_WRONG if problems else 0


def _import(args: argparse.Namespace) -> int:
    versions = Versions()
    report = import_file(args.file, versions, args.format)
    if args.json:
        _print_json(_report_record(report))
    else:
        for rejected in report.rejected:
            name = f" ({rejected.name})" if rejected.name else ""
            print(f"rejected record {rejected.record}{name}: {'; '.join(rejected.reasons)}")
        for note in report.notes:
            print(f"note: {note}")
        counts = (
            f"{len(report.added)} new, {len(report.changed)} changed,"
            f" {len(report.rejected)} rejected"
        )
        if report.version:
            print(f"{report.version}: {counts}, over {report.base}")
        else:
            print(f"no version was written: {counts}")
    if args.use and report.version:
        versions.use(report.version)
    elif report.version and not args.json:
        print(f"open it from now on by: medbot formulary use {report.version}")
    return EXIT_WRONG if report.rejected or not report.version else 0


def _report_record(report: ImportReport) -> dict[str, Any]:
    return {
        "version": report.version,
        "base": report.base,
        "added": report.added,
        "changed": report.changed,
        "rejected": [
            {"record": one.record, "name": one.name, "reasons": one.reasons}
            for one in report.rejected
        ],
        "notes": report.notes,
    }


def _versions(args: argparse.Namespace) -> int:
    versions = Versions()
    current = versions.current
    rows: list[dict[str, Any]] = []
    for name in (PACKAGED, *versions.names()):
        row: dict[str, Any] = {"version": name, "is_current": name == current, "problem": ""}
        try:
            if name == PACKAGED:
                tables, about = versions.open_packaged()
                packaged = about.content
            else:
                tables, about = read_database(versions.path(name))
            row.update(
                medicines=len(tables.medicines),
                source=about.source,
                built_at=about.built_at,
                content=about.content[:16],
                is_on_older_data=about.packaged not in ("", packaged),
            )
        except FormularyError as error:
            packaged = "" if name == PACKAGED else packaged
            row["problem"] = str(error)
        rows.append(row)
    if args.json:
        _print_json(rows)
        return 0
    for row in rows:
        mark = "*" if row["is_current"] else " "
        if row["problem"]:
            print(f"{mark} {row['version']:<10} {row['problem']}")
            continue
        older = "  (on older packaged data)" if row["is_on_older_data"] else ""
        print(
            f"{mark} {row['version']:<10} {row['medicines']:>5} medicines  {row['built_at']}"
            f"  {row['source']}{older}"
        )
    return 0


def _use(args: argparse.Namespace) -> int:
    Versions().use(args.version)
    print(f"the robot opens {args.version} from now on")
    return 0


def _show(args: argparse.Namespace) -> int:
    formulary = Formulary.open()
    language = Language(args.lang)
    found = formulary.look_up(args.name)
    if found.match is None:
        candidates = ", ".join(_titled(one, language) for one in found.candidates)
        hint = f"; did you mean {candidates}?" if candidates else ""
        raise FormularyError(f"no medicine is called '{args.name[:80]}'{hint}")
    medicine = found.match
    if args.json:
        _print_json(medicine_record(medicine))
        return 0
    print(_titled(medicine, language))
    print(f"  names: {', '.join(medicine.all_names())}")
    print(f"  classes: {', '.join(medicine.classes) or '-'}   ATC: {', '.join(medicine.atc)}")
    for form in medicine.forms:
        words = formulary.statement("form", form.form, language)
        print(f"  {words}: {', '.join(form.strengths)}")
    if medicine.high_alert:
        print("  high-alert medicine")
    if not medicine.is_full:
        print("  known by name only")
    for field in FACT_FIELDS:
        words = formulary.facts(medicine, field, language)
        if words:
            print(f"  {field}: {words}")
    print(f"  sources: {', '.join(medicine.sources)}")
    return 0


def _find(args: argparse.Namespace) -> int:
    formulary = Formulary.open()
    is_all_found = True
    for name in args.names:
        exact = formulary.find(name)
        found = formulary.look_up(name)
        match = exact or found.match
        is_all_found = is_all_found and match is not None
        if args.json:
            record = {
                "name": name,
                "match": match.id if match else None,
                "is_exact": exact is not None,
                "candidates": [one.id for one in found.candidates],
            }
            print(json.dumps(record, ensure_ascii=False))
            continue
        if match is not None:
            how = "" if exact is not None else "  (heard with a slip)"
            print(f"{name}: {_titled(match, Language.ZH_HANT)}{how}")
        elif found.candidates:
            names = ", ".join(_titled(one, Language.ZH_HANT) for one in found.candidates)
            print(f"{name}: ask whether it is {names}")
        else:
            print(f"{name}: unknown")
    return 0 if is_all_found else EXIT_WRONG


def _titled(medicine: Medicine, language: Language) -> str:
    spoken = medicine.name(language)
    return medicine.id if spoken.casefold() == medicine.id else f"{medicine.id} ({spoken})"


def _print_json(value: object) -> None:
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2)
    print()
