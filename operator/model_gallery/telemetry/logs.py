"""Logs: one JSON object a line, with the fields that were given as `extra`, and no secrets in URLs."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

__all__ = ["JsonFormatter", "TextFormatter", "configure", "redact"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_USER_INFO = re.compile(r"(?<=://)[^/\s?#@\"']+@")
_QUERY = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://[^\s?#\"'<>]*)\?[^\s#\"'<>]*")
_LONGEST = 16 * 1024
"""Characters of a message or traceback; some foreign errors quote whole answers."""


def configure(level: str, *, json: bool = True) -> None:
    """Sends all logs to stderr, replacing what was set up before.

    Args:
        level: such as `INFO`.
        json: False for a form that is easier on the eye.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if json else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # It says INFO for each event otherwise.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)


def redact(text: str) -> str:
    """Returns the text with passwords and query strings taken out of its URLs."""
    return _QUERY.sub(r"\1?…", _USER_INFO.sub("…@", text))[:_LONGEST]


class JsonFormatter(logging.Formatter):
    """time, level, logger, msg, then the extra fields, then the traceback as `error`."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns one line."""
        line = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "msg": redact(record.getMessage()),
            **_extra(record),
        }
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns one line, and the traceback below it."""
        extra = "".join(f" {key}={value}" for key, value in _extra(record).items())
        text = f"{_time(record)} {record.levelname:7} {record.name}: {redact(record.getMessage())}{extra}"
        if record.exc_info:
            text += "\n" + redact(self.formatException(record.exc_info))
        return text


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """Returns the extra fields; `object` becomes `name`, which the record itself has taken."""
    return {
        "name" if key == "object" else key: redact(value) if isinstance(value, str) else value
        for key, value in vars(record).items()
        if key not in _STANDARD
    }
