"""The service works with the rights of deploy/roles.sql, and can do no more than they say."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from rides import payments
from rides.tests import processes
from rides.tests.booking import BOOKED, book
from rides.tests.processes import running_api
from rides.tests.roles import (
    Database,
    Session,
    add_rider,
    database_with_roles,
    manage,
    rows,
    session_of,
)
from rocketrides.settings import database_url
from sandbox.stripe.control import StandIn

pytestmark = pytest.mark.timeout(180)

RIDER = "user@example.com"


@pytest.fixture(scope="module")
def database(stand_in_process: StandIn) -> Iterator[Database]:
    with database_with_roles(stand_in_process) as database:
        yield database


@pytest.fixture
def service(database: Database) -> Iterator[Session]:
    session = session_of(database.service_url)
    yield session
    session.close()


def test_the_service_does_all_its_work_with_its_rights(
    database, service, stand_in, tmp_path: Path, monkeypatch
):
    customer = payments.create_customer(email=RIDER, source="tok_visa")
    add_rider(service, RIDER, customer)
    with_its_rights = {**processes.environment(stand_in), "DATABASE_URL": database.service_url}
    monkeypatch.setattr(processes, "environment", lambda _: with_its_rights)

    with running_api(stand_in, tmp_path) as api:
        assert book(api.url).json() == BOOKED
        assert book(api.url).headers["Idempotent-Replayed"] == "true"
        assert api.complaints() == []

    def as_service(*arguments: str) -> str:
        return manage(*arguments, url=database.service_url, stand_in=stand_in)

    assert "problems" not in as_service("enqueuer", "--once")
    as_service("db_worker", "--queue-name", "*", "--batch", "--no-reload", "--no-startup-delay")
    assert "succeeded=0 failed=0" in as_service("completer", "--once")
    as_service("reaper", "--once")
    assert "discrepancies=0" in as_service("reconcile", "--since-last")
    as_service("apikey", "create", RIDER, "--name", "a laptop")
    as_service("clearsessions")
    as_service("doors", "close", "--reason", "a test")
    as_service("doors", "open")
    assert "requests=1 rides=1 api_keys=1" in as_service("forget-user", RIDER)
    actions = "SELECT action FROM rides_auditrecord ORDER BY id"
    assert rows(service, actions) == [("ride.created",), ("receipt.sent",), ("user.forgotten",)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rides_auditrecord SET action = 'nothing'",
        "DELETE FROM rides_auditrecord",
        "TRUNCATE rides_auditrecord",
        "UPDATE idempotency_reviewdecision SET reason = 'none'",
        "DELETE FROM idempotency_reviewdecision",
        "DELETE FROM django_migrations",
        "ALTER TABLE rides_ride ADD COLUMN more text",
        "ALTER TABLE rides_auditrecord DISABLE TRIGGER ALL",
        "DROP TABLE rides_ride",
        "TRUNCATE rides_ride",
        "CREATE TABLE of_mine (id int)",
        "CREATE TEMPORARY TABLE of_mine (id int)",
        "CREATE SCHEMA of_mine",
        "COPY rides_user TO PROGRAM 'cat'",
        "SET session_replication_role = replica",
    ],
)
def test_by_right_the_service_cannot(statement, service):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        rows(service, statement)


@pytest.mark.parametrize(
    ("url", "limits"),
    [
        ("service_url", ("1min", "10s", "30s")),
        ("owner_url", ("0", "10s", "1min")),
    ],
)
def test_each_role_has_its_limits(url, limits, database):
    session = session_of(getattr(database, url))
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    assert tuple(rows(session, f"SHOW {name}")[0][0] for name in names) == limits
    session.close()


def test_strangers_do_not_get_in(database):
    session = session_of(database_url)
    stranger = f"stranger_{uuid.uuid4().hex[:12]}"
    rows(session, f"CREATE ROLE {stranger} LOGIN PASSWORD 'none'")
    try:
        url = database.service_url.replace(database.names["service"], stranger)
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            psycopg2.connect(url)
    finally:
        rows(session, f"DROP ROLE {stranger}")
        session.close()


def test_the_check_says_who_has_more_rights_than_a_service_needs(database, stand_in):
    check = ("check", "--deploy", "--database", "default")
    told = {
        name: manage(*check, url=url, stand_in=stand_in)
        for name, url in (("service", database.service_url), ("owner", database.owner_url))
    }
    assert "rides.W004" not in told["service"]
    assert f"{database.names['owner']} may alter and drop the tables" in told["owner"]


def test_the_service_has_its_rights_in_the_schema_of_a_further_cell(database, stand_in):
    cell = {"DATABASE_SCHEMA": "cell_2", "CELL": "2", "FOREIGN_KEY_NAMESPACE": str(uuid.uuid4())}
    manage("cell", "create", url=database.owner_url, stand_in=stand_in, **cell)

    def as_service(*arguments: str) -> str:
        return manage(*arguments, url=database.service_url, stand_in=stand_in, **cell)

    as_service("check", "--database", "default")
    assert "reaped=0" in as_service("reaper", "--once")
