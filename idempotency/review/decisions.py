"""The review list: requests that the system could not finish by itself, and what a person decides.

Every decision names who took it and why. It claims the key like any other process, is recorded with
that claim, and then goes through the same fenced phases as everything else. A decision that can't
be carried out leaves the request on the list, with the reason in its journal.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from uuid import UUID

from django.db.models import QuerySet

from idempotency.attempts import Attempt, Outcome
from idempotency.claims import Claim, reopen_key
from idempotency.commits import Step
from idempotency.database import atomic, reading_where_it_writes
from idempotency.exceptions import (
    LEAVING,
    Indeterminate,
    NeedsReview,
    Parked,
    ReviewRefused,
)
from idempotency.models import IdempotencyKey, ReviewDecision
from idempotency.operations import Operation, operation_for
from idempotency.phases import ForeignPhase, Pending, Phase, Response, UndoPhase, undo_point
from idempotency.support.described import described
from idempotency.support.storable import storable_json_text, storable_text
from idempotency.transactions import hooks_logged, repeated_on_conflict

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Who decides on which request, and why.

    `lease_token` is that of the request as the person saw it. After a failover that lost commits
    another request may have its id.
    """

    key_id: int
    lease_token: UUID
    reviewer: str
    reason: str


def keys_under_review() -> QuerySet[IdempotencyKey]:
    """Return the list, those first that have waited longest."""
    return IdempotencyKey.objects.filter(needs_review_at__isnull=False).order_by("needs_review_at")


@reading_where_it_writes()
def ask_foreign_system(key: IdempotencyKey) -> str:
    """Return what the foreign system says of the request now, in words, and change nothing."""
    if key.is_tombstone:
        return "It cannot be asked: the parameters were removed with the answer."
    try:
        operation = _operation_of(key)
        asking = [phase for phase in _begun_foreign_phases(operation) if phase.lookup_name]
        if not asking:
            return "There is nothing to ask about at the point that the request has reached."
        operation.phase_in_hand = asking[-1]
        found = getattr(operation, str(asking[-1].lookup_name))()
    except NeedsReview as error:
        return f"{described(error)} {storable_json_text(error.evidence)}"
    except LEAVING:
        raise
    except BaseException as error:
        # It may be anything of the adopter's. It is shown to the person, and changes nothing.
        return f"{type(error).__name__}: {described(error)}"
    if isinstance(found, Pending):  # whose answer may hold what only the client is to have
        return f"It is under way there, as {found.reference}."
    return "It has no record of the request." if found is None else storable_text(found)


@reading_where_it_writes()
def run_again(decision: Decision) -> Outcome:
    """Go on from the recovery point, as a retry would; with a new question, where the old one was
    refused and the phase asks anew.

    Raises: `ReviewRefused`, or the `IdempotencyError` with which the attempt ended.
    """
    attempt = Attempt(_operation_of(_key_under_review(decision)))
    asks_anew = _asks_anew(_phase_here(attempt.operation), attempt.operation.key)
    return _carry_out("run_again", decision, attempt, attempt.run_phase, asks_anew=asks_anew)


def _asks_anew(phase: Phase, key: IdempotencyKey) -> bool:
    if not (isinstance(phase, ForeignPhase) and phase.asks_anew):
        return False
    if isinstance(phase, UndoPhase):
        return True
    ended = [entry for entry in key.journal if entry["event"] == NeedsReview.code]
    return not key.is_pending and bool(ended) and ended[-1].get("refused", False)


@reading_where_it_writes()
def adopt(decision: Decision, reference: str) -> Outcome:
    """Go on with what the person found at the foreign system, after the phase's check of it.

    Raises: `ReviewRefused`, or the `IdempotencyError` with which the attempt ended.
    """
    operation = _operation_of(_key_under_review(decision))
    phase = _phase_here(operation)
    if not isinstance(phase, ForeignPhase) or phase.adopt_name is None:
        raise ReviewRefused(
            f"At {operation.key.recovery_point!r} the request waits for nothing that could be "
            "adopted."
        )
    ask = methodcaller(phase.adopt_name, reference)
    attempt = Attempt(operation)
    call = partial(attempt.call_foreign, phase, ask, event=phase.adopt_name)
    first = partial(_or_back_to_review, operation.key.last_error, call)
    return _carry_out("adopt", decision, attempt, first)


@reading_where_it_writes()
def undo(decision: Decision) -> Outcome:
    """Take back what was done at the foreign system, and finish the request as cancelled.

    The decision moves the key to the undoing phase's own point: once it is taken the request is
    never again gone on with, whatever becomes of this process.

    Raises: `ReviewRefused`, or the `IdempotencyError` with which the attempt ended.
    """
    attempt = Attempt(_operation_of(_key_under_review(decision)))
    point = _undo_phase(attempt.operation).recovery_point
    return _carry_out("undo", decision, attempt, attempt.run_phase, leads_to=point)


