from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from rides.forgetting import NotForgotten, forget


class Command(BaseCommand):
    """What it erases and what stays: docs/operating.md, "Personal data"."""

    help = "Erase who a rider was, and keep what the books need."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("rider", help="the e-mail address, or the user's number")

    def handle(self, *, rider: str, **options: Any) -> None:
        try:
            user, forgotten = forget(rider)
        except NotForgotten as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"forgotten=user {user.pk} requests={forgotten.requests} rides={forgotten.rides} "
            f"api_keys={forgotten.api_keys} sessions={forgotten.sessions}"
        )
        self.stderr.write(
            f"At Stripe the customer {user.stripe_customer_id} has the card and the address: "
            "redact it there. Backups and logs go by their own retention."
        )
