"""The worker of each queue, run as the documentation says: it does what is ready, and leaves."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from django.db import connection

from idempotency.models import JobDelivery
from rides.tests.queues.conftest import nothing_is_owed, owe_receipts, receipts_of, wait_until
from rides.tests.queues.forking import CONNECTED_WORKER, PARENT, family
from rocketrides.environment import BASE_DIR

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

TO_LEAVE_SECONDS = 5

SESSIONS_NAMED = "SELECT state, xact_start FROM pg_stat_activity WHERE application_name = %s"


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


def test_an_enqueuer_hands_over_what_is_ready_and_says_how_many(environment, forker):
    rides = owe_receipts(3)

    assert manage("enqueuer --once", environment) == "enqueued=3\n"

    forker.start("worker")
    wait_until(nothing_is_owed)
    assert receipts_of(rides) == [1, 1, 1]


def test_a_job_that_fails_keeps_its_error_and_is_delivered_again(forker, mail_server):
    rides = owe_receipts(1)
    mail_server.act = lambda moment, recipient, port: False
    forker.start("enqueuer")
    forker.start("worker")
    wait_until(lambda: JobDelivery.objects.exclude(last_error="").exists())
    assert "SMTPServerDisconnected" in JobDelivery.objects.get().last_error
    assert receipts_of(rides) == [0]

    mail_server.act = lambda moment, recipient, port: True
    wait_until(nothing_is_owed)

    assert receipts_of(rides) == [1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_leave_finishes_the_job_in_hand(forker, mail_server, number):
    rides = owe_receipts(2)
    told_at = []

    def tell_to_leave(moment, recipient, port):
        if not told_at:
            told_at.append(time.monotonic())
            os.kill(worker, number)
        return True

    mail_server.act = tell_to_leave
    forker.start("enqueuer")
    wait_until(lambda: JobDelivery.objects.count() == 2)
    worker = forker.start("worker")

    wait_until(lambda: has_left(worker))

    assert time.monotonic() - told_at[0] < TO_LEAVE_SECONDS
    assert (
        sum(receipts_of(rides)) >= 1
    )  # Celery's worker finishes what it has fetched ahead as well
    forker.start("worker")
    wait_until(nothing_is_owed)
    assert receipts_of(rides) == [1, 1]


def test_an_idle_worker_that_is_told_to_leave_does(forker, mail_server):
    worker = forker.start("worker")
    rides = owe_receipts(1)
    forker.start("enqueuer")
    wait_until(lambda: receipts_of(rides) == [1])
    told_at = time.monotonic()

    os.kill(worker, signal.SIGTERM)
    wait_until(lambda: has_left(worker))

    assert time.monotonic() - told_at < TO_LEAVE_SECONDS


def test_a_process_that_celery_forks_leaves_its_parents_connection_alone(broker, pool, forker):
    if broker == "database" or pool != "prefork":
        pytest.skip("nothing is forked")
    worker = forker.start(CONNECTED_WORKER)
    forker.start("enqueuer")
    rides = owe_receipts(5)

    wait_until(nothing_is_owed)

    assert receipts_of(rides) == [1] * 5
    assert len(family(worker)) > 1
    with connection.cursor() as cursor:
        cursor.execute(SESSIONS_NAMED, [PARENT])
        assert cursor.fetchall() == [("idle", None)]
