"""The fence: a process that lost its lease changes nothing, however late it wakes up."""

import signal
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import transaction

from idempotency import FINISHED, Response
from idempotency.attempts import Attempt
from idempotency.claims import take_over_key
from idempotency.exceptions import LeaseLost
from idempotency.leases import Progress, lease_clock, write_progress
from idempotency.models import IdempotencyKey, StagedJob
from idempotency.testing.clock import let_time_pass
from idempotency.tests.bookshop import ORDERED, PAID, Death, PlaceOrder, audit_trail, orders
from idempotency.tests.ledger import Fault
from idempotency.tests.processes import started_command

pytestmark = pytest.mark.django_db(transaction=True)

LOCK_TIMEOUT = timedelta(seconds=90)


@pytest.fixture
def everything(stored):
    """What a process could have changed."""

    def look():
        row = IdempotencyKey.objects.values().get(pk=stored().pk)
        return row, orders(), audit_trail(), StagedJob.objects.count()

    return look


def take_over(stored):
    """Another process takes the key over, as it may once the lease has run out."""
    let_time_pass(LOCK_TIMEOUT)
    claim = take_over_key(stored().pk)
    assert claim is not None
    return claim


# Losing the lease during the foreign call.


def test_a_process_that_lost_its_lease_changes_nothing(customer, key, stored, ledger, everything):
    def lose_the_lease():
        take_over(stored)
        return everything()

    as_it_was = ledger.meanwhile(lose_the_lease)

    answer = customer.send(key)

    assert (answer.status_code, answer.json()["code"]) == (409, "request_in_progress")
    assert everything() == as_it_was.result()
    assert stored().attempt == 2
    assert stored().locked_at is not None


@pytest.mark.parametrize("fault", [Fault.DECLINE, Fault.ERROR_AFTER, Fault.RESET_AFTER])
def test_its_error_path_does_not_release_the_new_owners_lease(
    customer, key, stored, ledger, everything, fault
):
    def lose_the_lease():
        take_over(stored)
        return everything()

    ledger.faults = [fault]
    as_it_was = ledger.meanwhile(lose_the_lease)

    answer = customer.send(key)

    assert (answer.status_code, answer.json()["code"]) == (409, "request_in_progress")
    assert answer.headers["Retry-After"] == "1"
    assert everything() == as_it_was.result()


def test_a_process_that_was_overtaken_does_not_finish_the_key_again(customer, key, stored, ledger):
    def be_overtaken():
        let_time_pass(LOCK_TIMEOUT)
        return customer.send(key)

    overtaking = ledger.meanwhile(be_overtaken)

    late = customer.send(key)

    assert overtaking.result().status_code == 201
    assert late.status_code == 409
    assert stored().attempt == 2
    assert len(ledger.payments) == len(orders()) == StagedJob.objects.count() == 1
    assert customer.send(key).content == overtaking.result().content


def test_a_process_that_is_frozen_past_its_lease_changes_nothing_when_it_wakes(
    customer, key, stored, ledger, everything
):
    with pytest.raises(Death):
        customer.send(key, dies_in="pay")
    let_time_pass(timedelta(seconds=300))

    with started_command("completer", "--once") as frozen:
        freezing = ledger.meanwhile(lambda: frozen.send_signal(signal.SIGSTOP))
        freezing.result(timeout=20)
        let_time_pass(LOCK_TIMEOUT)
        assert customer.send(key).status_code == 201
        as_it_was = everything()
        frozen.send_signal(signal.SIGCONT)
        printed, _ = frozen.communicate(timeout=20)

    assert printed == "succeeded=0 failed=1\n"
    assert everything() == as_it_was
    assert stored().attempt == 3
    assert len(ledger.payments) == 1


# No foreign call after the lease.


def test_an_expired_lease_starts_no_foreign_call(customer, key, stored, ledger):
    customer.send(key, fails_in="pay")
    claim = take_over_key(stored().pk)
    expired = replace(claim, lease=replace(claim.lease, ends_at=lease_clock()))
    sent_before = len(ledger.calls)

    with pytest.raises(LeaseLost):
        Attempt(operation_of(customer)).resume(expired)

    assert len(ledger.calls) == sent_before
    assert stored().recovery_point == ORDERED


