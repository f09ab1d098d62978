"""With a million finished keys neither the completer nor the reaper reads more than its batch."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.utils import timezone

from idempotency import claims
from idempotency.admin.searching import keys_that_staged
from idempotency.jobs import delivering, enqueuing
from idempotency.leases import growth_of_journal
from idempotency.models import StagedJob
from idempotency.staging import LONGEST_ATTEMPT
from idempotency.support.positions import beginning
from idempotency.tests.conftest import Customer
from idempotency.workers import overdue, reaping

# Each in a savepoint of the transaction that has the million, which takes its time to make.
pytestmark = [
    pytest.mark.django_db,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("fresh_tables"),
]

MILLION = 1_000_000
UNFINISHED = 1_000
BATCH = 100
FLOOD = 10_000

FILL = """
INSERT INTO idempotency_idempotencykey
       (user_id, idempotency_key, request_method, request_path, request_params, fingerprint,
        foreign_key, lease_token, created_at, last_run_at, run_after, attempt, recovery_point,
        last_error, journal, response_code, response_body, response_content_type)
SELECT %(user_id)s, 'a-key-long-enough-' || %(prefix)s || n, 'POST', '/orders', '{}', '',
       gen_random_uuid(), gen_random_uuid(), at, at, at, 1, %(recovery_point)s, '',
       '[]', %(code)s, %(body)s::bytea, %(type)s
  FROM generate_series(1, %(rows)s) AS n, LATERAL (SELECT now() - n * interval '1 s' AS at) AS t
"""

STAGE_MANY = """
INSERT INTO idempotency_stagedjob (job_id, job_name, job_args, created_at)
SELECT gen_random_uuid(), 'job', '{}', now() FROM generate_series(1, %(rows)s)
"""

STAGE_MANY_FOR_LATER = """
INSERT INTO idempotency_stagedjob (job_id, job_name, job_args, run_after, created_at)
SELECT gen_random_uuid(), 'job', '{}', now() + n * interval '1 minute', now()
  FROM generate_series(1, %(rows)s) AS n
"""

HAND_OVER_MANY = """
INSERT INTO idempotency_jobdelivery
       (job_id, job_name, job_args, created_at, handed_over_at, deliveries, last_error)
SELECT gen_random_uuid(), 'job', '{}', now(), now(), 1, '' FROM generate_series(1, %(rows)s)
"""

SET_ONE_ASIDE = """
UPDATE idempotency_jobdelivery SET set_aside_at = now(), created_at = now() - INTERVAL '1 hour'
 WHERE id = (SELECT max(id) FROM idempotency_jobdelivery) RETURNING job_id
