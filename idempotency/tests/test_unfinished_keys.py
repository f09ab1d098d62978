"""A user may have so many unfinished requests, and no more: what is refused leaves nothing."""

from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from idempotency.models import IdempotencyKey
from idempotency.tests.conftest import Customer
from idempotency.tests.ledger import Fault

pytestmark = pytest.mark.django_db(transaction=True)

LIMIT = 3


@pytest.fixture(autouse=True)
def limit(settings) -> None:
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "MAX_UNFINISHED": LIMIT}


@pytest.fixture
def as_many_as_may_be(customer, ledger) -> list[str]:
    """The keys of requests whose outcome is not known."""
    ledger.faults = [Fault.ERROR_BEFORE] * LIMIT
    keys = [str(uuid4()) for _ in range(LIMIT)]
    assert {customer.send(key).status_code for key in keys} == {503}
    return keys


def test_one_more_than_a_user_may_have_is_refused_and_leaves_nothing(
    customer, key, as_many_as_may_be
):
    refused = customer.send(key)

    assert refused.status_code == 429
    assert refused.json()["code"] == "too_many_unfinished"
    assert refused.json()["retryable"] is True
    assert refused.headers["Retry-After"] == "60"
    assert not IdempotencyKey.objects.filter(idempotency_key=key).exists()


def test_the_unfinished_ones_go_on_and_make_room(customer, key, as_many_as_may_be):
    assert customer.send(key).status_code == 429

    assert customer.send(as_many_as_may_be[0]).status_code == 201
    assert customer.send(key).status_code == 201


def test_what_is_finished_is_replayed_to_whoever_is_at_the_limit(customer, key, ledger):
    assert customer.send(key).status_code == 201
    ledger.faults = [Fault.ERROR_BEFORE] * LIMIT
    for _ in range(LIMIT):
        customer.send(str(uuid4()))

    assert customer.send(str(uuid4())).status_code == 429
    assert customer.send(key).headers["Idempotent-Replayed"] == "true"


def test_one_users_requests_are_not_counted_for_another(key, as_many_as_may_be):
    assert Customer().send(key).status_code == 201


def test_a_burst_leaves_no_leased_key_behind(customer, elsewhere, ledger):
    ledger.faults = [Fault.ERROR_BEFORE] * 100
    burst = [elsewhere(customer.send, str(uuid4())) for _ in range(40)]

    assert {sent.result().status_code for sent in burst} == {429, 503}
    assert not IdempotencyKey.objects.filter(locked_at__isnull=False).exists()
    # Those that are claimed at the same moment do not see each other: 16 at a time here.
    assert LIMIT <= IdempotencyKey.objects.count() <= LIMIT + 15
    assert customer.send(str(uuid4())).status_code == 429


def test_the_limit_costs_no_statement(customer, key, settings, ledger):
    assert customer.send(str(uuid4())).status_code == 201
    with CaptureQueriesContext(connection) as limited:
        customer.send(key)
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "MAX_UNFINISHED": None}
    with CaptureQueriesContext(connection) as unlimited:
        customer.send(str(uuid4()))

    assert len(limited) == len(unlimited)
