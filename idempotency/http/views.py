"""HTTP in, HTTP out: who asks, which key, claim or replay, and an answer for every error."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.core.exceptions import (
    BadRequest,
    RequestDataTooBig,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.http import HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt

from idempotency import conf, doors
from idempotency.attempts import Attempt, Outcome
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
    NeedsReview,
    ParametersMismatch,
    RequestInProgress,
)
from idempotency.foreign_keys import foreign_key_for
from idempotency.http.bodies import (
    Sent,
    read_body,
    read_bytes,
    refuse_deep_nesting,
    refuse_unread_body,
)
from idempotency.http.errors import error_response
from idempotency.http.keys import read_key
from idempotency.http.origins import Origin
from idempotency.http.refusals import (
    BodyMalformed,
    MethodNotAllowed,
    ParametersInvalid,
    PathInvalid,
    Unauthenticated,
)
from idempotency.http.rereading import raising_answers
from idempotency.http.shapes import clean_transient, kept_by_form
from idempotency.http.waiting import wait_for_first
from idempotency.models import IdempotencyKey
from idempotency.parameters import Parameters, keep_all
from idempotency.phases import PENDING_STATUS, Pending
from idempotency.signals import answered
from idempotency.support.fingerprints import fingerprint, text_of
from idempotency.support.kept_values import readable
from idempotency.support.sendable import JSON, WITHOUT_BODY

if TYPE_CHECKING:
    from idempotency.operations import Operation

View = Callable[..., HttpResponseBase]

REPLAYED = "Idempotent-Replayed"
"""Whether a final answer was stored before, as Stripe names it."""

READING = ("GET", "HEAD")

MOST_READS = 3
"""Between reading and inserting a key somebody may insert it, or the reaper remove it."""

_UNREADABLE_FORM = (
    BadRequest,  # of another encoding than UTF-8
    MultiPartParserError,
    RequestDataTooBig,
    TooManyFieldsSent,
    TooManyFilesSent,
)
"""What Django raises of a form that it cannot read."""


def view_for(
    operation_class: "type[Operation]", get: View | None = None
) -> Callable[..., HttpResponseBase]:
    """The view of an operation, and of what is read at its address."""
    allowed = (*READING, "POST") if get else ("POST",)
    read = async_to_sync(get) if iscoroutinefunction(get) else get

    def view(request: HttpRequest, **path_kwargs: Any) -> HttpResponseBase:
        if read and request.method in READING:
            return read(request, **path_kwargs)
        began_at = time.monotonic()
        try:
            with raising_answers():
                response: HttpResponseBase = _answer(request, operation_class, path_kwargs, allowed)
            outcome = outcome_of(response)
        except IdempotencyError as error:
            response = error_response(error, request.headers.get("Accept", ""))
            outcome = error.code
        tell_answered(request, operation_class.name, outcome, began_at)
        return response

    def refuse(request: HttpRequest) -> None:
        if not (read and request.method in READING):
            refuse_unread(request, allowed)

    # No CSRF token: the default of AUTHENTICATE checks it where a browser's session is used.
    exempt = csrf_exempt(view)
    # For whoever looks at a URLconf: what is mounted here. Keys find their operation by its name.
    exempt.operation_class = operation_class  # type: ignore[attr-defined]
    # For a server that reads bodies itself, and may refuse before it does.
    exempt.refuse_unread = refuse  # type: ignore[attr-defined]
    return exempt


def outcome_of(response: HttpResponseBase) -> str:
    """Return the word for an answer: its status, or that it is the first's once more."""
    return "replayed" if response.headers.get(REPLAYED) == "true" else str(response.status_code)


def tell_answered(request: HttpRequest, operation: str, outcome: str, began_at: float) -> None:
    answered.send_robust(
        None,
        operation=operation,
        outcome=outcome,
        seconds=time.monotonic() - began_at,
        source="client",
        idempotency_key=request.headers.get("Idempotency-Key", ""),
    )


