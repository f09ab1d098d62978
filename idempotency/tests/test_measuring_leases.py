"""How long a process takes its lease for live: never longer than the database does.

It is counted from before the statement is sent, by a clock that counts a suspended machine's time.
"""

import time
import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction

from idempotency import claims, leases
from idempotency.checks import operations as checks
from idempotency.claims import take_over_key
from idempotency.leases import Lease, Progress, lease_clock, lease_end, write_progress
from idempotency.models import IdempotencyKey
from idempotency.testing.clock import let_time_pass
from idempotency.tests import bookshop
from idempotency.tests.bookshop import ORDERED

pytestmark = pytest.mark.django_db(transaction=True)

LOCK_TIMEOUT = timedelta(seconds=90)
SLOW = 40.0
"""Seconds that each statement takes, by the clock that the test moves."""


@pytest.fixture
def slow_database(monkeypatch):
    """Each statement takes its time, by the clock of leases; nobody waits. Returns that clock."""
    now = [1000.0]

    def clock_gettime(clock):
        assert clock == time.CLOCK_BOOTTIME, "a clock that stands still in a suspended machine"
        return now[0]

    def execute_slowly(execute, *statement):
        now[0] += SLOW
        return execute(*statement)

    monkeypatch.setattr(time, "clock_gettime", clock_gettime)
    with connection.execute_wrapper(execute_slowly):
        yield lambda: now[0]


def claiming_a_fresh_key(customer, row):
    new_key = bookshop.new_key(customer.user.pk, f"another-{row.idempotency_key}")
    return claims.insert_key(new_key, begins_foreign_phase=False).lease


def taking_it_over(customer, row):
    return take_over_key(row.pk).lease


def taking_over_the_next_that_is_due(customer, row):
    return claims.take_over_next_due_key().lease


def taking_over_the_next_that_is_overdue(customer, row):
    return claims.take_over_next_overdue_key().lease


def reopening_it(customer, row):
    return claims.reopen_key(
        row, recovery_point=ORDERED, action="run_again", reviewer="ann", reason="why not"
    ).lease


def moving_it(customer, row):
    lease = Lease(row.pk, row.lease_token, row.attempt, ends_at=0)
    return write_progress(lease, Progress(recovery_point=ORDERED, keeps_lease=True))


@pytest.mark.parametrize(
    "measured",
    [
        claiming_a_fresh_key,
        taking_it_over,
        taking_over_the_next_that_is_due,
        taking_over_the_next_that_is_overdue,
        reopening_it,
        moving_it,
    ],
)
def test_a_lease_is_counted_from_before_it_was_asked_for(
    customer, key, stored, ledger, slow_database, measured
):
    """Counted from the answer on, it would last longer here than in the database."""
    customer.send(key, fails_in="pay")
    let_time_pass(timedelta(days=4))
    if measured is reopening_it:
        IdempotencyKey.objects.update(needs_review_at="2026-01-01T00:00Z")
    row = stored()

    with transaction.atomic():
        asked_at = slow_database()
        lease = measured(customer, row)

    assert slow_database() >= asked_at + SLOW
    assert lease.ends_at == asked_at + LOCK_TIMEOUT.total_seconds()


def test_a_lease_runs_out_while_the_machine_is_suspended(monkeypatch):
    """As the clock goes on that counts it, and the monotonic one stands still."""
    monkeypatch.setattr(time, "clock_gettime", lambda clock: 100.0)
    lease = Lease(1, uuid.uuid4(), 1, ends_at=lease_end(100.0))
    assert not lease.has_expired

    monkeypatch.setattr(time, "clock_gettime", lambda clock: 100.0 + LOCK_TIMEOUT.total_seconds())

    assert lease.has_expired


def test_where_no_clock_counts_it_the_monotonic_one_is_taken_and_a_check_says_so(monkeypatch):
    assert checks.check_lease_clock() == []

    monkeypatch.setattr(leases, "COUNTS_SUSPENDED_TIME", False)

    before, now, after = time.monotonic(), lease_clock(), time.monotonic()
    assert before <= now <= after
    assert [message.id for message in checks.check_lease_clock()] == ["idempotency.W021"]
