"""What a person can do for a request that is unfinished and not on the review list: have it gone on
with now, and end the lease of a process that is gone.

Neither decides anything of the request: the completer goes on with it, by its own claim and fence.
"""

import logging
from contextlib import suppress

from django.db.models import Case, Q, QuerySet, When
from django.db.models.functions import Now

from idempotency import complete_soon
from idempotency.claims import end_lease
from idempotency.database import atomic, reading_where_it_writes
from idempotency.exceptions import Parked, ReviewRefused
from idempotency.models import FINISHED, IdempotencyKey, ReviewDecision
from idempotency.operations import operation_for
from idempotency.review.decisions import Decision, keep_decision, refuse_without_a_reason
from idempotency.support.storable import storable_text
from idempotency.transactions import hooks_logged

logger = logging.getLogger(__name__)


def keys_to_go_on() -> QuerySet[IdempotencyKey]:
    """Return the requests that the completer may go on with, now or once a lease has ended."""
    keys = IdempotencyKey.objects.filter(needs_review_at__isnull=True)
    return keys.exclude(recovery_point=FINISHED)


@reading_where_it_writes()
def run_now(decision: Decision) -> str:
    """Have the completer go on with a request at its next look; return what was done, in words.

    Raises: `ReviewRefused`, where it was asked for and nobody has taken the request since, too: a
    second click decides nothing more.
    """
    key = _unfinished(decision)
    with atomic(), hooks_logged():
        _refuse_asked_already(key)
        complete_soon(key.pk)
        _record("run_now", decision, key)
    logger.info("decided: id=%s action=run_now", key.pk)
    return "due now" if key.locked_at is None else "due once its lease has ended"


@reading_where_it_writes()
def let_go(decision: Decision) -> str:
    """End the lease of a request whose process is gone; return what was done, in words.

    Raises: `ReviewRefused`.
    """
    key = _unfinished(decision)
    if key.locked_at is None:
        raise ReviewRefused(f"Nobody holds a lease on request {key.pk}.")
    with atomic(), hooks_logged():
        ended = end_lease(
            key,
            reviewer=storable_text(decision.reviewer),
            reason=storable_text(decision.reason),
        )
        if not ended:
            raise ReviewRefused(f"Request {key.pk} is not as you saw it. Look at it again.")
        _record("let_go", decision, key)
    logger.info("decided: id=%s action=let_go", key.pk)
    return "let go, and due now"


def _refuse_asked_already(key: IdempotencyKey) -> None:
    """Of two at once the second waits for the row, and then sees what the first has recorded: by a
    statement of its own, since the time of the one that waited is that of before the wait.
    """
    in_hand_or_due = Q(locked_at__isnull=False) | Q(run_after__lte=Now())
    rows = IdempotencyKey.objects.filter(pk=key.pk)
    list(rows.select_for_update().values_list("pk"))
    [since] = rows.values_list(Case(When(in_hand_or_due, then="last_run_at")), flat=True)
    asked = ReviewDecision.objects.filter(idempotency_key_id=key.pk, action="run_now")
    if since and asked.filter(created_at__gte=since).exists():
        raise ReviewRefused(
            f"Request {key.pk} is to run now already; no completer has taken it since."
        )


def _record(action: str, decision: Decision, key: IdempotencyKey) -> None:
    """Keep the decision, and have the operation record it, where this code still has it."""
    keep_decision(action, decision, key)
    with suppress(Parked):
        operation = operation_for(key)
        operation.key = key
        operation.record_review(
            action,
            reviewer=storable_text(decision.reviewer),
            reason=storable_text(decision.reason),
        )


def _unfinished(decision: Decision) -> IdempotencyKey:
    refuse_without_a_reason(decision)
    key = keys_to_go_on().filter(pk=decision.key_id).first()
    if key is None:
        raise ReviewRefused(
            f"Request {decision.key_id} is finished, or waits for a decision on the review list."
        )
    if key.lease_token != decision.lease_token:
        raise ReviewRefused(
            f"Request {decision.key_id} is not as you saw it: somebody has worked on it. Look at "
            "it again."
        )
    return key
