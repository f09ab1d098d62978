"""A queue that is another system: it gets its jobs after the commit, each on its own, and one that
is away was not asked."""

from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from django_tasks_db.compat import BaseTaskBackend

from idempotency.jobs import run_job
from idempotency.jobs.delivering import drain_staged_jobs, redeliver_overdue_jobs
from idempotency.jobs.enqueuing import Lookout
from idempotency.models import JobDelivery, StagedJob
from idempotency.testing.activity import in_transaction
from idempotency.testing.clock import let_time_pass
from idempotency.tests.tasks import note

pytestmark = [pytest.mark.django_db(transaction=True)]

REDELIVERY = timedelta(seconds=60)


class Broker(BaseTaskBackend):
    """Remembers what it was given, and refuses it as a broker would."""

    supports_priority = True

    def __init__(self, alias, params):
        super().__init__(alias, params)
        self.got = []
        self.times = []
        self.transactions = []
        self.is_away_after = None
        self.away = ConnectionError("The broker is away")
        self.refused = set()
        self.hung_up_on = set()

    def enqueue(self, task, args, kwargs):
        self.transactions.append(in_transaction(connection))
        if self.is_away_after == len(self.got):
            raise self.away
        if args[0] in self.hung_up_on:
            raise ConnectionResetError("The message is too large, and nobody says so")
        if args[0] in self.refused:
            raise ValueError("The message is too large")
        self.got.append(args[0])
        self.times.append(task.run_after)


class DeferringBroker(Broker):
    """Whose tasks may be for later; it never has to wait itself."""

    supports_defer = True


@pytest.fixture
def broker(settings):
    settings.TASKS = {"default": {"BACKEND": f"{__name__}.Broker"}}
    return run_job.get_backend()


def deliveries():
    return dict(JobDelivery.objects.values_list("job_id", "deliveries"))


def test_a_broker_gets_its_jobs_after_the_commit_with_no_transaction_open(stage, broker):
    ids = [str(stage(what=str(n))) for n in range(3)]

    assert drain_staged_jobs(10) == 3

    assert broker.got == ids
    assert broker.transactions == [False] * 3


def test_a_job_that_the_broker_refuses_keeps_its_error_and_the_rest_goes_on(stage, broker):
    before, refused, after = (stage(what=str(n)) for n in range(3))
    broker.refused.add(str(refused))

    drain_staged_jobs(10)

    assert broker.got == [str(before), str(after)]
    assert "ValueError" in JobDelivery.objects.get(job_id=refused).last_error
    let_time_pass(REDELIVERY)
    broker.refused.clear()
    redeliver_overdue_jobs(10)
    assert str(refused) in broker.got[2:]


def lost_connection():
    """What the driver raises of a queue in another database, whose server has gone."""
    other = connection.copy()
    with other.cursor() as cursor, pytest.raises(OperationalError) as raised:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    other.close()
    return raised.value


@pytest.mark.usefixtures("own_session")
@pytest.mark.parametrize("away", [lambda: ConnectionError("The broker is away"), lost_connection])
def test_what_a_broker_that_is_away_did_not_get_was_no_delivery_and_is_due_at_once(
    stage, broker, away
):
    got, *rest = (stage(what=str(n)) for n in range(3))
    broker.is_away_after, broker.away = 1, away()

    with pytest.raises(type(broker.away)):
        drain_staged_jobs(10)

    assert not StagedJob.objects.exists()
    assert deliveries() == {got: 1, rest[0]: 0, rest[1]: 0}
    broker.is_away_after = None
    assert redeliver_overdue_jobs(10) == 2
    assert sorted(broker.got[1:]) == sorted(map(str, rest))
    assert deliveries() == {got: 1, rest[0]: 1, rest[1]: 1}


def test_a_job_that_its_broker_hangs_up_on_is_not_an_outage_and_the_rest_goes_on(stage, broker):
    before, hung_up_on, after = (stage(what=str(n)) for n in range(3))
    broker.hung_up_on.add(str(hung_up_on))

    assert drain_staged_jobs(10) == 3

    assert broker.got == [str(before), str(after)]
    assert deliveries() == {before: 1, hung_up_on: 1, after: 1}
    assert "ConnectionResetError" in JobDelivery.objects.get(job_id=hung_up_on).last_error


def test_a_broker_that_is_away_holds_back_no_job_of_another_backend(stage, settings):
    settings.TASKS = {
        alias: {"BACKEND": f"{__name__}.Broker", "QUEUES": []} for alias in ("default", "bulk")
    }
    bulk, own = run_job.using(backend="bulk").get_backend(), run_job.get_backend()
    bulk.is_away_after = 0
    ids = [stage(job, what="one") for job in (note.using(backend="bulk"), note) * 2]

    with pytest.raises(ConnectionError):
        drain_staged_jobs(10)

    assert own.got == [str(ids[1]), str(ids[3])]
    assert deliveries() == {ids[0]: 0, ids[1]: 1, ids[2]: 0, ids[3]: 1}


def test_a_broker_that_is_away_holds_back_no_job_that_is_due_or_overdue(stage, settings):
    settings.TASKS = {
        alias: {"BACKEND": f"{__name__}.DeferringBroker"} for alias in ("default", "bulk")
    }
    run_job.using(backend="bulk").get_backend().is_away_after = 0
    overdue = stage(what="overdue")
    Lookout().enqueue(10)
    due = stage(note.using(run_after=timezone.now() + REDELIVERY), what="due")
    let_time_pass(REDELIVERY)
    stage(note.using(backend="bulk"), what="away")

    with pytest.raises(ConnectionError):
        Lookout().enqueue(10)

    assert run_job.get_backend().got == [str(overdue), str(due), str(overdue)]


def test_a_broker_gets_a_job_for_later_in_its_time_and_without_it(stage, settings):
    settings.TASKS = {"default": {"BACKEND": f"{__name__}.DeferringBroker"}}
    broker = run_job.get_backend()
    job_id = stage(note.using(run_after=timezone.now() + REDELIVERY), what="later")
    drain_staged_jobs(10)
    assert broker.got == []
    let_time_pass(REDELIVERY)

    drain_staged_jobs(10)

    assert broker.got == [str(job_id)]
    assert broker.times == [None]


def test_an_outage_of_a_broker_uses_up_no_delivery(stage, broker, settings):
    settings.IDEMPOTENCY = {"MAX_DELIVERIES": 3}
    job_id = stage(what="patient")
    drain_staged_jobs(10)
    let_time_pass(REDELIVERY)
    redeliver_overdue_jobs(10)
    assert deliveries() == {job_id: 2}
    broker.is_away_after = 2
    let_time_pass(2 * REDELIVERY)

    for _ in range(5):
        with pytest.raises(ConnectionError):
            redeliver_overdue_jobs(10)

    assert deliveries() == {job_id: 2}
    broker.is_away_after = None
    assert redeliver_overdue_jobs(10) == 1
    assert JobDelivery.objects.get().set_aside_at is None
