"""An order that ends at every boundary: around each statement, each commit and each call."""

import os

import pytest
from django.core.cache import cache
from django.test import Client
from idempotency.testing import Experiment, by_turns, every_combination

from shop.models import Order
from shop.operations import PlaceOrder

PLAN = every_combination if os.environ.get("CRASHES") == "all" else by_turns


@pytest.fixture
def order_of(headers, till):
    def order_of(copies):
        def send(key):
            cache.clear()  # the throttle's history
            order = {"book": "Emma", "copies": copies}
            headers_now = {**headers, "Idempotency-Key": key}
            return Client().post("/orders", order, "application/json", headers=headers_now)

        return Experiment(
            operation=PlaceOrder,
            send=send,
            lose_answer=till.losing_answers,
            invariants=(each_payment_has_its_order, the_answer_is_true),
        )

    def each_payment_has_its_order(trial):
        paid = Order.objects.exclude(payment="").values_list("payment", flat=True)
        assert sorted(paid) == sorted(till.payments())

    def the_answer_is_true(trial):
        order = Order.objects.get(key__idempotency_key=trial.idempotency_key)
        assert trial.final_answer.status == (201 if order.payment else 402)

    return order_of


@pytest.mark.parametrize("copies", [2, 50])
def test_an_order_is_paid_once_or_not_at_all(crash_everywhere, order_of, copies):
    report = crash_everywhere(order_of(copies), PLAN)

    assert report.struck == set(report.boundaries)
