"""Reconciling: each way in which Stripe's ledger and the rides can differ is made, and found."""

import io
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command

from idempotency.exceptions import Indeterminate
from idempotency.models import IdempotencyKey
from rides import payments
from rides.models import Ride, User
from rides.payments import asking
from rides.payments.client import client
from rides.reconciliation.comparing import Reconciled, reconcile
from rides.reconciliation.rules import Discrepancy, Kind
from rides.tests.factories import RideFactory

pytestmark = pytest.mark.django_db(transaction=True)

CHARGING = "POST /v1/payment_intents"
A_DAY = timedelta(days=1)
A_MINUTE = timedelta(minutes=1)


@pytest.fixture
def booked(rider: User) -> Callable[..., Ride]:
    """Book a ride as the operation does, up to the answer with this status."""

    def book(*, status: int | None = 201, recorded: bool = True, **fields: object) -> Ride:
        ride = RideFactory(user=rider, **fields)
        charge = payments.charge(ride)
        if recorded:
            Ride.objects.filter(pk=ride.pk).update(
                stripe_charge_id=charge.id, stripe_payment_intent_id=charge.payment_intent_id
            )
        answer(ride, status)
        ride.refresh_from_db()
        return ride

    return book


def answer(ride: Ride, status: int | None) -> None:
    """Finish the ride's request; with no status it stays open."""
    if status is None:
        return
    IdempotencyKey.objects.filter(ride=ride).update(
        recovery_point="finished",
        response_code=status,
        response_body=b"{}",
        response_content_type="application/json",
    )


def refund(charge_id: str | None, **more: int) -> None:
    client().v1.refunds.create({"charge": str(charge_id), **more})


def today() -> Reconciled:
    now = datetime.now(UTC)
    return reconcile(now - A_DAY, now + A_MINUTE)


def off() -> list[tuple[Kind, int | None, str | None]]:
    return [(each.kind, each.ride_id, each.charge_id) for each in today().discrepancies]


# What agrees.


def test_nothing_is_off_where_nothing_happened(stand_in, db):
    assert today() == Reconciled()


def test_a_ride_and_its_charge_agree(booked):
    booked()

    assert today() == Reconciled(charges=1, rides=1)


def test_a_declined_ride_has_no_charge_and_needs_none(rider_with_bad_card):
    ride = RideFactory(user=rider_with_bad_card)
    with pytest.raises(payments.CardDeclined):
        payments.charge(ride)
    answer(ride, 402)

    assert today() == Reconciled(charges=0, rides=1)


@pytest.mark.parametrize("charged", [True, False])
def test_a_request_that_is_not_finished_may_have_a_charge_or_none(booked, rider, charged):
    if charged:
        booked(recorded=False, status=None)
    else:
        RideFactory(user=rider)

    assert today() == Reconciled(charges=int(charged), rides=1, open_requests=1)


def test_a_ride_whose_key_is_reaped_agrees(booked):
    booked()
    IdempotencyKey.objects.all().delete()

    assert off() == []


def test_a_cancelled_ride_whose_charge_was_refunded_agrees(booked):
    recorded, unrecorded = booked(status=409), booked(status=409, recorded=False)
    for charge in payments.charges_between(datetime.now(UTC) - A_DAY, datetime.now(UTC) + A_DAY):
        for each in charge:
            refund(each.id)
    Ride.objects.update(cancelled_at=datetime.now(UTC))

    assert {recorded.pk, unrecorded.pk} == set(Ride.objects.values_list("pk", flat=True))
    assert off() == []


def test_a_ride_that_is_being_cancelled_agrees(booked):
    ride = booked(status=None)
    refund(ride.stripe_charge_id)

    assert off() == []


def test_a_second_charge_that_was_refunded_agrees(booked, stand_in):
    stand_in.add_fault("key_pruned", path=CHARGING, times=1)
    ride = booked()
    second = payments.charge(ride)
    refund(second.id)

    assert off() == []


# What does not.


def test_a_charge_without_a_ride_is_found(booked):
    ride = booked()
    charge_id = ride.stripe_charge_id
    ride.delete()

    assert off() == [(Kind.CHARGE_WITHOUT_RIDE, None, charge_id)]


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"foreign_key": "not a UUID"},
        {"foreign_key": str(uuid.uuid4()), "installation": str(uuid.uuid4())},
    ],
)
def test_what_else_the_account_is_charged_for_is_counted_apart(rider, metadata):
    client().v1.payment_intents.create(
        {
            "amount": 700,
            "currency": "eur",
            "customer": str(rider.stripe_customer_id),
            "confirm": True,
            "off_session": True,
            "metadata": metadata,
        }
    )

    assert today() == Reconciled(others=1)


