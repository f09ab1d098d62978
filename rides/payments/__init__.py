"""Stripe, and nothing but Stripe: the only package that imports its client.

Whatever Stripe says of a charge leaves here as one of five things: a `Charge`, `Pending` (it is
under way there), `CardDeclined` (a definite no), `Indeterminate` (we do not know, so the same key
may be sent again) or `NeedsReview` (a person must look). Apart from the rest, because telling these
five apart is what keeps a card from being charged twice.
"""

from rides.payments.charging import Charge, charge, find_charge, follow, withdraw
from rides.payments.client import WORST_CASE, CardDeclined
from rides.payments.clocks import stripes_clock_ahead
from rides.payments.closing import close_payment
from rides.payments.customers import CustomerUnavailable, create_customer, customer_exists
from rides.payments.disputes import Dispute
from rides.payments.events import Event, EventRefused, read_event
from rides.payments.identity import Identity, ask_who_we_are, dashboard_url, is_live
from rides.payments.reading import (
    charges_between,
    charges_by_id,
    find_ledger_charge,
    read_charge,
)
from rides.payments.refunding import refund_charge
from rides.payments.refunds import Refund, refund_again
from rides.payments.reversals import (
    Reversal,
    Shown,
    find_reversal,
    reversals_between,
    reversals_by_id,
    shown_reversal,
    shown_reversals_of,
)
from rides.payments.shapes import LedgerCharge
from rides.payments.statuses import Outcome
from rides.payments.taking_back import DISPUTED, Account, TakenBack, take_back

__all__ = [
    "DISPUTED",
    "WORST_CASE",
    "Account",
    "CardDeclined",
    "Charge",
    "CustomerUnavailable",
    "Dispute",
    "Event",
    "EventRefused",
    "Identity",
    "LedgerCharge",
    "Outcome",
    "Refund",
    "Reversal",
    "Shown",
    "TakenBack",
    "ask_who_we_are",
    "charge",
    "charges_between",
    "charges_by_id",
    "close_payment",
    "create_customer",
    "customer_exists",
    "dashboard_url",
    "find_charge",
    "find_ledger_charge",
    "find_reversal",
    "follow",
    "is_live",
    "read_charge",
    "read_event",
    "refund_again",
    "refund_charge",
    "reversals_between",
    "reversals_by_id",
    "shown_reversal",
    "shown_reversals_of",
    "stripes_clock_ahead",
    "take_back",
    "withdraw",
]
