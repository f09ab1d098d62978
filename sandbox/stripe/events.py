"""Which events a change of the ledger makes, and what an event looks like.

Source: https://docs.stripe.com/api/events/types
"""

from collections.abc import Iterator

from sandbox.stripe.clock import CLOCK
from sandbox.stripe.ledger import Change, Resource, new_id
from sandbox.stripe.shapes import present

OF_PAYMENTS = {
    "succeeded": "payment_intent.succeeded",
    "canceled": "payment_intent.canceled",
    "processing": "payment_intent.processing",
    "requires_action": "payment_intent.requires_action",
}
OF_CHARGES = {
    "succeeded": "charge.succeeded",
    "failed": "charge.failed",
    "pending": "charge.pending",
}
ENDS_OF_DISPUTES = ("won", "lost", "warning_closed")


def events_of(change: Change) -> Iterator[Resource]:
    """Yield the events that tell of a change, each with the object as it is after it."""
    types = TYPES_OF.get(change.after["object"])
    for type_ in types(change) if types else ():
        yield {
            "id": new_id("evt"),
            "object": "event",
            "api_version": None,
            "created": int(CLOCK.now()),
            "data": {"object": present(change.after)},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": type_,
        }


def _of_payment(change: Change) -> Iterator[str]:
    if change.is_new:
        yield "payment_intent.created"
    if not change.of("status"):
        return
    status = change.after["status"]
    if status in OF_PAYMENTS:
        yield OF_PAYMENTS[status]
    elif change.after.get("last_payment_error"):
        yield "payment_intent.payment_failed"


def _of_charge(change: Change) -> Iterator[str]:
    if change.of("status"):
        yield OF_CHARGES[change.after["status"]]
    before = change.before or {}
    if change.after.get("amount_refunded", 0) > before.get("amount_refunded", 0):
        yield "charge.refunded"


def _of_refund(change: Change) -> Iterator[str]:
    yield "refund.created" if change.is_new else "refund.updated"
    if change.after["status"] == "failed":
        yield "refund.failed"


def _of_dispute(change: Change) -> Iterator[str]:
    if change.is_new:
        yield "charge.dispute.created"
    else:
        is_over = change.after["status"] in ENDS_OF_DISPUTES
        yield "charge.dispute.closed" if is_over else "charge.dispute.updated"


TYPES_OF = {
    "payment_intent": _of_payment,
    "charge": _of_charge,
    "refund": _of_refund,
    "dispute": _of_dispute,
}
