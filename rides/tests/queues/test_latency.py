"""How soon a job leaves after its commit, and how soon it is under way, on every queue."""

import random
import time
from datetime import timedelta
from statistics import median, quantiles

import pytest
from django.db.models import ExpressionWrapper, F, fields
from django.utils import timezone

from idempotency.models import JobDelivery
from rides.tasks import send_ride_receipt
from rides.tests.queues.conftest import LATENCIES, nothing_is_owed, owe_receipts, wait_until
from rides.tests.queues.mail_server import Moment

pytestmark = pytest.mark.django_db(transaction=True)

JOBS = 40
LONGEST_GAP_SECONDS = 0.2
"""Jobs come at moments of their own, or they would fall into step with who polls for them."""

LEAVES_WITHIN_MS = 200


def test_a_job_leaves_within_200_ms_of_its_commit_at_the_median(queue, forker):
    forker.start("enqueuer")
    for _ in jobs_at_random_moments():
        owe_receipts(1)
    wait_until(lambda: JobDelivery.objects.count() == JOBS)

    waits = milliseconds_since("created_at")

    note(queue, "staged to handed over", waits)
    assert median(waits) < LEAVES_WITHIN_MS


def test_a_job_for_later_leaves_within_a_second_of_its_time_and_never_before(queue, forker):
    forker.start("enqueuer")
    for number in range(JOBS):
        in_a_while = timezone.now() + timedelta(seconds=2 + number * LONGEST_GAP_SECONDS / 2)
        owe_receipts(1, send_ride_receipt.using(run_after=in_a_while))
    wait_until(lambda: JobDelivery.objects.count() == JOBS)

    waits = milliseconds_since("run_after")

    note(queue, "its time to handed over", waits)
    assert min(waits) >= 0
    assert max(waits) < 1_000


def test_a_job_is_under_way_soon_after_its_commit(queue, forker, mail_server):
    under_way = {}

    def note_arrival(moment, recipient, port):
        if moment is Moment.OFFERED:
            under_way.setdefault(recipient, time.monotonic())
        return True

    mail_server.act = note_arrival
    committed = {}
    forker.start("enqueuer")
    forker.start("worker")
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


def milliseconds_since(begin: str) -> list[float]:
    """How long each job then waited until it was handed over for the first time."""
    waited = ExpressionWrapper(F("handed_over_at") - F(begin), output_field=fields.DurationField())
    first = JobDelivery.objects.filter(deliveries=1)
    return [wait.total_seconds() * 1000 for wait in first.values_list(waited, flat=True)]


def note(queue, way, waits) -> None:
    LATENCIES.append(
        f"{queue}: {way}: median {median(waits):.0f} ms, 95 % {quantiles(waits, n=20)[-1]:.0f} ms"
    )
