"""Time, as these tests let it pass: the database's timestamps move, nobody sleeps."""

from datetime import timedelta

from django.db.models import F

from idempotency.models import IdempotencyKey, JobDelivery


def let_time_pass(by: timedelta) -> None:
    """Makes every key and every delivery older by `by`."""
    IdempotencyKey.objects.update(
        created_at=F("created_at") - by,
        last_run_at=F("last_run_at") - by,
        locked_at=F("locked_at") - by,
        run_after=F("run_after") - by,
        foreign_sent_at=F("foreign_sent_at") - by,
    )
    JobDelivery.objects.update(
        created_at=F("created_at") - by, handed_over_at=F("handed_over_at") - by
    )
