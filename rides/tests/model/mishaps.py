"""Doing something while something goes wrong: Stripe fails, or whoever does it dies or freezes.

Apart from the model's machine, which says what is done, and from the crash harness, which strikes
at each boundary in its turn: here it is the one that a story names.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from idempotency.testing import Fault
from idempotency.testing.activity import end_idle_transactions
from idempotency.testing.boundaries import Watch
from idempotency.testing.faults import STRIKES, Aborted
from idempotency.testing.processes import Forked, fork
from idempotency.testing.trials import forget_connections
from rides.operations import CreateRide
from rides.payments.client import connected_client
from rides.tests.booking import CHARGING
from sandbox.stripe.control import StandIn

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


Mishap = str | Crash | None
"""A string is what Stripe does to one charge: a kind of fault of the stand-in's."""


@dataclass(frozen=True)
class Done:
    """What came of it: the answer, if there was one, and who is frozen now, if anybody."""

    answer: Any = None
    was_struck: bool = False
    frozen: Forked | None = None


def do(work: Work, mishap: Mishap, stand_in: StandIn) -> Done:
    """Whatever the mishap does, it does once, and afterwards it is over."""
    if isinstance(mishap, Crash):
        return _do_and_crash(work, mishap)
    if mishap is None:
        return Done(work())
    stand_in.add_fault(mishap, times=1, path=CHARGING)
    try:
        return Done(work())
    finally:
        stand_in.clear_faults()


def _do_and_crash(work: Work, crash: Crash) -> Done:
    watch = Watch(
        is_target=lambda b: b.number >= crash.at and crash.fault.can_strike(b),
        strike=STRIKES[crash.fault],
    )

    def watched() -> Any:
        with watch.on(CreateRide):
            return work()

    return _in_a_process(watched) if crash.fault.needs_process else _here(watched, watch)


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


def _in_a_process(work: Work) -> Done:
    child = fork(work, after_fork=connected_client.cache_clear)
    if not os.WIFSTOPPED(child.wait()):
        return Done(child.result())
    end_idle_transactions()
    return Done(was_struck=True, frozen=child)
