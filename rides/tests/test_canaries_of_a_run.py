"""A run of the whole service as in production, with marked values in all that comes in: of what the
processes, PostgreSQL and the tables have of it afterwards, nothing is where it should not be.
"""

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
import requests
from psycopg2.extras import RealDictCursor

from rides import payments
from rides.tests import processes
from rides.tests.booking import CHARGING
from rides.tests.processes import Api, Running, running_command
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
from sandbox.supervisor import wait_until

pytestmark = [pytest.mark.timeout(180), pytest.mark.django_db(transaction=True)]

# PostgreSQL's log is everybody's, and has what other tests and earlier runs left there.
MARK = uuid.uuid4().hex[:8]
EMAIL = f"canary-{MARK}@example.com"
ADDRESS = "203.0.113.177"
PLACE = f"31.{int(MARK, 16) % 10**9:09}5"
HEAD = f"canary-head-{MARK}"
WORDS = f"canary-words-{MARK}"
SECRET = f"canarysecret{MARK}" * 2
KEY = f"canary-key-{MARK}-of-the-client"

PERSONAL = (EMAIL, ADDRESS, PLACE)
NOWHERE = (HEAD, WORDS, SECRET)
MAY_STAND = {
    EMAIL: {"rides_user.email"},
    KEY: {"idempotency_idempotencykey.idempotency_key"},
    ADDRESS: {"rides_ride.origin_ip", "idempotency_idempotencykey.origin_ip"},
    PLACE: {"rides_ride.origin_lat", "idempotency_idempotencykey.request_params"},
    **{canary: set() for canary in NOWHERE},
}

LEASE = timedelta(seconds=90)

WORKERS = {
    "completer": ("completer",),
    "enqueuer": ("enqueuer",),
    "reaper": ("reaper",),
    "worker": ("db_worker", "--queue-name", "*", "--no-reload"),
}
PRODUCTION = {
    "DEBUG": "false",
    "HTTPS_ONLY": "false",
    "ALLOWED_HOSTS": "127.0.0.1",
    "SECRET_KEY": SECRET,
    "STRIPE_API_KEY": f"sk_test_{SECRET}",
    "STRIPE_WEBHOOK_SECRET": f"whsec_{SECRET}",
    "FOREIGN_KEY_NAMESPACE": str(uuid.uuid4()),
    "TRUSTED_PROXIES": "127.0.0.1",
    "COMPLETER_GRACE_SECONDS": "1",
    "COMPLETER_PAUSE_SECONDS": "1",
    "LOG_LEVEL": "DEBUG",
}


class Service:
    """The processes of the service on a database with the roles of deploy/."""

    def __init__(self, database: Database, stand_in: StandIn, folder: Path) -> None:
        self.database, self.stand_in, self.folder = database, stand_in, folder
        self.session: Session = session_of(database.service_url)
        self.running: dict[str, Running] = {}
        self.token = ""
        self.answers: list[requests.Response] = []

    def manage(self, *arguments: str) -> str:
        return manage(
            *arguments, url=self.database.service_url, stand_in=self.stand_in, **PRODUCTION
        )

    def send(self, number: int, body: Any = None, **heads: str) -> requests.Response:
        """Book, with a canary wherever there is room for one."""
        api = self.running["api"]
        assert isinstance(api, Api)
        places = {"origin_lat": float(PLACE), "origin_lon": 0, "target_lat": 0, "target_lon": 1}
        answer = requests.post(
            f"{api.url}/rides?{HEAD}={WORDS}",
            data=json.dumps(body if body is not None else places),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                "Idempotency-Key": f"{KEY}-{number}",
                "X-Forwarded-For": ADDRESS,
                "User-Agent": HEAD,
                "Referer": f"https://example.com/{HEAD}",
                "Cookie": f"sessionid={HEAD}; other={HEAD}",
                "X-Anything": HEAD,
                **heads,
            },
            timeout=30,
        )
        self.answers.append(answer)
        return answer

    def unfinished(self) -> int:
        count = "SELECT count(*) FROM idempotency_idempotencykey WHERE recovery_point <> 'finished'"
        return int(rows(self.session, count)[0][0])

    def found(self, canary: str) -> set[str]:
        """The columns in which it stands."""
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        with self.session.cursor(cursor_factory=RealDictCursor) as cursor:
            places = set()
            for [table] in rows(self.session, tables):
                cursor.execute(f'SELECT * FROM "{table}"')
                for row in cursor:
                    shown = {
                        name: bytes(value) if isinstance(value, memoryview) else value
                        for name, value in row.items()
                    }
                    places |= {
                        f"{table}.{name}" for name, value in shown.items() if canary in str(value)
                    }
        return places


