"""Charges as Stripe's ledger shows them: one that a person names, or all of a time range.

Nothing here changes anything at Stripe.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Self

import stripe
from stripe.params import ChargeListParams

from idempotency.exceptions import ReviewRefused
from rides.models import Ride
from rides.payments.charging import Charge, payment_intents_of, refunded_cents
from rides.payments.client import client, verdict

REFERENCE = re.compile(r"(ch|pi)_[A-Za-z0-9_]+")
PAGE = 100  # the most that Stripe gives at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerCharge:
    """A charge that succeeded, in minor units of `currency`, and the ride that it names."""

    id: str
    amount_cents: int
    refunded_cents: int
    currency: str
    ride_id: int | None
    foreign_key: str | None

    @property
    def is_refunded(self) -> bool:
        return self.refunded_cents >= self.amount_cents

    @classmethod
    def of(cls, charge: stripe.Charge) -> Self:
        metadata = charge.metadata.to_dict()
        ride_id = metadata.get("ride_id", "")
        return cls(
            id=charge.id,
            amount_cents=charge.amount_captured,
            refunded_cents=charge.amount_refunded,
            currency=charge.currency,
            ride_id=int(ride_id) if re.fullmatch("[0-9]{1,18}", ride_id) else None,
            foreign_key=metadata.get("foreign_key"),
        )


def read_charge(ride: Ride, reference: str) -> Charge:
    """Return the charge that a person found at Stripe, once it is sure that it pays for the ride,
    and that nothing else does: adopting one of two would leave the rider charged twice.

    Args:
        reference: the id of a charge (ch_…) or of its payment (pi_…).

    Raises: ReviewRefused, with all that is wrong with it; Indeterminate, NeedsReview.
    """
    charge = _retrieve(reference)
    wrong = [
        f"its {what} is {found!r}, not {wanted!r}"
        for what, found, wanted in _compared(charge, ride)
        if found != wanted
    ]
    if wrong:
        raise ReviewRefused(f"{charge.id} does not pay for ride {ride.pk}: {'; '.join(wrong)}.")
    if others := _payments_beside(charge, ride):
        raise ReviewRefused(
            f"{', '.join(others)} took money for ride {ride.pk} too. Refund that at Stripe first."
        )
    return Charge(
        id=charge.id,
        payment_intent_id=str(charge.payment_intent),
        amount_cents=charge.amount_captured,
        currency=charge.currency,
    )


def charges_between(start: datetime, end: datetime) -> Iterator[list[LedgerCharge]]:
    """Yield the charges that succeeded from `start` to before `end`, newest first, in pages.

    Raises: Indeterminate, NeedsReview.
    """
    wanted: ChargeListParams = {
        "created": {"gte": int(start.timestamp()), "lt": int(end.timestamp())},
        "limit": PAGE,
    }
    try:
        listed = client().v1.charges.list(wanted).auto_paging_iter()
        while page := list(islice(listed, PAGE)):
            yield _succeeded(page)
    except stripe.StripeError as error:
        raise verdict(error) from error


def charges_by_id(charge_ids: Iterable[str]) -> list[LedgerCharge]:
    """Return those of the charges that Stripe has and that succeeded; one call for each.

    Raises: Indeterminate, NeedsReview.
    """
    return _succeeded(filter(None, map(_find, charge_ids)))


def _succeeded(charges: Iterable[stripe.Charge]) -> list[LedgerCharge]:
    return [LedgerCharge.of(charge) for charge in charges if charge.status == "succeeded"]


def _find(charge_id: str) -> stripe.Charge | None:
    try:
        return client().v1.charges.retrieve(charge_id)
    except stripe.StripeError as error:
        if error.http_status == 404 and error.code == "resource_missing":
            return None
        raise verdict(error) from error


def _retrieve(reference: str) -> stripe.Charge:
    if not REFERENCE.fullmatch(reference):
        raise ReviewRefused(f"{reference!r} is not the id of a charge (ch_…) or a payment (pi_…).")
    charge = _charge_of_payment(reference) if reference.startswith("pi_") else _find(reference)
    if charge is None:
        raise ReviewRefused(f"The payment processor has no charge {reference}.")
    return charge


def _charge_of_payment(payment_intent_id: str) -> stripe.Charge | None:
    try:
        intent = client().v1.payment_intents.retrieve(
            payment_intent_id, {"expand": ["latest_charge"]}
        )
    except stripe.StripeError as error:
        if error.http_status == 404 and error.code == "resource_missing":
            return None
        raise verdict(error) from error
    return intent.latest_charge if isinstance(intent.latest_charge, stripe.Charge) else None


def _payments_beside(charge: stripe.Charge, ride: Ride) -> list[str]:
    """Return the ids of the ride's other payments of which money is left with us."""
    try:
        intents = list(payment_intents_of(ride))
    except stripe.StripeError as error:
        raise verdict(error) from error
    return [
        intent.id
        for intent in intents
        if intent.id != charge.payment_intent and refunded_cents(intent) < intent.amount_received
    ]


def _compared(charge: stripe.Charge, ride: Ride) -> Iterator[tuple[str, Any, Any]]:
    assert ride.idempotency_key, "only a ride whose key is on the review list is paid for like this"
    metadata = charge.metadata.to_dict()
    yield "status", charge.status, "succeeded"
    yield "captured amount", charge.amount_captured, ride.amount_cents
    yield "refunded amount", charge.amount_refunded, 0
    yield "dispute", charge.disputed, False
    yield "currency", charge.currency, ride.currency
    yield "customer", charge.customer, ride.user.stripe_customer_id
    yield "metadata ride_id", metadata.get("ride_id"), str(ride.pk)
    yield (
        "metadata foreign_key",
        metadata.get("foreign_key"),
        str(ride.idempotency_key.foreign_key),
    )
