"""Processes that die or freeze midway, and a Stripe that fails: whatever happens, one charge.

The processes are real and so is their end. To make room for it the stand-in charges the card and
then holds its answer back, and a mail server accepts a connection and says nothing.
"""

import contextlib
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import requests
from django.core import mail

from idempotency.models import FINISHED, IdempotencyKey, JobDelivery, StagedJob
from idempotency.testing.clock import let_time_pass
from idempotency.testing.queue import JobsRun, run_queued_jobs
from rides.models import AuditRecord, Ride
from rides.operations import RIDE_CREATED
from rides.payments import client
from rides.tests.booking import (
    BOOKED,
    CHARGING,
    book,
    every_row,
    fail_midway,
    run,
    the_key,
)
from rides.tests.processes import Api, run_command, running_api, running_command
from sandbox.stripe.control import StandIn
from sandbox.supervisor import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

LONGER_THAN_THE_TEST_SECONDS = 30
UNTIL_IT_IS_DUE = timedelta(seconds=301)
PAST_THE_LEASE = timedelta(seconds=91)
PAST_THE_LEASE_OF_A_JOB = timedelta(minutes=5)
WORKER = ("db_worker", "--queue-name", "*", "--no-reload", "--no-startup-delay")


@pytest.fixture
def mortal_api(stand_in: StandIn, tmp_path: Path) -> Iterator[Api]:
    """An API for one test, which may kill it."""
    with running_api(stand_in, tmp_path) as api:
        yield api


@contextlib.contextmanager
def charged_but_not_told(
    url: str, stand_in: StandIn, *, for_seconds: float
) -> Iterator[Future[requests.Response]]:
    """A request under way: its card is charged, and Stripe's answer is held back that long."""
    stand_in.add_fault("stall", times=1, seconds=for_seconds, path=CHARGING)
    with ThreadPoolExecutor(1) as client:
        booking = client.submit(book, url)
        wait_until(lambda: booking.done() or stand_in.charges())
        assert not booking.done(), booking.exception() or booking.result().text
        yield booking


def assert_booked_once(stand_in: StandIn) -> None:
    [charge] = stand_in.charges()
    ride = Ride.objects.get()
    assert (charge["status"], charge["id"]) == ("succeeded", ride.stripe_charge_id)
    assert AuditRecord.objects.filter(action="ride.created").count() == 1
    assert StagedJob.objects.count() == 1
    assert (the_key().recovery_point, the_key().response_code) == (FINISHED, 201)


# Processes that are killed.


def test_a_request_whose_api_is_killed_after_the_charge_is_finished_by_the_completer(
    mortal_api, api, stand_in, tmp_path
):
    with charged_but_not_told(
        mortal_api.url, stand_in, for_seconds=LONGER_THAN_THE_TEST_SECONDS
    ) as booking:
        mortal_api.kill()
        assert isinstance(booking.exception(PATIENCE_SECONDS), requests.ConnectionError)
    assert (the_key().recovery_point, the_key().locked_at is None) == (RIDE_CREATED, False)
    assert Ride.objects.get().stripe_charge_id is None
    let_time_pass(UNTIL_IT_IS_DUE)

    said = run_command("completer", "--once", stand_in=stand_in, folder=tmp_path)

    assert said.endswith("\nsucceeded=1 failed=0")
    assert_booked_once(stand_in)
    retry = book(api.url)
    assert (retry.status_code, retry.json()) == (201, BOOKED)
    assert retry.headers["Idempotent-Replayed"] == "true"


def test_a_killed_worker_of_the_api_is_replaced_and_a_retry_finishes_its_request(
    mortal_api, stand_in
):
    workers = psutil.Process(mortal_api.process.pid).children()
    with charged_but_not_told(
        mortal_api.url, stand_in, for_seconds=LONGER_THAN_THE_TEST_SECONDS
    ) as booking:
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
        assert isinstance(booking.exception(PATIENCE_SECONDS), requests.ConnectionError)
    wait_until(mortal_api.is_up)

    early = book(mortal_api.url)
    let_time_pass(PAST_THE_LEASE)
    late = book(mortal_api.url)

    assert (early.status_code, early.json()["code"]) == (409, "request_in_progress")
    assert 1 <= int(early.headers["Retry-After"]) <= 90
    assert (late.status_code, late.json()) == (201, BOOKED)
    assert_booked_once(stand_in)


