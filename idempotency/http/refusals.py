"""What is wrong with a request that never had a key: it was refused, and nothing was written."""

from collections.abc import Sequence

from idempotency.exceptions import IdempotencyError


class MethodNotAllowed(IdempotencyError):
    """The address is there, but not for this method.

    Args:
        allowed: the methods that it takes.
    """

    status, code = 405, "method_not_allowed"

    def __init__(self, message: str, allowed: Sequence[str] = ("POST",)) -> None:
        super().__init__(message)
        self.allowed = allowed

    @property
    def headers(self) -> dict[str, str]:
        return {"Allow": ", ".join(self.allowed)}


class Unauthenticated(IdempotencyError):
    """The request has no credential, or one of nobody."""

    status, code = 401, "unauthenticated"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Bearer realm="api"'}


class KeyMissing(IdempotencyError):
    """The request has no `Idempotency-Key`."""

    status, code = 400, "idempotency_key_missing"


class KeyInvalid(IdempotencyError):
    """The key is too short or too long, or has characters that a key may not have."""

    status, code = 400, "idempotency_key_invalid"


class PathInvalid(IdempotencyError):
    """The path contains what PostgreSQL cannot store."""

    status, code = 400, "path_invalid"


class BodyMalformed(IdempotencyError):
    """The body is not what its content type says."""

    status, code = 400, "body_malformed"


class LengthRequired(IdempotencyError):
    """The request does not say how long its body is."""

    status, code = 411, "length_required"


class BodyTooLarge(IdempotencyError):
    """The body is longer than `MAX_BODY_BYTES`."""

    status, code = 413, "body_too_large"


class ContentTypeUnsupported(IdempotencyError):
    """The body is neither JSON nor a form's texts."""

    status, code = 415, "content_type_unsupported"


class ParametersInvalid(IdempotencyError):
    """The operation's form refuses the parameters."""

    status, code = 422, "parameters_invalid"


class RequestUnknown(IdempotencyError):
    """No request of the user's has the key that it is asked about by."""

    status, code = 404, "request_unknown"
