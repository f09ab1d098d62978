"""What the enqueuer's looks and batches cost: no more for rows that are dead, and never more than
the limit, whatever plan PostgreSQL believes in."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection, transaction

from idempotency.jobs import delivering, enqueuing
from idempotency.jobs.enqueuing import NUMBERS_LOOKED_BACK, TIME_LOOKED_BACK, Lookout
from idempotency.models import JobDelivery, StagedJob
from idempotency.testing.clock import let_time_pass
from idempotency.tests.test_indexes import nodes, pages_read

pytestmark = pytest.mark.django_db(transaction=True)

DEAD = 20_000
STAGED = 1_000
BATCH = 100
MOST_ROWS_TOUCHED = 10 * BATCH

STAGE_MANY = """
INSERT INTO idempotency_stagedjob (job_id, job_name, job_args, created_at)
SELECT gen_random_uuid(), 'idempotency.tests.tasks.note',
       '{"args": [], "kwargs": {"what": "many", "user_id": 1}}', now()
  FROM generate_series(1, %s)
"""

STAGE_MANY_FOR_LATER = """
INSERT INTO idempotency_stagedjob (job_id, job_name, job_args, run_after, created_at)
SELECT gen_random_uuid(), 'idempotency.tests.tasks.note',
       '{"args": [], "kwargs": {"what": "many", "user_id": 1}}', now() + %s, now()
  FROM generate_series(1, %s)
"""

HAND_OVER_MANY = """
INSERT INTO idempotency_jobdelivery
       (job_id, job_name, job_args, created_at, handed_over_at, deliveries, last_error)
SELECT gen_random_uuid(), 'job', '{}', now(), now() - interval '1 day', %s, ''
  FROM generate_series(1, %s)
"""

BAD_PLANS = "; ".join(
    f"SET LOCAL enable_{way} = off"
    for way in ("hashjoin", "mergejoin", "hashagg", "sort", "material")
)


def execute(statement, *values):
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)


@contextmanager
def old_snapshot() -> Iterator[None]:
    """A transaction that somebody forgot, which keeps every dead row in place."""
    forgotten = connection.copy()
    with forgotten.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT 1")
        try:
            yield
        finally:
            forgotten.close()


@pytest.fixture
def dead_rows(db):
    """Many jobs that have been staged and taken, under an old snapshot."""
    with old_snapshot():
        execute(STAGE_MANY, DEAD)
        execute(STAGE_MANY_FOR_LATER, -2 * TIME_LOOKED_BACK, DEAD)
        execute("DELETE FROM idempotency_stagedjob")
        execute(HAND_OVER_MANY, 1, DEAD)
        execute("DELETE FROM idempotency_jobdelivery")
        yield


@pytest.fixture
def statistics_of_empty_tables(db):
    """What autovacuum leaves behind when it came at a quiet time."""
    StagedJob.objects.all().delete()
    JobDelivery.objects.all().delete()
    execute("VACUUM ANALYZE idempotency_stagedjob, idempotency_jobdelivery")


def explained(statement, values):
    """The nodes of a plan that was carried out, badly, and taken back."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(BAD_PLANS)
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values)
        [plan] = cursor.fetchone()[0]
        transaction.set_rollback(True)
    return list(nodes(plan["Plan"]))


@pytest.fixture
def looks(monkeypatch):
    """The pages that each look has read."""
    pages = []
    asked = enqueuing._asked

    def measured(statement, values):
        pages.append(pages_read(explained(statement, values)))
        return asked(statement, values)

    monkeypatch.setattr(enqueuing, "_asked", measured)
    return pages


# Looks.


@pytest.mark.not_in_a_cell("the plan is the node's")
def test_a_look_reads_no_more_under_an_old_snapshot(dead_rows, looks):
    lookout = Lookout()

    for _ in range(5):
        assert lookout.enqueue(BATCH).total == 0

    everything, *usual = looks
    assert everything > DEAD / 100
    assert max(usual) <= 50, "a thousand numbers are looked back over, and nothing more"
    assert everything > 5 * max(usual)


@pytest.mark.not_in_a_cell("the plan is the node's")
def test_a_batch_under_an_old_snapshot_begins_where_the_look_found_something(dead_rows):
    execute(STAGE_MANY, BATCH)
    first_id = StagedJob.objects.order_by("id").values_list("id", flat=True)[0]

    taken = explained(delivering.DRAIN_STAGED_JOBS, {"limit": BATCH, "first_id": first_id})

    assert pages_read(taken) < 40 * BATCH
    assert pages_read(taken) < pages_read(
        explained(delivering.DRAIN_STAGED_JOBS, {"limit": BATCH, "first_id": 0})
    )


@pytest.mark.not_in_a_cell("the plan is the node's")
def test_a_batch_of_jobs_for_later_begins_where_the_look_found_the_first(dead_rows):
    drain = delivering.DRAIN_JOBS_WHOSE_TIME_HAS_COME
    execute(STAGE_MANY_FOR_LATER, timedelta(0), BATCH)
    due_from = str(StagedJob.objects.order_by("run_after")[0].run_after)

    taken = explained(drain, {"limit": BATCH, "due_from": due_from})

    assert rows_of(taken, "Delete") == BATCH
    assert pages_read(taken) < 40 * BATCH
    assert pages_read(taken) < pages_read(
        explained(drain, {"limit": BATCH, "due_from": "-infinity"})
    )


