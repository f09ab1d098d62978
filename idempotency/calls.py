"""The foreign calls that threads of this process are waiting for."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from idempotency.leases import Lease
from idempotency.models import IdempotencyKey
from idempotency.phases import ForeignPhase, UndoPhase

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
        key; there the lease must last for as long as the call may.
        """
        if isinstance(self.phase, UndoPhase):
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
