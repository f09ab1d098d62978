"""Known bugs, to be planted one at a time: what each of them breaks, a check must notice.

This is the one proof that the checks can fail. Each bug changes the code from here, in the way in
which somebody might get it wrong, and names the trial that brings it to light and the checks that
must catch it there. The code itself has no switch for any of them.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any
from unittest.mock import patch

from django.db import connection, transaction
from django.http import HttpResponse
from django.utils.module_loading import import_string

from idempotency import (
    STARTED,
    RecoveryPoint,
    claims,
    failures,
    jobs,
    leases,
    reaping,
    stretches,
    views,
)
from idempotency.compat import task
from idempotency.models import IdempotencyKey, JobDelivery
from idempotency.operations import Operation
from idempotency.testing import Boundary, Experiment, Fault, Moment, Recovery
from idempotency.testing.plans import Case, Plan
from rides import operations, payments
from rides.models import AuditRecord, User
from rides.operations import CHARGE_CREATED, CreateRide
from rides.payments import charging
from rides.tests.trials import (
    after_a_saved_failure_of,
    booking_of,
    declining_of,
    enqueuing_of,
    looking_up_in_vain_of,
    looking_up_of,
    overtaken_of,
    reaping_of,
    restored_of,
    working_of,
)
from sandbox.stripe.control import StandIn

Bed = ExitStack
"""Where a bug is planted: whatever is entered into it is undone after the trial."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What an experiment is made of."""

    rider: User
    rider_with_bad_card: User
    stand_in: StandIn


@dataclass(frozen=True, kw_only=True)
class Bug:
    """A mistake, the trial that shows it, and the checks that must see it there."""

    plant: Callable[[Bed], None]
    experiment: Callable[[Scene], Experiment]
    plan: Plan
    caught_by: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.plant.__name__

    @property
    def story(self) -> str:
        return " ".join(str(self.plant.__doc__).split())


BUGS: list[Bug] = []


def bug(
    *caught_by: str, experiment: Callable[[Scene], Experiment], plan: Plan
) -> Callable[[Callable[[Bed], None]], Callable[[Bed], None]]:
    """Register a function that plants a bug; its docstring says what is wrong."""

    def register(plant: Callable[[Bed], None]) -> Callable[[Bed], None]:
        BUGS.append(Bug(plant=plant, experiment=experiment, plan=plan, caught_by=caught_by))
        return plant

    return register


# The trials.


def booking(scene: Scene) -> Experiment:
    return booking_of(scene.rider, scene.stand_in)


def of_booking(experiment: Callable[[Experiment], Experiment]) -> Callable[[Scene], Experiment]:
    return lambda scene: experiment(booking(scene))


def declining(scene: Scene) -> Experiment:
    return declining_of(booking_of(scene.rider_with_bad_card, scene.stand_in))


def looking_up(scene: Scene) -> Experiment:
    return looking_up_of(booking(scene), scene.stand_in)


def looking_up_in_vain(scene: Scene) -> Experiment:
    return looking_up_in_vain_of(booking(scene), scene.stand_in)


def after_a_saved_failure(scene: Scene) -> Experiment:
    return after_a_saved_failure_of(booking(scene), scene.stand_in)


def undisturbed(boundaries: list[Boundary]) -> Iterator[Case]:
    """Nothing more than the attempt itself and its repetition."""
    return iter(())


def at(
    fault: Fault, moment: Moment, step: str, recovery: Recovery = Recovery.CLIENT, *, which: int = 0
) -> Plan:
    """One trial; of several boundaries with that name the first, or the one that `which` says."""

    def plan(boundaries: list[Boundary]) -> Iterator[Case]:
        named = [b for b in boundaries if (b.moment, b.step) == (moment, step)]
        yield named[which], fault, recovery

    return plan


KEY = "idempotency_idempotencykey"
KILLED_BEFORE_THE_CHARGE = at(Fault.KILL, Moment.BEFORE, "charge_rider")
KILLED_AFTER_THE_CHARGE = at(Fault.KILL, Moment.AFTER, "charge_rider")
KILLED_IN_THE_JOB = at(Fault.KILL, Moment.BEFORE, "INSERT rides_auditrecord")
LAST = -1

# Claims and leases.


