"""Doing something while something goes wrong: Stripe fails, or whoever does it dies or freezes."""

from idempotency.testing.mishaps import Crash, Done, Work, do_and_crash
from proof.model.states import RESETS
from rides.operations import CreateRide
from sandbox.stripe.control import StandIn

PAYMENTS = "/v1/payment_intents"

Mishap = str | Crash | None
"""A string is what Stripe does to one call: a kind of fault of the stand-in's."""


def do(work: Work, mishap: Mishap, stand_in: StandIn) -> Done:
    """Whatever the mishap does, it does once, and afterwards it is over. Stripe fails at whatever
    it is asked first about payments.
    """
    if isinstance(mishap, Crash):
        return do_and_crash(work, mishap, CreateRide)
    if mishap is None:
        return Done(work())
    # Where a kept connection breaks, libcurl sends what has no body once more by itself.
    stand_in.add_fault(mishap, times=2 if mishap in RESETS else 1, path=PAYMENTS)
    try:
        return Done(work())
    finally:
        stand_in.clear_faults()
