"""A booking that dies at every boundary there is, in every way, and is recovered in every way.

The boundaries are found by the run, which says how many there were. With `CRASHES=all` the less
travelled ways are tried in every combination too, and all of it at the strictest isolation level;
with `KILLS=5000` a booking is killed that often.
"""

import os
from collections.abc import Iterator
from itertools import cycle, islice, product

import pytest

from idempotency import READ_COMMITTED, SERIALIZABLE
from idempotency.testing import (
    Boundary,
    Fault,
    Recovery,
    by_turns,
    every_combination,
    fail_each_phase_once,
)
from idempotency.testing.plans import Case
from proof.bookings import (
    after_a_saved_failure_of,
    booking_of,
    clock_set_right_of,
    completing_of,
    confirmed_of,
    confirming_of,
    declining_of,
    looking_up_in_vain_of,
    looking_up_of,
    lost_of,
    never_confirmed_of,
    reaping_of,
)
from proof.events import told_of_a_refund_of
from proof.receipts import (
    delivered_twice_at_once_of,
    enqueuing_for_broker_of,
    enqueuing_of,
    for_later_of,
    working_of,
)
from proof.undoing import MOST_CALLS, undoing_of, undoing_while_it_arrives_of
from rides.operations import CreateRide

ALL = os.environ.get("CRASHES") == "all"
KILLS = int(os.environ.get("KILLS", "0"))
PLAN = every_combination if ALL else by_turns
LEVELS = [READ_COMMITTED, SERIALIZABLE] if ALL else [READ_COMMITTED]

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_second_try"),
    pytest.mark.timeout(3600 if ALL else 600),
]


@pytest.fixture(autouse=True, params=LEVELS)
def isolation(request, monkeypatch):
    monkeypatch.setattr(CreateRide, "isolation", request.param)


def test_a_booking_survives_every_fault_at_every_boundary(crash_everywhere, rider, stand_in):
    report = crash_everywhere(booking_of(rider, stand_in), every_combination)

    assert report.struck == set(report.boundaries)


def test_a_booking_is_the_same_when_each_phase_fails_once_after_its_last_line(rider, stand_in):
    tried = fail_each_phase_once(booking_of(rider, stand_in))

    assert tried.violations == []
    assert len(tried.failed) == 6


@pytest.mark.skipif(not KILLS, reason="set KILLS to how many there are to be")
@pytest.mark.timeout(7200)
def test_a_booking_survives_thousands_of_kills(crash_everywhere, rider, stand_in):
    def kills(boundaries: list[Boundary]) -> Iterator[Case]:
        every = product(boundaries, [Fault.KILL], Recovery)
        return islice(cycle(every), KILLS)

    report = crash_everywhere(booking_of(rider, stand_in), kills)

    assert report.trials[Fault.KILL] == KILLS


def test_a_booking_whose_card_is_declined_survives(crash_everywhere, rider_with_bad_card, stand_in):
    crash_everywhere(declining_of(booking_of(rider_with_bad_card, stand_in)), PLAN)


def test_a_booking_whose_rider_confirms_at_the_bank_survives(
    crash_everywhere, rider_with, stand_in
):
    rider = rider_with("tok_threeDSecure2Required")
    crash_everywhere(confirming_of(booking_of(rider, stand_in), stand_in), PLAN)


def test_a_retry_after_the_rider_has_confirmed_survives(crash_everywhere, rider_with, stand_in):
    rider = rider_with("tok_threeDSecure2Required")
    crash_everywhere(confirmed_of(booking_of(rider, stand_in), stand_in), PLAN)


def test_a_payment_that_is_given_up_survives(crash_everywhere, rider_with, stand_in):
    rider = rider_with("tok_threeDSecure2Required")
    crash_everywhere(never_confirmed_of(booking_of(rider, stand_in)), PLAN)


def test_a_completer_that_sends_the_charge_again_survives(crash_everywhere, rider, stand_in):
    crash_everywhere(completing_of(booking_of(rider, stand_in)), PLAN)


def test_a_retry_that_looks_the_charge_up_survives(crash_everywhere, rider, stand_in):
    crash_everywhere(looking_up_of(booking_of(rider, stand_in), stand_in), PLAN)


def test_a_retry_after_the_databases_clock_was_set_right_survives(
    crash_everywhere, rider, stand_in
):
    crash_everywhere(clock_set_right_of(booking_of(rider, stand_in), stand_in), PLAN)


def test_a_retry_that_looks_for_a_charge_in_vain_survives(crash_everywhere, rider, stand_in):
    crash_everywhere(looking_up_in_vain_of(booking_of(rider, stand_in), stand_in), PLAN)


def test_a_retry_after_an_error_that_stripe_saved_survives(crash_everywhere, rider, stand_in):
    crash_everywhere(after_a_saved_failure_of(booking_of(rider, stand_in), stand_in), PLAN)


def test_a_booking_whose_commits_were_lost_survives(crash_everywhere, rider, stand_in):
    crash_everywhere(lost_of(booking_of(rider, stand_in), stand_in), PLAN)


def test_an_event_that_tells_of_a_refund_survives(crash_everywhere, rider, stand_in):
    crash_everywhere(told_of_a_refund_of(booking_of(rider, stand_in), stand_in), PLAN)


def test_a_decision_to_undo_survives_and_a_charge_that_comes_after_it_takes_no_money(
    crash_everywhere, rider, stand_in
):
    crash_everywhere(undoing_of(booking_of(rider, stand_in), stand_in), PLAN)


@pytest.mark.parametrize("call", range(MOST_CALLS + 1))
def test_a_charge_that_comes_while_it_is_undone_takes_no_money(
    crash_everywhere, rider, stand_in, call
):
    booking = booking_of(rider, stand_in)
    undoing = undoing_while_it_arrives_of(booking, stand_in, after_call=call)

    crash_everywhere(undoing, lambda boundaries: iter(()))


def test_a_reaper_survives(crash_everywhere, rider, stand_in):
    crash_everywhere(reaping_of(booking_of(rider, stand_in)), PLAN)


def test_an_enqueuer_survives(crash_everywhere, rider, stand_in):
    crash_everywhere(enqueuing_of(booking_of(rider, stand_in)), PLAN)


def test_an_enqueuer_survives_whose_job_is_for_later(crash_everywhere, rider, stand_in):
    crash_everywhere(for_later_of(booking_of(rider, stand_in)), PLAN)


def test_a_worker_survives(crash_everywhere, rider, stand_in):
    crash_everywhere(working_of(booking_of(rider, stand_in)), PLAN)


def test_an_enqueuer_of_a_broker_survives(crash_everywhere, rider, stand_in):
    crash_everywhere(enqueuing_for_broker_of(booking_of(rider, stand_in)), PLAN)


def test_a_receipt_that_two_workers_have_at_once_survives(crash_everywhere, rider, stand_in):
    crash_everywhere(delivered_twice_at_once_of(booking_of(rider, stand_in)), PLAN)
