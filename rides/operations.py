"""Booking a ride: the whole state machine, from top to bottom.

`started` → `ride_created` → `charge_created` → `finished`, as in the article "Implementing
Stripe-like Idempotency Keys in Postgres". Recovery points are strings that outlive a deploy: a key
in the database may stand at any of them.
"""

from datetime import timedelta
from functools import cached_property

from django.conf import settings
from django.db.models.functions import Now

from idempotency import (
    STARTED,
    Operation,
    Pending,
    RecoveryPoint,
    Response,
    atomic_phase,
    foreign_phase,
    stage_job,
)
from idempotency.exceptions import PhaseFailed
from rides import payments
from rides.forms import DemoRideForm, RideForm
from rides.models import AuditRecord, Ride
from rides.reversals import rows
from rides.reversals.recording import Sighting, record, record_refunds_of_cancelled
from rides.tasks import close_payment, send_ride_receipt

RIDE_CREATED = "ride_created"
CHARGE_CREATED = "charge_created"

FARE_CENTS = 2000
CURRENCY = "usd"

# How long Stripe keeps an idempotency key of its first version's (30 days in the second).
STRIPES_MEMORY = timedelta(hours=24)

# Stripe may remove an idempotency key once it is 24 hours old; four hours are for what its clock
# and ours, and a call under way, may differ by.
RESEND_WINDOW = timedelta(hours=20)


class SimulatedFailure(PhaseFailed):
    """What `raise_error` asks for: the request fails once its ride is recorded. Being expected, it
    is answered like any failure of a phase, and fills no log with its traceback.
    """


class CreateRide(Operation):
    """Book a ride and charge the rider's card for it."""

    params_form = DemoRideForm if settings.DEMO_AUTH else RideForm
    transient_fields = ("raise_error",) if settings.DEMO_AUTH else ()

    def may_go_on(self) -> bool:
        """Nobody who was deactivated meanwhile is charged, unless a person decides so. What is paid
        for already is finished: the rider gets the receipt.
        """
        return bool(self.user.is_active) or self.key.recovery_point == CHARGE_CREATED

    @cached_property
    def ride(self) -> Ride:
        """Return the ride that an earlier phase, or an earlier attempt, recorded for this key."""
        return Ride.objects.select_related("user", "idempotency_key").get(idempotency_key=self.key)

    @atomic_phase(STARTED)
    def create_ride(self) -> RecoveryPoint:
        self.ride = Ride.objects.create(
            idempotency_key=self.key,
            user=self.user,
            foreign_key=self.foreign_key_at(RIDE_CREATED),
            stripe_customer_id=self.user.stripe_customer_id,
            amount_cents=FARE_CENTS,
            currency=CURRENCY,
            origin_ip=self.key.origin_ip,
            **self.params,
        )
        AuditRecord.objects.create(
            action=AuditRecord.Action.RIDE_CREATED,
            data={"amount_cents": FARE_CENTS, "currency": CURRENCY},
            resource_id=self.ride.pk,
            resource_type="ride",
            user=self.user,
        )
        return RecoveryPoint(RIDE_CREATED)

    @foreign_phase(
        RIDE_CREATED,
        window=RESEND_WINDOW,
        worst_case=payments.WORST_CASE,
        memory=STRIPES_MEMORY,
        loads=["ride"],
        asks_anew=True,
    )
    def charge_rider(self) -> payments.Charge | Pending:
        if self.transient.get("raise_error"):
            raise SimulatedFailure(
                "This request failed, as raise_error asked. Its ride is kept. "
                "Retry with the same Idempotency-Key."
            )
        return payments.charge(self.ride, question=self.key.foreign_question)

    @charge_rider.lookup
    def find_charge(self) -> payments.Charge | Pending | None:
        return payments.find_charge(self.ride)

    @charge_rider.follow
    def follow_payment(self, payment_id: str) -> payments.Charge | Pending:
        return payments.follow(self.ride, payment_id)

    @charge_rider.withdraw
    def withdraw_payment(self, payment_id: str) -> payments.Charge | Pending:
        return payments.withdraw(self.ride, payment_id)

    @charge_rider.adopt
    def adopt_charge(self, reference: str) -> payments.Charge:
        return payments.read_charge(self.ride, reference)

    @charge_rider.undo
    def take_back_charge(self) -> payments.Account | Pending:
        sent_at, now = self.key.foreign_sent_at, self.key.last_run_at
        return payments.take_back(
            self.ride,
            idempotency_key=self.foreign_key,
            question=self.key.foreign_question,
            is_remembered=sent_at is None or now - sent_at < RESEND_WINDOW,
        )

    @take_back_charge.follow
    def follow_refund(self, payment_id: str) -> payments.Account | Pending:
        return self.take_back_charge()

    @charge_rider.rejected(payments.CardDeclined)
    def card_declined(self, error: payments.CardDeclined) -> Response:
        if error.payment_id:
            stage_job(close_payment, ride_id=self.ride.pk, payment_id=error.payment_id)
        message = f"Error from payment processor: {error}"
        return Response.error(402, message, code="card_declined")

    @charge_rider.commit
    def record_charge(self, charge: payments.Charge) -> RecoveryPoint:
        # By the public id: a database that lost its last commits gives the number to another ride.
        Ride.objects.filter(public_id=self.ride.public_id).update(
            stripe_charge_id=charge.id, stripe_payment_intent_id=charge.payment_intent_id
        )
        return RecoveryPoint(CHARGE_CREATED)

    @atomic_phase(CHARGE_CREATED)
    def send_receipt(self) -> Response:
        stage_job(
            send_ride_receipt,
            ride_id=self.ride.pk,
            amount_cents=self.ride.amount_cents,
            currency=self.ride.currency,
            user_id=self.ride.user_id,
        )
        return Response(
            201,
            {"message": "Payment accepted. Your pilot is on their way!"},
            headers={"Location": f"/rides/{self.ride.public_id}"},
        )

    def cancelled(self, account: payments.Account) -> Response:
        Ride.objects.filter(public_id=self.ride.public_id).update(cancelled_at=Now())
        record_refunds_of_cancelled(self.ride, account.refunds)
        AuditRecord.objects.create(
            action=AuditRecord.Action.RIDE_CANCELLED,
            data=account.for_the_record(),
            resource_id=self.ride.pk,
            resource_type="ride",
            user=self.user,
        )
        message = f"This ride was cancelled. {said_of(account)}"
        return Response.error(409, message, code="ride_cancelled")

    def record_pending(self, refunds: list[payments.Refund]) -> None:
        """Write down the refunds of an undoing that is under way."""
        record(rows.Refund, [Sighting(refund, self.ride) for refund in refunds])

    def record_review(self, action: str, *, reviewer: str, reason: str) -> None:
        """Note a decision in the ride's record, where there is a ride yet."""
        ride = Ride.objects.filter(idempotency_key=self.key).first()
        AuditRecord.objects.create(
            action=f"review.{action}",
            data={"reviewer": reviewer, "reason": reason, "idempotency_key_id": self.key.pk},
            resource_id=ride.pk if ride else self.key.pk,
            resource_type="ride" if ride else "idempotency_key",
            user=self.user,
        )


def said_of(account: payments.Account) -> str:
    """What a rider is told of the money: no more than is known."""
    if any(payment.outcome == payments.DISPUTED for payment in account.payments):
        return "Your bank disputes the payment for it, and decides about it."
    if account.is_complete:
        return "You are not charged for it."
    if account.payments:
        return "What we found paid for it is refunded."
    return "Our payment processor shows no payment for it."
