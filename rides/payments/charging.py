"""Charging a ride, and finding the charge again: what an operation's phases call."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any

import stripe
from django.conf import settings
from stripe.params import PaymentIntentCreateParams

from idempotency import Pending, conf
from idempotency.exceptions import Indeterminate, NeedsReview
from idempotency.foreign_keys import question_key
from rides.formats import amount
from rides.models import Ride
from rides.payments.asking import (
    Page,
    TooManyToLookThrough,
    ask,
    cancel,
    find,
    judging,
    pages,
    refuse_to_begin_after,
)
from rides.payments.client import (
    LAST_CALL_SECONDS,
    LOOKUP_SECONDS,
    CardDeclined,
    client,
    drop_connection,
    is_replay,
    is_saved_refusal,
    is_used_otherwise,
    verdict,
    within,
)
from rides.payments.disputes import are_won
from rides.payments.keys import PLACEHOLDER, bears_key_of, customer_of, foreign_key_of, marks_of
from rides.payments.shapes import Payment, is_id, not_asked_for, unexpected
from rides.payments.statuses import PAYMENTS, Outcome
from rides.payments.useless import make_key_useless

PAGE = 100  # payments, each with its charge: some 600 KB of the 1 MiB that an answer may have

# Under one question's key nothing is sent later than this after the first time, with a reserve: a
# phase's window is shorter, since Stripe may forget the key then.
LONGEST_SENDING = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """Money that Stripe took, in minor units of `currency`."""

    id: str
    payment_intent_id: str
    amount_cents: int
    currency: str

    def __str__(self) -> str:
        paid = amount(self.amount_cents, self.currency)
        return f"{paid} paid: charge {self.id} of payment {self.payment_intent_id}"


def charge(ride: Ride, *, question: int = 0) -> Charge | Pending:
    """Charge the ride's fare to its rider's card; for one foreign key at most once.

    No payment method is named. Stripe then takes the customer's `default_source`, the card that the
    customer was created with (Stripe's API reference, "Create a PaymentIntent", `payment_method`),
    so there is no copy of it here to fall out of step, and no second call to ask for it.

    Args:
        question: how often a person has had it asked anew, each time under another key.

    Raises: CardDeclined, Indeterminate, NeedsReview.
    """
    last_call_at = time.monotonic() + LAST_CALL_SECONDS
    key = foreign_key_of(ride)
    if question:
        if found := _found_of_earlier(ride, question, last_call_at):
            return found
        key = question_key(key, question)
    try:
        answer = ask(
            client().v1.payment_intents.create,
            wanted(ride),
            options={"idempotency_key": str(key)},
        )
    except stripe.StripeError as error:
        if isinstance(error, stripe.CardError) and is_replay(error) and (intent := within(error)):
            return _judged([_read_again(intent, ride)], ride, last_call_at)
        if is_saved_refusal(error) or is_used_otherwise(error):
            return _charge_behind(ride, error, last_call_at)
        raise verdict(error) from error
    if answer.is_replay:
        # It is as old as its first sending: what became of the payment since is asked of itself.
        return _judged([_read_again(answer.data, ride)], ride, last_call_at)
    return _judged([_ours(answer.data, ride)], ride, last_call_at)


def _found_of_earlier(ride: Ride, question: int, last_call_at: float) -> Charge | Pending | None:
    """Make the keys of the earlier questions useless, and look for what any of them has led to."""
    for number in range(question):
        key = question_key(foreign_key_of(ride), number)
        make_key_useless(ride, key)
    found = _find_charge(ride, last_call_at)
    if found is None:
        refuse_to_begin_after(last_call_at)
    return found


def follow(ride: Ride, payment_id: str) -> Charge | Pending:
    """Ask Stripe what became of a payment that was under way.

    Raises: CardDeclined, Indeterminate, NeedsReview.
    """
    return _followed(ride, payment_id, time.monotonic() + LAST_CALL_SECONDS)


def _followed(ride: Ride, payment_id: str, last_call_at: float) -> Charge | Pending:
    return _judged([_read_again({"id": payment_id}, ride)], ride, last_call_at)


def withdraw(ride: Ride, payment_id: str) -> Charge | Pending:
    """Cancel a payment that was under way for too long, and return or raise what it is then.

    Raises: CardDeclined, once Stripe has confirmed that no money will come of it; Indeterminate,
    NeedsReview.
    """
    last_call_at = time.monotonic() + LAST_CALL_SECONDS
    with judging():
        cancel(payment_id)
    return _followed(ride, payment_id, last_call_at)


def wanted(ride: Ride) -> PaymentIntentCreateParams:
    """Return what Stripe is asked for.

    After a loss of rows the retry has to ask the same question, or Stripe refuses it. So nothing
    of it comes from a row that can be lost, no serial number, and no word that a deploy may change;
    and nothing is of one request, as its id or its address.
    """
    marks = marks_of(ride)
    return {
        "amount": ride.amount_cents,
        "currency": ride.currency,
        "customer": customer_of(ride),
        "automatic_payment_methods": {"enabled": True},
        "confirm": True,
        # The rider who books is there to confirm the payment at their bank's page. So it is sent
        # in every sending, the completer's too: the question is the same.
        "return_url": settings.PAYMENT_RETURN_URL,
        "description": f"{marks['installation']} {marks['foreign_key']}",
        "metadata": marks,
    }


def find_charge(ride: Ride) -> Charge | Pending | None:
    """Ask Stripe what became of the ride's payment, and send nothing; None if it knows of none.

    A payment that stands is the answer, even where the time was up before all was looked through:
    whatever else bears its key is for `reconcile` to find.

    Raises: CardDeclined, Indeterminate, NeedsReview.
    """
    return _find_charge(ride, time.monotonic() + LAST_CALL_SECONDS)


def _find_charge(ride: Ride, last_call_at: float) -> Charge | Pending | None:
    found: list[Payment] = []
    try:
        found.extend(payments_of(ride))
    except TooManyToLookThrough:
        if not any(_stands(payment) for payment in found):
            raise
    return _judged(found, ride, last_call_at) if found else None


def payments_of(ride: Ride) -> Iterator[Payment]:
    """Yield the payments under the ride's foreign key, each read with its charge.

    They are where they must be if they are anywhere: at the customer that was asked, and not before
    the oldest request that can have sent this key. After a loss of rows a payment is older than the
    ride, by `RETENTION` at most; and Stripe's clock is not the database's. To the newest there is
    no bound, which would hide a payment that a person made by hand. Of a customer with more than a
    page, those from the time of the sending come first.

    By listing, not by Stripe's search: that lags behind by up to a minute, and a payment that it
    does not show yet must not pass for one that was never made (Stripe's docs, "Search").

    Raises: Indeterminate, NeedsReview.
    """
    for intent in chain.from_iterable(_pages_of(ride)):
        metadata = intent.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise not_asked_for(intent)
        if bears_key_of(ride, metadata) and PLACEHOLDER not in metadata:
            yield Payment.of(intent)


def _pages_of(ride: Ride) -> Iterator[Page]:
    listed = partial(
        pages,
        client().v1.payment_intents.list,
        limit=PAGE,
        until=time.monotonic() + LOOKUP_SECONDS,
        customer=customer_of(ride),
        expand=["data.latest_charge"],
    )
    first = ride.created_at - conf.current().lookup_span
    whole = listed(created=_span(first))
    newest = next(whole)
    sent_at = ride.idempotency_key.foreign_sent_at if ride.idempotency_key else None
    if newest.is_last or sent_at is None:
        yield newest
        yield from whole
        return
    for span in _spans_by_likelihood(first, sent_at):
        yield from listed(created=span)


def _spans_by_likelihood(first: datetime, sent_at: datetime) -> Iterator[dict[str, int]]:
    """Yield the parts of the time from `first` on: around the first sending, of those that may have
    followed it, before them, and after them.
    """
    apart = conf.current().provider_clock_difference
    begin, sent_by = max(first, sent_at - apart), sent_at + apart
    end = sent_by + LONGEST_SENDING
    yield _span(begin, sent_by)
    yield _span(sent_by, end)
    yield _span(first, begin)
    yield _span(end)


def _span(begin: datetime, end: datetime | None = None) -> dict[str, int]:
    span = {"gte": int(begin.timestamp())}
    return span | {"lt": int(end.timestamp())} if end else span


def _stands(payment: Payment) -> bool:
    return payment.status == "succeeded" and not payment.refunded_cents


def _judged(found: list[Payment], ride: Ride, last_call_at: float) -> Charge | Pending:
    """Return what the one payment that stands comes to, or raise what they are otherwise."""
    paid = [payment for payment in found if payment.status == "succeeded"]
    kept = [payment for payment in paid if _stands(payment)]
    if len(kept) > 1 or (paid and not kept):
        what = "more than one payment" if kept else "a payment that was refunded"
        raise NeedsReview(
            f"The payment processor shows {what} for this ride.",
            evidence={"payment_intents": [payment.id for payment in paid]},
        )
    return _outcome_of((kept or _under_way(found) or found)[0], ride, last_call_at)


def _under_way(found: list[Payment]) -> list[Payment]:
    return [
        payment
        for payment in found
        if payment.status not in PAYMENTS or PAYMENTS[payment.status].outcome is Outcome.UNDER_WAY
    ]


def _outcome_of(payment: Payment, ride: Ride, last_call_at: float) -> Charge | Pending:
    meaning = PAYMENTS.get(payment.status)
    if meaning is None:
        raise _not_paid_for(payment)
    if meaning.outcome is Outcome.REFUSED:
        raise CardDeclined(
            payment.failure or meaning.said,
            payment_id=None if payment.status == "canceled" else payment.id,
        )
    if meaning.outcome is Outcome.UNDER_WAY:
        return Pending(
            payment.id,
            {
                "message": meaning.said,
                "status": payment.status,
                "client_secret": payment.client_secret,
                "next_action": payment.next_action or None,
            },
            ask_again_in=meaning.ask_again_in,
            gives_up_after=meaning.gives_up_after,
        )
    return _charge_of(payment, ride, last_call_at)


def _charge_of(payment: Payment, ride: Ride, last_call_at: float) -> Charge:
    paid = (payment.amount_received_cents, payment.currency)
    if payment.charge_id is None or paid != (ride.amount_cents, ride.currency):
        raise _not_paid_for(payment)
    if payment.is_disputed and not are_won(payment.charge_id, last_call_at=last_call_at):
        raise NeedsReview(
            "The rider's bank disputes the payment for this ride.",
            evidence={"payment_intent": payment.id, "charge": payment.charge_id},
        )
    return Charge(
        id=payment.charge_id,
        payment_intent_id=payment.id,
        amount_cents=ride.amount_cents,
        currency=ride.currency,
    )


def _not_paid_for(payment: Payment) -> NeedsReview:
    return unexpected(
        "The payment is not what was asked for.",
        payment_intent=payment.id,
        status=payment.status,
        amount_received=payment.amount_received_cents,
        currency=payment.currency,
    )


def _ours(intent: dict[str, Any], ride: Ride) -> Payment:
    """Return the payment, if it bears what was sent for the ride: an answer that does not is
    another request's, perhaps one that a connection had left over.

    Raises: Indeterminate; NeedsReview, where it is ours and not what a payment looks like.
    """
    sent = (customer_of(ride), ride.amount_cents, ride.currency)
    came = tuple(intent.get(name) for name in ("customer", "amount", "currency"))
    if came != sent or not bears_key_of(ride, intent.get("metadata")) or not intent.get("status"):
        drop_connection()
        raise Indeterminate("The payment processor's answer is not one to this request.")
    return Payment.of(intent)


def _read_again(intent: dict[str, Any], ride: Ride) -> Payment:
    """Return the payment as it is now: a saved answer is as old as its first sending."""
    if not is_id(intent.get("id")):
        raise not_asked_for(intent)
    return _ours(_retrieve(intent["id"]), ride)


def read_payment(payment_id: str) -> Payment:
    """Return a payment as Stripe has it now. Raises: Indeterminate, NeedsReview."""
    return Payment.of(_retrieve(payment_id))


def _retrieve(payment_id: str) -> dict[str, Any]:
    retrieve = client().v1.payment_intents.retrieve
    found = find(retrieve, payment_id, expand=["latest_charge"]) or {}
    if found.get("id") != payment_id:
        raise not_asked_for(found)
    return found


def _charge_behind(ride: Ride, error: stripe.StripeError, last_call_at: float) -> Charge | Pending:
    """Look for the charge, because the key that would repeat the question only repeats the error.

    Stripe saves the first answer to a key, a 500 included, whether or not the card was charged, and
    refuses the key where anything that is sent with it has changed, as after a deploy (Stripe's
    API reference, "Idempotent requests").
    """
    found = _find_charge(ride, last_call_at)
    if found is None:
        raise verdict(error) from error
    return found
