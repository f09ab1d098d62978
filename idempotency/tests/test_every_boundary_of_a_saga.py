"""A saga that ends at every boundary of its phases and of its undos: all of it is given back."""

import os
from typing import Any

import pytest

from idempotency.testing import Experiment, Fault, Trial, by_turns, every_combination
from idempotency.tests import ledger as provider
from idempotency.tests import trips as shop
from idempotency.tests.trips import BookTrip

PLAN = every_combination if os.environ.get("CRASHES") == "all" else by_turns

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(3600 if PLAN is every_combination else 300),
]

urlpatterns = shop.urlpatterns
INSURED = 300  # of which nothing is taken back


@pytest.fixture
def trip(customer, ledger) -> Experiment:
    def send(key: str) -> Any:
        return customer.post({}, key, to="/trips")

    def what_is_cancelled_is_given_back(trial: Trial) -> None:
        assert trial.final_answer is not None
        assert trial.final_answer.status == 409
        assert {p["status"] for p in ledger.payments if p["amount_cents"] != INSURED} == {
            "refunded"
        }

    return Experiment(
        operation=BookTrip,
        send=send,
        lose_answer=provider.lose_answer,
        invariants=(what_is_cancelled_is_given_back,),
    )


def test_a_saga_with_two_undos_survives_every_fault_at_every_boundary(
    crash_everywhere, trip, monkeypatch
):
    monkeypatch.setattr(BookTrip, "ends", "in regret")

    report = crash_everywhere(trip, PLAN)

    assert report.struck == set(report.boundaries)
    assert set(report.trials) == set(Fault) - {Fault.NONE}
