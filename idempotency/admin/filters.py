"""The admin's filters of keys, in the words of an index where there is one to lead to the rows.

Apart from the pages, because they are about statements and not about what is shown.
"""

from datetime import timedelta

from django.db.models import F, Q
from django.db.models.functions import Now

from idempotency import conf
from idempotency.admin.lists import AGES, Choices, choices
from idempotency.models import FINISHED, ReaperPosition
from idempotency.operations import all_operations, foreign_points

UNFINISHED = ~Q(recovery_point=FINISHED) & Q(needs_review_at__isnull=True)
UNDER_REVIEW = Q(needs_review_at__isnull=False)

STUCK = timedelta(minutes=15)
"""So long after it began a request should have its answer: the completer has had a try."""


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


def unknown() -> Q:
    """Select what was sent to a foreign system, and nobody knows what became of it."""
    leased = Q(locked_at__gte=Now() - conf.current().lock_timeout)
    sent = Q(
        foreign_sent_at__isnull=False,
        pending_since__isnull=True,
        recovery_point__in=foreign_points(),
    )
    return UNFINISHED & sent & ~leased


# The questions that are asked again and again, by an index but for those of `LOOKED_FOR`.
SAVED: Choices = {
    "unfinished": ("Unfinished", UNFINISHED),
    "stuck": ("Stuck: unfinished for 15 minutes", UNFINISHED & Q(created_at__lt=Now() - STUCK)),
    "unknown": ("Unknown: sent, and no answer", unknown),
    "needs-review": ("Needs review", UNDER_REVIEW),
    "declined": ("Declined", Q(recovery_point=FINISHED, response_code__range=(400, 499))),
    "slow": (
        "Slow: more than ten seconds",
        Q(recovery_point=FINISHED, last_run_at__gt=F("created_at") + timedelta(seconds=10)),
    ),
}
LOOKED_FOR = ("declined", "slow")
"""The saved views for which the latest keys are looked through."""

ATTEMPTS: Choices = {
    "2": ("More than one", Q(attempt__gt=1)),
    "5": ("Five or more", Q(attempt__gte=5)),
}
ERRORS: Choices = {
    "had": ("Had an error", Q(attempt__gt=1) | ~Q(last_error="")),
    "none": ("Had none", Q(attempt=1, last_error="")),
}


def _operations() -> Choices:
    return {each.name: (each.name, Q(operation=each.name)) for each in all_operations()}


def _outcomes() -> Choices:
    classes = {f"{first}xx": (first * 100, first * 100 + 99) for first in range(2, 6)}
    return {
        name: (name, Q(recovery_point=FINISHED, response_code__range=limits))
        for name, limits in classes.items()
    }


SavedFilter = choices("saved view", SAVED, name="saved", looks_through=LOOKED_FOR)
AttemptsFilter = choices("attempts", ATTEMPTS, looks_through=True)
ErrorFilter = choices("error", ERRORS, looks_through=True)
OperationFilter = choices("operation", _operations, looks_through=True)
OutcomeFilter = choices("answer", _outcomes, looks_through=True)
StateFilter = choices("state", _states)
RecoveryPointFilter = choices("recovery point", _recovery_points)
KeyAgeFilter = choices("age", {**AGES, "overdue": ("Past retention", _past_retention)})
