"""What a client gets for an error: JSON, or the problem of RFC 9457 where it asks for one."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from idempotency import conf
from idempotency.exceptions import IdempotencyError
from idempotency.http.rereading import raising_answers
from idempotency.phases import error_body
from idempotency.support.described import described
from idempotency.support.sendable import JSON

PROBLEM = "application/problem+json"


def answering_errors(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Have whatever a view raises answered as `error_response` has it.

    For a view beside those of operations, which do so themselves.
    """

    @wraps(view)
    def answering(request: HttpRequest, **path_kwargs: Any) -> HttpResponse:
        try:
            with raising_answers():
                return view(request, **path_kwargs)
        except IdempotencyError as error:
            return error_response(error, request.headers.get("Accept", ""))

    return answering


def error_response(error: IdempotencyError, accept: str = "") -> JsonResponse:
    """An error as the client gets it: `{"error", "code", "retryable"}`, or, for one that accepts
    `application/problem+json`, as RFC 9457 has it. A stored answer is the first's bytes to anybody.

    Args:
        accept: the request's header.
    """
    said, documented_at = described(error), conf.current().documentation_url
    body, content_type = error_body(said, code=error.code, retryable=error.retryable), JSON
    if PROBLEM in accept.lower():
        title = error.code.replace("_", " ").capitalize()
        problem = {"type": documented_at or "about:blank", "title": title, "status": error.status}
        problem["detail"] = said
        body, content_type = {**problem, "code": error.code, "retryable": error.retryable}, PROBLEM
    response = JsonResponse(
        body, status=error.status, headers=error.headers, content_type=content_type
    )
    if documented_at:
        response.headers["Link"] = f'<{documented_at}>; rel="describedby"'
    # A 503 of ours is an answer, and the cause of a 500 is in the log already.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response
