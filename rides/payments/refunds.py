"""Refunds at Stripe: those that a payment has, and one more."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from rides.payments.asking import ask, judging, pages
from rides.payments.client import client
from rides.payments.shapes import LATEST, Payment, is_amount, is_id, unexpected
from rides.payments.statuses import REFUNDS, Outcome

PAGE = 100


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
    """Refund what is left of a payment.

    Raises: stripe.StripeError, for `verdict` to judge; Indeterminate, NeedsReview.
    """
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
