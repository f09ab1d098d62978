"""What an author asks of the queue with `task.using(…)`: kept, given back at every hand-over, and
refused in the author's own line where the queue cannot do it."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, transaction
from django.utils import timezone
from django_tasks_db.models import DBTaskResult, get_date_max

from idempotency import stage_job
from idempotency.exceptions import JobUnknown, StagedOutsideTransaction
from idempotency.jobs import run_job
from idempotency.jobs.delivering import drain_staged_jobs, put_back, redeliver_overdue_jobs
from idempotency.jobs.enqueuing import Lookout
from idempotency.models import JobDelivery, StagedJob
from idempotency.support.compat import InvalidTask, Task
from idempotency.testing.clock import let_time_pass
from idempotency.testing.queue import run_queued_jobs
from idempotency.tests import tasks
from idempotency.tests.bookshop import audit_trail
from idempotency.tests.tasks import note, note_in_a_coroutine, note_urgently

pytestmark = pytest.mark.django_db(transaction=True)

FRAMEWORK = Task.__module__.removesuffix(".base")  # Django's own, or the package for 5.2
AN_HOUR = timedelta(hours=1)
REDELIVERY = timedelta(seconds=60)


@pytest.fixture
def queues(settings):
    """Two backends, with queues of any name."""
    backend = {**settings.TASKS["default"], "QUEUES": []}
    settings.TASKS = {"default": backend, "bulk": backend}


def in_an_hour(job=note):
    return job.using(run_after=timezone.now() + AN_HOUR)


def handed_over():
    """What was asked with each hand-over, in the order of the queue."""
    rows = DBTaskResult.objects.order_by("enqueued_at")
    return list(rows.values_list("priority", "queue_name", "backend_name"))


def seconds_until_due():
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM run_after - now()) FROM idempotency_stagedjob")
        return round(cursor.fetchone()[0])


# Priority, queue and backend.


def test_what_was_asked_goes_with_the_hand_over_and_with_those_after_a_loss(stage, queues):
    stage(note.using(priority=-7, queue_name="letters", backend="bulk"), what="asked")

    drain_staged_jobs(10)
    let_time_pass(REDELIVERY)
    assert redeliver_overdue_jobs(10) == 1

    assert handed_over() == [(-7, "letters", "bulk")] * 2


def test_what_was_asked_is_asked_again_when_a_person_puts_the_job_back(stage, queues):
    job_id = stage(note.using(priority=7), what="asked")
    drain_staged_jobs(10)
    JobDelivery.objects.update(set_aside_at=timezone.now())

    put_back([job_id], who="Ada", reason="again")
    redeliver_overdue_jobs(10)

    assert handed_over() == [(7, "default", "default")] * 2


def test_what_was_not_asked_is_the_tasks_own_when_it_is_handed_over(stage, queues, monkeypatch):
    """A deploy that gives a task another queue takes along the jobs that wait."""
    stage(note_urgently)
    stage(note_urgently.using(priority=0))
    moved = note_urgently.using(priority=60, queue_name="letters")
    monkeypatch.setattr(tasks, "note_urgently", moved)

    drain_staged_jobs(10)

    assert handed_over() == [(60, "letters", "default"), (0, "letters", "default")]


def test_a_backend_that_a_deploy_took_away_blocks_nobody_and_may_come_back(stage, queues, settings):
    everything = settings.TASKS
    stranded = stage(note.using(backend="bulk"), what="stranded")
    stage(what="other")
    settings.TASKS = {"default": everything["default"]}

    assert drain_staged_jobs(10) == 2

    assert handed_over() == [(0, "default", "default")]
    assert "InvalidTaskBackend" in JobDelivery.objects.get(job_id=stranded).last_error
    settings.TASKS = everything
    let_time_pass(REDELIVERY)
    redeliver_overdue_jobs(10)
    assert (0, "default", "bulk") in handed_over()


@pytest.mark.parametrize(
    "refused",
    [{"priority": 101}, {"priority": -101}, {"priority": 1.5}, {"queue_name": "unknown"}],
    ids=str,
)
def test_what_the_queue_cannot_do_is_refused_where_it_is_asked(refused):
    with pytest.raises(InvalidTask):
        note.using(**refused)


def test_a_task_that_its_queue_no_longer_takes_is_refused_where_it_is_staged(queues, settings):
    asked = note.using(queue_name="letters")
    settings.TASKS = {"default": {**settings.TASKS["default"], "QUEUES": ["default"]}}

    with pytest.raises(InvalidTask, match="letters"), transaction.atomic():
        stage_job(asked, what="too late", user_id=1)

    assert not StagedJob.objects.exists()


def test_a_task_that_its_name_does_not_lead_to_is_refused_where_it_is_staged(monkeypatch):
    monkeypatch.setattr(tasks, "note", lambda what, user_id: None)

    with pytest.raises(JobUnknown, match="note is not a task"), transaction.atomic():
        stage_job(note, what="lost", user_id=1)


def test_a_hook_cannot_stage_a_job(stage):
    """It runs after the commit, with nothing left to commit with."""
    with pytest.raises(StagedOutsideTransaction), transaction.atomic():
        transaction.on_commit(lambda: stage_job(note, what="late", user_id=1))


# For later.


def test_a_job_for_later_is_staged_until_its_time_and_then_handed_over_without_it(stage):
    job_id = stage(in_an_hour(), what="later")
    stage(what="now")

    assert drain_staged_jobs(10) == 1
    let_time_pass(AN_HOUR - timedelta(seconds=5))
    assert drain_staged_jobs(10) == 0
    let_time_pass(timedelta(seconds=5))
    assert drain_staged_jobs(10) == 1

    assert {result.run_after for result in DBTaskResult.objects.all()} == {get_date_max()}
    delivery = JobDelivery.objects.get(job_id=job_id)
    assert delivery.handed_over_at >= delivery.run_after
    run_queued_jobs(10)
    assert audit_trail() == ["now", "later"]


def test_the_enqueuer_hands_a_job_over_within_a_look_of_its_time(stage):
    """The look after the first is the usual one, as it is made ten times a second."""
    lookout = Lookout()
    stage(in_an_hour(), what="later")
    assert lookout.enqueue(10).total == 0
    let_time_pass(AN_HOUR)

    assert lookout.enqueue(10).total == 1


def test_a_job_whose_time_came_while_no_enqueuer_ran_is_found_by_its_first_look(stage):
    stage(in_an_hour(), what="later")
    let_time_pass(AN_HOUR * 30)

    assert Lookout().enqueue(10).total == 1


def test_jobs_of_the_same_time_are_handed_over_batch_by_batch(stage):
    same = in_an_hour()
    for n in range(5):
        stage(same, what=str(n))
    let_time_pass(AN_HOUR * 2)
    lookout = Lookout()

    assert [lookout.enqueue(2).total for _ in range(4)] == [2, 2, 1, 0]


def test_a_limit_holds_for_both_kinds_of_jobs_together(stage):
    for n in range(3):
        stage(in_an_hour(), what=str(n))
    let_time_pass(AN_HOUR)
    for n in range(3):
        stage(what=str(n))

    assert [drain_staged_jobs(2) for _ in range(4)] == [2, 2, 2, 0]


def test_a_time_that_is_over_asks_for_nothing(stage):
    stage(note.using(run_after=timezone.now() - AN_HOUR), what="now")

    assert StagedJob.objects.get().run_after is None
    assert drain_staged_jobs(10) == 1


def test_a_time_is_the_same_moment_in_any_zone_and_in_the_hour_that_comes_twice(stage):
    """The author's date is believed, however far ahead."""
    second = datetime(2099, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Amsterdam"), fold=1)

    stage(note.using(run_after=second), what="winter time")

    assert StagedJob.objects.get().run_after == datetime(2099, 10, 25, 1, 30, tzinfo=UTC)


def test_a_time_without_a_zone_is_refused_where_django_wants_one():
    with pytest.raises(InvalidTask, match="aware"):
        note.using(run_after=datetime(2099, 1, 1))  # noqa: DTZ001


def test_without_time_zones_a_time_is_that_of_the_settings(stage, settings):
    settings.USE_TZ = False
    settings.TIME_ZONE = "America/New_York"

    stage(in_an_hour(), what="later")

    assert 3590 <= seconds_until_due() <= 3600
    assert Lookout().enqueue(10).total == 0
    let_time_pass(AN_HOUR)
    assert Lookout().enqueue(10).total == 1


def test_a_length_of_time_is_refused_and_not_taken_for_a_time(settings, stage):
    settings.USE_TZ = False

    with pytest.raises(InvalidTask, match="must be a datetime, and is a timedelta"):
        stage(note.using(run_after=AN_HOUR), what="later")


def test_the_end_of_all_times_is_refused_where_it_could_not_be_read_again(stage):
    never = datetime.max.replace(tzinfo=UTC)
    stage(note.using(run_after=never), what="never")
    assert StagedJob.objects.get().run_after == never

    with pytest.raises(InvalidTask, match="out of range"):
        stage(note.using(run_after=never.replace(tzinfo=ZoneInfo("Etc/GMT+1"))), what="never")


def test_the_end_of_all_times_in_the_zone_of_the_settings_is_refused_too(stage, settings):
    settings.USE_TZ = False
    settings.TIME_ZONE = "Asia/Tokyo"

    with pytest.raises(InvalidTask, match="out of range, in UTC or in Asia/Tokyo"):
        stage(note.using(run_after=datetime.max.replace(tzinfo=UTC)), what="never")


def test_two_enqueuers_take_different_jobs_that_are_due(stage, elsewhere):
    for n in range(4):
        stage(in_an_hour(), what=str(n))
    let_time_pass(AN_HOUR)

    with transaction.atomic():
        assert drain_staged_jobs(2) == 2
        assert elsewhere(drain_staged_jobs, 10).result(timeout=5) == 2

    assert JobDelivery.objects.count() == len(handed_over()) == 4


# Other backends.


def test_a_backend_that_runs_jobs_at_once_does_so_when_they_are_handed_over(stage, settings):
    settings.TASKS = {"default": {"BACKEND": f"{FRAMEWORK}.backends.immediate.ImmediateBackend"}}
    stage(what="at once")

    drain_staged_jobs(10)

    assert audit_trail() == ["at once"]
    assert not JobDelivery.objects.exists()


def test_a_backend_that_runs_nothing_gets_what_was_asked(stage, settings):
    settings.TASKS = {"default": {"BACKEND": f"{FRAMEWORK}.backends.dummy.DummyBackend"}}
    job_id = stage(note.using(priority=3), what="nothing")

    drain_staged_jobs(10)

    [result] = run_job.get_backend().results
    assert (result.args[0], result.task.priority) == (str(job_id), 3)


def test_a_coroutine_takes_options_and_is_settled_like_any_job(stage):
    stage(note_in_a_coroutine.using(priority=3))

    drain_staged_jobs(10)
    assert run_queued_jobs(10).succeeded == 1

    assert audit_trail() == ["awaited"]
    assert not JobDelivery.objects.exists()
