"""A job is owed until it is done: settled with its effect, and handed over again until it is."""

import uuid
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django_tasks_db.models import DBTaskResult

from idempotency.doors import Reading
from idempotency.jobs.delivering import drain_staged_jobs, put_back, redeliver_overdue_jobs
from idempotency.models import IdempotencyKey, JobDelivery, ReviewDecision
from idempotency.testing.clock import let_time_pass
from idempotency.testing.queue import run_queued_jobs
from idempotency.tests.bookshop import audit_trail
from idempotency.tests.tasks import announce, fail

pytestmark = pytest.mark.django_db(transaction=True)

REDELIVERY = timedelta(seconds=60)
JOB_LIMIT = timedelta(minutes=5)


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


def test_a_job_that_fails_takes_its_effect_back_and_stays_owed(stage):
    job_id = stage(fail)
    drain_staged_jobs(10)

    done = run_queued_jobs(10)

    assert (done.succeeded, done.failed) == (0, 1)
    assert audit_trail() == []
    record = JobDelivery.objects.get(job_id=job_id)
    assert record.last_error.startswith("RuntimeError at idempotency.tests.tasks:")
    assert record.set_aside_at is None
    assert record.lease_token is None


def test_behind_closed_doors_a_job_is_left_for_later(stage, monkeypatch):
    job_id = stage(what="done")
    drain_staged_jobs(10)
    monkeypatch.setattr("idempotency.doors.as_last_read", lambda: Reading(are_closed=True))

    run_queued_jobs(10)

    assert audit_trail() == []
    record = JobDelivery.objects.get(job_id=job_id)
    assert (record.lease_token, record.last_error, record.set_aside_at) == (None, "", None)


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


def test_a_job_that_a_worker_has_in_hand_is_not_handed_over_again_before_its_lease_ends(
    stage, ledger, settings
):
    settings.IDEMPOTENCY = {"MAX_DELIVERIES": 1}
    stage(announce, title="Emma")
    drain_staged_jobs(10)

    def redeliver():
        let_time_pass(JOB_LIMIT - timedelta(seconds=5))
        early = redeliver_overdue_jobs(10)
        is_aside = JobDelivery.objects.get().set_aside_at is not None
        settings.IDEMPOTENCY = {}
        let_time_pass(timedelta(seconds=5))
        return early, is_aside, redeliver_overdue_jobs(10)

    redelivering = ledger.meanwhile(redeliver)
    run_queued_jobs(1)

    assert redelivering.result() == (0, False, 1)


# Put before a person.


def test_a_job_that_was_handed_over_too_often_is_set_aside_and_can_be_put_back(stage, settings):
    settings.IDEMPOTENCY = {"MAX_DELIVERIES": 2}
    job_id = stage(fail)
    drain_staged_jobs(10)
    run_queued_jobs(10)
    let_time_pass(REDELIVERY)
    assert redeliver_overdue_jobs(10) == 1
    assert JobDelivery.objects.get().set_aside_at is None
    let_time_pass(REDELIVERY * 2)
    assert redeliver_overdue_jobs(10) == 0
    aside = JobDelivery.objects.get()
    assert aside.set_aside_at is not None
    assert aside.last_error.startswith("RuntimeError at")
    assert redeliver_overdue_jobs(10) == 0

    assert put_back([job_id], who="Ada", reason="there is paper") == 1

    assert put_back([job_id], who="Ada", reason="twice") == 0
    assert redeliver_overdue_jobs(10) == 1
    record = JobDelivery.objects.get()
    assert (record.set_aside_at, record.deliveries) == (None, 1)
    assert record.last_error.startswith("put back by Ada: there is paper; RuntimeError at")


def test_who_put_a_job_back_is_kept_under_the_request_that_staged_it(customer, key, stored, ledger):
    for each in (str(uuid.uuid4()), key, str(uuid.uuid4())):
        customer.send(each)
    job_id = stored().journal[-1]["jobs"][0]
    drain_staged_jobs(10)
    JobDelivery.objects.update(set_aside_at=Now())

    assert put_back([job_id], who="Ada", reason="there is paper") == 1

    kept = ReviewDecision.objects.get()
    assert (kept.idempotency_key_id, kept.foreign_key) == (stored().pk, stored().foreign_key)
    assert (kept.action, kept.reviewer, kept.reason) == ("put_back", "Ada", "there is paper")
    assert put_back([job_id], who="Ada", reason="twice") == 0
    assert ReviewDecision.objects.count() == 1


def test_a_job_whose_request_is_not_known_any_more_is_put_back_all_the_same(customer, key, ledger):
    customer.send(key)
    drain_staged_jobs(10)
    JobDelivery.objects.update(set_aside_at=Now())
    IdempotencyKey.objects.update(journal=[])

    job_id = JobDelivery.objects.get().job_id
    assert put_back([job_id], who="Ada", reason="there is paper") == 1
    assert not ReviewDecision.objects.exists()
    assert "put back by Ada: there is paper" in JobDelivery.objects.get().last_error
