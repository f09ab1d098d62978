"""The database's clock was a day ahead, and was set right: nothing waits for that day to come.

A time of the database's own that lies further ahead than its rule allows is taken as past. What the
clock wrote while it was ahead is had by moving the rows' times.
"""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from idempotency.claims import take_over_key, take_over_next_due_key
from idempotency.models import IdempotencyKey, ReaperPosition
from idempotency.testing.clock import earlier, let_time_pass
from idempotency.tests.bookshop import Death, counted
from idempotency.workers.completing import complete_due_keys
from idempotency.workers.overdue import Overdue
from idempotency.workers.reaping import reap, send_overdue_keys_to_review

pytestmark = pytest.mark.django_db(transaction=True)

A_DAY = timedelta(days=1)
GRACE = timedelta(seconds=300)


@pytest.fixture
def died(customer, key, ledger, stored):
    """A request that died after the payment, while the clock was as far ahead."""

    def die(ahead):
        with pytest.raises(Death):
            customer.send(key, dies_in="pay")
        let_time_pass(-ahead)
        return stored()

    return die


def test_a_retry_goes_on_with_a_key_whose_lease_is_still_to_begin(died, customer, key, ledger):
    died(A_DAY)

    answer = customer.send(key)

    assert answer.status_code == 201
    assert len(ledger.payments) == 1


def test_a_lease_that_is_ahead_by_less_than_the_tolerance_is_a_lease(died, customer, key):
    died(timedelta(seconds=4))

    answer = customer.send(key)

    assert answer.status_code == 409
    assert int(answer.headers["Retry-After"]) == 90


def test_a_lease_that_was_taken_since_the_key_was_read_is_not_taken_again(died):
    row = died(A_DAY)
    IdempotencyKey.objects.update(locked_at=Now())

    assert take_over_key(row.pk, impossible_lease=row.locked_at) is None


def test_the_completer_goes_on_with_what_waits_for_a_day_to_come(died, stored, ledger):
    died(A_DAY)

    assert counted(complete_due_keys(10)) == (1, 0)

    assert stored().is_finished
    assert len(ledger.payments) == 1


def test_a_wait_that_a_rule_may_have_set_is_waited_for(died):
    row = died(timedelta(0))
    hour = timedelta(hours=1, minutes=12)

    IdempotencyKey.objects.update(locked_at=None, run_after=Now() + hour)
    assert complete_due_keys(10).total == 0
    IdempotencyKey.objects.update(run_after=Now() + hour + timedelta(seconds=30))
    assert complete_due_keys(10).total == 1
    assert take_over_next_due_key() is None
    assert IdempotencyKey.objects.get(pk=row.pk).is_finished


def test_a_sending_time_that_is_still_to_come_counts_as_past_the_window(died, stored, ledger):
    """Once the provider has forgotten the key, to send it again would be a second charge."""
    died(A_DAY)
    ledger.forget_keys()

    complete_due_keys(10)

    assert ledger.calls == ["POST payments", "GET payments"]
    assert len(ledger.payments) == 1
    assert stored().is_finished


def test_a_window_is_not_lost_by_a_clock_that_is_ahead_by_less_than_the_tolerance(died, ledger):
    died(timedelta(0))
    IdempotencyKey.objects.update(
        locked_at=None, run_after=Now(), foreign_sent_at=Now() + timedelta(seconds=3)
    )

    complete_due_keys(10)

    assert ledger.calls == ["POST payments", "POST payments"]


def test_the_reaper_puts_a_request_before_a_person_whatever_its_lease_says(died, stored):
    died(timedelta(0))
    IdempotencyKey.objects.update(
        created_at=earlier("created_at", timedelta(days=4)), locked_at=Now() + A_DAY
    )

    assert send_overdue_keys_to_review(10) == 1
    assert stored().is_under_review


def test_a_reaper_whose_position_is_still_to_come_begins_anew(customer, key, ledger, stored):
    customer.send(key)
    let_time_pass(timedelta(hours=73))
    ReaperPosition.objects.create(last_run_at=stored().created_at + 4 * timedelta(days=30))
    overdue = Overdue()

    assert reap(10, overdue).counts["reaped"] == 0
    assert reap(10, overdue).counts["reaped"] == 1
