"""Giving the money back: what a person's decision to undo a ride's payment does at Stripe."""

from dataclasses import dataclass
from uuid import UUID

import stripe

from idempotency.exceptions import Indeterminate, NeedsReview
from rides.models import Ride
from rides.payments.charging import payment_intents_of, refunded_cents
from rides.payments.client import client, verdict

# Said of a payment that was taken back by somebody else since it was listed.
CHANGED_MEANWHILE = ("charge_already_refunded", "payment_intent_unexpected_state")


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenBack:
    """What became of one payment; `refunded_cents` in minor units of `currency`."""

    payment_intent_id: str
    outcome: str
    refunded_cents: int
    currency: str


def take_back(ride: Ride, *, idempotency_key: UUID) -> list[TakenBack]:
    """Cancel whatever can still be canceled of the ride's payments, and refund what was paid.

    Each payment is looked at first, so it is refunded once however late this is called again; until
    Stripe forgets it, its own idempotency key sees to that even where two processes do it at once.

    Raises: Indeterminate, to be called again; NeedsReview.
    """
    try:
        return [_take_back(intent, idempotency_key) for intent in payment_intents_of(ride)]
    except stripe.StripeError as error:
        if error.code in CHANGED_MEANWHILE:
            raise Indeterminate("A payment changed while it was being taken back.") from error
        raise verdict(error) from error


def _take_back(intent: stripe.PaymentIntent, idempotency_key: UUID) -> TakenBack:
    if intent.status == "processing":
        raise Indeterminate("A payment is still being processed, and can't be taken back yet.")
    if intent.status == "succeeded":
        return _taken_back(intent, _refund(intent, idempotency_key), intent.amount_received)
    if intent.status != "canceled":
        client().v1.payment_intents.cancel(
            intent.id, None, {"idempotency_key": f"{idempotency_key}:cancel:{intent.id}"}
        )
    return _taken_back(intent, "canceled", 0)


def _refund(intent: stripe.PaymentIntent, idempotency_key: UUID) -> str:
    """Refund what is left of a payment, and return the refund's status."""
    if refunded_cents(intent) >= intent.amount_received:
        return "refunded before"
    refund = client().v1.refunds.create(
        {
            "payment_intent": intent.id,
            "reason": "requested_by_customer",
            "metadata": intent.metadata.to_dict(),
        },
        {"idempotency_key": f"{idempotency_key}:refund:{intent.id}"},
    )
    if refund.status in ("failed", "canceled"):
        raise NeedsReview(
            "The payment processor could not refund the payment.",
            evidence={"payment_intent": intent.id, "refund": refund.id, "status": refund.status},
        )
    return f"refund {refund.status}"


def _taken_back(intent: stripe.PaymentIntent, outcome: str, cents: int) -> TakenBack:
    return TakenBack(
        payment_intent_id=intent.id,
        outcome=outcome,
        refunded_cents=cents,
        currency=intent.currency,
    )
