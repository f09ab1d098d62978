"""Past Stripe's memory of our key: nothing is sent again, and what is odd goes before a person.

The stand-in forgets its keys, as Stripe may after a day. Without the look-up that costs the rider a
second charge, which is what the first test here makes happen.
"""

import uuid
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import path

from idempotency.models import FINISHED
from idempotency.testing.clock import let_time_pass
from idempotency.workers.completing import complete_due_keys
from rides import payments
from rides.models import Ride, User
from rides.operations import RESEND_WINDOW, RIDE_CREATED, CreateRide
from rides.payments.client import client
from rides.tests.booking import BOOKED, CHARGING, COORDINATES, KEY, RIDER, run, the_key
from sandbox.stripe.control import StandIn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

FORM = "application/x-www-form-urlencoded"
LISTING = "GET /v1/payment_intents"
PAST_THE_WINDOW = RESEND_WINDOW + timedelta(minutes=1)


class SendAgainForEver(CreateRide):
    """What the look-up saves us from: a ride that sends its charge again however late."""

    charge_rider = replace(CreateRide.charge_rider, window=timedelta.max)


urlpatterns = [path("rides", CreateRide.as_view()), path("careless", SendAgainForEver.as_view())]


@pytest.fixture(autouse=True)
def mounted(settings) -> None:
    settings.ROOT_URLCONF = __name__
    settings.IDEMPOTENCY = {
        **settings.IDEMPOTENCY,
        "AUTHENTICATE": "rides.authentication.demo_rider",
    }


def book(to: str = "/rides"):
    headers = {"Authorization": RIDER, "Idempotency-Key": KEY}
    return Client().post(to, urlencode(COORDINATES), FORM, headers=headers)


def charge_and_lose_the_answer(stand_in: StandIn, to: str = "/rides") -> None:
    stand_in.add_fault("reset_after", times=2, path=CHARGING)
    assert book(to).status_code == 503
    assert len(stand_in.charges()) == 1


def let_stripe_forget(stand_in: StandIn) -> None:
    let_time_pass(PAST_THE_WINDOW)
    assert stand_in.prune_keys() >= 1


def charge_once_more(stand_in: StandIn) -> None:
    """What must never happen: the same key again, after Stripe forgot it."""
    stand_in.prune_keys()
    payments.charge(Ride.objects.get())


def evidence() -> dict[str, object]:
    key = the_key()
    assert key.is_under_review
    assert (key.recovery_point, key.locked_at) == (RIDE_CREATED, None)
    found: dict[str, object] = key.journal[-1]["evidence"]
    return found


def charged_cents(stand_in: StandIn) -> int:
    return sum(charge["amount"] for charge in stand_in.charges(status="succeeded"))


# What the look-up is for.


def test_without_the_look_up_the_rider_is_charged_twice(stand_in):
    charge_and_lose_the_answer(stand_in, "/careless")
    let_stripe_forget(stand_in)

    assert complete_due_keys(10).counts["succeeded"] == 1

    assert charged_cents(stand_in) == 4000


def test_with_the_look_up_the_rider_is_charged_once(stand_in):
    charge_and_lose_the_answer(stand_in)
    let_stripe_forget(stand_in)

    assert complete_due_keys(10).counts["succeeded"] == 1

    assert charged_cents(stand_in) == 2000
    [charge] = stand_in.charges()
    assert Ride.objects.get().stripe_charge_id == charge["id"]
    assert the_key().recovery_point == FINISHED
    assert [entry["event"] for entry in the_key().journal][-3:-1] == [
        "find_charge",
        "record_charge",
    ]
    assert book().json() == BOOKED
    assert run("reconcile").startswith("charges=1 rides=1")


def test_a_client_that_comes_back_late_is_charged_once_too(stand_in):
    charge_and_lose_the_answer(stand_in)
    let_stripe_forget(stand_in)

    assert book().json() == BOOKED
    assert charged_cents(stand_in) == 2000


def test_inside_the_window_the_key_is_sent_again_and_stripe_knows_it(stand_in):
    charge_and_lose_the_answer(stand_in)
    let_time_pass(RESEND_WINDOW - timedelta(minutes=1))

    assert complete_due_keys(10).counts["succeeded"] == 1

    assert charged_cents(stand_in) == 2000
    assert LISTING not in stand_in.calls()["calls"]


# What a person must decide.


