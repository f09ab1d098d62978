"""Faults on demand: what each does to the client, and what it leaves in the ledger."""

import json
import time

import pytest
import stripe

from sandbox.stripe.control import ControlError
from sandbox.tests.conftest import client_of, pay

PAYMENT = {
    "amount": "2000",
    "currency": "usd",
    "payment_method": "pm_card_visa",
    "confirm": "true",
}
PATH = "/v1/payment_intents"


@pytest.mark.parametrize(("kind", "charged"), [("reset_before", 0), ("reset_after", 1)])
def test_a_reset_leaves_the_client_in_doubt(stand_in, post, kind, charged):
    stand_in.add_fault(kind, times=1)
    with pytest.raises(ConnectionResetError):
        post(PATH, PAYMENT, key="reset")
    assert len(stand_in.charges()) == charged
    retried = post(PATH, PAYMENT, key="reset")
    assert retried.status == 200
    assert retried.is_replay is bool(charged)
    assert len(stand_in.charges()) == 1


def test_the_client_sees_a_reset_as_a_connection_error(client, stand_in):
    stand_in.add_fault("reset_after", times=1)
    with pytest.raises(stripe.APIConnectionError):
        pay(client, payment_method="pm_card_visa")
    assert len(stand_in.charges()) == 1


@pytest.mark.parametrize(("kind", "charged"), [("error_before", 0), ("error_after", 1)])
def test_an_error_is_stripes_500(client, stand_in, kind, charged):
    stand_in.add_fault(kind, times=1)
    with pytest.raises(stripe.APIError) as broken:
        pay(client, payment_method="pm_card_visa")
    assert broken.value.http_status == 500
    assert broken.value.error.type == "api_error"
    assert len(stand_in.charges()) == charged


def test_a_conflict_is_a_plain_api_error_to_the_client(client, stand_in):
    stand_in.add_fault("conflict", times=1)
    with pytest.raises(stripe.APIError) as conflict:
        pay(client, key="busy", payment_method="pm_card_visa")
    assert type(conflict.value) is stripe.APIError
    assert conflict.value.http_status == 409
    assert conflict.value.error.code == "idempotency_key_in_use"
    assert stand_in.charges() == []


def test_the_client_retries_a_conflict_by_itself(stand_in):
    stand_in.add_fault("conflict", times=1)
    client = client_of(stand_in, max_network_retries=1)
    assert pay(client, key="busy-once", payment_method="pm_card_visa").status == "succeeded"


def test_a_rate_limit_of_the_stand_in_says_when_to_come_back(client, stand_in):
    stand_in.add_fault("rate_limit", times=1, seconds=7)
    with pytest.raises(stripe.RateLimitError) as limited:
        pay(client, payment_method="pm_card_visa")
    assert limited.value.http_status == 429
    assert limited.value.headers["Retry-After"] == "7"
    assert stand_in.charges() == []


def test_malformed_json_hides_a_charge_that_was_made(client, stand_in):
    stand_in.add_fault("malformed_json", times=1)
    with pytest.raises(stripe.APIError, match="Invalid response body"):
        pay(client, key="garbled", payment_method="pm_card_visa")
    assert pay(client, key="garbled", payment_method="pm_card_visa").status == "succeeded"
    assert len(stand_in.charges()) == 1


def test_a_decline_hits_a_card_that_is_good(client, stand_in):
    stand_in.add_fault("decline", times=1)
    rider = client.v1.customers.create({"source": "tok_visa"})
    with pytest.raises(stripe.CardError) as declined:
        pay(client, customer=rider.id)
    assert declined.value.code == "card_declined"
    assert pay(client, customer=rider.id).status == "succeeded"
    assert [charge["status"] for charge in stand_in.charges()] == ["failed", "succeeded"]


def test_a_key_pruned_at_once_charges_a_second_time(stand_in, post):
    stand_in.add_fault("key_pruned", times=1)
    post(PATH, PAYMENT, key="forgotten")
    assert not post(PATH, PAYMENT, key="forgotten").is_replay
    assert len(stand_in.charges()) == 2


