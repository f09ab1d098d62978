"""Time, as the harness lets it pass: the database's timestamps move, nobody sleeps."""

from datetime import timedelta

from django.db.models import F

from idempotency import conf
from idempotency.models import IdempotencyKey, JobDelivery

_TIMES_OF_A_KEY = ("created_at", "last_run_at", "locked_at", "run_after", "foreign_sent_at")


def let_key_age(idempotency_key: str, by: timedelta) -> None:
    """Has everything about a key have happened that much earlier."""
    key = IdempotencyKey.objects.filter(idempotency_key=idempotency_key)
    key.update(**{column: F(column) - by for column in _TIMES_OF_A_KEY})


def let_deliveries_age(by: timedelta) -> None:
    """Has every job that was handed over have been so that much earlier."""
    JobDelivery.objects.update(
        created_at=F("created_at") - by, handed_over_at=F("handed_over_at") - by
    )


def until_anybody_may_take_over() -> timedelta:
    """How long after an attempt its lease has run out and the completer may try the key."""
    settings = conf.current()
    longest_wait = max(settings.completer_grace, 2 * settings.completer_pause)
    return settings.lock_timeout + longest_wait
