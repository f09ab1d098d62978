"""An event that was answered 200 is never lost, and one that was not comes again and does no harm:
whatever happens to the process that receives it, at every boundary of what it does.
"""

import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any

import psutil
import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test import Client

from idempotency.models import IdempotencyKey, StagedJob
from idempotency.testing.faults import Fault
from idempotency.testing.mishaps import Crash, do_and_crash
from idempotency.workers.completing import complete_due_keys
from rides.models import Ride, StripeEvent
from rides.operations import CreateRide
from rides.tests.booking import BOOKED, CHARGING, ask, lock, the_key
from rides.tests.hooking import WEBHOOK, about_payment, all_delivered, event, send
from rides.tests.processes import WEBHOOK_SECRET, Api, running_api
from sandbox.supervisor import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

AN_HOUR = timedelta(hours=1)
FAULTS = [Fault.RAISE, Fault.DISCONNECT, Fault.ABORT, Fault.KILL, Fault.FREEZE]
SUCCEEDED = "payment_intent.succeeded"
SOMEBODY_WAITS = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"


@pytest.fixture(autouse=True)
def credential(settings) -> None:
    settings.IDEMPOTENCY = {
        **settings.IDEMPOTENCY,
        "AUTHENTICATE": "rides.authentication.demo_rider",
    }
    settings.STRIPE_WEBHOOK_SECRETS = [WEBHOOK_SECRET]


@pytest.fixture
def unknown(stand_in, riders):
    """A booking whose charge was made, and whose answer nobody heard."""
    stand_in.add_fault("reset_after", times=2, path=CHARGING)
    assert ask().status_code == 503


def of_a_payment() -> dict[str, Any]:
    return event(SUCCEEDED, about_payment(Ride.objects.get()))


def of_a_payment_in_hand() -> dict[str, Any]:
    lock(the_key(), seconds_ago=0)
    return of_a_payment()


def of_a_refund() -> dict[str, Any]:
    return event("refund.created", {"id": "re_1", "object": "refund"})


def is_due() -> bool:
    return IdempotencyKey.objects.filter(run_after__lte=Now()).count() == 1


def has_job(name: str) -> bool:
    return [job.job_name for job in StagedJob.objects.all()] == [name]


OWED: dict[Callable[[], dict[str, Any]], Callable[[], bool]] = {
    of_a_payment: is_due,
    of_a_payment_in_hand: partial(has_job, "idempotency.workers.soon.look_again"),
    of_a_refund: partial(has_job, "rides.webhooks.tasks.record_reversal"),
}
"""What each event asks for, and how it is seen to be owed, once."""


def status_of(told: dict[str, Any]) -> int:
    status: int = send(told, client=Client(raise_request_exception=False)).status_code
    return status


@pytest.mark.usefixtures("unknown")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("make", OWED)
def test_an_event_survives_a_fault_at_every_boundary(make, fault):
    struck = 0
    for at in count(1):
        StripeEvent.objects.all().delete()
        StagedJob.objects.all().delete()
        IdempotencyKey.objects.update(locked_at=None, run_after=Now() + AN_HOUR)
        told = make()

        done = do_and_crash(partial(status_of, told), Crash(fault, at), CreateRide)
        if done.answer == 200:
            assert OWED[make](), f"answered and not owed: {fault} at {at}"
        else:
            assert status_of(told) == 200
        if done.frozen:
            done.frozen.thaw()
            done.frozen.wait()
            done.frozen.result()

        assert OWED[make](), f"{fault} at {at}"
        assert StripeEvent.objects.count() == 1
        if done.answer == 200 and not done.was_struck:
            break  # it came to no boundary with that number any more
        struck += 1
    assert struck >= 6


@pytest.fixture
def mortal_api(stand_in, tmp_path) -> Iterator[Api]:
    with running_api(stand_in, tmp_path) as api:
        yield api


@pytest.mark.not_in_a_cell("it looks for a waiting session, which is the node's")
def test_an_event_whose_receiver_is_killed_comes_again(stand_in, mortal_api):
    assert ask(rider="user-3ds@example.com").status_code == 202
    stand_in.send_events_to(f"{mortal_api.url}{WEBHOOK}", WEBHOOK_SECRET)
    with transaction.atomic():
        key = IdempotencyKey.objects.select_for_update().get()
        stand_in.settle(key.foreign_reference, succeeds=True)
        wait_until(is_waited_for)
        for worker in psutil.Process(mortal_api.process.pid).children():
            worker.send_signal(signal.SIGKILL)
        wait_until(lambda: 0 in stand_in.events(SUCCEEDED)[0]["answers"])
        assert not StripeEvent.objects.exists()

    [ended] = all_delivered(stand_in, SUCCEEDED)

    assert ended["answers"][0] == 0
    assert complete_due_keys(10).counts["succeeded"] == 1
    answer = ask(rider="user-3ds@example.com")
    assert (answer.status_code, answer.json()) == (201, BOOKED)


def is_waited_for() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(SOMEBODY_WAITS)
        return bool(cursor.fetchone()[0])


def test_an_event_that_was_answered_outlives_its_receiver(stand_in, mortal_api):
    assert ask(rider="user-3ds@example.com").status_code == 202
    stand_in.send_events_to(f"{mortal_api.url}{WEBHOOK}", WEBHOOK_SECRET)
    stand_in.settle(the_key().foreign_reference, succeeds=True)
    all_delivered(stand_in, SUCCEEDED)

    mortal_api.kill()

    assert complete_due_keys(10).counts["succeeded"] == 1
