"""Giving the money back: what a person's decision to undo a ride's payment does at Stripe.

Before the answer says that nothing is charged, the key under which a charge could still be made is
made useless, and only then are the payments under it looked up. In the other order a charge could
be made between the two.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from itertools import chain
from typing import Any
from uuid import UUID

import stripe

from idempotency import Pending
from idempotency.exceptions import ForeignRefusal, Indeterminate, NeedsReview
from idempotency.foreign_keys import question_key
from rides.models import Ride
from rides.payments.asking import TooManyToLookThrough, cancel, refuse_to_begin_after
from rides.payments.charging import payments_of, read_payment
from rides.payments.client import LAST_CALL_SECONDS, verdict
from rides.payments.disputes import are_won
from rides.payments.keys import bears_key_of, foreign_key_of
from rides.payments.refunds import Refund, refund_rest, refunds_of
from rides.payments.shapes import Payment, unexpected
from rides.payments.statuses import Outcome
from rides.payments.useless import make_key_useless

# Said of a payment that was taken back by somebody else since it was listed.
CHANGED_MEANWHILE = ("charge_already_refunded", "payment_intent_unexpected_state")


REFUND_ASKED_ABOUT_IN = timedelta(hours=1)
LONGEST_REFUND = timedelta(days=31)  # Stripe lets a refund fail for thirty days

DISPUTED = "disputed"


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenBack:
    """What became of one payment; `refunded_cents` in minor units of `currency`."""

    payment_intent_id: str
    outcome: str
    refunded_cents: int
    currency: str
    is_under_way: bool = False
    refunds: tuple[Refund, ...] = ()
    """All that it has, those that failed included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """All that was taken back, and whether it is known that there was and will be nothing else.

    It is not, once Stripe may have removed the key of the first sending: that the list shows
    nothing else is then all that can be said. Nor where the list has more than can be looked
    through in the time, or is not shown at all.
    """

    payments: list[TakenBack]
    is_complete: bool

    @property
    def refunds(self) -> list[Refund]:
        return [refund for payment in self.payments for refund in payment.refunds]

    def for_the_record(self) -> dict[str, Any]:
        """Return it as JSON, without the refunds, which are rows of their own."""
        kept = asdict(replace(self, payments=[replace(each, refunds=()) for each in self.payments]))
        for payment in kept["payments"]:
            del payment["refunds"]
        return kept


def take_back(
    ride: Ride, *, idempotency_key: UUID, question: int, is_remembered: bool
) -> Account | Pending:
    """Cancel whatever can still be canceled of the ride's payments, and refund what was paid.

    Each payment and its refunds are looked at first, so it is refunded once however late this is
    called again; until Stripe forgets it, its own idempotency key sees to that even where two
    processes do it at once. A refund that failed is followed by another one under a key of its own,
    once a person has said so.

    Returns: `Pending` while a refund, or a payment that cannot be canceled, is under way.

    Args:
        idempotency_key: what the keys of these calls are made of; not the charge's, which Stripe
            then refuses for as long as it knows it.
        question: how often a person has had the charge, or this, done anew: under so many more keys
            a charge may come, and so many refunds may have failed.
        is_remembered: whether Stripe still knows whatever was sent under the charge's key.

    Raises: Indeterminate, to be called again; NeedsReview.
    """
    last_call_at = time.monotonic() + LAST_CALL_SECONDS
    is_made = True
    for number in range(question + 1):
        refuse_to_begin_after(last_call_at)
        is_made &= make_key_useless(ride, question_key(foreign_key_of(ride), number))
    taken_back, are_all = _take_back_each(ride, idempotency_key, question, last_call_at)
    if under_way := [each for each in taken_back if each.is_under_way]:
        return Pending(
            under_way[0].payment_intent_id,
            {"message": "This ride is being cancelled, and what was paid for it is refunded."},
            ask_again_in=REFUND_ASKED_ABOUT_IN,
            gives_up_after=LONGEST_REFUND,
            kept=[refund for each in taken_back for refund in each.refunds],
        )
    if not is_made and not taken_back and is_remembered:
        # A call may be under way, or have ended in an error that says nothing.
        raise Indeterminate(
            "The payment processor has this ride's key, and shows no payment under it yet."
        )
    return Account(payments=taken_back, is_complete=is_remembered and are_all)