def test_latency_comes_before_the_charge(stand_in, client):
    stand_in.add_fault("latency", times=1, seconds=0.2)
    started = time.monotonic()
    pay(client, payment_method="pm_card_visa")
    assert time.monotonic() - started >= 0.2


def test_a_stalled_answer_is_already_charged_and_saved(stand_in, post):
    """The client gives up; a retry is answered at once, with the first answer."""
    stand_in.add_fault("stall", times=1, seconds=60)
    impatient = stripe.RequestsClient(timeout=0.2)
    client = stripe.StripeClient(
        "sk_test_stand_in",
        base_addresses={"api": stand_in.base_url},
        http_client=impatient,
        max_network_retries=0,
    )
    with pytest.raises(stripe.APIConnectionError):
        pay(client, key="stalled", payment_method="pm_card_visa")
    assert len(stand_in.charges()) == 1
    assert pay(client, key="stalled", payment_method="pm_card_visa").status == "succeeded"
    assert stand_in.calls()["replays"] == 1
    assert len(stand_in.charges()) == 1


def test_the_next_n_calls_fail_and_are_counted(stand_in, post):
    stand_in.add_fault("error_before", times=2)
    assert [post(PATH, PAYMENT).status for _ in range(3)] == [500, 500, 200]
    [fault] = stand_in.faults()
    assert (fault["kind"], fault["fired"]) == ("error_before", 2)


def test_a_share_of_calls_fails_the_same_way_each_time(stand_in, post):
    def statuses():
        stand_in.clear_faults()
        stand_in.add_fault("conflict", share=0.5, seed=7)
        return [post("/v1/customers", {}).status for _ in range(40)]

    first = statuses()
    assert 10 <= first.count(409) <= 30
    assert statuses() == first


def test_a_fault_is_narrowed_to_a_method_and_path(client, stand_in):
    stand_in.add_fault("error_before", path="POST /v1/refunds")
    client.v1.refunds.list()
    intent = pay(client, payment_method="pm_card_visa")
    with pytest.raises(stripe.APIError):
        client.v1.refunds.create({"payment_intent": intent.id})


def test_a_fault_is_narrowed_to_one_key(stand_in, post):
    stand_in.add_fault("error_before", idempotency_key="unlucky")
    assert post(PATH, PAYMENT, key="lucky").status == 200
    assert post(PATH, PAYMENT, key="unlucky").status == 500


def test_a_replay_has_no_execution_to_spoil(stand_in, post):
    post(PATH, PAYMENT, key="done")
    stand_in.add_fault("error_before", times=1)
    assert post(PATH, PAYMENT, key="done").status == 200
    assert stand_in.faults()[0]["fired"] == 0


def test_cleared_faults_are_over(stand_in, post):
    stand_in.add_fault("conflict")
    assert post(PATH, PAYMENT).status == 409
    stand_in.clear_faults()
    assert stand_in.faults() == []
    assert post(PATH, PAYMENT).status == 200


@pytest.mark.parametrize(
    ("kind", "narrowed", "named"),
    [
        ("explode", {}, "kind"),
        ("latency", {"share": 1.5}, "share"),
        ("latency", {"times": 0}, "times"),
        ("latency", {"seconds": -1}, "seconds"),
        ("latency", {"path": 5}, "path"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(stand_in, kind, narrowed, named):
    with pytest.raises(ControlError, match=f"^{named}:"):
        stand_in.add_fault(kind, **narrowed)
    assert stand_in.faults() == []


def test_reset_forgets_everything(stand_in, post):
    post(PATH, PAYMENT, key="before-the-reset")
    stand_in.add_fault("conflict")
    stand_in.reset()
    assert stand_in.charges() == []
    assert stand_in.payment_intents()["count"] == 0
    assert stand_in.calls() == {"calls": {}, "replays": 0, "mismatches": 0}
    again = post(PATH, PAYMENT, key="before-the-reset")
    assert json.loads(again.body)["status"] == "succeeded"
    assert not again.is_replay
