"""Which keys are due, and running one: what the completer does.

A key is due when its client had its chance (the grace period), the last attempt is long enough
ago, and nobody holds its lease. The completer runs the operation itself, not an imitation of a
request, so the origin's address and the user stay those of the first one.
"""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from enum import StrEnum
from threading import Lock

from django.db import connections

from idempotency import conf, failures
from idempotency.attempts import Attempt
from idempotency.cells import in_cell
from idempotency.claims import Claim, take_over_next_due_key
from idempotency.database import connection, reading_where_it_writes
from idempotency.exceptions import LEAVING, IdempotencyError, NeedsReview
from idempotency.models import IdempotencyKey
from idempotency.operations import Operation, operation_for
from idempotency.phases import Pending
from idempotency.signals import answered
from idempotency.support.batches import Batch
from idempotency.support.context import IN_CELL, IN_HAND
from idempotency.support.positions import Position
from idempotency.transactions import drop_failed_connections_elsewhere
from idempotency.workers.due import find_due_keys
from idempotency.workers.loop import should_stop


class Outcome(StrEnum):
    """How the completer's attempt at a key ended."""

    FINISHED = "finished"
    DECLINED = "declined"
    PENDING = "pending"
    POSTPONED = "postponed"
    NEEDS_REVIEW = "needs_review"


def complete_due_keys(
    limit: int, *, concurrency: int = 1, position: Position | None = None
) -> Batch:
    """Run up to `limit` due keys. One that fails does not stop the rest.

    Args:
        concurrency: how many keys at a time, each in a thread with a database connection of its
            own. They spend their time waiting for the foreign system.
        position: where the same completer's last batch left it; without it all is looked at.
    """
    position = position or Position()
    if not find_due_keys(position):
        return _batch(Counter(), limit)
    tickets = Tickets(limit, begin_at=position.at)
    claim = tickets.next_claim()
    if claim is None or concurrency == 1:
        return _batch(_complete_keys(claim, tickets), limit)
    connection.close()  # each thread opens its own
    claims = [claim, *[None] * (concurrency - 1)]
    with ThreadPoolExecutor(concurrency) as threads:
        cell = IN_CELL.get()
        running = [threads.submit(_complete_in_thread, each, tickets, cell) for each in claims]
        counted = [thread.result() for thread in running]
    return _batch(sum(counted, Counter()), limit)


def _batch(outcomes: Counter[Outcome], limit: int) -> Batch:
    """Count the outcomes: the first two are final answers, and what is pending is no failure."""
    succeeded = outcomes[Outcome.FINISHED] + outcomes[Outcome.DECLINED]
    failed = outcomes[Outcome.POSTPONED] + outcomes[Outcome.NEEDS_REVIEW]
    return Batch(
        {"succeeded": succeeded, "failed": failed},
        is_full=outcomes.total() >= limit,
        details={str(outcome): outcomes[outcome] for outcome in Outcome},
    )


@reading_where_it_writes()
def complete_key(claim: Claim) -> Outcome:
    """Run the operation of a claimed key, if it may go on without its client."""
    began_at = time.monotonic()
    outcome = _complete_key(claim)
    answered.send_robust(
        None,
        operation=claim.key.operation,
        outcome=str(outcome),
        seconds=time.monotonic() - began_at,
        source="completer",
        idempotency_key=claim.key.idempotency_key,
    )
    IN_HAND.set(None)
    return outcome


def _complete_key(claim: Claim) -> Outcome:
    try:
        operation = operation_for(claim.key)
        _ask_whether_it_may_go_on(operation, claim.key)
    except LEAVING:
        raise
    except BaseException as error:
        return _unfinished(failures.let_go(claim.key, claim.lease, error))
    try:
        ended = Attempt(operation).resume(claim)
    except IdempotencyError as error:
        return _unfinished(error)
    if isinstance(ended, Pending):
        return Outcome.PENDING
    return Outcome.FINISHED if ended.status < 400 else Outcome.DECLINED


def _ask_whether_it_may_go_on(operation: Operation, key: IdempotencyKey) -> None:
    """What is pending is only asked about, or withdrawn: that waits for nobody."""
    operation.key = key
    if not key.is_pending and not operation.may_go_on():
        raise NeedsReview(
            "This request may not be gone on with without a person's decision.",
            evidence={"recovery_point": key.recovery_point, "may_go_on": False},
        )


def _unfinished(error: IdempotencyError) -> Outcome:
    return Outcome.NEEDS_REVIEW if isinstance(error, NeedsReview) else Outcome.POSTPONED


class Tickets:
    """How many keys of a batch are still to be taken, and from which place in the index on. Keys
    that are leased stay before that place; the next batch begins before them again.
    """

    def __init__(self, limit: int, *, begin_at: datetime) -> None:
        self._left = iter(range(limit))
        self._position = Position(at=begin_at)

    def next_claim(self) -> Claim | None:
        if should_stop() or next(self._left, None) is None:
            return None
        _pace.keep()
        return take_over_next_due_key(self._position)


def _complete_keys(claim: Claim | None, tickets: Tickets) -> Counter[Outcome]:
    outcomes: Counter[Outcome] = Counter()
    while claim is not None:
        outcomes[complete_key(claim)] += 1
        drop_failed_connections_elsewhere()
        claim = tickets.next_claim()
    return outcomes


class _Pace:
    """Keeps a process to `COMPLETER_RATE`, or catching up would take what its clients need."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._next_at = 0.0

    def keep(self) -> None:
        """Wait until the next key may be taken."""
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next_at)
            self._next_at = at + 1 / conf.current().completer_rate
        time.sleep(at - now)


_pace = _Pace()


def _complete_in_thread(claim: Claim | None, tickets: Tickets, cell: str) -> Counter[Outcome]:
    with in_cell(cell):
        try:
            return _complete_keys(claim or tickets.next_claim(), tickets)
        finally:
            connections.close_all()  # those to other databases, which phases have opened, as well