@bug(
    "a_finished_key_never_changes",
    "one_receipt_for_a_booked_ride",
    experiment=booking,
    plan=at(Fault.FREEZE, Moment.AFTER, "charge_rider"),
)
def no_fence(bed: Bed) -> None:
    """A process that wakes after others have finished its request finishes it once more."""
    rewrite(bed, leases, "WRITE_PROGRESS", THE_TOKEN + UNFINISHED, "")


@bug(
    "only_the_owner_writes",
    "a_lease_is_let_go_by_its_owner",
    experiment=booking,
    plan=at(Fault.FREEZE, Moment.BEFORE, "charge_rider", Recovery.KILLED),
)
def fence_against_finished_keys_only(bed: Bed) -> None:
    """The token is not compared: who lost the lease writes as long as nobody has finished."""
    rewrite(bed, leases, "WRITE_PROGRESS", THE_TOKEN, "")


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

    bed.enter_context(patch.object(failures, "write_progress", unlock))


@bug(
    "a_live_lease_is_not_taken",
    experiment=booking,
    plan=at(Fault.DUPLICATE, Moment.BEFORE, "charge_rider"),
)
def live_lease_is_taken(bed: Bed) -> None:
    """A retry goes on with a key that somebody is working on."""
    bed.enter_context(patch.object(claims.StoredKey, "lease_seconds_left", 0))
    rewrite(bed, claims, "TAKE_OVER_KEY", LEASE_IS_FREE, "")


@bug(
    "every_client_is_answered",
    "nothing_is_left_unfinished",
    "no_lease_is_left",
    experiment=booking,
    plan=KILLED_BEFORE_THE_CHARGE,
)
def lease_that_never_runs_out(bed: Bed) -> None:
    """Locked is locked: nobody takes over what a killed process held."""
    for name in ("TAKE_OVER_KEY", "TAKE_OVER_NEXT_DUE_KEY"):
        rewrite(bed, claims, name, LEASE_IS_FREE, "\n   AND locked_at IS NULL")


@bug("a_lease_is_taken_with_a_new_token_only", experiment=booking, plan=KILLED_BEFORE_THE_CHARGE)
def take_over_keeps_the_token(bed: Bed) -> None:
    """A claim does not raise the token, so the one before it passes the fence."""
    rewrite(bed, claims, "TAKE_OVER_KEY", "attempt + 1", "attempt")


@bug("fencing_tokens_never_fall", experiment=booking, plan=KILLED_BEFORE_THE_CHARGE)
def token_begins_anew(bed: Bed) -> None:
    """A key that is moved gets its first token back, which an old process still has."""
    rewrite(bed, leases, "WRITE_PROGRESS", "   SET ", "   SET attempt = 1, ")


@bug(
    "one_ride_for_a_key",
    "at_most_one_charge_for_a_key",
    experiment=booking,
    plan=at(Fault.DUPLICATE, Moment.BEFORE, f"INSERT {KEY}"),
)
def read_then_insert(bed: Bed) -> None:
    """A key is looked for and then inserted, and no constraint says that there is one only."""
    rewrite(bed, claims, "INSERT_KEY", "ON CONFLICT (user_id, idempotency_key) DO NOTHING", "")
    constraint = next(
        c for c in IdempotencyKey._meta.constraints if c.name == "idempotency_key_unique_per_user"
    )
    with connection.schema_editor() as editor:
        editor.remove_constraint(IdempotencyKey, constraint)
    bed.callback(put_back, constraint)


# Recovery points and phases.


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

    bed.enter_context(patch.object(stretches, "write_progress", write_later))


@bug(
    "recovery_points_never_go_back",
    experiment=booking,
    plan=at(Fault.RAISE, Moment.BEFORE, "charge_rider"),
)
def failure_goes_back_to_the_start(bed: Bed) -> None:
    """An attempt that fails puts the key back where it began."""

    def from_the_start(**progress: Any) -> leases.Progress:
        return leases.Progress(**{**progress, "recovery_point": STARTED})

    bed.enter_context(patch.object(failures, "Progress", from_the_start))


