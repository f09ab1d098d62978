"""Which fault is tried at which boundary, and who recovers: all of them, or each fault once."""

from collections.abc import Callable, Iterable, Iterator
from itertools import cycle, product

from idempotency.testing.boundaries import Boundary
from idempotency.testing.faults import Fault
from idempotency.testing.recoveries import Recovery

Case = tuple[Boundary, Fault, Recovery]
Plan = Callable[[Iterable[Boundary]], Iterator[Case]]


def every_combination(boundaries: Iterable[Boundary]) -> Iterator[Case]:
    """Every fault at every boundary, recovered in every way."""
    for boundary, fault, recovery in product(boundaries, Fault, Recovery):
        if fault.can_strike(boundary):
            yield boundary, fault, recovery


def each_fault_once(boundaries: Iterable[Boundary]) -> Iterator[Case]:
    """Every fault at every boundary; the ways of recovery take turns."""
    turns = cycle(Recovery)
    for boundary, fault in product(boundaries, Fault):
        if fault.can_strike(boundary):
            yield boundary, fault, next(turns)
