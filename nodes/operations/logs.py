"""The node's log: one JSON object a line, on standard error.

Every record has `time` (UTC, of the machine), `level`, `logger`, `message`, `node`; what is given
as `extra={"tx_id": …}` and the like stands beside them. Personal data never gets here: contracts'
arguments are not logged, and messages of ours do not repeat them. In a rehearsal each line says so.

Texts are cut to `LONGEST_MESSAGE` characters: strangers may be quoted, and must not fill a disk.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

_FIELDS = ("tx_id", "channel_id", "block_num", "msp_id", "height")


LONGEST_MESSAGE = 8_000


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON.

    Args:
        node: name of the node, in every line.
        rehearsal: whether every line says that this is a rehearsal.
    """

    def __init__(self, node: str, *, rehearsal: bool = False) -> None:
        super().__init__()
        self._node = node
        self._rehearsal = rehearsal

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _bounded(record.getMessage()),
            "node": self._node,
        }
        if self._rehearsal:
            line["rehearsal"] = True
        for name in _FIELDS:
            value = getattr(record, name, None)
            if value is not None:
                line[name] = _bounded(value) if isinstance(value, str) else value
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = _bounded(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def _bounded(text: str) -> str:
    """Cut the middle out of a text that is too long."""
    if len(text) <= LONGEST_MESSAGE:
        return text
    half = LONGEST_MESSAGE // 2
    return f"{text[:half]} … {len(text) - 2 * half} characters … {text[-half:]}"


def start_logging(
    node: str, level: str, *, rehearsal: bool = False, stream: TextIO | None = None
) -> None:
    """Send the process's log to *stream* (standard error), from *level* upwards."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(node, rehearsal=rehearsal))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Their lines at these levels tell of every connection and request.
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("grpc").setLevel(logging.ERROR)
