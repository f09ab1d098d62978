"""Jobs that are owed until they are done: drained, handed over, run under a lease, settled.

A phase stages a job in its own transaction (`staging`). The enqueuer moves it to the queue and
leaves a delivery record. A worker leases that record (`working`), does the job, and removes the
record in the transaction of what the job writes. So a job that the queue lost is handed over again,
and one that it delivers twice is done once.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from django.apps import apps
from django.db import Error, router

from idempotency import conf
from idempotency.database import ALIAS, atomic, connection
from idempotency.database_errors import database_is_away, may_succeed_when_repeated
from idempotency.exceptions import ReviewRefused
from idempotency.jobs import run_job
from idempotency.jobs.tasks import refuse_wrong_arguments
from idempotency.jobs.working import keep_error
from idempotency.models import FINISHED
from idempotency.staging import LONGEST_ATTEMPT, QueueOptions, task_named
from idempotency.support.compat import DatabaseBackend, Task
from idempotency.support.described import described
from idempotency.support.storable import TEXT_LIMIT, storable_text
from idempotency.transactions import (
    give_connection_back,
    refuse_open_transaction,
    repeated_on_conflict,
)

logger = logging.getLogger(__name__)

# The drain. What it takes is chosen once, by the array, whatever plan the rest gets: a limit is a
# limit. SKIP LOCKED passes over rows that another enqueuer is moving; a row with a lower id that
# commits later is found by a later batch, since exactly the rows that were taken are removed. Their
# delivery records appear in the same statement: at no moment is a job in neither table.
_DRAIN = """
WITH drained AS (
    DELETE FROM idempotency_stagedjob
     WHERE id = ANY(ARRAY({chosen} LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
    RETURNING *
), delivered AS (
    INSERT INTO idempotency_jobdelivery
           (job_id, job_name, job_args, run_after, priority, queue_name, backend,
            created_at, handed_over_at, deliveries, last_error)
    SELECT job_id, job_name, job_args, run_after, priority, queue_name, backend,
           created_at, statement_timestamp(), 1, ''
      FROM drained
     ORDER BY id
)
SELECT id, job_id, job_name, job_args, priority, queue_name, backend FROM drained ORDER BY id
"""

DRAIN_STAGED_JOBS = _DRAIN.format(
    chosen="""SELECT id FROM idempotency_stagedjob
                           WHERE run_after IS NULL AND id >= %(first_id)s
                           ORDER BY id"""
)

# A job for later is staged until its time by the database's clock, and then a job like any other.
DRAIN_JOBS_WHOSE_TIME_HAS_COME = _DRAIN.format(
    chosen="""SELECT id FROM idempotency_stagedjob
                           WHERE run_after BETWEEN %(due_from)s::timestamptz
                                               AND statement_timestamp()
                           ORDER BY run_after"""
)

# What was handed over and not settled in time, each wait twice the one before. A job that a worker
# has in hand is left to it until its lease ends, as it does by itself when the worker was killed.
TAKE_OVERDUE_JOBS = """
UPDATE idempotency_jobdelivery
   SET handed_over_at = statement_timestamp(),
       deliveries     = deliveries + 1
 WHERE id = ANY(ARRAY(SELECT id FROM idempotency_jobdelivery
                       WHERE set_aside_at IS NULL
                         AND handed_over_at < statement_timestamp() - %(redelivery_after)s
                         AND handed_over_at < statement_timestamp()
                                              - %(redelivery_after)s * power(2, deliveries - 1)
                         AND deliveries < %(max_deliveries)s
                         AND (leased_until IS NULL OR leased_until <= statement_timestamp())
                       ORDER BY handed_over_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
RETURNING id, job_id, job_name, job_args, priority, queue_name, backend
"""

# A clock that was ahead and was set right leaves times in the future. They are taken as
# past, and so is a lease of that time: the job is due.
BRING_BACK_FROM_THE_FUTURE = """
UPDATE idempotency_jobdelivery
   SET handed_over_at = statement_timestamp()
                        - %(redelivery_after)s * power(2, %(max_deliveries)s::int),
       lease_token = NULL, leased_until = NULL
 WHERE id = ANY(ARRAY(SELECT id FROM idempotency_jobdelivery
                       WHERE set_aside_at IS NULL
                         AND handed_over_at > statement_timestamp() + %(clock_tolerance)s
                       ORDER BY handed_over_at DESC LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
"""

SET_EXHAUSTED_JOBS_ASIDE = """
UPDATE idempotency_jobdelivery
   SET set_aside_at = statement_timestamp()
 WHERE id = ANY(ARRAY(SELECT id FROM idempotency_jobdelivery
                       WHERE set_aside_at IS NULL
                         AND handed_over_at < statement_timestamp() - %(redelivery_after)s
                         AND deliveries >= %(max_deliveries)s
                         AND (leased_until IS NULL OR leased_until <= statement_timestamp())
                       ORDER BY handed_over_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
"""

# A broker that is away has not been asked: that was no delivery, and the next is due at once.
TAKE_DELIVERIES_BACK = """
UPDATE idempotency_jobdelivery
   SET deliveries     = deliveries - 1,
       handed_over_at = statement_timestamp()
                        - %(redelivery_after)s * power(2, %(max_deliveries)s::int)
 WHERE job_id = ANY(%(job_ids)s::uuid[])
"""

# All its deliveries are before it again, the first of them at once. The decision is kept for good
# under the request that has staged the job: found by the index of the finished ones, back from when
# the job was written, which is soon after its attempt began. Where its journal has been emptied
# there is no such request any more, and the log and the job itself have the decision.
PUT_BACK = f"""
WITH back AS (
    UPDATE idempotency_jobdelivery
       SET set_aside_at   = NULL, deliveries = 0,
           handed_over_at = statement_timestamp() - %(redelivery_after)s,
           last_error     = left('put back by ' || %(who)s || ': ' || %(reason)s || '; '
                                 || last_error, %(longest)s)
     WHERE set_aside_at IS NOT NULL AND job_id = ANY(%(job_ids)s::uuid[])
    RETURNING job_id, created_at
), recorded AS (
    INSERT INTO idempotency_reviewdecision
           (idempotency_key_id, foreign_key, action, reviewer, reason)
    SELECT DISTINCT ON (back.job_id)
           staged_by.id, staged_by.foreign_key, 'put_back', %(who)s, %(reason)s
      FROM back
      JOIN idempotency_idempotencykey AS staged_by
        ON staged_by.recovery_point = '{FINISHED}'
       AND staged_by.last_run_at BETWEEN back.created_at - %(longest_attempt)s AND back.created_at
       AND staged_by.journal @> jsonb_build_array(jsonb_build_object(
                                    'jobs', jsonb_build_array(back.job_id)))
     ORDER BY back.job_id, staged_by.last_run_at DESC
)
SELECT job_id FROM back
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class OwedJob:
    """A job that is about to be handed over, as its row has it."""

    staged_id: int
    job_id: str
    job_name: str
    arguments: str
    options: QueueOptions

    @classmethod
    def all_of(cls, rows: Sequence[Sequence[Any]]) -> list[Self]:
        return [
            cls(
                number,
                str(job_id),
                name,
                arguments,
                QueueOptions(priority=priority, queue_name=queue_name, backend=backend),
            )
            for number, job_id, name, arguments, priority, queue_name, backend in rows
        ]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is to be given to which queue."""

    job: OwedJob
    queued: Task
    arguments: Sequence[Any]


def drain_staged_jobs(limit: int) -> int:
    """Hand up to `limit` staged jobs to their queues; return how many it took."""
    taken = len(take_staged_jobs(limit, first_id=0))
    return taken + len(take_jobs_whose_time_has_come(limit - taken, due_from="-infinity"))


def take_staged_jobs(limit: int, *, first_id: int) -> list[OwedJob]:
    """Hand over those from a number on that are not for later; return what it took."""
    return _take_and_hand_over(DRAIN_STAGED_JOBS, {"limit": limit, "first_id": first_id})


def take_jobs_whose_time_has_come(limit: int, *, due_from: str) -> list[OwedJob]:
    """Hand over those that were for later, from a time on, as PostgreSQL writes it."""
    values = {"limit": limit, "due_from": due_from}
    return _take_and_hand_over(DRAIN_JOBS_WHOSE_TIME_HAS_COME, values)


def redeliver_overdue_jobs(limit: int) -> int:
    """Hand up to `limit` jobs over again that were not settled in time; return how many it took.

    Those that were handed over too often are set aside instead.
    """
    settings = conf.current()
    numbers: dict[str, Any] = {
        "limit": limit,
        "redelivery_after": settings.redelivery_after,
        "max_deliveries": settings.max_deliveries,
        "clock_tolerance": settings.clock_tolerance,
    }
    _change(BRING_BACK_FROM_THE_FUTURE, numbers)
    if count := _change(SET_EXHAUSTED_JOBS_ASIDE, numbers):
        logger.error("jobs set aside after their last delivery: count=%d", count)
    return len(_take_and_hand_over(TAKE_OVERDUE_JOBS, numbers))


@repeated_on_conflict
def put_back(job_ids: Sequence[Any], *, who: str, reason: str) -> int:
    """Owe jobs again that were set aside, as a person decided; return how many there were.

    Raises: `ReviewRefused` where it is not said why, or by whom.
    """
    if not (who.strip() and reason.strip()):
        raise ReviewRefused("Putting a job back needs a reason, and who decided it.")
    values: dict[str, Any] = {
        "job_ids": list(job_ids),
        "who": storable_text(who),
        "reason": storable_text(reason),
        "longest": TEXT_LIMIT,
        "redelivery_after": conf.current().redelivery_after,
        "longest_attempt": LONGEST_ATTEMPT,
    }
    with connection.cursor() as cursor:
        cursor.execute(PUT_BACK, values)
        found = [job_id for (job_id,) in cursor.fetchall()]
    for job_id in found:
        said = values["who"], values["reason"]
        logger.info("job put back: job_id=%s by=%s reason=%s", job_id, *said)
    return len(found)


def _take_and_hand_over(statement: str, values: dict[str, Any]) -> list[OwedJob]:
    """A queue in our own database gets its jobs in the transaction that takes them, so nothing of a
    crash is left. Any other is a foreign system: it gets them after that has committed, and a crash
    in between is made good by the delivery record.
    """
    jobs, elsewhere = _take(statement, values)
    if elsewhere:
        _hand_over_to_brokers(elsewhere)
    return jobs


@repeated_on_conflict
def _take(statement: str, values: dict[str, Any]) -> tuple[list[OwedJob], list[Prepared]]:
    """Return what was taken, and what of it is to be handed over elsewhere."""
    elsewhere: list[Prepared] = []
    with atomic(), connection.cursor() as cursor:
        cursor.execute(statement, values)
        jobs = OwedJob.all_of(cursor.fetchall())
        for job in jobs:
            try:
                prepared = _prepared(job)
                if not _is_in_this_database(prepared.queued):
                    elsewhere.append(prepared)
                    continue
                with atomic():
                    prepared.queued.enqueue(*prepared.arguments)
            except Exception as error:  # whatever its module or its queue fails with
                if may_succeed_when_repeated(error):
                    raise
                if isinstance(error, Error) and not connection.is_usable():
                    raise
                _keep_refusal(job, error)
    return jobs, elsewhere


def _hand_over_to_brokers(jobs: Sequence[Prepared]) -> None:
    """Raises: the error of a broker that is away, when the others have got what is theirs."""
    refuse_open_transaction()
    give_connection_back()
    by_backend: dict[str, list[Prepared]] = {}
    for prepared in jobs:
        by_backend.setdefault(prepared.queued.backend, []).append(prepared)
    errors = [_hand_over_to_broker(prepared_jobs) for prepared_jobs in by_backend.values()]
    for error in filter(None, errors):
        raise error


def _hand_over_to_broker(jobs: Sequence[Prepared]) -> Exception | None:
    """Return the error where the broker is away; what it did not get is due at once.

    A job that its broker hangs up on looks the same, unless the next one is delivered.
    """
    doubted: tuple[Prepared, Exception] | None = None
    for number, prepared in enumerate(jobs):
        try:
            prepared.queued.enqueue(*prepared.arguments)
        except Exception as error:  # whatever its queue fails with
            if not is_of_a_broker_away(error):
                _keep_refusal(prepared.job, error)
            elif doubted:
                _take_deliveries_back([doubted[0], *jobs[number:]])
                return error
            else:
                doubted = prepared, error
        else:
            if doubted:
                _keep_refusal(doubted[0].job, doubted[1])
                doubted = None
    if doubted:
        _take_deliveries_back([doubted[0]])
        return doubted[1]
    return None


def is_of_a_broker_away(error: Exception) -> bool:
    """A queue may be in another of the project's databases, which is away by another error."""
    return isinstance(error, OSError) or database_is_away(error)


def _prepared(job: OwedJob) -> Prepared:
    """Raises: whatever is wrong with the job."""
    found = task_named(job.job_name)
    arguments = json.loads(job.arguments)
    args, kwargs = arguments["args"], arguments["kwargs"]
    refuse_wrong_arguments(found, args, kwargs)
    queued = run_job.using(**job.options.over(found))
    return Prepared(job, queued, (job.job_id, job.job_name, args, kwargs))


def _is_in_this_database(queued: Task) -> bool:
    """Say whether the queue's rows commit together with ours."""
    if DatabaseBackend is None or not isinstance(queued.get_backend(), DatabaseBackend):
        return False
    rows = apps.get_model("django_tasks_database", "DBTaskResult")
    return router.db_for_write(rows) == ALIAS


def _take_deliveries_back(jobs: Sequence[Prepared]) -> None:
    values: dict[str, Any] = {
        "job_ids": [prepared.job.job_id for prepared in jobs],
        "redelivery_after": conf.current().redelivery_after,
        "max_deliveries": conf.current().max_deliveries,
    }
    _change(TAKE_DELIVERIES_BACK, values)


@repeated_on_conflict
def _change(statement: str, values: dict[str, Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


def _keep_refusal(job: OwedJob, error: Exception) -> None:
    """The batch goes on. This was one of the job's deliveries; after the last it is set aside."""
    logger.error(
        "job not handed over: job_id=%s job_name=%s error=%s",
        job.job_id,
        storable_text(job.job_name),
        described(error),
    )
    keep_error(job.job_id, error)
