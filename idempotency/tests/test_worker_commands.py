"""The worker commands as an operator meets them: real processes, their output, their signals."""

import signal
import time
from datetime import timedelta
from threading import Event

import pytest
from django.db import transaction

from idempotency import FINISHED, stage_job
from idempotency.models import IdempotencyKey, StagedJob
from idempotency.testing.clock import let_time_pass
from idempotency.testing.queue import JobsRun, run_queued_jobs
from idempotency.tests.bookshop import Death, audit_trail, send_confirmation
from idempotency.tests.processes import run_command, started_command, wait_for_line
from idempotency.tests.sessions import end_connection, pid_of

pytestmark = pytest.mark.django_db(transaction=True)

SECONDS_TO_LEAVE = 5
COMMANDS = ["completer", "enqueuer", "reaper"]
PAUSES = {"idle_pause": 60, "completer_idle_pause": 60, "enqueuer_pause": 60}


@pytest.fixture
def abandon(customer, key, ledger):
    """Leave `count` due requests behind, whose processes died after the payment."""

    def abandon(count):
        for n in range(count):
            with pytest.raises(Death):
                customer.send(f"{key}-{n}", dies_in="pay")
        let_time_pass(timedelta(minutes=5))

    return abandon


# One batch.


def test_each_command_prints_what_one_batch_did(customer, abandon):
    abandon(2)
    IdempotencyKey.objects.filter(idempotency_key__endswith="-1").update(operation="shop.Gone")

    assert run_command("completer", "--once") == "succeeded=1 failed=1\n"
    assert run_command("enqueuer", "--once") == "enqueued=1\n"
    assert run_queued_jobs(10) == JobsRun(succeeded=1, failed=0)
    long_ago = dict.fromkeys(["created_at", "last_run_at"], "2026-01-01T00:00Z")
    IdempotencyKey.objects.filter(recovery_point=FINISHED).update(**long_ago)
    assert run_command("reaper", "--once") == "reaped=1\n"
    assert audit_trail() == ["order.placed", "order.placed", "order.confirmed"]


def test_a_batch_can_be_made_smaller(abandon):
    abandon(3)

    assert run_command("completer", "--once", "--batch-size", "2") == "succeeded=2 failed=0\n"


def test_the_reaper_says_what_it_sent_to_review(customer, key, ledger):
    customer.send(key, fails_in="pay")
    let_time_pass(timedelta(hours=72))

    assert run_command("reaper", "--once") == "reaped=0\n"


# Signals.


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_an_idle_worker_leaves_when_it_is_asked_to(ledger, signal_number):
    for command in COMMANDS:
        with started_command(command, **PAUSES) as process:
            wait_for_line(process, "started")
            asked_at = time.monotonic()
            process.send_signal(signal_number)
            _, log = process.communicate(timeout=SECONDS_TO_LEAVE)

        assert time.monotonic() - asked_at < SECONDS_TO_LEAVE
        assert process.returncode == 0, log
        assert f"{command}: stopped" in log


def test_a_worker_finishes_the_item_in_hand_and_leaves_the_rest(abandon, ledger):
    abandon(2)

    with started_command("completer") as process:
        asking = ledger.meanwhile(lambda: process.send_signal(signal.SIGTERM))
        asking.result(timeout=20)
        _, log = process.communicate(timeout=SECONDS_TO_LEAVE)

    assert process.returncode == 0
    assert "succeeded=1 failed=0" in log
    assert IdempotencyKey.objects.filter(recovery_point=FINISHED).count() == 1


def test_a_second_signal_ends_a_worker_at_once(abandon, ledger):
    abandon(1)
    gone = Event()

    def ask_twice():
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert gone.wait(timeout=20)

    with started_command("completer") as process:
        asking = ledger.meanwhile(ask_twice)
        process.communicate(timeout=20)
        gone.set()
    asking.result(timeout=20)

    assert process.returncode in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert IdempotencyKey.objects.get().locked_at is not None


def test_an_item_that_takes_too_long_is_left_to_its_lease(abandon, ledger):
    abandon(1)
    gone = Event()

    def ask_and_say_nothing():
        process.send_signal(signal.SIGTERM)
        return gone.wait(timeout=20)

    with started_command("completer") as process:
        asking = ledger.meanwhile(ask_and_say_nothing)
        wait_for_line(process, "started")
        process.communicate(timeout=20)
        gone.set()

    assert asking.result(timeout=20)
    assert process.returncode > 128
    key = IdempotencyKey.objects.get()
    assert key.locked_at is not None
    assert not key.is_finished


# The database goes away.


@pytest.mark.usefixtures("own_session")
def test_a_lost_connection_is_waited_out(customer, ledger):
    with started_command("enqueuer") as process:
        wait_for_line(process, "started")
        end_connection(pid_of("enqueuer"))
        wait_for_line(process, "batch failed, next in 1 s")
        with transaction.atomic():
            stage_job(send_confirmation, title="Emma", user_id=customer.user.pk)
        wait_for_line(process, "enqueued=1")
        assert process.poll() is None

    assert not StagedJob.objects.exists()


def test_a_busy_worker_works_without_pause(abandon, ledger):
    abandon(3)

    with started_command("completer", "--batch-size", "1", **PAUSES) as process:
        for _ in range(3):
            wait_for_line(process, "succeeded=1 failed=0")

    assert IdempotencyKey.objects.filter(recovery_point=FINISHED).count() == 3
