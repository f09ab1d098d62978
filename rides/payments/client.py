"""The connection to Stripe: its key and its time limits, and what an error means for the money."""

import logging
import os
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import stripe
from django.conf import settings

from idempotency.exceptions import (
    ForeignAccessRefused,
    ForeignRefusal,
    Indeterminate,
    NeedsReview,
)
from rides.payments.transport import CurlClient, NotSendable

logger = logging.getLogger(__name__)

# The client writes an id for its telemetry into the user's home folder and sends it with each call.
stripe.enable_telemetry = False

CONNECT_TIMEOUT_SECONDS = 4
CALL_TIMEOUT_SECONDS = 16  # connecting included
RETRIES = 1  # by Stripe's client, with the same idempotency key
RETRY_PAUSE_SECONDS = 0.5  # what Stripe's client sleeps before its first retry, at most
LONGEST_RETRY_AFTER_SECONDS = 3600
LOOKUP_SECONDS = 10  # after which no further page of a rider's payments is asked for

_CALL_SECONDS = (1 + RETRIES) * CALL_TIMEOUT_SECONDS + RETRIES * RETRY_PAUSE_SECONDS
# A charge, and the look-up that follows when Stripe repeats an error that it saved. Taking back
# begins no call that could take longer.
WORST_CASE = timedelta(seconds=_CALL_SECONDS + LOOKUP_SECONDS + _CALL_SECONDS)
LAST_CALL_SECONDS = LOOKUP_SECONDS + _CALL_SECONDS  # after the first one began


# Codes of errors that concern who asks, and not what is asked for (Stripe's docs, "Error codes").
OURS_TO_MEND = (
    "account_invalid",
    "api_key_expired",
    "livemode_mismatch",
    "platform_api_key_expired",
    "secret_key_required",
    "testmode_charges_only",
    "tls_version_unsupported",
)
# Stripe has no code for these.
WORDS_OF_ANOTHER_MODE = "a similar object exists in "
WORDS_OF_A_WRONG_VERSION = "Invalid Stripe API version"


class CardDeclined(Exception):
    """Stripe's definite no: nothing was charged. Its text is for the rider.

    `payment_id` is that of the payment which it leaves behind: while that is open, whoever confirms
    it would still pay. None where it was canceled.
    """

    def __init__(self, message: str, *, payment_id: str | None = None) -> None:
        super().__init__(message)
        self.payment_id = payment_id


_read: tuple[tuple[str, int], str] | None = None
"""Which file was read, as it was written when, and the key that was in it."""


def api_key() -> str:
    """Return the key that `STRIPE_API_KEY_FILE` has now, or `STRIPE_API_KEY` without a file.

    A file that cannot be read, or has no key in it, is being written: the key of before is used.
    """
    global _read
    path = settings.STRIPE_API_KEY_FILE
    if not path:
        return str(settings.STRIPE_API_KEY)
    try:
        version = (path, os.stat(path).st_mtime_ns)
        if _read is None or _read[0] != version:
            key = Path(path).read_text(encoding="utf-8").strip()
            if not key or not (key.isascii() and key.isprintable()):
                raise ValueError("it holds no key")
            if _read is not None:
                logger.info("Stripe's API key was rotated")
            _read = version, key
    except (OSError, ValueError) as error:
        logger.warning("STRIPE_API_KEY_FILE cannot be read: %s", type(error).__name__)
    return _read[1] if _read else str(settings.STRIPE_API_KEY)


def client() -> stripe.StripeClient:
    return connected_client(api_key(), settings.STRIPE_API_BASE)


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
    intent = _told(error).get("payment_intent")
    return intent if isinstance(intent, dict) else None


def _told(error: stripe.StripeError) -> dict[str, Any]:
    """Return the fields of Stripe's error object; none where the answer is no error of Stripe's."""
    body = error.json_body if isinstance(error.json_body, dict) else {}
    told = body.get("error")
    return told if isinstance(told, dict) else {}


def is_replay(error: stripe.StripeError) -> bool:
    """Whether it is the first answer to the key once more."""
    return (error.headers or {}).get("Idempotent-Replayed") == "true"


