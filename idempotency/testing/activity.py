"""What PostgreSQL itself says about a connection: its word, not Django's bookkeeping."""

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

OPEN_TRANSACTION = """
SELECT state FROM pg_stat_activity WHERE pid = %(pid)s AND xact_start IS NOT NULL
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
    if watched.connection is None:
        return None
    observer = watched.copy()
    try:
        with observer.cursor() as cursor:
            cursor.execute(OPEN_TRANSACTION, {"pid": watched.connection.info.backend_pid})
            row = cursor.fetchone()
    finally:
        observer.close()
    return row[0] if row else None


def end_idle_transactions() -> None:
    with connection.cursor() as cursor:
        cursor.execute(END_IDLE_TRANSACTIONS)
