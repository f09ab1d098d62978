"""What time it is at Stripe."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import stripe

from idempotency.exceptions import Indeterminate
from rides.payments.asking import ask
from rides.payments.client import client

HALF_A_SECOND = timedelta(seconds=0.5)  # a `Date` has whole ones, cut off


def stripes_clock_ahead() -> timedelta | None:
    """Return how far Stripe's clock is ahead of this process's, by the `Date` of an answer to a
    call that only reads; None where it does not say. To about a second, and the call's duration.
    """
    asked_at = time.time()
    try:
        headers = ask(client().v1.payment_intents.list, {"limit": 1}).headers
    except stripe.StripeError as error:
        headers = error.headers or {}  # a refusal is dated too
    except Indeterminate:
        return None
    answered_at = time.time()
    try:
        said = parsedate_to_datetime(headers.get("Date", ""))
    except ValueError:
        return None
    said = said if said.tzinfo else said.replace(tzinfo=UTC)
    middle = datetime.fromtimestamp((asked_at + answered_at) / 2, UTC)
    return said + HALF_A_SECOND - middle
