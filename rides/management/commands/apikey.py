from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from idempotency.management.worker_command import positive
from rides.apikeys.keys import issue_key, revoke_key
from rides.models import ApiKey, User


class Command(BaseCommand):
    """A key is printed once, when it is made, and can't be read again."""

    help = "Make, list and revoke the API keys of riders."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        create = actions.add_parser("create", help="make a key, and print it")
        create.add_argument("email")
        create.add_argument("--name", required=True, help="what it is for")
        create.add_argument("--expires-in-days", type=positive, metavar="DAYS")
        listing = actions.add_parser("list", help="list the keys, without their secrets")
        listing.add_argument("email", nargs="?")
        revoke = actions.add_parser("revoke", help="have a key open nothing any more")
        revoke.add_argument("prefix", help="the twelve digits before the secret")

    def handle(self, *, action: str, **options: Any) -> None:
        getattr(self, action)(**options)

    def create(self, *, email: str, name: str, expires_in_days: int | None, **_: Any) -> None:
        rider = User.objects.filter(email=email.lower(), stripe_customer_id__isnull=False).first()
        if rider is None:
            raise CommandError(f"There is no rider {email}.")
        ends = timezone.now() + timedelta(days=expires_in_days) if expires_in_days else None
        row, key = issue_key(rider, name, expires_at=ends)
        self.stderr.write(f"Shown once, stored nowhere. To revoke it: apikey revoke {row.prefix}")
        self.stdout.write(key)

    def list(self, *, email: str | None, **_: Any) -> None:
        rows = ApiKey.objects.select_related("user").order_by("id")
        for row in rows.filter(user__email=email.lower()) if email else rows:
            self.stdout.write(
                f"{row.prefix} user={row.user.email} name={row.name!r} "
                f"created={row.created_at:%Y-%m-%d} expires={_day(row.expires_at)} "
                f"revoked={_day(row.revoked_at)} last_used={_day(row.last_used_on)}"
            )

    def revoke(self, *, prefix: str, **_: Any) -> None:
        if not revoke_key(prefix):
            raise CommandError(f"There is no key {prefix} that is not revoked.")
        self.stdout.write(f"revoked={prefix}")


def _day(moment: Any) -> str:
    return f"{moment:%Y-%m-%d}" if moment else "-"