@pytest.fixture
def service(stand_in: StandIn, tmp_path: Path, monkeypatch) -> Iterator[Service]:
    with database_with_roles(stand_in) as database, contextlib.ExitStack() as stack:
        environment = {
            **processes.environment(stand_in),
            **PRODUCTION,
            "DATABASE_URL": database.service_url,
        }
        monkeypatch.setattr(processes, "environment", lambda _: environment)
        service = Service(database, stand_in, tmp_path)
        stack.callback(service.session.close)
        customer = payments.create_customer(email=EMAIL, source="tok_visa")
        add_rider(service.session, EMAIL, customer)
        service.token = service.manage("apikey", "create", EMAIL, "--name", "a laptop").split()[0]
        api = stack.enter_context(processes.running_api(stand_in, tmp_path))
        service.running["api"] = api
        for name, command in WORKERS.items():
            service.running[name] = stack.enter_context(
                running_command(*command, stand_in=stand_in, folder=tmp_path)
            )
        yield service


def everything_happens(service: Service) -> None:
    """Requests that end in every way: booked, declined, refused, unknown, failed."""
    assert service.send(1).status_code == 201
    assert service.send(1).headers["Idempotent-Replayed"] == "true"
    assert service.send(1, {"origin_lat": WORDS}).status_code == 409
    service.stand_in.add_fault("decline", times=1)
    assert service.send(2).status_code == 402
    service.stand_in.add_fault("reset_after", times=3, path=CHARGING)
    assert service.send(3).status_code == 503
    assert service.send(4, {"origin_lat": WORDS, WORDS: HEAD}).status_code == 422
    assert service.send(4, f"{WORDS}\x00").status_code in (400, 422)
    unknown = f"rr_test_1_{'0' * 12}_{SECRET}"
    assert service.send(4, Authorization=f"Bearer {unknown}").status_code == 401
    assert service.send(4, Authorization=f"Basic {SECRET}").status_code == 401
    with the_records_closed(service.database):
        assert service.send(5).status_code == 500
    with pytest.raises(psycopg2.errors.UniqueViolation):
        add_rider(service.session, EMAIL, WORDS)
    terminate_the_services_sessions(service.database)
    service.send(6)
    service.running["completer"].kill()
    # What it had in hand is another's when its lease has ended.
    rows(
        service.session,
        "UPDATE idempotency_idempotencykey SET locked_at = locked_at - %s",
        (LEASE,),
    )
    wait_until(lambda: service.send(6).status_code == 201)
    service.manage("completer", "--once")
    forge_an_event(service)


@contextlib.contextmanager
def the_records_closed(database: Database) -> Iterator[None]:
    """Have the first phase fail in PostgreSQL, with all its values."""
    owner, role = session_of(database.owner_url), database.names["service"]
    rows(owner, f"REVOKE INSERT ON rides_auditrecord FROM {role}")
    yield
    rows(owner, f"GRANT INSERT ON rides_auditrecord TO {role}")
    owner.close()


def terminate_the_services_sessions(database: Database) -> None:
    session = session_of(database_url)
    rows(
        session,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = %s AND application_name <> ''",
        (database.names["database"],),
    )
    session.close()


def forge_an_event(service: Service) -> None:
    api = service.running["api"]
    assert isinstance(api, Api)
    forged = requests.post(
        f"{api.url}/stripe/webhook",
        data=json.dumps({"id": WORDS, "type": EMAIL}),
        headers={
            "Content-Type": "application/json",
            "Stripe-Signature": f"t={int(time.time())},v1={SECRET}",
            "User-Agent": HEAD,
        },
        timeout=30,
    )
    assert forged.status_code == 400


def log_of_postgres() -> str:
    session = session_of(database_url)
    [[folder]] = rows(session, "SHOW data_directory")
    session.close()
    return (Path(folder) / "log").read_text(errors="replace")


def test_nothing_of_them_is_in_what_a_full_run_has_written(service):
    everything_happens(service)
    wait_until(lambda: service.unfinished() == 0)

    written = {path.name: path.read_text() for path in service.folder.glob("*.log")}
    assert len(written) == len(service.running)
    assert "phase failed" in "".join(written.values())
    ours = log_of_postgres()
    assert "permission denied for table rides_auditrecord" in ours
    for name, text in {**written, "PostgreSQL's log": ours}.items():
        lines = [
            line
            for line in text.splitlines()
            if any(canary in line for canary in (*PERSONAL, *NOWHERE, KEY))
        ]
        assert lines == [], f"in {name}"

    for canary, allowed in MAY_STAND.items():
        assert service.found(canary) <= allowed, canary
    assert service.found(EMAIL) == MAY_STAND[EMAIL]

    for process in service.running.values():
        if process.is_running():
            for each in family_of(process):
                assert not any(canary in " ".join(each) for canary in (SECRET, EMAIL, KEY))

    secrets = (SECRET, service.token.rpartition("_")[2])
    for answer in service.answers:
        said = f"{answer.headers} {answer.text}"
        assert not any(canary in said for canary in (*secrets, HEAD, KEY, EMAIL)), said

    assert "rides=" in service.manage("forget-user", EMAIL)
    for canary in PERSONAL:
        assert service.found(canary) == set()


def family_of(process: Running) -> list[list[str]]:
    """The arguments of a process and of its children, which every user of the machine sees."""
    parent = psutil.Process(process.process.pid)
    return [each.cmdline() for each in (parent, *parent.children(recursive=True))]
