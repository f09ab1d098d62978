"""How tests put a ride on the review list, decide on it, and look what becomes of its money."""

from contextlib import suppress
from datetime import timedelta

from django.db.models.functions import Now

from idempotency.exceptions import IdempotencyError
from idempotency.models import IdempotencyKey
from rides import payments
from rides.models import Ride
from rides.operations import RESEND_WINDOW
from rides.tests.booking import KEY, run, the_key
from sandbox.stripe.control import StandIn

PAST_THE_WINDOW = RESEND_WINDOW + timedelta(minutes=1)


def put_on_the_list(key: str = KEY) -> None:
    """Have the request wait for a person's decision."""
    IdempotencyKey.objects.filter(idempotency_key=key).update(needs_review_at=Now(), locked_at=None)


def named(key: IdempotencyKey) -> str:
    """A request as `review list` names it."""
    return f"{key.pk}-{key.lease_token.hex[:8]}"


def review(action: str, *arguments: str) -> str:
    return run("review", action, named(the_key()), *arguments, "--reason", "Ticket 12")


def let_charge_arrive(ride: Ride) -> None:
    """Send what a frozen process had still to send, whose answer nobody hears."""
    with suppress(payments.CardDeclined, IdempotencyError):
        payments.charge(ride)


def left_with_us(stand_in: StandIn) -> int:
    """What the rider is out of pocket, in cents."""
    paid = stand_in.charges(status="succeeded")
    return sum(charge["amount"] - charge["amount_refunded"] for charge in paid)
