"""A job is owed until it is done: settled with its effect, and handed over again until it is."""

from datetime import timedelta

import pytest
from django.db import transaction
from django_tasks_db.models import DBTaskResult

from idempotency.jobs import drain_staged_jobs, redeliver_overdue_jobs, run_job
from idempotency.models import JobDelivery, StagedJob
from idempotency.queue import run_queued_jobs
from idempotency.testing.clock import let_time_pass
from idempotency.tests.bookshop import audit_trail, send_confirmation
from idempotency.tests.processes import run_command, started_command
from idempotency.tests.tasks import fail, note

pytestmark = pytest.mark.django_db(transaction=True)

REDELIVERY = timedelta(seconds=60)


# Settling.


def test_a_job_is_done_and_settled(stage):
    stage(what="done")
    drain_staged_jobs(10)

    assert run_queued_jobs(10).succeeded == 1

    assert audit_trail() == ["done"]
    assert not JobDelivery.objects.exists()


def test_a_second_delivery_does_nothing(stage):
    stage(what="done")
    drain_staged_jobs(10)
    let_time_pass(REDELIVERY)
    assert redeliver_overdue_jobs(10) == 1

    done = run_queued_jobs(10)

    assert (done.succeeded, done.failed) == (2, 0)
    assert audit_trail() == ["done"]


def test_two_deliveries_at_once_have_one_effect(stage, elsewhere):
    job_id = str(stage(what="done"))
    drain_staged_jobs(10)
    arguments = JobDelivery.objects.get().job_args

    def deliver():
        run_job.call(job_id, note.module_path, arguments["args"], arguments["kwargs"])

    with transaction.atomic():
        deliver()
        second = elsewhere(deliver)

    second.result(timeout=10)
    assert audit_trail() == ["done"]


@pytest.mark.parametrize("how_it_ends", ["committed", "rolled back"])
def test_a_job_that_is_delivered_before_its_hand_over_ends_is_done_once(
    stage, elsewhere, how_it_ends
):
    """A broker can be faster than the enqueuer's commit, and the enqueuer can die before it."""
    job_id = str(stage(what="done"))
    arguments = StagedJob.objects.get().job_args

    def deliver():
        run_job.call(job_id, note.module_path, arguments["args"], arguments["kwargs"])

    with transaction.atomic():
        drain_staged_jobs(10)
        delivery = elsewhere(deliver)
        transaction.set_rollback(how_it_ends == "rolled back")
    delivery.result(timeout=10)

    assert audit_trail() == ["done"]
    assert not StagedJob.objects.exists()
    assert not JobDelivery.objects.exists()


def test_a_job_that_fails_takes_its_effect_back_and_stays_owed(stage):
    job_id = stage(fail)
    drain_staged_jobs(10)

    done = run_queued_jobs(10)

    assert (done.succeeded, done.failed) == (0, 1)
    assert audit_trail() == []
    record = JobDelivery.objects.get(job_id=job_id)
    assert record.last_error == "RuntimeError('no paper')"
    assert record.set_aside_at is None


def test_a_batch_of_jobs_has_its_limit(stage):
    for n in range(3):
        stage(what=str(n))
    drain_staged_jobs(10)

    assert [run_queued_jobs(2).total for _ in range(3)] == [2, 1, 0]


# Handing over again.


def test_a_job_that_the_queue_lost_is_handed_over_again(stage):
    job_id = stage(what="done")
    drain_staged_jobs(10)
    DBTaskResult.objects.all().delete()

    let_time_pass(REDELIVERY)
    assert redeliver_overdue_jobs(10) == 1

    assert DBTaskResult.objects.get().args_kwargs["args"][0] == str(job_id)
    run_queued_jobs(10)
    assert audit_trail() == ["done"]


def test_a_job_is_handed_over_again_only_when_it_is_overdue(stage):
    stage(what="one")
    drain_staged_jobs(10)

    let_time_pass(REDELIVERY - timedelta(seconds=5))
    assert redeliver_overdue_jobs(10) == 0
    let_time_pass(timedelta(seconds=5))
    assert redeliver_overdue_jobs(10) == 1
    assert redeliver_overdue_jobs(10) == 0


def test_each_wait_is_twice_the_one_before(stage):
    stage(what="one")
    drain_staged_jobs(10)

    for deliveries in range(1, 5):
        wait = REDELIVERY * 2 ** (deliveries - 1)
        let_time_pass(wait - timedelta(seconds=5))
        assert redeliver_overdue_jobs(10) == 0
        let_time_pass(timedelta(seconds=5))
        assert redeliver_overdue_jobs(10) == 1
        assert JobDelivery.objects.get().deliveries == deliveries + 1


def test_a_job_that_was_handed_over_too_often_is_set_aside(stage, settings):
    settings.IDEMPOTENCY = {"MAX_DELIVERIES": 2}
    stage(fail)
    drain_staged_jobs(10)
    let_time_pass(REDELIVERY)
    assert redeliver_overdue_jobs(10) == 1
    assert JobDelivery.objects.get().set_aside_at is None

    let_time_pass(REDELIVERY * 2)
    assert redeliver_overdue_jobs(10) == 0
    assert JobDelivery.objects.get().set_aside_at is not None


def test_the_job_of_a_worker_that_is_still_at_it_is_not_handed_over_again(stage, ledger):
    stage(send_confirmation, title="Emma")
    drain_staged_jobs(10)
    let_time_pass(REDELIVERY)
    redelivering = ledger.meanwhile(lambda: redeliver_overdue_jobs(10))

    assert run_queued_jobs(10).succeeded == 1

    assert redelivering.result() == 0
    assert audit_trail() == ["order.confirmed"]


def test_the_job_of_a_worker_that_was_killed_is_done_by_the_next(stage, ledger):
    stage(send_confirmation, title="Emma")
    drain_staged_jobs(10)
    let_time_pass(REDELIVERY)

    with started_command("worker", "--once") as worker:
        killing = ledger.meanwhile(worker.kill)
        killing.result(timeout=20)
        worker.wait(timeout=10)
    wait_for_the_killed_transaction()

    assert audit_trail() == []
    assert redeliver_overdue_jobs(10) == 1
    assert run_command("worker", "--once") == "succeeded=1 failed=0\n"
    assert audit_trail() == ["order.confirmed"]
    assert not JobDelivery.objects.exists()


def wait_for_the_killed_transaction():
    """PostgreSQL takes it back as soon as it sees that its client is gone."""
    with transaction.atomic():
        JobDelivery.objects.select_for_update().get()
