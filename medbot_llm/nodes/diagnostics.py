"""What `/diagnostics` says of the dialogue: one status for the model, one for the dialogue, one
for safety.
"""

from __future__ import annotations

import time

from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus

from medbot_llm.dialogue.resources import DialogueResources
from medbot_llm.dialogue.session import DialogueSession
from medbot_llm.domain import ModelStatus
from medbot_llm.engines.worker import EngineWorker
from medbot_llm.nodes.status import PROBLEM_SHOWN_S
from medbot_llm.nodes.status import number
from medbot_llm.nodes.status import status


def dialogue_diagnostics(
    node_name: str,
    *,
    worker: EngineWorker | None,
    session: DialogueSession | None,
    load_share: float | None,
    problem: str,
    resources: DialogueResources | None,
) -> DiagnosticArray:
    """Say how model, dialogue and safety stand.

    Args:
        node_name: Fully qualified, so that a fleet's robots can be told apart.
        worker: The model's; None while unconfigured.
        session: The conversation; None while inactive.
        load_share: Share of the model that is loaded; None while no load is under way.
        problem: A message that was not right lately, "" none.
        resources: Rules and facts in use; None while unconfigured.
    """
    array = DiagnosticArray()
    array.status = [
        _model(node_name, worker, session, load_share),
        _dialogue(node_name, session, problem),
        _safety(node_name, resources),
    ]
    return array


def _model(
    node_name: str,
    worker: EngineWorker | None,
    session: DialogueSession | None,
    load_share: float | None,
) -> DiagnosticStatus:
    if worker is None:
        return status(f"{node_name}: model", DiagnosticStatus.OK, "not configured", {})
    info = worker.info()
    values = {
        "engine": info.engine,
        "model": info.model,
        "adapter": info.adapter or "none",
        "context tokens": str(info.context_tokens),
        "detail": info.detail,
        "last error": worker.last_error or "none",
    }
    if session is not None:
        figures = session.figures()
        values |= {
            "time to first token p50 (s)": number(figures.time_to_first_token_p50_s),
            "time to first token p95 (s)": number(figures.time_to_first_token_p95_s),
            "tokens per second p50": number(figures.tokens_per_second_p50),
        }
    if load_share is not None:
        return status(
            f"{node_name}: model", DiagnosticStatus.WARN, f"loading, {load_share:.0%}", values
        )
    if worker.status is ModelStatus.READY:
        return status(f"{node_name}: model", DiagnosticStatus.OK, "ready", values)
    reason = "hangs" if worker.is_hung else worker.last_error or "unavailable"
    return status(
        f"{node_name}: model", DiagnosticStatus.ERROR, f"prepared words only: {reason}", values
    )


def _dialogue(node_name: str, session: DialogueSession | None, problem: str) -> DiagnosticStatus:
    name = f"{node_name}: dialogue"
    if session is None:
        return status(name, DiagnosticStatus.OK, "inactive", {"last problem": problem or "none"})
    snapshot, figures = session.snapshot(), session.figures()
    values = {
        "stage": str(snapshot.stage),
        "task": snapshot.task_id or "none",
        "language": str(snapshot.language),
        "queue depth": str(snapshot.queue_depth),
        "events dropped": str(session.dropped_events),
        "open alerts": str(len(snapshot.open_alerts)),
        "speech overtaken": str(figures.overtaken),
        "replies interrupted": str(figures.interrupted),
        "time to first sentence p50 (s)": number(figures.time_to_first_sentence_p50_s),
        "time to first sentence p95 (s)": number(figures.time_to_first_sentence_p95_s),
        "last error": figures.last_error or "none",
        "last problem": problem or "none",
    }
    values |= {f"replies: {kind}": str(count) for kind, count in sorted(figures.replies.items())}
    values |= {f"blocked: {why}": str(count) for why, count in sorted(figures.blocked.items())}
    if time.monotonic() - figures.last_error_at < PROBLEM_SHOWN_S:
        return status(name, DiagnosticStatus.WARN, figures.last_error, values)
    if problem:
        return status(name, DiagnosticStatus.WARN, problem, values)
    return status(name, DiagnosticStatus.OK, str(snapshot.stage), values)


def _safety(node_name: str, resources: DialogueResources | None) -> DiagnosticStatus:
    if resources is None:
        return status(f"{node_name}: safety", DiagnosticStatus.OK, "not configured", {})
    values = {
        "triage": resources.triage.name,
        "verifier": resources.verifier.name,
        "formulary": resources.advisor.formulary_version,
        "region": resources.emergency_words.region,
    }
    return status(f"{node_name}: safety", DiagnosticStatus.OK, "on", values)
