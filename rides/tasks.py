"""The jobs that a ride leaves behind: one, its receipt.

A job runs in the transaction that settles its delivery, opened by the core, so what it writes is
there once however often the queue delivers it.
"""

from django.core.mail import EmailMessage

from idempotency.compat import task
from rides.models import AuditRecord, Ride
from rides.wording import amount, place


@task()
def send_ride_receipt(*, ride_id: int, amount_cents: int, currency: str, user_id: int) -> None:
    """E-mail the rider what was flown and what it cost; `amount_cents` in minor units."""
    ride = Ride.objects.select_related("user").get(pk=ride_id, user_id=user_id)
    AuditRecord.objects.create(
        action=AuditRecord.Action.RECEIPT_SENT,
        data={"amount_cents": amount_cents, "currency": currency},
        resource_id=ride.pk,
        resource_type="ride",
        user=ride.user,
    )
    # Last, since it is the one thing that a rollback cannot take back. What remains, a commit that
    # fails after the mail is out, sends it again under the same Message-ID, which mail programs
    # show once.
    receipt_for(ride, amount_cents=amount_cents, currency=currency).send()


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
