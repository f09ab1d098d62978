"""Refunds at Stripe: those that a payment has, and one more."""

import itertools
import time
from dataclasses import dataclass
from typing import Any

import stripe
from stripe.params import RefundCreateParams

from idempotency.foreign_keys import installation_mark
from rides.payments.asking import ask, judging, pages
from rides.payments.client import client, is_saved_refusal
from rides.payments.reversals import Reversal
from rides.payments.shapes import LedgerCharge, Payment
from rides.payments.statuses import REFUNDS

PAGE = 100
SAVED_ERRORS_SECONDS = 2  # what is only repeated is there at once

INSTEAD_OF = "instead_of"
"""In the metadata of a refund that was made because another one failed: that one's id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refund(Reversal):
    """Money on its way back. Its `reason` is why it failed, where it did."""

    KIND = "refund"
    STATUSES = REFUNDS
    REASON = "failure_reason"

    @classmethod
    def service(cls) -> Any:
        return client().v1.refunds

    @property
    def is_ours(self) -> bool:
        """Whether this service made it: what is made in the dashboard bears no mark."""
        return "foreign_key" in self.metadata


def refunds_of(payment_id: str) -> list[Refund]:
    """Return a payment's refunds, newest first.

    Raises: Indeterminate, NeedsReview.
    """
    listed = pages(client().v1.refunds.list, limit=PAGE, payment_intent=payment_id)
    return [Refund.of(each) for page in listed for each in page]


def refund_rest(payment: Payment, idempotency_key: str) -> Refund:
    """Refund what is left of a payment whose refunds have been looked at.

    Raises: stripe.StripeError, for `verdict` to judge; Indeterminate, NeedsReview.
    """
    wanted: RefundCreateParams = {
        "payment_intent": payment.id,
        "reason": "requested_by_customer",
        "metadata": payment.metadata,
    }
    return make_refund(wanted, idempotency_key)


def refund_again(failed: Refund, charge: LedgerCharge) -> Refund:
    """Make another refund in the place of one that failed, once however often it is asked for.

    Its key is made of the failed one's id, so each failure has one of its own. Once Stripe has
    removed the key, the refund itself is found by what it bears.

    Raises: Indeterminate, to be asked for again; NeedsReview.
    """
    listed = pages(client().v1.refunds.list, limit=PAGE, charge=charge.id)
    for each in (Refund.of(each) for page in listed for each in page):
        if each.metadata.get(INSTEAD_OF) == failed.id:
            return each
    wanted: RefundCreateParams = {
        "charge": charge.id,
        "amount": failed.amount_cents,
        "reason": "requested_by_customer",
        "metadata": {**charge.metadata, INSTEAD_OF: failed.id},
    }
    with judging():
        return make_refund(wanted, f"{installation_mark()}:refund:instead_of:{failed.id}")


def make_refund(wanted: RefundCreateParams, idempotency_key: str) -> Refund:
    """Make a refund, of what was looked at before: nothing of it is refunded yet.

    A key under which an error was saved only repeats it. That was before the look, which shows no
    refund of it, so the next key asks anew.

    Raises: stripe.StripeError, for `verdict` to judge; Indeterminate, NeedsReview.
    """
    until = time.monotonic() + SAVED_ERRORS_SECONDS
    for number in itertools.count():
        key = f"{idempotency_key}:{number}" if number else idempotency_key
        try:
            made = ask(client().v1.refunds.create, wanted, options={"idempotency_key": key})
            break
        except stripe.StripeError as error:
            if not is_saved_refusal(error) or time.monotonic() > until:
                raise
    if not made.is_replay:
        return Refund.of(made.data)
    with judging():  # a saved answer is of then; what became of the refund is asked of itself
        return Refund.of(ask(client().v1.refunds.retrieve, str(made.data.get("id"))).data)
