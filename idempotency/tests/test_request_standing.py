"""`GET /requests`: where a request stands, asked by its key alone, with nothing done."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path

from idempotency.http.standing import request_standing
from idempotency.models import IdempotencyKey
from idempotency.testing.clock import let_time_pass
from idempotency.tests import reviewing
from idempotency.tests.ledger import Fault
from idempotency.workers.reaping import reap_finished_keys

pytestmark = pytest.mark.django_db(transaction=True)

urlpatterns = [*reviewing.urlpatterns, path("requests", request_standing)]

RETENTION = timedelta(hours=73)


@pytest.fixture
def ask(customer, key):
    def ask(method="get", *, sent=key, user=customer.user):
        headers = {"Authorization": str(user.pk), "Idempotency-Key": sent}
        client = Client(enforce_csrf_checks=True)
        return getattr(client, method)("/requests", headers=headers)

    return ask


def test_a_key_that_nobody_has_used_is_unknown_and_stays_so(ask):
    answer = ask()

    assert (answer.status_code, answer.json()["code"]) == (404, "request_unknown")
    assert not IdempotencyKey.objects.exists()


def test_a_finished_request_is_told_with_its_answer(ask, customer, key, ledger):
    first = customer.send(key)

    told = ask().json()

    assert (told["state"], told["retry_after_seconds"]) == ("finished", None)
    assert told["answer"]["status"] == first.status_code == 201
    assert told["answer"]["body"].encode() == first.content
    assert told["answer"]["headers"]["Content-Type"] == first.headers["Content-Type"]
    assert told["request"]["path"] == "/orders"


def test_a_requests_times_are_told_with_their_offset_where_the_projects_are_naive(
    ask, customer, key, ledger, settings
):
    before = datetime.now(UTC)
    settings.USE_TZ, settings.TIME_ZONE = False, "Asia/Tokyo"
    customer.send(key)

    told = ask().json()["request"]

    for moment in ("created_at", "last_run_at"):
        assert before <= datetime.fromisoformat(told[moment]) <= datetime.now(UTC)


def test_an_answer_that_is_no_text_is_told_in_base64(ask, customer, key, ledger):
    customer.send(key)
    IdempotencyKey.objects.update(response_body=b"\xff\xfe", response_headers={"ETag": '"1"'})

    answer = ask().json()["answer"]

    assert base64.b64decode(answer["body_base64"]) == b"\xff\xfe"
    assert answer["headers"]["ETag"] == '"1"'


def test_a_request_whose_outcome_is_not_known_is_interrupted_and_may_be_retried(
    ask, customer, key, ledger
):
    ledger.faults = [Fault.ERROR_BEFORE]
    customer.send(key)

    told = ask().json()

    assert (told["state"], told["retry_after_seconds"], told["answer"]) == ("interrupted", 0, None)


def test_a_request_in_progress_is_told_with_the_seconds_of_its_lease(ask, customer, key, ledger):
    asked = ledger.meanwhile(ask)
    customer.send(key)

    told = asked.result(timeout=5).json()

    assert told["state"] == "in_progress"
    assert 85 <= told["retry_after_seconds"] <= 90


def test_a_request_under_review_is_told_so(ask, listed):
    listed()

    assert ask().json()["state"] == "under_review"


def test_an_answer_that_is_no_longer_kept_is_told_by_its_status(ask, customer, key, ledger):
    customer.send(key)
    let_time_pass(RETENTION)
    reap_finished_keys(10)

    told = ask().json()

    assert (told["state"], told["answer"]) == ("expired", {"status": 201})
    assert (told["request"]["method"], told["request"]["path"]) == ("POST", "")


def test_nobody_is_told_of_anothers_request(ask, customer, key, ledger, django_user_model):
    customer.send(key)
    other = django_user_model.objects.create_user("other@example.com", is_staff=True)

    assert ask(user=other).json()["code"] == "request_unknown"


@pytest.mark.parametrize(
    ("method", "sent", "code"),
    [
        ("post", "the-key-of-this-question", "method_not_allowed"),
        ("delete", "the-key-of-this-question", "method_not_allowed"),
        ("get", "", "idempotency_key_missing"),
        ("get", "short", "idempotency_key_invalid"),
    ],
)
def test_a_question_that_is_none_is_refused(ask, method, sent, code):
    answer = ask(method, sent=sent)

    assert answer.json()["code"] == code
    assert answer.headers.get("Allow", "GET, HEAD") == "GET, HEAD"


def test_without_a_credential_nothing_is_asked(key):
    with CaptureQueriesContext(
        connection,
    ) as queries:
        answer = Client().get("/requests", headers={"Idempotency-Key": key})

    assert answer.json()["code"] == "unauthenticated"
    assert len(queries) == 0


def test_it_costs_one_select_besides_the_credentials(ask, customer, key, ledger):
    customer.send(key)

    with CaptureQueriesContext(connection) as queries:
        ask()

    assert [query["sql"].split()[0] for query in queries] == ["SELECT", "SELECT"]