@reading_where_it_writes()
def close(decision: Decision, response: Response) -> Outcome:
    """Finish the request with the answer that the person gives, and do nothing else. That works
    for a request whose operation this code no longer has, too.

    Raises: `ReviewRefused`, or the `IdempotencyError` with which the attempt ended.
    """
    key = _key_under_review(decision)
    try:
        operation = _operation_of(key)
    except Parked:
        operation = Operation(user=key.user, params={})
        operation.key = key
    attempt = Attempt(operation)
    step = Step("close", lambda _: response)
    return _carry_out("close", decision, attempt, partial(attempt.commit, step))


def said_of(outcome: Outcome) -> str:
    """Return in words what a decision led to. What a client is told of something pending may hold
    what only the client is to have, so it is not among them.
    """
    if isinstance(outcome, Pending):
        return f"pending at the foreign system, which is asked again in {outcome.ask_again_in}"
    body = storable_text(outcome.content.decode(errors="replace"))
    return f"finished with {outcome.status}: {body}"


def _carry_out(
    action: str,
    decision: Decision,
    attempt: Attempt,
    first: Callable[[], Outcome | None],
    *,
    leads_to: str | None = None,
    asks_anew: bool = False,
) -> Outcome:
    point = leads_to or attempt.operation.key.recovery_point
    claim = _claim(action, decision, attempt.operation, point, asks_anew=asks_anew)
    try:
        return attempt.resume(claim, first)
    except NeedsReview as error:
        if isinstance(error.__cause__, ReviewRefused):
            raise error.__cause__ from None
        raise


@repeated_on_conflict
def _claim(
    action: str, decision: Decision, operation: Operation, point: str, *, asks_anew: bool
) -> Claim:
    """Take the key off the list, with the decision in its journal and in the audit records."""
    with atomic(), hooks_logged():
        claim = reopen_key(
            operation.key,
            recovery_point=point,
            action=action,
            reviewer=storable_text(decision.reviewer),
            reason=storable_text(decision.reason),
            asks_anew=asks_anew,
            # Of what is undone, the time of the first sending says how much is known.
            begins_window=asks_anew and not isinstance(operation.phase_at(point), UndoPhase),
        )
        if claim is None:
            raise ReviewRefused("Somebody else has decided on this request in the meantime.")
        keep_decision(action, decision, operation.key)
        operation.record_review(
            action,
            reviewer=storable_text(decision.reviewer),
            reason=storable_text(decision.reason),
        )
    logger.info("decided: id=%s action=%s", operation.key.pk, action)
    return claim


def keep_decision(action: str, decision: Decision, key: IdempotencyKey) -> None:
    """Record the decision where the reaper removes nothing, with no code of the operation."""
    ReviewDecision.objects.create(
        idempotency_key_id=key.pk,
        foreign_key=key.foreign_key,
        action=action,
        reviewer=storable_text(decision.reviewer),
        reason=storable_text(decision.reason),
    )


def _or_back_to_review(reason: str, first: Callable[[], Outcome | None]) -> Outcome | None:
    """What is refused, or could not be checked, leaves the request on the list for the reason that
    had put it there.
    """
    try:
        return first()
    except (ReviewRefused, Indeterminate) as error:
        refused = ReviewRefused(described(error))
        raise NeedsReview(reason, evidence={"refused": described(error)}) from refused


def refuse_without_a_reason(decision: Decision) -> None:
    """Raises: `ReviewRefused` where it is not said why, or by whom."""
    if not decision.reason.strip():
        raise ReviewRefused("A decision needs a reason.")
    if not decision.reviewer.strip():
        raise ReviewRefused("A decision names who took it.")


def _key_under_review(decision: Decision) -> IdempotencyKey:
    refuse_without_a_reason(decision)
    key = keys_under_review().filter(pk=decision.key_id).first()
    if key is None:
        raise ReviewRefused(f"Request {decision.key_id} is not on the review list.")
    if key.lease_token != decision.lease_token:
        raise ReviewRefused(
            f"Request {decision.key_id} is not as you saw it: somebody has worked on it, or it is "
            "another request. Look at it again."
        )
    return key


def _operation_of(key: IdempotencyKey) -> Operation:
    operation = operation_for(key)
    operation.key = key
    return operation


def _phase_here(operation: Operation) -> Phase:
    phase = operation.phase_at(operation.key.recovery_point)
    if phase is None:
        raise ReviewRefused(
            "This version of the service does not handle the recovery point "
            f"{operation.key.recovery_point!r}, which the request has reached."
        )
    return phase


def _begun_foreign_phases(operation: Operation) -> list[ForeignPhase]:
    """Return those that may have had an effect: up to the point that the request has reached."""
    begun = operation.phases()
    if not operation.key.is_finished:
        begun = operation.phases_until(_phase_here(operation).recovery_point)
    return [phase for phase in begun if isinstance(phase, ForeignPhase)]


def _undo_phase(operation: Operation) -> ForeignPhase:
    """Return the phase that takes back the latest foreign phase that has an `undo`."""
    here = _phase_here(operation)
    if isinstance(here, UndoPhase):
        return here
    for phase in reversed(_begun_foreign_phases(operation)):
        undoing = operation.phase_at(undo_point(phase.recovery_point))
        if isinstance(undoing, UndoPhase):
            return undoing
    raise ReviewRefused("At the point that the request has reached, there is nothing to undo.")
