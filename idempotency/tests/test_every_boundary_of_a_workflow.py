"""An operation that stages another one, and ends at every boundary: both are done once."""

import os
from typing import Any

import pytest

from idempotency.models import FINISHED, IdempotencyKey
from idempotency.testing import Experiment, Fault, Trial, by_turns, every_combination
from idempotency.tests import parcels as shop
from idempotency.tests.parcels import CheckOut, SendParcel, parcels
from idempotency.workers.completing import complete_due_keys

PLAN = every_combination if os.environ.get("CRASHES") == "all" else by_turns

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(3600 if PLAN is every_combination else 300),
]

urlpatterns = shop.urlpatterns


def test_a_staged_operation_survives_every_fault_at_every_boundary(
    crash_everywhere, customer, ledger
):
    def send(key: str) -> Any:
        return customer.post({}, key, to="/check-out")

    def each_parcel_was_sent_once(trial: Trial) -> None:
        staged = IdempotencyKey.objects.filter(operation=SendParcel.name)
        assert staged.count() == IdempotencyKey.objects.filter(operation=CheckOut.name).count()
        assert not staged.exclude(recovery_point=FINISHED).exists()
        assert len(parcels()) == len(ledger.payments) == staged.count()

    experiment = Experiment(
        operation=CheckOut,
        send=send,
        settle=lambda: complete_due_keys(100),
        invariants=(each_parcel_was_sent_once,),
    )

    report = crash_everywhere(experiment, PLAN)

    assert report.struck == set(report.boundaries)
    assert set(report.trials) == set(Fault) - {Fault.NONE, Fault.HOSTILE}
