"""Receipts for the crash harness: a booking's job on its way from the phase that staged it to the
mail, with enqueuer, queue and worker.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from threading import Event
from typing import Any
from unittest.mock import patch

from django.core.mail import EmailMessage
from django.db import connection, connections
from django.utils import timezone
from django_tasks_db import DatabaseBackend

from idempotency import conf
from idempotency.jobs import delivering
from idempotency.testing import Experiment
from idempotency.testing.clock import let_deliveries_age
from idempotency.testing.queue import run_queued_jobs
from proof.bookings import MOST_JOBS, another_key
from proof.invariants import one_mail_where_nothing_was_struck
from rides import operations
from rides.tasks import send_ride_receipt
from sandbox.supervisor import PATIENCE_SECONDS

A_MINUTE = timedelta(minutes=1)
COMMIT_OF_THE_JOB = 2  # the first one is that of the ride


def enqueuing_of(booking: Experiment) -> Experiment:
    """The enqueuer, as it hands the receipt of a booking to the queue."""
    return replace(
        booking, prepare=booking.ask, attempt=lambda _: delivering.drain_staged_jobs(MOST_JOBS)
    )


def overtaken_of(booking: Experiment) -> Experiment:
    """The enqueuer, while a job commits that was staged before the one that it has just seen."""
    late: LateBooking

    def prepare(key: str) -> None:
        nonlocal late
        late = LateBooking(booking, key)
        booking.ask(another_key())

    def attempt(key: str) -> None:
        with connection.execute_wrapper(late.commit_after_the_first_statement):
            delivering.drain_staged_jobs(MOST_JOBS)

    return replace(booking, prepare=prepare, attempt=attempt)


def for_later_of(booking: Experiment) -> Experiment:
    """The same where the receipt is to wait for its time, and is then to go before others: the
    enqueuer comes too early, and when it is due.
    """

    def prepare(key: str) -> None:
        later = send_ride_receipt.using(run_after=timezone.now() + A_MINUTE, priority=7)
        with patch.object(operations, "send_ride_receipt", later):
            booking.ask(key)

    def attempt(key: str) -> None:
        delivering.drain_staged_jobs(MOST_JOBS)
        let_deliveries_age(A_MINUTE)
        delivering.drain_staged_jobs(MOST_JOBS)

    return replace(booking, prepare=prepare, attempt=attempt)


def enqueuing_for_broker_of(booking: Experiment) -> Experiment:
    """The same where the queue is a foreign system: the receipt is given to it after the commit."""

    def attempt(key: str) -> None:
        with patch.object(delivering, "DatabaseBackend", None):
            delivering.drain_staged_jobs(MOST_JOBS)

    calls = [(DatabaseBackend, "enqueue")]
    return replace(booking, prepare=booking.ask, attempt=attempt, calls=calls)


def working_of(booking: Experiment) -> Experiment:
    """The worker, as it sends the receipt of a booking."""

    def prepare(key: str) -> None:
        booking.ask(key)
        delivering.drain_staged_jobs(MOST_JOBS)

    return replace(
        booking,
        prepare=prepare,
        attempt=lambda _: run_queued_jobs(MOST_JOBS),
        calls=[(EmailMessage, "send")],
    )


def delivered_twice_at_once_of(booking: Experiment) -> Experiment:
    """Two workers with the same receipt: the second begins while the first sends it."""

    def prepare(key: str) -> None:
        booking.ask(key)
        delivering.drain_staged_jobs(MOST_JOBS)
        let_deliveries_age(conf.current().redelivery_after)
        delivering.redeliver_overdue_jobs(MOST_JOBS)

    def attempt(key: str) -> None:
        with second_worker_during_mails():
            run_queued_jobs(1)

    invariants = (*booking.invariants, one_mail_where_nothing_was_struck)
    return replace(booking, prepare=prepare, attempt=attempt, invariants=invariants)


@contextmanager
def second_worker_during_mails() -> Iterator[None]:
    """Before the first mail is sent, another worker runs what is in the queue, to the end."""
    send = EmailMessage.send
    others: list[Future[None]] = []

    def work() -> None:
        try:
            run_queued_jobs(MOST_JOBS)
        finally:
            connections.close_all()

    def send_late(mail: EmailMessage, *options: Any, **more: Any) -> int:
        if not others:
            others.append(pool.submit(work))
            others[0].result(PATIENCE_SECONDS)
        return send(mail, *options, **more)

    with ThreadPoolExecutor(1) as pool, patch.object(EmailMessage, "send", send_late):
        yield


class LateBooking:
    """A booking in a thread, which stands before the COMMIT of its job until it is let go."""

    def __init__(self, booking: Experiment, key: str) -> None:
        self._is_there, self._may_commit = Event(), Event()
        self._pool = ThreadPoolExecutor(1)
        self._commits = 0
        self._booking = self._pool.submit(self._book, booking, key)
        assert self._is_there.wait(PATIENCE_SECONDS)

    def commit_after_the_first_statement(self, execute: Any, *statement: Any) -> Any:
        result = execute(*statement)
        self._may_commit.set()
        self._booking.result(PATIENCE_SECONDS)
        return result

    def _book(self, booking: Experiment, key: str) -> None:
        commit = connection._commit  # type: ignore[attr-defined]

        def commit_late() -> None:
            self._commits += 1
            if self._commits == COMMIT_OF_THE_JOB:
                self._is_there.set()
                self._may_commit.wait(PATIENCE_SECONDS)
            commit()

        try:
            with patch.object(connection, "_commit", commit_late):
                booking.ask(key)
        finally:
            connections.close_all()
