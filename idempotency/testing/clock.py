"""Time, as tests let it pass: the database's timestamps move, nobody sleeps."""

from datetime import timedelta
from typing import Any

from django.db.models import DateTimeField, F, Func, QuerySet, Value

from idempotency import conf
from idempotency.models import IdempotencyKey, JobDelivery, ReaperPosition, StagedJob

_TIMES_OF_A_KEY = (
    *("created_at", "last_run_at", "locked_at", "run_after"),
    *("foreign_sent_at", "pending_since", "gives_up_at"),
)
_TIMES_OF_A_STAGED_JOB = ("created_at", "run_after")
_TIMES_OF_A_DELIVERY = ("created_at", "run_after", "handed_over_at", "leased_until")


def let_time_pass(by: timedelta) -> None:
    """Have everything about every key and every job have happened that much earlier."""
    _let_keys_age(IdempotencyKey.objects.all(), by)
    let_deliveries_age(by)


def let_key_age(idempotency_key: str, by: timedelta) -> None:
    """The same for one key, and nothing else."""
    _let_keys_age(IdempotencyKey.objects.filter(idempotency_key=idempotency_key), by)


def let_deliveries_age(by: timedelta) -> None:
    """The same for every job, those that are still staged for later too."""
    _move(StagedJob.objects.all(), by, *_TIMES_OF_A_STAGED_JOB)
    _move(JobDelivery.objects.all(), by, *_TIMES_OF_A_DELIVERY)


def until_anybody_may_take_over() -> timedelta:
    """How long after an attempt its lease has run out and the completer may try the key."""
    settings = conf.current()
    longest_wait = max(settings.completer_grace, 2 * settings.completer_pause)
    return settings.lock_timeout + longest_wait


def _let_keys_age(keys: "QuerySet[IdempotencyKey]", by: timedelta) -> None:
    _move(keys, by, *_TIMES_OF_A_KEY)
    ReaperPosition.objects.all().delete()  # or a key would be older than what the reaper has done


def _move(rows: "QuerySet[Any]", by: timedelta, *columns: str) -> None:
    rows.update(**{column: earlier(column, by) for column in columns})


def earlier(column: str, by: timedelta) -> Func:
    """Return a column's time, so much earlier, as something to update it to.

    In UTC, where a day has 24 hours whatever the session's zone: so PostgreSQL knows that it always
    comes to the same, without which a distributed one takes no computed time.
    """
    return Func(
        F(column),
        Value(by),
        arg_joiner=" AT TIME ZONE 'UTC' - ",
        template="(%(expressions)s) AT TIME ZONE 'UTC'",
        output_field=DateTimeField(),
    )
