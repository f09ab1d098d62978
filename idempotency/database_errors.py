"""What an error of the database means: for the statement, for the connection, and for its pool.

Everything that depends on PostgreSQL's error codes stands here, in one table.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

from django.db import DatabaseError, InterfaceError, OperationalError
from django.db.transaction import TransactionManagementError

from idempotency.exceptions import ConflictPersists


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


# What Citus says, under the code of a bug, where the server that has the rows went away: during a
# COMMIT, which may have been carried out, or before.
LOST_ON_ITS_NODE = ("could not commit transaction", "failure on connection marked as essential")


def meaning_of(error: BaseException) -> Meaning:
    """What an error means, by the table."""
    code = _sqlstate_of(error)
    if code == "XX000" and str(error).startswith(LOST_ON_ITS_NODE):
        return LOST
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
    any language that has the name of the table, or of its shard, and the SQL of the foreign key's
    own look.
    """
    if not waited_too_long_for_a_lock(error):
        return False
    context = getattr(getattr(error.__cause__, "diag", None), "context", None) or ""
    names_table = re.search(rf'"{table}(_[0-9]+)?"', context)
    return bool(names_table) and "FOR KEY SHARE" not in context


def database_is_away(error: BaseException) -> bool:
    """The connection was lost, refused or ended by the server, or leads to one that cannot write.

    Not so for what an author's own statement ran into: `statement_timeout`, a full disk. That is
    the phase's failure, logged as one.
    """
    return meaning_of(error).is_away


def met_a_dead_connection(error: BaseException) -> bool:
    return meaning_of(error) is LOST


def was_refused(error: BaseException) -> bool:
    """Whether the server itself said that the transaction is rolled back."""
    if isinstance(error, ConflictPersists):
        return True
    return _sqlstate_of(error) is not None and meaning_of(error).statement is not Statement.UNKNOWN


def _sqlstate_of(error: BaseException) -> str | None:
    cause = error.__cause__
    return getattr(cause, "pgcode", None) or getattr(cause, "sqlstate", None)