"""


@pytest.fixture(scope="module")
def million(django_db_setup, django_db_blocker):
    """A million finished keys, one a second for twelve days, among them a thousand unfinished. All
    in a transaction that is rolled back, so that their foreign keys need no check either."""
    with django_db_blocker.unblock(), transaction.atomic(), connection.cursor() as cursor:
        number = Customer().user.pk
        nothing = {"user_id": number, "code": None, "body": None, "type": None}
        answer = {"user_id": number, "code": 201, "body": "{}", "type": "application/json"}
        cursor.execute(
            FILL, {**answer, "prefix": "f", "rows": MILLION, "recovery_point": "finished"}
        )
        cursor.execute(
            FILL, {**nothing, "prefix": "u", "rows": UNFINISHED, "recovery_point": "ordered"}
        )
        cursor.execute("ANALYZE idempotency_idempotencykey")
        cursor.execute(reaping.BEGIN_BEFORE_ALL_KEYS)
        yield number
        transaction.set_rollback(True)


@pytest.fixture
def flood(db):
    """Many jobs, of which the statistics know."""
    with connection.cursor() as cursor:
        cursor.execute(STAGE_MANY_FOR_LATER, {"rows": FLOOD})
        cursor.execute(STAGE_MANY, {"rows": FLOOD})
        cursor.execute(HAND_OVER_MANY, {"rows": FLOOD})
        cursor.execute("ANALYZE idempotency_stagedjob, idempotency_jobdelivery")


@pytest.fixture
def plan(million, db):
    """Run a statement, take it back, and return the nodes of its plan."""

    def plan(statement, **values):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values)
            [explained] = cursor.fetchone()[0]
            transaction.set_rollback(True)
        return list(nodes(explained["Plan"]))

    return plan


def nodes(node):
    yield node
    for child in node.get("Plans", []):
        yield from nodes(child)


def index_of(plan):
    """The indexes by which a plan reads. It reads no table of many rows in another way."""
    without = [node for node in plan if node["Node Type"] in ("Seq Scan", "Bitmap Heap Scan")]
    assert {node["Relation Name"] for node in without} <= {
        "idempotency_reaperposition",
        "idempotency_stagedjob_id_seq",
    }
    return {node["Index Name"] for node in plan if "Index Name" in node}


def rows_read(plan, index=None):
    return max(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in plan
        if index in (None, node.get("Index Name"))
    )


def pages_read(plan):
    return plan[0]["Shared Hit Blocks"] + plan[0]["Shared Read Blocks"]


def test_the_completer_reads_the_key_that_is_due(plan):
    taken = plan(
        claims.TAKE_OVER_NEXT_DUE_KEY,
        event="taken_by_completer",
        said="{}",
        recovery_point=None,
        lease_token=uuid4(),
        completer_attempts=1,
        begin_at=beginning(),
        clock_tolerance=timedelta(seconds=5),
        lock_timeout=timedelta(seconds=90),
        completer_pause=timedelta(seconds=60),
        **growth_of_journal(1),
    )

    assert "idempotency_key_due" in index_of(taken)
    assert rows_read(taken) == 1
    assert pages_read(taken) < 50


def test_the_reaper_reads_the_keys_that_it_takes(plan):
    reaped = plan(
        reaping.REAP_FINISHED_KEYS,
        retention=timedelta(hours=72),
        unfinished_since=None,
        limit=BATCH,
    )

    assert "idempotency_key_finished" in index_of(reaped)
    assert rows_read(reaped, "idempotency_key_finished") == BATCH
    assert rows_read(reaped) <= UNFINISHED
    assert pages_read(reaped) < BATCH * 50


def test_the_reaper_finds_nothing_at_the_price_of_nothing(plan):
    for statement in (reaping.REAP_FINISHED_KEYS, reaping.FIND_OLD_TOMBSTONES):
        found = plan(
            statement,
            retention=timedelta(days=365),
            unfinished_since=None,
            limit=BATCH,
            begin_at=beginning(),
            begin_id=0,
        )
        assert "idempotency_key_finished" in index_of(found)
        assert rows_read(found, "idempotency_key_finished") == 0
        assert rows_read(found) <= UNFINISHED


def test_the_idle_reaper_reads_the_entry_at_which_it_would_begin(plan):
    asked = plan(
        overdue.KEYS_ARE_OVERDUE,
        retention=timedelta(days=365),
        tombstone_retention=timedelta(days=365),
        clock_tolerance=timedelta(seconds=5),
        begin_at=beginning(),
    )

    assert index_of(asked) == {"idempotency_key_finished", "idempotency_key_due"}
    assert rows_read(asked) <= UNFINISHED


def test_the_enqueuer_asks_the_indexes_whatever_a_flood_left_in_the_tables(plan, flood):
    asked = plan(
        enqueuing.LOOK_AT_EVERYTHING,
        redelivery_after=timedelta(seconds=60),
        clock_tolerance=timedelta(seconds=5),
    )
    usual = plan(
        enqueuing.LOOK_FROM_POSITION,
        position=FLOOD // 2,
        time_looked_back=enqueuing.TIME_LOOKED_BACK,
    )

    of_staged_jobs = {"staged_job_for_now", "staged_job_for_later"}
    assert index_of(asked) == {*of_staged_jobs, "job_delivery_unsettled"}
    assert index_of(usual) == of_staged_jobs
    assert rows_read(asked) == rows_read(usual) == 1


def test_the_reapers_review_looks_at_unfinished_keys_only(plan):
    taken = plan(
        claims.TAKE_OVER_NEXT_OVERDUE_KEY,
        event="taken_by_reaper",
        said="{}",
        recovery_point=None,
        lease_token=uuid4(),
        completer_attempts=0,
        clock_tolerance=timedelta(seconds=5),
        retention=timedelta(minutes=15),
        lock_timeout=timedelta(seconds=90),
        completer_pause=timedelta(seconds=60),
        **growth_of_journal(1),
    )

    assert "idempotency_key_due" in index_of(taken)
    assert rows_read(taken) <= UNFINISHED


def test_a_claim_counts_as_many_unfinished_keys_as_a_user_may_have(plan, million):
    unheard_of = {"user_id": million, "idempotency_key": "a-key-that-nobody-has-used"}
    plan(claims.IS_REFUSED, max_unfinished=BATCH, **unheard_of)

    counted = plan(claims.IS_REFUSED, max_unfinished=BATCH, **unheard_of)

    assert rows_read(counted, "idempotency_key_unfinished") == BATCH
    assert rows_read(counted) == BATCH
    assert pages_read(counted) <= 2 * BATCH


def test_a_request_reads_its_own_key(plan, million):
    which = {"user_id": million, "idempotency_key": f"a-key-long-enough-f{MILLION // 2}"}
    plan(claims.FIND_KEY, **which)  # the first time a session reads the catalogue as well

    found = plan(claims.FIND_KEY, **which)

    assert index_of(found) == {"idempotency_key_unique_per_user"}
    assert rows_read(found) == 1
    assert pages_read(found) < 10


def test_a_job_leads_to_the_request_that_staged_it_by_an_index(plan):
    job = StagedJob(job_id=uuid4(), created_at=timezone.now() - timedelta(hours=1))
    explained = keys_that_staged(job).explain()

    assert "Seq Scan" not in explained
    assert "idempotency_key_finished" in explained


def test_a_job_is_put_back_and_recorded_by_indexes(plan, flood):
    with connection.cursor() as cursor:
        cursor.execute(SET_ONE_ASIDE)
        [job_id] = cursor.fetchone()
    back = plan(
        delivering.PUT_BACK,
        job_ids=[job_id],
        **{"who": "Ada", "reason": "there is paper", "longest": 100},
        redelivery_after=timedelta(minutes=1),
        longest_attempt=LONGEST_ATTEMPT,
    )

    assert "idempotency_key_finished" in index_of(back)
    assert rows_read(back, "idempotency_key_finished") <= 121  # of two minutes, one a second
