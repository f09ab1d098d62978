"""Making a key useless: Stripe refuses whatever a process still sends under it, however late."""

from typing import Any
from uuid import UUID

import stripe
from stripe.params import PaymentIntentCreateParams

from rides.models import Ride
from rides.payments.asking import ask, cancel, judging
from rides.payments.client import client, is_replay, is_used_otherwise, verdict
from rides.payments.keys import PLACEHOLDER, bears_key_of, marks_of
from rides.payments.shapes import is_id, not_asked_for


def make_key_useless(ride: Ride, key: UUID) -> bool:
    """Have Stripe refuse the ride's charge under this key from now on.

    By a payment that takes no money, unconfirmed and without a customer, under the key itself: a
    charge under it is another question, which Stripe refuses for as long as it knows the key.

    Returns: whether Stripe did not know the key. If it did, what came under it is to be looked for.

    Raises: Indeterminate, NeedsReview.
    """
    try:
        answer = ask(
            client().v1.payment_intents.create,
            _placeholder(ride),
            options={"idempotency_key": str(key)},
        )
    except stripe.StripeError as error:
        if is_used_otherwise(error):
            return False
        if is_replay(error):
            return True  # a failure of our own question's: the key is its
        raise verdict(error) from error
    if not _is_placeholder(answer.data, ride):
        if answer.is_replay:
            return False
        raise not_asked_for(answer.data)
    with judging():
        cancel(answer.data["id"])
    return True


def _placeholder(ride: Ride) -> PaymentIntentCreateParams:
    return {
        "amount": ride.amount_cents,
        "currency": ride.currency,
        "metadata": {**marks_of(ride), PLACEHOLDER: "true"},
    }


def _is_placeholder(intent: dict[str, Any], ride: Ride) -> bool:
    metadata = intent.get("metadata")
    return (
        is_id(intent.get("id"))
        and isinstance(metadata, dict)
        and PLACEHOLDER in metadata
        and bears_key_of(ride, metadata)
    )
