"""Refunds at Stripe: those that a payment has, and one more."""

import itertools
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import stripe

from rides.payments.asking import ask, judging, pages
from rides.payments.client import client, is_saved_refusal
from rides.payments.shapes import LATEST, Payment, is_amount, is_id, unexpected
from rides.payments.statuses import REFUNDS, Outcome

PAGE = 100
SAVED_ERRORS_SECONDS = 2  # what is only repeated is there at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Refund:
    """Money on its way back, in minor units of `currency`."""

    id: str
    status: str
    amount_cents: int
    currency: str
    payment_intent_id: str | None
    charge_id: str | None
    failure: str | None
    created_at: datetime

    @property
    def outcome(self) -> Outcome:
        return REFUNDS[self.status]

    @classmethod
    def of(cls, refund: dict[str, Any]) -> Self:
        """Raises: NeedsReview."""
        created: Any = refund.get("created")
        failure: Any = refund.get("failure_reason")
        fits = (
            is_id(refund.get("id"))
            and refund.get("status") in REFUNDS
            and is_amount(refund.get("amount"))
            and isinstance(refund.get("currency"), str)
            and isinstance(failure, str | None)
            and is_amount(created)
            and created < LATEST
            and all(
                refund.get(name) is None or is_id(refund[name])
                for name in ("payment_intent", "charge")
            )
        )
        if not fits:
            raise unexpected(
                "A refund is not what was asked for.",
                refund=refund.get("id"),
                status=refund.get("status"),
            )
        return cls(
            id=refund["id"],
            status=refund["status"],
            amount_cents=refund["amount"],
            currency=refund["currency"],
            payment_intent_id=refund.get("payment_intent"),
            charge_id=refund.get("charge"),
            failure=failure,
            created_at=datetime.fromtimestamp(created, UTC),
        )


def refunds_of(payment_id: str) -> list[Refund]:
    """Return a payment's refunds, newest first.

    Raises: Indeterminate, NeedsReview.
    """
    listed = pages(client().v1.refunds.list, limit=PAGE, payment_intent=payment_id)
    return [Refund.of(each) for page in listed for each in page]


def refund_rest(payment: Payment, idempotency_key: str) -> Refund:
    """Refund what is left of a payment whose refunds have been looked at.

    A key under which an error was saved only repeats it, and as that was before the look, which
    shows no refund of it, the next one asks anew.

    Raises: stripe.StripeError, for `verdict` to judge; Indeterminate, NeedsReview.
    """
    until = time.monotonic() + SAVED_ERRORS_SECONDS
    for number in itertools.count():
        try:
            return _refund(payment, f"{idempotency_key}:{number}" if number else idempotency_key)
        except stripe.StripeError as error:
            is_saved = is_saved_refusal(error) and (error.http_status or 0) >= 500
            if not is_saved or time.monotonic() > until:
                raise
    raise AssertionError("counting has no end")


def _refund(payment: Payment, idempotency_key: str) -> Refund:
    made = ask(
        client().v1.refunds.create,
        {
            "payment_intent": payment.id,
            "reason": "requested_by_customer",
            "metadata": payment.metadata,
        },
        options={"idempotency_key": idempotency_key},
    )
    if not made.is_replay:
        return Refund.of(made.data)
    with judging():  # a saved answer is of then; what became of the refund is asked of itself
        return Refund.of(ask(client().v1.refunds.retrieve, str(made.data.get("id"))).data)
