"""Each row of the table of SQLSTATEs, provoked on a real server where that can be done: what an
error means for the statement, for the connection, and for those of its pool that are as old."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, Error, InterfaceError, OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper as Session

from idempotency.database_errors import (
    FAILED,
    LOST,
    MEANINGS,
    Keep,
    Meaning,
    Statement,
    database_is_away,
    may_succeed_when_repeated,
    meaning_of,
    waited_too_long_for_a_lock,
)
from idempotency.tests.sessions import end_connection

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_session")]

UNSAID = None
"""psycopg2 passes on no code for the end of a session: libpq's own words are its last ones."""

AGAIN = Meaning(Statement.AGAIN, Keep.KEEP, Keep.KEEP)
NO_SUCH_LOGIN = "a_role_that_does_not_exist"
LIMITED = "a_role_with_no_connections"


@pytest.fixture
def session() -> Iterator[Session]:
    """A connection of the test's own, which it may spoil."""
    with closing(connection.copy()) as own:
        yield own


@pytest.fixture
def other() -> Iterator[Session]:
    """A second one, for another thread."""
    with closing(connection.copy()) as own:
        own.inc_thread_sharing()
        yield own


@pytest.fixture
def groups() -> list[int]:
    """Two rows that any session may lock."""
    return [Group.objects.create(name=name).pk for name in ("first", "second")]


def run(session: Session, statement: str) -> None:
    with session.cursor() as cursor:
        cursor.execute(statement)


def error_of(session: Session, statement: str) -> Error:
    with pytest.raises(Error) as caught:
        run(session, statement)
    return caught.value


def code_of(error: Error) -> str | None:
    return getattr(error.__cause__, "pgcode", None) or getattr(error.__cause__, "sqlstate", None)


def still_answers(session: Session) -> bool:
    try:
        run(session, "SELECT 1")
    except Error:
        return False
    return True


def update(group: int) -> str:
    return f"UPDATE auth_group SET name = name || '!' WHERE id = {group}"


def test_a_session_that_may_only_read_is_dropped_with_all_that_are_as_old(session):
    run(session, "SET default_transaction_read_only = on")

    error = error_of(session, "CREATE TABLE nothing ()")

    assert code_of(error) == "25006"
    assert not isinstance(error, OperationalError)
    meaning = meaning_of(error)
    assert (meaning.statement, meaning.connection) == (Statement.NOT, Keep.DROP)
    assert meaning.pool is Keep.DROP
    assert database_is_away(error)


def test_a_session_that_is_terminated_is_dropped_with_all_that_are_as_old(session, other):
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(run, other, "SELECT pg_sleep(10)")
        run(session, f"SELECT pg_sleep(0.1), pg_terminate_backend({pid})")
        error = waiting.exception()

    assert code_of(error) in ("57P01", UNSAID)
    assert meaning_of(error) is LOST
    assert not still_answers(other)


def test_a_session_that_was_terminated_is_lost(session):
    with session.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        end_connection(cursor.fetchone()[0])

    error = error_of(session, "SELECT 1")

    assert code_of(error) in ("57P01", UNSAID)
    assert meaning_of(error) is LOST
    assert not still_answers(session)


def test_a_session_that_was_idle_for_too_long_is_lost(session, other):
    run(session, "SET idle_session_timeout = 20")
    run(other, "SELECT pg_sleep(0.2)")

    error = error_of(session, "SELECT 1")

    assert code_of(error) in ("57P05", UNSAID)
    assert meaning_of(error) is LOST
    assert not still_answers(session)


def test_a_session_that_was_idle_in_a_transaction_for_too_long_is_dropped(session, other):
    run(session, "SET idle_in_transaction_session_timeout = 20")
    session.set_autocommit(False)
    run(session, "SELECT 1")
    run(other, "SELECT pg_sleep(0.2)")

    error = error_of(session, "SELECT 1")

    assert meaning_of(error) is (MEANINGS["25P03"] if code_of(error) == "25P03" else LOST)
    assert not still_answers(session)


def test_a_session_whose_transaction_lasts_too_long_is_dropped(session):
    session.ensure_connection()
    if session.pg_version < 170_000:
        pytest.skip("PostgreSQL 17 brought transaction_timeout")
    run(session, "SET transaction_timeout = 20")

    error = error_of(session, "SELECT pg_sleep(10)")

    assert meaning_of(error) is (MEANINGS["25P04"] if code_of(error) == "25P04" else LOST)
    assert not still_answers(session)


def test_a_session_whose_transaction_lasted_too_long_is_dropped_alone():
    for code in ("25P03", "25P04"):
        assert MEANINGS[code] == Meaning(Statement.NOT, Keep.DROP, Keep.KEEP)


