"""`@idempotent`: a view that changes nothing but the database answers each key once.

The claim, the view's changes and the stored answer commit in one transaction, or none of them does.
It meets the operations in the key: `insert_key` claims it, `write_progress` finishes it under its
fence, and `replay` answers it.
"""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import partial, wraps
from inspect import iscoroutinefunction
from typing import Any
from uuid import uuid4

from asgiref.sync import async_to_sync, sync_to_async
from django.db import OperationalError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string

from idempotency import conf, doors
from idempotency.claims import Claim, NewKey, find_key, insert_key, request_in_progress
from idempotency.commits import took
from idempotency.database import atomic, connection
from idempotency.database_errors import may_succeed_when_repeated
from idempotency.exceptions import IdempotencyError, UnsendableAnswer
from idempotency.http.errors import error_response
from idempotency.http.fingerprints import fingerprint_of
from idempotency.http.keys import read_key
from idempotency.http.origins import origin_ip
from idempotency.http.refusals import Unauthenticated
from idempotency.http.views import (
    MOST_READS,
    REPLAYED,
    outcome_of,
    refuse_another_request,
    refuse_unstorable_path,
    replay,
    tell_answered,
)
from idempotency.leases import Progress, write_progress
from idempotency.models import FINISHED
from idempotency.phases import Response

METHODS = ("POST", "PUT", "PATCH", "DELETE")
VIEW = "@idempotent"
"""What stands in a key for the operation. Which view it was is in the fingerprint, by its path, so
that a function may be renamed."""

