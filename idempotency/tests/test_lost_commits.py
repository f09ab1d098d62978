"""A COMMIT that the server carried out, and whose answer was lost on the way: nobody knows whether
it counted. The key stays where that transaction took it, and no phase runs twice."""

from datetime import timedelta

import pytest
from django.urls import path

from idempotency import STARTED, Operation, RecoveryPoint, Response, foreign_phase, stage_job
from idempotency.models import StagedJob
from idempotency.tests import bookshop
from idempotency.tests.bookshop import ORDERED, orders
from idempotency.tests.wires import connected_by_wire

pytestmark = pytest.mark.django_db(transaction=True)

WINDOW = {"window": timedelta(hours=20), "worst_case": timedelta(seconds=5)}
calls: list[str] = []


class TwoCalls(Operation):
    """Two foreign phases; the answer to the first one's COMMIT is lost."""

    wire = None

    @foreign_phase(STARTED, **WINDOW)
    def first(self):
        calls.append("first")
        self.wire.cut_at_commit.set()

    @first.commit
    def first_done(self, _):
        stage_job(bookshop.send_confirmation, title="one", user_id=self.user.pk)
        return RecoveryPoint("second")

    @foreign_phase("second", **WINDOW)
    def second(self):
        calls.append("second")

    @second.commit
    def second_done(self, _):
        return Response(201, {})


urlpatterns = [*bookshop.urlpatterns, path("two-calls", TwoCalls.as_view())]


@pytest.fixture
def wire():
    with connected_by_wire() as wire:
        yield wire


def test_a_foreign_call_whose_commit_lost_its_answer_is_not_made_again(
    customer, key, stored, wire, monkeypatch
):
    monkeypatch.setattr(TwoCalls, "wire", wire)
    calls.clear()

    assert customer.post({}, key, to="/two-calls").status_code == 503
    assert stored().recovery_point == "second"
    assert customer.post({}, key, to="/two-calls").status_code == 201
    assert (calls, StagedJob.objects.count()) == (["first", "second"], 1)


def test_a_resumed_phase_whose_commit_lost_its_answer_is_not_run_again(
    customer, key, stored, ledger, wire
):
    assert customer.send(key, fails_in="place_order").status_code == 500
    wire.cut_at_commit.set()

    assert customer.send(key).status_code == 503
    assert stored().recovery_point == ORDERED
    assert customer.send(key).status_code == 201
    assert len(orders()) == len(ledger.payments) == 1
