"""The tables of what is watched: what was counted, and which processes are alive.

They are the app's models like those in `idempotency.models`, which lists them.
"""

from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

LIMITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds: a bucket has what took no longer than its limit, and one more has the rest."""

# How what is inserted into the rollup is added to what is there, as SQL.
ADDED_UP = """
    ON CONFLICT (span, at, what, operation, name, outcome) DO UPDATE
   SET count   = rollup.count + EXCLUDED.count,
       seconds = rollup.seconds + EXCLUDED.seconds,
       buckets = ARRAY(SELECT mine + more
                         FROM unnest(rollup.buckets, EXCLUDED.buckets)
                              WITH ORDINALITY AS pair (mine, more, place)
                        ORDER BY place)
"""


class Buckets(models.Field):
    """How many took how long: whole numbers, in PostgreSQL's own array.

    Django's `ArrayField` wants `django.contrib.postgres` among the project's apps.
    """

    def db_type(self, connection: Any) -> str:
        return "bigint[]"


class Rollup(models.Model):
    """How often something happened in a span of time, and how long it took."""

    span = models.CharField(max_length=6)
    at = models.DateTimeField()
    what = models.CharField(max_length=20)
    operation = models.CharField(max_length=255)
    name = models.CharField(max_length=255)
    outcome = models.CharField(max_length=100)
    count = models.BigIntegerField()
    seconds = models.FloatField()
    buckets = Buckets()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["span", "at", "what", "operation", "name", "outcome"],
                name="rollup_series_once_in_a_span",
            ),
            models.CheckConstraint(
                condition=Q(span__in=["minute", "ten", "hour"]), name="rollup_of_a_known_span"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.what} {self.name} {self.outcome} {self.at:%Y-%m-%d %H:%M}"


class Heartbeat(models.Model):
    """That a process is alive, and what it last did. One that stops takes its row away."""

    worker = models.CharField(max_length=50)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    version = models.CharField(max_length=50)
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())
    last_batch = models.TextField(blank=True, default="")
    last_batch_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["worker", "host", "pid"], name="heartbeat_once_a_process"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.worker} {self.host}:{self.pid}"
