"""Reconciling what goes back: by its own time, since the last run, and whatever is still open."""

import json
from datetime import UTC, datetime, timedelta
from time import monotonic
from types import SimpleNamespace

import pytest
from django.core.management import CommandError
from django.db import IntegrityError
from django.db.models.functions import Now

from idempotency.models import IdempotencyKey
from rides.models import Dispute, ReconciledUntil, Refund, Ride, User
from rides.payments import asking, statuses
from rides.payments.client import client
from rides.reconciliation.comparing import Reconciled
from rides.reconciliation.position import (
    LONGEST_WAIT,
    held_back,
    kept_position,
    position_after,
)
from rides.tests.booking import CHARGING, RIDER, ask, run
from rides.tests.factories import IdempotencyKeyFactory
from rides.tests.going_back import DAY, off, reconciled, standings, the_charge

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]

A_WEEK = timedelta(days=7)
NIGHTLY = "--since-last"


@pytest.fixture(autouse=True)
def credential(settings) -> None:
    settings.IDEMPOTENCY = {
        **settings.IDEMPOTENCY,
        "AUTHENTICATE": "rides.authentication.demo_rider",
    }


@pytest.fixture
def old(stand_in, riders):
    """The charge of a ride that was booked 100 days ago."""
    assert ask().status_code == 201
    let_days_pass(stand_in, 100)
    return the_charge(stand_in)


def let_days_pass(stand_in, days):
    """For Stripe and for the rides; and the last run was so long ago, if there was one."""
    stand_in.let_time_pass(days * DAY)
    for row in Ride.objects.all():
        Ride.objects.filter(pk=row.pk).update(created_at=row.created_at - timedelta(days=days))
    for position in ReconciledUntil.objects.all():
        position.until -= timedelta(days=days)
        position.save()


def another_applications_charge() -> str:
    customer = User.objects.get(email=RIDER).stripe_customer_id
    paying = {"confirm": True, "off_session": True, "metadata": {"order": "17"}}
    wanted = {"amount": 700, "currency": "eur", "customer": customer, **paying}
    return str(client().v1.payment_intents.create(wanted).latest_charge)


# Stripe's rate limit.


@pytest.mark.parametrize("listed", ["refunds", "disputes"])
def test_a_rate_limit_in_the_middle_of_what_goes_back_is_waited_for(
    old, stand_in, monkeypatch, listed
):
    waited: list[float] = []
    monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=monotonic, sleep=waited.append))
    stand_in.dispute(old)
    stand_in.add_fault("rate_limit", path=f"GET /v1/{listed}", times=2, seconds=7)

    assert len(off()) == 1
    assert waited == [7, 7]


def test_a_rate_limit_at_an_open_row_is_waited_for(old, stand_in, monkeypatch):
    waited: list[float] = []
    monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=monotonic, sleep=waited.append))
    dispute = stand_in.dispute(old)
    off()
    stand_in.let_time_pass(40 * DAY)
    stand_in.add_fault("rate_limit", path=f"GET /v1/disputes/{dispute}", times=2, seconds=7)

    assert len(off("--all-open")) == 1
    assert waited == [7, 7]


# What is off is told with the ride and the charge.


def test_a_dispute_is_told_until_it_is_won(old, stand_in):
    dispute = stand_in.dispute(old)
    ride = Ride.objects.get()
    expected = f"disputed {ride.pk} {old} 20.00 USD, {dispute} needs_response: fraudulent"

    assert off() == [expected]
    assert off() == [expected]
    stand_in.settle(dispute, succeeds=True)
    assert off() == []


def test_a_lost_dispute_is_told(old, stand_in):
    stand_in.settle(stand_in.dispute(old), succeeds=False)

    [line] = off()
    assert line.startswith("dispute lost")


def test_a_refund_of_an_old_charge_is_told(old, stand_in):
    refund = stand_in.refund(old, amount=500)

    [line] = off()
    assert line == (
        f"refunded, not cancelled {Ride.objects.get().pk} {old} "
        f"5.00 USD, {refund} succeeded: requested_by_customer"
    )


def test_a_refund_is_told_once_where_its_charge_is_in_the_range_too(stand_in, riders):
    ask()
    stand_in.refund(the_charge(stand_in), amount=500)

    assert len(off()) == 1


def test_a_failed_refund_is_told_with_its_reason(old, stand_in):
    stand_in.settle(stand_in.refund(old), succeeds=False)

    [line] = off()
    assert line.startswith("refund failed")
    assert line.endswith("failed: lost_or_stolen_card")


