"""Jobs for an operator's eyes: what is staged, and what was handed over and is not settled.

Read-only, but for putting back a job that was set aside.
"""

from uuid import UUID

from django.contrib import admin
from django.db.models import Q

from idempotency.admin.lists import AgeFilter, ReadOnlyAdmin, choices, moment_of
from idempotency.console.acting import PUT_BACK
from idempotency.console.acts import ActPages
from idempotency.console.personal import MasksPersonalData, stand_in_for
from idempotency.models import (
    IS_FOR_NOW,
    Job,
    JobDelivery,
    StagedJob,
)


class JobAdmin(MasksPersonalData, ReadOnlyAdmin):
    """What staged and delivered jobs have in common."""

    personal = {"job_args": "masked_arguments"}
    masked_arguments = stand_in_for("job_args")
    search_help_text = "A job's id, or its number"
    not_before = moment_of("run_after")

    @admin.display(description="asked of the queue")
    def asked(self, job: Job) -> str:
        """Return what `task.using(…)` named; a dash where all is the task's own."""
        return job.asked_of_queue or "-"

    def matching(self, term: str) -> Q:
        try:
            return Q(job_id=UUID(term))
        except ValueError:
            return super().matching(term)


DueFilter = choices("time", {"now": ("For now", IS_FOR_NOW), "later": ("For later", ~IS_FOR_NOW)})
"""Whether the enqueuer is to take a job, or it waits for its time."""


@admin.register(StagedJob)
class StagedJobAdmin(JobAdmin):
    """Jobs that the enqueuer has not taken yet; a long list of those for now means that it does not
    run.
    """

    list_display = ("job_name", "job_id", "created", "not_before", "asked")
    list_filter = (DueFilter, AgeFilter)
    fields = ("job_name", "job_id", "job_args", "created", "not_before", "asked")
    readonly_fields = ("created", "not_before", "asked")


OwedFilter = choices(
    "state",
    {
        "owed": ("Owed", Q(set_aside_at__isnull=True)),
        "set-aside": ("Set aside", Q(set_aside_at__isnull=False)),
    },
)
"""Whether a job will be handed over again, or waits for a person."""


@admin.register(JobDelivery)
class JobDeliveryAdmin(ActPages, JobAdmin):
    """Jobs that were handed to the queue and that no worker has settled yet."""

    acts = (PUT_BACK,)
    list_display = (
        *("job_name", "set_aside", "deliveries", "handed_over", "last_error", "asked", "job_id"),
    )
    list_filter = (OwedFilter, AgeFilter)
    handed_over = moment_of("handed_over_at")
    set_aside = moment_of("set_aside_at")
    leased_until = moment_of("leased_until")
    fields = (
        *("job_name", "job_id", "job_args", "created", "not_before", "asked"),
        *("deliveries", "handed_over", "leased_until", "set_aside", "last_error"),
    )
    readonly_fields = (
        *("created", "not_before", "asked"),
        *("handed_over", "leased_until", "set_aside"),
    )
