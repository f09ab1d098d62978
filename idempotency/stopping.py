"""The end of a process: what it must abandon is let go, so that a retry goes on at once.

A server that was asked to stop calls `begin`, finishes what it has in hand for as long as it may,
and calls `abandon` for the rest: the foreign calls that threads of this process are waiting for.
"""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from idempotency import failures
from idempotency.exceptions import ServiceStopping
from idempotency.leases import Lease
from idempotency.models import IdempotencyKey
from idempotency.phases import ForeignPhase, UndoPhase

_asked = threading.Event()
_abandoned = threading.Event()

_under_way: dict[int, "Call"] = {}
_numbers = itertools.count()
_watchers: list[Callable[[], None]] = []


@dataclass(frozen=True, slots=True)
class Call:
    """A foreign call under way in a thread of this process."""

    key: IdempotencyKey
    lease: Lease
    phase: ForeignPhase

    @property
    def may_be_sent_again(self) -> bool:
        """Whether somebody else may make the same call while this one is still under way.

        Inside a phase's window the other system recognises the key that goes with the call: sent
        again, it answers as it answered the first, or says that the first is under way, which is
        indeterminate. Either way it acts once. Of an undo that is not known, and a look-up sends no
        key, nor does a phase without a window; there the lease must last for as long as the call
        may.
        """
        if isinstance(self.phase, UndoPhase) or not self.phase.window:
            return False
        return self.phase.may_send(self.key.foreign_sent_at, self.key.last_run_at)


@contextmanager
def call_under_way(key: IdempotencyKey, lease: Lease, phase: ForeignPhase) -> Iterator[None]:
    """Note for the time of the block that this thread waits for another system."""
    number = next(_numbers)
    _under_way[number] = Call(key, lease, phase)
    for notify in _watchers:
        notify()
    try:
        yield
    finally:
        del _under_way[number]


def calls_under_way() -> list[Call]:
    return list(_under_way.values())


def count_calls() -> int:
    return len(_under_way)


def watch_calls(notify: Callable[[], None]) -> None:
    """Have `notify` called whenever a call begins, in the thread that makes it."""
    _watchers.append(notify)


def begin() -> None:
    """Note that the process was asked to stop: `/readyz` says so from now on."""
    _asked.set()


def was_asked_to_stop() -> bool:
    return _asked.is_set()


def abandon() -> None:
    """End all leases of this process in memory, and let go of the keys whose calls may be repeated.

    From the first line on no phase and no call starts here. A thread that is between two phases
    lets its key go by itself, with the `ServiceStopping` that it meets; one whose call returns
    later commits nothing of it, since its key may be another's by then.
    """
    _abandoned.set()
    for call in calls_under_way():
        if call.may_be_sent_again:
            failures.let_go(call.key, call.lease, service_stopping())


def refuse_to_go_on() -> None:
    """Raises: `ServiceStopping` once the process has abandoned its work."""
    if _abandoned.is_set():
        raise service_stopping()


def forget() -> None:
    """Take back `begin` and `abandon`. For tests, whose process goes on."""
    _asked.clear()
    _abandoned.clear()


def service_stopping() -> ServiceStopping:
    return ServiceStopping(
        "This process of the service is stopping. What was done so far is kept. "
        "Retry with the same Idempotency-Key.",
        retry_after_seconds=1,
    )
