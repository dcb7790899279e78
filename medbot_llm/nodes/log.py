"""The core logs through `logging`; on the robot those lines belong into ROS's log."""

from __future__ import annotations

import logging

from rclpy.impl.rcutils_logger import RcutilsLogger

REPEAT_S = 1.0
"""How often the same line is written at most, s: a scanner may read ten times a second."""
MAX_REMEMBERED_LINES = 100


class _RosHandler(logging.Handler):
    """Hands each record to the rcutils logger, at the level that matches."""

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__()
        self._logger = logger
        self._written_at: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. rcutils ties a call site to one level, hence one branch a level."""
        text = self.format(record)
        if record.created - self._written_at.get(text, float("-inf")) < REPEAT_S:
            return
        if len(self._written_at) >= MAX_REMEMBERED_LINES:
            self._written_at.clear()
        self._written_at[text] = record.created
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)


def log_to_ros(logger: RcutilsLogger) -> None:
    """Send what `medbot_llm` logs to a node's logger."""
    root = logging.getLogger("medbot_llm")
    root.handlers = [_RosHandler(logger)]
    root.setLevel(logging.DEBUG if logger.is_enabled_for(10) else logging.INFO)
    root.propagate = False
