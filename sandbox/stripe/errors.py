"""The errors that Stripe answers with, and the two moments at which it gives them.

They stand apart because the moment decides about idempotency: a refusal is given before an endpoint
begins to execute and is never saved under the idempotency key, a failure is given after and is.
Source: https://docs.stripe.com/api/errors and https://docs.stripe.com/api/idempotent_requests
"""

from math import ceil
from typing import Any

DOCS = "https://docs.stripe.com/error-codes#"


class StripeError(Exception):
    """An answer that is not a success: an HTTP status and the fields of Stripe's error object."""

    def __init__(self, status: int, type_: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.headers: dict[str, str] = {}
        self.error: dict[str, Any] = {"message": message, "type": type_} | fields
        if "code" in fields:
            self.error["doc_url"] = DOCS + fields["code"].replace("_", "-")


class Refused(StripeError):
    """The endpoint never began to execute: nothing is saved under the idempotency key."""


class Failed(StripeError):
    """The endpoint executed and failed: the answer is saved under the idempotency key."""


class ConnectionDropped(Exception):
    """The client gets a TCP reset in place of an answer."""


def invalid(message: str, **fields: Any) -> Refused:
    """Return the error of a parameter that fails validation: 400."""
    return Refused(400, "invalid_request_error", message, **fields)


def missing_parameter(param: str) -> Refused:
    return invalid(f"Missing required param: {param}.", code="parameter_missing", param=param)


def no_such(kind: str, object_id: str, param: str) -> Refused:
    """An object named by a parameter does not exist: 400, or 404 when it is the URL's own."""
    status = 404 if param == "id" else 400
    noun = "PaymentMethod" if kind == "payment_method" else kind
    message = f"No such {noun}: '{object_id}'"
    return Refused(status, "invalid_request_error", message, code="resource_missing", param=param)


def unauthorized(message: str) -> Refused:
    return Refused(401, "invalid_request_error", message)


def key_in_use(key: str) -> Refused:
    return Refused(
        409,
        "invalid_request_error",
        "There is currently another in-progress request using this Idempotent Key (that probably "
        "means you submitted twice, and the other request is still going through): "
        f"{key}. Please try again later.",
        code="idempotency_key_in_use",
    )


def rate_limited(retry_after_seconds: float) -> Refused:
    error = Refused(
        429,
        "invalid_request_error",
        "Request rate limit exceeded. You can learn more about rate limits here "
        "https://docs.stripe.com/rate-limits.",
        code="rate_limit",
    )
    error.headers["Retry-After"] = str(ceil(retry_after_seconds))
    return error


def internal_error() -> Failed:
    return Failed(
        500, "api_error", "An unknown error occurred. Please contact support if it persists."
    )
