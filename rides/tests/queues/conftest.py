"""A queue of each kind, real processes on it, rides that owe a receipt, and the table at the end.

`QUEUES` says which kinds (default: database), `KILLS` how often each process is killed.
"""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from urllib.parse import urlsplit

import pytest
from django.db import connection, transaction

from idempotency.models import IS_FOR_NOW, JobDelivery, StagedJob
from idempotency.staging import stage_job
from idempotency.support.compat import Task
from rides.models import AuditRecord, Ride
from rides.tasks import send_ride_receipt
from rides.tests.factories import RideFactory
from rides.tests.queues.brokers import QUEUES, why_not
from rides.tests.queues.forking import Forker, running_forker
from rides.tests.queues.mail_server import MailServer, running_mail_server
from rocketrides.settings import database_url

KILLS = int(os.environ.get("KILLS", "10"))
PATIENCE_SECONDS = 60 + 2 * KILLS
LOOK_AGAIN_SECONDS = 0.02
JOB_LIMIT_SECONDS = 3


@dataclass(frozen=True)
class Row:
    """What one test of the table at the end saw."""

    queue: str
    killed: str
    kills: int
    jobs: int
    receipts: int
    mails: int
    seconds: float


TABLE: list[Row] = []
LATENCIES: list[str] = []


@pytest.fixture(scope="session", params=os.environ.get("QUEUES", "database").split())
def broker(request) -> str:
    """The kind of queue."""
    if reason := why_not(request.param):
        pytest.skip(reason)
    return request.param


@pytest.fixture(scope="session")
def broker_url(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with QUEUES[broker](tmp_path_factory.mktemp(broker)) as url:
        yield url


@pytest.fixture(params=["prefork", "threads"])
def pool(request, broker: str) -> str:
    """How Celery's worker runs jobs: in processes that it forks, or in threads."""
    if broker == "database" and request.param != "prefork":
        pytest.skip("its worker runs one job at a time, in the process itself")
    return request.param


@pytest.fixture
def queue(broker: str, pool: str) -> str:
    """The queue and its worker, as the tables name them."""
    return broker if broker == "database" else f"{broker}, {pool}"


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with running_mail_server() as server:
        yield server


@pytest.fixture
def environment(
    broker_url: str, pool: str, mail_server: MailServer, transactional_db: None
) -> dict[str, str]:
    """For processes on the queue and on the test's database, in a hurry to deliver again."""
    database = urlsplit(database_url)._replace(path=f"/{connection.settings_dict['NAME']}")
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "rocketrides.settings",
        "DATABASE_URL": database.geturl(),
        "STRIPE_API_KEY": "sk_test_nobody_calls",
        "EMAIL_URL": mail_server.url,
        "TASKS_BROKER_URL": broker_url,
        "WORKER_POOL": pool,
        "REDELIVERY_AFTER_SECONDS": "1",
        "JOB_LIMIT_SECONDS": str(JOB_LIMIT_SECONDS),
    }


@pytest.fixture
def forker(environment: dict[str, str], tmp_path) -> Iterator[Forker]:
    with running_forker(environment, tmp_path / "forker.log") as forker:
        yield forker


def owe_receipts(count: int, job: Task = send_ride_receipt) -> list[Ride]:
    """Book rides, each of a rider of its own, and stage their receipts in one transaction."""
    with transaction.atomic():
        rides = [RideFactory() for _ in range(count)]
        for ride in rides:
            stage_job(
                job,
                ride_id=ride.pk,
                amount_cents=ride.amount_cents,
                currency=ride.currency,
                user_id=ride.user_id,
            )
    return rides


def wait_until(condition) -> None:
    """Look until `condition()` holds: for what another process does and tells nobody."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, state_of_affairs()
        time.sleep(LOOK_AGAIN_SECONDS)


def nothing_is_owed() -> bool:
    staged = StagedJob.objects.filter(IS_FOR_NOW)
    return not staged.exists() and not JobDelivery.objects.exists()


def receipts_of(rides: list[Ride]) -> list[int]:
    """How many receipts each ride has, in effect."""
    sent = AuditRecord.objects.filter(action="receipt.sent").values_list("resource_id", flat=True)
    found = list(sent)
    return [found.count(ride.pk) for ride in rides]


def state_of_affairs() -> str:
    return (
        f"staged={StagedJob.objects.count()}"
        f" deliveries={list(JobDelivery.objects.values_list('deliveries', 'last_error')[:5])}"
        f" receipts={AuditRecord.objects.filter(action='receipt.sent').count()}"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE:
        terminalreporter.section("killed processes")
        for line in aligned([[field.name for field in fields(Row)], *map(astuple, TABLE)]):
            terminalreporter.write_line(line)
    if LATENCIES:
        terminalreporter.section("latencies")
        for line in LATENCIES:
            terminalreporter.write_line(line)


def aligned(rows: list[Sequence[object]]) -> Iterator[str]:
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (str(cell).ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
