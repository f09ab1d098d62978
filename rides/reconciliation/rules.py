"""What can be off between a charge and a ride: the rules, one pair at a time.

Apart from the reading of both sides, because a finance person wants to read the rules alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from rides.formats import amount
from rides.models import Ride
from rides.payments import LedgerCharge


class Kind(StrEnum):
    """What is off."""

    CHARGE_WITHOUT_RIDE = "charge without ride"
    RIDE_WITHOUT_CHARGE = "ride without charge"
    AMOUNT_DIFFERS = "amount differs"
    PAID_BY_ANOTHER = "another's charge"
    TWO_CHARGES = "two charges for one key"
    NOT_REFUNDED = "cancelled, not refunded"
    NOT_CANCELLED = "refunded, not cancelled"
    REFUND_FAILED = "refund failed"
    DISPUTED = "disputed"
    DISPUTE_LOST = "dispute lost"
    NOT_AT_STRIPE = "not at Stripe any more"


@dataclass(frozen=True, kw_only=True, slots=True)
class Discrepancy:
    """One thing that is off; `detail` says what a person needs to know to look into it."""

    kind: Kind
    ride_id: int | None
    charge_id: str | None
    detail: str


def judge_charge(
    charge: LedgerCharge,
    ride: Ride | None,
    unclaimed: dict[int, str],
    is_at_stripe: Callable[[str], bool],
) -> Iterator[Discrepancy]:
    """Yield what is off about a charge and the ride that has it, or whose foreign key it has.

    Args:
        unclaimed: the charges so far of requests that are not finished, by ride.
        is_at_stripe: whether Stripe has a charge, asked where a ride has another one than this.
    """
    if ride and ride.stripe_charge_id == charge.id:
        yield from _judge_recorded(charge, ride)
    elif charge.is_refunded:
        return
    elif ride is None:
        of = f"key {charge.foreign_key} of customer {charge.customer_id}"
        detail = f"{_charged(charge)} at {charge.created_at:%Y-%m-%d %H:%M:%S} UTC for {of}"
        yield _off(Kind.CHARGE_WITHOUT_RIDE, charge, None, detail)
    elif ride.cancelled_at:
        yield _off(Kind.NOT_REFUNDED, charge, ride, f"{_charged(charge)}, and not refunded")
    elif ride.stripe_charge_id and not is_at_stripe(ride.stripe_charge_id):
        detail = f"{_charged(charge)}, and the ride has {ride.stripe_charge_id}, which is not there"
        yield _off(Kind.CHARGE_WITHOUT_RIDE, charge, ride, detail)
    elif first := ride.stripe_charge_id or unclaimed.get(ride.pk):
        yield _off(Kind.TWO_CHARGES, charge, ride, f"{_charged(charge)}, and {first} stands too")
    elif is_open(ride):
        unclaimed[ride.pk] = charge.id
    else:
        detail = f"{_charged(charge)}, and the ride's request was finished without it"
        yield _off(Kind.CHARGE_WITHOUT_RIDE, charge, ride, detail)


def judge_missing_charge(ride: Ride) -> Discrepancy:
    """Say what is off about a ride whose charge Stripe does not have."""
    return Discrepancy(
        kind=Kind.RIDE_WITHOUT_CHARGE,
        ride_id=ride.pk,
        charge_id=ride.stripe_charge_id,
        detail="Stripe has no such charge that succeeded",
    )


def judge_ride_without_charge(ride: Ride) -> Iterator[Discrepancy]:
    """Yield what is off about a ride that has no charge: nothing, unless it was confirmed.

    Others were declined, cancelled, or are still open; once its key is reaped nobody can say.
    """
    key = ride.idempotency_key
    if ride.cancelled_at or key is None or key.response_code is None or key.response_code >= 300:
        return
    yield Discrepancy(
        kind=Kind.RIDE_WITHOUT_CHARGE,
        ride_id=ride.pk,
        charge_id=None,
        detail=f"the rider was answered {key.response_code}, and no charge is recorded",
    )


def is_open(ride: Ride) -> bool:
    """Say whether the request is not finished: it is in flight, or on the review list."""
    return ride.idempotency_key is not None and not ride.idempotency_key.is_finished


def _judge_recorded(charge: LedgerCharge, ride: Ride) -> Iterator[Discrepancy]:
    if (charge.amount_cents, charge.currency) != (ride.amount_cents, ride.currency):
        fare = amount(ride.amount_cents, ride.currency)
        yield _off(Kind.AMOUNT_DIFFERS, charge, ride, f"{_charged(charge)}, the fare is {fare}")
    if different := list(_differences(charge, ride)):
        yield _off(Kind.PAID_BY_ANOTHER, charge, ride, "; ".join(different))
    if ride.cancelled_at and not charge.is_refunded:
        yield _off(Kind.NOT_REFUNDED, charge, ride, f"{_charged(charge)}, and not refunded")
    if charge.refunded_cents and not ride.cancelled_at and not is_open(ride):
        refunded = amount(charge.refunded_cents, charge.currency)
        yield _off(Kind.NOT_CANCELLED, charge, ride, f"{refunded} refunded")


def _differences(charge: LedgerCharge, ride: Ride) -> Iterator[str]:
    """Yield in what the charge is another ride's. What an old ride did not keep is not compared."""
    if ride.stripe_customer_id and charge.customer_id != ride.stripe_customer_id:
        yield f"charged to {charge.customer_id}, the ride is {ride.stripe_customer_id}'s"
    if ride.foreign_key and charge.foreign_key != str(ride.foreign_key):
        yield f"charged for key {charge.foreign_key}, the ride's is {ride.foreign_key}"


def _off(kind: Kind, charge: LedgerCharge, ride: Ride | None, detail: str) -> Discrepancy:
    ride_id = ride.pk if ride else None
    return Discrepancy(kind=kind, ride_id=ride_id, charge_id=charge.id, detail=detail)


def _charged(charge: LedgerCharge) -> str:
    return f"{amount(charge.amount_cents, charge.currency)} charged"
