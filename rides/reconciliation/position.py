"""Where the last nightly run has ended, and so where the next one begins."""

from datetime import datetime, timedelta

from django.db.models import Min

from idempotency.models import FINISHED, IdempotencyKey
from rides.models import ReconciledUntil

LONGEST_WAIT = timedelta(days=31)
"""So far, and no further, does a request or a charge that stays open hold the next run back."""


def kept_position() -> datetime | None:
    """Return where the last run ended; None before the first one."""
    row = ReconciledUntil.objects.first()
    return row.until if row else None


def keep_position(until: datetime) -> None:
    ReconciledUntil.objects.update_or_create(id=1, defaults={"until": until})


def held_back(position: datetime, end: datetime, under_way_since: datetime | None) -> datetime:
    """Return where a run until `end` ends that has seen a charge which may still succeed."""
    return max(min(position, under_way_since or position), end - LONGEST_WAIT)


def position_after(end: datetime) -> datetime:
    """Return where a run until `end` will have ended: before whatever is still open, which the
    next run sees with its end.

    To be asked before the run looks: what ends meanwhile is open to it, and for the next one too.
    """
    unfinished = IdempotencyKey.objects.exclude(recovery_point=FINISHED)
    oldest: datetime | None = unfinished.aggregate(oldest=Min("created_at"))["oldest"]
    return max(min(oldest or end, end), end - LONGEST_WAIT)
