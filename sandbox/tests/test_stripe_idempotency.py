"""Stripe's idempotency, rule by rule, as https://docs.stripe.com/api/idempotent_requests says."""

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import stripe

from sandbox.tests.conftest import pay

PAYMENT = {
    "amount": "2000",
    "currency": "usd",
    "payment_method": "pm_card_visa",
    "confirm": "true",
}
PATH = "/v1/payment_intents"


@contextmanager
def executing(stand_in, post, key):
    """A payment that is still executing under `key` inside the block."""
    stand_in.add_fault("latency", seconds=0.5, times=1)
    with ThreadPoolExecutor(1) as pool:
        first: Future = pool.submit(post, PATH, PAYMENT, key)
        while not stand_in.calls()["calls"]:
            assert not first.done()
        yield first


def test_a_retry_gets_the_first_answer_byte_for_byte(stand_in, post):
    first = post(PATH, PAYMENT, key="one-payment")
    again = post(PATH, PAYMENT, key="one-payment")
    assert (first.status, again.status) == (200, 200)
    assert again.body == first.body
    assert again.is_replay
    assert not first.is_replay
    assert again.headers["Original-Request"] == first.headers["Request-Id"]
    assert again.headers["Request-Id"] != first.headers["Request-Id"]
    assert len(stand_in.charges()) == 1
    assert stand_in.calls() == {"calls": {f"POST {PATH}": 2}, "replays": 1, "mismatches": 0}


def test_the_order_of_parameters_does_not_matter(stand_in, post):
    post(PATH, PAYMENT, key="any-order")
    assert post(PATH, dict(reversed(PAYMENT.items())), key="any-order").is_replay


def test_without_a_key_each_call_is_its_own(stand_in, post):
    assert not post(PATH, PAYMENT).is_replay
    assert not post(PATH, PAYMENT).is_replay
    assert len(stand_in.charges()) == 2
    assert {charge["idempotency_key"] for charge in stand_in.charges()} == {None}


def test_a_key_belongs_to_one_api_key(stand_in, post):
    post(PATH, PAYMENT, key="shared", api_key="sk_test_one")
    assert not post(PATH, PAYMENT, key="shared", api_key="sk_test_two").is_replay
    assert len(stand_in.charges()) == 2


def test_other_parameters_are_an_idempotency_error(client, stand_in):
    pay(client, key="one-amount", payment_method="pm_card_visa")
    with pytest.raises(stripe.IdempotencyError, match="same parameters") as refused:
        pay(client, key="one-amount", payment_method="pm_card_visa", amount=3000)
    assert refused.value.http_status == 400
    assert len(stand_in.charges()) == 1


def test_another_endpoint_is_an_idempotency_error(client):
    pay(client, key="one-endpoint", payment_method="pm_card_visa")
    with pytest.raises(stripe.IdempotencyError, match="same endpoint") as refused:
        client.v1.customers.create({}, {"idempotency_key": "one-endpoint"})
    assert refused.value.http_status == 400


def test_a_key_whose_request_still_runs_is_in_use(stand_in, post, client):
    with executing(stand_in, post, "twice-at-once") as first:
        second = post(PATH, PAYMENT, key="twice-at-once")
        assert second.status == 409
        assert b'"code": "idempotency_key_in_use"' in second.body
        assert not first.done()
    assert first.result().status == 200
    assert post(PATH, PAYMENT, key="twice-at-once").body == first.result().body
    assert len(stand_in.charges()) == 1


def test_other_parameters_are_refused_while_the_first_still_runs(stand_in, post):
    with executing(stand_in, post, "changed-meanwhile") as first:
        changed = post(PATH, PAYMENT | {"amount": "3000"}, key="changed-meanwhile")
        assert changed.status == 400
        assert not first.done()
    assert first.result().status == 200


def test_a_decline_is_saved(stand_in, post):
    declined = PAYMENT | {"payment_method": "pm_card_chargeCustomerFail"}
    first = post(PATH, declined, key="declined")
    again = post(PATH, declined, key="declined")
    assert (first.status, again.status) == (402, 402)
    assert again.is_replay
    assert again.body == first.body
    assert len(stand_in.charges()) == 1


@pytest.mark.parametrize(("kind", "charged"), [("error_before", 0), ("error_after", 1)])
def test_a_500_is_saved_for_ever(stand_in, post, kind, charged):
    stand_in.add_fault(kind, times=1)
    first = post(PATH, PAYMENT, key="broken")
    again = post(PATH, PAYMENT, key="broken")
    assert (first.status, again.status) == (500, 500)
    assert again.is_replay
    assert again.body == first.body
    assert again.headers["Stripe-Should-Retry"] == "false"
    assert len(stand_in.charges(status="succeeded")) == charged


def test_a_validation_error_is_not_saved(stand_in, post):
    assert post(PATH, PAYMENT | {"amount": "1"}, key="corrected").status == 400
    corrected = post(PATH, PAYMENT, key="corrected")
    assert corrected.status == 200
    assert not corrected.is_replay


@pytest.mark.parametrize(("kind", "status"), [("conflict", 409), ("rate_limit", 429)])
def test_what_is_refused_before_execution_is_not_saved(stand_in, post, kind, status):
    stand_in.add_fault(kind, times=1)
    assert post(PATH, PAYMENT, key="turned-away").status == status
    second = post(PATH, PAYMENT, key="turned-away")
    assert second.status == 200
    assert not second.is_replay


def test_a_call_without_an_api_key_is_not_saved(stand_in, post):
    refused = post(PATH, PAYMENT, key="anonymous", api_key="")
    assert refused.status == 401
    assert post(PATH, PAYMENT, key="anonymous").status == 200


def test_a_live_key_is_refused(post):
    assert post(PATH, PAYMENT, api_key="sk_live_1234567890").status == 401


def test_a_key_on_a_get_is_ignored(client):
    client.v1.customers.list({}, {"idempotency_key": "on-a-get"})
    made = client.v1.customers.create({}, {"idempotency_key": "on-a-get"})
    assert made.id.startswith("cus_")


def test_a_key_of_256_characters_is_refused(post):
    assert post(PATH, PAYMENT, key="k" * 255).status == 200
    assert post(PATH, PAYMENT, key="k" * 256).status == 400


def test_a_pruned_key_is_a_new_request(stand_in, post):
    first = post(PATH, PAYMENT, key="pruned")
    assert stand_in.prune_keys() == 1
    again = post(PATH, PAYMENT, key="pruned")
    assert not again.is_replay
    assert again.body != first.body
    assert len(stand_in.charges()) == 2


def test_only_keys_of_that_age_are_pruned(stand_in, post):
    post(PATH, PAYMENT, key="young")
    assert stand_in.prune_keys(older_than_seconds=24 * 3600) == 0
    assert post(PATH, PAYMENT, key="young").is_replay
