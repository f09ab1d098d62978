"""Refunds and disputes are on the ride soon after their event, as the nightly run writes them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from idempotency.models import JobDelivery, StagedJob
from idempotency.testing.queue import JobsRun
from idempotency.workers.completing import complete_due_keys
from rides import payments
from rides.models import Dispute, Refund, Ride, StripeEvent, User
from rides.payments.client import client
from rides.reconciliation.going_back import TABLES, sightings_of
from rides.reversals.recording import SeenOtherwise, record, record_as_of
from rides.tests.booking import RIDER, ask, the_key
from rides.tests.going_back import off, standings, the_charge
from rides.tests.hooking import WEBHOOK, all_delivered, event, run_jobs, send
from rides.tests.processes import WEBHOOK_SECRET
from rides.tests.reviewing import put_on_the_list, review

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders", "hooked")]


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
def charge(stand_in, riders):
    """The charge of a booked ride."""
    assert ask().status_code == 201
    all_delivered(stand_in)
    run_jobs()  # the receipt
    return the_charge(stand_in)


def every_reversal():
    return [list(table.objects.order_by("pk").values()) for table in (Refund, Dispute)]


# Refunds.


@pytest.mark.parametrize("amount", [None, 500])
def test_a_refund_in_the_dashboard_is_on_the_ride_at_its_event(charge, stand_in, amount):
    refund = stand_in.refund(charge, amount=amount)
    all_delivered(stand_in, "refund.")
    all_delivered(stand_in, "charge.refunded")

    assert run_jobs().failed == 0

    row = Refund.objects.get()
    assert (row.stripe_id, row.stripe_charge_id, row.ride) == (refund, charge, Ride.objects.get())
    assert (row.amount_cents, row.is_ours, row.is_open) == (amount or 2000, False, True)


def test_the_event_of_the_charge_alone_finds_its_refunds(charge, stand_in):
    stand_in.add_fault("event_never", path="refund.")
    refunds = {stand_in.refund(charge, amount=500) for _ in range(3)}
    all_delivered(stand_in, "charge.refunded")

    assert run_jobs().failed == 0

    assert set(Refund.objects.values_list("stripe_id", flat=True)) == refunds


@pytest.mark.parametrize(
    ("type_", "kind"), [("refund.updated", "refund"), ("charge.refunded", "charge")]
)
def test_what_bears_another_cells_mark_asks_for_nothing(charge, type_, kind):
    """That cell has an address of its own, and is told there."""
    of_another = {"installation": "5b1c7a56-2f0c-4df1-8a35-0d3d3ce0a111"}
    about = {"id": "re_1", "object": kind, "status": "pending", "metadata": of_another}
    before = StripeEvent.objects.count()

    assert send(event(type_, about)).status_code == 200

    assert StripeEvent.objects.count() == before
    assert not JobDelivery.objects.exists()
    assert not StagedJob.objects.exists()


def test_a_refund_that_fails_after_all_is_open_at_its_event(charge, stand_in):
    Ride.objects.update(cancelled_at="2026-11-30T08:00Z")
    refund = stand_in.refund(charge)
    all_delivered(stand_in)
    run_jobs()
    assert standings() == [("succeeded", "settled")]

    stand_in.settle(refund, succeeds=False)
    all_delivered(stand_in)
    run_jobs()

    assert standings() == [("failed", "open")]
    assert Refund.objects.get().reason == "lost_or_stolen_card"


def test_events_of_a_refund_out_of_order_come_to_what_stripe_has(charge, stand_in):
    refund = stand_in.refund(charge, status="pending")
    all_delivered(stand_in)
    stand_in.settle(refund, succeeds=True)
    late = {"id": refund, "object": "refund", "status": "pending", "metadata": {}}
    assert send(event("refund.created", late)).status_code == 200

    run_jobs()

    assert Refund.objects.get().status == "succeeded"


def test_an_undoing_that_waits_for_its_refund_ends_at_the_event(stand_in):
    stand_in.add_fault("reset_after", times=2, path="POST /v1/payment_intents")
    ask()
    put_on_the_list()
    stand_in.add_fault("refund_pending", times=1)
    assert review("undo").startswith("pending at the foreign system")
    stand_in.settle(Refund.objects.get().stripe_id, succeeds=True)
    all_delivered(stand_in, "refund.updated")

    assert complete_due_keys(10).counts["succeeded"] == 1

    assert the_key().response_code == 409
    assert standings() == [("succeeded", "settled")]
    assert run_jobs().failed == 0


# Disputes.


def test_a_dispute_is_on_the_ride_from_its_event_to_its_end(charge, stand_in):
    dispute = stand_in.dispute(charge)
    all_delivered(stand_in, "charge.dispute.created")
    run_jobs()
    row = Dispute.objects.get()
    assert (row.stripe_id, row.ride, row.is_open) == (dispute, Ride.objects.get(), True)

    stand_in.settle(dispute, succeeds=True)
    all_delivered(stand_in, "charge.dispute.closed")
    run_jobs()

    assert standings() == [("won", "settled")]


# With the nightly run.


def test_the_nightly_run_finds_nothing_new_after_the_events(charge, stand_in):
    stand_in.refund(charge, amount=500)
    stand_in.dispute(charge)
    all_delivered(stand_in)
    run_jobs()
    before = every_reversal()

    told = off("--since-last")

    assert every_reversal() == before
    assert [line.split(" ")[0] for line in told] == ["refunded,", "disputed"]
    assert off("--since-last") == told


def test_events_find_nothing_new_after_the_nightly_run(charge, stand_in):
    stand_in.add_fault("event_late", seconds=1)
    stand_in.refund(charge, amount=500)
    stand_in.dispute(charge)
    off("--since-last")
    before = every_reversal()
    assert [len(rows) for rows in before] == [1, 1]

    all_delivered(stand_in)
    assert run_jobs().failed == 0

    assert every_reversal() == before


def test_events_that_never_come_are_made_up_for_at_night(charge, stand_in):
    stand_in.add_fault("event_never")
    stand_in.refund(charge)

    off("--since-last")

    assert Refund.objects.count() == 1


def test_the_nightly_run_takes_old_events_away(charge, stand_in, monkeypatch):
    monkeypatch.setattr("rides.webhooks.receiving.BATCH", 3)
    StripeEvent.objects.all().delete()
    aged = {f"evt_{days}": days for days in (30, 29, 9, 8, 8.5, 6, 3, 0)}
    for stripe_id, days in aged.items():
        StripeEvent.objects.create(stripe_id=stripe_id, type="refund.created", object_id="re_1")
        StripeEvent.objects.filter(stripe_id=stripe_id).update(
            received_at=Now() - timedelta(days=days)
        )

    off("--since-last")

    assert set(StripeEvent.objects.values_list("stripe_id", flat=True)) == {
        *("evt_6", "evt_3", "evt_0")
    }


# Of whose charge.


def test_what_another_application_refunds_is_not_recorded(charge, stand_in):
    customer = User.objects.get(email=RIDER).stripe_customer_id
    paying = {"confirm": True, "off_session": True, "metadata": {"order": "17"}}
    wanted = {"amount": 700, "currency": "eur", "customer": customer, **paying}
    others = str(client().v1.payment_intents.create(wanted).latest_charge)
    stand_in.refund(others)
    stand_in.dispute(others)
    all_delivered(stand_in)

    assert run_jobs().failed == 0

    assert standings() == []


@pytest.mark.parametrize(("kind", "stripe_id"), [("refund", "re_1"), ("dispute", "du_1")])
def test_what_stripe_does_not_have_is_not_recorded(kind, stripe_id):
    """As what belongs to a connected account, or to the other mode."""
    assert send(event(f"{kind}.created", {"id": stripe_id, "object": kind})).status_code == 200

    assert run_jobs() == JobsRun(succeeded=1, failed=0)

    assert standings() == []


# Where Stripe does not answer, or two have asked.


def test_a_stripe_that_does_not_answer_is_asked_again(charge, stand_in):
    refund = stand_in.refund(charge)
    all_delivered(stand_in)
    stand_in.add_fault("rate_limit", times=2, path="GET /v1/refunds")
    assert run_jobs().failed == 2
    assert JobDelivery.objects.count() == 2

    JobDelivery.objects.update(handed_over_at="2026-11-01T00:00Z")

    assert run_jobs() == JobsRun(succeeded=2, failed=0)
    assert Refund.objects.get().stripe_id == refund
    assert not JobDelivery.objects.exists()


@pytest.mark.parametrize("is_known", [True, False])
def test_what_was_seen_earlier_does_not_replace_what_was_seen_later(
    charge, stand_in, monkeypatch, is_known
):
    """A job is held up between Stripe's answer and its own commit; another one overtakes it."""
    stand_in.add_fault("event_never", path="charge.refunded")
    refund = stand_in.refund(charge, status="pending")
    all_delivered(stand_in, "refund.")
    if is_known:
        run_jobs()
        assert send(event("refund.updated", {"id": refund, "object": "refund"})).status_code == 200
    look = payments.shown_reversal

    def be_overtaken(kind: type[payments.Reversal], stripe_id: str) -> object:
        monkeypatch.setattr(payments, "shown_reversal", look)
        earlier = look(kind, stripe_id)
        stand_in.settle(stripe_id, succeeds=True)
        with ThreadPoolExecutor(1) as elsewhere:
            elsewhere.submit(record_what_is_there, kind, look(kind, stripe_id)).result()
        return earlier

    monkeypatch.setattr(payments, "shown_reversal", be_overtaken)
    assert run_jobs().failed == 1
    assert Refund.objects.get().status == "succeeded"
    assert JobDelivery.objects.get().last_error.startswith("SeenOtherwise: Somebody else")

    JobDelivery.objects.update(handed_over_at="2026-11-01T00:00Z")
    all_delivered(stand_in, "refund.")

    assert run_jobs() == JobsRun(succeeded=2, failed=0)
    assert Refund.objects.get().status == "succeeded"


def test_of_two_that_write_down_a_refund_for_the_first_time_the_second_looks_again(
    charge, stand_in
):
    refund = stand_in.refund(charge, status="pending")
    earlier = sightings_there(refund)
    stand_in.settle(refund, succeeds=True)
    later = sightings_there(refund)

    with ThreadPoolExecutor(1) as elsewhere:
        with transaction.atomic():
            record(Refund, earlier)
            second = elsewhere.submit(write_down_elsewhere, later)
            with pytest.raises(TimeoutError):
                second.result(timeout=0.3)
        with pytest.raises(SeenOtherwise):
            second.result(timeout=10)

    assert Refund.objects.get().status == "pending"  # until it is looked at again


def sightings_there(refund):
    shown = payments.shown_reversal(payments.Refund, refund)
    assert shown
    return list(sightings_of([shown]))


def write_down_elsewhere(sightings):
    try:
        with transaction.atomic():
            record_as_of({}, Refund, sightings)
    finally:
        connection.close()


def record_what_is_there(kind, shown):
    try:
        record(TABLES[kind], list(sightings_of([shown])))
    finally:
        connection.close()
