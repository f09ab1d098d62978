"""A job that calls out: no transaction is open meanwhile, and it writes in one block, which settles
it."""

import pytest
from django.db import connection

from idempotency.exceptions import JobFailed
from idempotency.jobs import run_job
from idempotency.jobs.delivering import drain_staged_jobs
from idempotency.jobs.settling import only_reads
from idempotency.models import JobDelivery
from idempotency.tests.bookshop import audit_trail
from idempotency.tests.sessions import backend_pid, state_of
from idempotency.tests.tasks import (
    announce,
    announce_only,
    fail_in_settling_and_go_on,
    read_in_a_transaction,
    settle_twice,
    write_after_settling,
    write_and_wait,
    write_before_the_call,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(stage):
    def run(job, **arguments):
        job_id = str(stage(job, **arguments))
        drain_staged_jobs(10)
        kwargs = JobDelivery.objects.get(job_id=job_id).job_args["kwargs"]
        run_job.call(job_id, job.module_path, [], kwargs)

    return run


@pytest.mark.usefixtures("own_session")
def test_no_transaction_is_open_while_a_job_calls_out(run, ledger):
    pid = backend_pid()
    looking = ledger.meanwhile(lambda: state_of(pid))

    run(announce, title="Emma")

    assert looking.result() == ("idle", None)
    assert audit_trail() == ["announced"]
    assert not JobDelivery.objects.exists()


def test_a_job_that_calls_out_has_no_limit_of_an_idle_transaction(run, ledger):
    with connection.cursor() as cursor:
        cursor.execute("SET idle_in_transaction_session_timeout = '100ms'")
    waiting = ledger.meanwhile(lambda: connection.cursor().execute("SELECT pg_sleep(0.4)"))

    run(announce, title="Emma")

    waiting.result()
    connection.close()
    assert audit_trail() == ["announced"]


def test_a_job_that_waits_in_its_transaction_is_told_to_take_settling(run):
    with connection.cursor() as cursor:
        cursor.execute("SET idle_in_transaction_session_timeout = '300ms'")

    with pytest.raises(JobFailed, match="JobSessionLost"):
        run(write_and_wait)

    assert audit_trail() == []
    said = JobDelivery.objects.get().last_error
    assert "a job that calls another system takes `settling`" in said


def test_a_job_that_returns_without_its_block_is_settled_then(run, ledger):
    run(announce_only, title="Emma")

    assert ledger.calls == ["POST announcements"]
    assert not JobDelivery.objects.exists()


def test_a_write_before_the_block_is_refused_by_name(run, ledger):
    with pytest.raises(JobFailed, match="WriteOutsideSettling"):
        run(write_before_the_call)

    assert ledger.calls == []
    assert audit_trail() == []
    assert "WriteOutsideSettling" in JobDelivery.objects.get().last_error


def test_a_write_after_the_block_is_refused_by_name_and_the_block_is_kept(run):
    with pytest.raises(JobFailed, match="WriteOutsideSettling"):
        run(write_after_settling)

    assert audit_trail() == ["inside"]
    assert not JobDelivery.objects.exists()


def test_the_block_is_opened_once(run):
    with pytest.raises(JobFailed, match="SettlingOpenedTwice"):
        run(settle_twice)

    assert audit_trail() == ["once"]
    assert not JobDelivery.objects.exists()


def test_a_job_that_goes_on_after_its_block_was_rolled_back_has_failed(run):
    with pytest.raises(JobFailed, match="SettlingNotKept"):
        run(fail_in_settling_and_go_on)

    assert audit_trail() == []
    assert JobDelivery.objects.get().lease_token is None


def test_a_transaction_of_its_own_is_refused_by_name(run, ledger):
    with pytest.raises(JobFailed, match="ForeignCallInsideTransaction"):
        run(read_in_a_transaction)

    assert ledger.calls == []


def test_the_guard_is_gone_after_the_job(run, ledger):
    run(announce, title="Emma")

    JobDelivery.objects.update(deliveries=1)
    with connection.cursor() as cursor:
        assert "close" not in vars(cursor)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1",
        "  (SELECT 1) UNION (SELECT 2)",
        "WITH rides AS (SELECT 1) SELECT * FROM rides",
        """SELECT "update", 'DELETE FROM rides' FROM "insert" WHERE note <> 'it''s an UPDATE'""",
        "-- UPDATE\nSELECT updated_at FROM rides /* INSERT */",
        "EXPLAIN SELECT 1",
        "SHOW lock_timeout",
    ],
)
def test_what_only_reads(statement):
    assert only_reads(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO rides VALUES (1)",
        "update rides SET id = 1",
        "WITH gone AS (DELETE FROM rides RETURNING id) SELECT * FROM gone",
        "with new as (insert into rides values (1) returning 1) select 1",
        "SELECT id FROM rides FOR UPDATE",
        "SELECT id FROM rides FOR NO KEY UPDATE",
        "SELECT id FROM rides FOR KEY SHARE",
        "SELECT 1 INTO rides",
        "EXPLAIN ANALYZE DELETE FROM rides",
        "SAVEPOINT one",
        "SET lock_timeout = 1",
        "TRUNCATE rides",
        "CALL work()",
        "COPY rides FROM stdin",
        "-- SELECT\nDELETE FROM rides",
    ],
)
def test_what_does_more_than_read(statement):
    assert not only_reads(statement)