def refuse_unread(request: HttpRequest, allowed: Sequence[str] = ("POST",)) -> None:
    """Refuse what can be refused without the body and without the database.

    Args:
        allowed: the methods of the address, of which the operation's is POST.

    Raises: `MethodNotAllowed`, `LengthRequired`, `BodyTooLarge`, `BodyMalformed`,
    `ContentTypeUnsupported`, `Unauthenticated`, `KeyMissing`, `KeyInvalid`.
    """
    if request.method != "POST":
        raise MethodNotAllowed(f"{request.method} is not allowed here; use POST.", allowed)
    refuse_unread_body(request)
    if not has_credential(request):
        raise Unauthenticated("The request's credentials are missing or not known.")
    read_key(request)


def has_credential(request: HttpRequest) -> bool:
    """Say whether one of `CREDENTIAL_HEADERS` is there, whatever it is worth."""
    names = conf.current().credential_headers
    return not names or any(request.headers.get(name) for name in names)


def _answer(
    request: HttpRequest,
    operation_class: "type[Operation]",
    path_kwargs: dict[str, Any],
    allowed: Sequence[str],
) -> HttpResponse:
    # The body is read whole before the first statement, and authenticating may be one: a client
    # with a slow line holds no connection to the database while its bytes are waited for.
    refuse_unread(request, allowed)
    doors.refuse_while_closed()
    read_bytes(request)
    user = authenticate(request)
    key = read_key(request)
    asked = Asked(operation_class, user, read_body(request), path_kwargs, Origin.of(request))
    try:
        return perform(asked, key)
    except RequestInProgress as refused:
        return wait_for_first(request, user, refused, lambda: perform(asked, key))


def perform(asked: "Asked", key: str) -> HttpResponse:
    """Run an operation for a key and fields that have been read, or replay its answer.

    The key is looked up by what was sent. Only where it is fresh does the operation's form see it.

    Raises: an `IdempotencyError` where there is no answer (yet).
    """
    refuse_unstorable_path(asked.origin.path)
    refuse_deep_nesting(asked.sent)
    fresh: tuple[Operation, NewKey] | None = None
    for _ in range(MOST_READS):
        stored = find_key(asked.user.pk, key)
        if stored is not None:
            return _retry(asked, stored)
        try:
            operation, new_key = fresh = fresh or first_time(asked, key)
        except ParametersInvalid:
            # What the form objects to may be what this very request has done, in another process
            # that has claimed the key since it was looked for.
            if find_key(asked.user.pk, key) is None:
                raise
            continue
        outcome = Attempt(operation).start(new_key)
        if outcome is not None:
            return _first_answer(outcome)
    raise request_in_progress(retry_after_seconds=1)


@dataclass(frozen=True)
class Asked:
    """Who asks for which operation, with which fields and arguments of the URL, and from where."""

    operation_class: "type[Operation]"
    user: Any
    sent: Sent
    arguments: Mapping[str, Any]
    origin: Origin

    @cached_property
    def path_kwargs(self) -> dict[str, Any]:
        return keep_all(self.arguments)

    @cached_property
    def fingerprint(self) -> str:
        arguments = {name: text_of(readable(kept)) for name, kept in self.path_kwargs.items()}
        return fingerprint(
            self.sent.fields, arguments, leave_out=self.operation_class.transient_fields
        )

    def refuse_for(self, key: IdempotencyKey) -> None:
        """Raises: `ParametersMismatch` where the key was used for something else."""
        is_same = self.operation_class.is_named(key.operation)
        refuse_another_request(key, is_same_operation=is_same, sent=self.fingerprint)


def first_time(asked: Asked, key: str) -> "tuple[Operation, NewKey]":
    """A request whose key nobody has used: the one time that the form is asked."""
    operation_class = asked.operation_class
    kept, transient = kept_by_form(
        asked.sent, operation_class.params_form, operation_class.transient_fields
    )
    operation = operation_class(
        user=asked.user,
        params=Parameters(kept),
        transient=transient,
        path_kwargs=Parameters(asked.path_kwargs),
    )
    new_key = NewKey(
        user_id=asked.user.pk,
        idempotency_key=key,
        foreign_key=foreign_key_for(asked.user, key),
        operation=operation_class.name,
        path_kwargs=asked.path_kwargs,
        request_method=asked.origin.method,
        request_path=asked.origin.path,
        request_params=kept,
        fingerprint=asked.fingerprint,
        origin_ip=asked.origin.ip,
    )
    return operation, new_key


