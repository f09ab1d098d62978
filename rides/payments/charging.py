"""Charging a ride, and finding the charge again: what an operation's phases call."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import stripe
from stripe.params import PaymentIntentCreateParams

from idempotency import conf
from idempotency.exceptions import Indeterminate, NeedsReview
from idempotency.foreign_keys import installation_mark
from rides.formats import amount
from rides.models import Ride
from rides.payments.asking import ask, find, pages
from rides.payments.client import LOOKUP_SECONDS, CardDeclined, client, verdict
from rides.payments.shapes import Payment, is_id, not_asked_for, unexpected

PAGE = 50  # payments, each with its charge: some 300 KB of the 1 MiB that an answer may have

# Off session there is nobody to try another card, so this is where such a payment ends.
FAILED = ("requires_payment_method", "canceled")

# In the metadata of a payment that was made to use a key up and takes no money (`taking_back`).
PLACEHOLDER = "takes_no_money"


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


def charge(ride: Ride) -> Charge:
    """Charge the ride's fare to its rider's card; for one foreign key at most once.

    No payment method is named. Stripe then takes the customer's `default_source`, the card that the
    customer was created with (Stripe's API reference, "Create a PaymentIntent", `payment_method`),
    so there is no copy of it here to fall out of step, and no second call to ask for it.

    Raises: CardDeclined, Indeterminate, NeedsReview.
    """
    key = str(foreign_key_of(ride))
    try:
        answer = ask(
            client().v1.payment_intents.create, wanted(ride), options={"idempotency_key": key}
        )
    except stripe.StripeError as error:
        if _is_saved_failure(error) or is_used_otherwise(error):
            return _charge_behind(ride, error)
        if isinstance(error, stripe.CardError) and is_replay(error) and (intent := _within(error)):
            return _charge_kept([_read_again(intent)], ride)
        raise verdict(error) from error
    if answer.is_replay and answer.data.get("status") is not None:
        # It is as old as its first sending, and the payment may have been refunded since.
        return _charge_kept([_read_again(answer.data)], ride)
    return _charge_of(answer.data, ride)


def wanted(ride: Ride) -> PaymentIntentCreateParams:
    """Return what Stripe is asked for.

    After a loss of rows the retry has to ask the same question, or Stripe refuses it. So nothing
    of it comes from a row that can be lost, no serial number, and no word that a deploy may change;
    and nothing is of one request, as its id or its address.
    """
    key = str(foreign_key_of(ride))
    return {
        "amount": ride.amount_cents,
        "currency": ride.currency,
        "customer": customer_of(ride),
        # Nobody is there whom Stripe could send to another page to authenticate.
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        "confirm": True,
        "off_session": True,
        "description": f"{installation_mark()} {key}",
        "metadata": {"installation": installation_mark(), "foreign_key": key},
    }


def find_charge(ride: Ride) -> Charge | None:
    """Ask Stripe what became of the ride's payment, and send nothing; None if it has none.

    Raises: CardDeclined, Indeterminate, NeedsReview.
    """
    found = list(payments_of(ride))
    return _charge_kept(found, ride) if found else None


def payments_of(ride: Ride) -> Iterator[Payment]:
    """Yield the payments under the ride's foreign key, newest first, each read with its charge.

    They are where they must be if they are anywhere: at the customer that was asked, and not before
    the oldest request that can have sent this key. After a loss of rows a payment is older than the
    ride, by `RETENTION` at most; and Stripe's clock is not the database's. To the newest there is
    no bound, which could only hide a payment where Stripe's clock is ahead.

    By listing, not by Stripe's search: that lags behind by up to a minute, and a payment that it
    does not show yet must not pass for one that was never made (Stripe's docs, "Search").

    Raises: Indeterminate, NeedsReview.
    """
    key, first = str(foreign_key_of(ride)), ride.created_at - conf.current().lookup_span
    listed = pages(
        client().v1.payment_intents.list,
        limit=PAGE,
        until=time.monotonic() + LOOKUP_SECONDS,
        customer=customer_of(ride),
        created={"gte": int(first.timestamp())},
        expand=["data.latest_charge"],
    )
    for page in listed:
        for intent in page:
            metadata = intent.get("metadata") or {}
            if not isinstance(metadata, dict):
                raise not_asked_for(intent)
            if metadata.get("foreign_key") == key and PLACEHOLDER not in metadata:
                yield Payment.of(intent)


def foreign_key_of(ride: Ride) -> UUID:
    """Return what the ride's charge is sent under, once and for all.

    A ride without one was recorded by a release before 0005 or beside it, which sent its request's.
    """
    if ride.foreign_key is None:
        assert ride.idempotency_key, "a ride is paid for before its key can be reaped"
        return ride.idempotency_key.foreign_key
    return ride.foreign_key


def customer_of(ride: Ride) -> str:
    """Return whom Stripe is asked to charge for the ride, whoever its rider is by now."""
    customer_id = ride.stripe_customer_id or ride.user.stripe_customer_id
    assert customer_id, "only a rider can have a ride, and a rider has a customer"
    return customer_id


def is_used_otherwise(error: stripe.StripeError) -> bool:
    """Say whether Stripe has the key for another question (its docs, "Idempotent requests")."""
    return isinstance(error, stripe.IdempotencyError)


def _charge_kept(found: list[Payment], ride: Ride) -> Charge:
    """Return the charge of the one payment that stands, or raise what they are otherwise."""
    paid = [payment for payment in found if payment.status == "succeeded"]
    kept = [payment for payment in paid if not payment.refunded_cents]
    if len(kept) > 1 or (paid and not kept):
        what = "more than one payment" if kept else "a payment that was refunded"
        raise NeedsReview(
            f"The payment processor shows {what} for this ride.",
            evidence={"payment_intents": [payment.id for payment in paid]},
        )
    open_ones = [payment for payment in found if payment.status not in FAILED]
    return _charge_for((kept or open_ones or found)[0], ride)


def _charge_of(intent: dict[str, Any], ride: Ride) -> Charge:
    """Return the charge of a payment that succeeded, or raise what its status means."""
    if intent.get("status") in ("processing", None):
        raise Indeterminate("The payment processor has given no definite answer yet.")
    return _charge_for(Payment.of(intent), ride)


def _charge_for(payment: Payment, ride: Ride) -> Charge:
    if payment.status in FAILED:
        raise CardDeclined(payment.failure or "The payment was canceled.")
    if payment.status == "processing":
        raise Indeterminate("The payment processor has given no definite answer yet.")
    paid = (payment.amount_received_cents, payment.currency)
    if (
        payment.status != "succeeded"
        or payment.charge_id is None
        or paid != (ride.amount_cents, ride.currency)
    ):
        raise unexpected(
            "The payment is not what was asked for.",
            payment_intent=payment.id,
            status=payment.status,
            amount_received=payment.amount_received_cents,
            currency=payment.currency,
        )
    return Charge(
        id=payment.charge_id,
        payment_intent_id=payment.id,
        amount_cents=ride.amount_cents,
        currency=ride.currency,
    )


def _read_again(intent: dict[str, Any]) -> Payment:
    if not is_id(intent.get("id")):
        raise not_asked_for(intent)
    retrieve = client().v1.payment_intents.retrieve
    found = find(retrieve, intent["id"], expand=["latest_charge"]) or {}
    if found.get("id") != intent["id"]:
        raise not_asked_for(intent)
    return Payment.of(found)


def _within(error: stripe.StripeError) -> dict[str, Any] | None:
    """Return the payment inside a card error."""
    body = error.json_body if isinstance(error.json_body, dict) else {}
    intent = body["error"].get("payment_intent")
    return intent if isinstance(intent, dict) else None


def _charge_behind(ride: Ride, error: stripe.StripeError) -> Charge:
    """Look for the charge, because the key that would repeat the question only repeats the error.

    Stripe saves the first answer to a key, a 500 included, whether or not the card was charged, and
    refuses the key where anything that is sent with it has changed, as after a deploy (Stripe's
    API reference, "Idempotent requests").
    """
    found = find_charge(ride)
    if found is None:
        raise verdict(error) from error
    return found


def _is_saved_failure(error: stripe.StripeError) -> bool:
    return is_replay(error) and (error.http_status or 0) >= 500


def is_replay(error: stripe.StripeError) -> bool:
    return (error.headers or {}).get("Idempotent-Replayed") == "true"
