"""What belongs to the framework stays the framework's: who asks, how often, and how errors look."""

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from idempotency import Indeterminate
from idempotency.models import IdempotencyKey
from rest_framework.authtoken.models import Token

from shop import till as client

ORDER = {"book": "Emma", "copies": 2}
HOSTILE = "\x00 \ud800 " + "é" * 5_000


@pytest.fixture
def order(headers):
    def order(body=ORDER, **changed):
        now = {name: text for name, text in {**headers, **changed}.items() if text is not None}
        return Client(raise_request_exception=False).post(
            "/orders", body, "application/json", headers=now
        )

    return order


def assert_refused(answer, status, code, *, retryable=False):
    assert answer.status_code == status, answer.content
    assert set(answer.json()) == {"code", "message", "retryable"}
    assert (answer.json()["code"], answer.json()["retryable"]) == (code, retryable)


def test_a_replay_has_the_same_bytes_and_says_so(order, till):
    first, again = order(), order()

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert first.headers["Content-Type"] == again.headers["Content-Type"] == "application/json"
    assert first.headers.get("Idempotent-Replayed") != "true"
    assert again.headers["Idempotent-Replayed"] == "true"


def test_a_no_of_the_till_is_kept_in_the_form_of_the_others(order, till):
    first, again = (order({**ORDER, "copies": 50}) for _ in "12")

    assert_refused(first, 402, "declined")
    assert again.content == first.content


def test_each_refusal_has_the_form_of_this_api(order, till):
    assert_refused(order(**{"Idempotency-Key": "short"}), 400, "idempotency_key_invalid")
    assert_refused(order({**ORDER, "copies": "2"}), 422, "parameters_invalid")
    assert_refused(order({**ORDER, "colour": "red"}), 422, "parameters_invalid")
    assert_refused(order(["Emma"]), 422, "parameters_invalid")
    order()
    assert_refused(order({**ORDER, "copies": 3}), 409, "parameters_mismatch")


def test_an_outcome_that_is_not_known_says_when_to_come_again_and_is_not_kept(
    order, till, settings
):
    where, settings.TILL_URL = settings.TILL_URL, "http://127.0.0.1:9"

    answer = order()

    assert_refused(answer, 503, "outcome_unknown", retryable=True)
    assert answer.headers["Retry-After"] == "1"
    settings.TILL_URL = where
    assert order().status_code == 201


def test_whatever_the_till_says_is_sent_in_bounds(order, monkeypatch):
    def say_anything(*_, **__):
        raise Indeterminate(HOSTILE)

    monkeypatch.setattr(client, "pay", say_anything)

    answer = order()

    assert_refused(answer, 503, "outcome_unknown", retryable=True)
    assert len(answer.content) < 20_000


def test_who_is_not_known_is_refused_before_the_key_is_touched(order):
    assert_refused(order(Authorization="Token wrong"), 401, "authentication_failed")
    assert_refused(order(Authorization=None), 401, "not_authenticated")
    assert not IdempotencyKey.objects.exists()


def test_another_customer_with_the_same_key_gets_an_order_of_their_own(order, till):
    Token.objects.create(user=User.objects.create(username="ben"), key="bens-token")

    answers = order(), order(Authorization="Token bens-token")

    assert [each.json()["payment"] for each in answers] == ["payment-1", "payment-2"]


def test_who_asks_too_often_is_told_so_before_the_key_is_touched_and_goes_on_later(order, till):
    answers = [order() for _ in range(21)]

    assert [each.status_code for each in answers] == [201] * 20 + [429]
    assert_refused(answers[-1], 429, "throttled", retryable=True)
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
    assert_refused(
        order(**{"Idempotency-Key": "another-key-of-anns"}), 429, "throttled", retryable=True
    )
    assert IdempotencyKey.objects.count() == 1

    cache.clear()  # a minute passes
    assert order().headers["Idempotent-Replayed"] == "true"
    assert till.payments() == ["payment-1"]


def test_a_request_that_was_throttled_in_its_middle_is_gone_on_with(order, till, settings):
    where, settings.TILL_URL = settings.TILL_URL, "http://127.0.0.1:9"
    assert [order().status_code for _ in range(21)] == [503] * 20 + [429]
    settings.TILL_URL = where
    cache.clear()  # a minute passes

    assert order().status_code == 201
    assert till.payments() == ["payment-1"]


def test_a_project_with_atomic_requests_is_told_before_anything_is_done(order, till, monkeypatch):
    from django.db import connection

    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

    assert order().status_code == 500
    assert till.payments() == []


def test_the_openapi_document_has_the_header_and_every_answer(client):
    post = client.get("/openapi.json").json()["paths"]["/orders"]["post"]

    [key] = [each for each in post["parameters"] if each["name"] == "Idempotency-Key"]
    assert (key["in"], key["required"]) == ("header", True)
    assert {"book", "copies"} == set(schema_of(client, "Order"))
    assert {"code", "message", "retryable"} == set(schema_of(client, "Error"))
    answers = post["responses"]
    assert set(answers) == {"201", "400", "401", "402", "409", "422", "429", "503"}
    assert "Idempotent-Replayed" in answers["201"]["headers"]
    assert all("Retry-After" in answers[status]["headers"] for status in ("409", "429", "503"))
    assert post["security"]


def schema_of(client, name):
    return client.get("/openapi.json").json()["components"]["schemas"][name]["properties"]
