"""The review list: requests that the system could not finish by itself, and what a person decides.

Every decision names who took it and why. It claims the key like any other process, is recorded with
that claim, and then goes through the same fenced phases as everything else. A decision that can't
be carried out leaves the request on the list, with the reason in its journal.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from idempotency.claims import Claim, reopen_key
from idempotency.completing import operation_for
from idempotency.exceptions import IdempotencyError, NeedsReview, ReviewRefused
from idempotency.models import IdempotencyKey
from idempotency.operations import Operation
from idempotency.phases import ForeignPhase, Response
from idempotency.stretches import Step, run_stretch


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Who decides on which request, and why."""

    key_id: int
    reviewer: str
    reason: str


def keys_under_review() -> QuerySet[IdempotencyKey]:
    """The list, those first that have waited longest."""
    return IdempotencyKey.objects.filter(needs_review_at__isnull=False).order_by("needs_review_at")


def ask_foreign_system(key: IdempotencyKey) -> str:
    """What the foreign system says of the request now, in words. Nothing is changed anywhere."""
    operation = operation_for(key)
    operation.key = key
    phase = operation.phase_at(key.recovery_point)
    if not isinstance(phase, ForeignPhase) or phase.lookup_name is None:
        return "There is nothing to ask at this recovery point."
    try:
        found = getattr(operation, phase.lookup_name)()
    except NeedsReview as error:
        return f"{error} {error.evidence}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "It knows nothing of it." if found is None else str(found)


def run_again(decision: Decision) -> Response:
    """Goes on from the recovery point, as a retry would.

    *Raises* `ReviewRefused`, or the `IdempotencyError` with which the attempt ended.
    """
    return _carry_out("run_again", decision, lambda operation: operation.run_from_here)


def adopt(decision: Decision, reference: str) -> Response:
    """Goes on with what the person found at the foreign system, after the phase's check of it.

    *Raises* `ReviewRefused`, or the `IdempotencyError` with which the attempt ended.
    """

    def enter(operation: Operation) -> Callable[[], Any]:
        phase = operation.phase_at(operation.key.recovery_point)
        if not isinstance(phase, ForeignPhase) or phase.adopt_name is None:
            raise ReviewRefused("At the point that the request has reached, nothing is missing.")
        ask = partial(getattr(operation, phase.adopt_name), reference)
        return partial(operation.call_foreign, phase, ask)

    return _carry_out("adopt", decision, enter)


def undo(decision: Decision) -> Response:
    """Takes back what was done at the foreign system, and finishes the request as cancelled.

    *Raises* `ReviewRefused`, or the `IdempotencyError` with which the attempt ended.
    """

    def enter(operation: Operation) -> Callable[[], Any]:
        phase = _undoable_phase(operation)
        ask = getattr(operation, str(phase.undo_name))
        return partial(operation.call_foreign, phase, ask, commit=operation.cancelled)

    return _carry_out("undo", decision, enter)


def close(decision: Decision, response: Response) -> Response:
    """Finishes the request with the answer that the person gives, and does nothing else.

    *Raises* `ReviewRefused`, or the `IdempotencyError` with which the attempt ended.
    """

    def enter(operation: Operation) -> Callable[[], Any]:
        step = Step("close", lambda: response)
        return lambda: operation.in_transaction(partial(run_stretch, operation, step))

    return _carry_out("close", decision, enter)


def _carry_out(
    action: str, decision: Decision, enter: Callable[[Operation], Callable[[], Any]]
) -> Response:
    if not decision.reason.strip():
        raise ReviewRefused("A decision needs a reason.")
    operation = _operation_under_review(decision.key_id)
    first = enter(operation)
    claim = _claim(action, decision, operation)
    try:
        return operation.enter(claim, partial(_or_back_to_review, first))
    except IdempotencyError as error:
        if isinstance(error.__cause__, ReviewRefused):
            raise error.__cause__ from None
        raise


def _or_back_to_review(first: Callable[[], Any]) -> Any:
    try:
        return first()
    except ReviewRefused as refused:
        raise NeedsReview(str(refused)) from refused


def _claim(action: str, decision: Decision, operation: Operation) -> Claim:
    """Takes the key off the list, with the decision in its journal and in the audit records."""
    with transaction.atomic():
        claim = reopen_key(
            decision.key_id, action=action, reviewer=decision.reviewer, reason=decision.reason
        )
        if claim is None:
            raise ReviewRefused("The request is not on the review list any more.")
        operation.record_review(action, reviewer=decision.reviewer, reason=decision.reason)
    return claim


def _operation_under_review(key_id: int) -> Operation:
    key = keys_under_review().filter(pk=key_id).first()
    if key is None:
        raise ReviewRefused(f"Request {key_id} is not on the review list.")
    operation = operation_for(key)
    operation.key = key
    return operation


def _undoable_phase(operation: Operation) -> ForeignPhase:
    """The latest foreign phase that may have had an effect: the one here, or one before it."""
    phases = operation.phases()
    here = operation.phase_at(operation.key.recovery_point)
    begun = phases[: phases.index(here) + 1] if here else ()
    for phase in reversed(begun):
        if isinstance(phase, ForeignPhase) and phase.undo_name:
            return phase
    raise ReviewRefused("At the point that the request has reached, there is nothing to undo.")
