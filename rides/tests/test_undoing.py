"""What a rider is told of their money when a person undoes a ride: no more than is known.

A charge may be on its way, or in a list that is not looked at; so the key that it comes under is
made useless first, and then it is looked for where it must be.
"""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError
from django.db.models.functions import Now

from idempotency.exceptions import Indeterminate, NeedsReview
from idempotency.models import IdempotencyKey
from idempotency.testing.clock import earlier, let_time_pass
from idempotency.workers.completing import complete_due_keys
from rides import payments
from rides.models import AuditRecord, ReconciledUntil, Ride, User
from rides.operations import RIDE_CREATED
from rides.payments import asking, charging, taking_back, useless
from rides.payments.client import client
from rides.payments.keys import foreign_key_of
from rides.payments.transport import CurlClient
from rides.tests.booking import CHARGING, RIDER, ask, run, the_key
from rides.tests.going_back import off, reconciled
from rides.tests.reviewing import (
    PAST_THE_WINDOW,
    left_with_us,
    let_charge_arrive,
    put_on_the_list,
    review,
)
from sandbox.stripe.control import StandIn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

HOUR = 3600
A_DAY = timedelta(days=1)
NOT_CHARGED = "This ride was cancelled. You are not charged for it."
REFUNDED = "This ride was cancelled. What we found paid for it is refunded."
NONE_SHOWN = "This ride was cancelled. Our payment processor shows no payment for it."


@pytest.fixture(autouse=True)
def credential(settings) -> None:
    settings.IDEMPOTENCY = {
        **settings.IDEMPOTENCY,
        "AUTHENTICATE": "rides.authentication.demo_rider",
    }


@pytest.fixture
def sent(monkeypatch) -> list[tuple[str, str | None]]:
    """The paths that are called with POST, each with its idempotency key."""
    calls: list[tuple[str, str | None]] = []
    request = CurlClient.request

    def noted(self: CurlClient, method: str, url: str, headers: Any, *more: Any) -> Any:
        if method == "post":
            calls.append((url.partition("/v1/")[2], headers.get("Idempotency-Key")))
        return request(self, method, url, headers, *more)

    monkeypatch.setattr(CurlClient, "request", noted)
    return calls


def lose_the_answer(stand_in: StandIn) -> None:
    """The charge succeeds, and nobody hears of it."""
    stand_in.add_fault("reset_after", times=2, path=CHARGING)
    assert ask().status_code == 503
    assert left_with_us(stand_in) == 2000


def never_arrive(stand_in: StandIn) -> None:
    """The charge is sent, and does not come to Stripe: not yet."""
    stand_in.add_fault("reset_before", times=2, path=CHARGING)
    assert ask().status_code == 503
    assert stand_in.charges() == []


def put_on_the_list_with_its_charge() -> None:
    """The charge is recorded, and what follows needs a person."""
    assert ask().status_code == 201
    IdempotencyKey.objects.update(
        recovery_point="charge_created",
        needs_review_at=Now(),
        response_code=None,
        response_body=None,
        response_content_type=None,
    )


def until_past_the_window(stand_in: StandIn) -> None:
    """The rest of a day passes, on both sides, and the request is put before a person."""
    let_time_pass(PAST_THE_WINDOW)
    Ride.objects.update(created_at=earlier("created_at", PAST_THE_WINDOW))
    stand_in.let_time_pass(round(PAST_THE_WINDOW.total_seconds()))
    put_on_the_list()


def told() -> str:
    answer = ask()
    assert (answer.status_code, answer.json()["code"]) == (409, "ride_cancelled")
    return answer.json()["error"]


# Where a payment may be.


@pytest.mark.parametrize("hours", [-4, -1, -10 / 60, 10 / 60, 1, 4])
def test_a_payment_is_found_and_refunded_whatever_stripes_clock_says(stand_in, hours):
    stand_in.set_clock(hours * HOUR)
    lose_the_answer(stand_in)
    until_past_the_window(stand_in)

    review("undo")

    assert left_with_us(stand_in) == 0
    assert told() == REFUNDED


def test_a_payment_is_found_although_the_rider_has_another_customer_by_now(stand_in):
    lose_the_answer(stand_in)
    until_past_the_window(stand_in)
    customer = payments.create_customer(email=RIDER, source="tok_visa")
    User.objects.filter(email=RIDER).update(stripe_customer_id=customer)

    review("undo")

    assert left_with_us(stand_in) == 0


def test_a_ride_is_undone_although_its_customer_was_deleted_at_stripe(stand_in):
    lose_the_answer(stand_in)
    until_past_the_window(stand_in)
    client().v1.customers.delete(User.objects.get(email=RIDER).stripe_customer_id)

    review("undo")

    assert left_with_us(stand_in) == 0


LISTING = "GET /v1/payment_intents"


def test_where_stripe_lists_nothing_the_payment_that_is_recorded_is_refunded(stand_in):
    put_on_the_list_with_its_charge()
    stand_in.add_fault("customer_missing", path=LISTING)

    review("undo")

    assert left_with_us(stand_in) == 0
    assert told() == REFUNDED


