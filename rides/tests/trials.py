"""Bookings for the crash harness: each experiment is one way to come to a charge, or not to.

Apart from the tests, because those that crash the service and those that plant bugs in it run the
same ones.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from urllib.parse import urlencode

from django.test import Client

from idempotency import conf, jobs, reaping
from idempotency.completing import complete_due_keys
from idempotency.queue import run_queued_jobs
from idempotency.testing import Experiment
from idempotency.testing.clock import (
    let_deliveries_age,
    let_key_age,
    until_anybody_may_take_over,
)
from idempotency.testing.trials import HttpAnswer
from rides import payments
from rides.models import User
from rides.operations import RESEND_WINDOW, CreateRide
from rides.tests.booking import CHARGING, COORDINATES
from rides.tests.invariants import OF_A_BOOKING, past_the_window_nothing_is_sent
from sandbox.stripe.control import StandIn

FORM = "application/x-www-form-urlencoded"
MOST_JOBS = MOST_KEYS = 100


def booking_of(rider: User, stand_in: StandIn) -> Experiment:
    """`POST /rides` by `rider`, and the receipt that follows."""

    client = Client()

    def send(key: str) -> HttpAnswer:
        headers = {"Authorization": rider.email, "Idempotency-Key": key}
        return client.post("/rides", urlencode(COORDINATES), FORM, headers=headers)

    return Experiment(
        operation=CreateRide,
        send=send,
        invariants=OF_A_BOOKING,
        lose_answer=partial(failing, stand_in, "reset_after"),
        settle=deliver_everything,
        # The child would send on the parent's open connection to Stripe.
        after_fork=payments._connected_client.cache_clear,
    )


def completing_of(booking: Experiment) -> Experiment:
    """The completer's attempt at a booking whose charge was made and whose answer was lost."""

    def prepare(key: str) -> None:
        ask_and_lose_the_answer(booking, key)
        let_key_age(key, until_anybody_may_take_over())

    return replace(booking, prepare=prepare, attempt=lambda _: complete_due_keys(MOST_KEYS))


def looking_up_of(booking: Experiment, stand_in: StandIn) -> Experiment:
    """A client's retry so late that Stripe has forgotten the key, and the charge is looked up."""

    def prepare(key: str) -> None:
        ask_and_lose_the_answer(booking, key)
        let_key_age(key, RESEND_WINDOW)
        stand_in.prune_keys()

    return replace(booking, prepare=prepare)


def looking_up_in_vain_of(booking: Experiment, stand_in: StandIn) -> Experiment:
    """The same where Stripe knows of no charge: a person must look, and nothing is sent."""

    def prepare(key: str) -> None:
        with failing(stand_in, "reset_before"):
            booking.ask(key)
        let_key_age(key, RESEND_WINDOW)

    invariants = (*booking.invariants, past_the_window_nothing_is_sent)
    return replace(booking, prepare=prepare, lose_answer=None, invariants=invariants)


def after_a_saved_failure_of(booking: Experiment, stand_in: StandIn) -> Experiment:
    """A retry to which Stripe repeats the error that it saved, although it took the money."""

    def prepare(key: str) -> None:
        with failing(stand_in, "error_after"):
            booking.ask(key)
        let_key_age(key, until_anybody_may_take_over())

    return replace(booking, prepare=prepare, lose_answer=None)


def reaping_of(booking: Experiment) -> Experiment:
    """The reaper, as it comes to a booking whose outcome is not known after all that time."""

    def prepare(key: str) -> None:
        reaping.reap(MOST_KEYS)  # what earlier trials left
        ask_and_lose_the_answer(booking, key)
        let_key_age(key, conf.current().tombstone_retention)

    return replace(booking, prepare=prepare, attempt=lambda _: reaping.reap(MOST_KEYS))


def enqueuing_of(booking: Experiment) -> Experiment:
    """The enqueuer, as it hands the receipt of a booking to the queue."""
    return replace(
        booking, prepare=booking.ask, attempt=lambda _: jobs.drain_staged_jobs(MOST_JOBS)
    )


def working_of(booking: Experiment) -> Experiment:
    """The worker, as it sends the receipt of a booking."""

    def prepare(key: str) -> None:
        booking.ask(key)
        jobs.drain_staged_jobs(MOST_JOBS)

    return replace(booking, prepare=prepare, attempt=lambda _: run_queued_jobs(MOST_JOBS))


@contextmanager
def failing(stand_in: StandIn, kind: str) -> Iterator[None]:
    """Every charge in the block fails in that way."""
    stand_in.add_fault(kind, path=CHARGING)
    try:
        yield
    finally:
        stand_in.clear_faults()


def ask_and_lose_the_answer(booking: Experiment, key: str) -> None:
    assert booking.lose_answer is not None
    with booking.lose_answer():
        answer = booking.ask(key)
    assert answer.status == 503, answer


def deliver_everything() -> None:
    """Enqueuer and worker at work until every job is done, those that were lost on the way too."""
    let_deliveries_age(conf.current().redelivery_after + timedelta(seconds=1))
    jobs.drain_staged_jobs(MOST_JOBS)
    jobs.redeliver_overdue_jobs(MOST_JOBS)
    run_queued_jobs(MOST_JOBS)
