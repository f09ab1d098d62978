"""Charges as Stripe's ledger shows them: one that a person names, or all of a time range.

Nothing here changes anything at Stripe.
"""

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from idempotency.exceptions import ReviewRefused
from rides.models import Ride
from rides.payments.asking import TooManyToLookThrough, find, pages, patient
from rides.payments.charging import Charge, payments_of
from rides.payments.client import LAST_CALL_SECONDS, client
from rides.payments.disputes import are_won
from rides.payments.keys import PLACEHOLDER, customer_of, foreign_key_of
from rides.payments.shapes import LedgerCharge, Payment
from rides.payments.statuses import Outcome

PAGE = 100  # charges, the most that Stripe gives at a time
REFERENCE = re.compile(r"(ch|pi)_[A-Za-z0-9_]{1,240}")


def read_charge(ride: Ride, reference: str) -> Charge:
    """Return the charge that a person found at Stripe, once it is sure that it pays for the ride,
    and that nothing else does: adopting one of two would leave the rider charged twice.

    Args:
        reference: the id of a charge (ch_…) or of its payment (pi_…).

    Raises: ReviewRefused, with all that is wrong with it; Indeterminate, NeedsReview.
    """
    last_call_at = time.monotonic() + LAST_CALL_SECONDS
    charge = _retrieve(reference)
    wrong = [
        f"its {what} is {found!r}, not {wanted!r}"
        for what, found, wanted in _compared(charge, ride)
        if found != wanted
    ]
    payment_intent_id = charge.payment_intent_id
    if payment_intent_id is None:
        raise ReviewRefused(f"{charge.id} belongs to no payment, as all of ours do.")
    if wrong:
        raise ReviewRefused(f"{charge.id} does not pay for ride {ride.pk}: {'; '.join(wrong)}.")
    if others := _payments_beside(charge, ride):
        raise ReviewRefused(
            f"{', '.join(others)} took money for ride {ride.pk} too, or may yet. Refund or cancel "
            "that at Stripe first."
        )
    if charge.is_disputed and not are_won(charge.id, last_call_at=last_call_at):
        raise ReviewRefused(f"{charge.id} is not ours to keep: the rider's bank disputes it.")
    return Charge(
        id=charge.id,
        payment_intent_id=payment_intent_id,
        amount_cents=charge.amount_cents,
        currency=charge.currency,
    )


def charges_between(start: datetime, end: datetime) -> Iterator[list[LedgerCharge]]:
    """Yield the charges that were made from `start` to before `end` and have succeeded or are under
    way, newest first, in pages.

    Raises: Indeterminate, NeedsReview.
    """
    created = {"gte": int(start.timestamp()), "lt": int(end.timestamp())}
    for page in pages(patient(client().v1.charges.list), limit=PAGE, created=created):
        charges = map(LedgerCharge.of, page)
        yield [charge for charge in charges if charge.outcome in (Outcome.PAID, Outcome.UNDER_WAY)]


def charges_by_id(charge_ids: Iterable[str]) -> list[LedgerCharge]:
    """Return those of the charges that Stripe has and that succeeded; one call for each.

    Raises: Indeterminate, NeedsReview.
    """
    retrieve = patient(client().v1.charges.retrieve)
    found = (find(retrieve, charge_id) for charge_id in charge_ids)
    return _succeeded(LedgerCharge.of(charge) for charge in found if charge is not None)


def find_ledger_charge(charge_id: str) -> LedgerCharge | None:
    """Return a charge as Stripe has it, or None.

    Raises: Indeterminate, NeedsReview.
    """
    charge = find(client().v1.charges.retrieve, charge_id)
    return None if charge is None else LedgerCharge.of(charge)


def _succeeded(charges: Iterable[LedgerCharge]) -> list[LedgerCharge]:
    return [charge for charge in charges if charge.outcome is Outcome.PAID]


def _retrieve(reference: str) -> LedgerCharge:
    if not REFERENCE.fullmatch(reference):
        raise ReviewRefused(f"{reference!r} is not the id of a charge (ch_…) or a payment (pi_…).")
    is_payment = reference.startswith("pi_")
    charge = _charge_of_payment(reference) if is_payment else find_ledger_charge(reference)
    if charge is None:
        raise ReviewRefused(f"The payment processor has no charge {reference}.")
    return charge


def _charge_of_payment(payment_intent_id: str) -> LedgerCharge | None:
    retrieve = client().v1.payment_intents.retrieve
    intent = find(retrieve, payment_intent_id, expand=["latest_charge"]) or {}
    charge = intent.get("latest_charge")
    return LedgerCharge.of(charge) if isinstance(charge, dict) else None


def _payments_beside(charge: LedgerCharge, ride: Ride) -> list[str]:
    """Return the ids of the ride's other payments that are open, or left money with us.

    Where the time was up before all was looked through, of those around the time of the sending:
    whatever else bears the ride's key is for `reconcile` to find.
    """
    beside: list[str] = []
    with suppress(TooManyToLookThrough):
        beside.extend(
            payment.id
            for payment in payments_of(ride)
            if payment.id != charge.payment_intent_id and _is_open_or_left_money(payment)
        )
    return beside


def _is_open_or_left_money(payment: Payment) -> bool:
    if payment.status == "succeeded":
        return payment.refunded_cents < payment.amount_received_cents
    return payment.status != "canceled"


def _compared(charge: LedgerCharge, ride: Ride) -> Iterator[tuple[str, Any, Any]]:
    yield "status", charge.status, "succeeded"
    yield "captured amount", charge.amount_cents, ride.amount_cents
    yield "refunded amount", charge.refunded_cents, 0
    yield "currency", charge.currency, ride.currency
    yield "customer", charge.customer_id, customer_of(ride)
    yield "metadata foreign_key", charge.foreign_key, str(foreign_key_of(ride))
    yield f"metadata {PLACEHOLDER}", charge.metadata.get(PLACEHOLDER), None
