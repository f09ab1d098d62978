"""A process that has to end: what it abandons is let go, where nobody can be harmed by it."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from idempotency import stopping
from idempotency.models import FINISHED, IdempotencyKey
from idempotency.testing.clock import let_time_pass
from idempotency.tests.bookshop import ORDERED, WINDOW, Death, orders

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def process_that_goes_on() -> Iterator[None]:
    """The tests' own."""
    yield
    stopping.forget()


def assert_stopping(answer) -> None:
    assert (answer.status_code, answer.json()["code"]) == (503, "stopping")
    assert answer.json()["retryable"] is True
    assert answer.headers["Retry-After"] == "1"


def test_a_key_whose_call_is_under_way_is_let_go_before_the_call_returns(
    customer, key, ledger, stored
):
    def abandon():
        stopping.abandon()
        return stored().locked_at

    locked_at = ledger.meanwhile(abandon)

    assert_stopping(customer.send(key))
    assert locked_at.result() is None


def test_what_a_call_answers_after_that_is_not_committed_and_the_retry_gets_the_same(
    customer, key, ledger, stored
):
    ledger.meanwhile(stopping.abandon)
    assert_stopping(customer.send(key))

    assert (stored().recovery_point, stored().locked_at) == (ORDERED, None)
    assert "payment" not in orders()[0]

    stopping.forget()
    assert customer.send(key).status_code == 201
    assert len(ledger.payments) == 1
    assert stored().recovery_point == FINISHED


def test_a_call_that_sends_no_key_keeps_its_lease_until_it_returns(customer, key, ledger, stored):
    with pytest.raises(Death):
        customer.send(key, dies_in="pay")
    let_time_pass(WINDOW + timedelta(hours=1))  # now the provider is asked, and nothing is sent

    def abandon():
        stopping.abandon()
        return stored().locked_at

    locked_at = ledger.meanwhile(abandon)

    assert_stopping(customer.send(key))
    assert ledger.calls == ["POST payments", "GET payments"]
    assert locked_at.result() is not None
    assert stored().locked_at is None


def test_no_phase_starts_in_a_process_that_has_abandoned_its_work(customer, key, ledger):
    stopping.abandon()

    assert_stopping(customer.send(key))
    assert not IdempotencyKey.objects.exists()
    assert orders() == []