def test_where_stripe_lists_nothing_no_payment_of_another_ride_is_refunded(stand_in):
    put_on_the_list_with_its_charge()
    Ride.objects.update(foreign_key=uuid4())
    stand_in.add_fault("customer_missing", path=LISTING)

    review("undo")

    assert left_with_us(stand_in) == 2000
    assert told() == NONE_SHOWN


def test_where_stripe_lists_nothing_and_none_is_recorded_no_more_is_said_than_is_known(stand_in):
    lose_the_answer(stand_in)
    until_past_the_window(stand_in)
    stand_in.add_fault("customer_missing", path=LISTING)

    review("undo")

    assert told() == NONE_SHOWN


# A rider with more payments than can be looked through in the time.


@pytest.fixture
def crowd(stand_in, monkeypatch) -> Callable[..., None]:
    """Days go by, in which the rider pays for much else, and Stripe's list becomes slow."""
    monkeypatch.setattr(charging, "PAGE", 2)
    monkeypatch.setattr(charging, "LOOKUP_SECONDS", 1)

    def let_days_go_by(days: int = 2) -> None:
        until_past_the_window(stand_in)
        let_time_pass(days * A_DAY)
        Ride.objects.update(created_at=earlier("created_at", days * A_DAY))
        stand_in.let_time_pass(days * 24 * HOUR)
        pay_for_much_else()
        stand_in.add_fault("latency", path=LISTING, seconds=0.2)

    return let_days_go_by


def pay_for_much_else() -> None:
    customer = User.objects.get(email=RIDER).stripe_customer_id
    wanted = {"amount": 700, "currency": "usd", "customer": str(customer)}
    for _ in range(20):
        client().v1.payment_intents.create(wanted)


@pytest.mark.parametrize("days", [0, 2])
def test_of_a_rider_with_too_many_payments_what_is_found_is_refunded(stand_in, crowd, days):
    lose_the_answer(stand_in)
    crowd(days)

    review("undo")

    assert left_with_us(stand_in) == 0
    assert told() == REFUNDED
    assert AuditRecord.objects.get(action="ride.cancelled").data["is_complete"] is False


def test_of_a_rider_with_too_many_payments_nothing_is_said_before_one_is_found(stand_in, crowd):
    never_arrive(stand_in)
    crowd()

    with pytest.raises(CommandError, match="too many to look through"):
        review("undo")

    assert ask().status_code == 503


def test_what_an_undo_had_no_time_to_look_at_is_found_in_the_night_after(stand_in, crowd):
    lose_the_answer(stand_in)
    reconciled("--since-last")
    crowd()
    ReconciledUntil.objects.update(until=earlier("until", 2 * A_DAY + PAST_THE_WINDOW))
    reconciled("--since-last")
    by_hand = client().v1.payment_intents.create(
        charging.wanted(Ride.objects.get()), {"idempotency_key": "by hand"}
    )
    pay_for_much_else()

    review("undo")

    assert left_with_us(stand_in) == 2000
    assert told() == REFUNDED
    [line] = off("--since-last")
    assert line.startswith("cancelled, not refunded")
    assert str(by_hand.latest_charge) in line


# A charge that comes later.


def test_a_charge_that_was_asked_for_anew_and_comes_after_it_takes_no_money(stand_in):
    never_arrive(stand_in)
    ride = Ride.objects.get()
    payments.take_back(ride, idempotency_key=uuid4(), question=1, is_remembered=True)

    for question in (0, 1):
        with pytest.raises((Indeterminate, NeedsReview)):
            payments.charge(ride, question=question)

    assert stand_in.charges() == []


def test_who_was_told_that_they_are_not_charged_is_not_however_late_the_charge_comes(stand_in):
    never_arrive(stand_in)
    put_on_the_list()
    review("undo")
    assert told() == NOT_CHARGED

    let_charge_arrive(Ride.objects.get())

    assert stand_in.charges() == []
    assert run("reconcile").endswith("discrepancies=0")


def test_a_charge_that_is_under_way_is_waited_for_and_then_refunded(stand_in):
    never_arrive(stand_in)
    put_on_the_list()
    stand_in.add_fault("conflict", times=2, path=CHARGING)
    with pytest.raises(CommandError, match="no definite answer"):
        review("undo")
    payments.charge(Ride.objects.get())  # it was under way

    let_time_pass(timedelta(hours=2))
    assert complete_due_keys(10).counts["succeeded"] == 1

    assert left_with_us(stand_in) == 0
    assert told() == NOT_CHARGED


def test_a_charge_whose_answer_stripe_does_not_show_yet_is_waited_for(stand_in, monkeypatch):
    lose_the_answer(stand_in)
    put_on_the_list()
    monkeypatch.setattr(taking_back, "payments_of", lambda ride: iter(()))

    with pytest.raises(CommandError, match="shows no payment under it yet"):
        review("undo")
    assert (the_key().recovery_point, the_key().response_code) == (f"undo {RIDE_CREATED}", None)

    monkeypatch.undo()
    let_time_pass(timedelta(hours=2))
    complete_due_keys(10)
    assert left_with_us(stand_in) == 0


