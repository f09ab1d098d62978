"""Events for the crash harness: what Stripe tells of its own accord, on its way into the books."""

import uuid
from dataclasses import replace

from idempotency.testing import Experiment
from proof.invariants import a_refund_that_was_told_of_is_recorded
from rides.models import Ride
from rides.payments import Event
from rides.webhooks.receiving import receive
from sandbox.stripe.control import StandIn


def told_of_a_refund_of(booking: Experiment, stand_in: StandIn) -> Experiment:
    """A booked ride is refunded in Stripe's dashboard, and the event of it comes in; as long as
    nobody has answered it, Stripe sends it again.
    """
    told: list[Event] = []

    def prepare(key: str) -> None:
        told.clear()
        booking.ask(key)
        booking.settle()
        charge = Ride.objects.get(idempotency_key__idempotency_key=key).stripe_charge_id
        refund = stand_in.refund(str(charge))
        told[:] = [
            Event(
                id=f"evt_{uuid.uuid4().hex}",
                type="refund.created",
                object_kind="refund",
                object_id=refund,
                metadata={},
            )
        ]

    def settle() -> None:
        # Also where the answer was lost: then it is sent a second time.
        for event in told:
            receive(event)
        booking.settle()

    return replace(
        booking,
        prepare=prepare,
        attempt=lambda _: receive(*told),
        settle=settle,
        invariants=(*booking.invariants, a_refund_that_was_told_of_is_recorded),
    )
