"""A job on its way to the queue: staged with its phase, invisible until that commits, then handed
over, exactly once and with nobody in between."""

from datetime import timedelta
from threading import Event

import pytest
from django.db import connection, transaction
from django_tasks_db.models import DBTaskResult

from idempotency import stage_job
from idempotency.exceptions import StagedOutsideTransaction
from idempotency.jobs.delivering import drain_staged_jobs, redeliver_overdue_jobs
from idempotency.models import JobDelivery, StagedJob
from idempotency.testing.clock import let_time_pass
from idempotency.testing.queue import run_queued_jobs
from idempotency.tests import tasks
from idempotency.tests.bookshop import audit_trail, send_confirmation
from idempotency.tests.tasks import note, note_urgently

pytestmark = pytest.mark.django_db(transaction=True)

REDELIVERY = timedelta(seconds=60)


def not_a_task() -> None:
    raise AssertionError("nobody runs this")


def queued():
    """The ids of the jobs in the queue, in its order."""
    results = DBTaskResult.objects.order_by("enqueued_at")
    return [result.args_kwargs["args"][0] for result in results]


def delivered():
    return [str(job_id) for job_id in JobDelivery.objects.values_list("job_id", flat=True)]


# Staging.


def test_a_staged_job_is_invisible_until_its_transaction_commits(stage, elsewhere):
    with transaction.atomic():
        stage(what="one")
        assert elsewhere(drain_staged_jobs, 10).result(timeout=5) == 0

    assert drain_staged_jobs(10) == 1


def test_a_job_of_a_transaction_that_is_rolled_back_is_never_sent(stage):
    with transaction.atomic():
        stage(what="one")
        transaction.set_rollback(True)

    assert drain_staged_jobs(10) == 0
    assert queued() == []


def test_a_job_cannot_be_staged_outside_a_transaction():
    with pytest.raises(StagedOutsideTransaction, match="send_confirmation"):
        stage_job(send_confirmation, title="Emma")


def test_arguments_must_be_json():
    with pytest.raises(TypeError), transaction.atomic():
        stage_job(note, what=object())

    assert not StagedJob.objects.exists()


# Handing over.


def test_a_drain_hands_over_what_it_removes_and_leaves_a_record(stage):
    job_id = stage(what="one")

    assert drain_staged_jobs(10) == 1

    assert not StagedJob.objects.exists()
    assert queued() == delivered() == [str(job_id)]
    record = JobDelivery.objects.get()
    assert (record.deliveries, record.last_error, record.set_aside_at) == (1, "", None)
    assert record.job_args["kwargs"]["what"] == "one"


def test_jobs_are_handed_over_in_the_order_of_their_staging(stage):
    job_ids = [str(stage(what=str(n))) for n in range(5)]

    assert [drain_staged_jobs(2) for _ in range(4)] == [2, 2, 1, 0]
    assert queued() == job_ids


def test_a_job_that_commits_late_is_not_lost(stage, elsewhere):
    """Its id is lower than that of a job which was drained before it could be seen."""
    staged, may_commit = Event(), Event()

    def stage_and_linger():
        with transaction.atomic():
            job_id = stage(what="slow")
            staged.set()
            assert may_commit.wait(timeout=10)
        return job_id

    def let_it_commit_after_the_first_statement(execute, *call):
        result = execute(*call)
        may_commit.set()
        slow.result(timeout=10)
        return result

    slow = elsewhere(stage_and_linger)
    assert staged.wait(timeout=10)
    quick = stage(what="quick")
    with connection.execute_wrapper(let_it_commit_after_the_first_statement):
        assert drain_staged_jobs(10) == 1
    assert delivered() == [str(quick)]

    assert drain_staged_jobs(10) == 1
    assert sorted(delivered()) == sorted([str(quick), str(slow.result())])


def test_two_enqueuers_take_different_jobs(stage, elsewhere):
    for n in range(4):
        stage(what=str(n))

    with transaction.atomic():
        assert drain_staged_jobs(2) == 2
        assert elsewhere(drain_staged_jobs, 10).result(timeout=5) == 2

    assert len(set(queued())) == len(queued()) == 4


def test_a_drain_that_dies_has_removed_nothing(stage):
    stage(what="one")
    with transaction.atomic():
        assert drain_staged_jobs(10) == 1
        transaction.set_rollback(True)

    assert queued() == delivered() == []
    assert drain_staged_jobs(10) == 1


def test_a_job_keeps_the_priority_of_its_task(stage):
    stage(what="later")
    stage(note_urgently)
    drain_staged_jobs(10)

    run_queued_jobs(10)

    assert audit_trail() == ["urgent", "later"]


