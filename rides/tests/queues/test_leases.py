"""Two workers with one job, on every queue: one that freezes past its lease, and two at once."""

import time
from threading import Event

import pytest

from idempotency.models import JobDelivery
from rides.tests.queues.conftest import (
    JOB_LIMIT_SECONDS,
    nothing_is_owed,
    owe_receipts,
    receipts_of,
    wait_until,
)
from rides.tests.queues.mail_server import Moment

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


@pytest.mark.parametrize("moment", Moment)
def test_a_worker_that_freezes_past_its_lease_keeps_nothing_when_it_wakes(
    queue, forker, mail_server, moment, tmp_path
):
    log = tmp_path / "forker.log"
    frozen = []

    def freeze_the_first(now, recipient, port):
        if now is moment and not frozen:
            frozen.append(forker.whose_is(port))
            forker.freeze(frozen[0])
        return True

    mail_server.act = freeze_the_first
    [ride] = owe_receipts(1)
    forker.start("enqueuer")
    forker.start("worker")
    wait_until(lambda: frozen)
    forker.start("worker")
    wait_until(nothing_is_owed)
    assert receipts_of([ride]) == [1]

    forker.thaw(frozen[0])
    # In a process of its own it is interrupted, since its time is over; a thread goes on.
    wait_until(lambda: "JobOverLimit" in log.read_text() or "JobLeaseLost" in log.read_text())
    rides = [ride, *owe_receipts(2)]
    wait_until(nothing_is_owed)

    assert receipts_of(rides) == [1, 1, 1]


def test_of_two_deliveries_at_once_one_sends_the_mail(queue, forker, mail_server):
    offered = Event()

    def take_long(moment, recipient, port):
        if moment is Moment.OFFERED and not offered.is_set():
            offered.set()
            time.sleep(JOB_LIMIT_SECONDS / 2)
        return True

    mail_server.act = take_long
    [ride] = owe_receipts(1)
    forker.start("enqueuer")
    wait_until(lambda: JobDelivery.objects.filter(deliveries=2).exists())
    for _ in range(2):
        forker.start("worker")

    wait_until(nothing_is_owed)

    assert receipts_of([ride]) == [1]
    assert mail_server.accepted[ride.user.email] == 1
