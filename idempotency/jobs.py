"""Jobs that are owed until they are done: stage, drain, hand over, settle.

A phase stages a job in its own transaction. The enqueuer moves it to the queue and leaves a
delivery record; the worker removes the record in the transaction of the job's own effect. So a
job that the queue lost is handed over again, and one that it delivers twice is done once.
"""

import inspect
import json
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils.module_loading import import_string

from idempotency import conf
from idempotency.compat import Task, task
from idempotency.exceptions import StagedOutsideTransaction
from idempotency.statements import run

logger = logging.getLogger(__name__)

_staged_job_ids: ContextVar[list[str] | None] = ContextVar("staged_job_ids", default=None)

STAGE_JOB = """
INSERT INTO idempotency_stagedjob (job_id, job_name, job_args, created_at)
VALUES (%(job_id)s, %(job_name)s, %(job_args)s::jsonb, clock_timestamp())
"""

# The drain. SKIP LOCKED passes over rows that another enqueuer is moving; a row with a lower id
# that commits later is simply found by a later batch, since exactly the rows that were taken are
# removed. Their delivery records appear in the same statement: at no moment is a job in neither
# table.
DRAIN_STAGED_JOBS = """
WITH drained AS (
    DELETE FROM idempotency_stagedjob
     WHERE id IN (SELECT id FROM idempotency_stagedjob
                   ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING id, job_id, job_name, job_args, created_at
)
INSERT INTO idempotency_jobdelivery
       (job_id, job_name, job_args, created_at, handed_over_at, deliveries, last_error)
SELECT job_id, job_name, job_args, created_at, clock_timestamp(), 1, ''
  FROM drained
 ORDER BY id
RETURNING job_id, job_name, job_args
"""

# What was handed over and not settled in time, each wait twice the one before. A worker that is in
# the middle of a job holds its record locked, so SKIP LOCKED leaves it alone for as long as it
# lives, and sees the record again when it was killed.
TAKE_OVERDUE_JOBS = """
UPDATE idempotency_jobdelivery
   SET handed_over_at = clock_timestamp(),
       deliveries     = deliveries + 1
 WHERE id IN (SELECT id FROM idempotency_jobdelivery
               WHERE set_aside_at IS NULL
                 AND handed_over_at < statement_timestamp() - %(redelivery_after)s
                 AND handed_over_at < statement_timestamp()
                                      - %(redelivery_after)s * power(2, deliveries - 1)
                 AND deliveries < %(max_deliveries)s
               ORDER BY handed_over_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING job_id, job_name, job_args
"""

# The smallest of each, which is the first entry of an index. EXISTS (… ORDER BY … LIMIT 1) would be
# free to read the table instead, and to its end where it finds nothing: EXISTS drops the ORDER BY.
JOBS_ARE_WAITING = """
SELECT (SELECT min(id) FROM idempotency_stagedjob) IS NOT NULL
    OR (SELECT min(handed_over_at) FROM idempotency_jobdelivery WHERE set_aside_at IS NULL)
       < statement_timestamp() - %(redelivery_after)s
"""

SET_EXHAUSTED_JOBS_ASIDE = """
UPDATE idempotency_jobdelivery
   SET set_aside_at = clock_timestamp()
 WHERE id IN (SELECT id FROM idempotency_jobdelivery
               WHERE set_aside_at IS NULL
                 AND handed_over_at < statement_timestamp() - %(redelivery_after)s
                 AND deliveries >= %(max_deliveries)s
               ORDER BY handed_over_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
"""

SET_JOB_ASIDE = """
UPDATE idempotency_jobdelivery
   SET set_aside_at = clock_timestamp(), last_error = %(last_error)s
 WHERE job_id = %(job_id)s
"""

# Settling. The row stays locked until the job's own effect commits with it, so of two deliveries
# at once the second waits, then finds no record, and does nothing.
SETTLE_DELIVERY = "DELETE FROM idempotency_jobdelivery WHERE job_id = %(job_id)s"

# A broker can be faster than the enqueuer's commit, and the enqueuer can die before it: then the
# job is still staged. This waits for the enqueuer's row lock, and so for how that ended.
SETTLE_STAGED_JOB = "DELETE FROM idempotency_stagedjob WHERE job_id = %(job_id)s"

KEEP_JOB_ERROR = """
UPDATE idempotency_jobdelivery SET last_error = %(last_error)s WHERE job_id = %(job_id)s
"""


