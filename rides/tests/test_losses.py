"""After a loss of commits: what Stripe has and the database does not is found, and each such charge
comes back by its client's retry, or is refunded by a person's word. And a key of a month ago.
"""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from idempotency import conf
from idempotency.models import Doors, IdempotencyKey
from idempotency.testing.clock import earlier, let_time_pass
from idempotency.testing.losses import Kept, lose_commits_since, what_is_kept
from idempotency.workers.reaping import reap
from rides import payments
from rides.models import AuditRecord, Ride, User
from rides.payments.client import client
from rides.tests.booking import BOOKED, CHARGING, COORDINATES, KEY, RIDER, lock, run, the_key
from sandbox.stripe.control import StandIn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

FORM = "application/x-www-form-urlencoded"
MOST_KEYS = 10


@pytest.fixture(autouse=True)
def credential(settings) -> None:
    settings.IDEMPOTENCY = {
        **settings.IDEMPOTENCY,
        "AUTHENTICATE": "rides.authentication.demo_rider",
    }


@pytest.fixture
def kept(stand_in: StandIn) -> Kept:
    return what_is_kept()


@pytest.fixture
def lost(stand_in: StandIn) -> str:
    """A charge whose ride was lost."""
    kept = what_is_kept()
    assert book().status_code == 201
    lose_commits_since(kept)
    [charge] = stand_in.charges()
    return str(charge["id"])


def book(key: str = KEY):
    headers = {"Authorization": RIDER, "Idempotency-Key": key}
    return Client().post("/rides", urlencode(COORDINATES), FORM, headers=headers)


def close_the_doors(*, seconds_ago: int = 60) -> None:
    run("doors", "close")
    Doors.objects.update(closed_at=datetime.now(UTC) - timedelta(seconds=seconds_ago))


def refund(charge: str, *more: str) -> str:
    return run("reconcile", "--refund", charge, "--reason", "Ticket 12", *more)


def report(*arguments: str) -> str:
    """What the command prints, although something is off."""
    output = io.StringIO()
    with pytest.raises(CommandError):
        call_command("reconcile", *arguments, stdout=output)
    return output.getvalue()


def left_with_us(stand_in: StandIn) -> int:
    paid = stand_in.charges(status="succeeded")
    return sum(charge["amount"] - charge["amount_refunded"] for charge in paid)


# A retry asks the same question.


def test_a_retry_books_the_ride_with_the_charge_that_it_had(lost, stand_in):
    assert book("the-key-that-gets-the-lost-numbers").status_code == 201

    answer = book()

    assert (answer.status_code, answer.json()) == (201, BOOKED)
    assert Ride.objects.get(idempotency_key=the_key()).stripe_charge_id == lost
    assert len(stand_in.charges()) == 2
    assert run("reconcile").endswith("discrepancies=0")


def test_a_charge_whose_answer_is_still_to_come_is_found_by_the_retry(kept, stand_in):
    stand_in.add_fault("reset_after", times=2, path=CHARGING)
    assert book().status_code == 503
    lose_commits_since(kept)

    assert book().status_code == 201
    assert len(stand_in.charges()) == 1


def test_a_retry_whose_charge_was_declined_is_told_so_again(kept, stand_in):
    stand_in.add_fault("decline", times=1)
    assert book().status_code == 402
    lose_commits_since(kept)

    assert book().status_code == 402
    assert len(stand_in.charges()) == 1


def test_a_fresh_key_whose_payment_was_refunded_goes_to_a_person(lost, stand_in):
    close_the_doors()
    refund(lost)
    run("doors", "open")

    answer = book()

    assert (answer.status_code, answer.json()["code"]) == (503, "needs_review")
    assert the_key().is_under_review
    assert left_with_us(stand_in) == 0


def test_a_retry_after_a_change_of_the_fare_goes_to_a_person_and_not_to_a_second_charge(
    lost, stand_in, monkeypatch
):
    monkeypatch.setattr("rides.operations.FARE_CENTS", 2500)

    answer = book()

    assert (answer.status_code, answer.json()["code"]) == (503, "needs_review")
    assert the_key().journal[-1]["evidence"]["amount_received"] == 2000
    assert len(stand_in.charges()) == 1


# What no retry comes for.


def test_a_charge_without_a_ride_is_listed_by_its_key_and_its_customer(lost, stand_in):
    since = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    [charge] = stand_in.charges()

    with pytest.raises(CommandError, match="1 off"):
        run("reconcile", "--since", since)
    said = report("--since", since)

    assert "charge without ride" in said
    assert charge["metadata"]["foreign_key"] in said
    assert User.objects.get(email=RIDER).stripe_customer_id in said


@pytest.mark.parametrize("hours", [-4, -0.5, 0.5, 4])
def test_a_loss_is_looked_through_as_far_as_stripes_clock_may_differ(kept, stand_in, hours):
    stand_in.set_clock(hours * 3600)
    since = datetime.now(UTC).isoformat()
    book()
    lose_commits_since(kept)

    with pytest.raises(CommandError, match="1 off"):
        run("reconcile", "--since", since)


