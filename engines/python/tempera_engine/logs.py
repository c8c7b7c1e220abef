"""The process's log: JSON lines on stderr, as the GPU worker reads them."""

import json
import logging
import sys


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # Python's levels are 10, 20, 30, 40; pino's are 20, 30, 40, 50.
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        return json.dumps({"level": record.levelno + 10, "msg": message})


def log_to_stderr() -> None:
    """Sends everything that any library logs to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
