"""An enrolment that dies at every boundary there is: an operation that is nothing like a ride.

Its form asks the database, the language, the time zone and the clock; and while nobody works on the
request, all of these change.
"""

import json
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from idempotency.jobs.delivering import drain_staged_jobs
from idempotency.testing import (
    Boundary,
    Experiment,
    Fault,
    Moment,
    Recovery,
    Trial,
    by_turns,
    every_combination,
    explore,
    fail_each_phase_once,
)
from idempotency.testing.clock import let_deliveries_age
from idempotency.testing.queue import run_queued_jobs
from idempotency.tests import ledger as provider
from idempotency.tests import seams
from idempotency.tests.bookshop import audit_trail
from idempotency.tests.school import (
    A_WHILE,
    ENROLMENTS,
    SEATS,
    Enrol,
    asked_for,
    new_course,
    read,
    urlpatterns,  # noqa: F401
    user_in_the_netherlands,
)
from idempotency.tests.school_bugs import (
    ask_the_form_at_each_attempt,
    keep_memory_after_a_roll_back,
)
from idempotency.tests.school_invariants import of_an_enrolment

PLAN = every_combination if os.environ.get("CRASHES") == "all" else by_turns

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(3600 if PLAN is every_combination else 300),
]

MOST_JOBS = 100
FORM = "application/x-www-form-urlencoded"
BEGINS_AT = "2026-10-24T12:00:00.123456"


@pytest.fixture
def enrolment(customer, ledger) -> Experiment:
    """The enrolments of one course. The user's first attempt and retries are in Dutch."""
    course = new_course()

    def send(key: str) -> Any:
        fields = asked_for(course, nickname=f"Nemo of {key}", begins_at=BEGINS_AT)
        with user_in_the_netherlands():
            return customer.post(urlencode(fields), key, to="/enrolments", content_type=FORM)

    def a_seat_is_taken_and_paid_for_once(trial: Trial) -> None:
        course.refresh_from_db()
        taken = ENROLMENTS.count()
        assert read(course) == {"seats": SEATS - taken, "paid": taken}
        assert len(ledger.payments) == taken

    def a_seat_that_is_paid_for_is_confirmed_once(trial: Trial) -> None:
        assert audit_trail().count("order.confirmed") == read(course)["paid"]

    def what_was_asked_is_what_was_done(trial: Trial) -> None:
        done = read(Session.objects.get(pk=trial.key.foreign_key.hex))
        begins_at = datetime.fromisoformat(f"{BEGINS_AT}+02:00")
        assert datetime.fromisoformat(done["begins_at"]) == begins_at
        assert datetime.fromisoformat(done["ends_at"]) == begins_at + timedelta(hours=2)
        assert (done["born_on"], done["fee"]) == ("1990-01-31", "1234.50")
        asked = trial.key.request_params["asked_at"]["datetime"]
        assert done["asked_at"] == asked
        paid = [p for p in ledger.payments if p["id"] == done.get("payment")]
        assert [p["amount_cents"] for p in paid] == [123450]

    return Experiment(
        operation=Enrol,
        send=send,
        lose_answer=provider.lose_answer,
        invariants=(
            a_seat_is_taken_and_paid_for_once,
            a_seat_that_is_paid_for_is_confirmed_once,
            what_was_asked_is_what_was_done,
            *of_an_enrolment(ledger),
        ),
        settle=confirm_everything,
    )


def confirm_everything() -> None:
    """The enqueuer comes too early, and when the confirmations are due; then the worker."""
    drain_staged_jobs(MOST_JOBS)
    let_deliveries_age(A_WHILE)
    drain_staged_jobs(MOST_JOBS)
    run_queued_jobs(MOST_JOBS)


def killed_after_the_payment(boundaries: list[Boundary]) -> Iterator[Any]:
    [boundary] = [b for b in boundaries if (b.moment, b.step) == (Moment.AFTER, "pay")]
    yield boundary, Fault.KILL, Recovery.CLIENT


def test_an_enrolment_survives_every_fault_at_every_boundary(crash_everywhere, enrolment):
    report = crash_everywhere(enrolment, PLAN)

    assert report.struck == set(report.boundaries)
    assert set(report.trials) == set(Fault) - {Fault.NONE}


@pytest.mark.parametrize("recovery", [Recovery.COMPLETER])
def test_a_completer_finishes_what_a_dutch_user_began(crash_everywhere, enrolment, recovery):
    """It has neither the user's language nor the user's time zone."""

    def plan(boundaries: list[Boundary]) -> Iterator[Any]:
        for boundary in boundaries:
            yield boundary, Fault.KILL, recovery

    crash_everywhere(enrolment, plan)


def test_an_enrolment_is_the_same_when_each_phase_fails_once_after_its_last_line(enrolment):
    tried = fail_each_phase_once(enrolment)

    assert tried.violations == []
    assert [case.rpartition(" ")[2] for case in tried.failed] == [
        *["take_seat"] * 2,
        *["record_payment"] * 2,
        *["confirm"] * 2,
    ]


# What it must not miss.


def test_memory_that_outlives_a_roll_back_is_a_violation(enrolment, monkeypatch):
    """A seat more is taken of the object that the rolled-back run has changed."""
    keep_memory_after_a_roll_back(monkeypatch)

    tried = fail_each_phase_once(enrolment)

    assert "a_seat_is_taken_and_paid_for_once" in {v.invariant for v in tried.violations}


def assert_found(experiment: Experiment, *invariants: str) -> None:
    report = explore(experiment, killed_after_the_payment)
    assert {violation.invariant for violation in report.violations} >= set(invariants)


def test_a_form_that_is_asked_at_each_attempt_is_a_violation(enrolment, monkeypatch):
    ask_the_form_at_each_attempt(monkeypatch)

    assert_found(enrolment, "nothing_is_left_unfinished")


def test_a_time_that_is_cut_to_milliseconds_is_a_violation(enrolment, monkeypatch):
    cut = ("datetime", partial(datetime.isoformat, timespec="milliseconds"))
    monkeypatch.setitem(seams.WRITTEN_AS_TEXT.value, datetime, cut)

    assert_found(enrolment, "what_was_asked_is_what_was_done")


def test_a_value_that_the_clock_works_out_anew_is_a_violation(enrolment, monkeypatch):
    """`asked_at` is the form's own, of the moment in which it looked."""
    take_seat = Enrol.take_seat.method

    def look_at_the_clock(self: Enrol) -> Any:
        self.params._kept["asked_at"] = {"datetime": timezone.now().isoformat()}
        return take_seat(self)

    look_at_the_clock.__name__ = take_seat.__name__
    monkeypatch.setattr(Enrol.take_seat, "method", look_at_the_clock)

    assert_found(enrolment, "what_was_asked_is_what_was_done")


def test_a_changed_row_that_another_phase_left_in_memory_is_a_violation(enrolment, monkeypatch):
    """Two seats are taken where the second phase writes what the first one had in hand."""
    monkeypatch.setattr(*seams.READ_INSTANCES_ANEW, lambda self: None)
    take_seat = Enrol.take_seat.method

    def leave_a_change_in_memory(self: Enrol) -> Any:
        result = take_seat(self)
        course = self.params["course"]
        course.session_data = json.dumps({**read(course), "seats": read(course)["seats"] - 1})
        return result

    leave_a_change_in_memory.__name__ = take_seat.__name__
    monkeypatch.setattr(Enrol.take_seat, "method", leave_a_change_in_memory)

    report = explore(enrolment, plan=lambda boundaries: iter(()))

    assert [violation.invariant for violation in report.violations] == [
        "a_seat_is_taken_and_paid_for_once"
    ]
