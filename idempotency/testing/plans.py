"""Which fault is tried at which boundary, and who recovers: everything, or by turns."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import product

from idempotency.testing.boundaries import Boundary
from idempotency.testing.experiments import Recovery
from idempotency.testing.faults import Fault

Case = tuple[Boundary, Fault, Recovery]
Plan = Callable[[Iterable[Boundary]], Iterator[Case]]


def every_combination(boundaries: Iterable[Boundary]) -> Iterator[Case]:
    """Every fault at every boundary, recovered in every way that makes a difference.

    Args:
        boundaries: those of an attempt.
    """
    for boundary, fault, recovery in product(boundaries, Fault, Recovery):
        if fault.can_strike(boundary) and _makes_a_difference(fault, recovery):
            yield boundary, fault, recovery


def by_turns(boundaries: Iterable[Boundary]) -> Iterator[Case]:
    """Each boundary once, which is quick; the faults and the recoveries take turns.

    The fault that was tried least, so that one which seldom can strike does when it can; and of the
    recoveries, for each time that a fault is tried, another one.

    Args:
        boundaries: those of an attempt.
    """
    tried: Counter[Fault] = Counter()
    recoveries = list(Recovery)
    for boundary in boundaries:
        fault = min((f for f in Fault if f.can_strike(boundary)), key=lambda f: tried[f])
        turn = list(Fault).index(fault) + tried[fault]
        tried[fault] += 1
        yield boundary, fault, recoveries[turn % len(recoveries)]


def _makes_a_difference(fault: Fault, recovery: Recovery) -> bool:
    """A duplicate leaves nothing to recover; and a second death matters to a first process that
    comes back.
    """
    if fault is Fault.DUPLICATE:
        return recovery is Recovery.CLIENT
    return recovery is not Recovery.KILLED or fault is Fault.FREEZE
