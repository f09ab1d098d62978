"""HTTP as a client sees it: methods, credentials, keys, the shape of errors, when to come back."""

import logging
from datetime import timedelta

import pytest
from django.middleware.csrf import _get_new_csrf_string
from django.test import Client

from idempotency.models import IdempotencyKey
from idempotency.testing.clock import let_time_pass
from idempotency.tests.bookshop import Death
from idempotency.tests.ledger import Fault

pytestmark = pytest.mark.django_db(transaction=True)


def assert_refused(answer, status, code):
    """Each error has one shape. Nothing was written for it."""
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json().keys() == {"error", "code", "retryable"}
    assert answer.json()["retryable"] is False
    assert answer.json()["error"].endswith(".")
    assert not IdempotencyKey.objects.exists()


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_post_is_allowed(db, method):
    answer = Client().generic(method, "/orders")

    assert_refused(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


def test_a_head_is_refused_too(db):
    answer = Client().head("/orders")

    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("credential", ["", "0", "nobody", "-1"])
def test_a_request_without_a_known_credential_is_refused(customer, key, credential):
    answer = Client().post(
        "/orders",
        customer.order,
        "application/json",
        headers={"Authorization": credential, "Idempotency-Key": key},
    )

    assert_refused(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'


def test_credentials_are_asked_for_before_anything_else(db):
    assert_refused(Client().post("/orders", "{", "application/json"), 401, "unauthenticated")


# The key.


def test_a_request_without_a_key_is_refused(customer):
    assert_refused(customer.send(""), 400, "idempotency_key_missing")


@pytest.mark.parametrize(
    ("bad_key", "reason"),
    [
        ("k" * 19, "has 19 characters; it must have"),
        ("k" * 256, "has 256 characters"),
        ('"' + "k" * 19 + '"', "has 19 characters"),
        ('"' + "k" * 256 + '"', "has 256 characters"),
        ('""', "has 0 characters"),
        *[
            (bad_key, "must be one value of printable ASCII characters")
            for bad_key in [
                "k" * 20 + "\x00",
                "k" * 20 + "\x7f",
                "k" * 20 + "é",
                "k" * 20 + "\xff\xfe",
                "k" * 20 + ", " + "k" * 20,
                '"' + "k" * 20,
                "k" * 20 + '"',
                "k" * 20 + '"' + "k" * 20,
                '"' + "k" * 20 + '"; q=1',
                '"' + "k" * 20 + '\\n"',
                r'"\q' + "k" * 20 + '"',
                "k" * 20 + "\nX-More: 1",
            ]
        ],
    ],
    ids=ascii,
)
def test_a_key_that_is_not_one_is_refused(customer, bad_key, reason):
    answer = customer.send(bad_key)

    assert_refused(answer, 400, "idempotency_key_invalid")
    assert reason in answer.json()["error"]


@pytest.mark.parametrize("good_key", ["k" * 20, "k" * 255, "a key of several words", "k=;!~" * 4])
def test_a_key_may_have_20_to_255_printable_characters(customer, ledger, good_key):
    assert customer.send(good_key).status_code == 201
    assert IdempotencyKey.objects.get().idempotency_key == good_key


def test_a_quoted_key_may_hold_what_a_bare_one_may_not(customer, ledger):
    assert customer.send(r'"a \"quoted\" key, with a \\"').status_code == 201
    assert IdempotencyKey.objects.get().idempotency_key == r'a "quoted" key, with a ' + "\\"


def test_a_key_is_refused_by_its_length_once_it_is_unquoted(customer):
    assert_refused(customer.send('"' + r"\"" * 19 + '"'), 400, "idempotency_key_invalid")


def test_an_address_that_is_none_is_left_out(customer, key, stored, ledger):
    for address in ("", "unix:"):
        answer = customer.post(customer.order, key, REMOTE_ADDR=address)
        assert answer.status_code == 201
        assert stored().origin_ip is None


def test_an_address_with_a_zone_is_no_reason_to_fail(customer, key, ledger):
    answer = customer.post(customer.order, key, REMOTE_ADDR="fe80::1%eth0")

    assert answer.status_code == 201


# When to come back.


def test_a_leased_key_says_how_long_its_lease_still_lasts(customer, key, ledger):
    with pytest.raises(Death):
        customer.send(key, dies_in="pay")

    waits = []
    for _ in range(3):
        waits.append(int(customer.send(key).headers["Retry-After"]))
        let_time_pass(timedelta(seconds=44))

    assert waits[0] in (89, 90)
    assert waits[1] in (45, 46)
    assert waits[2] in (1, 2)


# The log.


def test_a_refusal_is_not_logged_as_an_error(customer, key, caplog):
    with caplog.at_level(logging.WARNING, logger="idempotency"):
        customer.send("short")
        customer.send(key, price_cents=-1)
        customer.post("{", key)

    assert [record for record in caplog.records if record.name.startswith("idempotency")] == []


def test_an_error_that_nobody_expected_is_logged_with_its_lines_and_without_the_request(
    customer, key, ledger, caplog
):
    customer.send(key, fails_in="place_order")

    records = [record for record in caplog.records if record.name.startswith("idempotency")]
    [failed] = [record for record in records if record.levelname == "ERROR"]
    assert 'raise Mishap(f"in {phase}")' in failed.getMessage()
    assert "in place_order\n" in failed.getMessage()
    assert failed.exc_info is None  # a formatter would print the error's own words
    for record in records:
        assert key not in record.getMessage()
        assert "Emma" not in record.getMessage()


# The default credential: a browser's session.


@pytest.fixture
def browser(customer, settings):
    settings.IDEMPOTENCY = {"FOREIGN_KEY_NAMESPACE": settings.IDEMPOTENCY["FOREIGN_KEY_NAMESPACE"]}
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(customer.user)
    return browser


def submit(browser, customer, key, **headers):
    return browser.post(
        "/orders", customer.order, "application/json", headers={"Idempotency-Key": key, **headers}
    )


def test_a_session_with_a_csrf_token_is_a_credential(browser, customer, key, ledger):
    token = _get_new_csrf_string()
    browser.cookies["csrftoken"] = token

    assert submit(browser, customer, key, **{"X-CSRFToken": token}).status_code == 201


def test_a_session_without_a_csrf_token_is_none(browser, customer, key):
    assert_refused(submit(browser, customer, key), 401, "unauthenticated")


def test_no_session_is_no_credential(browser, customer, key):
    browser.logout()

    assert_refused(submit(browser, customer, key), 401, "unauthenticated")


def test_a_form_that_is_too_large_is_refused_with_a_session_too(browser, key):
    browser.cookies["csrftoken"] = _get_new_csrf_string()

    answer = browser.post(
        "/orders",
        "x" * 3_000_000,
        "application/x-www-form-urlencoded",
        headers={"Idempotency-Key": key},
    )

    assert_refused(answer, 413, "body_too_large")


def test_an_error_is_a_problem_for_who_asks_for_one(customer, key):
    headers = {"Authorization": str(customer.user.pk), "Accept": "application/problem+json"}

    answer = Client().post("/orders", {}, "application/json", headers=headers)

    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code == 400
    assert answer.json()["code"] == "idempotency_key_missing"
    assert answer.json()["title"] == "Idempotency key missing"
    assert "Idempotency-Key" in answer.json()["detail"]


def test_a_stored_answer_is_the_firsts_bytes_whatever_is_accepted(customer, key, ledger):
    ledger.faults = [Fault.DECLINE]
    first = customer.send(key)

    again = customer.post(customer.order, key, HTTP_ACCEPT="application/problem+json")

    assert again.content == first.content
    assert again.headers["Content-Type"] == first.headers["Content-Type"] == "application/json"


def test_a_mismatch_has_the_drafts_status_where_a_project_wants_it(customer, key, ledger, settings):
    customer.send(key)
    assert customer.send(key, title="Ulysses").status_code == 409

    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "MISMATCH_STATUS": 422}

    answer = customer.send(key, title="Ulysses")
    assert (answer.status_code, answer.json()["code"]) == (422, "parameters_mismatch")


def test_an_error_leads_to_where_a_project_documents_its_keys(customer, settings):
    assert "Link" not in customer.send("short").headers

    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "DOCUMENTATION_URL": "/keys"}

    assert customer.send("short").headers["Link"] == '</keys>; rel="describedby"'
