"""A broker that dies with all that it held: it is waited out, and every job is done once."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from idempotency.models import JobDelivery
from rides.tests.queues.brokers import QUEUES
from rides.tests.queues.conftest import nothing_is_owed, owe_receipts, receipts_of, wait_until
from rides.tests.queues.forking import Forker, running_forker
from sandbox.supervisor import free_port

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


@dataclass
class Site:
    """A broker that can be replaced, always at the same address, and processes that use it."""

    broker: contextlib.ExitStack
    queue: str
    folder: Path
    port: int
    forker: Forker

    def lose_broker(self) -> None:
        self.broker.close()

    def new_broker(self) -> None:
        folder = self.folder / "second"
        folder.mkdir()
        self.broker.enter_context(QUEUES[self.queue](folder, self.port))

    def log(self) -> str:
        return (self.folder / "forker.log").read_text()


@pytest.fixture
def site(broker, environment, tmp_path):
    if broker == "database":
        pytest.skip("its broker is the database, without which nothing is staged")
    port = free_port()
    with contextlib.ExitStack() as running:
        url = running.enter_context(QUEUES[broker](tmp_path, port))
        environment = {**environment, "TASKS_BROKER_URL": url}
        with running_forker(environment, tmp_path / "forker.log") as forker:
            yield Site(running, broker, tmp_path, port, forker)


def test_enqueuer_and_worker_wait_for_a_broker_that_is_away(site):
    running = {site.forker.start("worker"), site.forker.start("enqueuer")}
    rides = owe_receipts(1)
    wait_until(nothing_is_owed)

    site.lose_broker()
    rides += owe_receipts(1)
    wait_until(lambda: "BrokerAway" in site.log())
    assert not JobDelivery.objects.filter(deliveries__gt=1).exists(), "it was never delivered"
    site.new_broker()
    wait_until(nothing_is_owed)

    assert receipts_of(rides) == [1, 1]
    assert all(psutil.pid_exists(pid) for pid in running)
    assert not [line for line in site.log().splitlines() if "enqueuer" in line and "Trace" in line]


def test_a_worker_whose_broker_dies_during_a_job_takes_the_next_from_the_new_one(site, mail_server):
    def lose_broker(moment, recipient, port):
        site.lose_broker()
        return True

    mail_server.act = lose_broker
    site.forker.start("worker")
    site.forker.start("enqueuer")
    rides = owe_receipts(1)
    wait_until(nothing_is_owed)

    site.new_broker()
    mail_server.act = lambda moment, recipient, port: True
    rides += owe_receipts(1)
    wait_until(nothing_is_owed)

    assert receipts_of(rides) == [1, 1]


def test_jobs_that_a_broker_takes_with_it_are_handed_over_again(site):
    site.forker.start("enqueuer")
    rides = owe_receipts(5)
    wait_until(lambda: JobDelivery.objects.count() == 5)

    site.lose_broker()
    site.new_broker()
    site.forker.start("worker")
    wait_until(nothing_is_owed)

    assert receipts_of(rides) == [1] * 5