# What is not known is not said.


def test_past_stripes_memory_a_rider_is_told_what_stripe_shows(stand_in):
    never_arrive(stand_in)
    until_past_the_window(stand_in)

    review("undo")

    assert told() == NONE_SHOWN


def test_within_stripes_memory_a_refund_is_all_that_there_was(stand_in):
    lose_the_answer(stand_in)
    put_on_the_list()

    review("undo")

    assert told() == NOT_CHARGED
    assert left_with_us(stand_in) == 0


# The payment that takes no money.


@pytest.fixture
def ride(stand_in: StandIn) -> Ride:
    never_arrive(stand_in)
    return Ride.objects.get()


def make_key_useless(ride: Ride) -> bool:
    return useless.make_key_useless(ride, foreign_key_of(ride))


def all_payments() -> list[dict[str, Any]]:
    listed = asking.pages(client().v1.payment_intents.list, limit=100)
    return [each for page in listed for each in page]


def test_it_is_cancelled_at_once_and_has_neither_customer_nor_charge(ride, stand_in):
    assert make_key_useless(ride)

    [made] = all_payments()
    assert (made["status"], made["customer"], made["latest_charge"]) == ("canceled", None, None)
    assert stand_in.charges() == []


@pytest.mark.parametrize("fault", ["reset_after", "error_after", "error_before", "malformed_json"])
def test_made_without_an_answer_it_is_made_all_the_same(ride, stand_in, fault):
    stand_in.add_fault(fault, times=2, path=CHARGING)
    with pytest.raises(Indeterminate):
        make_key_useless(ride)

    stand_in.clear_faults()
    assert make_key_useless(ride)
    let_charge_arrive(ride)
    assert stand_in.charges() == []


def test_made_twice_it_is_one(ride):
    assert make_key_useless(ride)
    assert make_key_useless(ride)

    assert len(all_payments()) == 1


def test_a_key_that_stripe_knows_can_t_be_made_useless_and_is_said_so(ride):
    payments.charge(ride)

    assert not make_key_useless(ride)


def test_it_is_read_neither_as_a_payment_nor_as_a_declined_card(ride, stand_in):
    make_key_useless(ride)
    [made] = all_payments()
    # As if it had been made for the ride's customer, which is where rides are looked for.
    client().v1.payment_intents.create(
        {
            "amount": 2000,
            "currency": "usd",
            "customer": ride.stripe_customer_id,
            "metadata": made["metadata"],
        }
    )

    assert payments.find_charge(ride) is None
    assert run("reconcile").startswith("charges=0 rides=1 open_requests=1 others=0")


def lookups(stand_in: StandIn) -> Iterator[Callable[[], object]]:
    yield lambda: run("review", "show", str(the_key().pk))
    yield lambda: run("reconcile")
    yield lambda: payments.find_charge(Ride.objects.get())
    yield lambda: review("adopt", str(stand_in.charges()[0]["id"]))


@pytest.mark.parametrize("number", range(4), ids=["show", "reconcile", "look-up", "adopt"])
def test_who_only_looks_leaves_the_key_as_it_is(stand_in, number, sent):
    lose_the_answer(stand_in)
    put_on_the_list()
    sent.clear()

    list(lookups(stand_in))[number]()

    assert sent == []


# The keys that are sent.


def test_every_refund_of_a_decision_has_a_key_of_its_own_and_the_same_again(stand_in, sent):
    lose_the_answer(stand_in)
    stand_in.prune_keys()
    payments.charge(Ride.objects.get())
    stand_in.prune_keys()
    put_on_the_list()
    sent.clear()
    stand_in.add_fault("reset_after", times=4, path="POST /v1/refunds")
    with pytest.raises(CommandError):
        review("undo")
    stand_in.clear_faults()
    let_time_pass(timedelta(hours=2))
    complete_due_keys(10)

    asked = {key: path for path, key in sent}
    charge = str(Ride.objects.get().foreign_key)
    assert None not in asked
    assert asked.pop(charge) == "payment_intents"
    refunding = [key for key, path in asked.items() if path == "refunds"]
    assert len(refunding) == 2
    assert all(charge not in str(key) for key in asked)
    assert len(client().v1.refunds.list().data) == 2
    assert left_with_us(stand_in) == 0


def test_two_processes_that_refund_one_payment_at_once_refund_it_once(ride, stand_in):
    payments.charge(ride)
    seen = list(taking_back.payments_of(ride))
    assert len(seen) == 1

    key = uuid4()
    soon = time.monotonic() + 60
    outcomes = [taking_back._take_back(seen[0], key, 0, soon).outcome for _ in range(2)]

    assert outcomes == ["refund succeeded"] * 2
    assert len(client().v1.refunds.list().data) == 1
