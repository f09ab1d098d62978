"""Stripe, and nothing but Stripe: the only module that imports its client.

Whatever Stripe says leaves here as one of four things: a `Charge`, `CardDeclined` (a definite no),
`Indeterminate` (we do not know, so the same key may be sent again) or `NeedsReview` (a person must
look). Apart from the rest, because telling these four apart is what keeps a card from being charged
twice.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from uuid import UUID

import stripe
from django.conf import settings

from idempotency.exceptions import Indeterminate, NeedsReview
from rides.models import Ride

# The client writes an id for its telemetry into the user's home folder and sends it with each call.
stripe.enable_telemetry = False

CONNECT_TIMEOUT_SECONDS = 4
READ_TIMEOUT_SECONDS = 12
RETRIES = 1  # by Stripe's client, with the same idempotency key
RETRY_PAUSE_SECONDS = 0.5  # what Stripe's client sleeps before its first retry, at most
LOOKUP_SECONDS = 10  # after which no further page of payments is asked for

_CALL_SECONDS = (1 + RETRIES) * (CONNECT_TIMEOUT_SECONDS + READ_TIMEOUT_SECONDS) + (
    RETRIES * RETRY_PAUSE_SECONDS
)
# A charge, and the look-up that follows when Stripe repeats an error that it saved.
WORST_CASE = timedelta(seconds=_CALL_SECONDS + LOOKUP_SECONDS + _CALL_SECONDS)

# A payment cannot be older than its ride, but Stripe's clock is not our database's.
CLOCK_SKEW = timedelta(minutes=5)

# Off session there is nobody to try another card, so this is where such a payment ends.
FAILED = ("requires_payment_method", "canceled")


class CardDeclined(Exception):
    """Stripe's definite no: nothing was charged, and nothing will be. Its text is for the rider."""


