"""What has ended at Stripe is settled soon after its event, by the claim and the fence of ever.

The stand-in sends the events, over sockets, to the API as the Procfile runs it. No time passes but
where a test says so: what is finished here is finished for the event's sake.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from idempotency.models import IdempotencyKey, StagedJob
from idempotency.testing.clock import let_time_pass
from idempotency.testing.queue import JobsRun
from idempotency.workers.completing import complete_due_keys
from rides.models import Ride, StripeEvent
from rides.payments.statuses import PAYMENTS
from rides.tests.booking import BOOKED, CHARGING, RIDER, ask, lock, the_key
from rides.tests.hooking import WEBHOOK, about_payment, all_delivered, event, run_jobs, send
from rides.tests.processes import WEBHOOK_SECRET, running_command
from rides.tests.reviewing import left_with_us, put_on_the_list
from sandbox.supervisor import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders", "hooked")]

RIDER_WITH_3DS = "user-3ds@example.com"
LOOK = PAYMENTS["requires_action"].ask_again_in
LOCK_TIMEOUT = timedelta(seconds=90)
SUCCEEDED = "payment_intent.succeeded"


@pytest.fixture(autouse=True)
def credential(settings) -> None:
    settings.IDEMPOTENCY = {
        **settings.IDEMPOTENCY,
        "AUTHENTICATE": "rides.authentication.demo_rider",
    }
    settings.STRIPE_WEBHOOK_SECRETS = [WEBHOOK_SECRET]


@pytest.fixture
def hooked(api, stand_in) -> None:
    """The stand-in sends its events to the API."""
    stand_in.send_events_to(f"{api.url}{WEBHOOK}", WEBHOOK_SECRET)


@pytest.fixture
def asked(stand_in, riders):
    """A booking whose rider is asked by their bank; the payment's id."""
    assert ask(rider=RIDER_WITH_3DS).status_code == 202
    return the_key().foreign_reference


@pytest.fixture
def unknown(stand_in, riders):
    """A booking whose charge was made, and whose answer nobody heard. Its event is late."""
    stand_in.add_fault("event_late", path=SUCCEEDED, seconds=0.5)
    stand_in.add_fault("reset_after", times=2, path=CHARGING)
    assert ask().status_code == 503


def told(rider=RIDER_WITH_3DS):
    answer = ask(rider=rider)
    return answer.status_code, answer.json()


def completed():
    """How many requests the completer finds due, and goes on with."""
    return sum(complete_due_keys(10).details.values())


def events_in_the_journal():
    return [entry["event"] for entry in the_key().journal]


# On time.


def test_a_rider_who_confirms_at_the_bank_flies_at_the_event(asked, stand_in):
    assert completed() == 0
    stand_in.settle(asked, succeeds=True)
    all_delivered(stand_in, SUCCEEDED)

    assert completed() == 1

    assert the_key().is_finished
    assert told() == (201, BOOKED)
    assert left_with_us(stand_in) == 2000


def test_a_rider_who_refuses_there_is_refused_at_the_event(asked, stand_in):
    stand_in.settle(asked, succeeds=False)
    all_delivered(stand_in, "payment_intent.payment_failed")

    assert completed() == 1

    assert told()[0] == 402
    assert left_with_us(stand_in) == 0


def test_a_client_who_retries_at_the_event_is_answered_without_the_completer(asked, stand_in):
    stand_in.settle(asked, succeeds=True)
    all_delivered(stand_in, SUCCEEDED)

    assert told() == (201, BOOKED)


@pytest.mark.parametrize(("succeeds", "status"), [(True, 201), (False, 402)])
def test_a_debit_that_takes_days_is_settled_at_its_event(stand_in, succeeds, status):
    stand_in.add_fault("processing", times=1)
    assert ask().status_code == 202
    stand_in.settle(the_key().foreign_reference, succeeds=succeeds)
    ended = SUCCEEDED if succeeds else "payment_intent.payment_failed"
    all_delivered(stand_in, ended)

    assert completed() == 1

    assert told(RIDER)[0] == status


def test_a_charge_whose_outcome_nobody_knows_is_settled_at_its_event(unknown, stand_in):
    assert completed() == 0
    all_delivered(stand_in, SUCCEEDED)

    assert completed() == 1

    assert the_key().is_finished
    assert left_with_us(stand_in) == 2000
    assert len(stand_in.charges()) == 1


