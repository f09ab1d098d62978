"""A key's journal has a limit, whatever a phase appends to it and however often."""

import pytest
from django.urls import path

from idempotency import STARTED, NoOp, Operation, atomic_phase
from idempotency.leases import JOURNAL_LIMIT
from idempotency.models import IdempotencyKey
from idempotency.phases import RecoveryPoint
from idempotency.tests.bookshop import OrderForm

pytestmark = pytest.mark.django_db(transaction=True)

POLLS = 10


class WaitForStock(Operation):
    """A phase that polls: each time it commits that there is nothing yet."""

    params_form = OrderForm

    @atomic_phase(STARTED)
    def begin(self):
        return RecoveryPoint("waiting")

    @atomic_phase("waiting")
    def wait(self):
        return NoOp()


urlpatterns = [path("stock", WaitForStock.as_view())]


def test_a_phase_that_polls_keeps_its_journal_within_the_limit(customer, key, stored):
    customer.send(key, to="/stock")
    [claimed, *later] = stored().journal
    almost_full = [claimed, *later * (JOURNAL_LIMIT // len(later) - 1)]
    IdempotencyKey.objects.update(journal=almost_full)

    for _ in range(POLLS):
        assert customer.send(key, to="/stock").json()["code"] == "postponed"

    journal = stored().journal
    assert len(almost_full) < len(journal) <= JOURNAL_LIMIT
    assert journal[0]["event"] == "claimed"
    assert journal[-1]["attempt"] == 1 + POLLS
