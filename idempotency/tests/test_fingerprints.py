"""When two requests are the same one: equal values are, however they were written."""

import pytest

from idempotency.completing import operation_for
from idempotency.parameters import fingerprint
from idempotency.tests.echoes import urlpatterns  # noqa: F401

pytestmark = pytest.mark.django_db

FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"whole": 0}, {"whole": "0"}),
        ({"decimal": 1}, {"decimal": "1.00"}),
        ({"decimal": 1e2}, {"decimal": "100"}),
        ({"decimal": 0.0}, {"decimal": "-0"}),
        ({"real": 1}, {"real": "1.0"}),
        ({"yes": True}, {"yes": "true"}),
        ({"yes": False}, {}),
        ({"text": ""}, {}),
        ({"text": " a "}, {"text": "a"}),
        ({"day": "2026-01-31"}, {"day": "01/31/2026"}),
    ],
)
def test_equal_values_are_the_same_request(customer, key, one, other):
    assert customer.post(one, key, to="/echo").status_code == 201

    form = "&".join(f"{name}={value}" for name, value in other.items())
    again = customer.post(form, key, to="/echo", content_type=FORM)

    assert again.headers["Idempotent-Replayed"] == "true"


def test_the_order_of_fields_does_not_count():
    assert fingerprint("POST", "/", {"a": 1, "b": 2}) == fingerprint("POST", "/", {"b": 2, "a": 1})


@pytest.mark.parametrize(
    "other",
    [
        ("PUT", "/", {"a": 1}),
        ("POST", "/a", {"a": 1}),
        ("POST", "/", {"a": "1"}),
        ("POST", "/", {}),
    ],
)
def test_method_path_and_parameters_do(other):
    assert fingerprint("POST", "/", {"a": 1}) != fingerprint(*other)


def test_the_order_in_a_document_does_not_count(customer, key):
    customer.post({"document": {"a": 1, "b": 2}}, key, to="/echo")

    again = customer.post({"document": {"b": 2, "a": 1}}, key, to="/echo")

    assert again.headers["Idempotent-Replayed"] == "true"


def test_a_document_may_hold_fractions(customer, key):
    answer = customer.post({"document": {"rate": 1.5}}, key, to="/echo")

    assert answer.status_code == 201


def test_a_fraction_may_be_a_document(customer, key):
    assert customer.post({"document": 1.5}, key, to="/echo").status_code == 201


@pytest.mark.parametrize(
    "number",
    [
        "1e999",
        "1e-9999999",
        "1e9999999",
    ],
)
def test_a_number_beyond_all_bounds_is_no_error_of_ours(customer, key, number):
    for field in ("decimal", "real", "whole"):
        answer = customer.post(f'{{"{field}": {number}}}', key, to="/echo")
        assert answer.status_code < 500


def test_numbers_that_differ_in_their_last_digit_differ(customer, key):
    long = "1." + "0" * 30
    customer.post(f'{{"decimal": {long}1}}', key, to="/echo")

    assert customer.post(f'{{"decimal": {long}2}}', key, to="/echo").status_code == 409


# The completer gets what the request got.


@pytest.mark.parametrize(
    "body",
    [
        {"text": "Grüße"},
        {"whole": 2**70},
        {"decimal": 12.5},
        {"real": 0.1},
        {"yes": True},
        {"day": "2026-01-31"},
        {"several": ["a", "b"]},
        {"document": {"a": [1, None, "x"]}},
    ],
)
def test_stored_parameters_come_back_as_they_were(customer, key, stored, body):
    answer = customer.post(body, key, to="/echo")

    again = operation_for(stored()).params

    assert {name: repr(value) for name, value in again.items()} == answer.json()
