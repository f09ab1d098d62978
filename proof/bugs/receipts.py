"""Bugs of jobs: a receipt that is never sent, or sent twice."""

import json
from contextlib import nullcontext, suppress
from typing import Any

from django.db import connection, transaction
from django.utils.module_loading import import_string

from idempotency.exceptions import JobLeaseLost
from idempotency.jobs import leases as job_leases
from idempotency.jobs import run_job
from idempotency.jobs.leases import JobLease
from idempotency.models import JobDelivery
from idempotency.support.compat import task
from idempotency.testing import Fault, Moment
from proof.bugs import seams
from proof.bugs.planting import (
    LAST,
    Bed,
    at,
    booking,
    bug,
    elsewhere,
    of_booking,
    replace,
    rewrite,
    undisturbed,
)
from proof.receipts import (
    delivered_twice_at_once_of,
    enqueuing_for_broker_of,
    enqueuing_of,
    for_later_of,
    overtaken_of,
    working_of,
)

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

    replace(bed, seams.STAGE_JOB, stage_elsewhere)


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

    replace(bed, seams.DRAIN, drain)


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

    replace(bed, seams.DRAIN, drain)


@bug(
    "no_job_is_left",
    "one_receipt_for_a_booked_ride",
    experiment=of_booking(working_of),
    plan=KILLED_IN_THE_JOB,
)
def lost_deliveries_stay_lost(bed: Bed) -> None:
    """What was handed over counts as done."""
    rewrite(bed, seams.TAKE_OVERDUE_JOBS, "set_aside_at IS NULL", "false")


@bug("one_receipt_for_a_booked_ride", experiment=of_booking(working_of), plan=KILLED_IN_THE_JOB)
def settled_before_the_work(bed: Bed) -> None:
    """The delivery is struck off, that commits, and then the job is done."""
    replace(bed, seams.RUN_JOB, settle_and_then_run)


@bug(
    "one_receipt_for_a_booked_ride",
    experiment=of_booking(working_of),
    plan=at(Fault.FREEZE, Moment.BEFORE, "INSERT rides_auditrecord"),
)
def settling_without_a_fence(bed: Bed) -> None:
    """Whoever has lost the job keeps what it wrote: nobody looks whether the job was still owed."""
    settle = job_leases.settle_delivery

    def settle_anyway(lease: JobLease) -> None:
        with suppress(JobLeaseLost):
            settle(lease)

    replace(bed, seams.SETTLE_DELIVERY, settle_anyway)


@bug(
    "one_mail_where_nothing_was_struck",
    experiment=of_booking(delivered_twice_at_once_of),
    plan=undisturbed,
)
def live_lease_of_a_job_is_taken(bed: Bed) -> None:
    """A second delivery does the job that another worker has in hand."""
    live = "leased_until IS NULL OR leased_until <= statement_timestamp()"
    rewrite(bed, seams.LEASE_DELIVERY, live, "true")


@bug(
    "no_transaction_is_open_during_a_foreign_call",
    experiment=of_booking(working_of),
    plan=undisturbed,
)
def mail_inside_the_settling_transaction(bed: Bed) -> None:
    """The mail server is spoken to while the transaction is open that settles the job."""

    def run_whole(job: Any, block: Any, args: Any, kwargs: Any) -> None:
        with transaction.atomic():
            job.call(*args, **kwargs | {"settling": nullcontext})
            job_leases.settle_delivery(block._lease)

    replace(bed, seams.RUN_WITH_SETTLING, run_whole)


@bug(
    "no_transaction_is_open_during_a_foreign_call",
    experiment=of_booking(enqueuing_for_broker_of),
    plan=undisturbed,
)
def handed_to_the_broker_inside_the_drain(bed: Bed) -> None:
    """The staged rows stay locked for as long as the broker takes."""
    replace(bed, seams.IS_IN_THIS_DATABASE, lambda queued: True)


@bug(
    "a_job_is_handed_over_once_and_in_its_time",
    experiment=of_booking(for_later_of),
    plan=undisturbed,
)
def handed_over_before_its_time(bed: Bed) -> None:
    """The enqueuer takes whatever is staged, and what is for tomorrow is done at once."""
    rewrite(bed, seams.DRAIN_STAGED_JOBS, "run_after IS NULL", "true")


@bug(
    "a_job_goes_with_what_was_asked_of_the_queue",
    experiment=of_booking(for_later_of),
    plan=undisturbed,
)
def what_was_asked_is_dropped_at_the_hand_over(bed: Bed) -> None:
    """Each job goes with its task's own priority, to its task's own queue."""
    read, dropped = (
        "priority, queue_name, backend FROM drained ORDER",
        "NULL, '', '' FROM drained ORDER",
    )
    rewrite(bed, seams.DRAIN_JOBS_WHOSE_TIME_HAS_COME, read, dropped)


def hand_over(rows: list[tuple[Any, str, str]]) -> None:
    for job_id, job_name, job_args in rows:
        arguments = json.loads(job_args)
        JobDelivery.objects.create(job_id=job_id, job_name=job_name, job_args=arguments)
        run_job.enqueue(str(job_id), job_name, arguments["args"], arguments["kwargs"])


@task()
def settle_and_then_run(
    job_id: str, job_name: str, args: list[Any], kwargs: dict[str, Any]
) -> None:
    owed, _ = JobDelivery.objects.filter(job_id=job_id).delete()
    if owed:
        import_string(job_name).call(*args, **kwargs, settling=transaction.atomic)