@pytest.mark.parametrize("statistics", ["of before", "of now"])
def test_a_look_reads_nothing_of_the_jobs_that_wait_for_their_time(
    statistics_of_empty_tables, looks, statistics
):
    """They have lower numbers than those for now, and higher ones."""
    execute(STAGE_MANY_FOR_LATER, timedelta(days=1), DEAD)
    execute(STAGE_MANY, BATCH)
    execute(STAGE_MANY_FOR_LATER, timedelta(days=1), DEAD)
    if statistics == "of now":
        execute("ANALYZE idempotency_stagedjob")
    lookout = Lookout()

    assert lookout.enqueue(2 * BATCH).total == BATCH
    for _ in range(5):
        assert lookout.enqueue(BATCH).total == 0

    assert max(looks) <= 20
    assert StagedJob.objects.count() == 2 * DEAD


def test_a_job_that_was_committed_long_after_its_time_is_found_by_the_look_at_everything(stage):
    lookout = Lookout()
    lookout.enqueue(BATCH)
    execute(STAGE_MANY_FOR_LATER, -2 * TIME_LOOKED_BACK, 1)

    assert lookout.enqueue(BATCH).total == 0
    lookout._everything_due_at = 0.0
    assert lookout.enqueue(BATCH).total == 1


def test_jobs_far_below_the_position_are_found_by_the_look_at_everything(stage, settings):
    """They were staged by a transaction that took long."""
    settings.IDEMPOTENCY = {"REDELIVERY_AFTER": timedelta(hours=1)}
    lookout = Lookout()
    lookout.enqueue(BATCH)
    late = stage(what="late")
    execute(
        "SELECT setval('idempotency_stagedjob_id_seq', last_value + %s)"
        " FROM idempotency_stagedjob_id_seq",
        2 * NUMBERS_LOOKED_BACK,
    )
    assert lookout.enqueue(BATCH).total == 1  # not so far: its number was known when it was asked

    stage(what="latest")
    StagedJob.objects.update(id=1)
    assert lookout.enqueue(BATCH).total == 0
    lookout._everything_due_at = 0.0
    assert lookout.enqueue(BATCH).total == 1
    assert JobDelivery.objects.filter(job_id=late).exists()


def test_a_backlog_is_handed_over_batch_by_batch_from_its_beginning(monkeypatch):
    """It is longer than what is looked back over."""
    monkeypatch.setattr(enqueuing, "NUMBERS_LOOKED_BACK", BATCH // 2)
    execute(STAGE_MANY, BATCH)
    numbers = list(StagedJob.objects.order_by("id").values_list("id", flat=True))
    lookout = Lookout()

    batches = []
    while (done := lookout.enqueue(BATCH // 7)).total:
        batches.append(done.total)
        left = StagedJob.objects.order_by("id").values_list("id", flat=True)
        assert list(left) == numbers[sum(batches) :]

    assert sum(batches) == BATCH


def test_overdue_jobs_are_looked_for_in_their_own_time(stage, settings):
    settings.IDEMPOTENCY = {"REDELIVERY_AFTER": timedelta(seconds=60)}
    lookout = Lookout()
    stage(what="one")
    assert lookout.enqueue(BATCH).total == 1
    let_time_pass(timedelta(seconds=61))

    assert lookout.enqueue(BATCH).total == 0
    lookout._everything_due_at = 0.0
    assert lookout.enqueue(BATCH).total == 1


# Batches.


def most_rows(plan):
    return max(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in plan
    )


def rows_of(plan, *kinds):
    return sum(
        node["Actual Rows"] * node["Actual Loops"]
        for node in plan
        if node["Node Type"] == "ModifyTable" and node["Operation"] in kinds
    )


@pytest.mark.not_in_a_cell("the plan is the node's")
def test_a_drain_takes_its_limit_under_the_worst_plan(statistics_of_empty_tables):
    execute(STAGE_MANY, STAGED)

    plan = explained(delivering.DRAIN_STAGED_JOBS, {"limit": BATCH, "first_id": 0})

    assert rows_of(plan, "Delete") == BATCH
    assert most_rows(plan) <= MOST_ROWS_TOUCHED
    execute(STAGE_MANY_FOR_LATER, timedelta(0), STAGED)
    later = explained(
        delivering.DRAIN_JOBS_WHOSE_TIME_HAS_COME, {"limit": BATCH, "due_from": "-infinity"}
    )
    assert rows_of(later, "Delete") == BATCH
    assert most_rows(later) <= MOST_ROWS_TOUCHED
    execute("DELETE FROM idempotency_stagedjob WHERE run_after IS NOT NULL")
    with transaction.atomic():
        execute(BAD_PLANS)
        assert delivering.drain_staged_jobs(BATCH) == BATCH
    assert StagedJob.objects.count() == STAGED - BATCH


@pytest.mark.parametrize(
    ("statement", "deliveries"),
    [
        (delivering.TAKE_OVERDUE_JOBS, 1),
        (delivering.SET_EXHAUSTED_JOBS_ASIDE, 10),
        (delivering.BRING_BACK_FROM_THE_FUTURE, 1),
    ],
)
def test_a_redelivery_takes_its_limit_under_the_worst_plan(
    statistics_of_empty_tables, statement, deliveries
):
    execute(HAND_OVER_MANY, deliveries, STAGED)
    if statement is delivering.BRING_BACK_FROM_THE_FUTURE:
        let_time_pass(-timedelta(days=2))
    values = {
        "limit": BATCH,
        "redelivery_after": timedelta(seconds=60),
        "max_deliveries": 10,
        "clock_tolerance": timedelta(seconds=5),
    }

    plan = explained(statement, values)

    assert most_rows(plan) <= MOST_ROWS_TOUCHED
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(BAD_PLANS)
        cursor.execute(statement, values)
        assert cursor.rowcount == BATCH
