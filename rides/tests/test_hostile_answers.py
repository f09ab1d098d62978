"""Whatever answers in Stripe's place, and whatever it says: it finishes no request that it should
not, ends none in an error of ours, and makes no process grow.
"""

import gzip
import json
import resource
import threading
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlencode

import pytest
from django.test import Client

from idempotency.exceptions import Indeterminate, NeedsReview
from rides import payments
from rides.models import Ride
from rides.payments import transport
from rides.tests.answering import answering_with, intent
from rides.tests.booking import COORDINATES, KEY, RIDER
from rides.tests.factories import RideFactory

MEBIBYTE = 1024 * 1024
DEEP = 400  # deeper than Stripe's client makes objects of, less deep than JSON may be


@pytest.fixture
def ride(rider) -> Ride:
    return RideFactory(user=rider)


# An object with a part of another shape.


OTHER_SHAPES = {
    "charge without an id": {"latest_charge": {"amount_refunded": 0}},
    "charge of a list": {"latest_charge": ["ch_1"]},
    "charge that is a number": {"latest_charge": 1},
    "charge whose id is a number": {"latest_charge": {"id": 1, "amount_refunded": 0}},
    "charge whose id has a NUL": {"latest_charge": "ch_1\x00"},
    "charge whose id is a path": {"latest_charge": "ch_1/../refunds"},
    "charge whose refunds are a text": {"latest_charge": {"id": "ch_1", "amount_refunded": "0"}},
    "no charge": {"latest_charge": None},
    "id that is a number": {"id": 5},
    "id that is a list": {"id": ["pi_1"]},
    "id with a NUL": {"id": "pi_\x00"},
    "id with a lone surrogate": {"id": "pi_\ud800"},
    "id without an end": {"id": "pi_" + "x" * 1000},
    "no id": {"id": None},
    "amount that is a text": {"amount_received": "2000"},
    "amount that is true": {"amount_received": True},
    "amount that is a fraction": {"amount_received": 2000.5},
    "amount below nothing": {"amount_received": -2000},
    "status that is a list": {"status": ["succeeded"]},
    "status that is an object": {"status": {"succeeded": True}},
    "failure that is a text": {
        "status": "requires_payment_method",
        "last_payment_error": "card_declined",
    },
    "failure whose message is a list": {
        "status": "requires_payment_method",
        "last_payment_error": {"message": ["no"]},
    },
}


@pytest.mark.parametrize("part", OTHER_SHAPES.values(), ids=OTHER_SHAPES)
def test_a_payment_with_a_part_of_another_shape_is_not_what_was_asked_for(ride, answering, part):
    answering(200, intent(ride, **part))

    with pytest.raises(NeedsReview, match="not what was asked for") as refusal:
        payments.charge(ride)

    assert "\x00" not in json.dumps(refusal.value.evidence).replace("\\\\", "")
    json.dumps(refusal.value.evidence).encode()


@pytest.mark.parametrize("part", OTHER_SHAPES.values(), ids=OTHER_SHAPES)
def test_such_a_payment_among_those_that_are_listed_ends_no_request(ride, answering, part):
    listed = json.loads(intent(ride))
    answering(200, json.dumps({"data": [{**listed, **part}], "has_more": False}).encode())

    with pytest.raises((NeedsReview, Indeterminate)):
        payments.find_charge(ride)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"5",
        b'"succeeded"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        intent(),
        intent(customer="cus_1", currency=["usd"], metadata="ours"),
        intent()[:40],
        b"\xff\xfe" + intent(),
        json.dumps({"data": [json.loads(intent())]}).encode(),
        b"[%s]" % intent(),
        intent(next_action=json.loads('{"a":' * DEEP + "1" + "}" * DEEP)),
        intent(object="invoiceitem", quantity_decimal="a few"),
        intent(object="promotion_code", restrictions={"currency_options": 5}),
        intent(latest_charge={"object": "shipping_rate", "fixed_amount": {"currency_options": []}}),
        gzip.compress(intent()),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 302, 400, 402, 404, 500])
