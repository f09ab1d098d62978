"""Refunds and disputes are rows of the ride's history: who writes each, and when it is settled."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from idempotency.models import StagedJob
from idempotency.tests.constraints import constraint_of
from rides.models import Dispute, Refund, Ride
from rides.payments.client import client
from rides.tasks import close_payment
from rides.tests.booking import RIDER_WITH_BAD_CARD, ask
from rides.tests.factories import RideFactory
from rides.tests.going_back import DAY, reconciled, standings, the_charge
from rides.tests.reviewing import put_on_the_list, review

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]


@pytest.fixture(autouse=True)
def credential(settings) -> None:
    settings.IDEMPOTENCY = {
        **settings.IDEMPOTENCY,
        "AUTHENTICATE": "rides.authentication.demo_rider",
    }


@pytest.fixture
def booked(stand_in, riders):
    """A ride that was booked and paid for; its charge."""
    assert ask().status_code == 201
    return the_charge(stand_in)


@pytest.fixture
def unanswered(stand_in, riders):
    """A ride that is paid for, whose request waits for a person."""
    stand_in.add_fault("reset_after", times=2, path="POST /v1/payment_intents")
    ask()
    put_on_the_list()


# Who writes them.


def test_an_undo_writes_its_refunds_down(unanswered, stand_in):
    review("undo")

    refund, ride = Refund.objects.get(), Ride.objects.get()
    assert (refund.ride, refund.status, refund.is_ours) == (ride, "succeeded", True)
    assert (refund.amount_cents, refund.currency) == (2000, "usd")
    assert refund.stripe_charge_id is not None
    assert refund.stripe_id == client().v1.refunds.list().data[0].id
    assert not refund.is_open
    assert refund.settled_by == ""


def test_what_failed_before_an_undo_is_settled_with_it(unanswered, stand_in):
    stand_in.settle(stand_in.refund(the_charge(stand_in)), succeeds=False)
    put_on_the_list()
    with pytest.raises(Exception, match="did not reach the rider"):
        review("undo")
    reconciled()
    assert standings() == [("failed", "open")]

    review("run-again")

    assert standings() == [("failed", "settled"), ("succeeded", "settled")]


def test_the_refund_of_a_payment_that_was_refused_too_late_is_written_down(stand_in, riders):
    ask(rider=RIDER_WITH_BAD_CARD)
    closing = StagedJob.objects.get(job_name=close_payment.module_path).job_args["kwargs"]
    paying = {"payment_method": "pm_card_visa", "return_url": "http://127.0.0.1:1/"}
    client().v1.payment_intents.confirm(closing["payment_id"], paying)

    close_payment.call(**closing, settling=transaction.atomic)

    refund = Refund.objects.get()
    assert refund.ride == Ride.objects.get()
    assert refund.stripe_payment_intent_id == closing["payment_id"]
    assert (refund.status, refund.is_open) == ("succeeded", False)


def test_a_refund_in_the_dashboard_is_written_down_by_the_reconciliation(booked, stand_in):
    refund_id = stand_in.refund(booked, amount=500)

    reconciled()

    refund = Refund.objects.get()
    assert (refund.stripe_id, refund.amount_cents, refund.is_ours) == (refund_id, 500, False)
    assert (refund.ride, refund.stripe_charge_id) == (Ride.objects.get(), booked)
    assert refund.is_open


def test_a_dispute_is_written_down_by_the_reconciliation(booked, stand_in):
    dispute_id = stand_in.dispute(booked)

    reconciled()

    dispute = Dispute.objects.get()
    assert (dispute.stripe_id, dispute.status, dispute.reason) == (
        *(dispute_id, "needs_response"),
        "fraudulent",
    )
    assert (dispute.ride, dispute.is_open) == (Ride.objects.get(), True)


def test_what_is_of_a_lost_ride_is_written_down_without_one(booked, stand_in):
    Ride.objects.all().delete()
    stand_in.dispute(booked)

    reconciled()

    assert Dispute.objects.get().ride is None


def test_what_goes_back_of_another_applications_charges_is_not_ours(stand_in, riders):
    other = client().v1.payment_intents.create(
        {
            "amount": 700,
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "confirm": True,
            "off_session": True,
        }
    )
    stand_in.refund(str(other.latest_charge), amount=100)
    stand_in.dispute(str(other.latest_charge))

    assert reconciled().endswith("refunds=0 disputes=0 open_rows=0 discrepancies=0\n")
    assert standings() == []


# When they are settled.


@pytest.mark.parametrize(
    ("succeeds", "standing"), [(True, ("won", "settled")), (False, ("lost", "open"))]
)
def test_a_dispute_that_is_won_is_settled_by_itself_and_a_lost_one_is_not(
    booked, stand_in, succeeds, standing
):
    dispute = stand_in.dispute(booked)
    reconciled()
    stand_in.settle(dispute, succeeds=succeeds)

    reconciled()

    assert standings() == [standing]


def test_a_dispute_that_is_won_for_a_cancelled_ride_leaves_money_that_is_not_ours(booked, stand_in):
    stand_in.settle(stand_in.dispute(booked), succeeds=True)
    Ride.objects.update(cancelled_at=Now())

    assert "cancelled, not refunded" in reconciled()
    assert standings() == [("won", "open")]


def test_a_dispute_that_is_won_for_a_lost_ride_leaves_money_that_is_not_ours(booked, stand_in):
    Ride.objects.all().delete()
    stand_in.settle(stand_in.dispute(booked), succeeds=True)

    assert reconciled().count("charge without ride") == 2  # of the charge, and of the dispute
    assert standings() == [("won", "open")]


def test_once_that_money_is_refunded_it_is_settled(booked, stand_in):
    stand_in.settle(stand_in.dispute(booked), succeeds=True)
    Ride.objects.update(cancelled_at=Now())
    reconciled()
    stand_in.refund(booked)

    reconciled()

    assert sorted(standings()) == [("succeeded", "settled"), ("won", "settled")]


def test_a_refund_of_the_dashboard_is_settled_once_its_ride_is_cancelled(booked, stand_in):
    stand_in.refund(booked)
    reconciled()
    assert standings() == [("succeeded", "open")]
    Ride.objects.update(cancelled_at=Now())

    reconciled()

    assert standings() == [("succeeded", "settled")]


def test_a_refund_of_a_charge_that_pays_for_no_ride_is_settled(booked, stand_in):
    Ride.objects.update(stripe_charge_id="ch_another")
    stand_in.refund(booked)

    reconciled()

    assert standings() == [("succeeded", "settled")]


def test_a_refund_that_is_under_way_is_open_and_nothing_is_off(booked, stand_in):
    stand_in.refund(booked, status="pending")
    Ride.objects.update(cancelled_at=Now())

    assert "open_rows=1" in reconciled()
    assert "pending" not in reconciled()
    assert standings() == [("pending", "open")]


def test_a_refund_that_had_succeeded_and_fails_is_open_again(unanswered, stand_in):
    review("undo")
    refund = Refund.objects.get()
    stand_in.settle(refund.stripe_id, succeeds=False)

    assert "refund failed" in reconciled()

    refund.refresh_from_db()
    assert (refund.status, refund.reason) == ("failed", "lost_or_stolen_card")
    assert refund.is_open


def settled_by_ann(row):
    type(row).objects.update(settled_at=Now(), settled_by="ann", settled_note="Ticket 12")


def test_what_a_person_has_settled_stays_so(booked, stand_in):
    dispute = stand_in.dispute(booked, status="warning_needs_response")
    stand_in.refund(booked, amount=500)
    reconciled()
    settled_by_ann(Dispute.objects.get())
    settled_by_ann(Refund.objects.get())
    assert off_is_empty()

    stand_in.settle(dispute, succeeds=True)

    assert off_is_empty()
    assert Dispute.objects.get().settled_by == "ann"


def off_is_empty() -> bool:
    return reconciled().endswith("open_rows=0 discrepancies=0\n")


def test_what_a_person_has_settled_is_open_again_once_the_money_is_taken(booked, stand_in):
    dispute = stand_in.dispute(booked)
    reconciled()
    settled_by_ann(Dispute.objects.get())
    stand_in.settle(dispute, succeeds=False)

    assert "dispute lost" in reconciled()

    assert Dispute.objects.get().settled_by == ""
    assert standings() == [("lost", "open")]


def test_it_is_written_down_once_however_often_it_is_seen(booked, stand_in):
    stand_in.refund(booked, amount=500, status="pending")
    stand_in.dispute(booked)

    for _ in range(3):
        reconciled()

    assert (Refund.objects.count(), Dispute.objects.count()) == (1, 1)


def test_a_refund_of_long_ago_is_dated_by_stripe(booked, stand_in):
    stand_in.refund(booked)
    stand_in.let_time_pass(3 * DAY)

    reconciled("--from", str(datetime.now(UTC) - timedelta(days=4)))

    age = datetime.now(UTC) - Refund.objects.get().made_at
    assert timedelta(days=3) <= age < timedelta(days=4)


# The database's own rules.


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({"currency": "USD"}, "currency_is_an_iso_code"),
        ({"status": ""}, "has_an_id_and_a_status"),
        ({"stripe_id": ""}, "has_an_id_and_a_status"),
        ({"settled_by": "ann", "settled_note": "why"}, "is_settled_by_somebody_who_says_why"),
        ({"settled_by": "ann", "settled_at": Now()}, "is_settled_by_somebody_who_says_why"),
        ({"settled_at": Now()}, "is_settled_by_itself_once_it_has_ended"),
    ],
)
@pytest.mark.parametrize(
    ("table", "open_in"), [(Refund, "pending"), (Dispute, "lost")], ids=["refund", "dispute"]
)
def test_a_row_that_makes_no_sense_is_refused(db, table, open_in, fields, constraint):
    own = {"is_ours": True} if table is Refund else {}
    row = {
        "ride": RideFactory(),
        "stripe_id": "re_1",
        "amount_cents": 2000,
        "currency": "usd",
        "status": open_in,
        "made_at": Now(),
        **own,
    }

    with pytest.raises(IntegrityError) as refusal, transaction.atomic():
        table.objects.create(**{**row, **fields})
    name = f"{table._meta.model_name}_{constraint}"
    assert constraint_of(refusal.value) == name


def test_an_id_of_stripes_has_one_row(booked, stand_in):
    stand_in.refund(booked)
    reconciled()
    refund = Refund.objects.get()
    refund.pk = None

    with pytest.raises(IntegrityError):
        refund.save(force_insert=True)
