"""A name for each HTTP request: in the log, in the journal, and back to the client.

The client's own `X-Request-Id` where it is plain, so that its log and ours can be laid beside each
other. Nothing of it goes to a foreign system: what is sent there must be the same in each attempt.
"""

import re
from collections.abc import Callable
from uuid import uuid4

from django.http import HttpRequest, HttpResponse

from idempotency.support.context import IN_HAND, REQUEST_ID

HEADER = "X-Request-Id"
PLAIN = re.compile(r"[A-Za-z0-9._-]{1,128}")


def request_ids(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: to be among the first, so that what the others log has the id too."""

    def answer(request: HttpRequest) -> HttpResponse:
        request_id = id_of(request.headers.get(HEADER, ""))
        token = REQUEST_ID.set(request_id)
        try:
            response = get_response(request)
        finally:
            REQUEST_ID.reset(token)
            IN_HAND.set(None)
        response.headers[HEADER] = request_id
        return response

    return answer


def id_of(given: str) -> str:
    """Return the id that a client has given its request, or a new one."""
    return given if PLAIN.fullmatch(given) else uuid4().hex
