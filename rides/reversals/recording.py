"""Writing down what Stripe shows of refunds and disputes, and whether it is settled with that."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from idempotency.exceptions import JobError
from idempotency.support.storable import storable_text
from rides import payments
from rides.models import Ride
from rides.payments import Outcome
from rides.reconciliation.rules import is_open as has_open_request
from rides.reversals import rows
from rides.reversals.rows import Reversal

LONGEST_REASON = 255
CHANGED = ("ride", "status", "reason", "settled_at", "settled_by", "settled_note")


class SeenOtherwise(JobError):
    """What was seen at Stripe may be older than what is written down."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A refund or dispute as Stripe has it, and the ride whose money it takes, if it is known."""

    seen: payments.Reversal
    ride: Ride | None
    gives_all_back: bool = False
    """Whether nothing of the charge is left with us, by whatever refunds."""


def record(kind: type[Reversal], sightings: Sequence[Sighting]) -> list[Reversal]:
    """Write down what was seen, in one transaction; return the rows.

    What has ended well is settled with that, and what was so is open again where it failed after
    all. A person's decision stands, unless the money was taken back since.
    """
    ids = [each.seen.id for each in sightings]
    with transaction.atomic():
        found = kind._default_manager.select_for_update().filter(stripe_id__in=ids).order_by("pk")
        known = {row.stripe_id: row for row in found}
        made, changed = [], []
        for each in sightings:
            row = known.get(each.seen.id)
            if row is None:
                made.append(_made_of(kind, each))
            elif _bring_up_to_date(row, each):
                changed.append(row)
        # Of two processes that see it for the first time, one writes it down.
        kind._default_manager.bulk_create(made, ignore_conflicts=True)
        for row in changed:  # few, and a statement of all would have a time in a CASE
            row.save(update_fields=CHANGED)
    return [*made, *known.values()]


def statuses_of(kind: type[Reversal], **which: Any) -> dict[str, str]:
    """Return the statuses of the rows with those values in their fields, by Stripe's id."""
    rows_found = kind._default_manager.filter(**which)
    return dict(rows_found.values_list("stripe_id", "status"))


def record_as_of(
    before: Mapping[str, str], kind: type[Reversal], sightings: Sequence[Sighting]
) -> None:
    """Write down what was seen, in the caller's transaction, unless somebody else has written down
    something else since: of two looks at Stripe nobody knows here which is the newer one.

    Args:
        before: the statuses that the rows had before Stripe was asked.

    Raises: `SeenOtherwise`, to look again.
    """
    seen = {each.seen.id: each.seen.status for each in sightings}
    locked = kind._default_manager.select_for_update().filter(stripe_id__in=seen).order_by("pk")
    now = dict(locked.values_list("stripe_id", "status"))
    if any(now.get(each) not in (before.get(each), seen[each]) for each in seen):
        raise SeenOtherwise("Somebody else has seen something else at Stripe meanwhile.")
    record(kind, sightings)
    if statuses_of(kind, stripe_id__in=seen) != seen:  # another wrote one down for the first time
        raise SeenOtherwise("Somebody else has seen something else at Stripe meanwhile.")


def record_refunds_of_cancelled(ride: Ride, refunds: Iterable[payments.Refund]) -> None:
    """Write down the refunds of a ride that was just cancelled, all of whose money is back."""
    sightings = [Sighting(refund, ride, gives_all_back=True) for refund in refunds]
    if sightings:
        ride.refresh_from_db(fields=["cancelled_at"])
        record(rows.Refund, sightings)


def is_settled_by_itself(sighting: Sighting) -> bool:
    """Say whether a refund or a dispute has ended with the money where it should be."""
    seen = sighting.seen
    is_flown_for = _pays_for(sighting.ride, seen.charge_id)
    if isinstance(seen, payments.Refund):
        if seen.outcome is Outcome.REFUSED:
            return sighting.gives_all_back
        return seen.outcome is Outcome.PAID and (seen.is_ours or not is_flown_for)
    # The money is with us then, and should be, or has gone back by a refund.
    return seen.outcome is Outcome.PAID and (is_flown_for or sighting.gives_all_back)


def _pays_for(ride: Ride | None, charge_id: str | None) -> bool:
    """Say whether the ride is flown for that charge, or may be yet."""
    if ride is None or ride.cancelled_at is not None:
        return False
    if ride.stripe_charge_id is None:
        return has_open_request(ride)
    return ride.stripe_charge_id == charge_id


def _made_of(kind: type[Reversal], sighting: Sighting) -> Reversal:
    seen = sighting.seen
    own: dict[str, Any] = {}
    if isinstance(seen, payments.Refund):
        own["is_ours"] = seen.is_ours
    return kind(
        ride=sighting.ride,
        stripe_id=seen.id,
        stripe_payment_intent_id=seen.payment_intent_id,
        stripe_charge_id=seen.charge_id,
        amount_cents=seen.amount_cents,
        currency=seen.currency,
        status=seen.status,
        reason=_reason_of(seen),
        made_at=seen.created_at,
        settled_at=Now() if is_settled_by_itself(sighting) else None,
        **own,
    )


def _bring_up_to_date(row: Reversal, sighting: Sighting) -> bool:
    """Have the row say what was seen; return whether it differs from before."""
    seen = sighting.seen
    before = (row.ride_id, row.status, row.reason, row.is_open)
    is_taken_since = seen.outcome is Outcome.REFUSED and seen.status != row.status
    is_settled = is_settled_by_itself(sighting)
    if is_taken_since or (row.settled_by == "" and is_settled is row.is_open):
        row.settled_at, row.settled_by, row.settled_note = Now() if is_settled else None, "", ""
    row.ride = sighting.ride or row.ride
    row.status, row.reason = seen.status, _reason_of(seen)
    return before != (row.ride_id, row.status, row.reason, row.is_open)


def _reason_of(seen: payments.Reversal) -> str:
    return storable_text(seen.reason)[:LONGEST_REASON]