def stage_job(task: Task, *args: Any, **kwargs: Any) -> uuid.UUID:
    """Writes a job into the open transaction: it is owed if and only if that commits.

    Args:
        task: a Django task. Its arguments must be JSON.

    *Raises* `StagedOutsideTransaction` where no transaction is open, `TypeError` for arguments
    that are not JSON.
    """
    if not connection.in_atomic_block:
        raise StagedOutsideTransaction(f"{task.module_path} was staged with no transaction open.")
    job_id = uuid.uuid4()
    with connection.cursor() as cursor:
        run(
            cursor,
            STAGE_JOB,
            {
                "job_id": job_id,
                "job_name": task.module_path,
                "job_args": json.dumps({"args": args, "kwargs": kwargs}, cls=DjangoJSONEncoder),
            },
        )
    staged = _staged_job_ids.get()
    if staged is not None:
        staged.append(str(job_id))
    return job_id


@contextmanager
def recording_staged_jobs() -> Iterator[list[str]]:
    """Collects the ids of the jobs staged inside it, for the key's journal."""
    staged: list[str] = []
    token = _staged_job_ids.set(staged)
    try:
        yield staged
    finally:
        _staged_job_ids.reset(token)


def jobs_are_waiting() -> bool:
    """Whether there is anything to drain or hand over again: the idle enqueuer's one question."""
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"redelivery_after": conf.current().redelivery_after}
        cursor.execute(JOBS_ARE_WAITING, values)
        row = cursor.fetchone()
    return bool(row and row[0])


def drain_staged_jobs(limit: int) -> int:
    """Hands up to `limit` staged jobs to the queue; returns how many."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(DRAIN_STAGED_JOBS, {"limit": limit})
        return _hand_over_all(cursor)


def redeliver_overdue_jobs(limit: int) -> int:
    """Hands up to `limit` jobs over again that were not settled in time; returns how many.

    Those that were handed over too often are set aside instead.
    """
    settings = conf.current()
    numbers: dict[str, Any] = {
        "limit": limit,
        "redelivery_after": settings.redelivery_after,
        "max_deliveries": settings.max_deliveries,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(SET_EXHAUSTED_JOBS_ASIDE, numbers)
        if cursor.rowcount:
            logger.error("jobs set aside after their last delivery: count=%d", cursor.rowcount)
        cursor.execute(TAKE_OVERDUE_JOBS, numbers)
        return _hand_over_all(cursor)


@task()
def run_job(job_id: str, job_name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    """What the queue runs: settles the delivery and does the job, in one transaction.

    A job without a delivery record was done before: nothing happens. A job that fails keeps its
    record, with the error, and is handed over again.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            if not _settle(cursor, job_id):
                logger.info("job has been done already: job_id=%s", job_id)
                return
            import_string(job_name).call(*args, **kwargs)
    except Exception as error:
        with connection.cursor() as cursor:
            cursor.execute(KEEP_JOB_ERROR, {"job_id": job_id, "last_error": repr(error)})
        raise


def _settle(cursor: CursorWrapper, job_id: str) -> bool:
    """Whether the job was still owed; it is not any more, once the open transaction commits."""
    for statement in (SETTLE_DELIVERY, SETTLE_STAGED_JOB, SETTLE_DELIVERY):
        cursor.execute(statement, {"job_id": job_id})
        if cursor.rowcount:
            return True
    return False


def _hand_over_all(cursor: CursorWrapper) -> int:
    jobs = cursor.fetchall()
    return sum(_hand_over(job_id, name, json.loads(arguments)) for job_id, name, arguments in jobs)


def _hand_over(job_id: uuid.UUID, job_name: str, arguments: Any) -> bool:
    """Gives a job to the queue. One that no code knows or takes is set aside and blocks nobody."""
    try:
        queued = _task_named(job_name)
        args, kwargs = arguments["args"], arguments["kwargs"]
        inspect.signature(queued.func).bind(*args, **kwargs)
    except Exception as error:  # whatever its module fails with, no other job should wait for it
        with connection.cursor() as cursor:
            cursor.execute(SET_JOB_ASIDE, {"job_id": job_id, "last_error": repr(error)})
        logger.error("job set aside: job_id=%s job_name=%s error=%r", job_id, job_name, error)
        return False
    run_job.using(queue_name=queued.queue_name, priority=queued.priority).enqueue(
        str(job_id), job_name, args, kwargs
    )
    return True


def _task_named(job_name: str) -> Task:
    found = import_string(job_name)
    if not isinstance(found, Task):
        raise TypeError(f"{job_name} is not a task")
    return found