def test_programs_are_told_how_many_there_are(old, stand_in):
    stand_in.dispute(old)

    told = json.loads(reconciled("--json"))

    assert (told["refunds"], told["disputes"], told["open_rows"]) == (0, 1, 1)
    assert [each["kind"] for each in told["discrepancies"]] == ["disputed"]


# By its own time.


def test_what_was_made_outside_the_range_is_not_looked_at(old, stand_in):
    stand_in.dispute(old)
    stand_in.let_time_pass(3 * DAY)

    assert off() == []
    assert Dispute.objects.count() == 0


def test_all_that_is_open_is_asked_for_whatever_its_age(old, stand_in):
    dispute = stand_in.dispute(old)
    reconciled()
    stand_in.let_time_pass(90 * DAY)
    stand_in.settle(dispute, succeeds=False)
    assert off() == []

    [line] = off("--all-open")

    assert line.startswith("dispute lost")
    assert standings() == [("lost", "open")]


def test_what_stripe_has_no_more_is_told(old, stand_in):
    stand_in.dispute(old)
    reconciled()
    Dispute.objects.update(stripe_id="du_nowhere", made_at=datetime.now(UTC) - A_WEEK)

    [seen, missing] = sorted(off("--all-open"))

    assert seen.startswith("disputed")
    assert missing.startswith("not at Stripe any more")


# Since the last run.


def test_the_first_run_looks_at_a_day_and_keeps_where_it_ended(stand_in, riders):
    before = datetime.now(UTC)

    run("reconcile", NIGHTLY)

    assert before <= kept_position() <= datetime.now(UTC) + timedelta(seconds=1)


def test_nothing_is_missed_however_long_ago_the_last_run_was(old, stand_in):
    reconciled(NIGHTLY)
    stand_in.dispute(old)
    let_days_pass(stand_in, 12)

    [line] = off(NIGHTLY)

    assert line.startswith("disputed")


def test_a_charge_without_a_ride_of_since_the_last_run_is_found(stand_in, riders):
    reconciled(NIGHTLY)
    ask()
    Ride.objects.all().delete()
    let_days_pass(stand_in, 5)

    assert "charge without ride" in reconciled(NIGHTLY)


def test_a_refund_that_fails_weeks_later_is_found(old, stand_in):
    refund = stand_in.refund(old)
    Ride.objects.update(cancelled_at=datetime.now(UTC))
    reconciled(NIGHTLY)
    assert standings() == [("succeeded", "settled")]
    let_days_pass(stand_in, 25)
    reconciled(NIGHTLY)
    stand_in.settle(refund, succeeds=False)

    [line] = off(NIGHTLY)

    assert line.startswith("refund failed")
    assert Refund.objects.get().is_open


def test_a_dispute_that_is_decided_months_later_is_found(old, stand_in):
    dispute = stand_in.dispute(old)
    reconciled(NIGHTLY)
    let_days_pass(stand_in, 90)
    ReconciledUntil.objects.update(until=datetime.now(UTC))
    stand_in.settle(dispute, succeeds=False)

    [line] = off(NIGHTLY)

    assert line.startswith("dispute lost")


def test_a_dispute_that_was_settled_by_hand_and_is_lost_weeks_later_is_found(old, stand_in):
    dispute = stand_in.dispute(old)
    reconciled(NIGHTLY)
    Dispute.objects.update(settled_at=Now(), settled_by="ann", settled_note="Ticket 12")
    let_days_pass(stand_in, 25)
    assert off(NIGHTLY) == []
    stand_in.settle(dispute, succeeds=False)

    [line] = off(NIGHTLY)

    assert line.startswith("dispute lost")
    assert standings() == [("lost", "open")]


def test_what_happens_at_a_stripe_whose_clock_is_behind_is_not_missed(stand_in, riders):
    run("reconcile", NIGHTLY)
    stand_in.set_clock(-3 * 3600)
    ask()
    Ride.objects.all().delete()

    assert "charge without ride" in reconciled(NIGHTLY)


def test_a_run_that_stripe_did_not_answer_does_not_count(old, stand_in):
    stand_in.add_fault("reset_before", path="GET /v1/disputes")

    with pytest.raises(CommandError) as failure:
        run("reconcile", NIGHTLY)

    assert failure.value.returncode == 2
    assert kept_position() is None


