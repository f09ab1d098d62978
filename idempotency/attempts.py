"""One attempt at a request: from where its key stands to an answer.

It enters at the key's recovery point and runs phase after phase. Atomic phases in a row share one
transaction, which ends with the one fenced statement that moves the key (`commits`); a foreign
phase runs between two transactions. It is an object beside the operation, so that an author may
name a phase as they like.

A roll-back takes back memory too: the next run gets an operation that no phase has touched.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from idempotency import failures, stopping, transactions
from idempotency.afresh import as_it_was, untouched
from idempotency.calls import call_under_way
from idempotency.claims import Claim, NewKey, insert_key
from idempotency.commits import (
    Commit,
    Extent,
    LaterPhaseFailed,
    Step,
    phase_step,
    run_in_a_row,
    took,
)
from idempotency.exceptions import (
    LEAVING,
    InvalidTransition,
    LeaseLost,
    NeedsReview,
    Parked,
    RequestInProgress,
)
from idempotency.leases import JournalEntry, Lease, Progress, lease_lost, write_progress
from idempotency.models import STARTED
from idempotency.phases import AtomicPhase, ForeignPhase, Response
from idempotency.storable import described
from idempotency.transactions import give_connection_back, refuse_open_transaction

if TYPE_CHECKING:
    from idempotency.operations import Operation

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Attempt:
    """One attempt at an operation's request: it has the claim, the lease and the loop.

    `operation` is what the author wrote, with a copy of the key. After a roll-back another one is
    in its place, that no phase has touched.
    """

    lease: Lease

    def __init__(self, operation: "Operation") -> None:
        self.operation = operation
        self._claim: Claim | None = None
        """What the library holds of the key, which no phase sees."""
        self._is_touched = False
        """Whether a run that was not committed had the operation in hand."""

    def start(self, new_key: NewKey) -> Response | None:
        """Claims a fresh key and runs the operation on it, the first phases in the claim's own
        transaction. None where another request inserted the key first.

        *Raises* an `IdempotencyError` where the attempt ended without an answer.
        """
        stopping.refuse_to_go_on()
        try:
            commit = self._keep_what_can_be(partial(self._claim_and_run, new_key))
        except (RequestInProgress, *LEAVING):
            raise
        except BaseException as error:
            answer = self._keep_failed_claim(new_key, error)
            raise answer from (error if answer is not error else error.__cause__)
        return None if commit is None else self._run_to_the_end(lambda: commit)

    def resume(self, claim: Claim) -> Response:
        """Goes on with a claimed key from its recovery point.

        *Raises* an `IdempotencyError` where the attempt ended without an answer.
        """
        return self.enter(claim, self.run_from_here)

    def enter(self, claim: Claim, first: Callable[[], Commit]) -> Response:
        """Goes on with a claimed key by `first`, and from where that leads to the end."""
        self.hold(claim)
        return self._run_to_the_end(first)

    def hold(self, claim: Claim) -> None:
        """Takes a claim in hand, and gives the phases a copy of its key."""
        self._claim = claim
        self.operation.key, self.lease = untouched(claim.key), claim.lease

    # The loop.

    def _run_to_the_end(self, enter: Callable[[], Commit]) -> Response:
        try:
            response = self._adopt(enter())
            while response is None:
                response = self._adopt(self.run_from_here())
        except (LeaseLost, *LEAVING):
            raise
        except BaseException as error:
            claim = self._claimed()
            answer = failures.let_go(claim.key, claim.lease, error)
            raise answer from (error if answer is not error else error.__cause__)
        return response

    def run_from_here(self) -> Commit:
        stopping.refuse_to_go_on()
        point = self.operation.key.recovery_point
        phase = self.operation.phase_at(point)
        if phase is None:
            raise Parked(
                f"This version of the service does not know the point {point!r} that the request "
                "has reached. Nothing is lost: retry with the same Idempotency-Key."
            )
        if isinstance(phase, ForeignPhase):
            return self.call_foreign(phase, partial(self._send_or_look_up, phase))
        return self.commit(phase_step(phase))

    def _adopt(self, commit: Commit) -> Response | None:
        """Takes over what a transaction did, now that it has committed."""
        key = self._claimed().key
        key.recovery_point = commit.progress.recovery_point or key.recovery_point
        if commit.progress.begins_foreign_phase:
            key.foreign_sent_at = key.last_run_at
        self._claim = Claim(key, commit.lease)
        self.lease = commit.lease
        self.operation.key.recovery_point = key.recovery_point
        self.operation.key.foreign_sent_at = key.foreign_sent_at
        if commit.failure is not None:
            raise commit.failure
        return commit.progress.response

    # Claiming.

    def _claim_and_run(self, new_key: NewKey, *, extent: Extent) -> Commit | None:
        first = self.operation.phase_at(STARTED)
        begins_foreign_phase = isinstance(first, ForeignPhase)
        claim = insert_key(new_key, begins_foreign_phase=begins_foreign_phase)
        if claim is None:
            return None
        self.hold(claim)
        if isinstance(first, AtomicPhase):
            return run_in_a_row(self, phase_step(first), extent=extent)
        return Commit(
            Progress(recovery_point=STARTED, begins_foreign_phase=begins_foreign_phase), self.lease
        )

    def _keep_failed_claim(self, new_key: NewKey, error: BaseException) -> Exception:
        """The claim was rolled back with the phase that failed: claims the key again, alone, so
        that it stands there with its error. Returns what to answer with."""
        claim = failures.attempt_to(lambda: insert_key(new_key, begins_foreign_phase=False))
        if claim is None:
            return failures.answerable(error)
        return failures.let_go(claim.key, claim.lease, error)

    # Foreign phases.

    def call_foreign(
        self,
        phase: ForeignPhase,
        ask: "Callable[[Operation], Any]",
        *,
        event: str | None = None,
    ) -> Commit:
        """Asks the other system with no transaction open, then commits what it answered.

        Args:
            event: what the journal calls it, if not by the method that was to be called here.
        """
        refuse_open_transaction()
        if self.operation.key.foreign_sent_at is None:
            self._commit_intent()
        operation = self.operation
        operation.phase_in_hand = phase
        operation.read_instances_anew()
        operation.params.load()
        operation.path_kwargs.load()
        for name in phase.loads:
            getattr(operation, name)
        if self.lease.has_expired:
            raise lease_lost()
        give_connection_back()
        began_at = time.monotonic()
        try:
            with call_under_way(operation.key, self.lease, phase):
                stopping.refuse_to_go_on()
                answer = ask(operation)
            step = self._commit_step(phase, answer)
        except Exception as error:
            handler = phase.rejection_of(error)
            if handler is None:
                raise
            step = self._outcome_step(phase, handler, error)
        entry: JournalEntry = {
            "event": event or self._way_to_ask(phase),
            "recovery_point": phase.recovery_point,
            **took(began_at),
        }
        return self.commit(step, entry)

    def _send_or_look_up(self, phase: ForeignPhase, operation: "Operation") -> Any:
        """Inside the window the same call is sent again; past it, the other system is asked."""
        if self._may_send(phase):
            return phase.method(operation)
        sent_at = operation.key.foreign_sent_at
        found = getattr(operation, phase.lookup_name)() if phase.lookup_name else None
        if found is None:
            raise NeedsReview(
                f"The outcome of {phase.name} is not known, and it is too late to send it again. "
                "Nothing more is done until a person has looked. Retry later with the same "
                "Idempotency-Key.",
                evidence={
                    "sent_at": sent_at and sent_at.isoformat(),
                    "looked_up": bool(phase.lookup_name),
                },
            )
        return found

    def _may_send(self, phase: ForeignPhase) -> bool:
        key = self.operation.key
        return phase.may_send(key.foreign_sent_at, key.last_run_at)

    def _way_to_ask(self, phase: ForeignPhase) -> str:
        return phase.name if self._may_send(phase) else phase.lookup_name or phase.name

    def _commit_step(self, phase: ForeignPhase, result: Any) -> Step:
        if phase.commit_name is None:
            raise InvalidTransition(f"{phase.name} has no commit.")
        return self._outcome_step(phase, phase.commit_name, result)

    def _outcome_step(self, phase: ForeignPhase, method_name: str, outcome: Any) -> Step:
        """Each run gets the outcome as the call left it, not as a run before it did."""
        handed = as_it_was(outcome)
        return Step(method_name, lambda operation: getattr(operation, method_name)(handed()), phase)

    def _commit_intent(self) -> None:
        """Records that a call is about to be made, where no phase before it did."""
        progress = Progress(
            recovery_point=self.operation.key.recovery_point,
            keeps_lease=True,
            begins_foreign_phase=True,
        )
        lease = self.in_transaction(lambda: write_progress(self.lease, progress))
        self._adopt(Commit(progress, lease))

    # Transactions.

    def commit(self, first: Step, *journal: JournalEntry) -> Commit:
        """Runs a step, and the atomic phases that follow it, in one transaction."""
        stopping.refuse_to_go_on()
        return self._keep_what_can_be(partial(run_in_a_row, self, first, *journal))

    def _keep_what_can_be(self, work: Callable[..., T]) -> T:
        """Runs phases in a row, and after a roll-back what can be kept of them: the row without the
        phase that failed in it, if not its first; or the first phase alone, where what failed is
        the transaction that they share. Each run begins fewer phases than the one before it.
        """
        extent = Extent()
        while True:
            try:
                return self.in_transaction(partial(work, extent=extent))
            except LaterPhaseFailed as failure:
                extent = Extent(ends_before=failure)
            except (LeaseLost, RequestInProgress):
                raise
            except Exception as error:
                if not extent.was_rolled_back_with_others(error):
                    raise
                logger.warning("phases are committed one by one: error=%s", described(error))
                extent = Extent(first_only=True)

    def in_transaction(self, work: Callable[[], T]) -> T:
        """Runs `work` in a transaction, each time on an operation that no phase has touched which
        was rolled back.
        """

        def work_untouched() -> T:
            if self._is_touched:
                self._make_anew()
            self._is_touched = True
            return work()

        result = transactions.in_transaction(work_untouched, isolation=self.operation.isolation)
        self._is_touched = False
        return result

    def _make_anew(self) -> None:
        """Puts in the operation's place what a process would have that takes the key over: made of
        the key, and read from the database. What the request sent besides is its own.
        """
        if self._claim is None:
            return  # no phase has run yet
        key = untouched(self._claim.key)
        self.operation = self.operation.anew(key)
        self.operation.key, self.lease = key, self._claim.lease

    def _claimed(self) -> Claim:
        assert self._claim is not None, "an operation runs on a key that it holds"
        return self._claim
