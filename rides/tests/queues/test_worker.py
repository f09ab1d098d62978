"""The worker of each queue, run as the documentation says: it does what is ready, and leaves."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from idempotency.models import JobDelivery
from rides.tests.queues.conftest import nothing_is_owed, owe_receipts, receipts_of, wait_until
from rides.tests.queues.nursery import family
from rocketrides.environment import BASE_DIR

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

TO_LEAVE_SECONDS = 5


def manage(command: str, environment: dict[str, str]) -> str:
    """Run `manage.py command` to its good end and return what it said."""
    done = subprocess.run(
        [sys.executable, "manage.py", *command.split()],
        cwd=BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def has_left(pid: int) -> bool:
    return not psutil.pid_exists(pid)


def test_an_enqueuer_hands_over_what_is_ready_and_says_how_many(environment, nursery):
    rides = owe_receipts(3)

    assert manage("enqueuer --once", environment) == "enqueued=3\n"

    nursery.start("worker")
    wait_until(nothing_is_owed)
    assert receipts_of(rides) == [1, 1, 1]


def test_a_job_that_fails_keeps_its_error_and_is_delivered_again(nursery, mail_server):
    rides = owe_receipts(1)
    mail_server.act = lambda moment, recipient, port: False
    nursery.start("enqueuer")
    nursery.start("worker")
    wait_until(lambda: JobDelivery.objects.exclude(last_error="").exists())
    assert "SMTPServerDisconnected" in JobDelivery.objects.get().last_error
    assert receipts_of(rides) == [0]

    mail_server.act = lambda moment, recipient, port: True
    wait_until(nothing_is_owed)

    assert receipts_of(rides) == [1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_leave_finishes_the_job_in_hand(nursery, mail_server, number):
    rides = owe_receipts(2)
    told_at = []

    def tell_to_leave(moment, recipient, port):
        if not told_at:
            told_at.append(time.monotonic())
            os.kill(worker, number)
        return True

    mail_server.act = tell_to_leave
    nursery.start("enqueuer")
    wait_until(lambda: JobDelivery.objects.count() == 2)
    worker = nursery.start("worker")

    wait_until(lambda: has_left(worker))

    assert time.monotonic() - told_at[0] < TO_LEAVE_SECONDS
    assert (
        sum(receipts_of(rides)) >= 1
    )  # Celery's worker finishes what it has fetched ahead as well
    nursery.start("worker")
    wait_until(nothing_is_owed)
    assert receipts_of(rides) == [1, 1]


def test_an_idle_worker_that_is_told_to_leave_does(nursery, mail_server):
    worker = nursery.start("worker")
    rides = owe_receipts(1)
    nursery.start("enqueuer")
    wait_until(lambda: receipts_of(rides) == [1])
    told_at = time.monotonic()

    os.kill(worker, signal.SIGTERM)
    wait_until(lambda: has_left(worker))

    assert time.monotonic() - told_at < TO_LEAVE_SECONDS


def test_a_process_that_celery_forks_leaves_its_parents_connection_alone(broker, pool, nursery):
    if broker == "database" or pool != "prefork":
        pytest.skip("nothing is forked")
    worker = nursery.start("worker whose parent has a connection")
    nursery.start("enqueuer")
    rides = owe_receipts(5)

    wait_until(nothing_is_owed)

    assert receipts_of(rides) == [1] * 5
    parent, *children = family(worker)
    assert children
    assert postgres_sockets(parent), "the connection of the parent is still there"


def postgres_sockets(process: psutil.Process) -> list[str]:
    return [found.raddr for found in process.net_connections("unix") if ".s.PGSQL" in found.raddr]
