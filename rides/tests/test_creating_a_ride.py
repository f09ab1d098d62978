"""What one good request leaves behind: in the database, at Stripe, and in the rider's mailbox."""

import json
import uuid
from decimal import Decimal

import pytest
import requests
from django.core import mail
from django.core.management import call_command

from idempotency.models import FINISHED, IdempotencyKey, JobDelivery, StagedJob
from idempotency.testing.queue import run_queued_jobs
from rides.models import AuditRecord, Ride
from rides.tests.booking import BOOKED, COORDINATES, KEY, RIDER, book, charging_key, the_key
from sandbox.supervisor import PATIENCE_SECONDS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]


def test_a_ride_is_recorded_as_it_was_asked_for(api):
    book(api.url)

    ride = Ride.objects.get()
    assert ride.user.email == RIDER
    assert ride.idempotency_key == the_key()
    assert {name: f"{getattr(ride, name).normalize():f}" for name in COORDINATES} == COORDINATES
    assert (ride.amount_cents, ride.currency) == (2000, "usd")


def test_the_ride_names_the_charge_and_the_payment_behind_it(api, stand_in):
    book(api.url)

    ride = Ride.objects.get()
    [charge] = stand_in.charges(status="succeeded")
    assert ride.stripe_charge_id == charge["id"]
    assert ride.stripe_payment_intent_id == charge["payment_intent"]


def test_the_charge_at_stripe_has_the_key_that_the_ride_keeps_and_the_customer(api, stand_in):
    book(api.url)

    ride = Ride.objects.get()
    [charge] = stand_in.charges()
    assert charge["customer"] == ride.stripe_customer_id == ride.user.stripe_customer_id
    assert charge["idempotency_key"] == str(ride.foreign_key) == charging_key(the_key())
    assert charge["metadata"]["foreign_key"] == str(ride.foreign_key)


def test_the_key_keeps_the_answer_and_is_let_go(api):
    answer = book(api.url)

    key = the_key()
    assert (key.recovery_point, key.attempt) == (FINISHED, 1)
    assert key.locked_at is None
    assert (key.response_code, bytes(key.response_body)) == (answer.status_code, answer.content)
    assert key.response_content_type == answer.headers["Content-Type"] == "application/json"
    assert (key.request_method, key.request_path) == ("POST", "/rides")
    assert key.origin_ip == "127.0.0.1"


def test_nothing_else_is_left_behind(api):
    book(api.url)

    assert IdempotencyKey.objects.count() == 1
    assert Ride.objects.count() == 1
    assert AuditRecord.objects.count() == 1
    assert StagedJob.objects.count() == 1
    assert JobDelivery.objects.count() == 0


def test_the_receipt_goes_from_the_staged_job_through_the_queue_to_the_rider(api, stand_in, capsys):
    book(api.url)

    call_command("enqueuer", "--once")
    assert (StagedJob.objects.count(), JobDelivery.objects.count()) == (0, 1)
    run_queued_jobs(1)
    assert (StagedJob.objects.count(), JobDelivery.objects.count()) == (0, 0)

    assert capsys.readouterr().out.splitlines() == ["enqueued=1"]
    [receipt] = mail.outbox
    [charge] = stand_in.charges()
    assert receipt.to == [RIDER]
    assert f"Ride:    {Ride.objects.get().pk}\n" in receipt.body
    assert "From:    37.7793, -122.4193\nTo:      34.0522, -118.2437\n" in receipt.body
    assert f"Amount:  20.00 USD\nCharge:  {charge['id']}\n" in receipt.body
    assert AuditRecord.objects.filter(action="receipt.sent").count() == 1


def test_json_and_a_form_are_the_same_request(api, stand_in):
    by_form = book(api.url)
    by_json = requests.post(
        f"{api.url}/rides",
        json={name: float(degrees) for name, degrees in COORDINATES.items()},
        headers={"Authorization": RIDER, "Idempotency-Key": KEY},
        timeout=PATIENCE_SECONDS,
    )

    assert (by_json.status_code, by_json.text) == (by_form.status_code, by_form.text)
    assert by_json.headers["Idempotent-Replayed"] == "true"
    assert len(stand_in.charges()) == 1


def test_json_books_a_ride_with_every_digit_that_was_sent(api):
    degrees = {
        "origin_lat": "89.9999999999",
        "origin_lon": "-179.9999999999",
        "target_lat": "1e-10",
        "target_lon": "-0",
    }
    body = "{" + ", ".join(f'"{name}": {number}' for name, number in degrees.items()) + "}"
    answer = requests.post(
        f"{api.url}/rides",
        data=body,
        headers={
            "Authorization": RIDER,
            "Idempotency-Key": KEY,
            "Content-Type": "application/json",
        },
        timeout=PATIENCE_SECONDS,
    )

    assert (answer.status_code, answer.json()) == (201, BOOKED)
    ride = Ride.objects.get()
    assert str(ride.origin_lat) == "89.9999999999"
    assert str(ride.origin_lon) == "-179.9999999999"
    assert f"{ride.target_lat:f}" == "0.0000000001"
    assert f"{ride.target_lon:f}" == "0.0000000000"


@pytest.mark.parametrize(
    ("text", "degrees"),
    [("90", "90"), ("-90.0000000000", "-90"), ("+1", "1"), ("1e1", "10"), ("-0", "0")],
)
def test_a_form_takes_numbers_at_the_limit_and_in_every_plain_notation(api, text, degrees):
    assert book(api.url, origin_lat=text).status_code == 201
    assert Ride.objects.get().origin_lat == Decimal(degrees)


@pytest.mark.parametrize("length", [20, 255])
def test_a_key_of_the_shortest_and_the_longest_length_is_taken_whole(api, length):
    key = "k" * length

    assert book(api.url, key).status_code == 201
    assert the_key(key).idempotency_key == key


def test_a_key_in_quotes_is_the_same_key(api, stand_in):
    bare = book(api.url, KEY)
    quoted = book(api.url, json.dumps(KEY))

    assert bare.headers["Idempotent-Replayed"] == "false"
    assert quoted.headers["Idempotent-Replayed"] == "true"
    assert quoted.content == bare.content
    assert len(stand_in.charges()) == 1


def test_two_keys_are_two_rides_and_two_charges(api, stand_in):
    for _ in range(2):
        assert book(api.url, str(uuid.uuid4())).status_code == 201

    assert len({ride.stripe_charge_id for ride in Ride.objects.all()}) == 2
    assert len(stand_in.charges(status="succeeded")) == 2
