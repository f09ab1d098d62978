"""An order that dies at every boundary there is; and that the harness sees what it is there to see.

The bookshop stands for any project: another foreign system, other tables, and the ledger's server
in a thread of the very process that is forked.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.sessions.models import Session

from idempotency.testing import (
    Boundary,
    Experiment,
    Fault,
    Moment,
    Recovery,
    Trial,
    after_a_loss,
    by_turns,
    every_combination,
    explore,
    fail_each_phase_once,
)
from idempotency.testing.boundaries import AnswerNotLost, named
from idempotency.tests import ledger as provider
from idempotency.tests.bookshop import PlaceOrder, PlaceOrderSerializably

PLAN = every_combination if os.environ.get("CRASHES") == "all" else by_turns

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(3600 if PLAN is every_combination else 300),
]


@pytest.fixture
def order(customer, ledger) -> Experiment:
    def every_order_is_paid_once(trial: Trial) -> None:
        assert len(ledger.payments) == Session.objects.count()
        assert trial.key.foreign_key.hex in Session.objects.values_list("pk", flat=True)

    return Experiment(
        operation=PlaceOrder,
        send=customer.send,
        lose_answer=provider.lose_answer,
        invariants=(every_order_is_paid_once,),
    )


def just(fault: Fault, moment: Moment, step: str) -> Callable[..., Iterator[Any]]:
    """A plan of one trial, recovered by the client."""

    def plan(boundaries: list[Boundary]) -> Iterator[Any]:
        [boundary] = [b for b in boundaries if (b.moment, b.step) == (moment, step)]
        yield boundary, fault, Recovery.CLIENT

    return plan


# An operation that keeps its word.


def test_an_order_survives_every_fault_at_every_boundary(crash_everywhere, order):
    report = crash_everywhere(order, PLAN)

    assert report.struck == set(report.boundaries)
    assert set(report.trials) == set(Fault) - {Fault.NONE}


def test_an_order_at_the_strictest_isolation_survives(crash_everywhere, order, customer):
    def send(key: str) -> Any:
        return customer.send(key, to="/serializable/orders")

    crash_everywhere(replace(order, operation=PlaceOrderSerializably, send=send), PLAN)


def test_an_order_whose_commits_were_lost_is_paid_for_once(crash_everywhere, order):
    crash_everywhere(after_a_loss(order), PLAN)


def test_an_order_whose_lost_numbers_somebody_else_has_is_paid_for_once(crash_everywhere, order):
    crash_everywhere(after_a_loss(order, lambda: order.ask(str(uuid.uuid4()))), PLAN)


def test_an_order_is_the_same_when_each_phase_fails_once_after_its_last_line(order):
    tried = fail_each_phase_once(order)

    assert tried.violations == []
    assert [case.rpartition(" ")[2] for case in tried.failed] == [
        *["place_order"] * 2,
        *["record_payment"] * 2,
        *["confirm"] * 2,
    ]


# What the harness finds.


def test_the_boundaries_lie_around_each_statement_each_commit_and_each_foreign_call(order):
    report = explore(order, plan=lambda boundaries: iter(()))

    assert [b.step for b in report.boundaries if b.moment is Moment.BEFORE] == [
        "SELECT rides_user",
        "SELECT idempotency_idempotencykey",
        "INSERT idempotency_idempotencykey",
        "INSERT django_session",
        "INSERT django_admin_log",
        "UPDATE idempotency_idempotencykey",
        "COMMIT",
        "pay",
        "UPDATE django_session",
        "INSERT idempotency_stagedjob",
        "UPDATE idempotency_idempotencykey",
        "COMMIT",
    ]
    assert [str(boundary) for boundary in report.boundaries[14:17]] == [
        "15. before pay",
        "16. applied but not answered: pay",
        "17. after pay",
    ]


def test_a_statement_more_is_two_boundaries_more(order, monkeypatch):
    place_order = PlaceOrder.place_order.method
    before = explore(order, plan=lambda boundaries: iter(()))

    def look_first(self: PlaceOrder) -> Any:
        Session.objects.exists()
        return place_order(self)

    look_first.__name__ = place_order.__name__
    monkeypatch.setattr(PlaceOrder.place_order, "method", look_first)
    after = explore(order, plan=lambda boundaries: iter(()))

    assert len(after.boundaries) == len(before.boundaries) + 2


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ('SELECT "rides_user"."id" FROM "rides_user" WHERE', "SELECT rides_user"),
        ('INSERT INTO "rides_ride" ("id") VALUES', "INSERT rides_ride"),
        ("\n UPDATE rides_ride SET id = 1", "UPDATE rides_ride"),
        ('DELETE FROM "rides_ride"', "DELETE rides_ride"),
        ('SAVEPOINT "s1"', "SAVEPOINT"),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET"),
    ],
)
def test_a_statement_is_named_by_what_it_does_to_which_table(sql, name):
    assert named(sql) == name


# What it must not miss.


def test_a_payment_under_a_new_key_in_each_attempt_is_a_violation(order, monkeypatch):
    def pay(self: PlaceOrder) -> str:
        key = self.key.foreign_key if self.key.attempt == 1 else uuid.uuid4()
        return provider.pay(self.params["price_cents"], key=key)

    monkeypatch.setattr(PlaceOrder.pay, "method", pay)

    report = explore(order, just(Fault.KILL, Moment.AFTER, "pay"))

    assert [v.invariant for v in report.violations] == ["every_order_is_paid_once"]
    assert "kill -9 at" in report.problems[0]


def test_a_violation_fails_the_test(crash_everywhere, order, request):
    def never(trial: Trial) -> None:
        raise AssertionError("never holds")

    with pytest.raises(pytest.fail.Exception, match="never: never holds"):
        crash_everywhere(replace(order, invariants=(never,)))

    request.node.user_properties.clear()  # it is not one for the summary


def test_an_answer_that_arrives_all_the_same_is_a_mistake_of_the_experiment(order):
    with pytest.raises(AnswerNotLost):
        explore(replace(order, lose_answer=nullcontext), just(Fault.RAISE, Moment.APPLIED, "pay"))


def test_a_boundary_that_a_trial_does_not_come_to_is_a_problem(order):
    def elsewhere(boundaries: list[Boundary]) -> Iterator[Any]:
        yield replace(boundaries[0], step="SELECT nowhere"), Fault.KILL, Recovery.CLIENT

    report = explore(order, elsewhere)

    assert report.problems == [
        "not reached: kill -9 at 1. before SELECT nowhere, recovered by client"
    ]
