"""When two requests are the same one: what was sent is compared, and nothing else."""

from decimal import Decimal

import pytest

from idempotency.support.fingerprints import fingerprint, number_text
from idempotency.tests.echoes import urlpatterns  # noqa: F401

FORM = "application/x-www-form-urlencoded"


def of(**sent):
    return fingerprint(sent, {})


# The rule.


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, "1"),
        (Decimal("1.0"), 1),
        (Decimal("1e2"), "100"),
        (Decimal("1e200"), 10**200),
        (Decimal("-0.0"), 0),
        (Decimal("0.50"), "0.5"),
        (True, "true"),
        (False, "false"),
        (None, "null"),
        ({"a": 1, "b": [True]}, {"b": [True], "a": Decimal("1.0")}),
    ],
)
def test_a_value_counts_by_its_text_in_json_or_in_a_form(one, other):
    assert of(value=one) == of(value=other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("007", "7"),
        ("1.50", "1.5"),
        ("a", " a"),
        ("a", "A"),
        ("", None),
        (1, 2),
        (Decimal("1." + "0" * 30 + "1"), Decimal("1." + "0" * 30 + "2")),
        ([1, 2], [2, 1]),
        ([], {}),
        ({"a": 1}, '{"a":"1"}'),
        ("2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00"),
        ("2026-01-31T12:00:00.000001Z", "2026-01-31T12:00:00.000002Z"),
    ],
)
def test_two_texts_are_two_requests(one, other):
    assert of(value=one) != of(value=other)


def test_the_order_of_fields_does_not_count():
    assert of(a=1, b=2) == of(b=2, a=1)


def test_a_field_that_was_not_sent_is_another_one_than_an_empty_one():
    assert of() != of(gift="")


def test_transient_fields_do_not_count():
    assert fingerprint({"a": 1, "dies_in": "pay"}, {}, leave_out=["dies_in"]) == of(a=1)


def test_an_argument_of_the_url_counts_and_is_no_field():
    assert fingerprint({}, {"shelf": "7"}) != fingerprint({}, {"shelf": "8"})
    assert fingerprint({}, {"shelf": "7"}) != fingerprint({"shelf": "7"}, {})


def test_a_fingerprint_outlives_a_deploy():
    """A change of it would answer every retry in flight with a mismatch."""
    sent = {"title": "Emma", "price": Decimal("9.50"), "gift": True, "to": None, "tags": ["a", 1]}

    assert fingerprint(sent, {"shelf": "7"}) == (
        "dd3956b987fb07388bf52028f64708fb943e5dcf0d3d159b44a3cb982deff856"
    )


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (Decimal("0e9"), "0"),
        (Decimal("1E+3"), "1000"),
        (Decimal("-1.250"), "-1.25"),
        (Decimal("1e-7"), "0.0000001"),
        (Decimal("1e9999999"), "1E+9999999"),
        (10**99, "1" + "0" * 99),
    ],
)
def test_a_number_has_one_spelling(number, text):
    assert number_text(number) == text


# Through the door.


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("as_json", "as_form"),
    [
        ('{"whole": 7}', "whole=7"),
        ('{ "whole" :7.0 }', "whole=7"),
        ('{"decimal": 1.50, "text": "a"}', "text=a&decimal=1.5"),
        ('{"yes": true}', "yes=true"),
    ],
)
def test_a_request_is_the_same_in_json_and_in_a_form(customer, key, as_json, as_form):
    assert customer.post(as_json, key, to="/echo").status_code == 201

    again = customer.post(as_form, key, to="/echo", content_type=FORM)

    assert again.headers["Idempotent-Replayed"] == "true"


@pytest.mark.django_db
def test_two_spellings_of_a_number_in_a_form_are_two_requests(customer, key):
    customer.post("whole=7", key, to="/echo", content_type=FORM)

    again = customer.post("whole=007", key, to="/echo", content_type=FORM)

    assert (again.status_code, again.json()["code"]) == (409, "parameters_mismatch")


@pytest.mark.django_db
def test_the_order_in_a_document_does_not_count(customer, key):
    customer.post({"document": {"a": 1, "b": 2}}, key, to="/echo")

    again = customer.post({"document": {"b": 2, "a": 1}}, key, to="/echo")

    assert again.headers["Idempotent-Replayed"] == "true"


@pytest.mark.django_db
@pytest.mark.parametrize("document", [{"rate": 1.5}, 1.5, [], {}, None])
def test_a_document_may_be_anything_that_json_has(customer, key, document):
    assert customer.post({"document": document}, key, to="/echo").status_code == 201


@pytest.mark.django_db
@pytest.mark.parametrize("number", ["1e999", "1e-9999999", "1e9999999"])
def test_a_number_beyond_all_bounds_is_no_error_of_ours(customer, key, number):
    for field in ("decimal", "real", "whole", "document"):
        answer = customer.post(f'{{"{field}": {number}}}', key, to="/echo")
        assert answer.status_code < 500


@pytest.mark.django_db
def test_numbers_that_differ_in_their_last_digit_differ(customer, key):
    long = "1." + "0" * 30
    customer.post(f'{{"decimal": {long}1}}', key, to="/echo")

    assert customer.post(f'{{"decimal": {long}2}}', key, to="/echo").status_code == 409
