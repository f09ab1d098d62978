"""Whose events are believed: who signed these very bytes with a secret of ours, lately."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import requests
from django.core.checks import run_checks
from django.db import connection, transaction
from django.test import Client

from idempotency import doors
from idempotency.models import StagedJob
from rides.models import StripeEvent
from rides.payments.events import TOLERANCE_SECONDS
from rides.tests.hooking import WEBHOOK, event, send, signature_for
from rides.tests.processes import WEBHOOK_SECRET
from rides.webhooks.views import MAX_EVENT_BYTES

pytestmark = pytest.mark.django_db(transaction=True)

REFUND = {"id": "re_1", "object": "refund", "metadata": {}}
TOLERANCE = timedelta(seconds=TOLERANCE_SECONDS)


@pytest.fixture(autouse=True)
def configured(settings) -> None:
    settings.STRIPE_WEBHOOK_SECRETS = [WEBHOOK_SECRET]


@pytest.fixture
def told():
    """An event that leaves a job."""
    return event("refund.created", REFUND)


def as_json(answer):
    """The answer, which is one line of JSON."""
    [line] = answer.content.decode().splitlines()
    return json.loads(line)


def assert_refused(answer, status=400, code="event_refused"):
    assert (answer.status_code, as_json(answer)["code"]) == (status, code)
    assert not StripeEvent.objects.exists()
    assert not StagedJob.objects.exists()


def test_a_signed_event_is_written_down_with_what_it_asks_for(told):
    answer = send(told)

    assert (answer.status_code, as_json(answer)) == (200, {"received": True})
    row = StripeEvent.objects.get()
    assert (row.stripe_id, row.type, row.object_id) == (told["id"], "refund.created", "re_1")
    assert StagedJob.objects.get().job_args["kwargs"] == {"kind": "refund", "stripe_id": "re_1"}


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param("", id="missing"),
        pytest.param("t=1,v1=", id="empty"),
        pytest.param("garbage", id="no pairs"),
        pytest.param("t=,v1=00", id="no time"),
        pytest.param("t=" + "9" * 5_000 + ",v1=00", id="a time of 5,000 digits"),
        pytest.param("v1=00", id="without a time"),
        pytest.param("t=99999999999,v0=00", id="another scheme"),
        pytest.param("t=99999999999,v1=é", id="not ASCII"),
        pytest.param("t=99999999999,v1=" + "0" * 64, id="of nobody"),
    ],
)
def test_a_signature_that_is_missing_or_makes_no_sense_is_refused(told, signature):
    assert_refused(send(told, signature=signature))


def test_a_signature_by_another_secret_is_refused(told):
    body = json.dumps(told).encode()

    assert_refused(send(body, signature=signature_for(body, "whsec_of_somebody_else")))


def test_a_signature_of_other_bytes_is_refused(told):
    """Written again the JSON says the same; Stripe has signed what it sent."""
    signature = signature_for(json.dumps(told).encode())

    assert_refused(send(json.dumps(told, indent=2).encode(), signature=signature))


def test_an_event_that_was_recorded_is_refused_after_five_minutes(told):
    body = json.dumps(told).encode()
    moment = timedelta(seconds=5)

    assert_refused(send(body, signature=signature_for(body, age=TOLERANCE + moment)))
    assert send(body, signature=signature_for(body, age=TOLERANCE - moment)).status_code == 200


@pytest.mark.parametrize("of", ["whsec_old", "whsec_new"])
def test_in_a_rotation_each_of_two_secrets_is_believed(told, settings, of):
    settings.STRIPE_WEBHOOK_SECRETS = ["whsec_old", "whsec_new"]
    body = json.dumps(told).encode()

    assert send(body, signature=signature_for(body, of)).status_code == 200


@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_signatures_of_stripes_one_is_enough(told, is_first):
    body = json.dumps(told).encode()
    at, ours = signature_for(body).split(",")
    other = f"v1={'0' * 64}"

    signature = ",".join([at, ours, other] if is_first else [at, other, ours])

    assert send(body, signature=signature).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="half"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"[" * 100_000, id="nested"),
        pytest.param(b"null", id="null"),
        pytest.param(b"{}", id="no fields"),
        pytest.param(b'{"id": 7, "type": "refund.created"}', id="a number for an id"),
        pytest.param(b'{"id": "evt_1\\u0000", "type": "refund.created"}', id="NUL in the id"),
        pytest.param(b'{"id": "evt_1", "type": "a\\u0000b"}', id="NUL in the type"),
        pytest.param(b'{"id": "evt_1", "type": ["refund.created"]}', id="a list for a type"),
    ],
)
def test_a_signed_body_that_is_no_event_is_refused(body):
    assert_refused(send(body))


def test_a_body_that_is_not_utf_8_is_refused():
    assert_refused(send(b"\xff\xfe", signature="t=99999999999,v1=" + "0" * 64))


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(event("customer.created", {"id": "cus_1", "object": "customer"}), id="type"),
        pytest.param(event("balance.available", {"object": "balance"}), id="no id"),
        pytest.param(event("refund.created", {}, data=None), id="no data"),
        pytest.param(event("refund.created", {"object": 5, "id": "re_1"}), id="kind"),
        pytest.param(event("refund.created", {"object": "refund", "id": "re_\x00"}), id="NUL"),
        pytest.param(
            event("payment_intent.succeeded", {"id": "pi_1", "metadata": ["installation"]}),
            id="metadata",
        ),
    ],
)
def test_an_event_that_asks_for_nothing_is_answered_and_leaves_nothing(told):
    assert send(told).status_code == 200
    assert not StripeEvent.objects.exists()
    assert not StagedJob.objects.exists()


def test_without_a_secret_there_is_nothing_at_this_address(told, settings):
    settings.STRIPE_WEBHOOK_SECRETS = []

    assert_refused(send(told), 404, "not_found")
    assert [each.id for each in checked()] == ["rides.W003"]


def test_with_a_secret_the_check_before_a_deploy_says_nothing():
    assert checked() == []


def checked():
    found = run_checks(include_deployment_checks=True)
    return [each for each in found if each.id == "rides.W003"]


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch"])
def test_only_a_post_is_an_event(method):
    answer = getattr(Client(), method)(WEBHOOK)

    assert_refused(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


def test_a_page_of_another_site_needs_no_token_and_gets_nowhere(told):
    client = Client(enforce_csrf_checks=True)

    assert send(told, client=client).status_code == 200
    assert_refused_but_for_one(
        send(event("refund.created", REFUND), client=client, signature="t=1")
    )


def assert_refused_but_for_one(answer):
    assert answer.status_code == 400
    assert StripeEvent.objects.count() == 1


def test_closed_doors_have_stripe_send_it_again(told, monkeypatch):
    monkeypatch.setattr(doors, "as_last_read", lambda: doors.Reading(are_closed=True))

    assert_refused(send(told), 503, "doors_closed")


def test_an_event_that_another_process_has_in_hand_for_too_long_is_sent_again(told):
    with transaction.atomic():
        StripeEvent.objects.create(stripe_id=told["id"], type="t", object_id="re_1")
        answer = in_another_thread(lambda: send(told))
        transaction.set_rollback(True)

    assert_refused(answer, 409, "conflict")


def in_another_thread(call):
    """With a connection of its own, on which nothing waits for a lock for long."""

    def run():
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '100ms'")
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


# Over a socket, where the door reads the body.


def post(api, body, **headers):
    return requests.post(f"{api.url}{WEBHOOK}", body, headers=headers, timeout=10)


JSON = {"Content-Type": "application/json; charset=utf-8"}


@pytest.mark.parametrize("size", [1_000, 17_000, MAX_EVENT_BYTES - 1_000])
def test_an_event_may_be_larger_than_a_request(api, size):
    """Than `MAX_BODY_BYTES`, which is for clients."""
    told = event("refund.created", {**REFUND, "description": "é" * (size // 6)})
    body = json.dumps(told).encode()

    answer = post(api, body, **JSON, **{"Stripe-Signature": signature_for(body)})

    assert answer.status_code == 200, answer.text
    assert StripeEvent.objects.get().stripe_id == told["id"]


def test_one_that_is_too_large_is_refused(api):
    body = b"x" * (MAX_EVENT_BYTES + 1)

    answer = post(api, body, **JSON, **{"Stripe-Signature": signature_for(body)})

    assert_refused(answer, 413, "body_too_large")


def test_one_without_a_signature_is_refused_before_its_body_is_read(api):
    assert_refused(post(api, b"{}", **JSON))


def test_one_in_chunks_is_refused(api):
    chunks = iter([b"{", b"}"])

    assert_refused(post(api, chunks, **JSON, **{"Stripe-Signature": "t=1"}), 411, "length_required")