def test_the_charge_of_another_ride_with_a_restored_number_is_found(booked, rider):
    ride = booked()
    number, charge_id = ride.pk, ride.stripe_charge_id
    ride.delete()
    RideFactory(pk=number, user=rider)

    assert off() == [(Kind.CHARGE_WITHOUT_RIDE, None, charge_id)]


def test_a_charge_whose_request_was_finished_without_it_is_found(booked, stand_in):
    ride = booked(status=402, recorded=False)

    [charge] = stand_in.charges()
    assert off() == [(Kind.CHARGE_WITHOUT_RIDE, ride.pk, charge["id"])]


def test_a_ride_that_was_confirmed_without_a_charge_is_found(rider):
    ride = RideFactory(user=rider)
    answer(ride, 201)

    assert off() == [(Kind.RIDE_WITHOUT_CHARGE, ride.pk, None)]


def test_a_ride_whose_charge_stripe_does_not_have_is_found(booked):
    ride = booked()
    Ride.objects.update(stripe_charge_id="ch_nowhere")
    found = off()

    assert (Kind.RIDE_WITHOUT_CHARGE, ride.pk, "ch_nowhere") in found
    assert (Kind.CHARGE_WITHOUT_RIDE, ride.pk, ride.stripe_charge_id) in found
    assert len(found) == 2


def test_an_amount_that_differs_is_found(booked):
    ride = booked()
    Ride.objects.update(amount_cents=2500)

    [found] = today().discrepancies
    assert found == Discrepancy(
        kind=Kind.AMOUNT_DIFFERS,
        ride_id=ride.pk,
        charge_id=ride.stripe_charge_id,
        detail="20.00 USD charged, the fare is 25.00 USD",
    )


def test_a_currency_that_differs_is_found(booked):
    ride = booked()
    Ride.objects.update(currency="eur")

    assert off() == [(Kind.AMOUNT_DIFFERS, ride.pk, ride.stripe_charge_id)]


def test_the_charges_of_two_rides_that_were_swapped_are_found(booked):
    one, other = booked(), booked()
    Ride.objects.filter(pk=one.pk).update(stripe_charge_id=None)
    Ride.objects.filter(pk=other.pk).update(stripe_charge_id=one.stripe_charge_id)
    Ride.objects.filter(pk=one.pk).update(stripe_charge_id=other.stripe_charge_id)

    assert set(off()) == {
        (Kind.PAID_BY_ANOTHER, one.pk, other.stripe_charge_id),
        (Kind.PAID_BY_ANOTHER, other.pk, one.stripe_charge_id),
    }


def test_a_charge_of_another_customers_is_found(booked):
    ride = booked()
    paid_by = ride.stripe_customer_id
    Ride.objects.update(stripe_customer_id="cus_other")

    [found] = today().discrepancies
    assert found == Discrepancy(
        kind=Kind.PAID_BY_ANOTHER,
        ride_id=ride.pk,
        charge_id=ride.stripe_charge_id,
        detail=f"charged to {paid_by}, the ride is cus_other's",
    )


def test_a_ride_that_kept_neither_customer_nor_key_is_not_compared_by_them(booked):
    booked()
    Ride.objects.update(stripe_customer_id=None, foreign_key=None)

    assert off() == []


def test_a_rate_limit_in_the_middle_of_the_ledger_is_waited_for(booked, stand_in, monkeypatch):
    waited: list[float] = []
    monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=monotonic, sleep=waited.append))
    booked()
    stand_in.add_fault("rate_limit", path="GET /v1/charges", times=2, seconds=7)

    assert off() == []
    assert waited == [7, 7]


def test_a_rate_limit_that_does_not_end_ends_the_run(booked, stand_in, monkeypatch):
    waited: list[float] = []
    monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=monotonic, sleep=waited.append))
    stand_in.add_fault("rate_limit", path="GET /v1/charges", seconds=0)

    with pytest.raises(Indeterminate, match="HTTP 429"):
        today()

    assert waited == list(asking.PAUSES_SECONDS)


@pytest.mark.parametrize("recorded", [True, False])
def test_two_charges_for_one_key_are_found(booked, stand_in, recorded):
    stand_in.add_fault("key_pruned", path=CHARGING, times=1)
    ride = booked(recorded=recorded, status=201 if recorded else None)
    payments.charge(ride)

    [found] = today().discrepancies
    assert (found.kind, found.ride_id) == (Kind.TWO_CHARGES, ride.pk)
    both = {charge["id"] for charge in stand_in.charges()}
    assert {found.charge_id, *found.detail.split()} >= both


