"""Phases in a row share one commit, and the key's move with them.

The outcome is that of separate transactions, and every commit saved is a disk flush saved. Where a
phase after the first one fails, the transaction is rolled back and run again up to that phase: so
it takes back its own changes only, and the usual case pays for no savepoint. Where no phase's own
lines failed but the transaction that several share, the first of them is committed alone, and so on
for the rest: what a foreign call answered is never lost for a later phase's sake.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idempotency.database_errors import database_is_away, may_succeed_when_repeated, was_refused
from idempotency.exceptions import LEAVING, InvalidTransition, Postponed
from idempotency.leases import JournalEntry, Lease, Progress, write_progress
from idempotency.models import FINISHED
from idempotency.phases import (
    AtomicPhase,
    ForeignPhase,
    NoOp,
    Phase,
    PhaseResult,
    RecoveryPoint,
    Response,
    Undo,
    UndoPhase,
    undo_point,
)
from idempotency.staging import take_staged_job_ids

if TYPE_CHECKING:
    from idempotency.attempts import Attempt
    from idempotency.operations import Operation


@dataclass(frozen=True, slots=True)
class Step:
    """What is to run in a transaction, on the operation as it is then."""

    name: str
    run: "Callable[[Operation], PhaseResult]"
    foreign_phase: ForeignPhase | None = None
    """The phase whose outcome it commits."""


class StopsBefore(Exception):
    """Why an attempt ends before a phase, once what precedes it is committed: `error`."""

    def __init__(self, phase: Phase | None, error: BaseException) -> None:
        super().__init__(phase and phase.name)
        self.phase = phase
        self.error = error


def phase_step(phase: AtomicPhase) -> Step:
    return Step(phase.name, phase.method)


def took(began_at: float) -> dict[str, float]:
    """Return, for the journal, the milliseconds since a monotonic time."""
    return {"ms": round((time.monotonic() - began_at) * 1000, 1)}


def undo_step(phase: UndoPhase, next_undo: UndoPhase | None, account: Callable[[], Any]) -> Step:
    """Return the step that concludes an undo: it leads to the next one, or to the answer.

    Args:
        account: gives what the undo has returned, as it was then.
    """

    def conclude(operation: "Operation") -> PhaseResult:
        taken_back = account()
        if phase.commit_name:
            getattr(operation, phase.commit_name)(taken_back)
        if next_undo:
            return RecoveryPoint(next_undo.recovery_point)
        return operation.cancelled(taken_back)

    name = (phase.commit_name or phase.name) if next_undo else "cancelled"
    return Step(name, conclude, phase)


class SharedCommit:
    """A transaction's work: a step, the atomic phases after it, and the key's move for all.

    It may be run several times. `progress` and `lease` are what its latest run led to.

    Args:
        first: the first step, if any is to be run.
        claim: claims the key before that, in the same transaction, and says whether it has.
    """

    progress: Progress | None = None
    lease: Lease
    postponed: StopsBefore | None = None
    """Where the latest run ended with nothing to do yet."""

    def __init__(
        self,
        attempt: "Attempt",
        first: Step | None,
        *journal: JournalEntry,
        claim: Callable[[], bool] = lambda: True,
    ) -> None:
        self._attempt = attempt
        self._first = first
        self._claim = claim
        self._given_journal = journal
        self._steps_begun = 0
        self._is_at_commit = False

    def run(self) -> None:
        """Run in the caller's transaction.

        Raises: `StopsBefore`, after which it is to be run again; `LeaseLost` where the lease is no
        longer the attempt's; and what the first step does.
        """
        self.progress = self.postponed = None
        self._steps_begun, self._is_at_commit = 0, False
        if not self._claim() or self._first is None:
            return
        self._attempt.begin_untouched()
        take_staged_job_ids()  # of a run that was rolled back
        operation = self._attempt.operation
        self._point, self._journal = operation.key.recovery_point, [*self._given_journal]
        result = self._run_step(operation, self._first)
        while phase := self._next_phase(operation, result):
            result = self._run_later(operation, phase)
        if isinstance(result, NoOp):
            self.postponed = StopsBefore(operation.phase_at(self._point), _postponed())
        self.progress = self._progress(operation, result)
        self.lease = write_progress(self._attempt.lease, self.progress)
        self._is_at_commit = True

    def was_rolled_back_with_others(self, error: BaseException) -> bool:
        """Say whether the latest run is known to be rolled back, and took several phases with it.

        At COMMIT only the server's own no says so.
        """
        is_known = not self._is_at_commit or was_refused(error)
        return self._steps_begun > 1 and is_known and not database_is_away(error)

    def _run_step(self, operation: "Operation", step: Step) -> PhaseResult:
        self._steps_begun += 1
        began_at = time.monotonic()
        operation.phase_in_hand = step.foreign_phase
        operation.read_instances_anew()
        result = step.run(operation)
        self._point = _point_after(operation, step, result, self._point)
        entry: JournalEntry = {"event": step.name, "recovery_point": self._point, **took(began_at)}
        if jobs := take_staged_job_ids():
            entry["jobs"] = jobs
        self._journal.append(entry)
        return result

    def _run_later(self, operation: "Operation", phase: AtomicPhase) -> PhaseResult:
        try:
            return self._run_step(operation, phase_step(phase))
        except LEAVING:
            raise
        except BaseException as error:
            if may_succeed_when_repeated(error) or database_is_away(error):
                raise  # what failed is not this phase but the whole transaction
            raise StopsBefore(phase, error) from error

    def _next_phase(self, operation: "Operation", result: PhaseResult) -> AtomicPhase | None:
        phase = operation.phase_at(self._point)
        if not (isinstance(result, RecoveryPoint) and isinstance(phase, AtomicPhase)):
            return None
        stop = self._attempt.stops_before
        stops = self._attempt.commits_one_by_one or (stop is not None and stop.phase is phase)
        return None if stops else phase

    def _progress(self, operation: "Operation", result: PhaseResult) -> Progress:
        if isinstance(result, Response):
            return Progress(recovery_point=FINISHED, response=result, journal=self._journal)
        moved = self._point != operation.key.recovery_point
        next_phase = operation.phase_at(self._point)
        return Progress(
            recovery_point=self._point,
            keeps_lease=True,
            begins_foreign_phase=moved and isinstance(next_phase, ForeignPhase),
            journal=self._journal,
        )


def _postponed() -> Postponed:
    return Postponed(
        "There is something to wait for before this request can go on. What was done so far is "
        "kept. Retry with the same Idempotency-Key."
    )


def _point_after(operation: "Operation", step: Step, result: PhaseResult, point: str) -> str:
    """Where a result leads. Recovery points never go back, so the loop ends."""
    if isinstance(result, Response):
        return FINISHED
    if isinstance(result, NoOp) and step.foreign_phase is None:
        return point
    if isinstance(result, Undo):
        return _first_undo(operation, step, point)
    if not isinstance(result, RecoveryPoint):
        allowed = "RecoveryPoint, Response, Undo or NoOp"
        if step.foreign_phase:
            allowed = "RecoveryPoint, Response or Undo; what is still under way is Pending, "
            allowed += f"returned by {step.foreign_phase.name} itself"
        raise InvalidTransition(
            f"{step.name} returned {type(result).__name__}: a phase returns {allowed}."
        )
    phases = operation.phases()
    here = next(i for i, phase in enumerate(phases) if phase.starts_from(point))
    later = [
        phase.recovery_point
        for phase in phases[here + 1 :]
        if not phase.retired or isinstance(phase, UndoPhase)
    ]
    if result.name not in later:
        raise InvalidTransition(
            f"{step.name} returned RecoveryPoint({result.name!r}), which no phase after "
            f"{point!r} starts from."
        )
    return result.name


def _first_undo(operation: "Operation", step: Step, point: str) -> str:
    """Where `Undo` leads: to the undo of the latest foreign phase before this one, which itself has
    done nothing that is to be taken back.
    """
    for phase in reversed(operation.phases_until(point)[:-1]):
        if isinstance(undo := operation.phase_at(undo_point(phase.recovery_point)), UndoPhase):
            return undo.recovery_point
    raise InvalidTransition(f"{step.name} returned Undo, and no phase before it has an undo.")
