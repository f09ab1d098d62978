"""Where the last nightly run has ended, and so where the next one begins."""

from datetime import datetime, timedelta

from django.db.models import Min

from idempotency.models import FINISHED, IdempotencyKey
from rides.models import ReconciledUntil

LONGEST_WAIT = timedelta(days=31)
"""For a request that stays open: so far, and no further, does it hold the next run back."""


def last_end() -> datetime | None:
    """Return where the last run ended; None before the first one."""
    row = ReconciledUntil.objects.first()
    return row.until if row else None


def keep_end(end: datetime) -> None:
    """Keep where a run has ended: before whatever was still open by then, which the next run sees
    with its end.
    """
    unfinished = IdempotencyKey.objects.exclude(recovery_point=FINISHED)
    oldest: datetime | None = unfinished.aggregate(oldest=Min("created_at"))["oldest"]
    until = max(min(oldest or end, end), end - LONGEST_WAIT)
    ReconciledUntil.objects.update_or_create(id=1, defaults={"until": until})