@pytest.mark.parametrize(
    "name", ["gone.task", "idempotency.tests.tasks.gone", f"{__name__}.not_a_task"]
)
def test_a_job_that_no_code_knows_blocks_nobody_and_is_set_aside_after_the_usual_tries(
    stage, name, settings
):
    """A newer version may have staged it, and its enqueuer is about to come."""
    settings.IDEMPOTENCY = {"MAX_DELIVERIES": 2}
    stage(what="poison")
    StagedJob.objects.update(job_name=name)
    good = stage(what="good")

    drain_staged_jobs(10)

    assert queued() == [str(good)]
    poison = JobDelivery.objects.filter(job_name=name)
    assert poison.get().last_error
    assert poison.get().set_aside_at is None
    JobDelivery.objects.exclude(job_name=name).delete()
    let_time_pass(REDELIVERY)
    assert redeliver_overdue_jobs(10) == 1
    let_time_pass(2 * REDELIVERY)
    assert redeliver_overdue_jobs(10) == 0
    assert poison.get().set_aside_at is not None
    assert poison.get().last_error


def test_a_job_whose_task_does_not_take_its_arguments_keeps_its_error(stage):
    stage(note_urgently, colour="red")

    drain_staged_jobs(10)

    assert queued() == []
    assert "colour" in JobDelivery.objects.get().last_error


@pytest.mark.parametrize("arguments", [[], {"args": []}, {"args": 7, "kwargs": {}}, "args"])
def test_a_job_whose_arguments_nobody_can_read_blocks_nobody(stage, arguments):
    """Another version wrote it, or a person did."""
    poison = stage(what="poison")
    StagedJob.objects.update(job_args=arguments)
    good = stage(what="good")

    drain_staged_jobs(10)

    assert queued() == [str(good)]
    assert JobDelivery.objects.get(job_id=poison).last_error


def test_a_job_that_its_queue_refuses_blocks_nobody(stage, settings, monkeypatch):
    """The column of the queue's table has room for 32 characters, and the database refuses more."""
    settings.TASKS = {"default": {**settings.TASKS["default"], "QUEUES": []}}
    monkeypatch.setattr(tasks, "note_urgently", note_urgently.using(queue_name="q" * 35))
    stage(what="before")
    refused = stage(tasks.note_urgently)
    stage(what="after")

    assert drain_staged_jobs(10) == 3

    assert len(queued()) == 2
    assert len(delivered()) == 3
    assert "StringDataRightTruncation" in JobDelivery.objects.get(job_id=refused).last_error


def test_a_job_that_its_queue_refuses_each_time_is_set_aside_and_the_rest_is_delivered_again(
    stage, settings
):
    settings.TASKS = {"default": {**settings.TASKS["default"], "QUEUES": []}}
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "MAX_DELIVERIES": 2}
    refused = stage(note.using(queue_name="q" * 35), what="refused")
    other = stage(what="other")
    drain_staged_jobs(10)

    let_time_pass(REDELIVERY)
    assert redeliver_overdue_jobs(10) == 2
    assert queued() == [str(other)] * 2
    run_queued_jobs(10)
    let_time_pass(2 * REDELIVERY)
    assert redeliver_overdue_jobs(10) == 0

    aside = JobDelivery.objects.get()
    assert (aside.job_id, aside.set_aside_at is None) == (refused, False)
    assert "StringDataRightTruncation" in aside.last_error
    assert audit_trail() == ["other"]


MODULE_OF_ANOTHER_DEPLOY = """
from idempotency.support.compat import task

@task(backend="bulk", queue_name="bulk")
def export(what, user_id): ...
"""


def test_a_job_whose_task_names_a_backend_that_there_is_not_blocks_nobody(
    stage, tmp_path, monkeypatch, settings
):
    """Its module cannot even be imported here."""
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "MAX_DELIVERIES": 1}
    (tmp_path / "module_of_another_deploy.py").write_text(MODULE_OF_ANOTHER_DEPLOY)
    monkeypatch.syspath_prepend(tmp_path)
    poison = stage(what="poison")
    StagedJob.objects.update(job_name="module_of_another_deploy.export")
    good = stage(what="good")

    assert drain_staged_jobs(10) == 2

    assert queued() == [str(good)]
    JobDelivery.objects.exclude(job_id=poison).delete()
    let_time_pass(REDELIVERY)
    assert redeliver_overdue_jobs(10) == 0
    aside = JobDelivery.objects.get()
    assert aside.set_aside_at is not None
    assert "InvalidTaskBackend" in aside.last_error


def test_a_job_is_handed_to_the_backend_that_its_task_names(stage, settings, monkeypatch):
    settings.TASKS = {**settings.TASKS, "bulk": settings.TASKS["default"]}
    monkeypatch.setattr(tasks, "note_urgently", note_urgently.using(backend="bulk"))
    stage(tasks.note_urgently)

    drain_staged_jobs(10)

    assert DBTaskResult.objects.get().backend_name == "bulk"
