"""Bugs of events: what Stripe tells is lost between its being received and its being done."""

from collections.abc import Callable

from idempotency.testing import Fault, Moment
from proof.bugs import seams
from proof.bugs.planting import Bed, at, bug, elsewhere, replace, told_of_a_refund
from rides.payments import Event
from rides.webhooks.receiving import WRITE_EVENT


@bug(
    "a_refund_that_was_told_of_is_recorded",
    experiment=told_of_a_refund,
    plan=at(Fault.KILL, Moment.BEFORE, "INSERT idempotency_stagedjob"),
)
def known_before_what_it_asks_for_is_owed(bed: Bed) -> None:
    """The event's id commits by itself: when it is sent again, it counts as done."""

    def write_down(event: Event, asked: Callable[[], None]) -> None:
        values = {"stripe_id": event.id, "type": event.type, "object_id": event.object_id}
        if elsewhere(WRITE_EVENT, values):
            asked()

    replace(bed, seams.WRITE_EVENT_DOWN, write_down)
