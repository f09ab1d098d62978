"""What is wrong with a request that never had a key: it was refused, and nothing was written."""

from idempotency.exceptions import IdempotencyError


class MethodNotAllowed(IdempotencyError):
    status, code = 405, "method_not_allowed"

    @property
    def headers(self) -> dict[str, str]:
        return {"Allow": "POST"}


class Unauthenticated(IdempotencyError):
    status, code = 401, "unauthenticated"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Bearer realm="api"'}


class KeyMissing(IdempotencyError):
    status, code = 400, "idempotency_key_missing"


class KeyInvalid(IdempotencyError):
    status, code = 400, "idempotency_key_invalid"


class PathInvalid(IdempotencyError):
    status, code = 400, "path_invalid"


class BodyMalformed(IdempotencyError):
    status, code = 400, "body_malformed"


class LengthRequired(IdempotencyError):
    status, code = 411, "length_required"


class BodyTooLarge(IdempotencyError):
    status, code = 413, "body_too_large"


class ContentTypeUnsupported(IdempotencyError):
    status, code = 415, "content_type_unsupported"


class ParametersInvalid(IdempotencyError):
    status, code = 422, "parameters_invalid"
