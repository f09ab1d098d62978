"""A phase may have any name: what runs it is an object beside the operation."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.urls import path

from idempotency import FINISHED, STARTED, Operation, RecoveryPoint, Response, atomic_phase
from idempotency.testing.clock import let_time_pass
from idempotency.tests import bookshop
from idempotency.workers.completing import complete_due_keys

pytestmark = pytest.mark.django_db(transaction=True)

GRACE = timedelta(seconds=300)


class Rocket(Operation):
    """Its phases have the names that a library likes for itself."""

    fails = False

    @atomic_phase(STARTED)
    def start(self):
        Group.objects.create(name="started")
        return RecoveryPoint("resumed")

    @atomic_phase("resumed")
    def resume(self):
        return RecoveryPoint("running")

    @atomic_phase("running")
    def run(self):
        if Rocket.fails:
            raise OSError("no fuel")
        return RecoveryPoint("held")

    @atomic_phase("held")
    def hold(self):
        return RecoveryPoint("in transaction")

    @atomic_phase("in transaction")
    def in_transaction(self):
        return RecoveryPoint("committed")

    @atomic_phase("committed")
    def commit(self):
        return Response(201, {"rocket": "up"})


urlpatterns = [*bookshop.urlpatterns, path("rocket", Rocket.as_view())]


@pytest.fixture
def no_fuel(monkeypatch):
    monkeypatch.setattr(Rocket, "fails", True)
    return monkeypatch


def test_a_fresh_request_runs_them(customer, key):
    assert customer.post({}, key, to="/rocket").status_code == 201


def test_a_retry_runs_them(customer, key, no_fuel):
    assert customer.post({}, key, to="/rocket").status_code == 500
    no_fuel.undo()

    assert customer.post({}, key, to="/rocket").status_code == 201
    assert Group.objects.count() == 1


def test_the_completer_runs_them(customer, key, stored, no_fuel):
    customer.post({}, key, to="/rocket")
    no_fuel.undo()
    let_time_pass(GRACE)

    assert complete_due_keys(10).counts["succeeded"] == 1
    assert stored().recovery_point == FINISHED
