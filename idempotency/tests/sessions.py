"""The server's side of a connection: who it is, what it is doing, and its end."""

from typing import Any

from django.db import connection


def backend_pid() -> int:
    """The server process of this thread's connection."""
    return _asked("SELECT pg_backend_pid()")[0]


def state_of(pid: int) -> tuple[Any, ...] | None:
    """State and start of the transaction, or None where there is no such connection."""
    return _asked("SELECT state, xact_start FROM pg_stat_activity WHERE pid = %s", pid)


def end_connection(pid: int) -> None:
    """As a restart of the server or a failover would."""
    _asked("SELECT pg_terminate_backend(%s, 5000)", pid)


def pid_of(application: str) -> int:
    """The server process that works for another process, as soon as there is one. Not the short one
    that reads the doors, which is gone before it has been idle for so long.
    """
    found = _first(
        """
        SELECT (SELECT pid FROM pg_stat_activity
                 WHERE application_name = %s AND datname = current_database()
                   AND state = 'idle' AND state_change < clock_timestamp() - interval '50 ms'
                 LIMIT 1),
               pg_sleep(0.01)
        """,
        application,
    )
    return found[0]


def wait_until_ended(pid: int) -> None:
    """The server notices the end of a connection a little later than its client."""
    _first(
        """
        SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s) OR NULL, pg_sleep(0.01)
        """,
        pid,
    )


def _first(statement: str, *values: Any) -> tuple[Any, ...]:
    """The first row whose first column is not null, of up to 500 that are asked for."""
    for _ in range(500):
        row = _asked(statement, *values)
        if row[0] is not None:
            return row
    raise AssertionError(f"this never happened: {statement}")


def _asked(statement: str, *values: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchone()
