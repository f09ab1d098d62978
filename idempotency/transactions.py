"""What the library asks of a transaction: repeat it, isolate it, or be sure that there is none.

Everything that depends on PostgreSQL's error codes stands here, in one table.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

from django.db import (
    DatabaseError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    connection,
    transaction,
)
from django.db import Error as DatabaseFailure
from django.db.transaction import TransactionManagementError

from idempotency import conf
from idempotency.exceptions import LEAVING, ConflictPersists, ForeignCallInsideTransaction
from idempotency.storable import described_traceback, storable_text

READ_COMMITTED = "READ COMMITTED"
SERIALIZABLE = "SERIALIZABLE"

_LONGEST_PAUSE_SECONDS = 0.1

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Statement(Enum):
    """What an error says of the statement, and so of its transaction."""

    AGAIN = auto()  # nothing was done, and the whole transaction may succeed if it is run again
    NOT = auto()  # nothing was done, and the same statement would fail again
    UNKNOWN = auto()  # the connection ended: a COMMIT may have been carried out


class Keep(Enum):
    """What an error says of a connection, or of those in its pool that are as old."""

    KEEP = auto()
    DROP = auto()


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an error says of the statement, of the connection, and of all that are as old as it.

    `is_away`: the cause is neither the statement nor another transaction. There is no server to
    be reached that would carry the statement out.
    """

    statement: Statement
    connection: Keep
    pool: Keep
    is_away: bool = False


_AGAIN, _NOT, _UNKNOWN = Statement.AGAIN, Statement.NOT, Statement.UNKNOWN
_KEEP, _DROP = Keep.KEEP, Keep.DROP

FAILED = Meaning(_NOT, _KEEP, _KEEP)
"""What every code means that the table does not have: the statement's own failure."""

LOST = Meaning(_UNKNOWN, _DROP, _DROP, is_away=True)
"""What an error without a code means: the driver's own words for a connection that ended, or could
not be made, since the server's reason for refusing one reaches the driver as a text only."""

LOCK_TIMEOUT = "55P03"
UNDEFINED = ("42P01", "42703")  # undefined_table, undefined_column

# By the whole code, else by its class, the first two characters.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
MEANINGS = {
    "08": LOST,  # connection_exception; also PgBouncer's word for most of its troubles
    # A primary that was made a standby, or read-only before a switchover: so is the whole server.
    "25006": Meaning(_NOT, _DROP, _DROP, is_away=True),  # read_only_sql_transaction
    # The server ended this session, since the transaction lasted too long.
    "25P03": Meaning(_NOT, _DROP, _KEEP),  # idle_in_transaction_session_timeout
    "25P04": Meaning(_NOT, _DROP, _KEEP),  # transaction_timeout
    # No login, no database. They have a code only where a pooler is told so in a session.
    "28": Meaning(_NOT, _DROP, _KEEP, is_away=True),  # invalid_authorization_specification
    "3D000": Meaning(_NOT, _DROP, _KEEP, is_away=True),  # invalid_catalog_name
    "40001": Meaning(_AGAIN, _KEEP, _KEEP),  # serialization_failure
    "40P01": Meaning(_AGAIN, _KEEP, _KEEP),  # deadlock_detected
    # A disk or a memory that is full stays so until somebody looks: an error in the log, not a 503.
    "53": FAILED,  # insufficient_resources: 53100 disk_full, 53200 out_of_memory
    "53300": Meaning(_NOT, _DROP, _KEEP, is_away=True),  # too_many_connections
    "55": FAILED,  # object_not_in_prerequisite_state: 55006 object_in_use, 55P02
    LOCK_TIMEOUT: FAILED,  # lock_not_available: somebody else's transaction goes on
    "57014": FAILED,  # query_canceled: by statement_timeout, or by a person
    "57P01": LOST,  # admin_shutdown, and pg_terminate_backend
    "57P02": LOST,  # crash_shutdown
    "57P03": LOST,  # cannot_connect_now
    "57P04": LOST,  # database_dropped
    "57P05": LOST,  # idle_session_timeout
    "58": FAILED,  # system_error: an I/O error of the server's
    "XX": FAILED,  # internal_error: a bug, or data that is corrupted
}


def meaning_of(error: BaseException) -> Meaning:
    """What an error means, by the table."""
    code = _sqlstate_of(error)
    if code is not None:
        return MEANINGS.get(code) or MEANINGS.get(code[:2], FAILED)
    # psycopg2 has neither a kind nor a code for a server that went without a word.
    without_a_kind = type(error) is DatabaseError and error.__cause__ is not None
    is_lost = without_a_kind or isinstance(error, OperationalError | InterfaceError)
    return LOST if is_lost else FAILED


def may_succeed_when_repeated(error: BaseException) -> bool:
    """A serialization failure or a deadlock: the whole transaction is to be run again."""
    return meaning_of(error).statement is Statement.AGAIN


def waited_too_long_for_a_lock(error: BaseException) -> bool:
    return _sqlstate_of(error) == LOCK_TIMEOUT


def follows_a_caught_error(error: BaseException) -> bool:
    """Whether an error of the database had ended the transaction before, and was caught."""
    # Django has one class for all misuse, and gives only some of these the error as their cause.
    if isinstance(error, TransactionManagementError):
        return "error occurred in the current transaction" in str(error)
    return _sqlstate_of(error) == "25P02"