def test_a_second_charge_is_found_even_if_its_ride_is_of_another_day(booked, stand_in):
    stand_in.add_fault("key_pruned", path=CHARGING, times=1)
    ride = booked()
    second = payments.charge(ride)
    Ride.objects.update(created_at=ride.created_at - timedelta(days=7))

    assert off() == [(Kind.TWO_CHARGES, ride.pk, second.id)]


@pytest.mark.parametrize("recorded", [True, False])
def test_a_cancelled_ride_that_is_still_paid_for_is_found(booked, stand_in, recorded):
    ride = booked(status=409, recorded=recorded)
    Ride.objects.update(cancelled_at=datetime.now(UTC))

    [charge] = stand_in.charges()
    assert off() == [(Kind.NOT_REFUNDED, ride.pk, charge["id"])]


@pytest.mark.parametrize("part", [{}, {"amount": 500}])
def test_a_refund_of_a_ride_that_is_not_cancelled_is_found(booked, part):
    ride = booked()
    refund(ride.stripe_charge_id, **part)

    assert off() == [(Kind.NOT_CANCELLED, ride.pk, ride.stripe_charge_id)]


# The range.


def test_a_charge_just_outside_the_range_still_belongs_to_its_ride(booked):
    ride = booked()
    Ride.objects.update(created_at=ride.created_at - A_DAY)

    report = reconcile(ride.created_at - A_DAY, ride.created_at - A_DAY / 2)

    assert report == Reconciled(charges=0, rides=1)


def test_what_is_outside_the_range_is_not_looked_at(booked):
    ride = booked()
    Ride.objects.update(amount_cents=1)

    report = reconcile(ride.created_at - A_DAY, ride.created_at - A_MINUTE)

    assert report == Reconciled()


# The command.


def run(*arguments: str) -> str:
    said = io.StringIO()
    call_command("reconcile", *arguments, stdout=said)
    return said.getvalue()


def test_the_command_says_what_was_compared(booked):
    booked()

    assert run() == (
        "charges=1 rides=1 open_requests=0 others=0 refunds=0 disputes=0 "
        "open_rows=0 discrepancies=0\n"
    )


def test_the_command_fails_with_a_table_when_something_is_off(booked):
    ride = booked()
    Ride.objects.update(amount_cents=2500)
    said = io.StringIO()

    with pytest.raises(CommandError) as failure:
        call_command("reconcile", stdout=said)

    assert failure.value.returncode == 1
    title, row, total = said.getvalue().splitlines()
    assert title.split() == ["what", "ride", "charge", "detail"]
    assert row.split() == [
        *("amount", "differs", str(ride.pk), str(ride.stripe_charge_id)),
        *("20.00", "USD", "charged,", "the", "fare", "is", "25.00", "USD"),
    ]
    assert total.endswith("discrepancies=1")


def test_the_command_prints_json(booked):
    ride = booked()
    Ride.objects.update(amount_cents=2500)
    said = io.StringIO()

    with pytest.raises(CommandError):
        call_command("reconcile", "--json", stdout=said)

    told = json.loads(said.getvalue())
    assert (told["charges"], told["rides"], told["open_requests"]) == (1, 1, 0)
    assert told["discrepancies"] == [
        {
            "kind": "amount differs",
            "ride_id": ride.pk,
            "charge_id": ride.stripe_charge_id,
            "detail": "20.00 USD charged, the fare is 25.00 USD",
        }
    ]
    assert datetime.fromisoformat(told["to"]) - datetime.fromisoformat(told["from"]) == A_DAY


def test_the_command_takes_a_range(booked):
    booked()

    assert run("--from", "2020-01-01", "--to", "2020-01-02T12:00+02:00").startswith("charges=0")


@pytest.mark.parametrize(
    "arguments", [("--from", "yesterday"), ("--from", "2020-01-02", "--to", "2020-01-01")]
)
def test_the_command_refuses_what_is_no_range(stand_in, arguments):
    with pytest.raises(CommandError):
        run(*arguments)


def test_the_command_says_so_when_stripe_does_not_answer(stand_in, booked):
    booked()
    stand_in.add_fault("reset_before", path="GET /v1/charges")

    with pytest.raises(CommandError, match="did not show its ledger") as failure:
        run()
    assert failure.value.returncode == 2