def test_a_key_whose_completer_is_killed_after_the_charge_is_finished_by_another(
    api, stand_in, tmp_path
):
    fail_midway(api.url)
    let_time_pass(UNTIL_IT_IS_DUE)
    stand_in.add_fault("stall", times=1, seconds=LONGER_THAN_THE_TEST_SECONDS, path=CHARGING)
    with running_command("completer", stand_in=stand_in, folder=tmp_path) as completer:
        wait_until(stand_in.charges)
        completer.kill()

    assert run("completer", "--once") == "succeeded=0 failed=0"
    let_time_pass(PAST_THE_LEASE)
    assert run("completer", "--once") == "succeeded=1 failed=0"
    assert_booked_once(stand_in)


def test_a_receipt_whose_worker_is_killed_in_the_middle_is_delivered_until_it_is_sent_once(
    api, stand_in, tmp_path
):
    book(api.url)
    assert run("enqueuer", "--once") == "enqueued=1"
    with socket.create_server(("127.0.0.1", 0)) as silent_mail_server:
        silent_mail_server.settimeout(PATIENCE_SECONDS)
        url = f"smtp://127.0.0.1:{silent_mail_server.getsockname()[1]}"
        with running_command(*WORKER, stand_in=stand_in, folder=tmp_path, EMAIL_URL=url) as worker:
            conversation, _ = silent_mail_server.accept()
            worker.kill()
            conversation.close()
    let_time_pass(timedelta(seconds=61))
    assert run("enqueuer", "--once") == "enqueued=0"
    assert not AuditRecord.objects.filter(action="receipt.sent").exists()

    let_time_pass(PAST_THE_LEASE_OF_A_JOB)
    assert run("enqueuer", "--once") == "enqueued=1"
    let_time_pass(timedelta(seconds=121))
    assert run("enqueuer", "--once") == "enqueued=1"
    assert run_queued_jobs(10) == JobsRun(succeeded=2, failed=0)

    assert AuditRecord.objects.filter(action="receipt.sent").count() == 1
    assert len(mail.outbox) == 1
    assert not JobDelivery.objects.exists()
    let_time_pass(timedelta(days=1))
    assert run("enqueuer", "--once") == "enqueued=0"


# A process that freezes.


def test_a_process_frozen_past_its_lease_changes_nothing_when_it_wakes(
    mortal_api, api, stand_in, tmp_path
):
    with charged_but_not_told(mortal_api.url, stand_in, for_seconds=1) as booking:
        mortal_api.freeze()
        let_time_pass(UNTIL_IT_IS_DUE)
        assert run("completer", "--once") == "succeeded=1 failed=0"
        assert_booked_once(stand_in)
        assert run("enqueuer", "--once") == "enqueued=1"
        assert run_queued_jobs(1) == JobsRun(succeeded=1, failed=0)
        rows = every_row()
        mortal_api.thaw()
        answer = booking.result(PATIENCE_SECONDS)

    assert every_row() == rows
    assert (answer.status_code, answer.json()["code"]) == (409, "request_in_progress")
    assert answer.json()["retryable"] is True
    assert book(mortal_api.url).content == book(api.url).content
    assert len(stand_in.charges()) == Ride.objects.count() == len(mail.outbox) == 1
    assert run("enqueuer", "--once") == "enqueued=0"


def test_a_process_frozen_past_its_lease_does_not_take_it_from_who_has_it_now(
    mortal_api, api, stand_in
):
    """The first one to wake finds the second at work, in the same place as itself."""
    with (
        charged_but_not_told(mortal_api.url, stand_in, for_seconds=0.5) as frozen,
        ThreadPoolExecutor(1) as client,
    ):
        mortal_api.freeze()
        let_time_pass(PAST_THE_LEASE)
        stand_in.add_fault("stall", times=1, seconds=1.5, path=CHARGING)
        retry = client.submit(book, api.url)
        wait_until(lambda: the_key().attempt == 2)
        rows = every_row()
        mortal_api.thaw()
        answer = frozen.result(PATIENCE_SECONDS)
        assert every_row() == rows
        assert not retry.done(), "the second had finished before the first woke"

    assert (answer.status_code, answer.json()["code"]) == (409, "request_in_progress")
    assert (retry.result().status_code, retry.result().json()) == (201, BOOKED)
    assert_booked_once(stand_in)


# A Stripe that fails. Its client sends once more after a reset or a 409, so those come twice.

