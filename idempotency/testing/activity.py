"""What PostgreSQL itself says about a connection: its word, not Django's bookkeeping."""

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from idempotency.database import connection

OPEN = (1, 2, 3)  # libpq's PQTRANS_ACTIVE, PQTRANS_INTRANS and PQTRANS_INERROR

OPEN_TRANSACTION = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %(pid)s AND xact_start IS NOT NULL)
"""

SOMEBODY_WAITS = """
SELECT EXISTS (SELECT FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock')
"""

# What `idle_in_transaction_session_timeout` does to a process that is frozen in a transaction, for
# which no test wants to wait. The wait is in milliseconds.
END_IDLE_TRANSACTIONS = """
SELECT count(pg_terminate_backend(pid, 5000))
  FROM pg_stat_activity
 WHERE datname = current_database() AND state LIKE 'idle in transaction%'
   AND pid <> pg_backend_pid()
"""


def in_transaction(watched: BaseDatabaseWrapper) -> bool:
    """Whether a connection has a transaction open.

    The server says so with each of its answers, and of the session in `pg_stat_activity`. A pooler
    hands the first on; of the second it makes up the number, which then is nobody's.
    """
    if watched.connection is None:
        return False
    if watched.connection.info.transaction_status in OPEN:
        return True
    observer = watched.copy()
    try:
        return _is(observer, OPEN_TRANSACTION, pid=watched.connection.info.backend_pid)
    finally:
        observer.close()


def somebody_waits(observer: BaseDatabaseWrapper) -> bool:
    """Whether any connection to the database waits for a lock that another one holds."""
    return _is(observer, SOMEBODY_WAITS)


def end_idle_transactions() -> None:
    with connection.cursor() as cursor:
        cursor.execute(END_IDLE_TRANSACTIONS)


def _is(observer: BaseDatabaseWrapper, question: str, **values: Any) -> bool:
    with observer.cursor() as cursor:
        cursor.execute(question, values)
        row = cursor.fetchone()
    return bool(row and row[0])
