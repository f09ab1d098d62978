"""A foreign system that refuses again and again on the same grounds: the completer waits, and the
review list is not filled with what one mend sets right.
"""

import logging
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import path

from idempotency import Operation, Response, foreign_phase
from idempotency.exceptions import (
    ForeignAccessRefused,
    ForeignRefusal,
    Indeterminate,
    SendingPaused,
)
from idempotency.http.health import readyz
from idempotency.models import STARTED, IdempotencyKey
from idempotency.support import refusals
from idempotency.testing.clock import let_time_pass
from idempotency.tests import bookshop
from idempotency.tests.bookshop import Death, counted
from idempotency.workers.completing import complete_due_keys

pytestmark = pytest.mark.django_db(transaction=True)

PAID = Response(201, {"says": "paid"})


class Purchase(Operation):
    """It ends as the test says: with an answer, or in an error of a class."""

    ends_in: type[BaseException] | None = None
    grounds = "HTTP 400"
    calls = 0

    @foreign_phase(STARTED, window=bookshop.WINDOW, worst_case=timedelta(seconds=10))
    def pay(self):
        Purchase.calls += 1
        if self.ends_in is None:
            return "paid"
        is_refusal = issubclass(self.ends_in, ForeignRefusal | ForeignAccessRefused)
        raise self.ends_in("No.", **({"grounds": self.grounds} if is_refusal else {}))

    @pay.commit
    def keep(self, payment):
        return PAID


urlpatterns = [path("purchases", Purchase.as_view()), path("readyz", readyz)]


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    monkeypatch.setattr(Purchase, "ends_in", None)
    monkeypatch.setattr(Purchase, "grounds", "HTTP 400")
    monkeypatch.setattr(Purchase, "calls", 0)


@pytest.fixture
def due(customer, monkeypatch):
    """Leave so many requests behind, whose processes died, for the completer."""

    def leave(count: int) -> None:
        with monkeypatch.context() as dying:
            dying.setattr(Purchase, "ends_in", Death)
            for number in range(count):
                with pytest.raises(Death):
                    customer.post({}, f"a-key-that-is-due-{number:09}", to="/purchases")
        Purchase.calls = 0
        let_time_pass(timedelta(minutes=5))

    return leave


def under_review() -> int:
    return IdempotencyKey.objects.filter(needs_review_at__isnull=False).count()


@pytest.mark.parametrize("refusal", [ForeignRefusal, ForeignAccessRefused])
def test_after_five_refusals_on_the_same_grounds_the_completer_sends_no_more(
    due, monkeypatch, caplog, refusal
):
    due(8)
    monkeypatch.setattr(Purchase, "ends_in", refusal)

    with caplog.at_level(logging.WARNING):
        assert counted(complete_due_keys(20)) == (0, 8)

    assert Purchase.calls == refusals.MOST_IN_A_ROW
    assert under_review() == (5 if refusal is ForeignRefusal else 0)
    parked = IdempotencyKey.objects.filter(last_error__contains="5 times in a row (HTTP 400)")
    assert [row.completer_attempts for row in parked] == [0, 0, 0]
    assert "the completer pauses: phase=pay refused=5 grounds=HTTP 400 seconds=300" in caplog.text


def test_after_the_pause_it_makes_one_call_to_see(due, monkeypatch):
    due(8)
    monkeypatch.setattr(Purchase, "ends_in", ForeignRefusal)
    complete_due_keys(20)

    [row] = refusals.rows.values()
    row.ends_at = 0.0
    let_time_pass(timedelta(minutes=10))
    complete_due_keys(20)

    assert (Purchase.calls, under_review()) == (6, 6)


def test_once_it_is_mended_all_go_on(due, monkeypatch):
    due(8)
    monkeypatch.setattr(Purchase, "ends_in", ForeignAccessRefused)
    complete_due_keys(20)

    monkeypatch.setattr(Purchase, "ends_in", None)
    [row] = refusals.rows.values()
    row.ends_at = 0.0
    let_time_pass(timedelta(minutes=10))

    assert counted(complete_due_keys(20)) == (8, 0)


def test_a_client_that_retries_is_answered_by_the_foreign_system_and_ends_the_pause(
    due, customer, monkeypatch
):
    due(8)
    monkeypatch.setattr(Purchase, "ends_in", ForeignAccessRefused)
    complete_due_keys(20)
    monkeypatch.setattr(Purchase, "ends_in", None)

    assert customer.post({}, "a-key-that-is-due-000000000", to="/purchases").status_code == 201

    let_time_pass(timedelta(minutes=10))
    assert counted(complete_due_keys(20)) == (7, 0)


def test_refusals_on_different_grounds_are_no_row(due, monkeypatch):
    due(8)
    monkeypatch.setattr(Purchase, "ends_in", ForeignRefusal)
    monkeypatch.setattr(Purchase, "grounds", property(lambda self: f"HTTP 400 {self.key.pk}"))

    complete_due_keys(20)

    assert (Purchase.calls, under_review()) == (8, 8)


def test_what_is_not_known_neither_counts_nor_ends_a_row():
    phase = Purchase.pay
    for error in [ForeignRefusal("No.", grounds="no"), Indeterminate("?")] * 5:
        refusals.note_failure(phase, error)

    with pytest.raises(SendingPaused):
        refusals.refuse_to_send(phase)


def test_without_grounds_nothing_is_counted():
    for _ in range(10):
        refusals.note_failure(Purchase.pay, ForeignRefusal("No."))

    refusals.refuse_to_send(Purchase.pay)


def test_a_row_is_told_to_whoever_asks_whether_the_instance_is_ready(customer, monkeypatch):
    monkeypatch.setattr(Purchase, "ends_in", ForeignAccessRefused)
    for number in range(5):
        customer.post({}, f"a-key-that-is-new-{number:09}", to="/purchases")

    answer = Client().get("/readyz")

    warning = "pay was refused 5 times in a row (HTTP 400)."
    assert (answer.status_code, answer.json()["warnings"]) == (200, [warning])
