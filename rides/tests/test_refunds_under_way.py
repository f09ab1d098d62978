"""A ride that a person cancels is cancelled once its refund has come, and not before."""

from datetime import timedelta

import pytest
from django.core.management import CommandError

from idempotency.testing.clock import let_time_pass
from idempotency.workers.completing import complete_due_keys
from rides.models import Refund, Ride
from rides.payments.client import client
from rides.payments.taking_back import REFUND_ASKED_ABOUT_IN
from rides.tests.booking import ask, the_key
from rides.tests.reviewing import left_with_us, put_on_the_list, review

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

NOT_CHARGED = "This ride was cancelled. You are not charged for it."


@pytest.fixture(autouse=True)
def credential(settings) -> None:
    settings.IDEMPOTENCY = {
        **settings.IDEMPOTENCY,
        "AUTHENTICATE": "rides.authentication.demo_rider",
    }


@pytest.fixture
def under_way(stand_in, riders):
    """A paid ride whose undoing waits for its refund; the refund's id."""
    stand_in.add_fault("reset_after", times=2, path="POST /v1/payment_intents")
    ask()
    put_on_the_list()
    stand_in.add_fault("refund_pending", times=1)
    assert review("undo").startswith("pending at the foreign system")
    return client().v1.refunds.list().data[0].id


def told():
    answer = ask()
    return answer.status_code, answer.json().get("error") or answer.json()["message"]


def test_until_then_the_rider_is_told_that_it_is_being_refunded(under_way):
    assert told() == (202, "This ride is being cancelled, and what was paid for it is refunded.")
    assert Ride.objects.get().cancelled_at is None
    refund = Refund.objects.get()
    assert (refund.stripe_id, refund.status, refund.is_open) == (under_way, "pending", True)
    assert the_key().needs_review_at is None


def test_once_it_has_come_the_ride_is_cancelled(under_way, stand_in):
    stand_in.settle(under_way, succeeds=True)
    let_time_pass(REFUND_ASKED_ABOUT_IN)

    complete_due_keys(10)

    assert told() == (409, NOT_CHARGED)
    assert Ride.objects.get().cancelled_at is not None
    assert not Refund.objects.get().is_open
    assert len(client().v1.refunds.list().data) == 1


def test_one_that_fails_days_later_is_put_before_a_person_with_its_reason(under_way, stand_in):
    let_time_pass(timedelta(days=3))
    complete_due_keys(10)
    assert told()[0] == 202
    stand_in.settle(under_way, succeeds=False)
    let_time_pass(REFUND_ASKED_ABOUT_IN)

    complete_due_keys(10)

    key = the_key()
    assert key.needs_review_at is not None
    assert key.journal[-1]["evidence"]["reason"] == "lost_or_stolen_card"
    assert left_with_us(stand_in) == 2000


def test_the_next_try_is_another_refund(under_way, stand_in):
    stand_in.settle(under_way, succeeds=False)
    let_time_pass(REFUND_ASKED_ABOUT_IN)
    complete_due_keys(10)

    assert review("run-again").startswith("finished with 409")

    assert left_with_us(stand_in) == 0
    assert [each.status for each in client().v1.refunds.list().data] == ["succeeded", "failed"]
    assert told() == (409, NOT_CHARGED)


def test_one_that_fails_at_once_is_put_before_a_person_too(stand_in, riders):
    stand_in.add_fault("reset_after", times=2, path="POST /v1/payment_intents")
    ask()
    put_on_the_list()
    stand_in.add_fault("refund_pending", times=2)
    review("undo")
    stand_in.settle(client().v1.refunds.list().data[0].id, succeeds=False)
    let_time_pass(REFUND_ASKED_ABOUT_IN)
    complete_due_keys(10)
    stand_in.add_fault("reset_after", times=2, path="POST /v1/refunds")
    with pytest.raises(CommandError):
        review("run-again")
    let_time_pass(timedelta(hours=1))
    complete_due_keys(10)

    assert len(client().v1.refunds.list().data) == 2
    assert told()[0] == 202


def test_a_payment_that_is_still_processed_is_refunded_once_it_has_come(stand_in, riders):
    stand_in.add_fault("processing", times=1)
    assert ask().status_code == 202
    payment = the_key().foreign_reference
    put_on_the_list()
    assert review("undo").startswith("pending at the foreign system")
    stand_in.settle(payment, succeeds=True)
    let_time_pass(REFUND_ASKED_ABOUT_IN)

    complete_due_keys(10)

    assert left_with_us(stand_in) == 0
    assert told() == (409, NOT_CHARGED)
