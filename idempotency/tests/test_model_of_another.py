"""Any order of things that can happen to an enrolment: an operation that is nothing like a ride.

Hypothesis draws the stories, over a real PostgreSQL and the ledger, and shortens one that goes
wrong until it can be read. `STEPS=20000` is the long form.
"""

import logging
import os
from functools import partial
from itertools import count

import pytest
from hypothesis import Phase

from idempotency import parameters, views
from idempotency.testing.machines import counted_from_zero, tell
from idempotency.tests.school import (
    Enrol,
    urlpatterns,  # noqa: F401
)
from idempotency.tests.school_stories import School

STEPS = int(os.environ.get("STEPS", "500"))
SEED = int(os.environ.get("SEED", "1"))
LENGTH = 30  # in steps
MOST_NUMBERS = 20  # of stories until a planted bug is found

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


# What it must not miss.


def assert_a_story_goes_wrong(tell_stories, surprise: str) -> None:
    def tell_many() -> None:
        for number in range(MOST_NUMBERS):
            tell_stories(number, LENGTH, phases=[Phase.generate])  # whose story need not be short

    with pytest.raises(AssertionError, match=surprise):
        tell_many()


def test_a_form_that_is_asked_at_each_attempt_makes_a_story(tell_stories, monkeypatch):
    """It says that the name is taken, by this very request."""

    def ask_again(*sent_form_and_transient_fields):
        parameters.kept_by_form(*sent_form_and_transient_fields)
        return {}

    monkeypatch.setattr(views, "clean_transient", ask_again)

    assert_a_story_goes_wrong(tell_stories, "what was begun is refused")


def test_memory_that_outlives_a_roll_back_makes_a_story(tell_stories, monkeypatch):
    monkeypatch.setattr(Enrol, "_make_anew", lambda self: None)
    monkeypatch.setattr(Enrol, "read_instances_anew", lambda self: None)

    assert_a_story_goes_wrong(tell_stories, "'paid': 2}, not")
