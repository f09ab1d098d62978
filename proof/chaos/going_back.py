"""The end of a chaos run for the money that goes back: by Stripe's ledger, each stands in a row."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from idempotency.models import FINISHED
from proof.chaos.outcome import Sighting
from proof.chaos.world import World
from rides.management.commands.reconcile import look
from rides.models import Dispute, Refund, Ride
from rides.reconciliation.rules import Kind
from rides.reversals.rows import Reversal

A_DAY = timedelta(days=1)  # on both sides: Stripe's clock is another one
TAKES_MONEY = ("succeeded", "pending", "needs_response", "lost")

TOLD_OF_RIGHTLY = {Kind.NOT_CANCELLED, Kind.REFUND_FAILED, Kind.DISPUTED, Kind.DISPUTE_LOST}
"""What a reconciliation has to say after such a run, and nothing else."""


def violations_of_reversals(world: World) -> list[str]:
    """Look as the nightly run does, and return what it missed, and what it found that is wrong."""
    now = datetime.now(UTC)
    report = look(now - A_DAY, now + A_DAY, since_last=False, all_open=True)
    wrong = [off for off in report.discrepancies if off.kind not in TOLD_OF_RIGHTLY]
    return [*map(str, wrong), *_missed(world)]


def sightings(world: World) -> list[Sighting]:
    by_person = ("refunded in the dashboard", "disputed")
    return [Sighting("refunds of the dashboard, and disputes", len(world.reversals), 1, by_person)]


def _missed(world: World) -> Iterator[str]:
    """Yield what was given back or disputed, and is not there as it is at Stripe."""
    rows: dict[str, Reversal] = {
        row.stripe_id: row for table in (Refund, Dispute) for row in table._default_manager.all()
    }
    booked = Ride.objects.filter(
        cancelled_at=None,
        idempotency_key__recovery_point=FINISHED,
        idempotency_key__response_code=201,
    )
    booked_charges = set(booked.values_list("stripe_charge_id", flat=True))
    for reversal, status in world.reversals.items():
        row = rows.get(reversal)
        if row is None or row.status != status:
            yield f"{reversal} is {status} at Stripe, and here {row and row.status}"
        elif status in TAKES_MONEY and row.stripe_charge_id in booked_charges and not row.is_open:
            yield f"{reversal} took a booked ride's money, and nobody is told"
