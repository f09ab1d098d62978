"""What is looked at first: the head, then the whole body, and only then the database."""

from typing import Any

import pytest
from django.http import HttpRequest
from django.middleware.csrf import _get_new_csrf_string
from django.test import Client

from idempotency.tests.bookshop import customer_of

pytestmark = pytest.mark.django_db

bodies_read: list[bool] = []


def customer_noted(request: HttpRequest) -> Any:
    bodies_read.append(hasattr(request, "_body"))
    return customer_of(request)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"method": "PUT"}, 405),
        ({"content_type": "text/plain"}, 415),
        ({"data": "x" * 20_000}, 413),
        ({"headers": {"Authorization": "", "Idempotency-Key": "k" * 20}}, 401),
        ({"headers": {"Authorization": "1"}}, 400),
        ({"headers": {"Authorization": "1", "Idempotency-Key": "short"}}, 400),
    ],
    ids=["method", "media type", "length", "no credential", "no key", "bad key"],
)
def test_what_the_head_shows_is_refused_without_body_and_database(
    django_assert_num_queries, change, status
):
    asked = {
        "method": "POST",
        "path": "/orders",
        "data": "{}",
        "content_type": "application/json",
        "headers": {"Authorization": "1", "Idempotency-Key": "k" * 20},
    }
    with django_assert_num_queries(0):
        answer = Client().generic(**asked | change)

    assert answer.status_code == status


def test_the_body_is_there_before_anybody_asks_who_sends_it(settings, customer, key, ledger):
    settings.IDEMPOTENCY = {"AUTHENTICATE": f"{__name__}.customer_noted"}
    bodies_read.clear()

    customer.send(key)

    assert bodies_read == [True]


@pytest.mark.parametrize(("names", "status"), [(("X-Api-Key",), 401), ((), 422)])
def test_a_project_says_in_which_headers_a_credential_may_stand(
    settings, customer, key, names, status
):
    settings.IDEMPOTENCY |= {"CREDENTIAL_HEADERS": names}

    assert customer.post({}, key).status_code == status


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("&".join(f"a{n}=1" for n in range(1_002)), "application/x-www-form-urlencoded"),
        ("title=Emma", "application/x-www-form-urlencoded; charset=utf-16"),
    ],
    ids=["too many fields", "another encoding"],
)
def test_a_session_whose_form_django_cannot_read_gets_a_400(
    customer, key, settings, body, content_type
):
    settings.IDEMPOTENCY = {}
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(customer.user)
    browser.cookies["csrftoken"] = _get_new_csrf_string()

    answer = browser.generic(
        "POST", "/orders", body, content_type, headers={"Idempotency-Key": key}
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "body_malformed")
