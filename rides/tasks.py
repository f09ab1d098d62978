"""The jobs that a ride leaves behind: its receipt, or the end of a payment that was refused."""

from django.core.mail import EmailMessage

from idempotency.jobs.settling import Settling
from idempotency.support.compat import task
from rides import payments
from rides.formats import amount, place
from rides.models import AuditRecord, Ride
from rides.reversals import rows
from rides.reversals.recording import Sighting, record


@task()
def send_ride_receipt(
    *, ride_id: int, amount_cents: int, currency: str, user_id: int, settling: Settling
) -> None:
    """E-mail the rider what was flown and what it cost; `amount_cents` in minor units.

    No transaction is open while the mail server is spoken to. A worker that is killed after that
    sends the mail again, under the same Message-ID, which mail programs show once.
    """
    ride = Ride.objects.select_related("user").get(pk=ride_id, user_id=user_id)
    if ride.user.forgotten_at:
        return  # nobody is left to tell
    receipt_for(ride, amount_cents=amount_cents, currency=currency).send()
    with settling():
        AuditRecord.objects.create(
            action=AuditRecord.Action.RECEIPT_SENT,
            data={"amount_cents": amount_cents, "currency": currency},
            resource_id=ride.pk,
            resource_type="ride",
            user=ride.user,
        )


@task()
def close_payment(*, ride_id: int, payment_id: str, settling: Settling) -> None:
    """Close the payment that a refusal leaves behind; where it was paid meanwhile, give it back."""
    ride = Ride.objects.select_related("user", "idempotency_key").get(pk=ride_id)
    refund = payments.close_payment(ride, payment_id)
    with settling():
        if refund is not None:
            record(rows.Refund, [Sighting(refund, ride=ride)])
            AuditRecord.objects.create(
                action=AuditRecord.Action.CHARGE_REFUNDED,
                data={"refund": refund.id, "payment_intent": payment_id, "status": refund.status},
                resource_id=ride.pk,
                resource_type="ride",
                user=ride.user,
            )


def receipt_for(ride: Ride, *, amount_cents: int, currency: str) -> EmailMessage:
    """Return the receipt, not sent yet."""
    return EmailMessage(
        subject=f"Your receipt for ride {ride.pk}",
        body="\n".join(
            [
                "Thank you for flying with Rocket Rides.",
                "",
                f"Ride:    {ride.pk}",
                f"Date:    {ride.created_at:%Y-%m-%d %H:%M} UTC",
                f"From:    {place(ride.origin_lat, ride.origin_lon)}",
                f"To:      {place(ride.target_lat, ride.target_lon)}",
                f"Amount:  {amount(amount_cents, currency)}",
                f"Charge:  {ride.stripe_charge_id}",
                "",
            ]
        ),
        to=[ride.user.email],
        headers={"Message-ID": f"<receipt.{ride.stripe_charge_id}@rocketrides>"},
    )
