"""What of an exception is recorded, logged and shown: never a value, and nobody else's words."""

import re
import sysconfig
import traceback
from collections.abc import Iterator

from django.db import DatabaseError, InterfaceError, OperationalError
from django.db.transaction import TransactionManagementError

from idempotency.exceptions import (
    LEAVING,
    IdempotencyError,
    JobError,
    JobOverLimit,
    OperationMisuse,
    ReviewRefused,
)
from idempotency.support.storable import said_by, storable_text, type_name

_TRACEBACK_FRAMES = 60

# Classes of SQLSTATE whose message PostgreSQL makes of its own words and of names in the schema.
# The other ones quote values (22: `invalid input syntax for type integer: "…"`) or say what a
# trigger's author made up (P0): of these only the condition's name is kept.
_CLASSES_WITHOUT_VALUES = frozenset(
    "08 0A 23 25 26 28 3D 3F 40 42 53 54 55 57 58 XX".split()  # noqa: SIM905 - a table
)
_NUMBERS = ("errno", "smtp_code", "status_code", "http_status")

_INSTALLED = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


def described(error: BaseException) -> str:
    """Say of an exception what may be recorded and logged.

    - Of this app's own exceptions, and of those that an author derived from them, the message.
    - Of the database's: the SQLSTATE, its name, and PostgreSQL's first message where that is made
      of its own words; never DETAIL, CONTEXT, the excerpt of the statement, or a value.
    - Of any other: its type, the numbers that it carries, and where in the code it was raised. Its
      words may be anybody's. An author who wants words kept raises one of this app's from it.
    """
    try:
        if isinstance(error, OperationMisuse | JobError | JobOverLimit):
            return storable_text(f"{type(error).__name__}: {said_by(error)}")
        if isinstance(error, IdempotencyError | ReviewRefused):
            return storable_text(error)
        if isinstance(error, DatabaseError | InterfaceError) or _sqlstate(error):
            return storable_text(_database_error(error))
        return storable_text(_foreign_error(error))
    except LEAVING:
        raise
    except BaseException:  # an exception's own attributes may raise anything
        return storable_text(type_name(type(error)))


def described_traceback(error: BaseException) -> str:
    """Return the traceback of an exception and of its causes, each said by `described`.

    This app's log lines have it in place of `exc_info`, since a formatter that is not ours would
    print the exceptions' own words.
    """
    parts: list[str] = []
    for each in _chain(error):
        frames = traceback.format_tb(each.__traceback__, limit=-_TRACEBACK_FRAMES)
        name, said = type_name(type(each)), described(each)
        parts.append("".join(frames) + (said if said.startswith(name) else f"{name}: {said}"))
    return "\n\nwhich led to\n\n".join(reversed(parts))


def _database_error(error: BaseException) -> str:
    if isinstance(error, TransactionManagementError) and error.__cause__ is not None:
        return f"{type_name(type(error))}: went on after {described(error.__cause__)}"
    driver_error = error.__cause__ if error.__cause__ is not None else error
    name, sqlstate = type_name(type(driver_error)), _sqlstate(error)
    if sqlstate is None:
        # The driver's words for a connection that was refused or lost; other words of a driver may
        # repeat a value that it could not convert.
        is_of_connection = isinstance(error, OperationalError | InterfaceError)
        from_driver = is_of_connection and error.__cause__ is not None
        said = " ".join(said_by(driver_error).split()) if from_driver else _raised_at(error)
        return f"{name}: {said}"
    if sqlstate[:2] not in _CLASSES_WITHOUT_VALUES:
        return f"{name}: SQLSTATE {sqlstate}"
    diagnostics = getattr(driver_error, "diag", None)
    primary = getattr(diagnostics, "message_primary", None) or said_by(driver_error)
    return f"{name}: SQLSTATE {sqlstate}: {_first_line(primary)}"


def _foreign_error(error: BaseException) -> str:
    numbers = {name: getattr(error, name, None) for name in _NUMBERS}
    told = [f"{name}={value}" for name, value in numbers.items() if type(value) is int]
    if isinstance(error, ImportError) and isinstance(error.name, str):
        told.append(f"module={error.name}")
    return " ".join([type_name(type(error)), *told, _raised_at(error)]).strip()


def _raised_at(error: BaseException) -> str:
    """Say where an exception was raised, and which line of the project led there."""
    frames = [
        (frame.f_code.co_filename, f"{frame.f_globals.get('__name__')}:{line}")
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    if not frames:
        return ""
    places = [frames[-1][1]]
    ours = [place for file, place in frames if not file.startswith(_INSTALLED)]
    if ours and ours[-1] != places[0]:
        places.append(ours[-1])
    return f"at {', from '.join(places)}"


def _sqlstate(error: BaseException) -> str | None:
    for each in (error.__cause__, error):
        code = getattr(each, "pgcode", None) or getattr(each, "sqlstate", None)
        if isinstance(code, str) and re.fullmatch("[0-9A-Z]{5}", code):
            return code
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception, and what led to it, latest first."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0]
