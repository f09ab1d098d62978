"""Bugs of jobs: a receipt that is never sent, or sent twice."""

import json
from typing import Any
from unittest.mock import patch

from django.db import connection, transaction
from django.utils.module_loading import import_string

from idempotency import jobs
from idempotency.compat import task
from idempotency.models import JobDelivery
from idempotency.testing import Fault, Moment
from rides import operations
from rides.tests.seeded_bugs.planting import (
    LAST,
    Bed,
    at,
    booking,
    bug,
    elsewhere,
    of_booking,
    rewrite,
    undisturbed,
)
from rides.tests.trials import enqueuing_of, overtaken_of, working_of

KILLED_IN_THE_JOB = at(Fault.KILL, Moment.BEFORE, "INSERT rides_auditrecord")
STAGE_JOB_ELSEWHERE = """
INSERT INTO idempotency_stagedjob (job_id, job_name, job_args)
VALUES (gen_random_uuid(), %(job_name)s, %(job_args)s)
"""


@bug(
    "one_receipt_for_a_booked_ride",
    experiment=booking,
    plan=at(Fault.KILL, Moment.BEFORE, "COMMIT", which=LAST),
)
def job_outside_the_transaction(bed: Bed) -> None:
    """A job is there although its phase is rolled back, and a second one after the retry."""

    def stage_elsewhere(job: Any, **kwargs: Any) -> None:
        arguments = json.dumps({"args": [], "kwargs": kwargs})
        elsewhere(STAGE_JOB_ELSEWHERE, {"job_name": job.module_path, "job_args": arguments})

    bed.enter_context(patch.object(operations, "stage_job", stage_elsewhere))


@bug(
    "one_receipt_for_a_booked_ride",
    experiment=of_booking(enqueuing_of),
    plan=at(Fault.KILL, Moment.AFTER, "COMMIT"),
)
def publish_after_delete(bed: Bed) -> None:
    """Jobs are removed, that commits, and then they are given to the queue."""

    def drain(limit: int) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM idempotency_stagedjob RETURNING job_id, job_name, job_args")
            removed = cursor.fetchall()
        hand_over(removed)

    bed.enter_context(patch.object(jobs, "drain_staged_jobs", drain))


@bug("one_receipt_for_a_booked_ride", experiment=of_booking(overtaken_of), plan=undisturbed)
def delete_up_to_the_highest_id(bed: Bed) -> None:
    """A job with a lower number commits after the look, and is removed without being seen."""

    def drain(limit: int) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT job_id, job_name, job_args, id FROM idempotency_stagedjob")
            seen = cursor.fetchall()
            highest = max((row[3] for row in seen), default=0)
            hand_over([row[:3] for row in seen])
            cursor.execute("DELETE FROM idempotency_stagedjob WHERE id <= %s", [highest])

    bed.enter_context(patch.object(jobs, "drain_staged_jobs", drain))


@bug(
    "no_job_is_left",
    "one_receipt_for_a_booked_ride",
    experiment=of_booking(working_of),
    plan=KILLED_IN_THE_JOB,
)
def lost_deliveries_stay_lost(bed: Bed) -> None:
    """What was handed over counts as done."""
    rewrite(bed, jobs, "TAKE_OVERDUE_JOBS", "set_aside_at IS NULL", "false")


@bug("one_receipt_for_a_booked_ride", experiment=of_booking(working_of), plan=KILLED_IN_THE_JOB)
def settled_before_the_work(bed: Bed) -> None:
    """The delivery is struck off, that commits, and then the job is done."""
    bed.enter_context(patch.object(jobs, "run_job", settle_and_then_run))


@bug(
    "one_receipt_for_a_booked_ride",
    experiment=of_booking(working_of),
    plan=at(Fault.FREEZE, Moment.BEFORE, "DELETE idempotency_jobdelivery"),
)
def job_without_record_is_done_again(bed: Bed) -> None:
    """Nobody looks whether the job was still owed."""
    settle = jobs._settle
    done_anyway = lambda cursor, job_id: settle(cursor, job_id) or True  # noqa: E731
    bed.enter_context(patch.object(jobs, "_settle", done_anyway))


def hand_over(rows: list[tuple[Any, str, str]]) -> None:
    for job_id, job_name, job_args in rows:
        arguments = json.loads(job_args)
        JobDelivery.objects.create(job_id=job_id, job_name=job_name, job_args=arguments)
        jobs._hand_over(job_id, job_name, arguments)


@task()
def settle_and_then_run(
    job_id: str, job_name: str, args: list[Any], kwargs: dict[str, Any]
) -> None:
    with connection.cursor() as cursor:
        owed = jobs._settle(cursor, job_id)
    if owed:
        import_string(job_name).call(*args, **kwargs)
