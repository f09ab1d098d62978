"""Giving the money back: what a person's decision to undo a ride's payment does at Stripe.

Before the answer says that nothing is charged, the key under which a charge could still be made is
made useless, and only then are the payments under it looked up. In the other order a charge could
be made between the two.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import stripe
from stripe.params import PaymentIntentCreateParams

from idempotency.exceptions import Indeterminate
from idempotency.foreign_keys import installation_mark
from rides.models import Ride
from rides.payments.asking import ask, judging
from rides.payments.charging import (
    PLACEHOLDER,
    foreign_key_of,
    is_replay,
    is_used_otherwise,
    payments_of,
)
from rides.payments.client import LAST_CALL_SECONDS, client, verdict
from rides.payments.shapes import Payment, is_id, not_asked_for, unexpected

# Said of a payment that was taken back by somebody else since it was listed.
CHANGED_MEANWHILE = ("charge_already_refunded", "payment_intent_unexpected_state")


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenBack:
    """What became of one payment; `refunded_cents` in minor units of `currency`."""

    payment_intent_id: str
    outcome: str
    refunded_cents: int
    currency: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """All that was taken back, and whether it is known that there was and will be nothing else.

    It is not, once Stripe may have removed the key of the first sending: that the list shows
    nothing else is then all that can be said.
    """

    payments: list[TakenBack]
    is_complete: bool


def take_back(ride: Ride, *, idempotency_key: UUID, is_remembered: bool) -> Account:
    """Cancel whatever can still be canceled of the ride's payments, and refund what was paid.

    Each payment is looked at first, so it is refunded once however late this is called again; until
    Stripe removes it, its own idempotency key ensures that even where two processes do it at once.

    Args:
        idempotency_key: what the keys of these calls are made of; not the charge's, which Stripe
            then refuses for as long as it has it.
        is_remembered: whether Stripe still has whatever was sent under the charge's key.

    Raises: Indeterminate, to be called again; NeedsReview.
    """
    last_call_at = time.monotonic() + LAST_CALL_SECONDS
    is_made = make_key_useless(ride, idempotency_key=idempotency_key)
    taken_back = []
    for payment in payments_of(ride):
        if time.monotonic() > last_call_at:
            raise Indeterminate("There was no time to take every payment back.")
        with _judging_changes():
            taken_back.append(_take_back(payment, idempotency_key))
    if not is_made and not taken_back and is_remembered:
        # A call may be under way, or have ended in an error that says nothing.
        raise Indeterminate(
            "The payment processor has this ride's key, and shows no payment under it yet."
        )
    return Account(payments=taken_back, is_complete=is_remembered)


def make_key_useless(ride: Ride, *, idempotency_key: UUID) -> bool:
    """Have Stripe refuse the ride's charge from now on, however late a process sends it.

    By a payment that takes no money, unconfirmed and without a customer, under the charge's own
    idempotency key: a charge under it is another question, which Stripe refuses for as long as it
    has the key.

    Returns: whether Stripe did not have the key. If it did, what was made under it is to be looked
    up.

    Raises: Indeterminate, NeedsReview.
    """
    key = str(foreign_key_of(ride))
    try:
        answer = ask(
            client().v1.payment_intents.create,
            _placeholder(ride, key),
            options={"idempotency_key": key},
        )
    except stripe.StripeError as error:
        if is_used_otherwise(error):
            return False
        if is_replay(error):
            return True  # a failure of our own question's: the key is its
        raise verdict(error) from error
    if not _is_placeholder(answer.data, key):
        if answer.is_replay:
            return False
        raise not_asked_for(answer.data)
    with judging():
        _cancel(answer.data["id"], f"{idempotency_key}:cancel:{answer.data['id']}")
    return True


def _placeholder(ride: Ride, key: str) -> PaymentIntentCreateParams:
    return {
        "amount": ride.amount_cents,
        "currency": ride.currency,
        "metadata": {
            "installation": installation_mark(),
            "foreign_key": key,
            PLACEHOLDER: "true",
        },
    }


def _is_placeholder(intent: dict[str, Any], key: str) -> bool:
    metadata = intent.get("metadata")
    return (
        is_id(intent.get("id"))
        and isinstance(metadata, dict)
        and PLACEHOLDER in metadata
        and metadata.get("foreign_key") == key
    )


def _cancel(payment_id: str, idempotency_key: str) -> None:
    """Cancel a payment; one that is canceled already stays so."""
    try:
        ask(
            client().v1.payment_intents.cancel,
            payment_id,
            options={"idempotency_key": idempotency_key},
        )
    except stripe.StripeError as error:
        if error.code != "payment_intent_unexpected_state":
            raise


def _take_back(payment: Payment, idempotency_key: UUID) -> TakenBack:
    if payment.status == "processing":
        raise Indeterminate("A payment is still being processed, and can't be taken back yet.")
    if payment.status == "succeeded":
        outcome = _refund(payment, f"{idempotency_key}:refund:{payment.id}")
        return _taken_back(payment, outcome, payment.amount_received_cents)
    if payment.status != "canceled":
        ask(
            client().v1.payment_intents.cancel,
            payment.id,
            options={"idempotency_key": f"{idempotency_key}:cancel:{payment.id}"},
        )
    return _taken_back(payment, "canceled", 0)


def _refund(payment: Payment, idempotency_key: str) -> str:
    """Refund what is left of a payment, and return the refund's status."""
    if payment.refunded_cents >= payment.amount_received_cents:
        return "refunded before"
    refund = ask(
        client().v1.refunds.create,
        {
            "payment_intent": payment.id,
            "reason": "requested_by_customer",
            "metadata": payment.metadata,
        },
        options={"idempotency_key": idempotency_key},
    ).data
    return refunded(refund, payment_intent=payment.id)


def refunded(refund: dict[str, Any], **of: str) -> str:
    """Return what became of a refund, which was made.

    Raises: NeedsReview, where it was not, or is not what was asked for.
    """
    status = refund.get("status")
    if not is_id(refund.get("id")) or status not in ("succeeded", "pending", "requires_action"):
        raise unexpected(
            "The payment processor could not refund the payment.",
            refund=refund.get("id"),
            status=status,
            **of,
        )
    return f"refund {status}"


def _taken_back(payment: Payment, outcome: str, cents: int) -> TakenBack:
    return TakenBack(
        payment_intent_id=payment.id,
        outcome=outcome,
        refunded_cents=cents,
        currency=payment.currency,
    )


@contextmanager
def _judging_changes() -> Iterator[None]:
    """As `judging`, where somebody else may do the same meanwhile."""
    try:
        yield
    except stripe.StripeError as error:
        if error.code in CHANGED_MEANWHILE:
            raise Indeterminate("A payment changed while it was being taken back.") from error
        raise verdict(error) from error
