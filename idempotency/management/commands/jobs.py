import getpass
import json
import uuid
from argparse import ArgumentParser
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from idempotency.exceptions import ReviewRefused
from idempotency.jobs.delivering import put_back
from idempotency.management.printing import ending_with_the_reader
from idempotency.models import Job, JobDelivery, StagedJob
from idempotency.support.storable import storable_text


class Command(BaseCommand):
    help = (
        "List the jobs that were set aside after their last delivery, and put them back; list "
        "those that are staged, for now or for later."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", metavar="ACTION")
        actions.add_parser("list", help="Every job that was set aside (the default).")
        actions.add_parser("staged", help="Every job that is staged, with its time if it has one.")
        back = actions.add_parser("put-back", help="Put jobs back: they are due at once.")
        which = back.add_mutually_exclusive_group(required=True)
        which.add_argument("id", type=uuid.UUID, nargs="?", metavar="JOB_ID", help="The job's id.")
        which.add_argument("--all", action="store_true", help="All that were set aside.")
        back.add_argument(
            "--reason",
            required=True,
            help="Why; kept as a review decision.",
        )
        back.add_argument(
            "--reviewer", default=getpass.getuser(), help="Who decides (default: %(default)s)."
        )

    def handle(self, *, action: str | None, **options: Any) -> None:
        if action == "put-back":
            self._put_back(options)
            return
        with ending_with_the_reader():
            if action == "staged":
                self._list_staged()
            else:
                self._list()

    def _list(self) -> None:
        count = 0
        for job in set_aside().iterator():
            count += 1
            self.stdout.write(
                f"{job.job_id}  since {job.set_aside_at:%Y-%m-%d %H:%M}  {job.job_name}  "
                f"deliveries={job.deliveries}  {_asked(job)}{json.dumps(job.job_args)}  "
                f"{storable_text(job.last_error)}"
            )
        self.stdout.write(f"set_aside={count}")

    def _list_staged(self) -> None:
        counts = Counter[str]()
        for job in StagedJob.objects.order_by("id").iterator():
            counts["later" if job.run_after else "now"] += 1
            since = f"since {job.created_at:%Y-%m-%d %H:%M}"
            time = f"not before {job.run_after:%Y-%m-%d %H:%M:%S}" if job.run_after else since
            self.stdout.write(
                f"{job.job_id}  {time}  {job.job_name}  {_asked(job)}{json.dumps(job.job_args)}"
            )
        self.stdout.write(f"for_now={counts['now']} for_later={counts['later']}")

    def _put_back(self, options: dict[str, Any]) -> None:
        job_ids = [options["id"]]
        if options["all"]:
            job_ids = list(set_aside().values_list("job_id", flat=True))
        try:
            count = put_back(job_ids, who=options["reviewer"], reason=options["reason"])
        except ReviewRefused as refused:
            raise CommandError(str(refused)) from None
        if not count and not options["all"]:
            raise CommandError(f"No job {options['id']} is set aside.")
        self.stdout.write(f"put_back={count}")


def _asked(job: Job) -> str:
    return f"{storable_text(job.asked_of_queue)}  " if job.asked_of_queue else ""


def set_aside() -> Any:
    return JobDelivery.objects.filter(set_aside_at__isnull=False).order_by("set_aside_at")
