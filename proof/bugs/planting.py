"""How a bug is planted: what one is, the trial that shows it, and the tools for it.

Apart from the bugs, so that each of their files is about the mistakes alone.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest.mock import patch

from django.db import connection

from idempotency.testing import Boundary, Experiment, Fault, Moment, Recovery
from idempotency.testing.plans import Case, Plan
from idempotency.tests.seams import Seam
from proof.bookings import (
    after_a_saved_failure_of,
    booking_of,
    clock_set_right_of,
    confirmed_of,
    confirming_of,
    declining_of,
    looking_up_in_vain_of,
    looking_up_of,
    lost_numbers_of,
    never_confirmed_of,
)
from proof.events import told_of_a_refund_of
from proof.undoing import undoing_while_it_arrives_of
from rides.models import User
from sandbox.stripe.control import StandIn

Bed = ExitStack
"""Where a bug is planted: whatever is entered into it is undone after the trial."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What an experiment is made of."""

    rider: User
    rider_with_bad_card: User
    rider_with_3ds: User
    stand_in: StandIn


@dataclass(frozen=True, kw_only=True)
class Bug:
    """A mistake, the trial that shows it, and the checks that must see it there."""

    plant: Callable[[Bed], None]
    experiment: Callable[[Scene], Experiment]
    plan: Plan
    caught_by: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.plant.__name__

    @property
    def story(self) -> str:
        return " ".join(str(self.plant.__doc__).split())


BUGS: list[Bug] = []


def bug(
    *caught_by: str, experiment: Callable[[Scene], Experiment], plan: Plan
) -> Callable[[Callable[[Bed], None]], Callable[[Bed], None]]:
    """Register a function that plants a bug; its docstring says what is wrong."""

    def register(plant: Callable[[Bed], None]) -> Callable[[Bed], None]:
        BUGS.append(Bug(plant=plant, experiment=experiment, plan=plan, caught_by=caught_by))
        return plant

    return register


# The trials.


def booking(scene: Scene) -> Experiment:
    return booking_of(scene.rider, scene.stand_in)


@cache  # one trial of one function, which is controlled once
def of_booking(experiment: Callable[[Experiment], Experiment]) -> Callable[[Scene], Experiment]:
    return lambda scene: experiment(booking(scene))


def declining(scene: Scene) -> Experiment:
    return declining_of(booking_of(scene.rider_with_bad_card, scene.stand_in))


def confirming(scene: Scene) -> Experiment:
    return confirming_of(booking_of(scene.rider_with_3ds, scene.stand_in), scene.stand_in)


def confirmed(scene: Scene) -> Experiment:
    return confirmed_of(booking_of(scene.rider_with_3ds, scene.stand_in), scene.stand_in)


def never_confirmed(scene: Scene) -> Experiment:
    return never_confirmed_of(booking_of(scene.rider_with_3ds, scene.stand_in))


def looking_up(scene: Scene) -> Experiment:
    return looking_up_of(booking(scene), scene.stand_in)


def clock_set_right(scene: Scene) -> Experiment:
    return clock_set_right_of(booking(scene), scene.stand_in)


def looking_up_in_vain(scene: Scene) -> Experiment:
    return looking_up_in_vain_of(booking(scene), scene.stand_in)


def after_a_saved_failure(scene: Scene) -> Experiment:
    return after_a_saved_failure_of(booking(scene), scene.stand_in)


def overtaken_by_another_rider(scene: Scene) -> Experiment:
    return lost_numbers_of(
        booking(scene),
        booking_of(scene.rider_with_bad_card, scene.stand_in, raise_error="true"),
    )


def told_of_a_refund(scene: Scene) -> Experiment:
    return told_of_a_refund_of(booking(scene), scene.stand_in)


def undoing_while_the_charge_arrives(scene: Scene) -> Experiment:
    return undoing_while_it_arrives_of(booking(scene), scene.stand_in, after_call=1)


def undisturbed(boundaries: Iterable[Boundary]) -> Iterator[Case]:
    """Nothing more than the attempt itself and its repetition."""
    return iter(())


@cache
def at(
    fault: Fault, moment: Moment, step: str, recovery: Recovery = Recovery.CLIENT, *, which: int = 0
) -> Plan:
    """One trial; of several boundaries with that name the first, or the one that `which` says."""

    def plan(boundaries: Iterable[Boundary]) -> Iterator[Case]:
        named = [b for b in boundaries if (b.moment, b.step) == (moment, step)]
        yield named[which], fault, recovery

    return plan


KILLED_BEFORE_THE_CHARGE = at(Fault.KILL, Moment.BEFORE, "charge_rider")
KILLED_AFTER_THE_CHARGE = at(Fault.KILL, Moment.AFTER, "charge_rider")
LAST = -1

# The tools.


def replace(bed: Bed, seam: Seam, new: Any) -> None:
    """Have something else in the seam's place."""
    bed.enter_context(patch.object(*seam, new))


def rewrite(bed: Bed, seam: Seam, old: str, new: str) -> None:
    """Change a statement of the code's; what is to be changed must be there."""
    assert old in seam.value, f"{seam.name} has no {old!r}"
    replace(bed, seam, seam.value.replace(old, new))


def elsewhere(statement: str, values: dict[str, Any]) -> int:
    """Execute on a connection of its own, so that it commits whatever becomes of ours; return how
    many rows it changed.
    """
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute(statement, values)
            return int(cursor.rowcount)
    finally:
        other.close()
