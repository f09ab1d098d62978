"""Doing something while something goes wrong: Stripe fails, or whoever does it dies or freezes."""

from idempotency.testing.mishaps import Crash, Done, Work, do_and_crash
from rides.operations import CreateRide
from rides.tests.booking import CHARGING
from sandbox.stripe.control import StandIn

Mishap = str | Crash | None
"""A string is what Stripe does to one charge: a kind of fault of the stand-in's."""


def do(work: Work, mishap: Mishap, stand_in: StandIn) -> Done:
    """Whatever the mishap does, it does once, and afterwards it is over."""
    if isinstance(mishap, Crash):
        return do_and_crash(work, mishap, CreateRide)
    if mishap is None:
        return Done(work())
    stand_in.add_fault(mishap, times=1, path=CHARGING)
    try:
        return Done(work())
    finally:
        stand_in.clear_faults()
