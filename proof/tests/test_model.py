"""Any order of things that can happen, against the reference model in `proof.model.reference`.

Hypothesis draws the stories, over a real PostgreSQL and the real stand-in, and shortens one that
goes wrong until it can be read. `STEPS=100000` is the long form.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count

import pytest

from idempotency.review.decisions import keys_under_review
from idempotency.testing import Fault
from idempotency.testing.machines import counted_from_zero, tell
from idempotency.testing.mishaps import Crash
from proof.bugs import BUGS, seams
from proof.model.known import ANOTHER, THE_SAME, experiments_of
from proof.model.service import Service
from proof.model.stage import DATABASES, SOURCES
from proof.model.states import ASKING_CARD, BAD_CARD, GOOD_CARD, TAKES_DAYS
from rides.models import Ride

STEPS = int(os.environ.get("STEPS", "800"))
SEED = int(os.environ.get("SEED", "1"))
LENGTH, SHORT = 30, 15  # in steps
MOST_NUMBERS = 20  # of short stories

Tell = Callable[[int, int], None]

SOON_CAUGHT = {
    "final_on_timeout": r"told card_declined|refused, and still open at Stripe",
    "reap_unfinished": r"there is \(no row\)",
}
"""Bugs, each with what surprises the model, as a regular expression."""

TOLD = {
    *("booked", "card_declined", "outcome_unknown", "needs_review", "parked", "key_expired"),
    *("parameters_mismatch", "request_in_progress", "internal_error", "database_unavailable"),
    "pending",
}
"""What clients must have been told in the long form, or too little would have been tried."""

ENDS = {"paid, and then 201", "declined, and then 402", "asked of the rider, and then 402"}
"""What was pending: how it stood at Stripe when it was asked about, and the answer of then."""

WRITTEN_DOWN = {
    *("needs_response, open", "won, settled", "lost, open"),
    *("pending, open", "succeeded, open", "failed, open"),
}
"""Refunds and disputes: what the nightly run must have made of them."""

pytestmark = [pytest.mark.timeout(36_000), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def tell_stories(
    stand_in, rider, rider_with, rider_with_bad_card, no_second_try, monkeypatch
) -> Iterator[Tell]:
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    Service.stand_in = stand_in
    Service.riders = {
        GOOD_CARD: rider,
        BAD_CARD: rider_with_bad_card,
        ASKING_CARD: rider_with(SOURCES[ASKING_CARD]),
    }
    Service.experiments = {
        card: experiments_of(one, stand_in) for card, one in Service.riders.items()
    }
    with counted_from_zero(Service):
        yield partial(tell, Service)


def test_any_order_of_things_is_as_the_model_has_it(tell_stories, record_property):
    for number in count(SEED):
        tell_stories(number, LENGTH)
        if Service.steps.total() >= STEPS * (1 if Service.happened.keys() >= ENDS else 3):
            break

    for row in Service.counts():
        record_property("model", row)
    assert Service.happened.keys() >= ENDS
    if "STEPS" in os.environ:
        assert {f"told: {answer}" for answer in TOLD} <= Service.happened.keys()
        assert {f"row: {row}" for row in WRITTEN_DOWN} <= Service.happened.keys()


@pytest.mark.parametrize(("name", "surprise"), SOON_CAUGHT.items(), ids=SOON_CAUGHT)
def test_a_planted_bug_makes_a_short_story(name: str, surprise: str, tell_stories):
    with ExitStack() as bed:
        next(bug for bug in BUGS if bug.name == name).plant(bed)
        story = story_of(tell_stories)

    assert re.search(surprise, story)
    assert story.count("state.") <= SHORT + 2, story


# Stories that are told as they stand, since luck would take its time to come to them.


def test_a_customer_who_pays_for_what_another_was_asked_for_surprises_the_model(
    tell_stories, monkeypatch
):
    monkeypatch.setattr(*seams.CUSTOMER_OF, lambda ride: ride.user.stripe_customer_id)
    with story() as service:
        key = service.a_client_books(card=GOOD_CARD, mishap="reset_after")
        service.a_riders_customer_is_replaced(card=GOOD_CARD)

        with pytest.raises(AssertionError, match=r"told needs_review; the model has \(booked\)"):
            service.a_client_sends_again(known=key, request=THE_SAME, mishap=None)


def test_a_sending_that_is_still_to_come_and_is_repeated_surprises_the_model(
    tell_stories, monkeypatch
):
    """The database's clock was set back, and says nothing of what Stripe still knows."""
    monkeypatch.setattr(
        *seams.MAY_SEND,
        lambda phase, sent_at, now: sent_at is None or now - sent_at < phase.window,
    )
    with story() as service:
        key = service.a_client_books(card=GOOD_CARD, mishap="conflict")
        service.a_clock_is_set(whose=DATABASES, to="behind")

        with pytest.raises(AssertionError, match=r"told booked; the model has \(needs_review\)"):
            service.a_client_sends_again(known=key, request=THE_SAME, mishap=None)


