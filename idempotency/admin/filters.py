"""The admin's filters of keys, in the words of an index where there is one to lead to the rows.

Apart from the pages, because they are about statements and not about what is shown.
"""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest

from idempotency import conf
from idempotency.admin.lists import AgeFilter
from idempotency.models import FINISHED, IdempotencyKey, ReaperPosition
from idempotency.operations import all_operations

UNFINISHED = ~Q(recovery_point=FINISHED) & Q(needs_review_at__isnull=True)
UNDER_REVIEW = Q(needs_review_at__isnull=False)


def states() -> dict[str, Q]:
    """The states of a key; each condition implies that of a partial index, where one serves it."""
    lease_limit = Now() - conf.current().lock_timeout
    return {
        "finished": Q(recovery_point=FINISHED),
        "needs review": UNDER_REVIEW,
        "in progress": UNFINISHED & Q(locked_at__gte=lease_limit),
        "lease expired": UNFINISHED & Q(locked_at__lt=lease_limit),
        "waiting": UNFINISHED & Q(locked_at__isnull=True),
    }


class StateFilter(admin.SimpleListFilter):
    """By what becomes of the key next."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return [(state, state.capitalize()) for state in states()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[IdempotencyKey]
    ) -> QuerySet[IdempotencyKey]:
        condition = states().get(self.value() or "")
        return queryset if condition is None else queryset.filter(condition)


class RecoveryPointFilter(admin.SimpleListFilter):
    """By the point that the last attempt reached, of those that the code knows."""

    title = "recovery point"
    parameter_name = "recovery_point"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        phases = [phase for operation in all_operations() for phase in operation.phases()]
        points = dict.fromkeys([*(phase.recovery_point for phase in phases), FINISHED])
        return [(point, point) for point in points]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[IdempotencyKey]
    ) -> QuerySet[IdempotencyKey]:
        if self.value() is None:
            return queryset
        at_point = queryset.filter(recovery_point=self.value())
        # Few of a million keys are unfinished. Said in the words of the partial indexes, they are
        # found without looking at the others.
        return at_point if self.value() == FINISHED else at_point.filter(UNFINISHED | UNDER_REVIEW)


class KeyAgeFilter(AgeFilter):
    """Also by what the reaper should have removed, to which an index leads."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*super().lookups(request, model_admin), ("overdue", "Past retention")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() != "overdue":
            return super().queryset(request, queryset)
        horizon = Now() - conf.current().retention
        answered = Q(recovery_point=FINISHED, response_body__isnull=False, last_run_at__lt=horizon)
        unfinished = Q(created_at__lt=horizon) & (UNFINISHED | UNDER_REVIEW)
        return queryset.filter(answered & _not_reaped_yet() | unfinished)


def _not_reaped_yet() -> Q:
    """Spares the index the tombstones, of which there may be many."""
    position = ReaperPosition.objects.first()
    return Q(last_run_at__gte=position.last_run_at) if position else Q()
