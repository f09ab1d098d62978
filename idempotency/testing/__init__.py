"""A crash at every boundary: what an adopter points at their own operations.

An attempt is run once under observation, which finds its boundaries, and then once for each
boundary, fault and recovery; after each run the invariants are checked. For tests only: nothing
of the app imports this.
"""

from idempotency.testing.boundaries import Boundary, Kind, Moment
from idempotency.testing.experiments import Answer, Experiment, Recovery, Trial
from idempotency.testing.exploring import Report, explore
from idempotency.testing.faults import Fault
from idempotency.testing.invariants import INVARIANTS
from idempotency.testing.losses import after_a_loss
from idempotency.testing.plans import by_turns, every_combination
from idempotency.testing.repetitions import Repetitions, fail_each_phase_once

__all__ = [
    "INVARIANTS",
    "Answer",
    "Boundary",
    "Experiment",
    "Fault",
    "Kind",
    "Moment",
    "Recovery",
    "Repetitions",
    "Report",
    "Trial",
    "after_a_loss",
    "by_turns",
    "every_combination",
    "explore",
    "fail_each_phase_once",
]