def test_the_completers_process_settles_it_within_seconds(asked, stand_in, tmp_path):
    """A second, where the machine has nothing else to do; without the event it would be 30."""
    with running_command("completer", stand_in=stand_in, folder=tmp_path) as completer:
        wait_until(lambda: "started" in completer.log.read_text())
        began_at = time.monotonic()
        stand_in.settle(asked, succeeds=True)
        wait_until(lambda: the_key().is_finished)
        took = time.monotonic() - began_at

    assert took < 10 < LOOK.total_seconds()


# While somebody works on it.


def test_an_event_takes_the_lease_from_nobody(asked, stand_in):
    key = the_key()
    lock(key, seconds_ago=0)
    stand_in.settle(asked, succeeds=True)
    all_delivered(stand_in, SUCCEEDED)

    assert completed() == 0
    assert (the_key().lease_token, the_key().attempt) == (key.lease_token, key.attempt)


def test_where_its_holder_has_died_it_is_settled_when_the_lease_has_ended(unknown, stand_in):
    lock(the_key(), seconds_ago=0)
    all_delivered(stand_in, SUCCEEDED)
    let_time_pass(LOCK_TIMEOUT - timedelta(seconds=5))
    assert completed() == 0

    let_time_pass(timedelta(seconds=6))

    assert completed() == 1
    assert the_key().is_finished


def test_what_the_holder_heard_before_the_event_does_not_put_it_off(asked, stand_in):
    """It asked a moment too early, and writes down that the payment is pending."""
    lock(the_key(), seconds_ago=0)
    stand_in.settle(asked, succeeds=True)
    all_delivered(stand_in, SUCCEEDED)
    IdempotencyKey.objects.update(locked_at=None, run_after=Now() + LOOK)
    assert completed() == 0

    assert run_jobs() == JobsRun(succeeded=1, failed=0)

    assert completed() == 1
    assert told() == (201, BOOKED)


def test_an_event_that_comes_before_the_answer_of_the_call_that_made_it(stand_in):
    """The answer is held back, and lost; the key is leased when the event comes."""
    stand_in.add_fault("stall", times=1, seconds=1, path=CHARGING)
    stand_in.add_fault("reset_after", times=2, path=CHARGING)
    assert ask().status_code == 503
    all_delivered(stand_in, SUCCEEDED)
    assert StagedJob.objects.get().job_name == "idempotency.workers.soon.look_again"
    assert completed() == 0

    assert run_jobs() == JobsRun(succeeded=1, failed=0)

    assert completed() == 1
    assert told(RIDER) == (201, BOOKED)
    assert len(stand_in.charges()) == 1


def test_of_the_events_of_a_usual_booking_nothing_is_left(stand_in):
    assert ask().status_code == 201
    all_delivered(stand_in)
    run_jobs()

    assert completed() == 0
    assert StripeEvent.objects.count() == 1
    assert the_key().attempt == 1
    assert not StagedJob.objects.exists()


# Late, twice, out of order, never, forged.


def test_a_late_event_finds_it_settled(asked, stand_in):
    stand_in.add_fault("event_late", path=SUCCEEDED, seconds=0.5)
    stand_in.settle(asked, succeeds=True)
    let_time_pass(LOOK)
    assert completed() == 1
    before = the_key()

    all_delivered(stand_in, SUCCEEDED)

    assert completed() == 0
    assert (the_key().run_after, the_key().journal) == (before.run_after, before.journal)


def test_an_event_that_never_comes_costs_the_time_until_the_completer_asks(asked, stand_in):
    stand_in.add_fault("event_never", path=SUCCEEDED)
    stand_in.settle(asked, succeeds=True)
    assert completed() == 0

    let_time_pass(LOOK)

    assert completed() == 1
    assert told() == (201, BOOKED)


def test_an_event_that_comes_twice_at_once_is_one(asked, stand_in):
    stand_in.add_fault("event_twice", path=SUCCEEDED)
    stand_in.settle(asked, succeeds=True)
    wait_until(lambda: len(stand_in.events(SUCCEEDED)[0]["answers"]) == 2)

    assert stand_in.events(SUCCEEDED)[0]["answers"] == [200, 200]
    assert StripeEvent.objects.count() == 1
    assert completed() == 1
    assert events_in_the_journal().count("taken_by_completer") == 1


def test_sixteen_at_once_write_one_row_and_all_are_answered(unknown, stand_in):
    one = event(SUCCEEDED, about_payment(Ride.objects.get()))

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: sent_elsewhere(one), range(16)))

    assert {answer.status_code for answer in answers} == {200}
    assert StripeEvent.objects.filter(stripe_id=one["id"]).count() == 1


