"""One line of `/diagnostics`."""

from __future__ import annotations

import math

from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue

PROBLEM_SHOWN_S = 30.0
"""How long a failed reply, or a message that was not right, keeps a node at WARN."""


def status(name: str, level: bytes, message: str, values: dict[str, str]) -> DiagnosticStatus:
    """Make a status.

    Args:
        name: The node's full name, a colon, and what it is about.
        level: One of DiagnosticStatus.OK, WARN, ERROR, STALE.
        message: How it stands, in one line.
        values: Further facts; empty ones are left out.
    """
    made = DiagnosticStatus(
        level=level, name=name, message=message, hardware_id=name.split(":")[0]
    )
    made.values = [KeyValue(key=key, value=value) for key, value in values.items() if value]
    return made


def number(value: float) -> str:
    """A number for a status, "" for NaN."""
    return "" if math.isnan(value) else f"{value:.3f}"