def _take_back_each(
    ride: Ride, idempotency_key: UUID, question: int, last_call_at: float
) -> tuple[list[TakenBack], bool]:
    """Take the ride's payments back; return what became of each, and whether those were all.

    Those from the time of the sending come first. So where the time for the list was up, and one
    was found, what else bears the key is for `reconcile` to find, as it is for a look-up.

    Raises: TooManyToLookThrough, where none was found; Indeterminate, NeedsReview.
    """
    payments, are_listed = _payments_known(ride)
    taken_back: list[TakenBack] = []
    try:
        for payment in payments:
            refuse_to_begin_after(last_call_at)
            with _judging_changes():
                taken_back.append(_take_back(payment, idempotency_key, question, last_call_at))
    except TooManyToLookThrough:
        if not taken_back:
            raise
        return taken_back, False
    return taken_back, are_listed


def _payments_known(ride: Ride) -> tuple[Iterable[Payment], bool]:
    """Return the ride's payments, and whether Stripe lists them: not those of a customer that it no
    longer has. Then it is the one that the ride has recorded, if it has, and is the ride's.
    """
    listed = iter(payments_of(ride))
    try:
        first = next(listed, None)
    except ForeignRefusal as refusal:
        if refusal.evidence.get("code") != "resource_missing":
            raise
        recorded = ride.stripe_payment_intent_id
        known = [read_payment(recorded)] if recorded else []
        return [each for each in known if bears_key_of(ride, each.metadata)], False
    return (chain([first], listed) if first else ()), True


def _take_back(
    payment: Payment, idempotency_key: UUID, question: int, last_call_at: float
) -> TakenBack:
    if payment.is_disputed:
        if not (payment.charge_id and are_won(payment.charge_id, last_call_at=last_call_at)):
            return _taken_back(payment, DISPUTED, 0)
        refuse_to_begin_after(last_call_at)
    if payment.status == "succeeded":
        return _refund_once(payment, idempotency_key, question)
    if payment.status != "canceled":
        cancel(payment.id)
        payment = read_payment(payment.id)
    if payment.status == "succeeded":
        raise Indeterminate("A payment changed while it was being taken back.")
    # What is processed can't be canceled, and is refunded once it has come.
    return _taken_back(payment, payment.status, 0, is_under_way=payment.status != "canceled")


def _refund_once(payment: Payment, idempotency_key: UUID, question: int) -> TakenBack:
    """Refund what is left of a payment, or say what became of the refunds that it has.

    Raises: NeedsReview where one failed, and no person has asked for another one since.
    """
    refunds = refunds_of(payment.id)
    back = {o: sum(r.amount_cents for r in refunds if r.outcome is o) for o in Outcome}
    failed = [refund for refund in refunds if refund.outcome is Outcome.REFUSED]
    left = payment.amount_received_cents - back[Outcome.PAID] - back[Outcome.UNDER_WAY]
    if left > 0:
        if len(failed) > question:
            raise _refund_failed(failed[0])
        made = refund_rest(payment, f"{idempotency_key}:refund:{payment.id}")
        if made.outcome is Outcome.REFUSED:
            raise _refund_failed(made)
        back[made.outcome] += left
        refunds = [made, *refunds]
    is_under_way = back[Outcome.UNDER_WAY] > 0
    said = "refund pending" if is_under_way else "refund succeeded"
    taken_back = _taken_back(
        payment, said, payment.amount_received_cents, is_under_way=is_under_way
    )
    return replace(taken_back, refunds=tuple(refunds))


def _refund_failed(refund: Refund) -> NeedsReview:
    return unexpected(
        "The refund did not reach the rider. Another one is made if you run the request again.",
        refund=refund.id,
        status=refund.status,
        reason=refund.reason,
        payment_intent=refund.payment_intent_id,
    )


def _taken_back(
    payment: Payment, outcome: str, cents: int, *, is_under_way: bool = False
) -> TakenBack:
    return TakenBack(
        payment_intent_id=payment.id,
        outcome=outcome,
        refunded_cents=cents,
        currency=payment.currency,
        is_under_way=is_under_way,
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
