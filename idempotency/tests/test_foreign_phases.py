"""A call to another system: no transaction around it, and its intent committed before it."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.urls import path

from idempotency import STARTED, Operation, RecoveryPoint, Response, foreign_phase
from idempotency.attempts import Attempt
from idempotency.claims import take_over_key
from idempotency.exceptions import ForeignCallInsideTransaction, PhaseFailed
from idempotency.models import IdempotencyKey
from idempotency.tests import bookshop
from idempotency.tests import ledger as provider
from idempotency.tests.bookshop import orders
from idempotency.tests.ledger import Fault
from idempotency.tests.sessions import backend_pid, state_of, wait_until_ended
from idempotency.transactions import refuse_open_transaction

pytestmark = pytest.mark.django_db(transaction=True)


class Deposit(Operation):
    """Its first phase is the foreign one: nothing is written before the call but the claim."""

    @foreign_phase(STARTED, window=bookshop.WINDOW, worst_case=timedelta(seconds=10))
    def pay(self):
        return provider.pay(100, key=self.foreign_key)

    @pay.commit
    def keep(self, payment):
        return Response(201, {"payment": payment})


class Exchange(Operation):
    """Two foreign phases in a row."""

    @foreign_phase(STARTED, window=bookshop.WINDOW, worst_case=timedelta(seconds=10))
    def pay(self):
        return provider.pay(100, key=self.foreign_key)

    @pay.commit
    def keep(self, payment):
        return RecoveryPoint("paid")

    @foreign_phase("paid", window=bookshop.WINDOW, worst_case=timedelta(seconds=10))
    def announce(self):
        provider.announce("an exchange")

    @announce.commit
    def finish(self, nothing):
        return Response(201, {})


urlpatterns = [
    *bookshop.urlpatterns,
    path("deposits", Deposit.as_view()),
    path("exchanges", Exchange.as_view()),
]


# No transaction.


@pytest.mark.usefixtures("own_session")
def test_no_transaction_is_open_during_the_call(customer, key, ledger):
    caller = backend_pid()

    state = ledger.meanwhile(lambda: state_of(caller))
    customer.send(key)

    assert state.result() == ("idle", None)


@pytest.mark.usefixtures("own_session")
def test_where_there_is_a_pool_no_connection_is_held_during_the_call(
    customer, key, ledger, monkeypatch
):
    monkeypatch.setitem(connection.settings_dict, "POOL_OPTIONS", {"POOL_SIZE": 1})
    caller = backend_pid()

    ending = ledger.meanwhile(lambda: wait_until_ended(caller))

    assert customer.send(key).status_code == 201
    ending.result()


@pytest.mark.usefixtures("own_session")
def test_where_there_is_no_pool_the_connection_is_kept(customer, key, ledger):
    before = backend_pid()

    customer.send(key)

    assert backend_pid() == before


def test_a_foreign_call_inside_a_transaction_is_refused():
    refuse_open_transaction()
    with transaction.atomic(), pytest.raises(ForeignCallInsideTransaction):
        refuse_open_transaction()


def test_a_foreign_call_without_autocommit_is_refused(customer, key, stored, ledger):
    customer.send(key, fails_in="pay")
    sent_before = len(ledger.calls)
    claim = take_over_key(stored().pk)

    transaction.set_autocommit(False)
    try:
        with pytest.raises(PhaseFailed) as failure:
            Attempt(bookshop.PlaceOrder(user=customer.user, params=customer.order)).resume(claim)
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)

    assert isinstance(failure.value.__cause__, ForeignCallInsideTransaction)
    assert len(ledger.calls) == sent_before


def test_an_operation_inside_a_transaction_runs_no_phase(customer, key, ledger):
    with transaction.atomic():
        assert customer.send(key).status_code == 500

    assert ledger.calls == orders() == []


# The intent.


@pytest.mark.parametrize("place", ["/orders", "/deposits"])
def test_the_intent_is_committed_before_the_call(customer, key, ledger, place):
    def intent():
        return IdempotencyKey.objects.get(idempotency_key=key).foreign_sent_at

    seen = ledger.meanwhile(intent)
    answer = send_to(place, customer, key)

    assert answer.status_code == 201
    assert seen.result() is not None


def send_to(place, customer, key):
    body = customer.order if place == "/orders" else {}
    return customer.post(body, key, to=place)


def test_the_intent_of_a_second_foreign_call_is_its_own(customer, key, ledger):
    def intent():
        return IdempotencyKey.objects.get(idempotency_key=key).foreign_sent_at

    first, second = ledger.meanwhile(intent), ledger.meanwhile(intent)
    customer.post({}, key, to="/exchanges")

    assert first.result() < second.result()


def test_a_resend_keeps_the_time_of_the_first_sending(customer, key, stored, ledger):
    ledger.faults = [Fault.ERROR_BEFORE]
    customer.send(key)
    first_sent_at = stored().foreign_sent_at

    customer.send(key)

    assert stored().foreign_sent_at == first_sent_at


def test_an_intent_that_no_phase_has_recorded_is_committed_by_itself(customer, key, stored, ledger):
    """As where an earlier version of the code had another kind of phase at this point."""
    customer.send(key, fails_in="pay")
    IdempotencyKey.objects.update(foreign_sent_at=None)

    seen = ledger.meanwhile(lambda: stored().foreign_sent_at)

    assert customer.send(key).status_code == 201
    assert seen.result() is not None
