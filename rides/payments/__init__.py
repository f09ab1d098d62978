"""Stripe, and nothing but Stripe: the only package that imports its client.

Whatever Stripe says of a charge leaves here as one of four things: a `Charge`, `CardDeclined` (a
definite no), `Indeterminate` (it may have been made, so the same key may be sent again) or
`NeedsReview` (a person must decide). Apart from the rest, because the distinction of these four is
what keeps a card from being charged twice.
"""

from rides.payments.charging import Charge, charge, find_charge
from rides.payments.client import WORST_CASE, CardDeclined
from rides.payments.clocks import stripes_clock_ahead
from rides.payments.customers import CustomerUnavailable, create_customer, customer_exists
from rides.payments.reading import (
    charges_between,
    charges_by_id,
    find_ledger_charge,
    read_charge,
)
from rides.payments.refunding import refund_charge
from rides.payments.shapes import LedgerCharge
from rides.payments.taking_back import Account, TakenBack, take_back

__all__ = [
    "WORST_CASE",
    "Account",
    "CardDeclined",
    "Charge",
    "CustomerUnavailable",
    "LedgerCharge",
    "TakenBack",
    "charge",
    "charges_between",
    "charges_by_id",
    "create_customer",
    "customer_exists",
    "find_charge",
    "find_ledger_charge",
    "read_charge",
    "refund_charge",
    "stripes_clock_ahead",
    "take_back",
]
