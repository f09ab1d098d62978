"""The lease of a job: one worker's right to do it, for a limited time, and the fence at its end.

The statements that lease, settle and let go a delivery stand here, each with what it guarantees.
All times are the database's; the process only measures how much of its lease is left.
"""

import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from idempotency import conf
from idempotency.database import connection
from idempotency.exceptions import JobLeaseLost
from idempotency.transactions import repeated_on_conflict

# One conditional write, never a read and then a write: of two workers with the same job one
# matches the row. A second delivery finds a live lease and does nothing; what a killed or frozen
# worker had in hand can be leased again once its time is over. An end that lies further ahead than
# any lease of this job is of a clock that was wrong, and is taken as past.
LEASE_DELIVERY = """
UPDATE idempotency_jobdelivery
   SET lease_token  = %(lease_token)s,
       leased_until = statement_timestamp() + %(limit)s
 WHERE job_id = %(job_id)s
   AND (leased_until IS NULL OR leased_until <= statement_timestamp()
        OR leased_until > statement_timestamp() + %(limit)s + %(clock_tolerance)s)
RETURNING deliveries, handed_over_at
"""

# The fence. It is the last statement of the transaction that has the job's own writes: no row, no
# commit. A worker that is late, since the job was done or is leased to another, or since its own
# lease has ended, writes nothing. And a transaction that PostgreSQL has given up, after an error
# that the job caught, cannot run it, so such a job is not taken for done.
SETTLE_DELIVERY = """
DELETE FROM idempotency_jobdelivery
 WHERE job_id = %(job_id)s AND lease_token = %(lease_token)s
   AND leased_until > statement_timestamp()
"""

# What failed is free for its next delivery at once, which the enqueuer makes after its back-off.
RELEASE_DELIVERY = """
UPDATE idempotency_jobdelivery
   SET lease_token = NULL, leased_until = NULL, last_error = %(last_error)s
 WHERE job_id = %(job_id)s AND lease_token = %(lease_token)s
"""


@dataclass(frozen=True, slots=True)
class JobLease:
    """The right to do one job.

    `ends_at` is on this process's monotonic clock, and read before the lease was asked for: it ends
    here no later than it does in the database.
    """

    job_id: str
    token: uuid.UUID
    ends_at: float
    limit: timedelta
    deliveries: int
    handed_over_at: datetime

    @property
    def seconds_left(self) -> float:
        return self.ends_at - time.monotonic()


@repeated_on_conflict
def lease_delivery(job_id: str, limit: timedelta) -> JobLease | None:
    """Lease a job for `limit`. Return None where it is done already, or another worker has it."""
    ends_at = time.monotonic() + limit.total_seconds()
    token = uuid.uuid4()
    values: dict[str, Any] = {
        "job_id": job_id,
        "lease_token": token,
        "limit": limit,
        "clock_tolerance": conf.current().clock_tolerance,
    }
    with connection.cursor() as cursor:
        cursor.execute(LEASE_DELIVERY, values)
        delivery = cursor.fetchone()
    return JobLease(job_id, token, ends_at, limit, *delivery) if delivery else None


def settle_delivery(lease: JobLease) -> None:
    """Strike the job off, in the open transaction. Raises: `JobLeaseLost`, to roll that back."""
    if not _changes_a_row(SETTLE_DELIVERY, lease):
        raise JobLeaseLost(
            f"The lease of the job ended after {lease.limit}: nothing that it wrote is kept."
        )


@repeated_on_conflict
def release_delivery(lease: JobLease, last_error: str) -> None:
    """Let a job go that failed, with its error; where another worker has it, that one keeps it."""
    _changes_a_row(RELEASE_DELIVERY, lease, last_error=last_error)


def _changes_a_row(statement: str, lease: JobLease, **values: Any) -> bool:
    with connection.cursor() as cursor:
        values |= {"job_id": lease.job_id, "lease_token": lease.token}
        cursor.execute(statement, values)
        return bool(cursor.rowcount)
