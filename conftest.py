"""What tests of every folder share: the Stripe stand-in as a process of its own, and a session of
PostgreSQL's where a pooler stands before it."""

import gc
import os
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
import pytest_django
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from django.test import TransactionTestCase

from idempotency.support import refusals
from proof.on_shards import judge
from rocketrides.database import database
from rocketrides.environment import env
from sandbox.stripe.control import StandIn
from sandbox.stripe.process import running_stand_in

# No process of a test tells what it has counted unless the test asks for it.
os.environ.setdefault("PULSE_SECONDS", "0")

pytest_plugins = ["idempotency.testing.pytest_plugin"]


@pytest.fixture(scope="session")
def stand_in_process() -> Iterator[StandIn]:
    with running_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def stand_in(stand_in_process: StandIn, settings) -> StandIn:
    """An empty stand-in, and the settings that lead to it."""
    stand_in_process.reset()
    settings.STRIPE_API_KEY = "sk_test_sandbox"
    settings.STRIPE_API_BASE = stand_in_process.base_url
    return stand_in_process


DIRECT_DATABASE_URL = env.str("DIRECT_DATABASE_URL", default="")
"""Set where DATABASE_URL leads to a pooler: the way around it (`make test-pgbouncer`)."""

END_SESSIONS = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"


@pytest.fixture(autouse=True)
def no_refusals_before() -> None:
    """Of an earlier test, since the process counts them."""
    refusals.rows.clear()


@pytest.fixture
def own_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the test, and the commands that it starts, speak to PostgreSQL itself.

    For a test of what becomes of one session, which a pooler hides and shares.
    """
    if not DIRECT_DATABASE_URL:
        yield
        return
    around = database(DIRECT_DATABASE_URL)
    with monkeypatch.context() as direct:
        connection.close()
        for where in ("HOST", "PORT", "OPTIONS"):
            direct.setitem(connection.settings_dict, where, around[where])
        direct.setenv("DATABASE_URL", DIRECT_DATABASE_URL)
        yield
        connection.close()


@pytest.fixture(scope="session")
def django_db_setup(
    django_db_setup: None, django_db_blocker: pytest_django.DjangoDbBlocker
) -> Iterator[None]:
    """Begin without the console's roles, which `migrate` has made: a test that needs them makes
    them. And end the sessions that a pooler keeps, or the test database could not be dropped.
    """
    with django_db_blocker.unblock():
        connection.cursor().execute("DELETE FROM auth_group_permissions; DELETE FROM auth_group")
        connection.close()
    yield
    if DIRECT_DATABASE_URL:
        pooled = connection.settings_dict["NAME"]
        with psycopg2.connect(DIRECT_DATABASE_URL) as direct, direct.cursor() as cursor:
            cursor.execute(END_SESSIONS, [pooled])


@receiver(connection_created)
def judge_statements(connection: Any, **_: Any) -> None:
    """Have every statement of every test be such that a cell on Citus takes it."""
    if judge not in connection.execute_wrappers:
        connection.execute_wrappers.append(judge)


IN_A_CELL = bool(os.environ.get("SUITE_IN_A_CELL"))
"""Whether the suite runs in a cell on Citus (`make test-cells`)."""

# What migrations fill, and no test changes.
KEPT = (
    *("django_content_type", "auth_permission", "django_migrations"),
    "idempotency_foreignkeynamespace",
)


def empty_tables(case: TransactionTestCase) -> None:
    """Empty the tables after a test that commits: those that have rows, by DELETE.

    Django's own TRUNCATE makes each table's files anew, whether it has rows or not, and then the
    permissions: 150 ms against 2, for each of two thousand tests. Constraints and triggers look
    away meanwhile, since every table is emptied.
    """
    connection.close_if_unusable_or_obsolete()
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    asked = (
        f"SELECT '{table}' WHERE EXISTS (SELECT FROM {table})"  # noqa: S608 - our own tables
        for table in tables
        if table not in KEPT
    )
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(asked))
        deletions = [f"DELETE FROM {table};" for (table,) in cursor.fetchall()]  # noqa: S608
        if deletions and IN_A_CELL:  # Citus takes one command at a time
            with transaction.atomic():
                for alone in (ALONE, *deletions):
                    cursor.execute(alone)
        elif deletions:
            cursor.execute(" ".join([ALONE, *deletions]))


ALONE = "SET LOCAL session_replication_role = replica;"

DJANGOS_OWN_WAY = TransactionTestCase._fixture_teardown


@pytest.fixture(scope="module")
def fresh_tables(
    django_db_setup: None, django_db_blocker: pytest_django.DjangoDbBlocker
) -> Iterator[None]:
    """Have each test of a module begin with tables made anew, whose pages and plans it looks at:
    dead rows of others would be in both.
    """
    with pytest.MonkeyPatch.context() as patched, django_db_blocker.unblock():
        patched.setattr(TransactionTestCase, "_fixture_teardown", DJANGOS_OWN_WAY)
        call_command("flush", interactive=False, verbosity=0)
        yield


@pytest.fixture(scope="session", autouse=True)
def tables_are_emptied_by_delete() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TransactionTestCase, "_fixture_teardown", empty_tables)
        yield


@pytest.fixture(scope="session", autouse=True)
def static_files_are_looked_for_when_asked_for() -> Iterator[None]:
    """Or each test's client would read all of the admin's beforehand: half of the suite's time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(settings, "WHITENOISE_AUTOREFRESH", True, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def stripes_client_repeats_at_once() -> Iterator[None]:
    """It sleeps half a second before it sends a request again."""
    with pytest.MonkeyPatch.context() as patched:
        clock = SimpleNamespace(time=time.time, sleep=lambda seconds: None)
        patched.setattr("stripe._http_client.time", clock)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out, where the database is a cell on Citus, what a cell has not."""
    if not IN_A_CELL:
        return
    for item in items:
        if mark := item.get_closest_marker("not_in_a_cell"):
            item.add_marker(pytest.mark.skip(reason=f"not in a cell: {mark.args[0]}"))


def pytest_collection_finish() -> None:
    """What is imported by now stays, and no collection of garbage looks through it again."""
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which check caught which of the bugs that were planted, and what the model has tried."""
    if bugs := _noted(terminalreporter, "planted bug"):
        caught = sum("NOT CAUGHT" not in row for row in bugs)
        _write(terminalreporter, f"{caught} of {len(bugs)} planted bugs caught", bugs)
    if counts := _noted(terminalreporter, "model"):
        _write(terminalreporter, "the service and its model agreed", counts)
    if counts := _noted(terminalreporter, "model of another"):
        _write(terminalreporter, "an enrolment was as it was asked for", counts)


def _noted(reporter: pytest.TerminalReporter, what: str) -> list[str]:
    reports = [r for how in ("passed", "failed") for r in reporter.getreports(how)]
    return [text for r in reports for name, text in r.user_properties if name == what]


def _write(reporter: pytest.TerminalReporter, title: str, rows: list[str]) -> None:
    reporter.section(title)
    for row in rows:
        reporter.write_line(row)
