"""Decisions to undo a ride, for the crash harness, while a charge can still arrive: that of a
process that was frozen before it sent it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from idempotency.exceptions import IdempotencyError, ReviewRefused
from idempotency.models import IdempotencyKey
from idempotency.review.decisions import Decision, undo
from idempotency.testing import Experiment
from idempotency.testing.experiments import HttpAnswer
from proof.bookings import failing
from proof.invariants import (
    a_cancelled_ride_keeps_no_money,
    no_job_is_left,
    one_audit_record_for_a_transition,
    one_ride_for_a_key,
)
from rides.models import Ride
from rides.payments.transport import CurlClient
from rides.tests.reviewing import let_charge_arrive, put_on_the_list
from sandbox.stripe.control import StandIn

MOST_CALLS = 5  # of one decision: two that make the key useless, the look, refunds, a refund


def undoing_of(booking: Experiment, stand_in: StandIn) -> Experiment:
    """A person's decision to undo a booking whose charge has never arrived, and arrives when all
    is over.
    """

    def prepare(key: str) -> None:
        with failing(stand_in, "reset_before"):
            booking.ask(key)
        put_on_the_list(key)

    def send(key: str) -> HttpAnswer:
        """A client asks, once the person has decided who finds the request on the list."""
        decide(key)
        return booking.send(key)

    return replace(
        booking,
        prepare=prepare,
        send=send,
        attempt=decide,
        lose_answer=None,
        settle=lambda: let_charge_arrive(Ride.objects.latest("pk")),
        invariants=(
            a_cancelled_ride_keeps_no_money,
            no_job_is_left,
            one_audit_record_for_a_transition,
            one_ride_for_a_key,
        ),
    )


def undoing_while_it_arrives_of(
    booking: Experiment, stand_in: StandIn, *, after_call: int
) -> Experiment:
    """The same, where the charge arrives after so many of the decision's calls to Stripe."""
    undoing = undoing_of(booking, stand_in)

    def attempt(key: str) -> None:
        ride = Ride.objects.get(idempotency_key__idempotency_key=key)
        with calls_followed_by({after_call: lambda: let_charge_arrive(ride)}):
            decide(key)

    return replace(undoing, attempt=attempt)


def decide(idempotency_key: str) -> None:
    """A person has the request undone, if it is on their list."""
    key = IdempotencyKey.objects.get(idempotency_key=idempotency_key)
    if not key.is_under_review:
        return
    decision = Decision(
        key_id=key.pk, lease_token=key.lease_token, reviewer="a person", reason="the rider asked"
    )
    with suppress(IdempotencyError, ReviewRefused):
        undo(decision)


@contextmanager
def calls_followed_by(events: dict[int, Callable[[], None]]) -> Iterator[None]:
    """Have something happen after the n-th call to Stripe in the block, counted from 1."""
    calls, request = 0, CurlClient.request

    def counted(self: CurlClient, *arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        event = events.pop(calls, None)
        try:
            return request(self, *arguments, **more)
        finally:
            if event:
                with patch.object(CurlClient, "request", request):
                    event()

    with patch.object(CurlClient, "request", counted):
        yield
