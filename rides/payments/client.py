"""The connection to Stripe: its time limits, and what an error on it means for the money."""

from datetime import timedelta
from functools import lru_cache

import stripe
from django.conf import settings

from idempotency.exceptions import Indeterminate, NeedsReview
from rides.payments.transport import CurlClient

# The client writes an id for its telemetry into the user's home folder and sends it with each call.
stripe.enable_telemetry = False

CONNECT_TIMEOUT_SECONDS = 4
CALL_TIMEOUT_SECONDS = 16  # connecting included
RETRIES = 1  # by Stripe's client, with the same idempotency key
RETRY_PAUSE_SECONDS = 0.5  # what Stripe's client sleeps before its first retry, at most
LOOKUP_SECONDS = 10  # after which no further page of a rider's payments is asked for

_CALL_SECONDS = (1 + RETRIES) * CALL_TIMEOUT_SECONDS + RETRIES * RETRY_PAUSE_SECONDS
# A charge, and the look-up that follows when Stripe repeats an error that it saved. Taking back
# begins no call that could take longer.
WORST_CASE = timedelta(seconds=_CALL_SECONDS + LOOKUP_SECONDS + _CALL_SECONDS)
LAST_CALL_SECONDS = LOOKUP_SECONDS + _CALL_SECONDS  # after the first one began


class CardDeclined(Exception):
    """Stripe's definite no: nothing was charged, and nothing will be. Its text is for the rider."""


def client() -> stripe.StripeClient:
    return connected_client(settings.STRIPE_API_KEY, settings.STRIPE_API_BASE)


@lru_cache(maxsize=8)
def connected_client(api_key: str, api_base: str) -> stripe.StripeClient:
    """Return the process's one client, which keeps an open connection per thread."""
    return stripe.StripeClient(
        api_key,
        base_addresses={"api": api_base},
        max_network_retries=RETRIES,
        http_client=CurlClient(
            connect_timeout=CONNECT_TIMEOUT_SECONDS, call_timeout=CALL_TIMEOUT_SECONDS
        ),
    )


def verdict(error: stripe.StripeError) -> Exception:
    """Return what an error of Stripe's client means for the charge (Stripe's docs, "Errors").

    Indeterminate is the rule and the others are its exceptions: a timeout, a reset, an answer that
    cannot be read, 409 (the first sending still runs), 429 and 5xx leave the charge unknown, and
    401 and 403 charged nothing but are ours to mend, after which the same request can succeed.
    """
    reason = error.error
    if isinstance(error, stripe.CardError) and reason and reason.type == "card_error":
        return CardDeclined(error.user_message)
    is_conflict = error.http_status == 409
    if isinstance(error, stripe.InvalidRequestError | stripe.IdempotencyError) and not is_conflict:
        return NeedsReview(
            "The payment processor refuses this request, and would refuse it again.",
            evidence={
                "http_status": error.http_status,
                "code": error.code or (reason and reason.type),
                "message": error.user_message,
                "request_id": error.request_id,
            },
        )
    return Indeterminate(
        f"The payment processor gave no definite answer ({_symptom(error)}).",
        retry_after_seconds=_retry_after_seconds(error),
    )


def _symptom(error: stripe.StripeError) -> str:
    if error.http_status is None:
        return "connection failed"
    return f"HTTP {error.http_status}, request {error.request_id or 'unknown'}"


def _retry_after_seconds(error: stripe.StripeError) -> int | None:
    value = (error.headers or {}).get("Retry-After", "")
    return int(value[:5]) if value.isascii() and value.isdigit() else None
