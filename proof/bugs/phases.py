"""Bugs of phases and recovery points: work that is done twice, half, or never told of."""

import json
from functools import partial
from typing import Any
from uuid import uuid4

from django.db import transaction
from django.http import HttpResponse

from idempotency import STARTED, RecoveryPoint, Response, leases
from idempotency.models import IdempotencyKey
from idempotency.testing import Fault, Moment
from idempotency.testing.repetitions import meet_deadlock
from proof.bookings import reaping_of
from proof.bugs import seams
from proof.bugs.planting import (
    Bed,
    at,
    booking,
    bug,
    elsewhere,
    of_booking,
    replace,
    rewrite,
    undisturbed,
)
from rides import payments
from rides.models import AuditRecord
from rides.operations import CHARGE_CREATED, CreateRide

INSERT_AUDIT_RECORD = """
INSERT INTO rides_auditrecord (action, data, resource_id, resource_type, user_id)
VALUES ('ride.created', '{}', %(ride_id)s, 'ride', %(user_id)s)
"""


@bug(
    "every_client_is_answered",
    "nothing_is_left_unfinished",
    experiment=booking,
    plan=at(Fault.KILL, Moment.AFTER, "COMMIT"),
)
def point_moves_in_a_transaction_of_its_own(bed: Bed) -> None:
    """The work commits, and then the point: a crash in between runs the work again."""

    def write_later(lease: leases.Lease, progress: leases.Progress) -> leases.Lease:
        transaction.on_commit(partial(leases.write_progress, lease, progress))
        return lease

    replace(bed, seams.MOVE_IN_A_COMMIT, write_later)


@bug(
    "recovery_points_never_go_back",
    experiment=booking,
    plan=at(Fault.RAISE, Moment.BEFORE, "charge_rider"),
)
def failure_goes_back_to_the_start(bed: Bed) -> None:
    """An attempt that fails puts the key back where it began."""

    def from_the_start(**progress: Any) -> leases.Progress:
        return leases.Progress(**{**progress, "recovery_point": STARTED})

    replace(bed, seams.PROGRESS_OF_A_FAILURE, from_the_start)


@bug(
    "a_failed_call_is_written_down",
    experiment=booking,
    plan=at(Fault.HOSTILE, Moment.BEFORE, "charge_rider"),
)
def failure_recorded_as_it_came(bed: Bed) -> None:
    """The words of a failure go to the database as they are, which does not take them."""
    replace(bed, seams.DESCRIBE_A_FAILURE, str)


@bug(
    "one_audit_record_for_a_transition",
    experiment=booking,
    plan=at(Fault.KILL, Moment.BEFORE, "COMMIT"),
)
def audit_outside_the_transaction(bed: Bed) -> None:
    """The audit record is kept although the ride that it tells of is rolled back."""
    create_ride = seams.CREATE_RIDE.value

    def create_ride_and_audit_elsewhere(self: CreateRide) -> RecoveryPoint:
        result: RecoveryPoint = create_ride(self)
        AuditRecord.objects.filter(resource_type="ride", resource_id=self.ride.pk).delete()
        elsewhere(INSERT_AUDIT_RECORD, {"ride_id": self.ride.pk, "user_id": self.user.pk})
        return result

    create_ride_and_audit_elsewhere.__name__ = create_ride.__name__
    replace(bed, seams.CREATE_RIDE, create_ride_and_audit_elsewhere)


@bug(
    "a_booked_ride_is_paid_for",
    "the_ledger_is_that_of_the_rides",
    experiment=booking,
    plan=undisturbed,
)
def charge_is_not_recorded(bed: Bed) -> None:
    """The answer says that it is paid; which charge it was, the ride does not say."""

    def record_charge(self: CreateRide, charge: payments.Charge) -> RecoveryPoint:
        return RecoveryPoint(CHARGE_CREATED)

    replace(bed, seams.RECORD_CHARGE, record_charge)


@bug(
    "a_booked_ride_is_paid_for",
    "the_ledger_is_that_of_the_rides",
    experiment=booking,
    plan=undisturbed,
)
def memory_outlives_a_roll_back(bed: Bed) -> None:
    """A phase that is run again after a deadlock finds the ride as its lost run has left it."""
    record, met_deadlock = seams.RECORD_CHARGE.value, set()

    def record_charge(self: CreateRide, charge: payments.Charge) -> RecoveryPoint:
        if self.ride.stripe_charge_id is None:
            self.ride.stripe_charge_id = charge.id
            record(self, charge)
            if self.key.pk not in met_deadlock:
                met_deadlock.add(self.key.pk)
                meet_deadlock()
        return RecoveryPoint(CHARGE_CREATED)

    replace(bed, seams.RECORD_CHARGE, record_charge)
    replace(bed, seams.MAKE_ANEW, lambda self: None)


@bug("the_ledger_is_that_of_the_rides", experiment=booking, plan=undisturbed)
def refused_commit_takes_the_charge_with_it(bed: Bed) -> None:
    """What a later phase wrote is refused at COMMIT, and the record of the charge goes as well."""
    send_receipt = seams.SEND_RECEIPT.value

    def send_receipt_of_nobody(self: CreateRide) -> Response:
        AuditRecord.objects.create(
            action="nobody", data={}, resource_id=0, resource_type="ride", user_id=0
        )
        result: Response = send_receipt(self)
        return result

    send_receipt_of_nobody.__name__ = send_receipt.__name__
    replace(bed, seams.SEND_RECEIPT, send_receipt_of_nobody)
    replace(bed, seams.WAS_ROLLED_BACK_WITH_OTHERS, lambda *error: False)


@bug("a_finished_key_never_changes", experiment=booking, plan=undisturbed)
def finished_row_is_overwritten(bed: Bed) -> None:
    """A replay leaves a note on the row."""
    replay = seams.REPLAY.value

    def replay_and_note(key: IdempotencyKey) -> HttpResponse:
        IdempotencyKey.objects.filter(pk=key.pk).update(last_error="replayed")
        return replay(key)

    replace(bed, seams.REPLAY, replay_and_note)


@bug("final_answers_are_identical", experiment=booking, plan=undisturbed)
def replay_is_built_anew(bed: Bed) -> None:
    """The same values, and not the same bytes."""

    def replay(key: IdempotencyKey) -> HttpResponse:
        body = json.dumps(json.loads(bytes(key.response_body or b"")), separators=(",", ":"))
        return HttpResponse(body, status=key.response_code)

    replace(bed, seams.REPLAY, replay)


@bug("final_answers_are_identical", experiment=booking, plan=undisturbed)
def what_was_asked_is_worked_out_anew(bed: Bed) -> None:
    """The fingerprint is of the moment, as of a form that asks the clock: a retry is another
    request.
    """

    def fingerprint(*sent: Any, **options: Any) -> str:
        return uuid4().hex

    replace(bed, seams.FINGERPRINT, fingerprint)


@bug(
    "nothing_unfinished_is_deleted",
    experiment=of_booking(reaping_of),
    plan=undisturbed,
)
def reap_unfinished(bed: Bed) -> None:
    """Old is old: a key goes whose outcome nobody knows, and its retry begins anew."""
    finished = "WHERE recovery_point = 'finished'\n   AND response_body IS NULL\n   AND"
    rewrite(bed, seams.FIND_OLD_TOMBSTONES, finished, "WHERE")
    of_all = "WHERE recovery_point = 'finished' AND last_run_at >="
    for look in (seams.KEYS_ARE_OVERDUE, seams.FINISHED_KEYS_ARE_OVERDUE):
        rewrite(bed, look, of_all, "WHERE last_run_at >=")
