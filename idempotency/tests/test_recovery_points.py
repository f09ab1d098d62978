"""Recovery points: data that outlives a deploy, goes forward only, and may have to wait."""

import pytest
from django.contrib.auth.models import Group
from django.urls import path

from idempotency import FINISHED, STARTED, NoOp, Operation, RecoveryPoint, Response, atomic_phase
from idempotency.models import IdempotencyKey
from idempotency.tests import bookshop
from idempotency.tests.bookshop import ORDERED, PAID, PlaceOrder, orders

pytestmark = pytest.mark.django_db(transaction=True)


class Awaits(Operation):
    """Its second phase waits for a row of somebody else's."""

    @atomic_phase(STARTED)
    def begin(self):
        return RecoveryPoint("waiting")

    @atomic_phase("waiting")
    def wait(self):
        Group.objects.create(name=f"looked in attempt {self.key.attempt}")
        if not Group.objects.filter(name="what it waits for").exists():
            return NoOp()
        return Response(201, {})


class Wanders(Operation):
    """Its second phase returns what the test wants it to."""

    returns = None

    @atomic_phase(STARTED)
    def begin(self):
        return RecoveryPoint("second")

    @atomic_phase("second")
    def wander(self):
        Group.objects.create(name="wandered")
        return self.returns

    @atomic_phase("third")
    def end(self):
        return Response(201, {"ended": True})


class Shortcut(PlaceOrder):
    """A subclass that replaces one phase, in its place, and leaves the others."""

    @atomic_phase(ORDERED)
    def pay(self):
        return RecoveryPoint(PAID)


urlpatterns = [
    *bookshop.urlpatterns,
    path("awaits", Awaits.as_view()),
    path("wanders", Wanders.as_view()),
    path("shortcut", Shortcut.as_view()),
]


# A point that the code does not know.


def test_a_point_that_the_code_does_not_know_parks_the_key(customer, key, stored, ledger):
    customer.send(key, fails_in="pay")
    IdempotencyKey.objects.update(recovery_point="point_of_another_version")

    answer = customer.send(key)

    assert (answer.status_code, answer.json()["code"]) == (503, "parked")
    assert answer.json()["retryable"] is True
    row = stored()
    assert (row.recovery_point, row.locked_at) == ("point_of_another_version", None)
    assert "point_of_another_version" in row.last_error
    assert not row.is_under_review
    assert len(orders()) == 1


def test_a_parked_key_goes_on_once_its_code_is_back(customer, key, stored, ledger):
    customer.send(key, fails_in="pay")
    IdempotencyKey.objects.update(recovery_point="point_of_another_version")
    customer.send(key)
    IdempotencyKey.objects.update(recovery_point=ORDERED)

    assert customer.send(key).status_code == 201
    assert len(orders()) == len(ledger.payments) == 1


# Forward only.


@pytest.mark.parametrize(
    "result",
    [
        RecoveryPoint("second"),
        RecoveryPoint(STARTED),
        RecoveryPoint("nowhere"),
        RecoveryPoint(FINISHED),
        None,
        {"status": 201},
    ],
    ids=str,
)
def test_a_phase_that_leads_nowhere_is_undone(customer, key, stored, monkeypatch, result):
    monkeypatch.setattr(Wanders, "returns", result)

    answer = customer.post({}, key, to="/wanders")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert not Group.objects.exists()
    assert stored().recovery_point == "second"
    assert stored().last_error.startswith("InvalidTransition: ")
    assert "wander returned" in stored().last_error


def test_a_phase_may_pass_over_others(customer, key, monkeypatch):
    monkeypatch.setattr(Wanders, "returns", RecoveryPoint("third"))

    assert customer.post({}, key, to="/wanders").json() == {"ended": True}


def test_a_subclass_can_replace_a_phase_where_it_stands(customer, key, ledger):
    answer = customer.send(key, to="/shortcut")

    assert answer.status_code == 201
    assert ledger.calls == []
    assert [phase.recovery_point for phase in Shortcut.phases()] == [STARTED, ORDERED, PAID]


# Nothing to do yet.


def test_a_phase_that_can_do_nothing_yet_postpones_the_request(customer, key, stored):
    answer = customer.post({}, key, to="/awaits")

    assert (answer.status_code, answer.json()["code"]) == (503, "postponed")
    assert answer.headers["Retry-After"] == "1"
    row = stored()
    assert (row.recovery_point, row.locked_at) == ("waiting", None)
    assert Group.objects.get().name == "looked in attempt 1"


def test_a_postponed_request_goes_on_when_there_is_something_to_do(customer, key):
    customer.post({}, key, to="/awaits")
    Group.objects.create(name="what it waits for")

    assert customer.post({}, key, to="/awaits").status_code == 201