def test_what_is_pending_has_one_answer_until_each_of_its_ends(tell_stories):
    with story() as service:
        keys = [service.a_client_books(card=ASKING_CARD, mishap=None) for _ in ENDS]
        for succeeds in (True, False):
            service.a_payment_is_decided_on(succeeds=succeeds)
        for key in keys:
            service.a_client_sends_again(known=key, request=THE_SAME, mishap=None)
        service.time_passes(by="two minutes")
        for key in keys:
            service.a_client_sends_again(known=key, request=THE_SAME, mishap=None)
        service.time_passes(by="21 hours")
        service.the_completer_runs(mishap=None)

    assert Service.happened["told: pending"] == 7
    assert Service.happened.keys() >= ENDS


def test_it_is_given_up_by_when_it_began_however_often_it_was_asked_about(tell_stories):
    with story() as service:
        key = service.a_client_books(card=ASKING_CARD, mishap=None)
        for _ in range(7):
            service.time_passes(by="ten minutes")
            service.a_client_sends_again(known=key, request=THE_SAME, mishap=None)

    assert Service.happened["told: pending"] == 6
    assert Service.happened["asked of the rider, and then 402"] == 1


def test_what_a_bank_processes_is_asked_about_until_it_ends(tell_stories):
    with story() as service:
        keys = [service.a_client_books(card=GOOD_CARD, mishap=TAKES_DAYS) for _ in "ab"]
        service.time_passes(by="31 days")
        service.the_completer_runs(mishap=None)
        service.the_reaper_runs(mishap=None)
        for succeeds in (True, False):
            service.a_payment_is_decided_on(succeeds=succeeds)
        for _ in keys:
            service.a_person_runs_one_again(mishap=None)

    assert {"paid, and then 201", "declined, and then 402"} <= Service.happened.keys()


def test_what_takes_money_back_is_written_down_as_stripe_has_it(tell_stories):
    with story() as service:
        for _ in range(3):
            service.a_client_books(card=GOOD_CARD, mishap=None)
        service.somebody_refunds_one_in_the_dashboard(status="pending")
        service.a_bank_disputes_one()
        service.a_bank_disputes_one()
        service.the_nightly_run_looks()
        for well in (True, True, False, False):
            service.what_goes_back_is_decided_on(well=well)
            service.the_nightly_run_looks()

    assert {f"row: {row}" for row in WRITTEN_DOWN} <= Service.happened.keys()


def test_a_dispute_that_a_person_has_settled_and_that_is_lost_much_later_is_open_again(
    tell_stories,
):
    with story() as service:
        service.a_client_books(card=GOOD_CARD, mishap=None)
        service.a_bank_disputes_one()
        service.the_nightly_run_looks()
        service.a_person_settles_a_row()
        for _ in range(2):
            service.time_passes(by="25 hours")
            service.the_nightly_run_looks()
        service.what_goes_back_is_decided_on(well=False)
        service.the_nightly_run_looks()


def test_a_key_that_is_used_again_and_left_to_a_person_leaves_the_ride_before_it_paid(tell_stories):
    """Both have one foreign key, which is made of the client's."""
    with story() as service:
        key = service.a_client_books(card=GOOD_CARD, mishap=None)
        service.time_passes(by="31 days")
        service.the_reaper_runs(mishap=None)
        in_the_call = Crash(Fault.HOSTILE, at=12)
        service.a_client_sends_again(known=key, request=ANOTHER, mishap=in_the_call)
        service.time_passes(by="73 hours")
        service.the_reaper_runs(mishap=None)
        service.bring_to_rest()
        assert keys_under_review().count() == Ride.objects.exclude(stripe_charge_id=None).count()
        service.check_invariants_at_rest()


@contextmanager
def story() -> Iterator[Service]:
    service = Service()
    try:
        service.stripes_clock(is_="right")
        yield service
    finally:
        service.teardown()


def story_of(tell_stories: Tell) -> str:
    """The shortest that goes wrong, as Hypothesis prints it."""
    try:
        for number in range(MOST_NUMBERS):
            tell_stories(number, SHORT)
    except AssertionError as error:
        return "\n".join([str(error), *error.__notes__])
    return pytest.fail("no story came to it")
