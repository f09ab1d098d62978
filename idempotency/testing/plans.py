"""Which fault is tried at which boundary, and who recovers: everything, or by turns."""

from collections.abc import Callable, Iterable, Iterator
from itertools import cycle, product

from idempotency.testing.boundaries import Boundary
from idempotency.testing.faults import Fault
from idempotency.testing.recoveries import Recovery

Case = tuple[Boundary, Fault, Recovery]
Plan = Callable[[Iterable[Boundary]], Iterator[Case]]


def every_combination(boundaries: Iterable[Boundary]) -> Iterator[Case]:
    """Every fault at every boundary, recovered in every way that makes a difference."""
    for boundary, fault, recovery in product(boundaries, Fault, Recovery):
        if fault.can_strike(boundary) and _makes_a_difference(fault, recovery):
            yield boundary, fault, recovery


def by_turns(boundaries: Iterable[Boundary]) -> Iterator[Case]:
    """Each boundary once, which is quick; the faults and the recoveries take turns."""
    turns = zip(cycle(Fault), cycle(Recovery), strict=False)
    for boundary in boundaries:
        fault, recovery = next(turn for turn in turns if turn[0].can_strike(boundary))
        yield boundary, fault, recovery


def _makes_a_difference(fault: Fault, recovery: Recovery) -> bool:
    """A duplicate leaves nothing to recover; and a second death matters to a first process that
    comes back.
    """
    if fault is Fault.DUPLICATE:
        return recovery is Recovery.CLIENT
    return recovery is not Recovery.KILLED or fault is Fault.FREEZE
