"""How a log record becomes one line: `at=… level=… logger=… message="…"`, or the same as JSON.

A traceback is part of its record's line, so that a line is an event for whatever reads the log. Of
an exception a line says what `described` does (`idempotency.support.described`), whoever logged
it: the words of an error may be a client's address or a row of the database.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.json import JsonFormatter as Formatter

from idempotency.support.described import described, described_traceback
from idempotency.support.storable import UNSTORABLE, storable_text

MESSAGE_LIMIT = 8_000
TRACEBACK_LIMIT = 32_000

FIELDS = (
    *("cell", "request_id", "key", "operation", "recovery_point", "attempt"),
    *("outcome", "source", "ms"),
)
"""What a record may have besides (`idempotency.watching.logs`). Nothing else that somebody has
given a record is written: Django's have the request in them."""

FREE_TEXT = ("message", "exception")


class LineFormatter(logging.Formatter):
    """One line a record: key=value, the values that hold free text quoted as in JSON."""

    def format(self, record: logging.LogRecord) -> str:
        told = told_of(record)
        return " ".join(
            f"{name}={quoted(value) if name in FREE_TEXT else value}"
            for name, value in told.items()
        )


class JsonFormatter(Formatter):
    """The same as an object of JSON a line."""

    def format(self, record: logging.LogRecord) -> str:
        bare = logging.makeLogRecord({"msg": told_of(record)})
        return in_one_line(super().format(bare))


def told_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what is written of a record, by name."""
    told = {
        "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": cut(message_of(record), MESSAGE_LIMIT),
    }
    told.update({name: getattr(record, name) for name in FIELDS if hasattr(record, name)})
    if record.exc_info and record.exc_info[1] is not None:
        told["exception"] = cut(described_traceback(record.exc_info[1]), TRACEBACK_LIMIT)
    return told


def message_of(record: logging.LogRecord) -> str:
    """Return the message, with `described` in the place of each exception in its arguments."""
    template, arguments = str(_said(record.msg)), record.args
    try:
        if isinstance(arguments, dict):
            return template % {name: _said(value) for name, value in arguments.items()}
        return template % tuple(map(_said, arguments)) if arguments else template
    except Exception:
        # A fault of whoever logs. Python would print the arguments as they are.
        return f"{template} [its arguments do not fit]"


def quoted(text: str) -> str:
    return in_one_line(json.dumps(text, ensure_ascii=False))


def cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else storable_text(text, limit)


def in_one_line(text: str) -> str:
    """Return a text of JSON with nothing in it that a terminal would obey."""
    return UNSTORABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _said(value: Any) -> Any:
    return described(value) if isinstance(value, BaseException) else value
