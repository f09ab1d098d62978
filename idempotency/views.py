"""HTTP in, HTTP out: who asks, which key, claim or replay, and an answer for every error."""

import ipaddress
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt

from idempotency import conf, doors
from idempotency.bodies import refuse_large_body
from idempotency.claims import (
    NewKey,
    StoredKey,
    find_key,
    request_in_progress,
    take_over_key,
)
from idempotency.exceptions import (
    IdempotencyError,
    KeyExpired,
    MethodNotAllowed,
    NeedsReview,
    ParametersMismatch,
    PathInvalid,
    Unauthenticated,
)
from idempotency.failures import answerable
from idempotency.foreign_keys import foreign_key_for
from idempotency.models import IdempotencyKey
from idempotency.operations import Operation
from idempotency.parameters import (
    Parameters,
    fingerprint,
    read_key,
    read_parameters,
)
from idempotency.phases import Response, error_body

MOST_READS = 3
"""Between reading and inserting a key somebody may insert it, or the reaper remove it."""


def view_for(operation_class: type[Operation]) -> Callable[..., HttpResponse]:
    """The view of an operation. The completer finds the operation's class on it."""

    def view(request: HttpRequest, **path_kwargs: Any) -> HttpResponse:
        try:
            return _answer(request, operation_class, path_kwargs)
        except Exception as error:
            return error_response(answerable(error))

    # No CSRF token: the default of AUTHENTICATE checks it where a browser's session is used.
    exempt = csrf_exempt(view)
    exempt.operation_class = operation_class  # type: ignore[attr-defined]
    return exempt


def error_response(error: IdempotencyError) -> JsonResponse:
    """An error as the client gets it: `{"error", "code", "retryable"}`."""
    body = error_body(str(error), code=error.code, retryable=error.retryable)
    response = JsonResponse(body, status=error.status, headers=error.headers)
    # A 503 of ours is an answer, and the cause of a 500 is in the log already.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def _answer(
    request: HttpRequest, operation_class: type[Operation], path_kwargs: dict[str, Any]
) -> HttpResponse:
    if request.method != "POST":
        raise MethodNotAllowed(f"{request.method} is not allowed here; use POST.")
    doors.refuse_while_closed()
    refuse_large_body(request)
    user = _authenticate(request)
    key = read_key(request)
    parameters = read_parameters(
        request, operation_class.params_form, operation_class.transient_fields
    )
    return perform(request, operation_class, user, key, parameters, path_kwargs)


def perform(
    request: HttpRequest,
    operation_class: type[Operation],
    user: Any,
    key: str,
    parameters: Parameters,
    path_kwargs: dict[str, Any],
) -> HttpResponse:
    """Runs an operation for a key and parameters that have been read, or replays its answer.

    A view of a project's own calls it where the key comes another way than by the header, such as
    from a hidden field of a web form. That view must have the attribute `operation_class`, by which
    the completer finds the operation of the path.

    *Raises* an `IdempotencyError` where there is no answer (yet).
    """
    doors.refuse_while_closed()
    _refuse_unstorable_path(request.path_info)
    new_key = _new_key(request, user, key, parameters)
    operation = operation_class(
        user=user,
        params=parameters.cleaned,
        transient=parameters.transient,
        path_kwargs=path_kwargs,
    )
    return _claim_and_run(operation, new_key)


def _claim_and_run(operation: Operation, new_key: NewKey) -> HttpResponse:
    for _ in range(MOST_READS):
        stored = find_key(new_key.user_id, new_key.idempotency_key)
        if stored is not None:
            return _retry(operation, stored, new_key.fingerprint)
        response = operation.start(new_key)
        if response is not None:
            return _first_answer(response)
    raise request_in_progress(retry_after_seconds=1)


def _retry(operation: Operation, stored: StoredKey, fingerprint_now: str) -> HttpResponse:
    """The key has been seen before: replay it, refuse it, or go on with it."""
    key = stored.key
    if key.fingerprint != fingerprint_now:
        raise ParametersMismatch(
            "This Idempotency-Key was first used with another path or other parameters. "
            "Nothing was done. Send the first request again, or use a new key."
        )
    if key.is_tombstone:
        raise KeyExpired(
            f"This request was finished with status {key.response_code}, so long ago that its "
            "answer is no longer kept. Nothing was done now. Use a new Idempotency-Key for a new "
            "request."
        )
    if key.is_finished:
        return _replay(key)
    if key.is_under_review:
        raise NeedsReview(
            "The outcome of this request is not known yet: a person is looking into it. "
            "Nothing was done now. Retry later with the same Idempotency-Key."
        )
    if stored.lease_seconds_left:
        raise request_in_progress(retry_after_seconds=stored.lease_seconds_left)
    claim = take_over_key(key.pk)
    if claim is None:
        raise request_in_progress(retry_after_seconds=1)
    return _first_answer(operation.resume(claim))


def _first_answer(response: Response) -> HttpResponse:
    return HttpResponse(response.text, status=response.status, content_type=response.content_type)


def _replay(key: IdempotencyKey) -> HttpResponse:
    return HttpResponse(
        key.response_body,
        status=key.response_code,
        content_type=key.response_content_type,
        headers={"Idempotent-Replayed": "true"},
    )


def _authenticate(request: HttpRequest) -> Any:
    user = import_string(conf.current().authenticate)(request)
    if user is None:
        raise Unauthenticated("The request's credentials are missing or not known.")
    return user


def _refuse_unstorable_path(path: str) -> None:
    longest = IdempotencyKey._meta.get_field("request_path").max_length or 0
    if len(path) > longest or "\x00" in path:
        raise PathInvalid(f"The path has a NUL character or more than {longest} characters.")


def _new_key(request: HttpRequest, user: Any, key: str, parameters: Parameters) -> NewKey:
    method = str(request.method)
    return NewKey(
        user_id=user.pk,
        idempotency_key=key,
        foreign_key=foreign_key_for(user, key),
        request_method=method,
        request_path=request.path_info,
        request_params=parameters.stored,
        fingerprint=fingerprint(method, request.path_info, parameters.stored),
        origin_ip=_origin_ip(request),
    )


def _origin_ip(request: HttpRequest) -> str | None:
    """The address that the request came from, where it is one (not so on a Unix socket)."""
    try:
        address = request.META.get("REMOTE_ADDR", "").partition("%")[0]  # without an IPv6 zone
        return str(ipaddress.ip_address(address))
    except ValueError:
        return None
