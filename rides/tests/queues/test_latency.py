"""How soon a job leaves after its commit, and how soon it is under way, on every queue."""

import random
import time
from statistics import median, quantiles

import pytest
from django.db.models import ExpressionWrapper, F, fields

from idempotency.models import JobDelivery
from rides.tests.queues.conftest import LATENCIES, nothing_is_owed, owe_receipts, wait_until
from rides.tests.queues.mail_server import Moment

pytestmark = pytest.mark.django_db(transaction=True)

JOBS = 40
LONGEST_GAP_SECONDS = 0.2
"""Jobs come at moments of their own, or they would fall into step with who polls for them."""

LEAVES_WITHIN_MS = 200


def test_a_job_leaves_within_200_ms_of_its_commit_at_the_median(queue, nursery):
    nursery.start("enqueuer")
    for _ in jobs_at_random_moments():
        owe_receipts(1)
    wait_until(lambda: JobDelivery.objects.count() == JOBS)

    waited = ExpressionWrapper(
        F("handed_over_at") - F("created_at"), output_field=fields.DurationField()
    )
    waits = [
        wait.total_seconds() * 1000
        for wait in JobDelivery.objects.filter(deliveries=1).values_list(waited, flat=True)
    ]

    note(queue, "staged to handed over", waits)
    assert median(waits) < LEAVES_WITHIN_MS


def test_a_job_is_under_way_soon_after_its_commit(queue, nursery, mail_server):
    under_way = {}

    def note_arrival(moment, recipient, port):
        if moment is Moment.OFFERED:
            under_way.setdefault(recipient, time.monotonic())
        return True

    mail_server.act = note_arrival
    committed = {}
    nursery.start("enqueuer")
    nursery.start("worker")
    owe_receipts(1)
    wait_until(nothing_is_owed)  # Celery's worker takes some seconds to come up
    for _ in jobs_at_random_moments():
        [ride] = owe_receipts(1)
        committed[ride.user.email] = time.monotonic()
    wait_until(nothing_is_owed)

    waits = [(under_way[email] - committed[email]) * 1000 for email in committed]

    note(queue, "commit to mail offered", waits)
    assert median(waits) < 2 * LEAVES_WITHIN_MS


def jobs_at_random_moments():
    for number in range(JOBS):
        time.sleep(random.uniform(0, LONGEST_GAP_SECONDS))
        yield number


def note(queue, way, waits) -> None:
    LATENCIES.append(
        f"{queue}: {way}: median {median(waits):.0f} ms, 95 % {quantiles(waits, n=20)[-1]:.0f} ms"
    )
