"""Charging a ride, and finding the charge again: what an operation's phases call."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import stripe
from stripe.params import PaymentIntentCreateParams

from idempotency.exceptions import Indeterminate, NeedsReview
from rides.models import Ride
from rides.payments.client import LOOKUP_SECONDS, CardDeclined, client, verdict
from rides.wording import amount

# A payment cannot be older than its ride, but Stripe's clock is not our database's.
CLOCK_SKEW = timedelta(minutes=5)

# Off session there is nobody to try another card, so this is where such a payment ends.
FAILED = ("requires_payment_method", "canceled")


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """Money that Stripe took, in minor units of `currency`."""

    id: str
    payment_intent_id: str
    amount_cents: int
    currency: str

    def __str__(self) -> str:
        paid = amount(self.amount_cents, self.currency)
        return f"{paid} paid: charge {self.id} of payment {self.payment_intent_id}"


def charge(ride: Ride, *, idempotency_key: UUID) -> Charge:
    """Charge the ride's fare to its rider's card; for one key at most once.

    No payment method is named. Stripe then takes the customer's `default_source`, the card that the
    customer was created with (Stripe's API reference, "Create a PaymentIntent", `payment_method`),
    so there is no copy of it here to fall out of step, and no second call to ask for it.

    Raises: CardDeclined, Indeterminate, NeedsReview.
    """
    customer_id = ride.user.stripe_customer_id
    assert customer_id, "only a rider can have a ride, and a rider has a customer"
    wanted: PaymentIntentCreateParams = {
        "amount": ride.amount_cents,
        "currency": ride.currency,
        "customer": customer_id,
        # Nobody is there whom Stripe could send to another page to authenticate.
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        "confirm": True,
        "off_session": True,
        "description": f"Charge for ride {ride.pk}",
        "metadata": {
            "ride_id": str(ride.pk),
            "idempotency_key_id": str(ride.idempotency_key_id),
            "foreign_key": str(idempotency_key),
        },
    }
    try:
        intent = _create(wanted, idempotency_key)
    except stripe.StripeError as error:
        if not _is_saved_failure(error):
            raise verdict(error) from error
        return _charge_behind_saved_failure(ride, error)
    return _charge_of(intent, ride)


def _create(wanted: PaymentIntentCreateParams, idempotency_key: UUID) -> dict[str, Any]:
    """As `payment_intents.create`, which makes objects of all that Stripe says of a payment: for
    the few fields that are read here, that took a twentieth of a request's time.
    """
    answer = client().raw_request(
        "post", "/v1/payment_intents", **wanted, idempotency_key=str(idempotency_key)
    )
    return answer.data if isinstance(answer.data, dict) else {}  # a proxy may say anything


def find_charge(ride: Ride) -> Charge | None:
    """Ask Stripe what became of the ride's payment, and send nothing; None if it knows of none.

    Raises: CardDeclined, Indeterminate, NeedsReview.
    """
    try:
        intents = list(payment_intents_of(ride))
    except stripe.StripeError as error:
        raise verdict(error) from error
    paid = [intent for intent in intents if intent.status == "succeeded"]
    kept = [intent for intent in paid if not refunded_cents(intent)]
    if len(kept) > 1 or (paid and not kept):
        what = "more than one payment" if kept else "a payment that was refunded"
        raise NeedsReview(
            f"The payment processor shows {what} for this ride.",
            evidence={"payment_intents": [intent.id for intent in paid]},
        )
    if not intents:
        return None
    open_ones = [intent for intent in intents if intent.status not in FAILED]
    return _charge_of((kept or open_ones or intents)[0].to_dict(), ride)


def _charge_of(intent: dict[str, Any], ride: Ride) -> Charge:
    """Return the charge of a payment that succeeded, or raise what its status means."""
    status = intent.get("status")
    if status in FAILED:
        failure = intent.get("last_payment_error") or {}
        raise CardDeclined(failure.get("message") or "The payment was canceled.")
    if status in ("processing", None):
        raise Indeterminate("The payment processor has given no definite answer yet.")
    paid = (intent.get("amount_received"), intent.get("currency"))
    charge = intent.get("latest_charge")
    if status != "succeeded" or not charge or paid != (ride.amount_cents, ride.currency):
        raise NeedsReview(
            "The payment is not what was asked for.",
            evidence={
                "payment_intent": intent.get("id"),
                "status": status,
                "amount_received": intent.get("amount_received"),
                "currency": intent.get("currency"),
            },
        )
    return Charge(
        id=charge["id"] if isinstance(charge, dict) else str(charge),
        payment_intent_id=intent["id"],
        amount_cents=ride.amount_cents,
        currency=ride.currency,
    )


def refunded_cents(intent: stripe.PaymentIntent) -> int:
    """How much of a listed payment went back to the rider."""
    charge = intent.latest_charge
    return charge.amount_refunded if isinstance(charge, stripe.Charge) else 0


def payment_intents_of(ride: Ride) -> Iterator[stripe.PaymentIntent]:
    """Yield the payments with the ride's id and foreign key, newest first, each with its charge.

    By listing, not by Stripe's search: that lags behind by up to a minute, and a payment that it
    does not show yet must not pass for one that was never made (Stripe's docs, "Search").
    """
    assert ride.idempotency_key, "a ride is paid for before its key can be reaped"
    deadline = time.monotonic() + LOOKUP_SECONDS
    payments = client().v1.payment_intents.list(
        {
            "customer": str(ride.user.stripe_customer_id),
            "created": {"gte": int((ride.created_at - CLOCK_SKEW).timestamp())},
            "limit": 100,
            "expand": ["data.latest_charge"],
        }
    )
    ours = {"ride_id": str(ride.pk), "foreign_key": str(ride.idempotency_key.foreign_key)}
    for intent in payments.auto_paging_iter():
        if time.monotonic() > deadline:
            raise Indeterminate("The payment processor shows too many payments to look through.")
        if ours.items() <= intent.metadata.to_dict().items():
            yield intent


def _charge_behind_saved_failure(ride: Ride, error: stripe.StripeError) -> Charge:
    """Look for the charge, because the key that would repeat the question only repeats the error.

    Stripe saves the first answer to a key, a 500 included, whether or not the card was charged
    (Stripe's API reference, "Idempotent requests").
    """
    found = find_charge(ride)
    if found is None:
        raise verdict(error) from error
    return found


def _is_saved_failure(error: stripe.StripeError) -> bool:
    replayed = (error.headers or {}).get("Idempotent-Replayed") == "true"
    return replayed and (error.http_status or 0) >= 500