UNKNOWN_OUTCOMES = pytest.mark.parametrize(
    ("fault", "times"),
    [
        ("reset_before", 2),
        ("reset_after", 2),
        ("conflict", 2),
        ("rate_limit", 1),
        ("malformed_json", 1),
        ("error_after", 1),  # which Stripe repeats, so that the retry has to look for the charge
    ],
)


@UNKNOWN_OUTCOMES
def test_an_unknown_outcome_is_a_503_and_a_retry_ends_it(api, stand_in, fault, times):
    stand_in.add_fault(fault, times=times, path=CHARGING)

    unknown = book(api.url)

    assert (unknown.status_code, unknown.json()["code"]) == (503, "outcome_unknown")
    assert unknown.json()["retryable"] is True
    assert int(unknown.headers["Retry-After"]) >= 1
    assert (the_key().recovery_point, the_key().locked_at) == (RIDE_CREATED, None)
    retry = book(api.url)
    assert (retry.status_code, retry.json()) == (201, BOOKED)
    assert_booked_once(stand_in)


@UNKNOWN_OUTCOMES
def test_an_unknown_outcome_that_nobody_retries_is_ended_by_the_completer(
    api, stand_in, fault, times
):
    stand_in.add_fault(fault, times=times, path=CHARGING)
    assert book(api.url).status_code == 503
    let_time_pass(UNTIL_IT_IS_DUE)

    assert run("completer", "--once") == "succeeded=1 failed=0"
    assert_booked_once(stand_in)


def test_a_client_is_told_to_wait_as_long_as_stripe_asks_for(api, stand_in):
    stand_in.add_fault("rate_limit", times=1, seconds=7, path=CHARGING)

    assert book(api.url).headers["Retry-After"] == "7"


def test_a_timeout_after_the_charge_is_a_503_and_a_retry_ends_it(
    live_server, stand_in, monkeypatch
):
    """In this process, whose patience with Stripe is made shorter than its 16 seconds."""
    client.connected_client.cache_clear()
    monkeypatch.setattr(client, "CALL_TIMEOUT_SECONDS", 0.2)
    stand_in.add_fault("stall", times=2, seconds=LONGER_THAN_THE_TEST_SECONDS, path=CHARGING)
    try:
        unknown, retry = book(live_server.url), book(live_server.url)
    finally:
        client.connected_client.cache_clear()

    assert (unknown.status_code, unknown.json()["code"]) == (503, "outcome_unknown")
    assert (retry.status_code, retry.json()) == (201, BOOKED)
    assert_booked_once(stand_in)


def test_an_error_that_stripe_saved_without_a_charge_ends_before_a_person_and_charges_nothing(
    api, stand_in
):
    """Stripe repeats it for as long as it knows the key, and another key is never sent."""
    stand_in.add_fault("error_before", times=1, path=CHARGING)
    for _ in range(2):
        answer = book(api.url)
        assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")
        assert int(answer.headers["Retry-After"]) >= 1
    assert the_key().recovery_point == RIDE_CREATED

    let_time_pass(timedelta(hours=21))
    assert run("completer", "--once") == "succeeded=0 failed=1"
    assert the_key().needs_review_at is not None
    assert not stand_in.charges()


# Many at once.


def test_of_32_clients_with_one_key_one_books_and_all_get_its_answer_in_the_end(api, stand_in):
    stand_in.add_fault("latency", seconds=0.3, path=CHARGING)
    with ThreadPoolExecutor(32) as clients:
        at_once = list(clients.map(lambda _: book(api.url), range(32)))
        afterwards = list(clients.map(lambda _: book(api.url), range(32)))

    statuses = [answer.status_code for answer in at_once]
    assert set(statuses) == {201, 409}
    [first] = [
        answer
        for answer in at_once
        if answer.status_code == 201 and answer.headers["Idempotent-Replayed"] == "false"
    ]
    refused = [answer for answer in at_once if answer.status_code == 409]
    assert {answer.json()["code"] for answer in refused} == {"request_in_progress"}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert {(answer.status_code, answer.content) for answer in afterwards} == {(201, first.content)}
    assert {answer.headers["Idempotent-Replayed"] for answer in afterwards} == {"true"}
    assert IdempotencyKey.objects.count() == 1
    assert stand_in.calls()["calls"][CHARGING] == 1
    assert_booked_once(stand_in)
