"""What is refused before a view is asked: by the name of the service, or by the door."""

from idempotency.exceptions import IdempotencyError


class UnknownHost(IdempotencyError):
    """`ALLOWED_HOSTS` does not have the name in the request's `Host`."""

    status, code = 400, "unknown_host"


class RequestTimeout(IdempotencyError):
    """The body did not come within `BODY_SECONDS`."""

    status, code, retryable = 408, "request_timeout", True

    @property
    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}  # nobody reads what may still come of the body


class Overloaded(IdempotencyError):
    """More requests wait than can be served soon."""

    status, code, retryable = 503, "overloaded", True
