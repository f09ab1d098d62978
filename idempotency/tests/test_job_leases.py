"""A job belongs to one worker at a time, for a limited time: who comes second, or late, keeps
nothing."""

import os
import signal
import time
from concurrent.futures import Future
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from idempotency.exceptions import JobFailed
from idempotency.jobs import run_job
from idempotency.jobs.delivering import drain_staged_jobs, redeliver_overdue_jobs
from idempotency.jobs.enqueuing import Lookout
from idempotency.models import JobDelivery
from idempotency.testing.clock import let_time_pass
from idempotency.testing.processes import fork
from idempotency.testing.queue import run_queued_jobs
from idempotency.tests.bookshop import audit_trail
from idempotency.tests.sessions import backend_pid, end_connection
from idempotency.tests.tasks import (
    announce,
    fail_and_go_on,
    note,
    save_twice_and_go_on,
    take_a_little_too_long,
    take_long,
    write_and_take_long,
)

pytestmark = pytest.mark.django_db(transaction=True)

PAST_THE_LEASE = timedelta(minutes=5, seconds=1)


@pytest.fixture
def deliver(stage):
    """Stage a job, hand it over, and return what delivers it once."""

    def prepare(job, **arguments):
        job_id = str(stage(job, **arguments))
        drain_staged_jobs(10)
        kwargs = JobDelivery.objects.get(job_id=job_id).job_args["kwargs"]
        return lambda: run_job.call(job_id, job.module_path, [], kwargs)

    return prepare


def the_delivery():
    return JobDelivery.objects.get()


# Two deliveries at once.


def test_of_two_deliveries_at_once_one_runs_and_the_other_does_nothing(deliver, ledger):
    run = deliver(announce, title="Emma")
    second = ledger.meanwhile(run)

    run()

    second.result(timeout=10)
    assert ledger.calls == ["POST announcements"]
    assert audit_trail() == ["announced"]
    assert not JobDelivery.objects.exists()


def test_a_second_delivery_waits_for_nobody_while_a_job_writes(deliver, elsewhere, monkeypatch):
    run = deliver(note, what="done")
    seconds = []

    def deliver_meanwhile(execute, sql, *call):
        result = execute(sql, *call)
        if "admin_log" in sql and not seconds:
            seconds.append(elsewhere(run).result(timeout=10))
        return result

    with connection.execute_wrapper(deliver_meanwhile):
        run()

    assert seconds == [None]
    assert audit_trail() == ["done"]


# A worker that lost its lease.


def test_a_worker_that_lost_its_lease_settles_nothing(deliver, ledger):
    run = deliver(announce, title="Emma")

    def overtake():
        let_time_pass(PAST_THE_LEASE)
        run()

    overtaking = ledger.meanwhile(overtake)
    with pytest.raises(JobFailed, match="lease of the job ended"):
        run()

    overtaking.result(timeout=10)
    assert ledger.calls == ["POST announcements"] * 2
    assert audit_trail() == ["announced"]
    assert not JobDelivery.objects.exists()


def test_a_worker_that_lost_its_lease_leaves_the_lease_of_the_next_alone(
    deliver, ledger, elsewhere
):
    run = deliver(announce, title="Emma")
    second_has_it, first_has_ended = Future(), Future()
    tokens, seconds = [], []

    def during_the_second():
        tokens.append(the_delivery().lease_token)
        second_has_it.set_result(None)
        first_has_ended.result(timeout=10)
        tokens.append(the_delivery().lease_token)

    def during_the_first():
        let_time_pass(PAST_THE_LEASE)
        ledger.meanwhile(during_the_second)
        seconds.append(elsewhere(run))
        second_has_it.result(timeout=10)

    ledger.meanwhile(during_the_first)
    with pytest.raises(JobFailed, match="lease of the job ended"):
        run()
    first_has_ended.set_result(None)
    seconds[0].result(timeout=10)

    assert tokens[0] == tokens[1] is not None
    assert audit_trail() == ["announced"]


