"""The admin's filters of keys, in the words of an index where there is one to lead to the rows.

Apart from the pages, because they are about statements and not about what is shown.
"""

from django.db.models import Q
from django.db.models.functions import Now

from idempotency import conf
from idempotency.admin.lists import AGES, Choices, choices
from idempotency.models import FINISHED, ReaperPosition
from idempotency.operations import all_operations

UNFINISHED = ~Q(recovery_point=FINISHED) & Q(needs_review_at__isnull=True)
UNDER_REVIEW = Q(needs_review_at__isnull=False)


def states() -> dict[str, Q]:
    """Return the states of a key; each condition implies a partial index, where one serves it."""
    lease_limit = Now() - conf.current().lock_timeout
    return {
        "finished": Q(recovery_point=FINISHED),
        "needs review": UNDER_REVIEW,
        "in progress": UNFINISHED & Q(locked_at__gte=lease_limit),
        "lease expired": UNFINISHED & Q(locked_at__lt=lease_limit),
        "pending": UNFINISHED & Q(locked_at__isnull=True, pending_since__isnull=False),
        "waiting": UNFINISHED & Q(locked_at__isnull=True),
    }


def _states() -> Choices:
    return {state: (state.capitalize(), condition) for state, condition in states().items()}


def _recovery_points() -> Choices:
    """Return the points of all operations that the code has.

    Few of a million keys are unfinished. Said in the words of the partial indexes, they are found
    without looking at the others.
    """
    phases = [phase for operation in all_operations() for phase in operation.phases()]
    points = {
        phase.recovery_point: Q(recovery_point=phase.recovery_point) & (UNFINISHED | UNDER_REVIEW)
        for phase in phases
    } | {FINISHED: Q(recovery_point=FINISHED)}
    return {point: (point, condition) for point, condition in points.items()}


def _past_retention() -> Q:
    """Select what the reaper should have removed, by an index."""
    horizon = Now() - conf.current().retention
    answered = Q(recovery_point=FINISHED, response_body__isnull=False, last_run_at__lt=horizon)
    unfinished = Q(created_at__lt=horizon) & (UNFINISHED | UNDER_REVIEW)
    return answered & _not_reaped_yet() | unfinished


def _not_reaped_yet() -> Q:
    """Spare the index the tombstones, of which there may be many."""
    position = ReaperPosition.objects.first()
    return Q(last_run_at__gte=position.last_run_at) if position else Q()


StateFilter = choices("state", _states)
RecoveryPointFilter = choices("recovery point", _recovery_points)
KeyAgeFilter = choices("age", {**AGES, "overdue": ("Past retention", _past_retention)})
