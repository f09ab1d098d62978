"""What the search box of the requests finds besides: by a row of the project's, or by a job.

A project registers its ways where its app gets ready: each reads rows by an index of theirs, and
returns the numbers of the keys that they belong to.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

from idempotency.models import IdempotencyKey, JobDelivery, StagedJob

Way = Callable[[str], Sequence[int]]
"""From what was typed to the numbers of keys."""

MOST_FOUND = 100

BEFORE_A_JOB = timedelta(minutes=2)
"""A job is written with the last commit of an attempt, which began no longer before that."""


def by_job(term: str) -> list[int]:
    """Find the key that has staged a job which is not done yet."""
    try:
        job_id = UUID(term)
    except ValueError:
        return []
    for table in (StagedJob, JobDelivery):
        job = table._default_manager.filter(job_id=job_id).first()
        if job is not None:
            around = (job.created_at - BEFORE_A_JOB, job.created_at)
            keys = IdempotencyKey.objects.filter(
                last_run_at__range=around, journal__contains=[{"jobs": [str(job_id)]}]
            )
            return list(keys.values_list("pk", flat=True)[:MOST_FOUND])
    return []


WAYS: list[tuple[str, Way]] = [("the id of a job that is not done", by_job)]
"""Each with what it is looked for by, in words."""


def register(said: str, way: Way) -> None:
    """Add a way, once.

    Args:
        said: what is typed for it, such as "a charge (ch_…)".
    """
    if (said, way) not in WAYS:
        WAYS.append((said, way))


def ids_of(term: str) -> list[int]:
    """Return the numbers of the keys that any way leads to."""
    return [found for _, way in WAYS for found in way(term)[:MOST_FOUND]]
