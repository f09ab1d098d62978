"""One trial: an attempt that fails at a boundary, its recovery, and what the clients were told."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from django.db import connections

from idempotency import stopping
from idempotency.testing.activity import end_idle_transactions
from idempotency.testing.boundaries import Watch
from idempotency.testing.duplicates import Duplicate
from idempotency.testing.experiments import Answer, Trial, nothing
from idempotency.testing.faults import STRIKES, Aborted, Fault
from idempotency.testing.processes import fork
from idempotency.testing.recoveries import ask_until_final, recover


def run_trial(trial: Trial) -> Trial:
    """Prepare, strike, recover and settle; afterwards everything is at rest."""
    experiment, key = trial.experiment, trial.idempotency_key
    experiment.prepare(key)
    duplicate = Duplicate(partial(experiment.ask, key))
    trial.watch = Watch(
        experiment.lose_answer,
        is_target=lambda boundary: boundary == trial.boundary,
        strike={**STRIKES, Fault.DUPLICATE: duplicate.strike}.get(trial.fault, nothing),
    )
    begin = _in_a_process if trial.fault.needs_process else _in_this_process
    with begin(trial):
        trial.hear(duplicate.answer())
        for answer in recover(experiment, key, trial.recovery):
            trial.hear(answer)
    for answer in ask_until_final(experiment, key):
        trial.hear(answer)
    experiment.settle()
    trial.hear(experiment.ask(key))
    return trial


@contextmanager
def _in_this_process(trial: Trial) -> Iterator[None]:
    """An attempt that is over when the recovery begins. Of an aborted one only memory is left, and
    that is thrown away: a process that ended has no connections.
    """
    try:
        trial.hear(_watched_attempt(trial))
    except (Exception, Aborted):
        # A request answers whatever happens, but a worker's batch ends with the error.
        if not trial.watch.has_struck:
            raise
    finally:
        stopping.forget()
        if trial.fault is Fault.ABORT:
            forget_connections()
    trial.was_struck = trial.watch.has_struck
    yield


@contextmanager
def _in_a_process(trial: Trial) -> Iterator[None]:
    """An attempt that is killed before the recovery, or frozen until after it."""
    child = fork(partial(_watched_attempt, trial), after_fork=trial.experiment.after_fork)
    status = child.wait()
    trial.was_struck = os.WIFSTOPPED(status) or os.WIFSIGNALED(status)
    if os.WIFSTOPPED(status):
        end_idle_transactions()
    yield
    if os.WIFSTOPPED(status):
        trial.experiment.settle()  # the world goes on to its end, and then the frozen one wakes
        child.thaw()
        child.wait()
    trial.hear(child.result())


def _watched_attempt(trial: Trial) -> Answer | None:
    with trial.watch.on(trial.experiment.operation, trial.experiment.calls):
        return trial.experiment.make_attempt(trial.idempotency_key)


def forget_connections() -> None:
    for wrapper in connections.all(initialized_only=True):
        if wrapper.connection is not None:
            wrapper.connection.close()
        del connections[wrapper.alias]
