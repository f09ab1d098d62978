"""What takes the money of rides back: refunds and disputes of a time range, by their own time and
however old the charge; and those that are not settled or have not ended, whatever their age.

Each that is seen becomes a row, or changes the one that it has. At Stripe nothing is changed.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from django.db.models import Q

from idempotency.foreign_keys import installation_mark
from rides import payments
from rides.formats import amount
from rides.models import Ride
from rides.payments import Outcome, Reversal, Shown
from rides.reconciliation.comparing import Reconciled, with_their_rides
from rides.reconciliation.rules import Discrepancy, Kind, is_open
from rides.reversals import rows
from rides.reversals.recording import Sighting, record

REFUND_MAY_FAIL_FOR = timedelta(days=31)
"""After it was made, one that had succeeded included (Stripe's docs, "Failed refunds": 30 days)."""

TABLES: dict[type[Reversal], type[rows.Reversal]] = {
    payments.Refund: rows.Refund,
    payments.Dispute: rows.Dispute,
}


class GoingBack:
    """Adds to a report what was looked at of refunds and disputes."""

    def __init__(self, report: Reconciled) -> None:
        self._report = report
        self._off: list[Discrepancy] = []
        self._seen: set[str] = set()
        self._refunds_told_of: set[str | None] = set()

    def look_at(self, kind: type[Reversal], start: datetime, end: datetime) -> None:
        """Look at what was made from `start` to before `end`.

        Raises: Indeterminate, NeedsReview, where Stripe does not show it.
        """
        for page in payments.reversals_between(kind, start, end):
            self._take_down(kind, page)

    def look_at_open_rows(self) -> None:
        """Ask Stripe for each row that is not settled, or was so by a person before it had ended,
        and was not seen yet; one call for each.

        Raises: Indeterminate, NeedsReview, where Stripe does not show it.
        """
        for kind, table in TABLES.items():
            under_way = [s for s, outcome in kind.STATUSES.items() if outcome is Outcome.UNDER_WAY]
            may_change = Q(settled_at__isnull=True) | Q(status__in=under_way)
            waiting = table._default_manager.filter(may_change)
            unseen = waiting.exclude(stripe_id__in=self._seen).order_by("made_at")
            by_id = {row.stripe_id: row for row in unseen}
            for stripe_id, seen in payments.reversals_by_id(kind, by_id):
                if seen is None:
                    self._off.append(_missing(by_id[stripe_id]))
                else:
                    self._take_down(kind, [seen])

    def finish(self) -> None:
        """Complete the report: what a row tells of a charge is not told of the charge again."""
        told = self._refunds_told_of | _settled_charges(self._report.discrepancies)
        of_charges = [
            off
            for off in self._report.discrepancies
            if not (off.kind is Kind.NOT_CANCELLED and off.charge_id in told)
        ]
        self._report.discrepancies = of_charges + self._off
        self._report.open_rows = sum(
            table._default_manager.filter(settled_at__isnull=True).count()
            for table in TABLES.values()
        )

    def _take_down(self, kind: type[Reversal], shown: Sequence[Shown[Reversal]]) -> None:
        self._seen |= {each.id for each in shown}
        sightings = list(sightings_of(shown))
        open_ids = {row.stripe_id for row in record(TABLES[kind], sightings) if row.is_open}
        if kind is payments.Refund:
            self._report.refunds += len(sightings)
            self._refunds_told_of |= {each.seen.charge_id for each in sightings}
        else:
            self._report.disputes += len(sightings)
        for each in sightings:
            if each.seen.id in open_ids:
                self._off += judge_open(each.seen, each.ride)


def judge_open(seen: Reversal, ride: Ride | None) -> Iterator[Discrepancy]:
    """Yield what a person has to look into about what is not settled.

    Nothing while a refund is under way, or while the ride's own request is still to say what
    becomes of the ride.
    """
    if isinstance(seen, payments.Refund):
        if seen.outcome is Outcome.REFUSED:
            yield _off(Kind.REFUND_FAILED, seen, ride)
        elif seen.outcome is Outcome.PAID and not (ride and is_open(ride)):
            yield _off(Kind.NOT_CANCELLED, seen, ride)
    elif seen.outcome is Outcome.PAID:
        is_cancelled = ride is not None and ride.cancelled_at is not None
        kind = Kind.NOT_REFUNDED if is_cancelled else Kind.CHARGE_WITHOUT_RIDE
        yield _off(kind, seen, ride)
    else:
        is_lost = seen.outcome is Outcome.REFUSED
        yield _off(Kind.DISPUTE_LOST if is_lost else Kind.DISPUTED, seen, ride)


def sightings_of(shown: Sequence[Shown[Reversal]]) -> Iterator[Sighting]:
    """Yield those that take money of this installation's charges, each with the charge's ride.

    Only those are judged: what others do on the same account ends no look of ours.

    Raises: NeedsReview.
    """
    charges = {each.charge.id: each.charge for each in shown if each.charge}
    rides = {charge.id: ride for charge, ride in with_their_rides(list(charges.values()))}
    for each in shown:
        if each.charge and each.charge.id in rides:
            ride = rides[each.charge.id]
            yield Sighting(each.judged(), ride, gives_all_back=each.charge.is_refunded)
        elif each.metadata.get("installation") == installation_mark():
            yield Sighting(each.judged(), ride=None)


def _settled_charges(discrepancies: list[Discrepancy]) -> set[str | None]:
    """Return those of the charges that have refunds here, none of which is open."""
    charge_ids = [off.charge_id for off in discrepancies if off.kind is Kind.NOT_CANCELLED]
    refunds = rows.Refund.objects.filter(stripe_charge_id__in=charge_ids)
    is_open_of: dict[str | None, bool] = {}
    for charge_id, settled_at in refunds.values_list("stripe_charge_id", "settled_at"):
        is_open_of[charge_id] = is_open_of.get(charge_id, False) or settled_at is None
    return {charge_id for charge_id, has_open in is_open_of.items() if not has_open}


def _missing(row: rows.Reversal) -> Discrepancy:
    return Discrepancy(
        kind=Kind.NOT_AT_STRIPE,
        ride_id=row.ride_id,
        charge_id=row.stripe_charge_id,
        detail=f"Stripe has no {row.stripe_id}",
    )


def _off(kind: Kind, seen: Reversal, ride: Ride | None) -> Discrepancy:
    said = f"{amount(seen.amount_cents, seen.currency)}, {seen.id} {seen.status}"
    return Discrepancy(
        kind=kind,
        ride_id=ride.pk if ride else None,
        charge_id=seen.charge_id,
        detail=f"{said}: {seen.reason}" if seen.reason else said,
    )