_SERVER_ERRORS = range(500, 600)


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What the author said about a view."""

    required: bool
    authenticate: Callable[[Any], Any] | None
    not_stored: Collection[int] | None

    def concern(self, request: Any) -> bool:
        """Say whether the request is one that is answered once."""
        has_key = "HTTP_IDEMPOTENCY_KEY" in request.META
        return request.method in METHODS and (self.required or has_key)

    def are_met_by(self, response: HttpResponseBase) -> bool:
        """Say whether the answer may be stored."""
        left_out = conf.current().not_stored if self.not_stored is None else self.not_stored
        status = response.status_code
        return status not in left_out and status not in _SERVER_ERRORS


def idempotent(
    view: Callable[..., Any] | None = None,
    *,
    required: bool = True,
    authenticate: Callable[[Any], Any] | None = None,
    not_stored: Collection[int] | None = None,
) -> Any:
    """Make a view answer each `Idempotency-Key` of a user once, whatever is killed.

    For a function, a method of a class-based view, of an `APIView` or a viewset, sync or async; and
    for an operation of Django Ninja by its `decorate_view(idempotent)`. The view changes only the
    database: what it sends elsewhere is not rolled back, and belongs in an `Operation`.

    An exception, a status from 500 on, and one of `not_stored` leave nothing, the key included, so
    that a retry runs anew. Any other answer is stored and replayed: status, body, content type, and
    the headers that `REPLAYED_HEADERS` names.

    Args:
        view: the function or method; none where the decorator is called with options.
        required: whether a request without the header is refused. If not, the view serves it as if
            there were no decorator.
        authenticate: `(request) -> user or None`. By default the request's own user; where it has
            none, who `AUTHENTICATE` says it is.
        not_stored: statuses, in place of the setting `NOT_STORED`.

    Raises: `UnsendableAnswer`, to the project, for a streaming answer, or for what is none.
    """
    if view is None:
        return partial(
            idempotent, required=required, authenticate=authenticate, not_stored=not_stored
        )
    terms = Terms(required=required, authenticate=authenticate, not_stored=not_stored)
    operation: Any = getattr(view, "__self__", None)
    if hasattr(operation, "view_func"):
        # Of Django Ninja, which makes an answer of an exception before this decorator can see it.
        operation.view_func = _noting_exceptions(operation.view_func)
    return (_in_a_thread if iscoroutinefunction(view) else _around)(view, terms)


def _around(view: Callable[..., Any], terms: Terms) -> Callable[..., Any]:
    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        request = request_among(args)
        call = partial(view, *args, **kwargs)
        if not terms.concern(request):
            return call()
        return answer_once(request, terms, _rendering(call, request))

    return wrapper


def _in_a_thread(view: Callable[..., Any], terms: Terms) -> Callable[..., Any]:
    """Django has no transactions in async code. View and transaction share one thread, which each
    request holds from the claim to the commit; the view's own awaiting goes on in the event loop,
    and what it does with the ORM comes back to the thread.
    """

    @wraps(view)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        request = request_among(args)
        if not terms.concern(request):
            return await view(*args, **kwargs)
        call = partial(async_to_sync(view), *args, **kwargs)
        return await sync_to_async(answer_once)(request, terms, _rendering(call, request))

    return wrapper


def request_among(args: tuple[Any, ...]) -> Any:
    """Return the request that a view was called with, as Django's or as a framework's own.

    Raises: `TypeError` where there is none.
    """
    for each in args[:2]:  # after `self`, of a method
        if hasattr(each, "META"):
            return each
    raise TypeError("@idempotent is for views: the first argument is to be the request.")


def _rendering(call: Callable[[], Any], request: Any) -> Callable[[], Any]:
    """Have an answer rendered inside of the transaction, as the framework would do outside."""

    def rendered() -> Any:
        response = call()
        if hasattr(request, "parser_context"):  # of Django REST framework
            asked = request.parser_context
            finalize = asked["view"].finalize_response
            response = finalize(request, response, *asked["args"], **asked["kwargs"])
        if hasattr(response, "render"):
            response = response.render()
        return response

    return rendered


_raised: ContextVar[list[Exception]] = ContextVar("raised")
"""The exceptions of the view in hand that its framework made an answer of."""


def _noting_exceptions(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def noting(*args: Any, **kwargs: Any) -> Any:
        with _noted():
            return function(*args, **kwargs)

    @wraps(function)
    async def noting_too(*args: Any, **kwargs: Any) -> Any:
        with _noted():
            return await function(*args, **kwargs)

    return noting_too if iscoroutinefunction(function) else noting


@contextmanager
def _noted() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        _raised.get([]).append(error)
        raise


# One request.


class _NotStored(Exception):
    """Rolls the transaction back around an answer that is sent all the same."""

    def __init__(self, response: HttpResponseBase) -> None:
        self.response = response


def answer_once(request: Any, terms: Terms, call: Callable[[], Any]) -> HttpResponseBase:
    """Answer a request from its key, or by the view, whose answer is stored with its changes."""
    began_at = time.monotonic()
    try:
        response = _answer(request, terms, call)
        outcome = outcome_of(response)
    except _NotStored as not_stored:
        response = not_stored.response
        outcome = outcome_of(response)
    except IdempotencyError as error:
        if error.status in _SERVER_ERRORS and not error.retryable:
            raise  # the author's to mend, by the project's own way of showing it
        response = error_response(error, request.headers.get("Accept", ""))
        outcome = error.code
    tell_answered(request, VIEW, outcome, began_at)
    return response


def _answer(request: Any, terms: Terms, call: Callable[[], Any]) -> HttpResponseBase:
    key = read_key(request)
    doors.refuse_while_closed()
    refuse_unstorable_path(request.path_info)
    user = _user_of(request, terms)
    sent = fingerprint_of(getattr(request, "_request", request))
    for _ in range(MOST_READS):
        stored = find_key(user.pk, key)
        if stored is not None:
            is_view = stored.key.operation == VIEW
            refuse_another_request(stored.key, is_same_operation=is_view, sent=sent)
            return replay(stored.key)
        new_key = _new_key(request, user, key, sent)
        with atomic():
            claim = _claim(new_key)
            if claim is not None:
                return _run(claim, terms, call)
    raise request_in_progress(retry_after_seconds=1)


def _run(claim: Claim, terms: Terms, call: Callable[[], Any]) -> HttpResponseBase:
    began_at, raised = time.monotonic(), list[Exception]()
    _raised.set(raised)
    response = call()
    if not isinstance(response, HttpResponseBase) or response.streaming:
        raise UnsendableAnswer(
            f"@idempotent stores the answer, and {type(response).__name__} is none that can be "
            "stored: it has to be an HttpResponse that is not a stream. In Django Ninja, use "
            "decorate_view(idempotent)."
        )
    if raised or connection.needs_rollback or not terms.are_met_by(response):
        raise _NotStored(response)
    entry = {"event": "view", "recovery_point": FINISHED, **took(began_at)}
    progress = Progress(recovery_point=FINISHED, response=_to_store(response), journal=[entry])
    write_progress(claim.lease, progress)
    response.headers[REPLAYED] = "false"
    return response


def _to_store(response: Any) -> Response:
    names = conf.current().replayed_headers
    return Response(
        response.status_code,
        response.content,
        response.headers.get("Content-Type", ""),
        {name: response.headers[name] for name in names if name in response.headers},
    )


def _user_of(request: Any, terms: Terms) -> Any:
    user = terms.authenticate(request) if terms.authenticate else getattr(request, "user", None)
    if terms.authenticate is None and not getattr(user, "is_authenticated", False):
        user = import_string(conf.current().authenticate)(request)
    if user is None or not user.is_authenticated:
        raise Unauthenticated("The request's credentials are missing or not known.")
    return user


def _new_key(request: HttpRequest, user: Any, key: str, sent: str) -> NewKey:
    """The parameters are not kept: nobody but the view reads them, and it runs in one attempt."""
    return NewKey(
        user_id=user.pk,
        idempotency_key=key,
        operation=VIEW,
        path_kwargs={},
        foreign_key=uuid4(),
        request_method=str(request.method),
        request_path=request.path_info,
        request_params={},
        fingerprint=sent,
        origin_ip=origin_ip(request),
    )


# The lock timeout of the claim alone: a duplicate waits for the first's transaction, with a
# connection in hand. The view then has the session's own. By SET LOCAL, which Citus hands on to the
# server that has the key, where `citus.propagate_set_commands` says so.
SET_WAIT = "SET LOCAL lock_timeout = {milliseconds:d}"
END_WAIT = "SET LOCAL lock_timeout TO DEFAULT"


def _claim(new_key: NewKey) -> Claim | None:
    """Claim the key; return None where somebody else has committed it meanwhile.

    Raises: `RequestInProgress` where the first still has it after `DUPLICATE_WAIT`.
    """
    wait = conf.current().duplicate_wait / timedelta(milliseconds=1)
    with connection.cursor() as cursor:
        cursor.execute(SET_WAIT.format(milliseconds=round(wait)))
        try:
            claim = insert_key(new_key, begins_foreign_phase=False)
        except OperationalError as error:
            if not may_succeed_when_repeated(error):
                raise
            # Where sessions are stricter than READ COMMITTED: somebody else has committed it.
            raise request_in_progress(retry_after_seconds=1) from error
        cursor.execute(END_WAIT)
    return claim
