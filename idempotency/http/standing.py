"""Where a request stands, for a client that has lost everything but its key.

`path("requests", request_standing)`. The key is sent in the header, as with the request itself: an
address stands in every log, and a key may have a `/`.
"""

import base64
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.timezone import get_default_timezone, is_aware, make_aware
from django.views.decorators.csrf import csrf_exempt

from idempotency import doors
from idempotency.claims import StoredKey, find_key
from idempotency.http.errors import answering_errors
from idempotency.http.keys import read_key
from idempotency.http.refusals import MethodNotAllowed, RequestUnknown, Unauthenticated
from idempotency.http.views import READING, authenticate, has_credential
from idempotency.models import IdempotencyKey


@csrf_exempt  # another method than GET is a 405, and no page about a token
@answering_errors
def request_standing(request: HttpRequest) -> HttpResponse:
    """Answer where the request of the asking user with this `Idempotency-Key` stands.

    Nothing is done, and nothing is written: one SELECT besides that of the credential.

    Returns: `{"state", "retry_after_seconds", "request", "answer"}`, or 404 `request_unknown`. The
    states are `in_progress`, `interrupted` (a retry goes on), `pending` at the foreign system,
    `under_review`, `finished`, and `expired`, where the answer is no longer kept.
    """
    refuse_unread(request)
    doors.refuse_while_closed()
    stored = find_key(authenticate(request).pk, read_key(request))
    if stored is None:
        raise RequestUnknown(
            "No request of yours has this Idempotency-Key, or its first transaction has not "
            "been committed yet. Nothing was done now. Send the request with the same key."
        )
    return JsonResponse(standing_of(stored))


def refuse_unread(request: HttpRequest) -> None:
    """Refuse what can be refused without the database. Raises: as `http.views.refuse_unread`."""
    if request.method not in READING:
        raise MethodNotAllowed(f"{request.method} is not allowed here; use GET.", READING)
    if not has_credential(request):
        raise Unauthenticated("The request's credentials are missing or not known.")
    read_key(request)


request_standing.refuse_unread = refuse_unread  # type: ignore[attr-defined]


def standing_of(stored: StoredKey) -> dict[str, Any]:
    """Return where a key stands, as a client is told it."""
    key = stored.key
    state, seconds = _state_of(stored)
    return {
        "state": state,
        "retry_after_seconds": seconds,
        "request": {
            "method": key.request_method,
            "path": key.request_path,
            "created_at": _with_offset(key.created_at),
            "last_run_at": _with_offset(key.last_run_at),
        },
        "answer": _answer_of(key) if key.is_finished else None,
    }


def _with_offset(moment: datetime) -> str:
    """Write a time for the client. With `USE_TZ` off it is naive, in the zone of the settings."""
    return (moment if is_aware(moment) else make_aware(moment, get_default_timezone())).isoformat()


def _state_of(stored: StoredKey) -> tuple[str, int | None]:
    """Return the state, and after how many seconds a retry may find another one."""
    key = stored.key
    if key.is_finished:
        return ("expired" if key.is_tombstone else "finished"), None
    if key.is_under_review:
        return "under_review", None
    if stored.pending_seconds_left:
        return "pending", stored.pending_seconds_left
    if stored.lease_seconds_left:
        return "in_progress", stored.lease_seconds_left
    return "interrupted", 0


def _answer_of(key: IdempotencyKey) -> dict[str, Any]:
    """Return the stored answer: its body as text, or in base64 where it is none."""
    answer: dict[str, Any] = {"status": key.response_code}
    if key.is_tombstone:
        return answer
    body = bytes(key.response_body or b"")
    headers = {"Content-Type": key.response_content_type, **(key.response_headers or {})}
    answer["headers"] = {name: value for name, value in headers.items() if value}
    try:
        answer["body"] = body.decode()
    except UnicodeDecodeError:
        answer["body_base64"] = base64.b64encode(body).decode()
    return answer
