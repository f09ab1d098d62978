"""A charge that the rider's bank disputes: no ride is booked with it, and the bank decides."""

from time import monotonic

import pytest
from django.core.management import CommandError

from idempotency.exceptions import Indeterminate
from idempotency.testing.clock import let_time_pass
from idempotency.workers.completing import complete_due_keys
from rides.models import AuditRecord, Ride
from rides.payments import disputes
from rides.payments.asking import Page
from rides.payments.client import client
from rides.tests.booking import CHARGING, ask, the_key
from rides.tests.going_back import the_charge
from rides.tests.reviewing import PAST_THE_WINDOW, left_with_us, put_on_the_list, review

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

LISTING = "GET /v1/disputes"
DECIDES = "This ride was cancelled. Your bank disputes the payment for it, and decides about it."


@pytest.fixture(autouse=True)
def credential(settings) -> None:
    settings.IDEMPOTENCY = {
        **settings.IDEMPOTENCY,
        "AUTHENTICATE": "rides.authentication.demo_rider",
    }


@pytest.fixture
def disputed(stand_in, riders):
    """A charge whose answer nobody heard, and that is disputed since; its id."""
    stand_in.add_fault("reset_after", times=2, path=CHARGING)
    assert ask().status_code == 503
    charge = the_charge(stand_in)
    stand_in.dispute(charge)
    return charge


def test_a_look_up_that_finds_it_puts_the_request_before_a_person(disputed, stand_in):
    let_time_pass(PAST_THE_WINDOW)

    complete_due_keys(10)

    key = the_key()
    assert key.is_under_review
    assert key.last_error == "The rider's bank disputes the payment for this ride."
    assert key.journal[-1]["evidence"]["charge"] == disputed
    assert Ride.objects.get().stripe_charge_id is None


def test_a_retry_inside_the_window_books_no_ride_with_it(disputed):
    answer = ask()

    assert (answer.status_code, answer.json()["code"]) == (503, "needs_review")


def test_it_is_not_adopted(disputed):
    put_on_the_list()

    with pytest.raises(CommandError, match="disputes it"):
        review("adopt", disputed)

    assert the_key().is_under_review


def test_an_undo_of_it_ends_and_says_that_the_bank_decides(disputed, stand_in):
    put_on_the_list()

    assert review("undo").startswith("finished with 409")

    answer = ask()
    assert (answer.status_code, answer.json()["error"]) == (409, DECIDES)
    assert client().v1.refunds.list().data == []
    [payment] = AuditRecord.objects.get(action="ride.cancelled").data["payments"]
    assert (payment["outcome"], payment["refunded_cents"]) == ("disputed", 0)


# One that has ended with the money with us: Stripe calls its charge disputed for good.


@pytest.fixture(params=["needs_response", "warning_needs_response"])
def won(stand_in, riders, request):
    """A charge whose answer nobody heard, and whose dispute is over; its id."""
    stand_in.add_fault("reset_after", times=2, path=CHARGING)
    assert ask().status_code == 503
    charge = the_charge(stand_in)
    stand_in.settle(stand_in.dispute(charge, status=request.param), succeeds=True)
    return charge


def test_a_retry_books_a_ride_with_a_charge_whose_dispute_was_won(won, stand_in):
    assert ask().status_code == 201

    assert Ride.objects.get().stripe_charge_id == won
    assert stand_in.calls()["calls"][LISTING] == 1


def test_a_look_up_books_a_ride_with_a_charge_whose_dispute_was_won(won):
    let_time_pass(PAST_THE_WINDOW)

    complete_due_keys(10)

    assert Ride.objects.get().stripe_charge_id == won


def test_a_charge_whose_dispute_was_won_is_adopted(won):
    put_on_the_list()

    review("adopt", won)

    assert Ride.objects.get().stripe_charge_id == won


def test_an_undo_refunds_a_charge_whose_dispute_was_won(won, stand_in):
    put_on_the_list()

    review("undo")

    assert left_with_us(stand_in) == 0
    assert ask().json()["error"] == "This ride was cancelled. You are not charged for it."


def test_of_two_disputes_one_that_is_under_way_is_enough(won, stand_in):
    stand_in.dispute(won)

    assert ask().json()["code"] == "needs_review"
    with pytest.raises(CommandError, match="disputes it"):
        review("adopt", won)
    review("undo")
    assert ask().json()["error"] == DECIDES


def test_a_dispute_that_stripe_does_not_list_is_not_taken_for_won(won, stand_in, monkeypatch):
    page = Page()
    page.is_last = True
    monkeypatch.setattr(disputes, "pages", lambda *of, **what: iter([page]))

    assert ask().json()["code"] == "needs_review"


def test_of_a_charge_that_is_not_disputed_no_disputes_are_asked_for(stand_in):
    stand_in.add_fault("reset_after", times=2, path=CHARGING)
    ask()
    put_on_the_list()
    review("undo")

    assert LISTING not in stand_in.calls()["calls"]


def test_a_phase_that_has_no_time_left_asks_for_no_disputes(won, stand_in):
    with pytest.raises(Indeterminate, match="no time left"):
        disputes.are_won(won, last_call_at=monotonic() - 1)

    assert LISTING not in stand_in.calls()["calls"]
