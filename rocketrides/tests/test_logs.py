"""A log record is one line, whatever is in it."""

import logging
import sys
import unicodedata

import pytest

from rocketrides.logs import LineFormatter

UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def formatted(message: str, *args: object, exc_info: object = None) -> str:
    return logged(message, *args, exc_info=exc_info)


def logged(message: object, *args: object, exc_info: object = None) -> str:
    record = logging.LogRecord("rides", logging.INFO, "x.py", 1, message, args, exc_info)  # type: ignore[arg-type]
    return LineFormatter().format(record)


def test_a_record_is_one_line_of_keys_and_values() -> None:
    line = formatted("reaped=%d", 3)

    assert line.startswith("at=20")
    assert line.endswith('+00:00 level=info logger=rides message="reaped=3"')


def test_a_line_break_in_a_message_starts_no_second_record() -> None:
    assert formatted("first\nlevel=critical second").count("\n") == 0


ROWS_VALUES = "duplicate key\nDETAIL:  Key (email)=(user@example.com) exists."


def test_a_traceback_is_on_the_line_without_the_errors_words() -> None:
    try:
        raise ValueError(ROWS_VALUES)
    except ValueError:
        line = formatted("failed", exc_info=sys.exc_info())

    assert "\n" not in line
    assert "ValueError at rocketrides.tests.test_logs:" in line
    assert "raise ValueError(ROWS_VALUES)" in line
    assert "user@example.com" not in line


@pytest.mark.parametrize("placeholder", ["%s", "%r", "%(error)s"])
def test_an_exception_among_the_arguments_is_said_without_its_words(placeholder: str) -> None:
    error = ValueError(ROWS_VALUES)
    arguments = ({"error": error},) if "(" in placeholder else (error,)
    line = formatted(f"failed: error={placeholder}", *arguments)

    assert "error=ValueError" in line.replace("'", "")
    assert "user@example.com" not in line


def test_an_exception_as_the_message_is_said_without_its_words() -> None:
    line = logged(ValueError(ROWS_VALUES))
    assert 'message="ValueError"' in line


def test_arguments_that_do_not_fit_are_not_printed() -> None:
    line = formatted("retention=%d", "user@example.com")
    assert 'message="retention=%d [its arguments do not fit]"' in line


def test_no_line_steers_a_terminal() -> None:
    line = formatted("said=%s", "\x1b[2J\x9b1A \u202egnp.exe\u2028level=critical")
    assert not [character for character in line if unicodedata.category(character) in UNSEEN]


def test_a_line_has_a_limit_and_says_where_it_was_cut() -> None:
    line = formatted("said=%s", "x" * 1_000_000)
    assert len(line) < 10_000
    assert "more characters]" in line