def sent_elsewhere(one):
    try:
        return send(one)
    finally:
        connection.close()


def test_an_event_that_is_sent_again_by_hand_days_later_does_nothing(asked, stand_in):
    stand_in.settle(asked, succeeds=True)
    [ended] = all_delivered(stand_in, SUCCEEDED)
    completed()
    before = the_key()
    StripeEvent.objects.all().delete()  # as the nightly run does after a week

    stand_in.send_event_again(ended["id"])
    wait_until(lambda: len(stand_in.events(SUCCEEDED)[0]["answers"]) == 2)

    assert StripeEvent.objects.count() == 1
    assert completed() == 0
    assert the_key().run_after == before.run_after


def test_events_out_of_order_come_to_what_stripe_has(stand_in, asked):
    """The rider fails at the bank, and pays with another try; we hear of it the other way round."""
    ride = Ride.objects.get()
    stand_in.settle(asked, succeeds=True)
    all_delivered(stand_in, SUCCEEDED)
    late = about_payment(ride, id=asked, status="requires_payment_method")
    assert send(event("payment_intent.payment_failed", late)).status_code == 200

    assert completed() == 1

    assert told() == (201, BOOKED)


def test_what_an_event_claims_of_a_payment_is_not_believed(asked, stand_in):
    claim = about_payment(Ride.objects.get(), id=asked, status="succeeded", amount_received=2000)
    assert send(event(SUCCEEDED, claim)).status_code == 200

    assert completed() == 1

    assert told()[0] == 202
    assert left_with_us(stand_in) == 0


def test_a_forged_event_does_nothing(asked, stand_in, api):
    stand_in.send_events_to(f"{api.url}{WEBHOOK}", WEBHOOK_SECRET, retry_seconds=60)
    stand_in.add_fault("event_forged", path=SUCCEEDED)
    stand_in.settle(asked, succeeds=True)
    wait_until(lambda: stand_in.events(SUCCEEDED)[0]["answers"] == [400])

    assert completed() == 0
    assert not StripeEvent.objects.exists()


def test_signed_rightly_the_next_time_it_is_heard(asked, stand_in):
    stand_in.add_fault("event_forged", path=SUCCEEDED)
    stand_in.settle(asked, succeeds=True)
    [ended] = all_delivered(stand_in, SUCCEEDED)

    assert ended["answers"] == [400, 200]
    assert completed() == 1


# Of whose payment.


@pytest.mark.parametrize(
    "marks",
    [
        pytest.param({"installation": "5b1c7a56-2f0c-4df1-8a35-0d3d3ce0a111"}, id="another's"),
        pytest.param({"installation": None}, id="nobody's"),
        pytest.param({"foreign_key": "order 17"}, id="no key"),
        pytest.param({"foreign_key": ["7"]}, id="a list"),
    ],
)
def test_an_event_of_another_installations_payment_does_nothing(asked, marks):
    payment = about_payment(Ride.objects.get())
    payment["metadata"] |= marks

    assert send(event(SUCCEEDED, payment)).status_code == 200

    assert not StripeEvent.objects.exists()
    assert completed() == 0


def test_an_event_of_a_request_that_has_not_committed_yet_does_nothing(stand_in):
    """Nor does it later: such a request has called nobody yet, so it is of another history."""
    assert ask().status_code == 201
    payment = about_payment(Ride.objects.get())
    Ride.objects.all().delete()
    IdempotencyKey.objects.all().delete()

    assert send(event(SUCCEEDED, payment)).status_code == 200

    assert completed() == 0
    assert ask().status_code == 201
    assert len(stand_in.charges()) == 1


def test_an_event_leaves_what_waits_for_a_person_to_the_person(unknown, stand_in):
    put_on_the_list()
    all_delivered(stand_in, SUCCEEDED)

    assert completed() == 0
    assert the_key().is_under_review


def test_a_rider_who_was_deactivated_is_not_charged_for_an_event(unknown, stand_in):
    """As ever: the completer asks whether it may go on, and a person decides."""
    ride = Ride.objects.select_related("user").get()
    ride.user.is_active = False
    ride.user.save()
    all_delivered(stand_in, SUCCEEDED)

    assert completed() == 1

    assert the_key().is_under_review
    assert Ride.objects.get().stripe_charge_id is None
