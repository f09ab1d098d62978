"""The rows behind the guarantees: the key, the jobs it staged, and what was delivered of them.

Columns, constraints and indexes only. Whoever moves a key goes through `claims`, whoever moves a
job through `staging` and `jobs`: there the statements stand that hold the guarantees.
"""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Length, Now
from django.db.models.lookups import GreaterThanOrEqual

from idempotency.watched import Heartbeat, Rollup

__all__ = ["Heartbeat", "Rollup"]

STARTED = "started"
"""The recovery point of a fresh key: an operation's first phase starts from it."""

FINISHED = "finished"
"""The recovery point of a key that has its answer: no phase starts from it."""

KEY_MIN_LENGTH = 20
KEY_MAX_LENGTH = 255


class IdempotencyKey(models.Model):
    """One request of one user, from its claim to its stored answer."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    idempotency_key = models.CharField(max_length=KEY_MAX_LENGTH)

    # What the key's operation is found by. Empty only where a version without names wrote the row.
    operation = models.CharField(max_length=255, blank=True, db_default="")
    path_kwargs = models.JSONField(blank=True, db_default=Value({}, models.JSONField()))

    request_method = models.CharField(max_length=10)
    request_path = models.CharField(max_length=2048)
    request_params = models.JSONField()
    fingerprint = models.CharField(max_length=64)
    origin_ip = models.GenericIPAddressField(null=True, blank=True)

    # What the foreign system recognises the request by: derived from the user and the key, see
    # `foreign_keys`. Never from the serial id, which a restored database hands out again.
    foreign_key = models.UUIDField()

    created_at = models.DateTimeField(db_default=Now())
    last_run_at = models.DateTimeField(db_default=Now())
    locked_at = models.DateTimeField(null=True, blank=True)
    attempt = models.PositiveIntegerField(default=1)
    # The fence: every claim draws one, and it stays when the lease is let go. `attempt` is its
    # number for people, which another history of the database may count to as well.
    lease_token = models.UUIDField(default=uuid.uuid4)
    run_after = models.DateTimeField(db_default=Now())
    completer_attempts = models.PositiveIntegerField(default=0, db_default=0)

    recovery_point = models.CharField(max_length=50, default=STARTED)
    foreign_sent_at = models.DateTimeField(null=True, blank=True)
    # How often a person has had a question of the phase in hand be asked anew, under another key.
    foreign_question = models.PositiveIntegerField(default=0, db_default=0)

    # What the foreign system has under way: since when, what the client is told meanwhile, by what
    # the thing is known there, and when it is withdrawn.
    pending_since = models.DateTimeField(null=True, blank=True)
    pending_answer = models.TextField(null=True, blank=True)  # noqa: DJ001 - null: nothing is
    foreign_reference = models.TextField(null=True, blank=True)  # noqa: DJ001
    gives_up_at = models.DateTimeField(null=True, blank=True)

    response_code = models.PositiveSmallIntegerField(null=True, blank=True)
    response_body = models.BinaryField(null=True, blank=True)  # null: no answer yet
    response_content_type = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001
    response_headers = models.JSONField(null=True, blank=True)

    last_error = models.TextField(blank=True, default="")
    needs_review_at = models.DateTimeField(null=True, blank=True)
    journal = models.JSONField(default=list)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "idempotency_key"], name="idempotency_key_unique_per_user"
            ),
            models.CheckConstraint(
                condition=Q(GreaterThanOrEqual(Length("idempotency_key"), KEY_MIN_LENGTH)),
                name="idempotency_key_long_enough",
            ),
            models.CheckConstraint(
                condition=~Q(recovery_point=""), name="idempotency_key_recovery_point_named"
            ),
            models.CheckConstraint(
                condition=Q(attempt__gte=1), name="idempotency_key_attempt_positive"
            ),
            models.CheckConstraint(
                condition=(
                    Q(
                        recovery_point=FINISHED,
                        response_code__isnull=False,
                        response_code__range=(100, 599),
                        locked_at__isnull=True,
                        needs_review_at__isnull=True,
                    )
                    & (
                        Q(response_body__isnull=False, response_content_type__isnull=False)
                        | Q(response_body__isnull=True, response_content_type__isnull=True)
                    )
                )
                | (
                    ~Q(recovery_point=FINISHED)
                    & Q(
                        response_code__isnull=True,
                        response_body__isnull=True,
                        response_content_type__isnull=True,
                    )
                ),
                name="idempotency_key_finished_means_answered",
            ),
            models.CheckConstraint(
                condition=Q(needs_review_at__isnull=True) | Q(locked_at__isnull=True),
                name="idempotency_key_under_review_is_not_leased",
            ),
            models.CheckConstraint(
                condition=Q(
                    pending_since__isnull=True,
                    pending_answer__isnull=True,
                    foreign_reference__isnull=True,
                    gives_up_at__isnull=True,
                )
                | (
                    ~Q(recovery_point=FINISHED)
                    & Q(
                        pending_since__isnull=False,
                        pending_answer__isnull=False,
                        foreign_reference__isnull=False,
                        gives_up_at__isnull=False,
                    )
                ),
                name="idempotency_key_pending_is_whole_and_unfinished",
            ),
        ]
        # Two more stand in the migration 0002 alone: how many unfinished keys a user has, and keys
        # by their beginning. They are of expressions, so that no statement but the one that is
        # meant for each can be planned by it.
        indexes = [
            # The completer's: unfinished keys only, so its size is that of the trouble at hand.
            models.Index(
                fields=["run_after"],
                name="idempotency_key_due",
                condition=~Q(recovery_point=FINISHED) & Q(needs_review_at__isnull=True),
            ),
            # The reaper's: finished keys in the order of their last run. It says nothing of the
            # answer, so a key that loses its answer keeps its place in every index.
            models.Index(
                fields=["last_run_at"],
                name="idempotency_key_finished",
                condition=Q(recovery_point=FINISHED),
            ),
            # The list for a person.
            models.Index(
                fields=["needs_review_at"],
                name="idempotency_key_review",
                condition=Q(needs_review_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        # Without the path: its arguments may be personal, and this stands on every page.
        return f"{self.request_method} {self.operation} {self.idempotency_key}"

    @property
    def is_finished(self) -> bool:
        return self.recovery_point == FINISHED

    @property
    def is_tombstone(self) -> bool:
        """Finished so long ago that the reaper has removed its parameters and its answer."""
        return self.is_finished and self.response_body is None

    @property
    def is_pending(self) -> bool:
        """The foreign system has it under way."""
        return self.pending_since is not None

    @property
    def is_under_review(self) -> bool:
        return self.needs_review_at is not None


class Overview(IdempotencyKey):
    """The console's first page: who may see it is a permission of its own."""

    class Meta:
        proxy = True
        verbose_name_plural = "overview"
        permissions = [("see_personal_data", "Can see personal data in the console")]