def operation_of(customer):
    return PlaceOrder(user=customer.user, params=customer.order)


def test_a_lease_is_as_long_as_the_lock_timeout_and_each_commit_renews_it(
    customer, key, stored, ledger
):
    customer.send(key, fails_in="pay")

    claimed_at = lease_clock()
    claim = take_over_key(stored().pk)
    assert claim.lease.ends_at == pytest.approx(claimed_at + 90, abs=1)

    locked_at = stored().locked_at
    with transaction.atomic():
        renewed = write_progress(claim.lease, Progress(recovery_point=PAID, keeps_lease=True))
    assert renewed.ends_at > claim.lease.ends_at
    assert stored().locked_at > locked_at


# The one statement that moves a key.


@pytest.mark.parametrize(
    "progress",
    [
        Progress(recovery_point=PAID, keeps_lease=True),
        Progress(recovery_point=ORDERED, last_error="let go"),
        Progress(recovery_point=ORDERED, needs_review=True),
        Progress(recovery_point=FINISHED, response=Response(201, {})),
    ],
    ids=["moving", "letting go", "asking for review", "finishing"],
)
def test_every_way_to_move_a_key_is_fenced(customer, key, stored, ledger, everything, progress):
    customer.send(key, fails_in="pay")
    old = take_over_key(stored().pk)
    take_over(stored)
    as_it_was = everything()

    with pytest.raises(LeaseLost), transaction.atomic():
        write_progress(old.lease, progress)

    assert everything() == as_it_was


def test_a_takeover_waits_for_a_commit_that_is_under_way_and_then_wins_nothing(
    customer, key, stored, ledger, elsewhere
):
    customer.send(key, fails_in="pay")
    old = take_over_key(stored().pk)
    let_time_pass(LOCK_TIMEOUT)
    with transaction.atomic():
        write_progress(old.lease, Progress(recovery_point=PAID, keeps_lease=True))
        takeover = elsewhere(take_over_key, stored().pk)

    assert takeover.result() is None
    assert (stored().recovery_point, stored().attempt) == (PAID, 2)


def test_a_finished_key_cannot_be_moved_even_by_its_last_owner(customer, key, stored, ledger):
    customer.send(key, fails_in="confirm")
    claim = take_over_key(stored().pk)
    with transaction.atomic():
        lease = write_progress(
            claim.lease, Progress(recovery_point=FINISHED, response=Response(201, {}))
        )

    with pytest.raises(LeaseLost), transaction.atomic():
        write_progress(lease, Progress(recovery_point=ORDERED))

    assert stored().is_finished


# The token.


def test_every_claim_draws_a_token_that_no_other_history_can_hold(customer, key, stored, ledger):
    customer.send(key, fails_in="pay")
    first = stored().lease_token
    claim = take_over_key(stored().pk)

    assert len({first, claim.lease.token, claim.key.lease_token}) == 2
    assert claim.lease.token == stored().lease_token
    assert {first.version, claim.lease.token.version} == {4}


def test_the_token_stays_when_a_lease_is_let_go(customer, key, stored, ledger):
    customer.send(key, fails_in="pay")
    claim = take_over_key(stored().pk)
    with transaction.atomic():
        write_progress(claim.lease, Progress(recovery_point=None, last_error="let go"))

    assert (stored().lease_token, stored().locked_at) == (claim.lease.token, None)


def test_the_same_id_and_the_same_attempt_of_another_history_pass_no_fence(
    customer, key, stored, ledger, everything
):
    customer.send(key, fails_in="pay")
    claim = take_over_key(stored().pk)
    IdempotencyKey.objects.update(lease_token=uuid.uuid4())
    as_it_was = everything()

    with pytest.raises(LeaseLost), transaction.atomic():
        write_progress(claim.lease, Progress(recovery_point=PAID, keeps_lease=True))

    assert stored().attempt == claim.lease.attempt
    assert everything() == as_it_was