@bug(
    "one_audit_record_for_a_transition",
    experiment=booking,
    plan=at(Fault.KILL, Moment.BEFORE, "COMMIT"),
)
def audit_outside_the_transaction(bed: Bed) -> None:
    """The audit record is kept although the ride that it tells of is rolled back."""

    class AuditedElsewhere:
        Action = AuditRecord.Action

        class objects:  # noqa: N801 - as a model's
            @staticmethod
            def create(**fields: Any) -> None:
                columns = {**fields, "data": json.dumps(fields["data"]), "user": fields["user"].pk}
                elsewhere(INSERT_AUDIT_RECORD, columns)

    bed.enter_context(patch.object(operations, "AuditRecord", AuditedElsewhere))


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

    bed.enter_context(patch.object(CreateRide, "record_charge", record_charge))


@bug("a_finished_key_never_changes", experiment=booking, plan=undisturbed)
def finished_row_is_overwritten(bed: Bed) -> None:
    """A replay leaves a note on the row."""
    replay = views._replay

    def replay_and_note(key: IdempotencyKey) -> HttpResponse:
        IdempotencyKey.objects.filter(pk=key.pk).update(last_error="replayed")
        return replay(key)

    bed.enter_context(patch.object(views, "_replay", replay_and_note))


@bug("final_answers_are_identical", experiment=booking, plan=undisturbed)
def replay_is_built_anew(bed: Bed) -> None:
    """The same values, and not the same bytes."""

    def replay(key: IdempotencyKey) -> HttpResponse:
        body = json.dumps(json.loads(str(key.response_body)), separators=(",", ":"))
        return HttpResponse(body, status=key.response_code)

    bed.enter_context(patch.object(views, "_replay", replay))


# The foreign call.


@bug("no_transaction_is_open_during_a_foreign_call", experiment=booking, plan=undisturbed)
def call_inside_the_transaction(bed: Bed) -> None:
    """The ride's row is locked while Stripe is asked."""
    send = Operation._send_or_look_up

    def send_with_the_ride_locked(self: CreateRide, phase: Any) -> Any:
        with transaction.atomic():
            type(self.ride).objects.select_for_update().get(pk=self.ride.pk)
            return send(self, phase)

    bed.enter_context(patch.object(Operation, "_send_or_look_up", send_with_the_ride_locked))


@bug(
    "the_foreign_key_never_changes",
    "at_most_one_charge_for_a_key",
    experiment=booking,
    plan=KILLED_AFTER_THE_CHARGE,
)
def new_foreign_key_for_each_attempt(bed: Bed) -> None:
    """A retry is sent under a key that Stripe has never seen."""
    fresh = "   SET foreign_key = gen_random_uuid(), "
    rewrite(bed, claims, "TAKE_OVER_KEY", "   SET ", fresh)


@bug("a_good_card_pays_in_the_end", experiment=of_booking(restored_of), plan=undisturbed)
def foreign_key_from_the_serial_id(bed: Bed) -> None:
    """A restored database hands the number out again, and Stripe knows it as another request's."""
    rewrite(bed, claims, "INSERT_KEY", "gen_random_uuid()", UUID_OF_THE_NUMBER)


@bug(
    "no_unknown_outcome_is_final",
    "the_ledger_is_that_of_the_rides",
    experiment=booking,
    plan=at(Fault.RAISE, Moment.APPLIED, "charge_rider"),
)
def final_on_timeout(bed: Bed) -> None:
    """No answer from Stripe is taken for a no."""

    def declined(error: Exception) -> Exception:
        return payments.CardDeclined("The payment did not go through.")

    bed.enter_context(patch.object(charging, "verdict", declined))


@bug(
    "every_client_is_answered",
    "nothing_is_left_unfinished",
    experiment=declining,
    plan=undisturbed,
)
def decline_is_never_final(bed: Bed) -> None:
    """A definite no is taken for trouble, and asked again for ever."""
    bed.enter_context(patch.object(CreateRide.charge_rider, "rejections", {}))


@bug("at_most_one_charge_for_a_key", experiment=looking_up, plan=undisturbed)
def resend_past_the_window(bed: Bed) -> None:
    """Stripe has forgotten the key and charges again."""
    window = dataclasses.replace(CreateRide.charge_rider).window * 1000
    bed.enter_context(patch.object(CreateRide.charge_rider, "window", window))