class RequestUnderReview(IdempotencyKey):
    """A request that waits for a person: the admin's list of them."""

    class Meta:
        proxy = True
        verbose_name = "request that needs review"
        verbose_name_plural = "requests that need review"


class ReaperPosition(models.Model):
    """How far the reaper has come: of finished keys whose last run is older none has its answer."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    last_run_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="reaper_position_is_one_row"),
        ]

    def __str__(self) -> str:
        return self.last_run_at.isoformat()


class ReviewDecision(models.Model):
    """What a person decided on a request, kept when the request's own row is long gone."""

    idempotency_key_id = models.BigIntegerField()  # no reference: the reaper removes keys
    foreign_key = models.UUIDField()
    action = models.CharField(max_length=50)
    reviewer = models.TextField()
    reason = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(action="") & ~Q(reviewer="") & ~Q(reason=""),
                name="review_decision_says_who_what_and_why",
            ),
        ]
        indexes = [
            models.Index(fields=["idempotency_key_id"], name="review_decision_by_key"),
        ]

    def __str__(self) -> str:
        return f"{self.action} of request {self.idempotency_key_id}"


class Doors(models.Model):
    """That the service is closed; open, there is no row. `doors` reads and writes it."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    closed_at = models.DateTimeField(db_default=Now())
    reason = models.TextField(blank=True, default="")

    class Meta:
        verbose_name_plural = "doors"
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="doors_are_one_row"),
        ]

    def __str__(self) -> str:
        return f"closed since {self.closed_at.isoformat()}"


class ForeignKeyNamespace(models.Model):
    """What this database's foreign keys are derived from since it was made; `foreign_keys` keeps
    it. With another one every retry in flight would ask the foreign system anew.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    namespace = models.UUIDField()
    kept_since = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="foreign_key_namespace_is_one_row"),
        ]

    def __str__(self) -> str:
        return str(self.namespace)


class Job(models.Model):
    """What staged and delivered jobs have in common."""

    job_id = models.UUIDField(unique=True)
    job_name = models.CharField(max_length=255)
    job_args = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())
    # What its author asked for by `task.using(…)`. What is empty is the task's own.
    run_after = models.DateTimeField(null=True, blank=True)
    priority = models.SmallIntegerField(null=True, blank=True)
    queue_name = models.TextField(blank=True, db_default="")
    backend = models.TextField(blank=True, db_default="")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.job_name} {self.job_id}"

    @property
    def asked_of_queue(self) -> str:
        """Say it for people; an empty text where nothing was asked."""
        asked = {"priority": self.priority, "queue": self.queue_name, "backend": self.backend}
        return " ".join(
            f"{name}={value}" for name, value in asked.items() if value not in ("", None)
        )


IS_FOR_NOW = Q(run_after__isnull=True) | Q(run_after__lte=Now())
"""Of staged jobs those that the enqueuer is to take; the others wait for their time."""


class StagedJob(Job):
    """A job written in its phase's own transaction, invisible until that commits.

    One for later stays here until its time: a delivery that waits in a queue looks lost.
    """

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~Q(job_name=""), name="staged_job_named"),
        ]
        indexes = [
            # What is to be handed over at once, and what later: no look reads through the other.
            models.Index(
                fields=["id"], name="staged_job_for_now", condition=Q(run_after__isnull=True)
            ),
            models.Index(
                fields=["run_after"],
                name="staged_job_for_later",
                condition=Q(run_after__isnull=False),
            ),
        ]


class JobDelivery(Job):
    """A job that was handed to the queue and is owed until its worker settles it."""

    handed_over_at = models.DateTimeField(db_default=Now())
    deliveries = models.PositiveIntegerField(default=1)
    # The right to work on it: the worker draws the token, and its settling compares it.
    lease_token = models.UUIDField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True, default="")
    set_aside_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "job deliveries"
        constraints = [
            models.CheckConstraint(
                condition=Q(lease_token__isnull=True, leased_until__isnull=True)
                | Q(lease_token__isnull=False, leased_until__isnull=False),
                name="job_delivery_leased_until_a_time",
            ),
        ]
        indexes = [
            # What may have to be handed over again.
            models.Index(
                fields=["handed_over_at"],
                name="job_delivery_unsettled",
                condition=Q(set_aside_at__isnull=True),
            ),
            # What waits for a person.
            models.Index(
                fields=["set_aside_at"],
                name="job_delivery_set_aside",
                condition=Q(set_aside_at__isnull=False),
            ),
        ]
