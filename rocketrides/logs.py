"""How a log record becomes one line: `at=… level=… logger=… message="…"`.

A traceback is part of its record's line, so that a line is an event for whatever reads the log. Of
an exception a line says what `described` does (`idempotency.support.described`), whoever logged
it: the words of an error may be a client's address or a row of the database.
"""

import json
import logging
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from idempotency.support.described import described, described_traceback
from idempotency.support.storable import UNSTORABLE, storable_text

MESSAGE_LIMIT = 8_000
TRACEBACK_LIMIT = 32_000


class LineFormatter(logging.Formatter):
    """One line a record: key=value, the values that hold free text quoted as in JSON."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = (
            f"at={at} level={record.levelname.lower()} logger={record.name}"
            f" message={quoted(message_of(record), MESSAGE_LIMIT)}"
        )
        if record.exc_info:
            line += f" exception={quoted(self.formatException(record.exc_info), TRACEBACK_LIMIT)}"
        return line

    def formatException(  # noqa: N802
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        return "" if ei[1] is None else described_traceback(ei[1])


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


def quoted(text: str, limit: int) -> str:
    """Return the text in the form of JSON, with nothing in it that a terminal would obey."""
    whole = text if len(text) <= limit else storable_text(text, limit)
    return UNSTORABLE.sub(
        lambda found: f"\\u{ord(found[0]):04x}", json.dumps(whole, ensure_ascii=False)
    )


def _said(value: Any) -> Any:
    return described(value) if isinstance(value, BaseException) else value
