"""How a log record becomes one line: `at=… level=… logger=… message="…"`.

It is apart from the settings because it is code. A traceback is part of its record's line, so that
a line is an event for whatever reads the log.
"""

import json
import logging
from datetime import UTC, datetime
from types import TracebackType


class LineFormatter(logging.Formatter):
    """One line a record: key=value, the values that hold free text quoted as in JSON."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = (
            f"at={at} level={record.levelname.lower()} logger={record.name}"
            f" message={quoted(record.getMessage())}"
        )
        if record.exc_info:
            line += f" exception={quoted(self.formatException(record.exc_info))}"
        return line

    def formatException(  # noqa: N802
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        # PostgreSQL's DETAIL repeats the row's values, which may be personal data.
        lines = super().formatException(ei).splitlines()
        return "\n".join(line for line in lines if not line.startswith("DETAIL:"))


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
