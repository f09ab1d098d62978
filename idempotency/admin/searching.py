"""What the search box of the requests finds besides: by a row of the project's, or by a job.

A project registers its ways where its app gets ready: each reads rows by an index of theirs, and
returns the numbers of the keys that they belong to.
"""

from collections.abc import Callable, Sequence
from uuid import UUID

from django.db.models import Q, QuerySet

from idempotency.admin.filters import UNDER_REVIEW, UNFINISHED
from idempotency.models import FINISHED, IdempotencyKey, Job, JobDelivery, StagedJob
from idempotency.staging import LONGEST_ATTEMPT

Way = Callable[[str], Sequence[int]]
"""From what was typed to the numbers of keys."""

MOST_FOUND = 100
MOST_JOBS = 5

SHORTEST_NAME = 3
SHORTEST_PREFIX = 6
"""Of what begins with fewer digits there is too much."""


def uuids_from(term: str) -> tuple[UUID, UUID] | None:
    """Return the first and the last UUID that begin as the term does; None where none can."""
    digits = term.lower().replace("-", "")
    if not (SHORTEST_PREFIX <= len(digits) <= 32 and set(digits) <= set("0123456789abcdef")):
        return None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def by_job(term: str) -> list[int]:
    """Find the key that has staged a job which is not done yet."""
    if (between := uuids_from(term)) is None:
        return []
    found: list[int] = []
    for table in (StagedJob, JobDelivery):
        for job in table._default_manager.filter(job_id__range=between)[:MOST_JOBS]:
            found += keys_that_staged(job).values_list("pk", flat=True)[:MOST_FOUND]
    return found


def keys_that_staged(job: Job) -> QuerySet[IdempotencyKey]:
    """Select the key in whose journal the job stands, by the indexes of the finished keys, of the
    unfinished, and of those under review.
    """
    around = (job.created_at - LONGEST_ATTEMPT, job.created_at)
    finished = Q(recovery_point=FINISHED, last_run_at__range=around)
    return IdempotencyKey.objects.filter(
        finished | UNFINISHED | UNDER_REVIEW, journal__contains=[{"jobs": [str(job.job_id)]}]
    )


WAYS: list[tuple[str, Way]] = [("that of the id of a job that is not done", by_job)]
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
