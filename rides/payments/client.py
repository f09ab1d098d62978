"""The connection to Stripe: its time limits, and what an error on it means for the money."""

from datetime import timedelta
from functools import lru_cache
from typing import Any

import stripe
from django.conf import settings

from idempotency.exceptions import ForeignRefusal, Indeterminate, NeedsReview
from rides.payments.transport import CurlClient, NotSendable

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
    """Stripe's definite no: nothing was charged. Its text is for the rider.

    `payment_id` is that of the payment which it leaves behind: while that is open, whoever confirms
    it would still pay. None where it was canceled.
    """

    def __init__(self, message: str, *, payment_id: str | None = None) -> None:
        super().__init__(message)
        self.payment_id = payment_id


def client() -> stripe.StripeClient:
    return connected_client(settings.STRIPE_API_KEY, settings.STRIPE_API_BASE)


@lru_cache(maxsize=8)
def connected_client(api_key: str, api_base: str) -> stripe.StripeClient:
    """Return the process's one client, which keeps an open connection per thread."""
    return stripe.StripeClient(
        api_key,
        base_addresses={"api": api_base},
        max_network_retries=RETRIES,
        http_client=_transport(CONNECT_TIMEOUT_SECONDS, CALL_TIMEOUT_SECONDS),
    )


@lru_cache(maxsize=8)
def _transport(connect_timeout: float, call_timeout: float) -> CurlClient:
    return CurlClient(connect_timeout=connect_timeout, call_timeout=call_timeout)


def within(error: stripe.StripeError) -> dict[str, Any] | None:
    """Return the payment inside a card error."""
    body = error.json_body if isinstance(error.json_body, dict) else {}
    told = body.get("error")
    intent = told.get("payment_intent") if isinstance(told, dict) else None
    return intent if isinstance(intent, dict) else None


def is_replay(error: stripe.StripeError) -> bool:
    """Whether it is the first answer to the key once more."""
    return (error.headers or {}).get("Idempotent-Replayed") == "true"


def is_used_otherwise(error: stripe.StripeError) -> bool:
    """Whether Stripe knows the key as another question's (its docs, "Idempotent requests")."""
    return isinstance(error, stripe.IdempotencyError)


def is_saved_refusal(error: stripe.StripeError) -> bool:
    """Whether the key only repeats an error that was saved under it; a decline is an answer."""
    return is_replay(error) and not isinstance(error, stripe.CardError)


def drop_connection() -> None:
    """Close this thread's connection to Stripe: what comes over it cannot be believed."""
    _transport(CONNECT_TIMEOUT_SECONDS, CALL_TIMEOUT_SECONDS).drop_connection()


def verdict(error: stripe.StripeError) -> Exception:
    """Return what an error of Stripe's client means for the charge (Stripe's docs, "Errors").

    Indeterminate is the rule and the others are its exceptions: a timeout, a reset, an answer that
    cannot be read, 409 (the first sending still runs), 429 and 5xx leave the charge unknown, and
    401 and 403 charged nothing but are ours to mend, after which the same request can succeed.
    """
    reason = error.error
    if isinstance(error, stripe.CardError) and reason and reason.type == "card_error":
        left_behind = within(error) or {}
        payment_id = left_behind.get("id")
        return CardDeclined(
            error.user_message or "The payment did not go through.",
            payment_id=payment_id if isinstance(payment_id, str) else None,
        )
    is_conflict = error.http_status == 409
    is_refused = isinstance(error, stripe.InvalidRequestError | stripe.IdempotencyError)
    is_saved = is_saved_refusal(error) and (error.http_status or 0) < 500
    if (is_refused or is_saved) and not is_conflict:
        # A key that was used for another question may have a payment under it.
        kind = NeedsReview if is_used_otherwise(error) else ForeignRefusal
        return kind(
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
    if isinstance(error, NotSendable):
        return str(error)
    if error.http_status is None:
        return "connection failed"
    return f"HTTP {error.http_status}, request {error.request_id or 'unknown'}"


def _retry_after_seconds(error: stripe.StripeError) -> int | None:
    value = (error.headers or {}).get("Retry-After", "")
    return int(value[:5]) if value.isascii() and value.isdigit() else None
