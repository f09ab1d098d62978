"""Sessions that are stricter than READ COMMITTED, by the role or the settings of a project: claims
that meet are run again, and nobody notices.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, connections

from idempotency.claims import take_over_next_due_key
from idempotency.jobs.delivering import drain_staged_jobs
from idempotency.jobs.leases import lease_delivery
from idempotency.models import IdempotencyKey, JobDelivery, StagedJob
from idempotency.testing.clock import let_time_pass
from idempotency.tests.bookshop import Death, orders
from idempotency.workers.reaping import reap_finished_keys, remove_tombstones

pytestmark = pytest.mark.django_db(transaction=True)

GRACE = timedelta(seconds=300)
RETENTION = timedelta(hours=72)
TOMBSTONE_RETENTION = timedelta(days=90)
REQUESTS = WORKERS = 8
BATCHERS = 3
KEYS = 40


@pytest.fixture(params=["repeatable read", "serializable"], autouse=True)
def strict_sessions(request):
    """The sessions of every process that connects from here on, as an operator would set it."""
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute(
            f"ALTER DATABASE {name} SET default_transaction_isolation = '{request.param}'"
        )
    connection.close()
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} RESET default_transaction_isolation")
    connection.close()


def in_threads(work, count):
    """What each of so many returned that did it at once."""

    def in_thread(number):
        try:
            return work(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(in_thread, range(count)))


def test_duplicates_are_answered_201_or_409(customer, key, ledger):
    for number in range(10):
        answers = in_threads(lambda _, n=number: customer.send(f"{key}-{n}"), REQUESTS)

        assert {answer.status_code for answer in answers} <= {201, 409}
        assert customer.send(f"{key}-{number}").status_code == 201
    assert len(orders()) == len(ledger.payments) == 10


def test_retries_of_an_abandoned_request_are_answered_201_or_409(customer, key, ledger):
    for number in range(5):
        with pytest.raises(Death):
            customer.send(f"{key}-{number}", dies_in="pay")
    let_time_pass(GRACE)

    for number in range(5):
        answers = in_threads(lambda _, n=number: customer.send(f"{key}-{n}"), REQUESTS)

        assert {answer.status_code for answer in answers} <= {201, 409}
    assert len(orders()) == len(ledger.payments) == 5


def test_no_completer_ends_because_of_another(customer, key, ledger):
    for number in range(KEYS):
        with pytest.raises(Death):
            customer.send(f"{key}-{number}", dies_in="pay")
    let_time_pass(GRACE)

    def take_all(_):
        return len(list(iter(take_over_next_due_key, None)))

    assert sum(in_threads(take_all, WORKERS)) == KEYS
    assert set(IdempotencyKey.objects.values_list("attempt", flat=True)) == {2}


def test_no_reaper_ends_because_of_another(customer, key, ledger):
    for number in range(KEYS):
        customer.send(f"{key}-{number}")
    let_time_pass(RETENTION)

    reaped = in_threads(lambda _: sum(iter(lambda: reap_finished_keys(8), 0)), BATCHERS)
    let_time_pass(TOMBSTONE_RETENTION)
    removed = in_threads(lambda _: sum(iter(lambda: remove_tombstones(8), 0)), BATCHERS)

    assert (sum(reaped), sum(removed)) == (KEYS, KEYS)
    assert not IdempotencyKey.objects.exists()


def test_no_enqueuer_ends_because_of_another(customer, key, ledger):
    for number in range(KEYS):
        customer.send(f"{key}-{number}")

    taken = in_threads(lambda _: sum(iter(lambda: drain_staged_jobs(8), 0)), BATCHERS)

    assert sum(taken) == KEYS
    assert (StagedJob.objects.count(), JobDelivery.objects.count()) == (0, KEYS)


def test_a_job_that_is_delivered_to_many_at_once_is_done_by_one(customer, key, ledger):
    customer.send(key)
    job = StagedJob.objects.get()
    drain_staged_jobs(1)

    leased = in_threads(lambda _: lease_delivery(str(job.job_id), GRACE), WORKERS)

    assert len([lease for lease in leased if lease]) == 1
