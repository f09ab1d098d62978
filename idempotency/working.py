"""Run one job under its lease, in one of the two ways that a job can say it needs.

A job that only writes runs whole in the transaction that settles it. One that has a parameter
`settling` calls out: it runs with no transaction open, and writes in its settling block.
"""

import contextlib
import inspect
import logging
from collections.abc import Callable
from typing import Any

from django.db import Error, connection, transaction
from django.utils.module_loading import import_string

from idempotency import doors
from idempotency.compat import Task
from idempotency.exceptions import JobFailed, JobOverLimit, JobSessionLost, JobUnknown
from idempotency.job_leases import JobLease, lease_delivery, release_delivery, settle_delivery
from idempotency.job_limits import interrupted_after, limit_of
from idempotency.settling import Settling
from idempotency.storable import described, described_traceback
from idempotency.transactions import Keep, hooks_logged, meaning_of, refuse_open_transaction

logger = logging.getLogger(__name__)

KEEP_JOB_ERROR = """
UPDATE idempotency_jobdelivery SET last_error = %(last_error)s WHERE job_id = %(job_id)s
"""


def run_under_lease(job_id: str, job_name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Leases the delivery, does the job, and settles it with what it writes.

    A job without a delivery record was done before, and one with a live lease is another worker's:
    nothing happens. A job that fails keeps its record, with the error, and is handed over again.

    While the doors are closed nothing happens either: the delivery stays owed.

    *Raises* `JobFailed`, which says no more of the error than the record does.
    """
    if doors.are_closed():
        logger.info("job left for later, the doors are closed: job_id=%s", job_id)
        return
    try:
        job = task_named(job_name)
    except Exception as error:  # whatever its module fails with; older code does not know it at all
        keep_error(job_id, error)
        raise JobFailed(described(error)) from None
    lease = lease_delivery(job_id, limit_of(job))
    if lease is None:
        logger.info("job is done already, or another worker has it: job_id=%s", job_id)
        return
    try:
        _run(job, lease, args, kwargs)
    except (Exception, JobOverLimit) as failure:
        named = _named(failure)
        said = described_traceback(named)
        logger.warning("job failed: job_id=%s job_name=%s: %s", job_id, job_name, said)
        _let_go(lease, named)
        raise JobFailed(described(named)) from None


def task_named(job_name: str) -> Task:
    found = import_string(job_name)
    if not isinstance(found, Task):
        raise JobUnknown(f"{job_name} is not a task.")
    return found


def passed_to(job: Task, settling: Callable[..., Any] | None) -> dict[str, Any]:
    """What the library passes to a job beside the arguments that were staged."""
    return {"settling": settling} if _calls_out(job) else {}


def keep_error(job_id: str, error: BaseException) -> None:
    with connection.cursor() as cursor:
        cursor.execute(KEEP_JOB_ERROR, {"job_id": job_id, "last_error": described(error)})


def _run(job: Task, lease: JobLease, args: list[Any], kwargs: dict[str, Any]) -> None:
    with interrupted_after(lease.seconds_left, of=lease.limit) as call_off_limit:
        if _calls_out(job):
            _run_with_settling(job, Settling(lease, call_off_limit), args, kwargs)
            return
        with transaction.atomic(durable=True), hooks_logged():
            job.call(*args, **kwargs)
            settle_delivery(lease)
            # An interruption in the middle of COMMIT would leave the connection in no state.
            call_off_limit()


def _run_with_settling(
    job: Task, settling: Settling, args: list[Any], kwargs: dict[str, Any]
) -> None:
    refuse_open_transaction()
    with settling.guarded():
        job.call(*args, **kwargs, **passed_to(job, settling))
        settling.finish()


def _named(failure: BaseException) -> BaseException:
    """The driver says of a session that ended neither what of the job is kept nor what to do."""
    if meaning_of(failure).connection is not Keep.DROP:
        return failure
    lost = JobSessionLost(
        "The session with the database ended while the job ran; what it wrote is not kept. "
        "PostgreSQL ends one whose transaction waits for longer than "
        "idle_in_transaction_session_timeout: a job that calls out takes `settling`, "
        f"and does so before that block. {described(failure)}"
    )
    lost.__cause__ = failure
    return lost


def _let_go(lease: JobLease, error: BaseException) -> None:
    """Keeps the error, where the database can be asked; where not, the lease ends by itself."""
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
    """An interruption may have left it in a state that nobody knows. The next statement opens a new
    one, and with that everything that Django remembers of a transaction is forgotten.
    """
    raw, connection.connection = connection.connection, None
    if raw is not None:
        with contextlib.suppress(Exception):  # it was closed before
            raw.close()


def _calls_out(job: Task) -> bool:
    return "settling" in inspect.signature(job.func).parameters
