"""A log record is one line, whatever is in it."""

import logging
import sys

from rocketrides.logs import LineFormatter


def formatted(message: str, *args: object, exc_info: object = None) -> str:
    record = logging.LogRecord("rides", logging.INFO, "x.py", 1, message, args, exc_info)  # type: ignore[arg-type]
    return LineFormatter().format(record)


def test_a_record_is_one_line_of_keys_and_values() -> None:
    line = formatted("reaped=%d", 3)

    assert line.startswith("at=20")
    assert line.endswith('+00:00 level=info logger=rides message="reaped=3"')


def test_a_line_break_in_a_message_starts_no_second_record() -> None:
    assert formatted("first\nlevel=critical second").count("\n") == 0


def test_a_traceback_is_on_the_line_without_the_rows_values() -> None:
    message = "duplicate key\nDETAIL:  Key (email)=(user@example.com) exists."
    try:
        raise ValueError(message)
    except ValueError:
        line = formatted("failed", exc_info=sys.exc_info())

    assert "\n" not in line
    assert "ValueError: duplicate key" in line
    assert "user@example.com" not in line
