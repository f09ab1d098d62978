"""Doing something while whoever does it dies, loses its connection or freezes.

For stories, which name one boundary; the crash harness strikes at each of them in its turn.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from idempotency.operations import Operation
from idempotency.testing.activity import end_idle_transactions
from idempotency.testing.boundaries import Watch
from idempotency.testing.experiments import nothing
from idempotency.testing.faults import STRIKES, Aborted, Fault
from idempotency.testing.processes import Forked, fork
from idempotency.testing.trials import forget_connections

Work = Callable[[], Any]

CRASHES = (Fault.RAISE, Fault.DISCONNECT, Fault.ABORT, Fault.FREEZE, Fault.HOSTILE)
"""Of the ways to fail. An abort leaves what a kill does, and costs no process."""


@dataclass(frozen=True)
class Crash:
    """Strikes at the first boundary from number `at` on at which it can."""

    fault: Fault
    at: int

    def __repr__(self) -> str:
        return f"Crash({str(self.fault)!r}, at={self.at})"


@dataclass(frozen=True)
class Done:
    """What came of it: the answer, if there was one, and who is frozen now, if anybody."""

    answer: Any = None
    was_struck: bool = False
    frozen: Forked | None = None


def do_and_crash(
    work: Work,
    crash: Crash,
    operation: type[Operation],
    *,
    after_fork: Callable[[], None] = nothing,
) -> Done:
    """Do it and crashes once, where it comes to such a boundary."""
    watch = Watch(
        is_target=lambda b: b.number >= crash.at and crash.fault.can_strike(b),
        strike=STRIKES[crash.fault],
    )

    def watched() -> Any:
        with watch.on(operation):
            return work()

    if crash.fault.needs_process:
        return _in_a_process(watched, after_fork)
    return _here(watched, watch)


def _here(work: Work, watch: Watch) -> Done:
    try:
        return Done(work(), watch.has_struck)
    except (Exception, Aborted):
        if not watch.has_struck:
            raise
        return Done(was_struck=True)
    finally:
        if watch.has_struck:
            forget_connections()


def _in_a_process(work: Work, after_fork: Callable[[], None]) -> Done:
    child = fork(work, after_fork=after_fork)
    if not os.WIFSTOPPED(child.wait()):
        return Done(child.result())
    end_idle_transactions()
    return Done(was_struck=True, frozen=child)