def meets_other_tables(error: BaseException) -> bool:
    """Whether a table or a column is not there, since the database lacks migrations of this code.

    The doors are read by a session apart, whose error is the cause of the one that is raised.
    """
    chain = (each for each in (error, error.__cause__) if each)
    return any(_sqlstate_of(each) in UNDEFINED for each in chain)


def waited_for_an_insert_into(table: str, error: BaseException) -> bool:
    """Whether the lock was held by a transaction that inserted the same unique value.

    Locks on a table, or on a row that a foreign key names, look the same but for the context. In
    any language that has the name of the table, and the SQL of the foreign key's own look.
    """
    if not waited_too_long_for_a_lock(error):
        return False
    context = getattr(getattr(error.__cause__, "diag", None), "context", None) or ""
    return f'"{table}"' in context and "FOR KEY SHARE" not in context


def database_is_away(error: BaseException) -> bool:
    """The connection was lost, refused or ended by the server, or leads to one that cannot write.

    Not so for what an author's own statement ran into: `statement_timeout`, a full disk. That is
    the phase's failure, logged as one.
    """
    return meaning_of(error).is_away


def was_refused(error: BaseException) -> bool:
    """Whether the server itself said that the transaction is rolled back."""
    if isinstance(error, ConflictPersists):
        return True
    return _sqlstate_of(error) is not None and meaning_of(error).statement is not Statement.UNKNOWN


def in_transaction(work: Callable[[], T], *, isolation: str = READ_COMMITTED) -> T:
    """Runs `work` in a transaction of its own, and again after a serialization failure.

    *Raises* `ConflictPersists` when the retries are used up, and whatever `work` raises.
    """
    return _repeat_on_conflict(lambda: _begin_again_after_a_restart(work, isolation))


def repeated_on_conflict(function: Callable[P, T]) -> Callable[P, T]:
    """Has a function that is one transaction, or one statement outside of any, run again likewise.

    PostgreSQL refuses a single statement where the session's own isolation is stricter than READ
    COMMITTED. Within a transaction of the caller's, that is what is to be repeated.
    """

    @wraps(function)
    def repeating(*args: P.args, **kwargs: P.kwargs) -> T:
        if connection.in_atomic_block:
            return function(*args, **kwargs)
        return _repeat_on_conflict(partial(function, *args, **kwargs))

    return repeating


def _repeat_on_conflict(work: Callable[[], T]) -> T:
    for retry in range(conf.current().phase_retries + 1):
        if retry:
            time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))  # noqa: S311
        try:
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


@contextmanager
def reading_again_after_a_restart() -> Iterator[None]:
    """Repeats, once, a SELECT outside of a transaction that met a dead connection, on a new one; or
    that the database refused for the sake of others, where sessions are SERIALIZABLE.

    For the whole of a request: else each connection that was kept over a restart of the server
    costs one client a 503.
    """
    with connection.execute_wrapper(_read_again):
        yield


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


def drop_broken_connection(error: BaseException) -> None:
    """Closes the connection where the error says that it is of no use, so that the next statement
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


def _begin_again_after_a_restart(work: Callable[[], T], isolation: str) -> T:
    """Runs a transaction; once more, on a new connection, where its first statement met a dead one.

    Nothing has been done then. Later statements are not repeated: one of them may be the reason.
    """
    first = _FirstStatement()
    try:
        with connection.execute_wrapper(first):
            return _in_one_transaction(work, isolation)
    except DatabaseFailure as error:
        if first.got_through or not _met_a_dead_connection(error):
            raise
    return _in_one_transaction(work, isolation)


def _in_one_transaction(work: Callable[[], T], isolation: str) -> T:
    try:
        with transaction.atomic(durable=True), hooks_logged():
            if isolation != READ_COMMITTED:
                _set_isolation(isolation)
            return work()
    except DatabaseFailure as error:
        drop_broken_connection(error)
        raise


@contextmanager
def hooks_logged() -> Iterator[None]:
    """Has what `transaction.on_commit` registered in the block log its errors, and not raise them.

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


def refuse_server_that_only_reads() -> None:
    """*Raises* `OperationalError` where the server of this connection has become one that only
    reads, as it tells each client unasked (from PostgreSQL 14 on): no statement is needed.

    A worker whose look is a SELECT would go on there after a switchover, and find nothing for ever.
    """
    if connection.connection is None:
        return
    told = connection.connection.info.parameter_status
    if "on" in (told("default_transaction_read_only"), told("in_hot_standby")):
        raise OperationalError("the server of this connection only reads")


class _FirstStatement:
    """Whether a statement of the transaction has got through."""

    got_through = False

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        self.got_through = True
        return result


def _read_again(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    wrapper, cursor = context["connection"], context["cursor"]
    try:
        return execute(sql, params, many, context)
    except DatabaseFailure as error:
        outside = wrapper.autocommit and not wrapper.in_atomic_block
        helps = _met_a_dead_connection(error) or may_succeed_when_repeated(error)
        if not (outside and sql.lstrip().startswith("SELECT") and helps):
            raise
        drop_broken_connection(error)
    wrapper.ensure_connection()
    cursor.cursor = wrapper.create_cursor()
    return execute(sql, params, many, context)


def _met_a_dead_connection(error: BaseException) -> bool:
    return meaning_of(error) is LOST


def _set_isolation(level: str) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
    except NotSupportedError as error:  # a standby, which has no SERIALIZABLE
        raise OperationalError("the server of this connection only reads") from error


def _sqlstate_of(error: BaseException) -> str | None:
    cause = error.__cause__
    return getattr(cause, "pgcode", None) or getattr(cause, "sqlstate", None)
