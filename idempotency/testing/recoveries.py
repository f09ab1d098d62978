"""Who finds what a failed attempt left: the client that retries, the completer, both at once, or a
client whose request dies as well.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from django.db import connections

from idempotency.testing.boundaries import Kind, Watch
from idempotency.testing.clock import let_key_age, until_anybody_may_take_over
from idempotency.testing.experiments import Answer, Experiment, Recovery
from idempotency.testing.faults import kill
from idempotency.testing.processes import fork
from idempotency.workers.completing import complete_due_keys

MOST_RETRIES = 5
"""How often a client asks. More than enough: with the fault gone, every retry makes progress."""

MOST_KEYS = 100


def recover(experiment: Experiment, key: str, recovery: Recovery) -> Iterator[Answer]:
    """Let the lease run out and one recovery happen; yields what the client was told meanwhile."""
    let_key_age(key, until_anybody_may_take_over())
    match recovery:
        case Recovery.CLIENT:
            yield experiment.ask(key)
        case Recovery.COMPLETER:
            complete_due_keys(MOST_KEYS)
        case Recovery.BOTH:
            yield _both_at_once(lambda: experiment.ask(key), lambda: complete_due_keys(MOST_KEYS))
        case Recovery.KILLED:
            yield from _ask_and_be_killed(experiment, key)


def ask_until_final(experiment: Experiment, key: str) -> Iterator[Answer]:
    """The client goes on asking, as it is told to; each time long enough after the last."""
    for _ in range(MOST_RETRIES):
        answer = experiment.ask(key)
        yield answer
        if answer.is_final:
            return
        let_key_age(key, until_anybody_may_take_over())


def _ask_and_be_killed(experiment: Experiment, key: str) -> Iterator[Answer]:
    """Before the foreign call; so a lease is left that is not the one of the first attempt. Where
    no call is needed any more, the client gets its answer.
    """
    watch = Watch(is_target=lambda boundary: boundary.kind is Kind.FOREIGN, strike=kill)

    def ask() -> Answer:
        with watch.on(experiment.operation):
            return experiment.ask(key)

    child = fork(ask, after_fork=experiment.after_fork)
    child.wait()
    answer = child.result()
    if answer is not None:
        yield answer


def _both_at_once(ask: Callable[[], Answer], complete: Callable[[], Any]) -> Answer:
    start_line = Barrier(2)

    def run(work: Callable[[], Any]) -> Any:
        try:
            start_line.wait()
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as both:
        answer, completed = both.submit(run, ask), both.submit(run, complete)
        completed.result()
        result: Answer = answer.result()
    return result
