"""The provider's window: inside it the same call is sent again, past it nothing is ever sent."""

from datetime import timedelta

import pytest
from django.urls import path

from idempotency import STARTED, Operation, RecoveryPoint, Response, foreign_phase, stopping
from idempotency.models import StagedJob
from idempotency.testing.clock import let_time_pass
from idempotency.tests import bookshop
from idempotency.tests import ledger as provider
from idempotency.tests.bookshop import ORDERED, WINDOW, Death, key_sent_for, orders
from idempotency.tests.ledger import Fault

pytestmark = pytest.mark.django_db(transaction=True)

A_MINUTE = timedelta(minutes=1)


class Blind(Operation):
    """Its foreign system cannot be asked what it did."""

    @foreign_phase(STARTED, window=WINDOW, worst_case=timedelta(seconds=10))
    def pay(self):
        return provider.pay(100, key=self.foreign_key)

    @pay.commit
    def keep(self, payment):
        return Response(201, {"payment": payment})


class Keyless(Operation):
    """Its foreign system recognises no key: whatever is sent twice is paid twice."""

    @foreign_phase(STARTED, window=timedelta(0), worst_case=timedelta(seconds=10))
    def pay(self):
        return provider.pay(100, key=self.foreign_key)

    @pay.lookup
    def find_payment(self):
        return provider.find_payment(key=self.foreign_key)

    @pay.commit
    def keep(self, payment):
        return RecoveryPoint("paid")

    @foreign_phase("paid", window=timedelta(0), worst_case=timedelta(seconds=10))
    def pay_more(self):
        return provider.pay(200, key=self.foreign_key)

    @pay_more.commit
    def keep_more(self, payment):
        return Response(201, {"payment": payment})


urlpatterns = [
    *bookshop.urlpatterns,
    path("blind", Blind.as_view()),
    path("keyless", Keyless.as_view()),
]


@pytest.fixture
def paid_and_died(customer, key, ledger):
    with pytest.raises(Death):
        customer.send(key, dies_in="pay")


@pytest.fixture
def never_paid(customer, key, ledger):
    ledger.faults = [Fault.ERROR_BEFORE]
    customer.send(key)


def test_inside_the_window_the_same_key_is_sent_again(customer, key, stored, ledger, paid_and_died):
    let_time_pass(WINDOW - A_MINUTE)

    assert customer.send(key).status_code == 201

    assert ledger.calls == ["POST payments", "POST payments"]
    assert [payment["key"] for payment in ledger.payments] == [str(key_sent_for(stored()))]


def test_past_the_window_what_was_paid_is_found_and_adopted(customer, key, ledger, paid_and_died):
    let_time_pass(WINDOW)
    ledger.forget_keys()

    assert customer.send(key).status_code == 201

    assert ledger.calls == ["POST payments", "GET payments"]
    assert orders() == [{"title": "Emma", "payment": "payment-1"}]
    assert len(ledger.payments) == StagedJob.objects.count() == 1


def test_past_the_window_what_is_not_found_needs_a_person(
    customer, key, stored, ledger, never_paid
):
    let_time_pass(WINDOW)
    sent_at = stored().foreign_sent_at

    answer = customer.send(key)

    assert (answer.status_code, answer.json()["code"]) == (503, "needs_review")
    assert ledger.payments == []
    row = stored()
    assert row.is_under_review
    assert (row.recovery_point, row.locked_at) == (ORDERED, None)
    assert row.journal[-1]["evidence"] == {"sent_at": sent_at.isoformat(), "looked_up": True}


def test_past_the_window_nothing_is_sent_however_often_it_is_tried(
    customer, key, ledger, never_paid
):
    let_time_pass(WINDOW)

    for _ in range(3):
        assert customer.send(key).json()["code"] == "needs_review"

    assert ledger.calls == ["POST payments", "GET payments"]


def test_a_look_up_without_an_answer_is_asked_again(customer, key, stored, ledger, paid_and_died):
    let_time_pass(WINDOW)
    ledger.faults = [Fault.ERROR_BEFORE]

    assert customer.send(key).json()["code"] == "outcome_unknown"
    assert not stored().is_under_review
    assert customer.send(key).status_code == 201
    assert ledger.calls == ["POST payments", "GET payments", "GET payments"]


def test_a_foreign_system_that_cannot_be_asked_needs_a_person(customer, key, stored, ledger):
    ledger.faults = [Fault.RESET_AFTER]
    customer.post({}, key, to="/blind")
    let_time_pass(WINDOW)

    answer = customer.post({}, key, to="/blind")

    assert answer.json()["code"] == "needs_review"
    assert stored().journal[-1]["evidence"]["looked_up"] is False
    assert ledger.calls == ["POST payments"]


def test_the_window_is_counted_from_the_first_sending(customer, key, ledger, never_paid):
    ledger.faults = [Fault.ERROR_BEFORE]
    let_time_pass(WINDOW / 2)
    assert customer.send(key).json()["code"] == "outcome_unknown"
    let_time_pass(WINDOW / 2)

    assert customer.send(key).json()["code"] == "needs_review"


def test_the_window_begins_with_the_sending_and_not_with_the_claim(customer, key, ledger):
    customer.send(key, fails_in="place_order")
    let_time_pass(WINDOW * 2)

    assert customer.send(key).status_code == 201
    assert ledger.calls == ["POST payments"]


def test_without_a_window_each_call_is_sent_once_and_never_again(customer, key, ledger):
    ledger.faults = [Fault.ERROR_AFTER, None, Fault.ERROR_AFTER]

    first, second, third = (customer.post({}, key, to="/keyless") for _ in range(3))

    assert first.json()["code"] == second.json()["code"] == "outcome_unknown"
    assert third.json()["code"] == "needs_review", "the second phase has no look-up"
    assert ledger.calls == ["POST payments", "GET payments", "POST payments"]


def test_a_clock_that_is_set_back_a_little_sends_nothing_again_without_a_window(
    customer, key, ledger
):
    ledger.faults = [Fault.ERROR_AFTER]
    customer.post({}, key, to="/keyless")
    let_time_pass(timedelta(seconds=-2))

    customer.post({}, key, to="/keyless")

    assert ledger.calls[:2] == ["POST payments", "GET payments"]


def test_without_a_window_a_call_under_way_keeps_its_lease_when_the_process_stops(
    customer, key, ledger
):
    during = ledger.meanwhile(lambda: [c.may_be_sent_again for c in stopping.calls_under_way()])

    customer.post({}, key, to="/keyless")

    assert during.result() == [False]