def test_what_is_no_payment_leaves_the_charge_unknown(ride, answering, status, body):
    answering(status, body, Location="http://127.0.0.1:1/")

    with pytest.raises(Indeterminate):
        payments.charge(ride)


@pytest.mark.parametrize(
    "error",
    [
        5,
        [],
        None,
        "declined",
        "invalid_client",
        {"type": "card_error", "message": 5},
        {"type": "invalid_request_error", "code": {"a": 1}, "message": ["no"]},
        {"type": 5, "message": None},
        {"type": ["card_error"], "code": {"a": 1}},
        {"type": "card_error", "payment_intent": "pi_1"},
        {"type": "card_error", "payment_intent": {"id": 5}},
        {"type": "invalid_request_error", "message": "\x00"},
        {"type": "idempotency_error"},
    ],
)
@pytest.mark.parametrize("status", [400, 402, 409, 429, 500])
@pytest.mark.parametrize(
    "headers", [{}, {"Idempotent_Replayed": "true", "Retry_After": "9" * 5000}]
)
def test_an_error_of_another_shape_is_no_error_of_ours(ride, answering, status, error, headers):
    answering(status, json.dumps({"error": error}).encode(), **headers)

    with pytest.raises((payments.CardDeclined, Indeterminate, NeedsReview)) as refusal:
        payments.charge(ride)

    is_decline = status == 402 and isinstance(error, dict) and error["type"] == "card_error"
    assert is_decline or not isinstance(refusal.value, payments.CardDeclined)


@pytest.mark.parametrize(
    "listing",
    [
        {},
        {"data": 5},
        {"data": {"0": {}}},
        {"data": [5], "has_more": False},
        {"data": [{"id": 5}], "has_more": True},
        {"data": [{"id": "pi_1", "metadata": []}, None]},
        {"data": [json.loads(intent())], "has_more": True},  # for ever
    ],
)
def test_a_list_of_another_shape_ends_no_request(ride, answering, listing):
    answering(200, json.dumps(listing).encode())

    with pytest.raises((Indeterminate, NeedsReview)):
        payments.find_charge(ride)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, intent(latest_charge={"amount_refunded": 0})),
        (200, intent(last_payment_error="card_declined")),
        (402, b'{"error": "text"}'),
        (402, b'{"error": null}'),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_a_client_is_told_that_it_is_not_known(riders, answering, settings, status, body):
    settings.IDEMPOTENCY = {
        **settings.IDEMPOTENCY,
        "AUTHENTICATE": "rides.authentication.demo_rider",
    }
    answering(status, body)

    headers = {"Authorization": RIDER, "Idempotency-Key": KEY}
    form = "application/x-www-form-urlencoded"
    answer = Client().post("/rides", urlencode(COORDINATES), form, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")


# An answer without an end.


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_an_answer_that_does_not_end_is_read_up_to_a_mebibyte_and_no_further(
    ride, settings, encoding
):
    sent, ended = 0, threading.Event()

    def without_end(request: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        request.send_response(200)
        request.send_header("Content-Encoding", encoding)
        request.end_headers()
        try:
            while sent < 200 * MEBIBYTE:
                request.wfile.write(b" " * MEBIBYTE)
                sent += MEBIBYTE
        except OSError:
            ended.set()

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with answering_with(without_end) as settings.STRIPE_API_BASE:
        with pytest.raises(Indeterminate, match="connection failed"):
            payments.charge(ride)
        assert ended.wait(10)

    assert sent < 20 * MEBIBYTE, "it was read on"
    grown_kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kilobytes < 32 * 1024


def test_an_answer_of_a_mebibyte_is_read(ride, answering):
    padding = transport.MAX_ANSWER_BYTES - len(intent(ride))
    answering(200, intent(ride) + b" " * padding)

    assert payments.charge(ride).id == "ch_1"
