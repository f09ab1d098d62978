import getpass
import json
import uuid
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from idempotency.jobs import put_back
from idempotency.management.printing import ending_with_the_reader
from idempotency.models import JobDelivery
from idempotency.storable import storable_text


class Command(BaseCommand):
    help = "The jobs that were set aside after their last delivery, and the way back for them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", metavar="ACTION")
        actions.add_parser("list", help="Every job that was set aside (the default).")
        back = actions.add_parser("put-back", help="Owe jobs again: they are handed over at once.")
        which = back.add_mutually_exclusive_group(required=True)
        which.add_argument("id", type=uuid.UUID, nargs="?", metavar="JOB_ID", help="The job's id.")
        which.add_argument("--all", action="store_true", help="All that were set aside.")
        back.add_argument("--reason", required=True, help="Why; kept with the job and in the log.")
        back.add_argument(
            "--reviewer", default=getpass.getuser(), help="Who decides (default: %(default)s)."
        )

    def handle(self, *, action: str | None, **options: Any) -> None:
        if action == "put-back":
            self._put_back(options)
        else:
            with ending_with_the_reader():
                self._list()

    def _list(self) -> None:
        count = 0
        for job in set_aside().iterator():
            count += 1
            self.stdout.write(
                f"{job.job_id}  since {job.set_aside_at:%Y-%m-%d %H:%M}  {job.job_name}  "
                f"deliveries={job.deliveries}  {json.dumps(job.job_args)}  "
                f"{storable_text(job.last_error)}"
            )
        self.stdout.write(f"set_aside={count}")

    def _put_back(self, options: dict[str, Any]) -> None:
        job_ids = [options["id"]]
        if options["all"]:
            job_ids = list(set_aside().values_list("job_id", flat=True))
        count = put_back(job_ids, who=options["reviewer"], reason=options["reason"])
        if not count and not options["all"]:
            raise CommandError(f"No job {options['id']} is set aside.")
        self.stdout.write(f"put_back={count}")


def set_aside() -> Any:
    return JobDelivery.objects.filter(set_aside_at__isnull=False).order_by("set_aside_at")
