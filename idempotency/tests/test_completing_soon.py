"""Something has happened elsewhere: the completer goes on soon, and takes nothing from anybody."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.db.models.functions import Now

from idempotency import complete_soon
from idempotency.claims import take_over_key, take_over_next_due_key
from idempotency.exceptions import StagedOutsideTransaction
from idempotency.jobs.enqueuing import Lookout
from idempotency.models import IdempotencyKey, StagedJob
from idempotency.testing.clock import earlier, let_deliveries_age, let_key_age, let_time_pass
from idempotency.testing.queue import JobsRun, run_queued_jobs
from idempotency.tests.bookshop import Death, counted
from idempotency.workers.completing import complete_due_keys
from idempotency.workers.soon import LOOK_AGAIN_IN

pytestmark = pytest.mark.django_db(transaction=True)

LOCK_TIMEOUT = timedelta(seconds=90)
GRACE = timedelta(seconds=300)
A_MOMENT = timedelta(seconds=5)
AN_HOUR = timedelta(hours=1)


@pytest.fixture
def let_go(customer, key, ledger, stored):
    """A key whose attempt failed in the middle of its payment: the completer waits for a minute."""
    customer.send(key, fails_in="pay")
    return stored()


@pytest.fixture
def in_hand(customer, key, ledger, stored):
    """A key that a process has in hand."""
    with pytest.raises(Death):
        customer.send(key, dies_in="pay")
    return stored()


def tell(*rows):
    """As a webhook does."""
    with transaction.atomic():
        complete_soon(*(row.pk for row in rows))


def look_again():
    """Let the second pass, and run the job that looks again."""
    let_deliveries_age(LOOK_AGAIN_IN)
    Lookout().enqueue(10)
    return run_queued_jobs(10)


def test_a_key_that_nobody_works_on_is_completed_at_the_next_look(let_go, stored, ledger):
    assert complete_due_keys(10).total == 0

    tell(let_go)

    assert counted(complete_due_keys(10)) == (1, 0)
    assert stored().is_finished
    assert len(ledger.payments) == 1
    assert not StagedJob.objects.filter(job_name__endswith="look_again").exists()


def test_what_is_told_is_owed_only_if_its_transaction_commits(let_go, stored):
    with transaction.atomic():
        complete_soon(let_go.pk)
        transaction.set_rollback(True)

    assert stored().run_after == let_go.run_after
    assert complete_due_keys(10).total == 0


def test_a_lease_is_not_shortened(in_hand, stored):
    tell(in_hand)

    row = stored()
    assert (row.locked_at, row.lease_token) == (in_hand.locked_at, in_hand.lease_token)
    assert complete_due_keys(10).total == 0
    assert take_over_key(row.pk) is None
    let_time_pass(LOCK_TIMEOUT - A_MOMENT)
    assert take_over_next_due_key() is None


def test_a_key_whose_process_died_is_completed_when_its_lease_has_ended(in_hand, stored):
    """And not when the grace of its client, who may be gone, is over."""
    assert in_hand.run_after - in_hand.locked_at > LOCK_TIMEOUT
    tell(in_hand)
    assert stored().run_after == in_hand.locked_at + LOCK_TIMEOUT

    let_time_pass(LOCK_TIMEOUT)

    assert counted(complete_due_keys(10)) == (1, 0)


def test_what_is_told_while_somebody_works_on_a_key_is_heard_once_it_is_let_go(in_hand, stored):
    """What the holder was told may be older: its own schedule does not put the news off."""
    tell(in_hand)
    assert look_again() == JobsRun(succeeded=1, failed=0)
    IdempotencyKey.objects.update(locked_at=None, run_after=Now() + AN_HOUR)  # as it lets go

    assert look_again() == JobsRun(succeeded=1, failed=0)

    assert counted(complete_due_keys(10)) == (1, 0)
    assert stored().is_finished
    assert look_again() == JobsRun(succeeded=1, failed=0)  # the confirmation's
    assert not StagedJob.objects.exists()


def test_a_key_that_is_finished_meanwhile_is_left_alone(customer, key, in_hand, stored):
    tell(in_hand)
    let_time_pass(LOCK_TIMEOUT)
    assert customer.send(key).status_code == 201
    row = stored()

    assert look_again().failed == 0
    tell(row)

    assert stored().run_after == row.run_after
    assert not StagedJob.objects.exists()


def test_a_key_that_waits_for_a_person_is_left_alone(listed, stored):
    row = listed("/orders")

    tell(row)

    assert (stored().run_after, stored().needs_review_at) == (row.run_after, row.needs_review_at)
    assert complete_due_keys(10).total == 0


def test_a_time_is_never_put_off(let_go, stored):
    IdempotencyKey.objects.update(run_after=Now() - AN_HOUR)
    before = stored().run_after

    tell(let_go)

    assert stored().run_after == before


def test_a_lease_of_a_clock_that_was_ahead_puts_nothing_off(in_hand, stored):
    IdempotencyKey.objects.update(locked_at=earlier("locked_at", timedelta(days=-1)))

    tell(in_hand)

    assert not StagedJob.objects.exists()
    let_key_age(in_hand.idempotency_key, GRACE)
    assert counted(complete_due_keys(10)) == (1, 0)


def test_news_wait_for_whoever_is_taking_the_key_and_see_that_it_is_taken(let_go, elsewhere):
    with transaction.atomic():
        claim = take_over_key(let_go.pk)
        telling = elsewhere(tell, let_go)
        with pytest.raises(TimeoutError):
            telling.result(timeout=0.2)
    telling.result(timeout=10)

    assert claim
    assert StagedJob.objects.get().job_name == "idempotency.workers.soon.look_again"
    assert complete_due_keys(10).total == 0


def test_telling_twice_at_once_is_telling_once(let_go, elsewhere, ledger):
    for told in [elsewhere(tell, let_go) for _ in range(8)]:
        told.result(timeout=10)

    assert counted(complete_due_keys(10)) == (1, 0)
    assert len(ledger.payments) == 1


def test_news_need_a_transaction_to_commit_with(let_go):
    with pytest.raises(StagedOutsideTransaction):
        complete_soon(let_go.pk)


def test_news_of_a_key_that_there_is_not_are_none(let_go):
    with transaction.atomic():
        complete_soon()
        complete_soon(let_go.pk + 1)

    assert not StagedJob.objects.exists()
