"""Bugs of claims and leases: two who work on one key, or nobody who may."""

from typing import Any

from django.db import connection

from idempotency import RecoveryPoint, leases
from idempotency.models import FINISHED, STARTED, IdempotencyKey
from idempotency.testing import Fault, Moment, Recovery
from proof.bugs import seams
from proof.bugs.planting import (
    KILLED_BEFORE_THE_CHARGE,
    Bed,
    at,
    booking,
    bug,
    overtaken_by_another_rider,
    replace,
    rewrite,
)
from rides import payments
from rides.models import Ride
from rides.operations import CHARGE_CREATED, CreateRide

KEY = "idempotency_idempotencykey"
THE_LEASE = "\n   AND lease_token = %(lease_token)s"
THE_COUNTER = "\n   AND attempt = (%(entries)s::jsonb -> 0 ->> 'attempt')::int"
UNFINISHED = "\n   AND recovery_point <> 'finished'"
LEASE_HAS_ENDED = " OR locked_at < statement_timestamp() - %(lock_timeout)s"
LEASE_IS_FREE = (
    f"\n   AND (locked_at IS NULL{LEASE_HAS_ENDED}\n        OR locked_at = %(impossible_lease)s)"
)


@bug(
    "a_finished_key_never_changes",
    "one_receipt_for_a_booked_ride",
    experiment=booking,
    plan=at(Fault.FREEZE, Moment.AFTER, "charge_rider"),
)
def no_fence(bed: Bed) -> None:
    """A process that wakes after others have finished its request finishes it once more."""
    rewrite(bed, seams.WRITE_PROGRESS, THE_LEASE + UNFINISHED, "")


@bug(
    "no_payment_is_on_a_foreign_ride",
    experiment=overtaken_by_another_rider,
    plan=at(Fault.FREEZE, Moment.AFTER, "charge_rider"),
)
def fence_by_counter(bed: Bed) -> None:
    """The attempt's number is compared, which another rider's request has as well, after a loss."""
    rewrite(bed, seams.WRITE_PROGRESS, THE_LEASE, THE_COUNTER)

    def record_by_number(self: CreateRide, charge: payments.Charge) -> RecoveryPoint:
        Ride.objects.filter(pk=self.ride.pk).update(
            stripe_charge_id=charge.id, stripe_payment_intent_id=charge.payment_intent_id
        )
        return RecoveryPoint(CHARGE_CREATED)

    replace(bed, seams.RECORD_CHARGE, record_by_number)


@bug(
    "only_the_owner_writes",
    "a_lease_is_let_go_by_its_owner",
    experiment=booking,
    plan=at(Fault.FREEZE, Moment.BEFORE, "charge_rider", Recovery.KILLED),
)
def fence_against_finished_keys_only(bed: Bed) -> None:
    """The token is not compared: who lost the lease writes as long as nobody has finished."""
    rewrite(bed, seams.WRITE_PROGRESS, THE_LEASE, "")


@bug(
    "a_lease_is_let_go_by_its_owner",
    experiment=booking,
    plan=at(Fault.FREEZE, Moment.APPLIED, "charge_rider", Recovery.KILLED),
)
def unlock_without_ownership(bed: Bed) -> None:
    """An attempt that failed unlocks the key, whoever has it by then."""

    def unlock(lease: leases.Lease, progress: leases.Progress) -> leases.Lease:
        IdempotencyKey.objects.filter(pk=lease.key_id).update(locked_at=None)
        return lease

    replace(bed, seams.MOVE_AFTER_A_FAILURE, unlock)


@bug(
    "a_live_lease_is_not_taken",
    experiment=booking,
    plan=at(Fault.DUPLICATE, Moment.BEFORE, "charge_rider"),
)
def live_lease_is_taken(bed: Bed) -> None:
    """A retry goes on with a key that somebody is working on."""
    replace(bed, seams.LEASE_SECONDS_LEFT, 0)
    rewrite(bed, seams.TAKE_OVER_KEY, LEASE_IS_FREE, "")


@bug(
    "a_live_lease_is_not_taken",
    experiment=booking,
    plan=at(Fault.DUPLICATE, Moment.BEFORE, "charge_rider"),
)
def times_are_read_off_a_clock_on_the_wall(bed: Bed) -> None:
    """In the hour that such a clock shows twice, each lease seems to be one of the future."""
    ahead = property(lambda stored: stored.key.locked_at)
    replace(bed, seams.IMPOSSIBLE_LEASE, ahead)


@bug(
    "every_client_is_answered",
    "nothing_is_left_unfinished",
    "no_lease_is_left",
    experiment=booking,
    plan=KILLED_BEFORE_THE_CHARGE,
)
def lease_that_never_runs_out(bed: Bed) -> None:
    """Locked is locked: nobody takes over what a killed process held."""
    for take_over in (seams.TAKE_OVER_KEY, seams.TAKE_OVER_NEXT_DUE_KEY):
        rewrite(bed, take_over, LEASE_HAS_ENDED, "")


@bug("a_lease_is_taken_with_a_new_token_only", experiment=booking, plan=KILLED_BEFORE_THE_CHARGE)
def take_over_keeps_the_token(bed: Bed) -> None:
    """A claim does not change the token, so the one before it passes the fence."""
    rewrite(bed, seams.TAKE_OVER_KEY, "lease_token = %(lease_token)s,", "")


@bug("attempts_never_fall", experiment=booking, plan=KILLED_BEFORE_THE_CHARGE)
def attempt_begins_anew(bed: Bed) -> None:
    """A key that is moved gets its first number back, and nobody can tell its attempts apart."""
    rewrite(bed, seams.WRITE_PROGRESS, "   SET ", "   SET attempt = 1, ")


@bug(
    "one_ride_for_a_key",
    "one_audit_record_for_a_transition",
    experiment=booking,
    plan=at(Fault.DUPLICATE, Moment.BEFORE, f"INSERT {KEY}"),
)
def read_then_insert(bed: Bed) -> None:
    """A key is looked for and then inserted, and no constraint says that there is one only."""
    rewrite(bed, seams.INSERT_KEY, "ON CONFLICT (user_id, idempotency_key) DO NOTHING", "")
    constraint = next(
        c for c in IdempotencyKey._meta.constraints if c.name == "idempotency_key_unique_per_user"
    )
    with connection.schema_editor() as editor:
        editor.remove_constraint(IdempotencyKey, constraint)
    bed.callback(put_back, constraint)


def put_back(constraint: Any) -> None:
    """The constraint comes back, to an empty table: it would not fit what the bug has left."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE idempotency_idempotencykey CASCADE")
    with connection.schema_editor() as editor:
        editor.add_constraint(IdempotencyKey, constraint)


@bug(
    "recovery_points_never_go_back",
    "every_client_is_answered",
    experiment=booking,
    plan=at(Fault.STOP, Moment.AFTER, "charge_rider"),
)
def stop_puts_requests_back_to_their_beginning(bed: Bed) -> None:
    """A process that stops lets its keys go as if nothing had been done for them yet."""

    def abandon() -> None:
        let_go()
        IdempotencyKey.objects.exclude(recovery_point=FINISHED).update(recovery_point=STARTED)

    let_go = seams.ABANDON_AT_A_STOP.value
    replace(bed, seams.ABANDON_AT_A_STOP, abandon)
