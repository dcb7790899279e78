"""`medbot verify`: judge sentences against a task, as the robot does before it speaks."""

from __future__ import annotations

import argparse
import gc
import time
from typing import Any

from medbot_llm.apps.json_lines import add_input
from medbot_llm.apps.json_lines import read_records
from medbot_llm.apps.json_lines import write_object
from medbot_llm.apps.tasks import read_task
from medbot_llm.domain import Language
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.knowledge.interactions import Interactions
from medbot_llm.safety.base import Brief
from medbot_llm.safety.verifier import SafetyVerifier
from medbot_llm.text.language import detect_language

FINE = "fine"

_EPILOG = """\
each line of the input:
  {"id": 1, "lang": "en", "sentence": "Take one tablet once a day.",
   "task": {"scene": "ward", "patient_group": "adult", "allergies": [], "conditions": [],
            "medications": [{"name": "Amlodipine", "name_zh": "脈優", "strength": "5 mg",
                             "dose": "1 tablet", "route": "oral", "frequency": "QD",
                             "instructions": "after breakfast"}]}}
each line of the output:
  {"id": 1, "verdict": "ok", "reason": "fine", "detail": "", "ms": 0.8}

The verdict is "ok" or "block"; docs/safety.md explains the reasons. The identity counts as
confirmed, and no alert as sent. "ms" is the time of the sentence; the labels of a task are read
before it.
"""


def add_parser(subparsers: Any) -> None:
    """Add the parser of `medbot verify`."""
    parser = subparsers.add_parser(
        "verify",
        help="judge sentences against a task",
        description="Judge sentences against a task, as the robot does before it speaks.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_input(parser, "one sentence with its task a line")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    formulary = Formulary.open()
    verifier = SafetyVerifier(formulary, Interactions(formulary))
    gc.freeze()  # What is loaded stays: no sentence waits while it is walked for garbage.
    for record in read_records(args.file):
        number, sentence = record.id, record.text("sentence")
        language = record.one_of("lang", Language, detect_language(sentence, Language.ZH_HANT))
        brief = Brief(task=read_task(record.record("task", required=True), language))
        # As on the robot: a task is read when it comes, and not within any sentence's time.
        verifier.prepare(brief.task, language)
        started = time.perf_counter()
        verdict = verifier.check(sentence, language, brief)
        took_ms = (time.perf_counter() - started) * 1000
        write_object(
            {
                "id": number,
                "verdict": "block" if verdict.blocked else "ok",
                "reason": verdict.reason or FINE,
                "detail": verdict.detail,
                "ms": round(took_ms, 3),
            }
        )
    return 0
