"""The exploration: find the boundaries of an experiment, try them all, and report."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from idempotency.testing.boundaries import Boundary
from idempotency.testing.experiments import Experiment, Trial
from idempotency.testing.faults import Fault
from idempotency.testing.histories import recorded_histories
from idempotency.testing.invariants import INVARIANTS
from idempotency.testing.plans import Plan, every_combination
from idempotency.testing.trials import run_trial


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that did not hold after a trial."""

    invariant: str
    trial: str
    message: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.message} ({self.trial})"


@dataclass
class Report:
    """What was tried and what came of it.

    Args:
        operation: its class's name.
        boundaries: those of an undisturbed attempt.
        trials: how many there were of each fault.
        struck: the boundaries at which a fault struck.
        missed: trials that did not come to their boundary.
        violations: invariants that did not hold.
    """

    operation: str
    boundaries: list[Boundary]
    trials: Counter[Fault] = field(default_factory=Counter)
    struck: set[Boundary] = field(default_factory=set)
    missed: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)

    def __str__(self) -> str:
        faults = ", ".join(f"{fault} {count}" for fault, count in self.trials.items())
        return (
            f"{self.operation}: {len(self.struck)} of {len(self.boundaries)} boundaries, "
            f"{self.trials.total()} trials ({faults}), {len(self.violations)} violations"
        )

    @property
    def problems(self) -> list[str]:
        """Violations, and boundaries that a trial did not come to: none where all is well."""
        missed = [f"not reached: {trial}" for trial in self.missed]
        return [*map(str, self.violations), *missed]


def explore(experiment: Experiment, plan: Plan = every_combination) -> Report:
    """Run the attempt to find its boundaries, and then the trials that `plan` makes of them.

    The database's transactions must be real: use `pytest.mark.django_db(transaction=True)` or
    Django's `TransactionTestCase`.

    Args:
        experiment: what is crashed.
        plan: `every_combination`, `by_turns`, or a function of boundaries that yields its own
            trials.

    Returns: a report, whose `problems` are empty where all is well.
    """
    with recorded_histories():
        run_trial(Trial(experiment=experiment))  # fills caches, whose statements come only once
        undisturbed = run_trial(Trial(experiment=experiment))
        report = Report(experiment.operation.__name__, undisturbed.watch.found)
        report.violations += violations_of(undisturbed)
        if report.violations:
            return report  # what does not hold in peace need not be crashed
        for boundary, fault, recovery in plan(report.boundaries):
            trial = Trial(experiment=experiment, boundary=boundary, fault=fault, recovery=recovery)
            _note(report, run_trial(trial), fault, boundary)
    return report


def violations_of(trial: Trial) -> Iterator[Violation]:
    """Check the core's invariants and the experiment's own."""
    for invariant in (*INVARIANTS, *trial.experiment.invariants):
        try:
            invariant(trial)
        except AssertionError as error:
            yield Violation(invariant.__name__, str(trial), str(error))


def _note(report: Report, trial: Trial, fault: Fault, boundary: Boundary) -> None:
    report.trials[fault] += 1
    report.violations += violations_of(trial)
    if trial.was_struck:
        report.struck.add(boundary)
    else:
        report.missed.append(str(trial))