@bug("at_most_one_charge_for_a_key", experiment=looking_up, plan=undisturbed)
def window_begins_anew_with_each_attempt(bed: Bed) -> None:
    """Only the latest sending is remembered, so the first one's age does not count."""
    call = Operation.call_foreign

    def call_as_if_for_the_first_time(self: Operation, *phase: Any, **commit: Any) -> Any:
        self.key.foreign_sent_at = None
        return call(self, *phase, **commit)

    bed.enter_context(patch.object(Operation, "call_foreign", call_as_if_for_the_first_time))


@bug("past_the_window_nothing_is_sent", experiment=looking_up_in_vain, plan=undisturbed)
def sends_again_what_it_does_not_find(bed: Bed) -> None:
    """What Stripe does not show is taken for what never was."""

    def look_up_or_send(self: CreateRide, phase: Any) -> Any:
        return self.find_charge() or phase.method(self)

    bed.enter_context(patch.object(Operation, "_send_or_look_up", look_up_or_send))


@bug("no_unknown_outcome_is_final", experiment=looking_up_in_vain, plan=undisturbed)
def declined_because_not_found(bed: Bed) -> None:
    """What Stripe does not show is reported as declined."""
    find = CreateRide.find_charge

    def find_charge(self: CreateRide) -> payments.Charge:
        found = find(self)
        if found is None:
            raise payments.CardDeclined("Nothing was charged.")
        return found

    bed.enter_context(patch.object(CreateRide, "find_charge", find_charge))


@bug(
    "every_client_is_answered",
    "nothing_is_left_unfinished",
    experiment=looking_up_in_vain,
    plan=undisturbed,
)
def adopts_the_payment_of_another_ride(bed: Bed) -> None:
    """The rider's latest payment is taken for this ride's; the database refuses it, for ever."""

    def latest(ride: Any) -> Iterator[Any]:
        customer = ride.user.stripe_customer_id
        shown = payments._client().v1.payment_intents.list({"customer": customer, "limit": 1})
        return iter(shown.data)

    bed.enter_context(patch.object(charging, "payment_intents_of", latest))


@bug(
    "every_client_is_answered",
    "nothing_is_left_unfinished",
    experiment=after_a_saved_failure,
    plan=undisturbed,
)
def saved_failure_is_asked_again(bed: Bed) -> None:
    """Stripe repeats its saved error for as long as it is asked under the same key."""
    bed.enter_context(patch.object(charging, "_is_saved_failure", lambda error: False))


# The reaper.


@bug(
    "nothing_unfinished_is_deleted",
    "the_ledger_is_that_of_the_rides",
    experiment=of_booking(reaping_of),
    plan=undisturbed,
)
def reap_unfinished(bed: Bed) -> None:
    """Old is old: a key goes whose outcome nobody knows, and its retry begins anew."""
    finished = "WHERE recovery_point = 'finished'\n   AND response_body IS NULL\n   AND"
    rewrite(bed, reaping, "FIND_OLD_TOMBSTONES", finished, "WHERE")


# Jobs.


@bug(
    "one_receipt_for_a_booked_ride",
    experiment=booking,
    plan=at(Fault.KILL, Moment.BEFORE, "COMMIT", which=LAST),
)
def job_outside_the_transaction(bed: Bed) -> None:
    """A job is there although its phase is rolled back, and a second one after the retry."""

    def stage_elsewhere(job: Any, **kwargs: Any) -> None:
        arguments = json.dumps({"args": [], "kwargs": kwargs})
        elsewhere(STAGE_JOB_ELSEWHERE, {"job_name": job.module_path, "job_args": arguments})

    bed.enter_context(patch.object(operations, "stage_job", stage_elsewhere))


@bug(
    "one_receipt_for_a_booked_ride",
    experiment=of_booking(enqueuing_of),
    plan=at(Fault.KILL, Moment.AFTER, "COMMIT"),
)
def publish_after_delete(bed: Bed) -> None:
    """Jobs are removed, that commits, and then they are given to the queue."""

    def drain(limit: int) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM idempotency_stagedjob RETURNING job_id, job_name, job_args")
            removed = cursor.fetchall()
        hand_over(removed)

    bed.enter_context(patch.object(jobs, "drain_staged_jobs", drain))


