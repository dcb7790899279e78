"""Quality of service of each topic.

`LATCHED` (reliable, transient local, depth 1) is for what holds until it is replaced: a late
joiner gets the current one. Both sides must ask for it, or the late joiner gets nothing.
"""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy
from rclpy.qos import HistoryPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy


def _profile(depth: int, durability: DurabilityPolicy) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=durability,
    )


LATCHED = _profile(1, DurabilityPolicy.TRANSIENT_LOCAL)
ALERTS = _profile(20, DurabilityPolicy.TRANSIENT_LOCAL)
"""Several alerts may be open at once; a nurse's screen that joins late gets them all."""
SPEAKING = _profile(10, DurabilityPolicy.TRANSIENT_LOCAL)
"""Holds until it is replaced, but the end of one reply and the start of the next come together,
and the end says what was heard: it must not be overwritten before it is delivered.
"""
EVENTS = _profile(10, DurabilityPolicy.VOLATILE)
RESPONSES = _profile(100, DurabilityPolicy.VOLATILE)
"""Deep enough that a slow speaker loses no sentence of a long reply."""
SOUND = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=50,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
"""Sound that is late is of no use: what is lost is not sent again."""
