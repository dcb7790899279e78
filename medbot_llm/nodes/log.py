"""The core logs through `logging`; on the robot those lines belong into ROS's log."""

from __future__ import annotations

import logging

from rclpy.impl.rcutils_logger import RcutilsLogger


class _RosHandler(logging.Handler):
    """Hands each record to the rcutils logger, at the level that matches."""

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. rcutils ties a call site to one level, hence one branch a level."""
        text = self.format(record)
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