def is_used_otherwise(error: stripe.StripeError) -> bool:
    """Whether Stripe knows the key as another question's (its docs, "Idempotent requests")."""
    return isinstance(error, stripe.IdempotencyError)


def is_saved_refusal(error: stripe.StripeError) -> bool:
    """Whether the key only repeats an error that was saved under it; a decline is an answer."""
    return is_replay(error) and not isinstance(error, stripe.CardError)


def is_missing(error: stripe.StripeError) -> bool:
    """Say whether there is no object of the id in the address; not whether the address is one."""
    return error.http_status == 404 and error.code == "resource_missing" and not refuses_us(error)


def refuses_us(error: stripe.StripeError) -> bool:
    """Say whether it refuses us, and not this request: we are set up wrongly. By an error that is
    none of Stripe's, an address that it does not have, a key of another mode, a wrong version.
    """
    if error.http_status not in (400, 404):
        return error.http_status in (401, 403)
    said = str(error.user_message)
    return (
        _told(error).get("type") not in ("invalid_request_error", "idempotency_error")
        or (error.http_status == 404 and not error.code)
        or error.code in OURS_TO_MEND
        or WORDS_OF_ANOTHER_MODE in said
        or WORDS_OF_A_WRONG_VERSION in said
    )


def drop_connection() -> None:
    """Close this thread's connection to Stripe: what comes over it cannot be believed."""
    _transport(CONNECT_TIMEOUT_SECONDS, CALL_TIMEOUT_SECONDS).drop_connection()


def verdict(error: stripe.StripeError) -> Exception:
    """Return what an error of Stripe's client means for the charge (Stripe's docs, "Errors").

    Indeterminate is the rule and the others are its exceptions: a timeout, a reset, an answer that
    cannot be read, 409 (the first sending still runs), 429 and 5xx leave the charge unknown. What
    refuses us charged nothing, and is ours to mend: after that the same request can succeed.
    """
    kind_of_error = _told(error).get("type")
    if isinstance(error, stripe.CardError) and kind_of_error == "card_error":
        payment_id = (within(error) or {}).get("id")
        said = error.user_message
        return CardDeclined(
            said if said and isinstance(said, str) else "The payment did not go through.",
            payment_id=payment_id if isinstance(payment_id, str) else None,
        )
    is_conflict = error.http_status == 409
    is_refused = isinstance(error, stripe.InvalidRequestError | stripe.IdempotencyError)
    is_refused = is_refused and not refuses_us(error)
    is_saved = is_saved_refusal(error) and (error.http_status or 0) < 500
    if (is_refused or is_saved) and not is_conflict:
        # A key that was used for another question may have a payment under it.
        refused = "The payment processor refuses this request, and would refuse it again."
        evidence = {
            "http_status": error.http_status,
            "code": error.code or kind_of_error,
            "message": error.user_message,
            "request_id": error.request_id,
        }
        if is_used_otherwise(error):
            return NeedsReview(refused, evidence=evidence)
        return ForeignRefusal(refused, evidence=evidence, grounds=_grounds(error))
    unknown = f"The payment processor gave no definite answer ({_symptom(error)})."
    if isinstance(error, NotSendable) or refuses_us(error):
        return ForeignAccessRefused(unknown, grounds=_grounds(error))
    return Indeterminate(unknown, retry_after_seconds=retry_after_seconds(error))


def _grounds(error: stripe.StripeError) -> str:
    """Return why, without what differs from request to request."""
    if error.http_status is None:
        return "not sent"
    code = error.code if isinstance(error.code, str) else ""
    return f"HTTP {error.http_status} {code}".strip()


def _symptom(error: stripe.StripeError) -> str:
    if isinstance(error, NotSendable):
        return str(error)
    if error.http_status is None:
        return "connection failed"
    return f"HTTP {error.http_status}, request {error.request_id or 'unknown'}"


def retry_after_seconds(error: stripe.StripeError) -> int | None:
    """Return when Stripe says to come back, within bounds; None where it does not say."""
    value = (error.headers or {}).get("Retry-After", "")
    if not (value.isascii() and value.isdigit()):
        return None
    return min(max(int(value[:5]), 1), LONGEST_RETRY_AFTER_SECONDS)