def test_a_worker_that_was_killed_leaves_its_job_to_the_next(deliver, ledger):
    run = deliver(announce, title="Emma")
    child = None

    def kill():
        os.kill(child.pid, signal.SIGKILL)

    killing = ledger.meanwhile(kill)
    child = fork(run, after_fork=lambda: None)
    child.wait()
    killing.result(timeout=10)

    let_time_pass(timedelta(minutes=4))
    assert redeliver_overdue_jobs(10) == 0
    let_time_pass(timedelta(minutes=1, seconds=1))
    assert redeliver_overdue_jobs(10) == 1
    assert run_queued_jobs(10).succeeded == 2
    assert audit_trail() == ["announced"]
    assert not JobDelivery.objects.exists()


@pytest.mark.usefixtures("own_session")
@pytest.mark.parametrize("job", [announce, note])
def test_a_connection_that_is_lost_during_a_job_leaves_it_owed(deliver, ledger, elsewhere, job):
    run = deliver(job, **{"title": "Emma"} if job is announce else {"what": "done"})
    pid = backend_pid()

    def end_it(execute, sql, *call):
        if "admin_log" in sql:
            elsewhere(end_connection, pid).result(timeout=10)
        return execute(sql, *call)

    with connection.execute_wrapper(end_it), pytest.raises(JobFailed, match="JobSessionLost"):
        run()

    assert "JobSessionLost" in the_delivery().last_error
    assert the_delivery().lease_token is None
    run()
    assert len(audit_trail()) == 1
    assert not JobDelivery.objects.exists()


@pytest.mark.parametrize("job", [fail_and_go_on, save_twice_and_go_on])
def test_a_job_that_catches_an_error_of_the_database_and_goes_on_has_failed(deliver, job):
    run = deliver(job)

    with pytest.raises(JobFailed, match="JobWentOnAfterError"):
        run()

    assert audit_trail() == []
    assert "with transaction.atomic()" in the_delivery().last_error


# A clock that was a day ahead, and was set right.


def test_a_job_of_a_time_that_is_still_to_come_is_due(deliver, ledger):
    run = deliver(announce, title="Emma")
    let_time_pass(-timedelta(days=1))

    assert Lookout().enqueue(10).total == 1

    assert run_queued_jobs(10).succeeded == 2
    assert audit_trail() == ["announced"]
    run()
    assert audit_trail() == ["announced"]


def test_a_lease_that_ends_further_ahead_than_any_is_no_lease(deliver, ledger):
    run = deliver(announce, title="Emma")
    JobDelivery.objects.update(lease_token=uuid4(), leased_until=Now() + timedelta(minutes=5))
    run()
    assert audit_trail() == []

    let_time_pass(-timedelta(seconds=10))
    run()

    assert audit_trail() == ["announced"]


# A job that takes too long.


@pytest.mark.parametrize("job", [take_long, write_and_take_long])
def test_a_job_over_its_limit_is_interrupted_and_says_so(deliver, job):
    run = deliver(job)

    with pytest.raises(JobFailed, match="longer than its limit, which is 0:00:00"):
        run()

    assert audit_trail() == []
    assert "JobOverLimit" in the_delivery().last_error
    assert the_delivery().lease_token is None
    with transaction.atomic():
        assert JobDelivery.objects.count() == 1  # the connection is in good order


def test_in_a_pool_of_threads_a_job_over_its_limit_settles_nothing(deliver, elsewhere):
    run = deliver(take_a_little_too_long)

    error = elsewhere(run).exception(timeout=10)

    assert isinstance(error, JobFailed)
    assert "lease of the job ended" in str(error)
    assert audit_trail() == []
    assert "lease of the job ended" in the_delivery().last_error


def test_an_alarm_that_somebody_else_has_set_goes_off_in_its_time(deliver):
    gone_off = []
    own = signal.signal(signal.SIGALRM, lambda *_: gone_off.append(True))
    others = signal.setitimer(signal.ITIMER_REAL, 0.6)
    try:
        with pytest.raises(JobFailed, match="limit"):
            deliver(take_long)()
        time.sleep(0.6)
    finally:
        signal.signal(signal.SIGALRM, own)
        signal.setitimer(signal.ITIMER_REAL, *others)

    assert gone_off == [True]