@bug("one_receipt_for_a_booked_ride", experiment=of_booking(overtaken_of), plan=undisturbed)
def delete_up_to_the_highest_id(bed: Bed) -> None:
    """A job with a lower number commits after the look, and is removed without being seen."""

    def drain(limit: int) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT job_id, job_name, job_args, id FROM idempotency_stagedjob")
            seen = cursor.fetchall()
            highest = max((row[3] for row in seen), default=0)
            hand_over([row[:3] for row in seen])
            cursor.execute("DELETE FROM idempotency_stagedjob WHERE id <= %s", [highest])

    bed.enter_context(patch.object(jobs, "drain_staged_jobs", drain))


@bug(
    "no_job_is_left",
    "one_receipt_for_a_booked_ride",
    experiment=of_booking(working_of),
    plan=KILLED_IN_THE_JOB,
)
def lost_deliveries_stay_lost(bed: Bed) -> None:
    """What was handed over counts as done."""
    rewrite(bed, jobs, "TAKE_OVERDUE_JOBS", "set_aside_at IS NULL", "false")


@bug("one_receipt_for_a_booked_ride", experiment=of_booking(working_of), plan=KILLED_IN_THE_JOB)
def settled_before_the_work(bed: Bed) -> None:
    """The delivery is struck off, that commits, and then the job is done."""
    bed.enter_context(patch.object(jobs, "run_job", settle_and_then_run))


@bug(
    "one_receipt_for_a_booked_ride",
    experiment=of_booking(working_of),
    plan=at(Fault.FREEZE, Moment.BEFORE, "DELETE idempotency_jobdelivery"),
)
def job_without_record_is_done_again(bed: Bed) -> None:
    """Nobody looks whether the job was still owed."""
    settle = jobs._settle
    done_anyway = lambda cursor, job_id: settle(cursor, job_id) or True  # noqa: E731
    bed.enter_context(patch.object(jobs, "_settle", done_anyway))


# What they are planted with.

THE_TOKEN = "\n   AND attempt = %(attempt)s"
UNFINISHED = "\n   AND recovery_point <> 'finished'"
LEASE_IS_FREE = (
    "\n   AND (locked_at IS NULL OR locked_at < statement_timestamp() - %(lock_timeout)s)"
)
UUID_OF_THE_NUMBER = (
    "lpad((SELECT last_value::text FROM idempotency_idempotencykey_id_seq), 32, '0')::uuid"
)
INSERT_AUDIT_RECORD = """
INSERT INTO rides_auditrecord (action, data, origin_ip, resource_id, resource_type, user_id)
VALUES (%(action)s, %(data)s, %(origin_ip)s, %(resource_id)s, %(resource_type)s, %(user)s)
"""
STAGE_JOB_ELSEWHERE = """
INSERT INTO idempotency_stagedjob (job_id, job_name, job_args)
VALUES (gen_random_uuid(), %(job_name)s, %(job_args)s)
"""


def rewrite(bed: Bed, module: ModuleType, name: str, old: str, new: str) -> None:
    """Change a statement of the code's; what is to be changed must be there."""
    statement = getattr(module, name)
    assert old in statement, f"{name} has no {old!r}"
    bed.enter_context(patch.object(module, name, statement.replace(old, new)))


def elsewhere(statement: str, values: dict[str, Any]) -> None:
    """Execute on a connection of its own, so that it commits whatever becomes of ours."""
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute(statement, values)
    finally:
        other.close()


def hand_over(rows: list[tuple[Any, str, str]]) -> None:
    for job_id, job_name, job_args in rows:
        arguments = json.loads(job_args)
        JobDelivery.objects.create(job_id=job_id, job_name=job_name, job_args=arguments)
        jobs._hand_over(job_id, job_name, arguments)


@task()
def settle_and_then_run(
    job_id: str, job_name: str, args: list[Any], kwargs: dict[str, Any]
) -> None:
    with connection.cursor() as cursor:
        owed = jobs._settle(cursor, job_id)
    if owed:
        import_string(job_name).call(*args, **kwargs)


def put_back(constraint: Any) -> None:
    """The constraint comes back, to an empty table: it would not fit what the bug has left."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE idempotency_idempotencykey CASCADE")
    with connection.schema_editor() as editor:
        editor.add_constraint(IdempotencyKey, constraint)
