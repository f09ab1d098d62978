"""One attempt at a request: from where its key stands to an answer.

It enters at the key's recovery point and runs phase after phase. Atomic phases in a row share one
transaction (`commits`); a foreign phase runs between two transactions. It is an object beside the
operation, so that an author may name a phase as they like.

A roll-back takes back memory too: the next run gets an operation that no phase has touched.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from idempotency import conf, failures, stopping
from idempotency.claims import Claim, NewKey, insert_key
from idempotency.commits import SharedCommit, Step, StopsBefore, phase_step, undo_step
from idempotency.exceptions import (
    LEAVING,
    InvalidTransition,
    LeaseLost,
    NeedsReview,
    Parked,
    RequestInProgress,
    TooManyUnfinished,
)
from idempotency.leases import JournalEntry, Lease, Progress, lease_lost, write_progress
from idempotency.models import STARTED
from idempotency.phases import AtomicPhase, ForeignPhase, Pending, Response, UndoPhase, undo_point
from idempotency.signals import journaled
from idempotency.staging import staging_for
from idempotency.stopping import call_under_way
from idempotency.support import refusals
from idempotency.support.afresh import as_it_was, untouched
from idempotency.support.context import CALL, IN_HAND, CallInHand
from idempotency.support.described import described
from idempotency.transactions import give_connection_back, in_transaction, refuse_open_transaction

if TYPE_CHECKING:
    from idempotency.operations import Operation

logger = logging.getLogger(__name__)

_MOVED_BY_A_COMMIT = (
    *("recovery_point", "foreign_sent_at"),
    *("foreign_reference", "pending_since", "pending_answer", "gives_up_at"),
)

NOT_CLAIMED = (RequestInProgress, TooManyUnfinished)
"""Why a claim was refused: nothing was written, and there is no failure to keep."""

Outcome = Response | Pending
"""What an attempt ends with, if not with an error: the final answer, or that of the meantime."""


class Attempt:
    """One attempt at an operation's request: it has the claim, the lease and the loop.

    `operation` is what the author wrote, with a copy of the key. After a roll-back another one is
    in its place, that no phase has touched.
    """

    lease: Lease

    def __init__(self, operation: "Operation") -> None:
        self.operation = operation
        self.stops_before: StopsBefore | None = None
        """The phase that failed, and its error, once what precedes it is committed."""
        self.commits_one_by_one = False
        """Whether each phase is to have a transaction for itself."""
        self._claim: Claim | None = None
        """What the library holds of the key, which no phase sees."""
        self._is_touched = False
        """Whether a run that was not committed had the operation in hand."""

    def start(self, new_key: NewKey) -> Outcome | None:
        """Claim a fresh key and run the operation on it, the first phases in the claim's own
        transaction. Return None where another request inserted the key first.

        Raises: an `IdempotencyError` where the attempt ended without an answer.
        """
        stopping.refuse_to_go_on()
        first = self.operation.phase_at(STARTED)
        is_foreign = isinstance(first, ForeignPhase)
        claim = partial(self._claim_fresh, new_key, begins_foreign_phase=is_foreign)
        step = phase_step(first) if isinstance(first, AtomicPhase) else None
        shared = SharedCommit(self, step, claim=claim)
        with staging_for(self.operation.user):
            try:
                response = self._carry_out(shared)
            except (*NOT_CLAIMED, *LEAVING):
                raise
            except BaseException as error:
                answer = self._keep_failed_claim(new_key, error)
                raise answer from answer.__cause__
            if self._claim is None:
                return None
            self._tell([{"event": self._claim.event}])
            return self._run_to_the_end(lambda: response)

    def resume(self, claim: Claim, first: Callable[[], Outcome | None] | None = None) -> Outcome:
        """Go on with a claimed key from its recovery point.

        Args:
            first: what is done before the phase that starts from there.

        Raises: an `IdempotencyError` where the attempt ended without an answer.
        """
        self.hold(claim)
        self._tell([{"event": claim.event}])
        with staging_for(self.operation.user):
            return self._run_to_the_end(first or self.run_phase)

    def hold(self, claim: Claim) -> None:
        """Take a claim in hand, and give the phases a copy of its key."""
        self._claim = claim
        self.operation.key, self.lease = untouched(claim.key), claim.lease
        IN_HAND.set(self)
        CALL.set(None)  # of an earlier request of this thread, which left from within its call

    # The loop.

    def _run_to_the_end(self, first: Callable[[], Outcome | None]) -> Outcome:
        """Recovery points never go back, so the loop ends."""
        try:
            outcome = first()
            while outcome is None:
                outcome = self.run_phase()
        except (LeaseLost, *LEAVING):
            raise
        except BaseException as error:
            claim = self._claimed()
            answer = failures.let_go(claim.key, claim.lease, error)
            raise answer from answer.__cause__
        return outcome

    def run_phase(self) -> Outcome | None:
        """Run the phase that starts from where the key stands, and those that share its commit."""
        stopping.refuse_to_go_on()
        point = self.operation.key.recovery_point
        phase = self.operation.phase_at(point)
        if phase is None:
            raise Parked(
                f"This version of the service does not handle the recovery point {point!r}, which "
                "the request has reached. Nothing is lost: retry with the same Idempotency-Key."
            )
        if self.stops_before and self.stops_before.phase is phase:
            raise self.stops_before.error
        if isinstance(phase, ForeignPhase):
            return self.call_foreign(phase, partial(self._ask, phase))
        return self.commit(phase_step(phase))

    # Claiming.

    def _claim_fresh(self, new_key: NewKey, *, begins_foreign_phase: bool) -> bool:
        self._claim = insert_key(
            new_key,
            begins_foreign_phase=begins_foreign_phase,
            max_unfinished=conf.current().max_unfinished,
        )
        if self._claim is not None:
            self.hold(self._claim)
        return self._claim is not None

    def _keep_failed_claim(self, new_key: NewKey, error: BaseException) -> Exception:
        """The claim was rolled back with the phase that failed: claim the key again, alone, so that
        it stands there with its error. Return what to answer with.
        """
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
    ) -> Outcome | None:
        """Ask the other system with no transaction open, then commit what it answered.

        Args:
            event: what the journal calls it, if not by the method that was to be called here.
        """
        refuse_open_transaction()
        if self.lease.is_completers:
            refusals.refuse_to_send(phase)
        if self.operation.key.foreign_sent_at is None:
            self._commit_intent()
        operation = self._prepared_for(phase)
        if self.lease.has_expired:
            raise lease_lost()
        give_connection_back()
        call = CallInHand(phase)
        CALL.set(call)
        try:
            with call_under_way(operation.key, self.lease, phase):
                stopping.refuse_to_go_on()
                answer = ask(operation)
            step = None
            if not isinstance(answer, Pending):
                step = (
                    undo_step(phase, self.operation.undo_after(phase), as_it_was(answer))
                    if isinstance(phase, UndoPhase)
                    else self._outcome_step(phase, phase.commit_name, answer)
                )
        except Exception as error:
            handler = phase.rejection_of(error)
            if handler is None:
                refusals.note_failure(phase, error)
                raise
            step = self._outcome_step(phase, handler, error)
        if refusals.rows:
            refusals.note_answer(phase)
        entry: JournalEntry = {
            "event": event or self._way_to_ask(phase),
            "recovery_point": phase.recovery_point,
            **call.ended(),
        }
        CALL.set(None)
        return self.commit(step, entry) if step else self._wait(phase, answer, entry)

    def _prepared_for(self, phase: ForeignPhase) -> "Operation":
        """Read what the call needs of the database, since it has no connection."""
        operation = self.operation
        operation.phase_in_hand = phase
        if isinstance(phase, UndoPhase) and not self._undoes_the_last(phase):
            # The column may be of a later call. What is undone here was sent no earlier than that.
            operation.key.foreign_sent_at = operation.key.created_at
        operation.read_instances_anew()
        operation.params.load()
        operation.path_kwargs.load()
        for name in phase.loads:
            getattr(operation, name)
        return operation

    def _undoes_the_last(self, undo: UndoPhase) -> bool:
        foreign = [each for each in self.operation.phases() if isinstance(each, ForeignPhase)]
        last = [each for each in foreign if not isinstance(each, UndoPhase)][-1]
        return undo.starts_from(undo_point(last.recovery_point))

    def _ask(self, phase: ForeignPhase, operation: "Operation") -> Any:
        """What is pending is asked about by its reference, and nothing is sent again."""
        reference = operation.key.foreign_reference
        if reference is None:
            return self._send_or_look_up(phase, operation)
        return getattr(operation, self._way_to_ask(phase))(reference)

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
        key = self.operation.key
        if key.foreign_reference is None:
            return phase.name if self._may_send(phase) else phase.lookup_name or phase.name
        is_over = key.gives_up_at is not None and key.gives_up_at <= key.last_run_at
        way = (is_over and phase.withdraw_name) or phase.follow_name
        if way is None:
            raise Parked(
                f"This version of the service cannot ask what became of {phase.name}, which is "
                "pending. Nothing is lost: retry with the same Idempotency-Key."
            )
        return way

    def _wait(self, phase: ForeignPhase, pending: Pending, entry: JournalEntry) -> Pending:
        """Commit that the other system has it under way, and let the key go: it was an answer, so
        the attempt is not counted against the completer's.
        """
        stopping.refuse_to_go_on()
        if phase.follow_name is None:
            raise InvalidTransition(f"{phase.name} returned Pending, and has no follow.")
        progress = Progress(
            recovery_point=self.operation.key.recovery_point,
            pending=pending,
            pending_since=self._claimed().key.pending_since,
            run_again_in=pending.ask_again_in,
            takes_back_attempt=self.lease.is_completers,
            journal=[entry | {"pending": True}],
        )
        kept = as_it_was(pending.kept)

        def commit() -> None:
            write_progress(self.lease, progress)
            if pending.kept is not None:
                self.begin_untouched()
                self.operation.record_pending(kept())

        in_transaction(commit, isolation=self.operation.isolation)
        self._tell(progress.journal)
        return pending

    def _outcome_step(self, phase: ForeignPhase, method_name: str | None, outcome: Any) -> Step:
        """Each run gets the outcome as the call left it, not as a run before it did."""
        if method_name is None:
            raise InvalidTransition(f"{phase.name} has no commit.")
        handed = as_it_was(outcome)
        return Step(method_name, lambda operation: getattr(operation, method_name)(handed()), phase)

    def _commit_intent(self) -> None:
        """Record that a call is about to be made, where no phase before it did."""
        progress = Progress(
            recovery_point=self.operation.key.recovery_point,
            keeps_lease=True,
            begins_foreign_phase=True,
        )
        self._adopt(progress, in_transaction(lambda: write_progress(self.lease, progress)))

    # Transactions.

    def commit(self, first: Step, *journal: JournalEntry) -> Response | None:
        """Run a step, and the atomic phases that follow it, in one transaction."""
        stopping.refuse_to_go_on()
        return self._carry_out(SharedCommit(self, first, *journal))

    def _carry_out(self, shared: SharedCommit) -> Response | None:
        """Commit what can be: all phases of the row; without the one that failed in it and what
        follows; or the first one alone, where what failed is the transaction that they share, or
        where another one failed in the second run. So the loop ends with its third run.
        """
        while True:
            try:
                in_transaction(shared.run, isolation=self.operation.isolation)
            except StopsBefore as failed:
                self.commits_one_by_one |= self.stops_before is not None
                self.stops_before = failed
            except (LeaseLost, *NOT_CLAIMED):
                raise
            except Exception as error:
                if not shared.was_rolled_back_with_others(error):
                    raise
                logger.warning("phases are committed one by one: error=%s", described(error))
                self.commits_one_by_one = True
            else:
                self._is_touched = False
                self.stops_before = shared.postponed or self.stops_before
                return self._adopt(shared.progress, shared.lease) if shared.progress else None

    def _adopt(self, progress: Progress, lease: Lease) -> Response | None:
        """Take over where a transaction led, now that it has committed."""
        key = self._claimed().key
        key.recovery_point = progress.recovery_point or key.recovery_point
        if progress.begins_foreign_phase:
            key.foreign_sent_at = key.last_run_at
        # What was pending has ended with the transaction, or the next phase would ask about it.
        key.foreign_reference = key.pending_since = key.pending_answer = key.gives_up_at = None
        self._claim = Claim(key, lease)
        self.lease = lease
        for name in _MOVED_BY_A_COMMIT:
            setattr(self.operation.key, name, getattr(key, name))
        self._tell(progress.journal)
        return progress.response

    def _tell(self, entries: Sequence[JournalEntry]) -> None:
        """Tell whoever watches what has been committed."""
        told = {"key": self._claimed().key, "attempt": self.lease.attempt, "entries": entries}
        journaled.send_robust(None, **told)

    def begin_untouched(self) -> None:
        """Have the operation as no phase has touched it that was rolled back: made of the key, and
        read from the database, as by a process that takes the key over. What the request sent
        besides is its own. To be called first in a transaction.
        """
        if self._is_touched:
            self._make_anew()
        self._is_touched = True

    def _make_anew(self) -> None:
        claim = self._claimed()
        key = untouched(claim.key)
        self.operation = self.operation.anew(key)
        self.operation.key, self.lease = key, claim.lease

    def _claimed(self) -> Claim:
        assert self._claim is not None, "an operation runs on a key that it holds"
        return self._claim
