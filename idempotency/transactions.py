"""What the library asks of a transaction: repeat it, isolate it, or be sure that there is none.

Everything that depends on PostgreSQL's error codes stands here.
"""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction

from idempotency import conf
from idempotency.exceptions import ConflictPersists, ForeignCallInsideTransaction

READ_COMMITTED = "READ COMMITTED"
SERIALIZABLE = "SERIALIZABLE"

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_REPEATABLE = {"40001", "40P01"}  # serialization_failure, deadlock_detected
_LOCK_TIMEOUT = "55P03"  # lock_not_available

_LONGEST_PAUSE_SECONDS = 0.1

T = TypeVar("T")


def in_transaction(work: Callable[[], T], *, isolation: str = READ_COMMITTED) -> T:
    """Runs `work` in a transaction of its own, and again after a serialization failure.

    *Raises* `ConflictPersists` when the retries are used up, and whatever `work` raises.
    """
    for retry in range(conf.current().phase_retries + 1):
        if retry:
            time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))  # noqa: S311
        try:
            with transaction.atomic(durable=True):
                if isolation != READ_COMMITTED:
                    _set_isolation(isolation)
                return work()
        except OperationalError as error:
            if not may_succeed_when_repeated(error):
                raise
            conflict = error
    raise ConflictPersists(
        "Other requests kept changing the same data. What was done so far is kept. "
        "Retry with the same Idempotency-Key.",
        retry_after_seconds=1,
    ) from conflict


def may_succeed_when_repeated(error: BaseException) -> bool:
    """A serialization failure or a deadlock: the whole transaction is to be run again."""
    return _sqlstate_of(error) in _REPEATABLE


def waited_too_long_for_a_lock(error: BaseException) -> bool:
    return _sqlstate_of(error) == _LOCK_TIMEOUT


def database_is_away(error: BaseException) -> bool:
    """The connection was lost, refused or ended by the server."""
    if type(error) is DatabaseError and error.__cause__:
        # Without a kind and without a code: psycopg2's words for a server that is gone without any
        # of its own, as after an immediate stop.
        return _sqlstate_of(error) is None
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    return not may_succeed_when_repeated(error) and not waited_too_long_for_a_lock(error)


def refuse_open_transaction() -> None:
    """*Raises* `ForeignCallInsideTransaction` where a transaction is open.

    One that a test case opened around the whole test does not count, as with Django's `durable`.
    """
    blocks = [b for b in connection.atomic_blocks if not getattr(b, "_from_testcase", False)]
    if blocks or not (connection.get_autocommit() or connection.in_atomic_block):
        raise ForeignCallInsideTransaction(
            "A foreign call was about to be made inside a transaction: it cannot be rolled back "
            "with it, and would hold its locks for as long as it takes."
        )


def give_connection_back() -> None:
    """Gives the connection to its pool for the time of a foreign call, where there is a pool."""
    options = connection.settings_dict
    if options.get("POOL_OPTIONS") or options.get("OPTIONS", {}).get("pool"):
        connection.close()


def drop_broken_connection() -> None:
    """Closes the connection if an error left it unusable, so that the next statement reconnects."""
    try:
        connection.close_if_unusable_or_obsolete()
    except DatabaseError:
        connection.close()


def _set_isolation(level: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")


def _sqlstate_of(error: BaseException) -> str | None:
    cause = error.__cause__
    return getattr(cause, "pgcode", None) or getattr(cause, "sqlstate", None)
