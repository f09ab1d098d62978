"""What PostgreSQL itself says about a connection: its word, not Django's bookkeeping."""

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

OPEN_TRANSACTION = """
SELECT state FROM pg_stat_activity WHERE pid = %(pid)s AND xact_start IS NOT NULL
"""

WAITING_FOR = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE %(pid)s = ANY(pg_blocking_pids(pid)))
"""

# What `idle_in_transaction_session_timeout` does to a process that is frozen in a transaction, for
# which no test wants to wait. The wait is in milliseconds.
END_IDLE_TRANSACTIONS = """
SELECT count(pg_terminate_backend(pid, 5000))
  FROM pg_stat_activity
 WHERE datname = current_database() AND state LIKE 'idle in transaction%'
   AND pid <> pg_backend_pid()
"""


def open_transaction(watched: BaseDatabaseWrapper) -> str | None:
    """The state of a connection that has a transaction open, or None where it has none."""
    observer = watched.copy()
    try:
        with observer.cursor() as cursor:
            cursor.execute(OPEN_TRANSACTION, {"pid": _pid_of(watched)})
            row = cursor.fetchone()
    finally:
        observer.close()
    return row[0] if row else None


def blocks_others(observer: BaseDatabaseWrapper, watched: BaseDatabaseWrapper) -> bool:
    """Whether another connection waits for a lock that `watched` holds."""
    with observer.cursor() as cursor:
        cursor.execute(WAITING_FOR, {"pid": _pid_of(watched)})
        row = cursor.fetchone()
    return bool(row and row[0])


def end_idle_transactions() -> None:
    with connection.cursor() as cursor:
        cursor.execute(END_IDLE_TRANSACTIONS)


def _pid_of(watched: BaseDatabaseWrapper) -> int | None:
    """Of the server's process, None where nothing is connected."""
    return watched.connection and watched.connection.info.backend_pid
