"""`manage.py worker` on every queue: runs what is ready, leaves in time, waits trouble out."""

import os
import signal
import subprocess
import sys
import time
from threading import Event

import psutil
import pytest

from idempotency.models import JobDelivery
from rides.tests.queues.conftest import nothing_is_owed, owe_receipts, receipts_of, wait_until
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


def test_once_runs_what_is_ready_and_says_how_many(environment):
    rides = owe_receipts(3)

    assert manage("enqueuer --once", environment) == "enqueued=3\n"
    assert manage("worker --once --batch-size 2", environment) == "succeeded=2 failed=0\n"
    assert manage("worker --once", environment) == "succeeded=1 failed=0\n"
    assert manage("worker --once", environment) == "succeeded=0 failed=0\n"
    assert receipts_of(rides) == [1, 1, 1]


def test_a_job_that_fails_keeps_its_error_and_is_delivered_again(environment, mail_server):
    rides = owe_receipts(1)
    mail_server.act = lambda moment, recipient, port: False

    manage("enqueuer --once", environment)

    assert manage("worker --once", environment) == "succeeded=0 failed=1\n"
    assert "SMTPServerDisconnected" in JobDelivery.objects.get().last_error
    assert receipts_of(rides) == [0]

    mail_server.act = lambda moment, recipient, port: True
    wait_until(lambda: manage("enqueuer --once", environment) == "enqueued=1\n")

    assert manage("worker --once", environment) == "succeeded=1 failed=0\n"
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

    wait_until(lambda: not psutil.pid_exists(worker))

    assert time.monotonic() - told_at[0] < TO_LEAVE_SECONDS
    assert sum(receipts_of(rides)) == 1
    nursery.start("worker")
    wait_until(nothing_is_owed)
    assert receipts_of(rides) == [1, 1]


def test_a_worker_that_is_told_to_leave_abandons_a_job_that_takes_too_long(nursery, mail_server):
    rides = owe_receipts(1)
    told_at = []
    go_on = Event()

    def tell_to_leave(moment, recipient, port):
        if not told_at:
            told_at.append(time.monotonic())
            os.kill(worker, signal.SIGTERM)
            go_on.wait(60)
            return False
        return True

    mail_server.act = tell_to_leave
    nursery.start("enqueuer")
    worker = nursery.start("worker")

    wait_until(lambda: told_at and not psutil.pid_exists(worker))

    assert time.monotonic() - told_at[0] < TO_LEAVE_SECONDS
    assert receipts_of(rides) == [0]
    go_on.set()
    nursery.start("worker")
    wait_until(nothing_is_owed)
    assert receipts_of(rides) == [1]


def test_an_idle_worker_that_is_told_to_leave_does(nursery, mail_server):
    worker = nursery.start("worker")
    rides = owe_receipts(1)
    nursery.start("enqueuer")
    wait_until(lambda: receipts_of(rides) == [1])
    told_at = time.monotonic()

    os.kill(worker, signal.SIGTERM)
    wait_until(lambda: not psutil.pid_exists(worker))

    assert time.monotonic() - told_at < TO_LEAVE_SECONDS
