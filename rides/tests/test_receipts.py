"""The receipt: what is in it, and that one delivery is one e-mail and one audit record."""

import uuid
from datetime import UTC, datetime

import pytest
from django.db import transaction

from idempotency.exceptions import JobFailed
from idempotency.jobs import run_job
from idempotency.models import JobDelivery
from rides.models import AuditRecord, Ride
from rides.tasks import send_ride_receipt
from rides.tests.factories import RideFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def ride() -> Ride:
    return RideFactory(
        created_at=datetime(2026, 11, 24, 8, 30, tzinfo=UTC),
        stripe_payment_intent_id="pi_1",
        stripe_charge_id="ch_1",
    )


def arguments_for(ride: Ride) -> dict[str, object]:
    return {
        "ride_id": ride.pk,
        "amount_cents": ride.amount_cents,
        "currency": ride.currency,
        "user_id": ride.user_id,
    }


def deliver(job_id: uuid.UUID, ride: Ride) -> None:
    run_job.call(str(job_id), send_ride_receipt.module_path, [], arguments_for(ride))


def owe_receipt() -> uuid.UUID:
    job_id = uuid.uuid4()
    JobDelivery.objects.create(
        job_id=job_id, job_name=send_ride_receipt.module_path, job_args={"args": [], "kwargs": {}}
    )
    return job_id


def test_a_receipt_says_what_was_flown_and_what_it_cost(ride, mailoutbox):
    send_ride_receipt.call(**arguments_for(ride), settling=transaction.atomic)

    [mail] = mailoutbox
    assert mail.to == [ride.user.email]
    assert mail.subject == f"Your receipt for ride {ride.pk}"
    assert mail.body.splitlines() == [
        "Thank you for flying with Rocket Rides.",
        "",
        f"Ride:    {ride.pk}",
        "Date:    2026-11-24 08:30 UTC",
        "From:    37.7793, -122.4193",
        "To:      34.0522, -118.2437",
        "Amount:  20.00 USD",
        "Charge:  ch_1",
    ]


@pytest.mark.parametrize(
    ("degrees", "shown"), [("0", "0"), ("-0.0000000001", "-0.0000000001"), ("100", "100")]
)
def test_places_are_written_as_people_write_them(degrees, shown, mailoutbox):
    ride = RideFactory(origin_lon=degrees)

    send_ride_receipt.call(**arguments_for(ride), settling=transaction.atomic)

    assert f"From:    37.7793, {shown}" in mailoutbox[0].body.splitlines()


def test_a_receipt_leaves_an_audit_record(ride):
    send_ride_receipt.call(**arguments_for(ride), settling=transaction.atomic)

    record = AuditRecord.objects.get()
    assert record.action == "receipt.sent"
    assert (record.resource_type, record.resource_id) == ("ride", ride.pk)
    assert record.user == ride.user
    assert record.data == {"amount_cents": 2000, "currency": "usd"}


def test_a_job_that_is_delivered_twice_sends_one_receipt(ride, mailoutbox):
    job_id = owe_receipt()

    deliver(job_id, ride)
    deliver(job_id, ride)

    assert len(mailoutbox) == 1
    assert AuditRecord.objects.count() == 1
    assert not JobDelivery.objects.exists()


def test_a_receipt_that_cannot_be_mailed_is_still_owed(ride, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    job_id = owe_receipt()

    with pytest.raises(JobFailed, match="ConnectionRefusedError"):
        deliver(job_id, ride)

    assert not AuditRecord.objects.exists()
    delivery = JobDelivery.objects.get(job_id=job_id)
    assert "ConnectionRefusedError" in delivery.last_error


def test_two_mails_of_one_receipt_have_one_message_id(ride, mailoutbox):
    send_ride_receipt.call(**arguments_for(ride), settling=transaction.atomic)
    send_ride_receipt.call(**arguments_for(ride), settling=transaction.atomic)

    first, second = (mail.message()["Message-ID"] for mail in mailoutbox)
    assert first == second == "<receipt.ch_1@rocketrides>"
