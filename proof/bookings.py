"""Bookings for the crash harness: each experiment is one way to come to a charge, or not to.

Those that crash the service at every boundary and those that plant bugs in it run the same ones.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial

from django.db import connection
from django.db.models import F
from django.test import Client

from idempotency import conf
from idempotency.jobs import delivering
from idempotency.models import IdempotencyKey
from idempotency.phases import PENDING_STATUS
from idempotency.testing import Experiment, Trial, after_a_loss
from idempotency.testing.clock import (
    let_deliveries_age,
    let_key_age,
    until_anybody_may_take_over,
)
from idempotency.testing.experiments import HttpAnswer
from idempotency.testing.queue import run_queued_jobs
from idempotency.workers import reaping
from idempotency.workers.completing import complete_due_keys
from proof.invariants import (
    OF_A_BOOKING,
    a_good_card_pays_in_the_end,
    no_payment_is_on_a_foreign_ride,
    past_the_window_nothing_is_sent,
    the_same_question_is_asked,
)
from rides.models import User
from rides.operations import RESEND_WINDOW, CreateRide
from rides.payments.statuses import PAYMENTS
from rides.tests.booking import CHARGING, ask
from sandbox.stripe.control import ControlError, StandIn

MOST_JOBS = MOST_KEYS = 100
SET_NEXT_NUMBER = """
SELECT setval(pg_get_serial_sequence('idempotency_idempotencykey', 'id'), %s, false)
"""


def booking_of(rider: User, stand_in: StandIn, **fields: str) -> Experiment:
    """`POST /rides` by `rider`, and the receipt that follows; `fields` replace the form's."""
    return Experiment(
        operation=CreateRide,
        send=partial(ask, rider=rider.email, client=Client(), **fields),
        invariants=(*OF_A_BOOKING, a_good_card_pays_in_the_end),
        lose_answer=partial(failing, stand_in, "reset_after"),
        settle=deliver_everything,
    )


def declining_of(booking: Experiment) -> Experiment:
    """The same for a rider whose card is declined."""
    return replace(booking, invariants=OF_A_BOOKING)


def confirming_of(booking: Experiment, stand_in: StandIn) -> Experiment:
    """A booking whose rider is asked by their bank, and confirms as soon as they are."""

    def send(key: str) -> HttpAnswer:
        answer = booking.send(key)
        if answer.status_code == PENDING_STATUS:
            confirm(stand_in, key)
        return answer

    return replace(booking, send=send)


def confirmed_of(booking: Experiment, stand_in: StandIn) -> Experiment:
    """A retry after the rider has confirmed."""

    def prepare(key: str) -> None:
        assert booking.ask(key).is_pending
        confirm(stand_in, key)
        let_key_age(key, until_anybody_may_take_over())

    return replace(booking, prepare=prepare, lose_answer=None)


def never_confirmed_of(booking: Experiment) -> Experiment:
    """The completer, as it comes to a booking whose rider has never confirmed."""

    def prepare(key: str) -> None:
        assert booking.ask(key).is_pending
        let_key_age(key, PAYMENTS["requires_action"].gives_up_after)

    return replace(
        booking,
        prepare=prepare,
        attempt=lambda _: complete_due_keys(MOST_KEYS),
        lose_answer=None,
        invariants=OF_A_BOOKING,
    )


def confirm(stand_in: StandIn, key: str) -> None:
    """The rider confirms at their bank's page, if the payment waits for them."""
    [waiting] = IdempotencyKey.objects.filter(idempotency_key=key)
    with suppress(ControlError):
        stand_in.settle(str(waiting.foreign_reference), succeeds=True)


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


def clock_set_right_of(booking: Experiment, stand_in: StandIn) -> Experiment:
    """A retry after the database's clock was two days ahead and was set right: Stripe has forgotten
    the key, whose sending is still to come by what the row says.
    """

    def prepare(key: str) -> None:
        ask_and_lose_the_answer(booking, key)
        let_key_age(key, until_anybody_may_take_over())
        ahead = timedelta(days=2)
        IdempotencyKey.objects.filter(idempotency_key=key).update(
            foreign_sent_at=F("foreign_sent_at") + ahead, run_after=F("run_after") + ahead
        )
        stand_in.prune_keys()

    return replace(booking, prepare=prepare)


def looking_up_in_vain_of(booking: Experiment, stand_in: StandIn) -> Experiment:
    """The same where Stripe shows no charge for this ride, though one for another ride of the
    rider's: a person must look, and nothing is sent.
    """

    def prepare(key: str) -> None:
        booking.ask(another_key())
        with failing(stand_in, "reset_before"):
            booking.ask(key)
        let_key_age(key, RESEND_WINDOW)

    invariants = (*OF_A_BOOKING, past_the_window_nothing_is_sent)
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

    return replace(
        booking,
        prepare=prepare,
        attempt=lambda _: reaping.reap(MOST_KEYS),
        invariants=OF_A_BOOKING,
    )


def restored_of(booking: Experiment) -> Experiment:
    """A booking in a database that was restored, and hands out a number for the second time."""

    def prepare(key: str) -> None:
        lost = another_key()
        booking.ask(lost)
        booking.settle()
        [number] = IdempotencyKey.objects.filter(idempotency_key=lost).values_list("pk", flat=True)
        IdempotencyKey.objects.filter(pk=number).delete()
        with connection.cursor() as cursor:
            cursor.execute(SET_NEXT_NUMBER, [number])

    return replace(booking, prepare=prepare)


def lost_of(booking: Experiment, stand_in: StandIn) -> Experiment:
    """A booking whose commits were lost. Its numbers may be others by then, so the charges are
    counted and not looked up by them.
    """
    charged_before = 0

    def prepare(key: str) -> None:
        nonlocal charged_before
        charged_before = len(stand_in.charges(status="succeeded"))

    def one_charge_whatever_was_lost(trial: Trial) -> None:
        taken = len(stand_in.charges(status="succeeded")) - charged_before
        assert taken == 1, f"{taken} charges"

    invariants = (one_charge_whatever_was_lost, no_payment_is_on_a_foreign_ride)
    return after_a_loss(replace(booking, prepare=prepare, invariants=invariants))


def numbered_anew_of(booking: Experiment) -> Experiment:
    """A booking whose commits were lost, and which has other numbers afterwards."""
    invariants = (*booking.invariants, the_same_question_is_asked)
    lost = after_a_loss(booking, meanwhile=lambda: booking.ask(another_key()))
    return replace(lost, invariants=invariants)


def lost_numbers_of(booking: Experiment, other: Experiment) -> Experiment:
    """A booking whose commits were lost, and whose numbers the other one then has. The first one's
    client comes back late, or its own ride would have the charge already.
    """
    numbers_are_free = False

    def prepare(key: str) -> None:
        nonlocal numbers_are_free
        numbers_are_free = True

    def send(key: str) -> HttpAnswer:
        nonlocal numbers_are_free
        if numbers_are_free:
            numbers_are_free = False
            return other.send(another_key())
        return booking.send(key)

    overtaken = replace(booking, prepare=prepare, send=send, attempt=booking.send)
    return replace(after_a_loss(overtaken), invariants=(no_payment_is_on_a_foreign_ride,))


def another_key() -> str:
    return str(uuid.uuid4())


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
    settings = conf.current()
    let_deliveries_age(settings.redelivery_after + settings.job_limit)
    delivering.drain_staged_jobs(MOST_JOBS)
    delivering.redeliver_overdue_jobs(MOST_JOBS)
    run_queued_jobs(MOST_JOBS)
