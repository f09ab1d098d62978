"""The PgBouncer that tests may run through: it shares sessions, and refuses startup options."""

import contextlib
from collections.abc import Iterator

import psycopg2
import pytest
from django.conf import settings
from environ import Env

from sandbox import pgbouncer

pytestmark = pytest.mark.skipif(
    pgbouncer.PROGRAM is None or not settings.EMBEDDED_POSTGRES,
    reason="pgbouncer is not installed (`make test-pgbouncer` as root installs it)",
)


@pytest.fixture(scope="module")
def variables() -> Iterator[dict[str, str]]:
    with pgbouncer.running(settings.LOCAL_DIR / "postgres") as variables:
        yield variables


def connect(url: str, **options: str) -> "contextlib.closing[psycopg2.extensions.connection]":
    place = Env().db_url_config(url)
    connection = psycopg2.connect(
        dbname=place["NAME"], user=place["USER"], **place["OPTIONS"] | options
    )
    connection.autocommit = True
    return contextlib.closing(connection)


def ask(client: psycopg2.extensions.connection, question: str) -> str:
    with client.cursor() as cursor:
        cursor.execute(question)
        return str(cursor.fetchone()[0])


def test_clients_share_one_session_of_the_server(variables):
    through = variables["DATABASE_URL"]
    with connect(through) as first, connect(through) as second:
        pids = {ask(client, "SELECT pg_backend_pid()") for client in (first, second)}

    assert len(pids) == 1


def test_the_limits_hold_without_startup_options(variables):
    with connect(variables["DATABASE_URL"]) as client:
        assert ask(client, "SHOW lock_timeout") == "10s"
        assert ask(client, "SHOW idle_in_transaction_session_timeout") == "30s"


def test_startup_options_are_refused(variables):
    with pytest.raises(psycopg2.OperationalError, match="unsupported startup parameter: options"):
        connect(variables["DATABASE_URL"], options="-c lock_timeout=10s")


def test_the_way_around_it_leads_to_a_session_of_ones_own(variables):
    around = variables["DIRECT_DATABASE_URL"]
    with connect(around) as first, connect(around) as second:
        pids = {ask(client, "SELECT pg_backend_pid()") for client in (first, second)}

    assert len(pids) == 2


def test_it_ends_with_its_block():
    with (
        pgbouncer.running(settings.LOCAL_DIR / "postgres") as variables,
        connect(variables["DATABASE_URL"]) as client,
    ):
        assert ask(client, "SELECT 1") == "1"

    with pytest.raises(psycopg2.OperationalError, match="No such file"):
        connect(variables["DATABASE_URL"])
