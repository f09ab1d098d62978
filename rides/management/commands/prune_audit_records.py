from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand

from idempotency.management.worker_command import positive
from rides.pruning import remove_audit_records

BATCH = 1_000


class Command(BaseCommand):
    """For the role that owns the tables: that of the service need not be allowed to."""

    help = "Remove audit records that are older than so many days, a thousand in a transaction."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--older-than-days", type=positive, required=True, metavar="DAYS")

    def handle(self, *, older_than_days: int, **options: Any) -> None:
        older_than, removed = timedelta(days=older_than_days), 0
        while batch := remove_audit_records(older_than=older_than, limit=BATCH):
            removed += batch
        self.stdout.write(f"removed={removed}")
