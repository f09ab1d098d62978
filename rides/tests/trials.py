"""Bookings for the crash harness: each experiment is one way to come to a charge, or not to.

Apart from the tests, because those that crash the service and those that plant bugs in it run the
same ones.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import urlencode

from django.test import Client

from idempotency import conf
from idempotency.jobs import drain_staged_jobs, redeliver_overdue_jobs
from idempotency.queue import run_queued_jobs
from idempotency.testing import Experiment
from idempotency.testing.clock import let_deliveries_age
from idempotency.testing.trials import HttpAnswer
from rides import payments
from rides.models import User
from rides.operations import CreateRide
from rides.tests.booking import CHARGING, COORDINATES
from rides.tests.invariants import OF_A_BOOKING
from sandbox.stripe.control import StandIn

FORM = "application/x-www-form-urlencoded"
MOST_JOBS = 100


def booking_of(rider: User, stand_in: StandIn) -> Experiment:
    """`POST /rides` by `rider`, and the receipt that follows."""

    client = Client()

    def send(key: str) -> HttpAnswer:
        headers = {"Authorization": rider.email, "Idempotency-Key": key}
        return client.post("/rides", urlencode(COORDINATES), FORM, headers=headers)

    @contextmanager
    def lose_answer() -> Iterator[None]:
        stand_in.add_fault("reset_after", path=CHARGING)
        try:
            yield
        finally:
            stand_in.clear_faults()

    return Experiment(
        operation=CreateRide,
        send=send,
        invariants=OF_A_BOOKING,
        lose_answer=lose_answer,
        settle=deliver_everything,
        # The child would send on the parent's open connection to Stripe.
        after_fork=payments._connected_client.cache_clear,
    )


def deliver_everything() -> None:
    """Enqueuer and worker at work until every job is done, those that were lost on the way too."""
    let_deliveries_age(conf.current().redelivery_after + timedelta(seconds=1))
    drain_staged_jobs(MOST_JOBS)
    redeliver_overdue_jobs(MOST_JOBS)
    run_queued_jobs(MOST_JOBS)
