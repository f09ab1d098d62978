"""The form that every error of this API has: `{"code", "message", "retryable"}`."""

from idempotency import IdempotencyError
from rest_framework.response import Response
from rest_framework.views import exception_handler

RETRYABLE = {429, 503}


def answer_for(error, context):
    """Answer for an exception of a view; REST framework's `EXCEPTION_HANDLER`."""
    # Adoption.
    if isinstance(error, IdempotencyError):
        body = {"code": error.code, "message": error.message, "retryable": error.retryable}
        return Response(body, status=error.status, headers=error.headers)
    # End of adoption.
    response = exception_handler(error, context)
    if response is not None:
        data = response.data
        said = data.get("detail", data) if isinstance(data, dict) else data
        response.data = {
            "code": getattr(said, "code", "invalid"),
            "message": str(said),
            "retryable": response.status_code in RETRYABLE,
        }
    return response
