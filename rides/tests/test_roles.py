"""The service works with the rights of deploy/roles.sql, and can do no more than they say."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest

from rides import payments
from rides.tests import processes
from rides.tests.booking import BOOKED, book
from rides.tests.processes import running_api
from rocketrides.environment import BASE_DIR
from rocketrides.settings import database_url
from sandbox import supervisor
from sandbox.postgres import PROGRAMS
from sandbox.stripe.control import StandIn

pytestmark = pytest.mark.timeout(180)

RIDER = "user@example.com"


class Database:
    """A database of its own, as deploy/ makes it: URLs for its two roles."""

    def __init__(self) -> None:
        mark = uuid.uuid4().hex[:12]
        self.names = {name: f"{name}_{mark}" for name in ("database", "owner", "service")}
        self.owner_url = self._url("owner")
        self.service_url = self._url("service")

    def _url(self, role: str) -> str:
        given = urlsplit(database_url)
        host = given.netloc.rpartition("@")[2]
        netloc = f"{self.names[role]}:of-{role}@{host}"
        return given._replace(netloc=netloc, path=f"/{self.names['database']}").geturl()

    def psql(self, url: str, script: str) -> None:
        named = [f"--set={name}={value}" for name, value in self.names.items()]
        passwords = {"RIDES_OWNER_PASSWORD": "of-owner", "RIDES_SERVICE_PASSWORD": "of-service"}
        subprocess.run(
            [PROGRAMS / "psql", url, *named, "--quiet", f"--file={BASE_DIR / 'deploy' / script}"],
            env={**os.environ, **passwords},
            check=True,
        )

    def drop(self) -> None:
        session = psycopg2.connect(database_url)
        session.autocommit = True
        with session.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {self.names['database']} WITH (FORCE)")
            cursor.execute(f"DROP ROLE {self.names['owner']}, {self.names['service']}")
        session.close()


def manage(*arguments: str, url: str, stand_in: StandIn) -> str:
    environment = supervisor.environment(
        DATABASE_URL=url,
        STRIPE_API_KEY="sk_test_sandbox",
        STRIPE_API_BASE=stand_in.base_url,
        EMAIL_URL="dummymail://",
    )
    ran = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def database(stand_in_process: StandIn) -> Iterator[Database]:
    database = Database()
    try:
        database.psql(database_url, "roles.sql")
        manage("migrate", "--verbosity=0", url=database.owner_url, stand_in=stand_in_process)
        database.psql(database.owner_url, "grants.sql")
        yield database
    finally:
        database.drop()


@pytest.fixture
def service(database: Database) -> Iterator[psycopg2.extensions.connection]:
    session = psycopg2.connect(database.service_url)
    session.autocommit = True
    yield session
    session.close()


def rows(session: psycopg2.extensions.connection, statement: str) -> list[tuple]:
    with session.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_the_service_does_all_its_work_with_its_rights(
    database, service, stand_in, tmp_path: Path, monkeypatch
):
    customer = payments.create_customer(email=RIDER, source="tok_visa")
    rows(
        service,
        "INSERT INTO rides_user (password, is_superuser, public_id, email, stripe_customer_id,"
        f" is_active, is_staff) VALUES ('!', false, gen_random_uuid(), '{RIDER}', '{customer}',"
        " true, false)",
    )
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
    session = psycopg2.connect(getattr(database, url))
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    assert tuple(rows(session, f"SHOW {name}")[0][0] for name in names) == limits
    session.close()


def test_strangers_do_not_get_in(database):
    session = psycopg2.connect(database_url)
    session.autocommit = True
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
