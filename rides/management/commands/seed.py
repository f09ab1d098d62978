"""`manage.py seed`: the people that the demonstration needs, in the database and at Stripe.

They exist in the embedded database only, since their names and the admin's password are in the
README. Any other database gets an admin with a random password.
"""

import secrets
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from rides import payments
from rides.demo import ADMIN_EMAIL, ADMIN_PASSWORD, RIDERS
from rides.models import User

PASSWORD_BYTES = 18


class Command(BaseCommand):
    """Seeds; run again, it changes only what is missing."""

    help = (
        "In the embedded database, create the demo's people: user@example.com, whose card is "
        "charged, user-bad-source@example.com, whose card is declined, and user-3ds@example.com, "
        "whose bank asks, each with a customer at Stripe (or its stand-in), and the admin login "
        "admin@example.com. In any other database, create an admin with a random password, which "
        "is printed once, where there is no admin yet. Safe to run again: what is there stays, and "
        "a customer that Stripe no longer has is created anew."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.EMBEDDED_POSTGRES:
            self.stdout.write(seed_first_admin())
            return
        try:
            for email, source in RIDERS.items():
                self.stdout.write(f"{email}: {seed_rider(email, source)}")
        except payments.CustomerUnavailable as error:
            raise CommandError(
                f"Stripe at {settings.STRIPE_API_BASE} gave no customer: {error}"
            ) from error
        self.stdout.write(f"{ADMIN_EMAIL}: {seed_demo_admin()}")


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


def seed_demo_admin() -> str:
    """Return what there is to say about the demo's login, after making sure that it exists."""
    if not User.objects.filter(email=ADMIN_EMAIL).exists():
        User.objects.create_superuser(ADMIN_EMAIL, ADMIN_PASSWORD)
    return f"password {ADMIN_PASSWORD}"


def seed_first_admin() -> str:
    """Return what there is to say about the admin of a database that is not the demo's.

    The password is in the returned text and nowhere else.
    """
    if User.objects.filter(is_superuser=True, is_active=True).exists():
        return "There is an admin already; the demo's people exist in the embedded database only."
    if User.objects.filter(email=ADMIN_EMAIL).exists():
        return f"{ADMIN_EMAIL} exists and is no admin; manage.py createsuperuser makes one."
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    User.objects.create_superuser(ADMIN_EMAIL, password)
    return f"{ADMIN_EMAIL}: password {password} (it is not shown again)"
