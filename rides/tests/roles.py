"""A database of its own, with the two roles of deploy/, and `manage.py` as either of them."""

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg2

from rocketrides.environment import BASE_DIR
from rocketrides.settings import database_url
from sandbox import supervisor
from sandbox.postgres import PROGRAMS
from sandbox.stripe.control import StandIn

Session = psycopg2.extensions.connection


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


@contextlib.contextmanager
def database_with_roles(stand_in: StandIn) -> Iterator[Database]:
    database = Database()
    try:
        database.psql(database_url, "roles.sql")
        manage("migrate", "--verbosity=0", url=database.owner_url, stand_in=stand_in)
        database.psql(database.owner_url, "grants.sql")
        yield database
    finally:
        database.drop()


def rows(session: Session, statement: str, values: object = None) -> list[tuple]:
    with session.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def session_of(url: str) -> Session:
    session = psycopg2.connect(url)
    session.autocommit = True
    return session


def add_rider(session: Session, email: str, customer: str) -> None:
    rows(
        session,
        "INSERT INTO rides_user (password, is_superuser, public_id, email, stripe_customer_id,"
        " is_active, is_staff) VALUES ('!', false, gen_random_uuid(), %s, %s, true, false)",
        (email, customer),
    )


def manage(*arguments: str, url: str, stand_in: StandIn, **variables: str) -> str:
    environment = supervisor.environment(
        **{
            "DATABASE_URL": url,
            "STRIPE_API_KEY": "sk_test_sandbox",
            "STRIPE_API_BASE": stand_in.base_url,
            "EMAIL_URL": "dummymail://",
            **variables,
        }
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
