"""A request that comes from code: an operation is called, or staged for the completer."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse, QueryDict

from idempotency import doors
from idempotency.claims import find_key, stage_key
from idempotency.database import connection
from idempotency.exceptions import (
    IdempotencyError,
    OperationNotStaged,
    ParametersMismatch,
    RequestInProgress,
    StagedOutsideTransaction,
)
from idempotency.http.bodies import Sent, refuse_deep_nesting, sent_by_code, sent_by_form
from idempotency.http.keys import check_key
from idempotency.http.origins import Origin
from idempotency.http.refusals import (
    KeyInvalid,
    KeyMissing,
    ParametersInvalid,
    Unauthenticated,
)
from idempotency.http.rereading import raising_answers
from idempotency.http.views import Asked, first_time, perform
from idempotency.http.waiting import wait_for_first
from idempotency.staging import user_in_hand
from idempotency.support.described import described
from idempotency.transactions import refuse_open_transaction_around

if TYPE_CHECKING:
    from idempotency.operations import Operation

Params = Mapping[str, Any] | Sent | None


def call(
    operation_class: "type[Operation]",
    *,
    user: Any,
    key: str,
    params: Params,
    path_kwargs: Mapping[str, Any] | None,
    request: HttpRequest | None,
) -> HttpResponse:
    """Answer a request that did not come by the operation's own view: see `Operation.call`."""
    refuse_open_transaction_around(operation_class.name)
    origin = Origin.of(request) if request else Origin.of_code(operation_class.name)
    try:
        with raising_answers():
            doors.refuse_while_closed()
            if getattr(user, "pk", None) is None:  # a framework's anonymous user
                raise Unauthenticated("The request's credentials are missing or not known.")
            asked = Asked(operation_class, user, _sent(params), path_kwargs or {}, origin)
            return _perform(asked, check_key(key), request)
    except IdempotencyError as error:
        error.message = described(error)  # a framework's own handler sends it
        raise


def _perform(asked: Asked, key: str, request: HttpRequest | None) -> HttpResponse:
    try:
        return perform(asked, key)
    except RequestInProgress as refused:
        if request is None:
            raise
        return wait_for_first(request, asked.user, refused, lambda: perform(asked, key))


def stage_operation(
    operation_class: "type[Operation]",
    *,
    key: str,
    params: Params = None,
    path_kwargs: Mapping[str, Any] | None = None,
    user: Any = None,
) -> None:
    """Write another operation's request into the open transaction: it is carried out by the
    completer if and only if that commits. The same key with the same parameters writes it once.

    Args:
        operation_class: the operation.
        key: made of what the work is about, such as this request's key, so that it is the same when
            the phase runs again.
        params: the fields as JSON has them, or a form's texts as `Sent(texts)`.
        path_kwargs: what the operation's view would find in its path.
        user: whose request it is. Of a phase it is the phase's user; a job has to say it.

    Raises: `StagedOutsideTransaction` where no transaction is open, `OperationNotStaged` where the
    key was used for something else or the form refuses the parameters, `TypeError` without a user.
    """
    name = operation_class.name
    if not connection.in_atomic_block:
        raise StagedOutsideTransaction(f"{name} was staged with no transaction open.")
    user = user or user_in_hand()
    try:
        asked = Asked(operation_class, user, _sent(params), path_kwargs or {}, Origin.of_code(name))
        refuse_deep_nesting(asked.sent)
        key = check_key(key)
        if not _is_staged(asked, key) and not stage_key(first_time(asked, key)[1]):
            _is_staged(asked, key)
    except (KeyInvalid, KeyMissing, ParametersInvalid, ParametersMismatch) as error:
        raise OperationNotStaged(f"{name} was not staged: {error}") from error


def _is_staged(asked: Asked, key: str) -> bool:
    """Raises: `ParametersMismatch`."""
    stored = find_key(asked.user.pk, key)
    if stored is not None:
        asked.refuse_for(stored.key)
    return stored is not None


def _sent(params: Params) -> Sent:
    """Raises: `ParametersInvalid` for a body of JSON that is no object, and for no plain form."""
    if isinstance(params, Sent):
        return params
    if isinstance(params, QueryDict):
        return sent_by_form(params)
    if not isinstance(params, Mapping | None):
        kind = type(params).__name__
        raise ParametersInvalid(f"The parameters are to be an object, and not a {kind}.")
    return sent_by_code(params or {})
