"""What is known of a foreign call: only a definite outcome finishes the key; everything else lets
it go, so that somebody tries again or a person looks."""

from datetime import timedelta

import pytest
from django.urls import path

from idempotency import (
    STARTED,
    Indeterminate,
    NeedsReview,
    Operation,
    RecoveryPoint,
    atomic_phase,
    foreign_phase,
)
from idempotency.models import StagedJob
from idempotency.testing.clock import let_time_pass
from idempotency.tests import bookshop
from idempotency.tests.bookshop import ORDERED, PAID, audit_trail, orders
from idempotency.tests.ledger import Fault
from idempotency.workers.completing import complete_due_keys

pytestmark = pytest.mark.django_db(transaction=True)


class Undecided(Operation):
    """Its foreign system answers in a way that only a person can read."""

    @atomic_phase(STARTED)
    def begin(self):
        return RecoveryPoint("begun")

    @foreign_phase("begun", window=bookshop.WINDOW, worst_case=timedelta(seconds=10))
    def ask(self):
        raise NeedsReview("The money is there twice.", evidence={"payments": ["one", "two"]})

    @ask.commit
    def never(self, answer):
        raise AssertionError("there is nothing to commit")


class Puzzled(Undecided):
    """What it found has no word in JSON."""

    @foreign_phase("begun", window=bookshop.WINDOW, worst_case=timedelta(seconds=10))
    def ask(self):
        raise NeedsReview("Who paid?", evidence={"payers": {("a pair",)}, "since": timedelta(1)})

    @ask.commit
    def never(self, answer):
        raise AssertionError("there is nothing to commit")


class Patient(Operation):
    """Its foreign system says when to come back."""

    @foreign_phase(STARTED, window=bookshop.WINDOW, worst_case=timedelta(seconds=10))
    def ask(self):
        raise Indeterminate("Too many requests.", retry_after_seconds=17)

    @ask.commit
    def never(self, answer):
        raise AssertionError("there is nothing to commit")


NOT_NOW = Indeterminate("Not now.")
"""One error for all requests, as a module may have it."""


class NotNow(Operation):
    @foreign_phase(STARTED, window=bookshop.WINDOW, worst_case=timedelta(seconds=10))
    def ask(self):
        raise NOT_NOW

    @ask.commit
    def never(self, answer):
        raise AssertionError("there is nothing to commit")


urlpatterns = [
    *bookshop.urlpatterns,
    path("undecided", Undecided.as_view()),
    path("puzzled", Puzzled.as_view()),
    path("patient", Patient.as_view()),
    path("not-now", NotNow.as_view()),
]


# Definite outcomes.


def test_a_definite_no_is_an_answer_like_any_other(customer, key, stored, ledger):
    ledger.faults = [Fault.DECLINE]

    answer = customer.send(key)

    assert answer.status_code == 402
    assert answer.json() == {
        "error": "Your card was declined.",
        "code": "payment_declined",
        "retryable": False,
    }
    assert stored().is_finished
    assert audit_trail() == ["order.placed", "order.declined"]
    assert not StagedJob.objects.exists()


def test_a_commit_that_fails_is_tried_again_with_the_same_payment(customer, key, stored, ledger):
    assert customer.send(key, fails_in="record_payment").status_code == 500
    assert stored().recovery_point == ORDERED
    assert "payment" not in orders()[0]

    assert customer.send(key).status_code == 201
    assert orders() == [{"title": "Emma", "payment": "payment-1"}]
    assert len(ledger.payments) == 1


def test_a_phase_after_the_commit_that_fails_takes_nothing_back_of_it(
    customer, key, stored, ledger
):
    assert customer.send(key, fails_in="confirm").status_code == 500
    assert stored().recovery_point == PAID
    assert orders() == [{"title": "Emma", "payment": "payment-1"}]

    assert customer.send(key).status_code == 201
    assert ledger.calls == ["POST payments"]
    assert StagedJob.objects.count() == 1


# Everything else.


@pytest.mark.parametrize("fault", [Fault.ERROR_BEFORE, Fault.ERROR_AFTER, Fault.RESET_AFTER])
def test_an_outcome_that_is_not_known_keeps_the_key_open(customer, key, stored, ledger, fault):
    ledger.faults = [fault]

    answer = customer.send(key)

    assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")
    assert answer.json()["retryable"] is True
    assert answer.headers["Retry-After"] == "1"
    row = stored()
    assert (row.recovery_point, row.locked_at, row.response_code) == (ORDERED, None, None)
    assert "ledger" in row.last_error
    assert row.journal[-1]["event"] == "outcome_unknown"

    assert customer.send(key).status_code == 201
    assert len(ledger.payments) == 1
    assert stored().last_error == ""


def test_each_failure_lets_the_client_wait_longer(customer, key, ledger):
    ledger.faults = [Fault.ERROR_BEFORE] * 9

    waits = [int(customer.send(key).headers["Retry-After"]) for _ in range(9)]

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_an_error_that_is_raised_again_and_again_stays_as_its_author_made_it(customer, key):
    waits = [int(customer.post({}, key, to="/not-now").headers["Retry-After"]) for _ in range(3)]

    assert waits == [1, 2, 4]
    assert NOT_NOW.retry_after_seconds is None


def test_each_failure_of_the_completer_lets_it_wait_twice_as_long(customer, key, stored, ledger):
    ledger.faults = [Fault.ERROR_BEFORE] * 9
    customer.send(key)
    minutes = []
    for _ in range(8):
        let_time_pass(timedelta(hours=2))
        assert complete_due_keys(1).total == 1
        minutes.append((stored().run_after - stored().last_run_at) / timedelta(minutes=1))

    for waited, least in zip(minutes, [1, 2, 4, 8, 16, 32, 60, 60], strict=True):
        assert least <= waited <= least * 1.2 + 0.1


def test_a_foreign_system_that_says_when_to_come_back_is_passed_on(customer, key):
    answer = customer.post({}, key, to="/patient")

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "17")


def test_what_only_a_person_can_tell_goes_to_the_review_list(customer, key, stored):
    answer = customer.post({}, key, to="/undecided")

    assert (answer.status_code, answer.json()["code"]) == (503, "needs_review")
    assert answer.headers["Retry-After"] == "3600"
    row = stored()
    assert row.is_under_review
    assert (row.locked_at, row.last_error) == (None, "The money is there twice.")
    assert row.journal[-1]["evidence"] == {"payments": ["one", "two"]}


def test_evidence_of_any_kind_goes_to_the_review_list_with_it(customer, key, stored):
    answer = customer.post({}, key, to="/puzzled")

    assert (answer.status_code, answer.json()["code"]) == (503, "needs_review")
    assert stored().is_under_review
    assert stored().journal[-1]["evidence"] == {
        "payers": [["a pair"]],
        "since": "1 day, 0:00:00",
    }


def test_a_key_under_review_is_left_alone(customer, key, stored):
    customer.post({}, key, to="/undecided")
    before = stored().journal

    answer = customer.post({}, key, to="/undecided")

    assert (answer.status_code, answer.json()["code"]) == (503, "needs_review")
    assert stored().journal == before
