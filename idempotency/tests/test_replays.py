"""A finished key: the first answer again, byte for byte. What it may cost, `rides` holds in its
test_budgets.py."""

import pytest
from django.db import transaction

from idempotency.models import IdempotencyKey
from idempotency.tests.bookshop import audit_trail, orders
from idempotency.tests.ledger import Fault

pytestmark = pytest.mark.django_db(transaction=True)

FORM = "application/x-www-form-urlencoded"


def assert_replayed(first, again):
    assert first.headers["Idempotent-Replayed"] == "false"
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["Content-Type"] == first.headers["Content-Type"]


def test_a_replay_is_the_first_answer_byte_for_byte(customer, key, ledger):
    first, again = customer.send(key), customer.send(key)

    assert_replayed(first, again)
    assert len(orders()) == len(audit_trail()) == len(ledger.calls) == 1


def test_a_replay_is_what_was_stored_and_not_what_would_be_answered_now(customer, key, ledger):
    customer.send(key)
    IdempotencyKey.objects.update(
        response_body=b"<p>as it  was</p>", response_content_type="text/html; charset=utf-8"
    )

    again = customer.send(key)

    assert again.content == b"<p>as it  was</p>"
    assert again.headers["Content-Type"] == "text/html; charset=utf-8"


def test_a_definite_refusal_is_final_and_replayed(customer, key, ledger):
    ledger.faults = [Fault.DECLINE]

    first, again = customer.send(key), customer.send(key)

    assert first.status_code == 402
    assert_replayed(first, again)
    assert ledger.calls == ["POST payments"]


def test_a_quoted_key_and_a_bare_one_are_the_same_key(customer, key, ledger):
    assert_replayed(customer.send(f'"{key}"'), customer.send(key))
    assert IdempotencyKey.objects.get().idempotency_key == key


def test_a_transient_field_is_neither_stored_nor_compared(customer, key, stored, ledger):
    assert_replayed(customer.send(key, fails_in="nowhere"), customer.send(key))
    assert "fails_in" not in stored().request_params


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"title": "Persuasion"}, "/orders"),
        ({"price_cents": 901}, "/orders"),
        ({"gift": True}, "/orders"),
        ({}, "/serializable/orders"),
    ],
)
def test_a_key_is_good_for_one_request_only(customer, key, stored, ledger, change, path):
    first = customer.send(key)
    before = stored().__dict__

    other = customer.send(key, to=path, **change)

    assert (other.status_code, other.json()["code"]) == (409, "parameters_mismatch")
    assert other.json()["retryable"] is False
    assert without_state(stored().__dict__) == without_state(before)
    assert_replayed(first, customer.send(key))


def without_state(row):
    return {name: value for name, value in row.items() if name != "_state"}


def test_other_parameters_are_refused_while_the_first_request_runs(customer, key, ledger):
    other = ledger.meanwhile(lambda: customer.send(key, title="Persuasion"))

    assert customer.send(key).status_code == 201
    assert other.result().json()["code"] == "parameters_mismatch"


def test_a_replay_does_not_wait_for_whoever_has_locked_the_row(customer, key, ledger, elsewhere):
    first = customer.send(key)

    with transaction.atomic():
        IdempotencyKey.objects.select_for_update().get()
        assert_replayed(first, elsewhere(customer.send, key).result(timeout=5))
