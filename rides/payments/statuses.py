"""Every status that Stripe documents, and what it means here: for the ride, its key, the answer.

One table for payments, charges, refunds and disputes each, complete against the types of Stripe's
own client (a test compares them). A status that is in none is not believed: a person must look.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum


class Outcome(Enum):
    """What a status says of the money."""

    PAID = "the money is with us"
    REFUSED = "no money was taken; the payment may still be open at Stripe"
    UNDER_WAY = "it may yet be taken, or not"


@dataclass(frozen=True, kw_only=True, slots=True)
class Meaning:
    """What a payment's status means. What is under way is asked about again in `ask_again_in`, and
    withdrawn `gives_up_after` it began.
    """

    outcome: Outcome
    said: str
    ask_again_in: timedelta = timedelta(0)
    gives_up_after: timedelta = timedelta(0)


# A rider who confirms half an hour later still flies.
WAITS_FOR_THE_RIDER = {
    "ask_again_in": timedelta(seconds=30),
    "gives_up_after": timedelta(hours=1),
}

# Stripe's docs, "PaymentIntents and SetupIntents: lifecycle".
PAYMENTS = {
    "succeeded": Meaning(outcome=Outcome.PAID, said="Payment accepted."),
    "canceled": Meaning(outcome=Outcome.REFUSED, said="The payment was canceled."),
    # After a decline; while it is open, another card could still pay it.
    "requires_payment_method": Meaning(
        outcome=Outcome.REFUSED, said="The payment did not go through."
    ),
    "requires_action": Meaning(
        outcome=Outcome.UNDER_WAY,
        said="Your bank asks you to confirm this payment.",
        **WAITS_FOR_THE_RIDER,
    ),
    "requires_confirmation": Meaning(
        outcome=Outcome.UNDER_WAY, said="The payment is to be confirmed.", **WAITS_FOR_THE_RIDER
    ),
    # Nothing here asks for a later capture; whoever set the account up so has a week to capture.
    "requires_capture": Meaning(
        outcome=Outcome.UNDER_WAY,
        said="The payment is held on your card.",
        ask_again_in=timedelta(minutes=10),
        gives_up_after=timedelta(days=6),
    ),
    # Bank debits take up to two weeks (SEPA: 14 days). It can't be cancelled meanwhile.
    "processing": Meaning(
        outcome=Outcome.UNDER_WAY,
        said="Your bank is working on this payment.",
        ask_again_in=timedelta(minutes=10),
        gives_up_after=timedelta(days=15),
    ),
}

# Of a charge, each an attempt of a payment's to take money.
CHARGES = {
    "succeeded": Outcome.PAID,
    "pending": Outcome.UNDER_WAY,
    "failed": Outcome.REFUSED,
}

# Stripe's docs, "Refund and cancel payments". A refund may fail days later, for thirty days.
REFUNDS = {
    "succeeded": Outcome.PAID,
    "pending": Outcome.UNDER_WAY,
    "requires_action": Outcome.UNDER_WAY,
    "failed": Outcome.REFUSED,
    "canceled": Outcome.REFUSED,
}

# Stripe's docs, "Disputes": whose the money is. A warning has taken none yet.
DISPUTES = {
    "won": Outcome.PAID,
    "warning_closed": Outcome.PAID,
    "prevented": Outcome.PAID,
    "lost": Outcome.REFUSED,
    "needs_response": Outcome.UNDER_WAY,
    "under_review": Outcome.UNDER_WAY,
    "warning_needs_response": Outcome.UNDER_WAY,
    "warning_under_review": Outcome.UNDER_WAY,
    "appeal_needs_response": Outcome.UNDER_WAY,
    "appeal_under_review": Outcome.UNDER_WAY,
}
