"""Any order of things that can happen to an enrolment: an operation that is nothing like a ride.

Hypothesis draws the stories, over a real PostgreSQL and the ledger, and shortens one that goes
wrong until it can be read. `STEPS=20000` is the long form.
"""

import logging
import os
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import count

import pytest

from idempotency.testing import Fault
from idempotency.testing.machines import counted_from_zero, tell
from idempotency.testing.mishaps import Crash
from idempotency.tests import ledger, seams
from idempotency.tests.divers import HOME
from idempotency.tests.school import (
    urlpatterns,  # noqa: F401
)
from idempotency.tests.school_bugs import (
    ask_the_form_at_each_attempt,
    keep_memory_after_a_roll_back,
)
from idempotency.tests.school_stories import School

STEPS = int(os.environ.get("STEPS", "500"))
SEED = int(os.environ.get("SEED", "1"))
LENGTH = 30  # in steps
BOUNDARIES = 60  # and some more than an enrolment has

TOLD = {
    *("enrolled", "payment_declined", "outcome_unknown", "needs_review", "key_expired"),
    *("parameters_invalid", "request_in_progress", "internal_error", "database_unavailable"),
}
"""What divers must have been told in the long form, or too little would have been tried."""

pytestmark = [pytest.mark.timeout(36_000), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def tell_stories(customer, ledger, monkeypatch):
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    School.customer, School.ledger = customer, ledger
    with counted_from_zero(School):
        yield partial(tell, School)


def test_any_order_of_things_leaves_an_enrolment_as_it_was_asked_for(tell_stories, record_property):
    for number in count(SEED):
        tell_stories(number, LENGTH)
        if School.steps.total() >= STEPS:
            break

    for row in School.counts():
        record_property("model of another", row)
    if "STEPS" in os.environ:
        assert {f"told: {answer}" for answer in TOLD} <= School.happened.keys()


# What it must not miss, in stories that are told as they stand.


@contextmanager
def story():
    school = School()
    try:
        yield school
    finally:
        school.teardown()


def enrols(school, mishap):
    return school.a_client_enrols(
        course="course-reef", offset="", fee="1234,50", diet="", place=HOME, mishap=mishap
    )


def test_a_form_that_is_asked_at_each_attempt_is_found(tell_stories, monkeypatch):
    ask_the_form_at_each_attempt(monkeypatch)
    with story() as school:
        diver = enrols(school, ledger.Fault.RESET_AFTER)

        with pytest.raises(AssertionError, match="what was begun is refused"):
            school.a_client_sends_again(diver=diver, place=HOME, mishap=None)


def test_a_time_of_another_zone_is_found(tell_stories, monkeypatch):
    """As the completer would have it that asked the form again."""
    as_text = seams.WRITTEN_AS_TEXT.value
    name, write = as_text[datetime]
    monkeypatch.setitem(as_text, datetime, (name, lambda value: write(value.replace(tzinfo=UTC))))
    with story() as school, pytest.raises(AssertionError, match=r"12:00:00\.123456\+00:00"):
        enrols(school, None)


def test_memory_that_outlives_a_roll_back_is_found(tell_stories, monkeypatch):
    """At one of the boundaries where a later phase of the same commit fails."""
    keep_memory_after_a_roll_back(monkeypatch)

    def fail_everywhere():
        for at in range(1, BOUNDARIES):
            with story() as school:
                enrols(school, Crash(Fault.RAISE, at))

    with pytest.raises(AssertionError, match="'paid': 2}, not"):
        fail_everywhere()
