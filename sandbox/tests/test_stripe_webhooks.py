"""Events to an endpoint: which there are, how they are signed, and when they are sent again."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import stripe

from sandbox.stripe.control import ControlError
from sandbox.stripe.process import running_stand_in
from sandbox.supervisor import wait_until
from sandbox.tests.conftest import client_of, pay

SECRET = "whsec_of_the_tests"
CARD = {"payment_method": "pm_card_visa"}
PAID = ["charge.succeeded", "payment_intent.created", "payment_intent.succeeded"]


@dataclass
class Received:
    """What an endpoint was sent, and with what it answers next."""

    url: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    signed: list[tuple[bytes, str]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    def take(self, body: bytes, signature: str) -> int:
        self.signed.append((body, signature))
        self.events.append(json.loads(body))
        return self.statuses.pop(0) if self.statuses else 200


@pytest.fixture
def endpoint(stand_in) -> Iterator[Received]:
    received = Received()

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(received.take(body, self.headers["Stripe-Signature"]))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    received.url = f"http://127.0.0.1:{server.server_port}/hook"
    stand_in.send_events_to(received.url, SECRET, retry_seconds=0.02)
    try:
        yield received
    finally:
        stand_in.reset()
        server.shutdown()
        server.server_close()


def all_delivered(stand_in):
    return all(event["is_delivered"] for event in stand_in.events())


def test_a_payment_is_told_of_by_an_event_for_each_change(client, stand_in, endpoint):
    payment = pay(client, **CARD)
    wait_until(lambda: len(endpoint.events) == 3)

    assert sorted(endpoint.types) == PAID
    told = {event["type"]: event["data"]["object"] for event in endpoint.events}
    assert told["payment_intent.succeeded"]["id"] == payment.id
    assert told["charge.succeeded"]["id"] == payment.latest_charge
    assert len({event["id"] for event in endpoint.events}) == 3


def test_a_decline_a_confirmation_and_a_cancellation_are_told(client, stand_in, endpoint):
    stand_in.add_fault("decline", times=1)
    with pytest.raises(stripe.CardError):
        pay(client, **CARD)
    asked = {"return_url": "https://rides.example.com/", "off_session": False}
    waiting = pay(client, payment_method="pm_card_authenticationRequired", **asked)
    other = pay(client, payment_method="pm_card_authenticationRequired", **asked)
    client.v1.payment_intents.cancel(other.id)
    stand_in.settle(waiting.id, succeeds=True)

    told = [(event["object"], event["type"]) for event in stand_in.events("payment_intent.")]
    assert [type_ for object_id, type_ in told if object_id == waiting.id] == [
        "payment_intent.created",
        "payment_intent.requires_action",
        "payment_intent.succeeded",
    ]
    assert (other.id, "payment_intent.canceled") in told
    assert len(stand_in.events("payment_intent.payment_failed")) == 1
    assert len(stand_in.events("charge.failed")) == 1


def test_what_goes_back_is_told(client, stand_in, endpoint):
    charge = pay(client, **CARD).latest_charge
    refund = stand_in.refund(charge, amount=100)
    stand_in.settle(refund, succeeds=False)
    dispute = stand_in.dispute(charge)
    stand_in.settle(dispute, succeeds=True)

    told = [event["type"] for event in stand_in.events() if event["object"] in (refund, dispute)]
    assert told == [
        *("refund.created", "refund.updated", "refund.failed"),
        *("charge.dispute.created", "charge.dispute.closed"),
    ]
    assert [event["object"] for event in stand_in.events("charge.refunded")] == [charge]


def test_stripes_own_library_believes_the_signature(client, stand_in, endpoint):
    pay(client, **CARD)
    wait_until(lambda: len(endpoint.signed) == 3)

    for body, signature in endpoint.signed:
        assert stripe.Webhook.construct_event(body, signature, SECRET).object == "event"


def test_in_a_rotation_each_of_two_secrets_is_signed_with(client, stand_in, endpoint):
    stand_in.send_events_to(endpoint.url, "whsec_old", SECRET)
    pay(client, **CARD)
    wait_until(lambda: len(endpoint.signed) == 3)

    body, signature = endpoint.signed[0]
    assert stripe.WebhookSignature.verify_header(body, signature, "whsec_old", 300)
    assert stripe.WebhookSignature.verify_header(body, signature, SECRET, 300)


def test_what_is_not_answered_with_2xx_is_sent_again(client, stand_in, endpoint):
    endpoint.statuses = [500, 503, 302]
    pay(client, **CARD)
    wait_until(lambda: all_delivered(stand_in))

    answers = [event["answers"] for event in stand_in.events()]
    assert sorted(status for each in answers for status in each) == [200, 200, 200, 302, 500, 503]
    assert all(each[-1] == 200 for each in answers)


def test_an_endpoint_that_is_away_is_tried_until_it_is_back(client, stand_in, endpoint):
    stand_in.send_events_to("http://127.0.0.1:1/hook", SECRET, retry_seconds=0.01)
    pay(client, **CARD)
    wait_until(lambda: all(len(event["answers"]) > 2 for event in stand_in.events()))

    assert {status for event in stand_in.events() for status in event["answers"]} == {0}


def test_an_event_may_come_twice(client, stand_in, endpoint):
    stand_in.add_fault("event_twice", path="payment_intent.succeeded")
    pay(client, **CARD)
    wait_until(lambda: len(endpoint.events) == 4)

    told = [e["id"] for e in endpoint.events if e["type"] == "payment_intent.succeeded"]
    assert (len(told), len(set(told))) == (2, 1)


def test_an_event_may_come_late_out_of_order_or_never(client, stand_in, endpoint):
    stand_in.add_fault("event_late", path="charge.succeeded", seconds=0.3)
    stand_in.add_fault("event_out_of_order", path="payment_intent.created", seconds=5)
    stand_in.add_fault("event_never", path="payment_intent.succeeded")
    pay(client, **CARD)
    wait_until(lambda: len(endpoint.events) == 2)

    assert endpoint.types == ["charge.succeeded", "payment_intent.created"]
    [never] = stand_in.events("payment_intent.succeeded")
    assert (never["answers"], never["is_delivered"]) == ([], False)


def test_an_event_may_be_forged_the_first_time(client, stand_in, endpoint):
    stand_in.add_fault("event_forged", path="charge.succeeded")
    endpoint.statuses = [400, 400, 400]
    pay(client, **CARD)
    wait_until(lambda: all_delivered(stand_in))

    forged = [signed for signed in endpoint.signed if not is_signed(signed)]
    assert len(forged) == 1
    assert len(endpoint.signed) == 6


def is_signed(signed):
    try:
        return stripe.WebhookSignature.verify_header(*signed, SECRET, 300)
    except stripe.SignatureVerificationError:
        return False


def test_an_event_can_be_sent_again_by_hand(client, stand_in, endpoint):
    pay(client, **CARD)
    wait_until(lambda: len(endpoint.events) == 3)

    stand_in.send_event_again(endpoint.events[0]["id"])
    wait_until(lambda: len(endpoint.events) == 4)

    assert endpoint.events[3] == endpoint.events[0]
    with pytest.raises(ControlError, match="an event that was sent lately"):
        stand_in.send_event_again("evt_1")


def test_without_an_endpoint_nothing_is_told(client, stand_in):
    pay(client, **CARD)

    assert stand_in.events() == []


def test_an_endpoint_can_be_named_at_the_start_and_outlives_a_reset(endpoint):
    with running_stand_in(webhook=(endpoint.url, SECRET)) as other:
        other.reset()
        pay(client_of(other), **CARD)
        wait_until(lambda: len(endpoint.events) == 3)

    assert all(map(is_signed, endpoint.signed))