def _retry(asked: Asked, stored: StoredKey) -> HttpResponse:
    """The key has been seen before: replay it, refuse it, or go on with it."""
    key, operation_class = stored.key, asked.operation_class
    asked.refuse_for(key)
    if key.is_finished:
        return replay(key)
    if key.is_under_review:
        raise NeedsReview(
            "The outcome of this request is not known yet: a person is looking into it. "
            "Nothing was done now. Retry later with the same Idempotency-Key."
        )
    if stored.pending_seconds_left:
        return _pending_answer(key.pending_answer, stored.pending_seconds_left)
    if stored.lease_seconds_left:
        raise request_in_progress(retry_after_seconds=stored.lease_seconds_left)
    transient = clean_transient(
        asked.sent, operation_class.params_form, operation_class.transient_fields
    )
    operation = operation_class.for_key(key, user=asked.user, transient=transient)
    claim = take_over_key(key.pk, impossible_lease=stored.impossible_lease)
    if claim is None:
        raise request_in_progress(retry_after_seconds=1)
    return _first_answer(Attempt(operation).resume(claim))


def _first_answer(outcome: Outcome) -> HttpResponse:
    if isinstance(outcome, Pending):
        return _pending_answer(outcome.text, math.ceil(outcome.ask_again_in.total_seconds()))
    headers = {**outcome.headers, REPLAYED: "false"}
    return answer_with(outcome.content, outcome.status, outcome.content_type, headers)


def _pending_answer(text: str | None, retry_after_seconds: int) -> HttpResponse:
    retry = {"Retry-After": str(retry_after_seconds)}
    return answer_with(text or "", PENDING_STATUS, JSON, retry)


def refuse_another_request(key: IdempotencyKey, *, is_same_operation: bool, sent: str) -> None:
    """Refuse a request whose key was used for another one.

    Args:
        sent: the fingerprint of what was sent now.

    Raises: `ParametersMismatch`.
    """
    if is_same_operation and key.fingerprint == sent:
        return
    mismatch = ParametersMismatch(
        "This Idempotency-Key was first used for another operation or with other parameters. "
        "Nothing was done now. Send the first request again, or use a new key."
    )
    mismatch.status = conf.current().mismatch_status
    raise mismatch


def replay(key: IdempotencyKey) -> HttpResponse:
    """Return the answer that is stored for a finished key.

    Raises: `KeyExpired` where the reaper has removed it.
    """
    assert key.response_code is not None, "only a finished key is replayed"
    if key.is_tombstone:
        raise KeyExpired(
            f"This request was finished with status {key.response_code}, so long ago that its "
            "answer is no longer kept. Nothing was done now. Use a new Idempotency-Key for a new "
            "request."
        )
    answer = answer_with(
        bytes(key.response_body or b""),
        key.response_code,
        key.response_content_type,
        key.response_headers or {},
    )
    answer.headers[REPLAYED] = "true"
    return answer


def answer_with(
    content: str | bytes, status: int, content_type: str | None, headers: dict[str, str]
) -> HttpResponse:
    answer = HttpResponse(content, status=status, content_type=content_type, headers=headers)
    if status in WITHOUT_BODY:
        del answer.headers["Content-Type"]
    return answer


def authenticate(request: HttpRequest) -> Any:
    try:
        user = import_string(conf.current().authenticate)(request)
    except _UNREADABLE_FORM as error:
        # A token check reads the form, by Django's rules, before it is read by ours.
        raise BodyMalformed("The body is no form that can be read.") from error
    if user is None:
        raise Unauthenticated("The request's credentials are missing or not known.")
    return user


def refuse_unstorable_path(path: str) -> None:
    longest = IdempotencyKey._meta.get_field("request_path").max_length or 0
    if len(path) > longest or "\x00" in path:
        raise PathInvalid(f"The path has a NUL character or more than {longest} characters.")
