"""An `@idempotent` view that ends at every boundary there is: each invoice is written once."""

import os
from contextlib import nullcontext
from typing import Any

import pytest
from django.test import Client

from idempotency.models import IdempotencyKey
from idempotency.testing import (
    Experiment,
    Fault,
    Moment,
    Trial,
    by_turns,
    every_combination,
    explore,
)
from idempotency.tests import invoices as shop
from idempotency.tests.invoices import invoices

PLAN = every_combination if os.environ.get("CRASHES") == "all" else by_turns

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(3600 if PLAN is every_combination else 300),
]

urlpatterns = shop.urlpatterns


@pytest.fixture
def invoice(customer) -> Experiment:
    def send(key: str) -> Any:
        headers = {"Authorization": str(customer.user.pk), "Idempotency-Key": key}
        client = Client(raise_request_exception=False)
        return client.post("/invoices", {"amount": 7}, "application/json", headers=headers)

    def each_invoice_has_its_key(trial: Trial) -> None:
        assert invoices() == IdempotencyKey.objects.count()

    def it_was_written(trial: Trial) -> None:
        assert trial.final_answer is not None
        assert trial.final_answer.status == 201

    return Experiment(send=send, invariants=(each_invoice_has_its_key, it_was_written))


def test_an_invoice_survives_every_fault_at_every_boundary(crash_everywhere, invoice):
    report = crash_everywhere(invoice, PLAN)

    assert report.struck == set(report.boundaries)
    assert set(report.trials) == set(Fault) - {Fault.NONE, Fault.HOSTILE}


def test_its_boundaries_are_those_of_one_transaction(invoice):
    report = explore(invoice, plan=lambda boundaries: iter(()))

    assert [b.step for b in report.boundaries if b.moment is Moment.BEFORE] == [
        "SELECT rides_user",
        "SELECT idempotency_idempotencykey",
        "SET",
        "INSERT idempotency_idempotencykey",
        "SET",
        "INSERT django_session",
        "UPDATE idempotency_idempotencykey",
        "COMMIT",
    ]


def test_without_the_one_transaction_a_crash_is_seen(invoice, monkeypatch):
    """As with an answer that is kept after the view has committed, in a cache for example."""
    monkeypatch.setattr("idempotency.http.idempotent.atomic", nullcontext)

    report = explore(invoice, by_turns)

    assert report.violations