def test_with_the_doors_closed_a_charge_without_a_ride_is_refunded_once(lost, stand_in):
    close_the_doors()

    said = refund(lost, "--reviewer", "ann")

    assert said == f"{lost}: 20.00 USD, refund succeeded"
    assert left_with_us(stand_in) == 0
    record = AuditRecord.objects.get(action="charge.refunded")
    assert record.user.email == RIDER
    assert record.data["charge"] == lost
    assert (record.data["reviewer"], record.data["reason"]) == ("ann", "Ticket 12")
    assert run("reconcile").endswith("discrepancies=0")
    with pytest.raises(CommandError, match="is refunded already"):
        refund(lost)


def test_a_refund_without_an_answer_is_made_once_however_often_it_is_asked_for(lost, stand_in):
    close_the_doors()
    stand_in.add_fault("reset_after", times=2, path="POST /v1/refunds")
    stand_in.add_fault("malformed_json", times=1, path="GET /v1/charges/")
    for _ in range(3):
        with pytest.raises(CommandError):
            refund(lost)

    assert len(client().v1.refunds.list().data) == 1


def in_time(lost: str) -> None:
    """The doors are open, and a retry may come."""


def just_closed(lost: str) -> None:
    close_the_doors(seconds_ago=1)


def with_a_request_in_hand(lost: str) -> None:
    book("a-request-that-is-worked-on")
    IdempotencyKey.objects.update(
        recovery_point="ride_created",
        response_code=None,
        response_body=None,
        response_content_type=None,
    )
    lock(IdempotencyKey.objects.get(), seconds_ago=1)
    close_the_doors()


def with_its_ride_again(lost: str) -> None:
    assert book().status_code == 201
    close_the_doors()


def with_a_ride_that_does_not_name_it(lost: str) -> None:
    assert book().status_code == 201
    Ride.objects.update(stripe_charge_id=None, stripe_payment_intent_id=None)
    close_the_doors()


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (in_time, "A retry may still come"),
        (just_closed, "A retry may still come"),
        (with_a_request_in_hand, "1 requests are still in hand"),
        (with_its_ride_again, "belongs to ride"),
        (with_a_ride_that_does_not_name_it, "belongs to ride"),
    ],
)
def test_what_a_retry_may_still_need_is_not_refunded(
    lost, stand_in, prepare: Callable[[str], None], why
):
    prepare(lost)

    with pytest.raises(CommandError, match=why):
        refund(lost)
    assert left_with_us(stand_in) >= 2000


def test_once_it_is_older_than_any_retry_it_is_refunded_with_the_doors_open(lost, stand_in):
    stand_in.let_time_pass(round(conf.current().lookup_span.total_seconds()) + 60)

    assert refund(lost).endswith("refund succeeded")


def test_a_charge_of_another_installation_is_not_refunded(stand_in, riders):
    close_the_doors()
    customer = User.objects.get(email=RIDER).stripe_customer_id
    client().v1.payment_intents.create(
        {
            "amount": 700,
            "currency": "usd",
            "customer": str(customer),
            "confirm": True,
            "off_session": True,
        }
    )
    [charge] = stand_in.charges()

    with pytest.raises(CommandError, match="does not carry this installation's mark"):
        refund(charge["id"])


@pytest.mark.parametrize("charge", ["ch_unknown", "pi_1", "ch_1/refunds", "", "../charges"])
def test_what_is_no_charge_is_not_refunded(stand_in, riders, charge):
    close_the_doors()

    with pytest.raises(CommandError):
        run("reconcile", f"--refund={charge}", "--reason", "Ticket 12")


def test_a_refund_needs_a_reason(lost):
    with pytest.raises(CommandError, match="needs a reason"):
        run("reconcile", "--refund", lost)


# A key that is used again once it is free.


def test_of_a_key_that_is_used_again_on_day_31_the_new_payment_is_looked_up(stand_in):
    assert book().status_code == 201
    a_month = conf.current().tombstone_retention + timedelta(days=1)
    let_time_pass(a_month)
    Ride.objects.update(created_at=earlier("created_at", a_month))
    stand_in.let_time_pass(round(a_month.total_seconds()))
    for _ in range(2):  # first the answer goes, then the row
        reap(MOST_KEYS)
    assert not IdempotencyKey.objects.exists()
    stand_in.add_fault("reset_after", times=2, path=CHARGING)
    assert book().status_code == 503
    first, second = Ride.objects.order_by("pk")
    old, new = stand_in.charges()
    assert first.foreign_key == second.foreign_key

    assert payments.find_charge(second).id == new["id"]
    assert book().status_code == 201

    assert len(stand_in.charges()) == 2
    second.refresh_from_db()
    assert (first.stripe_charge_id, second.stripe_charge_id) == (old["id"], new["id"])
    assert run("reconcile", "--since", "2020-01-01").endswith("discrepancies=0")
