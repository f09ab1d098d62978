"""Run one job under its lease, in one of the two ways that a job can say it needs.

A job that only writes runs whole in the transaction that settles it. One that has a parameter
`settling` calls out: it runs with no transaction open, and writes in its settling block.
"""

import contextlib
import logging
import time
from typing import Any

from django.db import Error
from django.utils import timezone

from idempotency import doors
from idempotency.database import atomic, connection, reading_where_it_writes
from idempotency.database_errors import Keep, follows_a_caught_error, meaning_of
from idempotency.exceptions import (
    JobFailed,
    JobOverLimit,
    JobSessionLost,
    JobWentOnAfterError,
)
from idempotency.jobs.leases import JobLease, lease_delivery, release_delivery, settle_delivery
from idempotency.jobs.limits import interrupted_after, limit_of
from idempotency.jobs.settling import Settling
from idempotency.jobs.tasks import called_with, calls_out
from idempotency.signals import job_ended
from idempotency.staging import task_named
from idempotency.support.compat import Task, TaskContext, TaskResult, TaskResultStatus
from idempotency.support.described import described, described_traceback
from idempotency.transactions import hooks_logged, refuse_open_transaction, repeated_on_conflict

logger = logging.getLogger(__name__)

KEEP_JOB_ERROR = """
UPDATE idempotency_jobdelivery SET last_error = %(last_error)s WHERE job_id = %(job_id)s
"""


@reading_where_it_writes()
def run_under_lease(job_id: str, job_name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Lease the delivery, do the job, and settle it with what it writes.

    A job without a delivery record was done before, and one with a live lease is another worker's:
    nothing happens. A job that fails keeps its record, with the error, and is handed over again.

    While the doors are closed nothing happens either: the delivery stays owed.

    Raises: `JobFailed`, which says no more of the error than the record does.
    """
    if doors.are_closed():
        logger.info("job left for later, the doors are closed: job_id=%s", job_id)
        return
    try:
        job = task_named(job_name)
    except Exception as error:  # whatever its module fails with; older code has no such task
        keep_error(job_id, error)
        raise JobFailed(described(error)) from None
    lease = lease_delivery(job_id, limit_of(job))
    if lease is None:
        logger.info("job is done already, or another worker has it: job_id=%s", job_id)
        return
    began_at = time.monotonic()
    try:
        _run(job, lease, args, kwargs)
        _tell(job_name, "done", began_at)
    except (Exception, JobOverLimit) as failure:
        _tell(job_name, "failed", began_at)
        named = _named(failure)
        said = described_traceback(named)
        logger.warning("job failed: job_id=%s job_name=%s: %s", job_id, job_name, said)
        _let_go(lease, named)
        raise JobFailed(described(named)) from None


def _tell(job_name: str, outcome: str, began_at: float) -> None:
    seconds = time.monotonic() - began_at
    job_ended.send_robust(None, job_name=job_name, outcome=outcome, seconds=seconds)


@repeated_on_conflict
def keep_error(job_id: str, error: BaseException) -> None:
    with connection.cursor() as cursor:
        cursor.execute(KEEP_JOB_ERROR, {"job_id": job_id, "last_error": described(error)})


def _run(job: Task, lease: JobLease, args: list[Any], kwargs: dict[str, Any]) -> None:
    context = _context_of(job, lease, args, kwargs) if job.takes_context else None
    with interrupted_after(lease.seconds_left, of=lease.limit) as call_off_limit:
        if calls_out(job):
            settling = Settling(lease, call_off_limit)
            args, kwargs = called_with(job, args, kwargs, context=context, settling=settling)
            _run_with_settling(job, settling, args, kwargs)
            return
        args, kwargs = called_with(job, args, kwargs, context=context)
        with atomic(durable=True), hooks_logged():
            job.call(*args, **kwargs)
            settle_delivery(lease)
            # An interruption in the middle of COMMIT would leave the connection in no state.
            call_off_limit()


def _run_with_settling(
    job: Task, settling: Settling, args: list[Any], kwargs: dict[str, Any]
) -> None:
    refuse_open_transaction()
    with settling.guarded():
        job.call(*args, **kwargs)
        settling.finish()


def _context_of(job: Task, lease: JobLease, args: list[Any], kwargs: dict[str, Any]) -> TaskContext:
    """Return what `takes_context` asks for: the result is the job, an attempt is a delivery."""
    now = timezone.now()
    result: Any = TaskResult(
        task=job,
        id=lease.job_id,
        status=TaskResultStatus.RUNNING,
        enqueued_at=lease.handed_over_at,
        started_at=now,
        last_attempted_at=now,
        finished_at=None,
        args=args,
        kwargs=kwargs,
        backend=job.backend,
        errors=[],
        # The framework counts these. A broker that was away may have had a job uncounted.
        worker_ids=[f"delivery-{number + 1}" for number in range(max(lease.deliveries, 1))],
    )
    return TaskContext(task_result=result)


def _named(failure: BaseException) -> BaseException:
    """The driver says of a session that ended neither what of the job is kept nor what to do, and
    Django of an error that the job has caught not that it has.
    """
    if follows_a_caught_error(failure):
        went_on = JobWentOnAfterError(
            "The job went on after an error of the database, which ends its transaction; nothing "
            "of it is kept. What may fail has a `with transaction.atomic():` of its own inside the "
            f"`try`. {described(failure.__cause__ or failure)}"
        )
        went_on.__cause__ = failure
        return went_on
    if meaning_of(failure).connection is not Keep.DROP:
        return failure
    lost = JobSessionLost(
        "The session with the database ended while the job ran; what it wrote is not kept. "
        "PostgreSQL ends one whose transaction waits for longer than "
        "idle_in_transaction_session_timeout: a job that calls another system takes `settling`, "
        f"and calls before that block. {described(failure)}"
    )
    lost.__cause__ = failure
    return lost


def _let_go(lease: JobLease, error: BaseException) -> None:
    """Keep the error, where the database can be asked; where not, the lease ends by itself."""
    if isinstance(error, JobOverLimit):
        _give_connection_up()
    if connection.errors_occurred:
        with contextlib.suppress(Error):
            connection.close_if_unusable_or_obsolete()
    try:
        release_delivery(lease, described(error))
    except Error as away:
        said = described(away)
        logger.warning("error of a job not kept: job_id=%s error=%s", lease.job_id, said)


def _give_connection_up() -> None:
    """Close the connection, whose state is unknown after an interruption.

    The next statement opens a new one, and with that Django resets its record of a transaction.
    """
    raw, connection.connection = connection.connection, None
    if raw is not None:
        with contextlib.suppress(Exception):  # it was closed before
            raw.close()
