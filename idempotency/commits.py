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
from typing import TYPE_CHECKING

from idempotency.exceptions import LEAVING, InvalidTransition, Postponed
from idempotency.leases import JournalEntry, Lease, Progress, write_progress
from idempotency.models import FINISHED
from idempotency.phases import (
    AtomicPhase,
    ForeignPhase,
    NoOp,
    PhaseResult,
    RecoveryPoint,
    Response,
)
from idempotency.staging import recording_staged_jobs
from idempotency.transactions import database_is_away, may_succeed_when_repeated, was_refused

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


@dataclass(frozen=True, slots=True)
class Reached:
    """How far the steps of the open transaction have come."""

    point: str
    result: PhaseResult | None
    journal: tuple[JournalEntry, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """What a transaction did once it has committed.

    `failure` is why the attempt ends after it: a later phase failed, and only that was rolled
    back, or a phase had nothing to do yet.
    """

    progress: Progress
    lease: Lease
    failure: BaseException | None = None


class LaterPhaseFailed(Exception):
    """A phase after the first one of a row failed with `error`."""

    def __init__(self, phase: AtomicPhase, error: BaseException) -> None:
        super().__init__(phase.name)
        self.phase = phase
        self.error = error


@dataclass(slots=True)
class Extent:
    """How far a row is to go, and how far the latest run of it came.

    - `ends_before`: the phase that failed in an earlier run, which is left out.
    - `first_only`: the first step is to have a transaction for itself.
    """

    ends_before: LaterPhaseFailed | None = None
    first_only: bool = False
    steps_begun: int = 0
    is_at_commit: bool = False

    def may_go_on_with(self, phase: AtomicPhase) -> bool:
        return not (self.first_only or self._failed_in(phase))

    def failure_before(self, phase: AtomicPhase | None) -> BaseException | None:
        """Why the row ends before a phase, if that is since it failed."""
        return self.ends_before.error if self.ends_before and phase else None

    def was_rolled_back_with_others(self, error: BaseException) -> bool:
        """Whether the latest run is known to be rolled back, and took several phases with it.

        At COMMIT only the server's own no says so.
        """
        is_known = not self.is_at_commit or was_refused(error)
        return self.steps_begun > 1 and is_known and not database_is_away(error)

    def _failed_in(self, phase: AtomicPhase) -> bool:
        return self.ends_before is not None and self.ends_before.phase is phase


def phase_step(phase: AtomicPhase) -> Step:
    return Step(phase.name, phase.method)


def run_in_a_row(attempt: "Attempt", first: Step, *journal: JournalEntry, extent: Extent) -> Commit:
    """Runs a step and the atomic phases that follow it, in the caller's transaction, and then moves
    the key, once for all of them.

    Args:
        extent: how far to go; how far it came is noted there.

    *Raises* `LaterPhaseFailed`, after which it is to be run again; `LeaseLost` where the lease is
    no longer the attempt's; and what the first step does.
    """
    extent.steps_begun, extent.is_at_commit = 1, False
    operation = attempt.operation
    reached = _run_step(operation, first, Reached(operation.key.recovery_point, None, journal))
    while (phase := _atomic_phase_after(operation, reached)) and extent.may_go_on_with(phase):
        extent.steps_begun += 1
        reached = _run_later_step(operation, phase, reached)
    failure = extent.failure_before(phase)
    if isinstance(reached.result, NoOp):
        failure = Postponed(
            "There is something to wait for before this request can go on. What was done so "
            "far is kept. Retry with the same Idempotency-Key."
        )
    progress = _progress_to(operation, reached)
    lease = write_progress(attempt.lease, progress)
    extent.is_at_commit = True
    return Commit(progress, lease, failure)


def took(began_at: float) -> dict[str, float]:
    """For the journal: the milliseconds since a monotonic time."""
    return {"ms": round((time.monotonic() - began_at) * 1000, 1)}


def _run_step(operation: "Operation", step: Step, reached: Reached) -> Reached:
    began_at = time.monotonic()
    operation.phase_in_hand = step.foreign_phase
    operation.read_instances_anew()
    with recording_staged_jobs() as jobs:
        result = step.run(operation)
    point = _point_after(operation, step, result, reached.point)
    entry: JournalEntry = {"event": step.name, "recovery_point": point, **took(began_at)}
    if jobs:
        entry["jobs"] = jobs
    return Reached(point, result, (*reached.journal, entry))


def _run_later_step(operation: "Operation", phase: AtomicPhase, reached: Reached) -> Reached:
    try:
        return _run_step(operation, phase_step(phase), reached)
    except LEAVING:
        raise
    except BaseException as error:
        if may_succeed_when_repeated(error) or database_is_away(error):
            raise  # what failed is not this phase but the whole transaction
        raise LaterPhaseFailed(phase, error) from error


def _progress_to(operation: "Operation", reached: Reached) -> Progress:
    if isinstance(reached.result, Response):
        return Progress(recovery_point=FINISHED, response=reached.result, journal=reached.journal)
    moved = reached.point != operation.key.recovery_point
    next_phase = operation.phase_at(reached.point)
    return Progress(
        recovery_point=reached.point,
        keeps_lease=True,
        begins_foreign_phase=moved and isinstance(next_phase, ForeignPhase),
        journal=reached.journal,
    )


def _atomic_phase_after(operation: "Operation", reached: Reached) -> AtomicPhase | None:
    if not isinstance(reached.result, RecoveryPoint):
        return None
    phase = operation.phase_at(reached.point)
    return phase if isinstance(phase, AtomicPhase) else None


def _point_after(operation: "Operation", step: Step, result: PhaseResult, point: str) -> str:
    """Where a result leads. Recovery points never go back, so the loop ends."""
    if isinstance(result, Response):
        return FINISHED
    if isinstance(result, NoOp):
        return point
    if not isinstance(result, RecoveryPoint):
        raise InvalidTransition(
            f"{step.name} returned {type(result).__name__}: a phase returns RecoveryPoint, "
            "Response or NoOp."
        )
    phases = operation.phases()
    here = next(i for i, phase in enumerate(phases) if phase.starts_from(point))
    later = [phase.recovery_point for phase in phases[here + 1 :] if not phase.retired]
    if result.name not in later:
        raise InvalidTransition(
            f"{step.name} returned RecoveryPoint({result.name!r}), which no phase after "
            f"{point!r} starts from."
        )
    return result.name
