"""What the library asks of a transaction: repeat it, isolate it, or be sure that there is none."""

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

from django.db import Error as DatabaseFailure
from django.db import NotSupportedError, OperationalError, connections

from idempotency import conf
from idempotency.database import ALIAS, atomic, connection
from idempotency.database_errors import (
    Keep,
    may_succeed_when_repeated,
    meaning_of,
    met_a_dead_connection,
)
from idempotency.exceptions import (
    LEAVING,
    CalledInsideTransaction,
    ConflictPersists,
    ForeignCallInsideTransaction,
)
from idempotency.support.described import described_traceback
from idempotency.support.storable import storable_text

READ_COMMITTED = "READ COMMITTED"
"""For `Operation.isolation`: the default, which claim, fence and constraints need no more than."""

SERIALIZABLE = "SERIALIZABLE"
"""For `Operation.isolation`, where a phase decides by what it has read."""

_LONGEST_PAUSE_SECONDS = 0.1

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


def in_transaction(work: Callable[[], T], *, isolation: str = READ_COMMITTED) -> T:
    """Run `work` in a transaction of its own, and again after a serialization failure.

    Raises: `ConflictPersists` when the retries are used up, and whatever `work` raises.
    """
    again = _Again()
    while True:
        try:
            with again.watching(), atomic(durable=True), hooks_logged():
                if isolation != READ_COMMITTED:
                    _set_isolation(isolation)
                return work()
        except DatabaseFailure as error:
            drop_broken_connection(error)
            again.prepare_after(error)


def repeated_on_conflict(function: Callable[P, T]) -> Callable[P, T]:
    """Have a function that is one transaction, or one statement outside of any, run again likewise.

    PostgreSQL refuses a single statement where the session's own isolation is stricter than READ
    COMMITTED. Within a transaction of the caller's, that is what is to be repeated.
    """

    @wraps(function)
    def repeating(*args: P.args, **kwargs: P.kwargs) -> T:
        again = _Again()
        while True:
            try:
                return function(*args, **kwargs)
            except OperationalError as error:
                if connection.in_atomic_block:
                    raise
                again.prepare_after(error)

    return repeating


class _Again:
    """Whether a transaction is run again: after a conflict a few times, after a restart once.

    After a restart only where its first statement met the dead connection, so that nothing has been
    done. Later statements are not repeated: one of them may be the reason.
    """

    def __init__(self) -> None:
        self._retries_left = conf.current().phase_retries
        self._got_through: bool | None = None
        """Whether a statement of the transaction has; None where no transaction is watched."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notice whether the transaction's first statement gets through, the first time."""
        if self._got_through is not None:
            yield
            return
        self._got_through = False
        with connection.execute_wrapper(self._notice):
            yield

    def prepare_after(self, error: Exception) -> None:
        """Wait for the next run. Raises: `error`, or `ConflictPersists`, where there is none."""
        if self._got_through is False and met_a_dead_connection(error):
            self._got_through = True
            return
        if not may_succeed_when_repeated(error):
            raise error
        if not self._retries_left:
            raise ConflictPersists(
                "Other requests kept changing the same data. What was done so far is kept. "
                "Retry with the same Idempotency-Key.",
                retry_after_seconds=1,
            ) from error
        self._retries_left -= 1
        self._got_through = None
        time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))  # noqa: S311

    def _notice(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        self._got_through = True
        return result


def _is_open() -> bool:
    """Whether a transaction is open. One that a test case opened around the whole test does not
    count, as with Django's `durable`.
    """
    blocks = [b for b in connection.atomic_blocks if not getattr(b, "_from_testcase", False)]
    return bool(blocks) or not (connection.get_autocommit() or connection.in_atomic_block)


def refuse_open_transaction_around(operation: str) -> None:
    """Raises: `CalledInsideTransaction` where a transaction is open."""
    if _is_open():
        raise CalledInsideTransaction(
            f"{operation} was called inside a transaction, and commits by itself, phase by phase. "
            "Call it outside (ATOMIC_REQUESTS and atomic() around it are such transactions), or "
            "have it carried out after the commit by stage_operation."
        )


def refuse_open_transaction() -> None:
    """Raises: `ForeignCallInsideTransaction` where a transaction is open."""
    if _is_open():
        raise ForeignCallInsideTransaction(
            "A foreign call was about to be made inside a transaction: it cannot be rolled back "
            "with it, and would hold its locks for as long as it takes."
        )


def give_connection_back() -> None:
    """Give the connection to its pool for the time of a foreign call, where there is a pool."""
    options = connection.settings_dict
    if options.get("POOL_OPTIONS") or options.get("OPTIONS", {}).get("pool"):
        connection.close()


def drop_broken_connection(error: BaseException) -> None:
    """Close the connection where the error says that it is of no use, so that the next statement
    opens a new one. A backend with a pool of its own takes it out of there, as ours does.
    """
    meaning = meaning_of(error)
    if meaning.connection is Keep.KEEP or connection.in_atomic_block:
        return
    if connection.connection is not None and (pool := getattr(connection, "pool", None)):
        # Django's own pool takes back what still answers, so it is ended first.
        if meaning.pool is Keep.DROP and hasattr(pool, "drain"):
            pool.drain()
        connection.connection.close()
    with suppress(DatabaseFailure):
        connection.close()


def drop_failed_connections_elsewhere() -> None:
    """Close the connections to the project's other databases that have failed, if they are of no
    use. Django does so between two requests, and a worker has none.
    """
    for other in connections.all(initialized_only=True):
        if other.alias != ALIAS and other.errors_occurred:
            other.close_if_unusable_or_obsolete()


@contextmanager
def hooks_logged() -> Iterator[None]:
    """Have what `transaction.on_commit` registered in the block log its errors, and not raise them.

    For the innermost block of a transaction of ours: COMMIT is the end of it. An error of a hook
    would be taken for one of the work, which would be done again. Django's `robust` does the same
    for those that ask for it, and logs an error's own words.
    """
    yield
    if connection.savepoint_ids:
        return  # a test case holds the transaction open around ours
    hooks: list[Any] = connection.run_on_commit
    hooks[:] = [
        (savepoints, partial(_run_hook, hook), robust) for savepoints, hook, robust in hooks
    ]


def _run_hook(hook: Callable[[], object]) -> None:
    try:
        hook()
    except LEAVING:
        raise
    except BaseException as error:
        said = described_traceback(error)
        logger.error("a hook after COMMIT failed: hook=%s: %s", _name_of(hook), said)
        drop_broken_connection(error)


def _name_of(hook: Any) -> str:
    while isinstance(hook, partial):
        hook = hook.func
    name = getattr(hook, "__qualname__", type(hook).__qualname__)
    return storable_text(f"{getattr(hook, '__module__', '')}.{name}")


def _set_isolation(level: str) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
    except NotSupportedError as error:  # a standby, which has no SERIALIZABLE
        raise OperationalError("the server of this connection is read-only") from error