def test_what_stripe_knows_nothing_of_needs_a_person(stand_in):
    stand_in.add_fault("reset_before", times=2, path=CHARGING)
    book()
    sent_at = the_key().foreign_sent_at
    let_time_pass(PAST_THE_WINDOW)

    complete_due_keys(10)

    assert evidence() == {
        "sent_at": (sent_at - PAST_THE_WINDOW).isoformat(),
        "looked_up": True,
    }
    assert stand_in.charges() == []


def test_two_charges_need_a_person(stand_in):
    charge_and_lose_the_answer(stand_in)
    charge_once_more(stand_in)
    let_time_pass(PAST_THE_WINDOW)

    complete_due_keys(10)

    paid = {charge["payment_intent"] for charge in stand_in.charges()}
    assert set(evidence()["payment_intents"]) == paid
    assert len(paid) == 2


def test_a_wrong_amount_needs_a_person(stand_in):
    charge_and_lose_the_answer(stand_in)
    let_stripe_forget(stand_in)
    Ride.objects.update(amount_cents=2500)

    complete_due_keys(10)

    assert evidence().items() >= {"amount_received": 2000, "currency": "usd"}.items()


def test_a_wrong_currency_needs_a_person(stand_in):
    charge_and_lose_the_answer(stand_in)
    let_stripe_forget(stand_in)
    Ride.objects.update(currency="eur")

    complete_due_keys(10)

    assert evidence()["currency"] == "usd"


def test_a_charge_of_another_customer_is_not_ours(stand_in, rider):
    charge_and_lose_the_answer(stand_in)
    let_stripe_forget(stand_in)
    Ride.objects.update(stripe_customer_id=rider.stripe_customer_id)

    complete_due_keys(10)

    assert evidence()["looked_up"] is True


def test_a_rider_who_has_another_customer_by_now_is_charged_once(stand_in, rider):
    charge_and_lose_the_answer(stand_in)
    let_stripe_forget(stand_in)
    customer = payments.create_customer(email=RIDER, source="tok_visa")
    User.objects.filter(email=RIDER).update(stripe_customer_id=customer)

    assert complete_due_keys(10).counts["succeeded"] == 1

    assert charged_cents(stand_in) == 2000
    assert Ride.objects.get().stripe_charge_id == stand_in.charges()[0]["id"]


def test_a_charge_with_another_foreign_key_is_not_ours(stand_in):
    charge_and_lose_the_answer(stand_in)
    let_stripe_forget(stand_in)
    Ride.objects.update(foreign_key=uuid.uuid4())

    complete_due_keys(10)

    assert evidence()["looked_up"] is True


def test_a_charge_that_was_refunded_meanwhile_needs_a_person(stand_in):
    charge_and_lose_the_answer(stand_in)
    let_stripe_forget(stand_in)
    [charge] = stand_in.charges()
    client().v1.refunds.create({"charge": charge["id"]})

    complete_due_keys(10)

    assert evidence() == {"payment_intents": [charge["payment_intent"]]}
    assert Ride.objects.get().stripe_charge_id is None


def test_of_two_charges_the_one_that_was_not_refunded_is_adopted(stand_in):
    charge_and_lose_the_answer(stand_in)
    charge_once_more(stand_in)
    first, second = stand_in.charges()
    client().v1.refunds.create({"charge": second["id"]})
    let_time_pass(PAST_THE_WINDOW)

    assert complete_due_keys(10).counts["succeeded"] == 1

    assert Ride.objects.get().stripe_charge_id == first["id"]


def test_a_card_that_was_declined_is_a_definite_answer_however_late(stand_in):
    stand_in.add_fault("decline", times=1)
    stand_in.add_fault("reset_after", times=2, path=CHARGING)
    book()
    let_stripe_forget(stand_in)

    assert complete_due_keys(10).counts["succeeded"] == 1
    assert book().status_code == 402


def test_a_key_that_is_used_again_after_its_tombstone_books_and_pays_anew(stand_in):
    assert book().status_code == 201
    let_time_pass(timedelta(days=31))
    run("reaper", "--once")
    run("reaper", "--once")
    stand_in.prune_keys()

    again = book()

    assert (again.status_code, again.json()) == (201, BOOKED)
    assert again.headers["Idempotent-Replayed"] == "false"
    assert Ride.objects.count() == 2
    assert len(stand_in.charges(status="succeeded")) == 2