def test_a_status_that_stripe_does_not_document_is_not_believed(old, stand_in, monkeypatch):
    dispute = stand_in.dispute(old)
    monkeypatch.delitem(statuses.DISPUTES, "needs_response")

    with pytest.raises(CommandError, match="A dispute is not what was asked for") as failure:
        run("reconcile", NIGHTLY)

    assert failure.value.returncode == 2
    assert f'"dispute": "{dispute}", "status": "needs_response"' in str(failure.value)
    assert not Dispute.objects.filter(stripe_id=dispute).exists()


def test_a_refund_of_ours_without_a_status_is_named(old, stand_in):
    refund = stand_in.refund(old, status=None)

    with pytest.raises(CommandError, match=f'"refund": "{refund}", "status": null') as failure:
        run("reconcile", NIGHTLY)

    assert failure.value.returncode == 2


def test_an_open_row_that_has_a_status_of_no_meaning_is_named(old, stand_in, monkeypatch):
    dispute = stand_in.dispute(old)
    off()
    stand_in.let_time_pass(40 * DAY)
    monkeypatch.delitem(statuses.DISPUTES, "needs_response")

    with pytest.raises(CommandError, match=dispute) as failure:
        run("reconcile", "--all-open")

    assert failure.value.returncode == 2


def test_what_another_application_does_is_passed_over_before_it_is_judged(
    stand_in, riders, monkeypatch
):
    monkeypatch.delitem(statuses.DISPUTES, "needs_response")
    refunded, disputed = another_applications_charge(), another_applications_charge()
    stand_in.refund(refunded, status=None)
    stand_in.dispute(disputed)

    told = run("reconcile", NIGHTLY)

    assert "others=2 refunds=0 disputes=0" in told
    assert (Refund.objects.count(), Dispute.objects.count()) == (0, 0)


def test_another_range_does_not_count_as_a_nightly_run(old):
    reconciled("--from", "2020-01-01")

    assert kept_position() is None


def test_a_debit_of_no_ride_that_succeeds_nights_later_is_found(stand_in, riders):
    stand_in.add_fault("processing", times=1, path=CHARGING)
    assert ask().status_code == 202
    IdempotencyKey.objects.all().delete()
    Ride.objects.all().delete()
    reconciled(NIGHTLY)
    let_days_pass(stand_in, 5)
    assert off(NIGHTLY) == []
    let_days_pass(stand_in, 2)
    [payment] = stand_in.payment_intents()["waiting"]
    stand_in.settle(payment, succeeds=True)

    [line] = off(NIGHTLY)

    assert line.startswith("charge without ride")


def test_a_charge_that_failed_holds_no_run_back(stand_in, riders):
    stand_in.add_fault("processing", times=1, path=CHARGING)
    assert ask().status_code == 202
    IdempotencyKey.objects.all().delete()
    reconciled(NIGHTLY)
    held_at = kept_position()
    [payment] = stand_in.payment_intents()["waiting"]
    stand_in.settle(payment, succeeds=False)

    reconciled(NIGHTLY)

    assert kept_position() > held_at


def test_a_charge_that_stays_under_way_holds_the_next_run_back_for_a_month_at_most():
    now = datetime.now(UTC)

    assert held_back(now, now, now - timedelta(days=40)) == now - LONGEST_WAIT


def test_the_next_run_begins_before_a_request_that_is_still_open(stand_in, riders):
    assert ask(rider="user-3ds@example.com").status_code == 202

    reconciled(NIGHTLY)

    assert kept_position() == IdempotencyKey.objects.get().created_at


def test_a_request_that_ends_while_the_run_looks_is_seen_by_the_next_one(
    stand_in, riders, monkeypatch
):
    stand_in.add_fault("processing", times=1, path=CHARGING)
    ask()
    began = IdempotencyKey.objects.get().created_at
    monkeypatch.setattr(
        "rides.management.commands.reconcile.look",
        lambda *where, **options: IdempotencyKey.objects.all().delete() and Reconciled(),
    )

    reconciled(NIGHTLY)

    assert kept_position() == began


def test_a_request_that_stays_open_holds_the_next_run_back_for_a_month_only(db):
    key = IdempotencyKeyFactory()
    now = datetime.now(UTC)
    IdempotencyKey.objects.filter(pk=key.pk).update(created_at=now - timedelta(days=90))

    assert position_after(now) == now - LONGEST_WAIT


def test_there_is_one_position(db):
    with pytest.raises(IntegrityError):
        ReconciledUntil.objects.create(id=2, until=datetime.now(UTC))
