from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from idempotency import doors
from idempotency.models import Doors


class Command(BaseCommand):
    help = "Close the service, so that every process does nothing, and open it again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", metavar="ACTION")
        actions.add_parser("status", help="Show the doors (the default).")
        closing = actions.add_parser("close", help="The API answers 503, the workers do nothing.")
        closing.add_argument("--reason", default="", help="For operators; no answer has it.")
        actions.add_parser("open", help="API and workers go on.")

    def handle(self, *, action: str | None, reason: str = "", **options: Any) -> None:
        if action == "close":
            doors.close(reason)
        elif action == "open":
            doors.open_again()
        closed = Doors.objects.first()
        how = f"closed since {closed.closed_at:%Y-%m-%d %H:%M:%S}" if closed else "open"
        why = f" reason={closed.reason!r}" if closed and closed.reason else ""
        self.stdout.write(f"{how}{why}")
        self.stdout.write(f"requests_in_hand={doors.requests_in_hand()}")
