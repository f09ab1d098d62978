"""Each atomic phase fails once after its last line, and what comes of it is what comes without.

A crash leaves no memory behind; these failures do. A phase that is run again by the same attempt,
or by its client's next one, must not find what its rolled-back run changed.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from django.apps import apps

from idempotency.database import connection
from idempotency.operations import Operation
from idempotency.phases import AtomicPhase
from idempotency.testing.experiments import Experiment, Trial
from idempotency.testing.exploring import Violation, violations_of
from idempotency.testing.faults import Mishap
from idempotency.testing.histories import recorded_histories
from idempotency.testing.trials import run_trial

CONFLICT = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$"


def raise_exception() -> None:
    raise Mishap("after the last line")


def meet_deadlock() -> None:
    with connection.cursor() as cursor:
        cursor.execute(CONFLICT)


FAILURES = (raise_exception, meet_deadlock)


@dataclass(frozen=True, slots=True)
class Repetitions:
    """What was tried, and what came of it.

    Args:
        failed: which methods failed, and by what.
        violations: what did not hold, or differs from a run that did not fail.
    """

    failed: list[str]
    violations: list[Violation]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a method stands that runs in a transaction."""

    owner: Any
    attribute: str
    name: str

    def replaced_by(self, method: Callable[..., Any]) -> AbstractContextManager[Any]:
        return patch.object(self.owner, self.attribute, method)


def fail_each_phase_once(experiment: Experiment) -> Repetitions:
    """Run a trial for each phase and each way to fail, and compare it with one that did not fail:
    in the rows that each table has more, and in the experiment's own `outcome`.

    A method that the attempt does not come to is not counted among those that failed.

    Args:
        experiment: what is tried; `crash_everywhere` shows what a crash does to it.
    """
    failed: list[str] = []
    violations: list[Violation] = []
    with recorded_histories():
        run_trial(Trial(experiment=experiment))
        _, undisturbed = _outcome_of(experiment)
        for place in _places(experiment.operation):
            for fail in FAILURES:
                case = f"{fail.__name__} at the end of {place.name}"
                once = _Once(fail)
                with place.replaced_by(once.at_the_end_of(getattr(place.owner, place.attribute))):
                    trial, outcome = _outcome_of(experiment)
                if not once.has_failed:
                    continue
                failed.append(case)
                violations += [
                    Violation(v.invariant, case, v.message) for v in violations_of(trial)
                ]
                if outcome != undisturbed:
                    message = f"{outcome} in place of {undisturbed}"
                    violations.append(Violation("a_failure_changes_nothing", case, message))
    return Repetitions(failed, violations)


class _Once:
    """Fails the first time."""

    def __init__(self, fail: Callable[[], None]) -> None:
        self._fail = fail
        self.has_failed = False

    def at_the_end_of(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def failing_once(*arguments: Any) -> Any:
            result = method(*arguments)
            if not self.has_failed:
                self.has_failed = True
                self._fail()
            return result

        return failing_once


def _places(operation: type[Operation]) -> Iterator[_Place]:
    for phase in operation.phases():
        if isinstance(phase, AtomicPhase):
            yield _Place(phase, "method", phase.name)
            continue
        for name in {phase.commit_name, *phase.rejections.values()} - {None}:
            yield _Place(operation, str(name), str(name))


def _outcome_of(experiment: Experiment) -> tuple[Trial, Any]:
    before = _rows()
    trial = run_trial(Trial(experiment=experiment))
    made = {name: count - before[name] for name, count in _rows().items()}
    return trial, ({name: n for name, n in made.items() if n}, experiment.outcome(trial))


def _rows() -> dict[str, int]:
    return {
        model._meta.label: model._base_manager.count()
        for model in apps.get_models(include_auto_created=True)
        if model._meta.managed and not model._meta.proxy
    }
