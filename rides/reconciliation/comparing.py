"""Whether Stripe's ledger and the rides agree for a time range.

Each is read once, in pages: first Stripe's charges, each with its ride, then the rides, each with
its charge. Nothing is changed on either side.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from uuid import UUID

from django.db.models import Q, QuerySet

from idempotency import conf
from idempotency.foreign_keys import installation_mark
from rides import payments
from rides.models import Ride
from rides.payments import LedgerCharge, Outcome
from rides.reconciliation.rules import (
    Discrepancy,
    is_open,
    judge_charge,
    judge_missing_charge,
    judge_ride_without_charge,
)

RIDES_AT_A_TIME = 500
COLUMNS = (
    *("amount_cents", "currency", "stripe_charge_id", "stripe_customer_id", "foreign_key"),
    *("cancelled_at", "created_at"),
    *(
        f"idempotency_key__{column}"
        for column in ("recovery_point", "response_code", "needs_review_at")
    ),
)


@dataclass(kw_only=True, slots=True)
class Reconciled:
    """What was compared, and what was off. A ride whose request is open, because it is in flight or
    on the review list, may have no charge yet, or one that is not recorded.

    What else the account at Stripe is used for is counted as `others` and not judged: charges
    without this installation's mark that no ride has.
    """

    charges: int = 0
    others: int = 0
    rides: int = 0
    open_requests: int = 0
    refunds: int = 0
    disputes: int = 0
    open_rows: int = 0
    under_way_since: datetime | None = None
    """When the oldest of the charges was made that has neither succeeded nor failed yet."""

    discrepancies: list[Discrepancy] = field(default_factory=list)

    def note_under_way(self, made_at: datetime) -> None:
        self.under_way_since = min(made_at, self.under_way_since or made_at)


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
    unclaimed: dict[int, str] = {}
    with closing(SeenCharges()) as seen:
        for charges in payments.charges_between(start, end):
            paid = [charge for charge in charges if charge.outcome is Outcome.PAID]
            seen.add(charge.id for charge in paid)
            pairs = list(with_their_rides(paid))
            report.charges += len(pairs)
            report.others += len(paid) - len(pairs)
            for charge, ride in pairs:
                report.discrepancies += judge_charge(charge, ride, unclaimed, _is_at_stripe)
            under_way = [charge for charge in charges if charge not in paid]
            for charge, _ in with_their_rides(under_way):
                report.note_under_way(charge.created_at)
            advance(len(charges))
        for rides in _pages_of_rides(start, end):
            report.rides += len(rides)
            report.open_requests += sum(map(is_open, rides))
            report.discrepancies += _judge_rides(rides, seen)
            advance(len(rides))
    return report


def with_their_rides(charges: list[LedgerCharge]) -> Iterator[tuple[LedgerCharge, Ride | None]]:
    """Yield those charges that are this installation's, each with its ride if there is one.

    Paired by what both sides keep of the request, never by a number of this database's.
    """
    recorded = Q(stripe_charge_id__in=[charge.id for charge in charges])
    meant = Q(foreign_key__in=[key for charge in charges if (key := _uuid_in(charge))])
    rides = list(_rides().filter(recorded | meant).order_by("created_at"))
    by_charge = {ride.stripe_charge_id: ride for ride in rides}
    for charge in charges:
        ride = by_charge.get(charge.id) or _meant_by(charge, rides)
        if ride or charge.metadata.get("installation") == installation_mark():
            yield charge, ride


def _meant_by(charge: LedgerCharge, rides: list[Ride]) -> Ride | None:
    """Return the ride that the charge was made for, or None.

    A client's key that was used again after it had been removed has booked several with the same
    foreign key; and after a loss of rows a charge is older than its ride.
    """
    meant = [
        ride
        for ride in rides
        if ride.foreign_key == _uuid_in(charge)
        and charge.created_at >= ride.created_at - conf.current().lookup_span
    ]
    return meant[-1] if meant else None


def _uuid_in(charge: LedgerCharge) -> UUID | None:
    try:
        return UUID(charge.foreign_key)
    except (AttributeError, TypeError, ValueError):
        return None


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
