"""`manage.py seed`: the people that the demonstration needs, in the database and at Stripe."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from rides import payments
from rides.models import User

# The two riders of the original, with Stripe's test cards: one that pays, one that is declined.
RIDERS = {
    "user@example.com": "tok_visa",
    "user-bad-source@example.com": "tok_chargeCustomerFail",
}
ADMIN_EMAIL = "admin@example.com"
ADMIN_PASSWORD = "rocket"  # noqa: S105 (of the demonstration; see `seed_admin`)


class Command(BaseCommand):
    """Seeds; run again, it changes only what is missing."""

    help = (
        "Create the demo's people: user@example.com, whose card is charged, "
        "user-bad-source@example.com, whose card is declined, each with a customer at Stripe "
        "(or its stand-in); and, with DEBUG on, the admin login admin@example.com. "
        "Safe to run again: what is there stays, and a customer that Stripe no longer knows is "
        "created anew."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            for email, source in RIDERS.items():
                self.stdout.write(f"{email}: {seed_rider(email, source)}")
        except payments.CustomerUnavailable as error:
            raise CommandError(
                f"Stripe at {settings.STRIPE_API_BASE} gave no customer: {error}"
            ) from error
        self.stdout.write(f"{ADMIN_EMAIL}: {seed_admin()}")


def seed_rider(email: str, source: str) -> str:
    """Return the id of the rider's customer, after making sure that both exist."""
    rider = User.objects.filter(email=email).first()
    if rider and rider.stripe_customer_id and payments.customer_exists(rider.stripe_customer_id):
        return rider.stripe_customer_id
    customer_id = payments.create_customer(email=email, source=source)
    if rider is None:
        User.objects.create_user(email, stripe_customer_id=customer_id)
    else:
        User.objects.filter(pk=rider.pk).update(stripe_customer_id=customer_id)
    return customer_id


def seed_admin() -> str:
    """Say what there is to say about the admin's login, which only a demonstration gets."""
    if not settings.DEBUG:
        return "not created, because DEBUG is off"
    if not User.objects.filter(email=ADMIN_EMAIL).exists():
        User.objects.create_superuser(ADMIN_EMAIL, ADMIN_PASSWORD)
    return f"password {ADMIN_PASSWORD}"