def test_a_serialization_failure_is_run_again_on_the_same_connection(session, other, groups):
    session.set_autocommit(False)
    run(session, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    run(session, "SELECT FROM auth_group")
    run(other, update(groups[0]))

    error = error_of(session, update(groups[0]))

    assert (code_of(error), meaning_of(error)) == ("40001", AGAIN)
    assert may_succeed_when_repeated(error)
    session.rollback()
    assert still_answers(session)


def test_a_deadlock_is_run_again_on_the_same_connection(session, other, groups):
    for each, group in ((session, groups[0]), (other, groups[1])):
        run(each, "SET deadlock_timeout = 200")
        each.set_autocommit(False)
        run(each, update(group))

    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(run, other, update(groups[0]))
        errors = []
        try:
            run(session, update(groups[1]))
        except Error as error:
            errors.append(error)
        session.rollback()
        errors += [error] if (error := waiting.exception()) else []
    other.rollback()

    [error] = errors
    assert (code_of(error), meaning_of(error)) == ("40P01", AGAIN)
    assert may_succeed_when_repeated(error)


RAISED = """
DO $$ BEGIN RAISE EXCEPTION '{said}' USING ERRCODE = 'XX000'; END $$
"""


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("could not commit transaction for shard 102023 on at least one active node", LOST),
        ("failure on connection marked as essential: 10.0.0.7:5432", LOST),
        ("could not open relation with OID 16384", FAILED),
    ],
)
def test_where_the_server_behind_the_server_went_away_the_outcome_is_unknown(
    session, said, meaning
):
    """Citus says so under the code of a bug, in a session that goes on."""
    with pytest.raises(Error) as error:
        run(session, RAISED.format(said=said))
    assert meaning_of(error.value) is meaning


@pytest.mark.not_in_a_cell("a session's own lock_timeout does not reach the node")
def test_a_lock_that_another_transaction_keeps_is_no_outage(session, other, groups):
    other.set_autocommit(False)
    run(other, update(groups[0]))
    run(session, "SET lock_timeout = 20")

    error = error_of(session, update(groups[0]))

    assert (code_of(error), meaning_of(error)) == ("55P03", FAILED)
    assert waited_too_long_for_a_lock(error)
    assert not database_is_away(error)
    other.rollback()
    assert still_answers(session)


@pytest.mark.parametrize(
    ("code", "statement"),
    [
        ("57014", "SELECT pg_sleep(10)"),
        ("55006", "DROP DATABASE {database}"),
        ("58P01", "SELECT pg_read_file('a file that does not exist')"),
        ("42P01", "SELECT FROM a_table_that_does_not_exist"),
    ],
)
def test_what_a_statement_runs_into_by_itself_is_no_outage(session, code, statement):
    run(session, "SET statement_timeout = 200")

    error = error_of(session, statement.format(database=connection.settings_dict["NAME"]))

    assert (code_of(error), meaning_of(error)) == (code, FAILED)
    assert not database_is_away(error)
    assert still_answers(session)


@pytest.mark.parametrize("code", [code for code in MEANINGS if len(code) == 5])
def test_every_code_of_the_table_means_what_its_row_says(session, code):
    error = error_of(session, raising(code))

    assert (code_of(error), meaning_of(error)) == (code, MEANINGS[code])


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        *[("53100", FAILED), ("53200", FAILED), ("XX001", FAILED), ("58030", FAILED)],
        *[("08006", LOST), ("08P01", LOST), ("28P01", MEANINGS["28"]), ("23505", FAILED)],
    ],
)
def test_a_code_that_the_table_does_not_name_means_what_its_class_does(session, code, meaning):
    error = error_of(session, raising(code))

    assert (code_of(error), meaning_of(error)) == (code, meaning)


def raising(code: str) -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$"


@pytest.fixture
def limited_role() -> Iterator[str]:
    password = connection.settings_dict["PASSWORD"]  # where the server wants one
    run(connection, f"CREATE ROLE {LIMITED} LOGIN CONNECTION LIMIT 0 PASSWORD '{password}'")
    yield LIMITED
    run(connection, f"DROP ROLE {LIMITED}")


@pytest.mark.parametrize(
    "place", [{"USER": NO_SUCH_LOGIN}, {"NAME": "a_database_that_does_not_exist"}, {"PORT": "1"}]
)
def test_a_connection_that_is_refused_has_no_code_and_is_an_outage(session, place):
    session.settings_dict = {**session.settings_dict, **place}

    error = error_of(session, "SELECT 1")

    assert (code_of(error), meaning_of(error)) == (None, LOST)
    assert database_is_away(error)


def test_one_connection_too_many_is_an_outage(session, limited_role):
    session.settings_dict = {**session.settings_dict, "USER": limited_role}

    error = error_of(session, "SELECT 1")

    assert "too many connections" in str(error)
    assert database_is_away(error)


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError, DatabaseError])
def test_an_error_without_a_code_is_the_end_of_its_connection(kind):
    error = kind("server closed the connection unexpectedly")
    error.__cause__ = Exception("the driver's")

    assert meaning_of(error) is LOST


@pytest.mark.parametrize("error", [ValueError("no"), DatabaseError("of Django's own")])
def test_what_is_no_error_of_the_database_says_nothing_of_the_connection(error):
    assert meaning_of(error) is FAILED