class CustomerUnavailable(Exception):
    """Stripe did not create or show a customer; the text is Stripe's reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """Money that Stripe took, in minor units of `currency`."""

    id: str
    payment_intent_id: str
    amount_cents: int
    currency: str


def charge(ride: Ride, *, idempotency_key: UUID) -> Charge:
    """Charge the ride's fare to its rider's card; for one key at most once.

    No payment method is named. Stripe then takes the customer's `default_source`, the card that the
    customer was created with (Stripe's API reference, "Create a PaymentIntent", `payment_method`),
    so there is no copy of it here to fall out of step, and no second call to ask for it.

    Raises: CardDeclined, Indeterminate, NeedsReview.
    """
    customer_id = ride.user.stripe_customer_id
    assert customer_id, "only a rider can have a ride, and a rider has a customer"
    try:
        intent = _client().v1.payment_intents.create(
            {
                "amount": ride.amount_cents,
                "currency": ride.currency,
                "customer": customer_id,
                # Nobody is there whom Stripe could send to another page to authenticate.
                "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                "confirm": True,
                "off_session": True,
                "description": f"Charge for ride {ride.pk}",
                "metadata": {
                    "ride_id": str(ride.pk),
                    "idempotency_key_id": str(ride.idempotency_key_id),
                    "foreign_key": str(idempotency_key),
                },
            },
            {"idempotency_key": str(idempotency_key)},
        )
    except stripe.StripeError as error:
        if not _is_saved_failure(error):
            raise _verdict(error) from error
        return _charge_behind_saved_failure(ride, error)
    return _charge_of(intent, ride)


def find_charge(ride: Ride) -> Charge | None:
    """Ask Stripe what became of the ride's payment, and send nothing; None if it knows of none.

    Raises: CardDeclined, Indeterminate, NeedsReview.
    """
    try:
        intents = list(_payment_intents_of(ride))
    except stripe.StripeError as error:
        raise _verdict(error) from error
    paid = [intent for intent in intents if intent.status == "succeeded"]
    if len(paid) > 1:
        raise NeedsReview(
            "The payment processor shows more than one payment for this ride.",
            evidence={"payment_intents": [intent.id for intent in paid]},
        )
    if not intents:
        return None
    open_ones = [intent for intent in intents if intent.status not in FAILED]
    return _charge_of((paid or open_ones or intents)[0], ride)


def create_customer(*, email: str, source: str) -> str:
    """Create a customer with a card at Stripe and return its id; `source` is a card's token.

    Raises: CustomerUnavailable.
    """
    try:
        return _client().v1.customers.create({"email": email, "source": source}).id
    except stripe.StripeError as error:
        raise CustomerUnavailable(str(error)) from error


def customer_exists(customer_id: str) -> bool:
    """Whether Stripe still knows the customer.

    Raises: CustomerUnavailable.
    """
    try:
        customer = _client().v1.customers.retrieve(customer_id)
    except stripe.StripeError as error:
        if error.http_status == 404:
            return False
        raise CustomerUnavailable(str(error)) from error
    return not getattr(customer, "deleted", False)


def _client() -> stripe.StripeClient:
    return _connected_client(settings.STRIPE_API_KEY, settings.STRIPE_API_BASE)


@lru_cache(maxsize=8)
def _connected_client(api_key: str, api_base: str) -> stripe.StripeClient:
    """One client for the process: it keeps a session, and so an open connection, per thread."""
    return stripe.StripeClient(
        api_key,
        base_addresses={"api": api_base},
        max_network_retries=RETRIES,
        http_client=stripe.RequestsClient(timeout=(CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)),
    )


def _charge_of(intent: stripe.PaymentIntent, ride: Ride) -> Charge:
    """Return the charge of a payment that succeeded, or raise what its status means."""
    status = getattr(intent, "status", None)
    if status in FAILED:
        failure = getattr(intent, "last_payment_error", None)
        raise CardDeclined(failure.message if failure else "The payment was canceled.")
    if status in ("processing", None):
        raise Indeterminate("The payment processor has given no definite answer yet.")
    if status != "succeeded" or not _is_paid_in_full(intent, ride):
        raise NeedsReview(
            "The payment is not what was asked for.",
            evidence={
                "payment_intent": intent.id,
                "status": status,
                "amount_received": intent.amount_received,
                "currency": intent.currency,
            },
        )
    return Charge(
        id=str(intent.latest_charge),
        payment_intent_id=intent.id,
        amount_cents=intent.amount_received,
        currency=intent.currency,
    )


def _is_paid_in_full(intent: stripe.PaymentIntent, ride: Ride) -> bool:
    return (intent.amount_received, intent.currency) == (ride.amount_cents, ride.currency)


def _payment_intents_of(ride: Ride) -> Iterator[stripe.PaymentIntent]:
    """Yield the payments that carry the ride's id and foreign key, newest first.

    By listing, not by Stripe's search: that lags behind by up to a minute, and a payment that it
    does not show yet must not pass for one that was never made (Stripe's docs, "Search").
    """
    assert ride.idempotency_key, "a ride is paid for before its key can be reaped"
    deadline = time.monotonic() + LOOKUP_SECONDS
    payments = _client().v1.payment_intents.list(
        {
            "customer": str(ride.user.stripe_customer_id),
            "created": {"gte": int((ride.created_at - CLOCK_SKEW).timestamp())},
            "limit": 100,
        }
    )
    ours = {"ride_id": str(ride.pk), "foreign_key": str(ride.idempotency_key.foreign_key)}
    for intent in payments.auto_paging_iter():
        if time.monotonic() > deadline:
            raise Indeterminate("The payment processor shows too many payments to look through.")
        if ours.items() <= intent.metadata.to_dict().items():
            yield intent


def _charge_behind_saved_failure(ride: Ride, error: stripe.StripeError) -> Charge:
    """Look for the charge, because the key that would repeat the question only repeats the error.

    Stripe saves the first answer to a key, a 500 included, whether or not the card was charged
    (Stripe's API reference, "Idempotent requests").
    """
    found = find_charge(ride)
    if found is None:
        raise _verdict(error) from error
    return found


def _is_saved_failure(error: stripe.StripeError) -> bool:
    replayed = (error.headers or {}).get("Idempotent-Replayed") == "true"
    return replayed and (error.http_status or 0) >= 500


def _verdict(error: stripe.StripeError) -> Exception:
    """Return what an error of Stripe's client means for the charge (Stripe's docs, "Errors").

    Indeterminate is the rule and the others are its exceptions: a timeout, a reset, an answer that
    cannot be read, 409 (the first sending still runs), 429 and 5xx leave the charge unknown, and
    401 and 403 charged nothing but are ours to mend, after which the same request can succeed.
    """
    reason = error.error
    if isinstance(error, stripe.CardError) and reason and reason.type == "card_error":
        return CardDeclined(error.user_message)
    if isinstance(error, stripe.InvalidRequestError | stripe.IdempotencyError):
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
    return int(value) if value.isascii() and value.isdigit() else None
