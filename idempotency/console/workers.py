"""Workers for an operator's eyes: which processes have told that they are there, and where."""

from django.contrib import admin
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest

from idempotency.admin.lists import ReadOnlyAdmin, choices, is_id, moment_of
from idempotency.models import Heartbeat
from idempotency.watching.standing import DEAD_AFTER, EVERY_KIND

IS_ALIVE = Q(seen_at__range=(Now() - DEAD_AFTER, Now() + DEAD_AFTER))

LONGEST_NUMBER = 9
"""How many digits the column of a process's number takes."""

WorkerFilter = choices("worker", {name: (name, Q(worker=name)) for name in EVERY_KIND})
StateFilter = choices("state", {"alive": ("Alive", IS_ALIVE), "dead": ("Dead", ~IS_ALIVE)})


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnlyAdmin):
    """Processes that live, and those that were killed in the last day; one that stops takes its row
    away.
    """

    list_display = ("worker", "alive", "host", "pid", "version", "seen", "last_batch")
    list_filter = (WorkerFilter, StateFilter)
    search_help_text = "The beginning of a host's name, or a process's number"
    started = moment_of("started_at")
    seen = moment_of("seen_at")
    last_batch_ended = moment_of("last_batch_at")
    fields = (
        *("worker", "alive", "host", "pid", "version"),
        *("started", "seen", "last_batch", "last_batch_ended"),
    )
    readonly_fields = ("alive", "started", "seen", "last_batch_ended")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Heartbeat]:
        alive = ExpressionWrapper(IS_ALIVE, output_field=BooleanField())
        return super().get_queryset(request).annotate(is_alive=alive)

    def matching(self, term: str) -> Q:
        """A day has few of them, so no index is wanted."""
        named = Q(host__startswith=term)
        return named | Q(pid=term) if is_id(term) and len(term) <= LONGEST_NUMBER else named

    @admin.display(boolean=True, description="alive")
    def alive(self, heartbeat: Heartbeat) -> bool:
        return heartbeat.is_alive  # type: ignore[attr-defined]
