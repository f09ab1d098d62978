"""The loop that runs an operation's phases, from wherever its key stands.

It enters at the key's recovery point and runs phase after phase. Consecutive atomic phases share
one transaction, which ends with the one fenced statement that moves the key; a foreign phase runs
between two transactions.

A roll-back takes back memory too: the next run gets an operation that no phase has touched.
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Self, TypeVar
from uuid import UUID

from idempotency import failures, stopping, transactions
from idempotency.afresh import as_it_was, untouched
from idempotency.calls import call_under_way
from idempotency.claims import Claim, NewKey, insert_key
from idempotency.exceptions import (
    LEAVING,
    InvalidTransition,
    LeaseLost,
    NeedsReview,
    OutsideForeignPhase,
    Parked,
    RequestInProgress,
)
from idempotency.foreign_keys import phase_key
from idempotency.leases import JournalEntry, Lease, Progress, lease_lost, write_progress
from idempotency.models import STARTED, IdempotencyKey
from idempotency.parameters import Parameters
from idempotency.phases import AtomicPhase, ForeignPhase, Phase, Response
from idempotency.storable import described
from idempotency.stretches import (
    Extent,
    LaterPhaseFailed,
    Step,
    Stretch,
    phase_step,
    run_stretch,
    took,
)
from idempotency.transactions import give_connection_back, refuse_open_transaction

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Runner:
    """What every operation inherits. It needs a `key` and the `lease` on it, and the phases."""

    isolation: ClassVar[str]

    params: Parameters
    path_kwargs: Parameters
    key: IdempotencyKey
    lease: Lease

    foreign_phase_in_hand: ForeignPhase | None = None

    _claim: Claim | None = None
    """What the library holds of the key, which no phase sees: `key` is a copy of it."""
    _sent_transient: Mapping[str, Any]
    _is_touched = False
    """Whether a run that was not committed had the operation in hand."""

    @property
    def foreign_key(self) -> UUID:
        """The key of the foreign phase in hand, for that phase to send and to ask by.

        For the phase itself, its look-up, `adopt` and `undo`, and for what is committed of its
        outcome. An atomic phase asks `foreign_key_at`.

        *Raises* `OutsideForeignPhase` elsewhere.
        """
        if self.foreign_phase_in_hand is None:
            raise OutsideForeignPhase(
                "foreign_key is read outside of a foreign phase and its commit. Another phase says "
                "whose key it wants: foreign_key_at(recovery_point)."
            )
        return phase_key(self.key.foreign_key, self.foreign_phase_in_hand)

    def foreign_key_at(self, recovery_point: str) -> UUID:
        """The key that the foreign phase at a recovery point sends, for a row that is to keep it.

        *Raises* `OutsideForeignPhase` where no foreign phase starts from the point.
        """
        phase = self.phase_at(recovery_point)
        if not isinstance(phase, ForeignPhase):
            raise OutsideForeignPhase(f"No foreign phase starts from {recovery_point!r}.")
        return phase_key(self.key.foreign_key, phase)

    def read_instances_anew(self) -> None:
        """Has each phase read the instances among the parameters for itself, so that none gets one
        as another phase left it in memory. A resumed attempt could not.
        """
        self.params, self.path_kwargs = self.params.afresh(), self.path_kwargs.afresh()

    @classmethod
    def for_key(
        cls, key: IdempotencyKey, *, user: Any, transient: Mapping[str, Any] | None = None
    ) -> Self:
        raise NotImplementedError

    @classmethod
    def phases(cls) -> tuple[Phase, ...]:
        raise NotImplementedError

    @classmethod
    def phase_at(cls, recovery_point: str) -> Phase | None:
        raise NotImplementedError

    def start(self, new_key: NewKey) -> Response | None:
        """Claims a fresh key and runs the operation on it, the first phases in the claim's own
        transaction. None where another request inserted the key first.

        *Raises* an `IdempotencyError` where the attempt ended without an answer.
        """
        stopping.refuse_to_go_on()
        try:
            stretch = self._in_stretch(partial(self._claim_and_run, new_key))
        except (RequestInProgress, *LEAVING):
            raise
        except BaseException as error:
            answer = self._keep_failed_claim(new_key, error)
            raise answer from (error if answer is not error else error.__cause__)
        return None if stretch is None else self._run_to_the_end(lambda: stretch)

    def resume(self, claim: Claim) -> Response:
        """Goes on with a claimed key from its recovery point.

        *Raises* an `IdempotencyError` where the attempt ended without an answer.
        """
        return self.enter(claim, self.run_from_here)

    def enter(self, claim: Claim, first: Callable[[], Stretch]) -> Response:
        """Goes on with a claimed key by `first`, and from where that leads to the end."""
        self.hold(claim)
        return self._run_to_the_end(first)

    def hold(self, claim: Claim) -> None:
        """Takes a claim in hand, and gives the phases a copy of its key."""
        self._claim = claim
        self.key, self.lease = untouched(claim.key), claim.lease

    # The loop.

    def _run_to_the_end(self, enter: Callable[[], Stretch]) -> Response:
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

    def run_from_here(self) -> Stretch:
        stopping.refuse_to_go_on()
        phase = self.phase_at(self.key.recovery_point)
        if phase is None:
            raise Parked(
                f"This version of the service does not know the point {self.key.recovery_point!r} "
                "that the request has reached. Nothing is lost: retry with the same "
                "Idempotency-Key."
            )
        if isinstance(phase, ForeignPhase):
            return self.call_foreign(phase, partial(self._send_or_look_up, phase))
        return self.run_stretch(phase_step(self, phase))

    def _adopt(self, stretch: Stretch) -> Response | None:
        """Takes over what a transaction did, now that it has committed."""
        key = self._claimed().key
        key.recovery_point = stretch.progress.recovery_point or key.recovery_point
        if stretch.progress.begins_foreign_phase:
            key.foreign_sent_at = key.last_run_at
        self._claim = Claim(key, stretch.lease)
        self.lease = stretch.lease
        self.key.recovery_point = key.recovery_point
        self.key.foreign_sent_at = key.foreign_sent_at
        if stretch.failure is not None:
            raise stretch.failure
        return stretch.progress.response

    # Claiming.

    def _claim_and_run(self, new_key: NewKey, *, extent: Extent) -> Stretch | None:
        first = self.phase_at(STARTED)
        begins_foreign_phase = isinstance(first, ForeignPhase)
        claim = insert_key(new_key, begins_foreign_phase=begins_foreign_phase)
        if claim is None:
            return None
        self.hold(claim)
        if isinstance(first, AtomicPhase):
            return run_stretch(self, phase_step(self, first), extent=extent)
        return Stretch(
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
        self, phase: ForeignPhase, ask: Callable[[], Any], *, event: str | None = None
    ) -> Stretch:
        """Asks the other system with no transaction open, then commits what it answered.

        Args:
            event: what the journal calls it, if not by the method that was to be called here.
        """
        refuse_open_transaction()
        self.foreign_phase_in_hand = phase
        if self.key.foreign_sent_at is None:
            self._commit_intent()
        self.read_instances_anew()
        self.params.load()
        self.path_kwargs.load()
        for name in phase.loads:
            getattr(self, name)
        if self.lease.has_expired:
            raise lease_lost()
        give_connection_back()
        began_at = time.monotonic()
        try:
            with call_under_way(self.key, self.lease, phase):
                stopping.refuse_to_go_on()
                answer = ask()
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
        return self.run_stretch(step, entry)

    def _send_or_look_up(self, phase: ForeignPhase) -> Any:
        """Inside the window the same call is sent again; past it, the other system is asked."""
        if self._may_send(phase):
            return phase.method(self)
        sent_at = self.key.foreign_sent_at
        found = getattr(self, phase.lookup_name)() if phase.lookup_name else None
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
        return phase.may_send(self.key.foreign_sent_at, self.key.last_run_at)

    def _way_to_ask(self, phase: ForeignPhase) -> str:
        return phase.name if self._may_send(phase) else phase.lookup_name or phase.name

    def _commit_step(self, phase: ForeignPhase, result: Any) -> Step:
        if phase.commit_name is None:
            raise InvalidTransition(f"{phase.name} has no commit.")
        return self._outcome_step(phase, phase.commit_name, result)

    def _outcome_step(self, phase: ForeignPhase, method_name: str, outcome: Any) -> Step:
        """Each run gets the outcome as the call left it, not as a run before it did."""
        handed = as_it_was(outcome)
        return Step(method_name, lambda: getattr(self, method_name)(handed()), phase)

    def _commit_intent(self) -> None:
        """Records that a call is about to be made, where no phase before it did."""
        progress = Progress(
            recovery_point=self.key.recovery_point, keeps_lease=True, begins_foreign_phase=True
        )
        lease = self.in_transaction(lambda: write_progress(self.lease, progress))
        self._adopt(Stretch(progress, lease))

    # Transactions.

    def run_stretch(self, first: Step, *journal: JournalEntry) -> Stretch:
        """Runs a step, and the atomic phases that follow it, in a transaction."""
        stopping.refuse_to_go_on()
        return self._in_stretch(partial(run_stretch, self, first, *journal))

    def _in_stretch(self, work: Callable[..., T]) -> T:
        """Runs a stretch, and after a roll-back what of it can be kept: it without the phase that
        failed in it, if not its first; or its first phase alone, where what failed is the
        transaction that it shared. The loop goes on from there with a transaction for the next.
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

        result = transactions.in_transaction(work_untouched, isolation=self.isolation)
        self._is_touched = False
        return result

    def _make_anew(self) -> None:
        """Puts in the place of everything in memory what a process would have that takes the key
        over: read again, from the key and the database. What the request sent besides is its own.
        """
        claim = self._claim
        if claim is None:
            return  # no phase has run yet
        key = untouched(claim.key)
        anew = self.for_key(key, user=key.user, transient=self._sent_transient)
        self.__dict__ = anew.__dict__
        self._claim, self.key, self.lease = claim, key, claim.lease

    def _claimed(self) -> Claim:
        assert self._claim is not None, "an operation runs on a key that it holds"
        return self._claim
