"""Whether Stripe's ledger and the rides tell the same story of a time range.

Each is read once, in pages: first Stripe's charges, each with its ride, then the rides, each with
its charge. Nothing is changed on either side.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from django.db.models import Q, QuerySet

from rides import payments
from rides.discrepancies import (
    Discrepancy,
    is_open,
    judge_charge,
    judge_missing_charge,
    judge_ride_without_charge,
)
from rides.models import Ride
from rides.payments import LedgerCharge

RIDES_AT_A_TIME = 500
COLUMNS = (
    *("amount_cents", "currency", "stripe_charge_id", "cancelled_at"),
    *(
        f"idempotency_key__{column}"
        for column in ("foreign_key", "recovery_point", "response_code", "needs_review_at")
    ),
)


@dataclass(kw_only=True, slots=True)
class Reconciled:
    """What was compared, and what was off. A ride whose request is open, because it is in flight or
    on the review list, may have no charge yet, or one that it does not know of.
    """

    charges: int = 0
    rides: int = 0
    open_requests: int = 0
    discrepancies: list[Discrepancy] = field(default_factory=list)


class SeenCharges:
    """The ids of a range's charges, of which there may be more than fit into memory: they are in a
    file of SQLite's own, which goes with it.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("")
        self._database.execute("CREATE TABLE charge (id TEXT PRIMARY KEY) WITHOUT ROWID")

    def add(self, charge_ids: Iterable[str]) -> None:
        rows = ((charge_id,) for charge_id in charge_ids)
        self._database.executemany("INSERT OR IGNORE INTO charge VALUES (?)", rows)

    def __contains__(self, charge_id: str) -> bool:
        query = "SELECT 1 FROM charge WHERE id = ?"
        return self._database.execute(query, [charge_id]).fetchone() is not None

    def close(self) -> None:
        self._database.close()


def reconcile(
    start: datetime, end: datetime, *, advance: Callable[[int], object] = lambda _: None
) -> Reconciled:
    """Compare the charges and the rides that were made from `start` to before `end`.

    Args:
        advance: called after each page with the number of charges or rides on it.

    Raises: Indeterminate, NeedsReview, where Stripe does not show its ledger.
    """
    report = Reconciled()
    unclaimed: dict[str, str] = {}
    with closing(SeenCharges()) as seen:
        for charges in payments.charges_between(start, end):
            seen.add(charge.id for charge in charges)
            report.charges += len(charges)
            report.discrepancies += _judge_charges(charges, unclaimed)
            advance(len(charges))
        for rides in _pages_of_rides(start, end):
            report.rides += len(rides)
            report.open_requests += sum(map(is_open, rides))
            report.discrepancies += _judge_rides(rides, seen)
            advance(len(rides))
    return report


def _judge_charges(charges: list[LedgerCharge], unclaimed: dict[str, str]) -> Iterator[Discrepancy]:
    numbers = [charge.ride_id for charge in charges if charge.ride_id is not None]
    recorded = Q(stripe_charge_id__in=[charge.id for charge in charges])
    rides = list(_rides().filter(Q(pk__in=numbers) | recorded))
    by_number = {ride.pk: ride for ride in rides}
    by_charge = {ride.stripe_charge_id: ride for ride in rides}
    for charge in charges:
        ride = by_charge.get(charge.id) or by_number.get(charge.ride_id or 0)
        yield from judge_charge(charge, ride, unclaimed, _is_at_stripe)


def _is_at_stripe(charge_id: str) -> bool:
    return bool(payments.charges_by_id([charge_id]))


def _judge_rides(rides: list[Ride], seen: SeenCharges) -> Iterator[Discrepancy]:
    unseen = {
        ride.stripe_charge_id: ride
        for ride in rides
        if ride.stripe_charge_id and ride.stripe_charge_id not in seen
    }
    # Such a charge was made outside the range, perhaps a second after its end; or not at all.
    found = {charge.id for charge in payments.charges_by_id(unseen)}
    yield from (judge_missing_charge(unseen[charge]) for charge in unseen if charge not in found)
    for ride in rides:
        if ride.stripe_charge_id is None:
            yield from judge_ride_without_charge(ride)


def _pages_of_rides(start: datetime, end: datetime) -> Iterator[list[Ride]]:
    rides = _rides().filter(created_at__gte=start, created_at__lt=end).order_by("pk")
    listed = rides.iterator(chunk_size=RIDES_AT_A_TIME)
    while page := list(islice(listed, RIDES_AT_A_TIME)):
        yield page


def _rides() -> QuerySet[Ride]:
    return Ride.objects.select_related("idempotency_key").only(*COLUMNS)
